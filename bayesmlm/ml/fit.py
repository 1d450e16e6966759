"""MLFit: the likelihood reading of a model; MAPFit: the mode of its posterior, by the same engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import (
    ESTIMANDS,
    Fit,
    check_count,
    check_kind,
    check_level,
    labelled,
    labels,
    prediction_rows,
    ranef_labels,
    wald_limits,
)
from bayesmlm.hypotheses import Hypothesis, joint_wald, read_hypotheses, wald
from bayesmlm.laplace.covariance import factors, sd_cor, sd_cor_jacobian
from bayesmlm.ml.boundary import boundaries
from bayesmlm.ml.engine import MLSolution, solve_map, solve_ml
from bayesmlm.ml.triage import Diagnostics, diagnose, remarks
from bayesmlm.prediction import averaged_mean
from bayesmlm.simulation import Parameters, check_seed

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.ml.bootstrap import Bootstrap
    from bayesmlm.ml.restarts import OptimumCheck

__all__ = ["MAPFit", "MLFit"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class MLFit(Fit):
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

    # tables -------------------------------------------------------------------------------------------------

    @property
    def _columns(self) -> tuple[int, ...]:
        return tuple(len(group.terms) for group in self.design.groups)

    def _variance_parameters(self) -> tuple[Array, Array]:
        """Standard deviations, then correlations, of all terms, with their standard errors (delta method)."""
        solution, p = self.solution, len(self.design.terms)
        parts = [sd_cor(lam) for lam in factors(solution.theta, self._columns)]
        values = [np.concatenate(part) for part in parts]
        jacobian = sd_cor_jacobian(solution.theta, self._columns)
        of_theta = solution.covariance[p : p + len(solution.theta), p : p + len(solution.theta)]
        errors = np.sqrt(np.maximum(np.diag(jacobian @ of_theta @ jacobian.T), 0.0))
        ends = boundaries(self.design, solution.theta, solution.sigma)
        errors[np.concatenate([end.without_error for end in ends])] = np.nan
        for value, end in zip(values, ends, strict=True):
            value[: len(end.terms)][np.array(end.vanished)] = 0.0
            value[len(end.terms) :][end.undefined] = np.nan
        is_sd = np.concatenate([np.arange(len(v)) < k for v, k in zip(values, self._columns, strict=True)])
        flat = np.concatenate(values)
        order = np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])
        return flat[order], errors[order]

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
        check_level(level)
        solution, design = self.solution, self.design
        p = len(design.terms)
        estimate, error = solution.beta, np.sqrt(np.diag(solution.covariance)[:p])
        rows = labels(design)
        if design.groups:
            values, errors = self._variance_parameters()
            estimate, error = np.concatenate([estimate, values]), np.concatenate([error, errors])
        if design.family.name == "gaussian":
            estimate = np.append(estimate, solution.sigma)
            error = np.append(error, np.sqrt(solution.covariance[-1, -1]))
        if ranef:
            rows = [*rows, *ranef_labels(design)]
            estimate = np.concatenate([estimate, *(m.ravel() for m in solution.modes)])
            sds = [np.sqrt(np.diagonal(V, axis1=1, axis2=2)).ravel() for V in solution.mode_covariances]
            error = np.concatenate([error, *sds])
        low, high = wald_limits(estimate, error, level)
        kind = np.array([row[0] for row in rows])
        low = np.where(kind == "cor", np.maximum(low, -1.0), low)
        low = np.where((kind == "sd") | (kind == "residual"), np.maximum(low, 0.0), low)
        high = np.where(kind == "cor", np.minimum(high, 1.0), high)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(kind == "fixed", estimate / error, np.nan)
        out = labelled(
            rows,
            {
                "estimate": estimate,
                "std_error": error,
                "conf_low": low,
                "conf_high": high,
                "statistic": z,
                "p_value": np.array([math.erfc(abs(v) / math.sqrt(2.0)) for v in z]),
            },
        )
        out.attrs.update(interval=self._interval(level), estimand=ESTIMANDS["conditional"], engine=self.engine)
        return out if df is None else self._on_t(out, df, level)

    def _on_t(self, table: pd.DataFrame, df: str, level: float) -> pd.DataFrame:
        """The table with limits and p-values of its fixed effects from the t distribution."""
        from scipy.special import stdtr, stdtrit

        p = len(self.design.terms)
        degrees = np.full(len(table), np.nan)
        degrees[:p] = self._degrees_of_freedom(df, np.eye(p))
        fixed = table.iloc[:p]
        width = stdtrit(degrees[:p], 0.5 + level / 2.0) * fixed.std_error
        p_value = np.append(2.0 * stdtr(degrees[:p], -np.abs(fixed.statistic)), table.p_value.iloc[p:])
        out = table.assign(
            conf_low=np.append(fixed.estimate - width, table.conf_low.iloc[p:]),
            conf_high=np.append(fixed.estimate + width, table.conf_high.iloc[p:]),
            p_value=p_value,
        )
        out.insert(out.columns.get_loc("p_value"), "df", degrees)
        out.attrs.update(table.attrs, interval=f"{level:.0%} t, Satterthwaite's degrees of freedom (fixed effects)")
        return out

    def _degrees_of_freedom(self, df: str, L: Array) -> Array:
        """Degrees of freedom of the combinations L β of a Gaussian model's fixed effects."""
        if df != "satterthwaite":
            raise FitError(f'df should be None or "satterthwaite", not {df!r}')
        if self.design.family.name != "gaussian":
            raise FitError(
                f"Satterthwaite's degrees of freedom are those of an estimated residual variance, of gaussian models; "
                f"the {self.design.family} family has none, and its statistic is z"
            )
        if self.engine != "ml":
            raise FitError(
                "a posterior mode has no degrees of freedom, which are of a maximum of the likelihood: use fit_ml()"
            )
        from bayesmlm.ml.satterthwaite import fixed_variance

        solution = self.solution
        return fixed_variance(self.design, solution.theta, solution.sigma, solution.reml).degrees_of_freedom(L)

    def _covariance(self) -> Array:
        """Covariance of all quantities of the table, in its order; NaN where a standard deviation is zero."""
        solution, p, q = self.solution, len(self.design.terms), len(self.solution.theta)
        sizes = self._columns
        is_sd = np.concatenate([np.arange(k * (k + 1) // 2) < k for k in sizes]) if sizes else np.zeros(0, dtype=bool)
        order = np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])
        J = np.eye(len(solution.covariance))
        J[p : p + q, p : p + q] = sd_cor_jacobian(solution.theta, sizes)[order]
        with np.errstate(invalid="ignore"):
            return J @ solution.covariance @ J.T

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
            Of a Gaussian model's fixed effects: t instead of z.

        Returns
        -------
        pandas.DataFrame
            ``hypothesis, estimate, std_error, conf_low, conf_high, statistic, p_value``, of the left side minus the
            right one; ``df`` before the p-value where it was asked for.  The p-value is two-sided for ``=``, and
            one-sided for ``>`` and ``<``: small where the data speak for the hypothesis.  With ``joint`` one row
            ``hypothesis, statistic, df, p_value``, the statistic on χ².

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
        import pandas as pd

        check_level(level)
        read = read_hypotheses(hypotheses, labels(self.design))
        estimate, covariance = self.table().estimate.to_numpy(), self._covariance()
        if joint:
            if df is not None:
                raise FitError("a joint test is on χ²; degrees of freedom of t are for single hypotheses")
            test = joint_wald(read, estimate, covariance)
            both = {"hypothesis": ", ".join(h.text for h in read), "statistic": test.statistic, "df": test.df}
            return pd.DataFrame([{**both, "p_value": test.p_value}])
        degrees = np.full(len(read), np.inf)
        if df is not None:
            degrees = self._degrees_of_freedom(df, self._of_fixed_effects(read))
        rows = np.array([wald(h, estimate, covariance, level, d) for h, d in zip(read, degrees, strict=True)])
        names = ["estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value"]
        out = pd.DataFrame(rows, columns=names)
        out.insert(0, "hypothesis", [h.text for h in read])
        if df is not None:
            out.insert(6, "df", degrees)
        notes = [
            f"{h.text}: no test, it puts {h.boundary}, the end of its range; bm.drop1() and bm.anova() test that."
            for h in read
            if h.boundary
        ]
        interval = self._interval(level) if df is None else f"{level:.0%} t, Satterthwaite's degrees of freedom"
        out.attrs.update(interval=interval, notes=notes)
        return out

    def _of_fixed_effects(self, hypotheses: Sequence[Hypothesis]) -> Array:
        p = len(self.design.terms)
        for h in hypotheses:
            if h.weights[p:].any():
                raise FitError(f'degrees of freedom are of fixed effects; "{h.text}" is not of these alone')
        return np.array([h.weights[:p] for h in hypotheses])

    def _bootstrapped(self, statistic: Callable[[Any], Array], **options: Any) -> Array:
        """Values of a statistic of the fit over bootstrap replicates, shape (n, k)."""
        return self.bootstrap(statistic, **options).kept

    def _interval(self, level: float) -> str:
        return f"{level:.0%} Wald"

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

    # facts --------------------------------------------------------------------------------------------------

    @property
    def loglik(self) -> float:
        """Log-likelihood at the estimates, all constants kept; the restricted one of a fit by REML."""
        return self.solution.loglik

    @property
    def deviance(self) -> float:
        """−2 log-likelihood, as lme4's summary prints it; of a fit by REML the same as ``reml_criterion``."""
        return -2.0 * self.solution.loglik

    @property
    def reml_criterion(self) -> float:
        """−2 restricted log-likelihood, lme4's "REML criterion at convergence".

        Raises
        ------
        FitError
            For a fit that is not by REML.
        """
        if not self.solution.reml:
            raise FitError(
                f"{self.name} was not fitted by REML and has no REML criterion; its −2 log-likelihood is fit.deviance"
            )
        return -2.0 * self.solution.loglik

    @property
    def sigma(self) -> float:
        """Residual standard deviation of a Gaussian model, NaN elsewhere."""
        return self.solution.sigma

    @property
    def null_deviance(self) -> float:
        """−2 log-likelihood (never restricted) of the intercept alone, without groups.

        NaN at a posterior mode of a response that is the same in every row: there is no such maximum.
        """
        return -2.0 * self.solution.null_loglik

    @property
    def aic(self) -> float:
        """Akaike's information criterion, of the restricted likelihood where that was maximised (as lme4's)."""
        return self.deviance + 2.0 * self.df_model

    @property
    def aicc(self) -> float:
        """AIC corrected for few observations (Hurvich & Tsai, 1989).

        Raises
        ------
        FitError
            Where there are not two observations more than parameters.
        """
        k, left = self.df_model, self.nobs - self.df_model - 1
        if left <= 0:
            raise FitError(f"AICc needs more than {k + 1} observations for {k} parameters; there are {self.nobs}")
        return self.aic + 2.0 * k * (k + 1) / left

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with the number of observations; of the restricted likelihood as ``aic``."""
        return self.deviance + float(np.log(self.nobs)) * self.df_model

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
        lams = tuple(factors(solution.theta, self._columns))
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
        import pandas as pd

        check_level(level)
        check_kind(kind)
        design, solution = self.design, self.solution
        rows = prediction_rows(design, newdata, estimand, new_groups)
        p, q, link = len(design.terms), len(solution.theta), design.family.link
        eta = rows.offset + rows.X @ solution.beta
        # Derivative of η in β, effects of known groups moving along; variance of those effects given β.
        slope, extra, spread = rows.X.copy(), np.zeros(len(eta)), np.zeros(len(eta))
        spread_slopes = np.zeros((len(eta), q))
        at = 0
        for t, lam in enumerate(factors(solution.theta, self._columns)):
            size = len(lam) * (len(lam) + 1) // 2
            if estimand != "typical":
                z, codes = rows.z[t], rows.codes[t]
                known = (codes >= 0) & (estimand == "conditional")
                b, V, S = solution.modes[t], solution.mode_covariances[t], solution.sensitivities[t]
                own = codes[known]
                eta[known] += np.einsum("ia,ia->i", z[known], b[own])
                extra[known] += np.einsum("ia,iab,ib->i", z[known], V[own], z[known])
                slope[known] += np.einsum("ia,iap->ip", z[known], S[own])
                integrated = ~known & (new_groups != "zero" or estimand == "population")
                m = z @ lam
                spread += np.where(integrated, np.einsum("ia,ia->i", m, m), 0.0)
                pairs = [(a, c) for c in range(len(lam)) for a in range(c, len(lam))]
                for place, (a, c) in enumerate(pairs):
                    spread_slopes[:, at + place] = np.where(integrated, 2.0 * z[:, a] * m[:, c], 0.0)
            at += size
        C = solution.covariance[: p + q, : p + q]
        if kind == "link":
            variance = np.einsum("ip,pq,iq->i", slope, C[:p, :p], slope) + extra + spread
            se = np.sqrt(variance)
            low, high = wald_limits(eta, se, level)
            out = pd.DataFrame({"estimate": eta, "std_error": se, "conf_low": low, "conf_high": high})
        else:
            # On the identity link the average over groups is the typical mean.
            averages = spread.any() and link.name != "identity"
            mean, d_eta, d_sd = averaged_mean(eta, spread, link) if averages else (
                link.inverse(eta), link.derivative(eta), np.zeros(len(eta)))  # fmt: skip
            sd = np.sqrt(spread)
            with np.errstate(divide="ignore", invalid="ignore"):
                d_theta = np.where(sd[:, None] > 0, d_sd[:, None] * spread_slopes / (2.0 * sd[:, None]), 0.0)
            jacobian = np.hstack([d_eta[:, None] * slope, d_theta])
            se = np.sqrt(np.einsum("ip,pq,iq->i", jacobian, C, jacobian) + d_eta**2 * extra)
            # Limits are made on the link scale, so that they stay inside the range of the response.
            centre = eta.copy()
            on_link = np.sqrt(np.einsum("ip,pq,iq->i", slope, C[:p, :p], slope) + extra)
            largest = 1.0 - 1e-12 if design.family.is_binary else np.inf
            averaged = (spread > 0.0) & (mean > 1e-12) & (mean < largest)
            centre[averaged] = link.link(mean[averaged])
            on_link[averaged] = se[averaged] / link.derivative(centre[averaged])
            low, high = (link.inverse(x) for x in wald_limits(centre, on_link, level))
            out = pd.DataFrame({"estimate": mean, "std_error": se, "conf_low": low, "conf_high": high})
        out.index = self._index(newdata)
        out.attrs.update(estimand=ESTIMANDS[estimand], interval=self._interval(level), kind=kind)
        return out

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
        return f"{level:.0%} normal, from the curvature of the log-posterior"
