"""One model of a run, and what can be said of each of its readings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import reading_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Entry", "State", "lead_of", "states_of"]

LEADS = ("posterior", "likelihood", "mode", "population")
"""Which reading speaks for a model where one has to: the first there is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a run.

    Attributes
    ----------
    name, note, formula : str
        The note may be empty.
    fits : sequence of Fit
        The readings there are, none of them twice.
    side_by_side : pandas.DataFrame
        As of :func:`bayesmlm.comparison.side_by_side`.
    notes : sequence of str
        What the reader should know, verdicts aside.
    """

    name: str
    note: str
    formula: str
    fits: Sequence[Fit]
    side_by_side: pd.DataFrame
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class State:
    """Whether a reading can be trusted, and the sentence that says so."""

    reading: str
    sound: bool
    sentence: str


def lead_of(entry: Entry) -> Fit | None:
    """Reading that speaks for the model; None without any."""
    ranked = sorted(entry.fits, key=lambda fit: LEADS.index(fit.reading))
    return ranked[0] if ranked else None


def states_of(entry: Entry) -> list[State]:
    """State of every reading.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="m").fit_ml()
    >>> state = states_of(Entry("m", "", "use ~ urban + (1 | district)", [fit], bm.side_by_side(fit), []))[0]
    >>> state.reading, state.sound, state.sentence[:30]
    ('ML', True, 'The estimates can be trusted: ')
    """
    return [_state(fit) for fit in entry.fits]


def _state(fit: Any) -> State:
    found = fit.diagnostics()
    said = re.sub(r"^Take care[:.]\s*", "", found.verdict)
    said = said[:1].upper() + said[1:]
    return State(reading_of(fit), bool(found.ok and fit.converged), said if said.endswith(".") else f"{said}.")
