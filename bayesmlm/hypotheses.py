"""Linear hypotheses in the terms of a model: ``"age:ch[Y] - 2*age > 0"`` read, and tested by Wald or over draws.

The grammar is small: sums and differences of numbers, terms, and numbers times terms, in parentheses where needed,
on both sides of one ``=``, ``<`` or ``>``.  Terms are those of the fit, so that ``I(age^2)`` and ``livch[3+]`` are
names, not arithmetic.  Nothing is evaluated as code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import NormalDist
from typing import Any

import numpy as np

from bayesmlm.errors import FitError, among

__all__ = ["Hypothesis", "JointTest", "joint_wald", "read_hypotheses", "savage_dickey", "spellings", "wald"]

Array = np.ndarray[Any, Any]
Label = tuple[str, str, str, str]

_FUNCTIONS = {"log": math.log, "exp": math.exp, "sqrt": math.sqrt}
"""What a number may be passed through: ``urban[Y] > log(2)`` is an odds ratio above 2."""


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


@dataclass(frozen=True, slots=True)
class JointTest:
    """A Wald test of several equalities at once: ``statistic`` on χ² with ``df`` degrees of freedom."""

    statistic: float
    df: int
    p_value: float


# names ----------------------------------------------------------------------------------------------------------


def spellings(rows: Sequence[Label]) -> dict[str, int]:
    """Every way to write a parameter, and its place; the plainest spelling of each comes first.

    A fixed effect is its term.  A standard deviation is ``sd(group, term)``, or ``sd(group)`` of an intercept or of
    the only column; a correlation ``cor(group, a, b)``; the residual standard deviation of a Gaussian model ``sigma``.

    Examples
    --------
    >>> rows = [("fixed", "", "age:ch[Y]", ""), ("sd", "district", "Intercept", ""), ("sd", "district", "age", "")]
    >>> list(spellings(rows))[:3]
    ['age:ch[Y]', 'sd(district)', 'sd(district, age)']
    >>> spellings(rows)["ch[Y]:age"], spellings(rows)["sd_district__Intercept"]
    (0, 1)
    """
    plain: dict[str, int] = {}
    others: dict[str, int] = {}
    for at, (component, group, term, _) in enumerate(rows):
        names = [f"{component}({group}, {term.replace(',', ', ')})"]
        if component == "fixed":
            pieces = _pieces(term)
            names = [term, *(":".join(order) for order in permutations(pieces) if len(pieces) < 5)]
        elif component == "sd":
            only = sum(other[:2] == (component, group) for other in rows) == 1
            names = [f"sd({group})", *names] if only or term == "Intercept" else names
            names.append(f"sd_{group}__{term}")
        elif component == "cor":
            a, b = _pair(term)
            names = [f"cor({group}, {a}, {b})", f"cor({group}, {b}, {a})", f"cor_{group}__{a}__{b}"]
        elif component == "residual":
            names = ["sigma", "sd(Residual)"]
        # A column that is called sigma, or like another's spelling, keeps its name.
        free = [name for name in names if name not in plain]
        if free:
            plain[free[0]] = at
        for name in free[1:]:
            others.setdefault(name, at)
    return plain | {name: at for name, at in others.items() if name not in plain}


def _pieces(term: str) -> list[str]:
    """``age:ch[Y]`` -> ``age``, ``ch[Y]``: split at colons outside brackets."""
    pieces, depth, start = [], 0, 0
    for place, character in enumerate(term):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == ":" and depth == 0:
            pieces.append(term[start:place])
            start = place + 1
    return [*pieces, term[start:]]


def _pair(term: str) -> tuple[str, str]:
    """The two columns of a correlation, ``Intercept,poly(age, 2)[1]``: split at the comma outside brackets."""
    depth = 0
    for place, character in enumerate(term):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            return term[:place], term[place + 1 :]
    return term, ""


def _pattern(name: str) -> re.Pattern[str]:
    """A name with any white space in it, not followed by what would make it another name."""
    letters = r"\s*".join(re.escape(letter) for letter in name if not letter.isspace())
    return re.compile(letters + (r"(?![\w.]|\s*[\[(:])" if re.match(r"[\w.]", name[-1]) else r"(?!\s*:)"))


# reading --------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
_UNKNOWN = re.compile(r"[^\W\d][\w.]*(?:\s*(?:\([^()]*\)|\[[^\[\]]*\]|:(?=\s*[^\W\d])\s*[\w.]+))*")
_SIGNS = {"=": 0, "==": 0, ">": 1, ">=": 1, "<": -1, "<=": -1}


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
    names = spellings(rows)
    first: dict[int, str] = {}
    for name, place in names.items():
        first.setdefault(place, name)
    plain = [first[place] for place in sorted(first)]
    out = []
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


# testing --------------------------------------------------------------------------------------------------------


def _variance(weights: Array, covariance: Array) -> float:
    used = np.flatnonzero(weights)
    # Of a standard deviation at zero nothing is known; it should not spoil what does not involve it.
    return float(weights[used] @ covariance[np.ix_(used, used)] @ weights[used])


def wald(hypothesis: Hypothesis, estimate: Array, covariance: Array, level: float, df: float = np.inf) -> Array:
    """Estimate, standard error, limits, statistic and p-value of one hypothesis, shape (6,).

    Parameters
    ----------
    hypothesis : Hypothesis
    estimate, covariance : ndarray, shapes (q,) and (q, q)
    level : float
        Of the two-sided interval.
    df : float
        Degrees of freedom of t; infinite is the normal distribution.

    Returns
    -------
    ndarray
        The p-value is one-sided where the hypothesis is: of what it denies.  Statistic and p-value are NaN at a
        boundary, where a Wald test is not valid.

    Examples
    --------
    >>> (h,) = read_hypotheses("age > 0", [("fixed", "", "age", "")])
    >>> wald(h, np.array([1.96]), np.eye(1), 0.95).round(3).tolist()
    [1.96, 1.0, 0.0, 3.92, 1.96, 0.025]
    """
    value = float(hypothesis.weights[hypothesis.weights != 0.0] @ estimate[hypothesis.weights != 0.0])
    value += hypothesis.constant
    error = math.sqrt(max(_variance(hypothesis.weights, covariance), 0.0))
    width = _t_quantile(0.5 + level / 2.0, df) * error
    statistic = value / error if error > 0.0 and not hypothesis.boundary else math.nan
    p = 2.0 * _t_tail(abs(statistic), df) if hypothesis.sign == 0 else _t_tail(hypothesis.sign * statistic, df)
    return np.array([value, error, value - width, value + width, statistic, p])


def _t_quantile(p: float, df: float) -> float:
    if np.isinf(df):
        return NormalDist().inv_cdf(p)
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def _t_tail(t: float, df: float) -> float:
    """P(T > t), without loss of digits far out."""
    if np.isinf(df):
        return 0.5 * math.erfc(t / math.sqrt(2.0))
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def joint_wald(hypotheses: Sequence[Hypothesis], estimate: Array, covariance: Array) -> JointTest:
    """Test several equalities at once.

    Equalities that others imply are not counted; those that contradict each other are refused.

    Raises
    ------
    FitError
        For an inequality, a boundary, or equalities that cannot all hold.

    Examples
    --------
    >>> rows = [("fixed", "", term, "") for term in "abc"]
    >>> three = read_hypotheses(["a = b", "b = c", "a = c"], rows)
    >>> test = joint_wald(three, np.array([1.0, 2.0, 2.0]), np.eye(3))
    >>> test.df, round(test.statistic, 4)
    (2, 0.6667)
    """
    for hypothesis in hypotheses:
        if hypothesis.sign:
            raise FitError(f'a joint test is of equalities; "{hypothesis.text}" is not one')
        if hypothesis.boundary:
            raise FitError(
                f'"{hypothesis.text}" puts {hypothesis.boundary}, the end of its range, where a Wald test is not '
                f"valid: compare the models by bm.anova() or bm.drop1()"
            )
    L = np.array([hypothesis.weights for hypothesis in hypotheses])
    used = L.any(axis=0)
    unit = np.sqrt(np.diag(covariance)[used])
    if not (np.isfinite(unit).all() and unit.all()):
        raise FitError("a parameter of the hypotheses has no standard error: a joint test is not possible")
    # In units of standard errors, so that the rank does not depend on the units of the columns.
    L = L[:, used] * unit
    size = np.linalg.norm(L, axis=1)
    L, right = L / size[:, None], -np.array([hypothesis.constant for hypothesis in hypotheses]) / size
    at = L @ (estimate[used] / unit) - right
    U, s, _ = np.linalg.svd(L)
    rank = int((s > 1e-9 * s[0]).sum())
    free = U[:, rank:].T
    # What is left of the right sides beside those the independent equalities imply.
    if np.abs(free @ right).max(initial=0.0) > 1e-9 * max(1.0, np.abs(right).max()):
        raise FitError("the hypotheses contradict each other: no values of the terms meet them all")
    kept = U[:, :rank].T
    V = covariance[np.ix_(used, used)] / np.outer(unit, unit)
    distance = kept @ at
    statistic = float(distance @ np.linalg.solve(kept @ L @ V @ L.T @ kept.T, distance))
    from scipy.special import chdtrc

    return JointTest(statistic, rank, float(chdtrc(rank, statistic)))


# over draws -----------------------------------------------------------------------------------------------------


def savage_dickey(draws: Array, prior_density: float) -> float:
    """Posterior density over prior density at 0: the evidence for a value of exactly 0.

    The posterior's is a Gaussian kernel estimate with Silverman's bandwidth.

    Examples
    --------
    >>> draws = np.array([NormalDist().inv_cdf((i + 0.5) / 2000) for i in range(2000)])
    >>> round(savage_dickey(draws, prior_density=0.1), 1)
    3.9
    """
    spread = float(min(draws.std(), np.subtract(*np.quantile(draws, [0.75, 0.25])) / 1.349) or draws.std())
    if not spread > 0.0:
        return math.nan
    width = 0.9 * spread * len(draws) ** -0.2
    density = float(np.exp(-0.5 * np.square(draws / width)).mean()) / (width * math.sqrt(2.0 * math.pi))
    return density / prior_density
