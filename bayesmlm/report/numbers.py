"""Numbers as the page shows them: few digits, a real minus sign."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["format_interval", "format_number", "format_p"]


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
        decimals = int(np.clip(1 - np.floor(np.log10(error)), 3 if error < 10 else 0, 10))
    if decimals is None and isinstance(value, int | np.integer):
        decimals = 0
    text = f"{number:.{decimals}f}" if decimals is not None else f"{number:.3g}"
    # A number that rounds to nothing has no sign.
    return (text if text.strip("-0.") else text.removeprefix("-")).replace("-", "−")


def format_p(value: float) -> str:
    """A p-value.

    Examples
    --------
    >>> format_p(0.04567), format_p(1.6e-10), format_p(float("nan"))
    ('0.046', '< 0.001', '')
    """
    return "" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


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
    decimals = int(np.clip(1 - np.floor(np.log10((high - low) / 4.0)), 2 if high - low < 10.0 else 0, 8))
    numbers = [format_number(number, decimals=decimals) for number in (value, low, high)]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
