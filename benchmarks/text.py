"""How figures are written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["amount", "console", "duration", "mark", "ratio", "save"]


def console() -> Console:
    """The terminal; where the output is no terminal, wide enough that no table is cut."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=160)


def duration(seconds: float) -> str:
    """Seconds with their unit, to three digits.

    Examples
    --------
    >>> duration(0.00412), duration(18.11), duration(float("nan"))
    ('4.12 ms', '18.1 s', '–')
    """
    if not math.isfinite(seconds):
        return "–"
    value, unit = (seconds, "s") if abs(seconds) >= 1.0 else (1e3 * seconds, "ms")
    digits = 2 - math.floor(math.log10(max(abs(value), 0.01)))
    return f"{value:.{max(0, digits)}f} {unit}"


def amount(size: float) -> str:
    """Bytes with their unit.

    Examples
    --------
    >>> amount(84_000_000)
    '84.0 MB'
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if abs(size) >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"


def ratio(value: float) -> str:
    """A ratio; a small one as a fraction.

    Examples
    --------
    >>> ratio(0.4132), ratio(1 / 137), ratio(float("inf"))
    ('0.41', '1/137', 'any')
    """
    if not math.isfinite(value):
        return "any"
    return f"1/{1 / value:.0f}" if 0.0 < value < 0.095 else f"{value:.2f}" if value < 10.0 else f"{value:.1f}"


def mark(met: bool) -> str:
    """A sign for a goal."""
    return "[green]✓[/green]" if met else "[red]✗[/red]"


def save(file: str, content: Any) -> None:
    """Write JSON, with null for what is not a finite number."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    Path(file).write_text(json.dumps(plain(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
