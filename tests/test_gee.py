"""Generalised estimating equations: R's geepack and gee to the digit, statsmodels, brute force, and what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.linalg
import statsmodels.api as sm
from scipy.stats import chi2, norm
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

import bayesmlm as bm
from bayesmlm import FitError, Model, NoMaximumError, load_dataset
from bayesmlm.errors import BayesmlmError, DataError
from bayesmlm.fit import Fit
from bayesmlm.gee import association
from bayesmlm.gee.clusters import read_clusters
from bayesmlm.gee.engine import solve_gee
from bayesmlm.gee.fit import GEEFit
from bayesmlm.gee.mean import means_at, read_rows
from bayesmlm.gee.options import COVARIANCES, Options
from bayesmlm.gee.store import gee_from_json, gee_to_json
from bayesmlm.gee.working import working_of

HERE = Path(__file__).parent / "reference"
REFERENCE = json.loads((HERE / "gee.json").read_text(encoding="utf-8"))
"""Fits of geepack and gee; see ``reference/gee.R``."""

IDS = {"cbpp": "herd", "sleepstudy": "Subject"}
ORDERED = ("ar1", "unstructured", "fixed")
CASES = [
    (flavour, model, corr)
    for flavour in ("geepack", "gee")
    for model, correlations in REFERENCE[flavour].items()
    for corr in correlations
]


def table_of(name):
    """A data set of the package, or of the reference folder."""
    if name == "cbpp":
        data = load_dataset(name)
        return data.assign(visit=data.period.astype(int))
    if name == "sleepstudy":
        data = load_dataset(name)
        return data.assign(w=np.resize([1.0, 2.0, 0.5], len(data)))
    return pd.read_csv(HERE / f"{name}.csv")


def reference_model(name):
    """The model of a reference fit, its ids and its time."""
    entry = REFERENCE["models"][name]
    data = table_of(entry["data"])
    if entry.get("kept"):
        data = data[data.kept == 1]
    model = Model(entry["formula"], data, family=entry["family"], link=entry.get("link"), weights=entry.get("weights"))
    return model, IDS.get(entry["data"], entry["id"]), entry["time"]


@pytest.fixture(scope="module")
def models():
    return {name: reference_model(name) for name in REFERENCE["models"]}


@pytest.fixture(scope="module")
def ohio(models):
    return models["ohio"][0]


# R ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flavour", "name", "corr"), CASES)
def test_figures_are_those_of_the_r_packages(flavour, name, corr, models):
    """Of the same fixed point, so that only where the two iterations stop sets them apart: 1e-9 of a figure or better."""
    model, ids, time = models[name]
    expected = REFERENCE[flavour][name][corr]
    matrix = REFERENCE["given"] if corr == "fixed" else None
    fit = model.fit_gee(ids, corr, time=time if corr in ORDERED else None, flavour=flavour, matrix=matrix)
    assert fit.converged
    table = fit.table()
    p = len(expected["beta"])
    robust = np.array(expected["robust"])
    error = np.sqrt(np.diag(robust))
    np.testing.assert_allclose(table.estimate[:p], expected["beta"], atol=1e-8 * error.min(), rtol=1e-8)
    np.testing.assert_allclose(table.std_error[:p], error, rtol=1e-8)
    np.testing.assert_allclose(fit.vcov("robust"), robust, rtol=1e-6, atol=1e-8 * np.abs(robust).max())
    np.testing.assert_allclose(fit.vcov("naive"), expected["naive"], rtol=1e-6)
    np.testing.assert_allclose(table.estimate[p:], [expected["scale"], *np.atleast_1d(expected["alpha"])], rtol=2e-9)
    if flavour == "gee":
        assert table.std_error[p:].isna().all()
    else:
        np.testing.assert_allclose(
            table.std_error[p:], [expected["scale_se"], *np.atleast_1d(expected["alpha_se"])], rtol=1e-9
        )


@pytest.mark.parametrize("name", ["ohio", "gaps", "probit", "respiratory", "epilepsy", "sleep"])
def test_quasi_likelihood_criteria_are_geepacks(name, models):
    model, ids, time = models[name]
    for corr in ("independence", "exchangeable", "ar1"):
        expected = REFERENCE["geepack"][name].get(corr, {}).get("qic")
        if expected is None:
            continue
        found = model.fit_gee(ids, corr, time=time if corr in ORDERED else None).qic()
        figures = [expected[key] for key in ("QIC", "QICu", "CIC", "Quasi Lik")]
        np.testing.assert_allclose(found[["qic", "qicu", "cic", "quasi_loglik"]], figures, rtol=1e-9)


@pytest.mark.parametrize("flavour", ["geepack", "gee"])
def test_a_scale_that_is_given(flavour, models):
    model, ids, _ = models["epilepsy"]
    expected, fit = REFERENCE["fixed_scale"][flavour], model.fit_gee(ids, scale=2, flavour=flavour)
    table = fit.table()
    np.testing.assert_allclose(table.estimate[:4], expected["beta"], rtol=1e-9)
    np.testing.assert_allclose(fit.vcov("naive"), expected["naive"], rtol=1e-9)
    np.testing.assert_allclose(table.estimate[4:], [2.0, np.squeeze(expected["alpha"])], rtol=1e-9)
    assert np.isnan(table.std_error[4])
    if flavour == "geepack":
        assert table.std_error[5] == pytest.approx(np.squeeze(expected["alpha_se"]))
    assert "(the scale is fixed)" in fit.summary()


# the founding documents' rows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nhanes():
    if not (Path(os.environ.get("BAYESMLM_DATA") or "no such folder") / "nhanes_2012.csv").exists():
        pytest.skip("BAYESMLM_DATA names no folder with nhanes_2012.csv")
    return Model("dep ~ asthma + famsize + sed + race", load_dataset("nhanes_2012"), family="gaussian")


def test_row_16_is_gee_stopped_where_r_stops(nhanes):
    fit = nhanes.fit_gee("runs:sdmvstra", "unstructured", flavour="gee", tol=1e-3)
    # As the document prints them.
    printed = [2.495509790, 1.353039007, -0.039489294, 0.001358042, 1.192481318, 0.116185743, 0.096800821, -0.555053605]
    np.testing.assert_array_equal(fit.fixef().round(9), printed)
    naive = [0.2867816215, 0.1867101195, 0.0461945052, 0.0003362291, 0.3075562837, 0.2531554533, 0.2625826864, 0.2809301544]  # fmt: skip
    robust = [0.2690426648, 0.2137975620, 0.0457474654, 0.0003551901, 0.3309608614, 0.2279687738, 0.2360498473, 0.2406566044]  # fmt: skip
    np.testing.assert_array_equal(np.sqrt(np.diag(fit.vcov("naive"))).round(10), naive)
    np.testing.assert_array_equal(np.sqrt(np.diag(fit.vcov("robust"))).round(10), robust)
    z = [9.2755169, 6.3285989, -0.8632018, 3.8234244, 3.6030886, 0.5096564, 0.4100864, -2.3064133]
    np.testing.assert_array_equal(fit.table().statistic[:8].round(7), z)
    row = REFERENCE["nhanes"]["row_16"]
    np.testing.assert_allclose(fit.fixef(), row["beta"], rtol=1e-11)
    assert fit.solution.scale == pytest.approx(row["scale"], rel=1e-12)
    assert fit.solution.iterations == 2
    assert any("stopped at a tolerance of 0.001" in note for note in fit.notes)


def test_row_17_is_geepack_with_its_correlations(nhanes):
    fit = nhanes.fit_gee("runs:sdmvstra", "unstructured", flavour="geepack", tol=1e-4)
    table = fit.table()
    printed = [2.5579361, 1.3492892, -0.0446716, 0.0013015, 1.1750373, 0.0806377, 0.0642028, -0.5902049]
    errors = [0.2700717, 0.2156202, 0.0457087, 0.0003548, 0.3318983, 0.2295661, 0.2363255, 0.2413379]
    np.testing.assert_array_equal(table.estimate[:8].round(7), printed)
    np.testing.assert_array_equal(table.std_error[:8].round(7), errors)
    np.testing.assert_array_equal(
        (table.statistic[:8] ** 2).round(3), [89.706, 39.159, 0.955, 13.454, 12.534, 0.123, 0.074, 5.981]
    )
    assert table.p_value[7] == pytest.approx(0.014463, abs=5e-7)
    assert (round(table.estimate[8], 2), round(table.std_error[8], 4)) == (19.49, 0.7843)
    alpha = [0.12480, 0.42070, 2.89640, -1.85447, 0.12238, -0.08935, 0.20541, -0.49597, 0.25045, -0.66939]
    alpha_se = [0.01654, 0.10339, 1.06678, 0.20276, 0.06330, 0.20229, 0.03720, 0.11227, 0.03879, 0.08761]
    np.testing.assert_array_equal(table.estimate[9:].round(5), alpha)
    np.testing.assert_array_equal(table.std_error[9:].round(5), alpha_se)
    assert table.term[9:].tolist()[:5] == ["1,2", "1,3", "1,4", "1,5", "2,3"]
    assert fit.solution.sizes == (4109, 1, 5)
    row = REFERENCE["nhanes"]["row_17"]
    np.testing.assert_allclose(table.estimate, [*row["beta"], row["scale"], *row["alpha"]], rtol=1e-9)
    np.testing.assert_allclose(table.std_error, [*row["se"], row["scale_se"], *row["alpha_se"]], rtol=1e-9)
    note = next(note for note in fit.notes if "not positive definite" in note)
    assert "2.896 of visits 1 and 4 and -1.854 of visits 1 and 5 lie outside" in note
    assert any("4109 runs of adjacent rows" in note and "14 different ones" in note for note in fit.notes)
    # geepack's standard error of the first is a quarter of what the equations say: lone rows repeat other clusters'.
    published = nhanes.fit_gee("runs:sdmvstra", "unstructured")
    np.testing.assert_allclose(published.table().estimate, table.estimate, rtol=1e-4)
    assert published.table().std_error[9] == pytest.approx(0.0718, abs=5e-5)


def test_the_analysis_of_the_strata(nhanes):
    fit = nhanes.fit_gee("sdmvstra", "exchangeable", flavour="geepack")
    row, table = REFERENCE["nhanes"]["strata"], fit.table()
    np.testing.assert_allclose(table.estimate, [*row["beta"], row["scale"], np.squeeze(row["alpha"])], rtol=1e-7)
    np.testing.assert_allclose(table.std_error, [*row["se"], row["scale_se"], np.squeeze(row["alpha_se"])], rtol=1e-7)
    assert any("do not stand together" in note and "4109 runs" in note for note in fit.notes)
    assert any("14 clusters" in note and "bias_corrected" in note for note in fit.notes)
    with pytest.raises(FitError, match=r"to know which visit each row is"):
        nhanes.fit_gee("sdmvstra", "unstructured")


# statsmodels ----------------------------------------------------------------------------------------------------------

FAMILIES = {
    "gaussian": ("z ~ x + f", sm.families.Gaussian),
    "bernoulli": ("y ~ x + f", sm.families.Binomial),
    "poisson": ("count ~ x + f", sm.families.Poisson),
}
STRUCTURES = {"independence": sm.cov_struct.Independence, "exchangeable": sm.cov_struct.Exchangeable}


@pytest.mark.parametrize("corr", STRUCTURES)
@pytest.mark.parametrize("family", FAMILIES)
def test_statsmodels_has_n_minus_p_too(family, corr, toy):
    formula, oracle_family = FAMILIES[family]
    fit = Model(formula, toy, family=family).fit_gee("h", corr, flavour="gee")
    response = formula.split(" ")[0]
    oracle = sm.GEE(toy[response], fit.design.X, toy.h, family=oracle_family(), cov_struct=STRUCTURES[corr]())
    found = oracle.fit(maxiter=200, ctol=1e-12)
    np.testing.assert_allclose(fit.fixef(), found.params, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.vcov("robust"), found.cov_robust, rtol=1e-6, atol=1e-10)
    # statsmodels puts the scale of binary responses and counts at 1.
    np.testing.assert_allclose(
        fit.vcov("naive") / fit.solution.scale, found.cov_naive / found.scale, rtol=1e-6, atol=1e-10
    )
    if family == "gaussian":
        assert fit.solution.scale == pytest.approx(found.scale, rel=1e-8)
    if corr == "exchangeable":
        assert fit.solution.alpha[0] == pytest.approx(oracle.cov_struct.dep_params, abs=1e-8)
    corrected = oracle.fit(maxiter=200, ctol=1e-12, cov_type="bias_reduced")
    np.testing.assert_allclose(fit.vcov("mancl_derouen"), corrected.cov_robust_bc, rtol=1e-6, atol=1e-10)


# brute force ------------------------------------------------------------------------------------------------------------


def dense(fit, data):
    """Of each cluster D, V, A^−½-scaled residuals and leverage, on the user's columns, by the textbook's matrices."""
    design, solution, options = fit.design, fit.solution, fit.options
    clusters = read_clusters(design, data, options)
    working = working_of(options.corr, clusters, options.matrix)
    R, link = working.of_visits(solution.alpha), design.family.link
    eta = design.offset + design.X @ solution.beta
    mu, slope = link.inverse(eta), link.derivative(eta)
    v = {"gaussian": np.ones_like(mu), "poisson": mu}.get(design.family.name, mu * (1.0 - mu))
    v = v / (design.response.trials * design.weights)
    for start, size in zip(clusters.starts, clusters.sizes, strict=True):
        place = slice(start, start + size)
        rows, visits = clusters.order[place], clusters.visits[place]
        half = np.diag(np.sqrt(v[rows]))
        V = half @ R[np.ix_(visits, visits)] @ half * solution.scale
        D = slope[rows, None] * design.X[rows]
        yield D, V, design.response.y[rows] / design.response.trials[rows] - mu[rows]


def corrected(kind, rest, r):
    """Residuals of a cluster divided by what the fit left of them."""
    if kind == "mancl_derouen":
        return np.linalg.solve(rest, r)
    if kind == "kauermann_carroll":
        return np.real(scipy.linalg.sqrtm(np.linalg.inv(rest))) @ r
    return r


def sandwich_by_hand(kind, parts):
    parts = [(D, np.linalg.inv(V), r) for D, V, r in parts]
    A = np.linalg.inv(sum(D.T @ W @ D for D, W, _ in parts))
    if kind == "naive":
        return A
    middle = np.zeros_like(A)
    for D, W, r in parts:
        score = D.T @ W @ corrected(kind, np.eye(len(r)) - D @ A @ D.T @ W, r)
        if kind == "fay_graubard":
            score = score / np.sqrt(1.0 - np.minimum(0.75, np.diag(D.T @ W @ D @ A)))
        middle += np.outer(score, score)
    return A @ middle @ A


@pytest.mark.parametrize("corr", ["independence", "exchangeable", "ar1", "unstructured", "fixed"])
@pytest.mark.parametrize("kind", [kind for kind in COVARIANCES if kind != "bias_corrected"])
def test_covariances_are_those_of_the_textbooks_matrices(kind, corr, models):
    model, ids, time = models["cbpp"]
    matrix = 0.7 * np.eye(4) + 0.3 if corr == "fixed" else None
    fit = model.fit_gee(ids, corr, time=time, matrix=matrix, se=kind)
    expected = sandwich_by_hand(kind, dense(fit, model.data))
    np.testing.assert_allclose(fit.vcov(), expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(fit.table().std_error[:4], np.sqrt(np.diag(expected)), rtol=1e-8)
    np.testing.assert_allclose(model.fit_gee(ids, corr, time=time, matrix=matrix).vcov(kind), fit.vcov(), rtol=1e-10)


def test_bias_corrected_is_mancl_derouen(models):
    model, ids, _ = models["cbpp"]
    fit = model.fit_gee(ids, se="bias_corrected")
    np.testing.assert_allclose(fit.vcov(), fit.vcov("mancl_derouen"), rtol=1e-12)
    assert (np.diag(fit.vcov()) > np.diag(fit.vcov("kauermann_carroll"))).all()
    assert (np.diag(fit.vcov("kauermann_carroll")) > np.diag(fit.vcov("robust"))).all()


@pytest.mark.parametrize(("name", "corr"), [("ohio", "exchangeable"), ("gaps", "ar1"), ("cbpp", "unstructured")])
def test_the_estimating_equations_are_zero_at_the_estimates(name, corr, models):
    model, ids, time = models[name]
    fit = model.fit_gee(ids, corr, time=time)
    parts = list(dense(fit, model.data))
    score = sum(D.T @ np.linalg.solve(V, r) for D, V, r in parts)
    sizes = np.sqrt(sum(np.square(D.T @ np.linalg.solve(V, r)) for D, V, r in parts))
    assert (np.abs(score) < 1e-7 * sizes).all()


def stacked(model, options, corr, beta, phi, alpha):
    """Sums of the equations of scale and correlations, and minus their derivatives as the code has them."""
    clusters = read_clusters(model.design, model.data, options)
    working, means = working_of(corr, clusters), means_at(read_rows(model.design, clusters), beta)
    ones = np.ones(len(clusters.order))
    U, B, C = association.scale_equation(means, ones, phi, clusters, as_geepack=False)
    found = association.correlation_equations(means, ones, phi, working, alpha, as_geepack=False)
    return np.concatenate([[U.sum()], found.U.sum(axis=0)]), (B, C, found)


@pytest.mark.parametrize(("name", "corr"), [("ohio", "exchangeable"), ("epilepsy", "ar1"), ("cbpp", "unstructured")])
def test_derivatives_of_the_three_equations(name, corr, models):
    """In β and φ exactly, by central differences; φ's own where its squares have their expectation."""
    model, ids, time = models[name]
    options = Options(ids, corr, time)
    fit = model.fit_gee(ids, corr, time=time)
    beta = np.linalg.solve(model.design.scaling.matrix, fit.solution.beta)
    phi, alpha = fit.solution.scale, fit.solution.alpha
    _, (B, C, found) = stacked(model, options, corr, beta, phi, alpha)
    h = 1e-6
    for j in range(len(beta)):
        up, down = beta.copy(), beta.copy()
        up[j] += h
        down[j] -= h
        above = stacked(model, options, corr, up, phi, alpha)[0]
        below = stacked(model, options, corr, down, phi, alpha)[0]
        np.testing.assert_allclose(-(above - below) / (2 * h), [B[j], *found.D[:, j]], rtol=1e-5, atol=1e-5)
    above = stacked(model, options, corr, beta, phi + h, alpha)[0]
    below = stacked(model, options, corr, beta, phi - h, alpha)[0]
    np.testing.assert_allclose(-(above - below) / (2 * h), [C, *found.E], rtol=1e-5, atol=1e-5)
    # Of α only the expectation is kept, which for correlations that are parameters is exact.
    if corr != "ar1":
        for k in range(len(alpha)):
            up = alpha.copy()
            up[k] += h
            change = (
                stacked(model, options, corr, beta, phi, up)[0] - stacked(model, options, corr, beta, phi, alpha)[0]
            )
            np.testing.assert_allclose(-change[1:] / h, found.F[:, k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_geepack", [False, True])
def test_large_clusters_need_no_pairs(as_geepack, models):
    """The exchangeable equations by sums of clusters are those pair by pair."""
    model, ids, _ = models["cbpp"]
    clusters = read_clusters(model.design, model.data, Options(ids))
    working, rows = working_of("exchangeable", clusters), read_rows(model.design, clusters)
    means = means_at(rows, np.array([-2.0, 0.3, 0.1, -0.2])).without_weights(rows.weight)
    times = np.arange(len(clusters.sizes)) % 3.0
    arguments = (means, rows.weight, 0.3, working, np.array([0.2]), times, as_geepack)
    fast = association._exchangeable(*arguments)
    # Unstructured correlations that are all one have the same sums.
    visits = len(clusters.labels)
    every = replace(working, kind="unstructured")
    slow = association._by_pairs(*arguments[:3], every, np.full(visits * (visits - 1) // 2, 0.2), times, as_geepack)
    np.testing.assert_allclose(slow.U.sum(axis=1), fast.U[:, 0], atol=1e-12)
    np.testing.assert_allclose(slow.D.sum(axis=0), fast.D[0], atol=1e-12)
    np.testing.assert_allclose([slow.E.sum(), slow.F.sum()], [fast.E[0], fast.F[0, 0]])


def test_a_standard_error_of_a_correlation_is_the_jackknifes(models):
    """Leaving clusters out one by one agrees with the published equations; geepack's is nearly twice as large."""
    model, ids, _ = models["ohio"]
    data = model.data[model.data[ids] % 4 == 0]
    full, clusters = Model("resp ~ age*smoke", data), data[ids].unique()
    left_out = np.array(
        [Model("resp ~ age*smoke", data[data[ids] != one]).fit_gee(ids).solution.alpha[0] for one in clusters]
    )
    share = 1.0 - 1.0 / len(clusters)
    jackknife = np.sqrt(share * np.square(left_out - left_out.mean()).sum())
    errors = {kind: full.fit_gee(ids, flavour=kind).table().std_error.iloc[-1] for kind in ("yan_fine", "geepack")}
    assert errors["yan_fine"] == pytest.approx(jackknife, rel=0.1)
    assert errors["geepack"] > 1.4 * jackknife


# rows and clusters ----------------------------------------------------------------------------------------------------


def same(a, b, rtol=1e-8):
    np.testing.assert_allclose(a.table().estimate, b.table().estimate, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(a.table().std_error, b.table().std_error, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("corr", ["exchangeable", "ar1", "unstructured"])
def test_rows_of_a_cluster_may_stand_anywhere(corr, models):
    model, ids, time = models["gaps"]
    shuffled = Model("resp ~ age*smoke", model.data.sample(frac=1.0, random_state=3))
    fits = [m.fit_gee(ids, corr, time=time) for m in (model, shuffled)]
    same(*fits)
    assert not any("stand together" in note for note in fits[0].notes)
    assert any("do not stand together" in note for note in fits[1].notes)


def test_runs_are_ids_where_rows_stand_together(models):
    model, ids, _ = models["ohio"]
    by_run = model.fit_gee(f"runs:{ids}", "ar1")
    same(by_run, model.fit_gee(ids, "ar1", time="age"))
    assert not any("runs of adjacent rows" in note for note in by_run.notes)
    assert by_run.solution.visits == ("1", "2", "3", "4")


def test_runs_are_taken_among_the_rows_used(toy):
    data = toy.assign(run=np.repeat([0, 1, 0, 1], 30))
    assert Model("y ~ x", data).fit_gee("runs:run").solution.sizes == (4, 30, 30)
    assert Model("y ~ x", data).fit_gee("run").solution.sizes == (2, 60, 60)
    data.loc[30:59, "x"] = np.nan
    assert Model("y ~ x", data).fit_gee("runs:run").solution.sizes == (2, 30, 60)


def test_a_column_that_looks_like_runs(toy):
    data = toy.assign(**{"runs:h": toy.g})
    assert Model("y ~ x", data).fit_gee("runs:h").solution.sizes[0] == 6


def test_frequencies_repeat_rows(toy):
    repeated = toy.loc[np.repeat(toy.index, toy.reps)]
    same(
        Model("y ~ x", toy, freq="reps").fit_gee("h", flavour="gee"),
        Model("y ~ x", repeated).fit_gee("h", flavour="gee"),
    )


def test_trials_are_weights_of_shares(models):
    model, ids, _ = models["cbpp"]
    share = Model(
        "prop ~ period", model.data.assign(prop=lambda d: d.incidence / d["size"]), "binomial", weights="size"
    )
    for flavour in ("yan_fine", "geepack", "gee"):
        same(model.fit_gee(ids, flavour=flavour), share.fit_gee(ids, flavour=flavour), rtol=1e-6)


def test_rows_without_weight_are_not_there(toy):
    weights = np.where(toy.index < 40, 0.0, 1.0)
    same(
        Model("z ~ x", toy, "gaussian", weights=weights).fit_gee("h"), Model("z ~ x", toy[40:], "gaussian").fit_gee("h")
    )


def test_without_weights_the_published_estimates_are_geepacks(models):
    for name in ("ohio", "epilepsy", "sleep"):
        model, ids, time = models[name]
        ours, theirs = (model.fit_gee(ids, "ar1", time=time, flavour=flavour) for flavour in ("yan_fine", "geepack"))
        np.testing.assert_allclose(ours.table().estimate, theirs.table().estimate, rtol=1e-8)
        np.testing.assert_allclose(ours.vcov(), theirs.vcov(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(ours.table().std_error, theirs.table().std_error, rtol=2e-2)


def test_time_may_be_in_any_unit(sleepstudy):
    """α is the correlation of rows one unit apart."""
    model = Model("Reaction ~ Days", sleepstudy.assign(hours=24.0 * sleepstudy.Days), "gaussian")
    by_day, by_hour = (model.fit_gee("Subject", "ar1", time=name) for name in ("Days", "hours"))
    assert by_hour.solution.alpha[0] ** 24 == pytest.approx(by_day.solution.alpha[0], rel=1e-7)
    np.testing.assert_allclose(by_hour.vcov(), by_day.vcov(), rtol=1e-6)


def test_time_may_be_a_factor(models):
    model, ids, time = models["gaps"]
    named = pd.Categorical.from_codes(model.data[time] + 2, ["w", "c", "a", "b"])
    fit = Model("resp ~ age*smoke", model.data.assign(wave=named)).fit_gee(ids, "unstructured", time="wave")
    same(fit, model.fit_gee(ids, "unstructured", time=time))
    assert list(fit.working_correlation().columns) == ["w", "c", "a", "b"]
    assert fit.table().term.iloc[-1] == "a,b"


def test_other_data_frames_and_groups_of_several_columns(contraception):
    pandas_fit = Model("use ~ age", contraception).fit_gee("urban:district")
    same(pandas_fit, Model("use ~ age", pl.from_pandas(contraception)).fit_gee("urban:district"))
    assert pandas_fit.solution.sizes[0] == 102
    assert pandas_fit.table().group.iloc[-1] == "urban:district"


def test_columns_may_have_any_unit(sleepstudy):
    for se in COVARIANCES:
        plain = Model("Reaction ~ Days", sleepstudy, "gaussian").fit_gee("Subject", se=se)
        other = Model("Reaction ~ s", sleepstudy.assign(s=86400.0 * sleepstudy.Days), "gaussian").fit_gee(
            "Subject", se=se
        )
        assert other.fixef()["s"] * 86400.0 == pytest.approx(plain.fixef()["Days"], rel=1e-9)
        assert other.table().statistic[1] == pytest.approx(plain.table().statistic[1], rel=1e-7)


# bars ---------------------------------------------------------------------------------------------------------------------


def test_bars_give_the_clusters_and_are_left_out(contraception):
    model = Model("use ~ urban + (1 + urban | district)", contraception)
    fit, plain = model.fit_gee(), Model("use ~ urban", contraception).fit_gee("district")
    pd.testing.assert_frame_equal(fit.table(), plain.table())
    assert "(1 + urban | district) is left out. Its clusters are those of district." in " ".join(fit.notes)
    assert not any("left out" in note for note in plain.notes)
    assert fit.design.groups == ()
    assert "clusters are those" not in " ".join(model.fit_gee(groups="livch").notes)


def test_bars_of_several_groupings_leave_the_choice(contraception):
    model = Model("use ~ 1 + (1 | district/urban)", contraception)
    with pytest.raises(FitError, match=r"2 groupings \(district, urban:district\), and a GEE has one: give groups="):
        model.fit_gee()
    assert model.fit_gee(groups="district").solution.sizes[0] == 60
    with pytest.raises(FitError, match="a GEE needs clusters: give groups="):
        Model("use ~ 1", contraception).fit_gee()


# the protocol -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit(contraception):
    return Model("use ~ age + urban + livch", contraception, name="m").fit_gee("district")


def test_the_table_has_the_columns_and_components_of_every_reading(fit):
    table = fit.table()
    assert table.columns.tolist() == [
        "component", "group", "term", "level", "estimate", "std_error", "conf_low", "conf_high", "statistic", "p_value",
    ]  # fmt: skip
    assert table.component.tolist() == ["fixed"] * 6 + ["scale", "alpha"]
    assert table.iloc[6:][["group", "term"]].values.tolist() == [["", "scale"], ["district", "alpha"]]
    np.testing.assert_allclose(table.statistic[:6], table.estimate[:6] / table.std_error[:6])
    np.testing.assert_allclose(table.p_value[:6], 2 * norm.sf(np.abs(table.statistic[:6])))
    assert table.p_value[6:].isna().all()
    half = norm.ppf(0.975) * table.std_error
    np.testing.assert_allclose(table.conf_low, table.estimate - half)
    np.testing.assert_allclose(table.conf_high, table.estimate + half)
    assert table.attrs["engine"] == fit.engine == "gee"
    assert table.attrs["interval"] == "95% Wald"
    assert "averaged" in table.attrs["estimand"]
    pd.testing.assert_frame_equal(fit.table(ranef=True), table)
    assert isinstance(fit, Fit)
    assert isinstance(fit, GEEFit)


def test_few_clusters_have_t(fit):
    table = fit.table(level=0.9, df="clusters")
    assert table.columns.tolist()[-2:] == ["df", "p_value"]
    assert table.df.tolist()[:6] == [54.0] * 6
    assert table.df[6:].isna().all()
    np.testing.assert_allclose(table.p_value[:6], 2 * t_distribution.sf(np.abs(table.statistic[:6]), 54))
    half = t_distribution.ppf(0.95, 54) * table.std_error[:6]
    np.testing.assert_allclose(table.conf_high[:6], table.estimate[:6] + half)
    with pytest.raises(FitError, match='a GEE has df="clusters"'):
        fit.table(df="satterthwaite")


def test_counts_of_observations_and_parameters(fit):
    assert (fit.nobs, fit.df_model, fit.df_resid) == (1934, 6, 1928)
    assert fit.converged
    assert fit.diagnostics().ok
    assert fit.residual_variance == pytest.approx(np.pi**2 / 3)


def test_limits(fit):
    alpha = fit.confint(parm="alpha")
    assert alpha.columns.tolist() == ["component", "group", "term", "estimate", "conf_low", "conf_high"]
    assert alpha.conf_low[0] == fit.table().conf_low[7]
    with pytest.raises(FitError, match=r'no "profile" limits, for it has no likelihood'):
        fit.confint("profile")


def test_predictions_are_of_the_population(fit, contraception):
    new = contraception.iloc[:3]
    X = fit.design.X[:3]
    eta, V = X @ fit.fixef(), fit.vcov().to_numpy()
    mu = 1.0 / (1.0 + np.exp(-eta))
    error = np.sqrt(np.diag(X @ V @ X.T))
    for newdata in (new, None):
        found = fit.predict(newdata)[:3]
        np.testing.assert_allclose(found.estimate, mu)
        np.testing.assert_allclose(found.std_error, mu * (1.0 - mu) * error)
        np.testing.assert_allclose(found.conf_low, 1.0 / (1.0 + np.exp(-(eta - norm.ppf(0.975) * error))))
    np.testing.assert_allclose(fit.predict(new, kind="link").std_error, error)
    assert fit.predict(new.drop(columns=["district"])).estimate[0] == pytest.approx(mu[0])
    for estimand in ("conditional", "typical"):
        with pytest.raises(
            FitError, match=f'a GEE has no group effects.*fit_ml\\(\\) or sample\\(\\) for "{estimand}"'
        ):
            fit.predict(estimand=estimand)
    with pytest.raises(FitError, match='no estimand "populatoin"; did you mean "population"'):
        fit.predict(estimand="populatoin")


def test_an_offset_is_part_of_predictions(models):
    model, ids, _ = models["epilepsy"]
    fit = model.fit_gee(ids)
    new = model.data.iloc[:1].assign(weeks=4.0)
    assert fit.predict(new).estimate[0] == pytest.approx(np.exp(fit.fixef()["Intercept"]) * 4.0)


def test_residuals_and_how_well_outcomes_are_told_apart(fit, contraception):
    mu, y = fit.fitted(), (contraception.use == "Y").to_numpy()
    np.testing.assert_allclose(fit.residuals(), (y - mu) / np.sqrt(mu * (1.0 - mu)))
    assert 0.5 < fit.auc() < 0.75
    assert fit.classification().table.to_numpy().sum() == 1934
    assert fit.classification().table.dtypes.astype(str).tolist() == ["int64", "int64"]
    for verb in (fit.auc, fit.classification):
        with pytest.raises(FitError, match="no distribution to draw from"):
            verb(interval="bootstrap")
        with pytest.raises(FitError, match="a GEE has no group effects"):
            verb(estimand="conditional")


def test_hypotheses(fit):
    b, V = fit.fixef(), fit.vcov()
    found = fit.hypothesis("livch[3+] - livch[1] > 0")
    error = np.sqrt(
        V.loc["livch[3+]", "livch[3+]"] + V.loc["livch[1]", "livch[1]"] - 2 * V.loc["livch[3+]", "livch[1]"]
    )
    assert found.estimate[0] == pytest.approx(b["livch[3+]"] - b["livch[1]"])
    assert found.std_error[0] == pytest.approx(error)
    assert found.p_value[0] == pytest.approx(norm.sf(found.estimate[0] / error))
    terms = ["livch[1]", "livch[2]", "livch[3+]"]
    joint = fit.hypothesis([f"{term} = 0" for term in terms], joint=True)
    statistic = b[terms] @ np.linalg.solve(V.loc[terms, terms], b[terms])
    assert joint.statistic[0] == pytest.approx(statistic)
    assert joint.p_value[0] == pytest.approx(chi2.sf(statistic, 3))
    on_f = fit.hypothesis([f"{term} = 0" for term in terms], joint=True, df="clusters")
    assert on_f.p_value[0] == pytest.approx(f_distribution.sf(statistic / 3, 3, 54))
    one = fit.hypothesis("age = 0", df="clusters")
    assert one.p_value[0] == pytest.approx(fit.table(df="clusters").p_value[1])
    table = fit.table()
    assert fit.hypothesis("alpha = 0").std_error[0] == pytest.approx(table.std_error[7])
    assert fit.hypothesis("scale = 1").estimate[0] == pytest.approx(table.estimate[6] - 1.0)


def test_hypotheses_of_correlations(models):
    model, ids, time = models["ohio"]
    fit = model.fit_gee(ids, "unstructured", time=time)
    alpha, V = fit.solution.alpha, fit.solution.joint[5:, 5:]
    found = fit.hypothesis(["alpha(-2, -1) = alpha(-1, 0)", "alpha(-1, 0) = alpha(0, 1)"])
    assert found.estimate[0] == pytest.approx(alpha[0] - alpha[3])
    assert found.std_error[0] == pytest.approx(np.sqrt(V[0, 0] + V[3, 3] - 2 * V[0, 3]))
    mixed = "age = alpha(-2, -1)"
    assert np.isfinite(fit.hypothesis(mixed).std_error[0])
    with pytest.raises(FitError, match='whose covariance is robust: fit with se="robust"'):
        model.fit_gee(ids, "unstructured", time=time, se="naive").hypothesis(mixed)
    with pytest.raises(FitError, match="degrees of freedom are of fixed effects"):
        fit.hypothesis("alpha(-2, -1) = 0", df="clusters")
    with pytest.raises(FitError, match=r'gee has no standard errors of scale and correlations; .*"yan_fine"'):
        model.fit_gee(ids, flavour="gee").hypothesis("alpha = 0")
    with pytest.raises(FitError, match="the scale was given, not estimated"):
        model.fit_gee(ids, scale=1.0).hypothesis("scale = 1")


def test_working_correlations_are_labelled(models):
    model, ids, time = models["ohio"]
    fit = model.fit_gee(ids, "unstructured", time=time)
    R = fit.working_correlation()
    assert list(R.index) == list(R.columns) == ["-2", "-1", "0", "1"]
    assert R.loc["-2", "0"] == fit.table().estimate[6] == R.loc["0", "-2"]
    assert fit.table().term[5:7].tolist() == ["-2,-1", "-2,0"]
    np.testing.assert_array_equal(np.diag(R), 1.0)
    ar = model.fit_gee(ids, "ar1", time=time)
    assert ar.working_correlation().loc["-2", "1"] == pytest.approx(ar.solution.alpha[0] ** 3)
    same_for_all = model.fit_gee(ids).working_correlation()
    assert same_for_all.loc["1", "4"] == pytest.approx(same_for_all.loc["2", "3"])
    np.testing.assert_array_equal(model.fit_gee(ids, "independence").working_correlation(), np.eye(4))


def test_correlations_of_clusters_too_large_to_write_out(contraception):
    fit = Model("use ~ age", contraception).fit_gee("urban")
    assert fit.solution.sizes[2] > 1000
    with pytest.raises(FitError, match="too many to write their correlations out"):
        fit.working_correlation()
    assert "Working correlation" not in fit.summary()


def test_a_fixed_matrix_may_stand_for_its_name(models):
    model, ids, time = models["ohio"]
    matrix = pd.DataFrame(REFERENCE["given"])
    same(model.fit_gee(ids, matrix, time=time), model.fit_gee(ids, "fixed", time=time, matrix=REFERENCE["given"]))
    fit = model.fit_gee(ids, matrix, time=time)
    assert fit.options.corr == "fixed"
    assert fit.table().component.tolist()[4:] == ["scale"]
    np.testing.assert_array_equal(fit.working_correlation(), REFERENCE["given"])


def test_criteria_of_trials_count_every_trial(models):
    model, ids, _ = models["cbpp"]
    rows = model.data.loc[np.repeat(model.data.index, model.data["size"])]
    within = rows.groupby(level=0).cumcount()
    single = Model("one ~ period", rows.assign(one=(within < rows.incidence).astype(int)))
    grouped, split = model.fit_gee(ids, "independence").qic(), single.fit_gee(ids, "independence").qic()
    assert grouped.quasi_loglik == pytest.approx(split.quasi_loglik)
    assert grouped.qicu == pytest.approx(split.qicu)


def test_the_scale_of_criteria(models):
    model, ids, _ = models["sleep"]
    fit = model.fit_gee(ids)
    plain, scaled = fit.qic(), fit.qic(scale=fit.solution.scale)
    assert scaled.quasi_loglik == pytest.approx(plain.quasi_loglik / fit.solution.scale)
    assert scaled.cic == plain.cic
    assert scaled.qic == pytest.approx(-2 * scaled.quasi_loglik + 2 * scaled.cic)
    with pytest.raises(FitError, match="scale should be a number above 0"):
        fit.qic(scale=0)


def test_refits_are_made_in_the_same_way(models):
    model, ids, time = models["gaps"]
    fit = model.fit_gee(ids, "ar1", time=time, se="kauermann_carroll", flavour="geepack")
    again = fit.refit(model.data.resp)
    pd.testing.assert_frame_equal(again.table(), fit.table())
    assert again.options == fit.options
    other = model.with_response(1 - model.data.resp).fit_gee(ids, "ar1", time=time)
    np.testing.assert_allclose(other.fixef(), -fit.fixef(), rtol=1e-6, atol=1e-9)


def test_nothing_can_be_drawn(fit):
    for ask in (lambda: fit.simulate(seed=1), lambda: fit.residuals("simulated", seed=1)):
        with pytest.raises(FitError, match=r"not their distribution: nothing can be drawn .* fit_ml\(\) or sample\(\)"):
            ask()


@pytest.mark.parametrize("name", ["loglik", "aic", "aicc", "bic", "deviance", "null_deviance"])
def test_there_is_no_likelihood(fit, name):
    with pytest.raises(FitError, match=r"a GEE has no likelihood, .*; use fit\.qic\(\)"):
        getattr(fit, name)


def test_comparisons_call_it_what_it_is(fit, contraception):
    ml = Model("use ~ urban + (1 | district)", contraception).fit_ml()
    for verb, instead in ((bm.anova, r"by fit\.hypothesis\(\)"), (bm.compare, r"compare the qic\(\) of each")):
        for fits in ((fit,), (ml, fit), (fit, ml)):
            with pytest.raises(bm.ComparisonError, match=rf"is a GEE, which has (no|neither a) likelihood.*{instead}"):
                verb(*fits)


@pytest.mark.parametrize("name", ["ranef", "varcorr", "icc", "mor", "r2"])
def test_there_are_no_group_effects(fit, name):
    with pytest.raises(FitError, match=r"a GEE has no group effects, .*fit_ml\(\)"):
        getattr(fit, name)()
    with pytest.raises(FitError, match=r'row "scale" of fit\.table'):
        fit.dispersion()


def test_a_fit_survives_its_file(models):
    model, ids, time = models["ohio"]
    for fit in (
        model.fit_gee(ids, "unstructured", time=time, se="fay_graubard"),
        model.fit_gee(ids, "fixed", time=time, matrix=REFERENCE["given"], scale=1.0, flavour="gee"),
    ):
        again = GEEFit(model, *gee_from_json(gee_to_json(fit.options, fit.solution)))
        pd.testing.assert_frame_equal(again.table(), fit.table(), check_exact=True)
        assert again.summary() == fit.summary()
        pd.testing.assert_frame_equal(again.vcov("naive"), fit.vcov("naive"), check_exact=True)


def test_the_summary(models, fit):
    text = fit.summary()
    assert text.splitlines()[:5] == [
        "Generalised estimating equations, exchangeable working correlation",
        " Family: bernoulli (logit)",
        "Formula: use ~ age + urban + livch",
        "  Event: use = Y",
        "Number of obs: 1934, clusters: district, 60 of 2 to 118 rows",
    ]
    for part in ("QICu", "robust standard errors", "z value", "Scale and correlations", "Correlation of coefficients"):
        assert part in text
    assert "Working correlation" not in text
    assert "t value" in fit.summary(df="clusters")
    concise = fit.summary("concise")
    assert "QIC" not in concise
    assert "urban[Y]" in concise
    with pytest.raises(FitError, match='no summary style "ful"'):
        fit.summary("ful")
    model, ids, time = models["ohio"]
    text = model.fit_gee(ids, "unstructured", time=time, flavour="geepack", se="naive").summary()
    assert "(as R's geepack)" in text
    assert "naive standard errors" in text
    assert "Working correlation:\n" in text
    assert "alpha -2,-1" in text
    assert repr(fit) == "<GEEFit (exchangeable, district) m: use ~ age + urban + livch>"


def test_notes_on_what_geepack_does(models):
    binary, ids, _ = models["ohio"]
    said = " ".join(binary.fit_gee(ids, flavour="geepack").notes)
    assert "standard errors of scale and correlations are geepack's" in said
    trials, ids, _ = models["cbpp"]
    assert any("leaves trials and weights outside" in note for note in trials.fit_gee(ids, flavour="geepack").notes)
    assert not any("geepack" in note for note in trials.fit_gee(ids).notes)


def test_an_iteration_cut_short_says_so(models):
    model, ids, time = models["ohio"]
    fit = model.fit_gee(ids, "ar1", time=time, max_iter=2)
    assert not fit.converged
    assert not fit.diagnostics().ok
    assert any("had not converged after 2 steps" in note for note in fit.notes)
    assert "had not converged" in fit.diagnostics().verdict


# bad input ----------------------------------------------------------------------------------------------------------------

REFUSED = {
    "corr": ({"corr": "exchangable"}, 'no working correlation "exchangable"; did you mean "exchangeable"'),
    "se": ({"se": "sandwich"}, 'no covariance "sandwich"; there are: robust'),
    "flavour": ({"flavour": "sas"}, 'no flavour "sas"'),
    "groups": ({"groups": "distirct"}, 'groups: the data have no column "distirct"; did you mean "h"|no column'),
    "cross": ({"groups": "g:nothing"}, 'groups: the data have no column "nothing"'),
    "array": ({"groups": [1, 2]}, "groups should be the name of a column, not a list"),
    "time": ({"corr": "ar1", "time": "when"}, 'time: the data have no column "when"'),
    "text": ({"corr": "ar1", "time": "f"}, 'time: column "f" holds text, whose order is not known'),
    "order": ({"corr": "ar1"}, 'corr="ar1" needs the order within a cluster: give time='),
    "visits": ({"corr": "unstructured"}, r"rows, and corr=\"unstructured\" needs to know which visit each row is: give time="),
    "twice": ({"corr": "ar1", "time": "n"}, 'h "1" has more than one row at n 4'),
    "one": ({"groups": "constant"}, "one cluster only"),
    "each": ({"groups": "row"}, 'every cluster of "row" has one row'),
    "scale": ({"scale": -1.0}, "scale should be a number above 0, or None, not -1.0"),
    "tol": ({"tol": "tight"}, "tol should be a number above 0, or None, not 'tight'"),
    "max_iter": ({"max_iter": 0}, "max_iter should be 1 or more"),
    "no matrix": ({"corr": "fixed"}, 'corr="fixed" needs the correlations: give matrix='),
    "matrix": ({"matrix": np.eye(2)}, 'matrix= is for corr="fixed"'),
    "two matrices": ({"corr": np.eye(2), "matrix": np.eye(2)}, "given twice"),
    "flat": ({"corr": [1.0, 0.5]}, r"square matrix, not of shape \(2,\)"),
    "words": ({"corr": [["a", "b"], ["c", "d"]]}, "a square matrix of numbers"),
    "oblong": ({"corr": np.ones((2, 3))}, r"square matrix, not of shape \(2, 3\)"),
    "skew": ({"corr": [[1.0, 0.5], [0.4, 1.0]]}, "not symmetric: 0.5 in row 1, column 2, and 0.4 in row 2, column 1"),
    "diagonal": ({"corr": 2.0 * np.eye(2)}, "ones on its diagonal"),
    "missing": ({"corr": [[1.0, np.nan], [np.nan, 1.0]]}, "missing or infinite"),
    "indefinite": ({"corr": [[1.0, 2.0], [2.0, 1.0]]}, "the fixed correlation is not positive definite"),
    "size": ({"corr": np.eye(2), "time": "row"}, r"2 × 2, and the clusters have 120 visits \(0, 1, "),
    "many": ({"corr": "unstructured", "time": "row"}, "120 visits have 7140 correlations, more than the 8 clusters can tell"),
    "missing id": ({"groups": "holes"}, r'groups: column "holes" is missing in row 3 \(counting from 0\)'),
    "missing time": ({"corr": "ar1", "time": "gaps"}, 'time: column "gaps" is missing in row 4'),
    "endless time": ({"corr": "ar1", "time": "endless"}, 'time: column "endless" has infinite values'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_a_sentence(case, toy):
    keywords, said = REFUSED[case]
    data = toy.assign(
        constant="a", row=np.arange(120), holes=np.where(np.arange(120) == 3, None, "a"),
        gaps=np.where(np.arange(120) == 4, np.nan, 1.0), endless=np.where(np.arange(120) == 5, np.inf, 1.0),
    )  # fmt: skip
    with pytest.raises(BayesmlmError, match=said) as error:
        Model("y ~ x", data).fit_gee(**({"groups": "h"} | keywords))
    assert "\n" not in str(error.value)


def test_visits_that_never_meet(models):
    model, ids, time = models["ohio"]
    apart = model.data[(model.data[ids] % 2 == 0) == (model.data.age < 0)]
    with pytest.raises(FitError, match="no cluster has both visit -2 and visit 0"):
        Model("resp ~ smoke", apart).fit_gee(ids, "unstructured", time=time)


def test_models_without_a_solution(toy):
    for formula, term in (("above ~ x", "x"), ("above ~ x + f", "x")):
        with pytest.raises(NoMaximumError, match=f"no finite solution: {term} separates the responses") as error:
            Model(formula, toy.assign(above=(toy.x > 0).astype(int))).fit_gee("h")
        assert error.value.terms == (term,)
    for family in ("bernoulli", "poisson"):
        with pytest.raises(NoMaximumError, match="the response is constant: 0 in every row"):
            Model("never ~ x", toy.assign(never=0), family=family).fit_gee("h")
    with pytest.raises(FitError, match="no fixed effects"):
        Model("y ~ 0 + (1 | h)", toy).fit_gee()
    with pytest.raises(FitError, match="the fitted values are the responses themselves"):
        Model("double ~ x", toy.assign(double=2.0 * toy.x), "gaussian").fit_gee("h")


def test_an_almost_certain_level_is_no_separation(toy):
    """A level of one kind of answer separates; an unlikely one does not."""
    rare = (np.arange(120) % 40 == 0).astype(int)
    assert np.isfinite(Model("rare ~ x", toy.assign(rare=rare)).fit_gee("h").table().std_error[:2]).all()
    level = np.where(toy.y == 1, "yes", np.where(np.arange(120) % 2, "a", "b"))
    with pytest.raises(NoMaximumError, match=r"level\[yes\]"):
        Model("y ~ level", toy.assign(level=level)).fit_gee("h")


def test_corrections_that_are_not_defined(toy, models):
    one = toy.assign(only=(toy.h == 3).astype(float))
    model = Model("z ~ x + only", one, "gaussian")
    for kind in ("mancl_derouen", "kauermann_carroll"):
        with pytest.raises(FitError, match="told by one cluster alone"):
            model.fit_gee("h", "independence", se=kind)
    assert np.isfinite(model.fit_gee("h", "independence", se="fay_graubard").table().std_error).all()
    # A scale far off makes geepack's correlation larger than 1, whose leverages are no shares.
    epilepsy, ids, _ = models["epilepsy"]
    with pytest.raises(FitError, match="not positive definite, and corrections for few clusters need that"):
        epilepsy.fit_gee(ids, scale=2.0, se="mancl_derouen")


def test_a_gee_of_unequal_gaps_needs_the_other_flavour(models):
    model, ids, time = models["gaps"]
    with pytest.raises(FitError, match='flavour="gee" has ar1 of visits one apart only'):
        model.fit_gee(ids, "ar1", time=time, flavour="gee")


def test_an_iteration_that_runs_off(models):
    """Where geepack does not come back either."""
    model, ids, time = models["epilepsy"]
    with pytest.raises(FitError, match="run off to infinity, away from those of the model without correlation"):
        model.fit_gee(ids, "unstructured", time=time)


def test_too_few_rows_for_what_gee_divides_by(toy):
    with pytest.raises(FitError, match="too few for a correlation beside 3 coefficients"):
        Model("z ~ x + w", toy[:6].assign(g=[0, 0, 1, 1, 2, 3]), "gaussian").fit_gee("g", flavour="gee")
    with pytest.raises(FitError, match="2 rows do not tell the scale beside 2 coefficients"):
        Model("z ~ x", toy[:2].assign(g=[0, 1]), "gaussian").fit_gee("g", "independence", flavour="gee")


def test_the_solution_of_data_is_the_functions(models):
    model, ids, _ = models["ohio"]
    direct = solve_gee(model.design, model.data, Options(ids))
    np.testing.assert_array_equal(direct.beta, model.fit_gee(ids).fixef())


def test_missing_times_are_data_errors(toy):
    with pytest.raises(DataError):
        Model("y ~ x", toy.assign(t=np.nan)).fit_gee("h", "ar1", time="t")


def test_fewer_clusters_than_coefficients(toy):
    fit = Model("z ~ x + f + w + o", toy, "gaussian").fit_gee("g")
    assert fit.solution.sizes[0] == 6 == len(fit.design.terms)
    assert any("6 clusters and 6 coefficients: the robust covariance has not full rank" in note for note in fit.notes)
    with pytest.raises(FitError, match="6 clusters and 6 coefficients leave no degrees of freedom"):
        fit.table(df="clusters")


def test_neighbours_that_differ_have_no_power_at_other_units():
    """Counted by visits their correlation is negative; at times of another unit a negative one has no powers."""
    visit = np.tile(np.arange(6), 20)
    signs = np.where(visit % 2, 1.0, -1.0) + np.random.default_rng(5).normal(0.0, 0.5, 120)
    data = pd.DataFrame({"y": signs, "id": np.repeat(np.arange(20), 6), "visit": visit, "hours": 1.5 * visit})
    model = Model("y ~ 1", data, "gaussian")
    assert model.fit_gee("id", "ar1", time="visit").solution.alpha[0] < -0.5
    with pytest.raises(FitError, match="no correlation of neighbours that is above 0"):
        model.fit_gee("id", "ar1", time="hours")
