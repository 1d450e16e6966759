"""What a reader of a fit by likelihood should be careful about: each fact in a clause, and a way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.ml import glm
from bayesmlm.ml.accuracy import Shift, predicted_shift
from bayesmlm.ml.boundary import Boundary, boundaries
from bayesmlm.ml.engine import MLSolution
from bayesmlm.ml.optimise import Optimum
from bayesmlm.ml.separation import OrderedWithin, Runaway, alike_groups, ordered_within, runaway_terms

__all__ = ["Diagnostics", "Finding", "Grouping", "diagnose", "remarks"]

Array = np.ndarray[Any, Any]

NOTICEABLE = 0.2
"""Standard errors by which more quadrature points may move an estimate before it is said.

A bias of 0.2 standard errors leaves a 95 % interval 94.5 % of coverage, one of 0.5 leaves 92 %.
"""

FEW_GROUPS = 6
"""Fewer groups hardly determine their standard deviation (Bolker et al., 2009; Gelman & Hill, 2007, section 11.5)."""

TINY_GROUP = 3.0
"""Mean 0/1 answers of a group below which the Laplace approximation can be far off."""


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


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Can this estimate be trusted?

    Attributes
    ----------
    converged : bool
    distance : float
        How far, in standard errors, a Newton step would still move.
    gradient : float
        Largest entry of the gradient, in internal coordinates (of scaled columns).
    eigenvalues : ndarray
        Of the information in the same coordinates, ascending.
    evaluations : int
        Likelihoods it took.
    singular : tuple of Boundary
        Terms whose covariance has less than full rank.
    shift : Shift or None
        What more quadrature points would change; None where nothing is approximated or it cannot be predicted.
    separation : tuple of Runaway or OrderedWithin
        Standard deviations and coefficients that the data hardly bound.
    groups : tuple of Grouping
        One per random-effect term.
    findings : tuple of Finding
    what : str
        ``maximum`` or ``mode``.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> found = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml().diagnostics()
    >>> found.ok, found.groups[0].levels, len(found.eigenvalues)
    (True, 60, 3)
    """

    converged: bool
    distance: float
    gradient: float
    eigenvalues: Array
    evaluations: int
    singular: tuple[Boundary, ...]
    shift: Shift | None
    separation: tuple[Runaway | OrderedWithin, ...]
    groups: tuple[Grouping, ...]
    findings: tuple[Finding, ...]
    what: str = "maximum"

    @property
    def problems(self) -> list[str]:
        """What was found, each in a clause; empty when nothing is wrong."""
        return [finding.fact for finding in self.findings]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        if not self.ok:
            return f"Take care: {'; '.join(self.problems)}."
        facts = [f"the {self.what} is reached (a Newton step would move it by {self.distance:.1g} standard errors)"]
        if self.groups:
            facts.append("no standard deviation or correlation is at its boundary")
        if self.shift is not None:
            points = f"{self.shift.points} quadrature points{_per_column(self.shift, self.groups)}"
            alone = ", each term taken alone" if self.shift.one_by_one else ""
            least = max(self.shift.largest, 0.01)
            facts.append(f"{points} would move no estimate by more than {least:.2f} standard errors{alone}")
        return f"The estimates can be trusted: {_listed(facts)}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _quantity(component: str, group: str, term: str) -> str:
    """An estimate in words."""
    if component == "sd":
        return f"the standard deviation of {term} between {group}"
    if component == "cor":
        return f"the correlation of {term} within {group}"
    return "the intercept" if term == "Intercept" else f"the coefficient of {term}"


def diagnose(design: Design, solution: MLSolution) -> Diagnostics:
    """Examine a maximum of the likelihood, or a posterior mode.

    Parameters
    ----------
    design : Design
    solution : MLSolution

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | livch)", bm.load_dataset("contraception")).fit_ml()
    >>> diagnose(fit.design, fit.solution).problems
    ['there are only 4 groups of livch']
    """
    optimum, is_mode = solution.optimum, not np.isnan(solution.log_prior)
    ends = boundaries(design, solution.theta, solution.sigma)
    groups = tuple(
        Grouping(g.name, g.n_levels, design.nobs / g.n_levels, alike_groups(design, g)) for g in design.groups
    )
    shift = predicted_shift(design, solution)
    runaway, ordered = runaway_terms(design, solution), ordered_within(design, solution)
    findings = [] if optimum.converged else [_unfinished(optimum, _parameters(design, optimum), is_mode)]
    findings += [finding for end in ends for finding in _singular(end)]
    # Where no group holds both answers there is no maximum for more points to find.
    bounded = not any(found.alike == found.levels for found in runaway)
    if shift is not None and shift.largest > NOTICEABLE and bounded:
        findings.append(_inaccurate(shift, groups, solution.n_agq))
    elif solution.n_agq == 1 and len(groups) > 1 and design.family.is_binary and design.response.is_binary:
        tiny = [g for g, end in zip(groups, ends, strict=True) if g.rows < TINY_GROUP and not all(end.vanished)]
        findings += [_tiny(group) for group in tiny]
    # What the approximation has made large is not said to be large.
    shrinks = () if shift is None else shift.smaller(NOTICEABLE)
    findings += [_runaway(found, design) for found in runaway if ("sd", found.group, found.term) not in shrinks]
    findings += [_ordered(found) for found in ordered]
    if is_mode:
        findings += _kept_by_priors(design)
    else:
        findings += [_few(name, n) for name, n in dict.fromkeys((g.name, g.levels) for g in groups) if n < FEW_GROUPS]
    return Diagnostics(
        optimum.converged, optimum.distance, float(np.max(np.abs(optimum.gradient), initial=0.0)),
        optimum.eigenvalues, optimum.evaluations, tuple(end for end in ends if end.is_singular), shift,
        (*runaway, *ordered), groups, tuple(findings), "mode" if is_mode else "maximum",
    )  # fmt: skip


# what the search did --------------------------------------------------------------------------------------


def _parameters(design: Design, optimum: Optimum) -> list[str]:
    """The coordinates of the search in words: coefficients, then entries of the factors, then log σ, as it has them."""
    fixed = [_quantity("fixed", "", term) for term in design.terms]
    random = []
    for group in design.groups:
        for b, column in enumerate(group.terms):
            random.append(_quantity("sd", group.name, column))
            random += [_quantity("cor", group.name, f"{column},{row}") for row in group.terms[b + 1 :]]
    whole = [*fixed, *random, "the residual standard deviation"]
    # β is at its best given the rest in Gaussian models and with n_agq = 0.
    return random if len(optimum.x) == len(random) else whole


def _unfinished(optimum: Optimum, names: list[str], is_mode: bool) -> Finding:
    what = "mode" if is_mode else "maximum"
    least = float(optimum.eigenvalues[0])
    facts = [f"a Newton step would still move {optimum.distance:.2g} standard errors"]
    if not least > 1e-12 * float(optimum.eigenvalues[-1]):
        direction = np.abs(np.linalg.eigh(optimum.information)[1][:, 0])
        shape = "flat" if least > -1e-6 * float(optimum.eigenvalues[-1]) else "bent upwards"
        facts.append(f"the likelihood is {shape} along {names[int(np.argmax(direction))]}")
    way = "tighter priors" if is_mode else "fit_map(), whose priors bend a flat likelihood"
    return Finding(
        f"the {what} was not reached: {_listed(facts)} (smallest eigenvalue of the information {least:.2g})",
        f"Do not use these estimates; try check_optimum(), which searches from other points, fewer columns in a term, "
        f"(x || g) in place of (x | g), or {way}.",
    )


# the boundary ---------------------------------------------------------------------------------------------


def _singular(end: Boundary) -> list[Finding]:
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
        fact = f"the {noun} of {_listed(gone)} between {end.group} {verb} zero"
        if all(end.vanished):
            remedy = (
                f"The groups differ no more than chance makes them: leave {term} out, which changes no other estimate"
            )
        else:
            drop = (
                f"fit (0 + {slopes} | {end.group})" if gone == ["Intercept"] else f"leave {_listed(gone)} out of {term}"
            )
            remedy = f"Correlations with it are not defined (NaN in the table): {drop}"
        remedy = f"{remedy}, {prior}."
    elif any(end.perfect):
        pairs = [f"{a},{b}" for i, a in enumerate(end.terms) for b in end.terms[i + 1 :]]
        tied = [
            f"{pair} within {end.group} is {sign:+d}" for pair, sign in zip(pairs, end.perfect, strict=True) if sign
        ]
        fact = f"the correlation of {_listed(tied)}"
        remedy = f"{undefined}: effects of one are a multiple of the other's. Leave one of them out, {apart}"
    else:
        fact = (
            f"the {len(end.terms)} columns of {term} vary in {end.rank} directions only, though no standard deviation "
            f"is zero and no correlation ±1"
        )
        remedy = f"{undefined}: one column's effects follow from the others'. Leave a column out, {apart}"
    return [Finding(f"the fit is singular: {fact}", remedy)]


# accuracy -------------------------------------------------------------------------------------------------


def _per_column(shift: Shift, groups: Sequence[Grouping]) -> str:
    return " per column" if sum(component == "sd" for component, _, _ in shift.names) > len(groups) else ""


def _inaccurate(shift: Shift, groups: Sequence[Grouping], n_agq: int) -> Finding:
    sizes = np.nan_to_num(np.abs(shift.shifts))
    worst = [j for j in np.argsort(-sizes)[:3] if sizes[j] > NOTICEABLE]
    # A Newton step says little of where it ends beyond one standard error, but that it is far.
    moves = [
        f"{_quantity(*shift.names[j])} by {'1 or more' if sizes[j] > 1.0 else format(shift.shifts[j], '+.1f')}"
        for j in worst
    ]
    each = _per_column(shift, groups)
    if n_agq == 1:
        how = f"the Laplace approximation is too rough here: {shift.points} quadrature points{each}"
    else:
        how = f"{n_agq} quadrature points{each} are too few: {shift.points}"
    fact = f"{how} would move, in standard errors, {_listed(moves)}"
    smallest = min(groups, key=lambda group: group.rows)
    size = f"There are {smallest.rows:.1f} rows per group of {smallest.name}"
    if shift.one_by_one:
        return Finding(
            f"{fact}, each term taken alone, and probably further",
            f"{size}. Quadrature is for a single term: use sample(), which integrates over all groups.",
        )
    return Finding(fact, f"{size}: use n_agq={shift.points}.")


def _tiny(group: Grouping) -> Finding:
    return Finding(
        f"there are {group.rows:.1f} rows per group of {group.name}, few for the Laplace approximation of 0/1 answers",
        "How far it is off is known for each term alone only: compare with sample().",
    )


# separation and few groups --------------------------------------------------------------------------------


def _runaway(found: Runaway, design: Design) -> Finding:
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


def _ordered(found: OrderedWithin) -> Finding:
    return Finding(
        f"the answers are separated within {found.group} by {found.term}: in each of the {found.groups} groups that "
        f"have both, all of one kind lie beyond the others",
        f"Its coefficient ({found.estimate:.3g}, standard error {found.std_error:.2g}) is kept finite by the assumed "
        f"distribution of the group effects alone; leave it out, join its rare levels, or use fit_map() or sample().",
    )


def _few(name: str, levels: int) -> Finding:
    return Finding(
        f"there are only {levels} groups of {name}",
        f"They hardly determine a standard deviation, and intervals that rest on it are too narrow: give it a prior "
        f"that you can defend, with fit_map() or sample(), or put {name} among the fixed effects.",
    )


def _kept_by_priors(design: Design) -> list[Finding]:
    """Why the likelihood alone has no maximum; nothing where it has one."""
    try:
        glm.refuse_constant(design)
        if design.family.name != "gaussian":
            glm.fit_glm(glm.read_rows(design), design.terms)
    except FitError as error:
        reason = str(error).partition(";")[0]
        remedy = "They decide how large the estimates and their intervals are: see what other sensible priors give."
        return [Finding(f"the priors alone keep the estimates finite ({reason})", remedy)]
    return []


# remarks that are no fault of the fit ---------------------------------------------------------------------


def remarks(design: Design, solution: MLSolution) -> list[str]:
    """What to know about how the fit was made, in sentences."""
    out = []
    if design.groups and solution.n_agq == 0:
        out.append(
            "The fixed effects are those of the joint mode (n_agq = 0), and their standard errors are given the "
            "variances; n_agq = 1 is more accurate."
        )
    if design.groups and solution.information == "expected" and not design.family.is_canonical:
        out.append(
            "The Laplace approximation takes the expected information, as lme4 does; for the "
            f'{design.family.link.name} link that is not the observed one (information="observed").'
        )
    return out
