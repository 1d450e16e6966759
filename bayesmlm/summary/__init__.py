"""Fits as sheets: lme4's layout, and a concise one."""

from bayesmlm.summary.styles import STYLES, check_style, summary_sheet

__all__ = ["STYLES", "check_style", "summary_sheet"]
