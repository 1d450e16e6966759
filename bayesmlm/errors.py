"""Exceptions.  Every message says what is wrong, where (column, row, level, key) and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BayesmlmError",
    "ComparisonError",
    "DataError",
    "FitError",
    "FormulaError",
    "NoMaximumError",
    "PriorError",
    "SpecError",
    "among",
]


class BayesmlmError(ValueError):
    """Base class of everything bayesmlm raises on purpose; the command line exits with code 2 on it."""


class FormulaError(BayesmlmError):
    """The formula text cannot be read."""


class SpecError(BayesmlmError):
    """A spec or a spec file is not valid."""


class PriorError(BayesmlmError):
    """A prior is malformed, or names something the model does not have."""


class DataError(BayesmlmError):
    """The data do not fit the model."""


class FitError(BayesmlmError):
    """The model cannot be estimated, or a fit cannot answer what was asked of it."""


class NoMaximumError(FitError):
    """The likelihood has no maximum: fixed effects separate the responses, or these are all the same.

    Attributes
    ----------
    reason : str
        Which, as a clause.
    terms : tuple of str
        The fixed effects that separate the responses, a level in its brackets; empty where all responses are the same.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> try:
    ...     bm.Model("y ~ x", {"y": [0, 0, 1, 1], "x": [1.0, 2.0, 3.0, 4.0]}).fit_ml()
    ... except bm.NoMaximumError as error:
    ...     error.terms
    ('x',)
    """

    def __init__(self, message: str, reason: str = "", terms: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.terms = tuple(terms)


class ComparisonError(BayesmlmError):
    """Fits that cannot be set against each other."""


def among(name: object, known: Iterable[str]) -> str:
    """Say which names exist, the closest first: the second half of a "no such thing" message.

    Examples
    --------
    >>> among("aeg", ["use", "age", "urban"])
    'did you mean "age"? (there are: use, age, urban)'
    >>> among("zzz", ["use", "age"])
    'there are: use, age'
    """
    names = [str(k) for k in known]
    listed = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    by_case = {known_name.lower(): known_name for known_name in names}
    close = [by_case[match] for match in get_close_matches(str(name).lower(), by_case, n=1)]
    return f'did you mean "{close[0]}"? (there are: {listed})' if close else f"there are: {listed}"
