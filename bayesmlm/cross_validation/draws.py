"""What a fit says of its parameters, as draws: those of a posterior, or the estimates of a likelihood as one."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.bayes.draws import ParameterDraws, posterior_draws

__all__ = ["parameter_draws"]


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
    return posterior_draws(fit.design, fit.tree)
