"""A sheet as Markdown: pipe tables, as GitHub, Quarto and pandoc read them."""

from __future__ import annotations

import re

from bayesmlm.sheets.grid import Grid, Lines, Sheet, typeset

__all__ = ["markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#$^])")


def escaped(text: str) -> str:
    """Text in which no character means anything.

    Examples
    --------
    >>> escaped("I(age^2) | a_b <x>")
    'I(age\\\\^2) \\\\| a\\\\_b \\\\<x\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", text.replace("&", "&amp;")) if text else ""


def markdown(sheet: Sheet) -> str:
    """Write a sheet as Markdown.

    Examples
    --------
    >>> print(markdown((Grid(("", "Estimate"), (("urban[Y]", "-0.7"),)),)))
    |  | Estimate |
    |:--|--:|
    | urban\\[Y\\] | −0.7 |
    """
    return "\n\n".join(_part(part) for part in sheet)


def _part(part: Grid | Lines | str) -> str:
    if isinstance(part, str):
        return escaped(part)
    if isinstance(part, Lines):
        # A backslash at the end breaks the line.
        return "\\\n".join(escaped(line.strip()) for line in part.lines)
    header = tuple(cell.replace("\n", ": ") for cell in part.header) or ("",) * part.width
    rule = "".join(f"{':--' if j < part.left else '--:'}|" for j in range(part.width))
    lines = [_row(header, part.width), f"|{rule}"]
    for row in part.rows:
        if len(row) == 1 and part.width > 1:
            lines.append(_line([f"**{escaped(row[0].strip())}**", *[""] * (part.width - 1)]))
        else:
            lines.append(_row(row, part.left))
    around = [f"**{escaped(part.title.rstrip(':'))}**\n"] if part.title else []
    return "\n".join([*around, *lines, *([f"\n{escaped(part.below)}"] if part.below else [])])


def _row(cells: tuple[str, ...], left: int) -> str:
    return _line([escaped(cell.strip() if j < left else typeset(cell.strip())) for j, cell in enumerate(cells)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
