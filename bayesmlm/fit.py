"""Fit: the one protocol every reading answers, and the tables they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.frames import level_text, row_labels, select
from bayesmlm.simulation import (
    Parameters,
    SimulationRows,
    check_seed,
    generator,
    scaled_residuals,
    simulate,
    simulation_rows,
)

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.facts import Classification

__all__ = ["Fit", "PredictionRows", "prediction_rows", "wald_limits"]

Array = np.ndarray[Any, Any]

COMPONENTS = ("fixed", "sd", "cor", "residual", "scale", "alpha", "ranef")
"""What a row of ``Fit.table()`` can be, in the order of the table."""

ESTIMANDS = {
    "conditional": "given the groups' own effects",
    "typical": "in a group whose effects are zero",
    "population": "averaged over the distribution of the group effects",
}
"""What a prediction can be of, in words."""


def check_level(level: float) -> float:
    """Refuse an interval level outside (0, 1)."""
    if not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
        raise FitError(f"level should lie between 0 and 1, for example 0.95, not {level}")
    return level


def check_count(name: str, value: int) -> int:
    """Refuse a number of replicates that is not 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise FitError(f"{name} should be 1 or more, not {value}")
    return int(value)


def check_kind(kind: str) -> str:
    """Refuse a scale of predictions that does not exist."""
    if kind not in ("response", "link"):
        raise FitError(f'kind should be "response" or "link", not "{kind}"')
    return kind


def wald_limits(estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
    """Normal-theory limits.

    Examples
    --------
    >>> low, high = wald_limits(np.zeros(1), np.ones(1), 0.95)
    >>> round(float(high[0]), 2)
    1.96
    """
    # The standard library's: scipy.special would take longer to import than a fit to run.
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    return estimate - z * std_error, estimate + z * std_error


def labels(design: Design) -> list[tuple[str, str, str, str]]:
    """(component, group, term, level) of every parameter, in table order."""
    rows = [("fixed", "", term, "") for term in design.terms]
    rows += [("sd", group.name, term, "") for group in design.groups for term in group.terms]
    rows += [("cor", group.name, pair, "") for group in design.groups for pair in group.pairs]
    rows += [("residual", "", "sigma", "")] if design.family.name == "gaussian" else []
    return rows


def ranef_labels(design: Design) -> list[tuple[str, str, str, str]]:
    """(component, group, term, level) of every group effect, level by level."""
    return [
        ("ranef", group.name, term, level) for group in design.groups for level in group.levels for term in group.terms
    ]


def labelled(rows: Sequence[tuple[str, str, str, str]], columns: dict[str, Array]) -> pd.DataFrame:
    """Put labels before columns of numbers: the shape of every table."""
    import pandas as pd

    names = pd.DataFrame(rows, columns=["component", "group", "term", "level"])
    return names.assign(**columns)


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """The rows to predict for, as arrays.

    Attributes
    ----------
    X : ndarray, shape (m, p)
    offset : ndarray, shape (m,)
    codes : tuple of ndarray, shape (m,)
        Per random-effect term; −1 for a group the model has not seen.
    z : tuple of ndarray, shape (m, k)
    """

    X: Array
    offset: Array
    codes: tuple[Array, ...]
    z: tuple[Array, ...]


def prediction_rows(design: Design, newdata: Any, estimand: str, new_groups: str) -> PredictionRows:
    """Bind new data (or the model's own rows) to a design.

    Raises
    ------
    FitError
        For an estimand or a rule that does not exist.
    DataError
        For a missing column, an unseen level, or a new group under ``new_groups="error"``, by name.
    """
    if estimand not in ESTIMANDS:
        raise FitError(f'there is no estimand "{estimand}"; {among(estimand, ESTIMANDS)}')
    if new_groups not in ("population", "zero", "error"):
        raise FitError(f'new_groups should be "population", "zero" or "error", not "{new_groups}"')
    groups = design.groups
    if newdata is None:
        return PredictionRows(design.X, design.offset, tuple(g.codes for g in groups), tuple(g.z for g in groups))
    X, offset = design.fixed_matrix(newdata), design.offset_of(newdata)
    if estimand == "typical":
        return PredictionRows(X, offset, (), ())
    if estimand == "population":
        pairs = [(np.full(len(X), -1), design.group_columns(group, newdata)) for group in groups]
    else:
        pairs = [design.group_rows(group, newdata) for group in groups]
        for group, (codes, _) in zip(groups, pairs, strict=True):
            if new_groups == "error" and (codes < 0).any():
                row = int(np.argmax(codes < 0))
                level = ":".join(level_text(value) for value in select(newdata, group.factors).iloc[row])
                raise DataError(
                    f'new data: row {row} (counting from 0) is of {group.name} "{level}", which the model has not '
                    f'seen; predict with new_groups="population" or "zero", or estimand="typical"'
                )
    return PredictionRows(X, offset, tuple(codes for codes, _ in pairs), tuple(z for _, z in pairs))


def chosen_rows(rows: Sequence[tuple[str, str, str, str]], parm: str | Sequence[str] | None) -> list[int]:
    """Places of the rows of a table that are of one of the components, groups or terms named; all without names.

    Raises
    ------
    FitError
        For a name that is none of them.

    Examples
    --------
    >>> rows = [("fixed", "", "Intercept", ""), ("fixed", "", "age", ""), ("sd", "g", "Intercept", "")]
    >>> chosen_rows(rows, "age"), chosen_rows(rows, ["sd", "age"]), chosen_rows(rows, "g")
    ([1], [1, 2], [2])
    """
    if parm is None:
        return list(range(len(rows)))
    names = [parm] if isinstance(parm, str) else list(parm)
    known = dict.fromkeys(row[place] for place in (0, 1, 2) for row in rows if row[place])
    for name in names:
        if name not in known:
            raise FitError(f'parm: there is no component, group or term "{name}"; {among(name, known)}')
    return [at for at, row in enumerate(rows) if set(names) & set(row[:3])]


def _residuals(kind: str, y: Array, n: Array, mu: Array, weight: Array, family: str) -> Array:
    """Residuals of counts y in n trials with mean μ per trial; NaN where there are no trials."""
    poisson = family == "poisson"
    if kind == "response":
        return y / n - mu
    if family == "gaussian":
        return np.sqrt(weight) * (y - mu)
    if kind == "pearson":
        return np.sqrt(weight) * (y - n * mu) / np.sqrt(mu if poisson else n * mu * (1.0 - mu))
    from scipy.special import xlogy

    part = xlogy(y, y / (n * mu)) + (mu - y if poisson else xlogy(n - y, (n - y) / (n * (1.0 - mu))))
    return np.sign(y - n * mu) * np.sqrt(np.maximum(2.0 * weight * part, 0.0))


class Fit(ABC):
    """A fitted model.  It exists only when it is fitted, is frozen, and keeps a reference to its model.

    Every reading (likelihood, posterior, population) answers the same verbs with the same labels.
    """

    engine: ClassVar[str] = ""
    model: Any

    # what each reading supplies ---------------------------------------------------------------------------

    @abstractmethod
    def table(self, level: float = 0.95, ranef: bool = False, df: str | None = None) -> pd.DataFrame:
        """One row per quantity: ``component, group, term, level, estimate, std_error, conf_low, conf_high, …``."""

    @abstractmethod
    def vcov(self) -> pd.DataFrame:
        """Covariance of the fixed effects, term × term."""

    @abstractmethod
    def predict(
        self,
        newdata: Any = None,
        kind: str = "response",
        estimand: str = "conditional",
        new_groups: str = "population",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Predicted means (probabilities for binary responses) or linear predictors, rows as in ``newdata``."""

    @property
    @abstractmethod
    def converged(self) -> bool:
        """Whether the estimate can be trusted to be what the method means by it."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What the reader should know, in sentences."""

    @abstractmethod
    def confint(self, method: str = "", level: float = 0.95, parm: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Limits of every quantity in :meth:`table`: ``component, group, term, estimate, conf_low, conf_high``."""

    @abstractmethod
    def hypothesis(
        self, hypotheses: str | Sequence[str], level: float = 0.95, joint: bool = False, df: str | None = None
    ) -> pd.DataFrame:
        """Linear hypotheses in the terms of the model, such as ``"urban[Y] > 0"``, a row each."""

    @abstractmethod
    def _parameters(self, seed: int) -> Iterable[Parameters]:
        """What responses are drawn from, one replicate after the other without end."""

    @abstractmethod
    def _again(self, model: Any) -> Any:
        """Fit another model in the same way."""

    # what follows from it ---------------------------------------------------------------------------------

    @property
    def design(self) -> Design:
        """The arrays the fit was made from."""
        return self.model.design

    def _index(self, newdata: Any = None) -> pd.Index:
        """Labels of the rows of an answer: those of the user's data frame, so that the two can be put together."""
        return row_labels(self.model.data)[self.design.rows] if newdata is None else row_labels(newdata)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.spec.label

    @property
    def nobs(self) -> int:
        """Number of observations, frequencies counted."""
        return self.design.nobs

    @property
    def df_model(self) -> int:
        """Number of parameters: fixed effects, standard deviations (a Gaussian residual's too) and correlations."""
        return len(labels(self.design))

    @property
    def df_resid(self) -> int:
        """Observations minus parameters."""
        return self.nobs - self.df_model

    def fixef(self) -> pd.Series:
        """Fixed effects by term."""
        table = self.table()
        fixed = table[table.component == "fixed"]
        return fixed.set_index("term").estimate.rename("estimate")

    def correlation(self) -> pd.DataFrame:
        """Correlations of the fixed effects' estimates, term × term."""
        import pandas as pd

        V = self.vcov()
        sd = np.sqrt(np.diag(V))
        return pd.DataFrame(V.to_numpy() / np.outer(sd, sd), index=V.index, columns=V.columns)

    def varcorr(self) -> pd.DataFrame:
        """Variances and standard deviations by group and term, correlations after them, a Gaussian residual last.

        Returns
        -------
        pandas.DataFrame
            ``group, term, variance, sd``, and ``correlation`` where there is one.  The residual's group is
            ``Residual``, its term empty.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
        >>> m.fit_ml(reml=True).varcorr().round(2).values.tolist()  # doctest: +NORMALIZE_WHITESPACE
        [['Subject', 'Intercept', 612.09, 24.74, nan], ['Subject', 'Days', 35.07, 5.92, nan],
         ['Subject', 'Intercept,Days', nan, nan, 0.07], ['Residual', '', 654.94, 25.59, nan]]
        """
        table = self.table()
        rows = table[table.component.isin(["sd", "cor", "residual"])].reset_index(drop=True)
        residual = rows.component == "residual"
        sd = rows.estimate.where(rows.component != "cor")
        out = rows[["group", "term"]].assign(
            group=rows.group.mask(residual, "Residual"), term=rows.term.mask(residual, ""), variance=sd**2, sd=sd
        )
        cor = rows.component == "cor"
        return out.assign(correlation=rows.estimate.where(cor)) if cor.any() else out

    def ranef(self) -> pd.DataFrame:
        """Group effects: ``group, term, level, estimate, std_error`` (conditional standard deviation)."""
        table = self.table(ranef=True)
        rows = table[table.component == "ranef"]
        return rows[["group", "term", "level", "estimate", "std_error"]].reset_index(drop=True)

    def fitted(self) -> Array:
        """Fitted means given the groups' own effects: per trial for binary responses; shape (n,)."""
        return self.predict().estimate.to_numpy()

    def simulate(self, n: int = 1, seed: int | None = None, newdata: Any = None, groups: str = "new") -> pd.DataFrame:
        """Draw responses from the fitted model.

        The parameters are the estimates; of a posterior, those of one draw per column.  A binary response is 0/1 (1 is
        the event), one with trials the number of successes.  A row that stands for w answers, through prior weights or
        ``freq``, is their mean, as in its likelihood; weights of a Gaussian response divide its variance.  Offsets are
        the model's own.

        Parameters
        ----------
        n : int
            Columns.
        seed : int, optional
            The same seed gives the same columns, however many there are.
        newdata : data frame, optional
            The model's own rows without it.  Groups the model has not seen draw their effects.
        groups : {"new", "conditional"}
            Whether every group draws new effects (lme4's default), or the groups known keep their own.

        Returns
        -------
        pandas.DataFrame
            Columns ``sim_1``, …; a row for each of the model's, labelled as in the user's data (or for
            each of ``newdata``).

        Raises
        ------
        FitError
            For fewer than 1 column or a rule that does not exist, and for a Gaussian model with ``freq``: the spread
            within a repeated row does not fit into one number.
        DataError
            For new data that do not fit, and weights that leave a binary row without a whole number of trials.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> drawn = fit.simulate(3, seed=1)
        >>> drawn.shape, sorted(set(drawn.sim_1)), bool((fit.simulate(1, seed=1).sim_1 == drawn.sim_1).all())
        ((1934, 3), [0, 1], True)
        """
        import pandas as pd

        n = check_count("n", n)
        rows = self._drawable(newdata)
        columns = np.column_stack([*self._draws_of(rows, n, check_seed(seed), groups)])
        if self.design.family.name != "gaussian" and (columns == np.round(columns)).all():
            columns = columns.astype(np.int64)
        return pd.DataFrame(columns, index=self._index(newdata), columns=[f"sim_{i + 1}" for i in range(n)])

    def _drawable(self, newdata: Any) -> SimulationRows:
        design = self.design
        if newdata is None and design.family.name == "gaussian" and (design.freq != 1.0).any():
            raise FitError(
                "freq= repeats rows, and the spread within a repeated row does not fit into one number: repeat the "
                "rows themselves to simulate a gaussian response"
            )
        return simulation_rows(design, newdata, self.model.spec.weights)

    def _draws_of(self, rows: SimulationRows, n: int, seed: int, groups: str) -> Iterable[Array]:
        """Responses of the rows, one replicate at a time."""
        if groups not in ("new", "conditional"):
            raise FitError(f'groups should be "new" or "conditional", not "{groups}"')
        return (
            simulate(self.design.family, rows, parameters, groups == "conditional", generator(seed, replicate))
            for replicate, parameters in zip(range(n), self._parameters(seed), strict=False)
        )

    def refit(self, y: Any) -> Self:
        """Fit the same model, in the same way, to another response.

        No formula is read again, and priors stay as they were resolved against the data.

        Parameters
        ----------
        y : array-like
            One value per row of the user's data, where those of rows left out are not looked at, or one per row of
            the model (as a column of :meth:`simulate` has): 0/1 or the levels of the response, successes of the same
            trials, counts, numbers.

        Raises
        ------
        DataError
            For another length, or values the family cannot have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> d = bm.load_dataset("contraception")
        >>> fit = bm.Model("use ~ age + (1 | district)", d).fit_ml()
        >>> fit.refit(d.use).loglik == fit.loglik
        True
        >>> bool(fit.refit(fit.simulate(seed=1).sim_1).varcorr().sd[0] < 1.0)
        True
        """
        return self._again(self.model.with_response(y))

    def residuals(
        self, kind: str = "pearson", seed: int | None = None, simulations: int = 250, groups: str = "new"
    ) -> pd.Series:
        """Residuals at the fitted values given the groups' own effects, indexed by the user's rows.

        Parameters
        ----------
        kind : {"pearson", "deviance", "response", "simulated"}
            Of a Gaussian response the first two are √weight × (y − μ), not divided by σ (as lme4's).  Simulated ones
            are ranks of the responses among simulations, on (0, 1): uniform where the model is right, whatever the
            family (DHARMa's scaled residuals).  Ties are broken at random.
        seed, simulations, groups
            Of simulated residuals; see :meth:`simulate`.  New group effects, the default, test the whole model.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.residuals("simulated", seed=1).between(0, 1).all()
        np.True_
        """
        import pandas as pd

        kinds = ("pearson", "deviance", "response", "simulated")
        if kind not in kinds:
            raise FitError(f'there are no "{kind}" residuals; {among(kind, kinds)}')
        design = self.design
        if kind == "simulated":
            return pd.Series(self._simulated(seed, simulations, groups), index=self._index(), name="simulated_residual")
        y, n, mu = design.response.y, design.response.trials, self.fitted()
        weight = design.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _residuals(kind, y, n, mu, weight, design.family.name)
        return pd.Series(values, index=self._index(), name=f"{kind}_residual")

    def _simulated(self, seed: int | None, simulations: int, groups: str) -> Array:
        count, seed = check_count("simulations", simulations), check_seed(seed)
        # One observation is drawn, and compared, for each row: how often it occurred says nothing of its rank.
        design = replace(self.design, freq=np.ones(len(self.design.rows)))
        draws = self._draws_of(simulation_rows(design, None, None), count, seed, groups)
        values = scaled_residuals(design.response.y, draws, generator(seed, count))
        return np.where(design.response.trials > 0.0, values, np.nan)

    @property
    def residual_variance(self) -> float | None:
        """Variance of the residual on the link scale: σ² (Gaussian), π²/3 (logit) and the like; None for counts."""
        if self.design.family.name != "gaussian":
            return self.design.family.link.residual_variance
        table = self.table()
        return float(table.estimate[table.component == "residual"].iloc[0]) ** 2

    def _values(self) -> Array:
        """Parameters in the order of the table, shape (draws, q); a single row where there is one estimate."""
        return self.table().estimate.to_numpy()[None, :]

    def _means(self, estimand: str) -> Array:
        """Expected responses (per trial) of the model's own rows, shape (draws, n)."""
        return self.predict(estimand=estimand).estimate.to_numpy()[None, :]

    def r2(self, kind: str | None = None, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Nakagawa's R² on the link scale (Nakagawa, Johnson & Schielzeth, 2017).

        Parameters
        ----------
        kind : {"theoretical", "delta", "observation", "lognormal", "trigamma"}, optional
            The residual variance.  ``theoretical`` is the link's own (π²/3 for the logit), and the default of binary
            responses; ``delta`` that of one observation by the delta method, at the mean of the model without
            predictors; for counts also ``lognormal``, ln(1 + 1/λ), and ``trigamma``, their default, which is exact.
            ``observation`` is the best of these that the family has.  A Gaussian model has its σ².  Of a binary
            response it is the variance of one trial, however many a row counts.
        interval : {"bootstrap", "posterior"}, optional
            With limits: by a parametric bootstrap of a likelihood, over the draws of a posterior.
        level : float
        **options
            ``n, seed, workers`` of the bootstrap.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            ``marginal`` (fixed effects alone) and ``conditional`` (groups included); of a posterior the means over
            its draws.  With an interval a table ``estimate, std_error, conf_low, conf_high``.  ``attrs`` names the
            residual variance.

        Raises
        ------
        FitError
            For a kind the family does not have, or an interval the fit does not have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> fit = m.fit_ml()
        >>> fit.r2().round(2).tolist(), fit.r2("delta").round(2).tolist()
        ([0.12, 0.2], [0.1, 0.17])
        >>> fit.r2().attrs["residual"]
        "π²/3, the logit's own"
        """
        from bayesmlm.facts import r2

        return r2(self, kind, interval, level, options)

    def icc(self, kind: str | None = None, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Intraclass correlation of each grouping, adjusted for the fixed effects, on the link scale.

        The share of a grouping in the variance that the fixed effects leave.  Where slopes vary, its variance is the
        mean over the rows (Johnson, 2014).

        Parameters
        ----------
        kind, interval, level, **options
            As in :meth:`r2`.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.icc().round(3).to_dict()
        {'district': 0.07}
        """
        from bayesmlm.facts import icc

        return icc(self, kind, interval, level, options)

    def mor(self, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Median odds ratio of each grouping: exp(√(2 σ²) Φ⁻¹(0.75)) (Larsen & Merlo, 2005).

        Of two people alike but for their groups, chosen at random, the odds of the one in the group of higher odds
        over those of the other, at the median.  Where slopes vary, σ² is the mean over the rows.

        Parameters
        ----------
        interval, level, **options
            As in :meth:`r2`.

        Raises
        ------
        FitError
            For a link other than the logit.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.mor().round(3).to_dict()
        {'district': 1.609}
        """
        from bayesmlm.facts import mor

        return mor(self, interval, level, options)

    def dispersion(self, interval: str | None = None, level: float = 0.95, **options: Any) -> Any:
        """Pearson's χ² over its degrees of freedom, at the fitted values given the groups' own effects.

        A ratio well above 1 is over-dispersion: counts vary more than the family allows.  Of single 0/1 answers it
        says nothing.

        Parameters
        ----------
        interval, level, **options
            As in :meth:`r2`.

        Returns
        -------
        pandas.Series or pandas.DataFrame
            ``chisq, df, ratio, p_value``; of a posterior the means over its draws, without a p-value.

        Raises
        ------
        FitError
            For a Gaussian model, whose dispersion is its residual variance.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", bm.load_dataset("cbpp")).fit_ml()
        >>> fit.dispersion().round(2).to_dict()
        {'chisq': 63.08, 'df': 51.0, 'ratio': 1.24, 'p_value': 0.12}
        """
        from bayesmlm.facts import dispersion

        return dispersion(self, interval, level, options)

    def classification(
        self, threshold: float = 0.5, estimand: str = "conditional", interval: str | None = None, level: float = 0.95,
        **options: Any,
    ) -> Classification:  # fmt: skip
        """Confusion table and rates of classifying the model's own rows.

        Those of a posterior are means over its draws, each of which classifies a little worse than their mean would.

        Parameters
        ----------
        threshold : float
            An event is predicted where its probability is above.
        estimand : {"conditional", "typical", "population"}
            Which probabilities; see :meth:`predict`.
        interval, level, **options
            As in :meth:`r2`; of the rates.

        Returns
        -------
        Classification
            With a ``table`` (observed by row, predicted by column) and named ``rates``.

        Raises
        ------
        FitError
            For a response that is not binary.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> found = m.fit_ml().classification()
        >>> found.table.to_numpy().tolist()
        [[975, 200], [399, 360]]
        >>> found.rates.round(4).to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'accuracy': 0.6903, 'sensitivity': 0.4743, 'specificity': 0.8298, 'ppv': 0.6429, 'npv': 0.7096}
        """
        from bayesmlm.facts import classification

        return classification(self, threshold, estimand, interval, level, options)

    def auc(
        self, estimand: str = "conditional", interval: str | None = None, level: float = 0.95, **options: Any
    ) -> Any:
        """Area under the ROC curve, on the model's own rows.

        The probability that a row with the event is given a higher probability than one without, ties counted half.

        Parameters
        ----------
        estimand, interval, level, **options
            As in :meth:`classification`.

        Returns
        -------
        float or pandas.DataFrame

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> round(m.fit_ml().auc(), 4)
        0.7466
        """
        from bayesmlm.facts import auc

        return auc(self, estimand, interval, level, options)

    def summary(self, style: str | None = None) -> str:
        """The fit as text, laid out as lme4's users expect."""
        from bayesmlm.summary import summarise

        return summarise(self, style)

    def __repr__(self) -> str:
        words = dict.fromkeys([self.name, self.design.formula.text])
        return f"<{type(self).__name__}{self._how} {': '.join(words)}>"

    @property
    def _how(self) -> str:
        """How the reading was made, where its name does not say."""
        return ""
