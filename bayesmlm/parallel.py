"""Threads, where they pay and where they are kept out; processes for whole refits; a bar while one waits.

Groups are independent, so compiled loops over them run side by side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bayesmlm.errors import FitError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

__all__ = ["chunks", "in_processes", "in_threads", "one_blas_thread", "patience", "threads"]

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


_worker: Callable[[Any], Any]
"""What a worker process applies, made once when it starts."""


def _begin(path: str) -> None:
    """Make a worker ready: the processors are taken by its siblings."""
    import pickle

    global _worker
    os.environ["BAYESMLM_THREADS"] = "1"
    _blas().limit(limits=1, user_api="blas")
    with open(path, "rb") as file:
        make, payload = pickle.load(file)
    _worker = make(payload)


def _apply(part: Any) -> Any:
    return _worker(part)


def in_processes[T](
    make: Callable[[Any], Callable[[T], Any]],
    payload: Any,
    parts: Sequence[T],
    workers: int,
    finished: Callable[[T], None],
) -> list[Any]:
    """Apply ``make(payload)`` to every part, in processes of their own, in order.

    Processes are spawned, which every platform can: the payload is sent to each once, and a script that comes here
    has its top level under ``if __name__ == "__main__"``.

    Parameters
    ----------
    make : callable
        Makes the function from the payload, in the worker.
    payload : object
    parts : sequence
    workers : int
        With 1 all is done in this process.
    finished : callable
        Called here with each part once it is done, in any order.

    Raises
    ------
    FitError
        For a payload that cannot be sent, or workers that cannot start.

    Examples
    --------
    >>> in_processes(lambda factor: lambda part: factor * part, 2, [1, 3], 1, lambda part: None)
    [2, 6]
    """
    if workers == 1:
        function, out = make(payload), []
        with one_blas_thread():
            for part in parts:
                out.append(function(part))
                finished(part)
        return out
    import pickle
    from tempfile import TemporaryDirectory

    try:
        sent = pickle.dumps((make, payload))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise FitError(
            f"worker processes cannot be sent what they need ({error}): define functions at the top level of a module "
            f"(no lambda), or use workers=1"
        ) from None
    with TemporaryDirectory(prefix="bayesmlm-") as folder:
        # By way of a file: a process that dies at once would leave its parent writing to a full pipe for ever.
        path = os.path.join(folder, "payload")
        with open(path, "wb") as file:
            file.write(sent)
        return _in_pool(path, parts, workers, finished)


def _in_pool[T](path: str, parts: Sequence[T], workers: int, finished: Callable[[T], None]) -> list[Any]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(
        min(workers, len(parts)), mp_context=get_context("spawn"), initializer=_begin, initargs=(path,)
    )
    try:
        futures = {pool.submit(_apply, part): part for part in parts}
        for future in as_completed(futures):
            future.result()
            finished(futures[future])
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise FitError(
            'the worker processes could not start, or died: in a script, put what runs under if __name__ == "__main__" '
            "(what is piped into Python cannot be started again), or use workers=1"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def patience(what: str, total: int, after: float = 2.0) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal's error stream, where there is one, once the work has taken a while.

    Yields
    ------
    callable
        To be called with how much is done.

    Examples
    --------
    >>> with patience("refits", 10) as advance:
    ...     advance(5)
    """
    import sys

    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("ETA"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    began, shown = time.monotonic(), False

    def advance(done: int) -> None:
        nonlocal shown
        bar.update(task, completed=done)
        if not shown and time.monotonic() - began > after:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
