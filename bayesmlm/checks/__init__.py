"""Does a fitted model describe its data?  Replicates, simulated residuals, and what the priors contribute."""

from bayesmlm.checks.predictive import PredictiveCheck, posterior_predictive
from bayesmlm.checks.residuals import ResidualCheck, simulated_residuals
from bayesmlm.checks.sensitivity import prior_sensitivity

__all__ = ["PredictiveCheck", "ResidualCheck", "posterior_predictive", "prior_sensitivity", "simulated_residuals"]
