"""Which figures a model's readings admit, how to read each, and why the others are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bayesmlm.fit import Fit
from bayesmlm.report.entry import Entry, lead_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "pictures_of"]

CURVES = 3
"""Predictors that get a curve, at most."""

LEVELS = 6
"""Levels of a factor that can be told apart as curves or panels."""

REPLICATED_ROWS = 100_000
"""Rows beyond which the checks by replicates would take longer, and more memory, than a report is worth."""

PROFILED_ROWS = 20_000
"""Rows beyond which the likelihood is not profiled."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure to draw, with what it shows and how to read it."""

    title: str
    caption: str
    draw: Callable[[], Figure]


ESTIMATES = "Points are estimates, lines 95 % intervals. Each coefficient has its own scale, with a mark at zero."
READINGS_APART = (
    " Where the readings differ by more than a small part of an interval, the prior or the shape of the likelihood "
    "matters."
)
OF_THE_POPULATION = (
    " Coefficients of the GEE are averaged over groups, those of the other readings hold within a group: different "
    "quantities. The table sets like beside like."
)
CURVE = "Lines are predicted means with 95 % bands, the other predictors held where the heading says."
OBSERVED = (
    " Thin lines are what was observed, smoothed. A band that misses them over a long stretch speaks against the shape "
    "of the curve, unless the predictors that are held explain it."
)
FACTORS = "Predicted means with 95 % intervals, averaged over the rows of each level."
CHAINS = (
    "Left, traces: chains that mix look like one band without drift. Right, ranks: lines that stay near zero mean that "
    "the chains sample one distribution; a small p and marked points speak against it."
)
CHECK = (
    "Black is observed, blue what the model replicates. Points outside the thin lines, or a black line where "
    "replicates are rare, show what the model cannot reproduce. A p near 0 says the same in a number."
)
CALIBRATION = (
    "Of rows given a probability, the share that had the event. A curve inside the band is as near to the diagonal as "
    "the model itself would bring it."
)
RESIDUALS = (
    "Residuals are ranks of the answers among replicates, uniform where the model is right. Left, the line should "
    "stay in the band. Right, so should the quartiles over the predicted mean."
)
DENSITIES = (
    "How sure each reading is of what varies between groups. The mark is its estimate. A density piled up at zero says "
    "that the data hardly show a difference between groups."
)
GROUPS = (
    "How each group deviates from the average one, sorted, with 95 % intervals. Estimates are drawn towards zero, the "
    "more so the fewer rows a group has."
)
SHRINKAGE = (
    "Open marks are what each group says by itself, filled ones what the model makes of it. The fewer rows a group "
    "has, the further it is drawn towards the average of all."
)


def pictures_of(entry: Entry) -> tuple[list[Picture], list[str]]:
    """List the figures of a model, and say what is left out and why.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age", bm.load_dataset("contraception"), name="glm").fit_ml()
    >>> pictures, missing = pictures_of(Entry("glm", "", "use ~ age", [fit], bm.side_by_side(fit), []))
    >>> [picture.title for picture in pictures]  # doctest: +NORMALIZE_WHITESPACE
    ['Estimates', 'Predictions along age', 'Predictive check', 'Calibration', 'Simulated residuals']
    >>> missing  # doctest: +NORMALIZE_WHITESPACE
    ['Chains: there are no draws by NUTS.',
     'Spread between groups, group effects and shrinkage: the model has no groups.']
    """
    lead = lead_of(entry)
    if lead is None:
        return [], []
    out = [_estimates(entry.fits), *_predictions(lead)]
    missing = []
    chains = [fit for fit in entry.fits if fit.engine == "nuts"]
    if chains:
        out.append(_picture("Chains", CHAINS, "trace_rank", chains[0]))
    else:
        missing.append("Chains: there are no draws by NUTS.")
    within = [fit for fit in entry.fits if fit.reading != "population"]
    if not within:
        missing.append(
            "Checks by replicates, spread between groups, group effects and shrinkage: a GEE describes means and "
            "correlations, neither a distribution of the answers nor effects of groups."
        )
        return out, missing
    if len(lead.design.rows) > REPLICATED_ROWS:
        missing.append(
            f"Checks by replicates: left out above {REPLICATED_ROWS:,} rows; plots.predictive_check, "
            "plots.calibration_curve and plots.residual_quantiles draw them."
        )
    else:
        out += _checks(lead)
    if lead.design.groups:
        out += _groups(lead, within)
    else:
        missing.append("Spread between groups, group effects and shrinkage: the model has no groups.")
    return out, missing


def _picture(title: str, caption: str, plot: str, *arguments: Any, **options: Any) -> Picture:
    from bayesmlm import plots

    return Picture(title, caption, partial(getattr(plots, plot), *arguments, **options))


def _estimates(fits: Sequence[Fit]) -> Picture:
    mixed = len({fit.reading == "population" for fit in fits}) == 2 and bool(fits[0].design.groups)
    caption = ESTIMATES + (READINGS_APART if len(fits) > 1 else "") + (OF_THE_POPULATION if mixed else "")
    return _picture("Estimates", caption, "coefficients", *fits)


def _predictions(fit: Fit) -> list[Picture]:
    """Curves along numeric predictors; without any, the means of factors."""
    formula, levels = fit.design.formula, fit.design.fixed_levels
    columns = [name for name in formula.fixed_columns if name not in formula.coded_columns]
    numbers = [name for name in columns if name not in levels]
    factors = [name for name in columns if name in levels and len(levels[name]) <= LEVELS]
    # The factor with the most levels as colours, because panels take more room.
    factors.sort(key=lambda name: -len(levels[name]))
    if not numbers:
        return [_means(fit, factors[:2])] if factors else []
    has_observed = not fit.design.offset.any()
    caption = CURVE + (OBSERVED if has_observed else "")
    by, facet = [*factors, None, None][:2]
    options = {"by": by, "facet": facet, "observed": has_observed}
    return [
        _picture(f"Predictions along {name}", caption, "probability_curves", fit, name, **options)
        for name in numbers[:CURVES]
    ]


def _means(fit: Fit, factors: list[str]) -> Picture:
    def draw() -> Figure:
        from bayesmlm import effects, plots

        return plots.effects(effects.predictions(fit, by=factors))

    return Picture(f"Predictions by {' and '.join(factors)}", FACTORS, draw)


def _checks(fit: Fit) -> list[Picture]:
    title = "Posterior predictive check" if fit.reading == "posterior" else "Predictive check"
    out = [_picture(title, CHECK, "predictive_check", fit)]
    if fit.design.family.is_binary and fit.design.response.is_binary:
        out.append(_picture("Calibration", CALIBRATION, "calibration_curve", fit, draws=500))
    return [*out, _picture("Simulated residuals", RESIDUALS, "residual_quantiles", fit)]


def _groups(lead: Fit, within: Sequence[Fit]) -> list[Picture]:
    dense = [
        fit
        for fit in within
        if fit.reading == "posterior" or (fit.reading == "likelihood" and len(fit.design.rows) <= PROFILED_ROWS)
    ]
    spread = [_picture("Spread between groups", DENSITIES, "variance_densities", *dense)] if dense else []
    return [
        *spread,
        _picture("Group effects", GROUPS, "caterpillar", lead),
        _picture("Shrinkage", SHRINKAGE, "shrinkage", lead),
    ]
