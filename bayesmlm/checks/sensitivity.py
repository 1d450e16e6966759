"""What the priors contribute: how a posterior moves when its priors, or its likelihood, are made stronger or weaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.prior_density import log_priors
from bayesmlm.comparable import check_fits
from bayesmlm.errors import FitError
from bayesmlm.tables import labelled, labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["prior_sensitivity"]

Array = np.ndarray[Any, Any]

SENSITIVE = 0.05
"""Sensitivity from which a posterior is said to follow what was scaled (Kallioinen et al., 2024)."""


def prior_sensitivity(fit: Any) -> pd.DataFrame:
    """How much each quantity follows the priors, and how much the data: power-scaling sensitivity.

    The priors are raised to powers a little below and above 1, by reweighting the draws, and the distance that a
    quantity's distribution moves is taken per doubling of the power; the likelihood likewise (ArviZ's ``psense``).

    Parameters
    ----------
    fit : BayesFit

    Returns
    -------
    pandas.DataFrame
        ``component, group, term, prior, likelihood``, a column for each kind of prior by itself (``fixed``, ``sd``,
        ``cor``, ``sigma``), and ``diagnosis``.  A value of 0.05 or more counts as sensitive.  Sensitive to the prior
        alone: it speaks where the data say little.  To both: prior and data may be at odds.

    Raises
    ------
    FitError
        For a fit without draws.

    References
    ----------
    N. Kallioinen, T. Paananen, P.-C. Bürkner & A. Vehtari (2024), Detecting and diagnosing prior and likelihood
    sensitivity with power-scaling, Statistics and Computing 34, 57.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm import checks
    >>> d = bm.load_dataset("contraception")
    >>> m = bm.Model("use ~ urban + (1 | district)", d, priors={"urban[Y]": "normal(0, 0.1)"})
    >>> table = checks.prior_sensitivity(m.sample(draws=500, chains=2, seed=1))
    >>> table.diagnosis[table.term == "urban[Y]"].tolist()
    ['follows both, which may be at odds']
    """
    import arviz as az
    import xarray as xr

    check_fits("prior_sensitivity", fit)
    if fit.reading != "posterior":
        raise FitError(f"{fit.name} has no draws, which is what power-scaling reweights: sample the model")
    design = fit.design
    draws = fit._draws(False)
    parts = log_priors(design, design.priors, fit.tree)
    likelihood = fit.log_likelihood() * design.freq
    dims = ("chain", "draw")
    coords = {dim: np.arange(size) for dim, size in zip(dims, draws.shape, strict=False)}
    priors = {name: ((*dims, f"{name}_place"), values) for name, values in parts.items()}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"quantity": ((*dims, "place"), draws)}, coords=coords),
            "log_prior": xr.Dataset(priors, coords=coords),
            "log_likelihood": xr.Dataset({"row": (dims, likelihood.sum(axis=2))}, coords=coords),
        }
    )

    def of(group: str, names: list[str]) -> Array:
        return np.asarray(az.psense(tree, group=group, group_var_names=names)["quantity"])

    out = labelled(labels(design), {"prior": of("prior", list(parts)), "likelihood": of("likelihood", ["row"])})
    out = out.drop(columns="level")
    for name in parts:
        out[name] = of("prior", [name])
    out["diagnosis"] = [_words(*pair) for pair in zip(out.prior, out.likelihood, strict=True)]
    return out


def _words(prior: float, likelihood: float) -> str:
    if prior < SENSITIVE:
        return "follows the data" if likelihood >= SENSITIVE else "neither moves it much"
    return "follows both, which may be at odds" if likelihood >= SENSITIVE else "follows the prior"
