"""Fit: the one protocol every reading answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.arguments import check_count, check_kind, check_level
from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.estimands import ESTIMANDS, PredictionRows, prediction_rows
from bayesmlm.facts.verbs import Facts
from bayesmlm.frames import row_labels
from bayesmlm.residuals import KINDS, residuals_of
from bayesmlm.simulation import (
    Parameters,
    SimulationRows,
    check_seed,
    generator,
    scaled_residuals,
    simulate,
    simulation_rows,
)
from bayesmlm.standardising import Standardising
from bayesmlm.summary.verbs import Telling
from bayesmlm.tables import COMPONENTS, chosen_rows, labelled, labels, ranef_labels, wald_limits

if TYPE_CHECKING:
    import pandas as pd

# The names an engine needs to answer the protocol, from their own rooms.
__all__ = [
    "COMPONENTS",
    "ESTIMANDS",
    "Fit",
    "PredictionRows",
    "check_count",
    "check_kind",
    "check_level",
    "chosen_rows",
    "labelled",
    "labels",
    "prediction_rows",
    "ranef_labels",
    "wald_limits",
]

Array = np.ndarray[Any, Any]


class Fit(Facts, Standardising, Telling, ABC):
    """A fitted model.  It exists only when it is fitted, is frozen, and keeps a reference to its model.

    Every reading answers the same verbs with the same labels.

    Attributes
    ----------
    model : Model
    engine : str
        What made it: ``ml``, ``map``, ``nuts``, ``marginal`` or ``gee``.
    reading : {"likelihood", "mode", "posterior", "population"}
        What it is: a maximised likelihood, a posterior's mode, draws of a posterior, or means of the population.
    """

    engine: ClassVar[str] = ""
    reading: ClassVar[str] = ""
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

        if kind not in KINDS:
            raise FitError(f'there are no "{kind}" residuals; {among(kind, KINDS)}')
        design = self.design
        if kind == "simulated":
            return pd.Series(self._simulated(seed, simulations, groups), index=self._index(), name="simulated_residual")
        y, n, mu = design.response.y, design.response.trials, self.fitted()
        weight = design.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            values = residuals_of(kind, y, n, mu, weight, design.family.name)
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

    def __repr__(self) -> str:
        words = dict.fromkeys([self.name, self.design.formula.text])
        return f"<{type(self).__name__}{self._how} {': '.join(words)}>"

    @property
    def _how(self) -> str:
        """How the reading was made, where its name does not say."""
        return ""
