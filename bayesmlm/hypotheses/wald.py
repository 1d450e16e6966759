"""Hypotheses tested by Wald: one at a time on z or t, several equalities at once on χ² or F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.hypotheses.reading import Hypothesis

__all__ = ["JointTest", "joint_wald", "wald"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class JointTest:
    """A Wald test of several equalities at once.

    Attributes
    ----------
    statistic : float
        On χ² with ``df`` degrees of freedom; of a finite ``df_denom`` on F with both.
    df : int
        Of independent equalities.
    p_value : float
    df_denom : float
    """

    statistic: float
    df: int
    p_value: float
    df_denom: float = np.inf

    def on_f(self, df_denom: float) -> JointTest:
        """The same test of an estimated residual variance: χ²/df on F.

        Examples
        --------
        >>> JointTest(statistic=6.0, df=2, p_value=0.0498).on_f(10.0).statistic
        3.0
        """
        from scipy.special import fdtrc

        F = self.statistic / self.df
        return JointTest(F, self.df, float(fdtrc(self.df, df_denom, F)), df_denom)


def _variance(weights: Array, covariance: Array) -> float:
    used = np.flatnonzero(weights)
    # Of a standard deviation at zero nothing is known; it should not spoil what does not involve it.
    return float(weights[used] @ covariance[np.ix_(used, used)] @ weights[used])


def wald(hypothesis: Hypothesis, estimate: Array, covariance: Array, level: float, df: float = np.inf) -> Array:
    """Estimate, standard error, limits, statistic and p-value of one hypothesis, shape (6,).

    Parameters
    ----------
    hypothesis : Hypothesis
    estimate, covariance : ndarray, shapes (q,) and (q, q)
    level : float
        Of the two-sided interval.
    df : float
        Degrees of freedom of t; infinite is the normal distribution.

    Returns
    -------
    ndarray
        The p-value is one-sided where the hypothesis is: of what it denies.  Statistic and p-value are NaN at a
        boundary, where a Wald test is not valid.

    Examples
    --------
    >>> from bayesmlm.hypotheses import read_hypotheses
    >>> (h,) = read_hypotheses("age > 0", [("fixed", "", "age", "")])
    >>> wald(h, np.array([1.96]), np.eye(1), 0.95).round(3).tolist()
    [1.96, 1.0, 0.0, 3.92, 1.96, 0.025]
    """
    value = float(hypothesis.weights[hypothesis.weights != 0.0] @ estimate[hypothesis.weights != 0.0])
    value += hypothesis.constant
    error = math.sqrt(max(_variance(hypothesis.weights, covariance), 0.0))
    width = _t_quantile(0.5 + level / 2.0, df) * error
    statistic = value / error if error > 0.0 and not hypothesis.boundary else math.nan
    p = 2.0 * _t_tail(abs(statistic), df) if hypothesis.sign == 0 else _t_tail(hypothesis.sign * statistic, df)
    return np.array([value, error, value - width, value + width, statistic, p])


def _t_quantile(p: float, df: float) -> float:
    if np.isinf(df):
        return NormalDist().inv_cdf(p)
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def _t_tail(t: float, df: float) -> float:
    """P(T > t), without loss of digits far out."""
    if np.isinf(df):
        return 0.5 * math.erfc(t / math.sqrt(2.0))
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def joint_wald(hypotheses: Sequence[Hypothesis], estimate: Array, covariance: Array) -> JointTest:
    """Test several equalities at once.

    Equalities that others imply are not counted; those that contradict each other are refused.

    Raises
    ------
    FitError
        For an inequality, a boundary, or equalities that cannot all hold.

    Examples
    --------
    >>> from bayesmlm.hypotheses import read_hypotheses
    >>> rows = [("fixed", "", term, "") for term in "abc"]
    >>> three = read_hypotheses(["a = b", "b = c", "a = c"], rows)
    >>> test = joint_wald(three, np.array([1.0, 2.0, 2.0]), np.eye(3))
    >>> test.df, round(test.statistic, 4)
    (2, 0.6667)
    """
    for hypothesis in hypotheses:
        if hypothesis.sign:
            raise FitError(f'a joint test is of equalities; "{hypothesis.text}" is not one')
        if hypothesis.boundary:
            raise FitError(
                f'"{hypothesis.text}" puts {hypothesis.boundary}, the end of its range, where a Wald test is not '
                f"valid: compare the models by bm.anova() or bm.drop1()"
            )
    L = np.array([hypothesis.weights for hypothesis in hypotheses])
    used = L.any(axis=0)
    unit = np.sqrt(np.diag(covariance)[used])
    if not (np.isfinite(unit).all() and unit.all()):
        raise FitError("a parameter of the hypotheses has no standard error: a joint test is not possible")
    # In units of standard errors, so that the rank does not depend on the units of the columns.
    L = L[:, used] * unit
    size = np.linalg.norm(L, axis=1)
    L, right = L / size[:, None], -np.array([hypothesis.constant for hypothesis in hypotheses]) / size
    at = L @ (estimate[used] / unit) - right
    U, s, _ = np.linalg.svd(L)
    rank = int((s > 1e-9 * s[0]).sum())
    free = U[:, rank:].T
    # What is left of the right sides beside those the independent equalities imply.
    if np.abs(free @ right).max(initial=0.0) > 1e-9 * max(1.0, np.abs(right).max()):
        raise FitError("the hypotheses contradict each other: no values of the terms meet them all")
    kept = U[:, :rank].T
    V = covariance[np.ix_(used, used)] / np.outer(unit, unit)
    distance = kept @ at
    statistic = float(distance @ np.linalg.solve(kept @ L @ V @ L.T @ kept.T, distance))
    from scipy.special import chdtrc

    return JointTest(statistic, rank, float(chdtrc(rank, statistic)))
