"""Processes of their own for what is timed: their threads, and how to talk to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "THREADS", "ChildFailed", "Worker", "environment", "run_child"]

ROOT = Path(__file__).parents[1]
"""The project's folder, from which every process is started."""

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "BAYESMLM_THREADS",
)
"""What says how many threads a process uses."""


class ChildFailed(Exception):
    """A process ended without an answer, or said why it has none."""


def environment(single: bool = True, **more: str) -> dict[str, str]:
    """Environment of a process: with one thread, or with as many as there are."""
    kept = {name: value for name, value in os.environ.items() if name not in THREADS}
    return {**kept, **(dict.fromkeys(THREADS, "1") if single else {}), **more}


def run_child(module: str, request: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """Run ``python -m MODULE`` with one line of JSON as its input and return the JSON it prints.

    Raises
    ------
    ChildFailed
        With the last line of what it complained.
    """
    done = subprocess.run(
        [sys.executable, "-m", module], input=json.dumps(request), capture_output=True, text=True, cwd=ROOT, env=env
    )
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"]
        raise ChildFailed(complaint[-1])
    reply: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reply


class Worker:
    """A :mod:`benchmarks.worker` process, started when it is first asked.

    Parameters
    ----------
    package : str
    python : str
        Interpreter that has the package.
    patience : float
        Seconds after which a request is given up and the process ended.
    """

    def __init__(self, package: str, python: str = sys.executable, patience: float = 900.0) -> None:
        self.package, self.python, self.patience = package, python, patience
        self._process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises
        ------
        ChildFailed
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-m", "benchmarks.worker", self.package],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, cwd=ROOT, env=environment(),
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        end = threading.Timer(self.patience, process.kill)
        end.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            end.cancel()
        if not line:
            self.close()
            raise ChildFailed(f"its process ended, or took more than {self.patience:.0f} s")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ChildFailed(reply["error"])
        return reply

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
