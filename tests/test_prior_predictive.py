"""Draws from the priors, and the responses they predict: against PyMC's own draws, and against what is known."""

import numpy as np
import pytest
from scipy import stats

from bayesmlm import plots
from bayesmlm.bayes.compile import compile_model
from bayesmlm.bayes.prior_predictive import draw_correlation_factors, draw_priors, prior_predictive
from bayesmlm.design import build_design
from bayesmlm.errors import DataError, FitError, PriorError
from bayesmlm.model import Model
from bayesmlm.spec import Spec
from tests.conftest import refusal
from tests.test_import import POSTERIOR, loaded_by

# Priors whose moments exist, so that means and standard deviations can be compared.
PRIORS = {"Intercept": "normal(0.5, 1)", "fixed": "normal(-0.2, 0.6)", "sd": "gamma(4, 5)", "cor": "lkj(3)"}
CASES = {
    "no groups": ("y ~ x + z", "bernoulli", None),
    "one intercept": ("y ~ z + f + (1 | g)", "bernoulli", None),
    "nested": ("y ~ x + (1 | g/f)", "bernoulli", "probit"),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", "bernoulli", "cloglog"),
    "correlated slopes": ("y ~ x + (1 + x + z | g)", "bernoulli", None),
    "uncorrelated slopes": ("y ~ x + (x || g)", "bernoulli", None),
    "no intercept": ("y ~ 0 + f + z + (1 | g)", "bernoulli", None),
    "no fixed effects": ("y ~ 0 + (1 | g)", "bernoulli", None),
    "trials": ("cbind(s, n - s) ~ x + offset(o) + (1 | g)", "binomial", None),
    "counts": ("count ~ z + offset(log(n)) + (1 | h)", "poisson", None),
    "gaussian": ("z ~ x + (1 + x | g)", "gaussian", None),
}


def design_of(case, data):
    formula, family, link = CASES[case]
    priors = PRIORS | ({"sigma": "gamma(5, 2)"} if family == "gaussian" else {})
    if family == "poisson":
        priors |= {"Intercept": "normal(0.2, 0.3)", "fixed": "normal(0, 0.1)", "sd": "gamma(4, 20)"}
    priors = {key: prior for key, prior in priors.items() if key != "Intercept" or "0 +" not in formula}
    return build_design(Spec(formula, family, link, priors), data)


# against PyMC -------------------------------------------------------------------------------------------------


def moments(draws):
    """Mean and standard deviation of every quantity over its draws (the first axis), and their standard errors."""
    draws = draws.reshape(len(draws), -1)
    mean, sd = draws.mean(axis=0), draws.std(axis=0)
    fourth = ((draws - mean) ** 4).mean(axis=0)
    return mean, sd, sd / np.sqrt(len(draws)), np.sqrt(np.maximum(fourth - sd**4, 0.0) / len(draws)) / (2.0 * sd)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS installation")
@pytest.mark.parametrize("case", CASES)
def test_draws_have_the_moments_of_pymcs_own(case, toy):
    """Within five standard errors of both samples together: 1 in 1.7 million by chance per quantity.

    Every parameter and group effect; of the responses the mean of each row, and over draws the mean and the standard
    deviation of the mean response of all rows.
    """
    import pymc as pm

    design = design_of(case, toy)
    ours = prior_predictive(design, draws=8000, seed=3)
    with compile_model(design):
        theirs = pm.sample_prior_predictive(8000, random_seed=4)
    assert set(ours["prior"].data_vars) <= set(theirs["prior"].data_vars)
    name = design.response.variable
    pairs = {key: (ours["prior"][key], theirs["prior"][key]) for key in ours["prior"].data_vars}
    pairs["rows"] = (ours["prior_predictive"][name], theirs["prior_predictive"][name])
    pairs["overall"] = tuple(values.mean("row") for values in pairs["rows"])
    for key, (mine, other) in pairs.items():
        assert mine.dims == other.dims
        (mean, sd, *errors), (mean2, sd2, *errors2) = (moments(values.to_numpy()[0]) for values in (mine, other))
        assert np.all(np.abs(mean - mean2) <= 5.0 * np.hypot(errors[0], errors2[0])), key
        if key != "rows":
            assert np.all(np.abs(sd - sd2) <= 5.0 * np.hypot(errors[1], errors2[1])), key


# against what is known ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_correlations_have_the_lkj_distribution(eta, k):
    """Every correlation is 2 B - 1 with B ~ Beta(b, b), b = η + k/2 - 1 (Lewandowski, Kurowicka & Joe, 2009).

    Kolmogorov's test at 1e-4 for each; the log-determinant's mean over E[log det] = Σ_j Σ_(i>j) E[log(1 - p_ij²)].
    """
    factors = draw_correlation_factors(eta, k, 20_000, np.random.default_rng(5))
    R = factors @ factors.transpose(0, 2, 1)
    np.testing.assert_allclose(np.einsum("sii->si", R), 1.0, rtol=1e-12)
    b = eta + 0.5 * k - 1.0
    for i, j in zip(*np.triu_indices(k, 1), strict=True):
        assert stats.kstest((1.0 + R[:, i, j]) / 2.0, stats.beta(b, b).cdf).pvalue > 1e-4
    # 1 - p² = 4 B (1 - B), and E[log B] = ψ(b) - ψ(2b).
    from scipy.special import digamma

    shapes = np.array([eta + 0.5 * (k - 2 - j) for j in range(k) for _ in range(j + 1, k)])
    expected = np.sum(np.log(4.0) + 2.0 * (digamma(shapes) - digamma(2.0 * shapes)))
    log_det = 2.0 * np.log(np.einsum("sii->si", factors)).sum(axis=1)
    assert abs(log_det.mean() - expected) < 4.0 * log_det.std() / np.sqrt(len(log_det))


def test_the_intercepts_prior_is_at_the_means_of_the_predictors(toy):
    design = build_design(Spec("y ~ x + z", priors={"Intercept": "normal(1, 0.001)"}), toy)
    beta = draw_priors(design, 50, np.random.default_rng(1))["beta"]
    at_means = beta @ np.array([1.0, toy.x.mean(), toy.z.mean()])
    np.testing.assert_allclose(at_means, 1.0, atol=0.005)
    assert beta[:, 0].std() > 0.5


def test_group_effects_have_the_covariance_of_their_draw(toy):
    """Whitened by their own draw's factor they are independent standard normals."""
    design = build_design(Spec("y ~ x + (1 + x | g)", priors={"sd": "gamma(3, 2)", "cor": "lkj(1)"}), toy)
    drawn = draw_priors(design, 4000, np.random.default_rng(2))
    sd, rho, effects = drawn["sd_g"], drawn["cor_g"][:, 0], drawn["ranef_g"]
    first = effects[..., 0] / sd[:, :1]
    second = (effects[..., 1] / sd[:, 1:] - rho[:, None] * first) / np.sqrt(1.0 - rho[:, None] ** 2)
    for values in (first, second):
        assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue > 1e-4
    assert abs(np.mean(first * second)) < 4.0 / np.sqrt(first.size)


def test_responses_are_what_their_family_can_have(toy):
    trials = prior_predictive(design_of("trials", toy), draws=20)["prior_predictive"]["cbind(s, n - s)"].to_numpy()
    assert ((trials >= 0) & (trials <= toy.n.to_numpy()) & (trials == np.round(trials))).all()
    binary = prior_predictive(design_of("one intercept", toy), draws=20)["prior_predictive"]["y"].to_numpy()
    assert set(np.unique(binary)) == {0.0, 1.0}
    counts = prior_predictive(design_of("counts", toy), draws=20)["prior_predictive"]["count"].to_numpy()
    assert ((counts >= 0) & (counts == np.round(counts))).all()


def test_rates_beyond_all_counting_are_their_own_counts(toy):
    """Wide priors of a log-rate reach what no generator draws from; a draw must not fail by its seed."""
    design = build_design(Spec("count ~ 1", "poisson", priors={"Intercept": "normal(60, 0.1)"}), toy)
    tree = prior_predictive(design, draws=5)
    rates = np.exp(tree["prior"]["beta"].to_numpy()[0])
    np.testing.assert_allclose(tree["prior_predictive"]["count"].to_numpy()[0], np.broadcast_to(rates, (5, len(toy))))


# labels and seeds -----------------------------------------------------------------------------------------------


def test_the_tree_bears_the_designs_labels(toy):
    model = Model("cbind(s, n - s) ~ x + f + (1 + x | g)", toy, "binomial")
    tree = model.prior_predictive(draws=7)
    assert set(tree.children) == {"prior", "prior_predictive", "observed_data"}
    prior = tree["prior"]
    assert dict(prior["ranef_g"].sizes) == {"chain": 1, "draw": 7, "g": 6, "g_term": 2}
    assert prior["beta"].term.to_numpy().tolist() == list(model.design.terms)
    assert prior["cor_g"].g_pair.to_numpy().tolist() == ["Intercept,x"]
    assert prior["ranef_g"].g.to_numpy().tolist() == list(model.design.groups[0].levels)
    assert tree["observed_data"]["cbind(s, n - s)"].to_numpy().tolist() == toy.s.tolist()
    assert tree["observed_data"]["trials"].to_numpy().tolist() == toy.n.tolist()


def test_the_seed_makes_the_draws(toy):
    model = Model("y ~ x + (1 | g)", toy)
    first, again, other = (model.prior_predictive(draws=5, seed=seed) for seed in (1, 1, 2))
    assert first.identical(again)
    assert not first["prior"].equals(other["prior"])


def test_nothing_is_compiled():
    code = (
        "import bayesmlm as bm\n"
        "bm.Model('use ~ age + (1 + age | district)', bm.load_dataset('contraception')).prior_predictive(draws=3)"
    )
    assert loaded_by(code) & (POSTERIOR - {"xarray"}) == set()


# the picture ----------------------------------------------------------------------------------------------------


def heights(ax):
    """What the bars of a histogram say: left edges, heights."""
    return np.array([(bar.get_x(), bar.get_height()) for bar in ax.patches if bar.get_height() > 0]).T


def test_the_picture_shows_draws_and_what_was_observed(toy):
    model = Model("y ~ x + (1 | g)", toy, priors={"Intercept": "normal(0, 1)"})
    figure = plots.prior_predictive(model, draws=60, seed=4)
    figure.draw_without_rendering()
    overall, groups, spread = figure.axes
    y = model.prior_predictive(60, seed=4)["prior_predictive"]["y"].to_numpy()[0]
    codes = model.design.groups[0].codes
    rates = np.array([[row[codes == g].mean() for g in range(6)] for row in y])
    seen = np.array([toy.y[codes == g].mean() for g in range(6)])
    # Left: one rate per draw; each bar holds those within it.
    edges, counts = heights(overall)
    assert counts.sum() == 60
    np.testing.assert_array_equal(
        counts, [np.histogram(y.mean(axis=1), np.linspace(0, 1, 21))[0][round(20 * e)] for e in edges]
    )
    assert overall.lines[0].get_xdata()[0] == pytest.approx(toy.y.mean())
    assert overall.get_title().endswith(f"{100 * (y.mean(axis=1) > toy.y.mean()).mean():.0f} % of draws above")
    assert overall.get_xlabel() == "rate of y, all rows"
    # Middle: rates of groups, predicted and observed, in the same bins.
    predicted = np.histogram(rates.ravel(), np.linspace(0, 1, 21))[0] / rates.size
    np.testing.assert_allclose([bar.get_height() for bar in groups.patches[:20]], predicted)
    step = groups.patches[-1].get_xy()[:, 1]
    assert step.max() == pytest.approx(np.histogram(seen, np.linspace(0, 1, 21))[0].max() / 6)
    assert groups.get_title() == "line: the 6 observed"
    # Right: how much the groups of one draw differ.
    assert spread.lines[0].get_xdata()[0] == pytest.approx(seen.std(ddof=1))
    share = 100 * (rates.std(axis=1, ddof=1) > seen.std(ddof=1)).mean()
    assert spread.get_title().endswith(f"{share:.0f} % of draws above")


@pytest.mark.parametrize("case", ["trials", "counts", "gaussian", "no fixed effects"])
def test_every_family_is_drawn(case, toy):
    formula, family, link = CASES[case]
    figure = plots.prior_predictive(Model(formula, toy, family, link), draws=30)
    figure.draw_without_rendering()
    word = "rate" if family in ("bernoulli", "binomial") else "mean"
    assert figure.axes[0].get_xlabel().startswith(f"{word} of ")
    assert figure.axes[2].get_xlabel() == f"sd of {word}s between groups"


def test_rates_by_a_column_the_model_does_not_have(toy):
    figure = plots.prior_predictive(Model("y ~ x", toy), group="f", draws=20)
    assert figure.axes[1].get_title() == "line: the 3 observed"
    assert len(plots.prior_predictive(Model("y ~ x", toy), draws=20).axes) == 1


def test_rows_that_stand_for_several_count_as_several(toy):
    figure = plots.prior_predictive(Model("y ~ x + (1 | g)", toy, freq="reps"), draws=20)
    assert figure.axes[0].lines[0].get_xdata()[0] == pytest.approx((toy.y * toy.reps).sum() / toy.reps.sum())


def test_pictures_that_are_refused(toy):
    model = Model("y ~ x + (1 | g)", toy)
    with pytest.raises(FitError, match="draws should be 2 or more, not 1"):
        plots.prior_predictive(model, draws=1)
    with pytest.raises(DataError, match="distrct"):
        plots.prior_predictive(model, group="distrct")
    with pytest.raises(PriorError, match="the prior of x is flat"):
        plots.prior_predictive(Model("y ~ x", toy, priors={"x": "flat()"}))


# what cannot be drawn -------------------------------------------------------------------------------------------


def test_flat_priors_are_named(toy):
    model = Model(
        "y ~ x + z + (x | g)", toy, priors={"Intercept": "flat()", "z": "flat()", "sd": {"g": {"x": "flat()"}}}
    )
    with pytest.raises(PriorError, match=r"the prior of Intercept, z, sd\(x \| g\) is flat") as caught:
        model.prior_predictive()
    assert "normal(0, 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 0}, "draws should be 1 or more, not 0"),
        ({"draws": 2.5}, "draws should be 1 or more, not 2.5"),
        ({"draws": True}, "draws should be 1 or more, not True"),
        ({"seed": -1}, "seed should be a whole number of 0 or more"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message, toy):
    with pytest.raises(FitError, match=message):
        Model("y ~ x", toy).prior_predictive(**arguments)


def test_weights_that_are_no_trials_are_refused(toy):
    with pytest.raises(DataError, match=r"has .* trials, its weight included"):
        Model("y ~ x", toy, weights="w").prior_predictive(draws=2)


def test_a_grouping_with_a_taken_name_is_refused(toy):
    message = refusal(Model("y ~ x + (1 | beta)", toy.rename(columns={"g": "beta"})).prior_predictive)
    assert 'the grouping "beta" has a name that a posterior uses' in message
