"""The shape of every table of a fit: its rows in one order with one set of labels, and normal limits."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, among

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMPONENTS", "Label", "chosen_rows", "labelled", "labels", "ranef_labels", "wald_limits"]

Array = np.ndarray[Any, Any]

Label = tuple[str, str, str, str]
"""``(component, group, term, level)`` of a row."""

COMPONENTS = ("fixed", "sd", "cor", "residual", "scale", "alpha", "ranef")
"""What a row of ``Fit.table()`` can be, in the order of the table."""


def labels(design: Design) -> list[Label]:
    """(component, group, term, level) of every parameter, in table order.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> labels(bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).design)
    [('fixed', '', 'Intercept', ''), ('fixed', '', 'age', ''), ('sd', 'district', 'Intercept', '')]
    """
    rows = [("fixed", "", term, "") for term in design.terms]
    rows += [("sd", group.name, term, "") for group in design.groups for term in group.terms]
    rows += [("cor", group.name, pair, "") for group in design.groups for pair in group.pairs]
    rows += [("residual", "", "sigma", "")] if design.family.name == "gaussian" else []
    return rows


def ranef_labels(design: Design) -> list[Label]:
    """(component, group, term, level) of every group effect, level by level.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> ranef_labels(bm.Model("use ~ age + (1 | urban)", bm.load_dataset("contraception")).design)
    [('ranef', 'urban', 'Intercept', 'N'), ('ranef', 'urban', 'Intercept', 'Y')]
    """
    return [
        ("ranef", group.name, term, level) for group in design.groups for level in group.levels for term in group.terms
    ]


def labelled(rows: Sequence[Label], columns: dict[str, Array]) -> pd.DataFrame:
    """Put labels before columns of numbers: the shape of every table.

    Examples
    --------
    >>> labelled([("fixed", "", "age", "")], {"estimate": np.array([1.5])}).columns.tolist()
    ['component', 'group', 'term', 'level', 'estimate']
    """
    import pandas as pd

    from bayesmlm.sheets.results import Result

    names = pd.DataFrame(rows, columns=["component", "group", "term", "level"])
    return Result(names.assign(**columns))


def chosen_rows(rows: Sequence[Label], parm: str | Sequence[str] | None) -> list[int]:
    """Places of the rows of a table that are of one of the components, groups or terms named; all without names.

    Raises
    ------
    FitError
        For a name that is none of them.

    Examples
    --------
    >>> rows = [("fixed", "", "Intercept", ""), ("fixed", "", "age", ""), ("sd", "g", "Intercept", "")]
    >>> chosen_rows(rows, "age"), chosen_rows(rows, ["sd", "age"]), chosen_rows(rows, "g")
    ([1], [1, 2], [2])
    """
    if parm is None:
        return list(range(len(rows)))
    names = [parm] if isinstance(parm, str) else list(parm)
    known = dict.fromkeys(row[place] for place in (0, 1, 2) for row in rows if row[place])
    for name in names:
        if name not in known:
            raise FitError(f'parm: there is no component, group or term "{name}"; {among(name, known)}')
    return [at for at, row in enumerate(rows) if set(names) & set(row[:3])]


def wald_limits(estimate: Array, std_error: Array, level: float) -> tuple[Array, Array]:
    """Normal-theory limits.

    Examples
    --------
    >>> low, high = wald_limits(np.zeros(1), np.ones(1), 0.95)
    >>> round(float(high[0]), 2)
    1.96
    """
    # The standard library's: scipy.special would take longer to import than a fit to run.
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    return estimate - z * std_error, estimate + z * std_error
