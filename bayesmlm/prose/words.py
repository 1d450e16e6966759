"""Numbers and lists as prose has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import fill

import numpy as np

from bayesmlm.sheets.grid import typeset
from bayesmlm.sheets.numbers import rounded

__all__ = ["capital", "filled", "joined", "number", "p_words", "percent", "within"]


def joined(words: Sequence[str], last: str = "and") -> str:
    """Words as an enumeration.

    Examples
    --------
    >>> joined(["a", "b", "c"]), joined(["a"]), joined([])
    ('a, b and c', 'a', '')
    """
    return ", ".join(words[:-1]) + f" {last} {words[-1]}" if len(words) > 1 else "".join(words)


def capital(sentence: str) -> str:
    """A sentence with its first letter large.

    Examples
    --------
    >>> capital("the χ² of sed"), capital("")
    ('The χ² of sed', '')
    """
    return sentence[:1].upper() + sentence[1:]


def number(value: float, error: float = 1.0) -> str:
    """Two decimals, more where the standard error is smaller, and two digits of what even these would hide.

    Examples
    --------
    >>> number(-0.4163), number(-0.0056264, 0.00085), number(-0.00298, 0.022)
    ('−0.42', '−0.0056', '−0.0030')
    """
    if not np.isfinite(value):
        return "not available"
    small = np.isfinite(error) and 0.0 < error < 0.01
    return typeset(rounded(value, min(int(-np.floor(np.log10(error))), 8) if small else 2))


def within(low: float, high: float, error: float = 1.0) -> str:
    """Limits.

    Examples
    --------
    >>> within(-0.8049, -0.0271)
    '[−0.80, −0.03]'
    """
    return f"[{number(low, error)}, {number(high, error)}]"


def percent(share: float) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.95), percent(0.05), percent(0.999)
    ('95 %', '5 %', '99.9 %')
    """
    return f"{round(100.0 * share, 6):g} %"


def p_words(p: float) -> str:
    """A p-value.

    Examples
    --------
    >>> p_words(0.03614), p_words(0.00012), p_words(0.7957)
    ('p = 0.036', 'p < 0.001', 'p = 0.796')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


_TIED = re.compile(r"(?<=\d) (?=%)| (?=[=<] )|(?<=[=<]) |(?<=%) (?=CI|level)|(?<=[\d.]), (?=[−\d])")
"""Where a line should not end."""


def filled(text: str, width: int | None, indent: str = "") -> str:
    """Text in lines, numbers kept beside what they belong to.

    Examples
    --------
    >>> filled("in groups (95 % CI [0.1, 0.2])", 22)
    'in groups (95 % CI\\n[0.1, 0.2])'
    """
    if width is None:
        return text
    tied = _TIED.sub(lambda match: match[0].replace(" ", "\u00a0"), text)
    lines = fill(tied, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\u00a0", " ")
