"""A process that times one package on request: ``python -m benchmarks.worker PACKAGE``, a line of JSON a request.

``{"prepare": CASE}`` fits once and returns the answer, ``{"turn": PART}`` times one part of the model prepared last;
a failure comes back as ``{"error": SENTENCE}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from statistics import fmean
from typing import Any

from benchmarks.cases import CASES
from benchmarks.data import load
from benchmarks.packages import PACKAGES, Part, Prepared

__all__ = ["turn"]


def turn(part: Part, least: float = 0.02, most: int = 50) -> dict[str, float]:
    """Mean seconds of as many calls as fill ``least`` seconds, at most ``most`` of them."""
    calls: list[dict[str, float]] = []
    began = time.perf_counter()
    while not calls or (len(calls) < most and time.perf_counter() - began < least):
        calls.append(part())
    return {name: fmean(call[name] for call in calls) for name in calls[0]}


def main() -> None:
    """Answer requests until the input ends."""
    # What a package prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    prepare = PACKAGES[sys.argv[1]]
    prepared: Prepared | None = None
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any] = {"error": "nothing is prepared"}
        try:
            if "prepare" in request:
                prepared = None
                case = CASES[request["prepare"]]
                frame = load(case.data)
                prepared = prepare(case, frame)
                reply = {"version": prepared.version, "answer": dict(prepared.answer)}
            elif prepared is not None:
                reply = dict(turn(prepared.parts[request["turn"]]))
        except Exception as error:
            reply = {"error": _sentence(error)}
        print(json.dumps(reply), file=answers, flush=True)


def _sentence(error: Any) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


if __name__ == "__main__":
    main()
