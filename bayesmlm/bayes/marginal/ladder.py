"""A posterior by the cheapest way whose certificate holds.

Draws of θ and b come from nested Laplace; of u, group by group, from its nearly conditional law; all are weighted
against the exact joint posterior.  The rungs differ in how u is dealt with:

1. ``laplace``: u is drawn with the rest, one value per group;
2. ``quadrature``: u is integrated over by a randomly shifted rule per group, in the density along the axes of θ, too,
   and drawn from its nodes: for many small groups, whose effects are far from normal together;
3. NUTS, which is not here: the outcome says why it should be taken.

A rung holds when :mod:`bayesmlm.bayes.marginal.pareto` finds no fault with its weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.at_mode import Start, flat_start, whiten
from bayesmlm.bayes.compile import check_names
from bayesmlm.bayes.coordinates import quantities
from bayesmlm.bayes.marginal.candidates import candidates
from bayesmlm.bayes.marginal.joint import integrate
from bayesmlm.bayes.marginal.outer import Outer, outer_proposal
from bayesmlm.bayes.marginal.pareto import Weights, fault, resampled, smoothed
from bayesmlm.bayes.marginal.parts import Parts, parts_of
from bayesmlm.bayes.marginal.walk import settle
from bayesmlm.bayes.nuts import Progress, labelled_tree
from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.parallel import in_threads, one_blas_thread, patience

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RUNGS", "Outcome", "Step", "sample_marginal"]

Array = np.ndarray[Any, Any]

RUNGS = ("laplace", "quadrature")
"""Names of the rungs, the cheaper first."""

NODES = (1, 6, 13, 34, 89)
"""Quadrature nodes for effects of 0, 1, 2, 3, 4 columns and more: 300 groups of two rows then cost no draws."""

WORDS = {"laplace": "importance-weighted Laplace", "quadrature": "importance-weighted quadrature"}
"""What the verdict calls them."""

_CHUNK = 250
"""Draws taken together at most."""
_NUMBERS = 2_000_000
"""Numbers in the largest array of a chunk, about."""
_WORK = 3e8
"""Multiplications for one inner curvature, from which on a model is too rich."""
_PILOT, _HOPELESS = 500, 0.02
"""Draws that are looked at first, and the share of them that should be effective for others to be made."""
_NO_MODE = "the fixed and group effects have no mode given the variance parameters"


@dataclass(frozen=True, slots=True)
class Step:
    """What a rung found.

    Attributes
    ----------
    rung : str
    k_hat, ess : float
        NaN where it could not be tried.
    seconds : float
    why : str
        Why it does not hold; empty where it does.
    """

    rung: str
    k_hat: float
    ess: float
    seconds: float
    why: str

    @property
    def holds(self) -> bool:
        """Whether its certificate holds."""
        return not self.why


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the ladder ended in.

    Attributes
    ----------
    tree : xarray.DataTree or None
        The posterior of the rung that holds; None where none does.
    steps : tuple of Step
        All that were tried, in order.
    best : xarray.DataTree or None
        Of the rung with the smallest k̂ where none holds, for looking at.
    """

    tree: xr.DataTree | None
    steps: tuple[Step, ...]
    best: xr.DataTree | None = field(default=None, repr=False)

    @property
    def holds(self) -> bool:
        """Whether there is a certified posterior."""
        return self.tree is not None

    @property
    def sentence(self) -> str:
        """Why no rung holds; empty where one does."""
        if self.holds:
            return ""
        tried = "; ".join(f"{WORDS[step.rung]}: {step.why}" for step in self.steps)
        return f"No importance sample of this posterior is certified ({tried})"


def sample_marginal(
    design: Design,
    start: Start | None,
    draws: int = 4000,
    seed: int = 1,
    rungs: tuple[str, ...] = RUNGS,
    progress: Progress | None = None,
) -> Outcome:
    """Draw from the posterior of a design without a chain, with a certificate.

    Parameters
    ----------
    design : Design
    start : Start or None
        A mode and its curvature; None where there is none.
    draws : int
    seed : int
        Gives the same draws again, whatever the number of threads.
    rungs : tuple of str
        Which of :data:`RUNGS` are tried, in this order.
    progress : callable, optional
        Called with draws done, draws in all and 0, on each rung; without it a bar shows on a terminal after two
        seconds.

    Returns
    -------
    Outcome
        Its tree has one chain of draws that need no weights: groups ``posterior``, ``sample_stats`` (``weight``, that
        of each draw before resampling) and ``observed_data``, and in its attributes ``rung``, ``pareto_k``, ``ess``,
        ``resampling_noise``, ``log_evidence``, ``log_evidence_se`` and ``sampling_seconds``.

    Raises
    ------
    FitError
        For fewer than 1 draw.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> design = build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception"))
    >>> outcome = sample_marginal(design, None, draws=1000, seed=1)
    >>> outcome.tree.attrs["rung"], outcome.steps[0].k_hat < 0.7
    ('laplace', True)
    """
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise FitError(f"{name} should be {least} or more, not {value}")
    for rung in rungs:
        if rung not in RUNGS:
            raise FitError(f'there is no rung "{rung}"; {among(rung, RUNGS)}')
    check_names(design)
    if progress is None:
        with patience("draws", int(draws)) as advance:
            return sample_marginal(design, start, draws, seed, rungs, lambda done, total, _: advance(done))
    # Libraries that are slow to import are imported before the clock starts.
    import_module("arviz")
    import_module("arviz_stats.base")
    began = time.perf_counter()
    with one_blas_thread():
        parts = parts_of(design)
        rich = _too_rich(parts)
        if rich:
            return Outcome(None, (Step(rungs[0], np.nan, np.nan, time.perf_counter() - began, rich),))
        steps: list[Step] = []
        best: xr.DataTree | None = None
        for rung in rungs:
            since = time.perf_counter()
            nodes = 1 if rung == "laplace" else NODES[min(len(parts.Z), len(NODES) - 1)]
            proposal = _proposal(parts, start, nodes)
            if proposal is None:
                steps.append(Step(rung, np.nan, np.nan, time.perf_counter() - since, _NO_MODE))
                continue
            x, log_weights = _weighted(proposal, int(draws), nodes, int(seed), progress)
            found = smoothed(log_weights)
            why = fault(found.k_hat, found.ess, len(x))
            if len(x) == draws and (not why or best is None or found.k_hat < best.attrs["pareto_k"]):
                best = _tree(design, parts, x, found, rung, int(seed))
                best.attrs["sampling_seconds"] = time.perf_counter() - began
            steps.append(Step(rung, found.k_hat, found.ess, time.perf_counter() - since, why))
            if not why:
                return Outcome(best, tuple(steps))
    return Outcome(None, tuple(steps), best)


def _too_rich(parts: Parts) -> str:
    d, k = len(parts.rest), len(parts.Z)
    if float(parts.groups) * k * d * d + float(d) ** 3 <= _WORK:
        return ""
    return f"{d:,} fixed and group effects beside those of the largest term are too many for its inner Laplace steps"


def _proposal(parts: Parts, start: Start | None, nodes: int) -> Outer | None:
    """Nested Laplace about the start."""
    start = flat_start(parts.kernel) if start is None else start
    white = whiten(parts.kernel, start)
    x = white.mode.copy()
    if parts.main >= 0:
        x[parts.effects] = start.effects[parts.main].ravel()
    # The derivative of asinh takes the coordinates of correlations to θ.
    slope = np.where(parts.is_cor, 1.0 / np.sqrt(1.0 + np.square(x[parts.theta])), 1.0)
    root = slope[:, None] * white.root[parts.coordinates.fixed :]
    of_u = candidates(np.random.default_rng(0), 1, nodes, parts.groups, len(parts.Z)) if nodes > 1 else None
    settled = settle(parts, x, root @ root.T, of_u)
    return None if settled is None else outer_proposal(*settled)


def _weighted(proposal: Outer, draws: int, nodes: int, seed: int, progress: Progress | None) -> tuple[Array, Array]:
    """Draws of everything in the kernel's coordinates, and their log-weights; a few where those are hopeless."""
    parts = proposal.surface.parts
    groups, k = parts.groups, len(parts.Z)
    each = int(max(1, min(_CHUNK, _NUMBERS // (len(parts.y) + 2 * nodes * groups * max(k, 1)))))
    sizes = [min(each, draws - first) for first in range(0, draws, each)]
    chunks = list(zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes)), strict=True))
    done = 0

    def one(chunk: tuple[int, Any]) -> tuple[Array, Array]:
        nonlocal done
        n, rng = chunk[0], np.random.default_rng(chunk[1])
        x, log_q = proposal.draw(n, rng)
        log_p = integrate(parts, proposal.mode, x, candidates(rng, n, nodes, groups, k))
        done += n
        if progress is not None:
            progress(done, draws, 0)
        return x, log_p - log_q

    first = -(-_PILOT // each)
    results = in_threads(one, chunks[:first])
    if smoothed(np.concatenate([w for _, w in results])).ess >= _HOPELESS * sum(sizes[:first]):
        results += in_threads(one, chunks[first:])
    return np.concatenate([x for x, _ in results]), np.concatenate([w for _, w in results])


def _tree(design: Design, parts: Parts, x: Array, found: Weights, rung: str, seed: int) -> xr.DataTree:
    n = len(x)
    chosen, noise = resampled(found.weights, n, np.random.default_rng([seed, 1]))
    posterior = quantities(design, parts.coordinates, x[None, chosen])
    tree = labelled_tree(design, posterior, {"weight": n * found.weights[None, chosen]})
    tree.attrs.update(
        formula=design.formula.text, family=str(design.family), sampler=WORDS[rung], rung=rung, draws=n, tune=0,
        chains=1, seed=seed, complete=1, pareto_k=found.k_hat, ess=found.ess,
        resampling_noise=noise, log_evidence=found.log_mean,
        log_evidence_se=float(np.sqrt(max(1.0 / found.ess - 1.0 / n, 0.0))),
    )  # fmt: skip
    return tree
