"""One part of a formula as columns: formulaic evaluates it, and the columns get our names.

Names of columns are minted here, not in ``design.py``, because formulaic asks for them while it makes the columns.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import BayesmlmError, DataError
from bayesmlm.expressions import FUNCTIONS, canonical

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["materialise", "model_matrix"]

Array = np.ndarray[Any, Any]


@cache
def _materialiser() -> Any:
    """formulaic's pandas materialiser with our names, ``urban[Y]`` and ``I(age^2)``, and an array as its result."""
    import pandas as pd
    from formulaic.materializers import PandasMaterializer
    from formulaic.materializers.types import FactorValues
    from interface_meta import override

    class Materialiser(PandasMaterializer):
        REGISTER_NAME = "bayesmlm"
        REGISTER_INPUTS = ()
        REGISTER_OUTPUTS = ("numpy",)

        @override
        def _flatten_encoded_evaled_factor(self, name: str, values: Any) -> dict[str, Any]:
            label = canonical(name) if "(" in name else name
            if not isinstance(values, dict):
                return {label: values}
            columns = {k: v for k, v in values.items() if not (isinstance(k, str) and k.startswith("__"))}
            # Columns of a basis are numbered from 1, as in R; formulaic numbers raw polynomials from 0.
            shift = 1 if label.startswith("poly(") and 0 in columns else 0
            return {f"{label}[{level + shift if shift else level}]": column for level, column in columns.items()}

        @override
        def _encode_categorical(
            self, values: Any, metadata: Any, encoder_state: Any, spec: Any, drop_rows: Any, reduced_rank: bool = False
        ) -> Any:
            # The columns formulaic makes, an indicator of each level, without its data frames on the way.
            factor = pd.Categorical(values.__wrapped__, categories=encoder_state.get("categories"))
            encoder_state["categories"] = levels = factor.categories.tolist()
            columns = {level: factor.codes == code for code, level in enumerate(levels)}
            return FactorValues(columns, kind="categorical", spans_intercept=True, drop_field=levels[0], encoded=True)

        @override
        def _get_columns_for_term(self, factors: Any, spec: Any, scale: float = 1) -> dict[str, Any]:
            if len(factors) == 1 and scale == 1:
                return factors[0]  # formulaic would copy every column twice
            return super()._get_columns_for_term(factors, spec, scale)

        @override
        def _combine_columns(self, cols: Any, spec: Any, drop_rows: Any) -> Array:
            columns = dict(cols)
            # Column by column in memory: whatever is read off one column is then fast, and its sums are pairwise.
            X = np.empty((self.nrows, len(columns)), order="F")
            for j, values in enumerate(columns.values()):
                X[:, j] = values
            return X

    return Materialiser


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Any:
    """formulaic's terms of a formula text; they know no data, so that one parse serves every model."""
    from formulaic import Formula

    return Formula.from_spec(text)


def _context() -> dict[str, Any]:
    from formulaic.transforms import TRANSFORMS

    return {**FUNCTIONS, "factor": TRANSFORMS["C"]}


def model_matrix(text: str, frame: pd.DataFrame) -> tuple[Array, tuple[str, ...], Any]:
    """Evaluate one formula text on complete data.

    Parameters
    ----------
    text : str
        The fixed part of a formula, or the columns of a random-effect term.
    frame : pandas.DataFrame

    Returns
    -------
    X : ndarray, shape (n, p)
    names : tuple of str
        Names of its columns.
    matrix_spec : formulaic.ModelSpec
        What was learnt from the data, for :func:`materialise`.

    Raises
    ------
    DataError
        For what cannot be evaluated, or a value that is not finite, naming column and row.

    Examples
    --------
    >>> import pandas as pd
    >>> X, names, _ = model_matrix("x*g", pd.DataFrame({"x": [1.0, 2.0, 3.0], "g": ["a", "b", "b"]}))
    >>> names, X[1].tolist()
    (('Intercept', 'x', 'g[b]', 'x:g[b]'), [1.0, 2.0, 1.0, 2.0])
    """
    from formulaic.errors import FormulaicError
    from formulaic.model_spec import ModelSpec

    try:
        with np.errstate(all="ignore"):
            spec = ModelSpec(_parsed(text), materializer=_materialiser().REGISTER_NAME, na_action="ignore")
            matrix = spec.get_model_matrix(frame, context=_context())
    except (FormulaicError, ValueError, TypeError, KeyError, IndexError) as error:
        if isinstance(error, BayesmlmError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f'the formula part "{text.replace("**", "^")}" cannot be evaluated on the data: {reason}'
        ) from None
    X, names = matrix.__wrapped__, tuple(dict.fromkeys(matrix.model_spec.column_names))
    if found := _not_finite(X, names):
        name, value, row = found
        raise DataError(
            f'"{name}" is {value:g} in row {int(frame.index[row])} (counting from 0): '
            f"the function is not defined for the value there; transform the column otherwise"
        )
    return X, names, matrix.model_spec


def materialise(matrix_spec: Any, frame: pd.DataFrame) -> Array:
    """Evaluate the formula text of a fitted ``matrix_spec`` on new data, shape (m, p).

    Raises
    ------
    DataError
        For a value that is not finite, naming column and row.
    """
    with np.errstate(all="ignore"):
        X: Array = matrix_spec.get_model_matrix(frame, context=_context()).__wrapped__
    if found := _not_finite(X, tuple(dict.fromkeys(matrix_spec.column_names))):
        name, value, row = found
        raise DataError(
            f'new data: "{name}" is {value:g} in row {row} (counting from 0): '
            f"the function is not defined for the value there"
        )
    return X


def _not_finite(X: Array, names: tuple[str, ...]) -> tuple[str, float, int] | None:
    """The first column with a value that is not finite, the value and its row."""
    for name, column in zip(names, X.T, strict=True):
        finite = np.isfinite(column)
        if not finite.all():
            row = int(np.argmin(finite))
            return name, float(column[row]), row
    return None
