"""Separation that a model with groups survives: terms and coefficients that the data hardly bound.

A column that separates the responses of all rows leaves the likelihood without a maximum, with groups or without them,
and the engine refuses it (``glm.fit_glm``).  What remains is separation given the groups: answers that are all alike
within groups push the standard deviation towards infinity, and a column that orders the answers within every group
pushes its coefficient along.  Then only the normal distribution of the group effects holds the estimates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design, Group
from bayesmlm.laplace.covariance import factors, sd_cor
from bayesmlm.ml.solution import MLSolution

__all__ = ["OrderedWithin", "Runaway", "alike_groups", "ordered_within", "runaway_terms"]

Array = np.ndarray[Any, Any]

_FAR = 5.0
"""Standard deviations of the latent residual that no effect has in earnest: an intraclass correlation of 0.96."""


@dataclass(frozen=True, slots=True)
class Runaway:
    """A standard deviation of group effects that all but determines the responses.

    Attributes
    ----------
    group, term : str
    sd : float
    levels, alike : int
        Groups that have rows of this term, and those among them whose answers are all the same.
    empty : str
        ``"no"`` or ``"every"`` where no row of the term has the event, or every one; else empty.
    """

    group: str
    term: str
    sd: float
    levels: int
    alike: int
    empty: str


@dataclass(frozen=True, slots=True)
class OrderedWithin:
    """A column of the fixed effects that orders the answers within every group.

    Attributes
    ----------
    term, group : str
    estimate, std_error : float
    groups : int
        Groups with both answers.
    """

    term: str
    group: str
    estimate: float
    std_error: float
    groups: int


def _latent_sd(design: Design) -> float:
    variance = design.family.link.residual_variance
    return 1.0 if variance is None else float(np.sqrt(variance))


def _counts(design: Design, codes: Array, levels: int, rows: Any = slice(None)) -> tuple[Array, Array]:
    """Successes and failures of every group, weighted by their frequency."""
    response, freq = design.response, (design.freq * design.weights)[rows]
    y, failures = response.y[rows], (response.trials - response.y)[rows]
    return (
        np.bincount(codes[rows], y * freq, minlength=levels),
        np.bincount(codes[rows], failures * freq, minlength=levels),
    )


def alike_groups(design: Design, group: Group) -> int:
    """How many groups answer all alike; 0 where answers are not 0/1 or counts of successes.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> design = bm.Model("use ~ 1 + (1 | district)", bm.load_dataset("contraception")).design
    >>> alike_groups(design, design.groups[0])
    3
    """
    if not design.family.is_binary:
        return 0
    successes, failures = _counts(design, group.codes, group.n_levels)
    return int(((successes == 0.0) | (failures == 0.0)).sum())


def runaway_terms(design: Design, solution: MLSolution) -> list[Runaway]:
    """Find the standard deviations that all but determine the responses.

    Parameters
    ----------
    design : Design
    solution : MLSolution

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = {"y": [0] * 8 + [1] * 8, "g": [i // 2 for i in range(16)]}
    >>> fit = bm.Model("y ~ 1 + (1 | g)", d).fit_ml()
    >>> [(found.term, found.levels, found.alike) for found in runaway_terms(fit.design, fit.solution)]
    [('Intercept', 8, 8)]
    """
    if not design.family.is_binary:
        return []
    out = []
    lams = factors(solution.theta, tuple(len(group.terms) for group in design.groups))
    for group, lam in zip(design.groups, lams, strict=True):
        for place, (term, sd) in enumerate(zip(group.terms, sd_cor(lam)[0], strict=True)):
            rows = np.flatnonzero(group.z[:, place])
            size = float(sd * np.sqrt(np.mean(group.z[rows, place] ** 2))) / _latent_sd(design)
            if not size > 1.0:
                continue
            successes, failures = _counts(design, group.codes, group.n_levels, rows)
            there = successes + failures > 0.0
            one_answer = there & ((successes == 0.0) | (failures == 0.0))
            empty = "no" if not successes.any() else "every" if not failures.any() else ""
            if size > _FAR or one_answer.sum() == there.sum():
                out.append(Runaway(group.name, term, float(sd), int(there.sum()), int(one_answer.sum()), empty))
    return out


def ordered_within(design: Design, solution: MLSolution) -> list[OrderedWithin]:
    """Find columns whose successes all lie above, or all below, the failures of the same group.

    Only large coefficients are looked at: where two standard deviations of the column move the linear predictor by
    five of the latent residual.  Groups that answer all alike say nothing here and are left out.

    Parameters
    ----------
    design : Design
    solution : MLSolution

    Examples
    --------
    >>> import bayesmlm as bm
    >>> g = [i // 4 for i in range(40)]
    >>> x = [(3 * i) % 4 + 0.5 * h for i, h in enumerate(g)]
    >>> d = {"g": g, "x": x, "y": [int(v - 0.5 * h > 1 + h % 2) for v, h in zip(x, g)]}
    >>> fit = bm.Model("y ~ x + (1 | g)", d).fit_ml()
    >>> [(found.term, found.group, found.groups) for found in ordered_within(fit.design, fit.solution)]
    [('x', 'g', 10)]
    """
    if not design.family.is_binary:
        return []
    weight = design.freq * design.weights > 0.0
    up = np.flatnonzero((design.response.y > 0.0) & weight)
    down = np.flatnonzero((design.response.trials > design.response.y) & weight)
    spread = design.X.std(axis=0)
    errors = np.sqrt(np.diag(solution.covariance)[: len(design.terms)])
    out = []
    for j, term in enumerate(design.terms):
        if j == design.scaling.intercept or not 2.0 * abs(solution.beta[j]) * spread[j] > _FAR * _latent_sd(design):
            continue
        x = design.X[:, j]
        for group in {g.name: g for g in design.groups}.values():
            sign = 1.0 if solution.beta[j] > 0.0 else -1.0
            lowest, highest = np.full(group.n_levels, np.inf), np.full(group.n_levels, -np.inf)
            np.minimum.at(lowest, group.codes[up], sign * x[up])
            np.maximum.at(highest, group.codes[down], sign * x[down])
            both = np.isfinite(lowest) & np.isfinite(highest)
            if both.any() and (lowest >= highest)[both].all() and (lowest > highest)[both].any():
                found = OrderedWithin(term, group.name, float(solution.beta[j]), float(errors[j]), int(both.sum()))
                out.append(found)
    return out
