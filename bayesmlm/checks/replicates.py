"""Data sets drawn from a fit, beside the one it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.comparable import check_fits
from bayesmlm.errors import FitError
from bayesmlm.simulation import check_seed

__all__ = ["Replicates", "replicates_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Replicates:
    """The observed responses, and what the model makes of the same rows.

    Attributes
    ----------
    responses : ndarray, shape (1 + sets, n)
        The observed ones first.
    trials : ndarray, shape (n,)
        By which a row counts in a rate, prior weights included.
    counts : ndarray, shape (1 + sets, n)
        What is divided by the trials.
    groups : {"new", "conditional"}
    """

    responses: Array
    trials: Array
    counts: Array
    groups: str


def replicates_of(fit: Any, draws: int, seed: int | None, groups: str) -> Replicates:
    """Draw data sets for the rows of a fit.

    Raises
    ------
    FitError
        For what is no fit, fewer than 20 sets, among which no p-value could be small; rows that stand for several.
    """
    check_fits("a check", fit)
    draws = check_count("draws", draws)
    if draws < 20:
        raise FitError(f"draws should be 20 or more, not {draws}: a p-value is at least one part in as many")
    design = fit.design
    if (design.freq != 1.0).any():
        raise FitError("rows that stand for several cannot be replicated one by one; give counts as cbind(s, f)")
    drawn = fit.simulate(draws, check_seed(seed), groups=groups).to_numpy(dtype=float).T
    responses = np.concatenate([np.asarray(design.response.y, dtype=float)[None], drawn])
    weights = np.asarray(design.weights) if design.family.name != "gaussian" else np.ones(len(design.rows))
    return Replicates(responses, design.response.trials * weights, responses * weights, groups)
