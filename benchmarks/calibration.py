"""Simulation-based calibration of the ways to a posterior, for five shapes: ``python -m benchmarks.calibration``.

Each shape has small data of a design that is drawn once, and priors from which plausible responses come.  For each
replicate parameters are drawn from the priors and responses from them; the model is fitted and the parameters are
ranked among 99 draws of its posterior (one in ten of those made, of more where those are not nearly independent).  The
ranks are kept in ``calibration.json`` beside this file, and ``tests/test_calibration.py`` tests that they are uniform:
every quantity at 0.05 divided by the number of quantities of its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import bayesmlm as bm
from bayesmlm.calibration import Calibration
from benchmarks.text import console, duration

__all__ = ["FILE", "REPLICATES", "SHAPES", "main", "model_of", "read"]

Array = np.ndarray[Any, Any]

FILE = Path(__file__).with_suffix(".json")
REPLICATES: Mapping[str, int] = {"nuts": 300, "marginal": 1000}
"""Data sets simulated and fitted, by the way to the posterior."""
SEED = 2018

PRIORS: Mapping[str, str] = {"Intercept": "normal(0, 1)", "fixed": "normal(0, 1)", "sd": "half_normal(1)"}

SHAPES: Mapping[str, str] = {
    "one factor": "y ~ x + (1 | g)",
    "nested": "y ~ x + (1 | g/h)",
    "crossed": "y ~ x + (1 | g) + (1 | k)",
    "correlated slope": "y ~ x + (x | g)",
    "binomial trials": "s / n ~ x + (1 | g)",
}
"""Formulas by shape; correlations have ``lkj(2)``."""


def data_of(shape: str) -> dict[str, Array]:
    """Rows and groups of a shape; the responses are of no account.

    Examples
    --------
    >>> {name: len(np.unique(values)) for name, values in data_of("nested").items() if name in "gh"}
    {'g': 12, 'h': 4}
    """
    rng = np.random.default_rng(list(SHAPES).index(shape))
    if shape == "nested":
        g, h = np.repeat(np.arange(12), 20), np.tile(np.repeat(np.arange(4), 5), 12)
        columns = {"g": g, "h": h}
    elif shape == "crossed":
        g, k = np.divmod(np.arange(200), 10)
        columns = {"g": g, "k": k}
    elif shape == "binomial trials":
        columns = {"g": np.repeat(np.arange(15), 4), "n": rng.integers(2, 21, 60)}
    else:
        columns = {"g": np.repeat(np.arange(20), 10)}
    n = len(columns["g"])
    columns["x"] = rng.standard_normal(n)
    if shape == "binomial trials":
        return {"s": columns["n"] // 2, **columns}
    return {"y": np.arange(n) % 2, **columns}


def model_of(shape: str) -> bm.Model:
    """The model of a shape.

    Examples
    --------
    >>> model_of("crossed")
    <Model crossed: y ~ x + (1 | g) + (1 | k), bernoulli (logit), 200 rows>
    """
    family = "binomial" if shape == "binomial trials" else "bernoulli"
    return bm.Model(SHAPES[shape], data_of(shape), family=family, priors=PRIORS, name=shape)


def read(path: Path = FILE) -> dict[tuple[str, str], Calibration]:
    """What is kept, by shape and method."""
    if not path.exists():
        return {}
    found = [Calibration.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8"))]
    return {(one.name, one.method): one for one in found}


def write(results: Mapping[tuple[str, str], Calibration], path: Path = FILE) -> None:
    """Keep results, one a line, in the order of the shapes."""
    shapes, methods = list(SHAPES), list(REPLICATES)
    ordered = sorted(results.values(), key=lambda one: (methods.index(one.method), shapes.index(one.name)))
    lines = ",\n".join(json.dumps(one.to_dict(), separators=(",", ":")) for one in ordered)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def show(results: Mapping[tuple[str, str], Calibration]) -> None:
    """Print what was found."""
    table = Table("shape", "method", "replicates", "quantities", "smallest p", "threshold", "sampled longer", "time")
    for one in results.values():
        p_values = one.table().p_value
        least = int(p_values.argmin())
        table.add_row(
            one.name, one.method, str(one.replicates), str(len(one.quantities)),
            f"{p_values[least]:.3f} ({one.quantities[least]})", f"{one.threshold:.4f}", str(one.longer),
            duration(one.seconds),
        )  # fmt: skip
    console().print(table)
    for one in results.values():
        if not one.ok:
            console().print(f"{one.name}, {one.method}: {one.verdict}")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Shapes; all without it.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Ways to the posterior; all without it.")] = None,
    replicates: Annotated[int | None, typer.Option(min=20, help="Data sets; 300 for nuts, 1,000 for marginal.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    results: Annotated[Path, typer.Option(help="Where ranks are kept.")] = FILE,
    summary: Annotated[bool, typer.Option(help="Run nothing, show what is kept.")] = False,
) -> None:
    """Calibrate, and keep the ranks."""
    kept = read(results)
    for one in (method or REPLICATES) if not summary else []:
        for shape in only or SHAPES:
            n = replicates or REPLICATES[one]
            kept[shape, one] = bm.calibrate(model_of(shape), n=n, method=one, seed=SEED, workers=workers)
            write(kept, results)
    show(kept)


if __name__ == "__main__":
    typer.run(main)
