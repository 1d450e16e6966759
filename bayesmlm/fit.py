"""Fit: the one protocol every reading answers, and the tables they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import DataError, FitError, among

if TYPE_CHECKING:
    import pandas as pd
    from pandas import Series

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
    if not 0.0 < level < 1.0:
        raise FitError(f"level should lie between 0 and 1, for example 0.95, not {level}")
    return level


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
                raise DataError(
                    f"new data: row {row} (counting from 0) is of a {group.name} the model has not seen; "
                    f'predict with new_groups="population" or "zero", or estimand="typical"'
                )
    return PredictionRows(X, offset, tuple(codes for codes, _ in pairs), tuple(z for _, z in pairs))


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
    def table(self, level: float = 0.95, ranef: bool = False) -> pd.DataFrame:
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

    # what follows from it ---------------------------------------------------------------------------------

    @property
    def design(self) -> Design:
        """The arrays the fit was made from."""
        return self.model.design

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

    def residuals(self, kind: str = "pearson") -> pd.Series:
        """Residuals at the fitted values given the groups' own effects, indexed by the user's rows.

        Parameters
        ----------
        kind : {"pearson", "deviance", "response"}
            Of a Gaussian response the first two are √weight × (y − μ), not divided by σ (as lme4's).
        """
        import pandas as pd

        kinds = ("pearson", "deviance", "response")
        if kind not in kinds:
            raise FitError(f'there are no "{kind}" residuals; {among(kind, kinds)}')
        design = self.design
        y, n, mu = design.response.y, design.response.trials, self.fitted()
        weight = design.weights
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _residuals(kind, y, n, mu, weight, design.family.name)
        return pd.Series(values, index=design.rows, name=f"{kind}_residual")

    @property
    def residual_variance(self) -> float | None:
        """Variance of the residual on the link scale: σ² (Gaussian), π²/3 (logit) and the like; None for counts."""
        if self.design.family.name != "gaussian":
            return self.design.family.link.residual_variance
        table = self.table()
        return float(table.estimate[table.component == "residual"].iloc[0]) ** 2

    def _variance_parts(self) -> tuple[float, Series, float]:
        """Variances on the link scale: of the fixed part, of each grouping, of the residual."""
        import pandas as pd

        design, residual = self.design, self.residual_variance
        if residual is None:
            raise FitError(f"the {design.family} family has no latent residual variance: R² and ICC are not defined so")
        fixed = float(np.var(design.X @ self.fixef().to_numpy()))
        table = self.table()
        groups: dict[str, float] = {}
        for group in design.groups:
            own = table[(table.group == group.name) & table.term.isin([*group.terms, *group.pairs])]
            sd = own[own.component == "sd"].estimate.to_numpy()
            R = np.eye(len(sd))
            ia, ib = np.triu_indices(len(sd), 1)
            R[ia, ib] = R[ib, ia] = own[own.component == "cor"].estimate.to_numpy()
            scaled = group.z * sd
            # Mean variance over rows (Johnson, 2014), which is the variance itself for an intercept.
            groups[group.name] = groups.get(group.name, 0.0) + float(np.einsum("ia,ab,ib->i", scaled, R, scaled).mean())
        return fixed, pd.Series(groups, dtype=float), residual

    def r2(self) -> Series:
        """Nakagawa & Schielzeth's (2013) R² on the link scale.

        The residual variance is the theoretical one of a binary response (π²/3 for the logit), σ² of a Gaussian one.

        Returns
        -------
        pandas.Series
            ``marginal`` (fixed effects alone) and ``conditional`` (groups included).
        """
        import pandas as pd

        fixed, groups, residual = self._variance_parts()
        total = fixed + groups.sum() + residual
        return pd.Series({"marginal": fixed / total, "conditional": (fixed + groups.sum()) / total})

    def icc(self) -> Series:
        """Intraclass correlation of each grouping, adjusted for the fixed effects, on the link scale."""
        _, groups, residual = self._variance_parts()
        return (groups / (groups.sum() + residual)).rename("icc")

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
