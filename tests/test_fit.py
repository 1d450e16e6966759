"""The result protocol: tables, residuals, variance shares."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, wald_limits
from bayesmlm.model import Model


@pytest.fixture(scope="module")
def fit(contraception):
    return Model("use ~ age + urban + (urban | district)", contraception, name="slopes").fit_ml()


def test_the_table_has_its_columns_and_rows(fit):
    table = fit.table()
    assert list(table.columns) == [
        "component", "group", "term", "level", "estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value",
    ]  # fmt: skip
    assert table[["component", "group", "term"]].to_numpy().tolist() == [
        ["fixed", "", "Intercept"],
        ["fixed", "", "age"],
        ["fixed", "", "urban[Y]"],
        ["sd", "district", "Intercept"],
        ["sd", "district", "urban[Y]"],
        ["cor", "district", "Intercept,urban[Y]"],
    ]
    assert table.level.tolist() == [""] * 6
    assert table.p_value[table.component != "fixed"].isna().all()
    assert "95% Wald" in table.attrs["interval"]
    assert table.attrs["estimand"]


def test_ranef_rows_follow_on_request(fit):
    table = fit.table(ranef=True)
    rows = table[table.component == "ranef"]
    assert len(table) == 6 + 120
    assert len(rows) == 120
    assert rows.term.tolist()[:2] == ["Intercept", "urban[Y]"]
    assert rows.level.tolist()[:4] == ["1", "1", "2", "2"]
    effects = fit.ranef()
    assert list(effects.columns) == ["group", "term", "level", "estimate", "std_error"]
    np.testing.assert_array_equal(effects.estimate, rows.estimate)


def test_intervals_statistics_and_p_values_of_fixed_effects(fit):
    table = fit.table(level=0.9)
    fixed = table[table.component == "fixed"]
    z = norm.ppf(0.95)
    np.testing.assert_allclose(fixed.conf_low, fixed.estimate - z * fixed.std_error)
    np.testing.assert_allclose(fixed.conf_high, fixed.estimate + z * fixed.std_error)
    np.testing.assert_allclose(fixed.statistic, fixed.estimate / fixed.std_error)
    np.testing.assert_allclose(fixed.p_value, 2 * norm.sf(np.abs(fixed.statistic)))
    limits = table[table.component == "cor"].iloc[0]
    assert -1.0 <= limits.conf_low <= limits.conf_high <= 1.0
    assert (table[table.component == "sd"].conf_low >= 0.0).all()


def test_views_of_the_table_agree(fit):
    table = fit.table()
    assert fit.fixef().index.tolist() == ["Intercept", "age", "urban[Y]"]
    np.testing.assert_array_equal(fit.fixef(), table.estimate[:3])
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov())), table.std_error[:3])
    assert fit.vcov().index.tolist() == fit.vcov().columns.tolist() == fit.fixef().index.tolist()
    correlation = fit.correlation()
    np.testing.assert_allclose(np.diag(correlation), 1.0)
    np.testing.assert_allclose(
        correlation.iloc[0, 2], fit.vcov().iloc[0, 2] / np.sqrt(fit.vcov().iloc[0, 0] * fit.vcov().iloc[2, 2])
    )
    varcorr = fit.varcorr()
    assert varcorr.term.tolist() == ["Intercept", "urban[Y]", "Intercept,urban[Y]"]
    np.testing.assert_array_equal(varcorr.sd[:2], table.estimate[3:5])
    np.testing.assert_allclose(varcorr.variance[:2], varcorr.sd[:2] ** 2)
    assert varcorr.correlation[2] == table.estimate[5]
    np.testing.assert_array_equal(fit.confint().conf_low, table.conf_low)


def test_a_covariance_given_the_variances_is_narrower(fit):
    wide, narrow = np.diag(fit.vcov()), np.diag(fit.vcov("conditional"))
    assert np.all(narrow <= wide * (1 + 1e-6))
    with pytest.raises(FitError, match='"hessian" and "conditional", not "sandwich"'):
        fit.vcov("sandwich")


def test_facts(fit, contraception):
    assert isinstance(fit, Fit)
    assert (fit.nobs, fit.df_model, fit.df_resid) == (1934, 6, 1928)
    assert fit.aic == pytest.approx(-2 * fit.loglik + 12)
    assert fit.bic == pytest.approx(-2 * fit.loglik + 6 * np.log(1934))
    assert fit.name == "slopes"
    assert "slopes" in repr(fit)
    assert 'The response counts use = "Y".' in fit.notes


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.5])
def test_levels_lie_between_zero_and_one(fit, level):
    with pytest.raises(FitError, match="level should lie between 0 and 1"):
        fit.table(level=level)


def test_what_confint_does_not_know_is_named(fit):
    with pytest.raises(FitError, match="bootstap"):
        fit.confint(method="bootstap")


def test_wald_limits():
    low, high = wald_limits(np.array([1.0]), np.array([2.0]), 0.95)
    assert (low[0], high[0]) == (pytest.approx(1 - 3.919928), pytest.approx(1 + 3.919928))


# residuals ----------------------------------------------------------------------------------------------------

KINDS = {"pearson": "resid_pearson", "deviance": "resid_deviance", "response": "resid_response"}


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_of_binary_answers(kind, toy):
    fit = Model("y ~ x + f", toy).fit_ml()
    oracle = sm.GLM(toy.y, fit.design.X, sm.families.Binomial()).fit(tol=1e-12)
    np.testing.assert_allclose(fit.residuals(kind), getattr(oracle, KINDS[kind]), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_of_counts_of_successes(kind, toy):
    fit = Model("cbind(s, n - s) ~ x + f", toy, family="binomial").fit_ml()
    oracle = sm.GLM(np.column_stack([toy.s, toy.n - toy.s]), fit.design.X, sm.families.Binomial()).fit(tol=1e-12)
    # A response residual is per trial, as R's; statsmodels counts successes.
    expected = getattr(oracle, KINDS[kind]) / (toy.n if kind == "response" else 1.0)
    np.testing.assert_allclose(fit.residuals(kind), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_residuals_of_counts(kind, toy):
    fit = Model("count ~ x + f", toy, family="poisson").fit_ml()
    oracle = sm.GLM(toy["count"], fit.design.X, sm.families.Poisson()).fit(tol=1e-12)
    np.testing.assert_allclose(fit.residuals(kind), getattr(oracle, KINDS[kind]), atol=1e-6)


def test_residuals_of_rows_without_trials_are_missing_not_an_error(toy):
    data = toy.assign(n=np.where(np.arange(120) < 2, 0, toy.n))
    data["s"] = np.minimum(data.s, data.n)
    fit = Model("cbind(s, n - s) ~ x", data, family="binomial").fit_ml()
    for kind in KINDS:
        assert np.isfinite(fit.residuals(kind)[2:]).all()


def test_residuals_that_do_not_exist(fit):
    with pytest.raises(FitError, match='no "persson" residuals; did you mean "pearson"'):
        fit.residuals("persson")


# variance shares ------------------------------------------------------------------------------------------------


def test_r2_and_icc_by_hand(contraception):
    """Nakagawa & Schielzeth (2013) with the residual variance π²/3 of the logit."""
    fit = Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", contraception).fit_ml()
    fixed = np.var(fit.design.X @ fit.fixef().to_numpy())
    between = fit.varcorr().variance[0]
    residual = np.pi**2 / 3
    assert fit.r2()["marginal"] == pytest.approx(fixed / (fixed + between + residual))
    assert fit.r2()["conditional"] == pytest.approx((fixed + between) / (fixed + between + residual))
    assert fit.icc()["urban:district"] == pytest.approx(between / (between + residual))
    assert fit.r2().round(2).tolist() == [0.12, 0.20]
    assert fit.icc().round(2).tolist() == [0.09]


def test_icc_of_a_slope_is_the_mean_over_rows(fit, contraception):
    z = np.column_stack([np.ones(1934), (contraception.urban == "Y").to_numpy(float)])
    sd, cor = fit.varcorr().sd[:2].to_numpy(), fit.varcorr().correlation[2]
    sigma = np.outer(sd, sd) * np.array([[1, cor], [cor, 1]])
    between = np.einsum("ia,ab,ib->i", z, sigma, z).mean()
    assert fit.icc()["district"] == pytest.approx(between / (between + np.pi**2 / 3))


def test_icc_of_uncorrelated_slopes_adds_both(toy):
    fit = Model("cbind(s, n - s) ~ x + (x || g)", toy, family="binomial").fit_ml()
    variance = fit.varcorr().variance.to_numpy()
    between = variance[0] + variance[1] * np.mean(toy.x**2)
    assert fit.icc()["g"] == pytest.approx(between / (between + np.pi**2 / 3))


def test_without_a_latent_scale_there_is_no_r2(toy):
    with pytest.raises(FitError, match="no latent residual variance"):
        Model("count ~ x + (1 | h)", toy, family="poisson").fit_ml().r2()
