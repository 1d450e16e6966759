"""Prior values: what a prior is, how it is written, and which one a coefficient has by default.

A prior's density refers to the user's scale.  Default rules, with the reasons:

* slopes: ``normal(0, 2.5 / sd(x))``, so that a change of one standard deviation of the predictor is
  unlikely to move the log-odds by more than 5 (Gelman, Jakulin, Pittau & Su, 2008; the rstanarm rule);
* ``Intercept``, at the mean of the predictors: ``student_t(3, 0, 2.5)`` (the brms rule), whose tails
  admit rare outcomes;
* standard deviations of group effects: ``half_student_t(3, 0, 2.5)`` (brms), divided by sd(x) for a slope;
* a Gaussian response multiplies all of these by its standard deviation, and the intercept's prior is centred at its
  mean; the residual standard deviation has ``half_student_t(3, 0, 2.5 sd(y))``;
* correlations: ``lkj(2)``, which leans mildly away from ±1.

A posterior mode (``fit_map``) takes ``gamma(2, 0.1)`` for standard deviations instead, which vanishes at 0 and keeps
the mode off the boundary (Chung, Rabe-Hesketh, Dorie, Gelman & Liu, 2013); a half_student_t would not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import lgamma, log, log1p, pi
from typing import Any

import numpy as np

from bayesmlm.errors import PriorError, among

__all__ = ["DISTRIBUTIONS", "Prior", "default_intercept", "default_sd", "default_slope", "parse_prior"]

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


_CALL = re.compile(r"\s*([A-Za-z_]+)\s*(?:\(([^()]*)\))?\s*")


def parse_prior(text: str | Prior, role: str = "") -> Prior:
    """Read ``"normal(0, 1)"`` into a :class:`Prior`.

    Parameters
    ----------
    text : str or Prior
    role : {"", "coefficient", "sd", "correlation"}
        What the prior is for; a distribution that cannot serve there is refused.

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
        raise PriorError(f"{prior} cannot be the prior of {what}; use one of: {', '.join(ROLES[role])}")
    return prior


def default_slope(sd_x: float, sd_y: float = 1.0) -> Prior:
    """Prior of a slope whose predictor has standard deviation ``sd_x``."""
    return Prior("normal", (0.0, 2.5 * sd_y / sd_x))


def default_intercept(mean_y: float = 0.0, sd_y: float = 1.0) -> Prior:
    """Prior of the intercept at the mean of the predictors."""
    return Prior("student_t", (3.0, mean_y, 2.5 * sd_y))


def default_sd(sd_z: float = 1.0, sd_y: float = 1.0) -> Prior:
    """Prior of the standard deviation of a group effect whose predictor has standard deviation ``sd_z``."""
    return Prior("half_student_t", (3.0, 0.0, 2.5 * sd_y / sd_z))


def default_mode_sd(sd_z: float = 1.0, sd_y: float = 1.0) -> Prior:
    """The same for a posterior mode, which it keeps off the boundary."""
    return Prior("gamma", (2.0, 0.1 * sd_z / sd_y))


DEFAULT_CORRELATION = Prior("lkj", (2.0,))


@dataclass(frozen=True, slots=True)
class ResolvedPriors:
    """Every prior of one model, resolved against its design once and frozen.

    Attributes
    ----------
    fixed : tuple of Prior
        One per fixed effect, in the order of the terms; ``Intercept`` refers to centred predictors.
    sd : tuple of tuple of Prior
        Per random-effect term, one per column.
    correlation : tuple of (Prior or None)
        Per random-effect term; None where there is one column only.
    mode_sd : tuple of tuple of Prior
        As ``sd``, with the default of a posterior mode.
    sigma : Prior or None
        Of the residual standard deviation of a Gaussian model.
    """

    fixed: tuple[Prior, ...]
    sd: tuple[tuple[Prior, ...], ...]
    correlation: tuple[Prior | None, ...]
    mode_sd: tuple[tuple[Prior, ...], ...]
    sigma: Prior | None = None


def resolve_priors(
    chosen: Mapping[str, Any],
    terms: tuple[str, ...],
    term_sds: np.ndarray[Any, Any],
    groups: tuple[tuple[str, tuple[str, ...], np.ndarray[Any, Any]], ...],
    response: tuple[float, float] | None = None,
) -> ResolvedPriors:
    """Give every coefficient, standard deviation and correlation its prior.

    Parameters
    ----------
    chosen : mapping
        What the user wrote: ``{"age": "normal(0, 1)", "fixed": …, "sd": {"district": …}, "cor": …}``.
        ``fixed`` speaks for all slopes; ``sd`` and ``cor`` are one prior for all groups or a table by group,
        where an entry is one prior or a table by column.
    terms : tuple of str
        Names of the fixed effects.
    term_sds : ndarray, shape (p,)
        Standard deviation of each column; 0 for the intercept.
    groups : tuple of (name, columns, sds)
        Per random-effect term, its name, the names of its columns and their standard deviations
        (0 for an intercept).
    response : (mean, sd), optional
        Of a Gaussian response, which the defaults are scaled by.

    Raises
    ------
    PriorError
        For a prior on something the model does not have, listing what it has.
    """
    group_names = [name for name, _, _ in groups]
    mean_y, sd_y = response or (0.0, 1.0)
    known = [*terms, "fixed", "sd", "cor", *(["sigma"] if response else [])]
    for key in chosen:
        if key not in known:
            raise PriorError(f'a prior is given for "{key}", which the model does not have; {among(key, known)}')

    fixed = []
    for term, sd_x in zip(terms, term_sds, strict=True):
        if term in chosen:
            fixed.append(parse_prior(chosen[term], "coefficient"))
        elif term == "Intercept":
            fixed.append(default_intercept(mean_y, sd_y))
        elif "fixed" in chosen:
            fixed.append(parse_prior(chosen["fixed"], "coefficient"))
        else:
            fixed.append(default_slope(float(sd_x) or 1.0, sd_y))

    def by_group(kind: str) -> dict[str, Any]:
        given = chosen.get(kind, {})
        if not isinstance(given, Mapping):
            return dict.fromkeys(group_names, given)
        for name in given:
            if name not in group_names:
                raise PriorError(
                    f'a prior is given for {kind} of "{name}", which is not a grouping of the model; '
                    f"{among(name, group_names) if group_names else 'it has none'}"
                )
        return dict(given)

    sd_given, cor_given = by_group("sd"), by_group("cor")
    sds: list[tuple[Prior, ...]] = []
    mode_sds: list[tuple[Prior, ...]] = []
    correlations: list[Prior | None] = []
    for name, columns, column_sds in groups:
        given = sd_given.get(name)
        if isinstance(given, Mapping):
            # An uncorrelated (x || g) makes several terms of one name: a key may belong to any of them.
            here = [c for other, cols, _ in groups if other == name for c in cols]
            for key in given:
                if key not in here:
                    raise PriorError(
                        f'a prior is given for sd of "{key}" within "{name}", which is not there; {among(key, here)}'
                    )
        row, mode_row = [], []
        for column, sd_z in zip(columns, column_sds, strict=True):
            own = given.get(column) if isinstance(given, Mapping) else given
            scale = float(sd_z) or 1.0
            row.append(default_sd(scale, sd_y) if own is None else parse_prior(own, "sd"))
            mode_row.append(default_mode_sd(scale, sd_y) if own is None else row[-1])
        sds.append(tuple(row))
        mode_sds.append(tuple(mode_row))
        own = cor_given.get(name, DEFAULT_CORRELATION)
        correlations.append(parse_prior(own, "correlation") if len(columns) > 1 else None)
    sigma = None
    if response:
        given_sigma = chosen.get("sigma")
        sigma = default_sd(1.0, sd_y) if given_sigma is None else parse_prior(given_sigma, "sd")
    return ResolvedPriors(tuple(fixed), tuple(sds), tuple(correlations), tuple(mode_sds), sigma)
