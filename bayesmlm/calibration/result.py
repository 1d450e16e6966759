"""Calibration: ranks of what was drawn from the prior among draws of the posterior, and whether they are uniform."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError
from bayesmlm.uniformity import Uniformity, uniform_ranks

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

__all__ = ["Calibration"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Calibration:
    """Simulation-based calibration of a model and a way to its posterior (Talts et al., 2018).

    Attributes
    ----------
    name, formula : str
        Of the model.
    method : str
        The way to the posterior.
    priors : tuple of str
        Every prior, as ``term: prior``.
    quantities : tuple of str
        What was ranked.
    ranks : ndarray of int, shape (replicates, quantities)
        How many of the posterior draws kept lie below what the data were simulated with.
    draws : int
        Posterior draws kept of each replicate, so that ranks run from 0 to this.
    least_ess : float
        Smallest effective sample size of a replicate among the draws that those kept were taken from, over that number.
    longer : int
        Replicates sampled more than once, because their draws were not nearly independent at first.
    failures : mapping of str to int
        Why replicates could not be fitted, and how many.
    seed : int
    seconds : float

    Examples
    --------
    >>> ranks = np.random.default_rng(1).integers(0, 100, (200, 2))
    >>> result = Calibration("m", "y ~ 1", "nuts", (), ("Intercept", "log likelihood"), ranks, 99, 5.0, 0, {}, 1, 0.0)
    >>> result.ok, result.threshold
    (True, 0.025)
    """

    name: str
    formula: str
    method: str
    priors: tuple[str, ...]
    quantities: tuple[str, ...]
    ranks: Array = field(repr=False)
    draws: int
    least_ess: float
    longer: int
    failures: Mapping[str, int]
    seed: int
    seconds: float

    @property
    def replicates(self) -> int:
        """How many data sets were simulated and fitted."""
        return len(self.ranks)

    @property
    def failed(self) -> int:
        """How many could not be fitted."""
        return sum(self.failures.values())

    @property
    def threshold(self) -> float:
        """P-value below which a quantity is off: 0.05, shared by all of them (Bonferroni)."""
        return 0.05 / len(self.quantities)

    def tests(self) -> list[Uniformity]:
        """The test of every quantity's ranks."""
        return [uniform_ranks(column, self.draws + 1) for column in self.ranks.T]

    def table(self) -> pd.DataFrame:
        """Every quantity: ``quantity, mean_rank, spread, p_value, uniform``.

        Returns
        -------
        pandas.DataFrame
            ``mean_rank`` is 0.5 and ``spread`` 1 where ranks (as shares) are uniform: above 0.5 the posterior lies too
            low, and a spread above 1 is of a posterior that is too narrow.
        """
        import pandas as pd

        shares = (self.ranks + 0.5) / (self.draws + 1.0)
        p_values = np.array([test.p_value for test in self.tests()])
        out = pd.DataFrame(
            {
                "quantity": list(self.quantities),
                "mean_rank": shares.mean(axis=0),
                "spread": np.sqrt(12.0) * np.sqrt(np.square(shares - 0.5).mean(axis=0)),
                "p_value": p_values,
                "uniform": p_values >= self.threshold,
            }
        )
        out.attrs.update(threshold=self.threshold, replicates=self.replicates, draws=self.draws, verdict=self.verdict)
        return out

    @property
    def ok(self) -> bool:
        """Whether every quantity's ranks pass, and every replicate was fitted."""
        return not self.failed and all(test.p_value >= self.threshold for test in self.tests())

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        p_values = np.array([test.p_value for test in self.tests()])
        what = (
            f"{self.replicates} replicates of {self.draws} draws; {len(self.quantities)} quantities, each at "
            f"{self.threshold:.2g}"
        )
        off = [
            f"{self.quantities[i]} (p {p_values[i]:.2g})" for i in np.argsort(p_values) if p_values[i] < self.threshold
        ]
        failed = f"; {self.failed} more replicates could not be fitted" if self.failed else ""
        if off:
            return f"Not calibrated: the ranks of {', '.join(off)} are not uniform ({what}{failed})."
        least = int(np.argmin(p_values))
        return (
            f"Nothing speaks against calibration: the smallest p-value is {p_values[least]:.2g}, of "
            f"{self.quantities[least]} ({what}{failed})."
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to a JSON file."""
        Path(path).write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {**asdict(self), "ranks": self.ranks.tolist(), "failures": dict(self.failures)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """What :meth:`to_dict` wrote.

        Raises
        ------
        DataError
            For something else.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise DataError("this is not the result of a calibration")
        lists = {key: tuple(values[key]) for key in ("priors", "quantities")}
        return cls(**{**values, **lists, "ranks": np.array(values["ranks"], dtype=np.int64)})

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DataError
            For a file that is not there, or holds something else.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"there is no file {path}") from None
        except ValueError:
            raise DataError(f"{path} is not the result of a calibration") from None
        return cls.from_dict(values)

    def __repr__(self) -> str:
        return f"<Calibration of {self.name} by {self.method}: {self.verdict}>"
