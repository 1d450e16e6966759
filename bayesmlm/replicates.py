"""Replicates of a simulation, made in processes where that is asked for: what each gave, or why it gave nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from bayesmlm.errors import BayesmlmError, FitError
from bayesmlm.parallel import in_processes, patience

__all__ = ["Progress", "replicates"]

Progress = Callable[[int, int], None]
"""Called with the replicates done and in all."""


def replicates[T](
    what: str,
    make: Callable[[Any], Callable[[int], T]],
    task: Any,
    n: int,
    most: int,
    workers: int,
    progress: Progress | None,
) -> tuple[list[T | None], dict[str, int]]:
    """Make n replicates, each by its number.

    Parameters
    ----------
    what : str
        Names the bar that a terminal shows.
    make : callable
        Makes the function of a replicate's number from the task, once in every process.
    task : object
    n : int
    most : int
        Replicates sent to a process at once, at most.
    workers : int
    progress : callable, optional
        In place of the bar.

    Returns
    -------
    values : list
        In order; None where a replicate could not be made.
    failures : dict of str to int
        Why, and how many; the most frequent first.

    Raises
    ------
    FitError
        Where no replicate could be made.

    Examples
    --------
    >>> replicates("tenths", lambda task: lambda i: task / i, 1.0, 3, 10, 1, lambda done, n: None)
    ([None, 1.0, 0.5], {'float division by zero': 1})
    """
    size = max(1, min(most, n // (4 * workers)))
    parts = [range(at, min(at + size, n)) for at in range(0, n, size)]
    done = 0
    with patience(what, n) as advance:

        def finished(part: range) -> None:
            nonlocal done
            done += len(part)
            advance(done) if progress is None else progress(done, n)

        out = [one for part in in_processes(_attempts, (make, task), parts, workers, finished) for one in part]
    failures = Counter(why for _, why in out if why)
    if failures.total() == n:
        raise FitError(f"none of the {n} replicates could be fitted: {failures.most_common(1)[0][0]}")
    return [value for value, _ in out], dict(failures.most_common())


def _attempts(payload: Any) -> Callable[[range], list[tuple[Any, str]]]:
    """Make replicates by their numbers: values, or None and why there is none."""
    make, task = payload
    one = make(task)

    def attempt(replicate: int) -> tuple[Any, str]:
        try:
            return one(replicate), ""
        except (BayesmlmError, np.linalg.LinAlgError, ArithmeticError) as error:
            # The way out that an error names is for fits, not for replicates.
            return None, str(error).split(";")[0] or type(error).__name__

    return lambda part: [attempt(replicate) for replicate in part]
