"""What a GEE was asked for: checked once, kept by the fit, and asked again in a refit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.errors import FitError, among
from bayesmlm.settings import CORRELATIONS, COVARIANCES, FLAVOURS

__all__ = ["CORRELATIONS", "COVARIANCES", "FLAVOURS", "Options", "read_options"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes
    ----------
    groups : str
        ``district``, ``urban:district`` or ``runs:district``.
    corr : str
        A key of :data:`CORRELATIONS`.
    time : str or None
    scale : float or None
        None is estimated.
    se : str
        A key of :data:`COVARIANCES`.
    flavour : str
        A key of :data:`FLAVOURS`.
    matrix : ndarray or None
        The fixed correlation, in the order of the visits.
    tol : float or None
        As the R package of the flavour has it; None is until nothing moves.
    max_iter : int
    """

    groups: str
    corr: str = "exchangeable"
    time: str | None = None
    scale: float | None = None
    se: str = "robust"
    flavour: str = "yan_fine"
    matrix: Array | None = None
    tol: float | None = None
    max_iter: int = 100


def read_options(
    groups: str, corr: Any, time: str | None, scale: float | None, se: str, flavour: str, matrix: Any,
    tol: float | None, max_iter: int,
) -> Options:  # fmt: skip
    """Check what was asked for.

    Raises
    ------
    FitError
        For a name that does not exist, or a number or a matrix that cannot be one.

    Examples
    --------
    >>> read_options("district", "exchangable", None, None, "robust", "gee", None, None, 100)
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FitError: there is no working correlation "exchangable"; did you mean "exchangeable"? (there are: \
independence, exchangeable, ar1, unstructured, fixed)
    """
    if not isinstance(corr, str):
        if matrix is not None:
            raise FitError('the correlation matrix is given twice, as corr= and as matrix=: write corr="fixed"')
        corr, matrix = "fixed", corr
    for value, known, what in (
        (corr, CORRELATIONS, "working correlation"),
        (se, COVARIANCES, "covariance"),
        (flavour, FLAVOURS, "flavour"),
    ):
        if value not in known:
            raise FitError(f'there is no {what} "{value}"; {among(value, known)}')
    for name, text in (("groups", groups), ("time", time)):
        if text is not None and not isinstance(text, str):
            raise FitError(f"{name} should be the name of a column, not a {type(text).__name__}; put it into the data")
    if (corr == "fixed") != (matrix is not None):
        raise FitError(
            'corr="fixed" needs the correlations: give matrix=' if matrix is None else 'matrix= is for corr="fixed"'
        )
    for name, number in (("scale", scale), ("tol", tol)):
        if number is not None and not _is_positive(number):
            raise FitError(f"{name} should be a number above 0, or None, not {number!r}")
    return Options(
        groups, corr, time, None if scale is None else float(scale), se, flavour,
        None if matrix is None else _correlation_matrix(matrix), None if tol is None else float(tol),
        check_count("max_iter", max_iter),
    )  # fmt: skip


def _is_positive(number: Any) -> bool:
    is_number = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    return is_number and math.isfinite(number) and number > 0.0


def _correlation_matrix(given: Any) -> Array:
    """A matrix that correlations can have."""
    try:
        matrix = np.array(given, dtype=float)
    except (ValueError, TypeError):
        raise FitError("the fixed correlation should be a square matrix of numbers") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise FitError(f"the fixed correlation should be a square matrix, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise FitError("the fixed correlation has values that are missing or infinite")
    apart = np.abs(matrix - matrix.T)
    if apart.max(initial=0.0) > 1e-8:
        a, b = np.unravel_index(np.argmax(apart), apart.shape)
        raise FitError(
            f"the fixed correlation is not symmetric: {matrix[a, b]:g} in row {a + 1}, column {b + 1}, and "
            f"{matrix[b, a]:g} in row {b + 1}, column {a + 1}"
        )
    if np.abs(np.diag(matrix) - 1.0).max(initial=0.0) > 1e-8:
        raise FitError("the fixed correlation should have ones on its diagonal")
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least < 1e-10:
        raise FitError(
            f"the fixed correlation is not positive definite (smallest eigenvalue {least:.3g}): no responses have it"
        )
    return matrix
