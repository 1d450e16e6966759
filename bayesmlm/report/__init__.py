"""The report of a run: one HTML page that needs nothing else."""

from bayesmlm.report.entry import Entry
from bayesmlm.report.page import render

__all__ = ["Entry", "render"]
