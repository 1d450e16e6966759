"""The data of the benchmarks: those embedded in the package, and those of a folder named by ``BAYESMLM_DATA``."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmlm.datasets import CATALOGUE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOLDER", "DataMissing", "factors", "load", "path"]

FOLDER = "BAYESMLM_DATA"
"""Name of the environment variable that names the folder of the data that do not come with the package."""

ELSEWHERE = {
    "VerbAgg": ("Gender", "item", "id", "btype", "situ"),
    "InstEval": ("s", "d", "dept", "service"),
    "sleepstudy": ("Subject",),
}


class DataMissing(Exception):
    """A file of data is not at hand; the message says which, and where it was looked for."""


def path(name: str) -> Path:
    """Path of the csv file of a dataset.

    Raises
    ------
    DataMissing
    """
    if name in CATALOGUE:
        return Path(str(files("bayesmlm.datasets").joinpath(f"{name}.csv")))
    if not os.environ.get(FOLDER):
        raise DataMissing(f"{name}.csv is needed: name its folder in {FOLDER}")
    file = Path(os.environ[FOLDER]) / f"{name}.csv"
    if not file.is_file():
        raise DataMissing(f"{name}.csv is not in the folder that {FOLDER} names")
    return file


def factors(name: str) -> tuple[str, ...]:
    """Columns of a dataset that are factors."""
    return tuple(CATALOGUE[name].factors) if name in CATALOGUE else ELSEWHERE[name]


def load(name: str) -> pd.DataFrame:
    """Read a dataset, its factors as Categoricals.

    Raises
    ------
    DataMissing
    """
    import pandas as pd

    from bayesmlm.datasets import load_dataset

    if name in CATALOGUE:
        return load_dataset(name)
    frame = pd.read_csv(path(name), dtype=dict.fromkeys(ELSEWHERE[name], "str"))
    return frame.astype(dict.fromkeys(ELSEWHERE[name], "category"))
