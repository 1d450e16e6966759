"""Draws of a long run on disk while it runs, so that a killed run loses none of those already there."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Checkpoint", "read_draws"]

AFTER = 60.0
"""Seconds of sampling before the first draws are written."""
EVERY = 5.0
"""Seconds between two writings at least."""
SHARE = 0.02
"""Of the time, that writing may take at most."""


@dataclass(slots=True)
class Checkpoint:
    """A file that is written whole, again and again, and removed when it is needed no longer.

    Attributes
    ----------
    path : Path
    read : callable
        The draws so far, as a DataTree; None before the first.
    wait : float
        Seconds until it should be written next.
    """

    path: Path
    read: Callable[[], Any]
    wait: float = field(default_factory=lambda: AFTER)
    _said: bool = False

    @classmethod
    def at(cls, path: str | os.PathLike[str] | None, read: Callable[[], Any]) -> Checkpoint:
        """A checkpoint at a path, or at one in the system's directory for temporary files."""
        if path is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            path = Path(tempfile.gettempdir()) / f"bayesmlm-{stamp}-{os.getpid()}.nc"
        return cls(Path(path), read)

    def write(self) -> None:
        """Write what there is, under another name first."""
        began = time.perf_counter()
        tree = self.read()
        if tree is not None:
            part = self.path.with_name(self.path.name + ".part")
            tree.to_netcdf(part, engine="h5netcdf")
            part.replace(self.path)
            if not self._said:
                self._said = True
                print(
                    f"bayesmlm: draws so far are kept in {self.path} while sampling goes on "
                    f"(Model.read_draws reads them)",
                    file=sys.stderr,
                )
        self.wait = max(EVERY, (time.perf_counter() - began) / SHARE)

    def remove(self) -> None:
        """Remove the file, if it was ever written."""
        self.path.unlink(missing_ok=True)


def incomplete(tree: xr.DataTree) -> xr.DataTree:
    """What was drawn of a run that was stopped: as many draws of as many chains as make up most draws.

    Chains that had not begun, and draws that not all of the others had come to, are left out.
    """
    import xarray as xr

    done = (~np.isnan(tree["posterior"]["beta"].to_numpy()).any(axis=2)).sum(axis=1)
    ordered = np.sort(done)[::-1]
    best = int(np.argmax(ordered * np.arange(1, len(ordered) + 1)))
    draws = int(ordered[best])
    chains = np.flatnonzero(done >= draws) if draws else np.zeros(0, dtype=int)
    parts = {
        name: node.to_dataset().isel(chain=chains, draw=slice(draws)) if "draw" in node.sizes else node.to_dataset()
        for name, node in tree.children.items()
    }
    out = xr.DataTree.from_dict(parts)
    planned = int(tree.attrs["draws"]) * int(tree.attrs["chains"])
    out.attrs.update(tree.attrs)
    out.attrs.update(
        note=f"Incomplete: {draws * len(chains):,} of {planned:,} draws, of {len(chains)} chains; the run was stopped.",
    )
    return out


def read_draws(design: Design, path: str | os.PathLike[str]) -> xr.DataTree:
    """Read draws from a checkpoint, or from a finished run.

    Raises
    ------
    DataError
        For a file that is not there or not a posterior, one without draws, or one of another model.
    """
    import xarray as xr

    if not Path(path).is_file():
        raise DataError(f"there is no file {path}")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as file:
            tree = file.load()
        terms = [str(term) for term in tree["posterior"]["term"].to_numpy()]
    except Exception:
        raise DataError(f"{path} cannot be read as the draws of a posterior") from None
    levels = {
        group.name: len(tree["posterior"][group.name]) if group.name in tree["posterior"].coords else 0
        for group in design.groups
    }
    if terms != list(design.terms) or any(levels[group.name] != group.n_levels for group in design.groups):
        raise DataError(f"{path} holds draws of another model: its fixed effects are {', '.join(terms)}")
    if not tree.attrs.get("complete", 1):
        tree = incomplete(tree)
    if tree["posterior"].sizes["draw"] == 0 or tree["posterior"].sizes["chain"] == 0:
        raise DataError(f"{path} holds no draws after tuning yet")
    return tree
