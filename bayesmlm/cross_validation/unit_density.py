"""Log-likelihood of units under draws of the parameters, the effects that are new with a unit integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bayesmlm.bayes.draws import ParameterDraws
from bayesmlm.cross_validation.gaussian import integrate_gaussian
from bayesmlm.cross_validation.integrals import integrate_groups, sum_rows
from bayesmlm.cross_validation.nested import integrate_nested
from bayesmlm.cross_validation.units import Units
from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace import kernels
from bayesmlm.laplace.agq_vector import product_rule
from bayesmlm.parallel import in_threads
from bayesmlm.partitions import is_within, same_groups

__all__ = ["UnitDensity", "nesting_of", "unit_log_likelihood"]

Array = np.ndarray[Any, Any]

LADDERS = {1: (5, 9, 15, 25, 49, 97), 2: (5, 9, 17, 25), 3: (5, 9, 13), 4: (3, 5, 7)}
"""Quadrature points per column that are tried, by the number of columns."""

CLOSE = 1e-3
"""Largest difference that more points may make to a unit's log-likelihood, in any of the draws they are tried on."""

_TRIED = 12
"""Draws that points are tried on."""

_NUMBERS = 2_000_000
"""Linear predictors that one part of the draws has."""


@dataclass(frozen=True, slots=True)
class UnitDensity:
    """Log-likelihoods of units.

    Attributes
    ----------
    values : ndarray, shape (draws, units)
    points : int
        Of the quadrature, per column; 0 where nothing was integrated, or in closed form.
    error : float
        Largest difference that more points made, in the draws they were tried on.
    """

    values: Array
    points: int
    error: float


@dataclass(frozen=True, slots=True)
class _Level:
    """Terms that group the rows alike, as one."""

    terms: tuple[int, ...]
    codes: Array


def nesting_of(design: Design, terms: tuple[int, ...]) -> list[_Level]:
    """Terms by the groups they have, the largest groups first.

    Raises
    ------
    FitError
        For groups that cross, or more than two that lie within each other.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> design = bm.Model("use ~ age + (1 | district/urban)", bm.load_dataset("contraception")).design
    >>> [level.terms for level in nesting_of(design, (0, 1))]
    [(0,), (1,)]
    """
    levels: list[_Level] = []
    for t in terms:
        codes = design.groups[t].codes
        for at, level in enumerate(levels):
            if same_groups(codes, level.codes):
                levels[at] = _Level((*level.terms, t), level.codes)
                break
        else:
            levels.append(_Level((t,), codes))
    levels.sort(key=lambda level: len(np.unique(level.codes)))
    names = [design.groups[level.terms[0]].name for level in levels]
    for (outer, inner), (large, small) in zip(pairwise(levels), pairwise(names), strict=True):
        if not is_within(inner.codes, outer.codes):
            raise FitError(f"{small} and {large} cross, so that their effects cannot be integrated group by group")
    if len(levels) > 2:
        raise FitError(
            f"{', '.join(names)} lie within each other; effects are integrated over one grouping, or two of which one "
            f"lies in the other"
        )
    return levels


def unit_log_likelihood(design: Design, draws: ParameterDraws, units: Units, points: int | None = None) -> UnitDensity:
    """Log-likelihood of every unit under every draw, all constants kept.

    Effects of groups within units are integrated out by adaptive Gauss-Hermite quadrature (in closed form for a
    Gaussian response), those of other groups are the draw's own.  The number of points is raised until more of them
    change no unit's value by more than 0.001 in a dozen draws.

    Parameters
    ----------
    design : Design
    draws : ParameterDraws
    units : Units
    points : int, optional
        Quadrature points per column, whatever the error.

    Raises
    ------
    FitError
        For groups within units that cross, or lie within each other more than twice; more than four columns.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm.cross_validation.draws import parameter_draws
    >>> from bayesmlm.cross_validation.units import units_of
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml(n_agq=25)
    >>> density = unit_log_likelihood(fit.design, parameter_draws(fit), units_of(fit.model, "district"))
    >>> abs(float(density.values.sum()) - fit.loglik) < 1e-3
    True
    """
    levels = nesting_of(design, units.within)
    order = np.lexsort((*(level.codes for level in reversed(levels)), units.codes))
    problem = _Problem(design, units, levels, order)
    if design.family.name == "gaussian" or not levels:
        return UnitDensity(problem.values(draws, 0), 0, 0.0)
    columns = [sum(len(design.groups[t].terms) for t in level.terms) for level in levels]
    if max(columns) > max(LADDERS):
        raise FitError(
            f"the effects of a group have {max(columns)} columns: quadrature over more than {max(LADDERS)} is out of "
            f"reach"
        )
    if points is not None:
        return UnitDensity(problem.values(draws, points), points, float("nan"))
    ladder, few = LADDERS[max(columns)], np.unique(np.linspace(0, len(draws) - 1, _TRIED).astype(int))
    tried = problem.values(draws.chosen(few), ladder[0])
    for enough, more in pairwise(ladder):
        better = problem.values(draws.chosen(few), more)
        error = float(np.abs(better - tried).max())
        if error < CLOSE:
            break
        enough, tried = more, better
    return UnitDensity(problem.values(draws, enough), enough, error)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Rows in the order of their units, and what is integrated within each."""

    design: Design
    units: Units
    levels: list[_Level]
    order: Array

    def values(self, draws: ParameterDraws, points: int) -> Array:
        """Log-likelihoods (draws, units)."""
        size = max(1, _NUMBERS // max(len(self.order), 1))
        parts = [draws.chosen(slice(at, at + size)) for at in range(0, len(draws), size)]
        out = np.concatenate(in_threads(lambda part: self._part(part, points), parts))
        if not np.isfinite(out).all():
            at = int(np.argmax(~np.isfinite(out).all(axis=0)))
            raise FitError(
                f"the likelihood of {self.units.name} {self.units.labels[at]} could not be integrated in some draws"
            )
        return np.asarray(out)

    def _part(self, draws: ParameterDraws, points: int) -> Array:
        design, order, units = self.design, self.order, self.units
        fixed = draws.beta @ design.X[order].T + design.offset[order]
        for t in units.given:
            group = design.groups[t]
            own, columns = group.codes[order], group.z[order]
            for a in range(columns.shape[1]):
                fixed += draws.effects[t][:, own, a] * columns[:, a]
        codes = [level.codes[order] for level in self.levels]
        z = [np.concatenate([design.groups[t].z[order] for t in level.terms], axis=1) for level in self.levels]
        lams = [_block_diagonal([draws.factors[t] for t in level.terms]) for level in self.levels]
        # The smallest groups there are: those of the innermost level, or the units themselves.
        starts = _starts(*codes, units.codes[order])
        counts, response = design.weights * design.freq, design.response
        if design.family.name == "gaussian":
            outer = _starts(codes[0], units.codes[order]) if codes else starts
            inner = [_recoded(one, outer) for one in codes[1:]]
            out = integrate_gaussian(
                outer, inner, response.y[order], design.weights[order], design.freq[order], z, fixed, lams, draws.sigma
            )
            return _summed(out, units.codes[order][outer[:-1]], len(units))
        poisson = design.family.name == "poisson"
        y = (response.y * counts)[order]
        trials = (counts if poisson else response.trials * counts)[order]
        link = design.family.link.code
        if len(self.levels) < 2:
            out = np.empty((len(draws), len(starts) - 1))
            if not self.levels:
                sum_rows(link, starts, y, trials, fixed, out)
            else:
                rule = product_rule(points, z[0].shape[1])
                integrate_groups(link, starts, y, trials, z[0], fixed, lams[0], *rule, out)
        else:
            outer = _starts(codes[0], units.codes[order])
            rules = [product_rule(points, one.shape[1]) for one in z]
            out = np.empty((len(draws), len(outer) - 1))
            within = np.searchsorted(starts, outer)
            integrate_nested(
                link, within, starts, y, trials, z[0], z[1], fixed, lams[0], lams[1], rules[0], rules[1], out
            )
            starts = outer
        out = _summed(out, units.codes[order][starts[:-1]], len(units))
        constants = design.freq * kernels.row_constants(poisson, response.y, response.trials, design.weights)
        return out + np.bincount(units.codes, constants, len(units))


def _starts(*codes: Array) -> Array:
    """Where runs of rows with equal codes begin, and the number of rows."""
    n = len(codes[0])
    new = np.zeros(n, dtype=bool)
    new[:1] = True
    for one in codes:
        new[1:] |= one[1:] != one[:-1]
    return np.append(np.flatnonzero(new), n).astype(np.int64)


def _recoded(codes: Array, starts: Array) -> Array:
    """Codes that count from 0 within each run of rows."""
    out = np.empty(len(codes), dtype=np.int64)
    for lo, hi in pairwise(starts):
        out[lo:hi] = np.unique(codes[lo:hi], return_inverse=True)[1]
    return out


def _block_diagonal(blocks: list[Array]) -> Array:
    """Stacks of matrices (draws, k, k) along one diagonal."""
    if len(blocks) == 1:
        return np.ascontiguousarray(blocks[0])
    k = sum(block.shape[1] for block in blocks)
    out, at = np.zeros((len(blocks[0]), k, k)), 0
    for block in blocks:
        out[:, at : at + block.shape[1], at : at + block.shape[1]] = block
        at += block.shape[1]
    return out


def _summed(values: Array, codes: Array, n: int) -> Array:
    """Sums of columns (draws, groups) by unit; groups of one unit stand together."""
    if len(codes) == n:
        return values
    return np.add.reduceat(values, np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]), axis=1)
