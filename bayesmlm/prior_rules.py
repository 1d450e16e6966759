"""Which prior each quantity of a model has: the one given, its class's, or a default.

What a user gives is a table: ``{"age": …, "Intercept": …, "fixed": …, "sd": …, "cor": …, "sigma": …}``.  A term's own
prior comes before that of its class: ``fixed`` speaks for all slopes, ``sd`` for the standard deviations of group
effects, ``cor`` for their correlations.  A class may also be a table: ``fixed`` by term, ``sd`` by group and within
it by column, ``cor`` by group.

Without either a quantity has a default: weakly informative on standardised predictors, so that it does not depend on
the units of the data, and written down on the user's scale.  With sd(x) the standard deviation of a predictor's column,
and with mean(y) = 0 and sd(y) = 1 but for a Gaussian response, the defaults are:

* slopes: ``normal(0, 2.5 sd(y) / sd(x))``, so that a change of one standard deviation of the predictor is unlikely to
  move the log-odds by more than 5 (Gelman, Jakulin, Pittau & Su, 2008; the rstanarm rule);
* ``Intercept``, at the mean of the predictors: ``student_t(3, mean(y), 2.5 sd(y))`` (the brms rule), whose tails admit
  rare outcomes;
* standard deviations of group effects: ``half_student_t(3, 0, 2.5 sd(y) / sd(z))`` (brms), where sd(z) is that of a
  slope's column, 1 for an intercept: near 0 it is flat, so that little variation between groups is not ruled out;
* the residual standard deviation of a Gaussian model: ``half_student_t(3, 0, 2.5 sd(y))``;
* correlations: ``lkj(2)``, which leans mildly away from ±1.

They are the same on every link: a probit or log predictor is of the order of log-odds.

A posterior mode (``fit_map``) takes ``gamma(2, 0.1 sd(z) / sd(y))`` for standard deviations instead, which vanishes at
0 and keeps the mode off the boundary (Chung, Rabe-Hesketh, Dorie, Gelman & Liu, 2013); a half_student_t would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayesmlm.errors import PriorError, among
from bayesmlm.priors import Prior, parse_prior

__all__ = ["CLASSES", "ResolvedPriors", "prior_rows", "resolve_priors"]

CLASSES = ("fixed", "sd", "cor", "sigma")
"""Keys of a table of priors that are not terms."""


def default_slope(sd_x: float, sd_y: float = 1.0) -> Prior:
    """Prior of a slope whose predictor has standard deviation ``sd_x``.

    Examples
    --------
    >>> str(default_slope(0.5))
    'normal(0, 5)'
    """
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
    origins : tuple of str
        Where each comes from, in the order of :func:`prior_rows`: ``default``, or the key it was given under.
    """

    fixed: tuple[Prior, ...]
    sd: tuple[tuple[Prior, ...], ...]
    correlation: tuple[Prior | None, ...]
    mode_sd: tuple[tuple[Prior, ...], ...]
    sigma: Prior | None = None
    origins: tuple[str, ...] = field(default=(), repr=False, compare=False)


Given = tuple[Any, str]
"""A prior as it was given, or None, and the key it was given under."""

_NOTHING: Given = (None, "default")


def _check_keys(keys: Iterable[Any], known: list[str], of: str, has_none: str = "it has none") -> None:
    """Refuse a key that names nothing of the model."""
    for key in keys:
        if key not in known:
            raise PriorError(f"a prior is given for {of.format(key)}; {among(key, known) if known else has_none}")


def _chosen(prior: Given, role: str, name: str) -> Prior | None:
    """Read a prior as it was given."""
    return None if prior[0] is None else parse_prior(prior[0], role, name)


def _fixed(chosen: Mapping[str, Any], terms: tuple[str, ...]) -> list[Given]:
    """What was given for every fixed effect."""
    of_class = chosen.get("fixed")
    table = of_class if isinstance(of_class, Mapping) else {}
    _check_keys(table, list(terms), 'fixed of "{}", which is not a term of the model')
    given: list[Given] = []
    for term in terms:
        if term in chosen and term not in CLASSES:
            given.append((chosen[term], term))
        elif term in table:
            given.append((table[term], f"fixed.{term}"))
        elif of_class is not None and of_class is not table and term != "Intercept":
            given.append((of_class, "fixed"))
        else:
            given.append(_NOTHING)
    return given


def _of_group(chosen: Mapping[str, Any], kind: str, name: str) -> Given:
    """What was given for the standard deviations or the correlations of one group."""
    of_class = chosen.get(kind)
    if not isinstance(of_class, Mapping):
        return _NOTHING if of_class is None else (of_class, kind)
    return (of_class[name], f"{kind}.{name}") if name in of_class else _NOTHING


def _check_groups(chosen: Mapping[str, Any], columns: Mapping[str, list[str]], correlated: set[str]) -> None:
    """Refuse priors of groups, columns or correlations that are not there.

    An uncorrelated ``(x || g)`` makes several terms of one name: a column may belong to any of them.
    """
    for kind in ("sd", "cor"):
        table = chosen.get(kind)
        if isinstance(table, Mapping):
            _check_keys(table, list(columns), f'{kind} of "{{}}", which is not a grouping of the model')
            for name, own in table.items():
                if kind == "cor" and name not in correlated:
                    raise PriorError(f'a prior is given for cor of "{name}", whose effects have no correlation')
                if kind == "sd" and isinstance(own, Mapping):
                    _check_keys(own, columns[name], f'sd of "{{}}" within "{name}", which is not there')


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
        What the user wrote; see the top of this file.
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
        For a prior on something the model does not have, listing what it has, or one that cannot serve there.

    Examples
    --------
    >>> given = {"fixed": "normal(0, 1)", "sd": {"g": "exponential(1)"}}
    >>> groups = (("g", ("Intercept",), np.zeros(1)),)
    >>> priors = resolve_priors(given, ("Intercept", "x"), np.array([0.0, 2.0]), groups)
    >>> [str(prior) for prior in (*priors.fixed, *priors.sd[0])]
    ['student_t(3, 0, 2.5)', 'normal(0, 1)', 'exponential(1)']
    >>> priors.origins
    ('default', 'fixed', 'sd.g')
    """
    mean_y, sd_y = response or (0.0, 1.0)
    classes = [key for key in CLASSES if key != "sigma" or response]
    _check_keys(chosen, list(dict.fromkeys([*terms, *classes])), '"{}", which the model does not have')
    columns: dict[str, list[str]] = {}
    for name, own, _ in groups:
        columns.setdefault(name, []).extend(own)
    _check_groups(chosen, columns, {name for name, own, _ in groups if len(own) > 1})

    fixed, origins = [], []
    for term, sd_x, given in zip(terms, term_sds, _fixed(chosen, terms), strict=True):
        default = default_intercept(mean_y, sd_y) if term == "Intercept" else default_slope(float(sd_x) or 1.0, sd_y)
        fixed.append(_chosen(given, "coefficient", term) or default)
        origins.append(given[1])
    sds: list[tuple[Prior, ...]] = []
    mode_sds: list[tuple[Prior, ...]] = []
    correlations: list[Prior | None] = []
    for name, own, column_sds in groups:
        of_group = _of_group(chosen, "sd", name)
        row, mode_row = [], []
        for column, sd_z in zip(own, column_sds, strict=True):
            given = of_group
            if isinstance(given[0], Mapping):
                given = (given[0][column], f"{given[1]}.{column}") if column in given[0] else _NOTHING
            prior, scale = _chosen(given, "sd", f"{column} | {name}"), float(sd_z) or 1.0
            row.append(prior or default_sd(scale, sd_y))
            mode_row.append(prior or default_mode_sd(scale, sd_y))
            origins.append(given[1])
        sds.append(tuple(row))
        mode_sds.append(tuple(mode_row))
        correlations.append(None)
        if len(own) > 1:
            given = _of_group(chosen, "cor", name)
            correlations[-1] = _chosen(given, "correlation", name) or DEFAULT_CORRELATION
            origins.append(given[1])
    sigma = None
    if response:
        given = (chosen["sigma"], "sigma") if "sigma" in chosen else _NOTHING
        sigma = _chosen(given, "sd", "sigma") or default_sd(1.0, sd_y)
        origins.append(given[1])
    return ResolvedPriors(tuple(fixed), tuple(sds), tuple(correlations), tuple(mode_sds), sigma, tuple(origins))


def prior_rows(
    priors: ResolvedPriors, terms: tuple[str, ...], groups: Iterable[tuple[str, tuple[str, ...]]], mode: bool = False
) -> list[dict[str, str]]:
    """Every prior as a row ``component, group, term, prior, origin``: fixed effects, each term's group effects, σ.

    Parameters
    ----------
    priors : ResolvedPriors
    terms : tuple of str
    groups : iterable of (name, columns)
        Per random-effect term.
    mode : bool
        The priors of a posterior mode.
    """
    rows = [("fixed", "", term, prior) for term, prior in zip(terms, priors.fixed, strict=True)]
    all_sds = priors.mode_sd if mode else priors.sd
    for (name, columns), sds, correlation in zip(groups, all_sds, priors.correlation, strict=True):
        rows += [("sd", name, column, prior) for column, prior in zip(columns, sds, strict=True)]
        if correlation is not None:
            rows.append(("cor", name, "", correlation))
    if priors.sigma is not None:
        rows.append(("residual", "", "sigma", priors.sigma))
    return [
        {"component": component, "group": group, "term": term, "prior": prior.brief, "origin": origin}
        for (component, group, term, prior), origin in zip(rows, priors.origins, strict=True)
    ]
