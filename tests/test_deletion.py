"""Dropping terms one at a time."""

import numpy as np
import pytest

import bayesmlm as bm
from bayesmlm.model import Model


def rows(table):
    return table.set_index("term")


@pytest.fixture(scope="module")
def m_05(contraception):
    return Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", contraception, name="m_05").fit_ml()


@pytest.fixture(scope="module")
def slopes(sleepstudy):
    return Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian", name="slopes")


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("m_00", "use ~ age + urban + livch"),
        ("m_05", "use ~ age*ch + I(age^2) + urban + (1 | urban:district)"),
    ],
)
def test_fixed_effects_are_r_s_drop1(name, formula, contraception, around):
    """glm: R's digits.  glmer: its optimum is exact to 1e-7 of the deviance."""
    expected = around["dropped"][name]
    table = bm.drop1(Model(formula, contraception).fit_ml())
    assert table.columns.tolist() == ["term", "df", "aic", "chisq", "p_value"]
    assert table.term.tolist() == expected["term"]
    assert table.df[1:].tolist() == expected["df"][1:]
    np.testing.assert_allclose(table.aic, expected["aic"], rtol=1e-8)
    np.testing.assert_allclose(table.chisq[1:], expected["chisq"][1:], rtol=1e-6)
    np.testing.assert_allclose(table.p_value[1:], expected["p"][1:], rtol=2e-6)
    assert table.iloc[0, 3:].isna().all()


def test_random_effects_by_reml_are_ranova_s(slopes, around):
    expected = around["dropped"]["sleep_reml_random"]
    table = bm.drop1(slopes.fit_ml(reml=True), part="random")
    assert table.term.tolist() == ["<none>", "Days in (Days | Subject)"] == expected["term"]
    assert table.chisq[1] == pytest.approx(expected["chisq"][1], rel=1e-7)
    assert table.df[1] == expected["df"][1] == 2
    # Half of χ² with one degree of freedom less, where ranova takes the plain one.
    assert table.p_value[1] == pytest.approx(around["tests"]["sleep_reml_slope"]["p_half"], rel=1e-6)
    assert table.attrs["distribution"] == ["", "½ χ²(1) + ½ χ²(2)"]


def test_reml_fits_drop_fixed_effects_by_maximum_likelihood(slopes):
    by_reml, by_ml = bm.drop1(slopes.fit_ml(reml=True), part="all"), bm.drop1(slopes.fit_ml(), part="all")
    assert by_reml.equals(by_ml)
    assert by_reml.attrs["notes"][0].startswith("slopes was fitted by REML; every model here is fitted by maximum")
    assert rows(by_ml).chisq["Days"] == pytest.approx(23.5365, abs=1e-4)


def test_each_row_is_an_anova(m_05, contraception):
    table = rows(bm.drop1(m_05, part="all"))
    assert table.index.tolist() == ["<none>", "I(age^2)", "urban", "age:ch", "(1 | urban:district)"]
    for term, formula in {
        "age:ch": "use ~ age + ch + I(age^2) + urban + (1 | urban:district)",
        "(1 | urban:district)": "use ~ age*ch + I(age^2) + urban",
    }.items():
        small = Model(formula, contraception).fit_ml()
        row = bm.anova(small, m_05).iloc[1]
        assert table.loc[term, ["df", "aic", "chisq", "p_value"]].tolist() == pytest.approx(
            [row.df, small.aic, row.chisq, row.p_value], rel=1e-6
        )


@pytest.mark.parametrize(
    ("right", "terms"),
    [
        ("x*f", ["x:f"]),
        ("x*f + z", ["z", "x:f"]),
        ("x*f*z", ["x:f:z"]),
        ("(x + f + z)^2", ["x:f", "x:z", "f:z"]),
        ("f/x", ["f:x"]),
        ("poly(x, 2) + log(n)", ["poly(x,2)", "log(n)"]),
        ("x + I(x^2)", ["x", "I(x^2)"]),
        ("0 + f + x", ["f", "x"]),
        ("x + (1 | h)", ["x", "(1 | h)"]),
        ("x + (x | h) + (1 | g)", ["x", "x in (x | h)", "(1 | g)"]),
        ("x + (x || h)", ["x", "(1 | h)", "(0 + x | h)"]),
        ("x + (x*z | h)", ["x", "x:z in (x * z | h)"]),
        ("x + (0 + f | h)", ["x", "(0 + f | h)"]),
        ("1 + (1 | g/h)", ["(1 | g)", "(1 | h:g)"]),
        ("0 + (1 | h)", ["(1 | h)"]),
    ],
)
def test_terms_stay_while_others_contain_them(right, terms, toy):
    from bayesmlm.deletion import _fixed, _random

    design = Model(f"y ~ {right}", toy).design
    found = [*_fixed(design), *_random(design)]
    assert [deletion.label.replace(", ", ",") for deletion in found] == terms
    for deletion in found:
        if deletion.right != "0":
            Model(f"y ~ {deletion.right}", toy)


def test_every_model_has_the_same_rows(toy):
    """Dropping x must not bring back the rows that x alone misses; offset, weights and trials stay."""
    holes = toy.assign(x=toy.x.where(toy.index > 9))
    fit = Model("cbind(s, n - s) ~ x + f + offset(o) + (1 | h)", holes, weights="w").fit_ml()
    table = rows(bm.drop1(fit, part="all"))
    small = Model("cbind(s, n - s) ~ f + offset(o) + (1 | h)", toy.iloc[10:], weights="w").fit_ml()
    assert table.aic["x"] == pytest.approx(small.aic, rel=1e-10)
    by_array = Model("cbind(s, n - s) ~ x + f + (1 | h)", holes, weights=toy.w.to_numpy(), offset=toy.o.to_numpy())
    assert rows(bm.drop1(by_array.fit_ml())).aic["x"] == pytest.approx(small.aic, rel=1e-10)


def test_a_refit_drops_from_its_own_response(toy):
    fit = Model("y ~ x + (1 | h)", toy).fit_ml().refit(toy.y.to_numpy()[::-1])
    expected = bm.drop1(Model("y ~ x + (1 | h)", toy.assign(y=toy.y.to_numpy()[::-1])).fit_ml())
    assert bm.drop1(fit).chisq[1] == pytest.approx(expected.chisq[1], rel=1e-9)


def test_smaller_models_are_fitted_in_the_same_way(contraception):
    model = Model("use ~ age + urban + (1 | district)", contraception)
    table = rows(bm.drop1(model.fit_ml(n_agq=9)))
    small = Model("use ~ age + (1 | district)", contraception).fit_ml(n_agq=9)
    assert table.aic["urban"] == pytest.approx(small.aic, rel=1e-10)
    probit = Model("use ~ age + urban + (1 | district)", contraception, link="probit").fit_ml(information="expected")
    expected = Model("use ~ age + (1 | district)", contraception, link="probit").fit_ml(information="expected")
    assert rows(bm.drop1(probit)).aic["urban"] == pytest.approx(expected.aic, rel=1e-10)


def test_priors_do_not_stand_in_the_way(contraception):
    fit = Model("use ~ age + urban + (1 | district)", contraception, priors={"age": "normal(0, 1)"}).fit_ml()
    assert bm.drop1(fit).term.tolist() == ["<none>", "age", "urban"]


def test_determined_columns_have_no_degrees_of_freedom(toy):
    table = rows(bm.drop1(Model("y ~ x + I(2 * x) + f", toy).fit_ml()))
    assert table.df.tolist()[1:] == [0, 0, 2]
    assert np.isnan(table.p_value["x"])


def test_determined_columns_have_no_f_test(toy):
    table = rows(bm.drop1(Model("z ~ x + I(2 * x) + f", toy, "gaussian").fit_ml(), df="satterthwaite"))
    assert table.df.tolist() == [0, 0, 2]
    assert table.p_value.isna().tolist() == [True, True, False]
    plain = rows(bm.drop1(Model("z ~ x + f", toy, "gaussian").fit_ml(), df="satterthwaite"))
    assert table.statistic["f"] == pytest.approx(plain.statistic["f"], rel=1e-9)


@pytest.mark.parametrize(("big", "small"), [("x*f", "x + f"), ("0 + f + x:f", "0 + f"), ("x + f:x", "x")])
def test_f_tests_of_linear_models_are_those_of_the_sums_of_squares(big, small, toy):
    """However factors are coded: F of the residual sums of squares of two least-squares fits."""
    fit, less = (Model(f"z ~ {fixed}", toy, "gaussian").fit_ml(reml=True) for fixed in (big, small))
    (rest, rss), (more_rest, more_rss) = (
        (n := each.nobs - len(each.design.terms), n * each.sigma**2) for each in (fit, less)
    )
    (row,) = bm.drop1(fit, df="satterthwaite").to_dict("records")
    df = more_rest - rest
    assert [row["df"], row["df_denom"]] == pytest.approx([df, rest])
    assert row["statistic"] == pytest.approx((more_rss - rss) / df / (rss / rest), rel=1e-8)


def test_columns_whose_names_need_quotes(toy):
    renamed = toy.rename(columns={"x": "my x", "h": "my h", "y": "a ~ y"})
    table = rows(bm.drop1(Model("`a ~ y` ~ `my x` + f + (`my x` | `my h`)", renamed).fit_ml(), part="all"))
    plain = rows(bm.drop1(Model("y ~ x + f + (x | h)", toy).fit_ml(), part="all"))
    np.testing.assert_allclose(table.chisq, plain.chisq, rtol=1e-9)
    assert table.index.tolist()[-1] == "`my x` in (`my x` | `my h`)"


def test_bad_questions(m_05, contraception, toy):
    with pytest.raises(bm.ComparisonError, match='there is no part "fixde" of a model; did you mean "fixed"'):
        bm.drop1(m_05, part="fixde")
    with pytest.raises(bm.ComparisonError, match="m_05 is a posterior mode: a likelihood-ratio test needs maximised"):
        bm.drop1(m_05.model.fit_map())
    for given, said in ((m_05.model, "a Model"), (3, "3")):
        with pytest.raises(bm.FitError, match=f"^drop1 takes fits, such as model.fit_ml\\(\\) gives, not {said}$"):
            bm.drop1(given)
    null = Model("y ~ 1", toy, name="null").fit_ml()
    with pytest.raises(bm.ComparisonError, match="null has no fixed effect to leave out"):
        bm.drop1(null)
    with pytest.raises(bm.ComparisonError, match="null has no random-effect term to leave out"):
        bm.drop1(null, part="random")
