"""Likelihood-ratio tests: which model is a special case of which, and what the statistic is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design, Group

__all__ = ["RatioTest", "boundary_p_value", "is_nested", "ratio_test", "same_partition", "variances_of"]

Array = np.ndarray[Any, Any]


_ROUNDING = 1e-5
"""How far below the smaller model's maximum the larger one's may come out by rounding, in −2 log-likelihood."""


def _within(small: Array, big: Array) -> bool:
    """Whether the column space of ``small`` lies in that of ``big``."""
    if small.shape[1] == 0:
        return True
    if big.shape[1] == 0:
        return False
    scale = np.sqrt(np.mean(np.square(small), axis=0))
    spread = np.sqrt(np.mean(np.square(big), axis=0))
    basis, _ = np.linalg.qr(big / np.where(spread > 0, spread, 1.0))
    target = small / np.where(scale > 0, scale, 1.0)
    residual = target - basis @ (basis.T @ target)
    return bool(np.sqrt(np.mean(np.square(residual), axis=0)).max() < 1e-7)


def same_partition(a: Group, b: Group) -> bool:
    """Whether two terms group the rows alike, whatever they are called."""
    if a.n_levels != b.n_levels:
        return False
    pairs = np.unique(np.stack([a.codes, b.codes]), axis=1)
    return pairs.shape[1] == a.n_levels


def is_nested(small: Design, big: Design) -> bool:
    """Whether every distribution of ``small`` is one of ``big``.

    The column space of the fixed effects must lie in the other's, and every random-effect term must be part of a term
    of the other that groups the rows alike.  A district's variance is not a special case of the variance of its town
    and country parts, although the columns of the former are sums of the latter's: the covariances differ.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> livch, ch = (bm.Model(f"use ~ {x} + (1 | district)", d).design for x in ("livch", "ch"))
    >>> is_nested(ch, livch), is_nested(livch, ch)
    (True, False)
    """
    if small.family != big.family or not np.array_equal(small.offset, big.offset):
        return False
    if not _within(small.X, big.X):
        return False
    return all(
        any(same_partition(own, other) and _within(own.z, other.z) for other in big.groups) for own in small.groups
    )


def variances_of(design: Design) -> int:
    """Number of variances of group effects."""
    return sum(len(group.terms) for group in design.groups)


@dataclass(frozen=True, slots=True)
class RatioTest:
    """A likelihood-ratio test.

    Attributes
    ----------
    chisq : float
        Twice the difference of the log-likelihoods.
    df : int
    p_value : float
        NaN without degrees of freedom.
    distribution : str
        What the statistic was compared with: ``χ²(2)``, ``½ χ²(0) + ½ χ²(1)``.
    note : str
        Why not the plain χ², or what is wrong with it; empty where nothing is.
    """

    chisq: float
    df: int
    p_value: float
    distribution: str
    note: str


def boundary_p_value(chisq: float, df: int, variances: int) -> tuple[float, str]:
    """P-value of a likelihood-ratio statistic when ``variances`` of the df parameters are tested at zero.

    One variance at its boundary makes the statistic a half-and-half mixture of χ² with df − 1 and df degrees of
    freedom, its correlations counted in df (Self & Liang, 1987; Stram & Lee, 1994).  More make the plain p-value
    conservative.

    Returns
    -------
    p_value : float
    note : str
        How it was computed, where that is not the plain χ².

    Examples
    --------
    >>> p, note = boundary_p_value(2.71, 1, 1)
    >>> round(p, 3)
    0.05
    """
    test = ratio_test(chisq, df, variances)
    return test.p_value, test.note


def ratio_test(chisq: float, df: int, variances: int) -> RatioTest:
    """Test a likelihood-ratio statistic; ``variances`` of its df parameters lie at zero under the null.

    Examples
    --------
    >>> ratio_test(11.65, 2, 1).distribution, ratio_test(40.9, 1, 0).distribution
    ('½ χ²(1) + ½ χ²(2)', 'χ²(1)')
    """
    from scipy.special import chdtrc

    if df < 1:
        return RatioTest(chisq, df, np.nan, "", "")
    if chisq < -_ROUNDING:
        return RatioTest(
            chisq, df, np.nan, "",
            "is not tested, because the larger model has the lower likelihood: its maximum was not reached",
        )  # fmt: skip
    chisq = max(chisq, 0.0)
    plain = float(chdtrc(df, chisq))
    if variances < 1:
        return RatioTest(chisq, df, plain, f"χ²({df})", "")
    if variances == 1:
        lower = float(chdtrc(df - 1, chisq)) if df > 1 else float(chisq <= 0.0)
        return RatioTest(
            chisq, df, 0.5 * (plain + lower), f"½ χ²({df - 1}) + ½ χ²({df})",
            f"tests a variance at zero, so p is of the half-and-half mixture of χ² with {df - 1} and {df} df "
            f"(the plain χ² would give {plain:.3g})",
        )  # fmt: skip
    return RatioTest(
        chisq, df, plain, f"χ²({df}), conservative",
        f"tests {variances} variances at zero, so the p-value of the plain χ² is conservative",
    )  # fmt: skip
