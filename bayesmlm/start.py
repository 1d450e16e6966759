"""Where a posterior is approached from: the mode the likelihood engine finds, in the words of the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesmlm.bayes.at_mode import Start
from bayesmlm.design import Design
from bayesmlm.errors import BayesmlmError, FitError, NoMaximumError
from bayesmlm.laplace.covariance import factors
from bayesmlm.ml import glm
from bayesmlm.ml.engine import MLSolution, solve_map
from bayesmlm.ml.findings import kept_by_priors
from bayesmlm.priors import Prior

__all__ = ["find_start", "refuse_improper"]

Array = np.ndarray[Any, Any]


def find_start(design: Design) -> tuple[Start | None, str]:
    """Mode and curvature with the group effects integrated out, by Laplace's approximation; None and why without one.

    A standard deviation's prior is taken times sd: the density of its logarithm, which is what a sampler walks in.

    Parameters
    ----------
    design : Design

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> design = build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception"))
    >>> start, why = find_start(design)
    >>> start.factors[0].round(2).tolist(), why
    ([[0.44]], '')
    """
    refuse_improper(design)
    kept = " ".join(finding.sentence for finding in kept_by_priors(design))
    try:
        solution = solve_map(replace(design, priors=_of_logarithms(design)))
    except (BayesmlmError, np.linalg.LinAlgError) as error:
        note = f"There is no mode to start from ({error}); sampling started from the scales of the columns."
        return None, f"{kept} {note}".strip()
    return _start_at(design, solution), kept


def refuse_improper(design: Design) -> None:
    """Refuse flat priors that leave the posterior without a finite integral.

    A likelihood that is log-concave in β has one if and only if it falls in every direction in which the priors do not:
    if no combination of the columns with flat priors, as the priors have them, separates the responses.  A standard
    deviation with a flat prior needs two groups whose answers are not all alike.

    Raises
    ------
    FitError
        Naming the coefficients.

    Examples
    --------
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> data = {"y": [0, 0, 1, 1], "x": [1.0, 2.0, 3.0, 4.0]}
    >>> refuse_improper(build_design(Spec("y ~ x", priors={"Intercept": "flat()", "fixed": "flat()"}), data))
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FitError: the posterior is improper: the priors of Intercept, x are flat, and x separates the \
responses (fitted probabilities reach 0 or 1); give them proper priors, such as normal(0, 2.5)
    """
    if design.family.name == "gaussian":
        return
    flat = [j for j, prior in enumerate(design.priors.fixed) if prior == _FLAT]
    terms = tuple(design.terms[j] for j in flat)
    if flat:
        rows = glm.read_rows(design)
        try:
            if design.scaling.intercept in flat:
                glm.refuse_constant(design)
            glm.fit_glm(replace(rows, X=np.ascontiguousarray(rows.X[:, flat])), terms)
        except NoMaximumError as error:
            raise FitError(
                f"the posterior is improper: the prior{'s' if len(flat) > 1 else ''} of {', '.join(terms)} "
                f"{'are' if len(flat) > 1 else 'is'} flat, and {error.reason.removeprefix(_NO_MAXIMUM)}; "
                f"give {'them proper priors' if len(flat) > 1 else 'it a proper prior'}, such as normal(0, 2.5)"
            ) from None
    if not design.family.is_binary:
        return
    y, trials = design.response.y, design.response.trials
    for group, sds in zip(design.groups, design.priors.sd, strict=True):
        if _FLAT in sds:
            successes = np.bincount(group.codes, y, group.n_levels)
            failures = np.bincount(group.codes, trials - y, group.n_levels)
            if np.sum((successes > 0) & (failures > 0)) < 2:
                raise FitError(
                    f"the posterior is improper: the prior of the standard deviation of {group.name} is flat, and the "
                    f"answers are alike within all of its groups but one or none; give it a proper prior, such as "
                    f"half_normal(2)"
                )


_NO_MAXIMUM = "the likelihood has no maximum: "
_FLAT = Prior("flat")


def _times_itself(prior: Prior) -> Prior:
    """A gamma density near that of a standard deviation times it.

    Of gamma and exponential densities it is the product itself; of others it has the product's mode and, at the mode,
    its curvature in log sd (half_normal), or nearly so.
    """
    match prior.distribution:
        case "gamma":
            return Prior("gamma", (prior["shape"] + 1.0, prior["rate"]))
        case "exponential":
            return Prior("gamma", (2.0, prior["rate"]))
        case "half_normal":
            return Prior("gamma", (2.0, 1.0 / prior["sd"]))
        case "half_student_t" | "half_cauchy":
            return Prior("gamma", (2.0, 1.0 / prior["scale"]))
    return Prior("gamma", (2.0, 1e-4))


def _of_logarithms(design: Design) -> Any:
    """The design's priors as densities of what a sampler walks in."""
    priors = design.priors
    columns = [len(group.terms) for group in design.groups]
    # LKJ's density times the Jacobian of the correlations' coordinates is again a power of |R|.
    correlation = tuple(
        None if prior is None else Prior("lkj", (prior["eta"] + 0.5 * (k + 1),))
        for prior, k in zip(priors.correlation, columns, strict=True)
    )
    return replace(
        priors,
        mode_sd=tuple(tuple(_times_itself(prior) for prior in row) for row in priors.sd),
        correlation=correlation,
        sigma=None if priors.sigma is None else _times_itself(priors.sigma),
    )


def _start_at(design: Design, solution: MLSolution) -> Start:
    p, inverse = len(solution.beta), np.linalg.inv(design.scaling.matrix)
    J = np.eye(len(solution.covariance))
    J[:p, :p] = inverse
    lams = factors(solution.theta, tuple(len(group.terms) for group in design.groups))
    # Columns of Λ have a sign of their own; the sampler's has positive diagonals.
    signs = [np.where(np.diag(lam) < 0.0, -1.0, 1.0) for lam in lams]
    at = p
    for sign in signs:
        for b in range(len(sign)):
            J[at : at + len(sign) - b] *= sign[b]
            at += len(sign) - b
    least = 1e-3
    upright = []
    for lam, sign in zip(lams, signs, strict=True):
        lam = lam * sign
        np.fill_diagonal(lam, np.maximum(np.diag(lam), least * np.maximum(np.abs(lam).max(axis=1), least)))
        upright.append(lam)
    return Start(
        inverse @ solution.beta, tuple(upright), tuple(solution.modes), solution.sigma, J @ solution.covariance @ J.T
    )
