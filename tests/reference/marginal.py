"""Make marginal.json: long NUTS runs of models that ``posterior.json`` does not have.

Made as those of ``posterior.json``, by PyMC models through nutpie's PyMC path, but for two that are sampled by the fused
kernel, which tests hold equal to the PyMC model.  Of exam_slope neither parametrisation of ``to_pymc()`` mixes (1,000
and 8,000 effective draws of 50,000).  The posterior of five_groups has tails so heavy that 40,000 effective draws leave
an error of 1.3 % in a standard deviation: it takes ten times as many.  From the top of the repository::

    python -m tests.reference.marginal [names]

Names redo those entries only; all others stay as they are.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np

from bayesmlm.bayes.draws import table_draws
from benchmarks.marginal import names_of
from benchmarks.simulated import SIMULATED, simulated
from tests.reference.posterior import CHAINS, ENOUGH, SEED, TUNE, Draws, Run, case, entries, make

KERNEL = {"exam_slope": ENOUGH, "five_groups": 10 * ENOUGH}
"""References by the fused kernel, and the effective draws asked of every quantity."""

RUNS = {name: Run(lambda name=name: simulated(name)) for name in SIMULATED if name not in KERNEL}
"""References by PyMC models: those of ``benchmarks/simulated.py``."""

DRAWS = 12_500
"""Per chain of a batch of the kernel's."""


def make_by_kernel(name: str) -> dict[str, Any]:
    """Add batches until every quantity has enough effective draws."""
    model, draws = simulated(name) if name in SIMULATED else case(name), Draws()
    number, least = 0, 0.0
    while least < KERNEL[name]:
        fit = model.sample(draws=DRAWS, tune=TUNE, chains=CHAINS, seed=SEED + number)
        values = table_draws(fit.design, fit.tree)
        new = {quantity: values[..., j] for j, quantity in enumerate(names_of(model))}
        draws = {key: np.concatenate([draws[key], x]) if key in draws else x for key, x in new.items()}
        number += 1
        least = min(float(az.ess(x, method="bulk")) for x in draws.values())
        print(f"  batch {number}: least bulk ESS {least:.0f}", flush=True)
    settings = {"chains": CHAINS * number, "draws": DRAWS, "tune": TUNE, "seed": SEED, "sampler": "fused kernel"}
    return {"_settings": settings, **entries(draws)}


def main(names: list[str]) -> None:
    """Redo the entries named, or all, writing the file after each."""
    path = Path(__file__).with_suffix(".json")
    for name in names or [*RUNS, *KERNEL]:
        print(name, flush=True)
        entry = make(RUNS[name]) if name in RUNS else make_by_kernel(name)
        result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        result[name] = entry
        result["_note"] = {
            "software": {package: version(package) for package in ("pymc", "nutpie", "arviz", "numpy")},
            "quantities": "posterior mean, sd, 5 % and 95 % quantiles, Monte-Carlo errors of mean and sd, bulk ESS",
            "goal": f"bulk ESS of {ENOUGH} or more for every quantity",
        }
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
