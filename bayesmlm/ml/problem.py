"""What a likelihood engine maximises, as one shape: a search, and the model at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.ml.integrated import State
from bayesmlm.ml.optimise import Optimum
from bayesmlm.ml.penalty import Penalty

__all__ = ["Maximum", "Problem", "inverse_information", "with_priors"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Maximum:
    """The model where its likelihood or posterior is highest, in internal coordinates.

    Attributes
    ----------
    state : State
    theta : ndarray
        Factors of the group covariances (of a Gaussian model too: not relative to σ).
    sigma : float
        Residual standard deviation of a Gaussian model, NaN elsewhere.
    covariance : ndarray, shape (p + len(theta) (+ 1),) * 2
        Of (β, θ), and of σ after them in a Gaussian model.
    loglik, null_loglik : float
        With all constants; the second of the intercept alone, without groups.
    log_prior : float
        NaN where there are no priors.
    optimum : Optimum
        The facts of the search.
    """

    state: State
    theta: Array
    sigma: float
    covariance: Array
    loglik: float
    null_loglik: float
    log_prior: float
    optimum: Optimum


class Problem(ABC):
    """A likelihood, or a posterior, in the coordinates of its search.

    These are β of the scaled columns, where β is searched for, then θ of the scaled random-effect columns, then what
    the family adds.
    """

    @property
    @abstractmethod
    def columns(self) -> tuple[int, ...]:
        """Of each random-effect term."""

    @property
    @abstractmethod
    def n_fixed(self) -> int:
        """How many coordinates are β: none where it is at its best given the rest."""

    @abstractmethod
    def objective(self, x: Array) -> tuple[float, Array]:
        """Value, up to a constant, and gradient; −inf where it cannot be evaluated."""

    @abstractmethod
    def search(self, start: Array | None = None) -> Optimum:
        """Maximise, from a point or from where the data suggest."""

    @abstractmethod
    def maximum(self, optimum: Optimum) -> Maximum:
        """The model at the end of a search."""


def inverse_information(information: Array) -> Array:
    """Inverse of the information; directions without curvature get an infinite-looking, not a negative, variance.

    Examples
    --------
    >>> inverse_information(np.diag([4.0, 0.0])).diagonal().tolist()
    [0.25, 2500000000.0]
    """
    values, vectors = np.linalg.eigh(information)
    floor = 1e-10 * max(abs(values[-1]), 1e-300)
    return (vectors / np.maximum(values, floor)) @ vectors.T


def with_priors(state: State, penalty: Penalty) -> State:
    """The state with what the priors know of β added to its information."""
    return replace(state, information=state.information + np.diag(penalty.curvature(state.beta)))
