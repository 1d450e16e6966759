"""What is done when draws cannot be trusted: longer tuning, then the PyMC model, once, said aloud."""

import numpy as np
import pytest

from bayesmlm.bayes import sample
from bayesmlm.bayes.diagnostics import Diagnostics
from bayesmlm.errors import FitError
from bayesmlm.model import Model
from bayesmlm.start import find_start

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS installation")


def stuck(tree):
    """The draws as those of chains that do not meet, or that hardly move."""
    beta = tree["posterior"]["beta"]
    beta[{"chain": 0}] = beta[{"chain": 0}] + 10.0
    return tree


@pytest.fixture
def attempts(monkeypatch):
    """Every run made: where, and with how much tuning; those told to fail return chains that disagree."""
    made, failing = [], []
    of_kernel = sample.kernel_run

    def kernel_run(design, start, centered, run):
        made.append(("kernel", run.tune))
        tree = of_kernel(design, start, centered, run)
        return stuck(tree) if len(made) <= len(failing) else tree

    def pymc_run(design, run):
        made.append(("pymc", run.tune))
        tree = of_kernel(design, find_start(design)[0], None, run)
        return stuck(tree) if len(made) <= len(failing) else tree

    monkeypatch.setattr(sample, "kernel_run", kernel_run)
    monkeypatch.setattr(sample, "pymc_run", pymc_run)
    return made, failing


GIVEN = {"draws": 1000, "chains": 2, "seed": 3}


def test_draws_that_can_be_trusted_are_taken(attempts, toy):
    made, _ = attempts
    fit = Model("y ~ x + (1 | g)", toy).sample(**GIVEN)
    assert made == [("kernel", 200)]
    assert not fit.tree.attrs["note"]


def test_then_tuned_longer(attempts, toy):
    made, failing = attempts
    failing.append(1)
    fit = Model("y ~ x + (1 | g)", toy).sample(**GIVEN)
    assert made == [("kernel", 200), ("kernel", 1000)]
    assert fit.converged
    note = next(note for note in fit.notes if "not to be trusted" in note)
    assert "R-hat" in note
    assert "sampled again with 1,000 tuning steps" in note


def test_then_the_pymc_model_once(attempts, toy):
    made, failing = attempts
    failing += [1, 2]
    fit = Model("y ~ x + (1 | g)", toy).sample(**GIVEN, tune=700)
    assert made == [("kernel", 700), ("kernel", 1400), ("pymc", 1400)]
    assert fit.converged
    assert any("sampled the PyMC model" in note for note in fit.notes)


def test_and_no_further(attempts, toy):
    made, failing = attempts
    failing += [1, 2, 3]
    fit = Model("y ~ x + (1 | g)", toy).sample(**GIVEN)
    assert len(made) == 3
    assert not fit.converged
    verdict = fit.diagnostics().verdict
    assert verdict.startswith("Take care: the chains are stuck apart")
    assert "the chains disagree" in verdict


def test_few_draws_are_not_worth_the_pymc_model(attempts, toy):
    made, failing = attempts
    failing += [1, 2]
    Model("y ~ x + (1 | g)", toy).sample(draws=100, chains=2)
    assert made == [("kernel", 200), ("kernel", 1000)]


def test_the_best_run_is_kept():
    """Fewer effective draws with chains that agree are better than many that do not."""

    def found(rhat, ess):
        return Diagnostics(rhat, "x", ess, ess, "x", 0, 0, 1.0, 2000, 2)

    agreeing, better, disagreeing = found(1.002, 250.0), found(1.003, 300.0), found(1.4, 900.0)
    assert disagreeing.quality < agreeing.quality < better.quality
    assert agreeing.again
    assert agreeing.reason == "ESS 250 for x"
    assert disagreeing.reason.startswith("R-hat 1.400")
    assert not found(1.01, 400.0).again
    assert not found(np.nan, 500.0).again


def test_one_chain_has_no_rhat(toy):
    fit = Model("y ~ x + (1 | g)", toy).sample(draws=1000, chains=1, seed=2)
    assert np.isnan(fit.table().rhat).all()
    assert "R-hat is unavailable with one chain" in fit.diagnostics().verdict


@pytest.mark.parametrize(
    ("priors", "said"),
    [
        ({"x": "flat()"}, r"the prior of x is flat, and x separates the responses .* give it a proper prior"),
        ({"fixed": "flat()", "Intercept": "flat()"}, r"the priors of Intercept, x, z are flat, and x separates"),
        ({"sd": "flat()"}, r"the prior of the standard deviation of pair is flat, and the answers are alike within"),
    ],
)
def test_an_improper_posterior_is_refused(priors, said, toy):
    side = np.where(toy.x > 0, 1.0, -1.0)
    data = toy.assign(x=side, y=(side > 0).astype(int), pair=np.where(side > 0, "up", "down"))
    with pytest.raises(FitError, match="the posterior is improper: " + said):
        Model("y ~ x + z + (1 | pair)", data, priors=priors).sample(draws=10)


def test_flat_priors_that_the_data_make_up_for_are_sampled(toy):
    """Elsewhere than on the column that separates; and where no direction of flat priors alone does."""
    side = np.where(toy.x > 0, 1.0, -1.0)
    Model("y ~ x + z + (1 | g)", toy.assign(x=side, y=(side > 0) * 1), priors={"z": "flat()"}).sample(
        draws=10, tune=10, chains=1
    )
    fit = Model("y ~ x + (1 | g)", toy, priors={"Intercept": "flat()", "fixed": "flat()", "sd": "flat()"}).sample()
    assert fit.converged


@pytest.mark.parametrize("centered", [True, False])
def test_forced_coordinates_are_the_same_posterior(centered, toy):
    """Means of 4,000 draws within 4 of both Monte-Carlo errors."""
    model = Model("y ~ x + (1 | g) + (1 | h)", toy)
    free, forced = model.sample(seed=4).table(), model.sample(seed=5, centered=centered).table()
    error = np.hypot(free.std_error / np.sqrt(free.ess_bulk), forced.std_error / np.sqrt(forced.ess_bulk))
    assert (np.abs(free.estimate - forced.estimate) < 4 * error).all()


def test_coordinates_are_forced_by_true_or_false(toy):
    with pytest.raises(FitError, match="centered should be True, False or None, not 'yes'"):
        Model("y ~ x + (1 | g)", toy).sample(draws=10, centered="yes")
