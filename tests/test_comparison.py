"""Side by side, likelihood-ratio tests, information criteria and leave-one-out."""

import numpy as np
import pytest

import bayesmlm as bm


@pytest.fixture(scope="module")
def data():
    return bm.load_dataset("contraception")


@pytest.fixture(scope="module")
def ladder(data):
    formulas = {
        "m_00": "use ~ age + urban + livch",
        "m_01": "use ~ age + urban + livch + (1 | district)",
        "m_02": "use ~ age + I(age^2) + urban + livch + (1 | district)",
        "m_03": "use ~ age + I(age^2) + urban + ch + (1 | district)",
        "m_04": "use ~ age*ch + I(age^2) + urban + (1 | district)",
        "m_05": "use ~ age*ch + I(age^2) + urban + (1 | urban:district)",
    }
    return {name: bm.Model(formula, data, name=name).fit_ml() for name, formula in formulas.items()}


@pytest.fixture(scope="module")
def posterior(data):
    return bm.Model("use ~ urban + (1 | district)", data, name="urban").sample(draws=200, chains=2, seed=1)


def test_ladder_shows_the_published_tests(ladder):
    table = bm.anova(*ladder.values())
    assert table.columns.tolist() == ["model", "npar", "aic", "bic", "loglik", "chisq", "df", "p_value"]
    rows = table.set_index("model")
    # To the digits the tutorial prints.
    assert rows.loc["m_02", ["chisq", "df"]].tolist() == pytest.approx([40.887, 1], abs=5e-4)
    assert rows.p_value["m_02"] == pytest.approx(1.613e-10, rel=1e-3)
    assert rows.loc["m_03", ["chisq", "df"]].tolist() == pytest.approx([0.4571, 2], abs=5e-5)
    assert rows.p_value["m_03"] == pytest.approx(0.7957, abs=5e-5)
    assert rows.p_value["m_04"] == pytest.approx(0.004666, abs=5e-7)


def test_every_statistic_names_what_it_was_compared_with(ladder, data):
    slope = ladder["m_04"].model.update("use ~ age*ch + I(age^2) + urban + (1 + urban | district)").fit_ml()
    table = bm.anova(ladder["m_00"], ladder["m_01"], ladder["m_02"], ladder["m_04"], slope)
    assert table.attrs["distribution"] == ["", "½ χ²(0) + ½ χ²(1)", "χ²(1)", "", "½ χ²(1) + ½ χ²(2)"]
    both = bm.anova(ladder["m_00"], bm.Model("use ~ age + urban + livch + (age || district)", data).fit_ml())
    assert both.attrs["distribution"][1] == "χ²(2), conservative"
    assert "tests 2 variances at zero, so the p-value of the plain χ² is conservative" in both.attrs["notes"][0]


@pytest.mark.parametrize(("name", "small", "big"), [("glm_mixed", "m_00", "m_01"), ("slope", "m_04", "slope")])
def test_tests_of_variances_are_those_of_lme4_halved(name, small, big, ladder, around):
    """lme4's plain χ² and, by hand, the mixture; its optimum has eleven digits."""
    fits = ladder | {"slope": ladder["m_04"].model.update("use ~ age*ch + I(age^2) + urban + (1 + urban | district)")}
    fits["slope"] = fits["slope"].fit_ml()
    row, expected = bm.anova(fits[small], fits[big]).iloc[1], around["tests"][name]
    assert [row.chisq, row.df] == pytest.approx([expected["chisq"], expected["df"]], abs=2e-5)
    assert row.p_value == pytest.approx(expected["p_half"], rel=2e-5)


def test_models_that_are_not_nested_get_words_instead_of_a_test(ladder):
    table = bm.anova(ladder["m_04"], ladder["m_05"])
    assert table.df[1] == 0
    assert np.isnan(table.chisq[1])
    assert np.isnan(table.p_value[1])
    (note,) = table.attrs["notes"]
    assert "no likelihood-ratio test" in note
    assert "(1 | district/urban) contains both" in note


def test_a_variance_is_tested_at_its_boundary(ladder):
    table = bm.anova(ladder["m_00"], ladder["m_01"])
    # 43.113 on half χ²(0) and half χ²(1): half the plain p-value.
    from scipy.stats import chi2

    assert table.p_value[1] == pytest.approx(0.5 * chi2.sf(table.chisq[1], 1), rel=1e-12)
    assert "half-and-half mixture" in table.attrs["notes"][0]


def test_side_by_side_keeps_the_order_of_the_terms(ladder):
    table = bm.side_by_side(ladder["m_04"], ladder["m_01"])
    assert table.term.tolist()[:6] == ["Intercept", "age", "ch[Y]", "I(age^2)", "urban[Y]", "age:ch[Y]"]
    assert table.component.tolist()[-1] == "sd"
    assert "m_01 ml_estimate" in table


def test_side_by_side_of_both_readings(posterior):
    table = bm.side_by_side(posterior.model.fit_ml(), posterior)
    assert table.columns.tolist() == [
        "component", "group", "term", "ml_estimate", "ml_se", "post_mean", "post_sd", "difference",
    ]  # fmt: skip
    expected = (table.post_mean - table.ml_estimate) / table.post_sd
    np.testing.assert_allclose(table.difference, expected)


def test_information_criteria_rank_models(ladder):
    table = bm.compare(*ladder.values())
    assert table.model[0] == "m_05"
    assert table.weight.sum() == pytest.approx(1.0)
    assert bm.compare(*ladder.values(), by="bic").bic.is_monotonic_increasing
    by_aicc = bm.compare(*ladder.values(), by="aicc")
    k = by_aicc.npar
    np.testing.assert_allclose(by_aicc.aicc, -2 * by_aicc.loglik + 2 * k + 2 * k * (k + 1) / (1934 - k - 1))


def test_aicc_needs_more_observations_than_parameters():
    data = {"y": [0.1, 0.5, 0.2, 0.9], "x": [1.0, 2.0, 4.0, 3.0]}
    fit = bm.Model("y ~ x", data, family="gaussian").fit_ml()
    with pytest.raises(bm.FitError, match="AICc needs more than 4 observations for 3 parameters; there are 4"):
        fit.aicc  # noqa: B018


def test_what_cannot_be_compared_is_refused_in_words(ladder, posterior, data):
    with pytest.raises(bm.ComparisonError, match="urban is a posterior"):
        bm.anova(ladder["m_01"], posterior)
    with pytest.raises(bm.ComparisonError, match="one kind"):
        bm.compare(ladder["m_01"], posterior)
    with pytest.raises(bm.ComparisonError, match="needs draws"):
        bm.compare(ladder["m_01"], by="loo")
    with pytest.raises(bm.ComparisonError, match='there is no criterion "lo"'):
        bm.compare(ladder["m_01"], by="lo")
    half = bm.Model("use ~ age + (1 | district)", data.iloc[:900]).fit_ml()
    with pytest.raises(bm.ComparisonError, match="1934 rows"):
        bm.anova(ladder["m_01"], half)
    with pytest.raises(bm.ComparisonError, match="different responses"):
        bm.anova(ladder["m_01"], bm.Model("urban ~ age + (1 | district)", data).fit_ml())
    with pytest.raises(bm.ComparisonError, match="nothing to compare"):
        bm.anova()


@pytest.mark.parametrize("verb", [bm.anova, bm.compare, bm.side_by_side])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "3"),
        ("m_01", "'m_01'"),
        (None, "None"),
        ([], "a list: give them one by one"),
        (bm.Model("use ~ 1", {"use": [0, 1]}), "a Model"),
    ],
)
def test_what_is_no_fit_is_refused_in_words(verb, given, said, ladder):
    for fits in ((given,), (ladder["m_01"], given)):
        with pytest.raises(bm.FitError) as refused:
            verb(*fits)
        assert str(refused.value) == f"{verb.__name__} takes fits, such as model.fit_ml() gives, not {said}"


def test_a_posterior_names_what_to_use_instead_of_aic(posterior):
    for name in ("aic", "aicc", "bic", "loglik", "deviance"):
        with pytest.raises(bm.FitError, match=r"use bm\.compare"):
            getattr(posterior, name)


# gaussian models and posterior modes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep():
    data = bm.load_dataset("sleepstudy")
    formulas = {
        "slopes": "Reaction ~ Days + (Days | Subject)",
        "intercepts": "Reaction ~ Days + (1 | Subject)",
        "tens": "Reaction ~ I(Days / 10) + (1 | Subject)",
        "null": "Reaction ~ 1 + (Days | Subject)",
    }
    return {name: bm.Model(formula, data, family="gaussian", name=name) for name, formula in formulas.items()}


def test_reml_fits_of_one_fixed_part_are_tested(sleep):
    """lme4 1.1-31, anova(..., refit = FALSE): χ² 42.83681 on 2 df, p 4.99e-10 without the mixture."""
    from scipy.stats import chi2

    table = bm.anova(*(sleep[name].fit_ml(reml=True) for name in ("intercepts", "slopes")))
    assert table.chisq[1] == pytest.approx(42.83681, abs=1e-5)
    assert table.df[1] == 2
    assert table.p_value[1] == pytest.approx(0.5 * (chi2.sf(table.chisq[1], 1) + chi2.sf(table.chisq[1], 2)))
    assert bm.compare(*(sleep[name].fit_ml(reml=True) for name in ("intercepts", "slopes"))).model[0] == "slopes"


def test_ml_fits_of_other_fixed_parts_are_tested(sleep):
    table = bm.anova(sleep["null"].fit_ml(), sleep["slopes"].fit_ml())
    assert table.chisq[1] == pytest.approx(23.5365, abs=1e-4)  # lme4 1.1-31
    assert table.df[1] == 1


@pytest.mark.parametrize("against", ["null", "tens"])
@pytest.mark.parametrize("function", [bm.anova, bm.compare])
def test_reml_fits_of_other_fixed_parts_are_refused(function, against, sleep):
    """A column space is not enough: the restricted likelihood depends on its basis."""
    fits = [sleep[name].fit_ml(reml=True) for name in ("slopes", against)]
    with pytest.raises(bm.ComparisonError, match=r"their fixed parts differ.*refit both by fit_ml\(reml=False\)"):
        function(*fits)


def test_reml_fits_are_refitted_on_request(sleep):
    """As lme4's anova() refits, and says so."""
    fits = [sleep[name].fit_ml(reml=True) for name in ("null", "slopes")]
    table = bm.anova(*fits, refit=True)
    by_ml = bm.anova(*(sleep[name].fit_ml() for name in ("null", "slopes")))
    assert table.chisq[1] == by_ml.chisq[1] == pytest.approx(23.5365, abs=1e-4)
    assert table.attrs["notes"][0] == "null and slopes were refitted by maximum likelihood."
    assert bm.anova(fits[0], sleep["slopes"].fit_ml(), refit=True).attrs["notes"][0].startswith("null was refitted")
    assert (
        bm.anova(*(sleep[name].fit_ml() for name in ("null", "slopes")), refit=True).attrs["notes"]
        == by_ml.attrs["notes"]
    )


def test_reml_beside_ml_is_refused(sleep):
    with pytest.raises(bm.ComparisonError, match="intercepts was fitted by REML and slopes by maximum likelihood"):
        bm.anova(sleep["slopes"].fit_ml(), sleep["intercepts"].fit_ml(reml=True))


def test_modes_are_set_beside_and_not_tested(sleep, posterior):
    mode = sleep["slopes"].fit_map()
    with pytest.raises(bm.ComparisonError, match=r"slopes is a posterior mode: .* use fit_ml\(\)"):
        bm.anova(mode, mode)
    with pytest.raises(bm.ComparisonError, match="slopes is a posterior mode"):
        bm.compare(mode)
    table = bm.side_by_side(sleep["slopes"].fit_ml(), mode)
    assert table.columns.tolist()[3:] == ["ml_estimate", "ml_se", "map_estimate", "map_se"]
    assert table.iloc[-1][["component", "term"]].tolist() == ["residual", "sigma"]
    np.testing.assert_array_equal(table.map_estimate, mode.table().estimate)
    three = bm.side_by_side(posterior.model.fit_ml(), posterior.model.fit_map(), posterior)
    assert three.columns.tolist()[-3:] == ["post_mean", "post_sd", "difference"]


def test_approximations_that_differ_are_not_tested(data):
    small, big = (bm.Model(f"use ~ {x} + (1 | district)", data, link="probit") for x in ("urban", "urban + age"))
    table = bm.anova(small.fit_ml(), big.fit_ml(information="expected"))
    assert np.isnan(table.chisq[1])
    assert "refit with one information=" in table.attrs["notes"][0]
    assert bm.anova(small.fit_ml(information="expected"), big.fit_ml(information="expected")).chisq[1] > 0
