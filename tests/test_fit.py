"""The result protocol: tables, residuals, variance shares."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import gamma, norm, t

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, wald_limits
from bayesmlm.ml.fit import MAPFit
from bayesmlm.ml.store import solution_from_json, solution_to_json
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


# gaussian models ------------------------------------------------------------------------------------------------

LME4 = {
    True: {
        "loglik": -871.814135979245, "aic": 1755.62827195849, "bic": 1774.78601306383, "sigma": 25.5918157233817,
        "fixef": [251.405104848483, 10.4672859595959], "se": [6.82455604121538, 1.54578896389682],
        "sd": [24.7404489926633, 5.92213341628672],
    },
    False: {
        "loglik": -875.969672231599, "aic": 1763.9393444632, "bic": 1783.09708556854, "sigma": 25.5918157882063,
        "fixef": [251.405104848485, 10.467285959596], "se": [6.63227636728567, 1.50223680456796],
        "sd": [23.7805647316241, 5.716834639008],
    },
}  # fmt: skip
"""lme4 1.1-31 (R 4.2.2), lmer(Reaction ~ Days + (1 + Days | Subject)) by REML and ML, bobyqa at tight tolerances."""


@pytest.fixture(scope="module")
def sleep(sleepstudy):
    return Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian", name="sleep")


@pytest.fixture(scope="module")
def reml(sleep):
    return sleep.fit_ml(reml=True)


@pytest.mark.parametrize("by_reml", [True, False])
def test_a_gaussian_table_is_lme4s(sleep, by_reml):
    fit, expected = sleep.fit_ml(reml=by_reml), LME4[by_reml]
    table = fit.table()
    assert table.component.tolist() == ["fixed", "fixed", "sd", "sd", "cor", "residual"]
    assert table.iloc[-1][["group", "term", "level"]].tolist() == ["", "sigma", ""]
    # lme4's optimiser leaves variances good to some 1e-7.
    np.testing.assert_allclose(table.estimate[:2], expected["fixef"], rtol=1e-9)
    np.testing.assert_allclose(table.std_error[:2], expected["se"], rtol=1e-6)
    np.testing.assert_allclose(table.estimate[2:4], expected["sd"], rtol=1e-6)
    assert table.estimate.iloc[-1] == fit.sigma == pytest.approx(expected["sigma"], rel=1e-7)
    assert table.p_value[2:].isna().all()
    assert table.p_value[1] == pytest.approx(2 * norm.sf(table.statistic[1]))
    for name in ("loglik", "aic", "bic"):
        assert getattr(fit, name) == pytest.approx(expected[name], abs=1e-6)
    assert (fit.df_model, fit.df_resid) == (6, 174)


def test_a_limit_of_sigma_is_not_negative(toy):
    fit = Model("z ~ 1", toy[:3], family="gaussian").fit_ml()
    assert fit.table(level=0.9999).conf_low.iloc[-1] == 0.0
    assert fit.table(level=0.5).conf_low.iloc[-1] > 0.0


def test_the_residual_ends_varcorr(reml, sleepstudy):
    varcorr = reml.varcorr()
    assert varcorr.columns.tolist() == ["group", "term", "variance", "sd", "correlation"]
    assert varcorr[["group", "term"]].values.tolist()[2:] == [["Subject", "Intercept,Days"], ["Residual", ""]]
    assert varcorr.variance.iloc[-1] == pytest.approx(reml.sigma**2)
    assert np.isnan(varcorr.correlation.iloc[-1])
    plain = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian").fit_ml().varcorr()
    assert plain.columns.tolist() == ["group", "term", "variance", "sd"]


def test_facts_of_reml(reml, sleep, fit):
    assert reml.reml_criterion == reml.deviance == -2 * reml.loglik
    assert "by REML" in repr(reml)
    assert "REML" not in repr(sleep.fit_ml())
    for other in (sleep.fit_ml(), fit):
        with pytest.raises(FitError, match=r"was not fitted by REML .* fit\.deviance"):
            other.reml_criterion  # noqa: B018
    assert np.isnan(fit.sigma)


@pytest.mark.parametrize("by_reml", [True, False])
def test_a_linear_model_is_statsmodels(by_reml, toy):
    fit = Model("z ~ x + f", toy, family="gaussian", weights="w").fit_ml(reml=by_reml)
    oracle = sm.WLS(toy.z, fit.design.X, toy.w).fit()
    rss = oracle.scale * oracle.df_resid
    np.testing.assert_allclose(fit.fixef(), oracle.params, rtol=1e-9)
    assert fit.sigma**2 == pytest.approx(rss / (oracle.df_resid if by_reml else 120))
    np.testing.assert_allclose(np.diag(fit.vcov()), fit.sigma**2 * np.diag(oracle.normalized_cov_params))
    if not by_reml:
        assert fit.loglik == pytest.approx(oracle.llf)
    np.testing.assert_allclose(fit.residuals("response"), oracle.resid)
    for kind in ("pearson", "deviance"):
        np.testing.assert_allclose(fit.residuals(kind), oracle.wresid)


def test_predictions_and_modes_are_lme4s(reml, sleepstudy):
    """Of lme4 1.1-31: predict(f), ranef(f, condVar = TRUE)."""
    np.testing.assert_allclose(reml.fitted()[:3], [253.663670349, 273.329928213, 292.996186077], rtol=1e-8)
    first = reml.ranef().iloc[:2]
    np.testing.assert_allclose(first.estimate, [2.25856550059, 9.19897190423], rtol=1e-6)
    np.testing.assert_allclose(first.std_error, [12.07083650735, 2.30483697815], rtol=1e-6)
    day = pd.DataFrame({"Days": [4.0], "Subject": ["nobody"]})
    x = np.array([1.0, 4.0])
    typical = reml.predict(day, estimand="typical")
    assert typical.estimate[0] == pytest.approx(x @ reml.fixef())
    assert typical.std_error[0] == pytest.approx(np.sqrt(x @ reml.vcov().to_numpy() @ x))
    # The mean over subjects is that of a typical one; a new subject's own is far less certain.
    for estimand in ("population", "conditional"):
        np.testing.assert_allclose(reml.predict(day, estimand=estimand), typical)
    wide = reml.predict(day, kind="link")
    sd, cor = reml.varcorr().sd[:2].to_numpy(), reml.varcorr().correlation[2]
    between = sd[0] ** 2 + 16 * sd[1] ** 2 + 8 * cor * sd[0] * sd[1]
    assert wide.std_error[0] == pytest.approx(np.sqrt(typical.std_error[0] ** 2 + between))


# notes on how a fit was made --------------------------------------------------------------------------------------


def test_notes_say_what_is_approximate(contraception, toy):
    logit = Model("use ~ age + (1 | district)", contraception)
    assert any("n_agq = 0" in note and "given the variances" in note for note in logit.fit_ml(n_agq=0).notes)
    assert not any("n_agq" in note for note in logit.fit_ml().notes)
    # With the canonical link there is one information only, and without groups nothing is approximated.
    probit = Model("y ~ x + (1 | h)", toy, link="probit")
    assert any('information="observed"' in note for note in probit.fit_ml(information="expected").notes)
    for quiet in (
        probit.fit_ml(),
        logit.fit_ml(information="expected"),
        Model("y ~ x", toy, link="probit").fit_ml(information="expected"),
    ):
        assert not any("information" in note for note in quiet.notes)


# posterior modes --------------------------------------------------------------------------------------------------

FLAT = {"Intercept": "flat()", "fixed": "flat()", "sd": "flat()"}
CASES = {
    "logit": ("use ~ age + urban + (1 | district)", "contraception", {}),
    "gaussian": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"family": "gaussian"}),
}


@pytest.mark.parametrize("case", CASES)
def test_with_flat_priors_the_mode_is_the_maximum(case, request):
    formula, data, keywords = CASES[case]
    priors = FLAT | ({"sigma": "flat()"} if case == "gaussian" else {})
    model = Model(formula, request.getfixturevalue(data), priors=priors, **keywords)
    mode, ml = model.fit_map(), model.fit_ml()
    np.testing.assert_allclose(mode.table().estimate, ml.table().estimate, rtol=1e-7)
    assert (mode.log_prior, mode.log_posterior) == (0.0, mode.loglik)
    assert mode.loglik == pytest.approx(ml.loglik, abs=1e-8)


def test_a_mode_says_what_it_is(sleep):
    mode = sleep.fit_map()
    assert isinstance(mode, MAPFit)
    assert mode.engine == mode.table().attrs["engine"] == "map"
    assert mode.table().attrs["interval"] == "95% normal, from the curvature of the log-posterior"
    assert mode.predict().attrs["interval"] == mode.table().attrs["interval"]
    assert mode.log_posterior == mode.loglik + mode.log_prior
    assert mode.loglik < sleep.fit_ml().loglik
    assert any("AIC and BIC" in note and "not its maximum" in note for note in mode.notes)
    assert not any("has no maximum" in note for note in mode.notes)
    assert repr(mode).startswith("<MAPFit sleep: ")


def test_the_log_prior_is_of_the_users_scale(contraception):
    mode = Model("use ~ age + (1 | district)", contraception, priors={"age": "normal(0, 0.01)"}).fit_map()
    (b0, b1), sd = mode.fixef(), mode.varcorr().sd[0]
    expected = t.logpdf(b0 + b1 * contraception.age.mean(), 3, 0, 2.5) + norm.logpdf(b1, 0, 0.01)
    assert mode.log_prior == pytest.approx(expected + gamma.logpdf(sd, 2, scale=10))
    # A tight prior draws its coefficient towards zero.
    assert abs(b1) < 0.9 * abs(mode.model.fit_ml().fixef()["age"])


@pytest.mark.parametrize("formula", ["y ~ x", "y ~ x + (1 | g)", "one ~ z + (1 | g)"])
def test_priors_alone_keep_a_mode_finite(formula, toy):
    """Where x separates the answers, or all answers are one, maximum likelihood refuses."""
    model = Model(formula, toy.assign(y=(toy.x > 0).astype(int), one=1))
    with pytest.raises(FitError, match="has no maximum"):
        model.fit_ml()
    mode = model.fit_map()
    assert mode.converged
    assert np.isfinite(mode.table().estimate).all()
    assert any("priors alone keep the estimates finite" in note for note in mode.notes)
    assert np.isnan(mode.null_deviance) == (formula[:3] == "one")


def test_a_solution_survives_its_file(sleep, reml):
    for fit in (sleep.fit_map(), reml):
        again = type(fit)(fit.model, solution_from_json(solution_to_json(fit.solution)))
        pd.testing.assert_frame_equal(again.table(ranef=True), fit.table(ranef=True), check_exact=True)
        pd.testing.assert_frame_equal(again.predict(), fit.predict(), check_exact=True)
        assert again.summary() == fit.summary()
        assert again.solution.reml == fit.solution.reml
        np.testing.assert_equal(again.solution.log_prior, fit.solution.log_prior)
