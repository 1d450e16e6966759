"""The estimating equations of mean, scale and correlations taken together (Yan & Fine, 2004).

Of cluster i, with r = (y − μ)/√v, weights w, z_jk = r_j r_k / φ and ρ_jk the working correlation:

* mean         U₁ = D′ V⁻¹ (y − μ)
* scale        U₂ = Σ_j w_j (r_j² − φ) / (2 φ)
* correlation  U₃ = Σ_{j<k} w_j w_k (z_jk − ρ_jk) dρ_jk/dα

Minus their derivatives form a lower triangle of blocks,

    A  0  0
    B  C  0
    D  E  F

whose inverse, around the sum of the equations' outer products, is the robust covariance of all estimates.

geepack (1.3.9 to 1.3.12) departs from these equations in three places, which ``as_geepack`` reproduces.  It divides
dr²/dβ by √v twice; it has r_j D_j + r_k D_k in dz_jk/dβ for r_k D_j + r_j D_k (both have mean 0); and a cluster of one
row repeats the correlation equations of the cluster before it, where it has none.  The coefficients' covariance is
the same; that of scale (but of Gaussian responses) and correlations is not: with 0/1 responses its standard error of a
correlation is easily twice as large.  It also leaves weights and trials outside of the residuals: w r² for (√w r)².
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.gee.clusters import Clusters, pairs
from bayesmlm.gee.mean import Means
from bayesmlm.gee.moments import ar1_slope, pair_places
from bayesmlm.gee.working import Working

__all__ = ["Association", "correlation_equations", "joint_covariance", "scale_equation"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Association:
    """The equations of the correlations.

    Attributes
    ----------
    U : ndarray, shape (K, q)
        Of each cluster.
    D : ndarray, shape (q, p)
    E : ndarray, shape (q,)
    F : ndarray, shape (q, q)
        Minus the derivatives of their sums in β, φ and α.
    """

    U: Array
    D: Array
    E: Array
    F: Array


def scale_equation(
    means: Means, weight: Array, phi: float, clusters: Clusters, as_geepack: bool
) -> tuple[Array, Array, float]:
    """U₂ of each cluster (K,), B (p,) and C."""
    r, w = means.residual, weight / (2.0 * phi)
    slope = -(2.0 * r + r * r * means.v_slope / means.root)  # d(r²)/dβ over D
    if as_geepack:
        slope = slope / means.root
    return clusters.sums(w * (r * r - phi)), -(w * slope) @ means.slope, float(w.sum())


def correlation_equations(
    means: Means, weight: Array, phi: float, working: Working, alpha: Array, as_geepack: bool
) -> Association:
    """U₃, D, E and F.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> from bayesmlm.gee.clusters import arrange
    >>> from bayesmlm.gee.mean import Rows, means_at
    >>> from bayesmlm.gee.working import working_of
    >>> y = np.array([1.0, 2.0, 0.0, -1.0])
    >>> rows = Rows(family_of("gaussian"), y, np.ones(4), np.zeros(4), np.ones((4, 1)))
    >>> working = working_of("exchangeable", arrange(np.array([0, 0, 1, 1]), np.zeros(4), None, ()))
    >>> means = means_at(rows, np.array([0.5]))
    >>> found = correlation_equations(means, np.ones(4), 1.25, working, np.array([0.6]), as_geepack=False)
    >>> found.U.round(4).ravel().tolist(), found.F.tolist()
    ([0.0, 0.0], [[2.0]])
    """
    sizes = working.clusters.sizes
    source, times = _repeated(sizes) if as_geepack else (np.arange(len(sizes)), np.ones(len(sizes)))
    make = _exchangeable if working.kind == "exchangeable" else _by_pairs
    found = make(means, weight, phi, working, alpha, times, as_geepack)
    U = np.where((source >= 0)[:, None], found.U[source], 0.0)
    return Association(U, found.D, found.E, found.F)


def _repeated(sizes: Array) -> tuple[Array, Array]:
    """Of each cluster, whose correlation equations geepack takes for it, and how often it is taken itself.

    Examples
    --------
    >>> [part.tolist() for part in _repeated(np.array([1, 3, 1, 1, 2]))]
    [[-1, 1, 1, 1, 4], [0, 3, 0, 0, 1]]
    """
    source = np.maximum.accumulate(np.where(sizes > 1, np.arange(len(sizes)), -1))
    return source, np.bincount(source[source >= 0], minlength=len(sizes))


def _exchangeable(
    means: Means, weight: Array, phi: float, working: Working, alpha: Array, times: Array, as_geepack: bool
) -> Association:
    """Sums over pairs as half of squares of sums less sums of squares: large clusters cost no more than small ones."""
    sums, sizes = working.clusters.sums, working.clusters.sizes
    r, c = means.residual, means.v_slope / means.root
    wr = weight * r
    both = (sums(wr) ** 2 - sums(wr * wr)) / 2.0  # Σ w_j w_k r_j r_k
    counted = (sums(weight) ** 2 - sums(weight * weight)) / 2.0
    others, others_wr = np.repeat(sums(weight), sizes) - weight, np.repeat(sums(wr), sizes) - wr
    # −Σ w_j w_k dz_jk/dβ, each row's D once.
    own = wr * others if as_geepack else weight * others_wr
    per_row = np.repeat(times, sizes) * (own + 0.5 * wr * c * others_wr) / phi
    return Association(
        (both / phi - alpha[0] * counted)[:, None],
        (per_row @ means.slope)[None, :],
        np.array([times @ both / phi**2]),
        np.array([[times @ counted]]),
    )


def _by_pairs(
    means: Means, weight: Array, phi: float, working: Working, alpha: Array, times: Array, as_geepack: bool
) -> Association:
    """Pair by pair, those of rows one place apart first."""
    clusters, r, q = working.clusters, means.residual, working.n_alpha
    c, of_rows = means.v_slope / means.root, clusters.of_rows
    places = pair_places(len(clusters.labels)) if working.kind == "unstructured" else None
    U, D = np.zeros((len(clusters.sizes), q)), np.zeros((q, means.slope.shape[1]))
    E, F = np.zeros(q), np.zeros(q)
    for first, second in pairs(clusters):
        if places is not None:
            place = places[clusters.visits[first], clusters.visits[second]]
            rho, slope = alpha[place], np.ones(len(first))
        else:
            distance = clusters.times[second] - clusters.times[first]
            place = np.zeros(len(first), dtype=np.int64)
            rho, slope = alpha[0] ** distance, ar1_slope(distance, float(alpha[0]))
            if np.abs(slope).max() < 1e-16:
                break  # rows further apart weigh nothing
        both = weight[first] * weight[second] * slope
        z = r[first] * r[second] / phi
        np.add.at(U, (of_rows[first], place), both * (z - rho))
        both = both * times[of_rows[first]]
        for row, other in ((first, second), (second, first)):
            own = r[row] if as_geepack else r[other]
            np.add.at(D, place, (both * (own / phi + 0.5 * z * c[row]))[:, None] * means.slope[row])
        E += np.bincount(place, both * z / phi, minlength=q)
        F += np.bincount(place, both * slope, minlength=q)
    return Association(U, D, E, np.diag(F))


def joint_covariance(U: Array, triangle: Array) -> Array:
    """H⁻¹ (Σ U U′) H⁻ᵀ of the clusters' equations U, shape (K, m), and the triangle H of blocks, shape (m, m).

    Examples
    --------
    >>> joint_covariance(np.array([[1.0], [-1.0]]), np.array([[2.0]])).tolist()
    [[0.5]]
    """
    influence = np.linalg.solve(triangle, U.T)
    return influence @ influence.T
