"""What every figure shares: canvas, colours, and the words for fits and quantities."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.fit import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmlm.bayes.fit import BayesFit


Array = np.ndarray[Any, Any]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that stay apart for colour-blind readers: Okabe & Ito (2008), without their yellow."""

MARKERS, LINES = ("o", "s", "D", "^", "v", "P", "X"), ("-", "--", "-.", (0, (1, 1)))
"""What else tells series apart, so that colour is never the only sign."""

MUTED = "#7f7f7f"
WIDTH = 7.0
"""Width of every figure in inches."""

PANEL = 25
"""Characters that fit above one of three panels."""

GRID, FAINT = "#e6e6e6", "#d0d0d0"
"""Of grids, and of intervals behind many points."""

READINGS = {"ml": "ML", "map": "MAP", "nuts": "posterior", "marginal": "marginal posterior", "gee": "GEE"}
"""What a fit's engine is called in a figure."""


def new_canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Array]:
    """Make a figure with a grid of axes, shape (rows, columns).

    pyplot makes it, because that is what teaches a notebook to show figures, and forgets it at once: no window
    opens and none leaks.
    """
    import matplotlib.pyplot as plt

    from bayesmlm.plots.verbatim import VerbatimFigure

    with plt.ioff():
        figure, axes = plt.subplots(
            rows, columns, FigureClass=VerbatimFigure, figsize=(WIDTH, height), layout="constrained", squeeze=False,
            **options,
        )  # fmt: skip
        plt.close(figure)
    for ax in axes.flat:
        tidy(ax)
    return figure, axes


def tidy(ax: Axes) -> None:
    """Give axes the house's plain look."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, length=3)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(9)


def filled(text: str, width: int = 94) -> str:
    """Break a line between words, never at the hyphen of "log-odds"."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def in_lines(name: str, width: int, most: int = 2) -> str:
    """Break the name of a quantity where its parts end, and leave the middle out of one that is too long.

    Examples
    --------
    >>> in_lines("sd(Intercept | urban:district)", 20)
    'sd(Intercept |\\nurban:district)'
    >>> in_lines("occupation_of_the_head_of_household[manufacturing, mining]", 20)
    'occupation_of_the_\\n…turing, mining]'
    """
    for ends in (r"(?<= )", r"(?<=[_:,\[\]/| ])"):
        lines = _packed(re.split(ends, name), width)
        if len(lines) <= most and max(map(len, lines)) <= width:
            return "\n".join(lines)
    shown = [*lines[: most - 1], f"…{name[-(width - 5) :]}"]
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in shown)


def _packed(parts: Sequence[str], width: int) -> list[str]:
    """Put parts of a text into lines as long as they may be."""
    lines = [""]
    for part in parts:
        if lines[-1] and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def write_title(ax: Axes, text: str, width: int = 100, **where: Any) -> None:
    ax.set_title("\n".join(filled(line, width) for line in text.split("\n")), fontsize=9, **where)


def name_panel(ax: Axes, name: str) -> None:
    """Write the name of a quantity above its panel, one of up to three side by side."""
    ax.set_title(in_lines(name, PANEL), fontsize=9)


def name_series(figure: Figure, handles: Sequence[Any], labels: Sequence[str], title: str | None = None) -> None:
    """Write beside the axes what the series are."""
    names = [in_lines(label, 18, 3) for label in labels]
    title = title if title is None else in_lines(title, 18)
    figure.legend(handles, names, title=title, loc="outside right center", fontsize=8, title_fontsize=8, frameon=False)


def headline(figure: Figure, text: str) -> None:
    """Write one small line (or a few) above the axes, from the left."""
    figure.suptitle(filled(text), x=0.01, ha="left", fontsize=9)


def percent(level: float) -> str:
    return f"{100 * level:g} %"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def reading_of(fit: Any) -> str:
    if fit.engine == "ml" and fit.solution.reml:
        return "REML"
    return READINGS.get(fit.engine, fit.engine)


def fit_labels(fits: Sequence[Fit]) -> list[str]:
    """Name fits by what differs among them: reading, model or both."""
    one_model = len({fit.name for fit in fits}) == 1
    one_reading = len({reading_of(fit) for fit in fits}) == 1
    if one_model:
        return [reading_of(fit) for fit in fits]
    names = [fit.name if one_reading else f"{fit.name}, {reading_of(fit)}" for fit in fits]
    return [filled(name, 28) for name in names]


def unlike_words(fits: Sequence[Fit]) -> str:
    """Say that coefficients of a GEE beside others answer another question; empty where they do not."""
    grouped = any(fit.engine != "gee" and fit.design.groups for fit in fits)
    linear = all(fit.design.family.link.name == "identity" for fit in fits)
    if linear or not grouped or all(fit.engine != "gee" for fit in fits):
        return ""
    return "GEE coefficients are of the population average, the others of a typical group"


def require_posterior(fit: Fit, asked: str, instead: str = "") -> BayesFit:
    """Return the fit as a posterior, refusing any other; ``instead`` is what may serve it."""
    from bayesmlm.bayes.fit import BayesFit

    if not isinstance(fit, BayesFit):
        raise FitError(
            f"{asked} needs draws, and a fit by {reading_of(fit)} has none; give it the result of Model.sample()"
            + (f", or {instead}" if instead and fit.engine != "gee" else "")
        )
    return fit


def quantity_name(component: str, group: str, term: str) -> str:
    """Name a row of a table in a figure."""
    return term if component in ("fixed", "residual") else f"{component}({term} | {group})"


def require_groups(fit: Fit, asked: str) -> None:
    """Refuse fits that know no effects of groups."""
    if fit.engine == "gee":
        raise FitError(
            f"{asked} is of group effects, and a GEE has none: it averages over the groups; fit {fit.name} by fit_ml() "
            f"or sample()"
        )
    if not fit.design.groups:
        raise FitError(
            f'{asked} is of group effects, and the model "{fit.design.formula.text}" has no groups: add a term such as '
            f"(1 | group)"
        )


def unit_words(design: Design) -> str:
    """Unit of the linear predictor: log-odds, log rate and the like, or that of a response on the identity link."""
    link = design.family.link
    if link.name == "identity":
        return f"units of {design.response.name}"
    return "log rate" if link.name == "log" else link.scale_word


def estimand_words(fit: Fit, estimand: str) -> str:
    """Short words in brackets for what a prediction is of; empty for a model without groups."""
    if fit.engine == "gee" or (estimand == "population" and fit.design.groups):
        return " (population average)"
    names = list(dict.fromkeys(group.name for group in fit.design.groups))
    if not names:
        return ""
    return f" (typical {names[0]})" if len(names) == 1 else " (typical groups)"


def plain(text: str) -> str:
    """Call a response of successes and failures by its successes: ``incidence`` for ``cbind(incidence, size - …)``."""
    return re.sub(r"\bcbind\(\s*([^,()]+?)\s*,(?:[^()]|\([^()]*\))*\)", r"\1", text)


def response_words(design: Design) -> str:
    response = design.response
    outcome = plain(f"{response.name} = {response.event}" if response.event else response.name)
    return f"probability of {outcome}" if design.family.is_binary else f"expected {outcome}"
