"""Responses drawn from a model with known parameters, and residuals as ranks among them: arrays in, arrays out.

A row of prior weight w, or one that stands for w observations, is the mean of w answers, as its likelihood takes it:
a binary row has w times its trials, a count w times its rate, both divided by w again (R's ``simulate`` of a binomial
glm does the same); a Gaussian row has variance σ²/w.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design, Group
from bayesmlm.errors import DataError, FitError
from bayesmlm.families import Family
from bayesmlm.frames import select
from bayesmlm.response import numbers, trials_in

__all__ = [
    "Parameters", "SimulationRows", "check_seed", "draw_responses", "generator", "scaled_residuals", "simulate",
    "simulation_rows",
]  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a model's responses are drawn from.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    factors : tuple of ndarray, shape (k, k)
        Of the covariance of each random-effect term: Σ = λλ′.
    sigma : float
        Residual standard deviation of a Gaussian model, NaN elsewhere.
    effects : tuple of ndarray, shape (levels, k)
        Effects of the groups the model has seen, term by term.
    """

    beta: Array
    factors: tuple[Array, ...]
    sigma: float
    effects: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class SimulationRows:
    """The rows to draw responses for.

    Attributes
    ----------
    X : ndarray, shape (n, p)
    offset : ndarray, shape (n,)
    codes : tuple of ndarray of int, shape (n,)
        Per random-effect term; those from the number of known levels on are groups the model has not seen.
    z : tuple of ndarray, shape (n, k)
    levels : tuple of int
        How many groups there are by term, seen or not.
    trials, weights : ndarray, shape (n,)
    """

    X: Array
    offset: Array
    codes: tuple[Array, ...]
    z: tuple[Array, ...]
    levels: tuple[int, ...]
    trials: Array
    weights: Array


def simulation_rows(design: Design, newdata: Any, weights_column: str | None) -> SimulationRows:
    """The rows responses are drawn for: the model's own, or new data bound to the design.

    Raises
    ------
    DataError
        For new data that miss a column, a group or the trials, by name; for weights no draw can have.
    """
    groups, response = design.groups, design.response
    if newdata is None:
        weights = np.asarray(design.weights if design.family.name == "gaussian" else design.weights * design.freq)
        codes, z = tuple(g.codes for g in groups), tuple(g.z for g in groups)
        levels = tuple(g.n_levels for g in groups)
        rows = SimulationRows(design.X, design.offset, codes, z, levels, response.trials, weights)
    else:
        X, offset = design.fixed_matrix(newdata), design.offset_of(newdata)
        pairs = [_new_codes(design, group, newdata) for group in groups]
        trials, weights = np.ones(len(X)), np.ones(len(X))
        counted = design.family.name == "binomial" and not response.is_binary
        if counted:
            trials = trials_in(design.formula, newdata, weights_column)
        if weights_column is not None and not (counted and (design.weights == 1.0).all()):
            try:
                frame = select(newdata, [weights_column])
            except DataError as error:
                raise DataError(f"new data: {error}") from None
            weights = numbers(frame, weights_column, "new data: the weights")
        levels = tuple(
            max(g.n_levels, int(codes.max(initial=-1)) + 1) for g, (codes, _) in zip(groups, pairs, strict=True)
        )
        codes, z = tuple(codes for codes, _ in pairs), tuple(z for _, z in pairs)
        rows = SimulationRows(X, offset, codes, z, levels, trials, weights)
    if (rows.weights < 0.0).any():
        row = int(np.argmax(rows.weights < 0.0))
        raise DataError(f"new data: the weight in row {row} (counting from 0) is negative")
    total = rows.trials * rows.weights
    broken = np.abs(total - np.round(total)) > 1e-6
    if design.family.is_binary and broken.any():
        at = int(np.argmax(broken))
        row = at if newdata is not None else int(design.rows[at])
        raise DataError(
            f"row {row} (counting from 0) has {total[at]:g} trials, its weight included; a binary response can be "
            f"drawn for whole numbers of trials only"
        )
    return rows


def _new_codes(design: Design, group: Group, data: Any) -> tuple[Array, Array]:
    """Codes and columns of one term for new data, groups the model has not seen counted on after those it has."""
    codes, z = design.group_rows(group, data)
    unseen = codes < 0
    if unseen.any():
        frame = select(data, group.factors)
        for name in group.factors:
            missing = frame[name].isna().to_numpy()
            if missing.any():
                row = int(np.argmax(missing))
                raise DataError(f'new data: column "{name}" is missing in row {row} (counting from 0)')
        own = frame[unseen].groupby(list(group.factors), sort=False, observed=True).ngroup().to_numpy()
        codes = codes.copy()
        codes[unseen] = group.n_levels + own
    return codes, z


def check_seed(seed: Any) -> int:
    """The seed as a number: any where None is given.

    Raises
    ------
    FitError
        For a seed that is not a whole number of 0 or more.

    Examples
    --------
    >>> check_seed(3), check_seed(None) >= 0
    (3, True)
    """
    if seed is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise FitError(f"seed should be a whole number of 0 or more, not {seed!r}")
    return int(seed)


def generator(seed: int, replicate: int) -> np.random.Generator:
    """The random numbers of one replicate, whatever is drawn before it or beside it.

    Examples
    --------
    >>> first, again, other = generator(1, 7).random(), generator(1, 7).random(), generator(1, 8).random()
    >>> first == again, first == other
    (True, False)
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(replicate,)))


def draw_responses(
    family: Family, eta: Array, trials: Array, weights: Array, sigma: float, rng: np.random.Generator
) -> Array:
    """Draw one response per row: successes, counts or numbers, shape (n,).

    Parameters
    ----------
    family : Family
    eta : ndarray, shape (n,)
        Linear predictor.
    trials, weights : ndarray, shape (n,)
        Their product is a whole number for binary responses.  A row of weight 0 is drawn as one of weight 1: it
        enters no likelihood.
    sigma : float
    rng : numpy.random.Generator

    Raises
    ------
    FitError
        For rates no count can have.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> rng = np.random.default_rng(1)
    >>> draw_responses(family_of("binomial"), np.zeros(3), np.full(3, 10.0), np.ones(3), np.nan, rng).tolist()
    [5.0, 8.0, 3.0]
    """
    with np.errstate(over="ignore"):
        mean = family.link.inverse(eta)
    weights = np.where(weights > 0.0, weights, 1.0)
    if family.name == "gaussian":
        return mean + sigma / np.sqrt(weights) * rng.standard_normal(len(mean))
    if family.name == "poisson":
        rate = mean * weights
        # Where numpy's own generator ends.
        if not (rate < 9e18).all():
            raise FitError(f"the model's rates reach {rate.max():.3g}, more than a count can hold")
        return rng.poisson(rate) / weights
    total = trials * weights
    if (total == 1.0).all():
        return (rng.random(len(mean)) < mean) / weights
    return rng.binomial(np.round(total).astype(np.int64), mean) / weights


def simulate(
    family: Family, rows: SimulationRows, parameters: Parameters, keep_effects: bool, rng: np.random.Generator
) -> Array:
    """Draw group effects, then responses, shape (n,).

    Parameters
    ----------
    family : Family
    rows : SimulationRows
    parameters : Parameters
    keep_effects : bool
        Whether groups the model has seen keep their effects; all others draw theirs from N(0, Σ).
    rng : numpy.random.Generator

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> codes = np.repeat(np.arange(2000), 2)
    >>> one = np.ones(4000)
    >>> rows = SimulationRows(one[:, None], 0.0 * one, (codes,), (one[:, None],), (2000,), one, one)
    >>> truth = Parameters(np.array([1.0]), (np.array([[3.0]]),), 4.0, (np.zeros((2000, 1)),))
    >>> y = simulate(family_of("gaussian"), rows, truth, False, np.random.default_rng(1))
    >>> round(float(y.var()))  # 3² + 4²
    25
    """
    eta = rows.offset + rows.X @ parameters.beta
    for codes, z, levels, factor, known in zip(
        rows.codes, rows.z, rows.levels, parameters.factors, parameters.effects, strict=True
    ):
        drawn = levels - len(known) if keep_effects else levels
        effects = rng.standard_normal((drawn, len(factor))) @ factor.T
        if keep_effects:
            effects = np.concatenate([known, effects])
        eta = eta + np.einsum("ia,ia->i", z, effects[codes])
    return draw_responses(family, eta, rows.trials, rows.weights, parameters.sigma, rng)


def scaled_residuals(observed: Array, draws: Iterable[Array], rng: np.random.Generator) -> Array:
    """Rank of every observed response among draws of the model, on (0, 1): uniform where the model is right.

    With s draws, l of them below the response and e equal to it, the residual is (l + U (e + 1)) / (s + 1) with U
    uniform: the probability integral transform, randomised where it jumps (Dunn & Smyth, 1996; Hartig's DHARMa).

    Parameters
    ----------
    observed : ndarray, shape (n,)
    draws : iterable of ndarray, shape (n,)
        Used one at a time.
    rng : numpy.random.Generator

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> draws = [np.array([1.0, 2.0]), np.array([1.0, 5.0]), np.array([1.0, 9.0])]
    >>> below, between = scaled_residuals(np.array([0.5, 5.5]), draws, rng)
    >>> bool(below < 0.25), bool(0.5 < between < 0.75)
    (True, True)
    """
    below, equal = np.zeros(len(observed)), np.zeros(len(observed))
    count = 0
    for drawn in draws:
        # Means of several answers are equal up to rounding.
        close = np.abs(drawn - observed) <= 1e-9 * (1.0 + np.abs(observed))
        equal += close
        below += (drawn < observed) & ~close
        count += 1
    return (below + rng.random(len(observed)) * (equal + 1.0)) / (count + 1.0)
