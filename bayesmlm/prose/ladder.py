"""Likelihood-ratio tests in sentences: which model is preferred, or that there is no test.

The module loads pandas, and is imported where a table is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.prose.words import filled, number, p_words, percent
from bayesmlm.sheets.results import Result

__all__ = ["Ladder"]


class Ladder(Result):
    """The table of :func:`bayesmlm.anova`, which can say what its tests do and do not show."""

    @property
    def _constructor(self) -> Any:
        return Result  # some rows of a ladder are no ladder

    def report(self, level: float = 0.95, width: int | None = 88) -> str:
        """Say of each step whether the larger model fits better, or why that is not tested.

        Parameters
        ----------
        level : float
            1 − level is the level of significance.
        width : int, optional
            Of lines; None leaves paragraphs whole.

        Examples
        --------
        >>> import bayesmlm as bm
        >>> d = bm.load_dataset("contraception")
        >>> d["ch"] = (d.livch != "0").map({False: "N", True: "Y"})
        >>> big = bm.Model("use ~ age + I(age^2) + urban + livch + (1 | district)", d, name="m_02").fit_ml()
        >>> small = bm.Model("use ~ age + I(age^2) + urban + ch + (1 | district)", d, name="m_03").fit_ml()
        >>> print(bm.anova(big, small).report(width=100))
        m_03 is m_02 with 2 parameters fewer. They do not fit significantly differently at the 5 % level
        (χ²(2) = 0.46, p = 0.796): nothing speaks for the larger m_02, which is not to say that m_03 is
        better. AIC is 3.5 lower for m_03.
        """
        check_level(level)
        rows = self.to_dict("records")
        notes = list(self.attrs["notes"])
        out = []
        for i in range(1, len(rows)):
            note = next(
                (text for text in notes if text.startswith(f"{rows[i - 1]['model']} and {rows[i]['model']}: ")), ""
            )
            distribution = self.attrs["distribution"][i]
            out.append(filled(_step(rows[i - 1], rows[i], note, distribution, level), width))
        return "\n\n".join(out)


def _step(before: dict[str, Any], after: dict[str, Any], note: str, distribution: str, level: float) -> str:
    """One model against the one before it."""
    if np.isnan(after["p_value"]):
        return f"{note.rstrip('.')}."
    small, big = (before, after) if before["npar"] <= after["npar"] else (after, before)
    more = int(after["df"])
    count = f"{more} parameter{'s' if more > 1 else ''}"
    if big is after:
        step = f"{big['model']} is {small['model']} with {count} more."
    else:
        step = f"{small['model']} is {big['model']} with {count} fewer."
    plain = "½" not in distribution
    statistic = (
        f"χ²({more}) = {number(after['chisq'])}" if plain else f"χ² = {number(after['chisq'])} on {distribution}"
    )
    test = f"({statistic}, {p_words(after['p_value'])})"
    alpha = percent(1.0 - level)
    if after["p_value"] < 1.0 - level:
        said = f"{big['model']} fits significantly better at the {alpha} level {test}."
    else:
        said = (
            f"They do not fit significantly differently at the {alpha} level {test}: nothing speaks for the larger "
            f"{big['model']}, which is not to say that {small['model']} is better."
        )
    lower = min(before, after, key=lambda row: row["aic"])
    return f"{step} {said} AIC is {abs(before['aic'] - after['aic']):.1f} lower for {lower['model']}."
