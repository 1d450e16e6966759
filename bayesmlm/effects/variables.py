"""The variables of a model, and the changes of one of them that an effect compares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from bayesmlm.design import Design, matrix_factors
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.expressions import columns_of
from bayesmlm.frames import level_text, select
from bayesmlm.new_data import plain_level

__all__ = [
    "Change", "Setting", "Shift", "changes_of", "levels_of", "observations", "predictors_of", "require_predictor",
    "settings_of", "spread_of", "steps_of",
]  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Shift:
    """A number is moved by so much."""

    by: float


Setting = tuple[tuple[str, Any], ...]
"""Columns and what they are set to in every row: a level, a number, or a :class:`Shift` of the row's own number."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one variable.

    Attributes
    ----------
    term : str
    hi, lo : str
        The two values in words; of a step ``lo`` is empty.
    high, low : object
        What the variable is set to.
    width : float
        What the comparison is divided by.
    """

    term: str
    hi: str
    lo: str
    high: Any
    low: Any
    width: float = 1.0


def predictors_of(design: Design) -> tuple[str, ...]:
    """Columns of the data that the linear predictor is made of: those of the matrices and of the offset.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> predictors_of(bm.Model("use ~ age*ch + (urban | district)", bm.load_dataset("contraception")).design)
    ('age', 'ch', 'urban')
    """
    offsets = [name for text in design.formula.offsets for name in columns_of(text)]
    own = [design.offset_column] if design.offset_column else []
    return tuple(dict.fromkeys([*matrix_factors(design.formula), *offsets, *own]))


def require_predictor(design: Design, name: str) -> str:
    """Refuse what is no predictor of the model.

    Raises
    ------
    DataError
    """
    known = predictors_of(design)
    if name in known:
        return name
    there = among(name, known) if known else "there is none"
    if name in {factor for bar in design.formula.bars for factor in bar.factors}:
        raise DataError(f'"{name}" is a grouping of the model, not a predictor, of which {there}')
    raise DataError(f'"{name}" is no predictor of the model; {there}')


def levels_of(design: Design, name: str) -> tuple[Any, ...] | None:
    """Levels of a factor, in the order of the data; None of a numeric variable."""
    return design.fixed_levels.get(name)


def _level(design: Design, name: str, given: Any) -> Any:
    """A level of a factor as the model knows it."""
    levels = levels_of(design, name) or ()
    for level in levels:
        if plain_level(given) == plain_level(level):
            return level
    for level in levels:
        if str(given) == level_text(level):
            return level
    raise DataError(f'"{name}" has no level "{given}"; {among(given, map(level_text, levels))}')


def _number(name: str, given: Any) -> float:
    is_number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if not is_number or not math.isfinite(given):
        raise DataError(f'"{name}" is a number; it cannot be {given!r}')
    return float(given)


def _value(design: Design, name: str, given: Any) -> Any:
    return _number(name, given) if levels_of(design, name) is None else _level(design, name, given)


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def settings_of(design: Design, at: Any) -> dict[str, list[Any]]:
    """Variables and the values each is set to.

    Parameters
    ----------
    design : Design
    at : str, sequence of str, or mapping
        Factors, each at all its levels; or variable to value or values (None for all levels).

    Raises
    ------
    DataError
        For what is no predictor, a level that does not exist, or a numeric variable without values.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> design = bm.Model("use ~ age*ch + livch", bm.load_dataset("contraception")).design
    >>> settings_of(design, "livch"), settings_of(design, {"age": [-10, 10], "ch": "Y"})
    ({'livch': ['0', '1', '2', '3+']}, {'age': [-10.0, 10.0], 'ch': ['Y']})
    """
    asked = dict(at) if isinstance(at, Mapping) else dict.fromkeys(_listed(at))
    out: dict[str, list[Any]] = {}
    for name, given in asked.items():
        require_predictor(design, name)
        levels = levels_of(design, name)
        if given is None and levels is None:
            raise DataError(f'"{name}" is numeric and has no levels: say at which values, as {{"{name}": [0, 1]}}')
        out[name] = list(levels or ()) if given is None else [_value(design, name, value) for value in _listed(given)]
        if not out[name]:
            raise DataError(f'"{name}" is given no value')
    return out


def observations(design: Design) -> Array:
    """How many observations each row of the model stands for: frequency, prior weight and trials.

    Equal 0/1 rows count the same whether they are given one by one or as successes and trials.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> data = {"s": [1, 2], "n": [4, 5], "x": [0.0, 1.0]}
    >>> observations(bm.Model("s / n ~ x", data, family="binomial").design).tolist()
    [4.0, 5.0]
    """
    trials = design.response.trials if design.family.is_binary else 1.0
    return np.asarray(design.freq * design.weights * trials, dtype=float)


def spread_of(fit: Any, name: str) -> float:
    """Standard deviation of a numeric variable over the model's observations.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> round(spread_of(bm.Model("use ~ age", bm.load_dataset("contraception")).fit_ml(), "age"), 2)
    9.01
    """
    x = select(fit.model.data, [name])[name].to_numpy(dtype=float)[fit.design.rows]
    counted = observations(fit.design)
    mean = counted @ x / counted.sum()
    return float(np.sqrt(counted @ (x - mean) ** 2 / (counted.sum() - 1.0)))


_FACTOR_CONTRASTS = ("reference", "sequential", "pairwise")


def changes_of(fit: Any, variables: Any) -> list[Change]:
    """The changes that effects compare.

    Parameters
    ----------
    fit : Fit
    variables : None, str, sequence of str, or mapping
        All predictors; some; or variable to what is compared.  Of a factor: ``"reference"`` (every level with the
        first), ``"sequential"``, ``"pairwise"``, or two levels.  Of a number: a step, ``"sd"`` for one of a standard
        deviation, or two values.  None is ``"reference"`` or a step of 1.

    Raises
    ------
    DataError
        For what is no predictor, and a level that does not exist.
    FitError
        For a comparison that cannot be read.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + livch", bm.load_dataset("contraception")).fit_ml()
    >>> [(c.term, c.hi, c.lo) for c in changes_of(fit, {"age": 10, "livch": "sequential"})]
    [('age', '+10', ''), ('livch', '1', '0'), ('livch', '2', '1'), ('livch', '3+', '2')]
    """
    design = fit.design
    if variables is None:
        variables = predictors_of(design)
        if not variables:
            raise FitError("the model has no predictors, and so no effects to compare")
    asked = dict(variables) if isinstance(variables, Mapping) else dict.fromkeys(_listed(variables))
    _require_some(asked)
    out: list[Change] = []
    for name, given in asked.items():
        require_predictor(design, name)
        levels = levels_of(design, name)
        out += _of_number(fit, name, given) if levels is None else _of_factor(design, name, given, levels)
    return out


def _require_some(asked: Any) -> None:
    if not asked:
        raise FitError("variables= names none: leave it out for all predictors")


def _of_factor(design: Design, name: str, given: Any, levels: Sequence[Any]) -> list[Change]:
    if given is None or isinstance(given, str):
        kind = given or "reference"
        if kind not in _FACTOR_CONTRASTS:
            raise FitError(f'the levels of "{name}" cannot be compared by "{kind}"; {among(kind, _FACTOR_CONTRASTS)}')
        ways = {"reference": [(levels[0], level) for level in levels[1:]], "sequential": list(pairwise(levels))}
        pairs = ways.get(kind, list(combinations(levels, 2)))
    else:
        two = [_level(design, name, level) for level in _listed(given)]
        if len(two) != 2:
            raise FitError(f'"{name}" should be compared at two levels, not {len(two)}')
        pairs = [(two[0], two[1])]
    return [Change(name, level_text(high), level_text(low), high, low) for low, high in pairs]


def _of_number(fit: Any, name: str, given: Any) -> list[Change]:
    if isinstance(given, str) and given != "sd":
        raise FitError(f'"{name}" is numeric: it is compared over a step, "sd" or two values, not by "{given}"')
    if given == "sd":
        return [Change(name, "+1 sd", "", Shift(spread_of(fit, name)), Shift(0.0))]
    if isinstance(given, Iterable):
        two = [_number(name, value) for value in given]
        if len(two) != 2:
            raise FitError(f'"{name}" should be compared at two values, not {len(two)}')
        return [Change(name, level_text(two[1]), level_text(two[0]), two[1], two[0])]
    step = 1.0 if given is None else _number(name, given)
    if step == 0.0:
        raise FitError(f'"{name}" is to be compared over a step of 0')
    return [Change(name, f"{'+' if step > 0 else '-'}{level_text(abs(step))}", "", Shift(step), Shift(0.0))]


def steps_of(fit: Any, variables: Any) -> list[Change]:
    """Small steps to either side of numeric variables, for slopes: central differences over 2e-5 of their spread.

    Their error, of the third derivative times the square of the step, is as small as that of rounding.

    Raises
    ------
    FitError
        For a factor.
    """
    design = fit.design
    if variables is None:
        variables = [name for name in predictors_of(design) if levels_of(design, name) is None]
        if not variables:
            raise FitError("the model has no numeric predictors, and so no slopes; comparisons() compares levels")
    asked = _listed(variables)
    _require_some(asked)
    out = []
    for name in asked:
        require_predictor(design, name)
        if levels_of(design, name) is not None:
            raise FitError(f'"{name}" is a factor and has no slope; comparisons() compares its levels')
        step = 1e-5 * (spread_of(fit, name) or 1.0)
        out.append(Change(name, "dY/dX", "", Shift(step), Shift(-step), 2.0 * step))
    return out
