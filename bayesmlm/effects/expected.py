"""Expected responses of rows, on a scale, with their derivatives in every parameter.

A scale is a link: the response itself is the identity, a ratio is a difference on the log, an odds ratio one on the
logit.  Where the scale is the model's own link and nothing is averaged over, values are linear predictors, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.effects.parameters import Point, spherical_rows
from bayesmlm.estimands import PredictionRows
from bayesmlm.families import Link
from bayesmlm.prediction import averaged_mean

__all__ = ["Expected", "expected_at"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Expected:
    """Values of m rows on a scale.

    Attributes
    ----------
    values : ndarray, shape (m,)
    jacobian : ndarray, shape (m, p + q)
        Derivatives in β, known groups moving along, and in θ.
    own : sparse array, shape (m, L), or None
        Derivatives in the spherical effects of known groups.
    """

    values: Array
    jacobian: Array
    own: Any


def expected_at(
    point: Point, rows: PredictionRows, estimand: str, new_groups: str, link: Link, scale: Link
) -> Expected:
    """Expected responses at an estimate.

    Parameters
    ----------
    point : Point
    rows : PredictionRows
    estimand, new_groups : str
        As in :meth:`bayesmlm.fit.Fit.predict`.
    link : Link
        The model's.
    scale : Link
        Of the values.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> link = family_of("bernoulli").link
    >>> point = Point(np.array([1.0]), (np.array([[2.0]]),), np.eye(2))
    >>> one = np.ones((1, 1))
    >>> rows = PredictionRows(one, np.zeros(1), (np.array([-1]),), (one,))
    >>> found = expected_at(point, rows, "population", "population", link, link)
    >>> bool(found.values[0] < 1.0), found.jacobian.shape   # an average over groups is nearer to 1/2
    (True, (1, 2))
    """
    eta, slope = rows.offset + rows.X @ point.beta, rows.X
    spread, spread_slopes, own = np.zeros(len(eta)), [], []
    for t, (lam, integrated) in enumerate(_terms(point.factors, rows, estimand, new_groups)):
        z = rows.z[t] if rows.z else np.zeros((len(eta), len(lam)))
        m = z @ lam
        spread = spread + np.where(integrated, np.einsum("ia,ia->i", m, m), 0.0)
        pairs = [(a, c) for c in range(len(lam)) for a in range(c, len(lam))]
        spread_slopes += [np.where(integrated, 2.0 * z[:, a] * m[:, c], 0.0) for a, c in pairs]
        if estimand == "conditional":
            codes, modes, moved = rows.codes[t], point.modes[t], point.sensitivities[t]
            known, at = (codes >= 0)[:, None], np.maximum(codes, 0)
            eta = eta + np.where(codes >= 0, np.einsum("ia,ia->i", z, modes[at]), 0.0)
            slope = slope + np.where(known, np.einsum("ia,iap->ip", z, moved[at]), 0.0)
            own.append(spherical_rows(codes, z, lam, len(modes)))
    values, d_eta, d_spread = _on_scale(eta, spread, link, scale)
    by_theta = [(d_spread * column)[:, None] for column in spread_slopes]
    return Expected(values, np.hstack([d_eta[:, None] * slope, *by_theta]), _scaled(own, d_eta))


def _terms(factors: tuple[Array, ...], rows: PredictionRows, estimand: str, new_groups: str) -> Any:
    """Per random-effect term its λ, and the rows whose group's effects are averaged over."""
    nowhere = np.zeros(len(rows.X), dtype=bool)
    for t, lam in enumerate(factors):
        if estimand == "population":
            yield lam, ~nowhere
        elif estimand == "conditional" and new_groups != "zero":
            yield lam, rows.codes[t] < 0
        else:
            yield lam, nowhere


def _on_scale(eta: Array, spread: Array, link: Link, scale: Link) -> tuple[Array, Array, Array]:
    """Values on a scale, and their derivatives in η and in the variance averaged over; any shape."""
    if scale.name == link.name and not spread.any():
        return eta, np.ones_like(eta), np.zeros_like(eta)
    with np.errstate(over="ignore"):
        if spread.any() and link.name != "identity":
            mean, d_eta, d_sd = averaged_mean(eta, spread, link)
            # At a variance of 0 its own derivative in λ, 2 z m, vanishes.
            d_spread = d_sd / (2.0 * np.sqrt(np.where(spread > 0.0, spread, np.inf)))
        else:
            mean, d_eta, d_spread = link.inverse(eta), link.derivative(eta), np.zeros_like(eta)
    if scale.name == "identity":
        return mean, d_eta, d_spread
    with np.errstate(divide="ignore", invalid="ignore"):
        values = scale.link(mean)
        chain = 1.0 / scale.derivative(values)
    d_eta, d_spread = chain * d_eta, chain * d_spread
    if scale.name == link.name:
        exact = spread == 0.0
        values, d_eta = np.where(exact, eta, values), np.where(exact, 1.0, d_eta)
        d_spread = np.where(exact, 0.0, d_spread)
    return values, d_eta, d_spread


def _scaled(own: list[Any], d_eta: Array) -> Any:
    if not own:
        return None
    from scipy import sparse

    return sparse.csr_array(sparse.diags_array(d_eta) @ sparse.hstack(own, format="csr"))
