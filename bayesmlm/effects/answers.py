"""From settings of rows to a table: the two shapes that every answer has.

Expected responses at each setting, or differences between two settings on some scale; then, where asked for, contrasts
between the rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.effects.contrasts import contrasts_of, row_names
from bayesmlm.effects.quantities import Normal, Sampled
from bayesmlm.effects.request import Request, expected_word
from bayesmlm.effects.variables import Change
from bayesmlm.errors import FitError
from bayesmlm.families import IDENTITY, LOG, LOGIT, Link

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.effects.tables import EffectTable

__all__ = ["COMPARISONS", "Comparison", "answer_changes", "answer_expected", "is_link", "quantity_of", "rows_are_first"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A way to compare two expected responses: a difference on a scale, taken back.

    Attributes
    ----------
    scale, back : Link
    rows_first : bool
        Whether single rows are compared and then averaged, by default.
    label, words : str
    """

    scale: Link
    back: Link
    rows_first: bool
    label: str
    words: str


COMPARISONS = {
    "difference": Comparison(IDENTITY, IDENTITY, False, "{hi} - {lo}", "difference of the {expected}"),
    "ratio": Comparison(LOG, LOG, False, "{hi} / {lo}", "ratio of the {expected}"),
    "oddsratio": Comparison(LOGIT, LOG, True, "odds({hi}) / odds({lo})", "odds ratio of {event}"),
    "lnratio": Comparison(LOG, IDENTITY, False, "ln({hi} / {lo})", "log of the ratio of the {expected}"),
    "lnoddsratio": Comparison(LOGIT, IDENTITY, True, "ln(odds({hi}) / odds({lo}))", "log odds ratio of {event}"),
}
"""Ways to compare."""


def is_link(scale: str) -> bool:
    """Whether the scale asked for is the link's.

    Raises
    ------
    FitError
    """
    if scale not in ("response", "link"):
        raise FitError(f'scale should be "response" or "link", not "{scale}"')
    return scale == "link"


def rows_are_first(average: str | None, default: bool) -> bool:
    """Whether rows are put on the scale before they are averaged.

    Raises
    ------
    FitError
    """
    if average not in (None, "rows", "means"):
        raise FitError(f'average should be "rows" or "means", not "{average}"')
    return default if average is None else average == "rows"


def quantity_of(request: Request, scale: str) -> str:
    """What an expected response is called on a scale."""
    design = request.fit.design
    expected, link = expected_word(design), design.family.link
    if scale == "response" or link.name == "identity":
        return expected
    return f"{link.scale_word} of {expected.removeprefix('probability of ')}"


def answer_expected(
    request: Request, scale: str, average: str | None, hypothesis: Any, adjust: str | None
) -> EffectTable:
    """Expected responses at every place, or contrasts between them."""
    link, on_link = request.fit.design.family.link, is_link(scale)
    rows_first = rows_are_first(average, on_link)
    over = "averaged over {rows}"
    if on_link and link.name != "identity":
        over = "averaged on that scale over {rows}" if rows_first else "of the average over {rows}"
    said = request.said(quantity_of(request, scale), over, request.places)
    if on_link:
        found = request.evaluate(request.places, link, rows_first)
        return _answer(request, found, request.labels(), IDENTITY, False, hypothesis, adjust, said)
    if hypothesis is not None or request.is_sampled:
        found = request.evaluate(request.places, IDENTITY, False)
        return _answer(request, found, request.labels(), IDENTITY, False, hypothesis, adjust, said)
    # Limits are made on the link scale, so that they stay inside the range of the response.
    found = request.evaluate(request.places, link, False)
    return _answer(request, found, request.labels(), link, False, None, adjust, said)


def answer_changes(
    request: Request, changes: Sequence[Change], way: Comparison, rows_first: bool, words: str, over: str,
    hypothesis: Any, adjust: str | None,
) -> EffectTable:  # fmt: skip
    """Differences between two settings on the scale of the comparison, for every change, place and cell."""
    from scipy import sparse

    pairs = []
    for change in changes:
        for place in request.places:
            if change.term in dict(place):
                raise FitError(f'"{change.term}" is compared, and cannot be set by at= as well')
            low, high = (*place, (change.term, change.low)), (*place, (change.term, change.high))
            pairs.append((low, high, change.width))
    settings = list(dict.fromkeys(setting for low, high, _ in pairs for setting in (low, high)))
    place_of = {setting: at for at, setting in enumerate(settings)}
    differences = np.zeros((len(pairs), len(settings)))
    for row, (low, high, width) in zip(differences, pairs, strict=True):
        row[place_of[low]], row[place_of[high]] = -1.0 / width, 1.0 / width
    said = request.said(words, over, settings)
    found = request.evaluate(settings, way.scale, rows_first)
    found = found.combined(sparse.kron(differences, sparse.eye_array(request.cells), format="csr"))
    labels = request.labels(
        term=[change.term for change in changes],
        contrast=[way.label.format(hi=c.hi, lo=c.lo) if c.lo else c.hi for c in changes],
    )
    single = hypothesis is None and len(labels) == len(changes)
    return _answer(
        request, found, labels, way.back, True, hypothesis, adjust, said, _all_pairs(changes) if single else 0
    )  # fmt: skip


def _all_pairs(changes: Sequence[Change]) -> int:
    """The number of values of one variable of which the changes are all pairs, else 0."""
    values = {value for change in changes for value in (change.high, change.low)}
    k, variables = len(values), {change.term for change in changes}
    return k if len(variables) == 1 and 2 * len(changes) == k * (k - 1) else 0


def _answer(
    request: Request, found: Normal | Sampled, labels: pd.DataFrame, back: Link, tested: bool, hypothesis: Any,
    adjust: str | None, said: dict[str, Any], pairs_of: int = 0,
) -> EffectTable:  # fmt: skip
    """The table; of contrasts between its rows where they are asked for."""
    import pandas as pd

    from bayesmlm.effects.tables import effect_table

    if hypothesis is not None:
        contrasts = contrasts_of(row_names(labels), hypothesis, back is LOG)
        terms = labels.term.unique() if "term" in labels else list(request.place_names[0] or request.base.cells)
        term = str(terms[0]) if len(terms) == 1 else ""
        labels = pd.DataFrame({"term": term, "contrast": contrasts.labels})
        found, tested, pairs_of = found.combined(contrasts.weights), True, contrasts.pairs_of
        said["quantity"] = f"contrasts of the {said['quantity']}"
    elif adjust is not None and not tested:
        raise FitError("adjust= is of tests, and here is none: ask for contrasts, by hypothesis=")
    return effect_table(labels, found, back, request.level, tested, adjust, pairs_of, said)
