"""Leave one row, one group or one fold out: against ArviZ, against brute force, and in words."""

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit, logsumexp

import bayesmlm as bm
from bayesmlm.cross_validation.draws import parameter_draws
from bayesmlm.cross_validation.folds import folds_of
from bayesmlm.cross_validation.refits import densities_without, design_of_rows, log_mean, model_of_rows
from bayesmlm.cross_validation.unit_density import unit_log_likelihood
from bayesmlm.cross_validation.units import units_of


@pytest.fixture(scope="module")
def data():
    return bm.load_dataset("contraception")


@pytest.fixture(scope="module")
def cbpp():
    model = bm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", bm.load_dataset("cbpp"), name="cbpp")
    return model.sample(draws=1000, chains=4, seed=3)


@pytest.fixture(scope="module")
def urban(data):
    return bm.Model("use ~ urban + (1 | district)", data, name="urban").sample(draws=200, chains=2, seed=1)


@pytest.fixture(scope="module")
def parts(data):
    return bm.Model("use ~ urban + (1 | urban:district)", data, name="parts").sample(draws=200, chains=2, seed=1)


@pytest.fixture(scope="module")
def urban_loo(urban):
    return bm.loo(urban)


def density(fit, group, given=(), points=None):
    return unit_log_likelihood(fit.design, parameter_draws(fit), units_of(fit.model, group, given), points)


# the integrals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "family", "points"),
    [
        ("y ~ x + (1 | g)", "bernoulli", 41),
        ("y ~ x + (x | g)", "bernoulli", 15),
        ("s / n ~ x + (1 | g)", "binomial", 41),
        ("count ~ x + (1 | g)", "poisson", 41),
    ],
)
def test_groups_add_up_to_the_likelihood_by_quadrature(toy, formula, family, points):
    fit = bm.Model(formula, toy, family=family).fit_ml(n_agq=points)
    found = density(fit, "g")
    # Both are within the quadrature's own error of the integral, which the ladder of points keeps below 1e-3 a group.
    assert found.values.sum() == pytest.approx(fit.loglik, abs=6 * 1e-3)
    assert found.error < 1e-3
    assert density(fit, "g", points=points).values.sum() == pytest.approx(fit.loglik, abs=1e-8)


def test_weights_offsets_and_links_are_kept(toy):
    model = bm.Model("s / n ~ x + (1 | g)", toy, family="binomial", link="probit", offset="o", freq="reps")
    fit = model.fit_ml(n_agq=25)
    assert density(fit, "g", points=25).values.sum() == pytest.approx(fit.loglik, abs=1e-8)


@pytest.mark.parametrize("formula", ["z ~ x + (1 | g)", "z ~ x + (x | g)", "z ~ x + (x || g)", "z ~ x + (1 | h/f)"])
def test_gaussian_groups_add_up_to_the_likelihood(toy, formula):
    fit = bm.Model(formula, toy, family="gaussian", weights="w").fit_ml()
    outer = "h" if "h/f" in formula else "g"
    assert density(fit, outer).values.sum() == pytest.approx(fit.loglik, abs=1e-8)


def test_nested_groups_against_a_grid(data):
    """A double integral on 241 × 241 points, district by district: such sums converge exponentially."""
    fit = bm.Model("use ~ age + (1 | district/urban)", data).fit_ml()
    draws, design = parameter_draws(fit), fit.design
    found = density(fit, "district", points=9).values[0]
    x = np.linspace(-9.0, 9.0, 241)
    log_weight = np.log(x[1] - x[0]) - 0.5 * x**2 - 0.5 * np.log(2.0 * np.pi)
    outer, inner = (float(factor[0, 0, 0]) for factor in draws.factors)
    for district in (0, 10, 33, 59):
        rows = design.groups[0].codes == district
        eta, y, cell = (design.X @ draws.beta[0])[rows], design.response.y[rows], design.groups[1].codes[rows]
        total = log_weight.copy()
        for one in np.unique(cell):
            at = eta[cell == one][:, None, None] + outer * x[:, None] + inner * x
            loglik = (y[cell == one][:, None, None] * at - np.logaddexp(0.0, at)).sum(axis=0)
            total += logsumexp(loglik + log_weight, axis=1)
        assert found[district] == pytest.approx(logsumexp(total), abs=1e-6)


def test_an_inner_group_is_predicted_given_the_outer_one(data):
    """With the district's effect known the cells are independent, and their integrals are of one effect."""
    fit = bm.Model("use ~ age + (1 | district/urban)", data, name="both").fit_ml()
    units = units_of(fit.model, "urban:district")
    assert (units.within, units.given) == ((1,), (0,))
    found = unit_log_likelihood(fit.design, parameter_draws(fit), units, 25).values[0]
    design, draws = fit.design, parameter_draws(fit)
    known = draws.effects[0][0, design.groups[0].codes, 0]
    alone = bm.Model("use ~ age + (1 | urban:district)", data, offset=known)
    from bayesmlm.laplace.agq import gauss_hermite, integrate

    group = alone.design.groups[0]
    order = np.argsort(group.codes, kind="stable")
    starts = np.searchsorted(group.codes[order], np.arange(group.n_levels + 1))
    fixed = (design.X @ draws.beta[0] + known)[order]
    one = np.ones(len(order))
    total, _, ok = integrate(
        0, starts, design.response.y[order], one, one, fixed, float(draws.factors[1][0, 0, 0]), *gauss_hermite(25),
        np.zeros(group.n_levels), np.ones(group.n_levels), np.empty(len(order)),
    )  # fmt: skip
    assert ok
    assert found.sum() == pytest.approx(total, abs=1e-8)


def test_a_model_without_groups_of_the_unit_multiplies_its_rows(data):
    fit = bm.Model("use ~ age + urban", data).fit_ml()
    found = density(fit, "district")
    assert (found.points, found.error) == (0, 0.0)
    assert found.values.sum() == pytest.approx(fit.loglik, abs=1e-9)


def test_two_bars_of_one_grouping_are_integrated_together(toy):
    apart = bm.Model("y ~ x + (x || g)", toy).fit_ml()
    found = density(apart, "g", points=9).values[0]
    design, draws = apart.design, parameter_draws(apart)
    x, w = np.polynomial.hermite_e.hermegauss(60)
    log_weight = np.log(w / w.sum())
    first, second = (float(factor[0, 0, 0]) for factor in draws.factors)
    rows = design.groups[0].codes == 2
    eta = (
        (design.X @ draws.beta[0])[rows][:, None, None]
        + first * x[:, None]
        + second * toy.x.to_numpy()[rows][:, None, None] * x
    )
    loglik = (design.response.y[rows][:, None, None] * eta - np.logaddexp(0.0, eta)).sum(axis=0)
    assert found[2] == pytest.approx(logsumexp(loglik + log_weight[:, None] + log_weight), abs=1e-5)


# leave one row out ------------------------------------------------------------------------------------------------


def test_loo_is_arvizs_own_on_the_same_draws(cbpp):
    own = bm.loo(cbpp)
    with pytest.warns(UserWarning, match="shape parameter of Pareto distribution"):
        theirs = az.loo(cbpp.to_arviz(), pointwise=True)
    np.testing.assert_array_equal(own.elpd_i, theirs.elpd_i)
    np.testing.assert_array_equal(own.pareto_k, theirs.pareto_k)
    assert [own.elpd, own.se, own.p] == pytest.approx([theirs.elpd, theirs.se, theirs.p], rel=1e-12)
    assert own.predicts == "new answers of known groups"


def test_bad_weights_are_said_matched_and_refitted(cbpp):
    """Two herds have a row that their posterior depends on; matching and refitting agree about both."""
    plain, matched, refitted = (bm.loo(cbpp, repair=repair) for repair in (None, "match", "refit"))
    bad = np.flatnonzero(plain.pareto_k > plain.good_k)
    assert plain.bad_k == plain.still_bad == len(bad) == 2
    assert f"2 of 56 rows have k̂ above 0.70, the largest {plain.pareto_k.max():.2f}" in plain.notes[0]
    assert 'ask for repair="match" or "refit"' in plain.notes[1]
    assert (matched.matched, matched.still_bad) == (2, 0)
    assert "Moment matching mended 2 of 2." in matched.notes
    assert (refitted.refitted, refitted.still_bad) == (2, 0)
    assert np.isnan(refitted.pareto_k[bad]).all()
    others = np.delete(np.arange(56), bad)
    for repaired in (matched, refitted):
        np.testing.assert_array_equal(repaired.elpd_i[others], plain.elpd_i[others])
    # Both carry Monte-Carlo error: a few hundredths at 4,000 draws and k̂ near 0.5.
    np.testing.assert_allclose(matched.elpd_i[bad], refitted.elpd_i[bad], atol=0.2)
    assert np.abs(plain.elpd_i[bad] - refitted.elpd_i[bad]).min() > 0.2


def test_moment_matching_takes_correlated_slopes_and_residuals(toy):
    fit = bm.Model("z ~ x + (x | g)", toy, family="gaussian", name="line").sample(draws=200, chains=2, seed=1)
    from bayesmlm.cross_validation.moments import matched

    tree = fit.to_arviz()
    elpd = az.loo(tree, pointwise=True)
    worst = int(np.argmax(elpd.pareto_k.to_numpy()))
    elpd.pareto_k[worst] = 0.9  # as if it were bad: the log-densities the matching starts from are then checked
    found = matched(fit, tree, elpd)
    assert found.pareto_k[worst] < 0.7
    assert float(found.elpd_i[worst]) == pytest.approx(float(elpd.elpd_i[worst]), abs=0.3)


# leave one group out ----------------------------------------------------------------------------------------------


def test_a_group_is_left_out_by_its_integrated_likelihood(urban, urban_loo):
    result = bm.leave_one_group_out(urban)
    assert (result.predicts, result.unit, len(result.labels)) == ("a new district", "district", 60)
    tree = urban.to_arviz(log_likelihood=False)
    values = density(urban, "district").values.reshape(2, 200, 60)
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"district": (("chain", "draw", "unit"), values)}))
    theirs = az.loo(tree, pointwise=True)
    np.testing.assert_allclose(result.elpd_i, theirs.elpd_i, rtol=1e-12)
    assert result.table().columns.tolist() == ["district", "rows", "elpd", "p", "k"]
    assert result.table()["rows"].sum() == 1934
    assert "points per column; more of them change no group's log-likelihood by more than" in result.notes[-1]
    # A new district is harder to predict than one more woman of a known one.
    assert result.elpd < urban_loo.elpd - 5.0


def test_what_is_predicted_is_named(data):
    both = bm.Model("use ~ age + (1 | district/urban)", data, name="both").sample(draws=50, chains=2, seed=1)
    assert bm.leave_one_group_out(both).predicts == "a new district"
    inner = bm.leave_one_group_out(both, "urban:district")
    assert inner.predicts == "a new urban:district of a known district"


def test_a_crossed_grouping_is_refused_or_taken_as_known(toy):
    model = bm.Model("y ~ x + (1 | g) + (1 | h)", toy, name="crossed")
    fit = model.sample(draws=400, chains=1, seed=1, method="marginal")
    with pytest.raises(
        bm.FitError, match=r'g and h cross.*bm\.kfold\(fit, group="g"\), or take the effects of h as known'
    ):
        bm.leave_one_group_out(fit, "g")
    with pytest.raises(bm.FitError, match=r'do not lie within one of them: say which, group="\.\.\."'):
        bm.leave_one_group_out(fit)
    known = bm.leave_one_group_out(fit, "g", given="h")
    assert known.predicts == "a new g, h known"
    refitted = bm.kfold(fit, folds=6, group="g")
    assert refitted.predicts == "a new g, h known"
    # Both estimate one quantity, the first by weights of 400 draws.
    np.testing.assert_allclose(known.elpd_i, refitted.elpd_i, atol=0.5)


def test_groups_three_deep_are_refused(toy):
    frame = toy.assign(k=np.arange(len(toy)) // 2)
    fit = bm.Model("count ~ x + (1 | g/h/k)", frame, family="poisson").fit_map()
    with pytest.raises(bm.FitError, match="two of which one lies in the other"):
        density(fit, "g")


# folds --------------------------------------------------------------------------------------------------------------


def test_folds_of_a_likelihood_against_refits_by_hand(data):
    """The model fitted to the other districts by its formula, and each left-out district integrated over its effect."""
    fit = bm.Model("use ~ urban + (1 | district)", data, name="urban").fit_ml()
    result = bm.kfold(fit, folds=3, group="district", seed=5)
    codes = fit.design.groups[0].codes
    fold = folds_of(60, 3, 5)[0]
    again = bm.Model("use ~ urban + (1 | district)", data[~np.isin(codes, fold)]).fit_ml()
    beta, sd = again.fixef().to_numpy(), float(again.varcorr().sd[0])
    x, w = np.polynomial.hermite_e.hermegauss(80)
    for district in fold[:6]:
        rows = codes == district
        p = expit((fit.design.X[rows] @ beta)[:, None] + sd * x)
        y = fit.design.response.y[rows][:, None]
        expected = np.log((np.prod(np.where(y == 1.0, p, 1.0 - p), axis=0) @ w) / w.sum())
        assert result.elpd_i[district] == pytest.approx(expected, abs=2e-3)
    assert (result.method, result.predicts, result.refitted) == ("kfold", "a new district", 60)
    assert "each time without one fold of 20 groups of district" in result.notes[0]


def test_a_fold_that_takes_a_group_whole_leaves_it_its_prior(urban):
    """Rows of a district that the refit has not seen are predicted with effects from the distribution of effects."""
    rows = urban.design.groups[0].codes != 0
    again = model_of_rows(urban.model, rows).sample(draws=1000, chains=2, seed=1)
    effects = again.to_arviz(log_likelihood=False)["posterior"]["ranef_district"].to_numpy()[..., 0, 0].ravel()
    sd = again.to_arviz(log_likelihood=False)["posterior"]["sd_district"].to_numpy().ravel()
    # Standardised by their own draw's standard deviation they are standard normal: 4 Monte-Carlo errors of 2,000 draws.
    assert abs((effects / sd).mean()) < 0.1
    assert (effects / sd).std() == pytest.approx(1.0, abs=0.08)


def test_rows_in_folds_are_predicted_given_their_groups(urban, urban_loo):
    result, weighed = bm.kfold(urban, folds=5, method="marginal"), urban_loo
    assert (result.predicts, result.unit) == (weighed.predicts, "row")
    # The same quantity from other splits of the data; 8 is four of its standard errors between fold assignments.
    assert result.elpd == pytest.approx(weighed.elpd, abs=8.0)


def test_another_method_fits_the_folds(urban):
    result = bm.kfold(urban, folds=2, group="district", method="ml")
    by_ml = bm.kfold(urban.model.fit_ml(), folds=2, group="district")
    np.testing.assert_allclose(result.elpd_i, by_ml.elpd_i, atol=2e-3)  # quadrature points may differ
    assert np.isnan(result.p)


def test_refits_keep_the_priors_and_the_scaling(urban):
    few = design_of_rows(urban.design, urban.design.X[:, 1] == 1.0)
    assert few.priors is urban.design.priors
    assert few.scaling is urban.design.scaling
    assert few.groups[0].levels == urban.design.groups[0].levels


# comparing ----------------------------------------------------------------------------------------------------------


def test_comparison_by_loo_is_arvizs(toy):
    formulas = {"g": "y ~ x + (1 | g)", "h": "y ~ x + (1 | h)", "f": "y ~ f + (1 | h)"}
    fits = [bm.Model(formula, toy, name=name).sample(draws=500, chains=2, seed=1) for name, formula in formulas.items()]
    own = bm.compare(*fits)
    theirs = az.compare({fit.name: fit.to_arviz() for fit in fits}, round_to="none")
    assert own.model.tolist() == list(theirs.index)
    for column in ("elpd", "se", "p", "elpd_diff", "dse", "weight"):
        np.testing.assert_allclose(own[column], theirs[column], rtol=1e-6, atol=1e-6)
    assert own.attrs["predicts"] == "new answers of known groups"


def test_comparison_by_groups_left_out(urban, parts, data):
    table = bm.compare(urban, parts, by="logo", group="district")
    assert table.columns.tolist() == ["model", "rank", "elpd", "se", "p", "elpd_diff", "dse", "weight", "bad_k"]
    results = {fit.name: bm.leave_one_group_out(fit, "district") for fit in (urban, parts)}
    difference = results[table.model[1]].elpd_i - results[table.model[0]].elpd_i
    assert table.elpd_diff[1] == pytest.approx(difference.sum())
    assert table.dse[1] == pytest.approx(np.sqrt(60) * difference.std(), rel=1e-6)
    assert table.weight.sum() == pytest.approx(1.0)
    assert table.attrs["predicts"] == "a new district"
    pd.testing.assert_frame_equal(table, bm.compare(*results.values()))
    with pytest.raises(
        bm.ComparisonError, match=r'groups of district and urban:district: say which .* group="district"'
    ):
        bm.compare(urban, parts, by="logo")


def test_large_groups_have_weights_too():
    """Densities of −900 are 0 as numbers, and have been no weight to stacking."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": np.repeat(np.arange(4), 1500), "x": rng.normal(size=6000)})
    frame["y"] = rng.binomial(1, expit(0.8 * frame.x))
    fits = [bm.Model(f"y ~ {x} + (1 | g)", frame, name=x).fit_ml() for x in ("x", "1")]
    table = bm.compare(*(bm.kfold(fit, folds=4, group="g") for fit in fits))
    assert table.model[0] == "x"
    assert table.weight[0] == pytest.approx(1.0, abs=1e-4)
    assert (table.elpd < -3000).all()


def test_what_cannot_be_compared_is_refused(urban, parts, urban_loo, data):
    rows, groups = urban_loo, bm.leave_one_group_out(parts, "district")
    with pytest.raises(bm.ComparisonError, match="urban predicts new answers of known groups and parts a new district"):
        bm.compare(rows, groups)
    folds = bm.kfold(parts.model.fit_ml(), folds=2, group="district")
    with pytest.raises(bm.ComparisonError, match="was cross-validated by logo and parts by kfold"):
        bm.compare(bm.leave_one_group_out(urban), folds)
    with pytest.raises(bm.ComparisonError, match="some of these are fits and some results"):
        bm.compare(urban, rows)
    with pytest.raises(bm.ComparisonError, match='results of loo, which cannot be compared by="logo"'):
        bm.compare(rows, by="logo")
    few = bm.Model("use ~ age + (1 | district)", data.iloc[:200], name="few").sample(draws=50, chains=2, seed=1)
    with pytest.raises(bm.ComparisonError, match="urban was fitted to 1934 rows and few to 200"):
        bm.compare(rows, bm.loo(few))
    with pytest.raises(bm.ComparisonError, match="to leave out groups of district ask for"):
        bm.compare(urban, by="loo", group="district")
    with pytest.raises(bm.ComparisonError, match="leave-one-group-out needs draws"):
        bm.compare(urban.model.fit_ml(), by="logo")


# bad input --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_left_out_is_refused_in_one_sentence(urban, data):
    ml = urban.model.fit_ml()
    for verb in (bm.loo, bm.leave_one_group_out):
        with pytest.raises(
            bm.FitError, match="reweights the draws of a posterior, and urban is a likelihood without any"
        ):
            verb(ml)
    with pytest.raises(bm.FitError, match="a posterior mode without any"):
        bm.loo(urban.model.fit_map())
    gee = urban.model.fit_gee()
    with pytest.raises(bm.FitError, match=r"urban is a GEE without any: sample the model$"):
        bm.loo(gee)
    with pytest.raises(bm.FitError, match="urban is a GEE, which gives no probability to answers left out"):
        bm.kfold(gee, group="district")
    for verb in (bm.loo, bm.leave_one_group_out, bm.kfold):
        with pytest.raises(bm.FitError, match=r"takes fits, such as model\.fit_ml\(\) gives, not 3"):
            verb(3)
    with pytest.raises(bm.FitError, match='no grouping or column "distric" in the data; did you mean "district"'):
        bm.leave_one_group_out(urban, "distric")
    with pytest.raises(bm.FitError, match="61 folds of 60 groups of district: ask for 60 at most"):
        bm.kfold(ml, folds=61, group="district")
    with pytest.raises(bm.FitError, match="folds should be 2 or more"):
        bm.kfold(ml, folds=1, group="district")
    with pytest.raises(bm.FitError, match="a fit by ml has no draws of the effects of district"):
        bm.kfold(ml)
    with pytest.raises(bm.FitError, match='no method "nut" to fit again by; did you mean "nuts"'):
        bm.kfold(ml, group="district", method="nut")
    with pytest.raises(bm.FitError, match='there is no repair "mend"'):
        bm.loo(urban, repair="mend")
    with pytest.raises(bm.FitError, match='given: the model has no grouping "urban"'):
        bm.leave_one_group_out(urban, given="urban")
    plain = bm.Model("use ~ age", data.iloc[:300], name="plain").sample(draws=50, chains=2, seed=1)
    with pytest.raises(
        bm.FitError, match=r'no groups; name a column of its data to leave groups out by, group="\.\.\."'
    ):
        bm.leave_one_group_out(plain)
    assert bm.leave_one_group_out(plain, "district").predicts == "a new district"
    assert bm.loo(plain).predicts == "new answers"
    often = bm.Model("use ~ age + (1 | district)", data, freq=np.full(1934, 2.0), name="often")
    with pytest.raises(bm.FitError, match="leaving a row out would leave out a whole set of equal rows"):
        bm.loo(often.sample(draws=50, chains=2, seed=1))


def test_a_column_with_holes_groups_no_rows(data):
    frame = data.assign(part=np.where(np.arange(1934) % 7, 1.0, np.nan))
    fit = bm.Model("use ~ age", frame).fit_ml()
    with pytest.raises(bm.DataError, match='column "part" is missing in row 0'):
        bm.kfold(fit, folds=2, group="part")


# against brute force ------------------------------------------------------------------------------------------------


CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def check_against_refits(fit, group, count):
    """The bar of 0.05 is some four Monte-Carlo errors of both sides at 16,000 draws."""
    result = bm.leave_one_group_out(fit, group)
    chosen = np.linspace(0, len(result.labels) - 1, count).astype(int)
    left = densities_without(fit, units_of(fit.model, group), [np.array([one]) for one in chosen], None, 1, None)
    expected = np.array([log_mean(one.values)[0] for one in left])
    assert result.pareto_k[chosen].max() < 0.7
    np.testing.assert_allclose(result.elpd_i[chosen], expected, atol=0.05)


def test_left_out_herds_against_refits_without_them():
    fit = bm.Model(CBPP, bm.load_dataset("cbpp")).sample(draws=16_000, chains=1, seed=3, method="marginal")
    check_against_refits(fit, "herd", 15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "dataset", "group", "count"),
    [
        (CBPP, "cbpp", "herd", 15),
        ("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", "contraception", "urban:district", 20),
        ("use ~ age + (1 | district/urban)", "contraception", "district", 5),
    ],
    ids=["cbpp", "con_ud", "nested"],
)
def test_left_out_groups_against_chains_without_them(formula, dataset, group, count):
    fit = bm.Model(formula, bm.load_dataset(dataset)).sample(draws=4000, chains=4, seed=3)
    check_against_refits(fit, group, count)


@pytest.mark.slow
def test_processes_find_what_one_finds(data):
    fit = bm.Model("use ~ urban + (1 | district)", data, name="urban").fit_ml()
    one, two = (bm.kfold(fit, folds=4, group="district", workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.elpd_i, two.elpd_i)
