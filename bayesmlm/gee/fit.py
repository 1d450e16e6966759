"""GEEFit: the population reading of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.facts.classification import Classification, auc, classification
from bayesmlm.gee.clusters import RUNS
from bayesmlm.gee.criteria import quasi_criteria, quasi_likelihood
from bayesmlm.gee.engine import GEESolution, coefficient_covariance, solve_gee
from bayesmlm.gee.options import COVARIANCES, FLAVOURS, Options
from bayesmlm.gee.predictions import check_estimand, prediction_table
from bayesmlm.gee.refusals import WithoutLikelihood
from bayesmlm.gee.remarks import Diagnostics, findings_of, remarks, untested
from bayesmlm.gee.table import degrees_of_freedom, estimates_table, row_labels
from bayesmlm.gee.wald import hypothesis_table
from bayesmlm.sheets import Sheet
from bayesmlm.tables import chosen_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GEEFit"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class GEEFit(WithoutLikelihood):
    """A model of the population's means, fitted by generalised estimating equations.

    Attributes
    ----------
    model : Model
    options : Options
        What was asked for.
    solution : GEESolution
        The numbers.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> table = m.fit_gee().table()
    >>> table[["component", "group", "term", "estimate"]].round(3).values.tolist()  # doctest: +NORMALIZE_WHITESPACE
    [['fixed', '', 'Intercept', -0.672], ['fixed', '', 'urban[Y]', 0.611], ['scale', '', 'scale', 1.005],
     ['alpha', 'district', 'alpha', 0.057]]
    """

    model: Any
    options: Options
    solution: GEESolution
    engine: ClassVar[str] = "gee"
    reading: ClassVar[str] = "population"

    @property
    def design(self) -> Design:
        """The arrays the fit was made from: the model's without group effects."""
        return replace(self.model.design, groups=())

    # tables -------------------------------------------------------------------------------------------------

    def table(self, level: float = 0.95, ranef: bool = False, df: str | None = None) -> pd.DataFrame:
        """Coefficients, scale and working correlations, with Wald intervals; see :meth:`bayesmlm.fit.Fit.table`.

        Standard errors of the coefficients are those asked for (``se=``); those of scale and correlations are robust,
        and R's gee has none.

        Parameters
        ----------
        level : float
        ranef : bool
            A GEE has no group effects: the same table.
        df : {"clusters"}, optional
            Limits and p-values of the coefficients from t with clusters minus coefficients degrees of freedom, in a
            column ``df``: for few clusters, beside ``se="bias_corrected"``.

        Raises
        ------
        FitError
            For another rule.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
        >>> fit.table(df="clusters")[["term", "std_error", "df"]].round(3).head(2).values.tolist()
        [['Intercept', 0.094, 58.0], ['urban[Y]', 0.154, 58.0]]
        """
        return estimates_table(self, level, df)

    def vcov(self, kind: str | None = None) -> pd.DataFrame:
        """Covariance of the coefficients.

        Parameters
        ----------
        kind : {"robust", "naive", "bias_corrected", "mancl_derouen", "kauermann_carroll", "fay_graubard"}, optional
            The one asked for in ``se=`` without it.  ``bias_corrected`` is Mancl and DeRouen's.

        Raises
        ------
        FitError
            For a kind that does not exist, or a correction that is not defined here.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
        >>> {kind: round(float(fit.vcov(kind).iloc[1, 1]) ** 0.5, 4) for kind in ("naive", "robust", "mancl_derouen")}
        {'naive': 0.1107, 'robust': 0.1545, 'mancl_derouen': 0.1597}
        """
        import pandas as pd

        kind = self.options.se if kind is None else kind
        if kind not in COVARIANCES:
            raise FitError(f'there is no covariance "{kind}"; {among(kind, COVARIANCES)}')
        V = coefficient_covariance(self.design, self.model.data, self.options, self.solution, kind)
        terms = list(self.design.terms)
        return pd.DataFrame(V, index=terms, columns=terms)

    def working_correlation(self) -> pd.DataFrame:
        """The working correlation of a cluster that has every visit, visit × visit.

        Without ``time=`` visits are the places within the largest cluster.

        Raises
        ------
        FitError
            Of clusters too large to be looked at.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("Reaction ~ Days", bm.load_dataset("sleepstudy"), family="gaussian")
        >>> fit = m.fit_gee(groups="Subject", corr="ar1", time="Days")
        >>> fit.working_correlation().round(2).iloc[0, :4].to_dict()
        {'0': 1.0, '1': 0.85, '2': 0.73, '3': 0.62}
        """
        import pandas as pd

        visits = list(self.solution.visits)
        if not visits:
            raise FitError(
                f"the clusters have up to {self.solution.sizes[2]} rows, too many to write their correlations out; its "
                f"parameters are in fit.table()"
            )
        return pd.DataFrame(self.solution.correlation, index=visits, columns=visits)

    def hypothesis(
        self, hypotheses: str | Sequence[str], level: float = 0.95, joint: bool = False, df: str | None = None
    ) -> pd.DataFrame:
        """Test linear hypotheses by Wald; see :meth:`bayesmlm.ml.fit.MLFit.hypothesis`.

        Parameters
        ----------
        hypotheses : str or sequence of str
            In the terms of the model, ``scale``, ``alpha`` or, of visits, ``alpha(1, 2)``.
        level : float
        joint : bool
            One test that all the equalities hold.
        df : {"clusters"}, optional
            t instead of z, and F instead of χ², with clusters minus coefficients degrees of freedom.

        Raises
        ------
        FitError
            For a hypothesis that cannot be read, or is of estimates without standard errors.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age + livch", bm.load_dataset("contraception"))
        >>> fit = m.fit_gee(groups="district")
        >>> fit.hypothesis(["livch[1] = livch[2]", "livch[2] = livch[3+]"], joint=True).round(3).iloc[0, 1:].tolist()
        [2.95, 2.0, 0.229]
        >>> fit.hypothesis("alpha > 0").p_value.round(4).tolist()
        [0.002]
        """
        return hypothesis_table(self, hypotheses, level, joint, df)

    def _untested(self, df: str | None = None) -> dict[str, str]:
        return untested(self.options, self.solution, len(self.design.terms), df)

    def _degrees(self, T: Array, df: str) -> Array:
        return np.full(len(T), degrees_of_freedom(self, df))

    @property
    def _columns_taken(self) -> tuple[str, ...]:
        options = self.options
        groups = options.groups.removeprefix(RUNS).split(":")
        return (*groups, *([options.time] if options.time else []))

    def confint(
        self, method: str = "wald", level: float = 0.95, parm: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Wald limits of the quantities in :meth:`table`.

        Parameters
        ----------
        method : {"wald"}
        level : float
        parm : str or sequence of str, optional
            Components (``"alpha"``), groups or terms to restrict the rows to.

        Raises
        ------
        FitError
            For the methods of a likelihood.
        """
        if method != "wald":
            raise FitError(f'a GEE has no "{method}" limits, for it has no likelihood: its method is "wald"')
        table = self.table(level)
        out = table.iloc[chosen_rows(row_labels(self), parm)]
        out = out[["component", "group", "term", "estimate", "conf_low", "conf_high"]].reset_index(drop=True)
        out.attrs.update(table.attrs, method=method)
        return out

    # what stands for a likelihood ---------------------------------------------------------------------------

    def qic(self, scale: float = 1.0) -> pd.Series:
        """Quasi-likelihood criteria (Pan, 2001): the smaller, the better.

        ``qic`` compares working correlations and means, ``qicu`` means under one correlation, ``cic`` correlations.
        They are geepack's, but that responses with trials or weights count by these.

        Parameters
        ----------
        scale : float
            Of the quasi-likelihood.  1 is right for binary responses and counts without over-dispersion; to compare
            means of Gaussian responses give the scale of the largest model to all of them.

        Returns
        -------
        pandas.Series
            ``qic, qicu, cic, quasi_loglik``.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ urban", bm.load_dataset("contraception"))
        >>> {corr: round(float(m.fit_gee("district", corr).qic().cic), 2) for corr in ("independence", "exchangeable")}
        {'independence': 6.54, 'exchangeable': 4.74}
        """
        import pandas as pd

        if isinstance(scale, bool) or not isinstance(scale, int | float | np.number) or not scale > 0.0:
            raise FitError(f"scale should be a number above 0, not {scale!r}")
        design, solution = self.design, self.solution
        counted = design.weights * design.freq * design.response.trials
        used = counted > 0.0
        mu = design.family.link.inverse(design.offset + design.X @ solution.beta)[used]
        y = design.response.y[used] / design.response.trials[used]
        quasi = quasi_likelihood(design.family, y, counted[used], mu)
        plain = replace(self.options, corr="independence", matrix=None, tol=None, se="naive")
        naive = solve_gee(design, self.model.data, plain).naive
        found = quasi_criteria(quasi, float(scale), naive, solution.robust)
        return pd.Series({field.name: getattr(found, field.name) for field in fields(found)}, name="qic")

    @property
    def df_model(self) -> int:
        """Number of coefficients, as R counts them: scale and correlations are means to their end."""
        return len(self.design.terms)

    @property
    def residual_variance(self) -> float | None:
        """The scale of a Gaussian response; elsewhere the latent residual's, as of every fit."""
        family = self.design.family
        return self.solution.scale if family.name == "gaussian" else family.link.residual_variance

    # predictions ----------------------------------------------------------------------------------------------

    def predict(
        self,
        newdata: Any = None,
        kind: str = "response",
        estimand: str = "population",
        new_groups: str = "population",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Means of the population with standard errors and intervals.

        Parameters
        ----------
        newdata : data frame, optional
            The model's own rows without it.  Clusters are not needed.
        kind : {"response", "link"}
        estimand : {"population"}
        new_groups : str
            Without meaning here.
        level : float

        Raises
        ------
        DataError, FitError
            For new data that do not fit, or another estimand.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
        >>> fit.predict({"urban": ["N", "Y"]}).estimate.round(3).tolist()
        [0.338, 0.485]
        """
        return prediction_table(self, newdata, kind, estimand, level)

    def _means(self, estimand: str) -> Array:
        check_estimand(estimand)
        return self.predict().estimate.to_numpy()[None, :]

    def classification(
        self, threshold: float = 0.5, estimand: str = "population", interval: str | None = None, level: float = 0.95,
        **options: Any,
    ) -> Classification:  # fmt: skip
        """Confusion table and rates at the population's means; see :meth:`bayesmlm.fit.Fit.classification`."""
        self._refuse_interval(interval)
        return classification(self, threshold, estimand, None, level, options)

    def auc(
        self, estimand: str = "population", interval: str | None = None, level: float = 0.95, **options: Any
    ) -> Any:
        """Area under the ROC curve of the population's means; see :meth:`bayesmlm.fit.Fit.auc`."""
        self._refuse_interval(interval)
        return auc(self, estimand, None, level, options)

    def _refuse_interval(self, interval: str | None) -> None:
        if interval is not None:
            raise FitError(f'a GEE has no distribution to draw from, and so no interval="{interval}" of this')

    # how it went ----------------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the iteration came to rest."""
        return self.solution.converged

    @property
    def notes(self) -> list[str]:
        """What the reader should know, in sentences."""
        design = self.model.design
        found = findings_of(self.options, self.solution, len(design.terms))
        return [*design.notes, *remarks(design, self.options, self.solution), *found]

    def diagnostics(self) -> Diagnostics:
        """What the iteration, the working correlation and the number of clusters say; ends in a verdict.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
        >>> fit.diagnostics().verdict
        'The estimates can be trusted: the estimating equations are solved after 7 iterations.'
        """
        solution = self.solution
        found = findings_of(self.options, solution, len(self.design.terms))
        return Diagnostics(found, solution.iterations, solution.change)

    def _sheet(self, style: str | None = None, df: str | None = None, exponentiate: bool = False) -> Sheet:
        from bayesmlm.gee.summary import population_sheet

        return population_sheet(self, style, df, exponentiate)

    @property
    def _how(self) -> str:
        said = FLAVOURS[self.options.flavour]
        return f" ({self.options.corr}, {self.options.groups}{f', {said}' if said else ''})"

    # other responses ------------------------------------------------------------------------------------------

    def _again(self, model: Any) -> Self:
        return type(self)(model, self.options, solve_gee(model.design, model.data, self.options))
