"""A sheet: lines, tables of cells and sentences, in the order in which they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import fill

__all__ = ["Grid", "Lines", "Sheet", "header_lines", "printed", "typeset"]

_MINUS = re.compile(r"(?<![\w.])-(?=[\d.∞])|(?<=\de)-(?=\d)")


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that are not filled, such as the head of a summary."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of cells.

    Attributes
    ----------
    header : tuple of str
        Empty where the columns need no names; a name may have several lines.
    rows : tuple of tuple of str
        A row of one cell is a heading of the rows below it.
    left : int
        How many columns, counted from the left, are words; the others are numbers.
    title, below : str
        A line above and one below, each empty where there is none.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    title: str = ""
    below: str = ""

    @property
    def width(self) -> int:
        """Number of columns."""
        return max(map(len, (self.header, *self.rows)), default=0)


Sheet = tuple[Grid | Lines | str, ...]
"""Lines, tables and sentences."""


def typeset(cell: str) -> str:
    """A cell of numbers as print has it: a minus sign instead of a hyphen.

    Examples
    --------
    >>> typeset("-0.05 [-0.09, -0.00]"), typeset("1.2e-05"), typeset("2001-02")
    ('−0.05 [−0.09, −0.00]', '1.2e−05', '2001-02')
    """
    return _MINUS.sub("−", cell)


def printed(sheet: Sheet) -> str:
    """A sheet as plain text.

    Examples
    --------
    >>> print(printed((Grid(("", "Estimate"), (("age", "-0.03"), ("urban[Y]", "0.73")), title="Effects:"),)))
    Effects:
             Estimate
    age         -0.03
    urban[Y]     0.73
    """
    parts: list[str] = []
    for i, part in enumerate(sheet):
        if isinstance(part, str):
            # Sentences that follow each other stand together.
            after = i > 0 and isinstance(sheet[i - 1], str)
            parts.append(f"{'\n' if after else '\n\n' if i else ''}{fill(part, 79)}")
        else:
            text = "\n".join(part.lines) if isinstance(part, Lines) else _grid(part)
            parts.append(f"{'\n\n' if i else ''}{text}")
    return "".join(parts)


def header_lines(grid: Grid) -> list[tuple[str, ...]]:
    """The header as rows: a name of several lines is written in as many.

    Examples
    --------
    >>> header_lines(Grid(("", "m_01\\nML"), ()))
    [('', 'm_01'), ('', 'ML')]
    """
    cells = [cell.split("\n") for cell in grid.header]
    tall = max(map(len, cells), default=0)
    return [tuple(cell[i] if i < len(cell) else "" for cell in cells) for i in range(tall)]


def _grid(grid: Grid) -> str:
    """Columns aligned: words to the left, numbers to the right."""
    lines = [*header_lines(grid), *grid.rows]
    cells = [line for line in lines if len(line) > 1 or grid.width == 1]
    widths = [max((len(line[j]) for line in cells), default=0) for j in range(grid.width)]

    def aligned(line: tuple[str, ...]) -> str:
        placed = zip(line, widths, strict=True)
        return " ".join(c.ljust(w) if j < grid.left else c.rjust(w) for j, (c, w) in enumerate(placed)).rstrip()

    text = [aligned(line) if line in cells else line[0] for line in lines]
    return "\n".join([*([grid.title] if grid.title else []), *text, *([grid.below] if grid.below else [])])
