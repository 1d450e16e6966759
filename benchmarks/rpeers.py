"""The R packages that are timed, each model in an R process of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.data import factors, path
from benchmarks.processes import ChildFailed, environment

__all__ = ["has_package", "time_in_r"]


def has_package(package: str) -> bool:
    """Whether there is R with a package."""
    if shutil.which("Rscript") is None:
        return False
    asked = subprocess.run(
        ["Rscript", "-e", f"cat(requireNamespace('{package}', quietly = TRUE))"], capture_output=True, text=True
    )
    return asked.stdout.strip() == "TRUE"


def time_in_r(package: str, case: Case, repeats: int, budget: float = 20.0) -> dict[str, Any]:
    """Fit a case in R with default settings.

    Parameters
    ----------
    package : {"lme4", "glmmTMB"}
    case : Case
    repeats : int
        At most this many timed calls.
    budget : float
        Seconds after which no further call is made.

    Returns
    -------
    dict
        ``seconds`` of each call, ``version``, and ``answer`` as :class:`benchmarks.packages.Prepared` has it.

    Raises
    ------
    ChildFailed
    """
    if package == "glmmTMB" and case.n_agq > 1:
        raise ChildFailed("glmmTMB has no adaptive quadrature")
    request = {
        "package": package,
        "path": path(case.data),
        "factors": " ".join(factors(case.data)),
        "formula": case.formula,
        "family": case.family,
        "n_agq": case.n_agq,
        "repeats": repeats,
        "budget": budget,
    }
    done = subprocess.run(
        ["Rscript", str(Path(__file__).with_name("peer.R"))],
        input="".join(f"{key}: {value}\n" for key, value in request.items()),
        capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    if done.returncode:
        raise ChildFailed((done.stderr.strip().splitlines() or ["R ended without a word"])[-1])
    said = {key: values for key, *values in (line.split("\t") for line in done.stdout.splitlines())}
    names = said["names"]
    return {
        "seconds": [float(s) for s in said["seconds"]],
        "version": said["version"][0],
        "answer": {
            "loglik": float(said["loglik"][0]),
            "coef": dict(zip(names, map(float, said["coef"]), strict=True)),
            "se": dict(zip(names, map(float, said["se"]), strict=True)),
        },
    }
