"""NUTS by nutpie: on the fused kernel where it serves, on the compiled PyMC model elsewhere.

The kernel is sampled in coordinates that start at the likelihood's mode and are whitened by its curvature in β;
the draws are turned back before anyone sees them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.compile import check_family, check_names, compile_model
from bayesmlm.bayes.kernel import Kernel, build_kernel, kernel_serves, log_density
from bayesmlm.design import Design
from bayesmlm.errors import FitError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DEFAULT_TUNE", "Start", "sample_posterior"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int, int], None]
"""Called with draws done, draws in all (tuning included) and divergences so far."""

DEFAULT_TUNE = 400
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
class Start:
    """Where sampling starts: a mode and its curvature, in internal coordinates.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    root : ndarray, shape (p, p)
        L with LL' the covariance of β given the rest.
    log_sd : tuple of float
        One per random-effect term.
    """

    beta: Array
    root: Array
    log_sd: tuple[float, ...]


def _flat_start(design: Design) -> Start:
    """A start from the scaling alone, for when the likelihood has no mode."""
    p = len(design.terms)
    return Start(np.zeros(p), np.eye(p), tuple(-0.7 for _ in design.groups))


def _whitened(kernel: Kernel, start: Start) -> Any:
    """The kernel as a nutpie model in whitened coordinates."""
    from nutpie.compiled_pyfunc import from_pyfunc

    p, root, transposed, mean = kernel.p, start.root, start.root.T.copy(), start.beta
    arguments, constant = kernel.arguments, kernel.constant

    def make_logp() -> Callable[[Array], tuple[float, Array]]:
        inner = np.empty(kernel.size)

        def logp(x: Array) -> tuple[float, Array]:
            gradient = np.empty(kernel.size)
            inner[:] = x
            inner[:p] = mean + root @ x[:p]
            value = log_density(inner, gradient, *arguments)
            gradient[:p] = transposed @ gradient[:p]
            return value + constant, gradient

        return logp

    def make_expand(seed1: int, seed2: int, chain: int) -> Callable[[Array], dict[str, Array]]:
        return lambda x: {"x": np.array(x, dtype="float64")}

    centre = np.zeros(kernel.size)
    at = p
    for log_sd, levels in zip(start.log_sd, kernel.levels, strict=True):
        centre[at] = log_sd
        at += 1 + levels

    def initial(seed: Any) -> Array:
        return centre + 0.25 * np.random.default_rng(seed).standard_normal(kernel.size)

    return from_pyfunc(
        kernel.size,
        make_logp,
        make_expand,
        [np.dtype("float64")],
        [(kernel.size,)],
        ["x"],
        make_initial_point_fn=initial,
    )


def _posterior_of(design: Design, kernel: Kernel, start: Start, x: Array) -> dict[str, Array]:
    """Turn whitened draws (chain, draw, size) into named quantities on the user's scale."""
    p = kernel.p
    internal = start.beta + x[..., :p] @ start.root.T
    out = {"beta": internal @ design.scaling.matrix.T}
    at = p
    for label, levels in zip(design.group_labels, kernel.levels, strict=True):
        sd = np.exp(x[..., at])
        out[f"sd_{label}"] = sd[..., None]
        out[f"ranef_{label}"] = (sd[..., None] * x[..., at + 1 : at + 1 + levels])[..., None]
        at += 1 + levels
    return out


def _dims(design: Design) -> dict[str, list[str]]:
    dims = {"beta": ["term"]}
    for group, label in zip(design.groups, design.group_labels, strict=True):
        dims[f"sd_{label}"] = [f"{label}_term"]
        dims[f"cor_{label}"] = [f"{label}_pair"]
        dims[f"ranef_{label}"] = [group.name, f"{label}_term"]
    return dims


def sample_posterior(
    design: Design,
    start: Start | None,
    draws: int,
    tune: int | None,
    chains: int,
    seed: int,
    progress: Progress | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Sample the posterior of a design by NUTS.

    Parameters
    ----------
    design : Design
    start : Start or None
        A mode and its curvature; None where the likelihood has none.
    draws, chains, seed : int
        Draws per chain after tuning.
    tune : int or None
        Tuning steps per chain; None is :data:`DEFAULT_TUNE` (twice that on the PyMC path).
    progress : callable, optional
        See :data:`Progress`.
    cores : int, optional
        Chains at a time; all processors by default.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (``beta``, ``sd_…``, ``cor_…``, ``ranef_…``), ``sample_stats`` and ``observed_data``.

    Raises
    ------
    FitError
        For fewer than 1 draw or chain.
    KeyboardInterrupt
        When the run is interrupted: nothing incomplete is returned.
    """
    for name, value, least in (("draws", draws, 1), ("chains", chains, 1), ("tune", tune or 0, 0), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise FitError(f"{name} should be {least} or more, not {value}")
    draws, chains, seed, tune = int(draws), int(chains), int(seed), None if tune is None else int(tune)
    check_family(design)
    check_names(design)

    import arviz as az
    import nutpie

    began = time.perf_counter()
    served = kernel_serves(design)
    start = start or _flat_start(design)
    if served:
        kernel = build_kernel(design)
        compiled: Any = _whitened(kernel, start)
        kernel(np.zeros(kernel.size))  # loads or compiles the kernel outside the sampler's threads
    else:
        compiled = nutpie.compile_pymc_model(compile_model(design))
    compiled_at = time.perf_counter()
    steps = tune if tune is not None else DEFAULT_TUNE * (1 if served else 2)

    def report(chain_states: Any) -> None:
        if progress is not None:
            done = sum(state.finished_draws for state in chain_states)
            progress(done, chains * (steps + draws), sum(state.divergences for state in chain_states))

    sampler = nutpie.sample(
        compiled, draws=draws, tune=steps, chains=chains, seed=seed, cores=cores, blocking=False, progress_bar=False,
        progress_callback=report, progress_rate=100, save_warmup=False,
    )  # fmt: skip
    try:
        tree = sampler.wait()
    except BaseException:
        sampler.cancel()
        raise
    raw, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    if served:
        quantities = _posterior_of(design, kernel, start, raw["x"].to_numpy())
    else:
        wanted = [name for name in _dims(design) if name in raw]
        quantities = {name: raw[name].to_numpy() for name in wanted}
    response = design.response
    observed = {response.variable: response.y}
    if not response.is_binary:
        observed["trials"] = response.trials
    dims = _dims(design)
    coords = {name: values for name, values in design.coords.items() if name != "slope"}
    result = az.from_dict(
        {
            "posterior": quantities,
            "sample_stats": {theirs: stats[ours].to_numpy() for ours, theirs in _STATS.items() if ours in stats},
            "observed_data": observed,
        },
        dims={**{name: dims[name] for name in quantities}, **{name: ["row"] for name in observed}},
        coords=coords,
    )
    result.attrs.update(
        {
            "formula": design.formula.text,
            "family": str(design.family),
            "sampler": "nutpie NUTS on the fused kernel" if served else "nutpie NUTS on the PyMC model",
            "draws": draws,
            "tune": steps,
            "chains": chains,
            "seed": seed,
            "compile_seconds": compiled_at - began,
            "sampling_seconds": time.perf_counter() - compiled_at,
        }
    )
    return result
