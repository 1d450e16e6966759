"""Draws from the priors of a model, and the responses they predict: what a model says before it sees a response.

Nothing is compiled.  Parameters are drawn on the user's scale, group effects from their covariance, responses by
:func:`bayesmlm.simulation.draw_responses`, which :meth:`bayesmlm.fit.Fit.simulate` draws by too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.compile import check_names
from bayesmlm.design import Design
from bayesmlm.errors import FitError, PriorError
from bayesmlm.prior_rules import prior_rows
from bayesmlm.simulation import SimulationRows, check_seed, draw_responses, simulation_rows

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["draw_correlation_factors", "draw_priors", "prior_predictive"]

Array = np.ndarray[Any, Any]

_LARGEST = 40.0
"""Log-rate (e⁴⁰ is 2 · 10¹⁷) from which a Poisson count is taken to be its rate, 10⁻⁸ of which they are apart."""


def draw_correlation_factors(eta: float, k: int, size: int, rng: np.random.Generator) -> Array:
    """Draw Cholesky factors of k × k correlation matrices with the LKJ(η) distribution, shape (size, k, k).

    The partial correlation of columns i > j, given those before j, is 2 B − 1 with B ~ Beta(b, b) and
    b = η + (k − 2 − j) / 2, j counted from 0; a row of the factor is made of them as a vector of unit length is of its
    angles.

    Parameters
    ----------
    eta : float
    k, size : int
    rng : numpy.random.Generator

    References
    ----------
    D. Lewandowski, D. Kurowicka & H. Joe (2009), Generating random correlation matrices based on vines and extended
    onion method, Journal of Multivariate Analysis 100, 1989-2001, section 2.4 (the C-vine).

    Examples
    --------
    >>> L = draw_correlation_factors(2.0, 3, 1000, np.random.default_rng(1))
    >>> np.allclose(np.einsum("sij,sij->si", L, L), 1.0)
    True
    """
    out = np.zeros((size, k, k))
    out[:, 0, 0] = 1.0
    for i in range(1, k):
        left = np.ones(size)  # squared length that the row has left
        for j in range(i):
            b = eta + 0.5 * (k - 2 - j)
            out[:, i, j] = (2.0 * rng.beta(b, b, size) - 1.0) * np.sqrt(left)
            left = np.maximum(left - out[:, i, j] ** 2, 0.0)
        out[:, i, i] = np.sqrt(left)
    return out


def _refuse_flat(design: Design) -> None:
    """Refuse a model with a flat prior, naming what has one."""
    groups = [(group.name, group.terms) for group in design.groups]
    flat = [
        row["term"] if not row["group"] else f"{row['component']}({row['term']} | {row['group']})"
        for row in prior_rows(design.priors, design.terms, groups)
        if row["prior"].startswith("flat")
    ]
    if flat:
        raise PriorError(
            f"the prior of {', '.join(flat)} is flat, and nothing can be drawn from it; give a distribution, such as "
            f"normal(0, 1) for a coefficient or exponential(1) for a standard deviation"
        )


def draw_priors(design: Design, draws: int, rng: np.random.Generator) -> dict[str, Array]:
    """Draw every parameter of a model from its prior, on the user's scale.

    Parameters
    ----------
    design : Design
    draws : int
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray
        ``beta`` (draws, p), per random-effect term ``sd_…`` (draws, k), ``cor_…`` (draws, pairs) where there are
        several columns and ``ranef_…`` (draws, levels, k); ``sigma`` (draws,) of a Gaussian model.

    Raises
    ------
    PriorError
        For a flat prior, naming what has one.
    """
    _refuse_flat(design)
    priors, scaling = design.priors, design.scaling
    out: dict[str, Array] = {}
    if design.terms:
        beta = np.column_stack([prior.draw(rng, draws) for prior in priors.fixed])
        if scaling.intercept >= 0:
            # Its prior is at the means of the predictors; the user's intercept is where they are 0.
            beta[:, scaling.intercept] -= beta @ scaling.means
        out["beta"] = beta
    for group, label, sds, correlation in zip(
        design.groups, design.group_labels, priors.sd, priors.correlation, strict=True
    ):
        k = len(group.terms)
        sd = np.column_stack([prior.draw(rng, draws) for prior in sds])
        z = rng.standard_normal((draws, group.n_levels, k))
        out[f"sd_{label}"] = sd
        if correlation is not None:
            factors = draw_correlation_factors(correlation["eta"], k, draws, rng)
            out[f"cor_{label}"] = np.einsum("sij,skj->sik", factors, factors)[:, *np.triu_indices(k, 1)]
            z = z @ factors.transpose(0, 2, 1)
        out[f"ranef_{label}"] = z * sd[:, None, :]
    if priors.sigma is not None:
        out["sigma"] = priors.sigma.draw(rng, draws)
    return out


def _draw_response(design: Design, rows: SimulationRows, eta: Array, sigma: float, rng: np.random.Generator) -> Array:
    """One response per row; a count too large to be drawn is its rate."""
    if design.family.name != "poisson":
        return draw_responses(design.family, eta, rows.trials, rows.weights, sigma, rng)
    large = eta + np.log(np.maximum(rows.weights, 1.0)) > _LARGEST
    y = draw_responses(design.family, np.where(large, 0.0, eta), rows.trials, rows.weights, sigma, rng)
    with np.errstate(over="ignore"):
        return np.where(large, np.exp(np.where(large, eta, 0.0)), y)


def prior_predictive(design: Design, draws: int = 500, seed: int = 1) -> xr.DataTree:
    """Draw parameters from their priors, and for each draw a response of every row.

    Parameters
    ----------
    design : Design
    draws : int
    seed : int
        The same seed gives the same draws.

    Returns
    -------
    xarray.DataTree
        Groups ``prior`` (the variables of :func:`draw_priors`), ``prior_predictive`` and ``observed_data`` (the
        response, and the trials where there are several), with the design's dims and coords and one chain.

    Raises
    ------
    PriorError
        For a flat prior, naming what has one.
    FitError
        For fewer than 1 draw, or a seed that is none.
    DataError
        For weights that no binary response can be drawn for.
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise FitError(f"draws should be 1 or more, not {draws}")
    rng = np.random.default_rng(check_seed(seed))
    check_names(design)
    drawn = draw_priors(design, int(draws), rng)
    rows = simulation_rows(design, None, None)
    y = np.empty((draws, len(design.X)))
    for s in range(draws):
        eta = rows.offset + (rows.X @ drawn["beta"][s] if design.terms else 0.0)
        for group, label in zip(design.groups, design.group_labels, strict=True):
            eta = eta + np.einsum("ia,ia->i", group.z, drawn[f"ranef_{label}"][s][group.codes])
        y[s] = _draw_response(design, rows, eta, float(drawn["sigma"][s]) if "sigma" in drawn else np.nan, rng)
    return _tree(design, drawn, y)


def _tree(design: Design, drawn: dict[str, Array], y: Array) -> xr.DataTree:
    """The draws under the design's labels."""
    import xarray as xr

    dims: dict[str, tuple[str, ...]] = {"beta": ("term",), "sigma": ()}
    for group, label in zip(design.groups, design.group_labels, strict=True):
        dims[f"sd_{label}"], dims[f"cor_{label}"] = (f"{label}_term",), (f"{label}_pair",)
        dims[f"ranef_{label}"] = (group.name, f"{label}_term")
    coords = {**design.coords, "chain": [0], "draw": np.arange(len(y))}

    def dataset(variables: Mapping[str, tuple[tuple[str, ...], Array]]) -> xr.Dataset:
        used = {dim for own, _ in variables.values() for dim in own}
        return xr.Dataset(variables, coords={name: values for name, values in coords.items() if name in used})

    response = design.response
    observed = {response.variable: (("row",), np.asarray(response.y))}
    if not response.is_binary:
        observed["trials"] = (("row",), np.asarray(response.trials))
    tree = xr.DataTree.from_dict(
        {
            "prior": dataset({name: (("chain", "draw", *dims[name]), x[None]) for name, x in drawn.items()}),
            "prior_predictive": dataset({response.variable: (("chain", "draw", "row"), y[None])}),
            "observed_data": dataset(observed),
        }
    )
    tree.attrs.update(formula=design.formula.text, family=str(design.family), draws=len(y))
    return tree
