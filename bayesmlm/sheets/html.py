"""A sheet as HTML: for notebooks, and as a page of its own."""

from __future__ import annotations

from html import escape

from bayesmlm.sheets.grid import Grid, Lines, Sheet, typeset

__all__ = ["fragment", "page"]

STYLE = """
.bayesmlm { font: 0.95em/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
.bayesmlm p { margin: 0.4em 0; text-align: left; max-width: 48rem; }
.bayesmlm .wide { overflow-x: auto; }
.bayesmlm table { border-collapse: collapse; border: 0; margin: 0.7em 0 0.2em; font-size: 0.95em;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid; }
.bayesmlm caption { caption-side: top; text-align: left; font-weight: 600; color: inherit; padding: 0 0 0.2em; }
.bayesmlm th, .bayesmlm td { padding: 0.15em 0.8em; text-align: right; white-space: nowrap; border: 0;
  background: none; }
.bayesmlm .w { text-align: left; }
.bayesmlm th:first-child, .bayesmlm td:first-child { padding-left: 0; }
.bayesmlm thead th { border-bottom: 1px solid; vertical-align: bottom; font-weight: 600; }
.bayesmlm tbody th { font-weight: 600; padding-top: 0.5em; }
.bayesmlm .below, .bayesmlm .note { font-size: 0.92em; opacity: 0.8; }
""".strip()
"""Only of what stands inside a ``.bayesmlm``, and the same wherever it is repeated: outputs of a page do not clash."""


def fragment(sheet: Sheet) -> str:
    """Write a sheet as a piece of a page.

    Examples
    --------
    >>> text = fragment((Grid(("", "Estimate"), (("livch[<2]", "-0.7"),)),))
    >>> "livch[&lt;2]" in text, "−0.7" in text, " id=" in text
    (True, True, False)
    """
    parts = "".join(_part(part, i == 0) for i, part in enumerate(sheet))
    return f'<div class="bayesmlm"><style>{STYLE}</style>{parts}</div>'


def page(sheet: Sheet, title: str) -> str:
    """Write a sheet as a page of its own, which needs nothing else.

    Examples
    --------
    >>> page(("A note.",), "m_01").startswith("<!doctype html>")
    True
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n</head>\n'
        f'<body style="margin: 1.5rem">\n{fragment(sheet)}\n</body>\n</html>\n'
    )


def _part(part: Grid | Lines | str, is_first: bool) -> str:
    if isinstance(part, str):
        return f'<p class="note">{escape(part)}</p>'
    if isinstance(part, Lines):
        first, *others = (escape(line.strip()) for line in part.lines)
        return f"<p>{'<br>'.join([f'<strong>{first}</strong>' if is_first else first, *others])}</p>"
    caption = f"<caption>{escape(part.title.rstrip(':'))}</caption>" if part.title else ""
    head = f"<thead>{_row(part.header, part.left, 'th', ' scope="col"')}</thead>" if part.header else ""
    body = "".join(
        f'<tr><th class="w" scope="rowgroup" colspan="{part.width}">{escape(row[0].strip())}</th></tr>'
        if len(row) == 1 and part.width > 1
        else _row(row, part.left, "td", "")
        for row in part.rows
    )
    below = f'<p class="below">{escape(part.below)}</p>' if part.below else ""
    return f'<div class="wide"><table>{caption}{head}<tbody>{body}</tbody></table></div>{below}'


def _row(cells: tuple[str, ...], left: int, tag: str, more: str) -> str:
    out = []
    for j, cell in enumerate(cells):
        words = ' class="w"' if j < left else ""
        text = escape(cell.strip()) if j < left or tag == "th" else escape(typeset(cell.strip()))
        out.append(f"<{tag}{words}{more}>{text.replace(chr(10), '<br>')}</{tag}>")
    return f"<tr>{''.join(out)}</tr>"
