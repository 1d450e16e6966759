"""Clusters: which rows belong together, and where each stands in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Bar
from bayesmlm.design import Design
from bayesmlm.errors import DataError, FitError
from bayesmlm.frames import level_text, select
from bayesmlm.gee.options import Options
from bayesmlm.grouping import Group, group_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clusters", "arrange", "default_groups", "pairs", "read_clusters", "run_codes"]

Array = np.ndarray[Any, Any]

RUNS = "runs:"
"""What stands before a column whose adjacent runs are the clusters, as R's gee and geepack take them."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Rows cluster by cluster, in the order of their visits.

    Attributes
    ----------
    order : ndarray of int, shape (n,)
        Rows of the design; those of frequency f stand f times, those without weight not at all.
    starts, sizes : ndarray of int, shape (K,)
        Of each cluster among the ordered rows.
    visits : ndarray of int, shape (n,)
        Which of the visits each row is of.
    times : ndarray, shape (n,)
        Where it stands in time.
    labels : tuple of str
        Names of the visits.
    n_ids, n_runs : int
        Different ids among the rows, and runs of adjacent rows with equal ids.
    """

    order: Array
    starts: Array
    sizes: Array
    visits: Array
    times: Array
    labels: tuple[str, ...]
    n_ids: int
    n_runs: int

    @property
    def of_rows(self) -> Array:
        """Number of the cluster of each ordered row."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def gaps(self) -> Array:
        """Time since the row before in the same cluster, infinite for the first."""
        gaps = np.diff(self.times, prepend=0.0)
        gaps[self.starts] = np.inf
        return gaps

    def sums(self, values: Array) -> Array:
        """Sums of the ordered rows' values within each cluster, shape (K, …)."""
        return np.add.reduceat(values, self.starts, axis=0)


def pairs(clusters: Clusters) -> Iterator[tuple[Array, Array]]:
    """Pairs of rows of one cluster, those one place apart first, then those two apart, and so on.

    Examples
    --------
    >>> clusters = arrange(np.array([0, 0, 0, 1, 1]), np.ones(5), None, ())
    >>> [(first.tolist(), second.tolist()) for first, second in pairs(clusters)]
    [([0, 1, 3], [1, 2, 4]), ([0], [2])]
    """
    ends = np.repeat(clusters.starts + clusters.sizes, clusters.sizes)
    first = np.arange(len(ends))
    for lag in range(1, int(clusters.sizes.max())):
        first = first[first + lag < ends[first]]
        yield first, first + lag


def run_codes(codes: Array) -> Array:
    """Number the runs of adjacent equal codes.

    Examples
    --------
    >>> run_codes(np.array([5, 5, 2, 5])).tolist()
    [0, 0, 1, 2]
    """
    return np.concatenate([[0], np.cumsum(codes[1:] != codes[:-1])])


def _by_appearance(codes: Array) -> Array:
    """Codes numbered by the row in which they appear first, as R has its clusters."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places]


def arrange(
    codes: Array, times: Array, freq: Array | None, labels: tuple[str, ...], n_ids: int = 0, n_runs: int = 0
) -> Clusters:
    """Sort rows into clusters.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        Cluster of each row; every number from 0 on occurs.
    times : ndarray, shape (n,)
        Where rows stand in time; rows at one time keep their order.
    freq : ndarray or None
        How often each row is there; once without it.
    labels : tuple of str
        Names of the visits; without names the places within a cluster are the visits, and the times.

    Examples
    --------
    >>> clusters = arrange(np.array([1, 0, 1]), np.array([2.0, 1.0, 1.0]), None, ("first", "second"))
    >>> clusters.order.tolist(), clusters.sizes.tolist(), clusters.visits.tolist()
    ([1, 2, 0], [1, 2], [0, 0, 1])
    """
    order = np.lexsort((times, codes))
    if freq is not None:
        order = np.repeat(order, freq[order].astype(np.int64))
    ordered = codes[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(starts, append=len(order))
    if labels:
        visits, times = np.unique(times[order], return_inverse=True)[1], times[order]
    else:
        visits = np.arange(len(order)) - np.repeat(starts, sizes)
        labels, times = tuple(str(place + 1) for place in range(int(sizes.max()))), visits.astype(float)
    return Clusters(order, starts, sizes, visits, times, labels, n_ids, n_runs)


def default_groups(design: Design) -> str:
    """The grouping of a formula's bars, where there is one only.

    Raises
    ------
    FitError
        Where there is none, or more than one.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> default_groups(bm.Model("use ~ age + (1 | urban:district)", bm.load_dataset("contraception")).design)
    'urban:district'
    """
    names = list(dict.fromkeys(group.name for group in design.groups))
    if len(names) == 1:
        return names[0]
    if not names:
        raise FitError('a GEE needs clusters: give groups= the name of a column, such as groups="district"')
    raise FitError(
        f"the formula has {len(names)} groupings ({', '.join(names)}), and a GEE has one: give groups=, where one lies "
        f"within another the coarser"
    )


def read_clusters(design: Design, data: Any, options: Options) -> Clusters:
    """Find the clusters of a design's rows in the user's data.

    Raises
    ------
    DataError, FitError
        For a column that is not there or misses a value, one cluster only, an order that is not known, or two rows of
        a cluster at one time.
    """
    is_runs, factors = _columns_of(options.groups, data)
    frame = _complete_column(factors, "groups", design, data)
    group = group_of(Bar("1", factors), frame)
    counted = (design.freq > 0.0) & (design.weights > 0.0) & (design.response.trials > 0.0)
    kept = np.flatnonzero(counted)
    codes = group.codes[kept]
    runs = run_codes(codes)
    n_ids, n_runs = len(np.unique(codes)), int(runs[-1]) + 1
    times, labels = np.zeros(len(kept)), ()
    if options.time is not None:
        at, known = _time_of(options.time, design, data)
        times, labels = at[kept], tuple(known(value) for value in np.unique(at[kept]))
    freq = design.freq[kept] if (design.freq[kept] != 1.0).any() else None
    found = arrange(runs if is_runs else _by_appearance(codes), times, freq, labels, n_ids, n_runs)
    _check(found, options, is_runs, group, codes)
    return replace(found, order=kept[found.order])


def _columns_of(groups: str, data: Any) -> tuple[bool, tuple[str, ...]]:
    """Whether runs are asked for, and the columns whose combinations are the ids."""
    try:
        select(data, [groups])
    except DataError as error:
        if groups.startswith(RUNS) and len(groups) > len(RUNS):
            return True, _columns_of(groups.removeprefix(RUNS), data)[1]
        if ":" in groups.strip(":"):
            return False, tuple(part.strip() for part in groups.split(":"))
        raise DataError(f"groups: {error}") from None
    return False, (groups,)


def _complete_column(columns: tuple[str, ...], what: str, design: Design, data: Any) -> pd.DataFrame:
    """Columns of the data, the design's rows alone; refused where a value is missing."""
    try:
        frame = select(data, columns).iloc[design.rows]
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    for name in columns:
        missing = frame[name].isna().to_numpy()
        if missing.any():
            row = int(design.rows[np.argmax(missing)])
            raise DataError(
                f'{what}: column "{name}" is missing in row {row} (counting from 0); fill it in, or leave such rows '
                f"out of the data"
            )
    return frame


def _time_of(name: str, design: Design, data: Any) -> tuple[Array, Any]:
    """Time as numbers, of a factor the places of its levels, and how to name one."""
    values = _complete_column((name,), "time", design, data)[name]
    if values.dtype == "category":
        levels = values.array.categories
        return values.array.codes.astype(float), lambda place: level_text(levels[int(place)])
    if values.dtype.kind not in "fiu":
        raise DataError(
            f'time: column "{name}" holds text, whose order is not known; make it numbers, or a categorical with its '
            f"levels in order"
        )
    if not np.isfinite(values.to_numpy()).all():
        raise DataError(f'time: column "{name}" has infinite values')
    return values.to_numpy().astype(float), level_text


def _check(clusters: Clusters, options: Options, is_runs: bool, group: Group, codes: Array) -> None:
    sizes, corr = clusters.sizes, options.corr
    if len(sizes) < 2:
        raise FitError(
            f'groups="{options.groups}" is one cluster only: nothing says how its estimates would vary; group by '
            f"something finer"
        )
    if corr in ("exchangeable", "ar1", "unstructured") and sizes.max() == 1:
        raise FitError(
            f'every cluster of "{options.groups}" has one row, so no correlation can be estimated; use '
            f'corr="independence", or group by something coarser'
        )
    if corr in ("independence", "exchangeable"):
        return
    if options.time is None and not is_runs:
        in_rows = f'time= the name of a column, or groups="{RUNS}{options.groups}" to take the order of the rows'
        if corr == "ar1":
            raise FitError(f'corr="ar1" needs the order within a cluster: give {in_rows}')
        if sizes.min() < sizes.max():
            raise FitError(
                f'the clusters of "{options.groups}" have {sizes.min()} to {sizes.max()} rows, and corr="{corr}" needs '
                f"to know which visit each row is: give {in_rows}"
            )
    if options.time is not None and (clusters.gaps == 0.0).any():
        at = int(np.argmax(clusters.gaps == 0.0))
        level = group.levels[codes[clusters.order[at]]]
        visit = clusters.labels[clusters.visits[at]]
        raise DataError(f'{options.groups} "{level}" has more than one row at {options.time} {visit}')
