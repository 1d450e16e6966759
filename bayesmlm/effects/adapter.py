"""A fit as the Python package ``marginaleffects`` (0.6) takes it, for those who are used to its verbs.

That package is optional: ``pip install bayesmlm[marginaleffects]``.  It differentiates numerically in the parameters it
is given: the coefficients, and for the population's means the factors of the groups' covariances as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import quoted
from bayesmlm.bayes.draws import ParameterDraws
from bayesmlm.comparable import check_fits
from bayesmlm.design import Design
from bayesmlm.effects.expected import expected_at
from bayesmlm.effects.parameters import Point, parameters_of
from bayesmlm.effects.request import check_estimand
from bayesmlm.effects.variables import predictors_of
from bayesmlm.errors import DataError, FitError
from bayesmlm.estimands import PredictionRows, prediction_rows
from bayesmlm.families import IDENTITY
from bayesmlm.frames import level_text, select
from bayesmlm.laplace.covariance import factors, pack

if TYPE_CHECKING:
    import polars as pl

    from bayesmlm.fit import Fit

__all__ = ["to_marginaleffects"]

Array = np.ndarray[Any, Any]


def to_marginaleffects(fit: Fit, estimand: str | None = None) -> Any:
    """Adapt a fit, so that ``marginaleffects.comparisons(adapted, ...)`` and its other verbs take it.

    Parameters
    ----------
    fit : Fit
        By likelihood, a posterior mode, or a GEE.
    estimand : {"typical", "population"}, optional
        What predictions are of, as in :func:`bayesmlm.effects.predictions`.  The package does not print it.

    Returns
    -------
    marginaleffects.classes.ModelAbstract
        Factors are ``Enum`` columns with their levels in the order of the data.

    Raises
    ------
    FitError
        Where the package is not installed; for a posterior, whose draws it cannot take; for groups' own effects, which
        are not among the parameters it differentiates in.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from marginaleffects import avg_comparisons  # doctest: +SKIP
    >>> fit = bm.Model("use ~ age + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> adapted = bm.effects.to_marginaleffects(fit, "population")  # doctest: +SKIP
    >>> avg_comparisons(adapted, variables="urban")  # doctest: +SKIP
    """
    check_fits("effects.to_marginaleffects", fit)
    estimand, point, design = check_estimand(fit, estimand), parameters_of(fit), fit.design
    if isinstance(point, ParameterDraws):
        raise FitError("marginaleffects takes one estimate, not draws: use bayesmlm.effects for a posterior")
    if estimand == "conditional":
        raise FitError('marginaleffects does not know of groups\' own effects: estimand="typical" or "population"')
    if design.offset.any() and not (design.formula.offsets or design.offset_column):
        raise FitError("marginaleffects needs the offset in a column of the data; here it was given as an array")
    integrated = estimand == "population" and bool(point.factors)
    return _adapter()(fit, _Arrays(design, point, "population" if integrated else "typical", integrated))


@dataclass(frozen=True, slots=True)
class _Arrays:
    """Parameters and rows as two plain arrays, which is what the package hands back and forth."""

    design: Design
    point: Point
    estimand: str
    integrated: bool

    @property
    def parameters(self) -> Array:
        """β, and after it θ where groups are averaged over, shape (r,)."""
        theta = pack(list(self.point.factors)) if self.integrated else np.zeros(0)
        return np.concatenate([self.point.beta, theta])

    @property
    def covariance(self) -> Array:
        """Of these, shape (r, r)."""
        r = len(self.parameters)
        return self.point.covariance[:r, :r]

    def rows(self, data: Any) -> Array:
        """Offset, X and the columns of the random-effect terms, side by side."""
        rows = prediction_rows(self.design, data, self.estimand, "population")
        return np.column_stack([rows.offset, rows.X, *rows.z])

    def means(self, parameters: Array, rows: Array) -> Array:
        """Expected responses of such rows at such parameters."""
        p = len(self.point.beta)
        sizes = tuple(len(lam) for lam in self.point.factors) if self.integrated else ()
        z = np.split(rows[:, 1 + p :], np.cumsum(sizes)[:-1], axis=1) if sizes else []
        none = np.full(len(rows), -1)
        point = Point(parameters[:p], tuple(factors(parameters[p:], sizes)), self.covariance)
        at = PredictionRows(rows[:, 1 : 1 + p], rows[:, 0], (none,) * len(z), tuple(z))
        return expected_at(point, at, self.estimand, "population", self.design.family.link, IDENTITY).values


@cache
def _adapter() -> Any:
    """The class; made when it is first needed, because its base class loads half a second of libraries."""
    try:
        from marginaleffects.classes import ModelAbstract, ModelVault
    except ImportError:
        raise FitError(
            "the package marginaleffects is not installed: pip install bayesmlm[marginaleffects], or use "
            "bayesmlm.effects, which needs nothing"
        ) from None
    import polars as pl

    if int(pl.__version__.partition(".")[0]) > 1:
        raise FitError(
            f"marginaleffects 0.6 does not work with polars {pl.__version__}: pip install bayesmlm[marginaleffects] "
            f"takes one before 2"
        )

    class BayesmlmModel(ModelAbstract):
        """A fit of bayesmlm."""

        df_resid = math.inf  # its tests are on z

        def __init__(self, fit: Any, arrays: _Arrays) -> None:
            self._arrays = arrays
            design, predictors = fit.design, predictors_of(fit.design)
            response = design.response.variable
            right = " + ".join(map(quoted, predictors)) or "1"
            vault = ModelVault(
                coef=arrays.parameters,
                coefnames=np.array(_names(design, arrays)),
                vcov=arrays.covariance,
                formula=f"{quoted(response)} ~ {right}",
                modeldata=_as_polars(fit),
                package="bayesmlm",
                variable_names=[response, *predictors],
            )
            super().__init__(fit, vault)

        def get_vcov(self, vcov: Any = True) -> Array | None:
            if not isinstance(vcov, bool):
                raise FitError(f"vcov should be True, False or a matrix, not {vcov!r}")
            return self._arrays.covariance if vcov else None

        def get_exog(self, newdata: Any) -> Array:
            return self._arrays.rows(_from_polars(newdata, self._arrays.design))

        def get_predict(self, params: Array, newdata: Any) -> Any:
            means = self._arrays.means(np.asarray(params), newdata)
            return pl.DataFrame({"rowid": pl.Series(range(len(means)), dtype=pl.Int32), "estimate": means})

    return BayesmlmModel


def _names(design: Design, arrays: _Arrays) -> list[str]:
    names = list(design.terms)
    if arrays.integrated:
        for group in design.groups:
            k = len(group.terms)
            names += [f"λ[{group.name}: {group.terms[a]}, {b + 1}]" for b in range(k) for a in range(b, k)]
    return names


def _as_polars(fit: Any) -> pl.DataFrame:
    """The model's rows with every column that can be read; factors as ``Enum`` with their levels in order."""
    import narwhals.stable.v2 as nw
    import polars as pl

    design, data = fit.design, fit.model.data
    out = {}
    for name in data if isinstance(data, Mapping) else nw.from_native(data).columns:
        try:
            values = select(data, [name])[name].iloc[design.rows]
        except DataError:
            continue
        known = design.fixed_levels.get(name)
        if values.dtype.kind in "fiu" and known is None:
            out[name] = pl.Series(name, values.to_numpy())
        elif values.dtype == "category" and values.cat.categories.dtype == bool:
            out[name] = pl.Series(name, values.astype(bool).to_numpy())
        else:
            if known is None:
                known = values.cat.categories if values.dtype == "category" else sorted(values.dropna().unique())
            texts = [None if value != value else level_text(value) for value in values]
            out[name] = pl.Series(name, texts, dtype=pl.Enum([level_text(level) for level in known]))
    return pl.DataFrame(out)


def _from_polars(frame: pl.DataFrame, design: Design) -> Any:
    """Back to levels that are numbers, where they were."""
    import polars as pl

    for name, levels in design.fixed_levels.items():
        if name in frame.columns and frame[name].dtype in (pl.Enum, pl.String) and not isinstance(levels[0], str):
            back = {level_text(level): level for level in levels}
            frame = frame.with_columns(pl.Series(name, [back[text] for text in frame[name].to_list()]))
    return frame
