"""MLFit: the likelihood reading of a model."""

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
from bayesmlm.prediction import averaged_mean

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MLFit"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class MLFit(Fit):
    """A model fitted by maximum likelihood.

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
        errors = np.sqrt(np.maximum(np.diag(jacobian @ solution.covariance[p:, p:] @ jacobian.T), 0.0))
        is_sd = np.concatenate([np.arange(len(v)) < k for v, k in zip(values, self._columns, strict=True)])
        flat = np.concatenate(values)
        order = np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])
        return flat[order], errors[order]

    def table(self, level: float = 0.95, ranef: bool = False) -> pd.DataFrame:
        """Estimates with Wald intervals; see :meth:`bayesmlm.fit.Fit.table`.

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
        if ranef:
            rows = [*rows, *ranef_labels(design)]
            estimate = np.concatenate([estimate, *(m.ravel() for m in solution.modes)])
            sds = [np.sqrt(np.diagonal(V, axis1=1, axis2=2)).ravel() for V in solution.mode_covariances]
            error = np.concatenate([error, *sds])
        low, high = wald_limits(estimate, error, level)
        kind = np.array([row[0] for row in rows])
        low = np.where(kind == "sd", np.maximum(low, 0.0), np.where(kind == "cor", np.maximum(low, -1.0), low))
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
        out.attrs.update(interval=f"{level:.0%} Wald", estimand=ESTIMANDS["conditional"], engine=self.engine)
        return out

    def vcov(self, kind: str = "hessian") -> pd.DataFrame:
        """Covariance of the fixed effects.

        Parameters
        ----------
        kind : {"hessian", "conditional"}
            From the exact Hessian in all parameters (lme4's default), or given the variances (lme4's RX).
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
        """Maximised log-likelihood, all constants kept."""
        return self.solution.loglik

    @property
    def deviance(self) -> float:
        """−2 log-likelihood, as lme4's summary prints it."""
        return -2.0 * self.solution.loglik

    @property
    def null_deviance(self) -> float:
        """−2 log-likelihood of the intercept alone, without groups."""
        return -2.0 * self.solution.null_loglik

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return self.deviance + 2.0 * self.df_model

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with the number of observations."""
        return self.deviance + float(np.log(self.nobs)) * self.df_model

    @property
    def converged(self) -> bool:
        """Whether the gradient vanishes and the information is positive definite."""
        return self.solution.optimum.converged

    @property
    def notes(self) -> list[str]:
        """What the reader should know, in sentences."""
        out = list(self.design.notes)
        optimum = self.solution.optimum
        if not optimum.converged:
            out.append(
                f"The maximum was not reached: a Newton step would still move {optimum.distance:.2g} standard errors, "
                f"the smallest eigenvalue of the information is {optimum.eigenvalues[0]:.2g}."
            )
        for group, lam in zip(self.design.groups, factors(self.solution.theta, self._columns), strict=True):
            sd, cor = sd_cor(lam)
            for term, value in zip(group.terms, sd, strict=True):
                if value < 1e-4:
                    out.append(f"The fit is singular: the standard deviation of {term} between {group.name} is zero.")
            for pair, value in zip(group.pairs, cor, strict=True):
                if abs(value) > 0.9999:
                    out.append(f"The fit is singular: the correlation of {pair} within {group.name} is {value:+.0f}.")
        return out

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
        p, link = len(design.terms), design.family.link
        eta = rows.offset + rows.X @ solution.beta
        # Derivative of η in β, effects of known groups moving along; variance of those effects given β.
        slope, extra, spread = rows.X.copy(), np.zeros(len(eta)), np.zeros(len(eta))
        spread_slopes = np.zeros((len(eta), len(solution.theta)))
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
        C = solution.covariance
        if kind == "link":
            variance = np.einsum("ip,pq,iq->i", slope, C[:p, :p], slope) + extra + spread
            se = np.sqrt(variance)
            low, high = wald_limits(eta, se, level)
            out = pd.DataFrame({"estimate": eta, "std_error": se, "conf_low": low, "conf_high": high})
        else:
            mean, d_eta, d_sd = averaged_mean(eta, spread, link) if spread.any() else (
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
        out.attrs.update(estimand=ESTIMANDS[estimand], interval=f"{level:.0%} Wald", kind=kind)
        return out

    def confint(self, method: str = "wald", level: float = 0.95) -> pd.DataFrame:
        """Confidence limits of every quantity in :meth:`table`; ``method`` is ``"wald"``."""
        if method != "wald":
            raise FitError(f'confint knows "wald", not "{method}"')
        return self.table(level)[["component", "group", "term", "estimate", "conf_low", "conf_high"]]
