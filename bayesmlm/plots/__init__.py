"""Figures of a fit: coefficients, group effects, predictions, chains, profiles, and checks.

Every function returns a matplotlib ``Figure`` that no window owns: a notebook shows it, ``figure.savefig`` keeps it.
The settings of matplotlib are left alone.
"""

from typing import Any

from bayesmlm.errors import among
from bayesmlm.plots.agreeing import agreement
from bayesmlm.plots.chains import trace_rank
from bayesmlm.plots.checking import predictive_check, residual_quantiles, separation
from bayesmlm.plots.curves import probability_curves
from bayesmlm.plots.forest import coefficients
from bayesmlm.plots.group_effects import caterpillar
from bayesmlm.plots.intervals import effects
from bayesmlm.plots.pooling import shrinkage
from bayesmlm.plots.predictive import posterior_predictive_rates
from bayesmlm.plots.prior import prior_predictive
from bayesmlm.plots.profiles import profile
from bayesmlm.plots.proportions import smoothed_proportions
from bayesmlm.plots.ranks import rank_histogram
from bayesmlm.plots.smoother import lowess
from bayesmlm.plots.spreads import variance_densities
from bayesmlm.plots.weights import calibration_curve, pareto_k

__all__ = [
    "agreement",
    "calibration_curve",
    "caterpillar",
    "coefficients",
    "effects",
    "lowess",
    "pareto_k",
    "posterior_predictive_rates",
    "predictive_check",
    "prior_predictive",
    "probability_curves",
    "profile",
    "rank_histogram",
    "residual_quantiles",
    "separation",
    "shrinkage",
    "smoothed_proportions",
    "trace_rank",
    "variance_densities",
]


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(f'there is no plot "{name}"; {among(name, __all__)}')


def __dir__() -> list[str]:
    return list(__all__)
