"""Report of a run as one HTML file: verdicts first, then comparisons, then a section per model; figures inline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bayesmlm.report.entry import Entry, states_of
from bayesmlm.report.overview import comparisons, making, verdicts
from bayesmlm.report.section import model_section

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["render"]


def _inline(name: str) -> str:
    return "\n" + files("bayesmlm.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """What a content security policy calls an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _contents(sections: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in sections)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def render(
    title: str,
    entries: Sequence[Entry],
    ladder: pd.DataFrame | None,
    ladder_notes: Sequence[str],
    loo: pd.DataFrame | None,
    loo_notes: Sequence[str],
    facts: Mapping[str, str],
    drawing: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> str:
    """Write the report of a run.

    Parameters
    ----------
    title : str
    entries : sequence of Entry
        The models, in the order of the run.
    ladder, loo : pandas.DataFrame or None
        Tables of :func:`bayesmlm.comparison.anova` and :func:`bayesmlm.comparison.compare`.
    ladder_notes, loo_notes : sequence of str
        Sentences below them.
    facts : mapping of str to str
        Versions, seeds and times.
    drawing : callable, optional
        Given a model's name, a context in which its section is made: for progress.

    Returns
    -------
    str
        A whole HTML document: styles, script and figures are inside, and its security policy lets nothing be fetched.
        Without the script all sections stand below each other, as they do in print.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="m_01").fit_ml()
    >>> entry = Entry("m_01", "", "use ~ urban + (1 | district)", [fit], bm.side_by_side(fit), fit.notes)
    >>> page = render("Contraception", [entry], None, [], None, [], {"seed": "1"})
    >>> page[:15], "http:" in page, "https:" in page
    ('<!doctype html>', False, False)
    """
    states = [states_of(entry) for entry in entries]
    models = []
    for number, (entry, found) in enumerate(zip(entries, states, strict=True), start=1):
        with drawing(entry.name):
            models.append(model_section(entry, number, found))
    compared = comparisons(entries, ladder, ladder_notes, loo, loo_notes)
    sections = [
        ("verdicts", "Verdicts"),
        *([("comparisons", "Comparisons")] if compared else []),
        *((f"model-{i}", entry.name) for i, entry in enumerate(entries, start=1)),
        *([("facts", "Versions, seeds, times")] if facts else []),
    ]
    body = "\n".join([verdicts(entries, states, ladder, loo), compared, *models, making(facts)])
    style, script = _inline("page.css"), _inline("page.js")
    policy = f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>\n'
        f"<header><h1>{escape(title)}</h1></header>\n{_contents(sections)}\n<main>\n{body}\n</main>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
