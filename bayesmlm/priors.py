"""Prior values: what a prior is, how it is written, its density and draws from it.

Which prior a quantity has where none is given is in :mod:`bayesmlm.prior_rules`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import lgamma, log, log1p, pi
from typing import Any

import numpy as np

from bayesmlm.errors import PriorError, among

__all__ = ["DISTRIBUTIONS", "Prior", "parse_prior"]

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "normal": ("mean", "sd"),
    "student_t": ("df", "mean", "scale"),
    "cauchy": ("location", "scale"),
    "half_normal": ("sd",),
    "half_student_t": ("df", "location", "scale"),
    "half_cauchy": ("scale",),
    "exponential": ("rate",),
    "gamma": ("shape", "rate"),
    "lkj": ("eta",),
    "flat": (),
}
"""Names of the distributions with the names of their parameters, in the order they are written."""

_LOCATION = ("mean", "location")
_COEFFICIENT = ("normal", "student_t", "cauchy", "flat")
_POSITIVE = ("half_normal", "half_student_t", "half_cauchy", "exponential", "gamma", "flat")
ROLES = {"coefficient": _COEFFICIENT, "sd": _POSITIVE, "correlation": ("lkj",)}


@dataclass(frozen=True, slots=True)
class Prior:
    """A prior distribution on one quantity, on the user's scale.

    Attributes
    ----------
    distribution : str
        A key of :data:`DISTRIBUTIONS`.
    parameters : tuple of float
        In the order :data:`DISTRIBUTIONS` names them.

    Examples
    --------
    >>> prior = parse_prior("student_t(3, 0, 2.5)")
    >>> prior["scale"], str(prior)
    (2.5, 'student_t(3, 0, 2.5)')
    """

    distribution: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.distribution not in DISTRIBUTIONS:
            raise PriorError(
                f'there is no prior distribution "{self.distribution}"; {among(self.distribution, DISTRIBUTIONS)}'
            )
        names = DISTRIBUTIONS[self.distribution]
        if len(self.parameters) != len(names):
            raise PriorError(
                f"{self.distribution} takes {len(names)} numbers ({', '.join(names) or 'none'}), "
                f"not {len(self.parameters)}: write {self.distribution}({', '.join(names)})"
            )
        for name, value in zip(names, self.parameters, strict=True):
            if not np.isfinite(value) or (name not in _LOCATION and value <= 0.0):
                raise PriorError(f"{self}: {name} must be a {'' if name in _LOCATION else 'positive '}number")
        if self.distribution == "half_student_t" and self["location"] != 0.0:
            raise PriorError(f"{self}: a half_student_t starts at 0; write half_student_t(df, 0, scale)")

    def __getitem__(self, name: str) -> float:
        return self.parameters[DISTRIBUTIONS[self.distribution].index(name)]

    def __str__(self) -> str:
        return f"{self.distribution}({', '.join(_shortest(value) for value in self.parameters)})"

    @property
    def brief(self) -> str:
        """The prior to six digits, for reading."""
        return f"{self.distribution}({', '.join(f'{value:.6g}' for value in self.parameters)})"

    def scaled(self, factor: float) -> Prior:
        """Return the prior of ``factor`` times the quantity (the change of coordinates, nothing more).

        Examples
        --------
        >>> str(parse_prior("normal(0, 2)").scaled(3.0)), str(parse_prior("gamma(2, 0.1)").scaled(2.0))
        ('normal(0, 6)', 'gamma(2, 0.05)')
        """
        names = DISTRIBUTIONS[self.distribution]
        powers = {"mean": 1, "sd": 1, "scale": 1, "location": 1, "rate": -1}
        values = tuple(
            value * factor ** powers.get(name, 0) for name, value in zip(names, self.parameters, strict=True)
        )
        return Prior(self.distribution, values)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray[Any, Any]:
        """Draw from the prior, shape (size,).

        Raises
        ------
        PriorError
            For a flat prior, which is no distribution.

        Examples
        --------
        >>> parse_prior("exponential(10)").draw(np.random.default_rng(1), 3).round(3).tolist()
        [0.107, 0.031, 0.538]
        """
        match self.distribution:
            case "normal":
                return self["mean"] + self["sd"] * rng.standard_normal(size)
            case "student_t":
                return self["mean"] + self["scale"] * rng.standard_t(self["df"], size)
            case "cauchy":
                return self["location"] + self["scale"] * rng.standard_cauchy(size)
            case "half_normal":
                return self["sd"] * np.abs(rng.standard_normal(size))
            case "half_student_t":
                return self["scale"] * np.abs(rng.standard_t(self["df"], size))
            case "half_cauchy":
                return self["scale"] * np.abs(rng.standard_cauchy(size))
            case "exponential":
                return rng.standard_exponential(size) / self["rate"]
            case "gamma":
                return rng.standard_gamma(self["shape"], size) / self["rate"]
            case "flat":
                raise PriorError("nothing can be drawn from a flat prior, which is no distribution")
        raise ValueError("an LKJ prior is on a correlation matrix")

    def log_density(self, x: float) -> tuple[float, float]:
        """Log-density at x and its derivative; half distributions at x ≥ 0, a flat one is 0 everywhere.

        Examples
        --------
        >>> value, slope = parse_prior("gamma(2, 0.1)").log_density(20.0)
        >>> round(value, 4), slope
        (-3.6094, -0.05)
        """
        name = self.distribution
        if name == "flat":
            return 0.0, 0.0
        if name == "exponential":
            return log(self["rate"]) - self["rate"] * x, -self["rate"]
        if name == "gamma":
            shape, rate = self.parameters
            with np.errstate(divide="ignore"):
                value = shape * log(rate) - lgamma(shape) + (shape - 1.0) * float(np.log(x)) - rate * x
            return value, ((shape - 1.0) / x if x > 0.0 else np.inf if shape > 1.0 else 0.0) - rate
        half = log(2.0) if name.startswith("half_") else 0.0
        if name in ("normal", "half_normal"):
            scale = self["sd"]
            t = (x - (self["mean"] if name == "normal" else 0.0)) / scale
            return half - log(scale) - 0.5 * log(2.0 * pi) - 0.5 * t * t, -t / scale
        if name == "lkj":
            raise ValueError("an LKJ prior is on a correlation matrix")
        df = 1.0 if "cauchy" in name else self["df"]
        scale = self["scale"]
        location = self["mean"] if name == "student_t" else 0.0 if name == "half_cauchy" else self["location"]
        t = (x - location) / scale
        constant = lgamma(0.5 * (df + 1.0)) - lgamma(0.5 * df) - 0.5 * log(df * pi) - log(scale)
        return half + constant - 0.5 * (df + 1.0) * log1p(t * t / df), -(df + 1.0) * t / (df + t * t) / scale


def _shortest(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


_CALL = re.compile(r"\s*([A-Za-z_-]+)\s*(?:\(([^()]*)\))?\s*")


def parse_prior(text: str | Prior, role: str = "", name: str = "") -> Prior:
    """Read ``"normal(0, 1)"`` into a :class:`Prior`.

    Parameters
    ----------
    text : str or Prior
    role : {"", "coefficient", "sd", "correlation"}
        What the prior is for; a distribution that cannot serve there is refused.
    name : str, optional
        Whose prior it is, for messages.

    Raises
    ------
    PriorError
        For text that is not a distribution with numbers, or one that does not fit the role.

    Examples
    --------
    >>> parse_prior("normal(0 1)")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    bayesmlm.errors.PriorError: cannot read the prior "normal(0 1)": write a distribution ...
    """
    if isinstance(text, Prior):
        prior = text
    else:
        match = _CALL.fullmatch(str(text))
        try:
            if match is None:
                raise ValueError
            inside = (match[2] or "").strip()
            values = tuple(float(part) for part in inside.split(",")) if inside else ()
        except ValueError:
            raise PriorError(
                f'cannot read the prior "{text}": write a distribution with numbers, such as normal(0, 1)'
            ) from None
        prior = Prior(match[1], values)
    if role and prior.distribution not in ROLES[role]:
        what = {"coefficient": "a coefficient", "sd": "a standard deviation", "correlation": "a correlation"}[role]
        whose = f' ("{name}")' if name else ""
        raise PriorError(f"{prior} cannot be the prior of {what}{whose}; use one of: {', '.join(ROLES[role])}")
    return prior
