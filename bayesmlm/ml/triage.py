"""Can this estimate be trusted?  The facts that other files find, put together with a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.ml import findings as say
from bayesmlm.ml.accuracy import Shift, predicted_shift
from bayesmlm.ml.boundary import Boundary, boundaries
from bayesmlm.ml.findings import NOTICEABLE, Finding, Grouping
from bayesmlm.ml.separation import OrderedWithin, Runaway, alike_groups, ordered_within, runaway_terms
from bayesmlm.ml.solution import MLSolution

__all__ = ["Diagnostics", "Finding", "Grouping", "diagnose", "remarks", "untested_terms"]

Array = np.ndarray[Any, Any]

FEW_GROUPS = 6
"""Fewer groups hardly determine their standard deviation (Bolker et al., 2009; Gelman & Hill, 2007, section 11.5)."""

TINY_GROUP = 3.0
"""Mean 0/1 answers of a group below which the Laplace approximation can be far off."""


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
            points = f"{self.shift.points} quadrature points{say.per_column(self.shift, self.groups)}"
            alone = ", each term taken alone" if self.shift.one_by_one else ""
            least = max(self.shift.largest, 0.01)
            facts.append(f"{points} would move no estimate by more than {least:.2f} standard errors{alone}")
        return f"The estimates can be trusted: {say.joined(facts)}."


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
    large, apart = runaway_terms(design, solution), ordered_within(design, solution)
    findings = [] if optimum.converged else [say.unfinished(design, optimum, is_mode)]
    findings += [finding for end in ends for finding in say.singular(end)]
    # Where no group holds both answers there is no maximum for more points to find.
    bounded = not any(found.alike == found.levels for found in large)
    if shift is not None and shift.largest > NOTICEABLE and bounded:
        findings.append(say.inaccurate(shift, groups, solution.n_agq))
    elif solution.n_agq == 1 and len(groups) > 1 and design.family.is_binary and design.response.is_binary:
        tiny = [g for g, end in zip(groups, ends, strict=True) if g.rows < TINY_GROUP and not all(end.vanished)]
        findings += [say.tiny_groups(group) for group in tiny]
    # What the approximation has made large is not said to be large.
    shrinks = () if shift is None else shift.smaller(NOTICEABLE)
    findings += [say.runaway(found, design) for found in large if ("sd", found.group, found.term) not in shrinks]
    findings += [say.ordered(found) for found in apart]
    if is_mode:
        findings += say.kept_by_priors(design)
    else:
        findings += [
            say.few_groups(name, n) for name, n in dict.fromkeys((g.name, g.levels) for g in groups) if n < FEW_GROUPS
        ]
    return Diagnostics(
        optimum.converged, optimum.distance, float(np.max(np.abs(optimum.gradient), initial=0.0)),
        optimum.eigenvalues, optimum.evaluations, tuple(end for end in ends if end.is_singular), shift,
        (*large, *apart), groups, tuple(findings), "mode" if is_mode else "maximum",
    )  # fmt: skip


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


def untested_terms(found: Diagnostics) -> dict[str, str]:
    """Fixed effects whose Wald test says nothing, and why, as a clause; under "" why none does.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = {"y": [0] * 8 + [1] * 8, "g": [i // 2 for i in range(16)]}
    >>> untested_terms(bm.Model("y ~ 1 + (1 | g)", d).fit_ml().diagnostics())
    {'': 'it grows with a standard deviation that the data hardly bound'}
    """
    if not found.converged:
        return {"": f"the {found.what} was not reached"}
    if any(isinstance(apart, Runaway) for apart in found.separation):
        return {"": "it grows with a standard deviation that the data hardly bound"}
    out = {
        apart.term: f"it separates the answers within {apart.group}"
        for apart in found.separation
        if isinstance(apart, OrderedWithin)
    }
    if found.shift is not None:
        for (component, _, term), shift in zip(found.shift.names, np.nan_to_num(found.shift.shifts), strict=True):
            if component == "fixed" and abs(shift) > NOTICEABLE:
                out[term] = f"more quadrature points would move it by {min(abs(shift), 1.0):.1f} standard errors or so"
    return out
