"""Families and links: the distribution of the response, and the scale of the linear predictor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.errors import SpecError, among

__all__ = ["FAMILIES", "Family", "Link", "family_of"]

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Link:
    """A link function g with its inverse and the derivative of the inverse.

    Attributes
    ----------
    name : str
    code : int
        The number the compiled kernels know the link by (see ``laplace/kernels.py``).
    link, inverse, derivative : callable
        g(μ), g⁻¹(η) and dg⁻¹/dη, on arrays of any shape.
    residual_variance : float or None
        Variance of the latent residual on the link scale (π²/3 for the logit: Nakagawa & Schielzeth, 2010).
    scale_word : str
        What a linear predictor is called on this scale.

    Examples
    --------
    >>> round(float(family_of("bernoulli").link.inverse(np.array(-1.340698))), 7)
    0.2073953
    """

    name: str
    code: int
    link: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    residual_variance: float | None
    scale_word: str


def _logit(mu: Array) -> Array:
    return np.log(mu) - np.log1p(-mu)


def _expit(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-eta))


def _expit_derivative(eta: Array) -> Array:
    p = _expit(eta)
    return p * (1.0 - p)


def _probit(mu: Array) -> Array:
    from scipy.special import ndtri

    return ndtri(mu)


def _phi_inverse(eta: Array) -> Array:
    from scipy.special import ndtr

    return ndtr(eta)


def _phi_density(eta: Array) -> Array:
    return np.exp(-0.5 * eta * eta) / np.sqrt(2.0 * np.pi)


def _cloglog(mu: Array) -> Array:
    return np.log(-np.log1p(-mu))


def _cloglog_inverse(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return -np.expm1(-np.exp(eta))


def _cloglog_derivative(eta: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(eta - np.exp(eta))


LOGIT = Link("logit", 0, _logit, _expit, _expit_derivative, np.pi**2 / 3.0, "log-odds")
PROBIT = Link("probit", 1, _probit, _phi_inverse, _phi_density, 1.0, "probit")
CLOGLOG = Link("cloglog", 2, _cloglog, _cloglog_inverse, _cloglog_derivative, np.pi**2 / 6.0, "complementary log-log")
LOG = Link("log", 3, np.log, np.exp, np.exp, None, "log")
IDENTITY = Link("identity", 4, np.array, np.array, np.ones_like, None, "response")


@dataclass(frozen=True, slots=True)
class Family:
    """A response distribution together with one link.

    Attributes
    ----------
    name : str
        ``bernoulli``, ``binomial``, ``poisson`` or ``gaussian``.
    link : Link
    """

    name: str
    link: Link

    @property
    def is_binary(self) -> bool:
        """Whether the response is a 0/1 outcome or a count of successes."""
        return self.name in ("bernoulli", "binomial")

    @property
    def is_canonical(self) -> bool:
        """Whether the link is the canonical one, with which observed and expected information are one."""
        return self.link == FAMILIES[self.name][0]

    def __str__(self) -> str:
        return f"{self.name} ({self.link.name})"


FAMILIES: dict[str, tuple[Link, ...]] = {
    "bernoulli": (LOGIT, PROBIT, CLOGLOG),
    "binomial": (LOGIT, PROBIT, CLOGLOG),
    "poisson": (LOG,),
    "gaussian": (IDENTITY,),
}
"""Families and the links each admits, the canonical link first."""


def family_of(name: str, link: str | None = None) -> Family:
    """Look up a family and one of its links.

    Parameters
    ----------
    name : str
        A key of :data:`FAMILIES`.
    link : str, optional
        A link the family admits; the canonical one by default.

    Raises
    ------
    SpecError
        For a name that does not exist, listing those that do.

    Examples
    --------
    >>> str(family_of("bernoulli"))
    'bernoulli (logit)'
    >>> family_of("poisson", "probit")
    Traceback (most recent call last):
        ...
    bayesmlm.errors.SpecError: the poisson family has no link "probit"; there are: log
    """
    if name not in FAMILIES:
        raise SpecError(f'there is no family "{name}"; {among(name, FAMILIES)}')
    links = {candidate.name: candidate for candidate in FAMILIES[name]}
    if link is None:
        return Family(name, FAMILIES[name][0])
    if link not in links:
        raise SpecError(f'the {name} family has no link "{link}"; {among(link, links)}')
    return Family(name, links[link])
