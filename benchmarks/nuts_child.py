"""Samples one model once in this process, by one package; what it took goes out as a line of JSON.

The request is ``{"package": …, "case": …, "draws": …, "tune": …, "chains": …, "seed": …, "began": …}``, the last being
the time at which the parent asked, so that starting the interpreter counts.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["FORMULAS", "run"]

FORMULAS = {
    "con_int": "use['Y'] ~ age*ch + I(age**2) + urban + (1 | district)",
    "con_ud": "use['Y'] ~ age*ch + I(age**2) + urban + (1 | urban:district)",
    "verbagg": "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
}
"""The models in Bambi's language; those of :mod:`benchmarks.cases` are in ours."""

Draws = dict[str, np.ndarray[Any, Any]]


def _ours(request: Mapping[str, Any]) -> tuple[Draws, dict[str, Any]]:
    """Sample with the defaults of ``Model.sample``."""
    # What Model.sample() imports when it is called, so that its time is compiling and sampling, as Bambi's is.
    import arviz  # noqa: F401
    import nutpie  # noqa: F401

    import bayesmlm as bm
    import bayesmlm.bayes.fit
    import bayesmlm.bayes.sample
    import bayesmlm.ml.engine
    from benchmarks.cases import CASES
    from benchmarks.data import load

    case = CASES[request["case"]]
    model = bm.Model(case.formula, load(case.data))
    tune = {} if request["tune"] is None else {"tune": request["tune"]}
    started = time.perf_counter()
    fit = model.sample(draws=request["draws"], chains=request["chains"], seed=request["seed"], **tune)
    seconds = time.perf_counter() - started
    wall = time.time() - request["began"]
    posterior, design = fit.tree["posterior"], model.design
    draws = {term: posterior["beta"].to_numpy()[..., j] for j, term in enumerate(design.terms)}
    draws |= {f"sd {label}": posterior[f"sd_{label}"].to_numpy()[..., 0] for label in design.group_labels}
    parts = {part: float(fit.tree.attrs[f"{part}_seconds"]) for part in ("compile", "sampling")}
    stats = fit.tree["sample_stats"]
    return draws, {"seconds": seconds, "wall": wall, **parts, "divergences": int(stats["diverging"].sum())}


def _bambi(request: Mapping[str, Any]) -> tuple[Draws, dict[str, Any]]:
    """Sample with Bambi's defaults: its own priors, PyMC's NUTS."""
    import bambi

    from benchmarks.cases import CASES
    from benchmarks.data import load

    data = load(CASES[request["case"]].data)
    model = bambi.Model(FORMULAS[request["case"]], data, family="bernoulli")
    started = time.perf_counter()
    model.build()
    tree = model.fit(
        draws=request["draws"], tune=request["tune"] or 1000, chains=request["chains"], random_seed=request["seed"],
        progressbar=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    wall = time.time() - request["began"]
    posterior = tree["posterior"]
    draws: Draws = {}
    for name, values in posterior.data_vars.items():
        if not any(str(dim).endswith("__factor_dim") for dim in values.dims):
            flat = values.to_numpy().reshape(*values.shape[:2], -1)
            draws |= {f"{name}.{j}": flat[..., j] for j in range(flat.shape[2])}
    sampling = float(posterior.attrs.get("sampling_time", np.nan))
    parts = {"compile": seconds - sampling, "sampling": sampling}
    divergences = int(tree["sample_stats"]["diverging"].sum())
    return draws, {"seconds": seconds, "wall": wall, **parts, "divergences": divergences}


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Sample, then say what the draws are worth.

    Returns
    -------
    dict
        ``seconds`` of compiling and sampling, ``wall`` since the request with all imports, ``compile`` and ``sampling``
        as the package itself counts them, ``ess`` the least bulk ESS of fixed effects and standard deviations, and of
        every quantity mean, sd and their Monte-Carlo errors.
    """
    draws, out = (_ours if request["package"] == "bayesmlm" else _bambi)(request)
    import arviz as az

    return {
        **out,
        "ess": min(float(az.ess(x, method="bulk")) for x in draws.values()),
        "rhat": max(float(az.rhat(x)) for x in draws.values()),
        "quantities": {
            name: {
                "mean": float(x.mean()),
                "sd": float(x.std(ddof=1)),
                "mcse_mean": float(az.mcse(x, method="mean")),
                "mcse_sd": float(az.mcse(x, method="sd")),
            }
            for name, x in draws.items()
        },
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(json.loads(sys.stdin.readline()))))
