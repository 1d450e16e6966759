"""Figures: group effects, coefficients, chains, prior and posterior predictive checks, curves of probability.

Every function returns a matplotlib ``Figure`` that no window owns: a notebook shows it, ``figure.savefig`` keeps it.
"""

from bayesmlm.plots.chains import trace_rank
from bayesmlm.plots.curves import probability_curves
from bayesmlm.plots.forest import coefficients
from bayesmlm.plots.group_effects import caterpillar
from bayesmlm.plots.predictive import posterior_predictive_rates
from bayesmlm.plots.prior import prior_predictive
from bayesmlm.plots.proportions import lowess, smoothed_proportions

__all__ = [
    "caterpillar",
    "coefficients",
    "lowess",
    "posterior_predictive_rates",
    "prior_predictive",
    "probability_curves",
    "smoothed_proportions",
    "trace_rank",
]
