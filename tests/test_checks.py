"""Predictive checks, simulated residuals, prior sensitivity and why two readings differ."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom

import bayesmlm as bm
from bayesmlm import checks, plots
from bayesmlm.bayes.prior_density import log_priors
from bayesmlm.checks.monte_carlo import both_tails, chi_square, holm, random_ranks, upper_tail
from bayesmlm.cross_validation.draws import parameter_draws
from bayesmlm.uniformity import uniform_values


@pytest.fixture(scope="module")
def data():
    frame = bm.load_dataset("contraception")
    return frame.assign(part=frame.urban.astype(str) + ":" + frame.district.astype(str))


@pytest.fixture(scope="module")
def m_04(data):
    return bm.Model("use ~ age*ch + I(age^2) + urban + (1 | district)", data, name="m_04")


@pytest.fixture(scope="module")
def posterior(m_04):
    return m_04.sample(draws=300, chains=2, seed=1)


def grouped(seed, rows=20, groups=30, sd=0.7, curve=0.0, slope=0.0, trials=1, extra=0.0):
    """Binary answers, or counts of them, in groups; a curve, a varying slope or overdispersion on request."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    x = rng.normal(size=len(g))
    eta = -0.2 + 0.6 * x + curve * x**2 + sd * rng.normal(size=groups)[g] + slope * rng.normal(size=groups)[g] * x
    eta += extra * rng.normal(size=len(g))
    n = np.full(len(g), trials)
    return pd.DataFrame({"g": g, "x": x, "n": n, "y": rng.binomial(n, expit(eta))})


def adjusted(check, test, by=""):
    table = check.table().set_index(["test", "by"])
    return table.p_adjusted[test, by]


# p-values -------------------------------------------------------------------------------------------------------


def test_p_values_among_exchangeable_numbers_are_uniform():
    values = np.random.default_rng(1).standard_normal((2000, 100))
    upper, both = (np.array([tails(row) for row in values]) for tails in (upper_tail, both_tails))
    # Multiples of 1/100 (the upper tail) are uniform, to the simultaneous 99 % limits of 2,000 of them.
    assert uniform_values(upper - 0.005).p_value > 0.01
    assert binom.ppf(0.001, 2000, 0.04) <= (both <= 0.04).sum() <= binom.ppf(0.999, 2000, 0.04)


def test_equal_statistics_count_on_both_sides():
    assert upper_tail(np.ones(50)) == both_tails(np.ones(50)) == 1.0


def test_chi_square_leaves_out_what_never_varies():
    values = np.random.default_rng(1).standard_normal((400, 3))
    values[:, 1] = 2.0
    assert chi_square(values).mean() == pytest.approx(2.0, rel=1e-12)
    assert chi_square(values[:20]).mean() == pytest.approx(2.0, rel=1e-12)  # too few for a covariance


def test_chi_square_sees_one_part_move_against_the_others():
    """What all parts have in common is ten times as large; the metric of the covariance takes it out."""
    rng = np.random.default_rng(1)
    values = 10.0 * rng.standard_normal((500, 1)) + rng.standard_normal((500, 5))
    values[0] = values[0].mean() + np.array([4.0, -1.0, -1.0, -1.0, -1.0])
    assert upper_tail(chi_square(values)) < 0.01
    expected = np.einsum(
        "si,ij,sj->s",
        *[values - values.mean(axis=0), np.linalg.inv(np.cov(values.T, ddof=0)), values - values.mean(axis=0)],
    )
    np.testing.assert_allclose(chi_square(values), expected)


def test_ranks_break_ties_at_random():
    """Of 0/1 numbers the ranks are uniform as a whole, and those of zeros lie below those of ones in their column."""
    values = np.random.default_rng(1).binomial(1, 0.3, (200, 50)).astype(float)
    ranks = random_ranks(values, np.random.default_rng(2))
    assert ((ranks > 0.0) & (ranks < 1.0)).all()
    for column, own in zip(values.T, ranks.T, strict=True):
        assert own[column == 0].max() < own[column == 1].min()
        assert sorted(np.floor(own * 200)) == list(range(200))


def test_holm_is_step_down():
    np.testing.assert_allclose(holm(np.array([0.01, 0.5, 0.02, 0.03])), [0.04, 0.5, 0.06, 0.06])


# posterior predictive checks --------------------------------------------------------------------------------------


def test_the_table_names_every_discrepancy(posterior):
    check = checks.posterior_predictive(posterior, draws=100)
    table = check.table()
    assert table.columns.tolist() == [
        "discrepancy", "by", "observed", "replicated", "low", "high", "p_value", "p_adjusted",
    ]  # fmt: skip
    assert (table.discrepancy + " " + table.by).str.strip().tolist() == [
        "rate", "sd of rates district", "χ² of rates district", "χ² of rates age", "χ² of rates ch", "χ² of rates urban",
        "χ² of calibration predicted rate", "spread of PIT",
    ]  # fmt: skip
    assert table.observed[0] == pytest.approx(759 / 1934)
    observed = posterior.model.data.assign(used=lambda d: d.use == "Y").groupby("district", observed=True).used.mean()
    assert table.observed[1] == pytest.approx(observed.std())
    assert (table.low <= table.replicated).all()
    assert (table.replicated <= table.high).all()
    parts = check.parts()
    assert parts.groupby("by", sort=False).size().to_dict() == {"district": 60, "age": 10, "ch": 2, "urban": 2}
    np.testing.assert_allclose(parts.observed[:60], observed.to_numpy())
    assert parts.groupby("by")["rows"].sum().eq(1934).all()


@pytest.mark.parametrize("reading", ["likelihood", "posterior"])
def test_both_readings_see_what_is_left_out(data, reading):
    def fit(formula):
        model = bm.Model(formula, data, name="few")
        return model.fit_ml() if reading == "likelihood" else model.sample(draws=200, chains=2, seed=1)

    straight = checks.posterior_predictive(fit("use ~ age + urban + (1 | district)")).table()
    assert straight.p_value[(straight.by == "age")].item() < 0.01
    assert straight.p_value[straight.discrepancy == "χ² of calibration"].item() < 0.01
    alone = checks.posterior_predictive(fit("use ~ age*ch + I(age^2) + urban"), group="district").table()
    # Without groups the rates of districts differ by chance alone, less than they do.
    row = alone[alone.discrepancy == "sd of rates"].iloc[0]
    assert row.observed > row.high
    assert row.p_value < 0.01


def test_a_model_that_is_right_is_left_alone(posterior):
    assert (checks.posterior_predictive(posterior).table().p_adjusted > 0.05).all()


def test_counts_and_numbers_are_compared_by_their_means(toy):
    for formula, family in (("count ~ x + (1 | g)", "poisson"), ("z ~ x + (1 | g)", "gaussian")):
        check = checks.posterior_predictive(bm.Model(formula, toy, family=family).fit_ml(), draws=60)
        assert check.table().discrepancy[0] == "mean"
        response = toy[formula.split(" ")[0]]
        assert check.table().observed[0] == pytest.approx(response.mean())
    check = checks.posterior_predictive(bm.Model("s / n ~ x + (1 | g)", toy, family="binomial").fit_ml(), draws=60)
    assert check.table().observed[0] == pytest.approx(toy.s.sum() / toy.n.sum())


def test_known_groups_keep_their_effects(posterior):
    new, own = (checks.posterior_predictive(posterior, draws=100, groups=groups) for groups in ("new", "conditional"))
    spread = [check.parts().query("by == 'district'").eval("high - low").mean() for check in (new, own)]
    assert spread[1] < 0.8 * spread[0]


def test_what_cannot_be_checked_is_refused(m_04, data):
    fit = m_04.fit_ml()
    with pytest.raises(bm.FitError, match='no grouping or column "distric"'):
        checks.posterior_predictive(fit, group="distric")
    with pytest.raises(bm.FitError, match='there is no column "agee" in the data; did you mean "age"'):
        checks.posterior_predictive(fit, by="agee")
    with pytest.raises(bm.FitError, match="draws should be 20 or more, not 5"):
        checks.simulated_residuals(fit, draws=5)
    with pytest.raises(bm.FitError, match="bins should be 1 or more, not 0"):
        checks.posterior_predictive(fit, bins=0)
    with pytest.raises(bm.FitError, match="a GEE says how means and correlations of responses are"):
        checks.simulated_residuals(m_04.fit_gee())
    for verb in (checks.posterior_predictive, checks.simulated_residuals, checks.prior_sensitivity):
        with pytest.raises(bm.FitError, match=r"takes fits, such as model\.fit_ml\(\) gives, not 3"):
            verb(3)
    often = bm.Model("use ~ age + (1 | district)", data, freq=np.full(1934, 2.0)).fit_ml()
    with pytest.raises(bm.FitError, match="rows that stand for several"):
        checks.posterior_predictive(often)
    holes = data.assign(where=np.where(np.arange(1934) % 5, 1.0, np.nan))
    with pytest.raises(bm.FitError, match='"where" is missing in some of the rows'):
        checks.posterior_predictive(bm.Model("use ~ age", holes).fit_ml(), by="where")


# simulated residuals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", ["new", "conditional"])
def test_residuals_of_the_right_model_are_uniform(groups):
    """Forty data sets; each test's p-values may be too large (the fit has seen the data), but not too small."""
    frames = [grouped(seed, rows=6, groups=15) for seed in range(40)]
    first = bm.Model("y ~ x + (1 | g)", frames[0])
    tables = []
    for seed, frame in enumerate(frames):
        fit = bm.Model("y ~ x + (1 | g)", frame).fit_ml() if seed else first.fit_ml()
        tables.append(checks.simulated_residuals(fit, draws=100, groups=groups).table())
    p_values = pd.concat(tables)
    for (test, by), own in p_values.groupby(["test", "by"]):
        most = binom.ppf(0.999, 40, 0.1)
        if groups == "conditional" and by.endswith("g"):
            continue  # modes are shrunken, which the documentation says: their groups vary less than they did
        assert (own.p_value <= 0.1).sum() <= most, (test, by)
    assert (
        (p_values.groupby("test").statistic.mean() / p_values.groupby("test").expected.mean()).between(0.7, 1.3).all()
    )


@pytest.mark.parametrize("reading", ["likelihood", "posterior"])
@pytest.mark.parametrize(
    ("planted", "formula", "test", "by"),
    [
        ({"curve": 0.6}, "y ~ x + (1 | g)", "level", "x"),
        ({"trials": 12, "extra": 1.0}, "y / n ~ x + (1 | g)", "dispersion", ""),
        ({"slope": 1.2}, "y ~ x + (1 | g)", "slopes", "x by g"),
    ],
    ids=["square", "overdispersion", "slope"],
)
def test_residuals_show_what_is_left_out(planted, formula, test, by, reading):
    frame = grouped(7, **planted)
    model = bm.Model(formula, frame, family="binomial" if "/" in formula else "bernoulli", name="short")
    fit = model.fit_ml() if reading == "likelihood" else model.sample(draws=200, chains=2, seed=1)
    check = checks.simulated_residuals(fit)
    assert adjusted(check, test, by) < 0.05
    assert not check.ok
    assert check.verdict.startswith("short leaves something out: ")
    full = {"level": formula.replace("x +", "x + I(x^2) +"), "slopes": formula.replace("1 |", "x |")}
    if test in full:
        whole = bm.Model(full[test], frame).fit_ml()
        assert adjusted(checks.simulated_residuals(whole), test, by) > 0.05


def test_overdispersed_counts_are_not_uniform_all_together():
    fit = bm.Model("y / n ~ x + (1 | g)", grouped(7, trials=12, extra=1.0), family="binomial").fit_ml()
    assert adjusted(checks.simulated_residuals(fit, groups="conditional"), "uniformity") < 0.05
    assert uniform_values(fit.residuals("simulated", seed=1, groups="conditional").to_numpy()).p_value < 0.001


def test_residuals_are_those_of_the_fit(m_04):
    """The same replicates; only the random parts of ties differ."""
    fit = m_04.fit_ml()
    check, own = checks.simulated_residuals(fit, seed=3), fit.residuals("simulated", seed=3)
    y = fit.design.response.y
    zeros = (check.responses[1:] == 0).mean(axis=0)
    for residuals in (check.residuals[0], own.to_numpy()):
        assert (residuals[y == 0] <= zeros[y == 0] + 2 / 251).all()
        assert (residuals[y == 1] >= zeros[y == 1] - 2 / 251).all()


# prior sensitivity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "family"), [("y ~ x + (x | g)", "bernoulli"), ("z ~ x + (1 | g) + (1 | h)", "gaussian")]
)
def test_priors_likelihood_and_effects_make_the_kernel(toy, formula, family):
    """What is power-scaled is the density that is sampled, less effects and Jacobians: their sum is the kernel's."""
    from bayesmlm.bayes.kernel import build_kernel
    from bayesmlm.cross_validation.moments import coordinates_from

    fit = bm.Model(formula, toy, family=family, priors={"x": "student_t(4, 0.5, 1)", "sd": "gamma(2, 2)"})
    fit = fit.sample(draws=25, chains=2, seed=1)
    design = fit.design
    kernel = build_kernel(design, (True,) * len(design.groups))
    x = coordinates_from(design, kernel.coordinates, fit.tree["posterior"]).reshape(50, -1)
    parts = log_priors(design, design.priors, fit.tree)
    total = sum(values.sum(axis=2) for values in parts.values()).ravel() + fit.log_likelihood().sum(axis=2).ravel()
    draws = parameter_draws(fit)
    for factor, effects, term in zip(draws.factors, draws.effects, kernel.coordinates.terms, strict=True):
        standard = np.linalg.solve(factor[:, None], effects[..., None])[..., 0]
        total += -0.5 * np.square(standard).sum(axis=(1, 2)) - term.levels * np.linalg.slogdet(factor)[1]
        total += x[:, term.sd : term.cor].sum(axis=1)  # the Jacobian of log sd
        if term.columns == 2:
            total += -1.5 * np.log1p(x[:, term.cor] ** 2)  # that of a correlation's coordinate
    if family == "gaussian":
        total += x[:, kernel.coordinates.sigma]
    expected = np.array([kernel(one)[0] for one in x])
    np.testing.assert_allclose(total - expected, (total - expected)[0], atol=1e-8)


def test_a_prior_that_speaks_is_named(data):
    m = bm.Model("use ~ age + urban + (1 | district)", data, priors={"urban[Y]": "normal(0, 0.1)"}, name="tight")
    table = checks.prior_sensitivity(m.sample(draws=500, chains=2, seed=1)).set_index("term")
    assert table.columns.tolist() == ["component", "group", "prior", "likelihood", "fixed", "sd", "diagnosis"]
    assert table.diagnosis["urban[Y]"] == "follows both, which may be at odds"
    assert table.diagnosis["age"] == "follows the data"
    # It is the priors of the fixed effects that it follows.
    assert table.fixed["urban[Y]"] > 10 * table.sd["urban[Y]"]
    assert table.prior["urban[Y]"] == pytest.approx(table.fixed["urban[Y]"], rel=0.2)


def test_where_the_data_say_nothing_the_prior_speaks():
    frame = pd.DataFrame({"y": [0, 1, 0, 1], "g": ["a", "a", "b", "b"]})
    fit = bm.Model("y ~ 1 + (1 | g)", frame, priors={"sd": "half_normal(1)"}).sample(draws=1000, chains=2, seed=1)
    table = checks.prior_sensitivity(fit).set_index("component")
    assert table.sd["sd"] > 0.05
    assert "prior" in table.diagnosis["sd"] or "both" in table.diagnosis["sd"]


def test_sensitivity_needs_draws(m_04):
    with pytest.raises(bm.FitError, match="m_04 has no draws, which is what power-scaling reweights"):
        checks.prior_sensitivity(m_04.fit_ml())


# why two readings differ ------------------------------------------------------------------------------------------


def test_the_parts_add_up(posterior, m_04):
    table = bm.why_differ(m_04.fit_ml(), posterior)
    np.testing.assert_allclose(table.laplace + table.prior + table.mean_vs_mode, table.difference, atol=1e-10)
    assert table.term.tolist() == posterior.table().term.tolist()
    assert table.reason.iloc[-1] == "the posterior is skew: its mean is not its mode"


def test_a_prior_is_the_reason_where_it_is(data):
    m = bm.Model("use ~ age + urban + (1 | district)", data, priors={"urban[Y]": "normal(0, 0.05)"})
    table = bm.why_differ(m.fit_ml(), m.sample(draws=500, chains=2, seed=1)).set_index("term")
    assert table.reason["urban[Y]"] == "the prior"
    assert table.prior["urban[Y]"] < -3.0


def test_laplace_is_the_reason_where_it_is():
    """Two answers a group: the Laplace approximation halves the standard deviation, the posterior does not."""
    frame = grouped(3, rows=2, groups=400, sd=3.0)
    m = bm.Model("y ~ x + (1 | g)", frame)
    table = bm.why_differ(m.fit_ml(), m.sample(draws=1000, chains=1, seed=1, method="marginal"))
    assert table.reason.iloc[-1] == "the likelihood was approximated (Laplace)"
    assert table.laplace.iloc[-1] > 2 * abs(table.prior.iloc[-1])


def test_several_terms_are_taken_apart_too(data):
    m = bm.Model("use ~ urban + (1 | district/urban)", data)
    table = bm.why_differ(m.fit_ml(), m.sample(draws=300, chains=2, seed=1))
    np.testing.assert_allclose(table.laplace + table.prior + table.mean_vs_mode, table.difference, atol=1e-10)


def test_only_one_model_can_differ_from_itself(posterior, m_04, data):
    other = bm.Model("use ~ age + (1 | district)", data, name="other").fit_ml()
    with pytest.raises(bm.ComparisonError, match="other and m_04 are different models"):
        bm.why_differ(other, posterior)
    with pytest.raises(bm.ComparisonError, match="in this order"):
        bm.why_differ(posterior, m_04.fit_ml())
    with pytest.raises(bm.FitError, match="why_differ takes fits"):
        bm.why_differ(3, posterior)
    sleep = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian", name="s")
    with pytest.raises(bm.ComparisonError, match="s was fitted by REML"):
        bm.why_differ(sleep.fit_ml(reml=True), sleep.sample(draws=50, chains=2, seed=1))


# figures ----------------------------------------------------------------------------------------------------------


def test_the_check_is_drawn_panel_by_panel(posterior):
    check = checks.posterior_predictive(posterior, draws=60)
    figure = plots.predictive_check(check)
    titles = [ax.get_title().split(",")[0] for ax in figure.axes]
    assert titles == [
        "district: rates", "district: sd of rates", "age: rates", "ch: rates", "urban: rates", "calibration",
        "ranks among replicates",
    ]  # fmt: skip
    seen = np.sort(np.concatenate([line.get_ydata() for line in figure.axes[0].lines]))
    np.testing.assert_allclose(seen, np.sort(check.parts().query("by == 'district'").observed))
    assert figure.axes[1].lines[0].get_xdata()[0] == pytest.approx(check.table().observed[1])


def test_separation_has_a_stripe_for_each_answer(m_04, toy):
    fit = m_04.fit_ml()
    ax = plots.separation(fit).axes[0]
    stripes = ax.collections[0].get_array().ravel()
    assert stripes.sum() == 759
    order = np.argsort(fit.fitted(), kind="stable")
    np.testing.assert_array_equal(stripes, fit.design.response.y[order])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), fit.fitted()[order])
    binomial = bm.Model("s / n ~ x + (1 | g)", toy, family="binomial").fit_ml()
    assert plots.separation(binomial).axes[0].get_xlim() == (0.0, toy.n.sum())
    with pytest.raises(bm.FitError, match="a separation plot is of binary responses"):
        plots.separation(bm.Model("count ~ x", toy, family="poisson").fit_ml())


def test_residual_quantiles_are_drawn_over_their_bands(m_04):
    check = checks.simulated_residuals(m_04.fit_ml(), draws=60)
    left, right = plots.residual_quantiles(check, bins=8).axes
    points = left.lines[0].get_xdata()
    expected = np.searchsorted(np.sort(check.residuals[0]), points, side="right") / 1934 - points
    np.testing.assert_allclose(left.lines[0].get_ydata(), expected)
    quartiles = [line for line in right.lines if len(line.get_xdata()) == 8]
    assert len(quartiles) == 3
    assert np.mean(quartiles[1].get_ydata()) == pytest.approx(0.5, abs=0.05)


def test_calibration_is_drawn_by_arviz(m_04, toy):
    ax = plots.calibration_curve(m_04.fit_ml(), draws=100).axes[0]
    curve = next(line for line in ax.lines if len(line.get_xdata()) == 1934)
    assert (np.diff(curve.get_ydata()) >= 0.0).all()  # isotonic
    # Isotonic regression keeps the mean of what it is given.
    assert np.mean(curve.get_ydata()) == pytest.approx(759 / 1934)
    with pytest.raises(bm.FitError, match="isotonic calibration is of 0/1 responses"):
        plots.calibration_curve(bm.Model("s / n ~ x", toy, family="binomial").fit_ml())


def test_pareto_k_names_the_worst(posterior):
    result = bm.leave_one_group_out(posterior)
    ax = plots.pareto_k(result).axes[0]
    assert ax.get_xlabel() == "60 groups of district"
    drawn = np.concatenate([np.asarray(points.get_offsets())[:, 1] for points in ax.collections])
    np.testing.assert_allclose(np.sort(drawn), np.sort(result.pareto_k))
    with pytest.raises(bm.FitError, match="k̂ is of weights"):
        plots.pareto_k(bm.kfold(posterior.model.fit_ml(), folds=2, group="district"))


@pytest.mark.parametrize("draw", [plots.predictive_check, plots.residual_quantiles])
def test_figures_refuse_what_is_neither_fit_nor_check(draw):
    with pytest.raises(bm.FitError, match=r"this draws a fit, or a \w+Check, not 3"):
        draw(3)
