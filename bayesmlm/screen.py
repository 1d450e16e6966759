"""What a person sees in the terminal: tables, and the progress of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["Display", "ladder_table", "loo_table", "rich_table", "show_number", "side_by_side_cells", "with_error"]


def show_number(value: Any, scale: float | None = None) -> str:
    """A number for a table cell: digits to match its standard error where one is given.

    Examples
    --------
    >>> show_number(-0.0056264, scale=0.00085), show_number(1.2345678), show_number(float("nan"))
    ('-0.00563', '1.235', '')
    """
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return str(value)
    if scale is not None and np.isfinite(scale) and scale > 0:
        digits = int(np.clip(1 - np.floor(np.log10(scale)), 3, 10))
        return f"{value:.{digits}f}"
    return f"{value:.3g}" if abs(value) < 1e-3 and value else f"{value:.3f}"


def rich_table(table: pd.DataFrame, title: str, formats: Mapping[str, str] | None = None) -> Any:
    """A DataFrame as a terminal table.

    Parameters
    ----------
    table : pandas.DataFrame
    title : str
    formats : mapping, optional
        Column to a format such as ``".1f"``.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    out = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in table.columns:
        number = table[name].dtype.kind in "fiu"
        out.add_column(str(name).replace("_", " "), justify="right" if number or name != table.columns[0] else "left")
    for record in table.to_dict("records"):
        cells = []
        for name, value in record.items():
            form = (formats or {}).get(str(name))
            is_number = isinstance(value, float | int) and not np.isnan(value)
            cells.append(format(value, form) if form and is_number else show_number(value))
        out.add_row(*cells)
    # A title of its own line: rich would fold one to the width of the table.
    return Group(Text(title, style="bold"), out)


def ladder_table(table: pd.DataFrame) -> Any:
    """What ``anova`` returns, for the terminal."""
    df = ["" if np.isnan(value) else f"{value:.0f}" for value in table.df]
    shown = table.assign(df=df, p_value=["" if np.isnan(p) else f"{p:.3g}" for p in table.p_value])
    title = "Likelihood ladder: each model against the one before it"
    return rich_table(shown, title, {"aic": ".1f", "bic": ".1f", "loglik": ".2f", "chisq": ".3f"})


def loo_table(table: pd.DataFrame) -> Any:
    """What ``compare(by="loo")`` returns, for the terminal."""
    formats = dict.fromkeys(("elpd", "se", "p", "elpd_diff", "dse"), ".1f") | {"weight": ".2f"}
    return rich_table(table, "Leave-one-out prediction (PSIS-LOO given the groups), best first", formats)


def with_error(estimate: float, error: float) -> str:
    """An estimate with its standard error behind it, to two significant digits of the error.

    Examples
    --------
    >>> with_error(-0.0056264, 0.00085), with_error(1.213, 0.2099), with_error(float("nan"), float("nan"))
    ('-0.00563 (0.00085)', '1.213 (0.210)', '')
    """
    if np.isnan(estimate):
        return ""
    return f"{show_number(estimate, error)} ({show_number(error, error)})" if error > 0 else show_number(estimate)


def side_by_side_cells(table: pd.DataFrame) -> pd.DataFrame:
    """``side_by_side`` as a reader wants it: one column per reading, standard errors in parentheses."""
    import pandas as pd

    terms = []
    for component, group, term in zip(table.component, table.group, table.term, strict=True):
        what = "" if term in ("Intercept", component) else f" {term}"
        terms.append(term if component in ("fixed", "residual", "scale") else f"{component} {group}{what}")
    out = pd.DataFrame({"term": terms})
    if "estimand" in table:
        out["estimand"] = table.estimand
    for estimate, error, title in (
        ("ml_estimate", "ml_se", "ML (SE)"),
        ("map_estimate", "map_se", "posterior mode (SE)"),
        ("post_mean", "post_sd", "posterior mean (SD)"),
        ("gee_estimate", "gee_se", "GEE (SE)"),
    ):
        if estimate in table:
            out[title] = [with_error(a, b) for a, b in zip(table[estimate], table[error], strict=True)]
        if estimate == "post_mean" and "difference" in table:
            out["difference / SD"] = table.difference
    return out


class Display:
    """Progress of a run: one bar for all of it, one for what is being done, with an ETA.

    On a terminal the bars are live; elsewhere each finished step is a line.
    """

    def __init__(self, console: Console, steps: int) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("run", total=steps, what=f"0 of {steps} steps")
        self._done, self._steps = 0, steps
        self._said: set[str] = set()

    def __enter__(self) -> Display:
        self._progress.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._progress.__exit__(*details)

    def show(self, what: Any) -> None:
        """Print above the bars; sentences are indented under the table they belong to."""
        from rich.padding import Padding

        self.console.print(Padding(what, (0, 0, 0, 2)) if isinstance(what, str) and what else what)

    def once(self, sentence: str) -> None:
        """Print a sentence unless it was printed before in this run."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.show(sentence)

    @contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Any]:
        """One step; yields a callback for draws done, draws in all and divergences."""
        task = self._progress.add_task(description, total=total, what="")

        def advance(done: int, in_all: int, divergences: int) -> None:
            trouble = f", {divergences} divergent" if divergences else ""
            self._progress.update(task, completed=done, total=in_all, what=f"{done:,} of {in_all:,} draws{trouble}")

        try:
            yield advance
        finally:
            self._progress.remove_task(task)
        self._done += 1
        self._progress.update(self._all, completed=self._done, what=f"{self._done} of {self._steps} steps")
