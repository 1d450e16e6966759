"""Measure one case: packages in turns, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks.cases import Case
from benchmarks.processes import ChildFailed, Worker
from benchmarks.rpeers import time_in_r

__all__ = ["Row", "measure"]

TURNS = (("bayesmlm", "fit"), ("glmm", "call"), ("bayesmlm", "whole"), ("mixedlm", "call"))
"""Order of what is timed within one turn."""


@dataclass(slots=True)
class Row:
    """What was measured of one case.

    Attributes
    ----------
    case : Case
    seconds : dict of str to list of float
        Of each turn: ``fit``, ``whole`` and ``first`` (the fit within the whole) of ours, and by package.
    answers : dict of str to dict
        By package.
    versions : dict of str to str
    refusals : dict of str to str
        Why a package has no time.
    """

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median seconds, NaN where there are none."""
        return median(self.seconds[name]) if self.seconds.get(name) else float("nan")

    def spread(self, name: str) -> float:
        """Distance of the quartiles as a share of the median; 0 where there are fewer than four turns."""
        times = self.seconds.get(name, [])
        if len(times) < 4:
            return 0.0
        low, middle, high = quantiles(times, n=4)
        return (high - low) / middle


def measure(
    case: Case,
    workers: Mapping[str, Worker],
    r_packages: list[str],
    repeats: int,
    budget: float,
    progress: Callable[[str, float], None],
) -> Row:
    """Time one case in every package.

    Parameters
    ----------
    case : Case
    workers : mapping of str to Worker
        Python packages.
    r_packages : list of str
    repeats : int
        Turns.
    budget : float
        Seconds after which no further turn is begun; the first is always ended.
    progress : callable
        Called with what is being done and the share that is done.
    """
    row = Row(case)
    for package, worker in workers.items():
        progress(f"{case.name}: {package}", 0.0)
        try:
            reply = worker.ask(prepare=case.name)
        except ChildFailed as error:
            row.refusals[package] = str(error)
        else:
            row.answers[package], row.versions[package] = reply["answer"], reply["version"]
    samples: defaultdict[str, list[float]] = defaultdict(list)
    began = time.perf_counter()
    for done in range(repeats):
        for package, part in TURNS:
            if package not in row.answers or package in row.refusals:
                continue
            progress(f"{case.name}: turn {done + 1} of {repeats}", done / repeats)
            try:
                for name, seconds in workers[package].ask(turn=part).items():
                    samples[package if name == "call" else name].append(seconds)
            except ChildFailed as error:
                row.refusals[package] = str(error)
        if time.perf_counter() - began > budget:
            break
    for package in r_packages:
        progress(f"{case.name}: {package}", 1.0)
        try:
            reply = time_in_r(package, case, min(repeats, 7))
        except ChildFailed as error:
            row.refusals[package] = str(error)
        else:
            samples[package] = reply["seconds"]
            row.answers[package], row.versions[package] = reply["answer"], reply["version"]
    row.seconds = dict(samples)
    return row
