"""K-fold cross-validation: rows or whole groups left out in folds, the model fitted again without each fold."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.comparable import check_fits
from bayesmlm.cross_validation.draws import parameter_draws
from bayesmlm.cross_validation.groups import what_is_new, words_of_quadrature
from bayesmlm.cross_validation.refits import METHODS, Progress, densities_without, log_mean
from bayesmlm.cross_validation.result import CrossValidation
from bayesmlm.cross_validation.rows import row_units
from bayesmlm.cross_validation.unit_density import unit_log_likelihood
from bayesmlm.cross_validation.units import Units, units_of
from bayesmlm.errors import FitError, among
from bayesmlm.simulation import check_seed

__all__ = ["folds_of", "kfold"]

Array = np.ndarray[Any, Any]


def folds_of(n: int, folds: int, seed: int) -> list[Array]:
    """Units by fold, at random, folds of equal size or one apart.

    Examples
    --------
    >>> [fold.tolist() for fold in folds_of(5, 2, 1)]
    [[1, 3, 4], [0, 2]]
    """
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(order[at::folds]) for at in range(folds)]


def kfold(
    fit: Any,
    folds: int = 10,
    group: str | None = None,
    method: str | None = None,
    seed: int = 1,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Cross-validate in folds, the model fitted again without each.

    With ``group`` whole groups are left out and predicted as new ones, their effects integrated out: of maximum
    likelihood at its estimates, of a posterior in every draw.  Effects of groupings that cross them are those of the
    refit.  Without ``group`` rows are left out, and predicted given the effects of their groups.

    Parameters
    ----------
    fit : Fit
    folds : int
        At most as many as there are groups (or rows), which leaves out one at a time.
    group : str, optional
        A grouping of the model, or a column of its data.
    method : {"ml", "map", "nuts", "marginal", "auto"}, optional
        How to fit again; as ``fit`` was by default.
    seed : int
        Which folds.
    workers : int, optional
        Processes for refits; one, this one, by default.
    progress : callable, optional
        Called with the refits done and in all.

    Returns
    -------
    CrossValidation

    Raises
    ------
    FitError
        For what is no fit, a GEE, more folds than groups, rows left out of a likelihood (whose group effects have no
        draws), or where the model cannot be fitted without a fold.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="urban")
    >>> bm.kfold(m.fit_ml(), folds=3, group="district")
    <CrossValidation of urban: a new district, elpd -1259.5 (se 118.0)>
    """
    check_fits("kfold", fit)
    if fit.reading == "population":
        raise FitError(
            f"{fit.name} is a GEE, which gives no probability to answers left out: cross-validate a fit by fit_ml() or "
            f"sample()"
        )
    folds, seed = check_count("folds", folds), check_seed(seed)
    workers = 1 if workers is None else check_count("workers", workers)
    if method is not None and method not in METHODS:
        raise FitError(f'there is no method "{method}" to fit again by; {among(method, METHODS)}')
    units = _units(fit, group, method)
    if folds > len(units):
        raise FitError(
            f"{folds} folds of {len(units)} {'rows' if group is None else f'groups of {group}'}: ask for "
            f"{len(units)} at most, which leaves out one at a time"
        )
    if folds < 2:
        raise FitError("folds should be 2 or more: with 1 nothing is left to fit")
    design = fit.design
    density = None if method is not None else unit_log_likelihood(design, parameter_draws(fit), units)
    points = (density.points or None) if density is not None else None
    parts = folds_of(len(units), folds, seed)
    left_out = densities_without(fit, units, parts, points, workers, progress, method)
    elpd = np.full(len(units), np.nan)
    for left in left_out:
        elpd[left.units] = log_mean(left.values)
    poor = sum(not left.converged for left in left_out)
    notes = [f"The model was fitted {folds} times, each time without one {_fold_words(units, folds)}."]
    if poor:
        notes.append(f"{poor} of {folds} refits did not converge by their diagnostics.")
    if density is not None:
        notes += words_of_quadrature(density)
    known = "new answers of known groups" if design.groups else "new answers"
    return CrossValidation(
        name=fit.name,
        method="kfold",
        predicts=known if group is None else what_is_new(design, units),
        unit=units.name,
        labels=units.labels,
        rows=np.bincount(units.codes, minlength=len(units)),
        elpd_i=elpd,
        lpd_i=np.full(len(units), np.nan) if density is None else log_mean(density.values),
        pareto_k=np.full(len(units), np.nan),
        good_k=np.nan,
        bad_k=0,
        matched=0,
        refitted=len(units),
        design=design,
        notes=tuple(notes),
    )


def _units(fit: Any, group: str | None, method: str | None) -> Units:
    """What is left out; refused where the fit has no draws of effects that are kept."""
    design = fit.design
    names = tuple(dict.fromkeys(one.name for one in design.groups))
    units = row_units(fit) if group is None else units_of(fit.model, group, names)
    engine = fit.engine if method is None else method
    if engine in ("ml", "map") and units.given:
        kept = " and ".join(dict.fromkeys(design.groups[t].name for t in units.given))
        raise FitError(
            f"a fit by {engine} has no draws of the effects of {kept}, which stay when "
            f"{'rows' if group is None else f'groups of {group}'} are left out: sample the model, or leave whole "
            f'groups out, group="{names[0]}"'
        )
    return units


def _fold_words(units: Units, folds: int) -> str:
    if folds == len(units):
        return units.name
    sizes = f"{len(units) // folds}" + ("" if len(units) % folds == 0 else f" or {len(units) // folds + 1}")
    return f"fold of {sizes} {'rows' if units.name == 'row' else f'groups of {units.name}'}"
