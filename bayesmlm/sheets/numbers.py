"""Numbers as a reader wants them: as many digits as they deserve."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["decimals_of", "format_p", "like_error", "rounded"]


def format_p(p: float) -> str:
    """A p-value as R prints it.

    Examples
    --------
    >>> format_p(0.03614), format_p(0.001451), format_p(1e-12), format_p(1e-20)
    ('0.0361', '0.00145', '1.00e-12', '<2e-16')
    """
    return "" if np.isnan(p) else "<2e-16" if p < 2e-16 else f"{p:#.3g}"


def decimals_of(values: Any, digits: int = 4) -> int:
    """Decimals that show the smallest number of a column to so many significant digits; zeros need none.

    Examples
    --------
    >>> decimals_of([0.0094, 1.2]), decimals_of([25.6])
    (6, 2)
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return int(np.clip(digits - 1 - np.floor(np.log10(sizes.min())), 0, 12)) if len(sizes) else digits


def like_error(value: float, error: float, digits: int = 4) -> str:
    """A number with the decimals that show its standard error, or itself where that is none; empty where it is none.

    Examples
    --------
    >>> like_error(-0.0056264, 0.00085012), like_error(0.2124, float("nan")), like_error(float("nan"), 1.0)
    ('-0.0056264', '0.2124', '')
    """
    if np.isnan(value):
        return ""
    if abs(value) >= 1e7:  # odds of what is all but certain
        return f"{value:.2e}"
    size = error if np.isfinite(error) and error else value
    return f"{value:.{min(decimals_of([size], digits), 10)}f}"


def rounded(value: float, decimals: int = 2) -> str:
    """Two decimals, or two digits of what they would hide.

    Examples
    --------
    >>> rounded(-0.7953), rounded(-0.003), rounded(0.0), rounded(-0.0000014), rounded(31234.5)
    ('-0.80', '-0.0030', '0.00', '-1.4e-06', '31234.50')
    """
    if np.isnan(value):
        return ""
    if abs(value) >= 1e7:
        return f"{value:.2e}"
    if value == 0.0 or round(abs(value), decimals) > 0.0:
        return f"{value:.{decimals}f}"
    return f"{value:#.2g}"
