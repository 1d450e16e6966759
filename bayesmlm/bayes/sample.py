"""Sampling a posterior by NUTS: the fused kernel first, and what is tried when its draws cannot be trusted."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.at_mode import Start
from bayesmlm.bayes.compile import check_names
from bayesmlm.bayes.diagnostics import judge
from bayesmlm.bayes.nuts import Progress, Run, kernel_run, pymc_run
from bayesmlm.design import Design
from bayesmlm.errors import FitError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["DEFAULT_TUNE", "Progress", "sample_posterior"]

Array = np.ndarray[Any, Any]

DEFAULT_TUNE = 200
"""Tuning steps in whitened coordinates, where there is little to learn."""
MORE_TUNE = 1000
"""Tuning steps of a second try, and of the PyMC model."""
_ENOUGH = 1000
"""Draws in all from which R-hat and ESS are trusted so far that the PyMC model, too, is tried."""


def sample_posterior(
    design: Design,
    start: Start | None,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int = 1,
    progress: Progress | None = None,
    cores: int | None = None,
    centered: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> xr.DataTree:
    """Sample the posterior of a design by NUTS.

    Where R-hat is above 1.01, or the smallest ESS of 1,000 draws or more is below 400, it is sampled again with more
    tuning; and where that does not help and there are 1,000 draws or more, the compiled PyMC model is sampled, once.
    The best of them is returned, with a note that says what was done.

    Parameters
    ----------
    design : Design
    start : Start or None
        A mode and its curvature; None where there is none.
    draws, chains, seed : int
        Draws per chain after tuning.
    tune : int or None
        Tuning steps per chain; None is :data:`DEFAULT_TUNE`.
    progress : callable, optional
        See :data:`bayesmlm.bayes.nuts.Progress`.
    cores : int, optional
        Chains at a time; all processors by default.
    centered : bool, optional
        Force the coordinates of the group effects; without it they are as the data speak.
    checkpoint : path, optional
        Where draws are kept while a run longer than a minute goes on; a temporary file without it.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (``beta``, ``sd_…``, ``cor_…``, ``ranef_…``, ``sigma``), ``sample_stats`` and
        ``observed_data``.

    Raises
    ------
    FitError
        For fewer than 1 draw or chain.
    KeyboardInterrupt
        When the run is interrupted; draws of longer than a minute stay in the checkpoint.
    """
    for name, value, least in (("draws", draws, 1), ("chains", chains, 1), ("tune", tune or 0, 0), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise FitError(f"{name} should be {least} or more, not {value}")
    if centered is not None and not isinstance(centered, bool):
        raise FitError(f"centered should be True, False or None, not {centered!r}")
    check_names(design)
    import nutpie  # noqa: F401  (seconds, which are no part of compiling)

    steps = DEFAULT_TUNE if tune is None else int(tune)
    run = Run(int(draws), steps, int(chains), int(seed), cores, progress, checkpoint)
    tree = kernel_run(design, start, centered, run)
    found = judge(design, tree)
    if not found.again:
        return tree
    tried = [(found, tree)]
    more = Run(run.draws, max(MORE_TUNE, 2 * steps), run.chains, run.seed + 1, cores, progress, checkpoint)
    said = [f"The first run was not to be trusted ({found.reason}): sampled again with {more.tune:,} tuning steps"]
    tree = kernel_run(design, start, centered, more)
    tried.append((judge(design, tree), tree))
    if tried[-1][0].again and run.draws * run.chains >= _ENOUGH:
        said.append(f"nor was that ({tried[-1][0].reason}): sampled the PyMC model")
        tree = pymc_run(design, more)
        tried.append((judge(design, tree), tree))
    best = max(range(len(tried)), key=lambda i: (not tried[i][0].again, tried[i][0].quality))
    outcome = "" if best == len(tried) - 1 else "; the best of these runs is shown"
    tree = tried[best][1]
    tree.attrs.update(note="; ".join(said) + outcome + ".", seed=run.seed)
    return tree
