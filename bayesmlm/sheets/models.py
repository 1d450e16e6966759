"""The table of several models: cells, with a line of heading per part.

The module loads pandas, and is imported where a table is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from bayesmlm.sheets.grid import Grid, Sheet, printed
from bayesmlm.sheets.results import Result

__all__ = ["ModelTable"]


class ModelTable(Result):
    """Cells of text: ``part, row`` and a column per fit, as :func:`bayesmlm.model_table` makes them."""

    @property
    def _constructor(self) -> Any:
        return Result

    @classmethod
    def of_parts(
        cls, header: Sequence[str], parts: Mapping[str, Mapping[str, Mapping[int, str]]], notes: Sequence[str]
    ) -> Self:
        """Lay cells out.

        Parameters
        ----------
        header : sequence of str
            A column each; a name may have several lines.
        parts : mapping of str to (mapping of str to (mapping of int to str))
            Heading to row to column to cell.
        notes : sequence of str
            Sentences below.

        Examples
        --------
        >>> ModelTable.of_parts(["a", "b"], {"Fit": {"N": {0: "10"}, "AIC": {0: "2.0", 1: "-3.0"}}}, ["A note."])
              a    b
        Fit
        N    10
        AIC 2.0 -3.0
        <BLANKLINE>
        A note.
        """
        rows = [
            [part, row, *(cells.get(j, "") for j in range(len(header)))]
            for part, members in parts.items()
            for row, cells in members.items()
        ]
        out = cls(rows, columns=["part", "row", *(name.replace("\n", ", ") for name in header)])
        lines: list[tuple[str, ...]] = []
        for part, members in parts.items():
            lines += [(part,)] if members else []
            lines += [(row, *(cells.get(j, "") for j in range(len(header)))) for row, cells in members.items()]
        out.attrs.update(grid=Grid(("", *header), tuple(lines)), notes=list(notes))
        return out

    def _sheet(self) -> Sheet:
        return (self.attrs["grid"], *self.attrs["notes"])

    def __repr__(self) -> str:
        return printed(self._sheet())

    __str__ = __repr__
