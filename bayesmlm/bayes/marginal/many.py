"""Posteriors of many models, side by side in processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.bayes.fit import BayesFit
from bayesmlm.bayes.marginal.certificate import is_weighted
from bayesmlm.bayes.marginal.fit import fit_of_draws
from bayesmlm.errors import BayesmlmError, FitError, among
from bayesmlm.parallel import in_processes, patience, threads
from bayesmlm.settings import POSTERIORS
from bayesmlm.simulation import check_seed

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Posteriors", "sample_many"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Posteriors:
    """Posteriors of many models, in their order; a sequence of fits.

    Attributes
    ----------
    names : tuple of str
    fits : tuple of BayesFit or None
        None where a model could not be sampled.
    errors : tuple of str
        Why it could not; empty where it could.
    seconds : float
        In all.
    """

    names: tuple[str, ...]
    fits: tuple[BayesFit | None, ...] = field(repr=False)
    errors: tuple[str, ...] = field(repr=False)
    seconds: float

    def __len__(self) -> int:
        return len(self.fits)

    def __iter__(self) -> Iterator[BayesFit | None]:
        return iter(self.fits)

    def __getitem__(self, place: int) -> BayesFit | None:
        return self.fits[place]

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """The tables of all fits, below each other, with the name of the model in a first column ``model``."""
        import pandas as pd

        parts = []
        for name, fit in zip(self.names, self.fits, strict=True):
            if fit is not None:
                part = fit.table(level)
                part.insert(0, "model", name)
                parts.append(part)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"model": []})

    def verdicts(self) -> pd.DataFrame:
        """Per model ``model, method, pareto_k, ess, converged, verdict``; why it failed where it did."""
        import pandas as pd

        rows = []
        for name, fit, error in zip(self.names, self.fits, self.errors, strict=True):
            if fit is None:
                rows.append((name, "", np.nan, np.nan, False, error))
                continue
            found, attrs = fit.diagnostics(), fit.tree.attrs
            weighted = is_weighted(fit.tree)
            k_hat, ess = (attrs["pareto_k"], attrs["ess"]) if weighted else (np.nan, found.ess_bulk)
            rows.append((name, attrs["rung"] if weighted else "nuts", k_hat, ess, found.ok, found.verdict))
        return pd.DataFrame(rows, columns=["model", "method", "pareto_k", "ess", "converged", "verdict"])


def sample_many(
    models: Sequence[Any],
    draws: int = 1000,
    seed: int = 1,
    method: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Posteriors:
    """Sample the posteriors of many models.

    Parameters
    ----------
    models : sequence of Model
    draws : int
        Of each, in all; where NUTS has to be taken, of four chains together.
    seed : int
        Model i is drawn with random numbers of its own, whatever the number of workers.
    method : {"auto", "marginal", "nuts"}
        As in ``Model.sample``.
    workers : int, optional
        Processes side by side; as many as there are processors without it, 1 for none beside this one.
    progress : callable, optional
        Called with models done and in all; without it a bar shows on a terminal after two seconds.

    Returns
    -------
    Posteriors
        A model that cannot be sampled does not stop the others.

    Raises
    ------
    FitError
        For no models, what is no model, or a method that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> models = [bm.Model("use ~ age + (1 | district)", d[d.livch == level], name=level) for level in ("0", "1")]
    >>> many = sample_many(models, draws=200, method="nuts", workers=1)
    >>> many.verdicts().model.tolist(), len(many.table())
    (['0', '1'], 6)
    """
    began = time.perf_counter()
    if not isinstance(models, Iterable):
        raise FitError(f"sample_many takes a sequence of models, not a {type(models).__name__}")
    given = list(models)
    if not given:
        raise FitError("there are no models to sample")
    for model in given:
        if not callable(getattr(model, "sample", None)):
            raise FitError(f"sample_many takes models, such as bm.Model(...) makes, not a {type(model).__name__}")
    if method not in POSTERIORS:
        raise FitError(f'there is no sampling method "{method}"; {among(method, sorted(POSTERIORS))}')
    check_count("draws", draws)
    check_seed(seed)
    workers = min(threads() if workers is None else check_count("workers", workers), len(given))
    parts, done = list(enumerate(given)), 0
    with patience("models", len(parts)) as advance:

        def finished(part: Any) -> None:
            nonlocal done
            done += 1
            advance(done) if progress is None else progress(done, len(parts))

        results = in_processes(_sampler, (int(draws), int(seed), method), parts, workers, finished)
    fits = [
        None if tree is None else fit_of_draws(model, tree) for model, (tree, _) in zip(given, results, strict=True)
    ]
    names = tuple(str(getattr(model, "name", place)) for place, model in parts)
    return Posteriors(names, tuple(fits), tuple(error for _, error in results), time.perf_counter() - began)


def _sampler(settings: tuple[int, int, str]) -> Callable[[tuple[int, Any]], tuple[xr.DataTree | None, str]]:
    """What a worker applies to a model and its place."""
    draws, seed, method = settings

    def sample(part: tuple[int, Any]) -> tuple[xr.DataTree | None, str]:
        place, model = part
        own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
        chains = 4 if draws >= 4 else 1
        try:
            fit = model.sample(draws=-(-draws // chains), chains=chains, seed=own, method=method, progress=_silent)
        except BayesmlmError as error:
            return None, str(error)
        return fit.tree, ""

    return sample


def _silent(*_: int) -> None:
    """No bar per model."""
