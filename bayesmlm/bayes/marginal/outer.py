"""The proposal of θ and b: nested Laplace as a density that can be drawn from.

Along the axes t of θ = θ̂ + R t that :mod:`bayesmlm.bayes.marginal.walk` has followed, one after the other,

    t_j = c_j(t_1, …, t_j−1) + e^(l_j(t_1, …, t_j−1)) s_j,   s_j ~ q_j,      b | t = m(t) + F(t) w,

q_j going through the values along axis j with exponential tails, F(t)F(t)' the covariance of b, and c, l, m and F
linear between the nodes of each path and put together by sums and, of F, products.  Of w the fixed effects' part is a
multivariate t and the rest normal; q_j is a little wider than the values say: the weights of far draws stay bounded.
It is a proposal: what it leaves out, the weights put right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.bayes.marginal.density import Density, density_through
from bayesmlm.bayes.marginal.inner import Mode, Moments
from bayesmlm.bayes.marginal.walk import Path, Surface, walk

__all__ = ["Outer", "outer_proposal"]

Array = np.ndarray[Any, Any]

_TEMPER = 0.85
"""Power to which the densities along the axes are raised."""
_DF = 20.0
"""Degrees of freedom of the fixed effects, or four for each where that is more: their radius varies by so much less."""


@dataclass(frozen=True, slots=True)
class Outer:
    """The proposal.

    Attributes
    ----------
    surface : Surface
    mode : Mode
        At t = 0.
    moments : Moments
        Of b there.
    paths : tuple of Path
    densities : tuple of Density
        q_j.
    """

    surface: Surface
    mode: Mode
    moments: Moments
    paths: tuple[Path, ...]
    densities: tuple[Density, ...]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draws in the kernel's coordinates, u left at 0, shape (n, size), and their log-densities, shape (n,)."""
        parts, m, d = self.surface.parts, len(self.paths), len(self.moments.mean)
        uniform, (w, log_q) = rng.random((n, m)), _standard(n, len(parts.X), d, rng)
        t, shift, log_scale = np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m))
        mean = np.tile(self.moments.mean, (n, 1))
        for j, (path, density) in enumerate(zip(self.paths, self.densities, strict=True)):
            s = density.quantile(uniform[:, j])
            log_q += density.log_density(s) - log_scale[:, j]
            s *= np.exp(log_scale[:, j])
            t[:, j] = shift[:, j] + s
            node = np.clip(np.searchsorted(path.t, s) - 1, 0, len(path.t) - 2)
            share = np.clip(s - path.t[node], 0.0, 1.0)[:, None]
            shift += (1.0 - share) * path.shift[node] + share * path.shift[node + 1]
            log_scale += (1.0 - share) * path.log_scale[node] + share * path.log_scale[node + 1]
            mean += (1.0 - share) * path.mean[node] + share * path.mean[node + 1]
            for at in np.unique(node):
                of = node == at
                low, high, f = path.factor[at], path.factor[at + 1], share[of]
                w[of] = (1.0 - f) * (w[of] @ low.T) + f * (w[of] @ high.T)
                log_q[of] -= np.log((1.0 - f) * np.diag(low) + f * np.diag(high)).sum(axis=1)
        x = np.zeros((n, parts.kernel.size))
        log_q -= parts.set_theta(x, self.surface.theta + t @ self.surface.root.T)
        log_q -= parts.set_rest(x, mean + w @ self.moments.root.T)
        log_q -= np.log(np.diag(self.moments.root)).sum() + np.linalg.slogdet(self.surface.root)[1]
        return x, log_q


def _standard(n: int, p: int, d: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """w, shape (n, d), the first p multivariate t and the others normal, and the logarithms of their densities."""
    df = max(_DF, 4.0 * p)
    w, squares = rng.standard_normal((n, d)), rng.chisquare(df, n) / df
    w[:, :p] /= np.sqrt(squares)[:, None]
    radius, normal = np.square(w[:, :p]).sum(axis=1), np.square(w[:, p:]).sum(axis=1)
    constant = math.lgamma(0.5 * (df + p)) - math.lgamma(0.5 * df) - 0.5 * p * math.log(df * math.pi)
    constant -= 0.5 * (d - p) * math.log(2.0 * math.pi)
    return w, constant - 0.5 * (df + p) * np.log1p(radius / df) - 0.5 * normal


def outer_proposal(surface: Surface, mode: Mode) -> Outer:
    """Walk along the axes and make the proposal.

    Examples
    --------
    >>> from bayesmlm.bayes.marginal.parts import parts_of
    >>> from bayesmlm.bayes.marginal.walk import settle
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception")))
    >>> proposal = outer_proposal(*settle(parts, np.zeros(parts.kernel.size), np.array([[0.04]])))
    >>> x, log_q = proposal.draw(1000, np.random.default_rng(1))
    >>> np.exp(x[:, 2]).mean().round(1)
    np.float64(0.5)
    """
    own, paths = walk(surface, mode)
    densities = tuple(density_through(path.t, _TEMPER * path.log_density) for path in paths)
    return Outer(surface, mode, own, paths, densities)
