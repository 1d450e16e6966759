"""Results written for elsewhere: Markdown, LaTeX, HTML, CSV, great tables."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from bayesmlm.errors import FitError, among
from bayesmlm.fit import Fit
from bayesmlm.sheets import Sheet

__all__ = ["FORMATS", "export"]

FORMATS = {"markdown": ".md", "latex": ".tex", "html": ".html", "csv": ".csv", "great_tables": ""}
"""Formats, and the ends of files that have them."""


def export(
    what: Any, to: str | PathLike[str], style: str | None = None, df: str | None = None, exponentiate: bool = False
) -> Any:
    """Write a fit or a table of results.

    Parameters
    ----------
    what : Fit or data frame
        A fit is written as its summary, as CSV or a great table its estimates; a table with headings, few digits and
        what it says of itself, as CSV with all digits.
    to : str or path
        A file that ends in ``.md``, ``.tex``, ``.html`` or ``.csv``; or a format, of which the text is returned:
        ``"markdown"``, ``"latex"`` (a ``tabular``; it needs the package booktabs), ``"html"`` (a piece of a page; a
        file is a page of its own), ``"csv"``; or ``"great_tables"``, a ``GT`` to be styled further.
    style, df, exponentiate
        Of a fit; see :meth:`bayesmlm.fit.Fit.summary`.

    Returns
    -------
    str, great_tables.GT or pathlib.Path
        The path of a file that was written.

    Raises
    ------
    FitError
        For a format that does not exist, a folder that is not there, and what is neither a fit nor a table.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="m").fit_ml()
    >>> print(bm.export(fit.varcorr(), "markdown"))
    | group | term | variance | sd |
    |:--|:--|--:|--:|
    | district | Intercept | 0.188 | 0.434 |
    <BLANKLINE>
    Given the groups' own effects; 95% Wald.
    >>> print(bm.export(bm.model_table(fit), "latex").splitlines()[0])
    \\begin{tabular}{lr}
    """
    format_name, path = _target(to)
    if isinstance(what, Fit):
        title = what.name
        text: Any = what.table(df=df).to_csv(index=False) if format_name == "csv" else None
        sheet = what._sheet(style, df, exponentiate)
        if format_name == "great_tables":  # one table, with the head of the summary as its title
            sheet = (sheet[0], *_estimates(what, df, exponentiate))
    else:
        if style is not None or df is not None or exponentiate:
            raise FitError("style=, df= and exponentiate= are for a fit: a table is written as it is")
        title, text, sheet = "Table", *_table(what, format_name)
    text = _written(sheet, format_name, title, path is not None) if text is None else text
    if path is None:
        return text
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FitError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _estimates(fit: Fit, df: str | None, exponentiate: bool) -> Sheet:
    """The table of a fit laid out."""
    from bayesmlm.ratios import exponentiated
    from bayesmlm.sheets.frames import sheet_of

    table = fit.table(df=df)
    return sheet_of(exponentiated(table, fit.design.family) if exponentiate else table)


def _target(to: str | PathLike[str]) -> tuple[str, Path | None]:
    """The format, and the file if there is one."""
    if isinstance(to, str) and to in FORMATS:
        return to, None
    path = Path(to)
    for name, end in FORMATS.items():
        if end and path.suffix.lower() == end:
            return name, path
    ends = ", ".join(end for end in FORMATS.values() if end)
    raise FitError(f'there is no format "{to}"; {among(to, FORMATS)}; or a file that ends in {ends}')


def _table(what: Any, format_name: str) -> tuple[str | None, Sheet]:
    import pandas as pd

    from bayesmlm.sheets.frames import sheet_of
    from bayesmlm.sheets.results import Result

    frame = what.to_frame() if isinstance(what, pd.Series) else what
    if not isinstance(frame, pd.DataFrame):
        raise FitError(f"export takes a fit or a table of results, not a {type(what).__name__}")
    if format_name == "csv":
        return frame.to_csv(index=not isinstance(frame.index, pd.RangeIndex)), ()
    return None, frame._sheet() if isinstance(frame, Result) else sheet_of(frame)


def _written(sheet: Sheet, format_name: str, title: str, is_file: bool) -> Any:
    """A sheet in a format; each is loaded when it is asked for."""
    if format_name == "markdown":
        from bayesmlm.sheets.markdown import markdown

        return markdown(sheet) + "\n" * is_file
    if format_name == "latex":
        from bayesmlm.sheets.latex import latex

        return latex(sheet) + "\n" * is_file
    if format_name == "html":
        from bayesmlm.sheets.html import fragment, page

        return page(sheet, title) if is_file else fragment(sheet)
    from bayesmlm.sheets.great import great_table

    return great_table(sheet)
