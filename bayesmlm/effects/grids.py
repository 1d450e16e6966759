"""Grids of predictor values to ask for effects at."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.effects.variables import levels_of, observations, predictors_of, settings_of
from bayesmlm.errors import DataError, among
from bayesmlm.fit import Fit
from bayesmlm.frames import select

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["grid"]


def grid(fit: Fit, *factors: str, balanced: bool = False, **values: Any) -> pd.DataFrame:
    """Every combination of some values of the predictors, the others held.

    Parameters
    ----------
    fit : Fit
    *factors : str
        Factors to go through, level by level.
    balanced : bool
        Every level of the other factors too, instead of the first (the reference grid of R's emmeans).
    **values
        A predictor's value or values.  A grouping of the model may be given, for effects in groups of one's own choice.

    Returns
    -------
    pandas.DataFrame
        Numeric predictors that are not given are at their mean.  The last column varies fastest.

    Raises
    ------
    DataError
        For what is no predictor, or a level that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age*ch + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> bm.effects.grid(fit, "ch", age=[-10, 0, 10]).values.tolist()[:2]
    [['N', -10.0, 'N'], ['N', 0.0, 'N']]
    """
    import pandas as pd

    design = fit.design
    groupings = dict.fromkeys(name for bar in design.formula.bars for name in bar.factors)
    known = predictors_of(design)
    own = {name: _listed(given) for name, given in values.items() if name in groupings and name not in known}
    asked = dict.fromkeys(factors) | {name: given for name, given in values.items() if name not in own}
    for name in asked:
        if name not in known and name not in groupings:
            raise DataError(
                f'"{name}" is no predictor of the model; {among(name, dict.fromkeys([*known, *groupings]))}'
            )
    given = settings_of(design, asked)
    held = {name: _held(fit, name, balanced) for name in known if name not in given}
    axes = {**given, **own, **held}
    combinations = list(product(*axes.values()))
    out = {}
    for name, column in zip(axes, zip(*combinations, strict=True), strict=True):
        levels = levels_of(design, name)
        is_text = levels is not None and not all(isinstance(level, int | float) for level in levels)
        out[name] = pd.Categorical(column, categories=list(levels or ())) if is_text else np.array(column)
    return pd.DataFrame(out, index=pd.RangeIndex(len(combinations)))


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) or np.isscalar(given) else list(given)


def _held(fit: Any, name: str, balanced: bool) -> list[Any]:
    """Values of a predictor that is not asked for."""
    design = fit.design
    levels = levels_of(design, name)
    if levels is not None:
        return list(levels) if balanced else [levels[0]]
    x = select(fit.model.data, [name])[name].to_numpy(dtype=float)[design.rows]
    counted = observations(design)
    return [float(counted @ x / counted.sum())]
