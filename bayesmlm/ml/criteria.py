"""Criteria: what the height of a likelihood at its estimates says, alone and beside other models'."""

from __future__ import annotations

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit
from bayesmlm.ml.solution import MLSolution

__all__ = ["Criteria"]


class Criteria(Fit):
    """The log-likelihood of a fit, and the criteria made of it."""

    solution: MLSolution

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
