"""The linear mixed model against lme4 and glmmTMB, dense matrices, least squares and its invariances."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from bayesmlm.errors import FitError
from bayesmlm.laplace.covariance import factors
from bayesmlm.ml import glm
from bayesmlm.ml import linear as linear_model
from bayesmlm.ml.penalty import Penalty
from bayesmlm.model import Model
from tests.likelihood_reference import REFERENCE, check_effects, check_errors, check_estimates, fit_of, table_of
from tests.structures import by_differences

SLOW = pytest.mark.slow
LINEAR = [
    pytest.param(name, arm, marks=SLOW if name == "insteval" else ())
    for name, entry in REFERENCE.items()
    if entry["family"] == "gaussian"
    for arm in entry["arms"]
]
OF_LME4 = [parameters for parameters in LINEAR if "lme4" in parameters.values[1]]


# lme4 and glmmTMB -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "arm"), LINEAR)
def test_estimates_are_those_of_the_reference(name, arm):
    """By ML and REML: sleepstudy, Pastes, Penicillin, InstEval, NHANES; weights; a variance of zero."""
    check_estimates(name, arm)


@pytest.mark.parametrize(("name", "arm"), LINEAR)
def test_standard_errors_are_those_of_the_reference(name, arm):
    """lme4's of coefficients, given the variances; glmmTMB's of sds and σ."""
    check_errors(name, arm)


@pytest.mark.parametrize("arm", ["lme4_ml", "lme4_reml"])
@pytest.mark.parametrize("name", ["sleep", "sleep_uncorrelated"])
def test_conditional_modes_and_variances_are_lme4s(name, arm):
    check_effects(name, arm)


@pytest.mark.parametrize("arm", ["lme4_ml", "lme4_reml"])
def test_a_variance_of_zero_is_exactly_zero(arm):
    fit = fit_of("singular_gaussian", arm)
    assert fit.varcorr().sd[0] == 0.0
    assert any("The fit is singular: the standard deviation of Intercept between g is zero." in n for n in fit.notes)
    plain = Model("z ~ x", table_of("singular"), "gaussian").fit_ml(reml=arm == "lme4_reml")
    assert fit.loglik == pytest.approx(plain.loglik, abs=1e-10)
    np.testing.assert_allclose(fit.fixef(), plain.fixef(), rtol=1e-12)


# dense matrices ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """90 rows, two groupings, weights, frequencies and an offset."""
    rng = np.random.default_rng(8)
    n = 90
    a, b, x = rng.integers(0, 9, n), rng.integers(0, 5, n), rng.normal(size=n)
    own, other = rng.normal(size=(9, 2)) @ [[1.0, 0.4], [0.0, 0.6]], rng.normal(size=5)
    y = 2.0 + 0.5 * x + own[a, 0] + own[a, 1] * x + other[b] + 0.8 * rng.normal(size=n)
    return pd.DataFrame(
        {"y": y, "x": x, "z": rng.normal(size=n), "a": a, "b": b, "o": rng.normal(size=n),
         "w": rng.uniform(0.5, 2.0, n), "reps": rng.integers(1, 4, n)}
    )  # fmt: skip


FORMULAS = ["y ~ x + (1 | a)", "y ~ x + (x | a)", "y ~ x + (x || a)", "y ~ x + z + (x | a) + (1 | b)"]


def dense(fit):
    """(X, Z, G, R): design matrices, covariance of all group effects, and of the residuals."""
    design, solution = fit.design, fit.solution
    columns, blocks = [], []
    for group, lam in zip(
        design.groups, factors(solution.theta, tuple(len(g.terms) for g in design.groups)), strict=True
    ):
        Z = np.zeros((design.nobs, group.n_levels, len(lam)))
        Z[np.arange(design.nobs), group.codes] = group.z
        columns.append(Z.reshape(design.nobs, -1))
        blocks.extend([lam @ lam.T] * group.n_levels)
    from scipy.linalg import block_diag

    return design.X, np.hstack(columns), block_diag(*blocks), np.diag(fit.sigma**2 / design.weights)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_likelihood_is_a_normal_density(formula, table):
    """At the estimates, with every constant, weights and an offset, by scipy: to 1e-8."""
    fit = Model(formula, table, "gaussian", weights="w", offset="o").fit_ml()
    X, Z, G, R = dense(fit)
    expected = multivariate_normal.logpdf(table.y, X @ fit.fixef() + table.o, Z @ G @ Z.T + R)
    assert fit.loglik == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("formula", FORMULAS)
def test_effects_and_their_errors_are_the_dense_ones(formula, reml, table):
    """GZ'V⁻¹(y − Xβ), (Z'R⁻¹Z + G⁻¹)⁻¹, −GZ'V⁻¹X and (X'V⁻¹X)⁻¹ (Henderson), to 1e-6; fitted values go with them."""
    fit = Model(formula, table, "gaussian", weights="w").fit_ml(reml=reml)
    X, Z, G, R = dense(fit)
    solution, inverse = fit.solution, np.linalg.inv(Z @ G @ Z.T + R)
    residual = table.y - X @ fit.fixef()
    effects = G @ Z.T @ inverse @ residual
    np.testing.assert_allclose(np.concatenate([m.ravel() for m in solution.modes]), effects, rtol=1e-6, atol=1e-8)
    slopes = np.vstack([s.reshape(-1, X.shape[1]) for s in solution.sensitivities])
    np.testing.assert_allclose(slopes, -G @ Z.T @ inverse @ X, rtol=1e-6, atol=1e-8)
    spread, at = G - G @ Z.T @ inverse @ Z @ G, 0
    for block in (V for part in solution.mode_covariances for V in part):
        k = len(block)
        np.testing.assert_allclose(block, spread[at : at + k, at : at + k], rtol=1e-6, atol=1e-9)
        at += k
    for kind in ("hessian", "conditional"):
        np.testing.assert_allclose(fit.vcov(kind), np.linalg.inv(X.T @ inverse @ X), rtol=1e-6)
    np.testing.assert_allclose(fit.fitted(), X @ fit.fixef() + Z @ effects, rtol=1e-7)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("formula", FORMULAS)
def test_errors_of_variances_are_of_the_curvature(formula, reml, table):
    """Of (θ, σ) with β at its best, by fourth-order differences of the dense likelihood: to 1e-3, as errors are read."""
    fit = Model(formula, table, "gaussian", weights="w").fit_ml(reml=reml)
    columns = tuple(len(g.terms) for g in fit.design.groups)
    X, Z, _, _ = dense(fit)
    n, p = X.shape
    y, w = table.y.to_numpy(), table.w.to_numpy()

    def loglik(parameters):
        parts = [
            np.kron(np.eye(group.n_levels), lam)
            for group, lam in zip(fit.design.groups, factors(parameters[:-1], columns), strict=True)
        ]
        at, V = 0, np.diag(parameters[-1] ** 2 / w)
        for part in parts:
            M = Z[:, at : at + len(part)] @ part
            V, at = V + M @ M.T, at + len(part)
        inverse = np.linalg.inv(V)
        information = X.T @ inverse @ X
        r = y - X @ np.linalg.solve(information, X.T @ inverse @ y)
        value = np.linalg.slogdet(V)[1] + r @ inverse @ r + (n - p * reml) * np.log(2 * np.pi)
        return -0.5 * (value + reml * np.linalg.slogdet(information)[1])

    at = np.append(fit.solution.theta, fit.sigma)
    assert fit.loglik == pytest.approx(loglik(at), abs=1e-8)
    h = 1e-3
    H = np.array(
        [
            (by_differences(loglik, at + h * e, h) - by_differences(loglik, at - h * e, h)) / (2 * h)
            for e in np.eye(len(at))
        ]
    )
    errors = np.sqrt(np.diag(np.linalg.inv(-H)))
    np.testing.assert_allclose(np.sqrt(np.diag(fit.solution.covariance)[p:]), errors, rtol=1e-3)


@given(seed=st.integers(0, 999), formula=st.sampled_from(FORMULAS), reml=st.booleans())
@settings(max_examples=20)
def test_gradients_are_exact(seed, formula, reml, table):
    """Profiled, with nothing profiled out, and with priors: fourth-order differences, good to 1e-8 of the scale."""
    design = Model(formula, table, "gaussian", weights="w", freq="reps").design
    linear = linear_model.read_linear(design, glm.read_rows(design))
    rng = np.random.default_rng(seed)
    size = sum(k * (k + 1) // 2 for k in linear.columns)
    # Away from 0, where the logarithm of a prior is no polynomial.
    theta = rng.choice([-1.0, 1.0], size) * rng.uniform(0.3, 1.5, size)
    at = np.concatenate([linear.centre + 0.5 * rng.normal(size=len(linear.centre)), theta, [0.3 * rng.normal()]])
    for objective, x in (
        (linear_model.profiled(linear, reml), theta),
        (linear_model.full_likelihood(design), at),
        (linear_model.unprofiled(linear, Penalty.of(design)), at),
    ):
        exact = objective(x)[1]
        numeric = by_differences(lambda v, f=objective: f(v)[0], x)
        np.testing.assert_allclose(exact, numeric, rtol=0, atol=1e-6 * max(np.abs(exact).max(), 1.0))


# least squares ----------------------------------------------------------------------------------------------------


def test_without_groups_it_is_least_squares(table):
    """By ML σ̂² divides by n, by REML by n − p (R's lm)."""
    ols = sm.OLS(table.y - table.o, sm.add_constant(table[["x", "z"]])).fit()
    ml, reml = (Model("y ~ x + z + offset(o)", table, "gaussian").fit_ml(reml=r) for r in (False, True))
    for fit in (ml, reml):
        np.testing.assert_allclose(fit.fixef(), ols.params, rtol=1e-10)
        assert fit.converged
    assert ml.loglik == pytest.approx(ols.llf, rel=1e-12)
    assert ml.sigma**2 == pytest.approx(ols.ssr / 90, rel=1e-12)
    assert reml.sigma**2 == pytest.approx(ols.scale, rel=1e-12)
    np.testing.assert_allclose(reml.vcov(), ols.cov_params(), rtol=1e-9)
    np.testing.assert_allclose(ml.vcov(), ols.cov_params() * 87 / 90, rtol=1e-9)
    sigma = ml.table().set_index("component").loc["residual"]
    assert sigma.std_error == pytest.approx(ml.sigma / np.sqrt(2 * 90), rel=1e-9)
    # −½ [log |X'X| + (n − p)(1 + log 2πσ̂²)].
    by_hand = -0.5 * (np.linalg.slogdet(reml.design.X.T @ reml.design.X)[1] + 87 * (1 + np.log(2 * np.pi * ols.scale)))
    assert reml.loglik == pytest.approx(by_hand, rel=1e-12)
    assert (ml.df_model, ml.nobs) == (4, 90)


def test_without_groups_and_with_weights_it_is_weighted_least_squares(table):
    wls = sm.WLS(table.y, sm.add_constant(table[["x", "z"]]), weights=table.w).fit()
    fit = Model("y ~ x + z", table, "gaussian", weights="w").fit_ml()
    np.testing.assert_allclose(fit.fixef(), wls.params, rtol=1e-10)
    assert fit.loglik == pytest.approx(wls.llf, rel=1e-12)
    np.testing.assert_allclose(fit.vcov(), wls.cov_params() * 87 / 90, rtol=1e-9)


def test_the_null_deviance_is_of_the_mean(table):
    fit = Model("y ~ x + (1 | a)", table, "gaussian", weights="w", offset="o").fit_ml(reml=True)
    null = sm.WLS(table.y - table.o, np.ones(90), weights=table.w).fit()
    assert fit.null_deviance == pytest.approx(-2 * null.llf, rel=1e-12)


# invariances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reml", [False, True])
@given(scale=st.floats(1e-4, 1e4), shift=st.floats(-1e3, 1e3), formula=st.sampled_from(FORMULAS))
@settings(max_examples=8)
def test_scale_and_place_of_the_response(reml, scale, shift, formula, table):
    """For y' = scale (y + shift) all effects and sds are times the scale, log L less n log scale (n − p by REML).

    To 1e-6 relative to the scale, less what a shift takes from the response's digits.
    """
    a = Model(formula, table, "gaussian").fit_ml(reml=reml)
    b = Model(formula, table.assign(y=scale * (table.y + shift)), "gaussian").fit_ml(reml=reml)
    p = len(a.fixef())
    assert b.loglik + (90 - p * reml) * np.log(scale) == pytest.approx(a.loglik, abs=1e-7)
    np.testing.assert_allclose(b.fixef() / scale, a.fixef() + np.eye(p)[0] * shift, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(b.solution.theta, scale * a.solution.theta, rtol=0, atol=2e-6 * scale)
    assert b.sigma == pytest.approx(scale * a.sigma, rel=1e-6)
    np.testing.assert_allclose(np.diag(b.vcov()), scale**2 * np.diag(a.vcov()), rtol=1e-5)
    np.testing.assert_allclose(b.ranef().estimate, scale * a.ranef().estimate, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("reml", [False, True])
@given(scale=st.floats(1e-4, 1e4), shift=st.floats(-100, 100))
@settings(max_examples=8)
def test_scale_and_place_of_a_column(reml, scale, shift, table):
    """A slope and its sd divide by the scale, the intercept gives up slope × shift; REML counts the scale once.

    The covariance of the shifted intercept is nearly singular, hence the fit's own 1e-6.
    """
    a = Model("y ~ x + (x | a)", table, "gaussian").fit_ml(reml=reml)
    b = Model("y ~ x + (x | a)", table.assign(x=scale * (table.x + shift)), "gaussian").fit_ml(reml=reml)
    assert b.loglik + reml * np.log(scale) == pytest.approx(a.loglik, abs=1e-6)
    assert b.fixef()["x"] * scale == pytest.approx(a.fixef()["x"], abs=1e-5)
    assert b.varcorr().sd[1] * scale == pytest.approx(a.varcorr().sd[1], abs=1e-5)
    assert b.sigma == pytest.approx(a.sigma, rel=1e-5)
    np.testing.assert_allclose(b.fitted(), a.fitted(), atol=1e-5)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("formula", FORMULAS)
def test_frequencies_are_replicated_rows(formula, reml, table):
    a = Model(formula, table, "gaussian", freq="reps", weights="w").fit_ml(reml=reml)
    b = Model(formula, table.loc[table.index.repeat(table.reps)], "gaussian", weights="w").fit_ml(reml=reml)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-8)
    assert (a.nobs, a.aic, a.bic) == (b.nobs, pytest.approx(b.aic, abs=1e-7), pytest.approx(b.bic, abs=1e-7))
    np.testing.assert_allclose(a.table(ranef=True).estimate, b.table(ranef=True).estimate, atol=1e-6)
    np.testing.assert_allclose(a.table(ranef=True).std_error, b.table(ranef=True).std_error, rtol=1e-3)


@pytest.mark.parametrize("reml", [False, True])
def test_a_constant_weight_is_a_unit_of_the_residual(reml, table):
    """σ² / w with w = 4 throughout: σ doubles, everything else, the likelihood included, is as it was."""
    a = Model("y ~ x + (x | a)", table, "gaussian").fit_ml(reml=reml)
    b = Model("y ~ x + (x | a)", table, "gaussian", weights=np.full(90, 4.0)).fit_ml(reml=reml)
    assert b.loglik == pytest.approx(a.loglik, abs=1e-9)
    assert b.sigma == pytest.approx(2 * a.sigma, rel=1e-6)
    np.testing.assert_allclose(b.solution.theta, a.solution.theta, atol=1e-6)
    np.testing.assert_allclose(b.fixef(), a.fixef(), rtol=1e-7)


def test_points_of_quadrature_do_not_matter(table):
    """The integral is exact without."""
    fits = [Model("y ~ x + (x | a)", table, "gaussian").fit_ml(n_agq=points) for points in (0, 1, 9)]
    assert fits[0].loglik == fits[1].loglik == fits[2].loglik


# what cannot be fitted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bar", ["", " + (1 | a)"])
@pytest.mark.parametrize("method", ["fit_ml", "fit_map"])
def test_a_response_without_residuals_is_refused(method, bar, table):
    exact = table.assign(y=1.0 + 2.0 * table.x)
    with pytest.raises(FitError, match=r'the response "y" is determined exactly by the fixed effects'):
        getattr(Model(f"y ~ x{bar}", exact, "gaussian"), method)()


def test_more_coefficients_than_rows_are_refused(table):
    with pytest.raises(FitError, match="3 fixed effects and 3 observations leave nothing to estimate σ from"):
        Model("y ~ x + z", table.iloc[:3], "gaussian").fit_ml()


def test_rows_of_no_weight_are_refused_by_number(table):
    with pytest.raises(FitError, match=r"weights are zero in row 4 \(counting from 0\)"):
        Model(
            "y ~ x + (1 | a)", table.assign(w=np.where(np.arange(90) == 4, 0.0, 1.0)), "gaussian", weights="w"
        ).fit_ml()
