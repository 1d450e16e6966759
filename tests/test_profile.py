"""Profile likelihood: lme4's limits, and how far the likelihood itself has fallen at ours."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, gammaln
from scipy.stats import chi2, norm

from bayesmlm.errors import FitError
from bayesmlm.ml.profile import _Profile, profile_limits
from bayesmlm.ml.sections import Section
from bayesmlm.model import Model
from tests.likelihood_reference import HERE, our_name, table_of
from tests.troubles import one_effect_twice

LME4 = json.loads((HERE / "profile.json").read_text(encoding="utf-8"))


def table(name):
    return pd.read_csv(HERE / "dyestuff2.csv", dtype={"Batch": "str"}) if name == "dyestuff2" else table_of(name)


# lme4 -------------------------------------------------------------------------------------------------------------

MODELS = {
    "sleep_slope": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", "gaussian"),
    "sleep_intercept": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", "gaussian"),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", "gaussian"),
    "pastes": ("strength ~ 1 + (1 | batch / cask)", "pastes", "gaussian"),
    "dyestuff2": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", "gaussian"),
    "cbpp": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", "binomial"),
    "con_int": ("use ~ I(age / 10) * ch + I((age / 10)^2) + urban + (1 | district)", "contraception", "bernoulli"),
    "con_slope": ("use ~ I(age / 10) + urban + (urban | district)", "contraception", "bernoulli"),
}


def key_of(quantity, data):
    """lme4's name of a quantity as a set of what our table says of it: spaces, and the order of a pair, aside."""
    if quantity == "sigma":
        return "residual", "", frozenset(["sigma"])
    component, _, rest = quantity.partition("_") if quantity.startswith(("sd_", "cor_")) else ("fixed", "", quantity)
    terms, _, group = rest.partition("|")
    parts = terms.split(".") if component == "cor" else [terms]
    return component, group, frozenset(our_name(part, data).replace(" ", "") for part in parts)


@pytest.mark.parametrize("name", MODELS)
def test_limits_are_lme4s(name):
    """To 3e-4 of the interval, 5e-3 for a correlation.

    That is how far lme4's splines are from its own likelihood; ours are held to the likelihood below.
    """
    formula, data, family = MODELS[name]
    fit = Model(formula, table(data), family).fit_ml()
    limits = fit.confint("profile", level=LME4["_note"]["level"])
    ours = {
        (row.component, row.group, frozenset(row.term.replace(" ", "").split(","))): row for row in limits.itertuples()
    }
    theirs = LME4[name]
    assert len(ours) == len(theirs["quantity"])
    for quantity, low, high in zip(theirs["quantity"], theirs["low"], theirs["high"], strict=True):
        row = ours[key_of(quantity, fit.model.data)]
        tolerance = (5e-3 if row.component == "cor" else 3e-4) * (high - low)
        assert [row.conf_low, row.conf_high] == pytest.approx([low, high], abs=tolerance)


# the likelihood itself ----------------------------------------------------------------------------------------------


def gaussian_likelihood(fit):
    """(β, sds and correlation of one term, σ) -> log-likelihood, by the normal densities of groups of one size."""
    design = fit.design
    (group,) = design.groups
    p, k = len(design.terms), len(group.terms)
    order = np.argsort(group.codes, kind="stable").reshape(group.n_levels, -1)
    y, w, X, z = design.response.y[order], design.weights[order], design.X[order], group.z[order]

    def loglik(x):
        sd, cor = x[p : p + k], np.eye(k)
        cor[~np.eye(k, dtype=bool)] = np.repeat(x[p + k : -1], 2)
        V = z @ (np.outer(sd, sd) * cor) @ z.swapaxes(1, 2) + x[-1] ** 2 * np.eye(y.shape[1]) / w[..., None]
        residual = y - X @ x[:p]
        quadratic = (residual * np.linalg.solve(V, residual[..., None])[..., 0]).sum()
        return -0.5 * (quadratic + np.linalg.slogdet(V)[1].sum() + y.size * np.log(2 * np.pi))

    return loglik


def density(fit, eta):
    """log p(y | η) by row, and its first two derivatives in η."""
    y, n = fit.design.response.y, fit.design.response.trials
    if fit.design.family.is_binary:
        mu = expit(eta)
        constant = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        return y * eta - n * np.logaddexp(0, eta) + constant, y - n * mu, -n * mu * (1 - mu)
    mu = np.exp(eta)
    return y * eta - mu - gammaln(y + 1), y - mu, -mu


def by_group(fit):
    """(groups, n): what sums rows by group."""
    (group,) = fit.design.groups
    return (group.codes == np.arange(group.n_levels)[:, None]).astype(float)


def laplace_likelihood(fit):
    """(β, sds and correlation of one term) -> log-likelihood by Laplace, all modes by Newton's method at once."""
    design, sums = fit.design, by_group(fit)
    (group,) = design.groups
    p, k = len(design.terms), len(group.terms)

    def loglik(x):
        sd, cor = x[p : p + k], np.eye(k)
        cor[~np.eye(k, dtype=bool)] = np.repeat(x[p + k :], 2)
        m = group.z @ (sd[:, None] * np.linalg.cholesky(cor))
        squares = (m[:, :, None] * m[:, None, :]).reshape(-1, k * k)
        fixed, u = design.offset + design.X @ x[:p], np.zeros((group.n_levels, k))
        for _ in range(100):
            value, slope, curvature = density(fit, fixed + (m * u[group.codes]).sum(axis=1))
            information = np.eye(k) - (sums @ (curvature[:, None] * squares)).reshape(-1, k, k)
            step = np.linalg.solve(information, (sums @ (slope[:, None] * m) - u)[..., None])[..., 0]
            u = u + step / max(1.0, np.abs(step).max())
            if np.abs(step).max() < 1e-10:
                break
        return value.sum() - 0.5 * (u**2).sum() - 0.5 * np.linalg.slogdet(information)[1].sum()

    return loglik


def exact_likelihood(fit):
    """(β, sd) -> log-likelihood integrated by the trapezoidal rule on 241 points, whose error is below rounding."""
    design, sums, u = fit.design, by_group(fit), np.linspace(-12, 12, 241)

    def loglik(x):
        fixed = design.offset + design.X @ x[:-1]
        given = np.stack([sums @ density(fit, fixed + x[-1] * node)[0] for node in u])
        return (np.logaddexp.reduce(given + norm.logpdf(u)[:, None], axis=0) + math.log(u[1] - u[0])).sum()

    return loglik


def fall(loglik, top, start, is_sd, is_cor, place, value):
    """How far the deviance rises when one quantity is held at a value: the others sought afresh, by scipy."""

    def natural(z):
        x = np.insert(z, place, 0.0)
        x = np.where(is_sd, np.exp(np.minimum(x, 20.0)), np.where(is_cor, np.tanh(x), x))
        x[place] = value
        return x

    begin = np.delete(np.where(is_sd, np.log(np.maximum(start, 1e-3)), np.where(is_cor, 0.0, start)), place)
    found = minimize(lambda z: -loglik(natural(z)), begin, method="BFGS", options={"gtol": 1e-6})
    return 2.0 * (top + found.fun)


def check_limits(fit, loglik, level, start, parm=None):
    """Every limit of a profile against :func:`fall`, to what its search leaves, |ζ − q| < 1e-5."""
    table, limits = fit.table(), fit.confint("profile", level, parm)
    is_sd, is_cor = table.component.isin(["sd", "residual"]).to_numpy(), (table.component == "cor").to_numpy()
    top, quantile = loglik(table.estimate.to_numpy()), chi2.ppf(level, 1)
    assert top == pytest.approx(fit.loglik, abs=1e-7)
    places = {(row.component, row.term): place for place, row in enumerate(table.itertuples())}
    for row in limits.itertuples():
        assert row.conf_low < row.estimate < row.conf_high
        place = places[row.component, row.term]
        for limit in (row.conf_low, row.conf_high):
            found = fall(loglik, top, np.array(start), is_sd, is_cor, place, limit)
            assert found == pytest.approx(quantile, abs=2e-5 * np.sqrt(quantile))


@pytest.mark.parametrize(
    ("formula", "level", "start"),
    [("(Days | Subject)", 0.95, [300, 0, 20, 10, 0, 40]), ("(1 | Subject)", 0.5, [300, 0, 20, 40])],
)
def test_the_deviance_at_a_limit_is_the_quantile_in_a_gaussian_model(formula, level, start, sleepstudy):
    data = sleepstudy.assign(w=np.resize([1.0, 2.0, 0.5], 180))
    fit = Model(f"Reaction ~ Days + {formula}", data, "gaussian", weights="w").fit_ml()
    check_limits(fit, gaussian_likelihood(fit), level, start)


@pytest.mark.parametrize("points", [1, 25])
@pytest.mark.parametrize(
    ("formula", "family", "level"),
    [("cbind(s, n - s) ~ x + (1 | h)", "binomial", 0.9), ("count ~ x + offset(o) + (1 | h)", "poisson", 0.99)],
)
def test_the_deviance_at_a_limit_is_the_quantile(formula, family, level, points, toy):
    fit = Model(formula, toy, family).fit_ml(points)
    check_limits(fit, (laplace_likelihood if points == 1 else exact_likelihood)(fit), level, [0, 0, 1])


def test_the_deviance_at_a_limit_is_the_quantile_where_slopes_vary(contraception):
    fit = Model("use ~ urban + (urban | district)", contraception).fit_ml()
    check_limits(fit, laplace_likelihood(fit), 0.95, [0, 0, 1, 1, 0], ["sd", "cor"])


@pytest.mark.parametrize(
    ("data", "formula", "without", "term", "arguments", "options"),
    [
        ("contraception", "use ~ age + urban + (urban | district)", "use ~ age + (urban | district)", "urban[Y]", {}, {}),
        ("contraception", "use ~ age + urban + (1 | district)", "use ~ urban + (1 | district)", "age",
         {"link": "cloglog"}, {"information": "expected"}),
        ("toy", "y ~ x + (x || g) + (1 | h)", "y ~ 1 + (x || g) + (1 | h)", "x", {}, {}),
        ("toy", "y ~ x + (x | g)", "y ~ 1 + (x | g)", "x", {"link": "probit"}, {"n_agq": 7}),
        ("toy", "count ~ x + z", "count ~ z", "x", {"family": "poisson"}, {}),
        ("toy", "z ~ x + f + (1 | g) + (1 | h)", "z ~ f + (1 | g) + (1 | h)", "x", {"family": "gaussian"}, {}),
    ],
)  # fmt: skip
def test_a_coefficient_held_at_its_limit_is_an_offset(data, formula, without, term, arguments, options, request):
    """A model without the column, and limit × column for its offset, is as far below as the quantile says."""
    table = request.getfixturevalue(data)
    fit = Model(formula, table, **arguments).fit_ml(**options)
    column = fit.design.X[:, fit.design.terms.index(term)]
    (limits,) = fit.confint("profile", parm=term).query("component == 'fixed'").itertuples()
    for limit in (limits.conf_low, limits.conf_high):
        held = Model(without, table, offset=limit * column, **arguments).fit_ml(**options)
        assert 2 * (fit.loglik - held.loglik) == pytest.approx(chi2.ppf(0.95, 1), abs=4e-5)


# what follows from a limit -------------------------------------------------------------------------------------------


def test_profiles_lead_to_the_limits(sleepstudy):
    """ζ is 0 at the estimate, ± the quantile at the limits, and rises in between."""
    fit = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, "gaussian").fit_ml()
    limits, profile = fit.confint("profile", level=0.9), fit.profile(level=0.9, points=3)
    assert len(profile) == 6 * 7
    for row in limits.itertuples():
        trace = profile[(profile.component == row.component) & (profile.term == row.term)]
        ends = trace.value.iloc[[0, 3, 6]].tolist()
        assert ends == pytest.approx([row.conf_low, row.estimate, row.conf_high], rel=1e-6)
        assert trace.zeta.iloc[[0, 3, 6]].tolist() == pytest.approx([-1.6448536, 0.0, 1.6448536], abs=2e-5)
        assert (np.diff(trace.zeta) > 0.0).all()


def test_limits_are_of_the_quantities_whatever_the_units_are(toy):
    """Of x / 1000: limits of its coefficient and its sd times 1000, all others as they were, to the search's 1e-5."""
    one, other = (
        Model("cbind(s, n - s) ~ x + (x | h)", data, "binomial").fit_ml().confint("profile")
        for data in (toy, toy.assign(x=toy.x / 1000.0))
    )
    scale = np.where((one.term == "x").to_numpy(), 1000.0, 1.0)
    for side in ("conf_low", "conf_high"):
        np.testing.assert_allclose(other[side] / scale, one[side], rtol=2e-4, atol=2e-5)


def test_frequencies_are_replicated_rows(toy):
    one = Model("y ~ x + (1 | h)", toy, freq="reps").fit_ml().confint("profile")
    many = Model("y ~ x + (1 | h)", toy.loc[toy.index.repeat(toy.reps)]).fit_ml().confint("profile")
    np.testing.assert_allclose(one[["conf_low", "conf_high"]], many[["conf_low", "conf_high"]], rtol=1e-4, atol=1e-5)


def test_rows_asked_for_are_rows_of_the_whole(sleepstudy):
    fit = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, "gaussian").fit_ml()
    limits = fit.confint("profile")
    for parm, places in (("sd", [2, 3]), (["cor", "residual"], [4, 5]), ("Days", [1, 3]), ("Subject", [2, 3, 4])):
        expected = limits.iloc[places].reset_index(drop=True)
        pd.testing.assert_frame_equal(fit.confint("profile", parm=parm), expected, rtol=1e-4)
    assert limits.attrs["interval"] == "95% profile likelihood"


def test_progress_is_told(toy):
    fit = Model("y ~ x + (1 | h)", toy).fit_ml()
    told = []
    profile_limits(fit.design, fit.solution, 1.0, [2, 0], lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_of_a_fit_by_reml_the_likelihood_is_profiled(sleepstudy):
    """As lme4 does, which refits; the estimates stay those of REML."""
    model = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, "gaussian")
    ml, reml = (model.fit_ml(reml=reml) for reml in (False, True))
    one, other = ml.confint("profile"), reml.confint("profile")
    np.testing.assert_array_equal(one[["conf_low", "conf_high"]], other[["conf_low", "conf_high"]])
    assert other.estimate.iloc[-1] == reml.sigma != ml.sigma
    assert one.attrs["notes"] == []
    (note,) = other.attrs["notes"]
    assert note.startswith("The fit is by REML; what is profiled, as lme4 does, is the likelihood")
    assert reml.profile("sd").attrs["notes"] == [note]


def test_profiling_takes_few_likelihoods(contraception):
    """The slope of the profile is used: four or five constrained maxima a limit, a few likelihoods each."""
    fit = Model("use ~ age*ch + I(age^2) + urban + (1 | district)", contraception).fit_ml()
    found = profile_limits(fit.design, fit.solution, 1.96)
    assert max(limit.evaluations for limit in found) <= 60


# the ends of the range -----------------------------------------------------------------------------------------------


def test_a_variance_at_zero_has_a_lower_limit_of_zero():
    fit = Model("Yield ~ 1 + (1 | Batch)", table("dyestuff2"), "gaussian").fit_ml()
    _, sd, sigma = fit.confint("profile").itertuples()
    assert (sd.estimate, sd.conf_low) == (0.0, 0.0)
    loglik = gaussian_likelihood(fit)
    top = loglik(np.array([fit.fixef().iloc[0], 0.0, fit.sigma]))
    is_sd = np.array([False, True, True])
    for place, limit in ((1, sd.conf_high), (2, sigma.conf_low), (2, sigma.conf_high)):
        found = fall(loglik, top, np.array([0.0, 1.0, 3.0]), is_sd, np.zeros(3, dtype=bool), place, limit)
        assert found == pytest.approx(chi2.ppf(0.95, 1), abs=4e-5)


def test_a_variance_that_may_be_zero_has_a_lower_limit_of_zero():
    """Without an effect of batches the deviance of Pastes is higher by 0.4: a lower limit would need 3.84."""
    fit, without = (
        Model(f"strength ~ 1 + {groups}", table("pastes"), "gaussian").fit_ml()
        for groups in ("(1 | batch / cask)", "(1 | cask:batch)")
    )
    assert 0.0 < without.deviance - fit.deviance < chi2.ppf(0.95, 1)
    batch, sample = fit.confint("profile", parm="sd").itertuples()
    assert batch.conf_low == 0.0 < batch.estimate
    assert 0.0 < sample.conf_low < sample.estimate
    # A narrower interval leaves zero outside.
    narrow = 0.9 * chi2.cdf(without.deviance - fit.deviance, 1)
    assert fit.confint("profile", narrow, "batch").conf_low[0] > 0.0


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_correlation_of_one_is_its_own_limit(sign):
    fit = Model("y ~ x + (x | g)", one_effect_twice(sign)).fit_ml()
    (cor,) = fit.confint("profile", parm="cor").itertuples()
    near, far = (cor.conf_low, cor.conf_high)[::sign]
    assert far == sign == pytest.approx(cor.estimate, abs=1e-6)
    loglik = laplace_likelihood(fit)
    is_cor = np.array([False] * 4 + [True])
    is_sd = np.array([False, False, True, True, False])
    found = fall(loglik, fit.loglik, np.array([0.0, 0.0, 1.0, 1.0, 0.0]), is_sd, is_cor, 4, near)
    assert found == pytest.approx(chi2.ppf(0.95, 1), abs=4e-5)


def test_a_correlation_with_a_variance_at_zero_may_be_anything():
    """Every group is answered alike, so that nothing varies between them."""
    data = pd.DataFrame(
        {"y": np.tile([0, 1, 1, 0, 1, 0], 10), "x": np.tile([0.0, 1, 2, 1, 0.5, -1], 10), "g": np.repeat(range(10), 6)}
    )
    limits = Model("y ~ x + (x | g)", data).fit_ml().confint("profile", parm="g")
    assert limits.conf_low.tolist() == [0.0, 0.0, -1.0]
    assert limits.conf_high.iloc[2] == 1.0
    assert (limits.conf_high.iloc[:2] > 0.1).all()


def section_of(loglik, slope, low=-math.inf, high=math.inf):
    """A likelihood of one quantity, at its best at 0, where its information is 1."""
    none = np.zeros(0)
    return Section(
        lambda phi, z: (loglik(phi), np.array([slope(phi)])), 0.0, none, 0.0, np.eye(1), (), none.astype(int), 1.0,
        False, low, high,
    )  # fmt: skip


@pytest.mark.parametrize("side", [-1, 1])
def test_limits_of_likelihoods_of_one_quantity(side):
    """A normal one; Cauchy's, whose tails are long; one that levels off before the quantile; one that ends before."""
    root = math.sqrt(math.exp(0.5 * 1.96**2) - 1.0)
    for section, expected in (
        (section_of(lambda x: -0.5 * x**2, lambda x: -x), 1.96),
        (section_of(lambda x: -math.log1p(x**2), lambda x: -2 * x / (1 + x**2)), root),
        (section_of(lambda x: -0.5 * x**2 / (1 + x**2), lambda x: -x / (1 + x**2) ** 2), math.inf),
        (section_of(lambda x: -0.5 * x**2, lambda x: -x, -1.5, 1.5), 1.5),
    ):
        assert _Profile(section).limit(1.96, side) == pytest.approx(side * expected, abs=2e-5 * root)


def test_a_likelihood_that_cannot_be_followed_has_no_limit():
    """It ends within the reach of the quantile: a limit would be made up."""
    section = section_of(lambda x: -0.5 * x**2 if abs(x) < 1.0 else -math.inf, lambda x: -x)
    assert math.isnan(_Profile(section).limit(1.96, 1))


# what is refused ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(toy):
    return Model("y ~ x + (1 | h)", toy).fit_ml()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.confint("profil"), r'confint has no method "profil"; did you mean "profile"\? \(there are: wald, profile, bootstrap\)'),
        (lambda f: f.confint(None), 'confint has no method "None"; there are: wald, profile, bootstrap'),
        (lambda f: f.confint("profile", level=1.0), "level should lie between 0 and 1, for example 0.95, not 1.0"),
        (lambda f: f.profile(level=95), "level should lie between 0 and 1, for example 0.95, not 95"),
        (lambda f: f.confint("profile", parm="z"), r'parm: there is no component, group or term "z"; there are: fixed, '),
        (lambda f: f.profile(["x", "residual"]), 'parm: there is no component, group or term "residual"'),
        (lambda f: f.profile("x", points=0), "points should be 1 or more, not 0"),
    ],
)  # fmt: skip
def test_bad_questions_are_one_sentence(ask, message, fit):
    with pytest.raises(FitError, match=message) as refused:
        ask(fit)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("fit_ml", {"n_agq": 0}, r"profiles are of the likelihood in all parameters: fit by fit_ml\(n_agq=1, reml=False\)"),
        ("fit_map", {}, r"a posterior mode has no profile likelihood around it; .*fit.model.fit_ml\(\)"),
    ],
)  # fmt: skip
def test_fits_without_a_profile(method, options, message, toy):
    other = getattr(Model("y ~ x + (1 | h)", toy), method)(**options)
    for ask in (lambda: other.confint("profile"), lambda: other.profile("sd")):
        with pytest.raises(FitError, match=message):
            ask()


def test_a_fit_that_is_not_at_its_maximum_has_no_limits(toy):
    """A solution of other data: its profile rises above it, which is said instead of two numbers."""
    model = Model("z ~ x + (1 | h)", toy, "gaussian")
    moved = replace(model.fit_ml().solution, beta=np.array([1.0, 5.0]))
    with pytest.raises(FitError, match=r"profiling found a likelihood .* above the fit's: the fit is not at"):
        profile_limits(model.design, moved, 1.96, [3])
