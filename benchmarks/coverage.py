"""How often 95 % intervals cover the truth, by simulation: ``python -m benchmarks.coverage``.

Binary responses in groups, a covariate that varies from row to row and one that varies between groups only.  Every
number depends on its cell and replicate alone: neither on the number of processes nor on what else is run.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.text import console

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.model import Model

__all__ = ["CELLS", "FORMULA", "METHODS", "QUANTITIES", "Cell", "Plan", "main", "replicate", "summarise"]

Array = np.ndarray[Any, Any]

FORMULA = "y ~ x + w + (1 | g)"
FILE = Path(__file__).with_suffix(".csv")
LEVEL = 0.95
SEED = 4

BETA = (-0.5, 0.5, 0.5)
"""True intercept, and coefficients of ``x`` (of rows) and ``w`` (of groups)."""

QUANTITIES = ("Intercept", "x", "w", "sd")
METHODS = ("wald", "profile", "percentile", "basic", "normal")
"""The last three are made of the same parametric bootstrap."""

COLUMNS = (
    "groups", "size", "sd", "n_agq", "quantity", "method", "replicates", "refits", "estimate", "coverage", "mc_se",
    "below", "above", "width", "missing", "singular",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One truth: groups of equal size, and the standard deviation of their effects."""

    groups: int
    size: int
    sd: float


CELLS = tuple(Cell(*c) for c in product((20, 40, 60), (10, 30), (0.5, 1.0)))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is computed of a cell.

    Attributes
    ----------
    replicates : int
        Responses drawn, each with intervals by Wald and by profile.
    bootstrapped : int
        How many of them, the first, have bootstrap intervals too.
    refits : int
        Bootstrap replicates of an interval; best one less than a multiple of 40, where quantiles are order statistics.
    n_agq : int
        Points of quadrature, 1 for the Laplace approximation.
    """

    replicates: int
    bootstrapped: int
    refits: int
    n_agq: int = 1


def covariates(cell: Cell) -> pd.DataFrame:
    """``x``, ``w`` and ``g`` of a cell: normal scores, those of groups in no order that matters, of rows shuffled.

    Examples
    --------
    >>> frame = covariates(Cell(20, 10, 0.5))
    >>> frame.shape, int(frame.groupby("g").w.nunique().max())
    ((200, 3), 1)
    """
    import pandas as pd
    from scipy.special import ndtri

    def scores(n: int) -> Array:
        return ndtri((np.arange(n) + 0.5) / n)

    g = np.repeat(np.arange(cell.groups), cell.size)
    x = np.random.default_rng([SEED, cell.groups, cell.size]).permutation(scores(len(g)))
    return pd.DataFrame({"x": x, "w": scores(cell.groups)[g], "g": g})


def bound(cell: Cell) -> Model:
    """The model of a cell; its response is a placeholder."""
    import bayesmlm as bm

    frame = covariates(cell)
    return bm.Model(FORMULA, frame.assign(y=np.arange(len(frame)) % 2))


def response(cell: Cell, frame: pd.DataFrame, rng: np.random.Generator) -> Array:
    """Draw group effects and 0/1 responses from the truth."""
    effects = cell.sd * rng.standard_normal(cell.groups)
    eta = BETA[0] + BETA[1] * frame["x"].to_numpy() + BETA[2] * frame["w"].to_numpy() + effects[frame["g"].to_numpy()]
    return (rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)


def replicate(cell: Cell, plan: Plan, model: Model, number: int) -> Array:
    """Estimates and limits of one replicate, shape (methods, quantities, 3); NaN where there are none.

    Examples
    --------
    >>> cell = Cell(20, 10, 1.0)
    >>> found = replicate(cell, Plan(1, 0, 0), bound(cell), 0)
    >>> found.shape, bool((found[:2, :, 1] < found[:2, :, 0]).all()), bool(np.isnan(found[2:, :, 1:]).all())
    ((5, 4, 3), True, True)
    """
    from bayesmlm import BayesmlmError

    rng = np.random.default_rng([SEED, cell.groups, cell.size, round(100 * cell.sd), number])
    y = response(cell, model.data, rng)
    seed = int(rng.integers(2**31))
    out = np.full((len(METHODS), len(QUANTITIES), 3), np.nan)
    try:
        fit = model.with_response(y).fit_ml(n_agq=plan.n_agq)
    except BayesmlmError:
        return out
    columns = ["estimate", "conf_low", "conf_high"]
    out[0] = fit.confint("wald", LEVEL)[columns].to_numpy()
    out[1:, :, 0] = out[0, :, 0]
    try:
        out[1] = fit.confint("profile", LEVEL)[columns].to_numpy()
        if number < plan.bootstrapped:
            boot = fit.bootstrap(n=plan.refits, seed=seed)
            for place, kind in enumerate(METHODS[2:], start=2):
                out[place, :, 1:] = np.column_stack(boot.intervals(LEVEL, kind))
    except BayesmlmError:
        pass
    return out


def replicates_of(payload: tuple[Cell, Plan]) -> Callable[[range], Array]:
    """Make replicates by their numbers; for worker processes."""
    cell, plan = payload
    model = bound(cell)
    return lambda numbers: np.array([replicate(cell, plan, model, number) for number in numbers])


def summarise(cell: Cell, plan: Plan, found: Array) -> list[dict[str, Any]]:
    """Rows of the table: what became of the intervals of a cell.

    Parameters
    ----------
    cell : Cell
    plan : Plan
    found : ndarray, shape (replicates, methods, quantities, 3)

    Returns
    -------
    list of dict
        By quantity and method.  ``coverage``, ``below`` and ``above`` (intervals that lie below or above the truth) and
        ``width`` are of the intervals there are; ``missing`` is the share of replicates without one, or with a limit
        that is not finite.  ``mc_se`` is the binomial standard error of the coverage, ``estimate`` the mean estimate,
        ``singular`` the share of fits whose standard deviation is zero.

    Examples
    --------
    >>> found = np.zeros((4, 5, 4, 3))
    >>> found[..., 1], found[..., 2] = -1.0, 1.0
    >>> row = summarise(Cell(20, 10, 0.5), Plan(4, 4, 39), found)[-1]
    >>> row["quantity"], row["coverage"], row["width"], row["singular"]
    ('sd', 1.0, 2.0, 1.0)
    """
    truth = (*BETA, cell.sd)
    singular = float((found[:, 0, -1, 0] == 0.0).mean())
    rows = []
    for q, m in product(range(len(QUANTITIES)), range(len(METHODS))):
        tried = found[: plan.replicates if m < 2 else plan.bootstrapped, m, q]
        if not len(tried):
            continue
        low, high = tried[np.isfinite(tried).all(axis=1), 1:].T
        intervals = len(low) or math.nan
        below, above = float((high < truth[q]).sum() / intervals), float((low > truth[q]).sum() / intervals)
        coverage = 1.0 - below - above
        rows.append(
            {
                "groups": cell.groups, "size": cell.size, "sd": cell.sd, "n_agq": plan.n_agq,
                "quantity": QUANTITIES[q], "method": METHODS[m],
                "replicates": len(tried), "refits": 0 if m < 2 else plan.refits,
                "estimate": float(np.nanmean(tried[:, 0])), "coverage": coverage,
                "mc_se": math.sqrt(coverage * (1.0 - coverage) / intervals), "below": below, "above": above,
                "width": float((high - low).sum() / intervals),
                "missing": (len(tried) - len(low)) / len(tried), "singular": singular,
            }
        )  # fmt: skip
    return rows


# the file ---------------------------------------------------------------------------------------------------


def read(file: Path) -> list[dict[str, str]]:
    """Rows of a file, as they stand there; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows, shares and numbers to four digits, by way of a second file, so that none is ever half written."""
    beside = file.with_name(file.name + ".new")
    with beside.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) and k != "sd" else v for k, v in row.items()})
    beside.replace(file)


def of_cell(row: dict[str, Any], cell: Cell, plan: Plan) -> bool:
    """Whether a row is of a cell, with the same quadrature."""
    key = (int(row["groups"]), int(row["size"]), float(row["sd"]), int(row["n_agq"]))
    return key == (cell.groups, cell.size, cell.sd, plan.n_agq)


def is_done(rows: list[dict[str, Any]], cell: Cell, plan: Plan) -> bool:
    """Whether rows have a cell, made with the plan's numbers."""
    rows = [row for row in rows if of_cell(row, cell, plan)]
    made = {(int(row["replicates"]), int(row["refits"])) for row in rows}
    asked = {(plan.replicates, 0), *([(plan.bootstrapped, plan.refits)] if plan.bootstrapped else [])}
    return made == asked


# the run ----------------------------------------------------------------------------------------------------


def _simulated(cell: Cell, plan: Plan, workers: int, advance: Callable[[int], None]) -> Array:
    from bayesmlm.parallel import in_processes

    # Those with a bootstrap take much longer: parts of few.
    cuts = [*range(0, plan.bootstrapped, 10), *range(plan.bootstrapped, plan.replicates, 100), plan.replicates]
    parts = [range(*pair) for pair in pairwise(cuts)]
    return np.concatenate(
        in_processes(replicates_of, (cell, plan), parts, workers, lambda part: advance(_cost(plan, part)))
    )


def _cost(plan: Plan, numbers: range) -> int:
    """Work of some replicates: a refit is 1, a fit with its Wald and profile intervals about 30."""
    return 30 * len(numbers) + plan.refits * len([n for n in numbers if n < plan.bootstrapped])


def _percent(share: Any, digits: int = 1) -> str:
    return f"{100.0 * float(share):.{digits}f}"


def _table(rows: list[dict[str, Any]], quantity: str) -> Table:
    table = Table(title=f"Coverage of {quantity} in % (intervals below it, above it)", title_justify="left")
    for column in ("groups", "size", "sd", "singular"):
        table.add_column(column, justify="right")
    methods = [m for m in METHODS if any(row["method"] == m for row in rows)]
    for method in methods:
        table.add_column(method, justify="right")
    for cell in dict.fromkeys((row["groups"], row["size"], row["sd"], row["n_agq"]) for row in rows):
        own = [r for r in rows if (r["groups"], r["size"], r["sd"], r["n_agq"]) == cell and r["quantity"] == quantity]
        cells = {
            r["method"]: f"{_percent(r['coverage'])} ± {_percent(r['mc_se'])} ({_percent(r['below'])}, "
            f"{_percent(r['above'])})" + (f", {_percent(r['missing'])} missing" if float(r["missing"]) else "")
            for r in own
        }
        head = [str(value) for value in cell[:3]]
        table.add_row(*head, _percent(own[0]["singular"]), *(cells.get(m, "–") for m in methods))
    return table


def run(
    replicates: Annotated[int, typer.Option(min=1, help="Responses of a cell.")] = 2000,
    bootstrapped: Annotated[int, typer.Option(min=0, help="How many of them are bootstrapped.")] = 500,
    refits: Annotated[int, typer.Option(min=2, help="Bootstrap replicates of an interval.")] = 199,
    n_agq: Annotated[int, typer.Option(min=1, help="Points of quadrature.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    groups: Annotated[int | None, typer.Option(help="Only cells of this many groups.")] = None,
    file: Annotated[Path, typer.Option(help="Where the table is, and is added to.")] = FILE,
) -> None:
    """Simulate the cells that the file does not have yet, and show the table."""
    out = console()
    plan = Plan(replicates, min(bootstrapped, replicates), refits, n_agq)
    cells = [cell for cell in CELLS if groups in (None, cell.groups)]
    rows: list[dict[str, Any]] = [*read(file)]
    left = [cell for cell in cells if not is_done(rows, cell, plan)]
    out.print(" · ".join(f"{key} {value}" for key, value in describe().items()))
    out.print(f"{len(cells) - len(left)} of {len(cells)} cells are in {file.name}.")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("ETA"))
    with Progress(*columns, TimeRemainingColumn(), console=out, transient=True) as bar:
        task = bar.add_task("", total=len(left) * _cost(plan, range(plan.replicates)))
        for cell in left:
            what = f"{cell.groups} groups of {cell.size}, sd {cell.sd}"
            bar.update(task, description=what)
            began = time.perf_counter()
            found = _simulated(cell, plan, workers, lambda done: bar.advance(task, done))
            rows = [row for row in rows if not of_cell(row, cell, plan)] + summarise(cell, plan, found)
            write(file, rows)
            out.print(f"{what}: {time.perf_counter() - began:.0f} s")
    shown = [row for row in rows if any(of_cell(row, cell, plan) for cell in cells)]
    for quantity in QUANTITIES:
        out.print(_table(shown, quantity))


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app(prog_name="python -m benchmarks.coverage")


if __name__ == "__main__":
    main()
