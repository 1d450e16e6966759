"""CrossValidation: what a fit predicts of answers it has not seen, unit by unit, and how far that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CrossValidation"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, repr=False)
class CrossValidation:
    """Expected log predictive density of a model, as cross-validation estimates it.

    Attributes
    ----------
    name : str
        Of the model.
    method : {"loo", "logo", "kfold"}
        Rows, or groups, left out one by one, or in folds.
    predicts : str
        What is predicted, in words: ``new answers of known groups``, ``a new district``.
    unit : str
        What is left out: ``row``, or the name of a grouping.
    labels : tuple of str
        Of the units.
    rows : ndarray of int, shape (units,)
        How many rows each has.
    elpd_i : ndarray, shape (units,)
        Log predictive density of each unit by the model without it.
    lpd_i : ndarray, shape (units,)
        The same with it; NaN where it was not computed.
    pareto_k : ndarray, shape (units,)
        k̂ of the weights that stand for leaving the unit out; NaN where the model was fitted again.
    good_k : float
        Up to which k̂ weights can be trusted: min(1 − 1 / log₁₀ draws, 0.7) (Vehtari, Simpson, Gelman, Yao & Gabry,
        2024).
    bad_k : int
        How many k̂ were above it, before anything was done about them.
    matched, refitted : int
        Units whose estimate moment matching mended, or a refit without them replaced.
    design : Design
        Of the model, so that like is compared with like.
    notes : tuple of str
        How far the figures can be trusted, in sentences.
    """

    name: str
    method: str
    predicts: str
    unit: str
    labels: tuple[str, ...]
    rows: Array
    elpd_i: Array
    lpd_i: Array
    pareto_k: Array
    good_k: float
    bad_k: int
    matched: int
    refitted: int
    design: Design = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def elpd(self) -> float:
        """Expected log predictive density of all units."""
        return float(self.elpd_i.sum())

    @property
    def se(self) -> float:
        """Its standard error, from the spread between units."""
        return float(np.sqrt(len(self.elpd_i) * np.var(self.elpd_i, ddof=1)))

    @property
    def p(self) -> float:
        """Effective number of parameters: by how much the density falls with the unit left out, summed."""
        return float((self.lpd_i - self.elpd_i).sum())

    @property
    def still_bad(self) -> int:
        """Units whose k̂ is above what can be trusted, after what was done about them."""
        return int(np.sum(self.pareto_k > self.good_k))

    @property
    def _units(self) -> str:
        return "rows" if self.unit == "row" else f"groups of {self.unit}"

    def table(self) -> pd.DataFrame:
        """Unit by unit: its name, ``rows, elpd, p, k``; ``k`` is NaN where the model was fitted without the unit."""
        import pandas as pd

        columns = {"rows": self.rows, "elpd": self.elpd_i, "p": self.lpd_i - self.elpd_i, "k": self.pareto_k}
        out = pd.DataFrame({self.unit: list(self.labels)} | columns)
        out.attrs.update(predicts=self.predicts, notes=list(self.notes))
        return out

    def __repr__(self) -> str:
        return f"<CrossValidation of {self.name}: {self.predicts}, elpd {self.elpd:.1f} (se {self.se:.1f})>"

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.predicts}",
            f"  elpd {self.elpd:.2f}, standard error {self.se:.2f}, p {self.p:.2f} ({len(self.labels)} {self._units})",
            *(f"  {note}" for note in self.notes),
        ]
        return "\n".join(lines)
