"""Report of a run as one HTML file: verdicts first, then comparisons, then a section per model; figures inline."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import BayesmlmError
from bayesmlm.fit import Fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Entry", "format_number", "render"]

DPI = 110
"""Dots per inch of figures: sharp at the width of the page, and a report of a few hundred kilobytes per model."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a run.

    Attributes
    ----------
    name, note, formula : str
        The note may be empty.
    ml, posterior : Fit or None
        The readings there are.
    side_by_side : pandas.DataFrame
        As of :func:`bayesmlm.comparison.side_by_side`.
    verdict : str
        What the diagnostics say; empty without a posterior.
    notes : list of str
    mode : Fit or None
        The posterior mode.
    """

    name: str
    note: str
    formula: str
    ml: Fit | None
    posterior: Fit | None
    side_by_side: pd.DataFrame
    verdict: str
    notes: list[str]
    mode: Fit | None = None


# numbers --------------------------------------------------------------------------------------------------


def format_number(value: Any, error: float | None = None, decimals: int | None = None) -> str:
    """Write a number as a reader wants it: few digits, a real minus sign, nothing for a missing value.

    Parameters
    ----------
    value : number or None
    error : float, optional
        Its standard error: the number gets the decimals that show two significant digits of it, and at least three
        unless it is large, so that estimates of one table line up.
    decimals : int, optional
        For other numbers; three significant digits without it.

    Examples
    --------
    >>> format_number(-0.0056264, error=0.00085), format_number(0.00085, error=0.00085)
    ('−0.00563', '0.00085')
    >>> format_number(-1206.8123, decimals=1), format_number(1934), format_number(0.456789), format_number(float("nan"))
    ('−1206.8', '1934', '0.457', '')
    """
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    number = float(value)
    if np.isinf(number):
        return "∞" if number > 0 else "−∞"
    if error is not None and np.isfinite(error) and error > 0:
        decimals = int(np.clip(1 - np.floor(np.log10(error)), 3 if error < 10 else 0, 10))
    if decimals is None and isinstance(value, int | np.integer):
        decimals = 0
    text = f"{number:.{decimals}f}" if decimals is not None else f"{number:.3g}"
    # A number that rounds to nothing has no sign.
    return (text if text.strip("-0.") else text.removeprefix("-")).replace("-", "−")


def _format_p(value: float) -> str:
    return "" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


# tables ---------------------------------------------------------------------------------------------------

HEADINGS = {
    "group": "group", "term": "term", "ml_estimate": "ML estimate", "ml_se": "SE", "map_estimate": "posterior mode",
    "map_se": "SE", "post_mean": "posterior mean", "post_sd": "SD", "difference": "difference in SDs",
    "npar": "parameters", "aic": "AIC", "bic": "BIC",
    "loglik": "log-likelihood", "chisq": "χ²", "df": "df", "p_value": "p", "elpd": "ELPD", "se": "SE",
    "p": "effective parameters", "elpd_diff": "ELPD difference", "dse": "SE of difference", "weight": "weight",
    "bad_k": "k̂ above 0.7", "model": "model", "rank": "rank",
}  # fmt: skip
"""What columns are called in the report."""

ERROR_OF = {"ml_estimate": "ml_se", "ml_se": "ml_se", "map_estimate": "map_se", "map_se": "map_se",
            "post_mean": "post_sd", "post_sd": "post_sd"}  # fmt: skip
"""Columns whose digits follow a standard error, and where that is."""

DECIMALS = {"aic": 1, "bic": 1, "loglik": 2, "chisq": 2, "df": 0, "difference": 2, "elpd": 1, "se": 1, "p": 1,
            "elpd_diff": 1, "dse": 1, "weight": 2}  # fmt: skip
"""Decimals of the other columns."""

COMPONENTS = {"fixed": "Fixed effects", "sd": "Standard deviations between groups", "cor": "Correlations within groups",
              "residual": "Residual", "scale": "Scale", "alpha": "Working correlation"}  # fmt: skip
"""Headings of the parts of a table of estimates."""


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, str):
        return escape(value)
    if column == "p_value":
        return escape(_format_p(float(value)))
    error = row.get(ERROR_OF.get(column, ""))
    return format_number(value, error=error, decimals=DECIMALS.get(column))


def _table(frame: pd.DataFrame, caption: str, parts: str | None = None) -> str:
    """Write a table in a box of its own that scrolls sideways where the screen is narrow.

    Parameters
    ----------
    frame : pandas.DataFrame
    caption : str
    parts : str, optional
        A column that is not shown but divides the rows, with a heading for each part.
    """
    columns = [str(name) for name in frame.columns if name != parts]
    # A name reads better than an empty group at the head of a row.
    columns.sort(key=lambda name: name != "term")
    numeric = {name: frame[name].dtype.kind in "fiu" for name in columns}
    kind = {name: ' class="number"' if numeric[name] else "" for name in columns}
    head = "".join(
        f'<th scope="col"{kind[name]}>{escape(HEADINGS.get(name, name.replace("_", " ")))}</th>' for name in columns
    )
    body: list[str] = []
    part = None
    for row in frame.to_dict("records"):
        if parts is not None and row[parts] != part:
            part = row[parts]
            title = escape(COMPONENTS.get(str(part), str(part)))
            body.append(f'<tr class="part"><th scope="rowgroup" colspan="{len(columns)}">{title}</th></tr>')
        cells = "".join(f"<td{kind[name]}>{_cell(row, name)}</td>" for name in columns)
        body.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


# figures --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure to draw, with what it shows and how to read it."""

    title: str
    caption: str
    draw: Callable[[], Figure]


ESTIMATES = "Each coefficient on its own scale."
READINGS_APART = (
    " Where the readings differ by more than a small part of an interval, the prior or the shape of the likelihood "
    "matters."
)
CHAINS = (
    "Left, traces: chains that mix look like one band without drift. Right, ranks: lines that stay near zero mean that "
    "the chains sample one distribution; a small p and marked points speak against it."
)
CHECK = (
    "Left, the observed rate of each group against rates replicated for the same group. Right, how much rates differ "
    "between groups: the line should lie where replications are common."
)
GROUPS = (
    "How each group deviates from the average one, sorted. Estimates are drawn towards zero, the more so the fewer "
    "rows a group has."
)


def _pictures(entry: Entry) -> list[_Picture]:
    """List the figures of a model: those its readings admit."""
    from bayesmlm import plots

    fits = [fit for fit in (entry.ml, entry.mode, entry.posterior) if fit is not None]
    if not fits:
        return []
    posterior, has_groups = entry.posterior, bool(fits[0].design.groups)
    caption = ESTIMATES + (READINGS_APART if len(fits) > 1 else "")
    out = [_Picture("Estimates", caption, partial(plots.coefficients, *fits))]
    if posterior is not None:
        out.append(_Picture("Chains", CHAINS, partial(plots.trace_rank, posterior)))
        if has_groups:
            check = partial(plots.posterior_predictive_rates, posterior)
            out.append(_Picture("Posterior predictive check", CHECK, check))
    if has_groups:
        out.append(_Picture("Group effects", GROUPS, partial(plots.caterpillar, fits[-1])))
    return out


def _figure(picture: _Picture, model: str) -> str:
    """Draw a picture into the page; where it cannot be drawn, say why."""
    try:
        figure = picture.draw()
    except BayesmlmError as error:
        return f'<p class="aside">{escape(picture.title)}: not drawn, because {escape(str(error))}.</p>'
    target = BytesIO()
    figure.savefig(target, format="png", dpi=DPI)
    data = base64.b64encode(target.getvalue()).decode("ascii")
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return (
        f'<figure><div class="scroll" role="region" aria-label="{escape(picture.title)}" tabindex="0">'
        f'<img alt="{escape(f"{picture.title} of {model}")}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption></figure>"
    )


# sections -------------------------------------------------------------------------------------------------


def _list(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</ul>'


def _state(entry: Entry) -> tuple[bool, str]:
    """Whether a model's readings can be trusted, and the sentence that says so."""
    fine, sentences = True, []
    if entry.ml is not None and not entry.ml.converged:
        fine = False
        sentences.append("Maximum likelihood did not converge.")
    if entry.mode is not None and not entry.mode.converged:
        fine = False
        sentences.append("The posterior mode was not reached.")
    if entry.posterior is not None:
        fine = fine and entry.posterior.converged
        sentences.append(entry.verdict)
    elif entry.ml is not None and fine:
        sentences.append("Maximum likelihood converged; there is no posterior.")
    elif entry.mode is not None and fine:
        sentences.append("The posterior mode was reached; there are no draws.")
    return fine, " ".join(sentence for sentence in sentences if sentence)


def _verdict(fine: bool, sentence: str) -> str:
    if not sentence:
        return ""
    word, kind = ("Sound", "sound") if fine else ("Take care", "care")
    return f'<p class="verdict {kind}"><b>{word}.</b> {escape(sentence.removeprefix("Take care: "))}</p>'


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


def _verdicts(
    entries: Sequence[Entry], states: Sequence[tuple[bool, str]], ladder: pd.DataFrame | None, loo: pd.DataFrame | None
) -> str:
    best = "".join(f"<p>{escape(sentence)}</p>" for sentence in _best(ladder, loo))
    items = []
    for number, (entry, state) in enumerate(zip(entries, states, strict=True), start=1):
        note = f" – {escape(entry.note)}" if entry.note else ""
        items.append(
            f'<li><a href="#model-{number}">{escape(entry.name)}</a>{note}'
            f"<br><code>{escape(entry.formula)}</code>{_verdict(*state)}</li>"
        )
    return f'<section id="verdicts"><h2>Verdicts</h2>{best}<ol class="models">{"".join(items)}</ol></section>'


def _comparisons(
    ladder: pd.DataFrame | None, ladder_notes: Sequence[str], loo: pd.DataFrame | None, loo_notes: Sequence[str]
) -> str:
    parts = []
    if ladder is not None:
        parts.append(_table(ladder, "Likelihood ladder: each model against the one before it") + _list(ladder_notes))
    if loo is not None:
        parts.append(_table(loo, "Leave-one-out prediction (PSIS-LOO), best first") + _list(loo_notes))
    return f'<section id="comparisons"><h2>Comparisons</h2>{"".join(parts)}</section>' if parts else ""


def _model(entry: Entry, number: int, state: tuple[bool, str]) -> str:
    note = f'<p class="note">{escape(entry.note)}</p>' if entry.note else ""
    table = _table(entry.side_by_side, f"Estimates of {entry.name}, reading by reading", parts="component")
    figures = "".join(_figure(picture, entry.name) for picture in _pictures(entry))
    return (
        f'<section class="model" id="model-{number}"><h2>{escape(entry.name)}</h2>{note}'
        f'<p class="formula"><code>{escape(entry.formula)}</code></p>'
        f"{_verdict(*state)}{table}{_list(entry.notes)}{figures}</section>"
    )


def _facts(facts: Mapping[str, str]) -> str:
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


def _contents(sections: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in sections)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


# page -----------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light; --ink: #1b1b1b; --quiet: #595959; --rule: #d0d0d0; --link: #00558b; }
* { box-sizing: border-box; }
html { scroll-padding-top: 3.5rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; font: 1rem/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
header, main { max-width: 60rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 0.75rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.5rem; padding-top: 0.75rem; border-top: 2px solid var(--ink); }
a { color: var(--link); }
code { font: 0.9em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 1; background: #fff; border-bottom: 1px solid var(--rule); }
nav ul { display: flex; gap: 0 1.25rem; overflow-x: auto; max-width: 60rem; margin: 0 auto; padding: 0 1rem;
  list-style: none; }
nav a { display: block; padding: 0.6rem 0; white-space: nowrap; }
.models { padding-left: 1.4rem; }
.models li { margin-bottom: 1rem; }
.verdict { margin: 0.4rem 0; padding: 0.4rem 0.75rem; border-left: 4px solid; background: #f6f6f6; }
.sound { border-color: #009e73; }
.care { border-color: #d55e00; background: #fdf1e9; }
.note, .aside, figcaption, .notes, caption { color: var(--quiet); }
.formula { margin: 0.25rem 0 0.75rem; }
.notes { padding-left: 1.2rem; font-size: 0.92rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; margin: 0.75rem 0; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
caption { text-align: left; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.75rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #ececec; }
th:first-child, td:first-child { padding-left: 0; }
thead th { border-bottom: 1px solid var(--ink); vertical-align: bottom; white-space: normal; line-height: 1.2; }
th.number, td.number { text-align: right; }
.part th { padding-top: 0.75rem; font-weight: 600; }
.facts th { font-weight: 400; color: var(--quiet); }
figure { margin: 1.5rem 0; }
img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: 0.92rem; max-width: 42rem; margin-top: 0.3rem; }
@media screen and (max-width: 40rem) {
  h1 { font-size: 1.4rem; }
  img { max-width: none; width: 34rem; }
  th, td { padding: 0.25rem 0.5rem; }
}
@media print {
  nav { display: none; }
  body { font-size: 10pt; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  th, td { padding: 0.15rem 0.5rem; white-space: normal; }
  figure, tr, .verdict { break-inside: avoid; }
  h2, caption { break-after: avoid; }
  .model { break-before: page; }
  img { max-height: 23cm; width: auto; }
  a { color: inherit; text-decoration: none; }
}
"""


def render(
    title: str,
    entries: Sequence[Entry],
    ladder: pd.DataFrame | None,
    ladder_notes: Sequence[str],
    loo: pd.DataFrame | None,
    loo_notes: Sequence[str],
    facts: Mapping[str, str],
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

    Returns
    -------
    str
        A whole HTML document: styles and figures are inside, nothing is fetched.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="m_01").fit_ml()
    >>> entry = Entry("m_01", "", "use ~ urban + (1 | district)", fit, None, bm.side_by_side(fit), "", fit.notes)
    >>> page = render("Contraception", [entry], None, [], None, [], {"seed": "1"})
    >>> page[:15], "http" in page
    ('<!doctype html>', False)
    """
    states = [_state(entry) for entry in entries]
    models = [_model(entry, i, state) for i, (entry, state) in enumerate(zip(entries, states, strict=True), start=1)]
    comparisons = _comparisons(ladder, ladder_notes, loo, loo_notes)
    sections = [
        ("verdicts", "Verdicts"),
        *([("comparisons", "Comparisons")] if comparisons else []),
        *((f"model-{i}", entry.name) for i, entry in enumerate(entries, start=1)),
        *([("facts", "Versions, seeds, times")] if facts else []),
    ]
    body = "\n".join([_verdicts(entries, states, ladder, loo), comparisons, *models, _facts(facts)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<header><h1>{escape(title)}</h1></header>\n{_contents(sections)}\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
