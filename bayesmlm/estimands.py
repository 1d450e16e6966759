"""What a prediction can be of, and the rows it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.frames import level_text, select

__all__ = ["ERRORS", "ESTIMANDS", "PredictionRows", "prediction_rows"]

Array = np.ndarray[Any, Any]

ESTIMANDS = {
    "conditional": "given the groups' own effects",
    "typical": "in a group whose effects are zero",
    "population": "averaged over the distribution of the group effects",
}
"""What a prediction can be of, in words."""

ERRORS = {
    "conditional": "of the fixed effects, and of the groups' effects given their variances",
    "typical": "of the fixed effects; no group's effect is inside",
    "population": "of the fixed effects and the variances; no group's effect is inside",
}
"""What is inside the standard error of each, in words."""


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """The rows to predict for, as arrays.

    Attributes
    ----------
    X : ndarray, shape (m, p)
    offset : ndarray, shape (m,)
    codes : tuple of ndarray, shape (m,)
        Per random-effect term; −1 for a group the model has not seen.
    z : tuple of ndarray, shape (m, k)
    """

    X: Array
    offset: Array
    codes: tuple[Array, ...]
    z: tuple[Array, ...]


def prediction_rows(design: Design, newdata: Any, estimand: str, new_groups: str) -> PredictionRows:
    """Bind new data (or the model's own rows) to a design.

    Raises
    ------
    FitError
        For an estimand or a rule that does not exist.
    DataError
        For a missing column, an unseen level, or a new group under ``new_groups="error"``, by name.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> design = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).design
    >>> rows = prediction_rows(design, {"age": [0.5], "district": ["elsewhere"]}, "conditional", "zero")
    >>> rows.X.tolist(), rows.codes[0].tolist()
    ([[1.0, 0.5]], [-1])
    """
    if estimand not in ESTIMANDS:
        raise FitError(f'there is no estimand "{estimand}"; {among(estimand, ESTIMANDS)}')
    if new_groups not in ("population", "zero", "error"):
        raise FitError(f'new_groups should be "population", "zero" or "error", not "{new_groups}"')
    groups = design.groups
    if newdata is None:
        return PredictionRows(design.X, design.offset, tuple(g.codes for g in groups), tuple(g.z for g in groups))
    X, offset = design.fixed_matrix(newdata), design.offset_of(newdata)
    if estimand == "typical":
        return PredictionRows(X, offset, (), ())
    if estimand == "population":
        pairs = [(np.full(len(X), -1), design.group_columns(group, newdata)) for group in groups]
    else:
        pairs = [design.group_rows(group, newdata) for group in groups]
        for group, (codes, _) in zip(groups, pairs, strict=True):
            if new_groups == "error" and (codes < 0).any():
                row = int(np.argmax(codes < 0))
                level = ":".join(level_text(value) for value in select(newdata, group.factors).iloc[row])
                raise DataError(
                    f'new data: row {row} (counting from 0) is of {group.name} "{level}", which the model has not '
                    f'seen; predict with new_groups="population" or "zero", or estimand="typical"'
                )
    return PredictionRows(X, offset, tuple(codes for codes, _ in pairs), tuple(z for _, z in pairs))
