"""What every figure shares: canvas, colours, and the words for fits and quantities."""

from __future__ import annotations

import textwrap
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

READINGS = {"ml": "ML", "map": "MAP", "nuts": "posterior", "marginal": "marginal posterior", "gee": "GEE"}
"""What a fit's engine is called in a figure."""


def new_canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Array]:
    """Make a figure with a grid of axes, shape (rows, columns).

    pyplot makes it, because that is what teaches a notebook to show figures, and forgets it at once: no window
    opens and none leaks.
    """
    import matplotlib.pyplot as plt

    with plt.ioff():
        figure, axes = plt.subplots(
            rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
        )
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


def filled(text: str, width: int = 100) -> str:
    """Break a line between words, never at the hyphen of "log-odds"."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def write_title(ax: Axes, text: str, width: int = 100, **where: Any) -> None:
    ax.set_title("\n".join(filled(line, width) for line in text.split("\n")), fontsize=9, **where)


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


def require_posterior(fit: Fit, asked: str) -> BayesFit:
    """Return the fit as a posterior, refusing any other."""
    from bayesmlm.bayes.fit import BayesFit

    if not isinstance(fit, BayesFit):
        raise FitError(
            f"{asked} needs draws, and a fit by {reading_of(fit)} has none; give it the result of Model.sample()"
        )
    return fit


def quantity_name(component: str, group: str, term: str) -> str:
    """Name a row of a table in a figure."""
    return term if component in ("fixed", "residual") else f"{component}({term} | {group})"


def unit_words(design: Design) -> str:
    """Unit of the linear predictor: log-odds and the like, or that of a response on the identity link."""
    link = design.family.link
    return f"units of {design.response.name}" if link.name == "identity" else link.scale_word


def response_words(design: Design) -> str:
    response = design.response
    outcome = f"{response.name} = {response.event}" if response.event else response.name
    return f"probability of {outcome}" if design.family.is_binary else f"expected {outcome}"
