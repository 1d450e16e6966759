"""The response: 0/1, two levels, counts of successes, proportions or counts, read as numbers."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Formula
from bayesmlm.errors import DataError, among
from bayesmlm.expressions import columns_of, evaluate
from bayesmlm.families import Family, family_of
from bayesmlm.frames import row_count, select

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Response", "another_response", "listed", "numbers", "read_response", "trials_in"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """The response as counts.

    Attributes
    ----------
    name : str
        As in the formula.
    y : ndarray, shape (n,)
        Successes (0/1 for one trial a row), or counts for a Poisson response.
    trials : ndarray, shape (n,)
        Trials of each row; 1 for 0/1 and counts.
    event : str
        The level counted as success, ``""`` where the response is a number already.
    levels : tuple of str
        The two levels, the event second; empty where the response is a number already.
    """

    name: str
    y: Array
    trials: Array
    event: str
    levels: tuple[str, ...]

    @property
    def variable(self) -> str:
        """Name of the response as a variable of a posterior, where "/" cannot stand."""
        return self.name.replace("/", "of")

    @property
    def is_binary(self) -> bool:
        """Whether every row is one trial."""
        return bool(np.all(self.trials == 1.0))


def numbers(frame: pd.DataFrame, text: str, what: str) -> Array:
    """Evaluate an expression that must give numbers; ``what`` names it in the error."""
    columns = {str(c): frame[c].to_numpy() for c in frame}
    values = columns[text] if text in columns else np.asarray(evaluate(text, columns))
    if values.dtype.kind not in "fiub":
        raise DataError(f'{what} "{text}" holds {listed(values)}, not numbers')
    values = np.broadcast_to(values.astype(float), (len(frame),))
    strange = ~np.isfinite(values)
    if strange.any():
        row = int(np.argmax(strange))
        raise DataError(f'{what} "{text}" is {values[row]:g} in row {int(frame.index[row])} (counting from 0)')
    return values


def listed(values: Any) -> str:
    """The first few distinct values, quoted, for a message."""
    distinct = list(dict.fromkeys(str(v) for v in values))
    return ", ".join(f'"{v}"' for v in distinct[:5]) + (f" and {len(distinct) - 5} more" if len(distinct) > 5 else "")


def _trials_of(formula: Formula, frame: pd.DataFrame) -> tuple[Array, Array] | None:
    """Successes and trials of ``cbind(s, f)`` or ``s / n``; None for any other response."""
    tree = ast.parse(formula.response, mode="eval").body if formula.response not in frame.columns else None
    match tree:
        case ast.Call(func=ast.Name(id="cbind"), args=[successes, failures]):
            s = numbers(frame, ast.unparse(successes), "the successes")
            return s, s + numbers(frame, ast.unparse(failures), "the failures")
        case ast.BinOp(left=successes, op=ast.Div(), right=trials):
            return (
                numbers(frame, ast.unparse(successes), "the successes"),
                numbers(frame, ast.unparse(trials), "the trials"),
            )
    return None


def read_response(
    formula: Formula, family: Family, frame: pd.DataFrame, weights: Array | None
) -> tuple[Response, Family]:
    """Read the response of a formula as counts.

    Parameters
    ----------
    formula : Formula
    family : Family
    frame : pandas.DataFrame
        Complete rows.
    weights : ndarray, optional
        Prior weights; the trials of a binomial response given as proportions.

    Returns
    -------
    Response
    Family
        The binomial family where the response has trials of its own.

    Raises
    ------
    DataError
        For a response that is not what the family needs, naming the values or the row.
    """
    name, ones = formula.response, np.broadcast_to(1.0, len(frame))
    counts = _trials_of(formula, frame) if family.is_binary else None
    if counts is not None:
        y, trials = counts
        for label, bad in (
            ("negative", y < 0),
            ("more than the trials", y > trials),
            ("not whole", y != np.round(y)),
            ("of trials that are not whole", trials != np.round(trials)),
        ):
            if bad.any():
                row = int(frame.index[np.argmax(bad)])
                raise DataError(f'the response "{name}" has successes that are {label} in row {row} (counting from 0)')
        return Response(name, y, trials, "", ()), family_of("binomial", family.link.name)
    if name not in frame.columns:
        values: Any = np.asarray(evaluate(name, {str(c): frame[c].to_numpy() for c in frame}))
        if values.shape != (len(frame),):
            raise DataError(f'the response "{name}" is one value, not a column of the data')
        if values.dtype.kind not in "fiub":
            raise DataError(f'the response "{name}" gives {listed(values)}, neither numbers nor true and false')
    else:
        values = frame[name]
    if family.name == "gaussian":
        y = np.asarray(values)
        if y.dtype.kind not in "fiu":
            raise DataError(f'the response "{name}" should be numbers for the gaussian family; it holds {listed(y)}')
        strange = ~np.isfinite(y)
        if strange.any():
            row = int(np.argmax(strange))
            raise DataError(f'the response "{name}" is {y[row]:g} in row {int(frame.index[row])} (counting from 0)')
        return Response(name, y.astype(float), ones, "", ()), family
    if family.name == "poisson":
        y = np.asarray(values)
        if y.dtype.kind not in "fiu" or (y < 0).any() or (y != np.round(y)).any():
            raise DataError(
                f'the response "{name}" should be counts 0, 1, 2, … for the poisson family; it holds {listed(y)}'
            )
        return Response(name, y.astype(float), ones, "", ()), family
    if values.dtype == "category" or values.dtype.kind not in "fiub":
        factor = values.astype("category").array
        if len(factor.categories) != 2:
            factor = factor.remove_unused_categories()
        levels = factor.categories
        if len(levels) > 2:
            raise DataError(
                f'the response "{name}" is not binary: it holds {len(levels)} values ({listed(levels)}); '
                f"choose one, for example with a derived column, or give counts as cbind(s, f)"
            )
        codes = factor.codes.astype(float)
        names = tuple(str(level) for level in levels)
        return Response(name, codes, ones, names[-1] if len(names) == 2 else "", names), family
    y = np.asarray(values).astype(float)
    if ((y == 0.0) | (y == 1.0)).all():
        return Response(name, y, ones, "", ()), family
    if weights is not None and family.name == "binomial" and ((y >= 0) & (y <= 1)).all():
        # R's third form: proportions, with the trials as prior weights.
        counts_of = np.round(y * weights)
        broken = (np.abs(y * weights - counts_of) > 1e-6) | (weights != np.round(weights))
        if broken.any():
            row = int(np.argmax(broken))
            raise DataError(
                f'the response "{name}" is a share of the trials in weights, but {y[row]:g} of {weights[row]:g} is no '
                f"whole number of successes in row {int(frame.index[row])} (counting from 0)"
            )
        return Response(name, counts_of, weights, "", ()), family
    raise DataError(
        f'the response "{name}" is not binary: it holds {listed(np.unique(y))}; '
        f"use 0 and 1, two levels, cbind(successes, failures) or successes / trials"
    )


def trials_in(formula: Formula, data: Any, weights: str | None) -> Array:
    """Trials of every row of new data, shape (m,), of a response that has trials of its own.

    Parameters
    ----------
    formula : Formula
    data : data frame
    weights : str, optional
        The column that held the trials of a response given as proportions.

    Raises
    ------
    DataError
        For new data that do not tell the trials.

    Examples
    --------
    >>> from bayesmlm.bars import parse_formula
    >>> trials_in(parse_formula("cbind(s, f) ~ 1"), {"s": [1, 2], "f": [3, 3]}, None).tolist()
    [4.0, 5.0]
    """
    plain = formula.response in formula.response_columns
    match None if plain else ast.parse(formula.response, mode="eval").body:
        case ast.Call(func=ast.Name(id="cbind"), args=[successes, failures]):
            parts = [ast.unparse(successes), ast.unparse(failures)]
        case ast.BinOp(op=ast.Div(), right=divisor):
            parts = [ast.unparse(divisor)]
        case _ if weights is not None:
            parts = [weights]
        case _:
            raise DataError(
                "new data: the trials were given as an array of weights, not as a column, so those of new rows are "
                "not known; give weights= the name of a column"
            )
    total = np.zeros(row_count(data))
    for text in parts:
        try:
            frame = select(data, [text] if text == weights else columns_of(text))
        except DataError as error:
            raise DataError(f"new data: {error}") from None
        total = total + numbers(frame, text, "new data: the trials")
    bad = (total < 0.0) | (total != np.round(total))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"new data: {total[row]:g} trials in row {row} (counting from 0); they should be whole numbers")
    return total


def another_response(response: Response, family: Family, values: Any, counts: Array, rows: Array) -> Response:
    """The same response with other values.

    Parameters
    ----------
    response : Response
    family : Family
    values : array-like, shape (n,)
        Successes of the same trials (0/1 for one trial), counts or numbers; for a response of two levels also the
        levels.
    counts : ndarray, shape (n,)
        How many answers each row is the mean of (prior weights times frequencies): the values of a discrete response
        are whole, or whole after multiplication by these.
    rows : ndarray of int, shape (n,)
        Positions in the user's data, for messages.

    Raises
    ------
    DataError
        For values the family cannot have, naming the first and its row.

    Examples
    --------
    >>> old = Response("use", np.zeros(3), np.ones(3), "Y", ("N", "Y"))
    >>> another_response(old, family_of("bernoulli"), ["Y", "N", "Y"], np.ones(3), np.arange(3)).y.tolist()
    [1.0, 0.0, 1.0]
    """
    given = np.asarray(values)
    y = _coded(response, given, rows)
    if y is None:
        raise DataError(f"y should be numbers, not {listed(given)}")

    def refuse(bad: Array, what: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            raise DataError(f"y is {y[at]:g} in row {int(rows[at])} (counting from 0); {what}")

    refuse(~np.isfinite(y), "a response should be complete and finite")
    if family.name == "gaussian":
        return replace(response, y=y)
    times = y * counts
    broken = (y != np.round(y)) & (np.abs(times - np.round(times)) > 1e-6)
    if family.name == "poisson":
        refuse((y < 0.0) | broken, "a poisson response is a count 0, 1, 2, …")
        return replace(response, y=y)
    what = "a binary response is 0 or 1" if response.is_binary else "successes are whole numbers from 0 to the trials"
    refuse((y < 0.0) | (y > response.trials) | broken, what)
    return replace(response, y=y)


def _coded(response: Response, given: Array, rows: Array) -> Array | None:
    """Values as numbers, levels of a two-level response as 0 and 1; None for anything else."""
    numeric = given.dtype.kind in "fiub"
    if numeric and (not response.levels or not (np.isfinite(given) & (given != 0) & (given != 1)).any()):
        return given.astype(float)
    if not response.levels:
        return None
    place = {level: float(code) for code, level in enumerate(response.levels)}
    out = np.empty(len(given))
    for at, value in enumerate(given.tolist()):
        text = str(value)
        if text not in place:
            raise DataError(
                f'y is "{text}" in row {int(rows[at])} (counting from 0), no level of {response.name}; '
                f"{among(text, place)}"
            )
        out[at] = place[text]
    return out
