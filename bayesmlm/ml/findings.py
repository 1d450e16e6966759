"""What is wrong with a fit in words: each fact in a clause, what it means and what to try in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import NoMaximumError
from bayesmlm.ml import glm
from bayesmlm.ml.accuracy import Shift
from bayesmlm.ml.boundary import Boundary
from bayesmlm.ml.optimise import Optimum
from bayesmlm.ml.separation import OrderedWithin, Runaway

__all__ = [
    "NOTICEABLE", "Finding", "Grouping", "few_groups", "inaccurate", "joined", "kept_by_priors", "ordered",
    "per_column", "runaway", "singular", "tiny_groups", "unfinished",
]  # fmt: skip

Array = np.ndarray[Any, Any]

NOTICEABLE = 0.2
"""Standard errors by which more quadrature points may move an estimate before it is said.

A bias of 0.2 standard errors leaves a 95 % interval 94.5 % of coverage, one of 0.5 leaves 92 %.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be careful about.

    Attributes
    ----------
    fact : str
        What was found, as a clause.
    remedy : str
        What it means and what to try, as sentences.
    """

    fact: str
    remedy: str

    @property
    def sentence(self) -> str:
        """Both, as text."""
        return f"{self.fact[0].upper()}{self.fact[1:]}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Grouping:
    """How much the groups of one random-effect term have to tell.

    Attributes
    ----------
    name : str
    levels : int
    rows : float
        Observations per group, on average.
    alike : int
        Groups whose 0/1 answers are all the same; 0 for other responses.
    """

    name: str
    levels: int
    rows: float
    alike: int


def joined(words: Sequence[str]) -> str:
    """Words as an enumeration.

    Examples
    --------
    >>> joined(["a", "b", "c"]), joined(["a"])
    ('a, b and c', 'a')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def quantity(component: str, group: str, term: str) -> str:
    """An estimate in words."""
    if component == "sd":
        return f"the standard deviation of {term} between {group}"
    if component == "cor":
        return f"the correlation of {term} between {group}"
    return "the intercept" if term == "Intercept" else f"the coefficient of {term}"


# what the search did --------------------------------------------------------------------------------------


def _parameters(design: Design, optimum: Optimum) -> list[str]:
    """The coordinates of the search in words: coefficients, then entries of the factors, then log σ, as it has them."""
    fixed = [quantity("fixed", "", term) for term in design.terms]
    random = []
    for group in design.groups:
        for b, column in enumerate(group.terms):
            random.append(quantity("sd", group.name, column))
            random += [quantity("cor", group.name, f"{column},{row}") for row in group.terms[b + 1 :]]
    whole = [*fixed, *random, "the residual standard deviation"]
    # β is at its best given the rest in Gaussian models and with n_agq = 0.
    return random if len(optimum.x) == len(random) else whole


def unfinished(design: Design, optimum: Optimum, is_mode: bool) -> Finding:
    """A search that stopped short: how far, and along what."""
    names = _parameters(design, optimum)
    what = "mode" if is_mode else "maximum"
    least = float(optimum.eigenvalues[0])
    facts = [f"a Newton step would still move {optimum.distance:.2g} standard errors"]
    if not least > 1e-12 * float(optimum.eigenvalues[-1]):
        direction = np.abs(np.linalg.eigh(optimum.information)[1][:, 0])
        shape = "flat" if least > -1e-6 * float(optimum.eigenvalues[-1]) else "bent upwards"
        facts.append(f"the likelihood is {shape} along {names[int(np.argmax(direction))]}")
    way = "tighter priors" if is_mode else "fit_map(), whose priors bend a flat likelihood"
    return Finding(
        f"the {what} was not reached: {joined(facts)} (smallest eigenvalue of the information {least:.2g})",
        f"Do not use these estimates; try check_optimum(), which searches from other points, fewer columns in a term, "
        f"(x || g) in place of (x | g), or {way}.",
    )


# the boundary ---------------------------------------------------------------------------------------------


def singular(end: Boundary) -> list[Finding]:
    """Why a term's covariance has less than full rank, in words; the worst first, and only that."""
    if not end.is_singular:
        return []
    term = f"({end.columns} | {end.group})"
    gone = [name for name, vanished in zip(end.terms, end.vanished, strict=True) if vanished]
    prior = "or use fit_map(), whose prior keeps it off the boundary"
    slopes = end.columns.removeprefix("1 + ")
    apart = f"fit uncorrelated effects ({slopes} || {end.group}), {prior}." if end.separable else f"{prior}."
    undefined = "Standard errors of its correlations are not defined there (NaN in the table)"
    if gone:
        noun, verb = ("standard deviations", "are") if len(gone) > 1 else ("standard deviation", "is")
        fact = f"the {noun} of {joined(gone)} between {end.group} {verb} zero"
        if all(end.vanished):
            remedy = (
                f"The groups differ no more than chance makes them: leave {term} out, which changes no other estimate"
            )
        else:
            drop = (
                f"fit (0 + {slopes} | {end.group})" if gone == ["Intercept"] else f"leave {joined(gone)} out of {term}"
            )
            remedy = f"Correlations with it are not defined (NaN in the table): {drop}"
        remedy = f"{remedy}, {prior}."
    elif any(end.perfect):
        pairs = [f"{a},{b}" for i, a in enumerate(end.terms) for b in end.terms[i + 1 :]]
        tied = [
            f"{pair} between {end.group} is {sign:+d}" for pair, sign in zip(pairs, end.perfect, strict=True) if sign
        ]
        fact = f"the correlation of {joined(tied)}"
        remedy = f"{undefined}: effects of one are a multiple of the other's. Leave one of them out, {apart}"
    else:
        fact = (
            f"the {len(end.terms)} columns of {term} vary in {end.rank} directions only, though no standard deviation "
            f"is zero and no correlation ±1"
        )
        remedy = f"{undefined}: one column's effects follow from the others'. Leave a column out, {apart}"
    return [Finding(f"the fit is singular: {fact}", remedy)]


# accuracy -------------------------------------------------------------------------------------------------


def per_column(shift: Shift, groups: Sequence[Grouping]) -> str:
    """What to say of the points where a term has several columns; empty elsewhere."""
    return " per column" if sum(component == "sd" for component, _, _ in shift.names) > len(groups) else ""


def inaccurate(shift: Shift, groups: Sequence[Grouping], n_agq: int) -> Finding:
    """An approximation that more quadrature points would change: what they would move, and how to have them."""
    sizes = np.nan_to_num(np.abs(shift.shifts))
    worst = [j for j in np.argsort(-sizes)[:3] if sizes[j] > NOTICEABLE]
    # A Newton step says little of where it ends beyond one standard error, but that it is far.
    moves = [
        f"{quantity(*shift.names[j])} by {'1 or more' if sizes[j] > 1.0 else format(shift.shifts[j], '+.1f')}"
        for j in worst
    ]
    each = per_column(shift, groups)
    if n_agq == 1:
        how = f"the Laplace approximation is too rough here: {shift.points} quadrature points{each}"
    else:
        how = f"{n_agq} quadrature points{each} are too few: {shift.points}"
    fact = f"{how} would move, in standard errors, {joined(moves)}"
    smallest = min(groups, key=lambda group: group.rows)
    size = f"There are {smallest.rows:.1f} rows per group of {smallest.name}"
    if shift.one_by_one:
        return Finding(
            f"{fact}, each term taken alone, and probably further",
            f"{size}. Quadrature is for a single term: use sample(), which integrates over all groups.",
        )
    return Finding(fact, f"{size}: use n_agq={shift.points}.")


def tiny_groups(group: Grouping) -> Finding:
    """Groups too small for the Laplace approximation, where the change itself is not known."""
    return Finding(
        f"there are {group.rows:.1f} rows per group of {group.name}, few for the Laplace approximation of 0/1 answers",
        "How far it is off is known for each term alone only: compare with sample().",
    )


# separation and few groups --------------------------------------------------------------------------------


def runaway(found: Runaway, design: Design) -> Finding:
    """A standard deviation that all but determines the answers."""
    response = design.response
    which = "" if found.term == "Intercept" else f" in rows of {found.term}"
    answers = f"in {found.alike} of {found.levels} groups all answers{which} are the same"
    event = f'{response.name} = "{response.event}"' if response.event else f"{response.name} = 1"
    cell = f", and {found.empty} such row has {event if response.is_binary else 'a success'}" if found.empty else ""
    return Finding(
        f"the standard deviation of {found.term} between {found.group} is {found.sd:.3g} on the "
        f"{design.family.link.name} scale, enough to determine the answers by the group: {answers}{cell}",
        f"The data {'do not' if found.alike == found.levels else 'hardly'} bound it from above, and coefficients grow "
        f"with it; use fit_map() or sample(), whose priors do, or group by something coarser.",
    )


def ordered(found: OrderedWithin) -> Finding:
    """A column that separates the answers within every group."""
    return Finding(
        f"the answers are separated within {found.group} by {found.term}: in each of the {found.groups} groups that "
        f"have both, all of one kind lie beyond the others",
        f"Its coefficient ({found.estimate:.3g}, standard error {found.std_error:.2g}) is kept finite by the assumed "
        f"distribution of the group effects alone; leave it out, join its rare levels, or use fit_map() or sample().",
    )


def few_groups(name: str, levels: int) -> Finding:
    """Too few groups for a standard deviation."""
    return Finding(
        f"there are only {levels} groups of {name}",
        f"They hardly determine a standard deviation, and intervals that rest on it are too narrow: give it a prior "
        f"that you can defend, with fit_map() or sample(), or put {name} among the fixed effects.",
    )


def kept_by_priors(design: Design) -> list[Finding]:
    """Why the likelihood alone has no maximum; nothing where it has one."""
    try:
        glm.refuse_constant(design)
        if design.family.name != "gaussian":
            glm.fit_glm(glm.read_rows(design), design.terms)
    except NoMaximumError as error:
        remedy = "They decide how large the estimates and their intervals are: see what other sensible priors give."
        return [Finding(f"the priors alone keep the estimates finite ({error.reason})", remedy)]
    return []
