"""Moment estimators of scale and correlations: those of R's gee, and those of Yan & Fine (2004), which geepack has."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.gee.clusters import Clusters, pairs
from bayesmlm.gee.mean import Means
from bayesmlm.gee.working import Working

__all__ = ["ar1_slope", "gee_moments", "least_squares", "pair_places", "start_of_alpha"]

Array = np.ndarray[Any, Any]


def pair_places(visits: int) -> Array:
    """Place of each pair of visits among the unstructured correlations, shape (T, T); the earlier visit first.

    Examples
    --------
    >>> pair_places(3)[0].tolist()
    [-1, 0, 1]
    """
    places = np.full((visits, visits), -1)
    places[np.triu_indices(visits, 1)] = np.arange(visits * (visits - 1) // 2)
    return places


# R's gee ------------------------------------------------------------------------------------------------------


def gee_moments(means: Means, working: Working, scale: float | None, alpha: Array) -> tuple[float, Array]:
    """Scale and correlations as gee 4.13 has them (Liang & Zeger, 1986), φ with n − p.

    The exchangeable correlation has n − p too; those of visits and the autoregressive one are means over the clusters
    of more than one row, divided by the clusters' mean of their mean squares.  A scale that is given does not enter
    the correlations.

    Parameters
    ----------
    means : Means
    working : Working
    scale : float or None
    alpha : ndarray
        Handed on where there are none to estimate.

    Raises
    ------
    FitError
        Where there are no residuals, or too few pairs.
    """
    clusters, e = working.clusters, means.residual
    n, p = means.slope.shape
    if n <= p:
        raise FitError(f"{n} rows do not tell the scale beside {p} coefficients; use a smaller model")
    squares = clusters.sums(e * e)
    phi = float(squares.sum()) / (n - p)
    _refuse_perfect(phi)
    several = clusters.sizes > 1
    mean_square = float((squares / clusters.sizes).mean()) * several.sum()
    if working.kind == "exchangeable":
        pairs_less_p = float((clusters.sizes * (clusters.sizes - 1.0)).sum()) / 2.0 - p
        if pairs_less_p <= 0.0:
            raise FitError(
                f"the clusters have {int(pairs_less_p + p)} pairs of rows, too few for a correlation beside {p} "
                f'coefficients; use corr="independence" or flavour="geepack"'
            )
        both = float((clusters.sums(e) ** 2 - squares).sum()) / 2.0
        alpha = np.array([both / (phi * pairs_less_p)])
    elif working.kind == "ar1":
        alpha = np.array([_mean_of_neighbours(clusters, e) / mean_square])
    elif working.kind == "unstructured":
        padded = np.zeros((len(clusters.sizes), len(clusters.labels)))
        padded[clusters.of_rows, clusters.visits] = e
        alpha = (padded.T @ padded)[np.triu_indices(len(clusters.labels), 1)] / mean_square
    return (phi if scale is None else scale), alpha


def _mean_of_neighbours(clusters: Clusters, e: Array) -> float:
    """Sum over clusters of their mean product of neighbours."""
    gaps = clusters.gaps
    if (gaps[np.isfinite(gaps)] != 1.0).any():
        raise FitError(
            'flavour="gee" has ar1 of visits one apart only, and some are not; use flavour="geepack", or a time= that '
            "counts the visits"
        )
    products = np.where(np.isfinite(gaps), e * np.roll(e, 1), 0.0)
    return float((clusters.sums(products) / np.maximum(clusters.sizes - 1, 1)).sum())


# Yan and Fine --------------------------------------------------------------------------------------------------


def least_squares(
    means: Means, weight: Array, working: Working, scale: float | None, alpha: Array
) -> tuple[float, Array]:
    """Scale and correlations from squares and products of residuals by least squares (Yan & Fine, 2004, eq. 2 and 3).

    Both are means without n − p, weighted by the rows' weights and their products.

    Parameters
    ----------
    means : Means
    weight : ndarray, shape (n,)
        Ones where the residuals carry the weights, as the equations have it; geepack leaves them outside.
    working : Working
    scale : float or None
    alpha : ndarray
        Where the autoregressive correlation starts from; one step of Gauss and Newton is taken.
    """
    r, clusters = means.residual, working.clusters
    phi = float(weight @ (r * r)) / float(weight.sum()) if scale is None else scale
    _refuse_perfect(phi)
    if working.kind == "exchangeable":
        both = clusters.sums(weight * r) ** 2 - clusters.sums((weight * r) ** 2)
        counted = clusters.sums(weight) ** 2 - clusters.sums(weight**2)
        alpha = np.array([float(both.sum()) / (phi * float(counted.sum()))])
    elif working.kind == "ar1":
        alpha = _ar1_step(clusters, weight, r / np.sqrt(phi), float(alpha[0]))
    elif working.kind == "unstructured":
        alpha = _pair_means(clusters, weight, r) / phi
    return phi, alpha


def _pair_means(clusters: Clusters, weight: Array, r: Array) -> Array:
    """Weighted mean product of each pair of visits."""
    shape = (len(clusters.sizes), len(clusters.labels))
    products, counted = np.zeros(shape), np.zeros(shape)
    products[clusters.of_rows, clusters.visits] = weight * r
    counted[clusters.of_rows, clusters.visits] = weight
    upper = np.triu_indices(shape[1], 1)
    return (products.T @ products)[upper] / (counted.T @ counted)[upper]


def start_of_alpha(means: Means, working: Working) -> Array:
    """Correlations to begin with: 0, as geepack does, but where times do not count visits.

    At 0 only pairs one apart have a slope; elsewhere the products of neighbours say where to begin.
    """
    alpha, clusters = np.zeros(working.n_alpha), working.clusters
    if working.kind == "ar1" and not _counts_visits(clusters):
        inside, e = np.isfinite(clusters.gaps), means.residual
        neighbours = float((e * np.roll(e, 1))[inside].mean() / (e @ e / len(e)))
        alpha[0] = float(np.clip(neighbours, 0.05, 0.95)) ** (1.0 / float(np.median(clusters.gaps[inside])))
    return alpha


def _counts_visits(clusters: Clusters) -> bool:
    """Whether times are whole numbers, and most neighbours one apart."""
    gaps = clusters.gaps[np.isfinite(clusters.gaps)]
    return bool(np.median(gaps) == 1.0 and (gaps == np.round(gaps)).all())


def ar1_slope(distance: Array, a: float) -> Array:
    """Derivative of a^d."""
    return distance * a ** (distance - 1.0)


def _ar1_step(clusters: Clusters, weight: Array, z: Array, a: float) -> Array:
    """One step of Gauss and Newton towards a^d ≈ products of rows d apart.

    Where times do not count visits, it is made in log(−log a): a is then between 0 and 1, at any unit of time.
    """
    top = bottom = 0.0
    for first, second in pairs(clusters):
        distance = clusters.times[second] - clusters.times[first]
        slope, both = ar1_slope(distance, a), weight[first] * weight[second]
        if np.abs(slope).max() < 1e-16:
            break  # rows further apart weigh nothing
        top += float((both * slope) @ (z[first] * z[second] - a**distance))
        bottom += float((both * slope) @ slope)
    step = top / bottom
    if _counts_visits(clusters):
        new = a + step
        return np.array([new if abs(new) < 1.0 else (a + np.sign(new)) / 2.0])
    rate = -np.log(a)
    rate *= np.exp(np.clip(-step / (rate * a), -1.0, 1.0))
    if rate * np.median(clusters.gaps[np.isfinite(clusters.gaps)]) > 20.0:
        raise FitError(
            'corr="ar1" finds no correlation of neighbours that is above 0 and falls with time; use another corr=, or '
            "a time= that counts the visits"
        )
    return np.array([np.exp(-rate)])


def _refuse_perfect(phi: float) -> None:
    if not phi > 1e-25:
        raise FitError("the fitted values are the responses themselves: nothing is left to estimate a scale from")
