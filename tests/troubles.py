"""Data with one trouble each, real and made, for the tests of what a reader is told."""

import numpy as np
import pandas as pd
from scipy.special import expit


def pairs(groups=200, sd=3.0, seed=1):
    """Two 0/1 answers per group, whose groups differ a lot: where the Laplace approximation is known to fail."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(groups), 2), rng.normal(size=2 * groups)
    y = rng.binomial(1, expit(0.5 + x + sd * rng.normal(size=groups)[g]))
    return pd.DataFrame({"y": y, "x": x, "g": g})


def pairs_in_schools(seed=3):
    """Twelve schools of eight pairs each: two terms, which admit no quadrature."""
    rng = np.random.default_rng(seed)
    school, pair, x = np.repeat(np.arange(12), 16), np.repeat(np.arange(96), 2), rng.normal(size=192)
    y = rng.binomial(1, expit(x + rng.normal(size=12)[school] + 2.0 * rng.normal(size=96)[pair]))
    return pd.DataFrame({"y": y, "x": x, "school": school, "pair": pair})


def one_effect_twice(sign):
    """One effect per group drives both intercept and slope: their correlation is estimated as ±1."""
    rng = np.random.default_rng(3)
    effect, g, x = rng.normal(size=30), np.repeat(np.arange(30), 12), rng.normal(size=360)
    y = rng.binomial(1, expit(effect[g] + (0.5 + sign * effect[g]) * x))
    return pd.DataFrame({"y": y, "x": x, "g": g})


def alike_within_groups(odd=0):
    """Thirty groups of four whose answers are all the same, but for those of the first ``odd`` groups."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 4)
    y, x = (np.arange(30) % 2)[g], rng.normal(size=120)
    y[: 4 * odd : 4] = 1 - y[: 4 * odd : 4]
    return pd.DataFrame({"y": y, "x": x, "g": g})


def ordered_within_groups():
    """Every group has a threshold of its own, above which all answers are 1."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 4)
    x = 2.0 * rng.normal(size=120)
    return pd.DataFrame({"y": (x > 2.0 * rng.normal(size=30)[g]).astype(int), "x": x, "g": g})


def level_without_events(but_in_group=None):
    """Level b of f has no events; with ``but_in_group`` every row of that group is one."""
    rng = np.random.default_rng(4)
    g, f = np.repeat(np.arange(10), 20), rng.choice(["a", "b", "c"], 200)
    y = np.where(f == "b", 0, rng.binomial(1, 0.5, 200))
    if but_in_group is not None:
        y[g == but_in_group] = 1
    return pd.DataFrame({"y": y, "f": f, "g": g, "x": rng.normal(size=200)})


def few_groups(groups=5):
    """Groups of forty that differ, but few of them."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(groups), 40)
    return pd.DataFrame({"y": rng.binomial(1, expit(np.linspace(-1.0, 1.0, groups)[g])), "g": g})
