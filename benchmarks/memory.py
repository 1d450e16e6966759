"""Peak memory of a piece of work, as the operating system sees it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["peak_beyond"]

PROCESS = Path("/proc/self")


def _status(field: str) -> int:
    """Bytes of one field of the process's status."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)


def peak_beyond(work: Callable[[], Any]) -> tuple[Any, float]:
    """Do some work; return what it returns and by how many bytes its peak exceeds the memory held before.

    The peak is reset (``/proc/self/clear_refs``) and freed memory is handed back before the work begins, so that it
    counts what the work needs and not what earlier work left behind.  Where there is no ``/proc``, the peak is that
    of the whole life of the process, and what is returned is a lower bound.
    """
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (PROCESS / "clear_refs").write_text("5")
        before = _status("VmRSS")
    except OSError:
        return _peak_of_life(work)
    result = work()
    return result, float(max(_status("VmHWM") - before, 0))


def _peak_of_life(work: Callable[[], Any]) -> tuple[Any, float]:
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = work()
    return result, float(unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
