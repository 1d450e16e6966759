"""What is left out together, and how a model's groups stand to it: within it, around it, or across it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.partitions import grouping_of, is_within

__all__ = ["Units", "units_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Units:
    """Rows that are left out together.

    Attributes
    ----------
    name : str
        Of the grouping, ``district``.
    labels : tuple of str
    codes : ndarray of int, shape (n,)
        The unit of each row.
    within : tuple of int
        Random-effect terms whose groups lie within units: their effects are new with the unit, and integrated.
    given : tuple of int
        Terms whose groups stay when a unit is left out: their effects are those of the posterior.
    """

    name: str
    labels: tuple[str, ...]
    codes: Array
    within: tuple[int, ...]
    given: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)


def units_of(model: Any, name: str, given: Sequence[str] = ()) -> Units:
    """Rows of each group of a grouping as units to be left out, and which effects are new with them.

    Parameters
    ----------
    model : Model
    name : str
        A grouping of the model, or a column of its data.
    given : sequence of str
        Groupings that cross the units and are known.

    Raises
    ------
    FitError
        For groups that cross the units and are not named as known.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> model = bm.Model("use ~ age + (1 | district/urban)", bm.load_dataset("contraception"))
    >>> units_of(model, "district").within, units_of(model, "urban:district").given
    ((0, 1), (0,))
    """
    design: Design = model.design
    codes, labels = grouping_of(model, name)
    names = [group.name for group in design.groups]
    for known in given:
        if known not in names:
            raise FitError(f'given: the model has no grouping "{known}"; {among(known, names)}')
    if len(labels) < 2:
        raise FitError(f'"{name}" has one level only: with it left out nothing is left')
    within, around, across = [], [], []
    for t, group in enumerate(design.groups):
        if is_within(group.codes, codes):
            within.append(t)
        elif group.name in given or is_within(codes, group.codes):
            around.append(t)
        else:
            across.append(group.name)
    if across:
        crossed = " and ".join(dict.fromkeys(across))
        raise FitError(
            f"{name} and {crossed} cross, so that the likelihood does not factorise by {name}: leave groups out by "
            f'refitting, bm.kfold(fit, group="{name}"), or take the effects of {crossed} as known, '
            f"given={list(dict.fromkeys(across))}"
        )
    return Units(name, labels, codes, tuple(within), tuple(around))
