"""The likelihood engine against tight optima of lme4 and glmmTMB, simulation, and its own gradients.

References of linear mixed models are in ``test_gaussian.py``.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from bayesmlm.laplace.covariance import theta_size
from bayesmlm.ml import glm, integrated
from bayesmlm.model import Model
from tests.likelihood_reference import REFERENCE, check_effects, check_errors, check_estimates, fit_of, table_of
from tests.structures import by_differences

ARMS = [(name, arm) for name, entry in REFERENCE.items() if entry["family"] != "gaussian" for arm in entry["arms"]]

# lme4 and glmmTMB -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_estimates_are_those_of_the_reference(name, arm):
    """Laplace by observed information is glmmTMB's, by expected lme4's; quadrature and n_agq = 0 are lme4's."""
    check_estimates(name, arm)


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_standard_errors_are_those_of_the_reference(name, arm):
    check_errors(name, arm)


CANONICAL = [(name, arm) for name, arm in ARMS if "lme4" in arm and REFERENCE[name]["link"] in ("logit", "log")]


@pytest.mark.parametrize(("name", "arm"), CANONICAL)
def test_standard_errors_given_the_variances_are_lme4s(name, arm):
    """RX'RX is a matrix at the estimates, free of differences: as good as they are.  With n_agq = 0 it is all there is."""
    fit, expected = fit_of(name, arm), list(REFERENCE[name]["arms"][arm]["se_rx"].values())
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov("conditional"))), expected, rtol=1e-5)
    if arm == "lme4_nagq0":
        np.testing.assert_allclose(fit.vcov(), fit.vcov("conditional"), rtol=1e-9)


@pytest.mark.parametrize("name", ["con_int", "con_slope", "verbagg"])
def test_conditional_modes_and_variances_are_lme4s(name):
    check_effects(name, "lme4")


def test_both_informations_are_one_for_canonical_links():
    """Scalar and vector kernels against the blocked ones, which expected information takes: to 1e-8."""
    for name in ("con_int", "con_slope", "con_crossed", "grouse_brood"):
        a = fit_of(name, "glmmTMB")
        b = a.model.fit_ml(information="expected")
        assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
        np.testing.assert_allclose(a.table().estimate, b.table().estimate, atol=1e-6)


@pytest.mark.parametrize("link", ["probit", "cloglog"])
def test_informations_differ_for_other_links(link):
    """By 0.1 to 0.5 in these log-likelihoods: each arm above could not pass with the other's."""
    arms = REFERENCE[f"con_ud_{link}"]["arms"]
    assert 0.1 < abs(arms["lme4"]["logLik"] - arms["glmmTMB"]["logLik"]) < 0.5


def test_the_likelihood_of_a_quadrature_is_the_integral():
    """25 points of a scalar term against 225 of the trapezoidal rule, at the same estimates: to 1e-6."""
    for name in ("con_ud", "con_livch", "cbpp", "con_ud_probit", "con_ud_cloglog"):
        integral = REFERENCE[name]["arms"]["lme4_agq25"]["logLik_integral"]
        assert fit_of(name, "lme4_agq25").loglik == pytest.approx(integral, abs=1e-6)


def test_frequencies_reproduce_the_rows():
    """Rows collapsed to (urban, ch, district, use) with their counts: the same likelihood, and lme4's of all rows."""
    entry = REFERENCE["con_freq"]["arms"]["lme4"]
    cells = table_of("contraception").groupby(["urban", "ch", "district", "use"], observed=True).size()
    fit = Model("use ~ urban + ch + (1 | district)", cells.reset_index(name="times"), freq="times").fit_ml()
    assert fit.loglik == pytest.approx(entry["logLik"], abs=2e-6)
    np.testing.assert_allclose(fit.fixef(), list(entry["coef"].values()), atol=2e-5)
    assert fit.varcorr().sd[0] == pytest.approx(entry["theta"][0], abs=2e-5)
    assert fit.nobs == REFERENCE["con_freq"]["nobs"]


SINGULAR = [name for name, entry in REFERENCE.items() if entry["arms"].get("lme4", {}).get("singular")]


@pytest.mark.parametrize("name", SINGULAR)
def test_what_lme4_calls_singular_is_noted(name):
    """A variance of 0, or a covariance matrix of less than full rank."""
    assert any("singular" in note for note in fit_of(name, "lme4").notes)


def test_a_singular_fit_is_exactly_the_model_without_groups():
    fit = fit_of("singular_binary", "glmmTMB")
    assert fit.varcorr().sd[0] == 0.0
    assert fit.loglik == pytest.approx(Model("y ~ x", table_of("singular")).fit_ml().loglik, abs=1e-10)


# glmmTMB 1.1.5, R 4.2.2: yb ~ 1 + (1 | s) + (1 | d) + (1 | dept:service) of lme4's InstEval, Laplace.
INSTEVAL = {
    "coef": -0.19928405378416,
    "se": 0.042091856945014,
    "sds": {"s": 0.475836493996186, "d": 0.784910288451207, "dept:service": 0.15598505447627},
    "logLik": -46390.9035626784,
}


@pytest.mark.slow
def test_crossed_effects_of_many_groups_are_glmmtmbs():
    """2972 students, 1128 lecturers, 28 departments; bars as above."""
    fit = Model("yb ~ 1 + (1 | s) + (1 | d) + (1 | dept:service)", table_of("InstEval")).fit_ml()
    table = fit.table()
    assert abs(table.estimate[0] - INSTEVAL["coef"]) / INSTEVAL["se"] < 2e-4
    assert table.std_error[0] == pytest.approx(INSTEVAL["se"], rel=1e-3)
    assert table[table.component == "sd"].group.tolist() == list(INSTEVAL["sds"])
    np.testing.assert_allclose(table.estimate[1:], list(INSTEVAL["sds"].values()), atol=2e-5)
    assert fit.loglik == pytest.approx(INSTEVAL["logLik"], abs=2e-6)
    assert fit.converged


# gradients ------------------------------------------------------------------------------------------------------

BARS = [
    "(1 | a)", "(x | a)", "(x + z | a)", "(x || a)", "(0 + x | a)", "(1 | a) + (1 | b)", "(x | a) + (z | b)", "(1 | a/b)",
    "(x | a/b)", "(1 | a) + (1 | b) + (1 | c)",
]  # fmt: skip
RESPONSES = [("y", "bernoulli", "logit"), ("y", "bernoulli", "probit"), ("y", "bernoulli", "cloglog"),
             ("cbind(s, n - s)", "binomial", "logit"), ("count", "poisson", "log")]  # fmt: skip


def random_table(seed, n=60):
    rng = np.random.default_rng(seed)
    trials = rng.integers(1, 5, n)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n), "z": rng.normal(2.0, 3.0, n), "n": trials, "s": rng.binomial(trials, 0.4),
            "y": np.resize([0, 1, 1], n), "count": rng.poisson(1.0, n) + np.resize([0, 1], n),
            "a": rng.integers(0, 5, n), "b": rng.integers(0, 4, n), "c": rng.integers(0, 3, n),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )  # fmt: skip


def integrated_of(design, kind):
    """The integrated likelihood that the engine takes for ``kind``."""
    one_term = len(design.groups) == 1 and kind not in ("expected", "joint", "blocks")
    rows = glm.read_rows(design, design.groups[0] if one_term else None)
    if kind == "joint":
        return integrated.joint_terms(design, rows, glm.start_at(rows))
    if one_term:
        scalar = len(design.groups[0].terms) == 1
        return (integrated.scalar_term if scalar else integrated.vector_term)(
            design, rows, 3 if kind == "points" else 1
        )
    return integrated.many_terms(design, rows, kind == "expected")


@given(
    bars=st.sampled_from(BARS), response=st.sampled_from(RESPONSES), seed=st.integers(0, 999),
    kind=st.sampled_from(["laplace", "blocks", "expected", "joint", "points"]),
)  # fmt: skip
def test_gradients_are_exact_for_any_structure(bars, response, seed, kind):
    """Fourth-order differences with h = 1e-3, good to 1e-8 of the gradient's scale."""
    left, family, link = response
    design = Model(f"{left} ~ x + z + {bars}", random_table(seed), family, link, weights="w").design
    likelihood = integrated_of(design, kind)
    rng = np.random.default_rng(seed)
    size = theta_size(tuple(len(group.terms) for group in design.groups))
    at = np.concatenate([0.3 * rng.normal(size=likelihood.n_beta), 0.4 * rng.normal(size=size) + 0.3])
    exact = likelihood.objective(at)[1]
    numeric = by_differences(lambda x: likelihood.objective(x)[0], at)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=1e-6 * max(np.abs(exact).max(), 1.0))


@pytest.mark.parametrize("bars", ["(1 | a)", "(x | a)"])
def test_one_term_by_its_own_kernels_or_by_blocks_is_one_likelihood(bars):
    """Value and gradient, and all the state a fit reports, by three independent ways to 1e-7."""
    design = Model(f"y ~ x + {bars}", random_table(3), link="probit").design
    at = np.array([0.2, -0.3, *([0.7] if bars == "(1 | a)" else [0.7, -0.2, 0.5])])
    ways = [integrated_of(design, kind) for kind in ("laplace", "blocks")]
    (a, da), (b, db) = (way.objective(at) for way in ways)
    assert a == pytest.approx(b, abs=1e-9)
    np.testing.assert_allclose(da, db, atol=1e-7)
    one, other = (way.state(at) for way in ways)
    for name in ("modes", "covariances", "slopes"):
        np.testing.assert_allclose(getattr(one, name)[0], getattr(other, name)[0], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(one.eta, other.eta, atol=1e-8)
    np.testing.assert_allclose(one.information, other.information, rtol=1e-7)


# the optimum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bars", ["(x | a)", "(1 | a) + (1 | b)", "(x | a) + (1 | b)"])
def test_what_is_called_converged_is_a_maximum(bars):
    """Scipy's BFGS from a point 0.01 away gains nothing over it, in 30 tables that are mostly singular; to 1e-6.

    Where effects of rank one leave the likelihood flat a search may stop short, and then says so: in 1 of 30 at most.
    """
    unfinished = 0
    for seed in range(30):
        data, rng = random_table(seed, 100), np.random.default_rng(seed)
        data["y"] = rng.binomial(1, expit(0.5 * data.x + rng.normal(size=5)[data.a] * data.x))
        fit = Model(f"y ~ x + {bars}", data).fit_ml()
        likelihood, at = integrated_of(fit.design, "laplace"), fit.solution.optimum.x
        found = minimize(
            lambda x, f=likelihood.objective: tuple(-np.asarray(part) for part in f(x)),
            at + 0.01 * rng.normal(size=len(at)), jac=True, method="BFGS", options={"gtol": 1e-7},
        )  # fmt: skip
        unfinished += not fit.converged
        assert -found.fun < fit.loglik + 1e-6 or not fit.converged
    assert unfinished <= 1


# recovery -------------------------------------------------------------------------------------------------------

TRUTH = {
    "scalar": ("y ~ x + (1 | a)", "bernoulli", [0.9], 9),
    "slopes": ("y ~ x + (x | a)", "bernoulli", [0.9, 0.3, 0.5], 5),
    "crossed": ("y ~ x + (1 | a) + (1 | b)", "bernoulli", [0.8, 0.6], 1),
    "counts": ("y ~ x + (x | a)", "poisson", [0.5, 0.2, 0.3], 1),
    "linear": ("y ~ x + (x | a) + (1 | b)", "gaussian", [0.9, 0.3, 0.5, 0.7], 1),
}
"""Formula, family, θ of the simulation (λ by columns), points."""


@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_simulated_parameters_are_recovered(name, seed):
    """150 groups of 20: every coefficient and entry of λ within 4 standard errors (1 in 16,000 each, were it chance)."""
    formula, family, theta, points = TRUTH[name]
    rng = np.random.default_rng(seed)
    n = 3000
    a, b, x = rng.permutation(np.arange(n) % 150), rng.integers(0, 40, n), rng.normal(size=n)
    if "x | a" in formula:
        own = rng.normal(size=(150, 2)) @ np.array([[theta[0], 0.0], [theta[1], theta[2]]]).T
        eta = 0.3 - 0.5 * x + own[a, 0] + own[a, 1] * x
    else:
        eta = 0.3 - 0.5 * x + theta[0] * rng.normal(size=150)[a]
    if "| b" in formula:
        eta = eta + theta[-1] * rng.normal(size=40)[b]
    y = {
        "bernoulli": lambda: rng.binomial(1, expit(eta)),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "gaussian": lambda: rng.normal(eta, 1.2),
    }[family]()
    solution = Model(formula, pd.DataFrame({"y": y, "x": x, "a": a, "b": b}), family).fit_ml(points).solution
    found, expected = np.concatenate([solution.beta, solution.theta]), np.array([0.3, -0.5, *theta])
    if family == "gaussian":
        found, expected = np.append(found, solution.sigma), np.append(expected, 1.2)
    assert np.max(np.abs(found - expected) / np.sqrt(np.diag(solution.covariance))) < 4.0
