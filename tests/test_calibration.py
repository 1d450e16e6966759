"""Simulation-based calibration: the harness, what it catches, and the ranks that are kept."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from arviz_stats.ecdf_utils import ecdf_pit
from scipy.stats import binom

import bayesmlm as bm
from bayesmlm import plots
from bayesmlm.bayes import nuts
from bayesmlm.calibration import Calibration
from bayesmlm.uniformity import SIMULATIONS, band, uniform_ranks, uniform_values
from benchmarks.calibration import FILE, REPLICATES, SHAPES, model_of, read

PRIORS = {"Intercept": "normal(0, 1)", "x": "normal(0, 1)", "sd": "half_normal(1)"}


def small(priors=PRIORS, formula="y ~ x + (1 | g)", rows=6, groups=10):
    rng = np.random.default_rng(1)
    n = rows * groups
    frame = pd.DataFrame({"g": np.repeat(np.arange(groups), rows), "x": rng.normal(size=n), "y": np.arange(n) % 2})
    return bm.Model(formula, frame, priors=priors, name="small")


@pytest.fixture(scope="module")
def result():
    return bm.calibrate(small(), n=60, seed=3, method="marginal")


# uniformity -----------------------------------------------------------------------------------------------------


def test_the_test_has_its_size():
    """2,000 sets of 80 uniform ranks: as many below 0.05 as a binomial allows with probability 0.998."""
    rng = np.random.default_rng(2)
    p_values = np.array([uniform_ranks(rng.integers(0, 50, 80), 50).p_value for _ in range(2000)])
    # The statistic is discrete: p-values may be too large, never too small.
    assert binom.ppf(0.001, 2000, 0.04) <= (p_values <= 0.05).sum() <= binom.ppf(0.999, 2000, 0.05)
    assert p_values.min() >= 1 / (SIMULATIONS + 1)


@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_the_test_sees_what_is_not_uniform(exponent):
    assert uniform_values(np.random.default_rng(1).random(300) ** exponent).p_value < 1e-3


def test_the_band_is_arvizs_envelope():
    """Both simulate; at 300 numbers the limits are one count apart at most."""
    points, low, high = band(300, 100)
    at, _, lower, upper = ecdf_pit(np.linspace(0.0, 1.0, 300), 0.95, 4000)
    place = np.searchsorted(at, points - 1e-9)
    assert np.abs(low - lower[place]).max() < 1.5 / 300
    assert np.abs(high - upper[place]).max() < 1.5 / 300


def test_the_band_holds_what_the_test_lets_pass():
    rng = np.random.default_rng(3)
    _, low, high = band(120, 40, 0.9)
    for _ in range(300):
        test = uniform_ranks(rng.integers(0, 40, 120), 40)
        inside = ((test.ecdf >= low - 1e-12) & (test.ecdf <= high + 1e-12)).all()
        if abs(test.p_value - 0.1) > 0.02:  # the limits are whole counts
            assert inside == (test.p_value > 0.1)


# the harness ------------------------------------------------------------------------------------------------------


def test_a_right_method_passes(result):
    assert result.quantities == ("Intercept", "x", "sd(Intercept | g)", "log likelihood")
    assert (result.replicates, result.draws, result.failed) == (60, 99, 0)
    assert result.ok, result.verdict
    assert result.threshold == 0.05 / 4
    assert result.least_ess >= 2.0
    assert result.verdict.startswith("Nothing speaks against calibration: the smallest p-value is ")
    assert "60 replicates of 99 draws; 4 quantities, each at 0.013" in result.verdict
    table = result.table()
    assert table.columns.tolist() == ["quantity", "mean_rank", "spread", "p_value", "uniform"]
    assert table.uniform.all()
    # Of 60 uniform numbers: 0.5 ± 0.15 and 1 ± 0.24 are four standard errors.
    assert table.mean_rank.between(0.35, 0.65).all()
    assert table.spread.between(0.76, 1.24).all()


def test_a_seed_gives_its_ranks_again(result):
    one, two = (bm.calibrate(small(), n=6, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.ranks, two.ranks)
    assert not np.array_equal(one.ranks, bm.calibrate(small(), n=6, seed=3).ranks)


def test_priors_do_not_follow_the_simulated_responses():
    """Default priors of a Gaussian model follow its response: here the one it was bound to."""
    rng = np.random.default_rng(1)
    frame = {"z": rng.normal(size=40), "x": rng.normal(size=40), "g": np.repeat(np.arange(8), 5)}
    model = bm.Model("z ~ x + (1 | g)", frame, family="gaussian")
    seen = []

    def look(one, seed):
        seen.append((one.design.priors, one.design.response.y.std()))
        return one.sample(draws=200, chains=2, seed=seed)

    found = bm.calibrate(model, n=5, method=look)
    assert all(priors is model.design.priors for priors, _ in seen)
    assert max(sd for _, sd in seen) > 2.0 * model.design.response.y.std()  # which would have changed them
    assert found.quantities[-2:] == ("sigma", "log likelihood")
    assert found.method == "look"


def test_a_prior_sd_off_by_two_is_caught():
    """Fitted with half the prior standard deviation that the data were made with; twelve answers do not outvote it."""
    narrow = small({**PRIORS, "x": "normal(0, 0.5)"}, rows=2, groups=6)

    def wrong(model, seed):
        return narrow.with_response(model.design.response.y).sample(draws=990, chains=1, seed=seed, method="marginal")

    found = bm.calibrate(small(rows=2, groups=6), n=60, method=wrong, seed=3)
    assert not found.ok
    assert found.verdict.startswith("Not calibrated: the ranks of x (p ")
    table = found.table().set_index("quantity")
    assert table.p_value["x"] < 1e-3
    assert table.spread["x"] > 1.15  # the posterior is too narrow
    assert table.uniform.drop("x").all()


def test_a_sign_error_in_the_kernel_is_caught(monkeypatch):
    """The kernel with the columns of the slope's effects negated: means and variances are right, correlations are not."""
    right = nuts.build_kernel
    place = 6  # of z among the arguments of log_density after x and gradient

    def wrong(design, centered=None):
        kernel = right(design, centered)
        arguments = list(kernel.arguments)
        z = arguments[place]
        arguments[place] = z * np.array([1.0, -1.0])[:, None]
        return replace(kernel, arguments=tuple(arguments))

    model = small(formula="y ~ x + (x | g)", rows=30, groups=12)
    assert right(model.design).arguments[place].shape == (2, 360)
    monkeypatch.setattr(nuts, "build_kernel", wrong)
    found = bm.calibrate(model, n=15, seed=1)
    table = found.table().set_index("quantity")
    assert not found.ok
    assert not table.uniform["log likelihood"]
    assert table.p_value["log likelihood"] < 1e-3


def test_the_log_likelihood_sees_a_method_that_ignores_the_data():
    """Draws of the prior have uniform ranks of every parameter."""
    whatever = small().sample(draws=10, chains=1, seed=1)

    def prior_only(model, seed):
        drawn = model.prior_predictive(draws=250, seed=seed)["prior"].to_dataset()
        tree = whatever.tree.copy()
        tree["posterior"] = type(tree)(drawn.transpose(*[*drawn["beta"].dims[:2], ...]))
        return type(whatever)(model, tree)

    table = bm.calibrate(small(), n=60, method=prior_only).table().set_index("quantity")
    assert table.uniform["x"]
    assert not table.uniform["log likelihood"]


def test_what_fails_is_counted(monkeypatch):
    count = iter(range(100))

    def fails_at_times(model, seed):
        if next(count) % 3 == 0:
            raise bm.FitError("this one does not; try another")
        return model.sample(draws=990, chains=1, seed=seed, method="marginal")

    found = bm.calibrate(small(), n=9, method=fails_at_times)
    assert found.failures == {"this one does not": 3}
    assert (found.replicates, found.failed, found.ok) == (6, 3, False)
    assert "3 more replicates could not be fitted" in found.verdict

    def fails(model, seed):
        raise bm.FitError("never")

    with pytest.raises(bm.FitError, match="none of the 3 replicates could be fitted: never"):
        bm.calibrate(small(), n=3, method=fails)


def test_too_few_effective_draws_are_sampled_again():
    runs = []

    def short(model, seed):
        runs.append(seed)
        return model.sample(draws=100, chains=1, seed=seed)

    found = bm.calibrate(small(), n=2, method=short)
    assert found.longer == 2
    assert len(set(runs)) == len(runs) > 4
    assert found.least_ess >= 2.0 or len(runs) == 16


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(bm.PriorError, match="the prior of x is flat, and nothing can be drawn from it"):
        bm.calibrate(small({**PRIORS, "x": "flat()"}), n=5)
    with pytest.raises(bm.FitError, match='no sampling method "nut"; did you mean "nuts"'):
        bm.calibrate(small(), n=5, method="nut")
    with pytest.raises(bm.FitError, match="calibrate takes a model or a spec, not 3"):
        bm.calibrate(3)
    for name in ("n", "draws", "workers"):
        with pytest.raises(bm.FitError, match=f"{name} should be 1 or more, not 0"):
            bm.calibrate(small(), **{name: 0})


def test_a_spec_is_calibrated_on_the_data_it_is_given():
    frame = {"y": [0, 1] * 15, "x": np.linspace(-1.0, 1.0, 30)}
    spec = bm.Spec("y ~ x", priors={"Intercept": "normal(0, 1)", "x": "normal(0, 1)"}, name="line")
    on_data, on_design = bm.calibrate(spec, frame, 4), bm.calibrate(spec, bm.Model(spec, frame).design, 4)
    assert on_data.name == "line"
    np.testing.assert_array_equal(on_data.ranks, on_design.ranks)
    with pytest.raises(bm.FitError, match="a model has its data already"):
        bm.calibrate(bm.Model(spec, frame), frame)
    with pytest.raises(bm.DataError, match=re.escape("the design is of y ~ x, the spec of y ~ 1: give one of both")):
        bm.calibrate(bm.Spec("y ~ 1"), bm.Model(spec, frame).design)


def test_results_are_kept_in_a_file(result, tmp_path):
    result.save(tmp_path / "small.json")
    again = Calibration.read(tmp_path / "small.json")
    np.testing.assert_array_equal(again.ranks, result.ranks)
    assert (again.verdict, again.priors) == (result.verdict, result.priors)
    with pytest.raises(bm.DataError, match="there is no file"):
        Calibration.read(tmp_path / "other.json")
    (tmp_path / "other.json").write_text('{"ranks": []}')
    with pytest.raises(bm.DataError, match="this is not the result of a calibration"):
        Calibration.read(tmp_path / "other.json")
    (tmp_path / "other.json").write_text("{")
    with pytest.raises(bm.DataError, match=r"other\.json is not the result"):
        Calibration.read(tmp_path / "other.json")


def test_ranks_are_drawn(result):
    figure = plots.rank_histogram(result, bins=20)
    assert len(figure.axes) == 8
    assert [ax.get_title(loc="left") for ax in figure.axes[::2]] == list(result.quantities)
    heights = figure.axes[0].patches[-1].get_xy()[:, 1]
    np.testing.assert_array_equal(
        np.unique(heights), np.unique([0, *np.histogram(result.ranks[:, 0], 20, (0, 100))[0]])
    )
    with pytest.raises(bm.FitError, match=r"draws what bm\.calibrate\(\) gives, not 3"):
        plots.rank_histogram(3)


@pytest.mark.slow
def test_processes_find_what_one_finds():
    one, two = (bm.calibrate(small(), n=8, seed=2, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.ranks, two.ranks)


# what is kept -----------------------------------------------------------------------------------------------------


def kept():
    return [pytest.param(one, id=f"{one.name}-{one.method}") for one in read().values()]


def test_every_shape_is_kept():
    found = {(entry["name"], entry["method"]) for entry in json.loads(FILE.read_text(encoding="utf-8"))}
    assert found == {(shape, method) for shape in SHAPES for method in REPLICATES}


@pytest.mark.parametrize("one", kept())
def test_kept_ranks_are_uniform(one):
    """Each quantity at 0.05 divided by the number of quantities of its model."""
    assert one.replicates + one.failed == REPLICATES[one.method]
    assert one.least_ess >= 2.0
    assert one.table().uniform.all(), one.verdict
    # What importance weights cannot certify they refuse; so few ranks left out cannot hide what a thousand would show.
    assert one.failed <= (0.005 * REPLICATES["marginal"] if one.method == "marginal" else 0)
    assert all(reason.startswith("No importance sample of this posterior is certified") for reason in one.failures)


@pytest.mark.parametrize("one", kept())
def test_kept_ranks_are_of_the_models_in_the_script(one):
    model = model_of(one.name)
    assert one.formula == SHAPES[one.name]
    priors = model.priors()
    assert len(one.priors) == len(priors)
    assert all(text.endswith(prior) for text, prior in zip(one.priors, priors.prior, strict=True))
    assert ((one.ranks >= 0) & (one.ranks <= one.draws)).all()
