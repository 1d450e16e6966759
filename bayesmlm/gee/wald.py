"""Linear hypotheses of a GEE, tested by Wald, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.errors import FitError
from bayesmlm.gee.table import degrees_of_freedom, joint_estimates, row_labels
from bayesmlm.hypotheses import Hypothesis, joint_wald, read_hypotheses, wald
from bayesmlm.tables import Label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["hypothesis_table"]

Array = np.ndarray[Any, Any]


def hypothesis_table(
    fit: Any, hypotheses: str | Sequence[str], level: float, joint: bool, df: str | None
) -> pd.DataFrame:
    """What :meth:`bayesmlm.gee.fit.GEEFit.hypothesis` answers."""
    import pandas as pd

    check_level(level)
    degrees = degrees_of_freedom(fit, df)
    read = read_hypotheses(hypotheses, _written(fit))
    estimate, V = joint_estimates(fit)
    p = len(fit.design.terms)
    for h in read:
        _refuse(fit, h, V, p, df)
    if joint:
        test, row = joint_wald(read, estimate, V), {"hypothesis": ", ".join(h.text for h in read)}
        if df is None:
            return pd.DataFrame([{**row, "statistic": test.statistic, "df": test.df, "p_value": test.p_value}])
        on_f = test.on_f(degrees)
        return pd.DataFrame(
            [{**row, "statistic": on_f.statistic, "df": on_f.df, "df_denom": degrees, "p_value": on_f.p_value}]
        )
    rows = np.array([wald(h, estimate, V, level, degrees) for h in read])
    out = pd.DataFrame(rows, columns=["estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value"])
    out.insert(0, "hypothesis", [h.text for h in read])
    if df is not None:
        out.insert(6, "df", degrees)
    out.attrs.update(interval=f"{100 * level:g}% {'Wald' if df is None else 't'}", notes=[])
    return out


def _written(fit: Any) -> list[Label]:
    """How estimates are written in a hypothesis: ``age``, ``scale``, ``alpha``, ``alpha(1, 2)``."""
    names = []
    for component, _, term, _ in row_labels(fit):
        is_pair = component == "alpha" and term != "alpha"
        names.append(f"alpha({term.replace(',', ', ')})" if is_pair else term)
    return [("fixed", "", name, "") for name in names]


def _refuse(fit: Any, h: Hypothesis, V: Array, p: int, df: str | None) -> None:
    used = np.flatnonzero(h.weights)
    if df is not None and (used >= p).any():
        raise FitError(f'degrees of freedom are of fixed effects; "{h.text}" is not of these alone')
    if np.isfinite(V[np.ix_(used, used)]).all():
        return
    if (used < p).any() and np.isfinite(np.diag(V)[used]).all():
        raise FitError(
            f'"{h.text}" is of coefficients and correlations together, whose covariance is robust: fit with se="robust"'
        )
    if fit.options.flavour == "gee":
        raise FitError(
            f'"{h.text}" cannot be tested: R\'s gee has no standard errors of scale and correlations; fit with '
            f'flavour="yan_fine"'
        )
    raise FitError(f'"{h.text}" cannot be tested: the scale was given, not estimated')
