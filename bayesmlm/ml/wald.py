"""Linear hypotheses of a likelihood fit, tested by Wald, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.errors import FitError
from bayesmlm.hypotheses import Hypothesis, joint_wald, plain_names, read_hypotheses, wald
from bayesmlm.ml.table import covariance_of_table
from bayesmlm.tables import labels

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.ml.satterthwaite import FixedVariance

__all__ = ["hypothesis_table"]

Array = np.ndarray[Any, Any]


def hypothesis_table(
    fit: Any, hypotheses: str | Sequence[str], level: float, joint: bool, df: str | None
) -> pd.DataFrame:
    """What :meth:`bayesmlm.ml.fit.MLFit.hypothesis` answers."""
    check_level(level)
    read = read_hypotheses(hypotheses, labels(fit.design))
    return _joint(fit, read, df) if joint else _one_by_one(fit, read, level, df)


def _one_by_one(fit: Any, read: Sequence[Hypothesis], level: float, df: str | None) -> pd.DataFrame:
    import pandas as pd

    estimate, covariance = fit.table().estimate.to_numpy(), covariance_of_table(fit.design, fit.solution)
    degrees = np.full(len(read), np.inf)
    if df is not None:
        degrees = _variance_of(fit, df).degrees_of_freedom(_of_fixed_effects(read, len(fit.design.terms)))
    rows = np.array([wald(h, estimate, covariance, level, d) for h, d in zip(read, degrees, strict=True)])
    names = ["estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value"]
    out = pd.DataFrame(rows, columns=names)
    out.insert(0, "hypothesis", [h.text for h in read])
    if df is not None:
        out.insert(6, "df", degrees)
    notes = [note for h in read if (note := _why_untested(fit, h, covariance))]
    interval = fit._interval(level) if df is None else f"{100 * level:g}% t, Satterthwaite's degrees of freedom"
    out.attrs.update(interval=interval, notes=notes)
    return out


def _joint(fit: Any, read: Sequence[Hypothesis], df: str | None) -> pd.DataFrame:
    import pandas as pd

    estimate, covariance = fit.table().estimate.to_numpy(), covariance_of_table(fit.design, fit.solution)
    for h in read:
        if lost := _without_error(fit, h, covariance):
            raise FitError(
                f'"{h.text}" cannot be tested by Wald: {lost}; compare the models by bm.anova() or bm.drop1()'
            )
    test, row = joint_wald(read, estimate, covariance), {"hypothesis": ", ".join(h.text for h in read)}
    if df is None:
        return pd.DataFrame([{**row, "statistic": test.statistic, "df": test.df, "p_value": test.p_value}])
    on_f = test.on_f(_variance_of(fit, df).joint_degrees_of_freedom(_of_fixed_effects(read, len(fit.design.terms))))
    return pd.DataFrame(
        [{**row, "statistic": on_f.statistic, "df": on_f.df, "df_denom": on_f.df_denom, "p_value": on_f.p_value}]
    )


def _variance_of(fit: Any, df: str) -> FixedVariance:
    # The linear mixed model has kernels of its own, which others do not wait for.
    from bayesmlm.ml.satterthwaite import variance_of

    return variance_of(fit, df)


def _why_untested(fit: Any, hypothesis: Hypothesis, covariance: Array) -> str:
    """A sentence on a hypothesis that a Wald test is not valid for; empty of others."""
    if lost := _without_error(fit, hypothesis, covariance):
        return f"{hypothesis.text}: no test, {lost}; bm.drop1() and bm.anova() compare models."
    if hypothesis.boundary:
        return (
            f"{hypothesis.text}: no test, it puts {hypothesis.boundary}, the end of its range; bm.drop1() and "
            f"bm.anova() test that."
        )
    return ""


def _without_error(fit: Any, hypothesis: Hypothesis, covariance: Array) -> str:
    """Which of its parameters are estimated at a boundary and have no standard error, as a clause; empty if none."""
    names = plain_names(labels(fit.design))
    lost = [names[at] for at in np.flatnonzero(hypothesis.weights) if np.isnan(covariance[at, at])]
    if not lost:
        return ""
    verb, their = ("is", "its") if len(lost) == 1 else ("are", "their")
    return f"{' and '.join(lost)} {verb} estimated at the end of {their} range, where there is no standard error"


def _of_fixed_effects(hypotheses: Sequence[Hypothesis], p: int) -> Array:
    """Weights of the p fixed effects, a row per hypothesis."""
    for h in hypotheses:
        if h.weights[p:].any():
            raise FitError(f'degrees of freedom are of fixed effects; "{h.text}" is not of these alone')
    return np.array([h.weights[:p] for h in hypotheses])
