"""Simulated responses: their moments, whose rows and groups they are of, refits to them, and ranks among them."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, ndtr
from scipy.stats import kstest

from bayesmlm.errors import BayesmlmError, DataError, FitError
from bayesmlm.families import family_of
from bayesmlm.model import Model
from bayesmlm.simulation import draw_responses, scaled_residuals

# moments ------------------------------------------------------------------------------------------------------------

INVERSES = {
    "logit": expit,
    "probit": ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
    "log": np.exp,
    "identity": lambda eta: eta,
}

FITS = {
    "bernoulli": ("y ~ x + (1 | h)", {}),
    "probit": ("y ~ x + (x | h)", {"link": "probit"}),
    "cloglog": ("y ~ x + (1 | g)", {"link": "cloglog"}),
    "trials": ("cbind(s, n - s) ~ x + (x || h)", {"family": "binomial"}),
    "two terms": ("cbind(s, n - s) ~ x + offset(o) + (1 | g) + (x | h)", {"family": "binomial"}),
    "weights": ("y ~ x + (1 | g)", {"weights": "reps", "offset": "o"}),
    "counts": ("count ~ x + offset(o) + (x | h)", {"family": "poisson"}),
    "weighted counts": ("count ~ x + (1 | h)", {"family": "poisson", "weights": "w"}),
    "gaussian": ("z ~ x + f + (flag | g)", {"family": "gaussian", "weights": "w", "offset": "o"}),
}


@pytest.fixture(scope="module")
def fits(toy):
    return {name: Model(formula, toy, **arguments).fit_ml() for name, (formula, arguments) in FITS.items()}


def covariance_of_predictors(fit):
    """Of the linear predictors over groups, row × row, from the table: Σ over terms of z_i Σ z_j′ [same group]."""
    table, C = fit.table(), 0.0
    sds, correlations = (iter(table.estimate[table.component == part]) for part in ("sd", "cor"))
    for group in fit.design.groups:
        k = len(group.terms)
        sd, R = np.array([next(sds) for _ in range(k)]), np.eye(k)
        for a in range(k):
            for b in range(a + 1, k):
                R[a, b] = R[b, a] = np.nan_to_num(next(correlations))
        C = C + (group.z @ (np.outer(sd, sd) * R) @ group.z.T) * (group.codes[:, None] == group.codes)
    return C


def answers(fit):
    """How many answers a row is the mean of, and how many are counted together: weights and trials."""
    design = fit.design
    return design.weights * design.freq, design.response.trials


def variance_given(fit, mean):
    """Variance of the rows' responses at given means per trial."""
    weights, trials = answers(fit)
    match fit.design.family.name:
        case "gaussian":
            return np.broadcast_to(fit.sigma**2 / weights, mean.shape)
        case "poisson":
            return mean / weights
    return trials * mean * (1.0 - mean) / weights


def exact_moments(fit, points=24):
    """Mean and variance of every row, and covariance of every pair of rows, group effects integrated out.

    By Gauss-Hermite quadrature over two linear predictors at once, which are jointly normal.
    """
    inverse, (_, trials) = INVERSES[fit.design.family.link.name], answers(fit)
    eta = fit.design.offset + fit.design.X @ fit.fixef().to_numpy()
    C = covariance_of_predictors(fit)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    sd = np.sqrt(np.diag(C))
    at = inverse(eta + sd * nodes[:, None])
    factor = trials if fit.design.family.is_binary else np.ones(len(eta))
    mean = factor * (weights @ at)
    variance = weights @ variance_given(fit, at) + weights @ (factor * at - mean) ** 2
    slope = np.divide(C, sd[:, None], out=np.zeros_like(C), where=sd[:, None] > 0.0)
    left = np.sqrt(np.maximum(np.diag(C) - slope**2, 0.0))
    product = np.zeros_like(C)
    for node, weight in zip(nodes, weights, strict=True):
        first = inverse(eta + sd * node)
        other = sum(w * inverse(eta + slope * node + left * u) for u, w in zip(nodes, weights, strict=True))
        product += weight * first[:, None] * other
    return mean, variance, np.outer(factor, factor) * product - np.outer(mean, mean)


def spread_of_products(a, b):
    """Mean of products of two series by column, and its standard error."""
    n = a.shape[1]
    mean = a @ b.T / n
    return mean, np.sqrt(np.maximum((a**2) @ (b**2).T / n - mean**2, 0.0) / n)


@pytest.mark.parametrize("name", FITS)
def test_moments_with_new_groups(name, fits, toy):
    """Of 3,000 draws: rows' means and variances, and covariances of groups' totals, within 5 standard errors."""
    fit, n = fits[name], 3000
    drawn = fit.simulate(n, seed=1).to_numpy(float)
    mean, variance, covariance = exact_moments(fit)
    centred = drawn - mean[:, None]
    assert np.abs(centred.mean(axis=1) / np.sqrt(variance / n)).max() < 5.0
    found, error = centred.var(axis=1), (centred**2).std(axis=1) / np.sqrt(n)
    assert np.abs((found - variance) / error).max() < 5.0
    # Every group of either grouping, whether the model has it or not.
    sums = pd.get_dummies(toy[["g", "h"]].astype("str")).to_numpy(float).T
    found, error = spread_of_products(sums @ centred, sums @ centred)
    np.fill_diagonal(covariance, variance)
    assert np.abs((found - sums @ covariance @ sums.T) / error).max() < 5.0
    # What forgot the groups would be far from it.
    assert np.abs((found - sums @ np.diag(variance) @ sums.T) / error).max() > 10.0


@pytest.mark.parametrize("name", FITS)
def test_moments_given_the_groups(name, fits):
    """Effects of known groups stay where they are: means are the fitted ones, and rows are independent."""
    fit, n = fits[name], 3000
    drawn = fit.simulate(n, seed=2, groups="conditional").to_numpy(float)
    mean = fit.fitted()
    variance = variance_given(fit, mean)
    mean = mean * (answers(fit)[1] if fit.design.family.is_binary else 1.0)
    centred = drawn - mean[:, None]
    assert np.abs(centred.mean(axis=1) / np.sqrt(variance / n)).max() < 5.0
    squares = centred**2
    assert np.abs((squares.mean(axis=1) - variance) / (squares.std(axis=1) / np.sqrt(n))).max() < 5.0
    correlations = (centred @ centred.T / n / np.sqrt(np.outer(variance, variance)))[np.triu_indices(120, 1)]
    assert np.abs(correlations).max() < 6.0 / np.sqrt(n)


@pytest.mark.parametrize(("family", "link"), [("gaussian", None), ("poisson", None), ("bernoulli", "cloglog")])
def test_draws_have_the_family_s_distribution(family, link):
    """200,000 at one linear predictor: Kolmogorov's distance, or every frequency, within 5 standard errors."""
    from scipy import stats

    n, eta = 200_000, 0.4
    function, one = family_of(family, link), np.ones(n)
    drawn = draw_responses(function, eta * one, one, 4.0 * one, 1.5, np.random.default_rng(3))
    if family == "gaussian":
        assert kstest(drawn, stats.norm(eta, 0.75).cdf).statistic < 1.95 / np.sqrt(n)
        return
    counts = np.bincount(np.round(4 * drawn).astype(int))
    np.testing.assert_allclose(4 * drawn, np.round(4 * drawn), atol=1e-12)
    mean = INVERSES[function.link.name](eta)
    of = stats.poisson(4 * mean) if family == "poisson" else stats.binom(4, mean)
    p = of.pmf(np.arange(len(counts)))
    assert np.abs((counts - n * p) / np.sqrt(n * p * (1 - p)))[n * p > 20].max() < 5.0


# rows and groups ------------------------------------------------------------------------------------------------


def test_columns_do_not_depend_on_how_many_there_are(fits):
    fit = fits["two terms"]
    many = fit.simulate(5, seed=3)
    assert many.columns.tolist() == [f"sim_{i}" for i in range(1, 6)]
    pd.testing.assert_frame_equal(fit.simulate(2, seed=3), many.iloc[:, :2])
    assert not many.T.duplicated().any()
    assert not fit.simulate(5, seed=4).equals(many)
    assert not fit.simulate(seed=None).equals(fit.simulate(seed=None))


def test_discrete_responses_are_whole_numbers(fits):
    for name in ("bernoulli", "trials", "counts"):
        drawn = fits[name].simulate(3, seed=1)
        assert (drawn.dtypes == np.int64).all()
        assert (drawn.to_numpy() >= 0).all()
        assert (drawn.to_numpy() <= fits[name].design.response.trials[:, None]).all() or name == "counts"


def test_new_rows_are_drawn_as_the_models_own(fits, toy):
    """The same rows as new data are the same draws; in another order they are other draws of the same law."""
    for name in ("bernoulli", "trials", "two terms", "weights", "counts", "gaussian"):
        fit = fits[name]
        for groups in ("new", "conditional"):
            own, given = fit.simulate(2, seed=6, groups=groups), fit.simulate(2, seed=6, newdata=toy, groups=groups)
            np.testing.assert_allclose(own, given, rtol=1e-9, err_msg=name)


def test_new_groups_draw_effects_of_their_own(fits, toy):
    """Rows of one new group go together; two of them do not; those known keep their effects if asked to."""
    fit, n = fits["trials"], 4000
    assert fit.varcorr().sd[0] > 0.3
    new = pd.DataFrame({"x": 0.0, "h": [70, 70, 71, 0], "s": 50, "n": 100}, index=list("abcd"))
    drawn = fit.simulate(n, seed=1, newdata=new, groups="conditional")
    assert drawn.index.tolist() == list("abcd")
    R = np.corrcoef(drawn)
    assert R[0, 1] > 0.5
    assert np.abs(R[np.triu_indices(4, 1)][1:]).max() < 5.0 / np.sqrt(n)
    # The known group's effect is fixed: its counts are binomial.
    p = fit.predict(new).estimate.iloc[3]
    assert drawn.loc["d"].var() == pytest.approx(100 * p * (1 - p), rel=5 * np.sqrt(2 / n))
    assert drawn.loc["d"].mean() == pytest.approx(100 * p, abs=5 * np.sqrt(100 * p * (1 - p) / n))
    assert drawn.loc["a"].var() > 2.0 * drawn.loc["d"].var()
    again = fit.simulate(n, seed=1, newdata=new, groups="new")
    assert again.loc["d"].var() > 2.0 * drawn.loc["d"].var()
    assert np.corrcoef(again)[0, 3] < 5.0 / np.sqrt(n)


def test_trials_weights_and_offsets_of_new_rows(fits, toy):
    """Twice the trials are twice the successes; an offset moves the mean; a weight divides a variance."""
    new, n = toy.iloc[:40].assign(h=0, g="north"), 2000
    trials = fits["trials"]
    more = trials.simulate(n, seed=1, newdata=new.assign(s=new.s, n=10 * new.n), groups="conditional")
    mean = trials.predict(new).estimate * 10 * new.n
    assert np.abs((more.mean(axis=1) - mean) / np.sqrt(more.var(axis=1) / n)).max() < 5.0
    counts = fits["counts"]
    up = counts.simulate(n, seed=1, newdata=new.assign(o=new.o + 1.0), groups="conditional")
    mean = np.e * counts.predict(new).estimate
    assert np.abs((up.mean(axis=1) - mean) / np.sqrt(mean / n)).max() < 5.0
    gaussian = fits["gaussian"]
    spread = gaussian.simulate(n, seed=1, newdata=new.assign(w=25.0), groups="conditional").var(axis=1)
    assert np.abs(spread / (gaussian.sigma**2 / 25.0) - 1.0).max() < 5.0 * np.sqrt(2 / n)


def test_rows_left_out_are_left_out(toy):
    holes = toy.assign(x=toy.x.where(toy.index % 10 > 0))
    drawn = Model("y ~ x + (1 | g)", holes).fit_ml().simulate(2, seed=1)
    assert drawn.index.tolist() == [i for i in range(120) if i % 10]


@pytest.mark.parametrize(
    ("name", "change", "keywords", "message"),
    [
        ("bernoulli", {}, {"n": 0}, "n should be 1 or more, not 0"),
        ("bernoulli", {}, {"seed": "1"}, "seed should be a whole number of 0 or more, not '1'"),
        ("bernoulli", {}, {"groups": "old"}, 'groups should be "new" or "conditional", not "old"'),
        ("bernoulli", {"x": None}, {}, 'new data: the data have no column "x"'),
        ("bernoulli", {"h": None}, {}, 'new data: the data have no column "h"'),
        ("bernoulli", {"h": [np.nan, 1.0]}, {}, 'new data: column "h" is missing in row 0 (counting from 0)'),
        ("gaussian", {"f": "d"}, {}, 'column "f" holds "d", a level the model has not seen; there are: a, b, c'),
        ("trials", {"n": None}, {}, 'the data have no column "n"'),
        ("trials", {"n": 2.5, "s": 1}, {}, "new data: 2.5 trials in row 0 (counting from 0); they should be whole"),
        ("weights", {"reps": [1.0, 0.5]}, {}, "row 1 (counting from 0) has 0.5 trials, its weight included"),
        ("gaussian", {"w": [1.0, -1.0]}, {}, "new data: the weight in row 1 (counting from 0) is negative"),
        ("gaussian", {"w": None}, {}, 'the data have no column "w"'),
        ("gaussian", {"o": None}, {}, 'new data: the data have no column "o"'),
    ],
)  # fmt: skip
def test_what_cannot_be_simulated(name, change, keywords, message, fits, toy):
    new = toy.iloc[:2].assign(**{k: v for k, v in change.items() if v is not None})
    new = new.drop(columns=[k for k, v in change.items() if v is None])
    with pytest.raises(BayesmlmError) as refused:
        fits[name].simulate(**({"newdata": new} | keywords))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_rates_no_count_can_have(toy):
    fit = Model("count ~ x + (1 | h)", toy, family="poisson").fit_ml()
    with pytest.raises(FitError, match=r"the model's rates reach .*, more than a count can hold"):
        fit.simulate(newdata=toy.assign(x=1e4 * np.sign(fit.fixef()["x"])))


# refits -----------------------------------------------------------------------------------------------------------

REFITS = {
    "bernoulli": ("y ~ x + (x | g)", {}, {}, "y"),
    "levels": ("answer ~ x + (1 | h)", {}, {"n_agq": 5}, "answer"),
    "trials": ("cbind(s, n - s) ~ x + offset(o) + (1 | g)", {"family": "binomial"}, {}, "s"),
    "counts": ("count ~ x + (1 | h)", {"family": "poisson", "offset": "o"}, {}, "count"),
    "REML": ("z ~ x + (1 | g) + (1 | h)", {"family": "gaussian", "weights": "w"}, {"reml": True}, "z"),
}


@pytest.mark.parametrize("name", REFITS)
def test_a_refit_is_the_fit_to_that_response(name, toy):
    formula, arguments, options, column = REFITS[name]
    fit = Model(formula, toy, **arguments).fit_ml(**options)
    y = fit.simulate(seed=8).sim_1
    changed = toy.assign(**{column: y.map({0: "no", 1: "yes"}) if name == "levels" else y})
    direct = Model(formula, changed, **arguments).fit_ml(**options)
    again = fit.refit(y)
    assert again.loglik == direct.loglik
    pd.testing.assert_frame_equal(again.table(ranef=True), direct.table(ranef=True))
    np.testing.assert_array_equal(again.residuals(), direct.residuals())
    for value in (y.tolist(), y.to_numpy(float), changed[column]):
        assert fit.refit(value).loglik == direct.loglik
    assert fit.refit(toy[column]).loglik == fit.loglik
    assert fit.table().equals(Model(formula, toy, **arguments).fit_ml(**options).table())


def test_a_response_may_be_given_for_all_rows_or_those_used(toy):
    holes = toy.assign(x=toy.x.where(toy.index % 10 > 0))
    fit = Model("y ~ x + (1 | g)", holes).fit_ml()
    y = fit.simulate(seed=1).sim_1
    full = y.reindex(toy.index)
    used = fit.refit(y)
    assert used.loglik == fit.refit(full).loglik == fit.refit(full.fillna(7.0)).loglik
    assert used.loglik == Model("y ~ x + (1 | g)", holes.assign(y=full)).fit_ml().loglik


def test_at_a_posterior_mode_priors_stay_as_they_were(toy):
    """The defaults of a Gaussian model are of the scale of the response they were resolved against."""
    larger = toy.assign(z=100.0 * toy.z)
    of_toy, of_larger = (Model("z ~ x + (1 | g)", data, "gaussian") for data in (toy, larger))
    again = of_toy.fit_map().refit(larger.z)
    assert again.engine == "map"
    assert again.model.priors("map").equals(of_toy.priors("map"))
    assert not of_larger.priors("map").equals(of_toy.priors("map"))
    given = {"x": "normal(0, 1)", "Intercept": "normal(0, 9)", "sigma": "exponential(1)", "sd": "exponential(2)"}
    one, other = (Model("z ~ x + (1 | g)", data, "gaussian", priors=given).fit_map() for data in (toy, larger))
    assert one.refit(larger.z).log_posterior == other.log_posterior


def test_an_update_keeps_the_new_response(toy):
    """On the rows of the data, so that a formula which needs fewer columns finds its own."""
    fit = Model("y ~ x + (1 | g)", toy).fit_ml()
    y = fit.simulate(seed=2).sim_1
    updated, direct = fit.refit(y).model.update("y ~ z + (1 | h)"), Model("y ~ z + (1 | h)", toy.assign(y=y))
    assert updated.fit_ml().loglik == direct.fit_ml().loglik
    holes = toy.assign(z=toy.z.where(toy.index > 9))
    updated = Model("y ~ x", holes).fit_ml().refit(y).model.update("y ~ z")
    assert updated.fit_ml().loglik == Model("y ~ z", holes.assign(y=y)).fit_ml().loglik
    # Another response is read from the data.
    assert fit.refit(y).model.update("flag ~ x").design.response.y.tolist() == toy.flag.astype(float).tolist()


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("bernoulli", [0, 1], "y has 2 values; the data have 120 rows: give one value for each"),
        ("bernoulli", np.zeros((120, 1)), "y has shape (120, 1); the data have 120 rows"),
        ("bernoulli", np.full(120, 2), "y is 2 in row 0 (counting from 0); a binary response is 0 or 1"),
        ("bernoulli", ["a"] * 120, 'y should be numbers, not "a"'),
        ("levels", ["no"] * 119 + ["maybe"], 'y is "maybe" in row 119 (counting from 0), no level of answer; '),
        ("trials", np.full(120, 99), "successes are whole numbers from 0 to the trials"),
        ("trials", np.full(120, 0.5), "successes are whole numbers from 0 to the trials"),
        ("counts", np.full(120, -1), "y is -1 in row 0 (counting from 0); a poisson response is a count 0, 1, 2, …"),
        ("REML", [np.nan] * 120, "y is nan in row 0 (counting from 0); a response should be complete and finite"),
    ],
)
def test_what_no_response_can_be(name, y, message, toy):
    formula, arguments, options, _ = REFITS[name]
    fit = Model(formula, toy, **arguments).fit_ml(**options)
    with pytest.raises(DataError) as refused:
        fit.refit(y)
    assert message in str(refused.value)


def test_a_response_without_a_maximum_is_refused(fits):
    with pytest.raises(FitError, match="the response is constant"):
        fits["bernoulli"].refit(np.zeros(120))


# ranks among simulations --------------------------------------------------------------------------------------------


def clustered(family, groups, rows, seed, tails=np.inf):
    """Responses of a model with an effect of x and of groups; a Gaussian's residuals may have longer tails."""
    rng = np.random.default_rng(seed)
    n = groups * rows
    g, x, trials = np.repeat(np.arange(groups), rows), rng.normal(size=n), rng.integers(4, 16, n)
    eta = 0.3 + 0.6 * x + 0.9 * rng.normal(size=groups)[g]
    y = {
        "bernoulli": lambda: rng.binomial(1, expit(eta)),
        "binomial": lambda: rng.binomial(trials, expit(eta)),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "gaussian": lambda: eta + (rng.normal(size=n) if tails == np.inf else rng.standard_t(tails, n)),
    }[family]()
    return pd.DataFrame({"y": y, "x": x, "g": g, "n": trials})


@pytest.mark.parametrize(("groups", "size", "rule"), [(600, 2, "new"), (20, 60, "conditional")])
@pytest.mark.parametrize("family", ["bernoulli", "binomial", "poisson", "gaussian"])
def test_residuals_are_uniform_under_the_model(family, groups, size, rule):
    """Kolmogorov's distance of 1,200 residuals: with new effects of many groups, or the own ones of large groups."""
    formula = f"{'cbind(y, n - y)' if family == 'binomial' else 'y'} ~ x + (1 | g)"
    fit = Model(formula, clustered(family, groups, size, seed=1), family).fit_ml()
    residuals = fit.residuals("simulated", seed=1, groups=rule)
    assert residuals.between(0.0, 1.0, inclusive="neither").all()
    assert kstest(residuals, "uniform").pvalue > 0.05


@pytest.mark.parametrize(
    ("family", "formula", "tails"),
    [
        ("binomial", "cbind(y, n - y) ~ x", np.inf),
        ("poisson", "y ~ x", np.inf),
        ("gaussian", "y ~ x + (1 | g)", 2.0),
    ],
)
def test_residuals_are_not_uniform_under_another(family, formula, tails):
    """Counts that vary more than the family does, where groups are left out; a normal for long tails."""
    data = clustered(family, 600, 2, seed=1, tails=tails)
    residuals = Model(formula, data, family).fit_ml().residuals("simulated", seed=1)
    assert kstest(residuals, "uniform").pvalue < 1e-6


def test_ranks_by_hand():
    """Of s draws l below and e equal: (l + U (e + 1)) / (s + 1)."""
    observed = np.array([2.0, 5.0, 0.0, 1 / 3])
    draws = [np.array([1.0, 5.0, 1.0, 1 - 2 / 3]), np.array([2.0, 5.0, 2.0, 1.0]), np.array([3.0, 5.0, 3.0, 0.0])]
    u = np.random.default_rng(5).random(4)
    found = scaled_residuals(observed, iter(draws), np.random.default_rng(5))
    np.testing.assert_allclose(found, (np.array([1, 0, 0, 1]) + u * np.array([2, 4, 1, 2])) / 4)


def test_residuals_by_seed_and_row(toy):
    counted = (toy.index != 5).astype(int)
    holes = toy.assign(x=toy.x.where(toy.index % 10 > 0), n=toy.n * counted, s=toy.s * counted)
    fit = Model("cbind(s, n - s) ~ x + (1 | g)", holes, "binomial").fit_ml()
    one, again, other = (fit.residuals("simulated", seed=seed, simulations=20) for seed in (1, 1, 2))
    assert one.index.tolist() == [i for i in range(120) if i % 10]
    assert one.equals(again)
    assert not one.equals(other)
    # A row without trials says nothing.
    assert one.index[one.isna()].tolist() == [5]
    with pytest.raises(FitError, match="simulations should be 1 or more, not 0"):
        fit.residuals("simulated", simulations=0)
    with pytest.raises(FitError, match='there are no "simulate" residuals; did you mean "simulated"'):
        fit.residuals("simulate")
