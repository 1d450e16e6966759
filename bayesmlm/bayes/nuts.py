"""One run of NUTS by nutpie, on the whitened kernel or on the compiled PyMC model, into a labelled DataTree."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.at_mode import Start, flat_start, informed, whiten
from bayesmlm.bayes.checkpoint import Checkpoint
from bayesmlm.bayes.compile import compile_model
from bayesmlm.bayes.coordinates import largest_term, quantities
from bayesmlm.bayes.kernel import build_kernel
from bayesmlm.bayes.native import nutpie_model
from bayesmlm.bayes.whitening import unwhitened
from bayesmlm.design import Design
from bayesmlm.parallel import patience

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Progress", "Run", "kernel_run", "labelled_tree", "pymc_run"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int, int], None]
"""Called with draws done, draws in all (tuning included) and divergences so far."""
Named = Callable[[Any, dict[str, Array]], dict[str, Array]]
"""From nutpie's draws to named quantities; the sampler's statistics may be changed on the way."""

_STATS = {
    "diverging": "diverging",
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "n_steps": "n_steps",
    "energy": "energy",
    "mean_tree_accept": "acceptance_rate",
    "step_size": "step_size",
    "logp": "lp",
}
"""nutpie's names of the sampler's statistics, and ArviZ's."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is asked of a run.

    Attributes
    ----------
    draws, tune, chains, seed : int
    cores : int or None
        Chains at a time; all processors by default.
    progress : callable or None
        Without it a bar shows on a terminal after two seconds.
    checkpoint : path or None
        See :class:`bayesmlm.bayes.checkpoint.Checkpoint`.
    """

    draws: int
    tune: int
    chains: int
    seed: int
    cores: int | None = None
    progress: Progress | None = None
    checkpoint: str | PathLike[str] | None = None


def dims_of(design: Design) -> dict[str, list[str]]:
    """Dimensions of every quantity of a posterior."""
    dims = {"beta": ["term"]}
    for group, label in zip(design.groups, design.group_labels, strict=True):
        dims[f"sd_{label}"] = [f"{label}_term"]
        dims[f"cor_{label}"] = [f"{label}_pair"]
        dims[f"ranef_{label}"] = [group.name, f"{label}_term"]
    if design.family.name == "gaussian":
        dims["sigma"] = []
    return dims


def labelled_tree(design: Design, posterior: dict[str, Array], stats: dict[str, Array]) -> xr.DataTree:
    """Draws (chain, draw, …) with the design's labels: groups ``posterior``, ``sample_stats``, ``observed_data``."""
    import arviz as az

    response = design.response
    observed = {response.variable: response.y}
    if not response.is_binary and design.family.is_binary:
        observed["trials"] = response.trials
    dims = dims_of(design)
    coords = {name: values for name, values in design.coords.items() if name != "slope"}
    return az.from_dict(
        {"posterior": posterior, "sample_stats": stats, "observed_data": observed},
        dims={**{name: dims[name] for name in posterior}, **{name: ["row"] for name in observed}},
        coords=coords,
    )


def kernel_run(design: Design, start: Start | None, centered: bool | None, run: Run) -> xr.DataTree:
    """Sample the fused kernel in whitened coordinates.

    Parameters
    ----------
    design : Design
    start : Start or None
        A mode and its curvature; None where there is none.
    centered : bool or None
        Forced for all random-effect terms; without it as the data speak, term by term (of the largest, group by
        group).
    run : Run
    """
    began = time.perf_counter()
    terms = len(design.groups)
    kernel = build_kernel(design)
    start = flat_start(kernel) if start is None else start
    if terms:
        each = list(informed(kernel, start)) if centered is None else [centered] * terms
        each[largest_term(kernel.coordinates)] = True
        if any(each):
            kernel = build_kernel(design, tuple(each))
    whitening = whiten(kernel, start, centered)
    compiled = nutpie_model(kernel, whitening)
    ready = time.perf_counter()

    def named(raw: Any, stats: dict[str, Array]) -> dict[str, Array]:
        x, jacobian = unwhitened(raw["w"].to_numpy(), whitening)
        # The log-density of the coordinates that to_pymc(centered) has too.
        stats["lp"] = stats["lp"] - jacobian
        return quantities(design, kernel.coordinates, x)

    tree = _sampled(design, compiled, named, run)
    tree.attrs.update(
        sampler="nutpie NUTS on the fused kernel",
        compile_seconds=ready - began,
        sampling_seconds=time.perf_counter() - ready,
        centered=[int(term.centered) for term in kernel.coordinates.terms],
    )
    return tree


def pymc_run(design: Design, run: Run) -> xr.DataTree:
    """Sample the compiled PyMC model: slower, and independent of everything else here."""
    import nutpie

    began = time.perf_counter()
    compiled = nutpie.compile_pymc_model(compile_model(design))
    ready = time.perf_counter()
    wanted = dims_of(design)

    def named(raw: Any, stats: dict[str, Array]) -> dict[str, Array]:
        return {name: raw[name].to_numpy() for name in wanted if name in raw}

    tree = _sampled(design, compiled, named, run)
    tree.attrs.update(
        sampler="nutpie NUTS on the PyMC model",
        compile_seconds=ready - began,
        sampling_seconds=time.perf_counter() - ready,
    )
    return tree


def _sampled(
    design: Design, compiled: Any, named: Callable[[Any, dict[str, Array]], dict[str, Array]], run: Run
) -> xr.DataTree:
    """Let nutpie draw, writing what there is now and then, and label the draws."""
    if run.progress is not None:
        return _drawn(design, compiled, named, run, run.progress)
    with patience("draws", run.chains * (run.tune + run.draws)) as advance:
        return _drawn(design, compiled, named, run, lambda done, total, divergences: advance(done))


def _drawn(design: Design, compiled: Any, named: Named, run: Run, progress: Progress) -> xr.DataTree:
    import nutpie

    total = run.chains * (run.tune + run.draws)

    def report(chain_states: Any) -> None:
        done = sum(state.finished_draws for state in chain_states)
        progress(done, total, sum(state.divergences for state in chain_states))

    def labelled(raw: Any, complete: bool) -> xr.DataTree:
        stats = raw["sample_stats"].to_dataset()
        kept = {theirs: stats[ours].to_numpy() for ours, theirs in _STATS.items() if ours in stats}
        tree = labelled_tree(design, named(raw["posterior"].to_dataset(), kept), kept)
        tree.attrs.update(
            formula=design.formula.text, family=str(design.family), draws=run.draws, tune=run.tune, chains=run.chains,
            seed=run.seed, complete=int(complete),
        )  # fmt: skip
        return tree

    sampler = nutpie.sample(
        compiled, draws=run.draws, tune=run.tune, chains=run.chains, seed=run.seed, cores=run.cores, blocking=False,
        progress_bar=False, progress_callback=report, progress_rate=100, save_warmup=False,
    )  # fmt: skip

    def so_far() -> xr.DataTree | None:
        raw = sampler.inspect()
        return labelled(raw, False) if "posterior" in raw.children and raw["posterior"].sizes.get("draw") else None

    checkpoint = Checkpoint.at(run.checkpoint, so_far)
    try:
        while True:
            try:
                raw = sampler.wait(timeout=checkpoint.wait)
                break
            except TimeoutError:
                checkpoint.write()
    except BaseException:
        sampler.cancel()
        raise
    tree = labelled(raw, True)
    checkpoint.remove()
    return tree
