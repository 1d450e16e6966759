"""Effective draws per second of NUTS, ours against Bambi's default: ``python -m benchmarks.nuts``."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES
from benchmarks.data import DataMissing, path
from benchmarks.machine import describe
from benchmarks.nuts_child import FORMULAS
from benchmarks.processes import ROOT, ChildFailed, environment, run_child
from benchmarks.text import console, duration, mark, save

__all__ = ["Row", "main", "worst_difference"]

LEAST, LEAST_FRESH = 30.0, 5.0
"""What is asked of our effective draws per second over Bambi's: of compiling and sampling, of a fresh process."""

PACKAGES = ("bayesmlm", "bambi")
CHAINS, DRAWS, TUNE = 2, 1000, 1000
"""Of Bambi; ours has the same chains and draws, and its own tuning."""

STUCK = 1.1
"""R-hat from which a chain counts as left behind."""

REFERENCE = ROOT / "tests" / "reference" / "posterior.json"


@dataclass(slots=True)
class Row:
    """What was measured of one model.

    Attributes
    ----------
    name : str
    runs : dict of str to list of dict
        By package, replies of :mod:`benchmarks.nuts_child`, warm ones.
    first : dict of str to dict
        By package, the run that compiled everything.
    """

    name: str
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {package: [] for package in PACKAGES})
    first: dict[str, dict[str, Any]] = field(default_factory=dict)

    def counted(self, package: str) -> list[dict[str, Any]]:
        """The runs a median is taken of: all of ours, of Bambi those in which no chain was left behind, if any."""
        runs = self.runs[package]
        mixed = [run for run in runs if run["rhat"] < STUCK]
        return mixed if package == "bambi" and mixed else runs

    def rate(self, package: str, seconds: str) -> float:
        """Median over runs of effective draws per second."""
        return median(run["ess"] / run[seconds] for run in self.counted(package))

    def ratio(self, seconds: str) -> float:
        """Our rate over Bambi's."""
        return self.rate("bayesmlm", seconds) / self.rate("bambi", seconds)

    def median(self, package: str, what: str) -> float:
        """Median of one figure of a package's runs."""
        return median(run[what] for run in self.counted(package))


def worst_difference(
    quantities: Mapping[str, Mapping[str, float]], reference: Mapping[str, Any]
) -> tuple[float, float, bool]:
    """Compare a posterior with a reference.

    Returns
    -------
    mean : float
        Largest difference of a mean, in posterior standard deviations.
    sd : float
        Largest relative difference of a standard deviation.
    same : bool
        Whether every mean is within 0.05 standard deviations and every standard deviation within 5 %, each plus four
        Monte-Carlo errors of both runs.

    Examples
    --------
    >>> one = {"x": {"mean": 0.1, "sd": 1.0, "mcse_mean": 0.01, "mcse_sd": 0.01}}
    >>> other = {"x": {"mean": 0.0, "sd": 1.0, "mcse_mean": 0.0, "mcse_sd": 0.0}}
    >>> worst_difference(one, other)
    (0.1, 0.0, False)
    """
    means, sds, same = [], [], True
    for name, entry in quantities.items():
        known = reference[name]
        sd = known["sd"]
        means.append(abs(entry["mean"] - known["mean"]) / sd)
        sds.append(abs(entry["sd"] - sd) / sd)
        same &= means[-1] <= 0.05 + 4.0 * math.hypot(entry["mcse_mean"], known["mcse_mean"]) / sd
        same &= sds[-1] <= 0.05 + 4.0 * math.hypot(entry["mcse_sd"], known["mcse_sd"]) / sd
    return max(means), max(sds), same


def _ask(package: str, name: str, seed: int, draws: int, tune: int | None, env: Mapping[str, str]) -> dict[str, Any]:
    request = {
        "package": package, "case": name, "draws": draws, "tune": tune, "chains": CHAINS, "seed": seed,
        "began": time.time(),
    }  # fmt: skip
    return run_child("benchmarks.nuts_child", request, env)


def measure(name: str, repeats: int, draws: int, out: Console) -> Row:
    """Run both packages in turns, each time in a process of its own; the first turn finds empty caches."""
    row = Row(name)
    with tempfile.TemporaryDirectory() as cache:
        # Kernels, ours or those PyTensor makes, are compiled in the first turn and found on the disk in the others.
        env = environment(single=False, NUMBA_CACHE_DIR=cache, PYTENSOR_FLAGS=f"base_compiledir={cache}/pytensor")
        for turn in range(repeats + 1):
            for package in PACKAGES:
                tune = None if package == "bayesmlm" else min(TUNE, draws)
                with out.status(f"{name}: {package}, turn {turn} of {repeats}"):
                    reply = _ask(package, name, turn + 1, draws, tune, env)
                if turn:
                    row.runs[package].append(reply)
                else:
                    row.first[package] = reply
    return row


def _speeds(rows: list[Row]) -> Table:
    table = Table(title="Least bulk ESS per second, medians", title_justify="left")
    table.add_column("model")
    for column in (
        "compile + sampling: ours", "Bambi", f"ratio (≥ {LEAST:.0f})", "first run: ours", "Bambi",
        "fresh process: ours", "Bambi", f"ratio (≥ {LEAST_FRESH:.0f})",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        cells = []
        for seconds, least in (("seconds", LEAST), ("wall", LEAST_FRESH)):
            cells += [f"{row.rate(package, seconds):.3g}" for package in PACKAGES]
            cells.append(f"{row.ratio(seconds):.1f} {mark(row.ratio(seconds) >= least)}")
            if seconds == "seconds":
                cells += [f"{row.first[package]['ess'] / row.first[package]['seconds']:.3g}" for package in PACKAGES]
        table.add_row(row.name, *cells)
    return table


def _times(rows: list[Row]) -> Table:
    table = Table(title="What one run takes, medians", title_justify="left")
    for column in ("model", "package"):
        table.add_column(column)
    for column in ("compile", "sampling", "both", "first run", "fresh process", "least ESS", "R-hat", "divergences"):
        table.add_column(column, justify="right")
    for row in rows:
        for package in PACKAGES:
            times = [duration(row.median(package, part)) for part in ("compile", "sampling", "seconds")]
            times += [duration(row.first[package]["seconds"]), duration(row.median(package, "wall"))]
            worst = [max(run[what] for run in row.runs[package]) for what in ("rhat", "divergences")]
            table.add_row(
                row.name, package, *times, f"{row.median(package, 'ess'):.0f}", f"{worst[0]:.3f}", f"{worst[1]}"
            )
    return table


def _agreements(rows: list[Row], reference: Mapping[str, Any]) -> Table:
    table = Table(title="Our posterior against the reference, the worst of all runs", title_justify="left")
    table.add_column("model")
    for column in ("means apart / sd", "sds apart", "reference's least ESS"):
        table.add_column(column, justify="right")
    table.add_column("same", justify="center")
    for row in rows:
        if row.name not in reference:
            table.add_row(row.name, "–", "–", "none", "")
            continue
        known = {name: entry for name, entry in reference[row.name].items() if not name.startswith("_")}
        means, sds, same = zip(
            *(worst_difference(run["quantities"], known) for run in row.runs["bayesmlm"]), strict=True
        )
        least = min(entry["ess_bulk"] for entry in known.values())
        table.add_row(row.name, f"{max(means):.3f}", f"{100 * max(sds):.1f} %", f"{least:,.0f}", mark(all(same)))
    return table


def run(
    only: Annotated[list[str] | None, typer.Option(help="Only this model; may be given several times.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns with warm caches, after one with empty ones.")] = 3,
    draws: Annotated[int, typer.Option(min=100, help="Draws per chain; fewer to try it out.")] = DRAWS,
    json_file: Annotated[str | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Sample three models with our defaults and with Bambi's, in turns."""
    out = console()
    names = only or list(FORMULAS)
    unknown = [name for name in names if name not in FORMULAS]
    if unknown:
        raise typer.BadParameter(f"there is no model {', '.join(unknown)}; there are: {', '.join(FORMULAS)}")
    machine = {**describe(), **{package: version(package) for package in ("pymc", "nutpie", "bambi", "arviz")}}
    out.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    rows = []
    for name in names:
        try:
            path(CASES[name].data)
            rows.append(measure(name, repeats, draws, out))
        except (DataMissing, ChildFailed) as error:
            out.print(f"{name}: left out, {error}.")
    if not rows:
        raise typer.Exit(1)
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for table in (_speeds(rows), _times(rows), _agreements(rows, reference)):
        out.print(table)
    for row in rows:
        for package in PACKAGES:
            stuck = sum(run["rhat"] >= STUCK for run in row.runs[package])
            if stuck:
                counted = len(row.counted(package)) == repeats
                out.print(
                    f"{row.name}: {package} left a chain behind (R-hat above {STUCK}) in {stuck} of {repeats} runs, "
                    f"which {'count all the same' if counted else 'are left out of its medians'}."
                )
    met = [row.ratio("seconds") >= LEAST for row in rows] + [row.ratio("wall") >= LEAST_FRESH for row in rows]
    out.print(f"{sum(met)} of {len(met)} goals are met.")
    if json_file:
        record = [{"name": row.name, "runs": row.runs, "first": row.first} for row in rows]
        save(json_file, {"machine": machine, "rows": record})


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(prog_name="python -m benchmarks.nuts")


if __name__ == "__main__":
    main()
