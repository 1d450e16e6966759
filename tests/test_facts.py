"""Shares of variance, median odds ratios, dispersion, classification and AUC."""

import numpy as np
import pandas as pd
import pytest

from bayesmlm.errors import FitError
from bayesmlm.facts import area_under_curve, confusion, observation_variance
from bayesmlm.families import family_of
from bayesmlm.model import Model
from tests.likelihood_reference import table_of

M_05 = "use ~ age*ch + I(age^2) + urban + (1 | urban:district)"


@pytest.fixture(scope="module")
def m_04(contraception):
    return Model("use ~ age*ch + I(age^2) + urban + (1 | district)", contraception, name="m_04").fit_ml()


@pytest.fixture(scope="module")
def m_05(contraception):
    return Model(M_05, contraception, name="m_05").fit_ml()


@pytest.fixture(scope="module")
def slope(contraception):
    return Model("use ~ age + urban + (urban | district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def reml(sleepstudy):
    return Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian").fit_ml(reml=True)


@pytest.fixture(scope="module")
def posterior(contraception):
    m = Model("use ~ age + urban + (1 | district)", contraception, name="posterior")
    return m.sample(draws=300, chains=2, seed=1)


# shares of variance ---------------------------------------------------------------------------------------------


def test_the_published_shares(m_04, m_05):
    """The tutorial prints 0.12/0.18 and 0.06, 0.12/0.20 and 0.09."""
    assert m_04.r2().round(2).tolist() == [0.12, 0.18]
    assert m_05.r2().round(2).tolist() == [0.12, 0.20]
    assert m_04.icc().round(2).tolist() == [0.06]
    assert m_05.icc().round(2).tolist() == [0.09]


SHARES = [
    ("m_04", "theoretical"), ("m_04", "delta"), ("m_05", "theoretical"), ("m_05", "delta"),
    ("m_05_probit", "theoretical"), ("m_05_probit", "delta"), ("m_05_cloglog", "theoretical"),
    ("m_05_cloglog", "delta"), ("grouse", "delta"), ("grouse", "lognormal"), ("grouse", "trigamma"),
]  # fmt: skip


def fit_of(entry):
    family = "bernoulli" if entry["family"] == "binomial" else entry["family"]
    model = Model(entry["formula"], table_of(entry["data"]), family, entry["link"])
    # lme4's Laplace approximation takes the expected information.
    return model.fit_ml(information="expected" if entry["link"] in ("probit", "cloglog") else "observed")


@pytest.mark.parametrize(("name", "kind"), SHARES)
def test_shares_are_r_s(name, kind, around):
    """R, by hand at lme4's optimum, whose search is less exact where it has no canonical link."""
    entry = around["shares"][name]
    expected, fit = entry[kind], fit_of(entry)
    tolerance = 2e-5 if entry["link"] in ("probit", "cloglog") else 2e-6
    assert fit.r2(kind).tolist() == pytest.approx([expected["marginal"], expected["conditional"]], rel=tolerance)
    assert fit.icc(kind).sum() == pytest.approx(expected["icc"], rel=tolerance)


@pytest.mark.parametrize(("name", "kind"), SHARES)
def test_shares_are_near_mumin_s(name, kind, around):
    """MuMIn's fits stop at lme4's default tolerances, and its mean for the delta method is approximate."""
    entry = around["shares"][name]
    expected = entry["MuMIn"][kind]
    tolerance = 0.012 if kind == "delta" and entry["link"] != "log" else 2e-3
    assert fit_of(entry).r2(kind).tolist() == pytest.approx(
        [expected["marginal"], expected["conditional"]], rel=tolerance
    )


@pytest.mark.parametrize("name", ["m_04", "m_05", "m_05_probit", "m_05_cloglog"])
def test_shares_are_those_of_the_performance_package(name, around):
    expected, fit = around["shares"][name]["performance"], fit_of(around["shares"][name])
    assert [*fit.r2(), *fit.icc()] == pytest.approx(
        [expected["marginal"], expected["conditional"], expected["icc"]], rel=1e-5
    )


def test_shares_of_a_gaussian_model_are_mumin_s(reml, around):
    expected = around["shares"]["sleep"]["MuMIn"]
    assert reml.r2().tolist() == pytest.approx([expected["marginal"], expected["conditional"]], rel=1e-7)
    assert reml.r2().equals(reml.r2("delta"))
    assert reml.r2().attrs == {"kind": "theoretical", "residual": "σ², the residual variance"}
    assert reml.residual_variance == pytest.approx(reml.sigma**2)


def test_r2_and_icc_by_hand(m_05):
    """With the residual variance π²/3 of the logit; the fixed part's is over n − 1, as R's var()."""
    fixed = np.var(m_05.design.X @ m_05.fixef().to_numpy(), ddof=1)
    between, residual = m_05.varcorr().variance[0], np.pi**2 / 3
    total = fixed + between + residual
    assert m_05.r2().tolist() == pytest.approx([fixed / total, (fixed + between) / total])
    assert m_05.icc()["urban:district"] == pytest.approx(between / (between + residual))


def test_icc_of_a_slope_is_the_mean_over_rows(slope, contraception):
    z = np.column_stack([np.ones(1934), (contraception.urban == "Y").to_numpy(float)])
    sd, cor = slope.varcorr().sd[:2].to_numpy(), slope.varcorr().correlation[2]
    sigma = np.outer(sd, sd) * np.array([[1, cor], [cor, 1]])
    between = np.einsum("ia,ab,ib->i", z, sigma, z).mean()
    assert slope.icc()["district"] == pytest.approx(between / (between + np.pi**2 / 3))
    assert slope.mor()["district"] == pytest.approx(np.exp(np.sqrt(2 * between) * 0.6744897501960817))


def test_icc_of_uncorrelated_slopes_adds_both(toy):
    fit = Model("cbind(s, n - s) ~ x + (x || g)", toy, family="binomial").fit_ml()
    variance = fit.varcorr().variance.to_numpy()
    between = variance[0] + variance[1] * np.mean(toy.x**2)
    assert fit.icc().to_dict() == pytest.approx({"g": between / (between + np.pi**2 / 3)})


def test_frequencies_count_as_rows(toy):
    repeated = toy.loc[toy.index.repeat(toy.reps)]
    one = Model("y ~ x + f + (1 + x | h)", toy, freq="reps").fit_ml()
    many = Model("y ~ x + f + (1 + x | h)", repeated).fit_ml()
    for kind in ("theoretical", "delta"):
        assert one.r2(kind).tolist() == pytest.approx(many.r2(kind).tolist(), rel=1e-6)
        assert one.icc(kind).tolist() == pytest.approx(many.icc(kind).tolist(), rel=1e-6)
    assert one.auc() == pytest.approx(many.auc(), abs=1e-9)
    pd.testing.assert_frame_equal(one.classification().table, many.classification().table)
    assert one.dispersion().chisq == pytest.approx(many.dispersion().chisq, rel=1e-6)


def test_what_the_residual_is_stands_beside_the_shares(m_05, toy):
    assert m_05.r2().attrs == {"kind": "theoretical", "residual": "π²/3, the logit's own"}
    assert m_05.icc("observation").attrs["kind"] == "delta"
    assert "null model's mean 0.395" in m_05.r2("delta").attrs["residual"]
    counts = Model("count ~ x + (1 | h)", toy, family="poisson").fit_ml()
    assert counts.r2().attrs["kind"] == counts.r2("observation").attrs["kind"] == "trigamma"
    assert counts.r2().equals(counts.r2("trigamma"))


def test_the_null_mean_keeps_rows_offset_and_response(toy):
    """Rows that only a predictor misses stay out; an offset is averaged over; a refit's own response is used."""
    holes = toy.assign(x=toy.x.where(toy.index > 9))
    fit = Model("count ~ x + offset(o) + (1 | h)", holes, family="poisson").fit_ml()
    null = Model("count ~ 1 + offset(o) + (1 | h)", toy.iloc[10:], family="poisson").fit_ml()
    mean = np.exp(null.fixef().iloc[0] + toy.o.iloc[10:] + 0.5 * null.varcorr().variance[0]).mean()
    variances = fit.icc("delta")["h"]
    between = fit.varcorr().variance[0]
    assert variances == pytest.approx(between / (between + 1 / mean), rel=1e-6)
    again = fit.refit(toy["count"].to_numpy()[::-1])
    other = Model(
        "count ~ x + offset(o) + (1 | h)", holes.assign(count=toy["count"].to_numpy()[::-1]), family="poisson"
    )
    assert again.r2("delta").tolist() == pytest.approx(other.fit_ml().r2("delta").tolist(), rel=1e-6)


def test_observation_variances():
    """The formulas of MuMIn, written otherwise."""
    from scipy.stats import norm

    p = 0.3
    assert observation_variance(family_of("bernoulli"), p) == pytest.approx(1 / (p * (1 - p)))
    probit = 2 * np.pi * p * (1 - p) * np.exp(norm.ppf(p) ** 2)
    assert observation_variance(family_of("bernoulli", "probit"), p) == pytest.approx(probit)
    cloglog = p / ((1 - p) * np.log(1 - p) ** 2)
    assert observation_variance(family_of("bernoulli", "cloglog"), p) == pytest.approx(cloglog)
    poisson = family_of("poisson")
    assert observation_variance(poisson, 4.0) == pytest.approx(0.25)
    assert observation_variance(poisson, 4.0, "lognormal") == pytest.approx(np.log(1.25))
    assert observation_variance(poisson, 4.0, "trigamma") == pytest.approx(0.28382295573711533)


def test_a_model_without_groups_has_no_shares_of_groups(contraception):
    fit = Model("use ~ age", contraception).fit_ml()
    assert fit.r2()["marginal"] == fit.r2()["conditional"]
    assert len(fit.icc()) == len(fit.mor()) == 0


def test_a_singular_term_has_no_share(toy):
    """A standard deviation of zero leaves its correlation undefined, not the shares."""
    flat = toy.assign(y=np.tile([0, 1], 60), g=np.repeat(list("abcdef"), 20))
    fit = Model("y ~ 1 + (1 | g)", flat).fit_ml()
    assert fit.icc()["g"] == pytest.approx(0.0, abs=1e-6)
    assert fit.mor()["g"] == pytest.approx(1.0, abs=1e-3)


# odds between groups ---------------------------------------------------------------------------------------------


def test_median_odds_ratio_is_a_median(m_05):
    """Two districts drawn at random, of a person of the same age and so on."""
    rng = np.random.default_rng(8)
    u = m_05.varcorr().sd[0] * rng.normal(size=(2, 400_000))
    # Standard error of the median of |difference|, on the scale of odds, is 0.002.
    assert m_05.mor()["urban:district"] == pytest.approx(np.median(np.exp(np.abs(u[0] - u[1]))), abs=0.008)


def test_there_is_no_median_odds_ratio_without_odds(reml, toy):
    for fit in (reml, Model("y ~ x + (1 | h)", toy, link="probit").fit_ml()):
        with pytest.raises(FitError, match="the median odds ratio is of the logit link; this model is"):
            fit.mor()


# dispersion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula", "family"),
    [
        ("cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"),
        ("grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", "poisson"),
    ],
)
def test_dispersion_is_lme4_s(name, formula, family, around):
    expected = around["dispersion"][name]
    found = Model(formula, table_of(name), family).fit_ml().dispersion()
    # The conditional modes move by 1e-5 of a standard error between the optima.
    assert found.tolist() == pytest.approx([expected[k] for k in ("chisq", "df", "ratio", "p")], rel=2e-5)


def test_dispersion_of_answers_one_by_one_says_nothing(m_05, contraception):
    assert "says nothing" in m_05.dispersion().attrs["note"]


def test_dispersion_of_what_has_none_to_spare(reml):
    with pytest.raises(FitError, match="the dispersion of a gaussian model is its residual variance"):
        reml.dispersion()
    few = Model("cbind(s, f) ~ x", {"s": [1, 2], "f": [3, 1], "x": [0.0, 1.0]}).fit_ml()
    with pytest.raises(FitError, match="2 observations and 2 parameters leave no degrees of freedom"):
        few.dispersion()


# telling outcomes apart ------------------------------------------------------------------------------------------


def test_the_published_classification(m_05, around):
    """975, 399, 200 and 360 are of m_05; the tutorial's accuracies 70.96 and 64.29 are predictive values."""
    found = m_05.classification()
    expected = around["classification"]["m_05"]
    assert found.table.loc["N"].tolist() == [975, 200] == [expected["true_negatives"], expected["false_positives"]]
    assert found.table.loc["Y"].tolist() == [399, 360] == [expected["false_negatives"], expected["true_positives"]]
    assert (found.rates[["npv", "ppv"]] * 100).round(2).tolist() == [70.96, 64.29]
    assert (found.rates[["specificity", "sensitivity"]] * 100).round(2).tolist() == [82.98, 47.43]
    assert found.rates["accuracy"] == pytest.approx((975 + 360) / 1934)
    assert found.table.index.name == "observed"
    assert found.table.columns.name == "predicted"


def test_classification_of_the_smaller_model(m_04, around):
    expected = around["classification"]["m_04"]
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert m_04.classification().table.to_numpy().ravel().tolist() == [expected[name] for name in names]


@pytest.mark.parametrize("name", ["m_04", "m_05"])
def test_auc_is_r_s(name, around, request):
    assert request.getfixturevalue(name).auc() == pytest.approx(around["classification"][name]["auc"], abs=2e-6)


def test_auc_of_another_estimand_is_of_its_probabilities(m_05, contraception):
    y = (contraception.use == "Y").to_numpy(float)
    p = m_05.predict(estimand="typical").estimate.to_numpy()
    pairs = p[y == 1][:, None] - p[y == 0]
    assert m_05.auc(estimand="typical") == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert m_05.auc(estimand="typical") < m_05.auc()


def test_counts_of_trials_are_outcomes_one_by_one(datasets):
    cbpp = datasets["cbpp"]
    fit = Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp).fit_ml()
    p = fit.fitted()
    score = np.repeat(p, cbpp["size"])
    y = np.concatenate([[1.0] * s + [0.0] * (n - s) for s, n in zip(cbpp.incidence, cbpp["size"], strict=True)])
    assert fit.auc() == pytest.approx(area_under_curve(score, y, 1 - y))
    found = fit.classification(0.3)
    assert found.table.to_numpy().tolist() == confusion(score[None], y, 1 - y, 0.3).reshape(2, 2).astype(int).tolist()
    assert found.table.index.tolist() == ["0", "1"]


def test_rates_that_are_not_defined_are_missing(m_05):
    found = m_05.classification(threshold=0.999)
    assert np.isnan(found.rates["ppv"])
    assert found.rates["specificity"] == 1.0
    assert "accuracy" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.r2("detla"), 'there is no "detla" residual variance; did you mean "delta"'),
        (lambda f: f.r2("trigamma"), 'the trigamma variance is for counts; the bernoulli .* has "theoretical"'),
        (lambda f: f.icc(interval="posterior"), 'm_05 is one estimate, without draws: .* interval="bootstrap"'),
        (lambda f: f.icc(interval="wald"), "interval should be None or \"bootstrap\", not 'wald'"),
        (lambda f: f.mor(level=95), "level should lie between 0 and 1"),
        (lambda f: f.auc(n=100), 'n= is for interval="bootstrap"'),
        (lambda f: f.auc(interval="bootstrap", N=100), 'there is no option "N"; did you mean "n"'),
        (lambda f: f.auc(estimand="conditonal"), 'there is no estimand "conditonal"; did you mean'),
        (lambda f: f.classification(50), "threshold should be a probability between 0 and 1, for example 0.5, not 50"),
        (lambda f: f.classification("0.5"), "threshold should be a probability .* not '0.5'"),
    ],
)
def test_bad_questions(call, message, m_05):
    with pytest.raises(FitError, match=message):
        call(m_05)


def test_questions_for_binary_responses(toy, reml):
    counts = Model("count ~ x + (1 | h)", toy, family="poisson").fit_ml()
    with pytest.raises(FitError, match="a classification is for binary responses; this model is poisson"):
        counts.classification()
    with pytest.raises(FitError, match="area under the ROC curve is for binary responses; this model is gaussian"):
        reml.auc()
    with pytest.raises(FitError, match='latent residual variance of its own: take kind="trigamma"'):
        counts.r2("theoretical")


def test_one_outcome_cannot_be_told_apart():
    data = {"y": [1, 1, 1, 1], "x": [0.0, 1.0, 2.0, 3.0]}
    fit = Model("y ~ x", data, priors={"x": "normal(0, 1)"}).fit_map()
    with pytest.raises(FitError, match="the response is the same in every row"):
        fit.auc()


# over draws -----------------------------------------------------------------------------------------------------


def test_facts_of_a_posterior_are_means_over_its_draws(posterior):
    draws = posterior.tree["posterior"]
    variance = np.square(draws["sd_district"].to_numpy().reshape(-1))
    assert posterior.icc()["district"] == pytest.approx((variance / (variance + np.pi**2 / 3)).mean())
    mor = np.exp(np.sqrt(2 * variance) * 0.6744897501960817)
    table = posterior.mor(interval="posterior", level=0.9)
    assert table.loc["district"].tolist() == pytest.approx(
        [mor.mean(), mor.std(ddof=1), *np.quantile(mor, [0.05, 0.95])]
    )
    assert table.attrs["interval"] == "90% equal-tailed"
    fixed = np.var(draws["beta"].to_numpy().reshape(-1, 3) @ posterior.design.X.T, axis=1, ddof=1)
    marginal = fixed / (fixed + variance + np.pi**2 / 3)
    assert posterior.r2()["marginal"] == pytest.approx(marginal.mean())
    assert posterior.r2().attrs["estimate"] == "mean over 600 draws"


def test_classification_of_a_posterior(posterior):
    _, eta = posterior._own_predictors()
    y = posterior.design.response.y
    right = ((eta > 0.0) == (y == 1.0)).mean(axis=1)
    found = posterior.classification(interval="posterior")
    assert found.rates.estimate["accuracy"] == pytest.approx(right.mean())
    assert found.rates.conf_low["accuracy"] == pytest.approx(np.quantile(right, 0.025))
    assert found.table.to_numpy().sum() == pytest.approx(1934)
    # Each draw's districts are noisier than their estimates.
    assert posterior.model.fit_ml().auc() - 0.05 < posterior.auc() < posterior.model.fit_ml().auc()
    table = posterior.auc(interval="posterior")
    assert table.conf_low["auc"] < table.estimate["auc"] < table.conf_high["auc"]
    # Averaged over groups, districts are told apart no more.
    assert posterior.auc("population") < posterior.auc()


def test_dispersion_of_a_posterior_counts_every_observation(posterior):
    found = posterior.dispersion()
    assert found.index.tolist() == ["chisq", "df", "ratio"]
    assert found["df"] == 1934
    # Draws are not fitted: the ratio's mean is about 1.
    assert found["ratio"] == pytest.approx(1.0, abs=0.05)


def test_a_posterior_has_no_bootstrap(posterior):
    with pytest.raises(FitError, match='posterior is a posterior: its intervals are interval="posterior"'):
        posterior.r2(interval="bootstrap")


def test_delta_of_a_posterior_is_at_the_null_model_s_mean(posterior):
    assert posterior.r2("delta").attrs["residual"] == posterior.model.fit_ml().r2("delta").attrs["residual"]


# properties ------------------------------------------------------------------------------------------------------


def test_area_under_curve_is_symmetric_and_blind_to_monotone_changes():
    rng = np.random.default_rng(4)
    score, events = rng.integers(0, 9, 60).astype(float), rng.integers(0, 3, 60).astype(float)
    others = rng.integers(0, 3, 60).astype(float)
    area = area_under_curve(score, events, others)
    assert area == pytest.approx(1.0 - area_under_curve(-score, events, others))
    assert area == pytest.approx(area_under_curve(np.exp(score), events, others))
    assert area == pytest.approx(1.0 - area_under_curve(score, others, events))
    assert area_under_curve(np.zeros(60), events, others) == 0.5


# bootstrap ------------------------------------------------------------------------------------------------------


FACTS = {
    "r2": lambda f, **how: f.r2(**how),
    "r2_delta": lambda f, **how: f.r2("delta", **how),
    "icc": lambda f, **how: f.icc(**how),
    "mor": lambda f, **how: f.mor(**how),
    "dispersion": lambda f, **how: f.dispersion(**how),
    "classification": lambda f, **how: f.classification(**how).rates,
    "auc": lambda f, **how: f.auc(**how),
}


@pytest.mark.parametrize("name", FACTS)
def test_intervals_are_percentiles_of_refits(name, m_05):
    """The replicates of the bootstrap are refits to the columns of fit.simulate."""
    table = FACTS[name](m_05, interval="bootstrap", level=0.5, n=5, seed=3)
    drawn = m_05.simulate(5, seed=3)
    values = [np.atleast_1d(FACTS[name](m_05.refit(drawn[column]))) for column in drawn]
    if name == "dispersion":
        values = [value[[0, 2]] for value in values]
    low, high = np.quantile(values, [0.25, 0.75], axis=0, method="weibull")
    np.testing.assert_allclose(table.conf_low, low)
    np.testing.assert_allclose(table.conf_high, high)
    np.testing.assert_allclose(table.std_error, np.std(values, axis=0, ddof=1))
    point = np.atleast_1d(FACTS[name](m_05))
    np.testing.assert_allclose(table.estimate, point[[0, 2]] if name == "dispersion" else point)


def test_an_interval_of_the_bootstrap_itself(m_05):
    table = m_05.icc(interval="bootstrap", n=40, seed=1)
    assert table.loc["urban:district", "estimate"] == m_05.icc()["urban:district"]
    assert table.conf_low.iloc[0] < table.estimate.iloc[0] < table.conf_high.iloc[0]
    assert table.attrs["interval"] == "95% percentiles of 40 parametric bootstrap replicates"
    # The standard error by the delta method: the bootstrap's, of 40, is within a third of it.
    sd = m_05.table().iloc[-1]
    slope = 2 * sd.estimate * (np.pi**2 / 3) / (sd.estimate**2 + np.pi**2 / 3) ** 2
    assert table.std_error.iloc[0] == pytest.approx(slope * sd.std_error, rel=0.35)
    pd.testing.assert_frame_equal(table, m_05.icc(interval="bootstrap", n=40, seed=1, workers=1))


@pytest.mark.slow
def test_intervals_do_not_depend_on_workers(m_05):
    one, two = (m_05.r2("delta", interval="bootstrap", n=8, seed=1, workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(one, two)
