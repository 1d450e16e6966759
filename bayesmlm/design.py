"""Design: a spec bound to data, as arrays.  The only place where term and level names are minted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Bar, Formula
from bayesmlm.errors import BayesmlmError, DataError, among
from bayesmlm.expressions import FUNCTIONS, canonical, columns_of
from bayesmlm.families import Family
from bayesmlm.frames import complete_rows, level_text, row_count, select
from bayesmlm.priors import ResolvedPriors, resolve_priors
from bayesmlm.response import Response, listed, numbers, read_response
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


@dataclass(frozen=True, slots=True)
class Group:
    """One random-effect term: codes into the groups, and the columns that vary by group.

    Attributes
    ----------
    name : str
        Name of the grouping, ``urban:district``.
    terms : tuple of str
        Names of the columns, ``("Intercept", "age")``.
    levels : tuple of str
        Names of the groups that were observed, in order.
    codes : ndarray of int, shape (n,)
    z : ndarray, shape (n, k)
        On the user's scale.
    scales : ndarray, shape (k,)
        Internal column = column / scale (never centred: that would change the covariance structure).
    """

    name: str
    terms: tuple[str, ...]
    levels: tuple[str, ...]
    codes: Array
    z: Array
    scales: Array
    factors: tuple[str, ...]
    factor_levels: tuple[tuple[Any, ...], ...] = field(repr=False)
    cells: Array = field(repr=False)
    matrix_spec: Any = field(repr=False, default=None)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the correlations, ``"Intercept,age"``."""
        return tuple(f"{a},{b}" for i, a in enumerate(self.terms) for b in self.terms[i + 1 :])

    @property
    def n_levels(self) -> int:
        """How many groups there are."""
        return len(self.levels)


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

    def fixed_matrix(self, data: Any) -> Array:
        """Model matrix of the fixed effects for new data, shape (m, p).

        Raises
        ------
        DataError
            For a column that is missing, a level the model has not seen, or a missing value.
        """
        frame = select(data, self.formula.fixed_columns) if self.formula.fixed_columns else None
        if frame is None:
            return np.ones((row_count(data), len(self.terms)))
        _refuse_incomplete(frame)
        frame = _as_trained(frame, self.fixed_levels)
        return _materialise(self.matrix_spec, frame)[:, self.kept_columns]

    def offset_of(self, data: Any) -> Array:
        """Offset for new data, shape (m,); an offset that was given as an array counts as 0 there."""
        total = np.zeros(row_count(data))
        for text in (*self.formula.offsets, *([self.offset_column] if self.offset_column else [])):
            frame = select(data, [text] if text == self.offset_column else columns_of(text))
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
        frame = select(data, group.factors)
        index = np.zeros(len(frame), dtype=np.int64)
        known = np.ones(len(frame), dtype=bool)
        for factor, levels in zip(group.factors, group.factor_levels, strict=True):
            place = {level: i for i, level in enumerate(levels)}
            codes = np.array([place.get(_plain_level(value), -1) for value in frame[factor]], dtype=np.int64)
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
        frame = _as_trained(select(data, columns), self.fixed_levels)
        _refuse_incomplete(frame)
        return _materialise(group.matrix_spec, frame)


def _plain_level(value: Any) -> Any:
    """A level as a dictionary key: numpy scalars and Python numbers of one value are one level."""
    return value.item() if isinstance(value, np.generic) else value


def _refuse_incomplete(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        missing = frame[name].isna().to_numpy()
        if missing.any():
            raise DataError(f'new data: column "{name}" is missing in row {int(np.argmax(missing))} (counting from 0)')
    complete_rows(frame)  # refuses infinite values


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


# fixed part -----------------------------------------------------------------------------------------------


def _materialiser() -> Any:
    """formulaic's pandas materialiser with our names: ``urban[Y]`` and ``I(age^2)``, minted as columns are made."""
    from formulaic.materializers import PandasMaterializer
    from interface_meta import override

    if "bayesmlm" in PandasMaterializer.REGISTERED_NAMES:
        return PandasMaterializer.REGISTERED_NAMES["bayesmlm"]

    class Materialiser(PandasMaterializer):
        REGISTER_NAME = "bayesmlm"
        REGISTER_INPUTS = ()

        @override
        def _flatten_encoded_evaled_factor(self, name: str, values: Any) -> dict[str, Any]:
            label = canonical(name) if "(" in name else name
            if not isinstance(values, dict):
                return {label: values}
            columns = {k: v for k, v in values.items() if not (isinstance(k, str) and k.startswith("__"))}
            # Columns of a basis are numbered from 1, as in R; formulaic numbers raw polynomials from 0.
            shift = 1 if label.startswith("poly(") and 0 in columns else 0
            return {f"{label}[{level + shift if shift else level}]": column for level, column in columns.items()}

    return Materialiser


def _context() -> dict[str, Any]:
    from formulaic.transforms import TRANSFORMS

    return {**FUNCTIONS, "factor": TRANSFORMS["C"]}


def _model_matrix(text: str, frame: pd.DataFrame) -> tuple[Array, tuple[str, ...], Any]:
    """Model matrix, its column names and the fitted formulaic spec of one formula text."""
    from formulaic.errors import FormulaicError
    from formulaic.model_spec import ModelSpec

    try:
        with np.errstate(all="ignore"):
            spec = ModelSpec.from_spec(text, materializer=_materialiser().REGISTER_NAME, na_action="ignore")
            matrix = spec.get_model_matrix(frame, context=_context())
    except (FormulaicError, ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, BayesmlmError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f'the formula part "{text.replace("**", "^")}" cannot be evaluated on the data: {reason}'
        ) from None
    X, names = np.asarray(matrix, dtype=float), tuple(matrix.columns)
    for j, name in enumerate(names):
        strange = ~np.isfinite(X[:, j])
        if strange.any():
            row = int(np.argmax(strange))
            raise DataError(
                f'"{name}" is {X[row, j]:g} in row {int(frame.index[row])} (counting from 0): '
                f"the function is not defined for the value there; transform the column otherwise"
            )
    return X, names, matrix.model_spec


def _materialise(matrix_spec: Any, frame: pd.DataFrame) -> Array:
    return np.asarray(matrix_spec.get_model_matrix(frame, context=_context()), dtype=float)


def _independent(X: Array, tolerance: float = 1e-6) -> Array:
    """Mark the columns that no earlier columns determine, shape (p,): Gram-Schmidt on the Gram matrix.

    The columns are expected to be scaled; a column whose residual norm is below ``tolerance`` of its own is
    determined (R's ``lm`` and lme4 drop at 1e-7 by QR; the Gram matrix resolves 1e-6 of centred columns).
    """
    gram = X.T @ X
    p = len(gram)
    kept: list[int] = []
    L = np.zeros((0, 0))
    for j in range(p):
        cross = np.linalg.solve(L, gram[kept, j]) if kept else np.zeros(0)
        residual = gram[j, j] - cross @ cross
        if residual > tolerance**2 * gram[j, j] and gram[j, j] > 0.0:
            grown = np.zeros((len(kept) + 1, len(kept) + 1))
            grown[:-1, :-1], grown[-1, :-1], grown[-1, -1] = L, cross, np.sqrt(residual)
            L = grown
            kept.append(j)
    return np.isin(np.arange(p), kept)


def _scaling(X: Array, terms: tuple[str, ...]) -> Scaling:
    intercept = terms.index("Intercept") if "Intercept" in terms else -1
    means = X.mean(axis=0) if intercept >= 0 else np.zeros(X.shape[1])
    spread = np.sqrt(np.maximum(np.mean(X * X, axis=0) - means * means, 0.0))
    # Two passes where cancellation would spoil the one-pass variance.
    close = spread < 1e-3 * np.abs(means)
    spread[close] = (X[:, close] - means[close]).std(axis=0)
    # A constant column is collinear with the intercept: scale 1 lets it be found and named.
    constant = spread <= 1e-12 * np.maximum(np.abs(means), 1.0)
    spread[constant] = 1.0
    if intercept >= 0:
        means[intercept], spread[intercept] = 0.0, 1.0
    return Scaling(means, spread, intercept)


# groups ---------------------------------------------------------------------------------------------------


def _group(bar: Bar, frame: pd.DataFrame) -> Group:
    import pandas as pd

    index = np.zeros(len(frame), dtype=np.int64)
    factor_levels: list[tuple[Any, ...]] = []
    for factor in bar.factors:
        values = frame[factor]
        if values.dtype == "category":
            codes, levels = values.cat.codes.to_numpy(), list(values.cat.categories)
        else:
            codes, uniques = pd.factorize(values.to_numpy(), sort=True)
            levels = list(uniques)
        factor_levels.append(tuple(_plain_level(level) for level in levels))
        index = index * len(levels) + codes
    cells, codes = np.unique(index, return_inverse=True)
    parts: list[list[str]] = []
    remaining = cells
    for known in reversed(factor_levels):
        parts.insert(0, [level_text(known[i]) for i in remaining % len(known)])
        remaining = remaining // len(known)
    levels_text = tuple(":".join(names) for names in zip(*parts, strict=True))
    if bar.columns.strip() == "1":
        terms: tuple[str, ...] = ("Intercept",)
        z, matrix_spec = np.ones((len(frame), 1)), None
    else:
        z, terms, matrix_spec = _model_matrix(bar.columns, frame)
        kept = _independent(z / np.maximum(np.sqrt(np.mean(z * z, axis=0)), 1e-300))
        if not kept.all():
            lost = ", ".join(t for t, keep in zip(terms, kept, strict=True) if not keep)
            raise DataError(f"({bar.columns} | {bar.name}): {lost} is determined by the other columns; leave it out")
    scales = np.sqrt(np.mean(z * z, axis=0))
    return Group(
        bar.name, terms, levels_text, codes.astype(np.int32), z, scales,
        bar.factors, tuple(factor_levels), cells, matrix_spec,
    )  # fmt: skip


def _check_groups(groups: tuple[Group, ...], response: Response, family: Family) -> None:
    n = len(response.y)
    for group in groups:
        if group.n_levels < 2:
            raise DataError(
                f'the grouping "{group.name}" has one level only ("{group.levels[0]}"); '
                f"a variance between groups needs at least two, so leave (… | {group.name}) out"
            )
        if group.n_levels == n and family.name != "poisson" and response.is_binary:
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


def build_design(spec: Spec, data: Any, weights: Any = None, freq: Any = None, offset: Any = None) -> Design:
    """Bind a spec to data.

    Parameters
    ----------
    spec : Spec
    data : data frame
    weights, freq, offset : str or array, optional
        Columns or arrays; those of the spec where None.

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
    keep = complete_rows(frame, {name: values for name, values in extras.items() if values is not None})
    notes: list[str] = []
    if not keep.all():
        if not keep.any():
            raise DataError(f"no row is complete: each of the {n_rows} rows misses one of {', '.join(formula.columns)}")
        holes = [str(name) for name in frame.columns if frame[name].isna().any()]
        holes += [name for name, values in extras.items() if values is not None and np.isnan(values).any()]
        notes.append(
            f"{int((~keep).sum())} of {n_rows} rows were left out because a value is missing in {', '.join(holes)}."
        )
        frame = frame[keep]
    for name in frame.columns:
        if frame[name].dtype == "category":
            frame[name] = (
                frame[name].cat.remove_unused_categories() if name not in formula.response_columns else frame[name]
            )
    ones = np.ones(len(frame))
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

    X, terms, matrix_spec = _model_matrix(formula.fixed, frame)
    if X.shape[1] == 0 and not formula.bars:
        raise DataError(f'the formula "{formula.text}" has no fixed effects and no groups: nothing is left to estimate')
    scaling = _scaling(X, terms)
    kept = _independent(scaling.apply(X))
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
    intercept_mask = np.array([term != "Intercept" for term in terms], dtype=float)
    sds = X.std(axis=0) * intercept_mask if X.size else np.zeros(0)
    priors = resolve_priors(
        spec.priors, terms, sds,
        tuple((g.name, g.terms, np.where(np.array(g.terms) == "Intercept", 0.0, g.z.std(axis=0))) for g in groups),
    )  # fmt: skip
    fixed_levels = {
        name: tuple(frame[name].cat.categories)
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
