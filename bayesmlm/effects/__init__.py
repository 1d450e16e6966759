"""What a fit says of the questions asked of it: predictions, comparisons, slopes and means, in one set of words.

All take a fit of any engine, and print which estimand their numbers are of: a typical group's, the groups' own, or the
population's.
"""

from bayesmlm.effects.adapter import to_marginaleffects
from bayesmlm.effects.grids import grid
from bayesmlm.effects.projection import population_coefficients
from bayesmlm.effects.verbs import comparisons, means, predictions, slopes

__all__ = [
    "comparisons",
    "grid",
    "means",
    "population_coefficients",
    "predictions",
    "slopes",
    "to_marginaleffects",
]
