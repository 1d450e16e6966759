"""Rank histograms of a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.calibration import Calibration
from bayesmlm.errors import FitError
from bayesmlm.plots.canvas import MUTED, PALETTE, headline, new_canvas, write_title
from bayesmlm.uniformity import band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rank_histogram"]

Array = np.ndarray[Any, Any]


def rank_histogram(calibration: Calibration, bins: int = 20) -> Figure:
    """Draw the ranks of a calibration: a histogram of each quantity, and its distribution function minus the uniform.

    The grey of a histogram holds a bar in 99 % of calibrations.  That of the distribution functions holds all of them
    in 95 % (Säilynoja, Bürkner & Vehtari, 2022).  A ∪ is of posteriors that are too narrow, a ∩ of ones that are too
    wide, a slope of ones beside the truth.

    Parameters
    ----------
    calibration : Calibration
    bins : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For anything else.

    Examples
    --------
    >>> ranks = np.random.default_rng(1).integers(0, 100, (200, 1))
    >>> result = Calibration("m", "y ~ 1", "nuts", (), ("Intercept",), ranks, 99, 5.0, 0, {}, 1, 0.0)
    >>> [ax.get_xlabel() for ax in rank_histogram(result).axes]
    ['rank among 99 draws', 'rank, as a share']
    """
    if not isinstance(calibration, Calibration):
        raise FitError(f"rank_histogram draws what bm.calibrate() gives, not {calibration!r}")
    from scipy.stats import binom

    n, levels, names = calibration.replicates, calibration.draws + 1, calibration.quantities
    edges = np.unique(np.linspace(0, levels, min(bins, levels) + 1).round())
    points, low, high = band(n, levels, 1.0 - calibration.threshold)
    figure, axes = new_canvas(len(names), 2, 0.8 + 1.25 * len(names), sharex="col")
    for row, name, ranks, test in zip(axes, names, calibration.ranks.T, calibration.tests(), strict=True):
        share = np.diff(edges) / levels
        least, most = binom.ppf([[0.005], [0.995]], n, share)
        row[0].bar(edges[:-1], most - least, np.diff(edges), least, align="edge", color="#e6e6e6")
        row[0].hist(ranks, bins=edges, histtype="step", color=PALETTE[0], linewidth=1.2)
        row[0].set_ylabel("replicates")
        write_title(row[0], name, loc="left")
        row[1].fill_between(points, low - points, high - points, color="#e6e6e6", linewidth=0.0)
        row[1].plot(points, test.ecdf - points, color=PALETTE[0], linewidth=1.2)
        row[1].axhline(0.0, color=MUTED, linewidth=0.8)
        row[1].set_ylabel("Δ ECDF")
        write_title(row[1], f"p {test.p_value:.3f}{'' if test.p_value >= calibration.threshold else ': not uniform'}")
    axes[-1, 0].set_xlabel(f"rank among {calibration.draws} draws")
    axes[-1, 1].set_xlabel("rank, as a share")
    headline(figure, f"{calibration.name}, {calibration.method}. {calibration.verdict}")
    return figure
