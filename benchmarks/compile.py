"""Time to compile the kernels of maximum likelihood, once per installation: ``python -m benchmarks.compile``."""

from __future__ import annotations

import tempfile
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.compile_child import KINDS
from benchmarks.machine import describe
from benchmarks.processes import environment, run_child
from benchmarks.text import console, duration, mark, save

__all__ = ["main"]

MOST = 20.0
"""Seconds that all kernels together may take to compile."""


def run(
    json_file: Annotated[str | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Fit one model of each kind with an empty cache of compiled code, then with a full one."""
    out = console()
    machine = describe()
    out.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    with tempfile.TemporaryDirectory() as cache, out.status("compiling"):
        env = environment(NUMBA_CACHE_DIR=cache)
        cold = run_child("benchmarks.compile_child", {}, env)
        warm = run_child("benchmarks.compile_child", {}, env)
    table = Table(title="First fit of each kind, in this order in one process", title_justify="left")
    table.add_column("kind")
    for column in ("cache empty", "cache full", "difference"):
        table.add_column(column, justify="right")
    for kind in ("import", *KINDS):
        if isinstance(cold[kind], str):
            table.add_row(kind, "–", "–", cold[kind])
        else:
            table.add_row(kind, duration(cold[kind]), duration(warm[kind]), duration(cold[kind] - warm[kind]))
    out.print(table)
    spent = cold["all"] - warm["all"]
    out.print(f"Compiling takes {duration(spent)} in all, at most {MOST:.0f} s {mark(spent <= MOST)}")
    if json_file:
        save(json_file, {"machine": machine, "cold": cold, "warm": warm, "seconds": spent, "met": spent <= MOST})


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(prog_name="python -m benchmarks.compile")


if __name__ == "__main__":
    main()
