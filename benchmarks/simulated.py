"""Simulated models of :mod:`benchmarks.marginal`: tiny groups, few groups, a standard deviation near 0, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import bayesmlm as bm

__all__ = ["SIMULATED", "simulated"]

SIMULATED = {
    "hard_2": {"groups": 200, "rows": (2, 3), "sd": 2.0, "seed": 1},
    "hard_2.5": {"groups": 200, "rows": (2, 3), "sd": 2.5, "seed": 2},
    "hard_3": {"groups": 200, "rows": (2, 3), "sd": 3.0, "seed": 3},
    "near_zero": {"groups": 40, "rows": (8, 12), "sd": 0.05, "seed": 4},
    "five_groups": {"groups": 5, "rows": (20, 40), "sd": 1.0, "seed": 5},
    "counts": {"groups": 40, "rows": (6, 6), "sd": 0.6, "seed": 6, "family": "poisson"},
}
"""What each is made of: groups, rows of a group from and to, standard deviation of the group effects, seed."""


def simulated(name: str) -> bm.Model:
    """A random-intercept model of binary responses or counts, with one predictor.

    Examples
    --------
    >>> simulated("hard_2").design.groups[0].n_levels
    200
    """
    import pandas as pd

    import bayesmlm as bm

    known = SIMULATED[name]
    rng, family = np.random.default_rng(known["seed"]), str(known.get("family", "bernoulli"))
    low, high = known["rows"]
    g = np.repeat(np.arange(known["groups"]), rng.integers(low, high + 1, known["groups"]))
    x, effects = rng.normal(size=len(g)), known["sd"] * rng.normal(size=known["groups"])
    eta = 0.3 + 0.7 * x + effects[g]
    y = rng.poisson(np.exp(eta)) if family == "poisson" else rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i:03d}" for i in g]})
    return bm.Model("y ~ x + (1 | g)", frame, family=family, name=name)
