"""An ML solution as JSON and back, to the last bit (numbers are written with repr's precision)."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from bayesmlm.ml.engine import MLSolution
from bayesmlm.ml.optimise import Optimum

__all__ = ["solution_from_json", "solution_to_json"]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "values": value.ravel().tolist()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Optimum):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"shape", "values"}:
        return np.array(value["values"], dtype=float).reshape(value["shape"])
    if isinstance(value, list):
        return tuple(_restored(item) for item in value)
    return value


def solution_to_json(solution: MLSolution) -> str:
    """Write a solution as JSON text."""
    return json.dumps({field.name: _plain(getattr(solution, field.name)) for field in fields(solution)})


def solution_from_json(text: str) -> MLSolution:
    """Read a solution back.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> again = solution_from_json(solution_to_json(fit.solution))
    >>> again.loglik == fit.solution.loglik and bool((again.covariance == fit.solution.covariance).all())
    True
    """
    document = json.loads(text)
    optimum = Optimum(**{name: _restored(value) for name, value in document.pop("optimum").items()})
    return MLSolution(optimum=optimum, **{name: _restored(value) for name, value in document.items()})
