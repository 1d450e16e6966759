"""Linear hypotheses: reading them, Wald tests, and probabilities over draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from bayesmlm.errors import FitError
from bayesmlm.hypotheses import joint_wald, read_hypotheses, spellings, wald
from bayesmlm.model import Model
from tests.conftest import refusal
from tests.troubles import one_effect_twice

ROWS = [
    *(
        ("fixed", "", term, "")
        for term in (
            "Intercept", "age", "age:ch[Y]", "ch[Y]", "I(age^2)", "livch[1]", "livch[3+]", "poly(age, 2)[1]",
            "race[Non-Hispanic White]", "f[a - b]", "age.sq", "I(Days / 10)",
        )
    ),
    ("sd", "district", "Intercept", ""),
    ("sd", "district", "age", ""),
    ("sd", "urban:district", "Intercept", ""),
    ("cor", "district", "Intercept,age", ""),
    ("residual", "", "sigma", ""),
]  # fmt: skip
PLACE = {row[2]: at for at, row in enumerate(ROWS[:12])}


@pytest.fixture(scope="module")
def m_01(contraception):
    return Model("use ~ age + urban + livch + (1 | district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def slopes(contraception):
    return Model("use ~ age*ch + urban + (urban | district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def posterior(contraception):
    model = Model("use ~ urban + ch + (1 | district)", contraception, priors={"urban[Y]": "normal(0.5, 0.5)"})
    return model.sample(draws=1000, chains=2, seed=1)


def read(text):
    (out,) = read_hypotheses(text, ROWS)
    return out


def weights(text):
    """Non-zero weights by place, and the constant."""
    one = read(text)
    return {at: w for at, w in enumerate(one.weights.tolist()) if w}, one.constant


# reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "constant"),
    [
        ("age = 0", {1: 1}, 0),
        ("age:ch[Y] - 2*age > 0", {2: 1, 1: -2}, 0),
        ("ch[Y]:age=0", {2: 1}, 0),
        ("age : ch[Y] = 0", {2: 1}, 0),
        ("livch[1] = livch[3+]", {5: 1, 6: -1}, 0),
        ("I(age^2) < 0", {4: 1}, 0),
        ("I(age ^ 2) < -1e-3", {4: 1}, 1e-3),
        ("poly(age,2)[1] = 0", {7: 1}, 0),
        ("race[Non-Hispanic White] - f[a - b] = 0", {8: 1, 9: -1}, 0),
        ("age.sq - age = 0", {10: 1, 1: -1}, 0),
        ("I(Days/10) / 2 = .5", {11: 0.5}, -0.5),
        ("(age + ch[Y]) * 2 / 4 = Intercept", {1: 0.5, 3: 0.5, 0: -1}, 0),
        ("-(age - 3) = -age + 2 * ch[Y]", {3: -2}, 3),
        ("--age > +2", {1: 1}, -2),
        ("2 > age", {1: -1}, 2),
        ("age > log(2) * 3 - sqrt(4) + exp(0)", {1: 1}, 2 - 3 * np.log(2) - 1),
        ("sd(district) > 0.5", {12: 1}, -0.5),
        ("sd(district, age) = sd(urban:district)", {13: 1, 14: -1}, 0),
        ("sd_district__age - sd( urban:district , Intercept ) = 0", {13: 1, 14: -1}, 0),
        ("cor(district, age, Intercept) > 0", {15: 1}, 0),
        ("cor_district__Intercept__age = 0", {15: 1}, 0),
        ("sigma = sd(Residual) - sd(district)", {12: 1}, 0),
        ("`age.sq` = 0", {10: 1}, 0),
    ],
)
def test_linear_expressions(text, expected, constant):
    found, at = weights(text)
    assert found == pytest.approx(expected)
    assert at == pytest.approx(constant)


@pytest.mark.parametrize(
    ("text", "sign"),
    [("age = 0", 0), ("age == 0", 0), ("age > 0", 1), ("age >= 0", 1), ("age < 0", -1), ("age <= 0", -1)],
)
def test_signs(text, sign):
    assert read(text).sign == sign


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee > 0", 'there is no term "agee"; did you mean "age"\\? \\(there are: Intercept, age, '),
        ("livch[2] = 0", 'there is no term "livch\\[2\\]"; did you mean "livch\\[1\\]"'),
        ("age:urban[Y] = 0", 'there is no term "age:urban\\[Y\\]"'),
        ("I(age^3) = 0", 'there is no term "I\\(age\\^3\\)"; did you mean "I\\(age\\^2\\)"'),
        ("sd(school) = 1", 'there is no term "sd\\(school\\)"; there are: .* sd\\(district\\), sd\\(district, age\\)'),
        ("age", "it compares nothing; write for example"),
        ("age > 0 > 1", 'it has more than one "=", "<" or ">": give a list'),
        ("0 < age < 1", "it has more than one"),
        ("age * ch[Y] = 0", "a product of two terms is not linear"),
        ("1 / age = 0", "dividing by a term is not linear"),
        ("age / (1 - 1) = 0", "it divides by 0"),
        ("log(age) = 0", "log of a term is not linear"),
        ("age = log(0)", r"log\(0\) is not defined"),
        ("age = sqrt(-1)", r"sqrt\(-1\) is not defined"),
        ("age = exp(1e9)", r"exp\(1e\+09\) is not defined"),
        ("(age = 0", 'a "\\(" is never closed'),
        ("age) = 0", '"\\) = 0" cannot stand where'),
        ("age = 0)", '"\\)" cannot stand where'),
        ("age + = 0", 'a term or a number should stand where "="'),
        ("age = ", "it ends where a term or a number should follow"),
        ("", "it ends where a term or a number should follow"),
        ("2 age = 0", '"age = 0" cannot stand where'),
        ("age ^ 2 = 0", '"\\^ 2 = 0" cannot stand where'),
        ("__import__('os') = 0", 'a term or a number should stand where "_"|no term "__import__'),
        ("1 = 1", "says nothing about the model: no term is left"),
        ("age = age", "says nothing about the model"),
        ("age = 1e999", "a number that is too large"),
        ("(" * 5000 + "age = 0", "it is nested too deeply"),
        (5, "a hypothesis is a text .* not 5"),
        ([], "a hypothesis is a text"),
        (["age = 0", None], "a hypothesis is a text"),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(FitError, match=message):
        read_hypotheses(text, ROWS)


@given(st.text(st.sampled_from("age:ch[Y]()+-*/=<>0123.^ logsdIntercept,`|"), max_size=30))
def test_any_text_is_read_or_refused_in_words(text):
    message = refusal(lambda: read_hypotheses(text, ROWS))
    assert message is None or "\n" not in message


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(PLACE)), st.floats(-9, 9).map(lambda v: round(v, 3))), min_size=1, max_size=6
    ),
    st.floats(-9, 9).map(lambda v: round(v, 3)),
)
def test_sums_are_read_as_written(parts, constant):
    """A sum of numbers times terms, printed and read back."""
    expected = np.zeros(len(ROWS))
    for term, weight in parts:
        expected[PLACE[term]] += weight
    text = " + ".join(f"{weight:.3f} * {term}" for term, weight in parts).replace("+ -", "- ")
    if not (np.abs(expected) > 1e-9).any():
        return
    one = read(f"{text} = {constant:.3f}")
    np.testing.assert_allclose(one.weights, expected, atol=1e-12)
    assert one.constant == -constant


def test_a_column_keeps_its_name():
    rows = [
        ("fixed", "", "sigma", ""),
        ("fixed", "", "sd(g)", ""),
        ("sd", "g", "Intercept", ""),
        ("residual", "", "sigma", ""),
    ]
    names = spellings(rows)
    assert names["sigma"] == 0
    assert names["sd(g)"] == 1
    assert names["sd(g, Intercept)"] == 2
    assert names["sd(Residual)"] == 3


# wald -----------------------------------------------------------------------------------------------------------


def test_hypotheses_are_r_s(m_01, around):
    """By hand in R from lme4's estimates and its covariance (a Hessian by differences, good to 1e-4)."""
    expected = around["hypotheses"]
    table = m_01.hypothesis(["livch[1] = livch[2]", "2*age - 0.5 * urban[Y] = 0.1"])
    assert table.columns.tolist() == [
        "hypothesis", "estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value",
    ]  # fmt: skip
    for row, name in zip(table.itertuples(), ("equal", "mixed"), strict=True):
        assert row.estimate == pytest.approx(expected[name]["estimate"], abs=1e-5)
        assert row.std_error == pytest.approx(expected[name]["se"], rel=1e-3)
        assert row.statistic**2 == pytest.approx(expected[name]["chisq"], rel=2e-3)
        assert row.conf_high - row.estimate == pytest.approx(norm.ppf(0.975) * row.std_error)
    assert table.p_value[0] == pytest.approx(expected["equal"]["p"], rel=2e-3)
    joint = m_01.hypothesis(["livch[1] = livch[2]", "livch[2] = livch[3+]"], joint=True).iloc[0]
    assert [joint.statistic, joint.df] == pytest.approx([expected["joint"]["chisq"], 2], rel=2e-3)
    assert joint.p_value == pytest.approx(expected["joint"]["p"], rel=2e-3)
    assert joint.hypothesis == "livch[1] = livch[2], livch[2] = livch[3+]"


def test_a_term_alone_is_its_row_of_the_table(slopes):
    """Standard deviations and correlations too: the covariance is in the table's order."""
    table = slopes.table(level=0.9)
    texts = [*(f"{term} = 0" for term in slopes.design.terms), "sd(district) = 1", "sd(district, urban[Y]) = 1",
             "cor(district, Intercept, urban[Y]) = 0"]  # fmt: skip
    found = slopes.hypothesis(texts, level=0.9)
    np.testing.assert_allclose(found.std_error, table.std_error, rtol=1e-9)
    shift = np.array([0] * 5 + [1, 1, 0])
    np.testing.assert_allclose(found.estimate, table.estimate - shift, rtol=1e-9)
    np.testing.assert_allclose(found.statistic[:5], table.statistic[:5], rtol=1e-9)
    np.testing.assert_allclose(found.p_value[:5], table.p_value[:5], rtol=1e-9)
    np.testing.assert_allclose(found.conf_low[:5], table.conf_low[:5], rtol=1e-9)


def test_covariances_between_components(sleepstudy):
    """Of σ and a standard deviation: against the derivative of their difference by the delta method, by hand."""
    fit = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian").fit_ml()
    C = fit.solution.covariance[2:, 2:]
    row = fit.hypothesis("sd(Subject) - sigma > 0").iloc[0]
    assert row.std_error == pytest.approx(np.sqrt(C[0, 0] + C[1, 1] - 2 * C[0, 1]))
    assert row.estimate == pytest.approx(fit.varcorr().sd[0] - fit.sigma)


def test_one_sided_p_values(m_01):
    above, below, both = m_01.hypothesis(["age > 0", "age < 0", "age = 0"]).p_value
    assert above + below == pytest.approx(1.0)
    assert both == pytest.approx(2 * min(above, below))
    assert below < 0.01 < above  # the estimate is −0.0266
    assert m_01.hypothesis("0 > age").p_value[0] == pytest.approx(below)


def test_far_out_no_digits_are_lost():
    (h,) = read_hypotheses("age > 0", [("fixed", "", "age", "")])
    assert wald(h, np.array([20.0]), np.eye(1), 0.95)[5] == pytest.approx(norm.sf(20.0), rel=1e-10)
    from scipy.stats import t

    assert wald(h, np.array([20.0]), np.eye(1), 0.95, 7.0)[5] == pytest.approx(t.sf(20.0, 7), rel=1e-10)


def test_the_end_of_a_range_is_no_wald_test(slopes):
    table = slopes.hypothesis(["sd(district) > 0", "cor(district, Intercept, urban[Y]) = -1", "sd(district) = 0.5"])
    assert table.p_value.isna().tolist() == [True, True, False]
    assert table.statistic.isna().tolist() == [True, True, False]
    assert table.std_error.notna().all()
    assert table.attrs["notes"][0] == (
        "sd(district) > 0: no test, it puts a standard deviation at 0, the end of its range; bm.drop1() and bm.anova() "
        "test that."
    )
    assert "a correlation at ±1" in table.attrs["notes"][1]
    with pytest.raises(FitError, match=r"bm\.anova\(\) or bm\.drop1\(\)"):
        slopes.hypothesis(["sd(district) = 0", "age = 0"], joint=True)


def test_a_standard_deviation_at_zero_spoils_only_itself():
    """What is estimated at the end of its range has no standard error, and no test of any value, not only of 0."""
    data = {"g": np.repeat(np.arange(12), 10), "x": np.tile(np.linspace(0, 1, 10), 12)}
    data["y"] = np.tile([0, 1, 0, 0, 1, 1, 0, 1, 1, 1], 12)
    fit = Model("y ~ x + (1 | g)", data).fit_ml()
    assert fit.varcorr().sd[0] == 0.0
    table = fit.hypothesis(["x = 0", "sd(g) = 1", "sd(g) - x < 2"])
    assert table.std_error[0] == pytest.approx(fit.table().std_error[1])
    assert table.estimate.tolist() == pytest.approx([fit.fixef()["x"], -1.0, -fit.fixef()["x"] - 2.0])
    for column in ("std_error", "conf_low", "conf_high", "statistic", "p_value"):
        assert table[column].isna().tolist() == [False, True, True]
    assert table.attrs["notes"] == [
        f"{text}: no test, sd(g) is estimated at the end of its range, where there is no standard error; bm.drop1() and "
        f"bm.anova() compare models."
        for text in ("sd(g) = 1", "sd(g) - x < 2")
    ]
    with pytest.raises(FitError) as refused:
        fit.hypothesis(["x = 0", "sd(g) = 1"], joint=True)
    assert str(refused.value) == (
        '"sd(g) = 1" cannot be tested by Wald: sd(g) is estimated at the end of its range, where there is no standard '
        "error; compare the models by bm.anova() or bm.drop1()"
    )


def test_a_correlation_of_one_has_no_test_and_its_standard_deviations_have():
    fit = Model("y ~ x + (x | g)", one_effect_twice(-1)).fit_ml()
    table = fit.table().set_index(["component", "term"])
    assert table.estimate["cor", "Intercept,x"] == pytest.approx(-1.0, abs=1e-4)
    found = fit.hypothesis(["cor(g, Intercept, x) = 0", "sd(g) = 1", "sd(g) = sd(g, x)"])
    assert found.p_value.isna().tolist() == [True, False, False]
    assert found.std_error[1] == pytest.approx(table.std_error["sd", "Intercept"])
    (note,) = found.attrs["notes"]
    assert note.startswith(
        "cor(g, Intercept, x) = 0: no test, cor(g, Intercept, x) is estimated at the end of its range"
    )


def test_joint_tests_count_what_is_independent(m_01):
    two = m_01.hypothesis(["livch[1] = livch[2]", "livch[2] = livch[3+]"], joint=True)
    three = m_01.hypothesis(["livch[1] = livch[2]", "livch[2] = livch[3+]", "livch[1] = livch[3+]"], joint=True)
    assert three.df[0] == two.df[0] == 2
    assert three.statistic[0] == pytest.approx(two.statistic[0], rel=1e-9)
    one = m_01.hypothesis("age = 0.1", joint=True)
    assert one.statistic[0] == pytest.approx(m_01.hypothesis("age = 0.1").statistic[0] ** 2)
    with pytest.raises(FitError, match="the hypotheses contradict each other"):
        m_01.hypothesis(["age = 0", "2 * age = 1"], joint=True)
    with pytest.raises(FitError, match='a joint test is of equalities; "age > 0" is not one'):
        m_01.hypothesis(["age > 0", "urban[Y] = 0"], joint=True)


def test_a_joint_test_does_not_depend_on_how_it_is_written():
    rng = np.random.default_rng(2)
    A = rng.normal(size=(3, 3))
    V, estimate = A @ A.T * np.outer([1, 1e4, 1e-4], [1, 1e4, 1e-4]), np.array([0.4, 3e4, -2e-4])
    rows = [("fixed", "", term, "") for term in "abc"]
    first = read_hypotheses(["a = 1", "b - 1e8*c = 5"], rows)
    second = read_hypotheses(["3*b - 3e8*c = 15", "a + b - 1e8*c = 6"], rows)
    tests = [joint_wald(each, estimate, V) for each in (first, second)]
    assert tests[0].df == tests[1].df == 2
    assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=1e-8)
    L = np.array([[1, 0, 0], [0, 1, -1e8]])
    d = L @ estimate - [1, 5]
    assert tests[0].statistic == pytest.approx(d @ np.linalg.solve(L @ V @ L.T, d), rel=1e-8)


def test_a_posterior_mode_has_its_curvature(contraception):
    mode = Model("use ~ urban + (1 | district)", contraception).fit_map()
    table = mode.hypothesis("urban[Y] > 0")
    assert table.attrs["interval"] == "95% normal, from the curvature of the log-posterior"
    assert table.estimate[0] == mode.fixef()["urban[Y]"]


# over draws -----------------------------------------------------------------------------------------------------


def test_probabilities_are_shares_of_draws(posterior):
    beta = posterior.tree["posterior"]["beta"].to_numpy().reshape(-1, 3)
    sd = posterior.tree["posterior"]["sd_district"].to_numpy().reshape(-1)
    table = posterior.hypothesis(["urban[Y] > ch[Y]", "sd(district) < 0.5", "urban[Y] - log(2) > 0"], level=0.8)
    assert table.columns.tolist() == [
        "hypothesis", "estimate", "std_error", "conf_low", "conf_high", "probability", "evidence_ratio",
    ]  # fmt: skip
    d = beta[:, 1] - beta[:, 2]
    expected = [d.mean(), d.std(ddof=1), *np.quantile(d, [0.1, 0.9]), (d > 0).mean(), (d > 0).sum() / (d <= 0).sum()]
    assert table.iloc[0, 1:].tolist() == pytest.approx(expected)
    assert table.probability.tolist()[1:] == pytest.approx([(sd < 0.5).mean(), (beta[:, 1] > np.log(2)).mean()])
    assert posterior.hypothesis("urban[Y] > -9").evidence_ratio[0] == np.inf
    joint = posterior.hypothesis(["urban[Y] > log(2)", "sd(district) < 0.5"], joint=True)
    assert joint.probability[0] == pytest.approx(((beta[:, 1] > np.log(2)) & (sd < 0.5)).mean())
    assert joint.hypothesis[0] == "urban[Y] > log(2), sd(district) < 0.5"


def test_the_evidence_for_a_point_is_the_ratio_of_densities(posterior):
    """The posterior is near normal: its density at a point, over the prior's (Savage & Dickey)."""
    beta = posterior.tree["posterior"]["beta"].to_numpy().reshape(-1, 3)[:, 1]
    prior = norm(0.5, 0.5)
    row = posterior.hypothesis("urban[Y] = 0.7").iloc[0]
    # A kernel estimate from two thousand draws is good to some 10 %.
    assert row.evidence_ratio == pytest.approx(norm.pdf(0.7, beta.mean(), beta.std()) / prior.pdf(0.7), rel=0.15)
    assert row.probability == pytest.approx(row.evidence_ratio / (1 + row.evidence_ratio))
    assert posterior.hypothesis("2 * urban[Y] = 1.4").evidence_ratio[0] == pytest.approx(row.evidence_ratio)
    assert posterior.hypothesis("urban[Y] = -1").evidence_ratio[0] < 0.01
    # Of two terms, again where there are draws enough to say.
    both = posterior.hypothesis("urban[Y] = ch[Y] - 0.2").iloc[0]
    sd = float(posterior.design.priors.fixed[2]["sd"])
    d = posterior._values()[:, 1] - posterior._values()[:, 2] + 0.2
    density = norm.pdf(-0.2, 0.5, np.hypot(0.5, sd))
    assert both.evidence_ratio == pytest.approx(norm.pdf(0, d.mean(), d.std()) / density, rel=0.15)


def test_points_without_a_prior_density_have_no_evidence_ratio(posterior):
    table = posterior.hypothesis(["Intercept = 0", "sd(district) = 0.5", "urban[Y] = 0"])
    assert table.evidence_ratio.isna().tolist() == [True, True, False]
    assert [note.split(":")[0] for note in table.attrs["notes"]] == ["Intercept = 0", "sd(district) = 0.5"]
    with pytest.raises(FitError, match='"urban\\[Y\\] = 0" is one point, which has no probability'):
        posterior.hypothesis(["urban[Y] = 0", "ch[Y] > 0"], joint=True)


def test_a_posterior_has_no_degrees_of_freedom(posterior):
    for call in (posterior.table, lambda df: posterior.hypothesis("urban[Y] > 0", df=df)):
        with pytest.raises(FitError, match="a posterior has no degrees of freedom: its limits are quantiles"):
            call(df="satterthwaite")


def test_every_fit_reads_the_same_names(m_01, posterior):
    for fit in (m_01, posterior):
        with pytest.raises(FitError, match='there is no term "urban"; did you mean "urban\\[Y\\]"'):
            fit.hypothesis("urban > 0")
