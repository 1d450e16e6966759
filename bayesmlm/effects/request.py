"""What is asked of a fit, checked once: which estimand, averaged over what, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.comparable import check_fits
from bayesmlm.design import Design
from bayesmlm.effects.grids import grid
from bayesmlm.effects.parameters import parameters_of
from bayesmlm.effects.quantities import Estimand, Normal, Sampled, evaluate
from bayesmlm.effects.rows import Base, base_rows, rows_at
from bayesmlm.effects.variables import Setting, predictors_of, settings_of
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.estimands import ESTIMANDS
from bayesmlm.families import Link

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Request", "check_estimand", "expected_word", "read_request"]

Array = np.ndarray[Any, Any]

_COLUMNS = (
    "term", "contrast", "estimate", "median", "std_error", "statistic", "p_value", "p_direction", "conf_low",
    "conf_high", "estimand",
)  # fmt: skip
"""Names that a table has for itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """Rows of a fit, and the estimand asked of them.

    Attributes
    ----------
    fit : Fit
    base : Base
    estimand, new_groups : str
        As in :meth:`bayesmlm.fit.Fit.predict`.
    places : list of Setting
        What columns are set to before anything is compared; one empty setting where nothing is.
    place_names : list of dict
        The same for the table.
    level : float
    """

    fit: Any
    base: Base
    estimand: str
    new_groups: str
    places: list[Setting]
    place_names: list[dict[str, Any]]
    level: float

    @property
    def cells(self) -> int:
        """Averages, or rows, at each setting."""
        return len(self.base.frame) if self.base.averages is None else len(self.base.cells)

    @property
    def is_sampled(self) -> bool:
        """Whether the fit has draws."""
        return self.fit.engine not in ("ml", "map", "gee")

    def evaluate(self, settings: Sequence[Setting], scale: Link, rows_first: bool) -> Normal | Sampled:
        """Values at every setting, cell by cell."""
        design = self.fit.design
        rows = [rows_at(design, self.base, setting, self.estimand, self.new_groups) for setting in settings]
        of = Estimand(self.estimand, self.new_groups, design.family.link, scale, rows_first)
        return evaluate(parameters_of(self.fit, self.estimand == "conditional"), rows, self.base.averages, of)

    def labels(self, **columns: Sequence[Any]) -> pd.DataFrame:
        """Cells, repeated for every place and then for every further label."""
        import pandas as pd

        repeats = len(next(iter(columns.values()))) if columns else 1
        parts = []
        for at in range(repeats):
            for place in self.place_names:
                part = self.base.cells.copy()
                for name, value in {**place, **{key: given[at] for key, given in columns.items()}}.items():
                    part[name] = value
                parts.append(part)
        # Rows of a frame keep their labels, averages are numbered.
        return pd.concat(parts, ignore_index=self.base.averages is not None)

    def said(self, quantity: str, average: str, settings: Sequence[Setting]) -> dict[str, Any]:
        """What the table says of itself."""
        fit, notes = self.fit, []
        if self.estimand == "population" and fit.engine != "gee" and not fit.design.groups:
            notes.append("The model has no group effects: the population estimand is the same as the typical one.")
        if self.estimand == "conditional":
            notes += self._moved(settings)
        return {
            "quantity": quantity,
            "estimand": f"{self.estimand}: {_estimand_words(fit, self.estimand)}",
            "average": average.format(rows=self.base.words) if self.base.averages is not None else "",
            "std_error": _error_words(fit, self.estimand),
            "engine": fit.engine,
            "notes": notes,
        }

    def _moved(self, settings: Sequence[Setting]) -> list[str]:
        """A sentence on each grouping whose groups the changes lead out of."""
        changed, notes = {name for setting in settings for name, _ in setting}, []
        for t, group in enumerate(self.fit.design.groups):
            own = [name for name in group.factors if name in changed]
            if not own:
                continue
            rows = [rows_at(self.fit.design, self.base, s, "conditional", self.new_groups) for s in settings]
            share = np.ones(len(self.base.frame)) if self.base.averages is None else self.base.averages.sum(axis=0)
            unseen = np.mean([np.average(row.codes[t] < 0, weights=share) for row in rows])
            where = "averaged over" if self.new_groups == "population" else "taken as typical"
            notes.append(
                f'"{own[0]}" is part of the grouping {group.name}: another value is another group, and '
                f"{unseen:.0%} of the predictions are for groups that the data do not have, which are {where}."
            )
        return notes


def read_request(
    verb: str, fit: Any, newdata: Any, by: Any, estimand: str | None, at: Any, weights: Any, new_groups: str,
    level: float,
) -> Request:  # fmt: skip
    """Check what is asked for, and read the rows it is of.

    Raises
    ------
    FitError
        For an estimand that does not exist or the fit has not, and the like.
    DataError
        For columns and levels that do not exist.
    """
    check_fits(f"effects.{verb}", fit)
    check_level(level)
    estimand = check_estimand(fit, estimand)
    if new_groups not in ("population", "zero"):
        raise FitError(f'new_groups should be "population" or "zero", not "{new_groups}"')
    if isinstance(newdata, str):
        if newdata != "grid":
            raise FitError(
                f'newdata should be a data frame, or "grid" for every combination of levels, not "{newdata}"'
            )
        known = predictors_of(fit.design)
        absent = [name for group in fit.design.groups for name in group.factors if name not in known]
        if estimand == "conditional" and absent:
            raise FitError(
                f'newdata="grid" has no "{absent[0]}", whose effects estimand="conditional" is given: name its groups, '
                f"as newdata=effects.grid(fit, {absent[0]}=[...])"
            )
        newdata = grid(fit, balanced=True)
    fixed = {} if at is None else settings_of(fit.design, at)
    base = base_rows(fit, newdata, by, weights, estimand, tuple(fixed))
    for name in [*base.cells, *fixed]:
        if name in _COLUMNS:
            raise DataError(f'the column "{name}" has the name of a column of the table; rename it')
    if base.averages is not None and (both := set(fixed) & set(base.cells)):
        raise FitError(f'"{min(both)}" is set to values; it cannot be averaged within by by= as well')
    combinations = list(product(*fixed.values()))
    return Request(
        fit, base, estimand, new_groups, [tuple(zip(fixed, row, strict=True)) for row in combinations],
        [dict(zip(fixed, row, strict=True)) for row in combinations], level,
    )  # fmt: skip


def check_estimand(fit: Any, estimand: str | None) -> str:
    """The estimand asked for, by default a typical group's, or the population's of a GEE.

    Raises
    ------
    FitError
    """
    own = "population" if fit.engine == "gee" else "typical"
    estimand = own if estimand is None else estimand
    if estimand not in ESTIMANDS:
        raise FitError(f'there is no estimand "{estimand}"; {among(estimand, ESTIMANDS)}')
    if fit.engine == "gee" and estimand != "population":
        raise FitError(
            f'a GEE has no group effects: its only estimand is "population"; fit by fit_ml() or sample() for '
            f'"{estimand}"'
        )
    return estimand


def expected_word(design: Design) -> str:
    """What an expected response is called: a probability with its event, or a mean."""
    response = design.response
    if not design.family.is_binary:
        return f"mean of {response.name}"
    return f"probability of {response.name} = {response.event}" if response.event else f"probability of {response.name}"


def _estimand_words(fit: Any, estimand: str) -> str:
    if fit.engine == "gee":
        return "the means that a GEE is a model of"
    if not fit.design.groups:
        return "the model has no group effects"
    return ESTIMANDS[estimand]


def _error_words(fit: Any, estimand: str) -> str:
    """What the standard errors contain."""
    if fit.engine == "gee":
        return f"{fit.options.se.replace('_', '-')} standard errors"
    if fit.engine not in ("ml", "map"):
        return ""
    if not fit.design.groups or estimand == "typical":
        return ""
    if estimand == "population":
        return "standard errors contain the uncertainty of the coefficients and of the groups' variances"
    return (
        "standard errors contain the uncertainty of the coefficients and, given the variances, of the groups' effects"
    )
