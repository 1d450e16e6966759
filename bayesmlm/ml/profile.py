"""Profile-likelihood intervals of fixed effects, standard deviations, correlations and σ.

The limits of φ are where its signed root ζ(φ) = ±√(2 (ℓ̂ − max ℓ | φ)) meets the normal quantile (Bates et al., 2015,
section 5.1).  The slope of the profile is the derivative of ℓ in φ at the constrained maximum, by the envelope
theorem, so Newton's method on ζ needs no differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.ml.engine import MLSolution
from bayesmlm.ml.optimise import Optimum, hessian_of_gradient, maximise
from bayesmlm.ml.sections import Section, positive_definite, sections, user_scale

__all__ = ["Limits", "Trace", "profile_limits", "profile_traces"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

_FARTHEST = 1e4
"""Wald half-widths from the estimate after which a limit not reached is infinite."""

_STAGE = 0.5
"""Steps of ζ where the likelihood may have several maxima."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Profile limits of one quantity.

    Attributes
    ----------
    low, high : float
        A limit that the likelihood does not reach is the end of the range: 0 for a standard deviation, ±1 for a
        correlation, infinite for others.  NaN where the likelihood could not be followed that far.
    evaluations : int
    """

    low: float
    high: float
    evaluations: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The profile of one quantity: its values, in order, and the signed root ζ at each."""

    values: Array
    zeta: Array


class _Profile:
    """ζ along one section, each constrained maximum searched for from the last."""

    def __init__(self, section: Section) -> None:
        self.section = section
        information = section.information
        self.inner = information[1:, 1:]
        # Along the profile z moves by −I_zz⁻¹ I_zφ, and the information left on φ is its Schur complement.
        self.path = -np.linalg.solve(self.inner, information[1:, 0]) if len(section.rest) else np.zeros(0)
        left = float(information[0, 0] + information[0, 1:] @ self.path)
        self.deviation = 1.0 / math.sqrt(max(left, 1e-12 * information[0, 0]))
        self.evaluations = 0
        self.rugged = section.rugged or any(self._vanishes(section.rest, every) for _, every in section.columns)
        self.restart()

    def restart(self) -> None:
        """Go back to the estimate."""
        self.phi, self.rest = self.section.estimate, self.section.rest

    def zeta(self, phi: float) -> tuple[float, float]:
        """|ζ| at φ, and ℓ′ along the profile there; infinite where the likelihood could not be evaluated."""
        section = self.section
        start = self._off_saddles(self.rest + self.path * (phi - self.phi))
        found = self._maximum(phi, start, self.inner)
        if not math.isfinite(found.value):
            # The modes the last evaluation left may have been no place to start from; a failure forgets them.
            found = self._maximum(phi, start, self.inner)
        if not found.converged and math.isfinite(found.value):
            gradient = section.objective(phi, found.x)[1][1:]
            steps = 1e-5 / np.sqrt(np.maximum(np.diag(self.inner), 1e-12))
            curvature = -hessian_of_gradient(lambda z: self._given(phi, z), found.x, gradient, steps)
            if np.isfinite(curvature).all():
                found = self._maximum(phi, found.x, positive_definite(curvature))
        return self._at(phi, found)

    def _verified(self, phi: float) -> tuple[float, float]:
        """As :meth:`zeta` after it, but with the constrained maximum searched for from elsewhere too."""
        starts = [self.rest, self.section.rest]
        for sign in (0.0, -1.0):
            turned = self.rest.copy()
            turned[self.section.below] *= sign
            starts.append(turned)
        tried = [self._maximum(phi, self._off_saddles(start), self.inner) for start in starts]
        return self._at(phi, max(tried, key=lambda found: found.value))

    def _at(self, phi: float, found: Optimum) -> tuple[float, float]:
        section = self.section
        if not (math.isfinite(found.value) and np.isfinite(found.gradient).all()):
            return math.inf, 0.0
        if found.value > section.top + 1e-4 * (1.0 + 1e-4 * abs(section.top)):
            raise FitError(
                f"profiling found a likelihood {found.value - section.top:.2g} above the fit's: the fit is not at the "
                f"maximum, so there are no profile limits around it"
            )
        self.phi, self.rest = phi, found.x
        if not np.array_equal(self.last[0], found.x):
            self._given(phi, found.x)
            self.evaluations += 1
        return math.sqrt(2.0 * max(section.top - found.value, 0.0)), self.last[1]

    def _given(self, phi: float, z: Array) -> tuple[float, Array]:
        value, gradient = self.section.objective(phi, z)
        # The search mostly ends where it looked last: the slope there need not be asked for again.
        self.last = z, float(gradient[0])
        return value, gradient[1:]

    def _maximum(self, phi: float, start: Array, information: Array) -> Optimum:
        found = maximise(lambda z: self._given(phi, z), start, information, hessian=False)
        self.evaluations += found.evaluations
        return found

    def _off_saddles(self, z: Array) -> Array:
        """A column of λ at zero is a stationary point whatever φ is: start from beside it."""
        z = z.copy()
        for diagonal, every in self.section.columns:
            if self._vanishes(z, every):
                z[diagonal] = min(0.5 / math.sqrt(self.inner[diagonal, diagonal]), 0.3 * self.section.unit)
        return z

    def _vanishes(self, z: Array, column: Array) -> bool:
        return bool(np.abs(z[column]).max() < 1e-2 * self.section.unit)

    def limit(self, quantile: float, side: int) -> float:
        """Where |ζ| reaches the quantile on one side of the estimate, by Newton's method on ζ within a bracket.

        Covariances of several columns, and variances at zero, make for local maxima: there ζ is followed in small
        steps, always from the last point known to lie inside, and checked in the end.
        """
        self.restart()
        section, stage = self.section, _STAGE if self.rugged else math.inf
        end = section.high if side > 0 else section.low
        if side * (end - section.estimate) <= 1e-8 * max(abs(section.estimate), 1e-300):
            return end
        step = quantile * self.deviation
        farthest = section.estimate + side * _FARTHEST * step
        inside, state, zeta_inside = section.estimate, self.rest, 0.0
        outside, beyond, gap = None, False, math.inf
        new = section.estimate + side * min(quantile, stage) * self.deviation
        for _ in range(80):
            if outside is None and side * (new - end) >= 0.0:
                new = end
            elif outside is not None and not 0.0 < (new - inside) / (outside - inside) < 1.0:
                new = 0.5 * (inside + outside)
            zeta, slope = self.zeta(new)
            if self.rugged and zeta > zeta_inside + 2.0 * stage:
                # A rise this steep may be that of another maximum: go there by way of the middle.
                self.phi, self.rest = inside, state
                self.zeta(0.5 * (inside + new))
                zeta, slope = self.zeta(new)
            if abs(zeta - quantile) < 1e-5:
                if self.rugged:
                    zeta, slope = self._verified(new)
                if abs(zeta - quantile) < 1e-5:
                    return new
                outside = None
            if zeta < quantile:
                if new == end:
                    return end
                if side * (new - farthest) > 0.0:
                    return side * math.inf
                inside, state, zeta_inside = new, self.rest, zeta
                rise = max(-side * slope, 0.0) / max(zeta, 1e-6)
                if outside is not None and self.rugged and abs(outside - inside) < 0.2 * gap:
                    # Nothing on the way announces that limit: it was another maximum's.
                    outside = outside if zeta + 2.0 * rise * abs(outside - inside) > quantile else None
            else:
                gap = abs(new - inside) if outside is None else gap
                outside, beyond = new, not math.isfinite(zeta)
            if outside is not None and abs(outside - inside) < 1e-9 * (abs(inside) + self.deviation):
                return math.nan if beyond else new
            # ζ² = 2 (ℓ̂ − ℓ), so ζ′ = −ℓ′ / ζ.
            aim = min(quantile, zeta + stage)
            newton = (
                abs(aim - zeta) * zeta / -(side * slope) if math.isfinite(zeta) and slope * side < 0.0 else math.inf
            )
            far = 4.0 * max(abs(new - section.estimate), step)
            new = new + side * min(newton, far) * (1.0 if zeta < quantile else -1.0)
            if self.rugged:
                self.phi, self.rest = inside, state
        return math.nan


def _refuse_others(solution: MLSolution) -> None:
    if solution.n_agq == 0 or solution.reml or not math.isnan(solution.log_prior):
        raise FitError("profiles are of the likelihood in all parameters: fit by fit_ml(n_agq=1, reml=False) first")


def profile_limits(
    design: Design, solution: MLSolution, quantile: float, wanted: list[int] | None = None,
    progress: Progress | None = None,
) -> list[Limits]:  # fmt: skip
    """Profile limits of the quantities of a fit.

    Parameters
    ----------
    design : Design
    solution : MLSolution
        Of maximum likelihood (not REML, not a posterior mode) with at least one quadrature point.
    quantile : float
        Of the normal distribution, 1.96 for 95 %.
    wanted : list of int, optional
        Places in the table (fixed effects, standard deviations, correlations, σ); all by default.
    progress : callable, optional
        Called with quantities done and in all.

    Raises
    ------
    FitError
        For a fit whose likelihood is not a function of all its parameters, or which is not at its maximum.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> low, high = [(l.low, l.high) for l in profile_limits(fit.design, fit.solution, 1.96, [2])][0]
    >>> round(float(low), 1), round(float(high), 1)
    (0.3, 0.6)
    """
    _refuse_others(solution)
    found = sections(design, solution)
    wanted = list(range(len(found))) if wanted is None else wanted
    out = []
    for done, place in enumerate(wanted):
        section = found[place]()
        if section is None:
            # With a standard deviation of zero every correlation is as likely.
            out.append(Limits(-1.0, 1.0, 0))
        else:
            profile = _Profile(section)
            low, high = profile.limit(quantile, -1), profile.limit(quantile, +1)
            limits = user_scale(design, place, len(solution.beta), np.array([low, high]))
            out.append(Limits(float(limits[0]), float(limits[1]), profile.evaluations))
        if progress is not None:
            progress(done + 1, len(wanted))
    return out


def profile_traces(
    design: Design, solution: MLSolution, most: float, points: int, wanted: list[int] | None = None
) -> list[Trace]:
    """Profiles of the quantities of a fit, for pictures.

    Parameters
    ----------
    design, solution, wanted
        As of :func:`profile_limits`.
    most : float
        |ζ| to follow the profile to.
    points : int
        On either side of the estimate, evenly spaced in the quantity.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> [trace] = profile_traces(fit.design, fit.solution, 2.0, 2, [2])
    >>> trace.zeta.round(1).tolist()
    [-2.0, -0.9, 0.0, 1.1, 2.0]
    """
    _refuse_others(solution)
    found = sections(design, solution)
    out = []
    for place in range(len(found)) if wanted is None else wanted:
        section = found[place]()
        values, zeta = [math.nan], [0.0]
        if section is not None:
            profile = _Profile(section)
            values = [section.estimate]
            for side in (-1, 1):
                end = profile.limit(most, side)
                if not math.isfinite(end):
                    end = section.estimate + side * most * profile.deviation
                profile.restart()
                for value in np.linspace(section.estimate, end, points + 1)[1:]:
                    if value == section.estimate:
                        continue
                    values.append(float(value))
                    zeta.append(side * profile.zeta(float(value))[0])
        order = np.argsort(values)
        out.append(Trace(user_scale(design, place, len(solution.beta), np.array(values)[order]), np.array(zeta)[order]))
    return out
