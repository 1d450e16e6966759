"""MLFit: the likelihood reading of a model; MAPFit: the mode of its posterior, by the same engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.errors import FitError
from bayesmlm.laplace.covariance import factors
from bayesmlm.ml.criteria import Criteria
from bayesmlm.ml.engine import MLSolution, solve_map, solve_ml
from bayesmlm.ml.predictions import prediction_table
from bayesmlm.ml.table import estimates_table
from bayesmlm.ml.triage import Diagnostics, diagnose, remarks, untested_terms
from bayesmlm.ml.wald import hypothesis_table
from bayesmlm.simulation import Parameters, check_seed

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.ml.bootstrapped import Bootstrap
    from bayesmlm.ml.restarts import OptimumCheck

__all__ = ["MAPFit", "MLFit"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class MLFit(Criteria):
    """A model fitted by maximum likelihood, or a Gaussian one by restricted maximum likelihood.

    Attributes
    ----------
    model : Model
    solution : MLSolution
        The numbers, and the facts of the optimisation.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> fit = bm.Model("use ~ age + urban + livch + (1 | district)", d).fit_ml()
    >>> round(fit.aic, 1), fit.converged
    (2427.6, True)
    """

    model: Any
    solution: MLSolution
    engine: ClassVar[str] = "ml"
    reading: ClassVar[str] = "likelihood"

    # tables -------------------------------------------------------------------------------------------------

    def table(self, level: float = 0.95, ranef: bool = False, df: str | None = None) -> pd.DataFrame:
        """Estimates with Wald intervals; see :meth:`bayesmlm.fit.Fit.table`.

        The statistic of a Gaussian model is lme4's t value; its p-value is from the normal distribution unless degrees
        of freedom are asked for.

        Parameters
        ----------
        level : float
        ranef : bool
            Also the conditional modes, with their conditional standard deviations.
        df : {"satterthwaite"}, optional
            Of a Gaussian model: limits and p-values of the fixed effects from t with Satterthwaite's degrees of
            freedom (lmerTest's), in a column ``df``.

        Raises
        ------
        FitError
            For degrees of freedom of a generalised model or a posterior mode: there are none.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.table()[["component", "group", "term"]].values.tolist()
        [['fixed', '', 'Intercept'], ['fixed', '', 'age'], ['sd', 'district', 'Intercept']]
        >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
        >>> m.fit_ml(reml=True).table(df="satterthwaite")[["term", "statistic", "df"]].round(3).head(2).values.tolist()
        [['Intercept', 36.838, 17.0], ['Days', 6.771, 17.0]]
        """
        return estimates_table(self, level, ranef, df)

    def hypothesis(
        self, hypotheses: str | Sequence[str], level: float = 0.95, joint: bool = False, df: str | None = None
    ) -> pd.DataFrame:
        """Test linear hypotheses in the terms of the model, by Wald.

        Parameters
        ----------
        hypotheses : str or sequence of str
            Such as ``"urban[Y] = 0"``, ``"age:ch[Y] - 2*age > 0"`` or ``"livch[1] = livch[2]"``.  Standard deviations
            are ``sd(district)`` and ``sd(district, age)``, a correlation ``cor(district, Intercept, age)``, a Gaussian
            residual's standard deviation ``sigma``.  Numbers may be ``log(2)``, for an odds ratio.
        level : float
            Of the two-sided interval.
        joint : bool
            One Wald test that all the equalities hold.
        df : {"satterthwaite"}, optional
            Of a Gaussian model's fixed effects: t instead of z, and F instead of χ² (lmerTest's ``contestMD``).

        Returns
        -------
        pandas.DataFrame
            ``hypothesis, estimate, std_error, conf_low, conf_high, statistic, p_value``, of the left side minus the
            right one; ``df`` before the p-value where it was asked for.  The p-value is two-sided for ``=``, and
            one-sided for ``>`` and ``<``: small where the data speak for the hypothesis.  Where a standard deviation or
            correlation is estimated at the end of its range there is no test, which ``attrs["notes"]`` says.  With
            ``joint`` one row ``hypothesis, statistic, df, p_value``, the statistic on χ²; or on F, with ``df_denom``
            before the p-value.

        Raises
        ------
        FitError
            For a hypothesis that cannot be read, or names what the fit does not have.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + urban + livch + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.hypothesis(["urban[Y] > log(2)", "livch[1] = livch[2]"]).p_value.round(3).tolist()
        [0.369, 0.113]
        >>> fit.hypothesis(["livch[1] = livch[2]", "livch[2] = livch[3+]"], joint=True).round(3).iloc[0, 1:].tolist()
        [2.953, 2.0, 0.228]
        """
        return hypothesis_table(self, hypotheses, level, joint, df)

    def _untested(self, df: str | None = None) -> dict[str, str]:
        return untested_terms(self.diagnostics())

    def _degrees(self, T: Array, df: str) -> Array:
        from bayesmlm.ml.satterthwaite import variance_of

        return variance_of(self, df).degrees_of_freedom(T)

    def _bootstrapped(self, statistic: Callable[[Any], Array], **options: Any) -> Array:
        """Values of a statistic of the fit over bootstrap replicates, shape (n, k)."""
        return self.bootstrap(statistic, **options).kept

    def _interval(self, level: float) -> str:
        return f"{100 * level:g}% Wald"

    def vcov(self, kind: str = "hessian") -> pd.DataFrame:
        """Covariance of the fixed effects.

        Parameters
        ----------
        kind : {"hessian", "conditional"}
            From the exact Hessian in all parameters (lme4's default), or given the variances (lme4's RX).  In a
            Gaussian model fitted by maximum likelihood or REML they are one, as in lme4.
        """
        import pandas as pd

        p, terms = len(self.design.terms), list(self.design.terms)
        if kind not in ("hessian", "conditional"):
            raise FitError(f'vcov knows "hessian" and "conditional", not "{kind}"')
        V = self.solution.covariance[:p, :p] if kind == "hessian" else self.solution.conditional_covariance
        return pd.DataFrame(V, index=terms, columns=terms)

    # the search and what it found ---------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the gradient vanishes and the information is positive definite."""
        return self.solution.optimum.converged

    @property
    def notes(self) -> list[str]:
        """What the reader should know, in sentences."""
        design, solution = self.design, self.solution
        out = [*design.notes, *remarks(design, solution)]
        out += [finding.sentence for finding in diagnose(design, solution).findings]
        return out + self._more_notes()

    def diagnostics(self) -> Diagnostics:
        """What the search, the boundary, the approximation and the groups say; ends in one verdict sentence.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + urban + livch + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.diagnostics().ok
        True
        """
        return diagnose(self.design, self.solution)

    def check_optimum(self, n: int = 10, seed: int = 1) -> OptimumCheck:
        """Search again from points strewn around the estimates, and say whether anything higher was found.

        Parameters
        ----------
        n : int
            Searches; each costs about a fit.
        seed : int
            The same seed gives the same points.

        Returns
        -------
        OptimumCheck
            With ``verdict``, ``values``, ``reached`` and, where one is higher, the ``better`` fit.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.check_optimum(n=5).verdict
        '5 of 5 searches from other points ended at the log-likelihood of this fit, -1251.5862.'
        """
        from bayesmlm.ml.restarts import OptimumCheck, search_again

        value, values, better = search_again(self.design, self.solution, check_count("n", n), check_seed(seed))
        what = "log-likelihood" if np.isnan(self.solution.log_prior) else "log-posterior"
        return OptimumCheck(value, values, None if better is None else type(self)(self.model, better), what)

    def _more_notes(self) -> list[str]:
        """What a posterior mode has to add."""
        return []

    # other responses ----------------------------------------------------------------------------------------

    def _parameters(self, seed: int) -> Iterable[Parameters]:
        solution = self.solution
        lams = tuple(factors(solution.theta, tuple(len(group.terms) for group in self.design.groups)))
        return repeat(Parameters(solution.beta, lams, solution.sigma, solution.modes))

    def _again(self, model: Any) -> Self:
        solution = self.solution
        return type(self)(model, solve_ml(model.design, solution.n_agq, solution.reml, solution.information))

    # predictions --------------------------------------------------------------------------------------------

    def predict(
        self,
        newdata: Any = None,
        kind: str = "response",
        estimand: str = "conditional",
        new_groups: str = "population",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Predictions with standard errors and intervals.

        Parameters
        ----------
        newdata : data frame, optional
            The model's own rows without it.
        kind : {"response", "link"}
        estimand : {"conditional", "typical", "population"}
            Given the groups' own effects, in a group whose effects are zero, or averaged over groups.
        new_groups : {"population", "zero", "error"}
            For ``conditional``, what to do with groups the model has not seen.
        level : float

        Returns
        -------
        pandas.DataFrame
            ``estimate, std_error, conf_low, conf_high``.  Standard errors contain the uncertainty of β and, for
            ``conditional``, of the groups' effects given the variances; for ``population``, of β and the variances.

        Raises
        ------
        DataError, FitError
            For new data that do not fit, or an estimand that does not exist.

        Examples
        --------
        >>> import bayesmlm as bm, pandas as pd
        >>> d = bm.load_dataset("contraception")
        >>> fit = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", d).fit_ml()
        >>> new = pd.DataFrame({"age": [0.0], "ch": ["N"], "urban": ["N"]})
        >>> round(float(fit.predict(new, estimand="typical").estimate[0]), 3)
        0.207
        """
        return prediction_table(self, newdata, kind, estimand, new_groups, level)

    # intervals ----------------------------------------------------------------------------------------------

    def confint(
        self,
        method: str = "wald",
        level: float = 0.95,
        parm: str | Sequence[str] | None = None,
        n_boot: int = 1000,
        seed: int | None = None,
        workers: int | None = None,
        kind: str = "percentile",
    ) -> pd.DataFrame:
        """Confidence limits of the quantities in :meth:`table`.

        Parameters
        ----------
        method : {"wald", "profile", "bootstrap"}
            Normal limits around the estimate; limits where the profile likelihood is as far below its maximum as a
            normal one would be (lme4's default; of a fit by REML the likelihood is profiled); or limits from refits to
            responses drawn from the model, see :func:`bayesmlm.ml.bootstrap.bootstrap`.
        level : float
        parm : str or sequence of str, optional
            Components (``"sd"``), groups or terms to restrict the rows to.
        n_boot, seed, workers
            Replicates of the bootstrap, what makes them reproducible, and processes.
        kind : {"percentile", "basic", "normal"}
            Of the bootstrap.

        Returns
        -------
        pandas.DataFrame
            ``component, group, term, estimate, conf_low, conf_high``; ``attrs`` say how they were found.  A profile
            limit that the likelihood does not reach is the end of the range, and NaN where it could not be followed.

        Raises
        ------
        FitError
            For a method that does not exist, or that the fit does not admit.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.confint("profile", parm="sd").round(3).values.tolist()
        [['sd', 'district', 'Intercept', 0.434, 0.3, 0.604]]
        """
        from bayesmlm.ml.intervals import confidence_limits

        return confidence_limits(self, method, level, parm, n_boot, seed, workers, kind)

    def profile(self, parm: str | Sequence[str] | None = None, level: float = 0.99, points: int = 8) -> pd.DataFrame:
        """Profiles of the likelihood: what is lost by each value of a quantity, all others at their best for it.

        Parameters
        ----------
        parm : str or sequence of str, optional
            Components, groups or terms to restrict the quantities to.
        level : float
            Of the interval the profiles cover.
        points : int
            On either side of the estimate.

        Returns
        -------
        pandas.DataFrame
            ``component, group, term, value, zeta``, a row per point: ζ is the signed root of twice the loss, 0 at the
            estimate and a straight line where the Wald interval is right.

        Raises
        ------
        FitError
            For a fit whose likelihood cannot be profiled, see :meth:`confint`.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.profile("sd", level=0.95, points=1)[["value", "zeta"]].round(2).values.tolist()
        [[0.3, -1.96], [0.43, 0.0], [0.6, 1.96]]
        """
        from bayesmlm.ml.intervals import profile_table

        return profile_table(self, parm, level, points)

    def bootstrap(
        self,
        statistic: Callable[[Any], Any] | None = None,
        n: int = 1000,
        seed: int | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Bootstrap:
        """Parametric bootstrap; see :func:`bayesmlm.ml.bootstrap.bootstrap`."""
        from bayesmlm.ml.bootstrap import bootstrap

        return bootstrap(self, statistic, n, seed, workers, progress)

    @property
    def _how(self) -> str:
        return " by REML" if self.solution.reml else ""


@dataclass(frozen=True, slots=True, repr=False)
class MAPFit(MLFit):
    """The posterior mode of a model: where likelihood times priors is highest, group effects integrated out.

    Standard errors and intervals are normal, from the curvature of the log-posterior at the mode.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> ml, mode = m.fit_ml(), m.fit_map()
    >>> mode.loglik < ml.loglik, bool(mode.varcorr().sd[0] > ml.varcorr().sd[0])
    (True, True)
    """

    engine: ClassVar[str] = "map"
    reading: ClassVar[str] = "mode"

    @property
    def log_prior(self) -> float:
        """Log-density of the priors at the mode, on the user's scale."""
        return self.solution.log_prior

    @property
    def log_posterior(self) -> float:
        """Log-likelihood plus log-prior at the mode (the posterior's own constant is not known)."""
        return self.loglik + self.log_prior

    def _again(self, model: Any) -> Self:
        return type(self)(model, solve_map(model.design, self.solution.n_agq, self.solution.information))

    def _more_notes(self) -> list[str]:
        return ["AIC and BIC are of the likelihood at the posterior mode, which is not its maximum."]

    def _interval(self, level: float) -> str:
        return f"{100 * level:g}% normal, from the curvature of the log-posterior"
