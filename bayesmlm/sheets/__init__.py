"""What a result says, laid out once and written as text, Markdown, LaTeX, HTML or a great table."""

from bayesmlm.sheets.grid import Grid, Lines, Sheet, printed

__all__ = ["Grid", "Lines", "Sheet", "printed"]
