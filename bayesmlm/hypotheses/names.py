"""How the parameters of a model are written in a hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from bayesmlm.tables import Label

__all__ = ["plain_names", "spellings"]


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


def plain_names(rows: Sequence[Label]) -> list[str]:
    """The plainest spelling of each parameter, in the order of the rows.

    Examples
    --------
    >>> plain_names([("fixed", "", "age", ""), ("sd", "district", "Intercept", ""), ("residual", "", "sigma", "")])
    ['age', 'sd(district)', 'sigma']
    """
    first: dict[int, str] = {}
    for name, place in spellings(rows).items():
        first.setdefault(place, name)
    return [first[place] for place in sorted(first)]


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
