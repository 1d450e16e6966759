"""Numbers as a reader wants them: as many digits as they deserve."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["decimals_of", "format_interval", "format_number", "format_p", "like_error", "rounded", "rounded_p"]


def format_p(p: float) -> str:
    """A p-value as R prints it.

    Examples
    --------
    >>> format_p(0.03614), format_p(0.001451), format_p(1e-12), format_p(1e-20)
    ('0.0361', '0.00145', '1.00e-12', '<2e-16')
    """
    return "" if np.isnan(p) else "<2e-16" if p < 2e-16 else f"{p:#.3g}"


def rounded_p(p: float) -> str:
    """A p-value to three decimals.

    Examples
    --------
    >>> rounded_p(0.04567), rounded_p(1.6e-10), rounded_p(float("nan"))
    ('0.046', '< 0.001', '')
    """
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


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


def format_number(value: Any, error: float | None = None, decimals: int | None = None) -> str:
    """Write a number as a reader wants it: few digits, a real minus sign, nothing for a missing value.

    Parameters
    ----------
    value : number or None
    error : float, optional
        Its standard error: the number gets the decimals that show two significant digits of it, and at least three
        unless it is large, so that estimates of one table line up.
    decimals : int, optional
        For other numbers; three significant digits without it.

    Examples
    --------
    >>> format_number(-0.0056264, error=0.00085), format_number(0.00085, error=0.00085)
    ('−0.00563', '0.00085')
    >>> format_number(-1206.8123, decimals=1), format_number(1934), format_number(0.456789), format_number(float("nan"))
    ('−1206.8', '1934', '0.457', '')
    """
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    number = float(value)
    if np.isinf(number):
        return "∞" if number > 0 else "−∞"
    if error is not None and np.isfinite(error) and error > 0:
        decimals = int(np.clip(decimals_of([error], 2), 3 if error < 10 else 0, 10))
    if decimals is None and isinstance(value, int | np.integer):
        decimals = 0
    text = f"{number:.{decimals}f}" if decimals is not None else f"{number:.3g}"
    # A number that rounds to nothing has no sign.
    return (text if text.strip("-0.") else text.removeprefix("-")).replace("-", "−")


def format_interval(value: float, low: float, high: float) -> str:
    """An estimate with its interval, to two digits of a quarter of the interval's width.

    Examples
    --------
    >>> format_interval(1.9156, 1.5276, 2.4021), format_interval(0.99440, 0.99270, 0.99610)
    ('1.92 [1.53, 2.40]', '0.99440 [0.99270, 0.99610]')
    >>> format_interval(0.4607, float("nan"), float("nan"))
    '0.461'
    """
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        return format_number(value)
    if max(abs(value), abs(low), abs(high)) >= 1e6:
        return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"
    decimals = int(np.clip(decimals_of([(high - low) / 4.0], 2), 2 if high - low < 10.0 else 0, 8))
    numbers = [format_number(number, decimals=decimals) for number in (value, low, high)]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
