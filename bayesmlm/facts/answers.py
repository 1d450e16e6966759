"""How a fact is answered: at the estimate, over the draws of a posterior, with an interval where one is asked for.

A fact is a function of a fit that gives an array (draws, values): one row where there is one estimate, a row per draw
of a posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.errors import FitError, among

__all__ = ["answer"]

Array = np.ndarray[Any, Any]

OPTIONS = ("n", "seed", "workers", "progress")
"""What a bootstrap can be told."""


def answer(
    fit: Any, fact: Callable[[Any], Array], names: Sequence[str], interval: str | None, level: float,
    options: Mapping[str, Any], **attrs: Any,
) -> Any:  # fmt: skip
    """A fact as a Series, or with an interval as a DataFrame ``estimate, std_error, conf_low, conf_high``.

    Raises
    ------
    FitError
        For an interval the fit does not have.
    """
    import pandas as pd

    sampled = fit.reading == "posterior"
    own = "posterior" if sampled else "bootstrap"
    if interval not in (None, own):
        if interval in ("posterior", "bootstrap"):
            raise FitError(
                f"{fit.name} is {'a posterior' if sampled else 'one estimate, without draws'}: its intervals are "
                f'interval="{own}"'
            )
        raise FitError(f'interval should be None or "{own}", not {interval!r}')
    check_level(level)
    for name in options:
        if name not in OPTIONS:
            raise FitError(f'there is no option "{name}"; {among(name, OPTIONS)}')
        if interval != "bootstrap":
            raise FitError(f'{name}= is for interval="bootstrap"')
    values = fact(fit)
    point = values.mean(axis=0)
    if sampled:
        attrs["estimate"] = f"mean over {len(values)} draws"
    if interval is None:
        out = pd.Series(point, index=list(names))
        out.attrs.update(attrs)
        return out
    if interval == "bootstrap":
        values = fit._bootstrapped(partial(_point, fact), **options)
    # Quantiles as those of confint(), of a bootstrap and of draws.
    method = "linear" if sampled else "weibull"
    spread = np.array([_spread(column[np.isfinite(column)], level, method) for column in values.T]).reshape(-1, 3)
    table = pd.DataFrame(
        {"estimate": point, "std_error": spread[:, 0], "conf_low": spread[:, 1], "conf_high": spread[:, 2]},
        index=list(names),
    )
    how = "equal-tailed" if sampled else f"percentiles of {len(values)} parametric bootstrap replicates"
    table.attrs.update(attrs, interval=f"{100 * level:g}% {how}")
    return table


def _spread(values: Array, level: float, method: Any) -> Array:
    """Standard deviation and equal-tailed limits of draws or replicates."""
    if len(values) < 2:
        return np.full(3, np.nan)
    limits = np.quantile(values, [0.5 - level / 2.0, 0.5 + level / 2.0], method=method)
    return np.append(values.std(ddof=1), limits)


def _point(fact: Callable[[Any], Array], fit: Any) -> Array:
    """The value of a fact at an estimate; at module level so that it can be sent to other processes."""
    return fact(fit)[0]
