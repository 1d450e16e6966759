"""Make posterior.json: long NUTS runs that are independent of the fused kernel they check.

The draws come from PyMC models through nutpie's PyMC path: ``Model.to_pymc()``, and for crossed effects a model written
here by hand, whose density is first held against that of ``Model.to_pymc()``.  Batches of chains are added until every
fixed effect, standard deviation and correlation has the effective draws that are asked for, or time is up; what was
reached is in the file.  Run from the top of the repository::

    BAYESMLM_DATA=<folder> python -m tests.reference.posterior [names]

Names redo those entries only; all others stay as they are.  m_03, m_04 and m_05 were made by one batch of each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import nutpie
import pymc as pm

import bayesmlm as bm
from benchmarks.cases import CASES
from benchmarks.data import load

CHAINS, TUNE, SEED = 4, 1_500, 20_240_101
ENOUGH = 40_000
"""Effective draws asked of every quantity."""

MINUTES = float(os.environ.get("REFERENCE_MINUTES", "90"))
"""After which no further batch is begun."""

Array = np.ndarray[Any, Any]
Draws = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Run:
    """How one reference is made.

    Attributes
    ----------
    model : callable
    compiled : callable
        The ``pm.Model`` of the model, with variables as ``Model.to_pymc()`` names them.
    draws : int
        Per chain of a batch.
    most : int
        Batches at most.
    """

    model: Callable[[], bm.Model]
    compiled: Callable[[bm.Model], pm.Model] = field(default=lambda model: model.to_pymc())
    draws: int = 25_000
    most: int = 100


def spec(name: str) -> bm.Model:
    """A model of the embedded spec file."""
    return bm.Model(bm.load_specs(Path(__file__).parents[2] / "models" / "contraception.toml")[name])


def case(name: str) -> bm.Model:
    """A model of the benchmarks."""
    known = CASES[name]
    return bm.Model(known.formula, load(known.data), family=known.family)


def crossed(model: bm.Model) -> pm.Model:
    """Crossed random intercepts, each group's effect centred at what the predictors say of it.

    A column that is constant within the groups of a term enters the mean of that term's effects, the term with the
    fewest groups first.  The items of a questionnaire then mix well, which neither parametrisation of ``to_pymc()``
    lets them.  Default priors of a binary response.
    """
    design = model.design
    X, left = design.scaling.apply(design.X), list(range(len(design.terms)))
    with pm.Model() as written:
        intercept = pm.StudentT("intercept_centred", nu=3, mu=0.0, sigma=2.5)
        slopes = pm.Normal("slopes_scaled", 0.0, 2.5, shape=len(design.terms) - 1)
        internal = pm.math.concatenate([[intercept], slopes])
        pm.Deterministic("beta", pm.math.dot(design.scaling.matrix, internal))
        eta: Any = 0.0
        for label, codes, rows, own in _owners(model, X):
            left = [j for j in left if j not in own]
            sd = pm.HalfStudentT(f"sd_{label}_", nu=3, sigma=2.5)
            pm.Deterministic(f"sd_{label}", sd[None])
            mean = pm.math.dot(X[np.ix_(rows, own)], internal[own]) if own else np.zeros(len(rows))
            eta = eta + pm.Normal(f"level_{label}", mean, sd)[codes]
        if left:
            eta = eta + pm.math.dot(X[:, left], internal[left])
        pm.Bernoulli("y", logit_p=eta, observed=design.response.y.astype("int64"))
    _hold_against(written, model, X)
    return written


def _owners(model: bm.Model, X: Array) -> Iterator[tuple[str, Array, Array, list[int]]]:
    """Per term, fewest groups first: its label, its codes, a row of each group, the columns its mean takes."""
    design, left = model.design, set(range(X.shape[1]))
    for group, label in sorted(zip(design.groups, design.group_labels, strict=True), key=lambda g: g[0].n_levels):
        rows = np.unique(group.codes, return_index=True)[1]
        own = [j for j in sorted(left) if np.array_equal(X[rows[group.codes], j], X[:, j])]
        left -= set(own)
        yield label, group.codes, rows, own


def _hold_against(written: pm.Model, model: bm.Model, X: Array) -> None:
    """Refuse a model by hand whose density is not that of ``to_pymc(centered=True)``; its effects are moved only."""
    theirs = model.to_pymc(centered=True)
    ours, other = written.compile_logp(), theirs.compile_logp()
    rng, differences = np.random.default_rng(1), []
    for _ in range(3):
        point = {k: v + 0.3 * rng.standard_normal(np.shape(v)) for k, v in theirs.initial_point().items()}
        internal = np.concatenate([[point["intercept_centred"]], point["slopes_scaled"]])
        moved = {k: v for k, v in point.items() if not k.startswith("ranef_")}
        for label, _, rows, own in _owners(model, X):
            moved[f"level_{label}"] = point[f"ranef_{label}"][:, 0] + X[np.ix_(rows, own)] @ internal[own]
        differences.append(ours(moved) - other(point))
    if np.ptp(differences) > 1e-6:
        raise AssertionError(f"the model by hand is another model: its log-density differs by {differences}")


RUNS = {
    **{name: Run(lambda name=name: spec(name), most=1) for name in ("m_03", "m_04", "m_05")},
    **{name: Run(lambda name=name: case(name)) for name in ("con_int", "con_ud", "con_slope", "cbpp")},
    "verbagg": Run(lambda: case("verbagg"), crossed, draws=12_500),
    "sleepstudy": Run(lambda: case("sleepstudy")),
}
"""Every reference by name: those of the spec file and of ``benchmarks/cases.py``."""


def batch(model: bm.Model, compiled: Any, draws_per_chain: int, seed: int) -> Draws:
    """One run of nutpie: fixed effects, standard deviations and correlations, each (chain, draw)."""
    tree = nutpie.sample(
        compiled,
        draws=draws_per_chain,
        tune=TUNE,
        chains=CHAINS,
        cores=1,
        seed=seed,
        progress_bar=False,
        save_warmup=False,
    )
    posterior, design = tree["posterior"], model.design
    beta = posterior["beta"].to_numpy()
    draws = {term: beta[..., j] for j, term in enumerate(design.terms)}
    for group, label in zip(design.groups, design.group_labels, strict=True):
        sd = posterior[f"sd_{label}"].to_numpy()
        names = [f"sd {label}"] if len(group.terms) == 1 else [f"sd {label} {term}" for term in group.terms]
        draws |= {name: sd[..., a] for a, name in enumerate(names)}
        for a, pair in enumerate(group.pairs):
            draws[f"cor {label} {pair}"] = posterior[f"cor_{label}"].to_numpy()[..., a]
    if "sigma" in posterior:
        draws["sigma"] = posterior["sigma"].to_numpy()
    return draws


def entries(draws: Draws) -> dict[str, dict[str, float]]:
    """What the file says of every quantity."""
    return {
        name: {
            "mean": float(x.mean()),
            "sd": float(x.std(ddof=1)),
            "q05": float(np.quantile(x, 0.05)),
            "q95": float(np.quantile(x, 0.95)),
            "mcse_mean": float(az.mcse(x, method="mean")),
            "mcse_sd": float(az.mcse(x, method="sd")),
            "ess_bulk": float(az.ess(x, method="bulk")),
            "rhat": float(az.rhat(x)),
        }
        for name, x in draws.items()
    }


def make(run: Run) -> dict[str, Any]:
    """Add batches until every quantity has enough effective draws."""
    began = time.monotonic()
    model = run.model()
    names = ["beta", *(f"{part}_{g}" for g in model.design.group_labels for part in ("sd", "cor")), "sigma"]
    written = run.compiled(model)
    compiled = nutpie.compile_pymc_model(written, var_names=[name for name in names if name in written.named_vars])
    draws: Draws = {}
    for number in range(run.most):
        new = batch(model, compiled, run.draws, SEED + number)
        draws = {name: np.concatenate([draws[name], x]) if name in draws else x for name, x in new.items()}
        least = min(float(az.ess(x, method="bulk")) for x in draws.values())
        minutes = (time.monotonic() - began) / 60.0
        print(f"  batch {number + 1}: least bulk ESS {least:.0f} after {minutes:.1f} minutes", flush=True)
        if least >= ENOUGH or minutes > MINUTES:
            break
    chains = len(next(iter(draws.values())))
    return {"_settings": {"chains": chains, "draws": run.draws, "tune": TUNE, "seed": SEED}, **entries(draws)}


def main(names: list[str]) -> None:
    """Redo the entries named, or all, writing the file after each."""
    path = Path(__file__).with_suffix(".json")
    for name in names or list(RUNS):
        print(name, flush=True)
        entry = make(RUNS[name])
        result = json.loads(path.read_text(encoding="utf-8"))
        result[name] = entry
        result["_note"] |= {
            "software": {package: version(package) for package in ("pymc", "nutpie", "arviz", "numpy")},
            "goal": f"bulk ESS of {ENOUGH} or more for every quantity, m_03, m_04 and m_05 aside",
        }
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
