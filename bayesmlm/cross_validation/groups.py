"""Leave one group out: what a model predicts of a group it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.cross_validation.draws import parameter_draws
from bayesmlm.cross_validation.refits import Progress, densities_without, log_mean
from bayesmlm.cross_validation.result import CrossValidation
from bayesmlm.cross_validation.rows import check_draws, check_repair
from bayesmlm.cross_validation.unit_density import UnitDensity, unit_log_likelihood
from bayesmlm.cross_validation.units import Units, units_of
from bayesmlm.cross_validation.weights import replaced, smoothed, without_refitted, words_of_k
from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.partitions import is_within

__all__ = ["group_named", "leave_one_group_out", "what_is_new"]

Array = np.ndarray[Any, Any]


def group_named(design: Design, group: str | None) -> str:
    """The grouping that was named, or the only one that all others lie within.

    Raises
    ------
    FitError
        Where none was named and the model has none, or several that are not within one.
    """
    if group is not None:
        return group
    if not design.groups:
        raise FitError('the model has no groups; name a column of its data to leave groups out by, group="..."')
    for candidate in design.groups:
        if all(is_within(other.codes, candidate.codes) for other in design.groups):
            return candidate.name
    names = ", ".join(dict.fromkeys(other.name for other in design.groups))
    raise FitError(f'the groupings of the model ({names}) do not lie within one of them: say which, group="..."')


def what_is_new(design: Design, units: Units) -> str:
    """What is predicted when a unit is left out, in words."""
    around = [t for t in units.given if is_within(units.codes, design.groups[t].codes)]
    across = [t for t in units.given if t not in around]
    names = [" and ".join(dict.fromkeys(design.groups[t].name for t in terms)) for terms in (around, across)]
    known = (f" of a known {names[0]}" if around else "") + (f", {names[1]} known" if across else "")
    return f"a new {units.name}{known}"


def leave_one_group_out(
    fit: Any,
    group: str | None = None,
    given: Sequence[str] = (),
    repair: str | None = None,
    points: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Leave one group out: how well a posterior predicts a group it has not seen, all its answers at once.

    The likelihood of a group has its effects integrated out: by adaptive Gauss-Hermite quadrature, in each draw of the
    coefficients and covariances, those of groups within it too.  PSIS then reweights the draws to stand for the
    posterior without the group, as for rows (Vehtari, Gelman & Gabry, 2017; Merkle, Furr & Rabe-Hesketh, 2019).

    Parameters
    ----------
    fit : BayesFit
    group : str, optional
        A grouping of the model, or a column of its data (``district``, whose groups the model need not have); the
        grouping that all others lie within by default.
    given : str or sequence of str
        Groupings that cross this one and whose effects are taken as known: new subjects who answer items that are
        known.
    repair : {"refit"}, optional
        Fit the model again without the groups whose k̂ is too large.
    points : int, optional
        Quadrature points per column; without it as many as leave no error that matters, which a note states.
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
        For a fit without draws, a grouping that does not exist, or groupings that cross.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="urban")
    >>> result = bm.leave_one_group_out(m.sample(draws=200, chains=2, seed=1))
    >>> result.predicts, len(result.labels), -1258 < result.elpd < -1252
    ('a new district', 60, True)
    """
    check_draws(fit, "leave-one-group-out")
    check_repair(repair, ("refit",))
    workers = 1 if workers is None else check_count("workers", workers)
    points = None if points is None else check_count("points", points)
    given = (given,) if isinstance(given, str) else tuple(given)
    design = fit.design
    units = units_of(fit.model, group_named(design, group), given)
    density = unit_log_likelihood(design, parameter_draws(fit), units, points)
    tree = _tree(fit, units, density)
    elpd = smoothed(tree)
    pareto_k = np.asarray(elpd.pareto_k)
    bad = np.flatnonzero(pareto_k > elpd.good_k)
    refitted: list[Any] = []
    if repair == "refit" and len(bad):
        parts = [bad[i : i + 1] for i in range(len(bad))]
        refitted = densities_without(fit, units, parts, density.points or None, workers, progress)
        elpd = replaced(tree, elpd, refitted)
    return CrossValidation(
        name=fit.name,
        method="logo",
        predicts=what_is_new(design, units),
        unit=units.name,
        labels=units.labels,
        rows=np.bincount(units.codes, minlength=len(units)),
        elpd_i=np.asarray(elpd.elpd_i),
        lpd_i=log_mean(density.values),
        pareto_k=without_refitted(pareto_k, refitted),
        good_k=float(elpd.good_k),
        bad_k=len(bad),
        matched=0,
        refitted=len(refitted),
        design=design,
        notes=(*words_of_k(units, pareto_k, elpd.good_k, repair, 0, refitted), *words_of_quadrature(density)),
    )


def words_of_quadrature(density: UnitDensity) -> tuple[str, ...]:
    """How exact the integrals are."""
    if not density.points:
        return ()
    if np.isnan(density.error):
        return (f"Effects were integrated out by quadrature with {density.points} points per column.",)
    return (
        f"Effects were integrated out by quadrature with {density.points} points per column; more of them change no "
        f"group's log-likelihood by more than {max(density.error, 1e-9):.0e}.",
    )


def _tree(fit: Any, units: Units, density: UnitDensity) -> Any:
    """The posterior with the log-likelihood of units, as ArviZ wants it."""
    import xarray as xr

    posterior = fit.tree["posterior"].to_dataset()
    sizes = posterior.sizes
    values = density.values.reshape(sizes["chain"], sizes["draw"], -1)
    likelihood = xr.Dataset(
        {"unit_likelihood": (("chain", "draw", "unit"), values)},
        coords={"chain": posterior["chain"], "draw": posterior["draw"], "unit": np.arange(len(units))},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": likelihood})
    tree.attrs.update(fit.tree.attrs)
    return tree
