"""Searches from other points: what they find, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from bayesmlm.errors import FitError
from bayesmlm.ml.fit import MLFit
from bayesmlm.ml.restarts import OptimumCheck, search_again
from bayesmlm.model import Model
from tests.likelihood_reference import table_of
from tests.test_likelihood import random_table


@pytest.mark.parametrize(
    ("formula", "family", "options"),
    [
        ("y ~ x + (1 | g)", "bernoulli", {}),
        ("y ~ x + (1 | g)", "bernoulli", {"n_agq": 9}),
        ("y ~ x + (1 | g)", "bernoulli", {"n_agq": 0}),
        ("y ~ x + (1 | g) + (1 | h)", "bernoulli", {"information": "expected"}),
        ("cbind(s, n - s) ~ x + (x | g)", "binomial", {}),
        ("count ~ x + (1 | h)", "poisson", {}),
        ("z ~ x + (x | g)", "gaussian", {}),
        ("z ~ x + (1 | g)", "gaussian", {"reml": True}),
    ],
)
def test_searches_agree_where_there_is_one_maximum(formula, family, options, toy):
    fit = Model(formula, toy, family).fit_ml(**options)
    found = fit.check_optimum(n=6)
    assert found.ok
    assert found.better is None
    assert found.value == fit.loglik
    assert found.reached == 6
    assert found.spread < 1e-4
    assert (
        found.verdict == f"6 of 6 searches from other points ended at the log-likelihood of this fit, {fit.loglik:.4f}."
    )


@pytest.mark.parametrize(
    ("formula", "family"), [("y ~ x + (1 | g)", "bernoulli"), ("z ~ x + (x | g)", "gaussian"), ("y ~ x", "bernoulli")]
)
def test_searches_for_a_mode_are_of_the_posterior(formula, family, toy):
    mode = Model(formula, toy, family).fit_map()
    found = mode.check_optimum(n=4)
    assert found.ok
    assert found.reached == 4
    assert found.value == mode.log_posterior
    assert found.best == pytest.approx(mode.log_posterior, abs=1e-6)
    assert "the log-posterior of this fit" in found.verdict


@pytest.mark.parametrize(
    ("formula", "family"), [("y ~ x", "bernoulli"), ("count ~ x", "poisson"), ("z ~ x", "gaussian")]
)
def test_concave_likelihoods_have_one_maximum(formula, family, toy):
    found = Model(formula, toy, family).fit_ml().check_optimum()
    assert found.ok
    assert len(found.values) == 0
    assert found.verdict.startswith("There is one maximum by the nature of this model: a log-likelihood of ")


def test_a_higher_maximum_is_found_and_given():
    """Twenty counts in five groups, slopes and intercepts uncorrelated: both variances at zero is a maximum, too."""
    data = random_table(54, 20)
    fit, plain = (Model(f"count ~ x + z{bars}", data, "poisson").fit_ml() for bars in (" + (x || a)", ""))
    x = np.concatenate([plain.solution.optimum.x, np.zeros(2)])
    there = replace(fit.solution.optimum, x=x, value=plain.solution.optimum.value)
    stuck = MLFit(fit.model, replace(fit.solution, loglik=plain.loglik, optimum=there))
    found = stuck.check_optimum()
    assert found.best > stuck.loglik + 0.01
    assert found.reached > 3
    assert isinstance(found.better, MLFit)
    assert found.better.model is fit.model
    assert found.better.loglik == pytest.approx(found.best, abs=1e-9)
    assert found.better.loglik >= fit.loglik - 1e-6
    assert found.better.converged
    assert found.better.check_optimum().ok
    assert "This fit is not at the highest maximum" in found.verdict
    assert found.verdict.endswith("; .better is the fit there, with notes of its own.")


def moved(fit, by=0.5):
    """The fit as if its search had stopped elsewhere."""
    optimum = fit.solution.optimum
    x = optimum.x + by / np.sqrt(np.diag(optimum.information))
    return replace(fit.solution, optimum=replace(optimum, x=x, value=-1e9, converged=False))


@pytest.mark.parametrize(
    ("formula", "family", "options"),
    [
        ("y ~ x + (1 | g)", "bernoulli", {}),
        ("y ~ x + (1 | g)", "bernoulli", {"n_agq": 9}),
        ("y ~ x + (1 | g)", "bernoulli", {"n_agq": 0}),
        ("y ~ x + (1 | g)", "bernoulli", {"map": True}),
        ("y ~ x", "bernoulli", {"map": True}),
        ("z ~ x + (1 | g) + (1 | h)", "gaussian", {}),
        ("z ~ x + (1 | g)", "gaussian", {"reml": True}),
        ("z ~ x + (1 | g)", "gaussian", {"map": True}),
        ("z ~ x", "gaussian", {"map": True}),
    ],
)
def test_the_better_fit_is_a_whole_fit(formula, family, options, toy):
    """Started away from the maximum, the search comes back with everything the fit itself has."""
    model = Model(formula, toy, family)
    fit = model.fit_map() if options.get("map") else model.fit_ml(**options)
    _, values, better = search_again(fit.design, moved(fit), 3, 1)
    assert len(values) == 3
    again = type(fit)(model, better)
    for name in ("beta", "theta", "sigma", "loglik", "null_loglik", "log_prior", "linear_predictor"):
        np.testing.assert_allclose(getattr(better, name), getattr(fit.solution, name), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(again.vcov(), fit.vcov(), rtol=1e-3)
    np.testing.assert_allclose(again.table(ranef=True).std_error, fit.table(ranef=True).std_error, rtol=1e-3)
    assert (better.n_agq, better.information, better.reml) == (fit.solution.n_agq, "observed", fit.solution.reml)
    assert again.diagnostics().ok == fit.diagnostics().ok


def test_where_the_fit_did_not_converge_a_search_that_did_is_given(toy):
    fit = Model("y ~ x + (1 | g)", toy).fit_ml()
    stuck = MLFit(fit.model, replace(fit.solution, optimum=replace(fit.solution.optimum, converged=False)))
    found = stuck.check_optimum(n=3)
    assert not found.ok
    assert found.better.converged
    assert found.verdict == (
        "3 of 3 searches from other points converged at the log-likelihood where this fit did not; .better is the fit "
        "there, with notes of its own."
    )


def test_a_variance_at_zero_is_found_again():
    found = Model("y ~ x + (1 | g)", table_of("singular")).fit_ml().check_optimum(n=5)
    assert found.ok
    assert found.reached == 5


def test_the_seed_chooses_the_points(toy):
    fit = Model("y ~ x + (x | g)", toy).fit_ml()
    first, second, other = (fit.check_optimum(n=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, second.values)
    assert not np.array_equal(first.values, other.values)


@pytest.mark.parametrize(
    ("value", "values", "message"),
    [
        (-10.0, [-10.0, np.nan], "1 of 2 searches from other points (1 stopped short) ended at the log-likelihood of this fit, -10.0000."),
        (-10.0, [-10.0, -12.5], "1 of 2 searches from other points ended at the log-likelihood of this fit, -10.0000, and none "
         "above it; there are lower maxima, down to 2.5 below."),
        (-12.5, [-10.0, -12.5], "This fit is not at the highest maximum: 1 of 2 searches from other points reached a "
         "log-likelihood of -10.0000, the fit has -12.5000."),
        (-10.0, [np.nan], "0 of 1 searches from other points (1 stopped short) ended at the log-likelihood of this fit, -10.0000."),
    ],
)  # fmt: skip
def test_verdicts(value, values, message):
    assert OptimumCheck(value, np.array(values)).verdict == message


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "a"])
def test_a_number_of_searches_is_one_or_more(n, toy):
    with pytest.raises(FitError, match="n should be 1 or more"):
        Model("y ~ x + (1 | g)", toy).fit_ml().check_optimum(n=n)
