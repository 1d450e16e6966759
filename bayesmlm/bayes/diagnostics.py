"""Can these draws be trusted?  R-hat, effective sample sizes, divergences, tree depth and energy, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.draws import convergence, table_draws
from bayesmlm.design import Design
from bayesmlm.tables import labels

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Diagnostics", "diagnose", "energy_fraction", "judge", "quantity_names", "stuck_chains"]

RHAT_LIMIT = 1.01
ESS_LIMIT = 400.0
EBFMI_LIMIT = 0.3
"""Limits of Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021) and Betancourt (2016)."""


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What the sampler's record says of fixed effects, standard deviations and correlations.

    Attributes
    ----------
    rhat : float
        Largest R-hat; NaN with one chain.
    rhat_term, ess_term : str
        Which quantity has it; which has the smallest bulk ESS.
    ess_bulk, ess_tail : float
        Smallest effective sample sizes.
    divergences, saturated : int
        Divergent transitions, and those that reached the greatest tree depth.
    ebfmi : float
        Smallest energy Bayesian fraction of missing information over chains.
    draws, chains : int
        Draws in all, and chains.
    stuck : tuple of (int, str)
        Chains, counted from 1, that do not move or stay away from the others, and in which quantity most.
    """

    rhat: float
    rhat_term: str
    ess_bulk: float
    ess_tail: float
    ess_term: str
    divergences: int
    saturated: int
    ebfmi: float
    draws: int
    chains: int
    stuck: tuple[tuple[int, str], ...] = ()

    @property
    def problems(self) -> list[str]:
        """What is wrong, each with what to do; empty when nothing is."""
        out = []
        if self.stuck:
            apart = len(self.stuck) == self.chains
            who = "the chains are stuck apart" if apart else f"chain {self.stuck[0][0]} is stuck"
            if 1 < len(self.stuck) < self.chains:
                who = f"chains {' and '.join(str(chain) for chain, _ in self.stuck)} are stuck"
            terms = ", ".join(dict.fromkeys(term for _, term in self.stuck))
            out.append(f"{who} ({terms}): do not use these draws; tune longer, with another seed")
        if self.rhat > RHAT_LIMIT:
            out.append(f"the chains disagree (R-hat {self.rhat:.3f} for {self.rhat_term}): sample longer")
        if min(self.ess_bulk, self.ess_tail) < ESS_LIMIT and self.draws >= 1000:
            least = min(self.ess_bulk, self.ess_tail)
            out.append(f"few effective draws ({least:.0f} for {self.ess_term}): sample longer")
        if self.divergences:
            share = self.divergences / self.draws
            out.append(
                f"{self.divergences} divergent transitions ({share:.1%}): "
                f"give the standard deviations a tighter prior, or tune longer"
            )
        if self.saturated:
            out.append(f"{self.saturated} transitions reached the greatest tree depth: tune longer")
        if self.ebfmi < EBFMI_LIMIT:
            out.append(f"the energy moves slowly (E-BFMI {self.ebfmi:.2f}): give the heaviest-tailed prior less weight")
        return out

    @property
    def reason(self) -> str:
        """Why the chains should run again: R-hat, or few effective draws; empty where they need not."""
        if self.rhat > RHAT_LIMIT:
            return f"R-hat {self.rhat:.3f} for {self.rhat_term}"
        least = min(self.ess_bulk, self.ess_tail)
        return f"ESS {least:.0f} for {self.ess_term}" if least < ESS_LIMIT and self.draws >= 1000 else ""

    @property
    def again(self) -> bool:
        """Whether the chains should run again."""
        return bool(self.reason)

    @property
    def quality(self) -> float:
        """What runs are compared by: the smallest effective sample size, where R-hat does not speak against it."""
        least = min(self.ess_bulk, self.ess_tail)
        return least if not self.rhat > RHAT_LIMIT else -self.rhat

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        rhat = "R-hat is unavailable with one chain" if np.isnan(self.rhat) else f"R-hat at most {self.rhat:.3f}"
        facts = (
            f"{rhat}, at least {self.ess_bulk:,.0f} bulk and {self.ess_tail:,.0f} tail effective draws "
            f"of {self.draws:,}, {_count(self.divergences, 'divergence')}"
        )
        if self.ok:
            return f"The draws can be trusted: {facts}, and no transition reached the greatest tree depth."
        return f"Take care: {'; '.join(self.problems)} ({facts})."


def _count(number: int, noun: str) -> str:
    return f"no {noun}s" if number == 0 else f"{number} {noun}{'s' if number > 1 else ''}"


def energy_fraction(energy: Any) -> Any:
    """E-BFMI per chain of energies (chain, draw): Betancourt (2016), eq. 4.

    Examples
    --------
    >>> bool(energy_fraction(np.random.default_rng(1).standard_normal((1, 5000)))[0] > 1.8)
    True
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.square(np.diff(energy, axis=1)).mean(axis=1) / np.var(energy, axis=1)


def stuck_chains(draws: Any) -> list[tuple[int, int]]:
    """Chains that do not move or stay away from the others, and the quantity that shows it most.

    Against the median of the chains, in units of the median of their standard deviations: a chain whose mean is five
    of them away, or whose own is below a twentieth.  Such a chain need not have divergences.

    Parameters
    ----------
    draws : ndarray, shape (chain, draw, quantity)

    Examples
    --------
    >>> draws = np.random.default_rng(1).standard_normal((4, 100, 2))
    >>> draws[2, :, 1] += 9.0
    >>> stuck_chains(draws)
    [(2, 1)]
    """
    chains, n, _ = draws.shape
    if chains < 2 or n < 20:
        return []
    mean, sd = draws.mean(axis=1), draws.std(axis=1)
    unit = np.maximum(np.median(sd, axis=0), np.finfo(float).tiny)
    away = np.abs(mean - np.median(mean, axis=0)) / (5.0 * unit)
    still = unit / np.maximum(20.0 * sd, np.finfo(float).tiny)
    worst = np.maximum(away, still)
    return [(int(c), int(np.argmax(worst[c]))) for c in np.flatnonzero((worst > 1.0).any(axis=1))]


def diagnose(tree: xr.DataTree, names: list[str], columns: dict[str, Any], draws: Any) -> Diagnostics:
    """Read a posterior's record.

    Parameters
    ----------
    tree : DataTree
    names : list of str
        Names of the quantities in ``columns``.
    columns : dict
        Arrays ``rhat, ess_bulk, ess_tail``, one value per quantity.
    draws : ndarray, shape (chain, draw, quantity)
    """
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else {}
    sizes = tree["posterior"].sizes

    def total(name: str) -> int:
        return int(np.sum(stats[name].to_numpy())) if name in stats else 0

    least = np.minimum(columns["ess_bulk"], columns["ess_tail"])
    rhat = columns["rhat"]
    worst = 0 if np.isnan(rhat).all() else int(np.nanargmax(rhat))
    fractions = energy_fraction(stats["energy"].to_numpy()) if "energy" in stats and sizes["draw"] > 3 else np.ones(1)
    return Diagnostics(
        rhat=float(rhat[worst]),
        rhat_term=names[worst],
        ess_bulk=float(np.min(columns["ess_bulk"])),
        ess_tail=float(np.min(columns["ess_tail"])),
        ess_term=names[int(np.argmin(least))],
        divergences=total("diverging"),
        saturated=total("reached_max_treedepth"),
        ebfmi=float(np.min(fractions)),
        draws=int(sizes["chain"] * sizes["draw"]),
        chains=int(sizes["chain"]),
        stuck=tuple((chain + 1, names[quantity]) for chain, quantity in stuck_chains(draws)),
    )


def quantity_names(design: Design) -> list[str]:
    """What the diagnostics call the quantities of a table."""
    return [
        term if component == "fixed" else f"{component} {group} {term}".replace("  ", " ")
        for component, group, term, _ in labels(design)
    ]


def judge(design: Design, tree: xr.DataTree) -> Diagnostics:
    """Diagnostics of the chains of a posterior's fixed effects, standard deviations and correlations."""
    draws = table_draws(design, tree)
    return diagnose(tree, quantity_names(design), convergence(draws), draws)
