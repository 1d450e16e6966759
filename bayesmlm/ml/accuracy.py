"""How far a fit by Laplace, or by few quadrature points, stands from the maximum of the likelihood itself.

Where more points are affordable their gradient g at the estimates says so without a second fit: with the information I
known, one Newton step I⁻¹ g is what they would change.  It agrees with a refit to a few per cent where the change is a
fraction of a standard error, and is large where that is (``tests/test_accuracy.py``).

Several terms admit no quadrature together.  Each is then integrated alone, the others' effects held at their modes, and
the gradients are added up.  That sees the error each term makes by itself but not what they make of each other's: in
nested groups of two rows a half to nine tenths of the change was found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.fit import labels
from bayesmlm.laplace.covariance import sd_cor_jacobian, theta_size
from bayesmlm.ml import glm
from bayesmlm.ml.boundary import boundaries
from bayesmlm.ml.engine import MLSolution, integrated_likelihood

__all__ = ["Shift", "points_to_check", "predicted_shift"]

Array = np.ndarray[Any, Any]

_MOST_NODES = 125
"""Quadrature nodes per group at most, unless the fit itself took more."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What more quadrature points would change, predicted from the estimates.

    Attributes
    ----------
    points : int
        Per column.
    names : tuple of (str, str, str)
        Component, group and term of every estimate, in the order of the table.
    shifts : ndarray
        Of every estimate, in standard errors; NaN for one at the boundary.
    loglik : float
        By how much the log-likelihood at the estimates would differ.
    one_by_one : bool
        Whether there are several terms, each integrated alone.
    """

    points: int
    names: tuple[tuple[str, str, str], ...]
    shifts: Array
    loglik: float
    one_by_one: bool

    @property
    def largest(self) -> float:
        """The largest change of an estimate, in standard errors."""
        return float(np.nanmax(np.abs(self.shifts), initial=0.0))

    def smaller(self, by: float) -> tuple[tuple[str, str, str], ...]:
        """Names of the estimates that would be smaller by more than so many standard errors."""
        return tuple(name for name, shift in zip(self.names, self.shifts, strict=True) if shift < -by)


def points_to_check(columns: int, n_agq: int) -> int:
    """Points per column that a fit with ``n_agq`` is checked by; 0 where the nodes would be too many.

    Examples
    --------
    >>> [points_to_check(k, 1) for k in (1, 2, 3, 4, 5)], points_to_check(1, 9)
    ([9, 5, 5, 3, 0], 17)
    """
    if n_agq > 1:
        return max(2 * n_agq - 1, 9 if columns == 1 else 5)
    if columns == 1:
        return 9
    return next((points for points in (5, 3) if points**columns <= _MOST_NODES), 0)


def predicted_shift(design: Design, solution: MLSolution) -> Shift | None:
    """Predict what more quadrature points would change; None where there is nothing to check, or no way to.

    Parameters
    ----------
    design : Design
    solution : MLSolution
        Of maximum likelihood or a posterior mode: priors enter both sides, and cancel.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> shift = predicted_shift(fit.design, fit.solution)
    >>> shift.points, round(shift.largest, 2)
    (9, 0.04)
    """
    optimum, n_agq = solution.optimum, solution.n_agq
    if not design.groups or design.family.name == "gaussian" or n_agq == 0 or not optimum.converged:
        return None
    p, columns = len(solution.beta), tuple(len(group.terms) for group in design.groups)
    points = [points_to_check(k, n_agq) for k in columns]
    if not all(points):
        return None
    several = len(columns) > 1
    difference, gradient = 0.0, np.zeros(len(optimum.x))
    effects = [
        np.einsum("ia,ia->i", g.z, modes[g.codes]) for g, modes in zip(design.groups, solution.modes, strict=True)
    ]
    at = p
    for group, own, k, more in zip(design.groups, effects, columns, points, strict=True):
        place = np.r_[0:p, at : at + theta_size((k,))]
        at += theta_size((k,))
        alone = replace(design, groups=(group,), offset=design.offset + sum(effects) - own) if several else design
        rows, x = glm.read_rows(alone, group), optimum.x[place]
        value, slope = integrated_likelihood(alone, rows, x[:p], more, "observed").objective(x)
        if several or solution.information == "observed":
            less, less_slope = integrated_likelihood(alone, rows, x[:p], n_agq, "observed").objective(x)
        else:
            expected = integrated_likelihood(alone, glm.read_rows(alone), x[:p], n_agq, "expected")
            less, less_slope = expected.objective(x)
        difference += value - less
        gradient[place] += slope - less_slope
    if not np.isfinite(difference) or not np.isfinite(gradient).all():
        return None
    return Shift(max(points), *_in_standard_errors(design, solution, columns, gradient), difference, several)


def _in_standard_errors(
    design: Design, solution: MLSolution, columns: tuple[int, ...], gradient: Array
) -> tuple[tuple[tuple[str, str, str], ...], Array]:
    """A Newton step as changes of coefficients, standard deviations and correlations, in the table's order."""
    optimum, p = solution.optimum, len(solution.beta)
    C = np.linalg.inv(optimum.information)
    step = C @ gradient
    # The scale of a random-effect column falls out of a change in standard errors, and so does the sign of a factor.
    with np.errstate(invalid="ignore", divide="ignore"):
        J = sd_cor_jacobian(optimum.x[p:], columns)
        moved = J @ step[p:] / np.sqrt(np.diag(J @ C[p:, p:] @ J.T))
    ends = boundaries(design, solution.theta, solution.sigma)
    moved[np.concatenate([end.without_error for end in ends])] = np.nan
    T = design.scaling.matrix
    fixed = T @ step[:p] / np.sqrt(np.diag(T @ C[:p, :p] @ T.T))
    is_sd = np.concatenate([np.arange(theta_size((k,))) < k for k in columns])
    order = np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])
    names = tuple((component, group, term) for component, group, term, _ in labels(design))
    return names, np.concatenate([fixed, moved[order]])
