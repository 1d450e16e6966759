"""The report of a fit: what was fitted, how much it explains, each effect with what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.prose.effects import effect_lines, limits_words, test_words
from bayesmlm.prose.groups import group_sentences
from bayesmlm.prose.model import model_sentences, response_words, scale_words
from bayesmlm.prose.terms import origin, terms_of
from bayesmlm.prose.words import capital, filled, joined, number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]


def report(fit: Any, level: float = 0.95, df: str | None = None, width: int | None = 88) -> str:
    """What :meth:`bayesmlm.fit.Fit.report` answers.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> [line for line in report(fit).splitlines() if "urban [Y]" in line]
    ['- urban [Y] against N: positive, significant at the 5 % level (β = 0.65, 95 % CI']
    """
    check_level(level)
    if df is None and fit.design.family.name == "gaussian" and fit.reading == "likelihood":
        df = "satterthwaite"
    table = fit.table(level, df=df)
    fixed = table[table.component == "fixed"]
    untested = fit._untested(df)
    standardised, about = _standardised(fit, level, df)
    opening = [
        *([] if fit.converged else [_trouble(fit)]), *model_sentences(fit), *_explained(fit),
        *group_sentences(fit, table, level), *_intercept(fit, fixed, untested, level),
    ]  # fmt: skip
    lines = effect_lines(fit, fixed, standardised, untested, level)
    parts = [filled(" ".join(opening), width)]
    if lines:
        whose = (
            "of the population's means" if fit.reading == "population" else "given the groups" if _mixed(fit) else ""
        )
        heading = f"{' '.join(filter(None, ('Effects', whose)))}, on the {scale_words(fit)}:"
        parts.append("\n".join([heading, *(filled(line, width, "  ") for line in lines)]))
    parts.append(filled(" ".join([*_method(fit, untested, level, df), *about, *_closing(fit)]), width))
    return "\n\n".join(parts)


def _mixed(fit: Any) -> bool:
    return bool(fit.design.groups)


def _trouble(fit: Any) -> str:
    """What comes first where the fit did not converge."""
    if fit.reading == "posterior":
        found = "These draws cannot be relied on."
    else:
        found = "This fit did not converge, and its figures cannot be relied on."
    return f"{found} {fit.diagnostics().verdict} No test or probability is reported."


def _explained(fit: Any) -> list[str]:
    if fit.reading == "population":
        return []
    try:
        r2 = fit.r2()
    except FitError:
        return []
    marginal, conditional = float(r2.marginal), float(r2.conditional)
    if not (np.isfinite(marginal) and np.isfinite(conditional)):
        return []
    scale = "" if fit.design.family.name == "gaussian" else f" on the {scale_words(fit)}"
    if not _mixed(fit):
        return [f"The predictors explain {100.0 * marginal:.0f} % of the variance{scale} (R² = {marginal:.2f})."]
    return [
        f"Fixed and group effects together explain {100.0 * conditional:.0f} % of the variance{scale} "
        f"(conditional R² = {conditional:.2f}), the fixed effects alone {100.0 * marginal:.0f} % (marginal R² = "
        f"{marginal:.2f})."
    ]


def _intercept(fit: Any, fixed: pd.DataFrame, untested: Mapping[str, str], level: float) -> list[str]:
    if "Intercept" not in fit.design.terms:
        return []
    row = fixed[fixed.term == "Intercept"].to_dict("records")[0]
    places = origin(fit.design)
    places += [f"{offset} = 0" for offset in _offsets(fit.design)]
    at = f" at {joined(places)}" if places else ""
    where = " in a group whose effects are zero" if _mixed(fit) else ""
    tested = fit.reading in ("likelihood", "population") and not {"", "Intercept"} & set(untested)
    facts = ", ".join(filter(None, (limits_words(fit, row, level), test_words(row) if tested else "")))
    family, mean = fit.design.family, ""
    if family.name != "gaussian":
        expected = number(float(family.link.inverse(np.array(row["estimate"]))))
        mean = f": a {'probability' if family.is_binary else 'mean'} of {expected}"
    value = number(row["estimate"], row["std_error"])
    return [f"The intercept, the {response_words(fit)}{at}{where}, is {value} ({facts}){mean}."]


def _offsets(design: Design) -> list[str]:
    """What is added to the linear predictor, and so stands at zero beside the intercept."""
    named = [*design.formula.offsets, *([design.offset_column] if design.offset_column else [])]
    return named or (["the offset"] if design.offset.any() else [])


def _standardised(fit: Any, level: float, df: str | None) -> tuple[pd.DataFrame | None, list[str]]:
    """Standardised coefficients, and what they are."""
    try:
        table = fit.standardised(level, df=df)
    except FitError:
        return None, ["Standardised coefficients would be of another model, with other priors, and are left out."]
    names = [name for name in fit.design.formula.fixed_columns if name not in fit.design.fixed_levels]
    names = [name for name in names if name not in table.attrs["kept"]]
    kept = table.attrs["kept"]
    gaussian = fit.design.family.name == "gaussian"
    if not names and not gaussian:
        return None, []
    scaled = [*([fit.design.response.name] if gaussian else []), *names]
    how = "the model fitted again" if table.attrs["refitted"] else "the same model"
    what = f"{joined(scaled)} as {'a z-score' if len(scaled) == 1 else 'z-scores'}"
    sentence = f"Standardised coefficients are of {how} with {what}, taken before any transform"
    zeros = {place for term in terms_of(fit.design) for place in term.at}
    centred = [f"{name} = 0" for name in names if f"{name} = 0" in zeros]
    sentence += f", so that {joined(centred)} is at the mean" if centred else ""
    return table, [f"{sentence}{f'; {joined(kept)} on its own scale' if kept else ''}."]


def _method(fit: Any, untested: Mapping[str, str], level: float, df: str | None) -> list[str]:
    """What intervals and claims rest on."""
    if fit.reading == "posterior":
        return ["Estimates are posterior means, and intervals equal-tailed."]
    if fit.reading == "mode":
        return ["Estimates are the posterior mode, and intervals normal, from the curvature there; no test is made."]
    if df is None:
        how = "are Wald's, from the normal distribution"
    elif df == "clusters":
        how = "are Wald's, from t with clusters minus coefficients degrees of freedom"
    else:
        how = "are from t"
        if _mixed(fit):
            how += " with Satterthwaite's degrees of freedom, those of the spread between groups Wald's"
        elif not fit.solution.reml:
            how += " on as many degrees of freedom as observations (fit_ml(reml=True) has the exact test)"
    if "" in untested or set(fit.design.terms) <= set(untested):
        return [f"Intervals {how}."]
    return [f"Intervals and p-values {how}; significant means p below {number(1.0 - level)}."]


def _closing(fit: Any) -> list[str]:
    """The diagnostics, and what else to know."""
    found = fit.diagnostics()
    if fit.reading == "posterior":
        return [f"{capital(found.verdict.rstrip('.'))}."] if fit.converged else []
    if found.ok or not fit.converged:
        return []
    return [found.verdict]
