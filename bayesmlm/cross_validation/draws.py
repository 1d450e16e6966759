"""What a fit says of its parameters, as draws: those of a posterior, or the estimates of a likelihood as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design

__all__ = ["ParameterDraws", "correlation_matrices", "effect_factors", "parameter_draws"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ParameterDraws:
    """Draws of everything a response depends on.

    Attributes
    ----------
    beta : ndarray, shape (draws, p)
    factors : tuple of ndarray, shape (draws, k, k)
        Per random-effect term, square roots of the effects' covariance: Σ = ΛΛ'.
    effects : tuple of ndarray, shape (draws, levels, k)
    sigma : ndarray, shape (draws,)
        Residual standard deviation of a Gaussian model, NaN elsewhere.
    """

    beta: Array
    factors: tuple[Array, ...]
    effects: tuple[Array, ...]
    sigma: Array

    def __len__(self) -> int:
        return len(self.beta)

    def chosen(self, which: Any) -> ParameterDraws:
        """Some of the draws, by their places."""
        return ParameterDraws(
            self.beta[which],
            tuple(factor[which] for factor in self.factors),
            tuple(effects[which] for effects in self.effects),
            self.sigma[which],
        )


def correlation_matrices(cor: Array, k: int) -> Array:
    """Matrices (..., k, k) of the correlations (..., k (k − 1) / 2) above their diagonals.

    Examples
    --------
    >>> correlation_matrices(np.array([0.1, 0.2, 0.3]), 3)[0].tolist()
    [1.0, 0.1, 0.2]
    """
    R = np.broadcast_to(np.eye(k), (*cor.shape[:-1], k, k)).copy()
    first, second = np.triu_indices(k, 1)
    R[..., first, second] = R[..., second, first] = cor
    return R


def effect_factors(sd: Array, cor: Array | None) -> Array:
    """Square roots (draws, k, k) of the covariances with these standard deviations (draws, k) and correlations.

    Examples
    --------
    >>> lam = effect_factors(np.array([[1.0, 2.0]]), np.array([[0.5]]))[0]
    >>> (lam @ lam.T).round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """
    k = sd.shape[1]
    if cor is None:
        return sd[:, :, None] * np.eye(k)
    # A draw may sit so near a correlation of ±1 that rounding makes R indefinite.
    values, vectors = np.linalg.eigh(correlation_matrices(cor, k))
    return sd[:, :, None] * vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


def parameter_draws(fit: Any) -> ParameterDraws:
    """The draws of a posterior, chain after chain; the estimates of a likelihood, as one draw.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> draws = parameter_draws(fit)
    >>> draws.beta.shape, draws.effects[0].shape
    ((1, 2), (1, 60, 1))
    """
    if fit.reading != "posterior":
        (one,) = (parameters for parameters, _ in zip(fit._parameters(0), range(1), strict=False))
        return ParameterDraws(
            one.beta[None],
            tuple(factor[None] for factor in one.factors),
            tuple(effects[None] for effects in one.effects),
            np.array([one.sigma]),
        )
    design: Design = fit.design
    posterior = fit.tree["posterior"]

    def flat(name: str) -> Array:
        values = posterior[name].to_numpy()
        return np.asarray(values.reshape(-1, *values.shape[2:]))

    factors = tuple(
        effect_factors(flat(f"sd_{label}"), flat(f"cor_{label}") if group.pairs else None)
        for group, label in zip(design.groups, design.group_labels, strict=True)
    )
    beta = flat("beta")
    return ParameterDraws(
        beta,
        factors,
        tuple(flat(f"ranef_{label}") for label in design.group_labels),
        flat("sigma") if "sigma" in posterior else np.full(len(beta), np.nan),
    )
