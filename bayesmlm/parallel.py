"""Threads: where they pay, and where they are kept out.

Groups are independent, so compiled loops over them run side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

__all__ = ["chunks", "in_threads", "one_blas_thread", "threads"]

_CHUNK_ROWS = 25_000
"""Rows worth a thread of their own: about a millisecond of work."""


def threads() -> int:
    """How many threads are used: ``BAYESMLM_THREADS`` where set (1 switches threads off), else one per processor.

    Examples
    --------
    >>> threads() >= 1
    True
    """
    given = os.environ.get("BAYESMLM_THREADS", "")
    return max(int(given), 1) if given.isdecimal() else (os.cpu_count() or 1)


@lru_cache(maxsize=4)
def _pool(workers: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers, thread_name_prefix="bayesmlm")


@lru_cache(maxsize=1)
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_blas_thread() -> Any:
    """Keep the linear algebra library to one thread, as a context.

    Its threads wait for each other by spinning: on blocks of a thousand columns they save a fifth of the time on an
    idle machine and cost forty times as much on a busy one.

    Examples
    --------
    >>> with one_blas_thread():
    ...     pass
    """
    return _blas().limit(limits=1, user_api="blas")


def chunks(starts: np.ndarray[Any, Any]) -> list[tuple[slice, slice, np.ndarray[Any, Any]]]:
    """Split groups of sorted rows into parts of similar size.

    Parts depend on the data alone, never on the number of threads: sums over parts, taken in order, are the same
    on every machine.

    Parameters
    ----------
    starts : ndarray of int, shape (groups + 1,)

    Returns
    -------
    list of (rows, groups, starts within the part)

    Examples
    --------
    >>> import numpy as np
    >>> chunks(np.array([0, 2, 5]))
    [(slice(0, 5, None), slice(0, 2, None), array([0, 2, 5]))]
    """
    import numpy as np

    n, groups = int(starts[-1]), len(starts) - 1
    parts = max(min(n // _CHUNK_ROWS, 64), 1)
    if parts == 1:
        return [(slice(0, n), slice(0, groups), starts)]
    cuts = np.unique(np.searchsorted(starts, np.linspace(0, n, parts + 1)))
    return [
        (slice(int(starts[a]), int(starts[b])), slice(int(a), int(b)), starts[a : b + 1] - starts[a])
        for a, b in pairwise(cuts)
    ]


def in_threads[T, R](function: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Apply a function that releases the interpreter lock to every part, in order.

    Examples
    --------
    >>> in_threads(abs, [-1, 2])
    [1, 2]
    """
    workers = threads()
    if len(parts) == 1 or workers == 1:
        return [function(part) for part in parts]
    return list(_pool(workers).map(function, parts))
