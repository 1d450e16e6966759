"""A sheet as LaTeX: tables of the package booktabs, nothing else to load."""

from __future__ import annotations

import re
import unicodedata

from bayesmlm.sheets.grid import Grid, Lines, Sheet, header_lines, typeset

__all__ = ["escaped", "latex"]

_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "^": r"\textasciicircum{}", "~": r"$\sim$", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "−": "$-$", "–": "--", "—": "---", "…": r"\ldots{}", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$",
    "²": "$^2$", "³": "$^3$", "½": r"$\frac{1}{2}$", "√": r"$\surd$", "∞": r"$\infty$", "≤": r"$\leq$", "≥": r"$\geq$",
    "≠": r"$\neq$", "≈": r"$\approx$", "→": r"$\rightarrow$", "α": r"$\alpha$", "β": r"$\beta$", "η": r"$\eta$",
    "θ": r"$\theta$", "λ": r"$\lambda$", "μ": r"$\mu$", "π": r"$\pi$", "ρ": r"$\rho$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "χ": r"$\chi$", "ζ": r"$\zeta$", "Σ": r"$\Sigma$", "’": "'", "‘": "`", "“": "``", "”": "''",
}  # fmt: skip
"""What each character is in LaTeX where it means something else, or nothing."""

_HAT = re.compile("([A-Za-z])\u0302")


def escaped(text: str) -> str:
    """Text as LaTeX prints it, under pdfTeX too.

    Letters with accents stay (they are UTF-8, as LaTeX reads it); other symbols become math or their names.

    Examples
    --------
    >>> escaped("I(age^2) & a_b, χ² 5 %")
    'I(age\\\\textasciicircum{}2) \\\\& a\\\\_b, $\\\\chi$$^2$ 5 \\\\%'
    """
    parts = _HAT.split(unicodedata.normalize("NFC", text))
    # Every second part is a letter under a hat.
    return "".join(rf"$\hat{{{part}}}$" if i % 2 else "".join(map(_character, part)) for i, part in enumerate(parts))


def _character(character: str) -> str:
    command = _COMMANDS.get(character)
    if command is not None:
        return command
    # Latin letters are in every font; of anything else the name is better than a page that does not compile.
    if ord(character) < 0x180:
        return character
    return f"[{unicodedata.name(character, 'unknown character').lower()}]"


def latex(sheet: Sheet) -> str:
    """Write a sheet as LaTeX, to be put into a document by ``\\input``; it needs ``\\usepackage{booktabs}``.

    Examples
    --------
    >>> print(latex((Grid(("", "Estimate"), (("my_age", "-0.7"),)),)))
    \\begin{tabular}{lr}
    \\toprule
     & Estimate \\\\
    \\midrule
    my\\_age & $-$0.7 \\\\
    \\bottomrule
    \\end{tabular}
    """
    return "\n\n".join(_part(part) for part in sheet)


def _part(part: Grid | Lines | str) -> str:
    if isinstance(part, str):
        return escaped(part)
    if isinstance(part, Lines):
        return "\\noindent\n" + "\\\\\n".join(escaped(line.strip()) for line in part.lines)
    columns = "".join("l" if j < part.left else "r" for j in range(part.width))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    if part.header:
        lines += [*(_row(line, part.width) for line in header_lines(part)), r"\midrule"]
    for i, row in enumerate(part.rows):
        if len(row) == 1 and part.width > 1:
            lines += [r"\addlinespace"] if i else []
            lines.append(rf"\multicolumn{{{part.width}}}{{l}}{{\textbf{{{escaped(row[0].strip())}}}}} \\")
        else:
            lines.append(_row(row, part.left))
    lines += [r"\bottomrule", r"\end{tabular}"]
    above = [rf"\noindent\textbf{{{escaped(part.title.rstrip(':'))}}}\par\smallskip\noindent"] if part.title else []
    return "\n".join([*above, *lines, *([rf"\par\smallskip\noindent {escaped(part.below)}"] if part.below else [])])


def _row(cells: tuple[str, ...], left: int) -> str:
    text = [escaped(cell.strip() if j < left else typeset(cell.strip())) for j, cell in enumerate(cells)]
    # A line that begins with "[" would be read as the option of the "\\" before it.
    text[0] = f"{{}}{text[0]}" if text[0].startswith(("[", "*")) else text[0]
    return f"{' & '.join(text)} \\\\"
