"""The model without groups: rows as the likelihood needs them, Newton's method, and separation found in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import float64, int32, int64, njit

from bayesmlm.design import Design, Group
from bayesmlm.errors import NoMaximumError
from bayesmlm.laplace import kernels
from bayesmlm.laplace.kernels import point_product
from bayesmlm.laplace.preload import preload

__all__ = [
    "Rows",
    "fit_glm",
    "group_columns",
    "null_loglik",
    "objective",
    "read_rows",
    "refuse_constant",
    "start_at",
    "sums",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """What every likelihood needs of a design: weighted counts, internal columns, the constant.

    Attributes
    ----------
    link : int
    order : ndarray of int, shape (n,), or slice
        Position of each row in the design; rows of one group stand together.
    y, trials, offset : ndarray, shape (n,)
    X : ndarray, shape (n, p)
        Scaled columns.
    constant : float
        What no parameter enters.
    """

    link: int
    order: Any
    y: Array
    trials: Array
    X: Array
    offset: Array
    constant: float

    def restore(self, values: Array) -> Array:
        """Values in the order of the design."""
        out = np.empty_like(values)
        out[self.order] = values
        return out


@njit(cache=True, error_model="numpy", nogil=True)
def _sorted_rows(codes, n_groups, X, means, scales, y, X_out, y_out):  # type: ignore[no-untyped-def]
    """Scaled columns and y by group, and the stable order of the rows: a counting sort that carries its load along.

    One pass in the rows' own order touches memory at random once per row, where gathering column by column would once
    per number.
    """
    place = np.zeros(n_groups + 1, dtype=np.int64)
    for i in range(len(codes)):
        place[codes[i] + 1] += 1
    for g in range(n_groups):
        place[g + 1] += place[g]
    order = np.empty(len(codes), dtype=np.int64)
    for i in range(len(codes)):
        to = place[codes[i]]
        place[codes[i]] += 1
        order[to] = i
        y_out[to] = y[i]
        for j in range(len(means)):
            X_out[to, j] = (X[i, j] - means[j]) / scales[j]
    return order


def read_rows(design: Design, group: Group | None = None) -> Rows:
    """Read a design as rows, sorted by a group's codes where given."""
    poisson = design.family.name == "poisson"
    response, scaling = design.response, design.scaling
    constant = kernels.log_constant(poisson, response.y, response.trials, design.weights, design.freq)
    order: Any = slice(None)
    X = np.empty(design.X.shape)
    if group is not None and (group.codes[1:] < group.codes[:-1]).any():
        y = np.empty(len(X))
        order = _sorted_rows(
            np.ascontiguousarray(group.codes), group.n_levels, np.asfortranarray(design.X), scaling.means,
            scaling.scales, np.ascontiguousarray(response.y, dtype=float), X, y,
        )  # fmt: skip
    else:
        y = np.array(response.y, dtype=float)
        for j, (mean, scale) in enumerate(zip(scaling.means, scaling.scales, strict=True)):
            X[:, j] = (design.X[:, j] - mean) / scale
    multiplier = _column(design.weights, order) * _column(design.freq, order)
    y *= multiplier
    trials = multiplier if poisson else _column(response.trials, order) * multiplier
    return Rows(design.family.link.code, order, y, trials, X, _column(design.offset, order), constant)


def _column(values: Array, order: Any) -> Array:
    """Values in the rows' order; what is the same for all rows need not be looked up one by one."""
    if not len(values) or values.strides == (0,) or not (values != values[0]).any():
        return np.full(len(values), float(values[0]) if len(values) else 0.0)
    return np.ascontiguousarray(values[order], dtype=float)


def group_columns(rows: Rows, group: Group) -> tuple[Array, Array]:
    """Codes (n,) and columns (n, k) of a random-effect term in the rows' order; sorted rows are sorted by it."""
    if isinstance(rows.order, slice):
        return group.codes, group.z
    counts = np.bincount(group.codes, minlength=group.n_levels)
    codes = np.repeat(np.arange(group.n_levels, dtype=np.int32), counts)
    return codes, group.z if group.z.strides[0] == 0 else group.z[rows.order]


@njit(cache=True, error_model="numpy", nogil=True)
def sums(link, y, trials, X, offset, beta, gradient, information):  # type: ignore[no-untyped-def]
    """Log-likelihood; out: its gradient (p,) and the observed information (p, p)."""
    p = X.shape[1]
    gradient[:] = 0.0
    information[:] = 0.0
    value, product = 0.0, 1.0
    for i in range(len(y)):
        eta = offset[i]
        for a in range(p):
            eta += X[i, a] * beta[a]
        ll, s, w, _, product = point_product(link, y[i], trials[i], eta, product)
        value += ll
        for a in range(p):
            gradient[a] += s * X[i, a]
            wx = w * X[i, a]
            for b in range(a + 1):
                information[a, b] += wx * X[i, b]
    for a in range(p):
        for b in range(a):
            information[b, a] = information[a, b]
    return value - math.log(product)


_V, _M = float64[::1], float64[:, ::1]
preload(sums, int64, _V, _V, _M, _V, _V, _V, _M)
preload(_sorted_rows, int32[::1], int64, float64[::1, :], _V, _V, _V, _M, _V)


def refuse_constant(design: Design) -> None:
    """Refuse a response that is the same in every row: its likelihood has no maximum.

    Raises
    ------
    NoMaximumError
    """
    response = design.response
    y = response.y
    if design.family.name == "gaussian":
        return
    if design.family.name == "poisson":
        if not y.any():
            reason = f'the response "{response.name}" is 0 in every row'
            raise NoMaximumError(f"{reason}: the rate is not estimable by likelihood", reason)
        return
    counted = design.freq * design.weights > 0.0
    for empty, what in ((not y[counted].any(), "no"), (not (response.trials - y)[counted].any(), "every")):
        if empty:
            event = f' = "{response.event}"' if response.event else " = 1" if response.is_binary else " above 0"
            if len(response.levels) == 1:
                fact = f'{response.name} is "{response.levels[0]}" in every row'
            else:
                fact = f"{what} row has {response.name}{event}"
            reason = f"the response is constant: {fact}, so the likelihood has no maximum"
            raise NoMaximumError(
                f"{reason}; check the data, or use fit_map() or sample(), whose priors keep it finite", reason
            )


def null_loglik(rows: Rows) -> float:
    """Log-likelihood of the intercept alone, without groups."""
    if not rows.offset.any():
        y, n = float(rows.y.sum()), float(rows.trials.sum())
        if rows.link == kernels.LOG:
            return rows.constant + (y * math.log(y / n) - y if y > 0.0 else 0.0)
        return rows.constant + sum(part * math.log(part / n) for part in (y, n - y) if part > 0.0)
    ones = Rows(rows.link, rows.order, rows.y, rows.trials, np.ones((len(rows.y), 1)), rows.offset, rows.constant)
    return fit_glm(ones, ("Intercept",))[2] + rows.constant


def objective(rows: Rows) -> Callable[[Array], tuple[float, Array]]:
    """β -> log-likelihood without constant and its gradient."""
    p = rows.X.shape[1]
    information = np.empty((p, p))

    def at(beta: Array) -> tuple[float, Array]:
        gradient = np.empty(p)
        value = sums(rows.link, rows.y, rows.trials, rows.X, rows.offset, beta, gradient, information)
        return (float(value), gradient) if np.isfinite(value) else (-np.inf, gradient)

    return at


def start_at(rows: Rows) -> Array:
    """β whose intercept, where there is one, meets the overall rate."""
    beta = np.zeros(rows.X.shape[1])
    if len(beta) and rows.X[0, 0] != 0.0 and np.ptp(rows.X[:, 0]) == 0.0:
        if rows.link == kernels.LOG:
            beta[0] = np.log((rows.y.sum() + 0.5) / (rows.trials * np.exp(rows.offset)).sum())
        else:
            share = (rows.y.sum() + 0.5) / (rows.trials.sum() + 1.0)
            beta[0] = np.log(share / (1.0 - share))
    return beta


def fit_glm(rows: Rows, terms: tuple[str, ...], max_iterations: int = 60) -> tuple[Array, Array, float]:
    """β, information and log-likelihood (without constant) of the model without groups, by Newton's method.

    Raises
    ------
    NoMaximumError
        Where predictors separate the responses; its ``terms`` are those.
    """
    p = rows.X.shape[1]
    beta = start_at(rows)
    gradient, info = np.empty(p), np.empty((p, p))
    new_gradient, new_info = np.empty(p), np.empty((p, p))

    def at(b: Array, g: Array, i: Array) -> float:
        return float(sums(rows.link, rows.y, rows.trials, rows.X, rows.offset, b, g, i))

    value = at(beta, gradient, info)
    heading = np.zeros(p)
    for _ in range(max_iterations):
        if p == 0:
            return beta, info, value
        try:
            step = np.linalg.solve(info, gradient)
        except np.linalg.LinAlgError:
            break
        decrement = float(gradient @ step)
        if decrement > 1e-6:
            # The last step that stands clear of rounding: what is left of separation moves along it.
            heading = step
        if decrement < 1e-16 * (1.0 + abs(value)):
            if _separating_direction(info, rows, heading) is not None:
                break
            return beta, info, value
        size = 1.0
        while size > 1e-8:
            new_value = at(beta + size * step, new_gradient, new_info)
            if new_value >= value - 1e-12 * (1.0 + abs(value)):
                break
            size *= 0.5
        if not new_value > -np.inf:
            break
        beta, value = beta + size * step, new_value
        gradient, new_gradient = new_gradient, gradient
        info, new_info = new_info, info
        # Columns that almost determine each other have large coefficients, too; their sums stay small.
        if np.abs(beta).max() > 1e3 and np.abs(rows.X @ beta).max() > 1e3:
            break
    direction = _separating_direction(info, rows, heading)
    names = _separating_terms(rows, terms, np.abs(beta if direction is None else direction))
    reason = (
        f"the likelihood has no maximum: {' and '.join(names)} separate{'s' if len(names) == 1 else ''} the responses "
        f"(fitted probabilities reach 0 or 1)"
    )
    raise NoMaximumError(
        f"{reason}; leave it out, join its rare levels, or use fit_map() or sample(), whose priors keep it finite",
        reason, names,
    )  # fmt: skip


def _separating_terms(rows: Rows, terms: tuple[str, ...], weight: Array) -> list[str]:
    """The columns to name, by their weight in a separating direction; of levels, those of one kind of answer alone.

    A direction of several such levels may also run through a level they are compared with.
    """
    heavy = (weight > 0.5 * weight.max()).tolist()
    levels = [_of_one_answer(rows, column) for column in rows.X.T]
    for marked in ([h if level is None else level for h, level in zip(heavy, levels, strict=True)], heavy):
        names = [term for term, named in zip(terms, marked, strict=True) if named and term != "Intercept"]
        if names:
            return names
    return list(terms[:1])


def _of_one_answer(rows: Rows, column: Array) -> bool | None:
    """Whether all rows with one of a column's two values have the same answer; None of other columns.

    A count has no upper end: the same answer is zero.
    """
    high = column > column.min()
    if not high.any() or np.ptp(column[high]) > 0.0:
        return None
    failures = rows.y + 1.0 if rows.link == kernels.LOG else rows.trials - rows.y
    return any(not answers[part].any() for part in (high, ~high) for answers in (rows.y, failures))


def _separating_direction(information: Array, rows: Rows, heading: Array) -> Array | None:
    """A direction of β along which the likelihood never falls, where Newton's method found hardly any information.

    Along it every row with successes only moves up or stays, every row with failures only moves down or stays, and
    rows with both stay (Albert & Anderson, 1984).

    Parameters
    ----------
    information : ndarray, shape (p, p)
    rows : Rows
    heading : ndarray, shape (p,)
        Where Newton's method was going: the likeliest such direction.

    Returns
    -------
    ndarray, shape (p,), or None
        None where there is no such direction: few events, or columns that almost determine each other.
    """
    values, vectors = np.linalg.eigh(information)
    small = values < 1e-6 * max(values[-1], 1e-6 * float(rows.trials.sum()))
    if not small.any():
        return None
    # A count has no upper end: only zeros can be pushed away.
    no_failure = (rows.y >= rows.trials) & (rows.link != kernels.LOG)
    no_success = rows.y <= 0.0
    for vector in (heading, *vectors.T[small]):
        if not np.abs(rows.X @ vector).max() > 0.0:
            continue
        moved = rows.X @ vector
        moved = moved / np.abs(moved).max()
        for sign in (1.0, -1.0):
            up, down = sign * moved > 1e-2, sign * moved < -1e-2
            if not (up & ~no_failure).any() and not (down & ~no_success).any():
                return sign * vector
    return None
