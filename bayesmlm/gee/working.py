"""Working correlations: their inverse applied to the rows of every cluster, and their matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.gee.clusters import Clusters

__all__ = ["Working", "working_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Working:
    """A structure of correlations on the clusters at hand.

    Attributes
    ----------
    kind : str
        ``independence``, ``exchangeable``, ``ar1``, ``unstructured`` or ``fixed``.
    clusters : Clusters
    given : ndarray or None
        The matrix of ``fixed``.
    patterns : tuple of (ndarray, ndarray)
        For a matrix of visits: the visits that some clusters have, shape (k,), and the rows of these, shape (m, k).
    """

    kind: str
    clusters: Clusters
    given: Array | None
    patterns: tuple[tuple[Array, Array], ...]

    @property
    def n_alpha(self) -> int:
        """Number of correlations to estimate."""
        visits = len(self.clusters.labels)
        return {"exchangeable": 1, "ar1": 1, "unstructured": visits * (visits - 1) // 2}.get(self.kind, 0)

    def solve(self, alpha: Array, x: Array) -> Array:
        """R⁻¹ x within every cluster; x has a row per row, shape (n, k).

        R need not be positive definite.

        Raises
        ------
        FitError
            Where R has no inverse.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.kind == "independence":
                return x
            if self.kind == "exchangeable":
                out = _exchangeable(self.clusters, float(alpha[0]), x)
            elif self.kind == "ar1":
                out = _ar1(self.clusters.gaps, float(alpha[0]), x)
            else:
                out = _patterned(self.patterns, self.of_visits(alpha), x)
        if not np.isfinite(out).all():
            raise FitError(
                f'the estimated working correlation (corr="{self.kind}") has no inverse; use a simpler one, such as '
                f'corr="independence"'
            )
        return out

    def of_visits(self, alpha: Array) -> Array:
        """R of a cluster that has every visit, shape (T, T)."""
        if self.given is not None:
            return self.given
        visits = len(self.clusters.labels)
        R = np.eye(visits)
        if self.kind == "exchangeable":
            R[~np.eye(visits, dtype=bool)] = alpha[0]
        elif self.kind == "ar1":
            times = np.unique(self.clusters.times)
            R = float(alpha[0]) ** np.abs(times[:, None] - times)
        elif self.kind == "unstructured":
            R[np.triu_indices(visits, 1)] = alpha
            R = R + np.triu(R, 1).T
        return R

    def smallest_eigenvalue(self, alpha: Array) -> float:
        """Of R; not above 0 where no responses can be so correlated."""
        if self.kind == "independence":
            return 1.0
        if self.kind == "exchangeable":
            # The others are 1 − α and 1 + (n − 1) α of the smaller clusters.
            return float(min(1.0 - alpha[0], 1.0 + (self.clusters.sizes.max() - 1) * alpha[0]))
        if self.kind == "ar1":
            return float((1.0 - abs(alpha[0])) / (1.0 + abs(alpha[0])))  # the limit of long series
        return float(np.linalg.eigvalsh(self.of_visits(alpha))[0])


def working_of(kind: str, clusters: Clusters, given: Array | None = None) -> Working:
    """Bind a structure to clusters.

    Raises
    ------
    FitError
        For a given matrix of the wrong size, and for more correlations than the clusters can tell.

    Examples
    --------
    >>> from bayesmlm.gee.clusters import arrange
    >>> working = working_of("exchangeable", arrange(np.array([0, 0, 1]), np.zeros(3), None, ()))
    >>> working.solve(np.array([0.5]), np.ones((3, 1))).round(4).ravel().tolist()
    [0.6667, 0.6667, 1.0]
    """
    visits, n_clusters = len(clusters.labels), len(clusters.sizes)
    if given is not None and len(given) != visits:
        raise FitError(
            f"the fixed correlation is {len(given)} × {len(given)}, and the clusters have {visits} visits "
            f"({', '.join(clusters.labels[:8])}{', …' if visits > 8 else ''}): give a matrix of that size"
        )
    patterns = _patterns(clusters) if kind in ("unstructured", "fixed") else ()
    working = Working(kind, clusters, given, patterns)
    if kind == "unstructured" and working.n_alpha > n_clusters:
        raise FitError(
            f"{visits} visits have {working.n_alpha} correlations, more than the {n_clusters} clusters can tell; use "
            f'corr="exchangeable" or corr="ar1"'
        )
    if kind == "unstructured":
        _refuse_unseen_pairs(working)
    return working


def _refuse_unseen_pairs(working: Working) -> None:
    labels = working.clusters.labels
    seen = np.eye(len(labels), dtype=bool)
    for visits, _ in working.patterns:
        seen[np.ix_(visits, visits)] = True
    if not seen.all():
        a, b = np.argwhere(~seen)[0]
        raise FitError(
            f"no cluster has both visit {labels[a]} and visit {labels[b]}: their correlation cannot be estimated; use "
            f'corr="ar1" or corr="exchangeable"'
        )


def _patterns(clusters: Clusters) -> tuple[tuple[Array, Array], ...]:
    """Clusters of the same visits together."""
    out = []
    for size in np.unique(clusters.sizes):
        rows = clusters.starts[clusters.sizes == size][:, None] + np.arange(size)
        kinds, which = np.unique(clusters.visits[rows], axis=0, return_inverse=True)
        out += [(kind, rows[which.ravel() == number]) for number, kind in enumerate(kinds)]
    return tuple(out)


def _exchangeable(clusters: Clusters, a: float, x: Array) -> Array:
    """(x − a/(1 + (n − 1) a) Σx) / (1 − a)."""
    share = a / (1.0 + (clusters.sizes - 1.0) * a)
    return (x - np.repeat(share[:, None] * clusters.sums(x), clusters.sizes, axis=0)) / (1.0 - a)


def _ar1(gaps: Array, a: float, x: Array) -> Array:
    """The inverse of a^|t − s| is tridiagonal, whatever the gaps."""
    before = a**gaps  # 0 for the first of a cluster
    after = np.append(before[1:], 0.0)
    beside = (before / (1.0 - before**2))[:, None]
    out = (1.0 / (1.0 - before**2) + 1.0 / (1.0 - after**2) - 1.0)[:, None] * x
    out[1:] -= beside[1:] * x[:-1]
    out[:-1] -= beside[1:] * x[1:]
    return out


def _patterned(patterns: tuple[tuple[Array, Array], ...], R: Array, x: Array) -> Array:
    out = np.empty_like(x)
    for visits, rows in patterns:
        size, clusters = len(visits), len(rows)
        # The clusters' rows side by side: one factorisation serves all.
        side = x[rows].transpose(1, 0, 2).reshape(size, -1)
        try:
            solved = np.linalg.solve(R[np.ix_(visits, visits)], side)
        except np.linalg.LinAlgError:
            solved = np.full_like(side, np.nan)
        out[rows] = solved.reshape(size, clusters, -1).transpose(1, 0, 2)
    return out
