"""A sheet as a great table, to be styled further."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from uuid import uuid4

from bayesmlm.sheets.grid import Grid, Lines, Sheet, typeset

if TYPE_CHECKING:
    from great_tables import GT

__all__ = ["great_table"]


def great_table(sheet: Sheet) -> GT:
    """Make a ``great_tables.GT`` of the tables of a sheet, its sentences below.

    Rules of style are bound to the table's id, which is new each time: any number of tables share a page.

    Examples
    --------
    >>> table = great_table((Grid(("", "Estimate"), (("urban[Y]", "-0.7"),)),))
    >>> type(table).__name__, "−0.7" in table.as_raw_html()
    ('GT', True)
    """
    import pandas as pd
    from great_tables import GT, html

    grids = [part for part in sheet if isinstance(part, Grid)]
    grid = _stacked(grids)
    names = [f"column_{j}" for j in range(grid.width)]
    heading, body = "", []
    for row in grid.rows:
        if len(row) == 1 and grid.width > 1:
            heading = row[0].strip()
        else:
            text = [cell.strip() if j < grid.left else typeset(cell.strip()) for j, cell in enumerate(row)]
            body.append([heading, *text])
    frame = pd.DataFrame(body, columns=["part", *names])
    has_parts = bool((frame.part != "").any())
    table = GT(frame if has_parts else frame[names], groupname_col="part" if has_parts else None, id=_new_id())
    header = grid.header or ("",) * grid.width
    labels = [html(escape(cell).replace("\n", "<br>")) if "\n" in cell else cell for cell in header]
    table = table.cols_label(dict(zip(names, labels, strict=True)))
    table = table.cols_align("left", names[: grid.left]).cols_align("right", names[grid.left :])
    lines = [line.strip() for part in sheet if isinstance(part, Lines) for line in part.lines]
    if lines or grid.title:
        first, *others = [*lines, *([grid.title.rstrip(":")] if grid.title else [])]
        table = table.tab_header(first, "; ".join(others) or None)
    for note in [*([grid.below] if grid.below else []), *(part for part in sheet if isinstance(part, str))]:
        table = table.tab_source_note(note)
    return table


def _new_id() -> str:
    """An id that begins with a letter, as those of a style sheet must."""
    return f"bayesmlm-{uuid4().hex[:12]}"


def _stacked(grids: list[Grid]) -> Grid:
    """Several tables as one, the titles of the others as headings, each padded to the width of the widest."""
    if len(grids) == 1:
        return grids[0]
    width, left = max(grid.width for grid in grids), min(grid.left for grid in grids)
    rows: list[tuple[str, ...]] = []
    for grid in grids:
        rows.append((grid.title.rstrip(":") or " ",))
        lines = [grid.header, *grid.rows] if grid.header else list(grid.rows)
        rows += [line if len(line) == 1 else (*line, *[""] * (width - len(line))) for line in lines]
    return Grid(("",) * width, tuple(rows), left)
