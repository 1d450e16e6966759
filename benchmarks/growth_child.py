"""One size of :mod:`benchmarks.growth` in a process of its own: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.memory import peak_beyond
from benchmarks.simulate import FORMULA, simulate

__all__ = ["design_bytes"]


def design_bytes(design: Any) -> tuple[int, int]:
    """Bytes of a design's arrays: their sum, and what they take up, since some share their memory."""
    arrays = [design.X, design.offset, design.weights, design.freq, design.rows]
    arrays += [design.response.y, design.response.trials]
    arrays += [array for group in design.groups for array in (group.codes, group.z)]
    arrays = [array for array in arrays if hasattr(array, "nbytes")]
    owners: dict[int, int] = {}
    for array in arrays:
        owner = array
        while getattr(owner, "base", None) is not None and hasattr(owner.base, "nbytes"):
            owner = owner.base
        owners[id(owner)] = owner.nbytes
    return sum(array.nbytes for array in arrays), sum(owners.values())


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def _seconds(work: Callable[[], Any]) -> float:
    return _timed(work)[1]


def _repeat(work: Callable[[], Any], first: float, budget: float) -> list[float]:
    """Seconds of three calls, and of more as long as they fit into the budget."""
    times = [first]
    while len(times) < 3 or (len(times) < 9 and sum(times) + first < budget):
        times.append(_seconds(work))
    return times


def run(n: int, n_groups: int, budget: float, compare: bool = False, only_fit: bool = False) -> dict[str, Any]:
    """Measure one size.

    Parameters
    ----------
    n, n_groups : int
    budget : float
        Seconds for repetitions of the model and of the fit each.
    compare : bool
        Also time statsmodels' logistic regression on the same columns, in turns with the fit.
    only_fit : bool
        Do not repeat the model.
    """
    import bayesmlm as bm

    # Kernels are loaded, or compiled, before the clock starts.
    bm.Model(FORMULA, simulate(400, 40)).fit_ml()
    frame = simulate(n, n_groups)

    (model, model_first), model_peak = peak_beyond(lambda: _timed(lambda: bm.Model(FORMULA, frame)))
    nbytes, held = design_bytes(model.design)
    (fit, fit_first), fit_peak = peak_beyond(lambda: _timed(model.fit_ml))
    result: dict[str, Any] = {
        "n": n,
        "groups": model.design.groups[0].n_levels,
        "design_bytes": nbytes,
        "design_bytes_held": held,
        "model_peak": model_peak,
        "fit_peak": fit_peak,
        "loglik": float(fit.loglik),
        "converged": bool(fit.converged),
        "sd": float(fit.varcorr().sd.iloc[0]),
    }
    fit = None
    fits = _repeat(model.fit_ml, fit_first, budget)
    if compare:
        import statsmodels.api as sm

        X, y = model.design.X, model.design.response.y
        glms = []
        for _ in range(3):
            glms.append(_seconds(lambda: sm.GLM(y, X, family=sm.families.Binomial()).fit()))
            fits.append(_seconds(model.fit_ml))
        result |= {"glm": median(glms)}
    model = None
    models = [model_first] if only_fit else _repeat(lambda: bm.Model(FORMULA, frame), model_first, budget)
    return result | {"model": median(models), "fit": median(fits), "models": models, "fits": fits}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(**json.loads(sys.stdin.read()))))
