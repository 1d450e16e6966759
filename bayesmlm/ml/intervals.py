"""Confidence limits of a fit's quantities by Wald, by profile likelihood and by the bootstrap, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.fit import check_count, check_level, chosen_rows, labelled, labels
from bayesmlm.ml.bootstrapped import check_interval_kind
from bayesmlm.ml.engine import MLSolution, solve_ml
from bayesmlm.ml.profile import profile_limits, profile_traces
from bayesmlm.parallel import patience

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "confidence_limits", "profile_table"]

METHODS = ("wald", "profile", "bootstrap")


def confidence_limits(
    fit: Any, method: str, level: float, parm: str | Sequence[str] | None, n_boot: int, seed: int | None,
    workers: int | None, kind: str,
) -> pd.DataFrame:  # fmt: skip
    """What :meth:`bayesmlm.ml.fit.MLFit.confint` answers."""
    if method not in METHODS:
        raise FitError(f'confint has no method "{method}"; {among(method, METHODS)}')
    check_level(level)
    check_interval_kind(kind)
    chosen = chosen_rows(labels(fit.design), parm)
    table = fit.table(level)
    out = table[["component", "group", "term", "estimate", "conf_low", "conf_high"]].iloc[chosen].reset_index(drop=True)
    notes: list[str] = []
    out.attrs = {**table.attrs, "method": method, "notes": notes}
    if method == "bootstrap":
        replicates = fit.bootstrap(n=n_boot, seed=seed, workers=workers)
        low, high = replicates.intervals(level, kind)
        out = out.assign(conf_low=low[chosen], conf_high=high[chosen])
        notes.extend(replicates.notes)
        out.attrs.update(
            interval=replicates.describe(level, kind), notes=notes, failed=replicates.failed, seed=replicates.seed
        )
    elif method == "profile":
        solution, notes = _profiled(fit)
        with patience("profile", len(chosen)) as advance:
            quantile = NormalDist().inv_cdf(0.5 + level / 2.0)
            limits = profile_limits(fit.design, solution, quantile, chosen, lambda done, _: advance(done))
        out = out.assign(conf_low=[limit.low for limit in limits], conf_high=[limit.high for limit in limits])
        if out[["conf_low", "conf_high"]].isna().any(axis=None):
            notes.append("The likelihood could not be followed as far as the limits that are NaN.")
        out.attrs.update(interval=f"{100 * level:g}% profile likelihood", notes=notes)
    return out


def profile_table(fit: Any, parm: str | Sequence[str] | None, level: float, points: int) -> pd.DataFrame:
    """What :meth:`bayesmlm.ml.fit.MLFit.profile` answers."""
    check_level(level)
    rows = labels(fit.design)
    chosen = chosen_rows(rows, parm)
    points = check_count("points", points)
    solution, notes = _profiled(fit)
    traces = profile_traces(fit.design, solution, NormalDist().inv_cdf(0.5 + level / 2.0), points, chosen)
    names = [rows[place] for place, trace in zip(chosen, traces, strict=True) for _ in trace.values]
    values, zeta = (np.concatenate([getattr(trace, name) for trace in traces]) for name in ("values", "zeta"))
    out = labelled(names, {"value": values, "zeta": zeta}).drop(columns="level")
    out.attrs.update(engine=fit.engine, notes=notes)
    return out


def _profiled(fit: Any) -> tuple[MLSolution, list[str]]:
    """The solution whose likelihood is profiled, and what is to be said of it."""
    solution = fit.solution
    if not np.isnan(solution.log_prior):
        raise FitError(
            'a posterior mode has no profile likelihood around it; use method="bootstrap", or profile '
            "fit.model.fit_ml()"
        )
    if not solution.reml:
        return solution, []
    return solve_ml(fit.design), [
        "The fit is by REML; what is profiled, as lme4 does, is the likelihood, whose maximum lies elsewhere."
    ]
