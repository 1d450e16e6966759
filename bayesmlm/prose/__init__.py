"""Fits and tests in sentences."""

from bayesmlm.prose.report import report

__all__ = ["report"]
