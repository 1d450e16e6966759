"""The run directory: what a run has finished, kept so that nothing finished is lost and nothing stale is taken for new.

Every file is written whole (to a temporary name, then renamed), and every result carries a fingerprint of the model,
the data and the settings it came from.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import BayesmlmError, DataError, SpecError
from bayesmlm.settings import POSTERIORS
from bayesmlm.spec import Spec

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["RunDirectory", "check_file_names", "fingerprint", "readable", "write_atomically"]

FORMAT = 3
"""Of the result files: one written in another format counts as missing."""

KINDS = {"ml": "likelihood", "map": "mode", **dict.fromkeys(POSTERIORS, "posterior"), "gee": "population"}
"""Folders of the readings."""


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: a reader sees all of it or none.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> write_atomically(target, lambda p: p.write_text("whole", encoding="utf-8"))
    >>> target.read_text(encoding="utf-8")
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Say of a damaged file that it is one, in a sentence.

    Examples
    --------
    >>> with readable(Path("run.json")):
    ...     json.loads("{")
    Traceback (most recent call last):
    bayesmlm.errors.DataError: run.json cannot be read: remove it, and what it held is made anew
    """
    try:
        yield
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, BayesmlmError):
            raise
        raise DataError(f"{file} cannot be read: remove it, and what it held is made anew") from None


def fingerprint(spec: Spec, design: Design, method: str, data: pd.DataFrame) -> str:
    """Digest of everything a result depends on: formula, family, priors, rows, and how it was made.

    Parameters
    ----------
    spec : Spec
    design : Design
    method : str
        One of :data:`bayesmlm.settings.METHODS`.
    data : pandas.DataFrame
        Whose columns may hold a GEE's clusters and times.
    """
    from bayesmlm import __version__

    digest = hashlib.sha256()
    settings: Any = {"ml": spec.likelihood, "map": spec.likelihood, "gee": spec.gee}.get(method, spec.sampling)
    for part in (
        __version__,
        FORMAT,
        method,
        spec.formula,
        str(design.family),
        str(design.priors),
        str(design.terms),
        astuple(settings),
    ):
        digest.update(repr(part).encode())
    arrays = [
        design.X,
        design.response.y,
        design.response.trials,
        design.weights,
        design.freq,
        design.offset,
        design.rows,
    ]
    for group in design.groups:
        digest.update(repr((group.name, group.levels)).encode())
        arrays += [group.codes, group.z]
    if method == "gee":
        asked = {spec.gee.groups, spec.gee.time, *(spec.gee.groups or "").split(":")}
        for name in [column for column in data.columns if column in asked]:
            values = data[name].iloc[design.rows]
            # The order of a factor's levels is that of its times.
            levels = values.array.categories.tolist() if values.dtype == "category" else []
            digest.update(repr((name, levels, values.tolist())).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@dataclass(slots=True)
class RunDirectory:
    """Files of one run.

    Attributes
    ----------
    path : Path
    record : dict
        What ``run.json`` holds: versions, and per model and method the fingerprint, seconds and seed.
    """

    path: Path
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open a directory, reading the record that is there.

        Raises
        ------
        DataError
            When the path is a file, no folder can be made there, or ``run.json`` cannot be read.
        """
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file, not a folder for a run; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"no folder {path} can be made: {error.strerror}; choose another --out") from None
        file = path / "run.json"
        if not file.is_file():
            return cls(path)
        with readable(file):
            record = json.loads(file.read_text(encoding="utf-8"))
            for methods in record.get("models", {}).values():
                for entry in methods.values():
                    entry["fingerprint"]
        return cls(path, record)

    def file(self, kind: str, name: str) -> Path:
        """Path of a file: ``posterior/m.nc``, ``likelihood/m.json`` (``mode``, ``population``), ``tables/….csv``."""
        suffix = {"posterior": ".nc", "tables": ".csv"}.get(kind, ".json")
        return self.path / kind / f"{_file_name(name)}{suffix}"

    def result(self, name: str, method: str) -> Path:
        """Path of a reading of a model; the ways to the posterior share one file."""
        return self.file(KINDS[method], name)

    def has(self, name: str, method: str, digest: str) -> bool:
        """Whether a result is there and still that of this model, data and settings."""
        entry = self.record.get("models", {}).get(name, {}).get(method, {})
        return entry.get("fingerprint") == digest and self.result(name, method).is_file()

    def forget(self, name: str, method: str) -> None:
        """Strike out the results whose file is about to be written anew."""
        entries = self.record.get("models", {}).get(name, {})
        stale = [other for other in entries if KINDS[other] == KINDS[method]]
        for other in stale:
            del entries[other]
        if stale:
            self.save()

    def done(self, name: str, method: str, digest: str, facts: dict[str, Any]) -> None:
        """Record a finished result, at once on disk."""
        self.record.setdefault("models", {}).setdefault(name, {})[method] = {"fingerprint": digest, **facts}
        self.save()

    def save(self) -> None:
        """Write ``run.json``."""
        text = json.dumps(self.record, indent=2) + "\n"
        write_atomically(self.path / "run.json", lambda p: p.write_text(text, encoding="utf-8"))

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file at the top of the directory."""
        write_atomically(self.path / name, lambda p: p.write_text(text, encoding="utf-8"))
        return self.path / name

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table as csv, numbers to full precision."""
        write_atomically(self.file("tables", name), lambda p: table.to_csv(p, index=False))

    def write_posterior(self, name: str, tree: xr.DataTree) -> None:
        """Write a DataTree as netCDF; the pointwise log-likelihood in single precision, to a third of the size."""
        encoding = {}
        if "log_likelihood" in tree.children:
            encoding["/log_likelihood"] = {
                str(v): {"dtype": "float32", "zlib": True, "complevel": 1, "shuffle": True}
                for v in tree["log_likelihood"].data_vars
            }
        write_atomically(
            self.file("posterior", name), lambda p: tree.to_netcdf(p, engine="h5netcdf", encoding=encoding)
        )

    def read_posterior(self, name: str) -> xr.DataTree:
        """Read a DataTree whole, the file closed again."""
        import xarray as xr

        with xr.open_datatree(self.file("posterior", name), engine="h5netcdf") as tree:
            return tree.load()


def check_file_names(names: Iterable[str]) -> None:
    """Refuse models whose results would be one file, and one without a name.

    Examples
    --------
    >>> check_file_names(["a", "a/b", "a_b"])
    Traceback (most recent call last):
    bayesmlm.errors.SpecError: models "a/b" and "a_b" would share the file a_b of a run directory: rename one
    """
    taken: dict[str, str] = {}
    for name in names:
        file = _file_name(name)
        if not file.strip("."):
            raise SpecError(f'the model "{name}" needs a name that a file can have: rename it')
        # Some file systems do not tell A from a.
        other = taken.setdefault(file.casefold(), name)
        if other != name:
            raise SpecError(f'models "{other}" and "{name}" would share the file {file} of a run directory: rename one')


def _file_name(name: str) -> str:
    """A model's name as a file name."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
