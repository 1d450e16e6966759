"""Time of maximum likelihood against glmm, lme4 and others: ``python -m benchmarks.ml``."""

from __future__ import annotations

import math
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from benchmarks import goals
from benchmarks.cases import CASES
from benchmarks.data import DataMissing, path
from benchmarks.machine import describe
from benchmarks.measure import Row, measure
from benchmarks.processes import Worker
from benchmarks.rpeers import has_package
from benchmarks.text import console, duration, mark, ratio, save

__all__ = ["main"]

PYTHON = "BAYESMLM_PEERS_PYTHON"
"""Environment variable that names the interpreter which has the peers."""


def _times(rows: list[Row]) -> Table:
    table = Table(title="Median times, one thread", title_justify="left")
    table.add_column("model")
    for column in ("fit_ml", "Model + fit_ml", "glmm", "lme4", "logL − glmm's", "coef apart / SE"):
        table.add_column(column, justify="right")
    table.add_column("same answer", justify="center")
    for row in rows:
        cells = [duration(row.median(name)) for name in ("fit", "whole", "glmm", "lme4")]
        last = ["–", "–", ""]
        if "bayesmlm" in row.answers and "glmm" in row.answers:
            same = goals.agreement(row.answers["bayesmlm"], row.answers["glmm"])
            last = [f"{same.loglik:+.1e}", f"{same.coef:.1e}", mark(same.met)]
        table.add_row(row.case.name, *cells, *last)
    return table


def _goals(row: Row) -> dict[str, goals.Goal]:
    name, fit, whole = row.case.name, row.median("fit"), row.median("whole")
    glmm, lme4 = row.median("glmm"), row.median("lme4")
    return {
        "fit_ml / glmm": goals.against_glmm(name, fit, glmm),
        "(Model + fit_ml) / glmm": goals.whole_against_glmm(whole, glmm),
        "fit_ml / lme4": goals.against_lme4(name, fit, lme4),
    }


def _ratios(rows: list[Row]) -> Table:
    table = Table(title="Ratios, and the most they may be", title_justify="left")
    table.add_column("model")
    for column in _goals(rows[0]):
        table.add_column(column, justify="right")
        table.add_column("at most", justify="right")
        table.add_column("", justify="center")
    for row in rows:
        cells = []
        for goal in _goals(row).values():
            if math.isnan(goal.ratio):
                cells += ["–", "", ""]
            else:
                asked = math.isfinite(goal.limit)
                cells += [ratio(goal.ratio), ratio(goal.limit) if asked else "", mark(goal.met) if asked else ""]
        table.add_row(row.case.name, *cells)
    return table


def _others(rows: list[Row], packages: list[str]) -> Table:
    table = Table(title="Other packages", title_justify="left")
    table.add_column("model")
    for package in packages:
        for column in (package, "fit_ml / it", "logL − its"):
            table.add_column(column, justify="right")
    for row in rows:
        cells = []
        for package in packages:
            apart = "–"
            if "bayesmlm" in row.answers and package in row.answers:
                apart = f"{row.answers['bayesmlm']['loglik'] - row.answers[package]['loglik']:+.1e}"
            share = row.median("fit") / row.median(package)
            cells += [duration(row.median(package)), "–" if math.isnan(share) else ratio(share), apart]
        table.add_row(row.case.name, *cells)
    return table


def _remarks(rows: list[Row]) -> list[str]:
    """What the tables do not show: who refused what, and fits that are fast only when they are repeated."""
    out: dict[str, list[str]] = {}
    for row in rows:
        for package, why in row.refusals.items():
            out.setdefault(f"{package}: {why}", []).append(row.case.name)
        for package, answer in row.answers.items():
            if not answer.get("converged", True):
                out.setdefault(f"{package}: did not converge", []).append(row.case.name)
        if row.spread("fit") > 0.3 or row.spread("glmm") > 0.3:
            remark = "times vary by more than 30 % between turns, so the machine was busy with something else"
            out.setdefault(remark, []).append(row.case.name)
        if row.median("first") > 1.5 * row.median("fit"):
            remark = f"the first fit of a model takes {duration(row.median('first'))}, longer than the next ones"
            out.setdefault(remark, []).append(row.case.name)
    return [f"{', '.join(names)}: {remark}" for remark, names in out.items()]


def _record(row: Row) -> dict[str, Any]:
    return {
        "name": row.case.name,
        "formula": row.case.formula,
        "family": row.case.family,
        "n_agq": row.case.n_agq,
        "median": {name: row.median(name) for name in row.seconds},
        "seconds": row.seconds,
        "answers": row.answers,
        "versions": row.versions,
        "refusals": row.refusals,
        "goals": {name: {"ratio": g.ratio, "limit": g.limit, "met": g.met} for name, g in _goals(row).items()},
    }


def _measure_all(
    out: Console, names: list[str], workers: dict[str, Worker], in_r: list[str], repeats: int, budget: float, slow: bool
) -> list[Row]:
    rows = []
    # Drawn between calls only: a thread that redraws would take its time from what is being timed.
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=out, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=len(names))
        for place, name in enumerate(names):
            case = CASES[name]
            try:
                path(case.data)
            except DataMissing as missing:
                out.print(f"{name} is skipped: {missing}.")
                continue
            r_packages = [] if case.minutes_in_r and not slow else in_r
            asked = {key: w for key, w in workers.items() if slow or not case.minutes_in_r or key != "mixedlm"}

            def show(what: str, share: float, place: int = place) -> None:
                bar.update(task, description=f"{what:<32}", completed=place + share)
                bar.refresh()

            rows.append(measure(case, asked, r_packages, repeats, budget, show))
    return rows


def run(
    only: Annotated[list[str] | None, typer.Option(help="Only this model; may be given several times.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns per model.")] = 15,
    budget: Annotated[float, typer.Option(help="Seconds per model after which no further turn is begun.")] = 20.0,
    slow: Annotated[bool, typer.Option("--slow", help="Also what takes minutes: InstEval binary in R.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Also mixedlm and glmmTMB.")] = False,
    no_r: Annotated[bool, typer.Option("--no-r", help="Do not run R.")] = False,
    json_file: Annotated[str | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    python: Annotated[str, typer.Option(help=f"Interpreter that has the peers; ${PYTHON} by default.")] = "",
) -> None:
    """Time fit_ml against its peers, in turns, on one thread."""
    out = console()
    names = only or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise typer.BadParameter(f"there is no model {', '.join(unknown)}; there are: {', '.join(CASES)}")
    python = python or os.environ.get(PYTHON) or sys.executable
    workers = {"bayesmlm": Worker("bayesmlm"), "glmm": Worker("glmm", python)}
    if peers:
        workers["mixedlm"] = Worker("mixedlm", python)
    in_r = [] if no_r else [p for p in ("lme4", *(("glmmTMB",) if peers else ())) if has_package(p)]
    machine = describe()
    out.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    try:
        rows = _measure_all(out, names, workers, in_r, repeats, budget, slow)
    finally:
        for worker in workers.values():
            worker.close()
    if not rows:
        raise typer.Exit(1)
    versions = {package: text for row in rows for package, text in row.versions.items()}
    out.print(" · ".join(f"{package} {text}" for package, text in versions.items()))
    out.print(_times(rows))
    out.print(_ratios(rows))
    if peers:
        out.print(_others(rows, ["mixedlm", "glmmTMB"]))
    for remark in _remarks(rows):
        out.print(f"{remark}.")
    asked = [g for row in rows for g in _goals(row).values() if math.isfinite(g.limit) and not math.isnan(g.ratio)]
    out.print(f"{sum(g.met for g in asked)} of {len(asked)} goals are met.")
    if json_file:
        save(json_file, {"machine": machine, "rows": [_record(row) for row in rows]})


def main() -> None:
    """Run the command line."""
    # --only NAME NAME is read as --only NAME --only NAME.
    arguments: list[str] = []
    for word in sys.argv[1:]:
        again = arguments and arguments[-2:-1] == ["--only"] and not word.startswith("-")
        arguments += ["--only", word] if again else [word]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(args=arguments, prog_name="python -m benchmarks.ml")


if __name__ == "__main__":
    main()
