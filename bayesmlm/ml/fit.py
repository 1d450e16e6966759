"""MLFit: the likelihood reading of a model; MAPFit: the mode of its posterior, by the same engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import (
    ESTIMANDS,
    Fit,
    check_kind,
    check_level,
    labelled,
    labels,
    prediction_rows,
    ranef_labels,
    wald_limits,
)
from bayesmlm.laplace.covariance import factors, sd_cor, sd_cor_jacobian
from bayesmlm.ml.engine import MLSolution
from bayesmlm.ml.glm import fit_glm, read_rows, refuse_constant
from bayesmlm.prediction import averaged_mean

if TYPE_CHECKING:
    import pandas as pd

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
        is_sd = np.concatenate([np.arange(len(v)) < k for v, k in zip(values, self._columns, strict=True)])
        flat = np.concatenate(values)
        order = np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])
        return flat[order], errors[order]

    def table(self, level: float = 0.95, ranef: bool = False) -> pd.DataFrame:
        """Estimates with Wald intervals; see :meth:`bayesmlm.fit.Fit.table`.

        The statistic of a Gaussian model is lme4's t value; its p-value is from the normal distribution.

        Parameters
        ----------
        level : float
        ranef : bool
            Also the conditional modes, with their conditional standard deviations.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
        >>> fit.table()[["component", "group", "term"]].values.tolist()
        [['fixed', '', 'Intercept'], ['fixed', '', 'age'], ['sd', 'district', 'Intercept']]
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
        return out

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
        out = list(self.design.notes)
        solution = self.solution
        optimum = solution.optimum
        if not optimum.converged:
            what = "maximum" if np.isnan(solution.log_prior) else "mode"
            out.append(
                f"The {what} was not reached: a Newton step would still move {optimum.distance:.2g} standard errors, "
                f"the smallest eigenvalue of the information is {optimum.eigenvalues[0]:.2g}."
            )
        if self.design.groups and solution.n_agq == 0:
            out.append(
                "The fixed effects are those of the joint mode (n_agq = 0), and their standard errors are given the "
                "variances; n_agq = 1 is more accurate."
            )
        if self.design.groups and solution.information == "expected" and not self.design.family.is_canonical:
            out.append(
                "The Laplace approximation takes the expected information, as lme4 does; for the "
                f'{self.design.family.link.name} link that is not the observed one (information="observed").'
            )
        for group, lam in zip(self.design.groups, factors(self.solution.theta, self._columns), strict=True):
            sd, cor = sd_cor(lam)
            for term, value in zip(group.terms, sd, strict=True):
                if value < 1e-4:
                    out.append(f"The fit is singular: the standard deviation of {term} between {group.name} is zero.")
            for pair, value in zip(group.pairs, cor, strict=True):
                if abs(value) > 0.9999:
                    out.append(f"The fit is singular: the correlation of {pair} within {group.name} is {value:+.0f}.")
        return out + self._more_notes()

    def _more_notes(self) -> list[str]:
        """What a posterior mode has to add."""
        return []

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
        if newdata is None:
            out.index = pd.Index(design.rows)
        out.attrs.update(estimand=ESTIMANDS[estimand], interval=self._interval(level), kind=kind)
        return out

    def confint(self, method: str = "wald", level: float = 0.95) -> pd.DataFrame:
        """Confidence limits of every quantity in :meth:`table`; ``method`` is ``"wald"``."""
        if method != "wald":
            raise FitError(f'confint knows "wald", not "{method}"')
        return self.table(level)[["component", "group", "term", "estimate", "conf_low", "conf_high"]]

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

    def _more_notes(self) -> list[str]:
        out = ["AIC and BIC are of the likelihood at the posterior mode, which is not its maximum."]
        try:
            refuse_constant(self.design)
            if self.design.family.name != "gaussian":
                fit_glm(read_rows(self.design), self.design.terms)
        except FitError:
            out.append(
                "The likelihood has no maximum (the response is constant, or the predictors separate it): the priors "
                "alone keep the estimates finite."
            )
        return out

    def _interval(self, level: float) -> str:
        return f"{level:.0%} normal, from the curvature of the log-posterior"
