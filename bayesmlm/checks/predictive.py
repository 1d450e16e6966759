"""Posterior predictive checks for grouped data: do replicates differ as the data do, group by group and bin by bin?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.checks.monte_carlo import both_tails, chi_square, holm, random_ranks, upper_tail
from bayesmlm.checks.replicates import Replicates, replicates_of
from bayesmlm.checks.splits import BINS, Split, splits_by_column, splits_by_group
from bayesmlm.design import Design

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PredictiveCheck", "posterior_predictive"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class PredictiveCheck:
    """Replicated data sets beside the observed one.

    Attributes
    ----------
    name : str
        Of the model.
    replicates : Replicates
    by_group, by_column : tuple of Split
        Rows by groups, and by levels or bins of predictors.
    predicted : ndarray, shape (n,)
        Mean of each row, per trial: what calibration holds the rates against.
    design : Design
    seed : int
    """

    name: str
    replicates: Replicates
    by_group: tuple[Split, ...]
    by_column: tuple[Split, ...]
    predicted: Array
    design: Design = field(repr=False)
    seed: int

    @property
    def word(self) -> str:
        """What is compared: rates of binary responses, means of others."""
        return "rate" if self.design.family.is_binary else "mean"

    def rates(self, split: Split) -> Array:
        """Rates of the parts of a split, the observed data set first, shape (1 + sets, parts)."""
        return split.sums(self.replicates.counts) / np.bincount(split.codes, self.replicates.trials, len(split))

    def by_prediction(self, bins: int = BINS) -> Split:
        """Rows in bins of their predicted means."""
        edges = np.unique(np.quantile(self.predicted, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
        codes = np.unique(np.searchsorted(edges, self.predicted), return_inverse=True)[1]
        labels = tuple(f"{self.predicted[codes == code].mean():.3g}" for code in range(codes.max() + 1))
        return Split(f"predicted {self.word}", labels, codes, self.predicted)

    def table(self) -> pd.DataFrame:
        """Every discrepancy of the data and of the replicates.

        Returns
        -------
        pandas.DataFrame
            ``discrepancy, by, observed, replicated, low, high, p_value, p_adjusted``: the mean and the central 95 % of
            the replicates; twice the smaller share of data sets as far out as the observed one (for ``χ²``, whose large
            values alone speak against the model, the share as large); and Holm's adjustment for the number of rows.
            ``rate`` is of all rows.  ``sd of rates`` is how much they differ between groups.  ``χ² of rates`` is the
            squared distance of the parts' rates from what the replicates have, in the metric of their covariance.
            ``χ² of calibration`` does so in bins of the predicted rate, ``spread of PIT`` is of the ranks of the
            responses among the replicates, 1 where they are as spread as they should be.
        """
        import pandas as pd

        sets = self.replicates
        rows: list[dict[str, Any]] = [self._row(self.word, "", sets.counts.sum(axis=1) / sets.trials.sum(), both_tails)]
        for split in self.by_group:
            rates = self.rates(split)
            rows.append(self._row(f"sd of {self.word}s", split.name, rates.std(axis=1, ddof=1), both_tails))
            rows.append(self._row(f"χ² of {self.word}s", split.name, chi_square(rates), upper_tail))
        for split in self.by_column:
            rows.append(self._row(f"χ² of {self.word}s", split.name, chi_square(self.rates(split)), upper_tail))
        split = self.by_prediction()
        rows.append(self._row("χ² of calibration", split.name, chi_square(self.rates(split)), upper_tail))
        ranks = random_ranks(sets.responses, np.random.default_rng(self.seed))
        rows.append(self._row("spread of PIT", "", np.sqrt(12.0 * np.square(ranks - 0.5).mean(axis=1)), both_tails))
        out = pd.DataFrame(rows)
        out["p_adjusted"] = holm(out.p_value.to_numpy())
        out.attrs.update(replicates=len(sets.responses) - 1, groups=sets.groups, model=self.name)
        return out

    def _row(self, discrepancy: str, by: str, values: Array, tails: Any) -> dict[str, Any]:
        low, high = np.quantile(values[1:], [0.025, 0.975])
        return {
            "discrepancy": discrepancy, "by": by, "observed": values[0], "replicated": values[1:].mean(), "low": low,
            "high": high, "p_value": tails(values),
        }  # fmt: skip

    def parts(self) -> pd.DataFrame:
        """Every group and bin: ``by, level, rows, observed, replicated, low, high, p_value``."""
        import pandas as pd

        frames = []
        for split in (*self.by_group, *self.by_column):
            rates = self.rates(split)
            low, high = np.quantile(rates[1:], [0.025, 0.975], axis=0)
            frames.append(
                pd.DataFrame(
                    {
                        "by": split.name,
                        "level": list(split.labels),
                        "rows": np.bincount(split.codes, minlength=len(split)),
                        "observed": rates[0],
                        "replicated": rates[1:].mean(axis=0),
                        "low": low,
                        "high": high,
                        "p_value": [both_tails(column) for column in rates.T],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        table = self.table()
        least = table.loc[table.p_value.idxmin()]
        what = f"{least.discrepancy} by {least.by}" if least.by else least.discrepancy
        return (
            f"<PredictiveCheck of {self.name}: {len(table)} discrepancies, smallest p-value {least.p_value:.3f} "
            f"({what}; {least.p_adjusted:.3f} adjusted)>"
        )


def posterior_predictive(
    fit: Any,
    group: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    draws: int = 500,
    seed: int = 1,
    groups: str = "new",
    bins: int = BINS,
) -> PredictiveCheck:
    """Hold the data against replicates of them: rates of groups, of bins of predictors, their spread and calibration.

    A histogram of 0/1 responses shows nothing; what a multilevel model of them can get wrong is how rates depend on
    predictors and how they differ between groups.  A posterior replicates from its draws, maximum likelihood from its
    estimates.

    Parameters
    ----------
    fit : Fit
    group : str or sequence of str, optional
        Groupings of the model, or columns of its data (groups the model leaves out); those of the model by default.
    by : str or sequence of str, optional
        Columns to compare rates by; the predictors of the fixed effects by default.
    draws : int
        Replicates.
    seed : int
    groups : {"new", "conditional"}
        Whether groups draw new effects in each replicate, which tests the whole model and is the default, or keep their
        own.  Estimates of these are shrunken, so that replicates of a likelihood then differ less between groups
        than the data do.
    bins : int
        Of a number.

    Returns
    -------
    PredictiveCheck
        With ``table()``, the discrepancies with their p-values, and ``parts()``, every group and bin;
        :func:`bayesmlm.plots.predictive_check` draws it.

    Raises
    ------
    FitError
        For a grouping or column that does not exist, or rows that stand for several.

    References
    ----------
    A. Gelman, X.-L. Meng & H. Stern (1996), Posterior predictive assessment of model fitness via realized
    discrepancies, Statistica Sinica 6, 733-807.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm import checks
    >>> d = bm.load_dataset("contraception")
    >>> check = checks.posterior_predictive(bm.Model("use ~ age + urban + (1 | district)", d).fit_ml(), draws=100)
    >>> off = check.table().query("p_value < 0.05")
    >>> (off.discrepancy + ": " + off.by).tolist()
    ['χ² of rates: age', 'χ² of calibration: predicted rate']
    """
    group, by = ([one] if isinstance(one, str) else one for one in (group, by))
    sets = replicates_of(fit, draws, seed, groups)
    estimand = "population" if groups == "new" else "conditional"
    return PredictiveCheck(
        fit.name,
        sets,
        tuple(splits_by_group(fit.model, group)),
        tuple(splits_by_column(fit.model, by, bins)),
        fit.predict(estimand=estimand).estimate.to_numpy(),
        fit.design,
        seed,
    )
