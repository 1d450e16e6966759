"""Standardised coefficients: numeric predictors as z-scores before any transform, the model in those coordinates."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.design import Design, matrix_factors
from bayesmlm.errors import BayesmlmError, FitError
from bayesmlm.expressions import FUNCTIONS, check_expression, columns_of, evaluate
from bayesmlm.frames import replaced, select
from bayesmlm.model_matrix import model_matrix
from bayesmlm.tables import labelled, labels, wald_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Standardised", "Standardising", "change_of_coordinates", "standardised_columns"]

Array = np.ndarray[Any, Any]

_SAME = 1e-8
"""A column is in the span of others where less than this share of it is left outside."""


@dataclass(frozen=True, slots=True)
class Standardised:
    """Columns of the data as z-scores.

    Attributes
    ----------
    columns : dict of str to ndarray
        A value per row of the user's data, NaN where the data miss it.
    scaled : tuple of str
        The predictors among them.
    kept : tuple of str
        Numeric predictors that stay as they are: positive by definition (in a log or a root), compared with a number,
        or also a grouping, an offset, a weight or part of the response.
    response : tuple of (float, float) or None
        Mean and standard deviation taken from a Gaussian response.
    """

    columns: dict[str, Array]
    scaled: tuple[str, ...]
    kept: tuple[str, ...]
    response: tuple[float, float] | None


def standardised_columns(design: Design, data: Any, taken: tuple[str, ...] = ()) -> Standardised:
    """Turn the numeric predictors of a model into z-scores, and a Gaussian response that is a column.

    Means and standard deviations (n − 1) are of the rows of the model, frequencies counted.  A predictor that enters
    through one affine function only, such as ``I(sed/1000)``, is set so that the function is a z-score.

    Parameters
    ----------
    design : Design
    data : data frame
    taken : tuple of str
        Columns with another meaning, which stay as they are.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", d)
    >>> found = standardised_columns(m.design, d)
    >>> found.scaled, round(float(found.columns["age"].std(ddof=1)), 6)
    (('age',), 1.0)
    """
    formula, rows, freq = design.formula, design.rows, design.freq
    numeric = [name for name in matrix_factors(formula) if name not in design.fixed_levels]
    otherwise = {*taken, *formula.response_columns, *(factor for bar in formula.bars for factor in bar.factors)}
    otherwise |= {name for text in formula.offsets for name in columns_of(text)}
    otherwise |= {design.offset_column} if design.offset_column else set()
    calls = _calls(design)
    kept = tuple(name for name in numeric if name in otherwise or any(_needs_scale(c, name) for c in calls))
    scaled = tuple(name for name in numeric if name not in kept)
    frame = select(data, list(dict.fromkeys([*scaled, *formula.response_columns])))
    columns = {}
    for name in scaled:
        values = frame[name].to_numpy(dtype=float)
        shift, slope = _affine(calls, name)
        m, s = _moments(shift + slope * values[rows], freq)
        columns[name] = ((shift + slope * values - m) / s - shift) / slope
    response = None
    if design.family.name == "gaussian" and formula.response in frame and "Intercept" in design.terms:
        m, s = response = _moments(design.response.y, freq)
        columns[formula.response] = (frame[formula.response].to_numpy(dtype=float) - m) / s
    return Standardised(columns, scaled, kept, response)


def _moments(values: Array, freq: Array) -> tuple[float, float]:
    n = float(freq.sum())
    mean = float(freq @ values) / n
    sd = float(np.sqrt(freq @ np.square(values - mean) / max(n - 1.0, 1.0)))
    return mean, sd or 1.0


def _calls(design: Design) -> list[str]:
    """Every factor of the model matrices, as it was written: ``age``, ``I(age ** 2)``."""
    specs = [design.matrix_spec, *(group.matrix_spec for group in design.groups)]
    terms = [term for spec in specs if spec is not None for term in spec.terms]
    return list(dict.fromkeys(factor.expr.strip("`") for term in terms for factor in term.factors))


def _needs_scale(call: str, name: str) -> bool:
    """Whether a factor would mean something else of z-scores."""
    if call == name or "(" not in call:
        return False
    tree = check_expression(call)
    inside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") in FUNCTIONS)
    ]
    return any(isinstance(leaf, ast.Name) and leaf.id == name for node in inside for leaf in ast.walk(node))


def _affine(calls: list[str], name: str) -> tuple[float, float]:
    """Intercept and slope of the one function a column enters through, (0, 1) where it enters otherwise."""
    own = [call for call in calls if call == name or ("(" in call and name in columns_of(call))]
    if len(own) != 1 or own[0] == name:
        return 0.0, 1.0
    try:
        a, b, c = np.asarray(evaluate(own[0], {name: np.array([0.0, 1.0, 2.0])}), dtype=float)
    except (BayesmlmError, TypeError, ValueError):  # of several columns, or with a state
        return 0.0, 1.0
    straight = np.isfinite([a, b, c]).all() and b != a and abs(a - 2.0 * b + c) <= 1e-12 * max(abs(a), abs(b), abs(c))
    return (float(a), float(b - a)) if straight else (0.0, 1.0)


def change_of_coordinates(design: Design, data: Any, found: Standardised) -> Array | None:
    """The matrix that takes coefficients to those of the standardised data; None where these make another model.

    With X the model matrix and Z that of the standardised data, Xβ = Z(Tβ) where X = ZT.  Centring leaves the columns
    of a power without the lower ones, or of an interaction without its parts, outside of each other's span: then the
    standardised model is another one, and there is no T.

    Parameters
    ----------
    design : Design
    data : data frame
    found : Standardised

    Returns
    -------
    ndarray, shape (p, p), or None
        For a Gaussian response divided by its standard deviation too.
    """
    columns = {name: values for name, values in found.columns.items() if name in design.formula.fixed_columns}
    frame = select(replaced(data, columns), design.formula.fixed_columns)
    for name, levels in design.fixed_levels.items():
        if name in frame and frame[name].dtype == "category":
            frame[name] = frame[name].array.set_categories(list(levels))
    Z = model_matrix(design.formula.fixed, frame.iloc[design.rows])[0][:, design.kept_columns]
    size = np.sqrt(np.square(Z).sum(axis=0))
    size[size == 0.0] = 1.0
    T, _, rank, _ = np.linalg.lstsq(Z / size, design.X, rcond=None)
    left = np.square(design.X - (Z / size) @ T).sum(axis=0)
    if rank < Z.shape[1] or (left > _SAME**2 * np.square(design.X).sum(axis=0)).any():
        return None
    T = T / size[:, None]
    return T if found.response is None else T / found.response[1]


class Standardising:
    """The verb that answers standardised coefficients, of any fit."""

    model: Any
    design: Any
    reading: ClassVar[str]
    name: Any
    fixef: Any
    vcov: Any
    table: Any
    _again: Any

    def standardised(self, level: float = 0.95, df: str | None = None) -> pd.DataFrame:
        """Standardised coefficients: numeric predictors as z-scores before any transform.

        These are the coefficients of :meth:`bayesmlm.model.Model.standardised`, the same model in other coordinates:
        those of this fit are taken there, draws and priors with them.  Where centring makes it another model, as of a
        power without its lower ones, that model is fitted in the same way.  A Gaussian response is a z-score too.

        Parameters
        ----------
        level : float
        df : {"satterthwaite", "clusters"}, optional
            Limits from t, see :meth:`table`.

        Returns
        -------
        pandas.DataFrame
            ``component, group, term, level, estimate, std_error, conf_low, conf_high``; ``attrs["kept"]`` names numeric
            predictors that stay as they are, ``attrs["refitted"]`` says whether another model was fitted.

        Raises
        ------
        FitError
            For a fit with priors where centring makes another model: they would not be those of this one.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
        >>> table = m.fit_ml().standardised().set_index("term")
        >>> table.loc[["age", "I(age^2)"], ["estimate", "conf_low", "conf_high"]].round(2).values.tolist()
        [[-0.42, -0.81, -0.03], [-0.46, -0.59, -0.32]]
        """
        check_level(level)
        design, rows = self.design, [label for label in labels(self.design) if label[0] == "fixed"]
        found = standardised_columns(design, self.model.data)
        T = change_of_coordinates(design, self.model.data, found)
        if T is not None:
            shift = np.zeros(len(rows))
            if found.response is not None:
                shift[design.terms.index("Intercept")] = -found.response[0] / found.response[1]
            estimate, error, low, high = self._combined(T, level, df)
            columns = {"estimate": estimate + shift, "std_error": error, "conf_low": low + shift,
                       "conf_high": high + shift}  # fmt: skip
            out = labelled(rows, columns)
        elif self.reading in ("mode", "posterior"):
            raise FitError(
                f"centred predictors make {self.name} another model (a power or an interaction stands without its "
                f"parts), and its priors would not be these: fit fit.model.standardised() for what it says"
            )
        else:
            again = self._again(self.model.standardised(self._columns_taken)).table(level, df=df)
            out = again[again.component == "fixed"].drop(columns=["statistic", "df", "p_value"], errors="ignore")
        out.attrs.update(self.table(level, df=df).attrs, kept=found.kept, refitted=T is None)
        return out

    @property
    def _columns_taken(self) -> tuple[str, ...]:
        """Columns of the data that mean something else to the fit than a predictor does."""
        return ()

    def _combined(self, T: Array, level: float, df: str | None) -> tuple[Array, Array, Array, Array]:
        """Estimates, standard errors and limits of linear combinations of the fixed effects, a row of ``T`` each."""
        estimate, V = T @ self.fixef().to_numpy(), self.vcov().to_numpy()
        error = np.sqrt(np.einsum("ij,jk,ik->i", T, V, T))
        if df is None:
            return estimate, error, *wald_limits(estimate, error, level)
        from scipy.special import stdtrit

        width = stdtrit(self._degrees(T, df), 0.5 + level / 2.0) * error
        return estimate, error, estimate - width, estimate + width

    def _degrees(self, T: Array, df: str) -> Array:
        """Degrees of freedom of linear combinations of the fixed effects."""
        raise FitError(f'{self.name} has no degrees of freedom "{df}"')
