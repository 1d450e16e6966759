"""Time of what surrounds an estimate, intervals, refits and predictions: ``python -m benchmarks.around``.

R needs minutes for some of it, in which a machine may become busier or less: what is compared with R is the time that
processors worked, which depends less on that.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from benchmarks.cases import CASES
from benchmarks.data import factors, load, path
from benchmarks.machine import describe
from benchmarks.processes import THREADS, ChildFailed, environment
from benchmarks.rpeers import has_package
from benchmarks.text import console, duration, mark, ratio, save

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Task", "main"]

MODEL, SLOPE = CASES["con_int"], CASES["con_slope"]
ROWS = 100_000
"""Rows of the new data."""

BOOTED = 100
"""Replicates of bootMer that are timed; their time is multiplied to that of a thousand."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be timed.

    Attributes
    ----------
    name : str
    call : callable
    goal : float
        Seconds it may take, infinite where nothing is asked.
    peer : str
        Name of the same in ``around.R``, empty where lme4 has nothing like it.
    seconds, worked : list of float
        Of each call: by the clock, and of processors, those of worker processes included.
    """

    name: str
    call: Callable[[], Any]
    goal: float = math.inf
    peer: str = ""
    seconds: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)


def tasks(model: Any, slope: Any, frame: pd.DataFrame, rows: pd.DataFrame) -> list[Task]:
    """What is timed of a fit with a random intercept, one with a random slope, their data and new rows."""
    many = f"{len(rows):,} rows"
    return [
        Task("confint, Wald", lambda: model.confint("wald")),
        Task("confint, profile", lambda: model.confint("profile"), 1.0, "profile"),
        Task("bootstrap of 1,000, one worker", lambda: model.bootstrap(n=1000, seed=1, workers=1), peer="bootstrap"),
        Task("bootstrap of 1,000, two workers", lambda: model.bootstrap(n=1000, seed=1, workers=2), 20.0, "bootstrap"),
        Task(f"predict population, {many}", lambda: model.predict(rows, estimand="population"), 1.0),
        Task(f"predict population, slope, {many}", lambda: slope.predict(rows, estimand="population"), 1.0),
        Task(f"predict typical, {many}", lambda: model.predict(rows, estimand="typical"), peer="typical"),
        Task(f"predict conditional, {many}", lambda: model.predict(rows, estimand="conditional"), peer="conditional"),
        Task("predict population, own rows", lambda: model.predict(frame, estimand="population")),
        Task("check_optimum, 10 searches", model.check_optimum),
        Task("simulate 1,000", lambda: model.simulate(1000, seed=1), peer="simulate"),
        Task("R² of Nakagawa", model.r2, peer="r2"),
        Task("diagnostics", model.diagnostics),
    ]


def _worked() -> float:
    """Processor seconds of this process and of those it has ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def measure(task: Task, repeats: int, budget: float) -> Any:
    """Call once for nothing, then until repeats or seconds are used up; return what the call returned."""
    out = task.call()
    while len(task.seconds) < repeats and (not task.seconds or sum(task.seconds) < budget):
        began, before = time.perf_counter(), _worked()
        task.call()
        task.seconds.append(time.perf_counter() - began)
        task.worked.append(_worked() - before)
    return out


def in_lme4(rows: pd.DataFrame, repeats: int) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    """Processor seconds by name of a task, and what else R said.

    Raises
    ------
    ChildFailed
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        rows.to_csv(file, index=False)
        request = {
            "path": path(MODEL.data), "rows": file, "factors": " ".join(factors(MODEL.data)),
            "formula": MODEL.formula, "repeats": repeats,
        }  # fmt: skip
        done = subprocess.run(
            ["Rscript", str(Path(__file__).with_suffix(".R"))],
            input="".join(f"{key}: {value}\n" for key, value in request.items()),
            capture_output=True, text=True, env=environment(),
        )  # fmt: skip
    if done.returncode:
        raise ChildFailed((done.stderr.strip().splitlines() or ["R ended without a word"])[-1])
    seconds, said = {}, {}
    for key, *values in (line.split("\t") for line in done.stdout.splitlines()):
        if key == "seconds":
            seconds[values[0]] = [float(s) for s in values[1:]]
        else:
            said[key] = values
    seconds["bootstrap"] = [1000 / BOOTED * s for s in seconds["bootstrap"]]
    return seconds, said


def apart(fit: Any, answers: dict[str, Any], said: dict[str, list[str]]) -> dict[str, float]:
    """How far our numbers are from lme4's: limits in standard errors, probabilities as they are."""
    table = fit.table()
    r_names = ["(Intercept)" if t == "Intercept" else t.replace("[", "").replace("]", "") for t in table.term]
    r_names = [
        f"sd_{name}|{group}" if component == "sd" else name
        for name, group, component in zip(r_names, table.group, table.component, strict=True)
    ]
    limits, distances = answers["profile"], []
    for side in ("low", "high"):
        theirs = dict(zip(said["names"], map(float, said[side]), strict=True))
        ours = limits[f"conf_{side}"]
        distances += [abs(o - theirs[n]) / e for n, o, e in zip(r_names, ours, table.std_error, strict=True)]
    out = {"profile": max(distances)}
    for name in ("typical", "conditional"):
        both = zip(answers[name].estimate, map(float, said[name]), strict=False)
        out[name] = max(abs(ours - theirs) for ours, theirs in both)
    if "r2" in said:
        out["r2"] = max(abs(o - float(t)) for o, t in zip(answers["r2"], said["r2"], strict=True))
    return out


def _shown(out: Console, measured: list[Task], peer: dict[str, list[float]]) -> None:
    table = Table(title=f"Median times, {MODEL.name}: {MODEL.formula}", title_justify="left")
    table.add_column("what")
    for column in ("time", "at most", "", "processors", "lme4, processors", "ratio"):
        table.add_column(column, justify="right")
    for task in measured:
        took, worked = median(task.seconds), median(task.worked)
        theirs = median(peer.get(task.peer, [math.nan]))
        asked = math.isfinite(task.goal)
        table.add_row(
            task.name,
            duration(took),
            duration(task.goal) if asked else "",
            mark(took <= task.goal) if asked else "",
            duration(worked),
            duration(theirs),
            "–" if math.isnan(theirs) else ratio(worked / theirs),
        )
    out.print(table)


def run(
    repeats: Annotated[int, typer.Option(min=1, help="Calls of each.")] = 15,
    budget: Annotated[float, typer.Option(help="Seconds per line after which no further call is begun.")] = 20.0,
    no_r: Annotated[bool, typer.Option("--no-r", help="Do not run R.")] = False,
    json_file: Annotated[str | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Time intervals, refits and predictions of con_int, and the same in lme4."""
    # One thread for everything, before anything that has threads is loaded; the two workers are processes.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    import bayesmlm as bm

    out = console()
    machine = describe()
    out.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    frame = load(MODEL.data)
    rows = frame.sample(ROWS, replace=True, random_state=1).reset_index(drop=True)
    model, slope = (bm.Model(case.formula, frame).fit_ml() for case in (MODEL, SLOPE))
    todo = tasks(model, slope, frame, rows)
    answers: dict[str, Any] = {}
    peer: dict[str, list[float]] = {}
    distances: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=out, auto_refresh=False, transient=True) as bar:
        show = bar.add_task("", total=len(todo) + 1)
        for task in todo:
            bar.update(show, description=f"{task.name:<40}")
            bar.refresh()
            answers[task.peer] = measure(task, repeats, budget)
            bar.advance(show)
        if not no_r and has_package("lme4"):
            bar.update(show, description="lme4, some minutes")
            bar.refresh()
            try:
                peer, said = in_lme4(rows, min(repeats, 7))
            except ChildFailed as error:
                out.print(f"lme4: {error}")
            else:
                out.print(f"lme4 {said['version'][0]}")
                distances = apart(model, answers, said)
    _shown(out, todo, peer)
    if peer:
        out.print(f"lme4's bootstrap is {BOOTED} replicates, their time multiplied by {1000 // BOOTED}.")
        out.print("Its predictions have no standard errors; ours always have.")
        found = ", ".join(f"{name} {value:.1e}" for name, value in distances.items())
        out.print(f"Largest distance from lme4, of limits in standard errors: {found}.")
    asked = [task for task in todo if math.isfinite(task.goal)]
    out.print(f"{sum(median(t.seconds) <= t.goal for t in asked)} of {len(asked)} goals are met.")
    if json_file:
        lines = [
            {"name": t.name, "seconds": t.seconds, "worked": t.worked, "goal": t.goal, "lme4": peer.get(t.peer)}
            for t in todo
        ]
        save(json_file, {"machine": machine, "rows": ROWS, "lines": lines, "apart": distances})


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(prog_name="python -m benchmarks.around")


if __name__ == "__main__":
    main()
