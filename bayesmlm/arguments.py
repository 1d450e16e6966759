"""Arguments that many verbs share, refused in the same words everywhere."""

from __future__ import annotations

import numpy as np

from bayesmlm.errors import FitError

__all__ = ["check_count", "check_kind", "check_level"]


def check_level(level: float) -> float:
    """Refuse an interval level outside (0, 1).

    Examples
    --------
    >>> check_level(95)
    Traceback (most recent call last):
    bayesmlm.errors.FitError: level should lie between 0 and 1, for example 0.95, not 95
    """
    if not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
        raise FitError(f"level should lie between 0 and 1, for example 0.95, not {level}")
    return level


def check_count(name: str, value: int) -> int:
    """Refuse a number of replicates that is not 1 or more.

    Examples
    --------
    >>> check_count("n_boot", 0)
    Traceback (most recent call last):
    bayesmlm.errors.FitError: n_boot should be 1 or more, not 0
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise FitError(f"{name} should be 1 or more, not {value}")
    return int(value)


def check_kind(kind: str) -> str:
    """Refuse a scale of predictions that does not exist.

    Examples
    --------
    >>> check_kind("logit")
    Traceback (most recent call last):
    bayesmlm.errors.FitError: kind should be "response" or "link", not "logit"
    """
    if kind not in ("response", "link"):
        raise FitError(f'kind should be "response" or "link", not "{kind}"')
    return kind
