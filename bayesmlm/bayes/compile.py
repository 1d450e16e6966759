"""Compile a design into a readable ``pm.Model`` whose dims and coords are the design's labels.

Fixed effects are sampled on centred and scaled columns and reported on the user's: a change of coordinates in
which a prior on the user's scale becomes the same prior times the scale, so the model is the same.  Group effects
are non-centred by default (Papaspiliopoulos, Roberts & Sköld, 2007): ``ranef = sd · z`` with ``z ~ normal(0, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design, Group
from bayesmlm.errors import DataError
from bayesmlm.priors import Prior

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["check_names", "compile_model"]


def _coefficient(name: str, priors: list[Prior], **kwargs: Any) -> Any:
    """A random variable with these priors, one per element, which share their distribution."""
    import pymc as pm

    def of(parameter: str) -> Any:
        values = np.array([prior[parameter] for prior in priors])
        return values if "dims" in kwargs else values[0]

    match priors[0].distribution:
        case "normal":
            return pm.Normal(name, of("mean"), of("sd"), **kwargs)
        case "student_t":
            return pm.StudentT(name, nu=of("df"), mu=of("mean"), sigma=of("scale"), **kwargs)
        case "cauchy":
            return pm.Cauchy(name, of("location"), of("scale"), **kwargs)
        case _:
            return pm.Flat(name, **kwargs)


def _positive(name: str, prior: Prior) -> Any:
    """A standard deviation with this prior."""
    import pymc as pm

    match prior.distribution:
        case "half_normal":
            return pm.HalfNormal(name, prior["sd"])
        case "half_student_t":
            return pm.HalfStudentT(name, nu=prior["df"], sigma=prior["scale"])
        case "half_cauchy":
            return pm.HalfCauchy(name, prior["scale"])
        case "exponential":
            return pm.Exponential(name, prior["rate"])
        case "gamma":
            return pm.Gamma(name, alpha=prior["shape"], beta=prior["rate"])
        case _:
            return pm.HalfFlat(name)


def _fixed_effects(design: Design) -> Any:
    """The fixed part of the linear predictor, and ``beta`` on the user's scale, dims ``term``."""
    import pymc as pm
    import pytensor.tensor as pt

    scaling = design.scaling
    priors = [prior.scaled(s) for prior, s in zip(design.priors.fixed, scaling.scales, strict=True)]
    slopes = [j for j in range(len(design.terms)) if j != scaling.intercept]
    pieces: list[Any] = [None] * len(design.terms)
    if scaling.intercept >= 0:
        # The prior of the intercept refers to centred predictors, and so does this coefficient.
        pieces[scaling.intercept] = _coefficient("intercept_centred", [priors[scaling.intercept]])
    if len({priors[j].distribution for j in slopes}) == 1:
        vector = _coefficient("slopes_scaled", [priors[j] for j in slopes], dims="slope")
        for place, j in enumerate(slopes):
            pieces[j] = vector[place]
    else:
        for j in slopes:
            pieces[j] = _coefficient(f"{design.terms[j]}_scaled", [priors[j]])
    internal = pt.stack(pieces)
    X = pm.Data("X_scaled", scaling.apply(design.X), dims=("row", "term"))
    pm.Deterministic("beta", pt.dot(scaling.matrix, internal), dims="term")
    return pt.dot(X, internal)


def _group_effects(group: Group, label: str, sds: tuple[Prior, ...], correlation: Prior | None, centered: bool) -> Any:
    """The contribution of one random-effect term to the linear predictor; ``sd``, ``cor`` and ``ranef`` named."""
    import pymc as pm
    import pytensor.tensor as pt

    dims = (group.name, f"{label}_term")
    k = len(group.terms)
    names = [f"sd_{label}" if k == 1 else f"sd_{label}[{term}]" for term in group.terms]
    if k == 1:
        sd = _positive(f"{names[0]}_", sds[0])
        root = pt.reshape(sd, (1, 1))
        pm.Deterministic(f"sd_{label}", pt.reshape(sd, (1,)), dims=dims[1])
    else:
        sd = pt.stack([_positive(name, prior) for name, prior in zip(names, sds, strict=True)])
        assert correlation is not None
        # Since PyMC 6.4 this is the Cholesky factor of a matrix with the LKJ distribution.
        factor = pm.LKJCorr(f"cor_{label}_factor", n=k, eta=correlation["eta"])
        root = sd[:, None] * factor
        pm.Deterministic(f"sd_{label}", sd, dims=dims[1])
        pm.Deterministic(f"cor_{label}", pt.dot(factor, factor.T)[np.triu_indices(k, 1)], dims=f"{label}_pair")
    if centered:
        if k == 1:
            effects = pm.Normal(f"ranef_{label}", 0.0, sd, dims=dims)
        else:
            effects = pm.MvNormal(f"ranef_{label}", mu=np.zeros(k), chol=root, dims=dims)
    else:
        z = pm.Normal(f"z_{label}", 0.0, 1.0, dims=dims)
        effects = pm.Deterministic(f"ranef_{label}", pt.dot(z, root.T), dims=dims)
    codes = pm.Data(f"{label}_codes", group.codes.astype("int64"), dims="row")
    if k == 1 and np.all(group.z == 1.0):
        return effects[codes, 0]
    columns = pm.Data(f"{label}_columns", group.z, dims=("row", dims[1]))
    return pt.sum(effects[codes] * columns, axis=1)


def _log_normal_cdf(x: Any) -> Any:
    """Log Φ(x) in double precision; PyMC's own is good to 1e-7."""
    import pytensor.tensor as pt

    half = np.sqrt(0.5)
    # Each branch is evaluated on its own side only, so that the other's overflow leaves no NaN in the gradient.
    lower, upper = pt.minimum(x, -1.0), pt.maximum(x, -1.0)
    tail = pt.log(0.5 * pt.erfcx(-lower * half)) - 0.5 * lower**2
    return pt.switch(x < -1.0, tail, pt.log1p(-0.5 * pt.erfc(upper * half)))


def _response(design: Design, eta: Any) -> None:
    """The response's distribution given the linear predictor; weights multiply its log-density.

    A Gaussian row's weight divides its variance, as lme4 has it; only its frequency multiplies.
    """
    import pymc as pm
    import pytensor.tensor as pt

    response, link = design.response, design.family.link.name
    name, multiplier = response.variable, design.weights * design.freq
    if design.family.name == "gaussian":
        assert design.priors.sigma is not None
        sigma = _positive("sigma", design.priors.sigma)
        if not np.all(design.weights == 1.0):
            sigma = sigma / pt.sqrt(pm.Data("prior_weights", design.weights, dims="row"))
        variable = pm.Normal(name, eta, sigma, observed=response.y, dims="row")
        multiplier = design.freq
    elif design.family.name == "poisson":
        variable = pm.Poisson(name, pt.exp(eta), observed=response.y.astype("int64"), dims="row")
    else:
        # On the logit scale both tails keep their digits: log Φ(η) − log Φ(−η), and log(exp(e^η) − 1).
        if link == "probit":
            eta = _log_normal_cdf(eta) - _log_normal_cdf(-eta)
        elif link == "cloglog":
            eta = pm.math.log1mexp(-pt.exp(eta)) + pt.exp(eta)
        observed = response.y.astype("int64")
        if response.is_binary:
            variable = pm.Bernoulli(name, logit_p=eta, observed=observed, dims="row")
        else:
            trials = pm.Data("trials", response.trials.astype("int64"), dims="row")
            variable = pm.Binomial(name, n=trials, logit_p=eta, observed=observed, dims="row")
    if not np.all(multiplier == 1.0):
        observed_value = pm.modelcontext(None).rvs_to_values[variable]
        pm.Potential("weights", pt.sum((multiplier - 1.0) * pm.logp(variable, observed_value)))


def check_names(design: Design) -> None:
    """Refuse a grouping or response whose name a posterior uses for one of its dimensions or variables.

    Raises
    ------
    DataError
        Naming the column.
    """
    taken = {"chain", "draw", "term", "row", "slope", "beta", "X_scaled", "intercept_centred", "slopes_scaled"}
    taken |= {"offset", "weights", "prior_weights", "trials", "sigma"}
    for label in design.group_labels:
        taken |= {f"{part}_{label}" for part in ("sd", "cor", "ranef", "z")}
        taken |= {f"{label}_{part}" for part in ("term", "pair", "codes", "columns")}
    groups = {group.name for group in design.groups}
    for name, what in ((design.response.variable, "response"), *((group, "grouping") for group in sorted(groups))):
        if name in taken or "/" in name or (what == "response" and name in groups):
            raise DataError(
                f'the {what} "{name}" has a name that a posterior uses for something else; rename the column'
            )


def compile_model(design: Design, centered: bool | Sequence[bool] = False) -> pm.Model:
    """Write a design as a PyMC model.

    Parameters
    ----------
    design : Design
    centered : bool or sequence of bool
        Sample the group effects themselves instead of standardised ones; one for all random-effect terms, or each.

    Returns
    -------
    pymc.Model
        Named variables: ``beta`` (dims ``term``), per random-effect term ``sd_…``, ``cor_…`` and ``ranef_…``, and of a
        Gaussian model ``sigma``.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> design = build_design(Spec("use ~ age + (1 | district)"), load_dataset("contraception"))
    >>> [str(v) for v in compile_model(design).free_RVs]
    ['intercept_centred', 'slopes_scaled', 'sd_district_', 'z_district']
    """
    import pymc as pm

    check_names(design)
    each = (centered,) * len(design.groups) if isinstance(centered, bool) else tuple(centered)
    with pm.Model(coords=design.coords) as model:
        eta: Any = _fixed_effects(design) if design.terms else 0.0
        terms = zip(design.groups, design.group_labels, design.priors.sd, design.priors.correlation, each, strict=True)
        for group, label, sds, correlation, own in terms:
            eta = eta + _group_effects(group, label, sds, correlation, own)
        if np.any(design.offset):
            eta = eta + pm.Data("offset", design.offset, dims="row")
        _response(design, eta)
    return model
