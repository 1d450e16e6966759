"""Facts of a fit: shares of variance, odds between groups, dispersion, and how well it tells the outcomes apart."""

from bayesmlm.facts.classification import Classification, area_under_curve, auc, classification, confusion
from bayesmlm.facts.dispersion import dispersion
from bayesmlm.facts.shares import icc, mor, null_mean, observation_variance, r2

__all__ = [
    "Classification",
    "area_under_curve",
    "auc",
    "classification",
    "confusion",
    "dispersion",
    "icc",
    "mor",
    "null_mean",
    "observation_variance",
    "r2",
]
