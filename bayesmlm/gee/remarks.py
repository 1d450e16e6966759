"""What the reader of a GEE should know, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmlm.design import Design
from bayesmlm.gee.engine import GEESolution
from bayesmlm.gee.options import COVARIANCES, Options

__all__ = ["Diagnostics", "findings_of", "remarks", "untested"]

FEW_CLUSTERS = 40
"""Robust standard errors of fewer clusters are too small (Mancl & DeRouen, 2001; Li & Redden, 2015)."""


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Can the estimates and their standard errors be trusted?

    Attributes
    ----------
    findings : tuple of str
        What speaks against it, in sentences.
    iterations : int
    change : float
        What the last step moved, in standard errors where no tolerance was given.
    """

    findings: tuple[str, ...]
    iterations: int
    change: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """What was found, or one plain sentence that nothing was."""
        if not self.ok:
            return f"Take care. {' '.join(self.findings)}"
        return f"The estimates can be trusted: the estimating equations are solved after {self.iterations} iterations."


def findings_of(options: Options, solution: GEESolution, p: int) -> tuple[str, ...]:
    """What speaks against the estimates or their standard errors."""
    out = []
    if not solution.converged:
        out.append(
            f"The iteration had not converged after {solution.iterations} steps: the last one still moved the "
            f"estimates by {solution.change:.2g}. Give a larger max_iter, or a simpler working correlation."
        )
    if not solution.smallest_eigenvalue > 0.0:
        out.append(_impossible(options, solution))
    n_clusters = solution.sizes[0]
    if options.se == "robust" and n_clusters <= p:
        out.append(
            f"There are {n_clusters} clusters and {p} coefficients: the robust covariance has not full rank, and joint "
            f"tests of many coefficients are not possible."
        )
    elif options.se == "robust" and n_clusters < FEW_CLUSTERS:
        out.append(
            f"There are {n_clusters} clusters: with fewer than {FEW_CLUSTERS}, robust standard errors tend to be too "
            f'small; se="bias_corrected", with limits from t by table(df="clusters"), is nearer.'
        )
    return tuple(out)


def untested(options: Options, solution: GEESolution, p: int, df: str | None) -> dict[str, str]:
    """Why no coefficient can be tested, as a clause under ""; nothing where they can.

    Parameters
    ----------
    options : Options
    solution : GEESolution
    p : int
        Coefficients.
    df : str or None
        ``clusters`` where tests are from t.
    """
    n = solution.sizes[0]
    if not solution.converged:
        return {"": "the iteration did not converge"}
    if options.se == "naive" and not solution.smallest_eigenvalue > 0.0:
        return {"": "its naive standard error is that of correlations that cannot be"}
    if options.se == "robust" and n <= p:
        return {"": f"{n} clusters are too few for the robust standard errors of {p} coefficients"}
    if options.se == "robust" and df is None and n < FEW_CLUSTERS:
        return {"": f"its robust standard error is too small to test by with {n} clusters"}
    return {}


def _impossible(options: Options, solution: GEESolution) -> str:
    said = f"smallest eigenvalue {solution.smallest_eigenvalue:.3g}"
    beyond = ""
    outside = np.flatnonzero(np.abs(solution.alpha) > 1.0)
    if len(outside) and options.corr == "unstructured":
        visits = solution.visits
        pairs = [(a, b) for i, a in enumerate(visits) for b in visits[i + 1 :]]
        named = [f"{solution.alpha[at]:.3f} of visits {pairs[at][0]} and {pairs[at][1]}" for at in outside]
        several = len(named) > 1
        beyond = (
            f" Its correlation{'s' if several else ''} {' and '.join(named)} lie{'' if several else 's'} outside of "
            f"−1 to 1."
        )
    return (
        f"The estimated working correlation is not positive definite ({said}): no responses can be so correlated."
        f"{beyond} The coefficients solve their equations all the same, but such weights gain nothing, and naive "
        f"standard errors mean nothing; use a simpler correlation, such as exchangeable."
    )


def remarks(design: Design, options: Options, solution: GEESolution) -> list[str]:
    """How the clusters were found, and what was left out or assumed.

    Parameters
    ----------
    design : Design
        With the formula's bars.
    options : Options
    solution : GEESolution
    """
    out = []
    if design.groups:
        bars = ", ".join(bar.text for bar in design.formula.bars)
        verb = "is" if len(design.groups) == 1 else "are"
        clusters = f" Its clusters are those of {options.groups}." if design.groups[0].name == options.groups else ""
        out.append(f"A GEE has no group effects: {bars} {verb} left out.{clusters}")
    runs, ids = solution.n_runs, solution.n_ids
    if options.groups.startswith("runs:") and runs > ids:
        name = options.groups.removeprefix("runs:")
        out.append(
            f"The clusters are {runs} runs of adjacent rows with equal {name}, as R's gee and geepack take them. There "
            f'are {ids} different ones: the rows are not sorted. groups="{name}" takes these.'
        )
    elif runs > ids:
        out.append(
            f"The rows of a cluster do not stand together; clusters are the {ids} different {options.groups} all the "
            f"same. R's gee and geepack would take each of the {runs} runs of adjacent rows as a cluster, which "
            f'groups="runs:{options.groups}" reproduces.'
        )
    trials = bool((design.response.trials != 1.0).any() or (design.weights != 1.0).any())
    if options.flavour == "geepack" and trials:
        out.append(
            "geepack leaves trials and weights outside of the residuals: its scale is that of one trial, and its "
            'correlations are biased where trials differ; flavour="yan_fine" has them inside.'
        )
    if options.flavour == "geepack" and (design.family.name != "gaussian" or len(solution.alpha)):
        out.append(
            "The standard errors of scale and correlations are geepack's, which are not those of the estimating "
            'equations they are made from; flavour="yan_fine" has these.'
        )
    if options.se not in ("robust", "bias_corrected"):
        out.append(f"Standard errors are {COVARIANCES[options.se]}.")
    if options.tol is not None:
        out.append(f"The iteration was stopped at a tolerance of {options.tol:g}.")
    return out
