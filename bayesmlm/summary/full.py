"""The whole summary of a fit, laid out as lme4's users expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesmlm.errors import FitError
from bayesmlm.sheets import Grid, Lines, Sheet
from bayesmlm.summary.parts import (
    correlations,
    counts,
    fixed_effects,
    head,
    is_gaussian,
    kind_of,
    random_effects,
    residual,
    scaled_residuals,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["full", "own_notes"]


def full(fit: Any, table: pd.DataFrame, exponentiate: bool) -> Sheet:
    """Head, criteria, residuals, random effects, fixed effects and their correlations, notes."""
    tested = ". t tests use Satterthwaite's method" if "df" in table else ""
    parts: list[Grid | Lines | str | None] = [head(fit, f"{kind_of(fit)}{tested}"), *_criteria(fit)]
    parts.append(scaled_residuals(fit))
    if fit.design.groups:
        parts.append(random_effects(fit, table))
    else:
        parts.append(Lines((*([residual(fit)] if is_gaussian(fit) else []), counts(fit))))
    parts += [fixed_effects(fit, table, exponentiate), correlations(fit), *own_notes(fit)]
    return tuple(part for part in parts if part)


def own_notes(fit: Any) -> list[str]:
    """The notes of a fit but that of the event, which stands in the head."""
    return [note for note in fit.notes if not note.startswith("The response counts")]


def _criteria(fit: Any) -> list[Grid | Lines | str | None]:
    if fit.reading == "posterior":
        return [_evidence(fit)] if hasattr(fit, "log_evidence_se") else []
    if fit.solution.reml:
        return [Lines((f"REML criterion at convergence: {fit.reml_criterion:.1f}",))]
    values = [fit.aic, fit.bic, fit.loglik, fit.deviance]
    below = (
        f"Log-posterior: {fit.log_posterior:.1f} (log-likelihood {fit.loglik:.1f}, log-prior {fit.log_prior:.1f})"
        if fit.engine == "map"
        else ""
    )
    header = ("AIC", "BIC", "logLik", "deviance", "df.resid")
    return [Grid(header, ((*(f"{value:.1f}" for value in values), str(fit.df_resid)),), left=0, below=below)]


def _evidence(fit: Any) -> Lines | None:
    try:
        evidence = fit.log_evidence
    except FitError:  # flat priors leave it without a scale
        return None
    return Lines((f"Log marginal likelihood: {evidence:.2f} (Monte-Carlo error {fit.log_evidence_se:.2g})",))
