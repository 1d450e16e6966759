"""Names as they are written: a dollar sign in the name of a level begins no formula."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["VerbatimFigure"]

_FORMULAS = re.compile(r"\$(?:\\hat\{k\}|10\^\{-?\d+\}|\\mathdefault\{[^$]*\}|\\times[^$]*)\$")
"""Formulas of this package and of matplotlib's own tick labels."""


class VerbatimFigure(Figure):
    """A figure that reads no other text as a formula than those it makes itself."""

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            if "$" in _FORMULAS.sub("", text.get_text()):
                text.set_parse_math(False)
        super().draw(renderer)
