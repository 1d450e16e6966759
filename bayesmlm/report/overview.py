"""Sections of the page that are of all models: verdicts, comparisons, how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from bayesmlm.fit import Fit
from bayesmlm.model_columns import model_table
from bayesmlm.report.entry import Entry, State, lead_of
from bayesmlm.report.tables import Cell, Column, Part, frame_table, table
from bayesmlm.sheets.grid import typeset
from bayesmlm.sheets.numbers import format_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["comparisons", "making", "notes", "state_words", "verdicts"]


def notes(sentences: Sequence[str]) -> str:
    """Write sentences as a list; nothing without any."""
    if not sentences:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</ul>'


def state_words(state: State) -> str:
    """Write whether a reading can be trusted, in a word and a sign beside the colour."""
    word, kind = ("✓ sound", "sound") if state.sound else ("! take care", "care")
    return f'<span class="{kind}">{word}</span>'


def _best(ladder: pd.DataFrame | None, loo: pd.DataFrame | None) -> list[str]:
    """Say which model each comparison puts first, and how far ahead."""
    out = []
    if loo is not None and len(loo) > 1:
        ranked = loo.sort_values("rank", kind="stable")
        first, second = ranked.iloc[0], ranked.iloc[1]
        out.append(
            f"By leave-one-out prediction {first.model} comes first; {second.model}, the next, has an ELPD "
            f"{format_number(abs(second.elpd_diff), decimals=1)} lower, "
            f"with a standard error of {format_number(second.dse, decimals=1)}."
        )
    if ladder is not None and len(ladder) > 1:
        ranked = ladder.sort_values("aic", kind="stable")
        first, second = ranked.iloc[0], ranked.iloc[1]
        ahead = format_number(second.aic - first.aic, decimals=1)
        out.append(f"By AIC {first.model} comes first; {second.model}, the next, is {ahead} higher.")
    return out


def verdicts(
    entries: Sequence[Entry], states: Sequence[Sequence[State]], ladder: pd.DataFrame | None, loo: pd.DataFrame | None
) -> str:
    """Write which model comes first, and of every reading whether it can be trusted; of those that cannot, why."""
    readings = list(dict.fromkeys(state.reading for found in states for state in found))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("model", *readings))
    rows: list[str] = []
    care: dict[tuple[str, str], list[str]] = {}
    for number, (entry, found) in enumerate(zip(entries, states, strict=True), start=1):
        link = f'<a href="#model-{number}">{escape(entry.name)}</a>'
        note = f'<br><span class="note">{escape(entry.note)}</span>' if entry.note else ""
        by_reading = {state.reading: state_words(state) for state in found}
        cells = "".join(f"<td>{by_reading.get(name, '–')}</td>" for name in readings)
        rows.append(f'<tr><th scope="row">{link}{note}<br><code>{escape(entry.formula)}</code></th>{cells}</tr>')
        for state in found:
            if not state.sound:
                care.setdefault((state.reading, state.sentence), []).append(entry.name)
    doubts = (
        f'<p class="verdict care"><b>{escape(", ".join(names))}: take care of the {escape(reading)}.</b> '
        f"{escape(sentence)}</p>"
        for (reading, sentence), names in care.items()
    )
    return (
        '<section id="verdicts"><h2>Verdicts</h2>'
        f"{''.join(f'<p>{escape(sentence)}</p>' for sentence in _best(ladder, loo))}"
        '<div class="scroll" role="region" aria-label="Verdicts" tabindex="0"><table class="states">'
        "<caption><span>Can each reading of each model be trusted?</span></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{''.join(doubts)}</section>"
    )


def comparisons(
    entries: Sequence[Entry],
    ladder: pd.DataFrame | None,
    ladder_notes: Sequence[str],
    loo: pd.DataFrame | None,
    loo_notes: Sequence[str],
) -> str:
    """Write what sets the models against each other; nothing where nothing does."""
    parts = []
    for found, caption, said in (
        (ladder, "Likelihood ladder: each model against the one before it", ladder_notes),
        (loo, "Leave-one-out prediction (PSIS-LOO), best first", loo_notes),
    ):
        # Without a table the notes say why there is none.
        parts.append((frame_table(found, caption) if found is not None else "") + notes(said))
    parts.append(_beside([fit for fit in map(lead_of, entries) if fit is not None]))
    text = "".join(parts)
    return f'<section id="comparisons"><h2>Comparisons</h2>{text}</section>' if text else ""


def _beside(fits: Sequence[Fit]) -> str:
    """Table of all models, a column each; nothing of one alone."""
    if len(fits) < 2:
        return ""
    # What leaving out predicts has a table of its own.
    found = model_table(*fits, loo=False)
    names = [str(name) for name in found.columns[2:]]
    parts: dict[str, list[list[Cell]]] = {}
    for part, *cells in found.itertuples(index=False):
        parts.setdefault(part, []).append([Cell(cells[0]), *(Cell(typeset(cell)) for cell in cells[1:])])
    columns = [Column("", False), *map(Column, names)]
    shown = table("All models", columns, [Part(*item) for item in parts.items()], sortable=False)
    return shown + notes(found.attrs["notes"])


def making(facts: Mapping[str, str]) -> str:
    """Write versions, seeds and times."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(fact))}</td></tr>' for name, fact in facts.items()
    )
    return (
        '<section id="facts"><h2>Versions, seeds and times</h2><div class="scroll" role="region" '
        f'aria-label="Versions, seeds and times" tabindex="0"><table class="facts"><tbody>{rows}</tbody></table></div>'
        "</section>"
        if facts
        else ""
    )
