"""Posteriors without chains against long NUTS runs: ``python -m benchmarks.marginal``.

Per model the rung that holds, k̂, ESS, seconds, and the largest errors of posterior means, standard deviations and 5 and
95 % quantiles against references (``tests/reference``), in posterior standard deviations; NUTS's time to the same
Monte-Carlo error beside it.  Then the certificate's own reliability: k̂ over many seeds, and how often it held while an
error was beyond what is asked: means 0.05, standard deviations 3 %, quantiles 0.1, each plus four Monte-Carlo standard
errors; and the same of the first rung alone where that is not enough.  Then many models at once.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from benchmarks.cases import CASES
from benchmarks.data import DataMissing, load
from benchmarks.machine import describe
from benchmarks.simulated import SIMULATED, simulated
from benchmarks.text import console, duration, mark, save

if TYPE_CHECKING:
    import bayesmlm as bm
    from bayesmlm.bayes.fit import BayesFit

__all__ = ["MODELS", "Errors", "errors_of", "main", "model_of", "names_of", "posterior_of", "references"]

Array = np.ndarray[Any, Any]

MODELS = (
    "con_int", "con_ud", "con_slope", "cbpp", "exam_slope", "verbagg", "sleepstudy", *SIMULATED,
)  # fmt: skip
"""Models with a reference: those of :mod:`benchmarks.cases`, and simulated ones."""

ASKED = {"mean": 0.05, "sd": 0.03, "quantile": 0.1}
"""Errors allowed, beside four Monte-Carlo standard errors."""

_TAIL = np.sqrt(0.05 * 0.95) / 0.10313564
"""Standard error of a normal sample's 5 % quantile, in standard deviations, times the root of the sample size."""


def model_of(name: str) -> bm.Model:
    """A model by its name.

    Raises
    ------
    DataMissing
        Where its data are not at hand.
    """
    import bayesmlm as bm

    if name in SIMULATED:
        return simulated(name)
    known = CASES[name]
    return bm.Model(known.formula, load(known.data), family=known.family, name=name)


def references() -> dict[str, Any]:
    """Long runs by the name of their model."""
    out: dict[str, Any] = {}
    for file in ("posterior.json", "marginal.json"):
        path = Path(__file__).parents[1] / "tests" / "reference" / file
        if path.exists():
            out |= json.loads(path.read_text(encoding="utf-8"))
    return out


def posterior_of(model: bm.Model, draws: int = 4000, seed: int = 1) -> BayesFit:
    """The posterior by the cheapest rung that holds; the best there is where none does.

    Raises
    ------
    ValueError
        Where there is none at all.
    """
    from bayesmlm.bayes.marginal.fit import MarginalFit
    from bayesmlm.bayes.marginal.ladder import sample_marginal
    from bayesmlm.start import find_start

    outcome = sample_marginal(model.design, find_start(model.design)[0], draws, seed)
    tree = outcome.tree if outcome.tree is not None else outcome.best
    if tree is None:
        raise ValueError(outcome.sentence)
    return MarginalFit(model, tree)


def names_of(model: bm.Model) -> list[str]:
    """Names of the quantities of a table, as the references have them."""
    design = model.design
    names = list(design.terms)
    for group, label in zip(design.groups, design.group_labels, strict=True):
        one = len(group.terms) == 1
        names += [f"sd {label}" if one else f"sd {label} {term}" for term in group.terms]
    for group, label in zip(design.groups, design.group_labels, strict=True):
        names += [f"cor {label} {pair}" for pair in group.pairs]
    return [*names, *(["sigma"] if design.family.name == "gaussian" else [])]


@dataclass(frozen=True, slots=True)
class Errors:
    """Largest errors of a posterior against a reference.

    Attributes
    ----------
    mean, sd, quantile : float
        In posterior standard deviations; of standard deviations, shares.
    within : bool
        Whether every one is within what is asked plus four Monte-Carlo standard errors of both.
    """

    mean: float
    sd: float
    quantile: float
    within: bool


def errors_of(fit: BayesFit, reference: Mapping[str, Any]) -> Errors:
    """Compare the table's quantities of a fit with a long run."""
    from bayesmlm.bayes.draws import table_draws

    draws = table_draws(fit.design, fit.tree)
    flat, table = draws.reshape(-1, draws.shape[2]), fit.table()
    rows = [reference[name] for name in names_of(fit.model)]
    of = {key: np.array([row[key] for row in rows]) for key in ("mean", "sd", "q05", "q95", "ess_bulk")}
    bulk, tail = (1.0 / table[name].to_numpy() + 1.0 / of["ess_bulk"] for name in ("ess_bulk", "ess_tail"))
    mean = np.abs(flat.mean(axis=0) - of["mean"]) / of["sd"]
    sd = np.abs(flat.std(axis=0, ddof=1) / of["sd"] - 1.0)
    quantiles = np.quantile(flat, [0.05, 0.95], axis=0)
    quantile = np.abs(quantiles - np.array([of["q05"], of["q95"]])).max(axis=0) / of["sd"]
    # The variance of a sample's variance grows with its kurtosis, here that of the draws themselves.
    kurtosis = (np.square(np.square(flat - flat.mean(axis=0))).mean(axis=0) / flat.var(axis=0) ** 2).clip(3.0)
    within = (
        (mean <= ASKED["mean"] + 4.0 * np.sqrt(bulk)).all()
        and (sd <= ASKED["sd"] + 4.0 * np.sqrt(0.25 * (kurtosis - 1.0) * bulk)).all()
        and (quantile <= ASKED["quantile"] + 4.0 * _TAIL * np.sqrt(tail)).all()
    )
    return Errors(float(mean.max()), float(sd.max()), float(quantile.max()), bool(within))


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one model."""

    name: str
    rung: str
    rungs: dict[str, int]
    k_hat: float
    ess: float
    seconds: float
    processor: float
    errors: Errors | None
    nuts: float
    nuts_processor: float
    seeds: int
    k_most: float
    held: int
    deceived: int


def measure(name: str, reference: Mapping[str, Any] | None, draws: int, seeds: int, nuts: bool) -> Row:
    """One model: median time over five seeds, errors of the first, reliability over all."""
    model = model_of(name)
    posterior_of(model, 500)
    fits, wall, processor = [], [], []
    for seed in range(1, max(seeds, 5) + 1):
        before = time.perf_counter(), time.process_time()
        fits.append(posterior_of(model, draws, seed))
        wall.append(time.perf_counter() - before[0])
        processor.append(time.process_time() - before[1])
    errors = [None if reference is None else errors_of(fit, reference) for fit in fits]
    attrs, held = fits[0].tree.attrs, [fit.converged for fit in fits]
    rungs = Counter(str(fit.tree.attrs["rung"]) for fit in fits)
    deceived = sum(h and e is not None and not e.within for h, e in zip(held, errors, strict=True))
    least = float(fits[0].table().ess_bulk.min())
    nuts_wall, nuts_processor = _nuts_time(model, least) if nuts else (float("nan"),) * 2
    return Row(
        name=name,
        rung=attrs["rung"],
        rungs=dict(rungs),
        k_hat=attrs["pareto_k"],
        ess=attrs["ess"],
        seconds=float(np.median(wall)),
        processor=float(np.median(processor)),
        errors=errors[0],
        nuts=nuts_wall,
        nuts_processor=nuts_processor,
        seeds=len(fits),
        k_most=max(fit.tree.attrs["pareto_k"] for fit in fits),
        held=sum(held),
        deceived=deceived,
    )


@dataclass(frozen=True, slots=True)
class Alone:
    """What the certificate said of the first rung where that is not enough.

    Attributes
    ----------
    name : str
    draws, seeds : int
    k_least, k_most : float
    beyond : int
        Samples with an error beyond what is asked.
    by_k, by_k_beyond : int
        With a k̂ below its limit; of these with such an error.
    held, held_beyond : int
        Certified; of these with such an error.
    """

    name: str
    draws: int
    seeds: int
    k_least: float
    k_most: float
    beyond: int
    by_k: int
    by_k_beyond: int
    held: int
    held_beyond: int


def first_rung_alone(name: str, reference: Mapping[str, Any], draws: int, seeds: int) -> Alone:
    """Importance-weighted Laplace whatever its weights are, over seeds, those that are hopeless aside."""
    from bayesmlm.bayes.marginal.fit import MarginalFit
    from bayesmlm.bayes.marginal.ladder import sample_marginal
    from bayesmlm.bayes.marginal.pareto import k_limit
    from bayesmlm.start import find_start

    model = model_of(name)
    start, k_hat, beyond, held = find_start(model.design)[0], [], [], []
    for seed in range(1, seeds + 1):
        outcome = sample_marginal(model.design, start, draws, seed, ("laplace",))
        tree = outcome.tree if outcome.tree is not None else outcome.best
        if tree is not None:
            k_hat.append(tree.attrs["pareto_k"])
            beyond.append(not errors_of(MarginalFit(model, tree), reference).within)
            held.append(outcome.holds)
    by_k, bad, good = np.array(k_hat) < k_limit(draws), np.array(beyond), np.array(held)
    counts = [int(values.sum()) for values in (bad, by_k, by_k & bad, good, good & bad)]
    return Alone(name, draws, len(k_hat), min(k_hat), max(k_hat), *counts)


def _nuts_time(model: bm.Model, ess: float) -> tuple[float, float]:
    """Seconds, and those of processors, that NUTS would take to as many effective draws of what it knows least of."""
    model.sample(draws=100, chains=2)
    began, before = time.perf_counter(), time.process_time()
    fit = model.sample(draws=1000, chains=4, seed=1)
    share = ess / float(fit.table().ess_bulk.min())
    return (time.perf_counter() - began) * share, (time.process_time() - before) * share


def _many(count: int, workers: int) -> dict[str, float]:
    """So many one-factor models of 2,000 rows: seconds, of processors too, and how many posteriors were certified."""
    import bayesmlm as bm
    from benchmarks.simulate import FORMULA, simulate

    models = [bm.Model(FORMULA, simulate(2000, 60 + i % 100, seed=i), name=f"m{i}") for i in range(count)]
    before, began = os.times(), time.perf_counter()
    many = bm.sample_many(models, draws=1000, workers=workers)
    seconds, after = time.perf_counter() - began, os.times()
    # User and system time of this process and of its children, which are those of the workers once they have ended.
    processors = sum(after[:4]) - sum(before[:4])
    certified = int(many.verdicts().pareto_k.notna().sum())
    return {"models": count, "workers": workers, "seconds": seconds, "processors": processors, "certified": certified}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Some models; all without it.")] = None,
    draws: Annotated[int, typer.Option(help="Draws of each posterior.")] = 4000,
    seeds: Annotated[int, typer.Option(help="Seeds the certificate is tried with.")] = 50,
    nuts: Annotated[bool, typer.Option(help="Run NUTS beside it.")] = True,
    many: Annotated[int, typer.Option(help="Models sampled at once; 0 for none.")] = 500,
    workers: Annotated[int, typer.Option(help="Processes for those.")] = 2,
    json_file: Annotated[str, typer.Option("--json", help="Write the figures here, too.")] = "",
) -> None:
    """Measure, and print the tables."""
    out, known, rows = console(), references(), []
    for name in only or MODELS:
        try:
            rows.append(measure(name, known.get(name), draws, seeds, nuts))
        except DataMissing as missing:
            out.print(f"{name}: {missing}")
            continue
        out.print(f"{name}: done", style="dim")
    table = Table(
        "model", "rung", "k̂", "ESS", "wall", "processor", "mean", "sd", "quantile", "NUTS", "processor", "NUTS / ours"
    )
    trust = Table("model", "seeds", "rungs", "largest k̂", "held", "held, and an error beyond what is asked")
    for row in rows:
        found = ("–",) * 3 if row.errors is None else (
            f"{row.errors.mean:.3f}", f"{row.errors.sd:.1%}", f"{row.errors.quantile:.3f} {mark(row.errors.within)}"
        )  # fmt: skip
        table.add_row(
            row.name, row.rung, f"{row.k_hat:.2f}", f"{row.ess:,.0f} of {draws:,}", duration(row.seconds),
            duration(row.processor), *found, duration(row.nuts), duration(row.nuts_processor),
            f"{row.nuts_processor / row.processor:.0f}",
        )  # fmt: skip
        trust.add_row(
            row.name,
            str(row.seeds),
            ", ".join(f"{n} {rung}" for rung, n in row.rungs.items()),
            f"{row.k_most:.2f}",
            str(row.held),
            f"{row.deceived} {mark(not row.deceived)}",
        )
    out.print(table, trust)
    alone = [
        first_rung_alone(row.name, known[row.name], number, seeds)
        for row in rows
        if row.rung != "laplace" and row.name in known
        for number in (250, 1000, draws)
    ]
    hard = Table(
        "first rung alone", "draws", "seeds", "k̂", "errors beyond", "k̂ below limit", "beyond", "held", "beyond"
    )
    for one in alone:
        numbers = (one.beyond, one.by_k, one.by_k_beyond, one.held, one.held_beyond)
        k_hat = f"{one.k_least:.2f} to {one.k_most:.2f}"
        hard.add_row(one.name, str(one.draws), str(one.seeds), k_hat, *map(str, numbers))
    out.print(hard)
    figures: dict[str, Any] = {
        "machine": describe(),
        "models": [asdict(row) for row in rows],
        "first rung alone": [asdict(one) for one in alone],
    }
    if many:
        found = _many(many, workers)
        out.print(
            f"{many} models of 2,000 rows on {workers} processors: {duration(found['seconds'])} "
            f"{mark(found['seconds'] <= 60.0)}, {duration(found['processors'])} of work, {found['certified']} certified"
        )
        figures["many"] = found
    if json_file:
        save(json_file, figures)


if __name__ == "__main__":
    typer.run(main)
