"""What was fitted, and how, in sentences."""

from __future__ import annotations

from typing import Any

from bayesmlm.prose.words import capital, joined

__all__ = ["model_sentences", "response_words", "scale_words"]

_KINDS = {
    "logit": "logistic",
    "probit": "probit",
    "cloglog": "complementary log-log",
    "log": "Poisson",
    "identity": "linear",
}

_SCALES = {"logit": "log-odds scale", "probit": "probit scale", "cloglog": "complementary log-log scale",
           "log": "log scale", "identity": "scale of the response"}  # fmt: skip

_MEANS = {"logit": "log-odds", "probit": "probit", "cloglog": "complementary log-log", "log": "log of the mean",
          "identity": "mean"}  # fmt: skip


def scale_words(fit: Any) -> str:
    """The scale that coefficients are on."""
    return _SCALES[fit.design.family.link.name]


def _event(fit: Any) -> str:
    response = fit.design.response
    if not fit.design.family.is_binary:
        return str(response.name)
    if response.event:
        return f"{response.name} = {response.event}"
    return f"{response.name} = 1" if response.is_binary else f"a success in {response.name}"


def response_words(fit: Any) -> str:
    """What the linear predictor is: ``log-odds of use = Y``."""
    return f"{_MEANS[fit.design.family.link.name]} of {_event(fit)}"


def model_sentences(fit: Any) -> list[str]:
    """The model, its data, how it was fitted, what varies by group."""
    design = fit.design
    predictors = list(design.formula.fixed_columns)
    alone = " by an intercept alone" if design.terms else " by group effects alone"
    by = f" from {joined(predictors)}" if predictors else alone
    mixed = "mixed " if design.groups else ""
    what = f"{_KINDS[design.family.link.name]} {mixed}model"
    if fit.reading == "population":
        what = f"{_KINDS[design.family.link.name]} model of the population's means"
    model = (
        f"A {what} was fitted to {fit.nobs:,} observations {_how(fit)}. It describes the {response_words(fit)}{by} "
        f"(formula: {_formula(fit)})."
    )
    return [model, *_varying(fit), *_clusters(fit)]


def _formula(fit: Any) -> str:
    """The formula, of a GEE without the bars that it leaves out."""
    formula = fit.design.formula
    if fit.reading != "population" or not formula.bars:
        return str(formula.text)
    return f"{formula.response} ~ {formula.right(formula.fixed.replace('**', '^'), ())}"


def _how(fit: Any) -> str:
    if fit.reading == "population":
        errors = fit.table().attrs["std_error"].replace("_", " ")
        return (
            f"by generalised estimating equations, with {_article(fit.options.corr)} working correlation and {errors} "
            f"standard errors"
        )
    if fit.reading == "posterior":
        sizes = fit.tree["posterior"].sizes
        if fit.engine == "marginal":
            return f"by drawing from its posterior ({fit.tree.attrs['sampler']}, {sizes['draw']:,} draws)"
        return f"by sampling its posterior (NUTS, {sizes['chain']} chains of {sizes['draw']:,} draws)"
    points = fit.solution.n_agq
    approximated = bool(fit.design.groups) and fit.design.family.name != "gaussian"
    near = {0: " (Laplace approximation, n_agq = 0)", 1: " (Laplace approximation)"}.get(
        points, f" (adaptive quadrature of {points} points)"
    )
    near = near if approximated else ""
    if fit.reading == "mode":
        return f"by finding the mode of its posterior{near}"
    return f"by {'restricted ' if fit.solution.reml else ''}maximum likelihood{near}"


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiu' else 'a'} {word}"


def _varying(fit: Any) -> list[str]:
    """What varies between which groups; the terms of one grouping together."""
    by_name: dict[str, list[str]] = {}
    levels = {}
    for group in fit.design.groups:
        words = ["intercepts" if term == "Intercept" else f"effects of {term}" for term in group.terms]
        by_name.setdefault(group.name, []).extend(words)
        levels[group.name] = f"{group.n_levels:,} groups of {group.name}"
    alike: dict[str, list[str]] = {}
    for name, words in by_name.items():
        alike.setdefault(joined(words), []).append(f"the {levels[name]}")
    parts = [f"{words} vary between {joined(groups)}" for words, groups in alike.items()]
    return [f"{capital(joined(parts))}."] if parts else []


def _clusters(fit: Any) -> list[str]:
    if fit.reading != "population":
        return []
    return [
        f"Responses are taken to be correlated within the {fit.solution.sizes[0]:,} clusters of {fit.options.groups}; "
        f"coefficients are population-averaged, and compare members of the population, not of one cluster."
    ]
