"""Design: a spec bound to data, as arrays.  With ``grouping`` the only place where term and level names are minted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Formula
from bayesmlm.errors import DataError
from bayesmlm.expressions import columns_of
from bayesmlm.families import Family
from bayesmlm.frames import row_count, select
from bayesmlm.grouping import Group, check_groups, group_of
from bayesmlm.model_matrix import materialise, model_matrix
from bayesmlm.new_data import as_trained, new_columns, plain_level, refuse_incomplete
from bayesmlm.observations import check_counts, complete, extra, without_unused_levels
from bayesmlm.prior_rules import ResolvedPriors, resolve_priors
from bayesmlm.response import Response, another_response, listed, numbers, read_response
from bayesmlm.scaling import Scaling, independent, scaling_of, slope_sds
from bayesmlm.spec import Spec

if TYPE_CHECKING:
    pass

__all__ = ["Design", "Group", "Response", "Scaling", "build_design", "matrix_factors"]

Array = np.ndarray[Any, Any]


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
        frame = new_columns(data, self.formula.fixed_columns) if self.formula.fixed_columns else None
        if frame is None:
            return np.ones((row_count(data), len(self.terms)))
        refuse_incomplete(frame)
        frame = as_trained(frame, self.fixed_levels)
        return materialise(self.matrix_spec, frame)[:, self.kept_columns]

    def offset_of(self, data: Any) -> Array:
        """Offset for new data, shape (m,); an offset that was given as an array counts as 0 there."""
        total = np.zeros(row_count(data))
        for text in (*self.formula.offsets, *([self.offset_column] if self.offset_column else [])):
            frame = new_columns(data, [text] if text == self.offset_column else columns_of(text))
            refuse_incomplete(frame)
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

        frame = new_columns(data, group.factors)
        index = np.zeros(len(frame), dtype=np.int64)
        known = np.ones(len(frame), dtype=bool)
        for factor, levels in zip(group.factors, group.factor_levels, strict=True):
            place = {plain_level(level): i for i, level in enumerate(levels.tolist())}
            codes, uniques = pd.factorize(frame[factor])
            codes = np.array([place.get(plain_level(value), -1) for value in uniques] + [-1], dtype=np.int64)[codes]
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
        frame = as_trained(new_columns(data, columns), self.fixed_levels)
        refuse_incomplete(frame)
        return materialise(group.matrix_spec, frame)


def _independent_columns(
    X: Array, terms: tuple[str, ...]
) -> tuple[Array, tuple[str, ...], Array, tuple[str, ...], Scaling]:
    """Leave out the columns that others determine: X and its terms, which were kept, those dropped, the scaling."""
    scaling = scaling_of(X, terms)
    kept = independent(X, scaling)
    dropped = tuple(term for term, k in zip(terms, kept, strict=True) if not k)
    if dropped:
        X, terms = X[:, kept], tuple(term for term, k in zip(terms, kept, strict=True) if k)
        scaling = scaling_of(X, terms)
    return X, terms, np.flatnonzero(kept), dropped, scaling


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
        name: extra(name, given if given is not None else getattr(spec, name), data, n_rows)
        for name, given in (("weights", weights), ("freq", freq), ("offset", offset))
    }
    keep, notes = complete(frame, extras, formula, na_action)
    frame = without_unused_levels(frame if keep.all() else frame[keep], formula)
    picked = {name: None if values is None else values[keep] for name, values in extras.items()}
    check_counts(picked, frame)

    response, family = read_response(formula, family, frame, picked["weights"])
    proportions = response.trials is picked["weights"]
    if response.levels and response.event:
        notes.append(f'The response counts {response.name} = "{response.event}".')

    X, terms, matrix_spec = model_matrix(formula.fixed, frame)
    if X.shape[1] == 0 and not formula.bars:
        raise DataError(f'the formula "{formula.text}" has no fixed effects and no groups: nothing is left to estimate')
    X, terms, kept, dropped, scaling = _independent_columns(X, terms)
    if dropped:
        notes.append(
            f"The fixed effects are rank deficient: {', '.join(dropped)} "
            f"{'is' if len(dropped) == 1 else 'are'} determined by the other columns and left out."
        )

    groups = tuple(group_of(bar, frame) for bar in formula.bars)
    check_groups(groups, response, family)
    offset_total = picked["offset"] if picked["offset"] is not None else np.zeros(len(frame))
    for text in formula.offsets:
        offset_total = offset_total + numbers(frame, text, "the offset")
    spread = (float(response.y.mean()), float(response.y.std()) or 1.0) if family.name == "gaussian" else None
    priors = resolve_priors(
        spec.priors, terms, slope_sds(X, terms), tuple((g.name, g.terms, slope_sds(g.z, g.terms)) for g in groups),
        spread,
    )  # fmt: skip
    fixed_levels = {
        name: tuple(frame[name].array.categories.tolist())
        if frame[name].dtype == "category"
        else tuple(plain_level(level) for level in sorted(frame[name].unique()))
        for name in matrix_factors(formula)
        if name in formula.coded_columns or frame[name].dtype.kind not in "fiu"
    }
    ones = np.broadcast_to(1.0, len(frame))
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
        kept_columns=kept,
        fixed_levels=fixed_levels,
    )


def matrix_factors(formula: Formula) -> tuple[str, ...]:
    """Columns that enter a model matrix: those of the fixed part and of the random-effect columns."""
    return tuple(dict.fromkeys([*formula.fixed_columns, *formula.varying_columns]))
