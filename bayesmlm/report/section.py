"""The section of one model: verdicts, the model in words, its tables, its figures, its summaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from bayesmlm.errors import BayesmlmError
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import reading_of
from bayesmlm.report.entry import Entry, State, lead_of
from bayesmlm.report.figures import figures
from bayesmlm.report.measures import estimates, explained, ratios, spreads
from bayesmlm.report.overview import notes, state_words
from bayesmlm.report.pictures import pictures_of

__all__ = ["model_section"]


def model_section(entry: Entry, number: int, states: Sequence[State]) -> str:
    """Write all that is known of a model; its figures take most of the time."""
    parts = [
        ("verdict", "Verdict", "".join(map(_verdict, states)) + notes(_rest(entry, states))),
        ("words", "In words", _words(entry)),
        ("estimates", "Estimates", _estimates(entry)),
        ("figures", "Figures", figures(*pictures_of(entry), entry.name)),
        ("summaries", "Summaries", "".join(map(_summary, entry.fits))),
    ]
    anchor = f"model-{number}"
    there = [(f"{anchor}-{name}", title, text) for name, title, text in parts if text]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in there)
    body = "".join(f'<h3 id="{name}">{title}</h3>{text}' for name, title, text in there)
    note = f'<p class="note">{escape(entry.note)}</p>' if entry.note else ""
    return (
        f'<section class="model" id="{anchor}"><h2>{escape(entry.name)}</h2>{note}'
        f'<p class="formula"><code>{escape(entry.formula)}</code></p>'
        f'<ul class="parts" aria-label="Parts of {escape(entry.name)}">{links}</ul>{body}</section>'
    )


def _verdict(state: State) -> str:
    kind = "sound" if state.sound else "care"
    return (
        f'<p class="verdict {kind}"><b>{escape(state.reading)}:</b> {state_words(state)}. {escape(state.sentence)}</p>'
    )


def _rest(entry: Entry, states: Sequence[State]) -> list[str]:
    """Notes that no verdict contains."""
    return [note for note in entry.notes if not any(note in state.sentence for state in states)]


def _said(write: Callable[[], str]) -> str:
    """What is written, or why it cannot be."""
    try:
        return write()
    except BayesmlmError as error:
        return f'<p class="aside">{escape(str(error))}.</p>'


def _words(entry: Entry) -> str:
    lead = lead_of(entry)
    return "" if lead is None else _said(lambda: _prose(lead.report(width=None)))


def _prose(text: str) -> str:
    """Paragraphs and lists of a report.

    Examples
    --------
    >>> _prose("Of two\\n\\nEffects:\\n- a < b\\n- c")
    '<p>Of two</p><p>Effects:</p><ul><li>a &lt; b</li><li>c</li></ul>'
    """
    out = []
    for block in text.split("\n\n"):
        lines = block.split("\n")
        items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
        above = " ".join(line for line in lines if not line.startswith("- "))
        out.append(f"<p>{escape(above)}</p>" if above else "")
        out.append(f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else "")
    return "".join(out)


def _estimates(entry: Entry) -> str:
    if not entry.fits:
        return ""
    beside = estimates(entry.side_by_side, f"Estimates of {entry.name}, reading by reading")
    measures, why = explained(entry.fits)
    # Under the identity link there is nothing to say: a coefficient is a difference of means.
    has_ratios = entry.fits[0].design.family.link.name != "identity"
    as_ratios = _said(lambda: ratios(entry.fits)) if has_ratios else ""
    return f"{beside}{as_ratios}{spreads(entry.fits)}{measures}{notes(why)}"


def _summary(fit: Fit) -> str:
    return (
        f"<details><summary>Summary: {escape(reading_of(fit))}</summary>"
        f'<div class="scroll" role="region" aria-label="Summary: {escape(reading_of(fit))}" tabindex="0">'
        f"{_said(lambda: f'<pre>{escape(fit.summary())}</pre>')}</div></details>"
    )
