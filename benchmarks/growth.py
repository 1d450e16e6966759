"""How time and memory grow with the data: ``python -m benchmarks.growth``."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.processes import ChildFailed, environment, run_child
from benchmarks.simulate import FORMULA
from benchmarks.text import amount, console, duration, mark, save

__all__ = ["main"]

LARGE = 100_000
"""From here on times and memory are those of the data, not of a process that starts."""

STEP, MEMORY, AGAINST_GLM = 12.0, 3.0, 3.0
"""The most that is asked: time of ten times the rows, memory of a fit per design, time per logistic regression."""


def _judged(value: float, limit: float, asked: bool) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f} {mark(value <= limit)}" if asked else f"{value:.1f}  "


def _table(sizes: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{FORMULA}, ten rows a group", title_justify="left")
    for column in ("rows", "Model", "× ≤ 12", "fit_ml", "× ≤ 12", "fit_ml, all threads"):
        table.add_column(column, justify="right")
    for column in ("design", "taking up", "peak of Model", "peak of fit_ml", "/ design ≤ 3"):
        table.add_column(column, justify="right")
    before: dict[str, Any] = {}
    for size in sizes:
        asked = size["n"] >= LARGE
        grown = [size[key] / before.get(key, math.nan) for key in ("model", "fit")]
        table.add_row(
            f"{size['n']:,}",
            duration(size["model"]),
            _judged(grown[0], STEP, asked),
            duration(size["fit"]),
            _judged(grown[1], STEP, asked),
            duration(size.get("fit_all_threads", math.nan)),
            amount(size["design_bytes"]),
            amount(size["design_bytes_held"]),
            amount(size["model_peak"]),
            amount(size["fit_peak"]),
            _judged(size["fit_peak"] / size["design_bytes"], MEMORY, asked),
        )
        before = size
    return table


def run(
    largest: Annotated[int, typer.Option(min=1000, help="Rows of the largest data; a power of ten.")] = 10_000_000,
    budget: Annotated[float, typer.Option(help="Seconds for repetitions of one measurement.")] = 5.0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Time and memory of Model and fit_ml from a thousand rows on."""
    out = console()
    machine = describe()
    out.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    rows = [10**k for k in range(3, 10) if 10**k <= largest]
    compared = min(1_000_000, rows[-1])
    sizes: list[dict[str, Any]] = []
    with Progress(
        TextColumn("{task.description}"), BarColumn(), console=out, auto_refresh=False, transient=True
    ) as bar:
        task = bar.add_task("", total=2 * len(rows))
        for n in rows:
            request = {"n": n, "n_groups": n // 10, "budget": budget, "compare": n == compared}
            try:
                bar.update(task, description=f"{n:,} rows, one thread")
                bar.refresh()
                size = run_child("benchmarks.growth_child", request, environment())
                bar.update(task, advance=1, description=f"{n:,} rows, all threads")
                bar.refresh()
                free = run_child(
                    "benchmarks.growth_child", request | {"compare": False, "only_fit": True}, environment(single=False)
                )
            except ChildFailed as error:
                out.print(f"{n:,} rows: {error}")
                break
            bar.advance(task)
            sizes.append(size | {"fit_all_threads": free["fit"], "fits_all_threads": free["fits"]})
    if not sizes:
        raise typer.Exit(1)
    out.print(_table(sizes))
    for size in sizes:
        if not size["converged"]:
            out.print(f"{size['n']:,} rows: the fit did not converge.")
        if "glm" in size:
            times = size["fit"] / size["glm"]
            out.print(
                f"{size['n']:,} rows: fit_ml takes {duration(size['fit'])}, statsmodels' logistic regression without "
                f"groups {duration(size['glm'])}: {times:.1f} times, at most {AGAINST_GLM:.0f} "
                f"{mark(times <= AGAINST_GLM)}"
            )
    if json_file:
        save(json_file, {"machine": machine, "formula": FORMULA, "sizes": sizes})


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(prog_name="python -m benchmarks.growth")


if __name__ == "__main__":
    main()
