"""Simulated residuals: ranks of the responses among replicates, and tests of what they should not depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.checks.monte_carlo import both_tails, chi_square, holm, middle_ranks, random_ranks, upper_tail
from bayesmlm.checks.replicates import replicates_of
from bayesmlm.checks.splits import Split, splits_by_column, splits_by_group
from bayesmlm.design import Design

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ResidualCheck", "simulated_residuals"]

Array = np.ndarray[Any, Any]

_POINTS = np.arange(1, 100) / 100.0
"""Where distribution functions are compared."""


@dataclass(frozen=True, slots=True, repr=False)
class ResidualCheck:
    """Simulated residuals of the data, and those of replicates, which are what they would be if the model were right.

    Attributes
    ----------
    name : str
        Of the model.
    responses, residuals : ndarray, shape (1 + sets, n)
        The observed data set first; residuals are ranks on (0, 1).
    predicted : ndarray, shape (n,)
        Mean of each row, per trial.
    by_group, by_column : tuple of Split
    groups : {"new", "conditional"}
    design : Design
    """

    name: str
    responses: Array
    residuals: Array
    predicted: Array
    by_group: tuple[Split, ...]
    by_column: tuple[Split, ...]
    groups: str
    design: Design = field(repr=False)

    def table(self) -> pd.DataFrame:
        """Every test.

        Each statistic is compared with the same one of the replicates' own residuals, so that residuals which depend on
        each other within groups do no harm.

        Returns
        -------
        pandas.DataFrame
            ``test, by, statistic, expected, p_value, p_adjusted`` (by Holm).  ``uniformity``: the largest distance of
            their distribution function from the uniform one.  ``dispersion``: squared deviations of the responses from
            the replicates' mean over the replicates' variance, 1 where they vary as they should; single 0/1 answers
            cannot vary otherwise.  ``level``: squared deviations of the mean ranks of groups, levels or bins, ties
            halved; a curve that was left out shows in the bins of its predictor, a difference between groups in the
            groups.  ``slopes``: the standard deviation between groups of the ranks' slopes in a number; large where
            these were left to be equal.
        """
        import pandas as pd

        # Effects of groups that were fitted to the data leave too little variation, which is no news.
        tails = both_tails if self.groups == "new" else upper_tail
        rows = [self._row("uniformity", "", _distance(self.residuals), upper_tail)]
        if not (self.design.family.is_binary and self.design.response.is_binary):
            rows.append(self._row("dispersion", "", _dispersion(self.responses), tails))
        # Breaking ties at random makes residuals uniform, and means of them needlessly noisy.
        middle = middle_ranks(self.responses)
        for split in (*self.by_column, *self.by_group):
            means = split.sums(middle) / np.bincount(split.codes, minlength=len(split))
            rows.append(self._row("level", split.name, chi_square(means) / len(split), upper_tail))
        for group in self.by_group:
            for column in self.by_column:
                spread = _spread_of_slopes(middle, group, column)
                if spread is not None:
                    rows.append(self._row("slopes", f"{column.name} by {group.name}", spread, tails))
        out = pd.DataFrame(rows)
        out["p_adjusted"] = holm(out.p_value.to_numpy())
        out.attrs.update(replicates=len(self.residuals) - 1, groups=self.groups, model=self.name)
        return out

    def _row(self, test: str, by: str, values: Array, tails: Any) -> dict[str, Any]:
        return {
            "test": test, "by": by, "statistic": values[0], "expected": values[1:].mean(), "p_value": tails(values)
        }  # fmt: skip

    @property
    def ok(self) -> bool:
        """Whether no test speaks against the model at 0.05, adjusted for their number."""
        return bool((self.table().p_adjusted >= 0.05).all())

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        table = self.table()
        against = table[table.p_adjusted < 0.05]
        if not len(against):
            return f"None of {len(table)} tests speaks against {self.name}."
        named = [
            f"{row.test}{f' ({row.by})' if row.by else ''}, p {row.p_adjusted:.3f}" for row in against.itertuples()
        ]
        return f"{self.name} leaves something out: {'; '.join(named)} (adjusted for {len(table)} tests)."

    def __repr__(self) -> str:
        return f"<ResidualCheck: {self.verdict}>"


def _distance(residuals: Array) -> Array:
    """Largest distance from the uniform distribution function of each data set, (sets,)."""
    sets, n = residuals.shape
    cells = np.minimum((100.0 * residuals).astype(np.int64), 99) + 100 * np.arange(sets)[:, None]
    ecdf = np.bincount(cells.ravel(), minlength=100 * sets).reshape(sets, 100).cumsum(axis=1)[:, :-1] / n
    return np.asarray(np.abs(ecdf - _POINTS).max(axis=1))


def _dispersion(responses: Array) -> Array:
    """Squared deviations over the variance among all data sets, the observed one included, averaged over rows."""
    variance = responses.var(axis=0)
    varying = variance > 0.0
    moved = np.square(responses - responses.mean(axis=0))[:, varying]
    return np.asarray((moved / variance[varying]).mean(axis=1)) if varying.any() else np.ones(len(responses))


def _spread_of_slopes(residuals: Array, group: Split, column: Split) -> Array | None:
    """Standard deviation between groups of the slopes of residuals within them; None where no column varies so.

    Slopes count by the spread of the column in their group, as they are known by it.
    """
    values = column.values
    if values is None and len(column) != 2:
        return None
    x = column.codes.astype(float) if values is None else values
    rows = np.bincount(group.codes, minlength=len(group))
    x = x - (np.bincount(group.codes, x, len(group)) / rows)[group.codes]
    spread = np.bincount(group.codes, x * x, len(group))
    if (spread > 1e-9 * np.mean(x * x)).sum() < 2:
        return None
    slopes = np.divide(
        group.sums(residuals * x), spread, out=np.zeros((len(residuals), len(group))), where=spread > 0.0
    )
    mean = slopes @ spread / spread.sum()
    return np.asarray(np.sqrt(np.square(slopes - mean[:, None]) @ spread / spread.sum()))


def simulated_residuals(
    fit: Any,
    group: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    draws: int = 250,
    seed: int = 1,
    groups: str = "new",
) -> ResidualCheck:
    """Test simulated residuals: are they uniform, and the same for all predictors and groups?

    The residual of a response is its rank among replicates of it, uniform where the model is right, whatever the family
    (Dunn & Smyth, 1996; DHARMa's scaled residuals).  Those of 0/1 responses are nearly uniform all together under
    almost any model; what a model leaves out shows in bins of predictors, in groups, and in slopes within groups.

    Parameters
    ----------
    fit : Fit
    group, by : str or sequence of str, optional
        Groupings and columns that residuals should not depend on, those of the model by default.
    draws : int
        Replicates.
    seed : int
    groups : {"new", "conditional"}
        As in :func:`posterior_predictive`.

    Returns
    -------
    ResidualCheck
        With ``table()``, the tests, and a ``verdict``; :func:`bayesmlm.plots.residual_quantiles` draws it.

    Raises
    ------
    FitError
        For a grouping or column that does not exist, or rows that stand for several.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm import checks
    >>> d = bm.load_dataset("contraception")
    >>> straight = bm.Model("use ~ age + urban + (1 | district)", d, name="straight").fit_ml()
    >>> print(checks.simulated_residuals(straight).verdict)
    straight leaves something out: level (age), p 0.024; slopes (urban by district), p 0.040 (adjusted for 6 tests).
    """
    group, by = ([one] if isinstance(one, str) else one for one in (group, by))
    sets = replicates_of(fit, draws, seed, groups)
    estimand = "population" if groups == "new" else "conditional"
    return ResidualCheck(
        fit.name,
        sets.responses,
        random_ranks(sets.responses, np.random.default_rng(seed)),
        fit.predict(estimand=estimand).estimate.to_numpy(),
        tuple(splits_by_group(fit.model, group)),
        tuple(splits_by_column(fit.model, by)),
        groups,
        fit.design,
    )
