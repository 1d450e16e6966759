"""Tables that results are returned as: data frames, with a clean form where a notebook shows them.

The module loads pandas, and is imported where a table is made.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from bayesmlm.sheets.frames import sheet_of
from bayesmlm.sheets.grid import Sheet
from bayesmlm.sheets.html import fragment

__all__ = ["Result"]


class Result(pd.DataFrame):
    """A data frame that a notebook shows with headings, few digits, and what it says of itself below.

    It prints as any other, and so does what is taken from it.

    Examples
    --------
    >>> table = Result({"term": ["age"], "estimate": [0.123456]})
    >>> ">0.123<" in table._repr_html_(), float(table.estimate[0])
    (True, 0.123456)
    """

    @property
    def _constructor(self) -> Any:
        return Result

    def _sheet(self) -> Sheet:
        """The table laid out, to be written in any format."""
        return sheet_of(self)

    def _repr_html_(self) -> str | None:
        most = pd.get_option("display.max_rows") or len(self)
        plain = self.columns.nlevels == self.index.nlevels == 1 and self.columns.is_unique
        # A table of tables, or of thousands of groups, is pandas' to show.
        if not plain or len(self) > most:
            return super()._repr_html_()
        return fragment(self._sheet())
