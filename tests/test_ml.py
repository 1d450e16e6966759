"""The likelihood reading against lme4 and statsmodels, its invariances, and what it refuses."""

import re

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, gammaln
from scipy.stats import norm

from bayesmlm.errors import FitError, NoMaximumError
from bayesmlm.laplace.covariance import factors
from bayesmlm.ml import engine
from bayesmlm.ml.fit import MLFit
from bayesmlm.model import Model
from bayesmlm.prediction import averaged_mean

GLMMS = ["con_livch", "con_quad", "con_int", "con_ud", "con_slope", "cbpp", "exam_schavg", "exam_slope"]
SCALAR = [name for name in GLMMS if name not in ("con_slope", "exam_slope")]


def fit_of(formula, data, family="bernoulli", n_agq=1, **extras):
    return Model(formula, data, family=family, **extras).fit_ml(n_agq=n_agq)


def our_name(name):
    """R's name of a coefficient in our spelling: ``age:chY`` is ``age:ch[Y]``."""
    name = re.sub(r"\b(urban|ch|livch|sex|period)(Y|M|\d\+?)(?=:|$)", r"\1[\2]", name)
    return "Intercept" if name == "(Intercept)" else name


# lme4 -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fits(reference, datasets):
    """Every reference model fitted once: by Laplace, and by 9 points where it has one scalar term."""
    made = {}
    for name in GLMMS:
        model = Model(reference[name]["formula"], datasets[reference[name]["dataset"]])
        made[name, 1] = model.fit_ml()
        if name in SCALAR:
            made[name, 9] = model.fit_ml(n_agq=9)
    return made


def check_coefficients(fit, coef, se):
    """Estimates within 2e-4 of their standard error, standard errors within 1e-3 of themselves.

    lme4's optimiser, restarted at its tightest tolerances, still stops up to 3e-5 of a standard error short; its
    Hessian is by finite differences of the deviance.
    """
    fixed = fit.table()
    fixed = fixed[fixed.component == "fixed"]
    assert fixed.term.tolist() == [our_name(name) for name in coef]
    errors = np.array(list(se.values()))
    assert np.max(np.abs(fixed.estimate - list(coef.values())) / errors) < 2e-4
    np.testing.assert_allclose(fixed.std_error, errors, rtol=1e-3)


@pytest.mark.parametrize("name", GLMMS)
def test_laplace_is_lme4s(name, fits, reference):
    fit, lme4 = fits[name, 1], reference[name]["tight_nlopt"]
    check_coefficients(fit, lme4["coef"], lme4["se"])
    assert fit.loglik == pytest.approx(lme4["logLik"], abs=2e-6)
    assert fit.aic == pytest.approx(lme4["AIC"], abs=4e-6)
    assert fit.bic == pytest.approx(lme4["BIC"], abs=4e-6)
    assert fit.deviance == pytest.approx(-2 * lme4["logLik"], abs=4e-6)
    assert (fit.nobs, fit.df_model) == (lme4["nobs"], lme4["df"])
    assert {g.name: g.n_levels for g in fit.design.groups} == lme4["ngrps"]
    assert fit.converged


@pytest.mark.parametrize("name", GLMMS)
def test_laplace_never_stops_below_lme4(name, fits, reference):
    """The maximum is one number: what lme4 found is a lower bound of it (to rounding of its own value, 1e-8)."""
    assert fits[name, 1].loglik > reference[name]["tight_nlopt"]["logLik"] - 1e-8


@pytest.mark.parametrize("name", GLMMS)
def test_standard_deviations_and_correlations_are_lme4s(name, fits, reference):
    """Within 2e-5, terms with a correlation (whose likelihood is flatter) within 1e-4."""
    lme4 = reference[name]["tight_nlopt"]["varcorr"]
    table = fits[name, 1].table()
    table = table[table.component != "fixed"]
    expected = [(our_name(row["var1"]), row["var2"] and our_name(row["var2"])) for row in lme4]
    assert table.term.tolist() == [a if b is None else f"{a},{b}" for a, b in expected]
    assert table.component.tolist() == ["sd" if b is None else "cor" for _, b in expected]
    tolerance = 2e-5 if len(lme4) == 1 else 1e-4
    np.testing.assert_allclose(table.estimate, [row["sdcor"] for row in lme4], atol=tolerance)
    np.testing.assert_allclose(
        fits[name, 1].solution.theta, np.atleast_1d(reference[name]["tight_nlopt"]["theta"]), atol=tolerance
    )


@pytest.mark.parametrize("name", SCALAR)
def test_quadrature_is_lme4s(name, fits, reference):
    fit, lme4 = fits[name, 9], reference[name]["tight_nAGQ9"]
    check_coefficients(fit, lme4["coef"], lme4["se_hessian"])
    assert fit.solution.theta[0] == pytest.approx(lme4["theta"], abs=2e-5)
    if name != "cbpp":
        assert fit.loglik == pytest.approx(lme4["logLik"], abs=2e-6)


def test_quadrature_of_counts_keeps_every_constant(fits, reference):
    """lme4 1.1-31 drops them for rows of several trials: its -50.005 is no log-likelihood; -91.983 is."""
    assert fits["cbpp", 9].loglik == pytest.approx(-91.983, abs=5e-4)
    assert reference["cbpp"]["tight_nAGQ9"]["logLik"] == pytest.approx(-50.005, abs=5e-4)
    assert abs(fits["cbpp", 9].loglik - fits["cbpp", 1].loglik) < 0.1


@pytest.mark.parametrize("points", [1, 9])
@pytest.mark.parametrize("name", SCALAR)
def test_conditional_modes_and_variances_are_lme4s(name, points, fits, reference):
    lme4 = reference[name]["ranef" if points == 1 else "tight_nAGQ9"]
    lme4 = lme4 if points == 1 else lme4["ranef"]
    effects = fits[name, points].ranef().set_index("level")
    assert set(effects.index) == set(lme4["level"])
    effects = effects.loc[lme4["level"]]
    np.testing.assert_allclose(effects.estimate, lme4["mode"], atol=1e-4)
    np.testing.assert_allclose(effects.std_error**2, lme4["variance"], rtol=1e-4)


def test_the_model_without_groups_is_rs(reference, contraception):
    r = reference["con_glm"]["glm"]
    fit = fit_of(reference["con_glm"]["formula"], contraception)
    fixed = fit.table()
    assert fixed.term.tolist() == [our_name(name) for name in r["coef"]]
    np.testing.assert_allclose(fixed.estimate, list(r["coef"].values()), rtol=1e-9)
    np.testing.assert_allclose(fixed.std_error, list(r["se"].values()), rtol=1e-8)
    assert fit.loglik == pytest.approx(r["logLik"], rel=1e-11)
    assert fit.deviance == pytest.approx(r["deviance"], rel=1e-11)
    assert fit.null_deviance == pytest.approx(r["null_deviance"], rel=1e-11)
    assert (fit.aic, fit.bic) == (pytest.approx(r["AIC"], rel=1e-11), pytest.approx(r["BIC"], rel=1e-11))
    assert (fit.nobs, fit.df_model, fit.df_resid) == (r["nobs"], r["df"], r["nobs"] - r["df"])


# statsmodels --------------------------------------------------------------------------------------------------

GLM_LINKS = {"logit": sm.families.links.Logit, "probit": sm.families.links.Probit, "cloglog": sm.families.links.CLogLog}


def check_glm(fit, oracle):
    """Newton's method and IRLS meet to 1e-7; the information is the observed one, equal for canonical links."""
    np.testing.assert_allclose(fit.fixef(), oracle.params, rtol=1e-6, atol=1e-8)
    assert fit.loglik == pytest.approx(oracle.llf, rel=1e-9)


@pytest.mark.parametrize("link", GLM_LINKS)
def test_binary_glm(link, toy):
    fit = fit_of("y ~ x + f + offset(o)", toy, link=link)
    oracle = sm.GLM(toy.y, fit.design.X, sm.families.Binomial(GLM_LINKS[link]()), offset=toy.o).fit(tol=1e-12)
    check_glm(fit, oracle)
    observed = -oracle.model.hessian(oracle.params, observed=True)
    np.testing.assert_allclose(fit.vcov(), np.linalg.inv(observed), rtol=1e-5)


@pytest.mark.parametrize("link", GLM_LINKS)
def test_binomial_glm(link, toy):
    fit = fit_of("cbind(s, n - s) ~ x + f", toy, "binomial", link=link)
    counts = np.column_stack([toy.s, toy.n - toy.s])
    check_glm(fit, sm.GLM(counts, fit.design.X, sm.families.Binomial(GLM_LINKS[link]())).fit(tol=1e-12))
    for other in (fit_of("s / n ~ x + f", toy, link=link),
                  fit_of("p ~ x + f", toy.assign(p=toy.s / toy.n), "binomial", link=link, weights="n")):  # fmt: skip
        assert other.loglik == pytest.approx(fit.loglik, abs=1e-9)
        np.testing.assert_allclose(other.fixef(), fit.fixef(), atol=1e-9)


def test_poisson_glm(toy):
    fit = fit_of("count ~ x + f + offset(log(n))", toy, "poisson")
    oracle = sm.GLM(toy["count"], fit.design.X, sm.families.Poisson(), offset=np.log(toy.n)).fit(tol=1e-12)
    check_glm(fit, oracle)
    np.testing.assert_allclose(fit.table().std_error, oracle.bse, rtol=1e-6)


def test_glm_with_frequencies(toy):
    fit = fit_of("y ~ x + f", toy, freq="reps")
    oracle = sm.GLM(toy.y, fit.design.X, sm.families.Binomial(), freq_weights=toy.reps).fit(tol=1e-12)
    check_glm(fit, oracle)
    np.testing.assert_allclose(fit.table().std_error, oracle.bse, rtol=1e-6)
    assert fit.nobs == toy.reps.sum()


# invariances --------------------------------------------------------------------------------------------------

MODELS = {
    "one": ("y ~ x + f + (1 | g)", "bernoulli"),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", "bernoulli"),
    "nested": ("y ~ x + (1 | g/f)", "bernoulli"),
    "slopes": ("cbind(s, n - s) ~ x + (x | g)", "binomial"),
    "uncorrelated": ("cbind(s, n - s) ~ x + (x || g)", "binomial"),
    "counts": ("count ~ x + (1 | h)", "poisson"),
    "linear": ("v ~ x + f + (x | h) + (1 | g)", "gaussian"),
}


@pytest.fixture(scope="module")
def toy(toy):
    """With a continuous response whose groups differ in level and slope."""
    rng = np.random.default_rng(21)
    of_g = dict(zip(sorted(toy.g.unique()), 1.5 * rng.normal(size=6), strict=True))
    of_h = rng.normal(size=(8, 2)) * [1.0, 0.7]
    effects = of_h[toy.h, 0] + of_h[toy.h, 1] * toy.x + toy.g.map(of_g)
    return toy.assign(v=3.0 + 0.8 * toy.x + effects + 0.7 * rng.normal(size=len(toy)))


def same(a, b, atol=1e-5):
    """Two fits of one model: log-likelihood to 1e-7, every estimate to 1e-5, standard errors to 1e-3."""
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    ta, tb = a.table(), b.table()
    np.testing.assert_allclose(ta.estimate, tb.estimate, atol=atol)
    finite = np.isfinite(ta.std_error) & (ta.std_error < 100)
    np.testing.assert_allclose(ta.std_error[finite], tb.std_error[finite], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=3)
def test_order_of_rows(name, seed, toy):
    formula, family = MODELS[name]
    shuffled = toy.sample(frac=1.0, random_state=seed)
    a, b = fit_of(formula, toy, family), fit_of(formula, shuffled, family)
    same(a, b)
    np.testing.assert_allclose(a.ranef().estimate, b.ranef().estimate, atol=1e-4)
    np.testing.assert_allclose(a.fitted()[shuffled.index], b.fitted(), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_order_of_terms(name, toy):
    formula, family = MODELS[name]
    response, right = formula.split(" ~ ")
    reordered = f"{response} ~ {' + '.join(reversed(right.split(' + ')))}" if name != "slopes" else formula
    a, b = fit_of(formula, toy, family), fit_of(reordered, toy, family)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    np.testing.assert_allclose(a.fixef(), b.fixef()[a.fixef().index], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_names_of_groups_are_only_names(name, toy):
    formula, family = MODELS[name]
    renamed = toy.assign(
        g=toy.g.map({"north": "z", "south": "a", "east": "m", "west": "k", "centre": "1", "coast": "?"}), h=9 - toy.h
    )
    same(fit_of(formula, toy, family), fit_of(formula, renamed, family))


def test_another_reference_level(contraception):
    """b for Y against N is minus b for N against Y; the intercept moves by it; the slope's sd moves along."""
    turned = contraception.assign(urban=contraception.urban.cat.reorder_categories(["Y", "N"]))
    a = fit_of("use ~ age + urban + (1 | district)", contraception)
    b = fit_of("use ~ age + urban + (1 | district)", turned)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    assert b.fixef()["urban[N]"] == pytest.approx(-a.fixef()["urban[Y]"], abs=1e-6)
    assert b.fixef()["Intercept"] == pytest.approx(a.fixef()["Intercept"] + a.fixef()["urban[Y]"], abs=1e-6)
    assert a.varcorr().sd[0] == pytest.approx(b.varcorr().sd[0], abs=1e-6)


@pytest.mark.parametrize(
    ("formula", "family"),
    [("y ~ x + f + (f | h)", "bernoulli"), ("count ~ f * x + (1 | g)", "poisson"), ("v ~ x + f + (f | h)", "gaussian")],
)
def test_levels_in_any_order_are_the_same_model(formula, family, toy):
    """Also of a factor that varies by group, whose covariance matrix is another one of the same effects."""
    a, b = (
        fit_of(formula, toy.assign(f=pd.Categorical(toy.f, order)), family)
        for order in (["a", "b", "c"], ["c", "a", "b"])
    )
    assert a.loglik == pytest.approx(b.loglik, abs=1e-6)
    np.testing.assert_allclose(a.fitted(), b.fitted(), atol=1e-4)
    assert b.fixef()["f[b]"] == pytest.approx(a.fixef()["f[b]"] - a.fixef()["f[c]"], abs=1e-4)


def test_the_other_answer_as_event(contraception):
    turned = contraception.assign(use=contraception.use.cat.reorder_categories(["Y", "N"]))
    a, b = (fit_of("use ~ age + urban + (1 | district)", d) for d in (contraception, turned))
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    np.testing.assert_allclose(a.fixef(), -b.fixef(), atol=1e-6)
    np.testing.assert_allclose(a.ranef().estimate, -b.ranef().estimate, atol=1e-5)


@given(scale=st.floats(1e-4, 1e4), shift=st.floats(-1e3, 1e3))
@settings(max_examples=8)
def test_scale_and_place_of_a_column(scale, shift, contraception):
    """For x' = scale (x + shift): b' = b / scale and the intercept gives up b · shift."""
    moved = contraception.assign(age=scale * (contraception.age + shift))
    a = fit_of("use ~ age + urban + (1 | district)", contraception)
    b = fit_of("use ~ age + urban + (1 | district)", moved)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    se = np.sqrt(np.diag(a.vcov()))
    assert b.fixef()["age"] * scale == pytest.approx(a.fixef()["age"], abs=1e-5 * se[1])
    assert b.fixef()["Intercept"] + b.fixef()["age"] * scale * shift == pytest.approx(
        a.fixef()["Intercept"], abs=1e-5 * se[0] * (1 + abs(shift))
    )
    assert a.varcorr().sd[0] == pytest.approx(b.varcorr().sd[0], abs=1e-6)
    np.testing.assert_allclose(a.fitted(), b.fitted(), atol=1e-7)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_scale_and_place_of_a_column_that_varies_by_group(scale, shift, datasets):
    """With the full covariance the model is the same; sd of the slope divides by the scale."""
    exam = datasets["exam"]
    formula = "success ~ standLRT + (standLRT | school)"
    a = fit_of(formula, exam)
    b = fit_of(formula, exam.assign(standLRT=scale * (exam.standLRT + shift)))
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    assert b.varcorr().sd[1] * scale == pytest.approx(a.varcorr().sd[1], abs=1e-5)
    np.testing.assert_allclose(a.fitted(), b.fitted(), atol=1e-6)


def test_a_polynomial_far_from_zero(toy):
    """Years AD and their square, against the same curve in years since 2000."""
    data = toy.assign(since=5.0 * toy.x, year=2000.0 + 5.0 * toy.x)
    a = fit_of("y ~ since + I(since^2) + (1 | g)", data)
    b = fit_of("y ~ year + I(year^2) + (1 | g)", data)
    assert a.loglik == pytest.approx(b.loglik, abs=1e-6)
    np.testing.assert_allclose(a.fitted(), b.fitted(), atol=1e-5)


@pytest.mark.parametrize("formula", ["{} ~ urban + livch + (1 | district)", "{} ~ urban + (urban | district)"])
def test_equal_rows_may_be_collapsed_into_counts(formula, contraception):
    """Estimates are equal; the log-likelihood gains Σ log C(n, s), the number of orders of the answers."""
    d = contraception.assign(y=(contraception.use == "Y").astype(int))
    cells = d.groupby(["district", "urban", "livch"], observed=True).y.agg(s="sum", n="count").reset_index()
    rows = fit_of(formula.format("use"), d)
    counts = fit_of(formula.format("cbind(s, n - s)"), cells, "binomial")
    constant = (gammaln(cells.n + 1) - gammaln(cells.s + 1) - gammaln(cells.n - cells.s + 1)).sum()
    assert counts.loglik - rows.loglik == pytest.approx(constant, abs=1e-7)
    np.testing.assert_allclose(counts.table().estimate, rows.table().estimate, atol=1e-6)
    np.testing.assert_allclose(counts.table().std_error, rows.table().std_error, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_frequencies_are_replicated_rows(name, toy):
    formula, family = MODELS[name]
    a = fit_of(formula, toy, family, freq="reps")
    b = fit_of(formula, toy.loc[toy.index.repeat(toy.reps)], family)
    same(a, b)
    assert a.nobs == b.nobs
    assert (a.aic, a.bic) == (pytest.approx(b.aic, abs=1e-6), pytest.approx(b.bic, abs=1e-6))


def test_whole_weights_of_counts_are_replicated_rows(toy):
    """R's prior weights multiply log-densities: of whole numbers they are rows repeated, but for what n counts."""
    a = fit_of("cbind(s, n - s) ~ x + (1 | g)", toy, "binomial", weights="reps")
    b = fit_of("cbind(s, n - s) ~ x + (1 | g)", toy, "binomial", freq="reps")
    same(a, b)
    assert a.nobs == len(toy) != b.nobs


def test_rows_of_no_weight_count_for_nothing(toy):
    freq = np.where(np.arange(120) < 20, 0, 1)
    a = fit_of("y ~ x + (1 | g)", toy, freq=freq)
    b = fit_of("y ~ x + (1 | g)", toy.iloc[20:])
    assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
    assert a.nobs == 100
    np.testing.assert_allclose(a.table().estimate, b.table().estimate, atol=1e-5)


def test_an_offset_is_a_coefficient_of_one(toy):
    """Moving 1 · o into the offset leaves the rest as it is: the coefficient of o drops by exactly 1."""
    a = fit_of("y ~ x + o + (1 | g)", toy)
    for b in (fit_of("y ~ x + o + offset(o) + (1 | g)", toy), fit_of("y ~ x + o + (1 | g)", toy, offset="o")):
        assert a.loglik == pytest.approx(b.loglik, abs=1e-7)
        assert b.fixef()["o"] == pytest.approx(a.fixef()["o"] - 1.0, abs=1e-5)
        assert b.fixef()["x"] == pytest.approx(a.fixef()["x"], abs=1e-5)


@pytest.mark.parametrize("name", ["one", "crossed", "uncorrelated"])
def test_the_sign_of_a_factor_is_nobodys_business(name, toy):
    """A search that starts, and ends, on the other side of zero gives the same standard deviations and effects."""
    formula, family = MODELS[name]
    a = fit_of(formula, toy, family)
    start = a.solution.optimum.x.copy()
    start[len(a.fixef()) :] *= -1.5
    b = MLFit(a.model, engine.solve_ml(a.design, start=start))
    same(a, b)
    assert np.all(b.solution.theta >= 0.0)
    assert np.any(b.solution.optimum.x[len(b.fixef()) :] < 0.0)
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(a.ranef()[column], b.ranef()[column], atol=1e-5)
    np.testing.assert_allclose(a.fitted(), b.fitted(), atol=1e-6)


def test_a_number_of_points_may_be_numpys(toy):
    a, b = (fit_of("y ~ x + (1 | g)", toy, n_agq=k) for k in (5, np.int64(5)))
    assert a.loglik == b.loglik


def test_quadrature_converges(toy):
    values = [fit_of("y ~ x + (1 | g)", toy, n_agq=k).loglik for k in (1, 5, 15, 25)]
    assert abs(values[3] - values[2]) < 1e-6 < abs(values[1] - values[0])


# what has no maximum -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "column", "family", "message"),
    [
        ("y ~ x", [1] * 6, "bernoulli", "every row has y = 1"),
        ("y ~ x", [0] * 6, "bernoulli", "no row has y = 1"),
        ("y ~ x + (1 | g)", [0] * 6, "bernoulli", "no row has y = 1"),
        ("y ~ x", pd.Categorical(["no"] * 6, ["no", "yes"]), "bernoulli", 'no row has y = "yes"'),
        ("y ~ x", pd.Categorical(["yes"] * 6, ["no", "yes"]), "bernoulli", 'every row has y = "yes"'),
        ("y ~ x", ["no"] * 6, "bernoulli", '"no" in every row'),
        ("cbind(y, 0 * y) ~ x", [3] * 6, "binomial", "the response is constant"),
        ("y ~ x", [0] * 6, "poisson", 'the response "y" is 0 in every row'),
    ],
)
def test_a_constant_response_is_refused(formula, column, family, message):
    data = pd.DataFrame({"y": column, "x": [1.0, 2, 4, 3, 6, 5], "g": list("aabbcc")})
    with pytest.raises(FitError, match=message) as refused:
        fit_of(formula, data, family)
    assert family == "poisson" or "use fit_map() or sample(), whose priors keep it finite" in str(refused.value)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("bar", ["", " + (1 | g)"])
def test_complete_separation_names_the_column(link, bar, toy):
    message = (
        r"the likelihood has no maximum: x separates .* or use fit_map\(\) or sample\(\), whose priors keep it finite"
    )
    with pytest.raises(NoMaximumError, match=message) as refused:
        fit_of(f"y ~ x + z{bar}", toy.assign(y=(toy.x > 0).astype(int)), link=link)
    assert refused.value.terms == ("x",)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("bar", ["", " + (1 | g)"])
def test_a_level_without_events_names_the_level(link, bar, toy):
    with pytest.raises(NoMaximumError, match=r"the likelihood has no maximum: f\[b\] separates") as refused:
        fit_of(f"y ~ f + x{bar}", toy.assign(y=np.where(toy.f == "b", 0, toy.y)), link=link)
    assert refused.value.terms == ("f[b]",)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize(
    "cells",
    [
        [(8, 3), (9, 0), (10, 10), (5, 0), (6, 6)],
        [(7, 0), (1, 1), (58, 58), (61, 14), (32, 32)],
        [(52, 36), (40, 16), (80, 0), (60, 60), (122, 79), (20, 0)],
        [(2, 0), (101, 54), (11, 7), (10, 10), (1, 0), (45, 23), (4, 4)],
        [(13, 13), (62, 0), (39, 7), (101, 0), (14, 11), (3, 1), (69, 34)],
    ],
)
def test_several_levels_without_variation_are_found_together(cells, link):
    """Some levels without events and some without failures: (rows, events) of each level."""
    y = np.concatenate([[1] * s + [0] * (n - s) for n, s in cells])
    f = np.repeat([chr(97 + i) for i in range(len(cells))], [n for n, _ in cells])
    with pytest.raises(NoMaximumError, match="the likelihood has no maximum: f") as refused:
        fit_of("y ~ f", pd.DataFrame({"y": y, "f": f}), link=link)
    # The first level is what the others are compared with, and has no column.
    alike = [f"f[{chr(97 + i)}]" for i, (n, s) in enumerate(cells) if i and s in (0, n)]
    assert list(refused.value.terms) == alike


def test_a_first_level_without_events_separates_those_compared_with_it():
    """Nothing but the first level is of one answer: the columns beside it are all there is to name."""
    data = pd.DataFrame({"y": [0] * 5 + [0, 1, 1, 0, 1, 0], "f": list("aaaaabbbccc")})
    with pytest.raises(NoMaximumError) as refused:
        fit_of("y ~ f", data)
    assert refused.value.terms == ("f[b]", "f[c]")


def test_a_level_without_counts_names_the_level(toy):
    with pytest.raises(FitError, match=r"the likelihood has no maximum: f\[b\] separates"):
        fit_of("count ~ f + x", toy.assign(count=np.where(toy.f == "b", 0, toy["count"])), "poisson")


@pytest.mark.parametrize(
    ("s", "n", "coefficients"),
    [
        ([50_000, 1], [100_000, 100_000], [0.0, np.log(1 / 99_999)]),
        ([5_000_000, 3], [10_000_000, 10_000_000], [0.0, np.log(3 / 9_999_997)]),
        ([3, 2], [10_000_000, 10_000_000], [np.log(3 / 9_999_997), np.log(2 / 9_999_998) - np.log(3 / 9_999_997)]),
    ],
)
def test_rare_events_are_no_separation(s, n, coefficients):
    """The maximum of a saturated model is known: the log-odds of each cell."""
    fit = fit_of("cbind(s, n - s) ~ f", pd.DataFrame({"s": s, "n": n, "f": ["a", "b"]}))
    np.testing.assert_allclose(fit.fixef(), coefficients, atol=1e-6)


def test_a_steep_curve_is_no_separation():
    """Two neighbours in the wrong order keep the maximum finite."""
    x = np.array([1.0, 2, 3, 3.01, 4, 5])
    fit = fit_of("y ~ x", pd.DataFrame({"y": [0, 0, 1, 0, 1, 1], "x": x}))
    residual = np.array([0, 0, 1, 0, 1, 1]) - expit(fit.fixef().iloc[0] + fit.fixef().iloc[1] * x)
    np.testing.assert_allclose([residual.sum(), (x * residual).sum()], 0.0, atol=1e-8)


@pytest.mark.parametrize(
    ("formula", "n_agq", "message"),
    [
        ("y ~ x + (1 | g)", 0.5, "n_agq"),
        ("y ~ x + (1 | g)", 2.5, "n_agq"),
        ("y ~ x + (1 | g)", -1, "n_agq should be"),
        ("y ~ x + (1 | g)", True, "n_agq should be"),
        (
            "y ~ x + (x | g)",
            224,
            r"n_agq = 224 needs a single random-effect term and at most 50,000 nodes.*\(Intercept, x \| g\)",
        ),
        ("y ~ x + (1 | g) + (1 | h)", 5, r"\(Intercept \| g\) and \(Intercept \| h\): use n_agq=1"),
        ("y ~ x + (x || g)", 5, r"\(Intercept \| g\) and \(x \| g\): use n_agq=1"),
    ],
)
def test_quadrature_the_model_does_not_admit(formula, n_agq, message, toy):
    with pytest.raises(FitError, match=message):
        fit_of(formula, toy, n_agq=n_agq)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reml": True}, r"REML is defined for gaussian models; this one is bernoulli \(logit\).*reml=False"),
        ({"information": "fisher"}, 'no "fisher" information; there are: observed, expected'),
        ({"n_agq": 5, "information": "expected"}, "quadrature needs no determinant"),
    ],
)
def test_likelihoods_that_are_not_offered(options, message, toy):
    with pytest.raises(FitError, match=message):
        Model("y ~ x + (1 | g)", toy).fit_ml(**options)


# the boundary ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alike():
    """Ten groups with the same number of successes: the estimate of their variance is zero."""
    y = np.tile([0, 1, 1, 0, 1, 0], 10)
    x = np.tile([0.0, 1.0, 2.0, 1.0, 0.5, -1.0], 10)
    return pd.DataFrame({"y": y, "x": x, "g": np.repeat(np.arange(10), 6)})


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x || g)", "y ~ x + (x | g)"])
def test_a_variance_at_zero_is_reported(formula, alike):
    fit, glm = fit_of(formula, alike), fit_of("y ~ x", alike)
    which = (
        "standard deviations of Intercept and x between g are"
        if "(x | g)" in formula
        else "standard deviation of Intercept between g is"
    )
    assert any(f"The fit is singular: the {which} zero." in note for note in fit.notes)
    assert fit.varcorr().sd.dropna().max() < 1e-4
    assert fit.loglik == pytest.approx(glm.loglik, abs=1e-7)
    np.testing.assert_allclose(fit.fixef(), glm.fixef(), atol=1e-6)
    np.testing.assert_allclose(np.diag(fit.vcov()), np.diag(glm.vcov()), rtol=1e-3)
    np.testing.assert_allclose(fit.ranef().estimate, 0.0, atol=1e-6)
    assert fit.table().estimate.notna().all() or formula == "y ~ x + (x | g)"


def test_a_correlation_at_one_is_reported(toy):
    """One effect per group drives both intercept and slope."""
    rng = np.random.default_rng(5)
    effect = 1.5 * rng.normal(size=30)
    g, x = np.repeat(np.arange(30), 40), rng.normal(size=1200)
    y = rng.binomial(1, expit(effect[g] + (0.5 + effect[g]) * x))
    fit = fit_of("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    correlation = fit.varcorr().correlation.iloc[2]
    singular = [note for note in fit.notes if "singular" in note]
    assert (correlation > 0.9999) == bool(singular)
    assert correlation > 0.97
    assert fit.converged


# predictions ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slopes(contraception):
    return fit_of("use ~ age*ch + I(age^2) + urban + (urban | district)", contraception)


NEW = pd.DataFrame({"age": [0.0, -5.0, 10.0], "ch": ["N", "Y", "Y"], "urban": ["N", "Y", "Y"], "district": "35"})


def test_own_rows_are_fitted_rows(slopes, contraception):
    own, given = slopes.predict(), slopes.predict(contraception)
    np.testing.assert_allclose(own, given, rtol=1e-9, atol=1e-12)
    eta = slopes.solution.linear_predictor
    np.testing.assert_allclose(own.estimate, expit(eta), rtol=1e-9)
    np.testing.assert_allclose(slopes.predict(kind="link").estimate, eta, rtol=1e-9, atol=1e-12)


def test_own_rows_with_an_offset_column_are_fitted_rows(toy):
    """The offset of ``offset="o"`` is in the data, in old rows and in new ones."""
    fit = fit_of("count ~ x + (1 | g)", toy, "poisson", offset="o")
    np.testing.assert_allclose(fit.predict(toy).estimate, fit.predict().estimate, rtol=1e-9)


def test_incomplete_rows_keep_their_place(toy):
    data = toy.copy()
    data.loc[[4, 9], "x"] = np.nan
    fit = fit_of("y ~ x + (1 | g)", data)
    assert fit.predict().index.tolist() == [i for i in range(120) if i not in (4, 9)]
    assert fit.residuals().index.equals(fit.predict().index)


def test_conditional_adds_the_groups_effects(slopes):
    effects = slopes.ranef().set_index(["level", "term"]).estimate["35"]
    X = slopes.design.fixed_matrix(NEW)
    expected = X @ slopes.fixef() + effects["Intercept"] + (NEW.urban == "Y") * effects["urban[Y]"]
    np.testing.assert_allclose(slopes.predict(NEW, kind="link").estimate, expected, rtol=1e-10)
    np.testing.assert_allclose(slopes.predict(NEW).estimate, expit(expected), rtol=1e-10)


def test_typical_sets_them_to_zero(slopes):
    X = slopes.design.fixed_matrix(NEW)
    eta = X @ slopes.fixef().to_numpy()
    out = slopes.predict(NEW.drop(columns="district"), kind="link", estimand="typical")
    np.testing.assert_allclose(out.estimate, eta, rtol=1e-12)
    np.testing.assert_allclose(out.std_error, np.sqrt(np.einsum("ij,jk,ik->i", X, slopes.vcov(), X)), rtol=1e-9)
    response = slopes.predict(NEW, estimand="typical")
    np.testing.assert_allclose(response.estimate, expit(eta), rtol=1e-12)
    np.testing.assert_allclose(response.std_error, out.std_error * expit(eta) * expit(-eta), rtol=1e-9)


def test_population_averages_over_the_groups(slopes):
    """Against 400,000 simulated districts: the simulation's own error is 4e-4 at most, five of them allowed."""
    (lam,) = factors(slopes.solution.theta, (2,))
    effects = np.random.default_rng(1).standard_normal((400_000, 2)) @ lam.T
    eta = slopes.design.fixed_matrix(NEW) @ slopes.fixef().to_numpy()
    z = np.column_stack([np.ones(3), (NEW.urban == "Y").to_numpy(float)])
    simulated = expit(eta[:, None] + z @ effects.T).mean(axis=1)
    out = slopes.predict(NEW.drop(columns="district"), estimand="population")
    np.testing.assert_allclose(out.estimate, simulated, atol=2e-3)
    assert np.all(np.abs(out.estimate - 0.5) < np.abs(slopes.predict(NEW, estimand="typical").estimate - 0.5))


def test_population_over_several_groupings(toy):
    fit = fit_of("y ~ x + (1 | g) + (1 | h)", toy)
    sds = fit.varcorr().sd.to_numpy()
    rng = np.random.default_rng(2)
    draws = rng.normal(size=400_000) * sds[0] + rng.normal(size=400_000) * sds[1]
    new = pd.DataFrame({"x": [-1.0, 2.0]})
    eta = fit.design.fixed_matrix(new) @ fit.fixef().to_numpy()
    simulated = expit(eta[:, None] + draws).mean(axis=1)
    np.testing.assert_allclose(fit.predict(new, estimand="population").estimate, simulated, atol=2e-3)


def test_probit_population_is_known_exactly(toy):
    """E Φ(η + σu) = Φ(η / √(1 + σ²)); quadrature with 31 points is good to 1e-8."""
    fit = fit_of("y ~ x + (1 | g)", toy, link="probit")
    sd = fit.varcorr().sd[0]
    new = pd.DataFrame({"x": [-1.0, 0.0, 2.0]})
    eta = fit.predict(new, kind="link", estimand="typical").estimate
    expected = norm.cdf(eta / np.sqrt(1 + sd**2))
    np.testing.assert_allclose(fit.predict(new, estimand="population").estimate, expected, atol=1e-7)


def test_new_groups(slopes):
    new = NEW.assign(district="no such district")
    population = slopes.predict(NEW, estimand="population").estimate
    typical = slopes.predict(NEW, estimand="typical").estimate
    np.testing.assert_allclose(slopes.predict(new).estimate, population, rtol=1e-12)
    np.testing.assert_allclose(slopes.predict(new, new_groups="zero").estimate, typical, rtol=1e-12)
    with pytest.raises(ValueError, match=r'row 0 .* is of district "no such district", which the model has not seen'):
        slopes.predict(new, new_groups="error")
    slopes.predict(NEW, new_groups="error")


def test_a_population_prediction_is_surer_of_its_mean_than_of_one_group(slopes):
    new = NEW.assign(district="no such district")
    assert np.all(slopes.predict(new, kind="link").std_error > slopes.predict(NEW, "link", "typical").std_error)


def test_the_error_of_a_group_has_three_sources(toy):
    """Of β with the mode moving along, and of the mode given β: by brute force, one group at a time."""
    fit = fit_of("y ~ x + (1 | g)", toy)
    sd, beta = fit.solution.theta[0], fit.fixef().to_numpy()
    design, C = fit.design, fit.vcov().to_numpy()
    out = fit.predict(kind="link").std_error.to_numpy()

    def mode(code, b):
        """(û, curvature) of the group's own effect, by Newton's method on its density."""
        mine, u = design.groups[0].codes == code, 0.0
        for _ in range(50):
            p = expit(design.X[mine] @ b + u)
            curvature = (p * (1 - p)).sum() + sd**-2
            u += ((toy.y[mine] - p).sum() - u / sd**2) / curvature
        return u, curvature

    for code in range(6):
        moves = [(mode(code, beta + h)[0] - mode(code, beta - h)[0]) / 2e-5 for h in 1e-5 * np.eye(2)]
        for row in np.flatnonzero(design.groups[0].codes == code)[:3]:
            slope = design.X[row] + moves
            assert out[row] ** 2 == pytest.approx(slope @ C @ slope + 1 / mode(code, beta)[1], rel=1e-5)


@pytest.mark.parametrize("estimand", ["typical", "population"])
def test_the_error_of_a_mean_by_differences(slopes, estimand):
    """√(J C J′) with J by differences of the mean in β and θ, good to 1e-6."""
    solution = slopes.solution
    X, z = slopes.design.fixed_matrix(NEW), np.column_stack([np.ones(3), (NEW.urban == "Y").to_numpy(float)])

    def mean(parameters):
        (lam,) = factors(parameters[6:], (2,))
        variance = ((z @ lam) ** 2).sum(axis=1) * (estimand == "population")
        return averaged_mean(X @ parameters[:6], variance, slopes.design.family.link)[0]

    at = np.concatenate([solution.beta, solution.theta])
    steps = 1e-4 * np.sqrt(np.diag(solution.covariance))
    J = np.column_stack([(mean(at + e) - mean(at - e)) / (2 * e.sum()) for e in np.diag(steps)])
    expected = np.sqrt(np.einsum("ip,pq,iq->i", J, solution.covariance, J))
    np.testing.assert_allclose(slopes.predict(NEW, estimand=estimand).std_error, expected, rtol=1e-5)


@pytest.mark.parametrize("estimand", ["conditional", "typical", "population"])
def test_limits_contain_the_estimate_and_stay_in_range(slopes, estimand):
    wide, narrow = (slopes.predict(estimand=estimand, level=level) for level in (0.99, 0.5))
    for out in (wide, narrow):
        assert np.all((out.conf_low > 0) & (out.conf_low < out.estimate))
        assert np.all((out.estimate < out.conf_high) & (out.conf_high < 1))
    assert np.all(wide.conf_low < narrow.conf_low)
    assert "interval" in wide.attrs
    assert wide.attrs["estimand"] != ""


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_predictions_far_out_are_certain_not_missing(link, toy):
    """At a value that makes the event certain to the last digit, the limits are 1 too."""
    fit = fit_of("y ~ x + (1 | g)", toy, link=link)
    for estimand in ("conditional", "typical", "population"):
        out = fit.predict({"x": [1e4, -1e4], "g": ["north", "north"]}, estimand=estimand)
        assert out[["estimate", "conf_low", "conf_high"]].notna().all().all()
        assert out.estimate.tolist() == pytest.approx([1.0, 0.0] if fit.fixef()["x"] > 0 else [0.0, 1.0], abs=1e-6)


def test_poisson_predictions(toy):
    fit = fit_of("count ~ x + offset(log(n)) + (1 | h)", toy, "poisson")
    sd = fit.varcorr().sd[0]
    typical = fit.predict(toy, estimand="typical").estimate
    np.testing.assert_allclose(fit.predict(toy, estimand="population").estimate, typical * np.exp(sd**2 / 2), rtol=1e-9)
    np.testing.assert_allclose(fit.predict(toy).estimate, fit.predict().estimate, rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"estimand": "marginal"}, 'no estimand "marginal"; there are: conditional, typical, population'),
        ({"kind": "prob"}, 'kind should be "response" or "link", not "prob"'),
        ({"new_groups": "drop"}, 'new_groups should be "population", "zero" or "error", not "drop"'),
        ({"level": 95}, "level should lie between 0 and 1, for example 0.95, not 95"),
    ],
)
def test_predictions_that_are_not_offered(given, message, slopes):
    with pytest.raises(FitError, match=message):
        slopes.predict(NEW, **given)


def test_refit_to_predictions_is_consistent(contraception):
    """At the maximum of a logistic likelihood with an intercept, fitted means add up to the successes (GLM)."""
    fit = fit_of("use ~ age + urban", contraception)
    assert fit.fitted().sum() == pytest.approx((contraception.use == "Y").sum(), rel=1e-9)
