"""The harness: draw parameters from the priors, responses from the parameters, fit, and rank the first among the draws.

If what a method gives are draws of the posterior, the rank of a parameter among them is uniform over simulations of
prior and data together, whatever the quantity (Cook, Gelman & Rubin, 2006; Talts, Betancourt, Simpson, Vehtari &
Gelman, 2018).  One quantity depends on the data too, the log-likelihood, because no rank of a parameter alone would
notice a method that returns the prior (Modrák et al., 2023).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.calibration.result import Calibration
from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.model import Model
from bayesmlm.replicates import Progress, replicates
from bayesmlm.settings import POSTERIORS
from bayesmlm.simulation import check_seed
from bayesmlm.spec import Spec
from bayesmlm.tables import labels

__all__ = ["calibrate"]

Array = np.ndarray[Any, Any]
Method = Callable[[Model, int], Any]
"""Takes a model and a seed, gives a posterior."""

THIN = 10
"""Draws that one is kept of, at first."""
MOST_RUNS = 8
"""How often a replicate is sampled at most."""
CHAINS = 2


@dataclass(frozen=True, slots=True)
class _Task:
    """What a process needs to make replicates."""

    model: Model
    truth: dict[str, Array]
    responses: Array
    method: str | Method
    draws: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Replicate:
    """Ranks of one simulation; the ESS over the draws kept, and how often it was sampled."""

    ranks: Array
    ess: float
    times: int


def calibrate(
    model: Model | Spec,
    data: Any = None,
    n: int = 200,
    method: str | Method = "nuts",
    draws: int = 99,
    seed: int = 1,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Test a way to the posterior on data simulated from the model's own priors.

    For each replicate parameters are drawn from the priors and responses from them, for the rows and groups of the
    data; the model is fitted, and every parameter ranked among draws of its posterior.  Where these are draws of the
    posterior the ranks are uniform, which :meth:`Calibration.table` tests, quantity by quantity.

    The priors are those of the model, resolved against its data once: they do not follow the simulated responses.  Give
    priors from which plausible data come: with wide ones most responses are all alike, and little is tested.

    Parameters
    ----------
    model : Model or Spec
    data : Design or data frame, optional
        Of a spec that names none: the rows, groups and predictors that responses are simulated for.
    n : int
        Replicates.
    method : {"nuts", "marginal", "auto"} or callable
        As in :meth:`bayesmlm.Model.sample`; or a function of a model and a seed that gives a posterior.  A replicate
        that ``marginal`` cannot certify is one that could not be fitted.
    draws : int
        Posterior draws that a parameter is ranked among, one in ten of those that are made.  A replicate of which any
        quantity's effective sample size is below twice as many is sampled again, up to eight times, and all its draws
        are pooled, so that what is kept is nearly independent.
    seed : int
        The same seed gives the same ranks, whatever the number of workers.
    workers : int, optional
        Processes; one, this one, by default.  A script has to keep what it runs under ``if __name__ == "__main__"``.
    progress : callable, optional
        Called with the replicates done and in all.  Without it a bar shows on a terminal after two seconds.

    Returns
    -------
    Calibration

    Raises
    ------
    PriorError
        For a flat prior, from which nothing can be drawn.
    FitError
        For what is no model, a method that does not exist, or where no replicate could be fitted.

    References
    ----------
    S. Talts, M. Betancourt, D. Simpson, A. Vehtari & A. Gelman (2018), Validating Bayesian inference algorithms with
    simulation-based calibration, arXiv:1804.06788.

    M. Modrák, A. H. Moon, S. Kim, P. Bürkner, N. Huurre, K. Faltejsková, A. Gelman & A. Vehtari (2023),
    Simulation-based calibration checking for Bayesian computation: the choice of test quantities shapes sensitivity,
    Bayesian Analysis.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> data = {"y": [0, 1] * 20, "x": [0.1 * i - 2.0 for i in range(40)]}
    >>> model = bm.Model("y ~ x", data, priors={"Intercept": "normal(0, 1)", "x": "normal(0, 1)"}, name="line")
    >>> result = bm.calibrate(model, n=20, seed=1)
    >>> result.quantities, result.ranks.shape, result.ok
    (('Intercept', 'x', 'log likelihood'), (20, 3), True)
    """
    began = time.perf_counter()
    model = _bound(model, data)
    n, draws, seed = check_count("n", n), check_count("draws", draws), check_seed(seed)
    workers = 1 if workers is None else check_count("workers", workers)
    if not callable(method) and method not in POSTERIORS:
        raise FitError(f'there is no sampling method "{method}"; {among(method, POSTERIORS)}')
    tree = model.prior_predictive(draws=n, seed=seed)
    truth = {str(name): values.to_numpy()[0] for name, values in tree["prior"].to_dataset().data_vars.items()}
    responses = tree["prior_predictive"][model.design.response.variable].to_numpy()[0]
    task = _Task(model, truth, responses, method, draws, seed)
    made, failures = replicates("calibration", _replicate, task, n, 10, workers, progress)
    fitted = [one for one in made if one is not None]
    return Calibration(
        name=model.name,
        formula=model.design.formula.text,
        method=method if isinstance(method, str) else getattr(method, "__name__", "a function"),
        priors=_prior_words(model),
        quantities=_names(model.design),
        ranks=np.array([one.ranks for one in fitted]),
        draws=draws,
        least_ess=min(one.ess for one in fitted),
        longer=sum(one.times > 1 for one in fitted),
        failures=failures,
        seed=seed,
        seconds=time.perf_counter() - began,
    )


def _bound(model: Any, data: Any) -> Model:
    """The model, of a spec with what is given for its data."""
    if isinstance(model, Spec):
        return Model.of_design(model, data) if isinstance(data, Design) else Model(model, data)
    if not isinstance(model, Model):
        raise FitError(f"calibrate takes a model or a spec, not {model!r}: priors are what it simulates from")
    if data is not None:
        raise FitError("a model has its data already: give calibrate(model), or calibrate(spec, data)")
    return model


def _names(design: Design) -> tuple[str, ...]:
    """What is ranked: the rows of a fit's table, and the log-likelihood."""
    rows = [
        term if component in ("fixed", "residual") else f"{component}({term} | {group})"
        for component, group, term, _ in labels(design)
    ]
    return (*rows, "log likelihood")


def _prior_words(model: Model) -> tuple[str, ...]:
    table = model.priors()
    return tuple(
        f"{row.component}({row.term} | {row.group}): {row.prior}".replace("( | ", "(")
        if row.group
        else f"{row.term}: {row.prior}"
        for row in table.itertuples()
    )


def _replicate(task: _Task) -> Callable[[int], _Replicate]:
    """Make a replicate by its number."""

    def one(replicate: int) -> _Replicate:
        model = task.model.with_response(task.responses[replicate])
        truth = {name: values[replicate] for name, values in task.truth.items()}
        return _ranked(task, model, truth, replicate)

    return one


def _ranked(task: _Task, model: Model, truth: dict[str, Array], replicate: int) -> _Replicate:
    """Fit, again where the draws are too few to be nearly independent, and rank."""
    from bayesmlm.bayes.marginal.certificate import columns_of

    # A seed of its own for each replicate, whichever process makes it.
    seed = int(np.random.SeedSequence(task.seed, spawn_key=(replicate,)).generate_state(1)[0])
    runs: list[Array] = []
    each: Array | float = 0.0
    while len(runs) < MOST_RUNS and not np.min(each) >= 2.0 * task.draws:
        fit = _sampled(task, model, seed + len(runs))
        values = _quantities(fit)
        runs.append(values.reshape(-1, values.shape[2]))
        each = each + columns_of(fit.tree, values)["ess_bulk"]
    flat, ess = np.concatenate(runs), float(np.min(each))
    kept = flat[np.linspace(0, len(flat) - 1, task.draws).astype(int)]
    ranks = (kept < _quantities(_at(fit, truth))[0, 0]).sum(axis=0)
    return _Replicate(ranks, ess / task.draws, len(runs))


def _sampled(task: _Task, model: Model, seed: int) -> Any:
    seed %= 2**31
    if callable(task.method):
        return task.method(model, seed)
    return model.sample(draws=-(-THIN * task.draws // CHAINS), chains=CHAINS, seed=seed, method=task.method)


def _quantities(fit: Any) -> Array:
    """Draws (chain, draw, quantity) of what is ranked."""
    likelihood = (fit.log_likelihood() * fit.design.freq).sum(axis=2)
    return np.concatenate([fit._draws(False), likelihood[..., None]], axis=2)


def _at(fit: Any, truth: dict[str, Array]) -> Any:
    """The fit with one draw: what the data were simulated with."""
    import xarray as xr

    posterior = fit.tree["posterior"].to_dataset()
    one = {name: (posterior[name].dims, truth[name][None, None]) for name in posterior.data_vars if name in truth}
    coords = {name: values for name, values in posterior.coords.items() if name not in ("chain", "draw")}
    return replace(fit, tree=xr.DataTree.from_dict({"posterior": xr.Dataset(one, coords=coords)}))
