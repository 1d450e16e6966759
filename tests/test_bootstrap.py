"""The parametric bootstrap: replicates are refits to simulated responses, by whatever process; lme4's bootMer."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayesmlm.errors import FitError
from bayesmlm.ml.bootstrap import bootstrap
from bayesmlm.ml.bootstrapped import KINDS, Bootstrap
from bayesmlm.model import Model
from bayesmlm.parallel import in_processes
from tests.likelihood_reference import HERE, our_name, table_of

LME4 = json.loads((HERE / "bootstrap.json").read_text(encoding="utf-8"))


# replicates ----------------------------------------------------------------------------------------------------

FITS = {
    "one term": ("y ~ x + (1 | h)", {}, {}),
    "two columns": ("cbind(s, n - s) ~ x + (x | h)", {"family": "binomial"}, {}),
    "quadrature": ("y ~ x + (1 | h)", {}, {"n_agq": 9}),
    "two terms, weights": ("y ~ x + offset(o) + (1 | g) + (1 | h)", {"weights": "reps"}, {}),
    "expected information": ("y ~ x + (1 | h)", {"link": "cloglog"}, {"information": "expected"}),
    "fast": ("y ~ x + (1 | h)", {}, {"n_agq": 0}),
    "counts, frequencies": ("count ~ x + (1 | h)", {"family": "poisson", "offset": "o", "freq": "reps"}, {}),
    "gaussian": ("z ~ x + (x | h)", {"family": "gaussian", "weights": "w"}, {}),
    "REML": ("z ~ x + (1 | g)", {"family": "gaussian"}, {"reml": True}),
    "without groups": ("y ~ x + f", {}, {}),
}


def fitted(name, toy):
    formula, arguments, options = FITS[name]
    return Model(formula, toy, **arguments).fit_ml(**options)


@pytest.mark.parametrize("name", FITS)
def test_a_replicate_is_a_refit_to_a_simulated_response(name, toy):
    """Replicate i to column i, though its search starts elsewhere.

    To 1e-5 of a standard error, where both searches stop; a correlation, which may be ±1 and has none, to 1e-5.
    """
    fit = fitted(name, toy)
    replicates, drawn = fit.bootstrap(n=6, seed=11), fit.simulate(6, seed=11)
    assert replicates.failed == 0
    table = fit.table()
    scale = np.where(table.component == "cor", 1.0, np.fmax(table.std_error, 0.01))
    for values, column in zip(replicates.values, drawn, strict=True):
        refitted = fit.refit(drawn[column]).table().estimate
        np.testing.assert_allclose(values / scale, refitted / scale, rtol=0, atol=1e-5)
    np.testing.assert_allclose(replicates.estimate, table.estimate, rtol=1e-9)


def test_of_a_posterior_mode_the_priors_are_kept(toy):
    fit = Model("y ~ x + (1 | h)", toy, priors={"x": "normal(0, 0.1)"}).fit_map()
    replicates, drawn = fit.bootstrap(n=3, seed=2), fit.simulate(3, seed=2)
    for values, column in zip(replicates.values, drawn, strict=True):
        np.testing.assert_array_equal(values, fit.refit(drawn[column]).table().estimate)
    assert np.abs(replicates.values[:, 1]).max() < 0.3


def share_of_events(fit):
    return float(fit.design.response.y.mean())


def test_replicates_do_not_depend_on_who_makes_them(toy):
    """Bit for bit: one process or two, quantities or a statistic; with fewer replicates, the first of them."""
    fit = Model("cbind(s, n - s) ~ x + (x | h)", toy, "binomial").fit_ml()
    one, other = (fit.bootstrap(n=9, seed=4, workers=workers) for workers in (None, 2))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(fit.bootstrap(n=4, seed=4).values, one.values[:4])
    assert one.labels == other.labels
    shares = [fit.bootstrap(share_of_events, n=5, seed=4, workers=workers).values[:, 0] for workers in (1, 2)]
    np.testing.assert_array_equal(*shares)
    np.testing.assert_allclose(shares[0], fit.simulate(5, seed=4).mean())


def test_seeds(toy):
    fit = fitted("one term", toy)
    one, again, other, free = (fit.bootstrap(n=2, seed=seed) for seed in (1, np.int64(1), 2, None))
    np.testing.assert_array_equal(one.values, again.values)
    assert (one.values != other.values).any()
    np.testing.assert_array_equal(fit.bootstrap(n=2, seed=free.seed).values, free.values)


def test_progress_is_told(toy):
    told = []
    fitted("one term", toy).bootstrap(n=30, seed=1, progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [30] * len(told)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 3
    assert told[-1] == (30, 30)


# lme4 ----------------------------------------------------------------------------------------------------------

MODELS = {
    "sleep": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", "gaussian", {"reml": True}),
    "cbpp": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "cbpp", "binomial", {}),
}


def error_of(values, p):
    """Standard error of a quantile, from the order statistics two standard deviations of its rank away, as R's."""
    n = len(values)
    ranks = (n + 1) * p + np.array([-2, 2]) * np.sqrt(n * p * (1 - p))
    return np.diff(np.interp(ranks, np.arange(1, n + 1), np.sort(values)))[0] / 4


def place_of(key, labels, data):
    """Where among our labels the reference's quantity stands; the correlation is the only one."""
    if key in ("cor", "sigma"):
        return [label[0] for label in labels].index({"cor": "cor", "sigma": "residual"}[key])
    wanted = "sd" if key.startswith("sd_") else "fixed", our_name(key.removeprefix("sd_"), data)
    return [(label[0], label[2]) for label in labels].index(wanted)


@pytest.mark.parametrize("name", MODELS)
def test_replicates_are_distributed_as_those_of_bootmer(name):
    """Means, standard deviations and 95 % limits: 600 replicates against 2,000, within 4 Monte-Carlo standard errors."""
    formula, data, family, options = MODELS[name]
    fit = Model(formula, table_of(data), family).fit_ml(**options)
    replicates = fit.bootstrap(n=600, seed=5)
    low, high = replicates.intervals(0.95)
    assert len(LME4[name]) == len(replicates.labels)
    for key, theirs in LME4[name].items():
        at = place_of(key, replicates.labels, fit.model.data)
        assert replicates.estimate[at] == pytest.approx(theirs["estimate"], rel=2e-4)
        values = replicates.values[:, at][~np.isnan(replicates.values[:, at])]
        sd, n = values.std(ddof=1), len(values)
        fourth = ((values - values.mean()) ** 4).mean()
        for ours, error, what in (
            (values.mean(), sd / np.sqrt(n), "mean"),
            (sd, np.sqrt((fourth - sd**4) / n) / (2 * sd), "sd"),
            (low[at], error_of(values, 0.025), "low"),
            (high[at], error_of(values, 0.975), "high"),
        ):
            both = np.hypot(error, theirs[f"{what}_error"])
            assert abs(ours - theirs[what]) <= 4.0 * both


# intervals ------------------------------------------------------------------------------------------------------


def replicates_of(values, component, estimate):
    column = np.array(values, dtype=float)[:, None]
    return Bootstrap(column, ((component, "g", "x", ""),), np.array([estimate]), {}, 1, 0.0)


def test_kinds_of_intervals():
    """Of 1, …, 199: quantiles at (n + 1) p; their reflection in the estimate; the estimate less bias ± z s."""
    ones = replicates_of(np.random.default_rng(1).permutation(np.arange(1, 200)), "fixed", 90.0)
    s = np.arange(1, 200).std(ddof=1)
    normal = (80 - 1.6448536 * s, 80 + 1.6448536 * s)
    expected = {"percentile": (10.0, 190.0), "basic": (-10.0, 170.0), "normal": normal}
    for kind in KINDS:
        limits = [float(limit[0]) for limit in ones.intervals(0.9, kind)]
        assert limits == pytest.approx(expected[kind])
        row = ones.table(0.9, kind).iloc[0]
        assert [row.conf_low, row.conf_high] == limits
        assert [row.estimate, row.bias, row.std_error] == pytest.approx([90.0, 10.0, s])
        assert ones.table(0.9, kind).attrs["interval"] == f"90% {kind}, of 199 parametric bootstrap replicates"


@pytest.mark.parametrize(
    ("component", "values", "estimate", "limits"),
    [("sd", [0, 0, 3, 4], 1.0, (0.0, 2.0)), ("residual", [0, 0, 3, 4], 1.0, (0.0, 2.0)),
     ("cor", [-1, -0.9, 0.9, 1], 0.5, (0.0, 1.0)), ("fixed", [0, 0, 3, 4], 1.0, (-2.0, 2.0))],
)  # fmt: skip
def test_limits_stay_in_range(component, values, estimate, limits):
    """A reflected limit of a standard deviation is not below 0, of a correlation not beyond 1."""
    low, high = replicates_of(values, component, estimate).intervals(0.9, "basic")
    assert (low[0], high[0]) == pytest.approx(limits)


def test_confint_is_the_bootstrap_s(toy):
    fit = fitted("one term", toy)
    table = fit.bootstrap(n=40, seed=3).table(0.9, "normal")
    limits = fit.confint("bootstrap", level=0.9, n_boot=40, seed=3, kind="normal")
    assert limits.columns.tolist() == ["component", "group", "term", "estimate", "conf_low", "conf_high"]
    np.testing.assert_allclose(limits.iloc[:, 3:], table[["estimate", "conf_low", "conf_high"]], rtol=1e-12)
    assert limits.attrs["interval"] == "90% normal, of 40 parametric bootstrap replicates"
    assert (limits.attrs["seed"], limits.attrs["failed"], limits.attrs["notes"]) == (3, 0, [])
    only = fit.confint("bootstrap", level=0.9, parm="sd", n_boot=40, seed=3, kind="normal")
    pd.testing.assert_frame_equal(only, limits.iloc[[2]].reset_index(drop=True))


def test_a_correlation_of_a_variance_at_zero_is_left_out(toy):
    """Slopes that hardly vary: in some replicates their variance is zero, which leaves the correlation undefined."""
    found = Model("z ~ x + (x | h)", toy, "gaussian").fit_ml().bootstrap(n=30, seed=1)
    at = [label[0] for label in found.labels].index("cor")
    zero = (found.values[:, at - 2 : at] == 0.0).any(axis=1)
    np.testing.assert_array_equal(np.isnan(found.values[:, at]), zero)
    assert 0 < zero.sum() < 30
    (note,) = found.notes
    assert note.startswith(f"Intercept,x of h is undefined in {zero.sum()} of 30 replicates, where a standard")
    assert np.isfinite(found.table()[["bias", "std_error", "conf_low", "conf_high"]]).all().all()


# replicates that cannot be fitted ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rare():
    """Level b has two events in ten rows: a tenth of the replicates have none there, and no maximum."""
    rng = np.random.default_rng(4)
    f = np.repeat(["a", "b"], [60, 10])
    return Model("y ~ f", pd.DataFrame({"y": [*rng.binomial(1, 0.5, 60), *[1, 1], *[0] * 8], "f": f})).fit_ml()


def test_failures_are_counted_and_left_out(rare):
    n = 40
    found, drawn = rare.bootstrap(n=n, seed=2), rare.simulate(n, seed=2)
    without = ~drawn[60:].any().to_numpy()
    np.testing.assert_array_equal(np.isnan(found.values).all(axis=1), without)
    assert found.failed == without.sum() == len(drawn.T) - len(found.kept) > 0
    ((reason, count),) = found.failures.items()
    assert count == found.failed
    assert "f[b]" in reason
    assert found.notes == [f"{count} of {n} replicates could not be fitted and are left out ({count}: {reason})."]
    table = found.table()
    np.testing.assert_allclose(table.std_error, found.values[~without].std(axis=0, ddof=1))
    assert table.attrs["failed"] == count
    assert table.attrs["notes"] == found.notes
    limits = rare.confint("bootstrap", n_boot=n, seed=2)
    assert (limits.attrs["failed"], limits.attrs["notes"]) == (count, found.notes)
    assert limits.attrs["interval"] == f"95% percentile, of {n - count} parametric bootstrap replicates"


def test_where_all_fail_the_reason_is_said(rare):
    seed = next(seed for seed in range(100) if not rare.simulate(1, seed=seed)[60:].any().any())
    with pytest.raises(FitError, match=r"none of the 1 replicates could be fitted: .*f\[b\]"):
        rare.bootstrap(n=1, seed=seed)


def test_failures_with_groups(toy):
    """The same where effects vary: responses that separate are sought by the whole engine, not by the warm start."""
    row = np.arange(120)
    data = toy.assign(f=np.where(row < 9, "rare", "often"), y=np.where(row < 9, row == 4, toy.y).astype(int))
    fit = Model("y ~ f + (1 | h)", data).fit_ml()
    found, drawn = fit.bootstrap(n=30, seed=1), fit.simulate(30, seed=1)
    none = ~drawn[:9].any().to_numpy()
    np.testing.assert_array_equal(np.isnan(found.values).all(axis=1), none)
    assert 0 < none.sum() < 30


# statistics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (share_of_events, ["share_of_events"]),
        (lambda f: np.array([f.loglik, f.aic]), ["<lambda>[0]", "<lambda>[1]"]),
        (lambda f: [f.aic], ["<lambda>[0]"]),
        (lambda f: f.icc(), ["h"]),
        (lambda f: {"slope": f.fixef()["x"], "aic": f.aic}, ["slope", "aic"]),
    ],
)
def test_statistics_keep_their_names(statistic, names, toy):
    fit = fitted("one term", toy)
    found, drawn = fit.bootstrap(statistic, n=3, seed=9), fit.simulate(3, seed=9)
    assert found.labels == tuple(("statistic", "", name, "") for name in names)

    def numbers(of):
        value = statistic(of)
        return np.ravel(list(value.values()) if isinstance(value, dict) else value)

    np.testing.assert_allclose(found.estimate, numbers(fit))
    np.testing.assert_allclose(found.values, [numbers(fit.refit(drawn[column])) for column in drawn])
    assert found.table().term.tolist() == names


def test_a_statistic_of_reml_is_of_reml(sleepstudy):
    fit = Model("Reaction ~ Days + (1 | Subject)", sleepstudy, "gaussian").fit_ml(reml=True)
    found = fit.bootstrap(lambda f: f.reml_criterion, n=2, seed=1)
    assert found.estimate[0] == fit.reml_criterion
    assert np.isfinite(found.values).all()


# what is refused ----------------------------------------------------------------------------------------------------


def of_its_rows(fit):
    return fit.predict().estimate[: 3 + int(fit.design.response.y.sum()) % 2]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.bootstrap(n=0), "n should be 1 or more, not 0"),
        (lambda f: f.bootstrap(n=2.5), "n should be 1 or more, not 2.5"),
        (lambda f: f.bootstrap(n=3, seed=-1), "seed should be a whole number of 0 or more, not -1"),
        (lambda f: f.bootstrap(n=3, seed=1.0), "seed should be a whole number of 0 or more, not 1.0"),
        (lambda f: f.bootstrap(n=3, workers=0), "workers should be 1 or more, not 0"),
        (lambda f: f.bootstrap(lambda g: g.vcov().to_numpy(), n=3), r"numbers in one dimension, not an array of shape \(2, 2\)"),
        (lambda f: f.bootstrap(of_its_rows, n=8, seed=1), r"the statistic gave \d numbers for a replicate and \d for the fit"),
        (lambda f: f.bootstrap(lambda g: g.aic, n=3, workers=2), r"worker processes cannot be sent .*define functions at the top level .*workers=1"),
        (lambda f: f.confint("bootstrap", kind="bca"), 'there are no "bca" bootstrap intervals; there are: percentile, basic, normal'),
        (lambda f: f.confint("bootstrap", level=0), "level should lie between 0 and 1, for example 0.95, not 0"),
        (lambda f: f.confint("bootstrap", n_boot=0), "n should be 1 or more, not 0"),
        (lambda f: f.confint("bootstrap", parm="z"), 'parm: there is no component, group or term "z"'),
        (lambda f: f.bootstrap(n=3, seed=1).intervals(2), "level should lie between 0 and 1"),
        (lambda f: f.bootstrap(n=3, seed=1).table(kind="wald"), 'there are no "wald" bootstrap intervals'),
    ],
)  # fmt: skip
def test_bad_questions_are_one_sentence(ask, message, toy):
    with pytest.raises(FitError, match=message) as refused:
        ask(fitted("one term", toy))
    assert "\n" not in str(refused.value)


def test_fits_that_cannot_be_drawn_from(toy):
    with pytest.raises(FitError, match="a posterior has no bootstrap; its draws say how uncertain each quantity is"):
        bootstrap(SimpleNamespace(engine="nuts"))
    repeated = Model("z ~ x", toy, "gaussian", freq="reps").fit_ml()
    with pytest.raises(FitError, match="freq= repeats rows, and the spread within a repeated row"):
        repeated.bootstrap(n=2)


def dying(payload):
    return lambda part: os._exit(payload)


def test_a_worker_that_dies_is_told():
    with pytest.raises(FitError, match="the worker processes could not start, or died: in a script"):
        in_processes(dying, 3, [1, 2], 2, lambda part: None)


def test_a_fit_whose_standard_deviation_is_zero_says_what_its_replicates_lack():
    estimate, values = np.array([0.0]), np.zeros((20, 1))
    b = Bootstrap(values, (("sd", "g", "Intercept", ""),), estimate, {}, 1, 0.0)
    assert "Intercept of g is 0 in the fit itself" in b.notes[0]
    assert 'use confint(method="profile")' in b.notes[0]
    assert not Bootstrap(values + 0.1, b.labels, estimate + 0.1, {}, 1, 0.0).notes
