"""Quantities that are estimated together, and linear combinations of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.bayes.draws import ParameterDraws
from bayesmlm.bayes.predictions import expected_under
from bayesmlm.effects.expected import Expected, expected_at
from bayesmlm.effects.parameters import Point
from bayesmlm.estimands import PredictionRows
from bayesmlm.families import IDENTITY, Link

__all__ = ["Estimand", "Normal", "Sampled", "evaluate"]

Array = np.ndarray[Any, Any]

_AT_ONCE = 1_000_000
"""Entries of draws × rows held at once."""


@dataclass(frozen=True, slots=True)
class Estimand:
    """What is estimated, and on which scale.

    Attributes
    ----------
    name : str
        ``typical``, ``conditional`` or ``population``.
    new_groups : str
        What a group that the model has not seen stands for: ``population`` or ``zero``.
    link, scale : Link
        The model's link, and the scale of the values.
    rows_first : bool
        Whether rows are put on the scale and then averaged, or averaged and then put on the scale.
    """

    name: str
    new_groups: str
    link: Link
    scale: Link
    rows_first: bool


@dataclass(frozen=True, slots=True)
class Normal:
    """Estimates whose errors are normal, by the delta method.

    Attributes
    ----------
    values : ndarray, shape (m,)
    jacobian : ndarray, shape (m, r)
        Derivatives in the parameters.
    covariance : ndarray, shape (r, r)
        Of the parameters.
    own : sparse array, shape (m, L), or None
        Derivatives in the spherical effects of known groups.
    precision : sparse array, shape (L, L), or None
        Of these effects, given the parameters.
    """

    values: Array
    jacobian: Array
    covariance: Array
    own: Any = None
    precision: Any = None

    def combined(self, weights: Any) -> Normal:
        """Linear combinations, a row of ``weights`` (dense or sparse) each."""
        own = None if self.own is None else _sparse(weights) @ self.own
        return Normal(weights @ self.values, weights @ self.jacobian, self.covariance, own, self.precision)

    def joint_covariance(self) -> Array:
        """Covariance of the quantities, shape (m, m)."""
        total = self.jacobian @ self.covariance @ self.jacobian.T
        if self.own is not None:
            total += self.own @ self._solved(self.own)
        return total

    def errors(self) -> Array:
        """Standard errors, shape (m,)."""
        variance = np.einsum("ip,pq,iq->i", self.jacobian, self.covariance, self.jacobian)
        if self.own is not None:
            step = max(_AT_ONCE // self.own.shape[1], 1)
            for at in range(0, len(variance), step):
                part = self.own[at : at + step]
                variance[at : at + step] += part.multiply(self._solved(part).T).sum(axis=1)
        return np.sqrt(np.maximum(variance, 0.0))

    def _solved(self, part: Any) -> Array:
        """H⁻¹ B′, shape (L, m)."""
        from scipy.sparse.linalg import splu

        return splu(self.precision).solve(part.T.toarray())


@dataclass(frozen=True, slots=True)
class Sampled:
    """Draws of quantities.

    Attributes
    ----------
    values : ndarray, shape (s, m)
    """

    values: Array

    def combined(self, weights: Any) -> Sampled:
        """Linear combinations, a row of ``weights`` (dense or sparse) each."""
        return Sampled((weights @ self.values.T).T)


def _sparse(weights: Any) -> Any:
    from scipy import sparse

    return sparse.csr_array(weights)


def evaluate(
    parameters: Point | ParameterDraws, settings: Sequence[PredictionRows], averages: Any, estimand: Estimand
) -> Normal | Sampled:
    """Values of every setting of the rows, cell by cell within the first, then the second, and so on.

    Parameters
    ----------
    parameters : Point or ParameterDraws
    settings : sequence of PredictionRows
        The same n rows, with other values of some columns.
    averages : sparse array, shape (cells, n), or None
        Weights of the rows in each cell's average; None where every row stands for itself.
    estimand : Estimand

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> link = family_of("bernoulli").link
    >>> rows = PredictionRows(np.array([[0.0], [1.0]]), np.zeros(2), (), ())
    >>> point = Point(np.array([0.5]), (), np.eye(1))
    >>> found = evaluate(point, [rows], None, Estimand("typical", "zero", link, link, True))
    >>> found.combined(np.array([[-1.0, 1.0]])).errors()
    array([1.])
    """
    if isinstance(parameters, ParameterDraws):
        widest = max(len(rows.X) for rows in settings)
        step = max(_AT_ONCE // max(widest, 1), 1)
        parts = [
            np.hstack(
                [_sampled(parameters.chosen(slice(at, at + step)), rows, averages, estimand) for rows in settings]
            )
            for at in range(0, len(parameters), step)
        ]
        return Sampled(np.vstack(parts))
    found = [_estimated(parameters, rows, averages, estimand) for rows in settings]
    own = None
    if found[0].own is not None:
        from scipy import sparse

        own = sparse.vstack([part.own for part in found], format="csr")
    return Normal(
        np.concatenate([part.values for part in found]), np.vstack([part.jacobian for part in found]),
        parameters.covariance, own, parameters.precision if own is not None else None,
    )  # fmt: skip


def _first(averages: Any, of: Estimand) -> Link:
    """The scale of single rows."""
    return of.scale if averages is None or of.rows_first else IDENTITY


def _estimated(point: Point, rows: PredictionRows, averages: Any, of: Estimand) -> Expected:
    scale = _first(averages, of)
    found = expected_at(point, rows, of.name, of.new_groups, of.link, scale)
    if averages is None:
        return found
    own = None if found.own is None else averages @ found.own
    found = Expected(averages @ found.values, averages @ found.jacobian, own)
    if scale.name == of.scale.name:
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        values = of.scale.link(found.values)
        chain = 1.0 / of.scale.derivative(values)
    own = None if own is None else own.multiply(chain[:, None]).tocsr()
    return Expected(values, chain[:, None] * found.jacobian, own)


def _sampled(draws: ParameterDraws, rows: PredictionRows, averages: Any, of: Estimand) -> Array:
    scale = _first(averages, of)
    values = expected_under(draws, rows, of.name, of.new_groups, of.link, scale)
    if averages is not None:
        values = (averages @ values.T).T
    if scale.name == of.scale.name:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return of.scale.link(values)
