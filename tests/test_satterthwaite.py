"""Satterthwaite's degrees of freedom against lmerTest, and where there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student

from bayesmlm.datasets import load_dataset
from bayesmlm.deletion import drop1
from bayesmlm.errors import ComparisonError, FitError
from bayesmlm.ml.satterthwaite import FixedVariance, fixed_variance
from bayesmlm.model import Model
from tests.likelihood_reference import table_of

NAMES = [
    "sleep", "sleep_ml", "sleep_uncorrelated", "sleep_intercepts", "sleep_weights", "pastes", "pastes_cask",
    "penicillin", "exam",
]  # fmt: skip


FTESTS = json.loads((Path(__file__).parent / "reference" / "ftests.json").read_text(encoding="utf-8"))
"""What lmerTest says of several fixed effects at once; see ``reference/ftests.R``."""


def fit_of(entry):
    data = load_dataset("exam") if entry["data"] == "exam" else table_of(entry["data"].removesuffix("_cut"))
    if entry["data"] == "pastes_cut":
        data = data.assign(turn=np.resize(["x", "y"], len(data)))
        data = data[~((data.cask == "c") & data.batch.isin(["A", "B", "C"]))]
    if entry["data"] == "sleepstudy":
        n = len(data)
        data = data.assign(w=np.resize([1.0, 2.0, 0.5], n), o=np.resize([0.0, 10.0, -5.0, 20.0], n))
    model = Model(entry["formula"], data, family="gaussian", weights=entry.get("weights"))
    return model.fit_ml(reml=entry["reml"])


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_lmertest_s(name, around):
    """lmerTest differentiates its own optimum, good to some 1e-7, by numDeriv; 7e-7 is the farthest it is off."""
    entry = around["satterthwaite"][name]
    table = fit_of(entry).table(df="satterthwaite")
    fixed = table[table.component == "fixed"]
    np.testing.assert_allclose(fixed.df, entry["df"], rtol=1e-6)
    np.testing.assert_allclose(fixed.statistic, entry["t"], rtol=2e-6, atol=1e-9)
    # Far out, a p-value magnifies the error of its t some fifty times.
    np.testing.assert_allclose(fixed.p_value, entry["p"], rtol=2e-5)
    width = student.ppf(0.975, np.array(entry["df"])) * np.array(entry["se"])
    np.testing.assert_allclose(fixed.conf_high, np.array(entry["estimate"]) + width, rtol=1e-6)


def test_sleepstudy_has_the_degrees_of_freedom_of_its_subjects(around):
    fit = fit_of(around["satterthwaite"]["sleep"])
    np.testing.assert_allclose(fit.table(df="satterthwaite").df[:2], [17.0, 17.0], atol=1e-6)


@pytest.mark.parametrize("name", ["sleep", "sleep_weights"])
def test_contrasts_are_lmertest_s(name, around):
    entry = around["satterthwaite"][name]
    a, b = entry["contrast"]["weights"]
    row = fit_of(entry).hypothesis(f"{a}*Intercept + {b}*Days = 0", df="satterthwaite").iloc[0]
    expected = [entry["contrast"][key] for key in ("estimate", "se", "df")]
    assert [row.estimate, row.std_error, row.df] == pytest.approx(expected, rel=1e-6)
    assert row.p_value == pytest.approx(entry["contrast"]["p"], rel=2e-5)


JOINT = [(name, i) for name, entry in FTESTS.items() if name != "_note" for i in range(len(entry["joint"]))]


@pytest.mark.parametrize(("name", "place"), JOINT)
def test_joint_tests_are_lmertest_s(name, place):
    """As far as its numerical derivatives go; the farthest it is off is 2e-6, in a p-value 2e-5."""
    expected = FTESTS[name]["joint"][place]
    (row,) = fit_of(FTESTS[name]).hypothesis(expected["text"], joint=True, df="satterthwaite").to_dict("records")
    assert list(row) == ["hypothesis", "statistic", "df", "df_denom", "p_value"]
    assert row["df"] == expected["df"]
    assert row["df_denom"] == pytest.approx(expected["df_denom"], rel=1e-6)
    assert row["statistic"] == pytest.approx(expected["f"], rel=2e-6)
    assert row["p_value"] == pytest.approx(expected["p"], rel=2e-5)


@pytest.mark.parametrize("name", [name for name in FTESTS if name != "_note"])
def test_dropped_terms_are_lmertest_s(name):
    """The same bounds; R names a product of two terms as the formula does."""
    expected, table = FTESTS[name]["dropped"], drop1(fit_of(FTESTS[name]), df="satterthwaite")
    assert table.columns.tolist() == ["term", "df", "df_denom", "statistic", "p_value"]
    assert table.term.tolist() == expected["term"]
    np.testing.assert_array_equal(table.df, expected["df"])
    np.testing.assert_allclose(table.df_denom, expected["df_denom"], rtol=1e-6)
    np.testing.assert_allclose(table.statistic, expected["f"], rtol=2e-6)
    np.testing.assert_allclose(table.p_value, expected["p"], rtol=2e-5)
    assert table.attrs["distribution"][0] == f"F({table.df[0]}, {table.df_denom[0]:.1f})"


def test_one_hypothesis_at_once_is_that_hypothesis(sleepstudy):
    """F with one degree of freedom is t squared."""
    fit = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian").fit_ml(reml=True)
    one = fit.hypothesis("Days = 9", df="satterthwaite").iloc[0]
    joint = fit.hypothesis(["Days = 9", "2 * Days = 18"], joint=True, df="satterthwaite").iloc[0]
    assert joint.df == 1
    assert [joint.statistic, joint.df_denom] == pytest.approx([one.statistic**2, one.df], rel=1e-9)
    assert joint.p_value == pytest.approx(one.p_value, rel=1e-9)


def test_without_groups_f_is_exact(sleepstudy):
    """R's anova of two linear models: F with the residual's own degrees of freedom."""
    fit = Model("Reaction ~ Days + I(Days^2)", sleepstudy, family="gaussian").fit_ml(reml=True)
    row = fit.hypothesis(["Days = 0", "I(Days^2) = 0"], joint=True, df="satterthwaite").iloc[0]
    ols = sm.OLS(sleepstudy.Reaction, np.column_stack([np.ones(180), sleepstudy.Days, sleepstudy.Days**2])).fit()
    assert [row.df, row.df_denom] == pytest.approx([2, 177])
    assert [row.statistic, row.p_value] == pytest.approx([ols.fvalue, ols.f_pvalue], rel=1e-8)


def test_few_degrees_of_freedom_leave_f_the_least():
    """Combinations of 2 and of 50 degrees of freedom: the first has no mean of its own."""
    A, d = np.diag([0.5, 0.02]), np.eye(2)
    V = FixedVariance(np.eye(2), np.array([np.diag(d[0]), np.diag(d[1])]), 2.0 * A, np.inf)
    assert V.degrees_of_freedom(np.eye(2)).tolist() == pytest.approx([2.0, 50.0])
    assert V.joint_degrees_of_freedom(np.eye(2)) == 2.0
    more = FixedVariance(V.covariance, V.slopes, np.diag([2.0 / 4.0, 2.0 / 10.0]), np.inf)
    # Σ ν / (ν − 2) = 4/2 + 10/8, by hand.
    assert more.joint_degrees_of_freedom(np.eye(2)) == pytest.approx(2 * 3.25 / 1.25)


def test_a_linear_model_has_its_residual_s(sleepstudy):
    """One variance, known to n − p degrees of freedom: exact, under REML."""
    table = Model("Reaction ~ Days", sleepstudy, family="gaussian").fit_ml(reml=True).table(df="satterthwaite")
    np.testing.assert_allclose(table.df[:2], [178.0, 178.0])


def test_units_do_not_matter(sleepstudy):
    """Columns and response in other units, far from the origin: the same degrees of freedom."""
    other = sleepstudy.assign(Days=1e4 + 86400.0 * sleepstudy.Days, Reaction=sleepstudy.Reaction / 1000)
    fits = [
        Model("Reaction ~ Days + (1 | Subject)", data, family="gaussian").fit_ml(reml=True)
        for data in (sleepstudy, other)
    ]
    slopes = [fit.table(df="satterthwaite").df[1] for fit in fits]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-7)


def test_slopes_are_derivatives(sleepstudy):
    """g is along the profile: against refits at a θ held beside its best, by the definition of σ̂² (X'V⁻¹X)⁻¹."""
    model = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian")
    solution = model.fit_ml(reml=True).solution
    V = fixed_variance(model.design, solution.theta, solution.sigma, reml=True)
    X, y = np.column_stack([np.ones(180), sleepstudy.Days]), sleepstudy.Reaction.to_numpy()
    Z = (model.design.groups[0].codes[:, None] == np.arange(18)).astype(float)

    def by_definition(theta):
        inverse = np.linalg.inv(np.eye(180) + theta**2 * Z @ Z.T)
        A = np.linalg.inv(X.T @ inverse @ X)
        r = y - X @ A @ X.T @ inverse @ y
        return r @ inverse @ r / 178 * A

    at, h = solution.theta[0] / solution.sigma, 1e-4
    np.testing.assert_allclose(V.covariance, by_definition(at), rtol=1e-9)
    expected = (by_definition(at + h) - by_definition(at - h)) / (2 * h)
    # Central differences with this step keep seven digits of the largest entry.
    np.testing.assert_allclose(V.slopes[0], expected, atol=1e-6 * np.abs(expected).max())


def test_a_variance_at_zero_adds_nothing():
    """With no variance between groups what is left is the residual's; groups without any effect, by REML."""
    data = table_of("singular")
    fit = Model("z ~ x + (1 | g)", data, family="gaussian").fit_ml(reml=True)
    assert fit.varcorr().sd[0] == 0.0
    np.testing.assert_allclose(fit.table(df="satterthwaite").df[:2], [198.0, 198.0], rtol=1e-6)


def test_the_table_around_it_stays(sleepstudy):
    fit = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian").fit_ml(reml=True)
    table, plain = fit.table(ranef=True, df="satterthwaite"), fit.table(ranef=True)
    assert table.columns.tolist() == [*plain.columns[:-1], "df", "p_value"]
    rest = plain.component != "fixed"
    assert table[rest].drop(columns="df").equals(plain[rest])
    assert table.df[rest].isna().all()
    assert table.attrs["interval"] == "95% t, Satterthwaite's degrees of freedom (fixed effects)"
    np.testing.assert_allclose(fit.table(level=0.5, df="satterthwaite").statistic[:2], plain.statistic[:2])


def test_where_there_are_none(contraception, sleepstudy):
    glmm = Model("use ~ age + (1 | district)", contraception).fit_ml()
    with pytest.raises(FitError, match=r"of gaussian models; the bernoulli .* family has none, and its statistic is z"):
        glmm.table(df="satterthwaite")
    with pytest.raises(FitError, match="its statistic is z"):
        glmm.hypothesis("age = 0", df="satterthwaite")
    model = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian")
    with pytest.raises(FitError, match="a posterior mode has no degrees of freedom"):
        model.fit_map().table(df="satterthwaite")
    with pytest.raises(FitError, match="df should be None or \"satterthwaite\", not 'kenward'"):
        model.fit_ml().table(df="kenward")
    with pytest.raises(FitError, match=r'degrees of freedom are of fixed effects; "sd\(Subject\) = Days" is not'):
        model.fit_ml().hypothesis("sd(Subject) = Days", df="satterthwaite")
    with pytest.raises(FitError, match=r'degrees of freedom are of fixed effects; "sd\(Subject\) = Days" is not'):
        model.fit_ml().hypothesis(["sd(Subject) = Days"], joint=True, df="satterthwaite")
    with pytest.raises(FitError, match=r"the bernoulli .* family has none"):
        glmm.hypothesis(["age = 0", "Intercept = 0"], joint=True, df="satterthwaite")
    with pytest.raises(FitError, match="its statistic is z"):
        drop1(glmm, df="satterthwaite")
    with pytest.raises(ComparisonError, match='F tests are of fixed effects: give df= with part="fixed"'):
        drop1(model.fit_ml(), part="all", df="satterthwaite")
