"""What importance weights say of a posterior's draws: columns of its table, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.diagnostics import Diagnostics, judge, quantity_names
from bayesmlm.bayes.draws import convergence, table_draws
from bayesmlm.bayes.marginal.pareto import effective_draws, fault, k_limit
from bayesmlm.design import Design

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Certificate", "certify", "columns_of", "is_weighted", "judge_draws"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Certificate(Diagnostics):
    """The certificate of resampled importance draws; what only chains have is NaN or 0.

    Attributes
    ----------
    way : str
        How the draws were made.
    k_hat, k_limit : float
        Shape of the tail of the weights, and below what it should be.
    ess : float
        Effective sample size of the weights.
    seconds : float
    """

    way: str = field(default="", kw_only=True)
    k_hat: float = field(default=np.nan, kw_only=True)
    k_limit: float = field(default=np.nan, kw_only=True)
    ess: float = field(default=np.nan, kw_only=True)
    seconds: float = field(default=np.nan, kw_only=True)

    @property
    def problems(self) -> list[str]:
        """What is wrong, each with what to do; empty when nothing is."""
        why = fault(self.k_hat, self.ess, self.draws)
        return [f'{why}: do not use these draws; sample(method="nuts")'] if why else []

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        facts = f"{self.way}, k̂ {self.k_hat:.2f}, ESS {self.ess:,.0f} of {self.draws:,}, {self.seconds:.2f} s"
        if self.ok:
            return f"exact to Monte-Carlo error: {facts}"
        return f"Take care: {'; '.join(self.problems)} ({facts})."


def is_weighted(tree: xr.DataTree) -> bool:
    """Whether a posterior's draws were resampled by importance weights."""
    return "pareto_k" in tree.attrs


def columns_of(tree: xr.DataTree, draws: Array) -> dict[str, Array]:
    """ESS and R-hat of every quantity (chain, draw, quantity).

    ArviZ would take resampled draws for independent ones, however few they come from: their effective sample sizes are
    those of the weights, and R-hat compares chains, of which there are none.
    """
    if not is_weighted(tree):
        return convergence(draws)
    n = draws.shape[0] * draws.shape[1]
    weights = tree["sample_stats"]["weight"].to_numpy().ravel() / n
    bulk, tail = effective_draws(draws.reshape(n, -1), weights, float(tree.attrs["resampling_noise"]))
    return {"ess_bulk": bulk, "ess_tail": tail, "rhat": np.full(draws.shape[2], np.nan)}


def certify(tree: xr.DataTree, names: list[str], draws: Array) -> Certificate:
    """Read the certificate of a posterior.

    Parameters
    ----------
    tree : DataTree
    names : list of str
        Of the quantities in ``draws``.
    draws : ndarray, shape (chain, draw, quantity)
    """
    columns, attrs = columns_of(tree, draws), tree.attrs
    least = np.minimum(columns["ess_bulk"], columns["ess_tail"])
    worst = 0 if np.isnan(least).all() else int(np.nanargmin(least))
    n = int(draws.shape[0] * draws.shape[1])
    return Certificate(
        rhat=np.nan, rhat_term="", ess_bulk=float(columns["ess_bulk"][worst]),
        ess_tail=float(columns["ess_tail"][worst]), ess_term=names[worst], divergences=0, saturated=0, ebfmi=np.nan,
        draws=n, chains=int(draws.shape[0]), way=str(attrs["sampler"]), k_hat=float(attrs["pareto_k"]),
        k_limit=k_limit(n), ess=float(attrs["ess"]), seconds=float(attrs["sampling_seconds"]),
    )  # fmt: skip


def judge_draws(design: Design, tree: xr.DataTree) -> Diagnostics:
    """The certificate of a posterior of importance draws, the diagnostics of one of chains."""
    if is_weighted(tree):
        return certify(tree, quantity_names(design), table_draws(design, tree))
    return judge(design, tree)
