"""What can be set against each other: fits, of the same data, whose likelihoods are of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import ComparisonError, FitError
from bayesmlm.fit import Fit

__all__ = ["check_fits", "maximised", "one_likelihood", "same_data", "unique_names"]


def check_fits(verb: str, *fits: Any) -> None:
    """Refuse what is no fit.

    Raises
    ------
    FitError

    Examples
    --------
    >>> check_fits("anova", 3)
    Traceback (most recent call last):
    bayesmlm.errors.FitError: anova takes fits, such as model.fit_ml() gives, not 3
    """
    for fit in fits:
        if not isinstance(fit, Fit):
            given = repr(fit) if fit is None or isinstance(fit, int | float | str) else f"a {type(fit).__name__}"
            apart = ": give them one by one" if isinstance(fit, list | tuple) else ""
            raise FitError(f"{verb} takes fits, such as model.fit_ml() gives, not {given}{apart}")


def unique_names(fits: Sequence[Any]) -> list[str]:
    """A name per fit, unique."""
    names: list[str] = []
    for fit in fits:
        name, n = fit.name, 2
        while name in names:
            name, n = f"{fit.name} ({n})", n + 1
        names.append(name)
    return names


def same_data(fits: Sequence[Any]) -> None:
    """Refuse fits of different responses or rows."""
    if not fits:
        raise ComparisonError("there is nothing to compare: give at least one fit")
    first = fits[0].design
    for fit in fits[1:]:
        design = fit.design
        if len(design.rows) != len(first.rows) or not np.array_equal(design.rows, first.rows):
            raise ComparisonError(
                f"{fits[0].name} was fitted to {len(first.rows)} rows and {fit.name} to {len(design.rows)}, or to "
                f"other rows (missing values differ): fit both to the rows that are complete for both"
            )
        if not (
            np.array_equal(design.response.y, first.response.y)
            and np.array_equal(design.response.trials, first.response.trials)
            and np.array_equal(design.freq, first.freq)
            and np.array_equal(design.weights, first.weights)
        ):
            raise ComparisonError(f"{fits[0].name} and {fit.name} have different responses or weights: not comparable")


def maximised(fit: Any) -> None:
    """Refuse a fit whose likelihood was not maximised."""
    if fit.reading == "mode":
        raise ComparisonError(
            f"{fit.name} is a posterior mode: a likelihood-ratio test needs maximised likelihoods; use fit_ml()"
        )
    if fit.reading == "population":
        raise ComparisonError(
            f"{fit.name} is a GEE, which has no likelihood: test its coefficients by fit.hypothesis(), or fit it by "
            f"fit_ml()"
        )
    if fit.reading == "posterior":
        raise ComparisonError(
            f"{fit.name} is a posterior: a likelihood-ratio test needs maximised likelihoods; fit it by fit_ml(), "
            f'or use bm.compare(..., by="loo")'
        )


def one_likelihood(fits: Sequence[Any]) -> None:
    """Refuse likelihoods of different kinds: REML beside ML, or REML of different fixed parts."""
    first = fits[0]
    for fit in fits:
        if fit.solution.reml != first.solution.reml:
            reml, other = (fit, first) if fit.solution.reml else (first, fit)
            raise ComparisonError(
                f"{reml.name} was fitted by REML and {other.name} by maximum likelihood: not comparable; refit by "
                f"fit_ml(reml=False), or ask for anova(..., refit=True)"
            )
        if fit.solution.reml and not _same_columns(first.design, fit.design):
            raise ComparisonError(
                f"{first.name} and {fit.name} were fitted by REML and their fixed parts differ, so that their "
                f"restricted likelihoods are of different data; refit both by fit_ml(reml=False), or ask for "
                f"anova(..., refit=True)"
            )


def _same_columns(a: Design, b: Design) -> bool:
    """Whether the fixed parts are the same columns, in whatever order."""
    if sorted(a.terms) != sorted(b.terms):
        return False
    return all(np.array_equal(a.X[:, a.terms.index(term)], b.X[:, b.terms.index(term)]) for term in a.terms)
