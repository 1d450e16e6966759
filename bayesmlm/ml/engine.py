"""The likelihood engine: a design in, the maximum of its likelihood (or posterior) out, on the user's scale."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.ml import glm
from bayesmlm.ml.generalised import WithGroups, WithoutGroups, integrated_likelihood
from bayesmlm.ml.penalty import Penalty
from bayesmlm.ml.problem import Problem
from bayesmlm.ml.solution import MLSolution, on_user_scale
from bayesmlm.settings import INFORMATION

__all__ = ["MLSolution", "integrated_likelihood", "problem_of", "solve_map", "solve_ml"]

Array = np.ndarray[Any, Any]

_MOST_NODES = 50_000
"""Quadrature nodes per group at most."""


def solve_ml(
    design: Design, n_agq: int = 1, reml: bool = False, information: str = "observed", start: Array | None = None
) -> MLSolution:
    """Maximise the (integrated) likelihood of a design.

    Parameters
    ----------
    design : Design
    n_agq : int
        Points of adaptive Gauss-Hermite quadrature per column; 1 is the Laplace approximation, 0 the same with β at
        the joint mode of β and the group effects (lme4's fast mode).  Gaussian models are exact without.
    reml : bool
        Restricted likelihood, of a Gaussian model.
    information : {"observed", "expected"}
        What enters the determinant of the Laplace approximation: minus the second derivative (the definition, and
        glmmTMB's), or its expectation (lme4's).  They differ for probit and cloglog only.
    start : ndarray, optional
        Where the search starts, in the coordinates of ``MLSolution.optimum.x``; without, near its end.  Models
        without groups, whose likelihood has one maximum, need none.

    Raises
    ------
    FitError
        For a constant response, separation, or a quadrature the model does not admit.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> d = build_design(Spec("use ~ age + urban + livch + (1 | district)"), load_dataset("contraception"))
    >>> solution = solve_ml(d)
    >>> round(solution.loglik, 4), round(float(solution.theta[0]), 4)
    (-1206.8078, 0.4609)
    >>> again = solve_ml(d, start=solution.optimum.x)
    >>> again.optimum.evaluations < solution.optimum.evaluations
    True
    """
    _check(design, n_agq, reml, information)
    glm.refuse_constant(design)
    return _solve(design, n_agq, reml, information, False, start)


def solve_map(design: Design, n_agq: int = 1, information: str = "observed", start: Array | None = None) -> MLSolution:
    """Maximise the integrated likelihood times the priors: the posterior mode of (β, sds, correlations).

    The priors are ``design.priors``, densities on the user's scale of coefficients, standard deviations and
    correlation matrices (no Jacobians); the group effects are integrated out as in :func:`solve_ml`, which it equals
    where every prior is flat.

    Parameters
    ----------
    design, n_agq, information, start
        As in :func:`solve_ml`.

    Raises
    ------
    FitError
        For a quadrature the model does not admit, or where the priors do not keep the mode finite.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> d = build_design(Spec("use ~ age + urban + livch + (1 | district)"), load_dataset("contraception"))
    >>> round(float(solve_map(d).theta[0]), 2)
    0.47
    """
    _check(design, n_agq, False, information)
    if n_agq == 0:
        raise FitError("n_agq = 0 takes the fixed effects at a mode without priors: use n_agq=1 for a posterior mode")
    return _solve(design, n_agq, False, information, True, start)


def _check(design: Design, n_agq: int, reml: bool, information: str) -> None:
    gaussian = design.family.name == "gaussian"
    if isinstance(n_agq, bool) or not isinstance(n_agq, int | np.integer) or n_agq < 0:
        raise FitError(f"n_agq should be 0 (fast), 1 (Laplace) or more quadrature points, not {n_agq}")
    if information not in INFORMATION:
        raise FitError(f'there is no "{information}" information; {among(information, INFORMATION)}')
    if reml and not gaussian:
        raise FitError(
            f"REML is defined for gaussian models; this one is {design.family}: fit by maximum likelihood (reml=False)"
        )
    if n_agq > 1 and design.groups and not gaussian:
        widths = [len(group.terms) for group in design.groups]
        if len(widths) > 1 or int(n_agq) ** widths[0] > _MOST_NODES:
            terms = " and ".join(f"({', '.join(g.terms)} | {g.name})" for g in design.groups)
            raise FitError(
                f"n_agq = {n_agq} needs a single random-effect term and at most {_MOST_NODES:,} nodes; this model "
                f"has {terms}: use n_agq=1"
            )
        if information == "expected":
            raise FitError("quadrature needs no determinant: information= is for n_agq = 0 or 1")


def problem_of(
    design: Design, n_agq: int = 1, reml: bool = False, information: str = "observed", is_mode: bool = False
) -> Problem:
    """What :func:`solve_ml` maximises, or with ``is_mode`` what :func:`solve_map` does.

    Raises
    ------
    FitError
        Where the model without groups has no maximum.
    """
    penalty = Penalty.of(design) if is_mode else None
    if design.family.name == "gaussian":
        # The linear mixed model has kernels of its own.
        from bayesmlm.ml.gaussian import GaussianMaximum, GaussianMode

        likelihood = GaussianMaximum.of(design, reml)
        return likelihood if penalty is None else GaussianMode(likelihood, penalty)
    if design.groups:
        return WithGroups.of(design, n_agq, information, penalty)
    return WithoutGroups(design, glm.read_rows(design), penalty)


def _solve(design: Design, n_agq: int, reml: bool, information: str, is_mode: bool, start: Array | None) -> MLSolution:
    began = time.perf_counter()
    problem = problem_of(design, n_agq, reml, information, is_mode)
    maximum = problem.maximum(problem.search(start))
    if design.family.name == "gaussian":
        # Nothing is approximated.
        n_agq, information = 1, "observed"
    elif not design.groups:
        n_agq = 1
    return on_user_scale(design, maximum, int(n_agq), bool(reml), information, time.perf_counter() - began)
