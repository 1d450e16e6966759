"""Design: a spec bound to data, as arrays.  The only place where term and level names are minted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Bar, Formula
from bayesmlm.errors import DataError, among
from bayesmlm.expressions import columns_of
from bayesmlm.families import Family
from bayesmlm.frames import complete_rows, level_text, row_count, select
from bayesmlm.model_matrix import materialise, model_matrix
from bayesmlm.priors import ResolvedPriors, resolve_priors
from bayesmlm.response import Response, another_response, listed, numbers, read_response
from bayesmlm.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Design", "Group", "Response", "Scaling", "build_design"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Centring and scaling of columns: coordinates for the engines, never part of the model.

    Attributes
    ----------
    means, scales : ndarray, shape (p,)
        Internal column = (user's column − mean) / scale.  The intercept has mean 0 and scale 1;
        without an intercept nothing is centred.
    intercept : int
        Place of the intercept, −1 without one.
    """

    means: Array
    scales: Array
    intercept: int

    @property
    def matrix(self) -> Array:
        """T with β_user = T β_internal, shape (p, p)."""
        T = np.diag(1.0 / self.scales)
        if self.intercept >= 0:
            T[self.intercept] -= self.means / self.scales
        return T

    def apply(self, X: Array) -> Array:
        """Return the internal columns of X, shape (n, p), C-contiguous."""
        return np.ascontiguousarray((X - self.means) / self.scales)


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


@dataclass(frozen=True, slots=True)
class Design:
    """A spec bound to data: everything the engines need, as arrays, rows in the user's order.

    Attributes
    ----------
    formula : Formula
    family : Family
    response : Response
    X : ndarray, shape (n, p)
        Fixed-effects model matrix on the user's scale, full rank.
    terms : tuple of str
        Names of its columns.
    dropped : tuple of str
        Columns left out because others determine them.
    groups : tuple of Group
    offset, weights, freq : ndarray, shape (n,)
        Weights that were not given are ones without memory of their own, read-only, as are the trials of a 0/1
        response and the column of a random intercept.
    rows : ndarray of int, shape (n,)
        Positions of the rows in the user's data.
    n_rows : int
        Rows in the user's data, incomplete ones included.
    offset_column : str or None
        The column ``offset`` was given as, which new data must have too.
    scaling : Scaling
    priors : ResolvedPriors
        Resolved against the data once, frozen.
    notes : tuple of str
        What a user should be told: rows and columns dropped, the event.
    """

    formula: Formula
    family: Family
    response: Response
    X: Array
    terms: tuple[str, ...]
    dropped: tuple[str, ...]
    groups: tuple[Group, ...]
    offset: Array
    weights: Array
    freq: Array
    rows: Array
    n_rows: int
    offset_column: str | None
    scaling: Scaling
    priors: ResolvedPriors
    notes: tuple[str, ...]
    matrix_spec: Any = field(repr=False)
    kept_columns: Array = field(repr=False)
    fixed_levels: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def nobs(self) -> int:
        """Number of observations, frequencies counted."""
        return round(float(self.freq.sum()))

    @property
    def group_labels(self) -> tuple[str, ...]:
        """A label per random-effect term, unique: the group's name, numbered where ``(x || g)`` repeats it."""
        labels: list[str] = []
        for group in self.groups:
            before = sum(other.name == group.name for other in self.groups[: len(labels)])
            labels.append(group.name if before == 0 else f"{group.name}.{before}")
        return tuple(labels)

    @property
    def coords(self) -> dict[str, Any]:
        """Every dimension of a posterior with its labels."""
        coords: dict[str, Any] = {"term": list(self.terms), "row": self.rows}
        if len(self.terms) > 1 or self.scaling.intercept < 0:
            coords["slope"] = [t for j, t in enumerate(self.terms) if j != self.scaling.intercept]
        for group, label in zip(self.groups, self.group_labels, strict=True):
            coords[group.name] = list(group.levels)
            coords[f"{label}_term"] = list(group.terms)
            if len(group.terms) > 1:
                coords[f"{label}_pair"] = list(group.pairs)
        return coords

    def with_response(self, y: Any) -> Design:
        """The design with other values of the response; priors stay as they were resolved.

        Parameters
        ----------
        y : array-like
            One value per row of the user's data, where those of rows left out are not looked at, or one per row of
            the model: 0/1 or the levels, successes of the same trials, counts, numbers.

        Raises
        ------
        DataError
            For another length, or values the family cannot have.
        """
        shape = np.shape(y)
        if len(shape) != 1 or shape[0] not in (self.n_rows, len(self.rows)):
            kept = "" if self.n_rows == len(self.rows) else f", of which the model uses {len(self.rows)}"
            what = f"has {shape[0]} values" if len(shape) == 1 else f"has shape {shape}"
            raise DataError(f"y {what}; the data have {self.n_rows} rows{kept}: give one value for each")
        values = np.asarray(select({"y": y}, ["y"])["y"])
        values = values if len(values) == len(self.rows) else values[self.rows]
        counts = self.weights * self.freq
        return replace(self, response=another_response(self.response, self.family, values, counts, self.rows))

    def fixed_matrix(self, data: Any) -> Array:
        """Model matrix of the fixed effects for new data, shape (m, p).

        Raises
        ------
        DataError
            For a column that is missing, a level the model has not seen, or a missing value.
        """
        frame = _new_columns(data, self.formula.fixed_columns) if self.formula.fixed_columns else None
        if frame is None:
            return np.ones((row_count(data), len(self.terms)))
        _refuse_incomplete(frame)
        frame = _as_trained(frame, self.fixed_levels)
        return materialise(self.matrix_spec, frame)[:, self.kept_columns]

    def offset_of(self, data: Any) -> Array:
        """Offset for new data, shape (m,); an offset that was given as an array counts as 0 there."""
        total = np.zeros(row_count(data))
        for text in (*self.formula.offsets, *([self.offset_column] if self.offset_column else [])):
            frame = _new_columns(data, [text] if text == self.offset_column else columns_of(text))
            _refuse_incomplete(frame)
            if text == self.offset_column and frame[text].dtype.kind not in "fiu":
                raise DataError(f'new data: the offset "{text}" holds {listed(frame[text])}, not numbers')
            values = frame[text].to_numpy() if text == self.offset_column else numbers(frame, text, "the offset")
            total = total + values.astype(float)
        return total

    def group_rows(self, group: Group, data: Any) -> tuple[Array, Array]:
        """Codes (−1 for a group not seen) and columns of one random-effect term for new data.

        Returns
        -------
        codes : ndarray of int, shape (m,)
        z : ndarray, shape (m, k)
        """
        import pandas as pd

        frame = _new_columns(data, group.factors)
        index = np.zeros(len(frame), dtype=np.int64)
        known = np.ones(len(frame), dtype=bool)
        for factor, levels in zip(group.factors, group.factor_levels, strict=True):
            place = {_plain_level(level): i for i, level in enumerate(levels.tolist())}
            codes, uniques = pd.factorize(frame[factor])
            codes = np.array([place.get(_plain_level(value), -1) for value in uniques] + [-1], dtype=np.int64)[codes]
            known &= codes >= 0
            index = index * len(levels) + codes
        where = np.minimum(np.searchsorted(group.cells, index), len(group.cells) - 1)
        codes = np.where(known & (group.cells[where] == index), where, -1)
        return codes, self.group_columns(group, data)

    def group_columns(self, group: Group, data: Any) -> Array:
        """Columns of one random-effect term for new data, shape (m, k); the grouping itself is not needed."""
        if group.matrix_spec is None:
            return np.ones((row_count(data), 1))
        columns = sorted(str(v) for v in group.matrix_spec.required_variables)
        frame = _as_trained(_new_columns(data, columns), self.fixed_levels)
        _refuse_incomplete(frame)
        return materialise(group.matrix_spec, frame)


def _plain_level(value: Any) -> Any:
    """A level as a dictionary key: numpy scalars and Python numbers of one value are one level."""
    return value.item() if isinstance(value, np.generic) else value


def _new_columns(data: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of new data; what is wrong with them is said to be of new data."""
    try:
        return select(data, columns)
    except DataError as error:
        raise DataError(f"new data: {error}") from None


def _refuse_incomplete(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        missing = frame[name].isna().to_numpy()
        if missing.any():
            raise DataError(f'new data: column "{name}" is missing in row {int(np.argmax(missing))} (counting from 0)')
    try:
        complete_rows(frame)
    except DataError as error:  # an infinite value
        raise DataError(f"new data: {error}") from None


def _as_trained(frame: pd.DataFrame, levels: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Give factors the levels they had, refusing others before formulaic would turn them into zeros."""
    import pandas as pd

    frame = frame.copy()
    for column in frame.columns:
        name = str(column)
        if name not in levels:
            if frame[name].dtype.kind not in "fiu":
                raise DataError(f'new data: column "{name}" holds {listed(frame[name])}; the model knows it as numbers')
            continue
        place = {level: i for i, level in enumerate(levels[name])}
        codes, uniques = pd.factorize(frame[name])
        for value in uniques:
            if _plain_level(value) not in place:
                raise DataError(
                    f'new data: column "{name}" holds "{value}", a level the model has not seen; {among(value, place)}'
                )
        if frame[name].dtype.kind in "fiu" and not isinstance(levels[name][0], bool):
            continue  # factor(x) makes its levels from the numbers
        places = np.array([place[_plain_level(value)] for value in uniques] + [-1])
        frame[name] = pd.Categorical.from_codes(places[codes], categories=list(levels[name]))
    return frame


# columns --------------------------------------------------------------------------------------------------


def _blocks(X: Array, rows: int = 65536) -> Iterator[Array]:
    """Cut X into blocks of rows, so that what is made of one at a time takes little memory."""
    return (X[start : start + rows] for start in range(0, len(X), rows))


def _mean_square(X: Array, centre: Any = 0.0) -> Array:
    """Mean square of every column about its centre, shape (p,)."""
    return sum(((block - centre) ** 2).sum(axis=0) for block in _blocks(X)) / len(X)


def _slope_sds(X: Array, terms: tuple[str, ...]) -> Array:
    """Standard deviation of every column, shape (p,); 0 for an intercept."""
    slopes = np.array([term != "Intercept" for term in terms], dtype=float)
    return np.sqrt(_mean_square(X, X.mean(axis=0))) * slopes


def _independent(X: Array, scaling: Scaling, tolerance: float = 1e-6) -> Array:
    """Mark the columns that no earlier columns determine, shape (p,): Gram-Schmidt on the Gram matrix.

    A column whose residual norm is below ``tolerance`` of its own, both scaled, is determined (R's ``lm`` and lme4
    drop at 1e-7 by QR; the Gram matrix resolves 1e-6 of centred columns).
    """
    p = X.shape[1]
    gram = np.zeros((p, p))
    for block in map(scaling.apply, _blocks(X)):
        gram += block.T @ block
    lengths = gram.diagonal().copy()
    kept = np.zeros(p, dtype=bool)
    for j in range(p):
        kept[j] = gram[j, j] > tolerance**2 * lengths[j]
        if kept[j]:
            gram -= np.outer(gram[j], gram[j] / gram[j, j])  # what is left of the columns beside column j
    return kept


def _scaling(X: Array, terms: tuple[str, ...]) -> Scaling:
    intercept = terms.index("Intercept") if "Intercept" in terms else -1
    means = X.mean(axis=0) if intercept >= 0 else np.zeros(X.shape[1])
    spread = np.sqrt(np.maximum(_mean_square(X) - means * means, 0.0))
    # Two passes where cancellation would spoil the one-pass variance.
    close = spread < 1e-3 * np.abs(means)
    spread[close] = np.sqrt(_mean_square(X[:, close], means[close]))
    # A constant column is collinear with the intercept: scale 1 lets it be found and named.
    constant = spread <= 1e-12 * np.maximum(np.abs(means), 1.0)
    spread[constant] = 1.0
    if intercept >= 0:
        means[intercept], spread[intercept] = 0.0, 1.0
    return Scaling(means, spread, intercept)


# groups ---------------------------------------------------------------------------------------------------


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


def _group(bar: Bar, frame: pd.DataFrame) -> Group:
    factors, levels = zip(*(_factor(frame[factor]) for factor in bar.factors), strict=True)
    codes, cells = _cross(factors, [len(known) for known in levels])
    if bar.columns.strip() == "1":
        terms: tuple[str, ...] = ("Intercept",)
        z, scales, matrix_spec = np.broadcast_to(1.0, (len(frame), 1)), np.ones(1), None
    else:
        z, terms, matrix_spec = model_matrix(bar.columns, frame)
        scales = np.sqrt(_mean_square(z))
        kept = _independent(z, Scaling(np.zeros(len(terms)), np.maximum(scales, 1e-300), -1))
        if not kept.all():
            lost = ", ".join(t for t, keep in zip(terms, kept, strict=True) if not keep)
            raise DataError(f"({bar.columns} | {bar.name}): {lost} is determined by the other columns; leave it out")
    return Group(bar.name, terms, codes.astype(np.int32), z, scales, bar.factors, levels, cells, matrix_spec)


def _check_groups(groups: tuple[Group, ...], response: Response, family: Family) -> None:
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


# binding --------------------------------------------------------------------------------------------------


def _extra(name: str, given: Any, data: Any, n: int) -> Array | None:
    """Weights, frequencies or an offset: a column name or an array of the data's length."""
    if given is None:
        return None
    values = select(data, [given])[given].to_numpy() if isinstance(given, str) else np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} should be numbers, not {listed(values)}")
    if values.shape != (n,):
        raise DataError(f"{name} has {values.size} values for {n} rows of data")
    return values.astype(float)


def build_design(
    spec: Spec, data: Any, weights: Any = None, freq: Any = None, offset: Any = None, na_action: str = "drop"
) -> Design:
    """Bind a spec to data.

    Parameters
    ----------
    spec : Spec
    data : data frame
    weights, freq, offset : str or array, optional
        Columns or arrays; those of the spec where None.
    na_action : {"drop", "error"}
        Leave rows with a missing value out, which a note counts, or refuse them.

    Returns
    -------
    Design

    Raises
    ------
    DataError, FormulaError, PriorError
        For anything in the data that does not fit the spec, naming column, level or row.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> spec = Spec("use ~ age*ch + I(age^2) + urban + (1 | urban:district)")
    >>> design = build_design(spec, load_dataset("contraception"))
    >>> design.terms
    ('Intercept', 'age', 'ch[Y]', 'I(age^2)', 'urban[Y]', 'age:ch[Y]')
    >>> design.groups[0].name, design.groups[0].n_levels
    ('urban:district', 102)
    """
    formula, family = spec.parsed, spec.resolved_family
    given_offset = offset if offset is not None else spec.offset
    frame = select(data, formula.columns)
    n_rows = len(frame)
    extras = {
        name: _extra(name, given if given is not None else getattr(spec, name), data, n_rows)
        for name, given in (("weights", weights), ("freq", freq), ("offset", offset))
    }
    if na_action not in ("drop", "error"):
        raise DataError(f'na_action should be "drop" or "error", not "{na_action}"')
    keep = complete_rows(frame, {name: values for name, values in extras.items() if values is not None})
    notes: list[str] = []
    if not keep.all():
        if not keep.any():
            raise DataError(f"no row is complete: each of the {n_rows} rows misses one of {', '.join(formula.columns)}")
        holes = [str(name) for name in frame.columns if frame[name].isna().any()]
        holes += [name for name, values in extras.items() if values is not None and np.isnan(values).any()]
        lost = np.flatnonzero(~keep)
        if na_action == "error":
            first = ", ".join(map(str, lost[:5])) + (", …" if len(lost) > 5 else "")
            raise DataError(
                f"{len(lost)} of {n_rows} rows miss a value in {', '.join(holes)} (counting from 0: {first}); fill "
                f'them in, or leave the rows out with na_action="drop"'
            )
        notes.append(
            f"{len(lost)} of {n_rows} rows {'was' if len(lost) == 1 else 'were'} left out because a value is missing "
            f"in {', '.join(holes)}."
        )
        frame = frame[keep]
    for name, values in frame.items():
        if values.dtype == "category" and name not in formula.response_columns:
            counts = np.bincount(values.array.codes, minlength=len(values.array.categories))
            if not counts.all():
                frame[name] = values.array.remove_unused_categories()
    ones = np.broadcast_to(1.0, len(frame))
    picked = {name: None if values is None else values[keep] for name, values in extras.items()}
    for name in ("weights", "freq"):
        values = picked[name]
        if values is not None and (values < 0).any():
            raise DataError(f"{name} is negative in row {int(frame.index[np.argmax(values < 0)])} (counting from 0)")
    if picked["freq"] is not None and (picked["freq"] != np.round(picked["freq"])).any():
        raise DataError("freq should be whole numbers: it repeats rows; for other weights use weights=")

    response, family = read_response(formula, family, frame, picked["weights"])
    proportions = response.trials is picked["weights"]
    if response.levels and response.event:
        notes.append(f'The response counts {response.name} = "{response.event}".')

    X, terms, matrix_spec = model_matrix(formula.fixed, frame)
    if X.shape[1] == 0 and not formula.bars:
        raise DataError(f'the formula "{formula.text}" has no fixed effects and no groups: nothing is left to estimate')
    scaling = _scaling(X, terms)
    kept = _independent(X, scaling)
    dropped = tuple(term for term, k in zip(terms, kept, strict=True) if not k)
    if dropped:
        notes.append(
            f"The fixed effects are rank deficient: {', '.join(dropped)} "
            f"{'is' if len(dropped) == 1 else 'are'} determined by the other columns and left out."
        )
        X, terms = X[:, kept], tuple(term for term, k in zip(terms, kept, strict=True) if k)
        scaling = _scaling(X, terms)

    groups = tuple(_group(bar, frame) for bar in formula.bars)
    _check_groups(groups, response, family)
    offset_total = picked["offset"] if picked["offset"] is not None else np.zeros(len(frame))
    for text in formula.offsets:
        offset_total = offset_total + numbers(frame, text, "the offset")
    spread = (float(response.y.mean()), float(response.y.std()) or 1.0) if family.name == "gaussian" else None
    priors = resolve_priors(
        spec.priors, terms, _slope_sds(X, terms), tuple((g.name, g.terms, _slope_sds(g.z, g.terms)) for g in groups),
        spread,
    )  # fmt: skip
    fixed_levels = {
        name: tuple(frame[name].array.categories.tolist())
        if frame[name].dtype == "category"
        else tuple(_plain_level(level) for level in sorted(frame[name].unique()))
        for name in matrix_factors(formula)
        if name in formula.coded_columns or frame[name].dtype.kind not in "fiu"
    }
    return Design(
        formula=formula,
        family=family,
        response=response,
        X=X,
        terms=terms,
        dropped=dropped,
        groups=groups,
        offset=offset_total,
        weights=ones if picked["weights"] is None or proportions else picked["weights"],
        freq=ones if picked["freq"] is None else picked["freq"],
        rows=np.flatnonzero(keep),
        n_rows=n_rows,
        offset_column=given_offset if isinstance(given_offset, str) else None,
        scaling=scaling,
        priors=priors,
        notes=tuple(notes),
        matrix_spec=matrix_spec,
        kept_columns=np.flatnonzero(kept),
        fixed_levels=fixed_levels,
    )


def matrix_factors(formula: Formula) -> tuple[str, ...]:
    """Columns that enter a model matrix: those of the fixed part and of the random-effect columns."""
    return tuple(dict.fromkeys([*formula.fixed_columns, *formula.varying_columns]))
