"""Effects as a table that says what it is of: tidy columns, and the estimand in words wherever it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from bayesmlm.effects.adjustment import adjusted
from bayesmlm.effects.quantities import Normal, Sampled
from bayesmlm.errors import FitError
from bayesmlm.families import Link
from bayesmlm.sheets.frames import sheet_of
from bayesmlm.sheets.grid import Sheet
from bayesmlm.sheets.results import Result

__all__ = ["EffectTable", "effect_table"]

Array = np.ndarray[Any, Any]

_SAID = ("quantity", "estimand", "average", "std_error", "interval", "adjust")
"""What a table says of itself below its rows, in this order; its notes after them."""


class EffectTable(Result):
    """A data frame that prints what its numbers are of below them; the same is in ``attrs``."""

    @property
    def _constructor(self) -> Any:
        return EffectTable

    def _sentences(self) -> list[str]:
        said = [str(self.attrs[key]) for key in _SAID if self.attrs.get(key)]
        return ["; ".join(said) + "."] * bool(said) + list(self.attrs.get("notes", []))

    def __repr__(self) -> str:
        with pd.option_context("display.width", 140, "display.max_columns", 20):
            text = super().__repr__()
        return "\n".join([text, *(fill(sentence, 110) for sentence in self._sentences())])

    __str__ = __repr__

    def _sheet(self) -> Sheet:
        return (sheet_of(self)[0], *self._sentences())

    def _repr_html_(self) -> str | None:
        from html import escape

        shown = super()._repr_html_()
        # pandas shows a table of very many rows, without what is said of it.
        if shown is None or shown.startswith('<div class="bayesmlm"'):
            return shown
        return "\n".join([shown, *(f"<p>{escape(sentence)}</p>" for sentence in self._sentences())])


def effect_table(
    labels: pd.DataFrame, found: Normal | Sampled, back: Link, level: float, tested: bool, adjust: str | None,
    pairs_of: int, said: Mapping[str, Any],
) -> EffectTable:  # fmt: skip
    """Put estimates, errors and limits beside their labels.

    Parameters
    ----------
    labels : pandas.DataFrame, m rows
    found : Normal or Sampled
        On the scale on which limits are symmetric and tests are made.
    back : Link
        Whose inverse takes it to the scale of the table.
    level : float
    tested : bool
        Whether 0 on the working scale means something: a test, or a probability of direction.
    adjust : str or None
    pairs_of : int
        See :func:`bayesmlm.effects.adjustment.adjusted`.
    said : mapping
        For ``attrs``.

    Raises
    ------
    FitError
        For adjusted p-values of a posterior, and quantities that are not defined.
    """
    said = dict(said)
    if isinstance(found, Sampled):
        if adjust is not None:
            raise FitError("a posterior has no p-values to adjust: its probabilities are of all quantities at once")
        columns = _of_draws(found, back, level, tested)
        said["interval"] = f"{100 * level:g}% equal-tailed intervals of {len(found.values)} draws"
    else:
        columns, words = _of_estimates(found, back, level, tested, adjust, pairs_of)
        said["interval"] = f"{100 * level:g}% Wald intervals"
        said["adjust"] = words if adjust is not None or pairs_of else ""
    table = EffectTable({**{str(name): labels[name] for name in labels}, **columns}, index=labels.index)
    table["estimand"] = str(said["estimand"]).partition(":")[0]
    table.attrs.update(said)
    return table


def _of_estimates(
    found: Normal, back: Link, level: float, tested: bool, adjust: str | None, pairs_of: int
) -> tuple[dict[str, Array], str]:
    values, errors = found.values, found.errors()
    certain = np.isinf(values)
    if np.isnan(values).any() or (tested and certain.any()):
        raise _undefined()
    # A probability of 0 or 1 to machine precision has no error that could be told.
    errors = np.where(certain, 0.0, errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = values / errors
    usable = np.isfinite(z)
    correlation = np.eye(int(usable.sum()))
    if adjust == "single-step" and usable.any():
        V = found.joint_covariance()[np.ix_(usable, usable)]
        sd = np.sqrt(np.diag(V))
        correlation = V / np.outer(sd, sd)
    single = adjusted(adjust if tested else None, z[usable], correlation, level, pairs_of)
    p_value = np.full(len(z), np.nan)
    p_value[usable] = single.p_value
    width = single.critical * errors
    slope = np.where(certain, 0.0, back.derivative(np.where(certain, 0.0, values)))
    out = {"estimate": back.inverse(values), "std_error": slope * errors}
    if tested:
        out |= {"statistic": z, "p_value": p_value}
    limits = {"conf_low": back.inverse(values - width), "conf_high": back.inverse(values + width)}
    return out | limits, single.words if tested else ""


def _of_draws(found: Sampled, back: Link, level: float, tested: bool) -> dict[str, Array]:
    if not np.isfinite(found.values).all():
        raise _undefined()
    draws = back.inverse(found.values)
    low, median, high = np.quantile(draws, [0.5 - level / 2.0, 0.5, 0.5 + level / 2.0], axis=0)
    out = {"estimate": draws.mean(axis=0), "median": median, "std_error": draws.std(axis=0, ddof=1)}
    if tested:
        above = (found.values > 0.0).mean(axis=0)
        below = (found.values < 0.0).mean(axis=0)
        out["p_direction"] = np.maximum(above, below)
    return out | {"conf_low": low, "conf_high": high}


def _undefined() -> FitError:
    return FitError(
        "an expected response is at the end of its range (a probability of 0 or 1, a mean that is not positive), "
        "where this comparison is not defined; ask for differences"
    )
