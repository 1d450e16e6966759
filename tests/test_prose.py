"""What is said of a fit in sentences: right figures, right words, and no claim that its test does not carry."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesmlm as bm
from tests.troubles import alike_within_groups, few_groups, one_effect_twice, ordered_within_groups, pairs

M_05 = "use ~ age*ch + I(age^2) + urban + (1 | urban:district)"


def flat(text):
    return " ".join(text.split())


def said_of(fit, words, **options):
    """The line of one effect."""
    lines = fit.report(width=None, **options).splitlines()
    return next(line for line in lines if line.startswith(f"- {words}"))


@pytest.fixture(scope="module")
def m_05(contraception):
    return bm.Model(M_05, contraception, name="m_05")


@pytest.fixture(scope="module")
def fit(m_05):
    return m_05.fit_ml()


@pytest.fixture(scope="module")
def drawn(m_05):
    return m_05.sample(method="marginal")


# standardised coefficients ----------------------------------------------------------------------------------------


def test_standardised_coefficients_are_those_of_r(fit):
    """R's report() printed −0.42 [−0.80, −0.03], 1.21 [0.80, 1.62], −0.46 [−0.59, −0.32], 0.79 [0.45, 1.12], 0.60
    [0.15, 1.05].  Its refit stops where the Hessian gives 0.2 % narrower limits than lme4's tightest tolerances and
    glmmTMB do, so that its lower limit of age is −0.8047 and the exact one −0.8055.
    """
    table = fit.standardised().set_index("term").loc[["age", "ch[Y]", "I(age^2)", "urban[Y]", "age:ch[Y]"]]
    np.testing.assert_allclose(table.estimate, [-0.42, 1.21, -0.46, 0.79, 0.60], atol=0.005)
    np.testing.assert_allclose(table.conf_low, [-0.80, 0.80, -0.59, 0.45, 0.15], atol=0.006)
    np.testing.assert_allclose(table.conf_high, [-0.03, 1.62, -0.32, 1.12, 1.05], atol=0.005)
    # lme4 1.1-31, nloptwrap, on scale(age).
    refit = [-0.4162630, 1.2130282, -0.4570222, 0.7867497, 0.5991098]
    np.testing.assert_allclose(table.estimate, refit, atol=2e-4)


def test_the_change_of_coordinates_is_the_refit(m_05, fit, sleepstudy):
    """Up to where two searches for one maximum end."""
    sleep = bm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian")
    for here, again in (
        (fit, m_05.standardised().fit_ml()),
        (m_05.fit_gee(), m_05.standardised().fit_gee()),
        (sleep.fit_ml(reml=True), sleep.standardised().fit_ml(reml=True)),
    ):
        table, other = here.standardised(), again.table()
        assert not table.attrs["refitted"]
        other = other[other.component == "fixed"]
        for column in ("estimate", "std_error", "conf_low", "conf_high"):
            np.testing.assert_allclose(table[column], other[column], atol=2e-5)


def test_draws_and_their_priors_are_taken_along(m_05, drawn):
    """Draws are mapped one by one: limits of what is not scaled stay, and the mean follows its linear map."""
    table, own = drawn.standardised().set_index("term"), drawn.table().set_index("term")
    for name in ("estimate", "conf_low", "conf_high"):
        assert table.loc["urban[Y]", name] == pytest.approx(own.loc["urban[Y]", name], abs=1e-12)
    s = m_05.data.age.std()
    assert table.loc["I(age^2)", "conf_low"] == pytest.approx(own.loc["I(age^2)", "conf_low"] * s**2, rel=1e-9)
    priors = {"age": "normal(0, 0.01)"}
    mode = bm.Model(M_05, m_05.data, priors=priors).fit_map()
    shift = 2.0 * m_05.data.age.mean() * mode.fixef()["I(age^2)"]
    assert mode.standardised().set_index("term").estimate["age"] == pytest.approx((mode.fixef()["age"] + shift) * s)


def test_a_power_alone_is_another_model_when_centred(m_05, contraception):
    m = m_05.update("use ~ I(age^2) + urban + (1 | district)")
    table = m.fit_ml().standardised()
    assert table.attrs["refitted"]
    z = contraception.assign(age=(contraception.age - contraception.age.mean()) / contraception.age.std())
    expected = bm.Model("use ~ I(age^2) + urban + (1 | district)", z).fit_ml().fixef()
    np.testing.assert_allclose(table.estimate, expected, atol=1e-6)
    assert "of the model fitted again with age as a z-score" in flat(m.fit_ml().report())
    with pytest.raises(bm.FitError, match=r"centred predictors make .* another model"):
        m.fit_map().standardised()
    assert "would be of another model, with other priors, and are left out" in flat(m.fit_map().report())


def test_what_cannot_be_a_z_score_stays(contraception, sleepstudy):
    d = contraception.assign(size=np.exp(contraception.age / 10.0), trials=1.0)
    m = bm.Model("use ~ log(size) + I(age > 3) + urban + (1 | district)", d)
    assert m.fit_ml().standardised().attrs["kept"] == ("size", "age")
    # One affine function is a z-score itself.
    by_100 = bm.Model("use ~ I(age/100) + urban + (1 | district)", d).fit_ml().standardised()
    plain = bm.Model("use ~ age + urban + (1 | district)", d).fit_ml().standardised()
    np.testing.assert_allclose(by_100.estimate, plain.estimate, atol=1e-6)
    # Visits of a GEE stay visits.
    sleep = bm.Model("Reaction ~ I(Days^2)", sleepstudy, family="gaussian")
    gee = sleep.fit_gee(groups="Subject", corr="ar1", time="Days").standardised()
    assert gee.attrs["refitted"]
    assert np.isfinite(gee.estimate).all()


def test_rows_left_out_and_labels_do_not_matter(contraception):
    d = contraception.set_index(np.arange(len(contraception)) + 1000)
    kept = np.arange(len(d)) > 100
    holes = d.assign(age=d.age.where(kept))
    table = bm.Model("use ~ age + urban + (1 | district)", holes).fit_ml().standardised()
    full = bm.Model("use ~ age + urban + (1 | district)", d[kept]).fit_ml().standardised()
    np.testing.assert_allclose(table.estimate, full.estimate, atol=1e-6)


# the paragraph ----------------------------------------------------------------------------------------------------


def test_the_report_of_row_10(fit):
    """The figures of R's report::report(m_05), but for the limit explained above."""
    text = flat(fit.report())
    for part in (
        "A logistic mixed model was fitted to 1,934 observations by maximum likelihood (Laplace approximation).",
        "the log-odds of use = Y from age, ch and urban (formula: use ~ age*ch + I(age^2) + urban + (1 | urban:district))",
        "Intercepts vary between the 102 groups of urban:district.",
        "conditional R² = 0.20",
        "marginal R² = 0.12",
        "ICC 0.09",
        "at age = 0, ch = N and urban = N in a group whose effects are zero, is −1.34 (95 % CI [−1.78, −0.90], z = −6.03, "
        "p < 0.001): a probability of 0.21",
        "- age (at age = 0, ch = N): negative, significant at the 5 % level (β = −0.05, 95 % CI [−0.09, −0.0030], "
        "z = −2.10, p = 0.036; odds ratio 0.95; standardised β = −0.42 [−0.81, −0.03])",
        "- ch [Y] against N (at age = 0): positive, significant at the 5 % level (β = 1.21, 95 % CI [0.80, 1.62], "
        "z = 5.78, p < 0.001; odds ratio 3.36; standardised β = 1.21 [0.80, 1.62])",
        "- age²: negative, significant at the 5 % level (β = −0.0056, 95 % CI [−0.0073, −0.0040], z = −6.61, p < 0.001",
        "standardised β = −0.46 [−0.59, −0.32])",
        "standardised β = 0.79 [0.45, 1.12])",
        "- age × ch [Y]: positive, significant at the 5 % level (β = 0.07, 95 % CI [0.02, 0.12], z = 2.59, p = 0.010",
        "standardised β = 0.60 [0.15, 1.05])",
        "of the same model with age as a z-score, taken before any transform",
    ):
        assert part in text
    assert max(map(len, fit.report().splitlines())) <= 88
    assert max(map(len, fit.report(width=60).splitlines())) <= 70  # but for what must not be parted
    assert flat(fit.report(width=None)) == text


def test_the_level_is_that_of_intervals_and_of_significance(fit):
    line = said_of(fit, "age (", level=0.99)
    assert "not significantly different from zero at the 1 % level" in line
    assert "99 % CI [−0.10, 0.01]" in line
    assert "significant means p below 0.01" in flat(fit.report(level=0.99))


def test_a_posterior_gives_probabilities_and_its_diagnostics(drawn):
    text = flat(drawn.report())
    draws = drawn._values()
    share = (draws[:, 1] < 0).mean()
    assert f"age (at age = 0, ch = N): negative with a probability of {share:.3f} (β = " in text
    assert "urban [Y] against N: positive with a probability of above 0.999" in text
    assert "95 % credible interval" in text
    assert flat(drawn.diagnostics().verdict).rstrip(".")[1:] in text
    assert "k̂" in text
    assert "ESS" in text
    for word in ("significant", "p-value", "p <", "p =", "z ="):
        assert word not in text


def test_sampled_chains_say_r_hat(contraception):
    m = bm.Model("use ~ urban + (1 | district)", contraception)
    sampled = m.sample(draws=200, chains=2, seed=1)
    text = flat(sampled.report())
    assert "(NUTS, 2 chains of 200 draws)" in text
    assert text.endswith(sampled.diagnostics().verdict)
    assert "R-hat" in text
    assert "no divergences" in text
    # Chains that disagree come first, and nothing is claimed.
    posterior = sampled.tree["posterior"].to_dataset()
    posterior["beta"] = posterior["beta"] + xr.DataArray([0.0, 3.0], dims="chain")
    bad = replace(sampled, tree=xr.DataTree.from_dict({"posterior": posterior}))
    text = flat(bad.report())
    assert text.startswith("These draws cannot be relied on. Take care:")
    assert "with a probability" not in text
    assert "urban [Y] against N: estimated positive, but the fit cannot be relied on" in text


def test_a_mode_has_no_tests(m_05):
    text = flat(m_05.fit_map().report())
    assert "by finding the mode of its posterior (Laplace approximation)" in text
    assert "no test is made" in text
    for word in ("significant", "p-value", "p <", "p =", "z =", "probability of direction"):
        assert word not in text


def test_a_gee_is_of_the_population(m_05):
    text = flat(m_05.fit_gee().report())
    for part in (
        "A logistic model of the population's means",
        "an exchangeable working correlation and robust standard errors",
        "(formula: use ~ age * ch + I(age^2) + urban).",
        "within the 102 clusters of urban:district; coefficients are population-averaged",
        "Effects of the population's means, on the log-odds scale:",
    ):
        assert part in text
    assert "in a group" not in text
    assert "R²" not in text


# what may be claimed ----------------------------------------------------------------------------------------------


def claims(text):
    """Claims of significance: the word without a "not" before it."""
    return re.findall(r"(?<!not )significant(?:ly)? (?:at|better)", flat(text))


def unfinished(fit):
    optimum = replace(fit.solution.optimum, converged=False, distance=3.0)
    return replace(fit, solution=replace(fit.solution, optimum=optimum))


def test_a_fit_that_did_not_converge_says_so_first_and_claims_nothing(fit):
    assert claims(fit.report())
    text = flat(unfinished(fit).report())
    assert text.startswith("This fit did not converge, and its figures cannot be relied on. Take care: the maximum was")
    assert claims(text) == []
    assert not re.search(r"p [=<] 0|z = ", text)
    assert "urban [Y] against N: estimated positive, but the maximum was not reached" in text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pairs(), "more quadrature points would move it by 0.5 standard errors or so"),
        (ordered_within_groups(), "it grows with a standard deviation that the data hardly bound"),
    ],
)
def test_no_claim_rests_on_estimates_that_are_not_the_models(data, why):
    """The Wald test of each would be called significant."""
    fit = bm.Model("y ~ x + (1 | g)", data).fit_ml()
    table = fit.table().set_index("term")
    assert table.p_value["x"] < 0.05
    assert said_of(fit, "x:").startswith(f"- x: estimated positive, but {why} (β = ")
    assert claims(fit.report()) == []
    assert "Take care" in fit.report()


def test_no_standard_deviation_is_tested():
    """At zero there is no interval either; elsewhere an interval, and no z."""
    rng = np.random.default_rng(1)
    none = pd.DataFrame({"y": np.tile([0, 1], 200), "x": rng.normal(size=400), "g": np.repeat(np.arange(40), 10)})
    text = flat(bm.Model("y ~ x + (1 | g)", none).fit_ml().report())
    assert (
        "between groups of g is estimated at zero, the end of its range, so that it has no interval and no test" in text
    )
    text = flat(bm.Model("y ~ x + (x | g)", one_effect_twice(1)).fit_ml().report())
    assert (
        "between groups of g is estimated at 1.00, the end of its range, so that it has no interval and no test" in text
    )
    text = flat(bm.Model("y ~ 1 + (1 | g)", few_groups()).fit_ml().report())
    sentence = re.search(r"The standard deviation[^.]*\.\d+ \([^)]*\)", text)[0]
    assert "95 % CI" in sentence
    assert "p " not in sentence.split("(")[1]
    assert "there are only 5 groups of g" in text
    assert claims(bm.Model("y ~ x + (1 | g)", alike_within_groups(3)).fit_ml().report()) == []


def test_few_clusters_carry_no_claim(sleepstudy):
    m = bm.Model("Reaction ~ Days", sleepstudy, family="gaussian")
    plain = m.fit_gee(groups="Subject")
    assert plain.table().p_value[1] < 1e-6
    assert claims(plain.report()) == []
    assert "too small to test by with 18 clusters" in said_of(plain, "Days")
    corrected = m.fit_gee(groups="Subject", se="bias_corrected")
    assert claims(corrected.report(df="clusters"))
    assert "t(16) = " in said_of(corrected, "Days", df="clusters")
    assert "bias corrected standard errors" in flat(corrected.report())


def ladder(contraception):
    d, right = contraception, "age + I(age^2) + urban + livch + (1 | district)"
    m_02 = bm.Model(f"use ~ {right}", d, name="m_02")
    return {
        "m_02": m_02.fit_ml(),
        "m_03": m_02.update("use ~ age + I(age^2) + urban + ch + (1 | district)", name="m_03").fit_ml(),
        "m_04": m_02.update("use ~ age*ch + I(age^2) + urban + (1 | district)", name="m_04").fit_ml(),
        "m_05": m_02.update(M_05, name="m_05").fit_ml(),
    }


def test_what_a_ladder_does_not_show_is_not_claimed(contraception):
    """Rows 6 and 8: a p of 0.80 prefers nothing, and 0 degrees of freedom are no test."""
    fits = ladder(contraception)
    table = bm.anova(*fits.values())
    steps = [flat(step) for step in table.report().split("\n\n")]
    assert len(steps) == 3
    assert "m_03 is m_02 with 2 parameters fewer." in steps[0]
    assert "do not fit significantly differently at the 5 % level (χ²(2) = 0.46, p = 0.796)" in steps[0]
    assert "which is not to say that m_03 is better. AIC is 3.5 lower for m_03." in steps[0]
    assert claims(steps[0]) == []
    assert steps[1].startswith("m_04 is m_03 with 1 parameter more. m_04 fits significantly better at the 5 % level ")
    assert "(χ²(1) = 8.00, p = 0.005)" in steps[1]
    assert "not" not in steps[1]
    assert steps[2].startswith("m_04 and m_05: no likelihood-ratio test, 0 df and neither is a special case")
    assert "(1 | district/urban) contains both" in steps[2]
    assert claims(steps[2]) == []
    assert not re.search(r"p [=<]", steps[2])
    # At another level the claim is another.
    assert "not fit significantly differently at the 0.1 % level" in flat(table.report(level=0.999))


def test_a_variance_is_compared_with_its_mixture(contraception):
    m = bm.Model("use ~ age + urban + (1 | district)", contraception, name="mixed")
    text = flat(bm.anova(m.update("use ~ age + urban", name="plain").fit_ml(), m.fit_ml()).report())
    assert "mixed is plain with 1 parameter more. mixed fits significantly better at the 5 % level (χ² = " in text
    assert "on ½ χ²(0) + ½ χ²(1), p < 0.001" in text


# other responses --------------------------------------------------------------------------------------------------


def test_gaussian_fits_speak_of_means_and_t(sleepstudy):
    m = bm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian")
    text = flat(m.fit_ml(reml=True).report())
    for part in (
        "A linear mixed model was fitted to 180 observations by restricted maximum likelihood.",
        "the mean of Reaction from Days",
        "Intercepts and effects of Days vary between the 18 groups of Subject.",
        "The correlation of the intercept and the effect of Days between groups of Subject is 0.07",
        "Days: positive, significant at the 5 % level (β = 10.47, 95 % CI [7.21, 13.73], t(17) = 6.77, p < 0.001; "
        "standardised β = 0.54 [0.37, 0.70])",
        "Satterthwaite's degrees of freedom, those of the spread between groups Wald's",
        "with Reaction and Days as z-scores",
    ):
        assert part in text
    assert "ratio" not in text
    # Least squares has an exact test, maximum likelihood has not.
    alone = m.update("Reaction ~ Days")
    assert "are from t; significant" in flat(alone.fit_ml(reml=True).report())
    assert "on as many degrees of freedom as observations (fit_ml(reml=True)" in flat(alone.fit_ml().report())


def test_counts_successes_and_links_have_their_words(contraception):
    cbpp = bm.load_dataset("cbpp")
    successes = bm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp).fit_ml()
    assert "log-odds of a success in cbind(incidence, size - incidence) at period = 1" in flat(successes.report())
    assert "- period [2] against 1: negative" in successes.report()
    assert "odds ratio 0.37" in successes.report()
    counts = bm.Model("incidence ~ period + offset(log(size)) + (1 | herd)", cbpp, family="poisson").fit_ml()
    text = flat(counts.report())
    assert "A Poisson mixed model" in text
    # Without its offset the intercept would be another mean.
    assert "log of the mean of incidence at period = 1 and log(size) = 0 in a group" in text
    assert "rate ratio 0.43" in text
    assert "odds" not in text
    probit = flat(bm.Model("use ~ age + urban", contraception, link="probit").fit_ml().report())
    assert "ratio" not in probit
    assert "The predictors explain 4 % of the variance on the probit scale (R² = 0.04)" in probit
    assert "probit of use = Y at age = 0 and urban = N, is −0.41" in probit
    hazard = bm.Model("use ~ age + urban", contraception, link="cloglog").fit_ml()
    assert "hazard ratio" in hazard.report()


@pytest.mark.parametrize(
    "formula",
    [
        "use ~ 1 + (1 | district)",
        "use ~ 0 + urban + age + (1 | district)",
        "use ~ poly(age, 2)",
        "use ~ 0 + (1 | district)",
        "use ~ I(age - 5)",
    ],
)
def test_formulas_at_the_edge_read_well(formula, contraception):
    text = flat(bm.Model(formula, contraception).fit_ml().report())
    assert "  " not in text
    assert "nan" not in text
    if "0 +" in formula:
        assert "intercept, the log-odds" not in text
    if "0 + urban" in formula:  # every level has a coefficient of its own, which is no ratio
        assert re.search(r"- urban \[N\] \(at age = 0\): negative[^;]*; odds 0\.49", text)
        assert re.search(r"- age: [^;]*; odds ratio", text)
    if formula.startswith("use ~ 0 + (1"):
        assert "of use = Y by group effects alone" in text
    if "I(age" in formula:
        assert "at age - 5 = 0, is" in text
    if "poly" in formula:
        assert "at poly(age, 2) = 0" in text
    if formula.startswith("use ~ 1"):
        assert "by an intercept alone" in text


def test_refusals(fit):
    with pytest.raises(bm.FitError, match="level"):
        fit.report(level=95)
    with pytest.raises(bm.FitError, match="degrees of freedom"):
        fit.report(df="satterthwaite")
