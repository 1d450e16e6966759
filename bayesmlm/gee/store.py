"""A GEE as JSON and back, to the last bit (numbers are written with repr's precision)."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np

from bayesmlm.gee.engine import GEESolution
from bayesmlm.gee.options import Options

__all__ = ["gee_from_json", "gee_to_json"]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "values": value.ravel().tolist()}
    return list(value) if isinstance(value, tuple) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return np.array(value["values"], dtype=float).reshape(value["shape"])
    return tuple(value) if isinstance(value, list) else value


def gee_to_json(options: Options, solution: GEESolution) -> str:
    """Write what was asked for and what was found as JSON text."""
    return json.dumps(
        {
            name: {field.name: _plain(getattr(part, field.name)) for field in fields(part)}
            for name, part in (("options", options), ("solution", solution))
        }
    )


def gee_from_json(text: str) -> tuple[Options, GEESolution]:
    """Read them back.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
    >>> options, solution = gee_from_json(gee_to_json(fit.options, fit.solution))
    >>> options == fit.options, bool((solution.robust == fit.solution.robust).all())
    (True, True)
    """
    document = json.loads(text)
    parts = {name: {key: _restored(value) for key, value in part.items()} for name, part in document.items()}
    return Options(**parts["options"]), GEESolution(**parts["solution"])
