"""Nested Laplace: the density of the variance parameters θ, and the moments of b given them, along axes of θ.

With θ = θ̂ + R t the inner Laplace approximation is made at t = 0 and at steps of one along every axis until the density
of θ has all but vanished (Rue, Martino & Chopin, 2009, section 3.1).  An axis is a path: at t_j = s the axes after it
stand where a parabola through three values has its top, which gives also by how much each of them is narrower there
than at t_j = 0, and the density of t_j with them integrated out.  Two standard deviations whose squares trade against
each other down to 0 are followed so, where straight axes would leave the posterior.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.bayes.marginal.candidates import Candidates
from bayesmlm.bayes.marginal.inner import Mode, Moments, inner_mode, moments
from bayesmlm.bayes.marginal.joint import integrate
from bayesmlm.bayes.marginal.parts import Parts

__all__ = ["Path", "Surface", "settle", "walk"]

Array = np.ndarray[Any, Any]
_DROP = 9.0
"""How far the log-density of θ falls along an axis before it is not looked at any further."""
_STEPS = 12
"""Steps to one side at most."""
_CURVED = 4
"""Variance parameters up to which axes are paths: their cost grows with the square of the number."""
_FLAT = 0.15
"""Curvature at least, in units of the axes': a scale is at most 2.6."""
_FAR = 1.5
"""Steps that the top of a parabola may be away."""
_WIDEST = 1.5
"""Standard deviation of a logarithm at most."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Surface:
    """The log-density of θ as a function of t.

    Attributes
    ----------
    parts : Parts
    theta : ndarray, shape (m,)
        θ̂.
    root : ndarray, shape (m, m)
        R.
    nodes : Candidates, optional
        Of u for one draw, where its likelihood is integrated better than by Laplace.
    """

    parts: Parts
    theta: Array
    root: Array
    nodes: Candidates | None

    def at(self, t: Array, near: Mode) -> Mode | None:
        """The inner mode at t, sought from another one; its log-density is that of θ."""
        x = near.x.copy()
        jacobian = float(self.parts.set_theta(x, self.theta + self.root @ t))
        mode = inner_mode(self.parts, x)
        if mode is None:
            return None
        value = mode.log_density
        if self.nodes is not None:
            d = len(self.parts.rest)
            value = float(integrate(self.parts, mode, mode.x[None].copy(), self.nodes)[0])
            value += 0.5 * d * math.log(2.0 * math.pi) - float(np.log(np.diag(mode.root)).sum())
        return replace(mode, log_density=value + jacobian) if np.isfinite(value) else None

    def parabolas(self, t: Array, mode: Mode, axes: range) -> tuple[Array, Array, Array]:
        """Tops, relative to t, logarithms of scales and heights of parabolas along some axes, each of shape (m,)."""
        top, log_scale, height = (np.zeros(len(t)) for _ in range(3))
        for j in axes:
            e = np.zeros(len(t))
            e[j] = 1.0
            below, above = self.at(t - e, mode), self.at(t + e, mode)
            if below is None or above is None:
                continue
            slope = 0.5 * (above.log_density - below.log_density)
            curvature = max(2.0 * mode.log_density - above.log_density - below.log_density, _FLAT)
            top[j] = min(max(slope / curvature, -_FAR), _FAR)
            log_scale[j] = -0.5 * math.log(curvature)
            height[j] = (slope - 0.5 * curvature * top[j]) * top[j]
        return top, log_scale, height


@dataclass(frozen=True, slots=True)
class Path:
    """What is known along one axis.

    Attributes
    ----------
    t : ndarray, shape (nodes,)
        Its own coordinate.
    log_density : ndarray, shape (nodes,)
        Of it, the axes after it integrated out.
    shift, log_scale : ndarray, shape (nodes, m)
        Where the axes after it stand, and how wide they are, relative to t = 0.
    mean : ndarray, shape (nodes, d)
        Of b, relative to t = 0.
    factor : ndarray, shape (nodes, d, d)
        M with F M the Cholesky factor of b's covariance, F that at t = 0.
    """

    t: Array
    log_density: Array
    shift: Array
    log_scale: Array
    mean: Array
    factor: Array


def settle(parts: Parts, x: Array, covariance: Array, nodes: Candidates | None = None) -> tuple[Surface, Mode] | None:
    """Find the top of the density of θ and its width along axes, from a guess of both.

    Parameters
    ----------
    parts : Parts
    x : ndarray, shape (size,)
    covariance : ndarray, shape (m, m)
        Of θ.
    nodes : Candidates, optional
        As :class:`Surface` has them.

    Returns
    -------
    (Surface, Mode) or None
        None where there is no mode of (b, u) at θ.
    """
    m = len(parts.theta)
    # The least known first: its path leads the others.
    order = np.argsort(-np.diag(covariance), kind="stable")
    root = np.zeros((m, m))
    root[order] = np.linalg.cholesky(covariance[np.ix_(order, order)])
    surface = Surface(parts, parts.theta_of(x), root, nodes)
    start = inner_mode(parts, x)
    mode = None if start is None else surface.at(np.zeros(m), start)
    for _ in range(_ROUNDS):
        if mode is None or m == 0:
            break
        top, log_scale, _ = surface.parabolas(np.zeros(m), mode, range(m))
        if max(np.abs(top).max(), np.abs(log_scale).max()) < 0.3:
            break
        root = surface.root * np.exp(log_scale)
        root *= min(1.0, _WIDEST / np.sqrt(np.square(root).sum(axis=1)).max())
        surface = replace(surface, theta=surface.theta + surface.root @ top, root=root)
        mode = surface.at(np.zeros(m), mode)
    return None if mode is None else (surface, mode)


def walk(surface: Surface, centre: Mode) -> tuple[Moments, tuple[Path, ...]]:
    """Moments of b at t = 0, and the paths along all axes.

    Examples
    --------
    >>> from bayesmlm.bayes.marginal.parts import parts_of
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception")))
    >>> surface, centre = settle(parts, np.zeros(parts.kernel.size), np.array([[0.04]]))
    >>> _, (path,) = walk(surface, centre)
    >>> path.t[np.argmax(path.log_density)]
    np.float64(0.0)
    """
    parts, m = surface.parts, len(surface.theta)
    own = moments(parts, centre)
    return own, tuple(_path(surface, centre, own, j) for j in range(m))


def _path(surface: Surface, centre: Mode, own: Moments, j: int) -> Path:
    m = len(surface.theta)
    after = range(j + 1, m) if m <= _CURVED else range(0)
    at_centre = surface.parabolas(np.zeros(m), centre, after)
    nodes = {0: (centre, at_centre[0], at_centre[1], centre.log_density + at_centre[2].sum() + at_centre[1].sum())}
    top = nodes[0][3]
    for side in (1, -1):
        mode, place = centre, at_centre[0]
        for step in range(1, _STEPS + 1):
            t = place.copy()
            t[j] = side * step
            found = surface.at(t, mode)
            if found is None:
                break
            mode = found
            shift, log_scale, height = surface.parabolas(t, mode, after)
            value = mode.log_density + float(height.sum() + log_scale.sum())
            place = place + shift
            nodes[side * step] = (mode, place, log_scale, value)
            top = max(top, value)
            if step > 2 and value < top - _DROP:
                break
    steps = sorted(nodes)
    found_moments = [moments(surface.parts, nodes[step][0]) for step in steps]
    return Path(
        np.array(steps, dtype=float),
        np.array([nodes[step][3] for step in steps]),
        np.array([nodes[step][1] for step in steps]) - at_centre[0],
        np.array([nodes[step][2] for step in steps]) - at_centre[1],
        np.array([found.mean for found in found_moments]) - own.mean,
        np.linalg.solve(own.root, np.array([found.root for found in found_moments])),
    )
