"""Hypotheses read from text.

The grammar is small: sums and differences of numbers, terms, and numbers times terms, in parentheses where needed,
on both sides of one ``=``, ``<`` or ``>``.  Terms are those of the fit, so that ``I(age^2)`` and ``livch[3+]`` are
names, not arithmetic.  Nothing is evaluated as code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.hypotheses.names import plain_names, spellings
from bayesmlm.tables import Label

__all__ = ["Hypothesis", "read_hypotheses"]

Array = np.ndarray[Any, Any]

_FUNCTIONS = {"log": math.log, "exp": math.exp, "sqrt": math.sqrt}
"""What a number may be passed through: ``urban[Y] > log(2)`` is an odds ratio above 2."""

_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
_UNKNOWN = re.compile(r"[^\W\d][\w.]*(?:\s*(?:\([^()]*\)|\[[^\[\]]*\]|:(?=\s*[^\W\d])\s*[\w.]+))*")
_SIGNS = {"=": 0, "==": 0, ">": 1, ">=": 1, "<": -1, "<=": -1}


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One linear hypothesis, ``weights · parameters + constant`` compared with 0.

    Attributes
    ----------
    text : str
        As written, white space regular.
    weights : ndarray, shape (q,)
        In the order of the fit's table; left side minus right side.
    constant : float
    sign : {0, 1, -1}
        0 of ``=``, 1 of ``>``, −1 of ``<``.
    boundary : str
        Where a lone standard deviation or correlation is compared with the end of its range: which; else empty.
    """

    text: str
    weights: Array
    constant: float
    sign: int
    boundary: str = ""


def _pattern(name: str) -> re.Pattern[str]:
    """A name with any white space in it, not followed by what would make it another name."""
    letters = r"\s*".join(re.escape(letter) for letter in name if not letter.isspace())
    return re.compile(letters + (r"(?![\w.]|\s*[\[(:])" if re.match(r"[\w.]", name[-1]) else r"(?!\s*:)"))


@dataclass(frozen=True, slots=True)
class _Sum:
    """A linear expression: weights by parameter, and a constant."""

    weights: dict[int, float]
    constant: float

    def plus(self, other: _Sum, sign: float) -> _Sum:
        keys = self.weights | other.weights
        return _Sum(
            {key: self.weights.get(key, 0.0) + sign * other.weights.get(key, 0.0) for key in keys},
            self.constant + sign * other.constant,
        )

    def times(self, factor: float) -> _Sum:
        return _Sum({key: factor * weight for key, weight in self.weights.items()}, factor * self.constant)


class _Reader:
    """Recursive descent over one hypothesis."""

    def __init__(self, text: str, names: Mapping[str, int], plain: Sequence[str]) -> None:
        self.text, self.at = text, 0
        # The longest first, so that age:ch[Y] is not read as age.
        self.names = [(_pattern(name), names[name]) for name in sorted(names, key=len, reverse=True)]
        self.plain = plain

    def fail(self, what: str) -> FitError:
        return FitError(f'cannot read the hypothesis "{self.text}": {what}')

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def next_is(self, *texts: str) -> str:
        self.skip()
        for text in texts:
            if self.text.startswith(text, self.at):
                return text
        return ""

    def take(self, *texts: str) -> str:
        found = self.next_is(*texts)
        self.at += len(found)
        return found

    def hypothesis(self) -> tuple[_Sum, int]:
        left = self.sum()
        sign = self.take(">=", "<=", "==", "=", ">", "<")
        if not sign:
            self.skip()
            if self.at == len(self.text):
                raise self.fail('it compares nothing; write for example "age = 0" or "age > 0"')
            raise self.fail(f'"{self.text[self.at :]}" cannot stand where +, -, *, /, =, < or > should')
        right = self.sum()
        if self.next_is("=", ">", "<"):
            raise self.fail('it has more than one "=", "<" or ">": give a list of hypotheses')
        if self.at < len(self.text):
            raise self.fail(f'"{self.text[self.at :]}" cannot stand where +, -, * or / should')
        return left.plus(right, -1.0), _SIGNS[sign]

    def sum(self) -> _Sum:
        out = self.product()
        while sign := self.take("+", "-"):
            out = out.plus(self.product(), 1.0 if sign == "+" else -1.0)
        return out

    def product(self) -> _Sum:
        out = self.factor()
        while operator := self.take("*", "/"):
            right = self.factor()
            if operator == "/":
                if right.weights:
                    raise self.fail("dividing by a term is not linear")
                if right.constant == 0.0:
                    raise self.fail("it divides by 0")
                out = out.times(1.0 / right.constant)
            elif out.weights and right.weights:
                raise self.fail("a product of two terms is not linear")
            else:
                out = out.times(right.constant) if not right.weights else right.times(out.constant)
        return out

    def factor(self) -> _Sum:
        if sign := self.take("+", "-"):
            return self.factor().times(1.0 if sign == "+" else -1.0)
        self.skip()
        for pattern, place in self.names:
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return _Sum({place: 1.0}, 0.0)
        if self.take("("):
            inner = self.sum()
            self.close()
            return inner
        if match := _NUMBER.match(self.text, self.at):
            self.at = match.end()
            return _Sum({}, float(match[0]))
        return self.function() or self.unknown()

    def close(self) -> None:
        if not self.take(")"):
            raise self.fail('a "(" is never closed')

    def function(self) -> _Sum | None:
        match = re.compile(r"(log|exp|sqrt)\s*\(").match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        inside = self.sum()
        self.close()
        if inside.weights:
            raise self.fail(f"{match[1]} of a term is not linear")
        try:
            return _Sum({}, _FUNCTIONS[match[1]](inside.constant))
        except (ValueError, OverflowError):
            raise self.fail(f"{match[1]}({inside.constant:g}) is not defined") from None

    def unknown(self) -> _Sum:
        match = _UNKNOWN.match(self.text, self.at)
        if match:
            raise self.fail(f'there is no term "{match[0].strip()}"; {among(match[0].strip(), self.plain)}')
        if self.at == len(self.text):
            raise self.fail("it ends where a term or a number should follow")
        raise self.fail(f'a term or a number should stand where "{self.text[self.at]}" is')


def read_hypotheses(hypotheses: Any, rows: Sequence[Label]) -> list[Hypothesis]:
    """Read one hypothesis or several.

    Parameters
    ----------
    hypotheses : str or sequence of str
    rows : sequence of tuple
        ``(component, group, term, level)`` of every parameter, in the order of the fit's table.

    Raises
    ------
    FitError
        For text that cannot be read, a term the fit does not have, or a product of terms.

    Examples
    --------
    >>> rows = [("fixed", "", term, "") for term in ("Intercept", "age", "livch[3+]")]
    >>> one, two = read_hypotheses(["livch[3+] - 2*age > 0.5", "(age + livch[3+]) / 2 = age"], rows)
    >>> one.weights.tolist(), one.constant, one.sign
    ([0.0, -2.0, 1.0], -0.5, 1)
    >>> two.weights.tolist(), two.sign
    ([0.0, -0.5, 0.5], 0)
    """
    texts = [hypotheses] if isinstance(hypotheses, str) else hypotheses
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise FitError(f'a hypothesis is a text such as "age > 0", or a list of these, not {hypotheses!r}')
    names, plain, out = spellings(rows), plain_names(rows), []
    for text in texts:
        text = " ".join(text.split())
        # Back-quotes are for formulas, where my age is no name.
        reader = _Reader(text.replace("`", ""), names, plain)
        try:
            both, sign = reader.hypothesis()
        except RecursionError:
            raise FitError(
                "cannot read the hypothesis: it is nested too deeply, write it with fewer parentheses"
            ) from None
        weights = np.zeros(len(rows))
        for place, weight in both.weights.items():
            weights[place] = weight
        if not weights.any():
            raise FitError(f'the hypothesis "{text}" says nothing about the model: no term is left in it')
        if not (np.isfinite(weights).all() and np.isfinite(both.constant)):
            raise FitError(f'the hypothesis "{text}" has a number that is too large')
        out.append(Hypothesis(text, weights, both.constant, sign, _boundary(weights, both.constant, rows)))
    return out


def _boundary(weights: Array, constant: float, rows: Sequence[Label]) -> str:
    used = np.flatnonzero(weights)
    kind = rows[used[0]][0]
    if len(used) > 1 or kind == "fixed":
        return ""
    value = -constant / weights[used[0]]
    if kind == "cor":
        return "a correlation at ±1" if abs(value) >= 1.0 else ""
    return "a standard deviation at 0" if value <= 0.0 else ""
