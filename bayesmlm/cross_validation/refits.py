"""Fitting a model again without some of its rows, and what that fit says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.cross_validation.draws import parameter_draws
from bayesmlm.cross_validation.unit_density import unit_log_likelihood
from bayesmlm.cross_validation.units import Units
from bayesmlm.design import Design
from bayesmlm.errors import BayesmlmError, FitError
from bayesmlm.parallel import in_processes, patience
from bayesmlm.settings import POSTERIORS

__all__ = ["METHODS", "Left", "Progress", "densities_without", "design_of_rows", "log_mean", "model_of_rows"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]
"""Called with the refits done and in all."""

METHODS = ("ml", "map", *POSTERIORS)
"""Ways to fit again."""


def design_of_rows(design: Design, rows: Array) -> Design:
    """Some rows of a design: the same terms, groups, scaling and priors.

    A group of which no row is left stays a group, with no data of its own.

    Parameters
    ----------
    design : Design
    rows : ndarray of int or bool
    """
    response = replace(design.response, y=design.response.y[rows], trials=design.response.trials[rows])
    return replace(
        design,
        response=response,
        X=design.X[rows],
        groups=tuple(replace(group, codes=group.codes[rows], z=group.z[rows]) for group in design.groups),
        offset=design.offset[rows],
        weights=design.weights[rows],
        freq=design.freq[rows],
        rows=design.rows[rows],
    )


def model_of_rows(model: Any, rows: Array) -> Any:
    """The model for some of its rows; priors stay as they were resolved against all of them.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> model = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception"))
    >>> few = model_of_rows(model, model.design.groups[0].codes > 0)
    >>> model.design.nobs - few.design.nobs, few.design.groups[0].n_levels, few.priors().equals(model.priors())
    (117, 60, True)
    """
    other = copy(model)
    other.design = design_of_rows(model.design, rows)
    return other


def log_mean(values: Array) -> Array:
    """log of the mean of exp over the first axis.

    Examples
    --------
    >>> log_mean(np.log(np.array([[1.0], [3.0]]))).round(12).tolist() == [round(np.log(2.0), 12)]
    True
    """
    top = values.max(axis=0)
    return np.asarray(top + np.log(np.exp(values - top).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Left:
    """What a fit without some units says of them.

    Attributes
    ----------
    units : ndarray of int
    values : ndarray, shape (draws, units)
        Their log-likelihoods under its draws.
    converged : bool
    """

    units: Array
    values: Array
    converged: bool


@dataclass(frozen=True, slots=True)
class _Task:
    fit: Any
    units: Units
    points: int | None
    parts: tuple[Array, ...]
    method: str | None


def _refit(task: _Task) -> Callable[[int], Left]:
    """A function that fits without the units of a part, by its number, and evaluates them."""

    def one(part: int) -> Left:
        units, left_out = task.units, task.parts[part]
        out = np.isin(units.codes, left_out)
        fit = _with_seed(task.fit, part)
        try:
            again = _fitted(fit, model_of_rows(fit.model, ~out), task.method)
        except (BayesmlmError, np.linalg.LinAlgError) as error:
            names = ", ".join(units.labels[unit] for unit in left_out[:3]) + (", …" if len(left_out) > 3 else "")
            raise FitError(f"without {units.name} {names} the model cannot be fitted: {error}") from None
        codes = np.searchsorted(left_out, units.codes[out])
        few = Units(units.name, tuple(units.labels[unit] for unit in left_out), codes, units.within, units.given)
        density = unit_log_likelihood(design_of_rows(fit.design, out), parameter_draws(again), few, task.points)
        return Left(left_out, density.values, bool(again.converged))

    return one


def _fitted(fit: Any, model: Any, method: str | None) -> Any:
    """The model fitted as the fit was, or by another method with as many draws."""
    if method is None or method == fit.engine:
        return fit._again(model)
    if method in ("ml", "map"):
        return model.fit_ml() if method == "ml" else model.fit_map()
    if fit.reading != "posterior":
        return model.sample(method=method)
    sizes = fit.tree["posterior"].sizes
    return model.sample(draws=sizes["draw"], chains=sizes["chain"], seed=fit.tree.attrs.get("seed", 1), method=method)


def _light(fit: Any) -> Any:
    """The fit with what a refit needs of it alone: how it was made."""
    if fit.reading != "posterior":
        return fit
    import xarray as xr

    posterior = fit.tree["posterior"].to_dataset()
    tree = xr.DataTree.from_dict({"posterior": posterior[["beta"]]})
    tree.attrs.update(fit.tree.attrs)
    return replace(fit, tree=tree)


def _with_seed(fit: Any, part: int) -> Any:
    """The fit as if its seed had been another one, so that refits do not share their random numbers."""
    if fit.reading != "posterior":
        return fit
    tree = fit.tree.copy()
    tree.attrs["seed"] = int(tree.attrs.get("seed", 1)) + 1000 * (part + 1)
    return replace(fit, tree=tree)


def densities_without(
    fit: Any,
    units: Units,
    parts: Sequence[Array],
    points: int | None,
    workers: int,
    progress: Progress | None,
    method: str | None = None,
) -> list[Left]:
    """Fit again without each part of the units, and evaluate these under the draws.

    Parameters
    ----------
    fit : Fit
    units : Units
    parts : sequence of ndarray of int
        Units left out together, sorted.
    points : int or None
        Of the quadrature.
    workers : int
        Processes; with 1 all is done in this one.
    progress : callable, optional
        Without it a bar shows on a terminal after two seconds.
    method : str, optional
        One of :data:`METHODS`; as the fit was made without it.

    Raises
    ------
    FitError
        Where the model cannot be fitted without a part, naming it.
    """
    done, total = 0, len(parts)
    task = _Task(_light(fit), units, points, tuple(parts), method)
    with patience("refits", total) as advance:

        def finished(part: int) -> None:
            nonlocal done
            done += 1
            advance(done) if progress is None else progress(done, total)

        return in_processes(_refit, task, range(total), workers, finished)
