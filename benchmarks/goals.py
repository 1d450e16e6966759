"""What is asked of the times, and whether it is met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Agreement", "Goal", "against_glmm", "against_lme4", "agreement", "whole_against_glmm"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio and the most it may be.

    Attributes
    ----------
    ratio, limit : float
    """

    ratio: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether the ratio is within the limit."""
        return self.ratio <= self.limit


def against_glmm(name: str, fit: float, glmm: float) -> Goal:
    """At most half of glmm's time or 3 ms; on the large linear model at most glmm's time."""
    return Goal(fit / glmm, 1.0 if name == "insteval_lmm" else max(0.5, 3e-3 / glmm))


def whole_against_glmm(whole: float, glmm: float) -> Goal:
    """Model and fit_ml: at most one and a half of glmm's call, or 15 ms."""
    return Goal(whole / glmm, max(1.5, 15e-3 / glmm))


def against_lme4(name: str, fit: float, lme4: float) -> Goal:
    """A hundredth of lme4's time on the small survey, a twentieth on InstEval; elsewhere nothing is asked."""
    limit = 0.01 if name.startswith("con_") else 0.05 if name.startswith("insteval") else math.inf
    return Goal(fit / lme4, limit)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two answers are apart.

    Attributes
    ----------
    loglik : float
        Difference of the log-likelihoods, ours minus the other.
    coef : float
        Largest difference of a coefficient, in its standard errors; NaN where the other gives none.
    """

    loglik: float
    coef: float

    @property
    def met(self) -> bool:
        """Whether both are the same answer: a thousandth of log-likelihood, a hundredth of a standard error."""
        return abs(self.loglik) <= 1e-3 and not self.coef > 1e-2


def agreement(ours: Mapping[str, Any], other: Mapping[str, Any]) -> Agreement:
    """Compare two answers; coefficients are matched by name, and one without a partner counts as infinitely far."""
    distance = math.nan
    if "coef" in other:
        distance = max(
            abs(ours["coef"].get(name, math.inf) - value) / other["se"][name] for name, value in other["coef"].items()
        )
    return Agreement(ours["loglik"] - other["loglik"], distance)
