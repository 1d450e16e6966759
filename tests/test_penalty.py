"""Log-priors against scipy, their gradients against differences, and the posterior mode they make of a likelihood."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bayesmlm.errors import FitError
from bayesmlm.laplace.covariance import factors, sd_cor, theta_size
from bayesmlm.ml import glm, integrated
from bayesmlm.ml.penalty import Penalty
from bayesmlm.model import Model
from bayesmlm.prior_rules import ResolvedPriors
from bayesmlm.priors import parse_prior
from tests.likelihood_reference import model_of, table_of
from tests.structures import by_differences

FLAT = {"Intercept": "flat", "fixed": "flat", "sd": "flat", "cor": "lkj(1)"}

# densities ------------------------------------------------------------------------------------------------------

DENSITIES = {
    "normal(0.5, 2)": stats.norm(0.5, 2.0).logpdf,
    "student_t(3, -0.5, 2.5)": stats.t(3, -0.5, 2.5).logpdf,
    "cauchy(1, 2)": stats.cauchy(1.0, 2.0).logpdf,
    "half_normal(1.5)": stats.halfnorm(scale=1.5).logpdf,
    "half_student_t(3, 0, 2.5)": lambda x: np.log(2.0) + stats.t(3, 0.0, 2.5).logpdf(x),
    "half_cauchy(2)": stats.halfcauchy(scale=2.0).logpdf,
    "exponential(0.7)": stats.expon(scale=1 / 0.7).logpdf,
    "gamma(2, 0.1)": stats.gamma(2.0, scale=10.0).logpdf,
    "gamma(0.5, 3)": stats.gamma(0.5, scale=1 / 3.0).logpdf,
    "flat": lambda x: 0.0,
}


@pytest.mark.parametrize("text", DENSITIES)
@pytest.mark.parametrize("x", [0.05, 0.9, 4.0, 60.0])
def test_log_densities_are_scipys(text, x):
    """With all constants, to rounding; the derivative by fourth-order differences good to 1e-8."""
    prior = parse_prior(text)
    value, slope = prior.log_density(x)
    assert value == pytest.approx(DENSITIES[text](x), rel=1e-12, abs=1e-13)
    numeric = by_differences(lambda v: prior.log_density(v[0])[0], np.array([x]), h=1e-3 * x)[0]
    assert slope == pytest.approx(numeric, rel=1e-8, abs=1e-9)
    if not text.startswith(("half", "gamma", "exp")):
        assert prior.log_density(-x)[0] == pytest.approx(DENSITIES[text](-x), rel=1e-12, abs=1e-13)


def test_densities_at_the_boundary():
    """What keeps a standard deviation off 0 is a density that vanishes there; what does not is highest there."""
    assert parse_prior("gamma(2, 0.1)").log_density(0.0) == (-np.inf, np.inf)
    assert parse_prior("half_student_t(3, 0, 1)").log_density(0.0)[1] == 0.0
    assert parse_prior("exponential(2)").log_density(0.0) == (pytest.approx(np.log(2.0)), -2.0)


def penalty_of(columns, eta=2.0, sd="gamma(2, 0.1)"):
    """Two coefficients, and terms with these columns, on scales that are not 1."""
    rng = np.random.default_rng(3)
    sds = tuple((parse_prior(sd),) * k for k in columns)
    priors = ResolvedPriors(
        fixed=(parse_prior("student_t(3, 0, 2.5)"), parse_prior("normal(0.3, 0.8)")), sd=(), mode_sd=sds,
        correlation=tuple(parse_prior(f"lkj({eta})") if k > 1 else None for k in columns),
        sigma=parse_prior("half_cauchy(2)"),
    )  # fmt: skip
    return Penalty(priors, np.array([1.0, 4.0]), tuple(rng.uniform(0.3, 3.0, k) for k in columns))


@pytest.mark.parametrize("columns", [(1,), (2,), (3,), (1, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("eta", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("sd", ["gamma(2, 0.1)", "exponential(0.7)"])
def test_the_prior_of_variances_is_of_sds_and_correlations(columns, eta, sd):
    """Σ log p(sd) + (η − 1) log |R| on the user's scale, by scipy and numpy; the gradient in internal θ by differences."""
    penalty = penalty_of(columns, eta, sd)
    theta = np.random.default_rng(4).normal(size=theta_size(columns)) + 0.5
    expected = 0.0
    for lam, scales in zip(factors(theta, columns), penalty.group_scales, strict=True):
        user = lam / scales[:, None]
        sds, correlations = sd_cor(user)
        expected += DENSITIES[sd](sds).sum()
        R = np.eye(len(sds))
        R[np.triu_indices(len(sds), 1)] = correlations
        expected += (eta - 1.0) * np.linalg.slogdet(R + R.T - np.eye(len(sds)))[1]
    value, gradient = penalty.random(theta)
    assert value == pytest.approx(expected, rel=1e-11)
    numeric = by_differences(lambda x: penalty.random(x)[0], theta, h=1e-4)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-7)


def test_the_prior_of_coefficients_is_on_the_users_scale():
    """Internal coefficients are for columns divided by their scales; minus the curvature by differences of the slope."""
    penalty, beta = penalty_of((1,)), np.array([0.7, -2.0])
    value, gradient = penalty.fixed(beta)
    assert value == pytest.approx(stats.t(3, 0, 2.5).logpdf(0.7) + stats.norm(0.3, 0.8).logpdf(-0.5))
    np.testing.assert_allclose(gradient, by_differences(lambda x: penalty.fixed(x)[0], beta), rtol=1e-9)
    curvature = penalty.curvature(beta)
    assert curvature[1] == pytest.approx(1 / (0.8 * 4.0) ** 2, rel=1e-8)
    numeric = [by_differences(lambda x, j=j: penalty.fixed(x)[1][j], beta)[j] for j in range(2)]
    np.testing.assert_allclose(curvature, -np.array(numeric), rtol=1e-7)


def test_the_prior_of_the_residual():
    value, slope = penalty_of((1,)).sigma(1.5)
    assert value == pytest.approx(stats.halfcauchy(scale=2.0).logpdf(1.5))
    assert slope == pytest.approx(-2 * 1.5 / (4 + 1.5**2))


# the mode -------------------------------------------------------------------------------------------------------


def with_priors(model, priors):
    return Model(model.spec, model.data, priors=priors, **model._extras)


@pytest.mark.parametrize(
    ("name", "points"),
    [("con_livch", 1), ("con_livch", 9), ("con_slope", 1), ("con_crossed", 1), ("con_ud_probit", 1), ("cbpp", 1),
     ("grouse", 1), ("grouse_brood", 1), ("sleep", 1), ("sleep_weights", 1), ("penicillin", 1)],
)  # fmt: skip
def test_with_flat_priors_the_mode_is_the_maximum(name, points):
    """Every estimate and the log-likelihood to 1e-8, standard errors to 1e-3 (by differences in other coordinates)."""
    model = model_of(name)
    gaussian = model.design.family.name == "gaussian"
    mode = with_priors(model, FLAT | ({"sigma": "flat"} if gaussian else {})).fit_map(points)
    ml = model.fit_ml(points)
    np.testing.assert_allclose(mode.table(ranef=True).estimate, ml.table(ranef=True).estimate, rtol=1e-8, atol=1e-8)
    assert mode.loglik == pytest.approx(ml.loglik, abs=1e-8)
    assert mode.log_prior == 0.0
    np.testing.assert_allclose(mode.table().std_error, ml.table().std_error, rtol=1e-3)
    assert mode.converged


def log_prior_by_scipy(design, beta, lams, sigma):
    """Of the priors that fit_map takes by default, at internal β and λ."""
    resolved, total = design.priors, 0.0
    for prior, b, scale in zip(resolved.fixed, beta, design.scaling.scales, strict=True):
        total += DISTRIBUTION[prior.distribution](*prior.parameters).logpdf(b / scale)
    for lam, group, priors in zip(lams, design.groups, resolved.mode_sd, strict=True):
        sds, correlations = sd_cor(lam / group.scales[:, None])
        total += sum(stats.gamma(p["shape"], scale=1 / p["rate"]).logpdf(s) for p, s in zip(priors, sds, strict=True))
        if len(sds) == 2:
            total += np.log(1.0 - correlations[0] ** 2)
    return total + (0.0 if sigma is None else np.log(2) + stats.t(3, 0, resolved.sigma["scale"]).logpdf(sigma))


DISTRIBUTION = {"normal": stats.norm, "student_t": stats.t}


@pytest.mark.parametrize("formula", ["y ~ x + z + (1 | g)", "y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_the_mode_is_stationary_under_default_priors(formula, toy):
    """Likelihood plus priors by scipy have no slope at the mode, by differences: 1e-5 of a unit of log-posterior."""
    model = Model(formula, toy)
    fit, design = model.fit_map(), model.design
    rows = glm.read_rows(design)
    likelihood, p = integrated.many_terms(design, rows), len(design.terms)

    def log_posterior(x):
        prior = log_prior_by_scipy(design, x[:p], factors(x[p:], likelihood.columns), None)
        return likelihood.objective(x)[0] + rows.constant + prior

    at = fit.solution.optimum.x
    assert fit.log_posterior == pytest.approx(log_posterior(at), abs=1e-9)
    np.testing.assert_allclose(by_differences(log_posterior, at), 0.0, atol=1e-5)
    assert fit.loglik < model.fit_ml().loglik
    assert fit.converged


def test_the_mode_of_a_linear_model_is_stationary(sleepstudy):
    from bayesmlm.ml.gaussian import full_likelihood

    model = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, "gaussian")
    fit, design = model.fit_map(), model.design
    likelihood = full_likelihood(design)

    def log_posterior(x):
        prior = log_prior_by_scipy(design, x[:2], factors(x[2:5], (2,)), np.exp(x[5]))
        return likelihood(x)[0] + prior

    at = fit.solution.optimum.x
    assert fit.log_posterior == pytest.approx(log_posterior(at), abs=1e-9)
    np.testing.assert_allclose(by_differences(log_posterior, at), 0.0, atol=1e-5)


def test_without_groups_it_is_penalised_least_deviance(toy):
    """Newton's method by hand for normal priors; standard errors of the penalised information, to 1e-4."""
    fit = Model("y ~ 0 + x + z", toy, priors={"x": "normal(1, 0.2)", "z": "normal(0, 0.1)"}).fit_map()
    X, precision, centre = toy[["x", "z"]].to_numpy(), np.array([25.0, 100.0]), np.array([1.0, 0.0])
    beta = np.zeros(2)
    for _ in range(20):
        mu = 1 / (1 + np.exp(-X @ beta))
        H = X.T @ (X * (mu * (1 - mu))[:, None]) + np.diag(precision)
        beta = beta + np.linalg.solve(H, X.T @ (toy.y - mu) - precision * (beta - centre))
    np.testing.assert_allclose(fit.fixef(), beta, atol=1e-8)
    np.testing.assert_allclose(fit.vcov(), np.linalg.inv(H), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_priors_keep_their_meaning_when_a_column_is_rescaled(scale, toy):
    """The default priors follow the scale: the mode is the same model in other units."""
    a = Model("y ~ x + (x | g)", toy).fit_map()
    b = Model("y ~ x + (x | g)", toy.assign(x=scale * toy.x)).fit_map()
    assert b.loglik == pytest.approx(a.loglik, abs=1e-7)
    assert b.fixef()["x"] * scale == pytest.approx(a.fixef()["x"], abs=1e-6)
    np.testing.assert_allclose(b.varcorr().sd[:2] * [1.0, scale], a.varcorr().sd[:2], atol=1e-6)
    assert b.varcorr().correlation[2] == pytest.approx(a.varcorr().correlation[2], abs=1e-5)


# what has no maximum ----------------------------------------------------------------------------------------------


def check_finite(fit):
    assert fit.converged
    table = fit.table()
    assert np.isfinite(table[["estimate", "std_error"]]).all().all()
    assert np.isfinite(fit.loglik)
    sds = table[table.component == "sd"].estimate
    assert (sds > 0.0).all()


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("bar", ["", " + (1 | g)", " + (x | g)", " + (1 | g) + (1 | h)"])
def test_the_mode_of_separated_responses_is_finite(link, bar, toy):
    fit = Model(f"y ~ x + f{bar}", toy.assign(y=(toy.x > 0).astype(int)), link=link).fit_map()
    check_finite(fit)
    assert fit.fixef()["x"] > 0.0


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("bar", ["", " + (1 | g)", " + (x | g)"])
@pytest.mark.parametrize("event", [0, 1])
def test_the_mode_of_a_constant_response_is_finite(link, bar, event, toy):
    fit = Model(f"y ~ x{bar}", toy.assign(y=event), link=link).fit_map()
    check_finite(fit)
    assert (fit.fixef()["Intercept"] > 0.0) == (event == 1)
    assert np.isnan(fit.null_deviance)


def test_the_mode_of_counts_that_are_all_zero_is_finite(toy):
    check_finite(Model("count ~ x + (1 | g)", toy.assign(count=0), "poisson").fit_map())


def test_flat_priors_do_not_help_where_responses_are_separated(toy):
    separated = toy.assign(y=(toy.x > 0).astype(int))
    with pytest.raises(FitError, match=r"the priors do not keep the posterior mode finite .* normal\(0, 2\.5\)"):
        Model("y ~ x", separated, priors=FLAT).fit_map()


@pytest.mark.parametrize(
    ("name", "formula", "family"),
    [
        ("singular", "y ~ x + (1 | g)", "bernoulli"),
        ("singular", "y ~ x + (x | g)", "bernoulli"),
        ("singular", "y ~ x + (x || g)", "bernoulli"),
        ("singular", "z ~ x + (1 | g)", "gaussian"),
        ("singular", "z ~ x + (x | g)", "gaussian"),
        ("contraception", "use ~ age + urban + (1 | district/urban)", "bernoulli"),
        ("contraception", "use ~ age + urban + (1 + urban + age | district)", "bernoulli"),
    ],
)
def test_no_mode_lies_at_the_boundary(name, formula, family):
    """Where maximum likelihood is singular: sds of 0, correlations of ±1, a covariance without full rank."""
    fit = Model(formula, table_of(name), family).fit_map()
    check_finite(fit)
    table = fit.table()
    # A boundary estimate moves about one standard error away (Chung et al., 2013).
    sds = table[table.component == "sd"]
    assert (sds.estimate > 0.2 * sds.std_error).all()
    for lam in factors(fit.solution.theta, tuple(len(g.terms) for g in fit.design.groups)):
        sd, _ = sd_cor(lam)
        assert np.linalg.det(lam @ lam.T / np.outer(sd, sd)) > 0.01
    assert not any("singular" in note for note in fit.notes)


def test_a_half_student_t_leaves_the_mode_at_the_boundary():
    """Why the mode's default differs from the sampler's."""
    fit = Model("y ~ x + (1 | g)", table_of("singular"), priors={"sd": "half_student_t(3, 0, 2.5)"}).fit_map()
    assert fit.varcorr().sd[0] < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_agq": 0}, "n_agq = 0 takes the fixed effects at a mode without priors"), ({"n_agq": -1}, "n_agq should be")],
)
def test_modes_that_are_not_offered(options, message, toy):
    with pytest.raises(FitError, match=message):
        Model("y ~ x + (1 | g)", toy).fit_map(**options)


def test_a_strong_prior_wins(toy):
    """A thousandth around 0.3 against a hundred rows."""
    fit = Model("y ~ x + (1 | g)", toy, priors={"x": "normal(0.3, 0.001)"}).fit_map()
    assert fit.fixef()["x"] == pytest.approx(0.3, abs=1e-3)
    for kind in ("hessian", "conditional"):
        assert np.sqrt(fit.vcov(kind).loc["x", "x"]) == pytest.approx(0.001, rel=1e-3)


def test_a_mode_of_simulated_groups_is_near_the_truth():
    """Weak priors beside 100 groups of 20: within 4 standard errors."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(100), 20), rng.normal(size=2000)
    eta = -0.2 + 0.7 * x + 0.8 * rng.normal(size=100)[g]
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    table = Model("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g})).fit_map(n_agq=9).table()
    assert np.max(np.abs(table.estimate - [-0.2, 0.7, 0.8]) / table.std_error) < 4.0
