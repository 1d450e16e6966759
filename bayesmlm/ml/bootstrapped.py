"""What a bootstrap gave: replicates of a fit's quantities, and intervals from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.errors import FitError, among
from bayesmlm.tables import labelled

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Bootstrap", "check_interval_kind"]

Array = np.ndarray[Any, Any]

KINDS = ("percentile", "basic", "normal")
"""Kinds of intervals."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Replicates of a fit's quantities.

    Attributes
    ----------
    values : ndarray, shape (n, k)
        A replicate per row, NaN where it could not be fitted.
    labels : tuple of (component, group, term, level)
        Of the k quantities, as in the fit's table.
    estimate : ndarray, shape (k,)
        Of the fit itself.
    failures : dict of str to int
        Why replicates could not be fitted, and how many.
    seed : int
        Gives the same replicates again.
    seconds : float

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> b = fit.bootstrap(n=50, seed=1)
    >>> b.values.shape, b.failed, b.table().columns.tolist()[3:]
    ((50, 3), 0, ['estimate', 'bias', 'std_error', 'conf_low', 'conf_high'])
    """

    values: Array = field(repr=False)
    labels: tuple[tuple[str, str, str, str], ...]
    estimate: Array
    failures: Mapping[str, int]
    seed: int
    seconds: float

    @property
    def failed(self) -> int:
        """How many replicates could not be fitted."""
        return sum(self.failures.values())

    @property
    def kept(self) -> Array:
        """The replicates that were fitted, shape (n − failed, k)."""
        return self.values[~np.isnan(self.values).all(axis=1)] if self.failed else self.values

    @property
    def notes(self) -> list[str]:
        """What the reader should know, in sentences."""
        out = []
        if self.failed:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in self.failures.items())
            out.append(
                f"{self.failed} of {len(self.values)} replicates could not be fitted and are left out ({reasons})."
            )
        for (component, group, term, _), estimate in zip(self.labels, self.estimate, strict=True):
            if component == "sd" and estimate == 0.0:
                out.append(
                    f"The standard deviation of {term} of {group} is 0 in the fit itself, and its replicates are drawn "
                    f'without it: their interval says too little; use confint(method="profile").'
                )
        for (_, group, term, _), column in zip(self.labels, self.kept.T, strict=True):
            undefined = int(np.isnan(column).sum())
            if undefined:
                out.append(
                    f"{term}{f' of {group}' if group else ''} is undefined in {undefined} of {len(column)} replicates, "
                    f"where a standard deviation is zero; its interval is of the others."
                )
        return out

    def intervals(self, level: float = 0.95, kind: str = "percentile") -> tuple[Array, Array]:
        """Limits of every quantity, shapes (k,).

        Parameters
        ----------
        level : float
        kind : {"percentile", "basic", "normal"}
            Quantiles of the replicates (boot.ci's "perc"); the same reflected in the estimate; or the estimate less
            its bias, and normal quantiles of the replicates' standard deviation.  The last two are kept within the
            range of a standard deviation or a correlation.

        Examples
        --------
        >>> values = np.arange(1.0, 100.0)[:, None]
        >>> b = Bootstrap(values, (("fixed", "", "x", ""),), np.array([60.0]), {}, 1, 0.0)
        >>> [tuple(np.ravel(b.intervals(0.9, kind)).round().tolist()) for kind in KINDS]
        [(5.0, 95.0), (25.0, 115.0), (23.0, 117.0)]
        """
        check_level(level)
        check_interval_kind(kind)
        limits = np.array(
            [
                _limits(column[~np.isnan(column)], estimate, level, kind)
                for column, estimate in zip(self.kept.T, self.estimate, strict=True)
            ]
        ).reshape(-1, 2)
        component = np.array([row[0] for row in self.labels])
        least = np.where((component == "sd") | (component == "residual"), 0.0, -np.inf)
        least, most = np.where(component == "cor", -1.0, least), np.where(component == "cor", 1.0, np.inf)
        low, high = np.clip(limits, least[:, None], most[:, None]).T
        return low, high

    def table(self, level: float = 0.95, kind: str = "percentile") -> pd.DataFrame:
        """Estimate, bias, standard error and limits of every quantity."""
        low, high = self.intervals(level, kind)
        mean, error = np.array([_moments(column[~np.isnan(column)]) for column in self.kept.T]).reshape(-1, 2).T
        columns = {
            "estimate": self.estimate,
            "bias": mean - self.estimate,
            "std_error": error,
            "conf_low": low,
            "conf_high": high,
        }
        out = labelled(self.labels, columns).drop(columns="level")
        out.attrs.update(interval=self.describe(level, kind), failed=self.failed, seed=self.seed, notes=self.notes)
        return out

    def describe(self, level: float, kind: str) -> str:
        """What an interval is, in words."""
        return f"{100 * level:g}% {kind}, of {len(self.kept)} parametric bootstrap replicates"


def check_interval_kind(kind: str) -> str:
    """Refuse a kind of bootstrap intervals that does not exist."""
    if kind not in KINDS:
        raise FitError(f'there are no "{kind}" bootstrap intervals; {among(kind, KINDS)}')
    return kind


def _moments(values: Array) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _limits(values: Array, estimate: float, level: float, kind: str) -> tuple[float, float]:
    """Davison & Hinkley (1997), sections 5.2 and 5.3."""
    if len(values) < 2:
        return np.nan, np.nan
    if kind == "normal":
        mean, error = _moments(values)
        width = NormalDist().inv_cdf(0.5 + level / 2.0) * error
        return 2.0 * estimate - mean - width, 2.0 * estimate - mean + width
    # The (n + 1) p-th of the ordered values, as boot.ci has it.
    low, high = np.quantile(values, [0.5 - level / 2.0, 0.5 + level / 2.0], method="weibull")
    return (low, high) if kind == "percentile" else (2.0 * estimate - high, 2.0 * estimate - low)
