"""The styles of a summary, and which one is asked for."""

from __future__ import annotations

from typing import Any

from bayesmlm.errors import FitError, among
from bayesmlm.ratios import ratio_word
from bayesmlm.sheets import Sheet
from bayesmlm.summary.concise import concise
from bayesmlm.summary.full import full

__all__ = ["STYLES", "check_style", "summary_sheet"]

STYLES = ("full", "concise")
"""Styles of a summary."""


def check_style(fit: Any, style: str | None, exponentiate: bool) -> str:
    """The style, refused where there is none of that name or where ratios are asked for and do not exist.

    Raises
    ------
    FitError
    """
    style = style or "full"
    if style not in STYLES:
        raise FitError(f'there is no summary style "{style}"; {among(style, STYLES)}')
    if exponentiate:
        ratio_word(fit.design.family)
    return style


def summary_sheet(fit: Any, style: str | None = None, df: str | None = None, exponentiate: bool = False) -> Sheet:
    """What :meth:`bayesmlm.fit.Fit.summary` says, as a sheet.

    Raises
    ------
    FitError
        For a style that does not exist, degrees of freedom that the fit has not, and ratios of a link without any.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + urban + livch + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> summary_sheet(fit)[0].lines[0]
    'Generalized linear mixed model fit by maximum likelihood (Laplace approximation)'
    """
    make = full if check_style(fit, style, exponentiate) == "full" else concise
    return make(fit, fit.table(df=df), exponentiate)
