"""What each coefficient is of: its name in words, what it is compared with, and where the other variables stand."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import BayesmlmError
from bayesmlm.expressions import canonical, columns_of, evaluate
from bayesmlm.frames import level_text
from bayesmlm.ratios import baseline_terms

__all__ = ["Term", "origin", "terms_of"]

_POWERS = str.maketrans("23456789", "²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Term:
    """A coefficient.

    Attributes
    ----------
    name : str
        As everywhere.
    words : str
        As prose has it: ``age²``, ``age × ch [Y]``.
    against : str
        The level it is compared with, empty where there is none.
    at : tuple of str
        Where other variables stand: ``ch = N`` of an effect that an interaction makes depend on ``ch``.
    """

    name: str
    words: str
    against: str
    at: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it."""
        against = f" against {self.against}" if self.against else ""
        at = f" (at {', '.join(self.at)})" if self.at else ""
        return f"{self.words}{against}{at}"


def _words(name: str) -> str:
    """A term's name in words.

    Examples
    --------
    >>> _words("age:ch[Y]"), _words("I(age^2)"), _words("I(sed / 1000)")
    ('age × ch [Y]', 'age²', 'sed / 1000')
    """
    parts = []
    for part in re.split(r":(?![^(\[]*[)\]])", name):
        inner = re.fullmatch(r"(?:I|C|factor)\((.*?)\)(\[.*\])?", part)
        text = f"{inner[1]}{inner[2] or ''}" if inner else part
        power = re.fullmatch(r"([^\W\d][\w.]*)\^([2-9])", text)
        text = f"{power[1]}{power[2].translate(_POWERS)}" if power else text
        parts.append(re.sub(r"(?<=\w)\[", " [", text))
    return " × ".join(parts)


def _factors(design: Design) -> dict[str, tuple[str, ...]]:
    """Factors of each coefficient, as expressions: ``age:ch[Y]`` is of ``age`` and ``ch``."""
    if design.matrix_spec is None:
        return {}
    columns = {
        str(column): tuple(factor.expr.strip("`") for factor in part.term.factors if factor.expr != "1")
        for part in design.matrix_spec.structure
        for column in part.columns
    }
    return {term: columns.get(term, ()) for term in design.terms}


def _is_call(factor: str, design: Design) -> bool:
    return "(" in factor and factor not in design.formula.fixed_columns


def _columns(factor: str, design: Design) -> tuple[str, ...]:
    return columns_of(factor) if _is_call(factor, design) else (factor,)


def _reference(factor: str, design: Design) -> str:
    """The level that a factor's coefficients are compared with; empty of numbers, and where every level has one."""
    columns = _columns(factor, design)
    levels = design.fixed_levels.get(columns[0]) if len(columns) == 1 else None
    if not levels:
        return ""
    first = level_text(levels[0])
    label = canonical(factor) if _is_call(factor, design) else factor
    return "" if f"{label}[{first}]" in design.terms else first


def _zero(factor: str, design: Design) -> tuple[str, ...]:
    """Where a factor contributes nothing: ``ch = N``, ``age = 0``, ``log(size) = 0``."""
    columns = _columns(factor, design)
    reference = _reference(factor, design)
    if reference:
        return (f"{columns[0]} = {reference}",)
    if any(column in design.fixed_levels for column in columns):
        return ()  # every level has a coefficient
    if not _is_call(factor, design):
        return (f"{factor} = 0",)
    try:
        at_zero = evaluate(factor, {column: np.zeros(1) for column in columns})[0]
    except BayesmlmError:  # with a state, such as poly()
        at_zero = np.nan
    return tuple(f"{column} = 0" for column in columns) if at_zero == 0.0 else (f"{_words(canonical(factor))} = 0",)


def origin(design: Design) -> list[str]:
    """Where every variable stands when the intercept alone is left.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> origin(bm.Model("use ~ age*ch + I(age^2) + (1 | district)", bm.load_dataset("contraception")).design)
    ['age = 0', 'ch = N']
    """
    factors = [factor for own in _factors(design).values() for factor in own]
    return list(dict.fromkeys(place for factor in factors for place in _zero(factor, design)))


def terms_of(design: Design) -> list[Term]:
    """Every coefficient but the intercept.

    An effect whose factors are part of an interaction, or of which there is a power too, is the effect where the others
    are zero or at their reference level; so is what stands for the intercept where every level has a coefficient.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | district)", bm.load_dataset("contraception"))
    >>> [term.text for term in terms_of(m.design)]  # doctest: +NORMALIZE_WHITESPACE
    ['age (at age = 0, ch = N)', 'ch [Y] against N (at age = 0)', 'age²', 'urban [Y] against N', 'age × ch [Y]']
    """
    factors, levels = _factors(design), baseline_terms(design)
    out = []
    for name, own in factors.items():
        if name == "Intercept":
            continue
        at: list[str] = []
        for other in factors.values():
            if name in levels or set(own) < set(other):
                at += [place for factor in other if factor not in own for place in _zero(factor, design)]
            elif len(own) == len(other) == 1 and own != other and not _is_call(own[0], design):
                # A slope is that at zero where a function of the same variable bends the line.
                at += [f"{own[0]} = 0"] if _is_call(other[0], design) and own[0] in _columns(other[0], design) else []
        against = _reference(own[0], design) if len(own) == 1 else ""
        out.append(Term(name, _words(name), against, tuple(dict.fromkeys(at))))
    return out
