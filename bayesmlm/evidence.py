"""Bayes factors: how much the data speak for one model against another, averaged over their priors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.marginal.fit import MarginalFit, improper_priors
from bayesmlm.bayes.marginal.pareto import fault, smoothed
from bayesmlm.bayes.marginal.reweighting import widened
from bayesmlm.bayes.prior_density import log_prior_density
from bayesmlm.comparable import same_data
from bayesmlm.errors import ComparisonError
from bayesmlm.prior_rules import ResolvedPriors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bayes_factor"]

Array = np.ndarray[Any, Any]

SCALES = (1.0, 0.5, 2.0)
"""Widths of the priors of what the models do not share that a factor is given for, the model's own first."""


def bayes_factor(first: MarginalFit, second: MarginalFit) -> pd.DataFrame:
    """The Bayes factor of one model against another, and how it hangs on the width of priors.

    A Bayes factor compares the densities of the data under each model, averaged over its prior.  What both models
    have, and the same prior of, hardly matters to it; of what only one of them has, the width of the prior matters
    for ever: a prior twice as wide costs a coefficient that the data know well a factor of two.  Factors are therefore
    given for priors of what the models do not share half and twice as wide, too.

    Parameters
    ----------
    first, second : MarginalFit
        Posteriors from ``model.sample(method="marginal")`` or ``"auto"``, of the same responses.

    Returns
    -------
    pandas.DataFrame
        ``prior_width, log_bayes_factor, std_error, bayes_factor, probability`` (of the first, where both were as
        likely before); ``attrs`` names the models and what they do not share.  NaN where the draws do not reach the
        posterior under the other priors, which ``attrs["notes"]`` says.

    Raises
    ------
    ComparisonError
        For posteriors without an evidence, of other data, or with improper priors.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm.bayes.marginal.ladder import sample_marginal
    >>> d = bm.load_dataset("contraception")
    >>> models = [bm.Model(f"use ~ {right} (1 | district)", d) for right in ("urban +", "")]
    >>> fits = [MarginalFit(m, sample_marginal(m.design, None, draws=1000, seed=1).tree) for m in models]
    >>> bayes_factor(*fits).log_bayes_factor.round().tolist()
    [12.0, 12.0, 11.0]
    """
    import pandas as pd

    fits = (first, second)
    _check(*fits)
    own = [_unshared(a, b) for a, b in ((first, second), (second, first))]
    values, errors, notes = [], [], []
    for scale in SCALES:
        moved = [_evidence(fit, terms, scale) for fit, terms in zip(fits, own, strict=True)]
        values.append(moved[0][0] - moved[1][0])
        errors.append(math.hypot(moved[0][1], moved[1][1]))
        notes += [note for _, _, note in moved if note]
    with np.errstate(over="ignore"):
        factors, odds = np.exp(values), 1.0 / (1.0 + np.exp(-np.array(values)))
    out = pd.DataFrame(
        {
            "prior_width": SCALES,
            "log_bayes_factor": values,
            "std_error": errors,
            "bayes_factor": factors,
            "probability": odds,
        }
    )
    shared = [", ".join(" ".join(part for part in term if part) for term in terms) or "nothing" for terms in own]
    said = f"Only {first.name} has {shared[0]}; only {second.name} has {shared[1]}: the priors of these are widened."
    out.attrs.update(first=first.name, second=second.name, notes=[said, *notes])
    return out


def _check(first: Any, second: Any) -> None:
    for fit in (first, second):
        if not isinstance(fit, MarginalFit):
            raise ComparisonError(
                "a Bayes factor takes posteriors that know their marginal likelihood: those of "
                'model.sample(method="marginal")'
            )
        flat = improper_priors(fit)
        if flat:
            raise ComparisonError(
                f"a Bayes factor does not exist for improper priors: {fit.name} has a flat prior of {', '.join(flat)}; "
                f"give it a proper one"
            )
    same_data((first, second))


Label = tuple[str, str, str]


def _labels(fit: MarginalFit) -> list[Label]:
    """(component, group, term) of everything with a width of its own, in the order of the priors."""
    design = fit.design
    out = [("", "", term) for term in design.terms]
    for group in design.groups:
        out += [("sd", group.name, term) for term in group.terms]
    return out


def _unshared(fit: MarginalFit, other: MarginalFit) -> list[Label]:
    known = set(_labels(other))
    return [label for label in _labels(fit) if label not in known]


def _evidence(fit: MarginalFit, widen: list[Label], scale: float) -> tuple[float, float, str]:
    """Log-evidence with some priors wider, its standard error, and what is wrong with it."""
    value, error = fit.log_evidence, fit.log_evidence_se
    if scale == 1.0 or not widen:
        return value, error, ""
    design, priors = fit.design, fit.design.priors
    moved = _widen(priors, [label in widen for label in _labels(fit)], scale)
    ratio = log_prior_density(design, moved, fit.tree) - log_prior_density(design, priors, fit.tree)
    found = smoothed(ratio)
    why = fault(found.k_hat, found.ess, len(ratio))
    if why:
        return math.nan, math.nan, f"{fit.name}, priors × {scale:g}: the draws do not reach that posterior ({why})."
    share = np.exp(ratio - ratio.max())
    weight = fit.tree["sample_stats"]["weight"].to_numpy().ravel()
    relative = np.sqrt((weight * np.square(share - share.mean())).mean() / len(share)) / share.mean()
    return value + found.log_mean, math.hypot(error, float(relative)), ""


def _widen(priors: ResolvedPriors, chosen: list[bool], scale: float) -> ResolvedPriors:
    """Some priors wider, in the order of their labels."""
    which = iter(chosen)

    def of(row: Any) -> Any:
        return tuple(widened(prior, scale) if next(which) else prior for prior in row)

    fixed = of(priors.fixed)
    return replace(priors, fixed=fixed, sd=tuple(of(row) for row in priors.sd))
