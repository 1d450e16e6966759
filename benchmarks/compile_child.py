"""Fits one model of each kind, each for the first time in this process; times go out as a line of JSON."""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.simulate import simulate

__all__ = ["KINDS"]

KINDS = {
    "one scalar term": ("y ~ x + t + (1 | g)", "bernoulli"),
    "correlated slopes": ("y ~ x + t + (1 + x | g)", "bernoulli"),
    "crossed terms": ("y ~ x + t + (1 | g) + (1 | h)", "bernoulli"),
    "gaussian": ("v ~ x + t + (1 + x | g)", "gaussian"),
}
"""Formula and family of a model that needs each family of kernels."""


def run() -> dict[str, Any]:
    """Seconds of the first Model and fit_ml of each kind, or a sentence why there is none."""
    began = time.perf_counter()
    import bayesmlm as bm

    rng = np.random.default_rng(1)
    frame = simulate(600, 40)
    noise = rng.standard_normal((2, len(frame)))
    frame = frame.assign(h=rng.integers(0, 20, len(frame)), v=frame.x + noise[0])
    frame["v"] += rng.standard_normal(40)[frame.g] + frame.x * rng.standard_normal(40)[frame.g]
    out: dict[str, Any] = {"import": time.perf_counter() - began}
    for kind, (formula, family) in KINDS.items():
        started = time.perf_counter()
        try:
            bm.Model(formula, frame, family=family).fit_ml()
        except Exception as error:
            out[kind] = str(error).splitlines()[0]
        else:
            out[kind] = time.perf_counter() - started
    return out | {"all": time.perf_counter() - began}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run()))
