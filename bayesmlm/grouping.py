"""Group: a random-effect term bound to data, its groups named and numbered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Bar
from bayesmlm.errors import DataError
from bayesmlm.families import Family
from bayesmlm.frames import level_text
from bayesmlm.model_matrix import model_matrix
from bayesmlm.response import Response
from bayesmlm.scaling import Scaling, independent, mean_square

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Group", "check_groups", "group_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Group:
    """One random-effect term: codes into the groups, and the columns that vary by group.

    Attributes
    ----------
    name : str
        Name of the grouping, ``urban:district``.
    terms : tuple of str
        Names of the columns, ``("Intercept", "age")``.
    codes : ndarray of int, shape (n,)
    z : ndarray, shape (n, k)
        On the user's scale.
    scales : ndarray, shape (k,)
        Internal column = column / scale (never centred: that would change the covariance structure).
    factors : tuple of str
        The columns whose combinations are the groups.
    factor_levels : tuple of array
        Their levels, as they are in the data.
    cells : ndarray of int, shape (n_levels,)
        The combinations observed, in order; the last factor's level varies fastest.
    matrix_spec : formulaic.ModelSpec or None
        Makes the columns for new data; None for an intercept.
    """

    name: str
    terms: tuple[str, ...]
    codes: Array
    z: Array
    scales: Array
    factors: tuple[str, ...]
    factor_levels: tuple[Any, ...] = field(repr=False)
    cells: Array = field(repr=False)
    matrix_spec: Any = field(repr=False, default=None)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Names of the groups, in order; minted when first read, because there may be a million."""
        parts, remaining = [], self.cells
        for known in reversed(self.factor_levels):
            remaining, places = np.divmod(remaining, len(known))
            parts.append(np.array([level_text(level) for level in known.tolist()], dtype=object)[places])
        return tuple(map(":".join, zip(*reversed(parts), strict=True)))

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the correlations, ``"Intercept,age"``."""
        return tuple(f"{a},{b}" for i, a in enumerate(self.terms) for b in self.terms[i + 1 :])

    @property
    def n_levels(self) -> int:
        """How many groups there are."""
        return len(self.cells)


def _factor(values: pd.Series) -> tuple[Array, Any]:
    """Codes of a column, and its levels in order."""
    import pandas as pd

    if values.dtype == "category":
        return values.array.codes, values.array.categories
    return pd.factorize(values, sort=True)


def _cross(codes: Sequence[Array], sizes: Sequence[int]) -> tuple[Array, Array]:
    """Cross factors: codes into the combinations that occur, and these combinations, the last factor fastest."""
    import pandas as pd

    index = codes[0].astype(np.int64)
    for own, size in zip(codes[1:], sizes[1:], strict=True):
        index *= size
        index += own
    n_cells = math.prod(sizes)
    if n_cells <= len(index) and np.bincount(index, minlength=n_cells).all():
        return index, np.arange(n_cells)  # every combination occurs: nothing to look up
    return pd.factorize(index, sort=True)


def group_of(bar: Bar, frame: pd.DataFrame) -> Group:
    """Bind a random-effect term of a formula to complete rows.

    Raises
    ------
    DataError
        For a column that the others determine.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesmlm.bars import parse_formula
    >>> (bar,) = parse_formula("y ~ 1 + (1 | g:h)").bars
    >>> group = group_of(bar, pd.DataFrame({"g": ["b", "a", "a"], "h": [1, 2, 1]}))
    >>> group.levels, group.codes.tolist()
    (('a:1', 'a:2', 'b:1'), [2, 1, 0])
    """
    factors, levels = zip(*(_factor(frame[factor]) for factor in bar.factors), strict=True)
    codes, cells = _cross(factors, [len(known) for known in levels])
    if bar.columns.strip() == "1":
        terms: tuple[str, ...] = ("Intercept",)
        z, scales, matrix_spec = np.broadcast_to(1.0, (len(frame), 1)), np.ones(1), None
    else:
        z, terms, matrix_spec = model_matrix(bar.columns, frame)
        scales = np.sqrt(mean_square(z))
        kept = independent(z, Scaling(np.zeros(len(terms)), np.maximum(scales, 1e-300), -1))
        if not kept.all():
            lost = ", ".join(t for t, keep in zip(terms, kept, strict=True) if not keep)
            raise DataError(f"({bar.columns} | {bar.name}): {lost} is determined by the other columns; leave it out")
    return Group(bar.name, terms, codes.astype(np.int32), z, scales, bar.factors, levels, cells, matrix_spec)


def check_groups(groups: tuple[Group, ...], response: Response, family: Family) -> None:
    """Refuse groupings whose variance no data can tell: of one level, or of a level for each row.

    Raises
    ------
    DataError
    """
    n = len(response.y)
    for group in groups:
        if group.n_levels < 2:
            raise DataError(
                f'the grouping "{group.name}" has one level only ("{group.levels[0]}"); '
                f"a variance between groups needs at least two, so leave (… | {group.name}) out"
            )
        if group.n_levels == n and family.name == "gaussian":
            raise DataError(
                f'the grouping "{group.name}" has a level of its own for each of the {n} rows: its variance and the '
                f"residual's cannot be told apart; group by something coarser"
            )
        if group.n_levels == n and family.is_binary and response.is_binary:
            raise DataError(
                f'the grouping "{group.name}" has a level of its own for each of the {n} rows, and one 0/1 answer '
                f"cannot tell its group apart from chance; group by something coarser"
            )
