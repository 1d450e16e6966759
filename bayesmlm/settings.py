"""How each reading of a model is made: settings as values, checked when they are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bayesmlm.errors import SpecError, among

__all__ = [
    "CORRELATIONS",
    "COVARIANCES",
    "DEFAULT_METHODS",
    "FLAVOURS",
    "METHODS",
    "POSTERIORS",
    "Equations",
    "Likelihood",
    "Sampling",
    "check_methods",
]

METHODS = ("ml", "map", "nuts", "auto", "marginal", "gee")
"""The readings that can be asked for."""

DEFAULT_METHODS = ("ml", "nuts")
"""Those a spec file gets without asking."""

POSTERIORS = ("nuts", "marginal", "auto")
"""Ways to the posterior."""

INFORMATION = ("observed", "expected")
"""Which information can enter the determinant of the Laplace approximation."""

CORRELATIONS = ("independence", "exchangeable", "ar1", "unstructured", "fixed")
"""Working correlations of a GEE."""

FLAVOURS = {"yan_fine": "", "geepack": "as R's geepack", "gee": "as R's gee"}
"""Whose estimators give a GEE's scale and correlations, and how a summary says so."""

COVARIANCES = {
    "robust": "robust",
    "naive": "naive: right only where the working correlation is",
    "bias_corrected": "robust, corrected for few clusters by Mancl & DeRouen",
    "mancl_derouen": "robust, corrected for few clusters by Mancl & DeRouen",
    "kauermann_carroll": "robust, corrected for few clusters by Kauermann & Carroll",
    "fay_graubard": "robust, corrected for few clusters by Fay & Graubard",
}
"""Covariances of a GEE's coefficients, in words; ``bias_corrected`` is Mancl & DeRouen's."""


def check_methods(methods: tuple[str, ...]) -> None:
    """Refuse a method that does not exist, and two ways to the posterior.

    Examples
    --------
    >>> check_methods(("ml", "nuts", "auto"))
    Traceback (most recent call last):
    bayesmlm.errors.SpecError: methods has nuts and auto, two ways to one posterior: choose one
    """
    for method in methods:
        if method not in METHODS:
            raise SpecError(f'there is no method "{method}"; {among(method, METHODS)}')
    ways = [method for method in dict.fromkeys(methods) if method in POSTERIORS]
    if len(ways) > 1:
        raise SpecError(f"methods has {' and '.join(ways)}, two ways to one posterior: choose one")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How a likelihood is maximised, with priors or without.

    Attributes
    ----------
    n_agq : int
        Points of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation, 0 lme4's fast mode.
    reml : bool
        Restricted maximum likelihood of a gaussian model; a posterior mode has none.
    information : {"observed", "expected"}
        What enters the determinant of the Laplace approximation.

    Raises
    ------
    SpecError
        For a value that cannot be, naming its key.
    """

    n_agq: int = 1
    reml: bool = False
    information: str = "observed"

    def __post_init__(self) -> None:
        if not _is_count(self.n_agq) or self.n_agq < 0:
            raise SpecError(f"n_agq should be 0 (fast), 1 (Laplace) or more quadrature points, not {self.n_agq!r}")
        if not isinstance(self.reml, bool):
            raise SpecError(f"reml should be true or false, not {self.reml!r}")
        if self.information not in INFORMATION:
            raise SpecError(f'there is no information "{self.information}"; {among(self.information, INFORMATION)}')


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a posterior is sampled.

    Attributes
    ----------
    draws, chains, seed : int
    tune : int or None
        Tuning steps per chain; None leaves the choice to the sampler.

    Raises
    ------
    SpecError
        For a value that cannot be, naming its key.
    """

    draws: int = 1000
    chains: int = 4
    seed: int = 1
    tune: int | None = None

    def __post_init__(self) -> None:
        for key in ("draws", "chains", "seed", "tune"):
            value = getattr(self, key)
            if key == "tune" and value is None:
                continue
            least = 0 if key == "seed" else 1
            if not _is_count(value) or value < least:
                raise SpecError(f"sampling.{key} should be a whole number of {least} or more, not {value!r}")


@dataclass(frozen=True, slots=True)
class Equations:
    """How estimating equations (GEE) are set up; see :meth:`bayesmlm.model.Model.fit_gee`.

    Attributes
    ----------
    groups : str or None
        Clusters; None is the grouping of the formula's bars.
    corr : str
        A working correlation of :data:`CORRELATIONS`, ``fixed`` aside: its matrix has no place in a file.
    time : str or None
    scale : float or None
    se : str
        A key of :data:`COVARIANCES`.
    flavour : str
        A key of :data:`FLAVOURS`.

    Raises
    ------
    SpecError
        For a value that cannot be, naming its key.

    Examples
    --------
    >>> Equations(groups="district", corr="exchangable")
    Traceback (most recent call last):
    bayesmlm.errors.SpecError: there is no gee.corr "exchangable"; did you mean "exchangeable"? (there are: \
independence, exchangeable, ar1, unstructured)
    """

    groups: str | None = None
    corr: str = "exchangeable"
    time: str | None = None
    scale: float | None = None
    se: str = "robust"
    flavour: str = "yan_fine"

    def __post_init__(self) -> None:
        for key in ("groups", "time"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, str):
                raise SpecError(f"gee.{key} should be the name of a column, not {value!r}")
        writable = tuple(corr for corr in CORRELATIONS if corr != "fixed")
        for key, known in (("corr", writable), ("se", tuple(COVARIANCES)), ("flavour", tuple(FLAVOURS))):
            value = getattr(self, key)
            if value not in known:
                raise SpecError(f'there is no gee.{key} "{value}"; {among(value, known)}')
        scale = self.scale
        is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
        if scale is not None and not (is_number and math.isfinite(scale) and scale > 0.0):
            raise SpecError(f"gee.scale should be a number above 0, not {scale!r}")
