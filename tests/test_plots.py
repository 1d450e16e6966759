"""Figures by their content: what is drawn where, what the axes say, what is refused."""

import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesmlm as bm
from bayesmlm import plots
from bayesmlm.errors import DataError, FitError
from bayesmlm.plots.canvas import MARKERS, PALETTE
from bayesmlm.plots.chains import _independent_step

FORMULA = "use ~ age + I(age^2) + urban + livch + (1 | district)"


@pytest.fixture(scope="module")
def data():
    return bm.load_dataset("contraception")


@pytest.fixture(scope="module")
def model(data):
    return bm.Model(FORMULA, data, name="m_02")


@pytest.fixture(scope="module")
def ml(model):
    return model.fit_ml()


@pytest.fixture(scope="module")
def posterior(model):
    return model.sample(draws=80, tune=150, chains=2, seed=3)


@pytest.fixture(scope="module")
def gee(model):
    return model.fit_gee(groups="district")


@pytest.fixture(scope="module")
def slopes(toy):
    return bm.Model("y ~ x + (1 + x | g)", toy).fit_map()


def segments(ax):
    """Ends (x0, y0, x1, y1) of every line segment of the collections of axes."""
    return np.array([np.asarray(path).ravel() for item in ax.collections for path in item.get_segments()])


def drawn(figure):
    """Render, so that a warning of the layout becomes an error."""
    figure.draw_without_rendering()
    return figure


def altered(fit, diverging=None, shift=0.0):
    """The posterior with other divergences, or with the first chain's intercept shifted."""
    beta = fit.tree["posterior"]["beta"].to_numpy().copy()
    beta[0, :, 0] += shift
    stats = fit.tree["sample_stats"].to_dataset()
    if diverging is not None:
        stats = stats.assign(diverging=(("chain", "draw"), diverging))
    draws = fit.tree["posterior"].to_dataset().assign(beta=(("chain", "draw", "term"), beta))
    return replace(fit, tree=xr.DataTree.from_dict({"posterior": draws, "sample_stats": stats}))


def chains(fit, chains):
    """The posterior with only some of its chains."""
    pieces = {name: fit.tree[name].to_dataset().isel(chain=chains) for name in ("posterior", "sample_stats")}
    return replace(fit, tree=xr.DataTree.from_dict(pieces))


# group effects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["ml", "posterior"])
def test_caterpillar_shows_every_group_sorted_with_its_interval(which, request):
    fit = request.getfixturevalue(which)
    figure = drawn(plots.caterpillar(fit, level=0.8))
    (ax,) = figure.axes
    table = fit.table(level=0.8, ranef=True)
    rows = table[table.component == "ranef"].sort_values("estimate", kind="stable")
    assert [label.get_text() for label in ax.get_yticklabels()] == rows.level.tolist()
    points = np.concatenate([line.get_xydata() for line in ax.get_lines() if line.get_marker() == "o"])
    points = points[np.argsort(points[:, 1])]
    assert points[:, 0] == pytest.approx(rows.estimate.to_numpy())
    ends = segments(ax)
    ends = ends[np.argsort(ends[:, 1])]
    assert ends[:, [0, 2]] == pytest.approx(rows[["conf_low", "conf_high"]].to_numpy())
    assert ax.get_xlabel() == "deviation from the average district (log-odds)"
    assert "80 % intervals" in figure.get_suptitle()


def test_caterpillar_fills_the_groups_whose_interval_leaves_zero_out(ml):
    (ax,) = plots.caterpillar(ml).axes
    filled = next(line for line in ax.get_lines() if line.get_markerfacecolor() == PALETTE[0])
    table = ml.table(ranef=True)
    apart = table[(table.component == "ranef") & ((table.conf_low > 0) | (table.conf_high < 0))]
    assert sorted(filled.get_xdata()) == pytest.approx(sorted(apart.estimate))
    assert 0 < len(apart) < 60


def test_terms_of_one_grouping_share_an_order(toy):
    fit = bm.Model("y ~ x + (1 + x | g) + (1 | h)", toy).fit_ml()
    figure = drawn(plots.caterpillar(fit))
    assert [ax.get_title() for ax in figure.axes] == ["g: Intercept", "g: x", "h: Intercept"]
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in figure.axes]
    assert (len(names[0]), set(names[1]), len(names[2])) == (6, {""}, 8)
    effects = fit.ranef().set_index(["group", "term", "level"]).estimate
    for ax, term in zip(figure.axes, ["Intercept", "x"], strict=False):
        points = np.concatenate([line.get_xydata() for line in ax.get_lines() if line.get_marker() == "o"])
        points = points[np.argsort(points[:, 1])]
        assert points[:, 0] == pytest.approx([effects["g", term, level] for level in names[0]])
    assert [ax.get_ylabel() for ax in plots.caterpillar(fit, group="h").axes] == ["h"]


def test_of_very_many_groups_only_some_apart_from_zero_are_named():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(200), 12)
    eta = 1.5 * rng.normal(size=200)[g]
    frame = pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "g": g})
    fit = bm.Model("y ~ 1 + (1 | g)", frame).fit_ml()
    figure = drawn(plots.caterpillar(fit))
    (ax,) = figure.axes
    table = fit.table(ranef=True)
    apart = table[(table.component == "ranef") & ((table.conf_low > 0) | (table.conf_high < 0))]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert 0 < len(names) < len(apart)
    assert set(names) <= set(apart.level)
    assert np.diff(sorted(ax.get_yticks())).min() >= 4
    assert ax.get_ylabel().startswith("200 levels of g, sorted; named: some")
    assert figure.get_size_inches()[1] <= 7


def test_caterpillar_refuses_what_is_not_there(ml, data):
    with pytest.raises(FitError, match=r'no grouping "distric"; did you mean "district"'):
        plots.caterpillar(ml, group="distric")
    with pytest.raises(FitError, match="has no groups"):
        plots.caterpillar(bm.Model("use ~ age", data).fit_ml())
    with pytest.raises(FitError, match="level should lie between 0 and 1"):
        plots.caterpillar(ml, level=95)


# coefficients ---------------------------------------------------------------------------------------------


def test_coefficients_puts_the_readings_of_each_quantity_in_a_panel(ml, posterior):
    figure = drawn(plots.coefficients(ml, posterior))
    titles = [ax.get_title().replace("\n", " ") for ax in figure.axes]
    assert titles == [*ml.design.terms, "sd(Intercept | district)"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["ML", "posterior"]
    for place, fit in enumerate((ml, posterior)):
        table = fit.table()
        for ax, row in zip(figure.axes, table.itertuples(), strict=True):
            interval, point = ax.get_lines()[2 * place : 2 * place + 2]
            assert interval.get_xdata() == pytest.approx([row.conf_low, row.conf_high])
            assert point.get_xdata() == pytest.approx([row.estimate])
            assert point.get_ydata() == [place]
    assert "log-odds" in figure.get_supxlabel()
    assert "its own scale" in figure.get_supxlabel()


def test_coefficients_of_different_models_leave_gaps(ml, data):
    other = bm.Model("use ~ urban + (1 + urban | district)", data, name="slopes").fit_ml()
    figure = drawn(plots.coefficients(ml, other))
    panels = {ax.get_title().replace("\n", " "): ax for ax in figure.axes}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["m_02", "slopes"]
    in_age = [line for line in panels["age"].get_lines() if line.get_marker() in MARKERS]
    assert [line.get_ydata()[0] for line in in_age] == [0]
    assert "cor(Intercept,urban[Y] | district)" in panels


def test_zero_is_left_out_where_it_would_squeeze_the_intervals():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"y": rng.poisson(200, 400), "x": rng.normal(size=400)})
    figure = plots.coefficients(bm.Model("y ~ x", frame, family="poisson").fit_ml())
    intercept, slope = figure.axes
    assert intercept.get_xlim()[0] > 5
    assert slope.get_xlim()[0] < 0 < slope.get_xlim()[1]


def test_coefficients_of_nothing_is_refused():
    with pytest.raises(FitError, match="nothing to draw"):
        plots.coefficients()


# chains ---------------------------------------------------------------------------------------------------


def test_trace_rank_draws_every_chain_of_every_quantity(posterior):
    figure = drawn(plots.trace_rank(posterior))
    traces, ranks = figure.axes[::2], figure.axes[1::2]
    assert [ax.get_title(loc="left") for ax in traces] == [*posterior.design.terms, "sd(Intercept | district)"]
    beta = posterior.tree["posterior"]["beta"].to_numpy()
    for chain, line in enumerate(traces[1].get_lines()):
        assert line.get_ydata() == pytest.approx(beta[chain, :, 1])
        assert line.get_color() == PALETTE[chain]
    assert (traces[-1].get_xlabel(), ranks[-1].get_xlabel()) == ("draw", "fractional rank among all draws")
    assert all(ax.texts[0].get_text().startswith("p ") for ax in ranks)


def test_trace_rank_names_correlations(toy, posterior):
    # Draws made up: to sample a model with correlations would take this module's time many times over.
    rng = np.random.default_rng(6)
    sizes = {"beta": 2, "sd_g": 2, "cor_g": 1}
    draws = {name: (("chain", "draw", f"{name}_term"), rng.uniform(size=(2, 30, k))) for name, k in sizes.items()}
    model = bm.Model("y ~ x + (1 + x | g)", toy)
    fit = replace(posterior, model=model, tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws)}))
    figure = plots.trace_rank(fit)
    names = [ax.get_title(loc="left") for ax in figure.axes[::2]]
    assert names == ["Intercept", "x", "sd(Intercept | g)", "sd(x | g)", "cor(Intercept,x | g)"]
    assert figure.axes[-2].get_lines()[1].get_ydata() == pytest.approx(draws["cor_g"][1][1, :, 0])


def test_a_chain_apart_is_marked(posterior):
    ranks = plots.trace_rank(altered(posterior, shift=50.0)).axes[1::2]
    assert ranks[0].texts[0].get_text() == "p < 0.01"
    assert len(ranks[0].collections) > 0


def test_divergences_are_marked_at_the_foot_of_the_traces(posterior):
    shape = [posterior.tree["posterior"].sizes[name] for name in ("chain", "draw")]
    diverging = np.zeros(shape, dtype=bool)
    diverging[0, [7, 11]] = diverging[1, 40] = True
    for ax in plots.trace_rank(altered(posterior, diverging)).axes[::2]:
        (marks,) = (line for line in ax.get_lines() if line.get_marker() == "|")
        assert marks.get_xdata().tolist() == [7, 11, 40]
    for ax in plots.trace_rank(altered(posterior, np.zeros(shape, dtype=bool))).axes[::2]:
        assert not [line for line in ax.get_lines() if line.get_marker() == "|"]


def test_one_chain_has_traces_only(posterior):
    figure = drawn(plots.trace_rank(chains(posterior, [0])))
    assert len(figure.axes) == len(posterior.design.terms) + 1
    assert figure.get_suptitle().startswith("1 chain:")


def test_ranks_are_taken_of_nearly_independent_draws(posterior):
    # A random walk of 400 draws a chain has few effective ones; independent draws are all kept.
    rng = np.random.default_rng(4)
    size = {"chain": 2, "draw": 400, "term": len(posterior.design.terms)}
    for noise, low, high in ((rng.normal(size=tuple(size.values())), 1, 2), (None, 8, 8)):
        beta = rng.normal(size=tuple(size.values())).cumsum(axis=1) if noise is None else noise
        sd = np.exp(rng.normal(size=(2, 400, 1)))
        label = "sd_district"
        tree = {"posterior": xr.Dataset({"beta": (tuple(size), beta), label: (("chain", "draw", "district_term"), sd)})}
        fit = replace(posterior, tree=xr.DataTree.from_dict(tree))
        assert low <= _independent_step(fit) <= high


@pytest.mark.parametrize("function", [plots.trace_rank, plots.posterior_predictive_rates])
def test_figures_of_draws_refuse_a_likelihood_fit(function, ml):
    with pytest.raises(FitError, match=rf"{function.__name__} needs draws, and a fit by ML has none"):
        function(ml)


# predictive check -----------------------------------------------------------------------------------------


def test_observed_rates_stand_in_order_before_their_replications(posterior, data):
    figure = drawn(plots.posterior_predictive_rates(posterior, draws=100))
    left, right = figure.axes
    rates = (data.use == "Y").groupby(data.district, observed=True).mean().sort_values()
    points = np.concatenate([line.get_xydata() for line in left.get_lines()])
    assert points[np.argsort(points[:, 0]), 1] == pytest.approx(rates.to_numpy())
    outer, inner = (np.array(item.get_segments())[:, :, 1] for item in left.collections)
    assert (outer[:, 0] <= inner[:, 0]).all()
    assert (inner[:, 1] <= outer[:, 1]).all()
    assert right.get_lines()[0].get_xdata()[0] == pytest.approx(rates.std(ddof=1))
    assert sum(bar.get_height() for bar in right.patches) == 100
    assert (left.get_ylabel(), right.get_xlabel()) == ("rate of use = Y", "sd of rates between groups")
    assert left.get_xlabel() == "60 groups of district, by observed rate"


def test_rates_outside_their_interval_are_counted(posterior):
    figure = plots.posterior_predictive_rates(posterior)
    outside = sum(len(line.get_xdata()) for line in figure.axes[0].get_lines() if line.get_label() == "outside 90 %")
    assert figure.get_suptitle().startswith(f"district: {60 - outside} of 60 observed rates")


def test_rates_can_be_checked_by_a_column_the_model_groups_nothing_by(posterior, data):
    left, _ = plots.posterior_predictive_rates(posterior, group="urban").axes
    rates = (data.use == "Y").groupby(data.urban, observed=True).mean()
    assert left.get_lines()[0].get_ydata() == pytest.approx(sorted(rates))
    assert [label.get_text() for label in left.get_xticklabels()] == ["N", "Y"]


def test_rates_are_reproducible_and_follow_the_seed(posterior):
    heights = [
        [bar.get_height() for bar in plots.posterior_predictive_rates(posterior, seed=seed).axes[1].patches]
        for seed in (1, 1, 2)
    ]
    assert heights[0] == heights[1] != heights[2]


def test_rates_of_counts_are_per_trial(toy):
    fit = bm.Model("cbind(s, n - s) ~ x + (1 | g)", toy).sample(draws=30, tune=60, chains=2)
    left, _ = drawn(plots.posterior_predictive_rates(fit)).axes
    sums = toy.groupby("g")[["s", "n"]].sum()
    assert sorted(y for line in left.get_lines() for y in line.get_ydata()) == pytest.approx(sorted(sums.s / sums.n))


def test_counts_have_means_not_rates(toy):
    fit = bm.Model("count ~ x + (1 | g)", toy, family="poisson").sample(draws=20, tune=40, chains=2)
    left, _ = plots.posterior_predictive_rates(fit, draws=20).axes
    assert left.get_ylabel() == "mean count"


def test_rates_refuse_what_they_cannot_compare(posterior, toy):
    with pytest.raises(DataError, match=r'no column "districts"; did you mean "district"'):
        plots.posterior_predictive_rates(posterior, group="districts")
    with pytest.raises(FitError, match="draws should be 2 or more"):
        plots.posterior_predictive_rates(posterior, draws=1)
    small = {"draws": 10, "tune": 30, "chains": 2}
    with pytest.raises(FitError, match="has no groups; name a column"):
        plots.posterior_predictive_rates(bm.Model("y ~ x", toy).sample(**small))
    with pytest.raises(FitError, match="stand for several"):
        plots.posterior_predictive_rates(bm.Model("y ~ x + (1 | g)", toy, freq="reps").sample(**small))


# curves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "estimand"), [("ml", "typical"), ("ml", "population"), ("posterior", "typical")])
def test_curves_are_the_predictions_with_the_others_held(which, estimand, request):
    fit = request.getfixturevalue(which)
    figure = drawn(plots.probability_curves(fit, "age", by="urban", estimand=estimand, level=0.9))
    (ax,) = figure.axes
    for line, band, level in zip(ax.get_lines(), ax.collections, ["N", "Y"], strict=True):
        assert line.get_label() == level
        new = pd.DataFrame({"age": line.get_xdata(), "urban": level, "livch": "0"})
        expected = fit.predict(new, estimand=estimand, level=0.9)
        assert line.get_ydata() == pytest.approx(expected.estimate.to_numpy())
        edge = band.get_paths()[0].vertices[:, 1]
        assert (edge.min(), edge.max()) == pytest.approx((expected.conf_low.min(), expected.conf_high.max()))
    words = {"typical": "typical district", "population": "population average"}[estimand]
    label = figure.get_supylabel().replace("\n", " ")
    assert (figure.get_supxlabel(), label) == ("age", f"probability of use = Y ({words})")
    where = {"typical": "in a group whose effects are zero", "population": "averaged over the distribution"}
    assert figure.get_suptitle().startswith(f"90 % bands; {where[estimand]}")
    assert figure.get_suptitle().replace("\n", " ").endswith("held: livch = 0 (reference)")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["N", "Y"]


def test_curves_cover_only_what_was_observed(ml, data):
    figure = drawn(plots.probability_curves(ml, "age", by="livch", facet="urban"))
    assert [ax.get_title() for ax in figure.axes] == ["urban = N", "urban = Y"]
    for ax, urban in zip(figure.axes, ["N", "Y"], strict=True):
        for line in ax.get_lines():
            ages = data.age[(data.urban == urban) & (data.livch == line.get_label())]
            assert (line.get_xdata()[0], line.get_xdata()[-1]) == (ages.min(), ages.max())


def test_numbers_are_held_at_their_mean_and_offsets_too(toy):
    fit = bm.Model("count ~ x + z + C(h) + offset(o) + (1 | g)", toy, family="poisson").fit_ml()
    figure = drawn(plots.probability_curves(fit, "x"))
    title = figure.get_suptitle().replace("\n", " ")
    assert f"z = {toy.z.mean():.3g} (mean), h = 0 (reference), o = {toy.o.mean():.3g} (mean)" in title
    assert figure.get_supylabel() == "expected count (typical g)"
    line = figure.axes[0].get_lines()[0]
    new = pd.DataFrame({"x": line.get_xdata(), "z": toy.z.mean(), "h": 0, "o": toy.o.mean()})
    assert line.get_ydata() == pytest.approx(fit.predict(new, estimand="typical").estimate.to_numpy())


def test_what_was_observed_lies_below_the_curves_of_the_population(ml, data):
    figure = drawn(plots.probability_curves(ml, "age", by="urban", observed=True))
    (ax,) = figure.axes
    assert "population average" in figure.get_supylabel().replace("\n", " ")
    assert "thin: observed, smoothed by lowess, nothing held" in figure.get_suptitle().replace("\n", " ")
    for line, level in zip(ax.get_lines()[2:], ["N", "Y"], strict=True):
        rows = data[data.urban == level]
        expected = plots.lowess(rows.age.to_numpy(), (rows.use == "Y").to_numpy(dtype=float), line.get_xdata())
        assert line.get_ydata() == pytest.approx(np.clip(expected, 0, 1))
        assert line.get_linewidth() < ax.get_lines()[0].get_linewidth()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["N", "Y"]


def test_observed_proportions_count_trials_and_refuse_offsets(toy):
    fit = bm.Model("cbind(s, n - s) ~ x + (1 | g)", toy).fit_ml()
    figure = plots.probability_curves(fit, "x", observed=True)
    assert figure.get_supylabel().startswith("probability of s (")
    line = figure.axes[0].get_lines()[1]
    x, share, trials = toy.x.to_numpy(), (toy.s / toy.n).to_numpy(), toy.n.to_numpy()
    expected = plots.lowess(x, share, line.get_xdata(), weights=trials)
    assert line.get_ydata() == pytest.approx(np.clip(expected, 0, 1))
    assert np.abs(expected - plots.lowess(x, share, line.get_xdata())).max() > 1e-3
    rates = bm.Model("count ~ x + offset(o) + (1 | g)", toy, family="poisson").fit_ml()
    with pytest.raises(FitError, match="differ in their offset"):
        plots.probability_curves(rates, "x", observed=True)


def test_a_weight_of_lowess_is_as_many_points():
    rng = np.random.default_rng(4)
    x, y, times = rng.normal(size=40), rng.normal(size=40), rng.integers(1, 5, 40)
    # The span counts points, so that only over all of them the two are the same.
    at = np.linspace(-1, 1, 7)
    expected = plots.lowess(np.repeat(x, times), np.repeat(y, times), at, 1.0)
    assert plots.lowess(x, y, at, 1.0, times) == pytest.approx(expected)


def test_curves_of_a_gee_are_of_the_population(gee):
    figure = plots.probability_curves(gee, "age", by="urban")
    assert figure.get_supylabel().replace("\n", " ") == "probability of use = Y (population average)"
    with pytest.raises(FitError, match="population"):
        plots.probability_curves(gee, "age", estimand="typical")


def test_a_model_without_groups_speaks_of_none(data):
    figure = plots.probability_curves(bm.Model("use ~ age", data).fit_ml(), "age")
    assert figure.get_suptitle() == "95 % bands"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": "agee"}, DataError, r'"agee" is no predictor of the model; .* did you mean "age"'),
        ({"x": "urban"}, DataError, r'"urban" is a factor; a curve runs along a numeric one, and .*age'),
        ({"x": "age", "by": "age"}, DataError, r'by should be a factor of the model, not "age"; .*there are: '),
        ({"x": "age", "facet": "district"}, DataError, r'facet should be a factor of the model, not "district"'),
        ({"x": "age", "by": "urban", "facet": "urban"}, DataError, 'by and facet are both "urban"'),
        ({"x": "age", "estimand": "conditional"}, FitError, 'should be "typical" or "population"'),
    ],
)
def test_curves_refuse_columns_of_the_wrong_kind(ml, arguments, error, message):
    with pytest.raises(error, match=message):
        plots.probability_curves(ml, **arguments)


# observed proportions -------------------------------------------------------------------------------------


def test_dollar_signs_in_names_begin_no_formula(toy):
    data = toy.assign(price=np.where(np.arange(len(toy)) % 2 == 0, "$1-$5", "$\\frac$"))
    figure = plots.coefficients(bm.Model("y ~ price + (1 | g)", data).fit_ml())
    assert any("$\\frac$" in ax.get_title() for ax in figure.axes)
    figure.savefig(io.BytesIO())  # matplotlib would refuse \\frac without its arguments


def test_lowess_between_two_clumps_is_the_line_between_them():
    """Halfway every point lies on the edge of the neighbourhood, where tricube weights are 0."""
    x = np.repeat([0.0, 1.0], 10)
    assert plots.lowess(x, 2.0 * x, np.array([0.5])) == pytest.approx([1.0])


def test_lowess_is_the_one_of_statsmodels():
    from statsmodels.nonparametric.smoothers_lowess import lowess

    rng = np.random.default_rng(8)
    x = np.sort(rng.uniform(-3, 3, 150))
    y = (rng.random(150) < 1 / (1 + np.exp(-x))).astype(float)
    for span in (0.3, 2 / 3, 1.0):
        expected = lowess(y, x, frac=span, it=0, delta=0.0, return_sorted=False)
        # statsmodels rounds weights within 0.1 % of the neighbourhood's ends.
        assert plots.lowess(x, y, x, span) == pytest.approx(expected, abs=1e-6)


def test_lowess_of_ties_is_their_mean():
    assert plots.lowess(np.zeros(4), np.array([0.0, 1, 1, 1]), np.zeros(1)) == pytest.approx([0.75])
    assert plots.lowess(np.ones(1), np.ones(1), np.ones(1)) == pytest.approx([1.0])


def test_smoothed_proportions_are_the_smoother_s(data):
    figure = drawn(plots.smoothed_proportions(data, "use", "age", by="urban", facet="livch"))
    assert [ax.get_title() for ax in figure.axes] == [f"livch = {level}" for level in ("0", "1", "2", "3+")]
    line = figure.axes[2].get_lines()[1]
    rows = data[(data.livch == "2") & (data.urban == "Y")]
    expected = plots.lowess(rows.age.to_numpy(), (rows.use == "Y").to_numpy(dtype=float), line.get_xdata())
    assert line.get_ydata() == pytest.approx(np.clip(expected, 0, 1))
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("age", "proportion with use = Y")


def test_the_event_can_be_the_first_level_and_incomplete_rows_are_left_out(data):
    frame = data.assign(age=data.age.where(data.index != 5))
    yes, no = (plots.smoothed_proportions(frame, "use", "age", event=event) for event in ("Y", "N"))
    assert yes.axes[0].get_lines()[0].get_ydata() == pytest.approx(1 - no.axes[0].get_lines()[0].get_ydata())
    assert no.get_supylabel() == "proportion with use = N"
    assert "1,933 rows" in no.get_suptitle()


def test_any_data_frame_and_kind_of_response_will_do(toy):
    pl = pytest.importorskip("polars")
    for response, label in (("y", "y = 1"), ("answer", "answer = yes"), ("flag", "flag = True")):
        figure = drawn(plots.smoothed_proportions(pl.from_pandas(toy), response, "x", by="f"))
        assert figure.get_supylabel() == f"proportion with {label}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"response": "uses", "x": "age"}, r'no column "uses"; did you mean "use"'),
        ({"response": "livch", "x": "age"}, r'"livch" should have two values; it has 4 \(0, 1, 2, 3\+\)'),
        ({"response": "use", "x": "urban"}, r'"urban" is not numeric; .*age'),
        ({"response": "use", "x": "age", "event": "yes"}, r'no level "yes"; there are: N, Y'),
        ({"response": "use", "x": "age", "by": "district"}, r'"district" has 60 levels, too many'),
    ],
)
def test_smoothed_proportions_refuse_columns_of_the_wrong_kind(data, arguments, message):
    with pytest.raises(DataError, match=message):
        plots.smoothed_proportions(data, **arguments)


def test_data_without_a_complete_row_are_refused():
    with pytest.raises(DataError, match="no row is complete: each misses one of y, x"):
        plots.smoothed_proportions({"y": [0, 1], "x": [np.nan, np.nan]}, "y", "x")


# all ------------------------------------------------------------------------------------------------------


def test_no_figure_stays_open(ml, posterior, data):
    plots.caterpillar(ml)
    plots.trace_rank(posterior)
    plots.smoothed_proportions(data, "use", "age")
    assert plt.get_fignums() == []


# measurements -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep():
    return bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")


def test_measurements_are_drawn_in_their_own_unit(sleep):
    fit = sleep.fit_ml(reml=True)
    figure = drawn(plots.coefficients(fit, sleep.fit_ml(), sleep.fit_map()))
    assert [ax.get_title() for ax in figure.axes][-1] == "sigma"
    assert "in units of Reaction per unit" in figure.get_supxlabel()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["REML", "ML", "MAP"]
    effects = drawn(plots.caterpillar(fit))
    assert "(units of Reaction)" in effects.axes[0].get_xlabel().replace("\n", " ")
    assert effects.get_suptitle().startswith("REML: conditional modes")


def test_a_curve_of_measurements_need_not_start_at_zero(sleep):
    figure = drawn(plots.probability_curves(sleep.fit_ml(), "Days"))
    assert figure.get_supylabel() == "expected Reaction (typical Subject)"
    assert figure.axes[0].get_ylim()[0] > 200


def test_the_residual_of_measurements_has_a_trace(sleep, posterior):
    rng = np.random.default_rng(6)
    sizes = {"beta": 2, "sd_Subject": 2, "cor_Subject": 1}
    draws = {name: (("chain", "draw", f"{name}_term"), rng.uniform(size=(2, 30, k))) for name, k in sizes.items()}
    draws["sigma"] = (("chain", "draw"), rng.uniform(size=(2, 30)))
    fit = replace(posterior, model=sleep, tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws)}))
    figure = plots.trace_rank(fit)
    assert figure.axes[-2].get_title(loc="left") == "sigma"
    assert figure.axes[-2].get_lines()[0].get_ydata() == pytest.approx(draws["sigma"][1][0])


# two readings ---------------------------------------------------------------------------------------------


def test_agreement_pairs_intervals_in_standard_errors_of_the_first(ml, posterior):
    left, right = drawn(plots.agreement(ml, posterior)).axes
    first, second = ml.table(), posterior.table()
    points = [line.get_xdata() for line in left.get_lines() if line.get_marker() in MARKERS]
    assert points[0] == pytest.approx(np.zeros(len(first)))
    assert points[1] == pytest.approx(((second.estimate - first.estimate) / first.std_error).to_numpy())
    ends = segments(left)[len(first) :, [0, 2]]
    limits = second[["conf_low", "conf_high"]].sub(first.estimate, axis=0).div(first.std_error, axis=0)
    assert ends == pytest.approx(limits.to_numpy())
    scatter = right.get_lines()[0].get_xydata()
    assert scatter == pytest.approx(np.column_stack([ml.ranef().estimate, posterior.ranef().estimate]))
    assert (right.get_xlabel(), right.get_ylabel()) == ("ML (log-odds)", "posterior (log-odds)")
    assert right.get_xlim() == right.get_ylim()


def test_agreement_with_a_gee_says_that_the_question_is_another(ml, gee, toy):
    figure = drawn(plots.agreement(ml, gee))
    assert len(figure.axes) == 1
    assert "GEE coefficients are of the population average" in figure.get_suptitle().replace("\n", " ")
    assert "GEE coefficients" in plots.coefficients(ml, gee).get_supxlabel()
    other = bm.Model("y ~ 0 + z", toy).fit_ml()
    with pytest.raises(FitError, match="no parameter in common"):
        plots.agreement(ml, other)


# densities and profiles -----------------------------------------------------------------------------------


def test_densities_have_the_profile_limits_and_the_draws_for_quantiles(ml, posterior):
    sd, share = drawn(plots.variance_densities(ml, posterior)).axes
    assert [ax.get_title() for ax in (sd, share)] == ["sd(Intercept | district)", "ICC of district"]
    limits = ml.confint("profile", level=0.8, parm="sd").iloc[0][["conf_low", "conf_high"]].to_numpy(dtype=float)
    for ax, ends in ((sd, limits), (share, limits**2 / (limits**2 + np.pi**2 / 3))):
        x, density = ax.get_lines()[0].get_data()
        below = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(x))])
        assert below[-1] == pytest.approx(1.0, abs=2e-3)
        assert np.interp(ends, x, below) == pytest.approx([0.1, 0.9], abs=3e-3)
    x, density = sd.get_lines()[2].get_data()
    draws = posterior.tree["posterior"]["sd_district"].to_numpy().ravel()
    assert np.trapezoid(x * density, x) == pytest.approx(draws.mean(), abs=0.1 * draws.std())
    assert sd.get_lines()[3].get_xdata() == pytest.approx([draws.mean()])
    assert (sd.get_xlabel(), share.get_xlabel()) == ("log-odds", "share of variance")


def test_profiles_are_drawn_with_their_limits(ml):
    figure = drawn(plots.profile(ml, ["sd", "age"]))
    assert [ax.get_title() for ax in figure.axes] == ["age", "sd(Intercept | district)"]
    limits = ml.confint("profile", parm=["sd", "age"])
    for ax, row in zip(figure.axes, limits.itertuples(), strict=True):
        wald, curve, marks = ax.get_lines()[:3]
        assert marks.get_xdata() == pytest.approx([row.conf_low, row.conf_high], rel=2e-3)
        assert np.interp(row.estimate, *curve.get_data()) == pytest.approx(0.0, abs=1e-3)
        error = ml.table().set_index(["component", "term"]).std_error[row.component, row.term]
        assert np.ptp(wald.get_ydata()) == pytest.approx(np.ptp(wald.get_xdata()) / error)


@pytest.mark.parametrize(
    ("name", "which", "message"),
    [
        ("variance_densities", "slopes", "a posterior mode has none around it"),
        ("variance_densities", "gee", "a GEE has none: it averages over the groups"),
        ("profile", "posterior", "a posterior has draws instead"),
        ("profile", "gee", "estimating equations have no likelihood"),
        ("profile", "slopes", "a posterior mode has none around it"),
        ("caterpillar", "gee", "caterpillar is of group effects, and a GEE has none"),
        ("shrinkage", "gee", "shrinkage is of group effects, and a GEE has none"),
        ("trace_rank", "gee", "trace_rank needs draws, and a fit by GEE has none"),
    ],
)
def test_a_fit_that_cannot_give_a_picture_says_why(name, which, message, request):
    with pytest.raises(FitError, match=message):
        getattr(plots, name)(request.getfixturevalue(which))


def test_draws_without_chains_have_no_trace(posterior):
    from bayesmlm.bayes.marginal.fit import MarginalFit

    with pytest.raises(FitError, match="come from none"):
        plots.trace_rank(MarginalFit(posterior.model, posterior.tree))


# shrinkage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["ml", "posterior"])
def test_shrinkage_goes_from_each_group_s_own_estimate_to_the_model_s(which, request, data):
    import statsmodels.api as sm

    fit = request.getfixturevalue(which)
    figure = drawn(plots.shrinkage(fit))
    (ax,) = figure.axes
    by_label = {line.get_label(): line for line in ax.get_lines()}
    own = dict(by_label["by itself (no pooling)"].get_xydata())
    partial = by_label["in the model (partial pooling)"].get_ydata()
    sizes = data.groupby("district", observed=True).size()
    effects = fit.ranef().set_index("level").estimate
    order = sorted(sizes.index, key=lambda level: (sizes[level], effects[level]))
    assert partial == pytest.approx([effects[level] for level in order])
    for place in (30, 58):
        rows = (data.district == order[place]).to_numpy()
        rest = fit.predict(kind="link").estimate.to_numpy()[rows] - effects[order[place]]
        glm = sm.GLM((data.use[rows] == "Y").astype(float), np.ones(rows.sum()), sm.families.Binomial(), offset=rest)
        assert own[place] == pytest.approx(glm.fit().params.iloc[0], abs=1e-5)
        assert abs(own[place]) > abs(partial[place])
    alike = data.groupby("district", observed=True).use.nunique() == 1
    assert f"{alike.sum()} groups of 60 without an estimate" in figure.get_suptitle()
    triangles = [len(line.get_xdata()) for line in ax.get_lines() if line.get_marker() in ("^", "v")]
    assert sum(triangles) >= alike.sum()


def test_an_intercept_and_a_slope_are_arrows_in_their_plane(sleep):
    fit = sleep.fit_ml(reml=True)
    (ax,) = drawn(plots.shrinkage(fit)).axes
    by_label = {line.get_label(): line for line in ax.get_lines()}
    data = bm.load_dataset("sleepstudy")
    own = np.array([np.polyfit(rows.Days, rows.Reaction, 1)[::-1] for _, rows in data.groupby("Subject")])
    effects = fit.ranef().pivot(index="level", columns="term", values="estimate").loc[:, ["Intercept", "Days"]]
    shown = by_label["by itself (no pooling)"].get_xydata()
    expected = own - fit.fixef()[["Intercept", "Days"]].to_numpy()
    assert sorted(map(tuple, shown.round(4))) == sorted(
        point for point in map(tuple, expected.round(4)) if point in set(map(tuple, shown.round(4)))
    )
    assert len(shown) >= 16
    assert by_label["in the model (partial pooling)"].get_xydata() == pytest.approx(effects.to_numpy())
    (arrows,) = (item for item in ax.collections if hasattr(item, "U"))
    assert arrows.get_offsets() + np.column_stack([arrows.U, arrows.V]) == pytest.approx(effects.to_numpy())
    (line,) = drawn(plots.shrinkage(fit, term="Days", order="value")).axes
    assert np.all(np.diff(next(x for x in line.get_lines() if x.get_label().startswith("in the")).get_ydata()) >= 0)
    assert line.get_ylabel().replace("\n", " ") == "deviation from the average effect of Days (units of Reaction)"


def test_groups_that_say_nothing_of_a_slope_have_no_estimate_of_their_own():
    from bayesmlm.families import family_of
    from bayesmlm.plots.unpooled import own_estimates

    x = np.array([0.0, 0, 0, 0, 0, 1, 2, 3, 0, 1, 2, 3])
    y = np.array([0.0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1])
    codes, ones = np.repeat([0, 1, 2], 4), np.ones(12)
    z = np.column_stack([ones, x])
    found = own_estimates(family_of("bernoulli"), y, ones, ones, np.zeros(12), codes, z)
    # One predictor that does not vary, one that separates the answers, one that does neither.
    assert np.isfinite(found).all(axis=1).tolist() == [False, False, True]


def test_a_mean_at_the_end_of_its_range_has_no_estimate_of_its_own():
    from bayesmlm.families import family_of
    from bayesmlm.plots.unpooled import own_estimates

    y, codes, ones = np.array([0.0, 1, 1, 0, 1, 1]), np.repeat([0, 1], 3), np.ones(6)
    # Φ(9) is 1 to the last digit: its variance is 0, and no warning is given.
    eta = np.array([0.0, 0, 0, 9, 9, 9])
    found = own_estimates(family_of("bernoulli", "probit"), y, ones, ones, eta, codes, np.ones((6, 1)))
    assert np.isfinite(found[:, 0]).tolist() == [True, False]


def test_shrinkage_refuses_what_is_not_there(ml, slopes, data):
    with pytest.raises(FitError, match=r'no grouping "distric"; did you mean "district"'):
        plots.shrinkage(ml, "distric")
    with pytest.raises(FitError, match=r'g has no effect of "z"; there are: Intercept, x'):
        plots.shrinkage(slopes, term="z")
    with pytest.raises(FitError, match='order should be "size" or "value", not "n"'):
        plots.shrinkage(ml, order="n")
    with pytest.raises(FitError, match="has no groups: add a term"):
        plots.shrinkage(bm.Model("use ~ age", data).fit_ml())


# effects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["ml", "posterior", "gee"])
def test_effects_are_the_rows_of_their_table(which, request):
    fit = request.getfixturevalue(which)
    table = bm.effects.predictions(fit, by=["urban", "livch"])
    figure = drawn(plots.effects(table, by="urban"))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"livch = {x}" for x in ("0", "1", "2", "3+")]
    points = {line.get_label(): line.get_xdata() for line in ax.get_lines()}
    for level in ("N", "Y"):
        assert points[level] == pytest.approx(table.estimate[table.urban == level].to_numpy())
    assert sorted(map(tuple, segments(ax)[:, [0, 2]])) == sorted(zip(table.conf_low, table.conf_high, strict=True))
    estimand = "population average" if which == "gee" else "typical group"
    assert ax.get_xlabel() == f"probability of use = Y, {estimand}"


def test_ratios_stand_around_one_and_differences_around_zero(ml):
    ratios = bm.effects.comparisons(ml, "livch", comparison="oddsratio")
    (ax,) = drawn(plots.effects(ratios)).axes
    assert ax.get_xscale() == "log"
    assert [line.get_xdata()[0] for line in ax.get_lines()][1] == 1.0
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"odds({x}) / odds(0)" for x in ("1", "2", "3+")]
    (ax,) = drawn(plots.effects(bm.effects.comparisons(ml))).axes
    assert ax.get_xscale() == "linear"
    assert [line.get_xdata()[0] for line in ax.get_lines()][1] == 0.0
    assert ax.get_yticklabels()[0].get_text() == "age: +1"


def test_a_number_becomes_the_axis_and_many_values_a_curve(ml):
    few = bm.effects.predictions(ml, newdata=bm.effects.grid(ml, "urban", age=[-10, 0, 10]))
    figure = drawn(plots.effects(few))
    assert (figure.get_supxlabel(), figure.legends[0].get_title().get_text()) == ("age", "urban")
    line = figure.axes[0].get_lines()[0]
    assert line.get_ydata() == pytest.approx(few.estimate[few.urban == "N"].to_numpy())
    many = bm.effects.predictions(ml, newdata=bm.effects.grid(ml, age=np.linspace(-10, 10, 30).tolist()))
    (ax,) = drawn(plots.effects(many)).axes
    assert ax.get_lines()[0].get_xydata() == pytest.approx(many[["age", "estimate"]].to_numpy())
    assert len(ax.collections) == 1


def test_effects_refuse_what_they_cannot_draw(ml):
    with pytest.raises(FitError, match=r"a table of bm.effects.*given "):
        plots.effects(ml.table())
    with pytest.raises(DataError, match=r'"livch" does not tell the rows of the table apart; there are: urban'):
        plots.effects(bm.effects.predictions(ml, by="urban"), by="livch")
    own = bm.effects.predictions(ml, by="district", estimand="conditional")
    with pytest.raises(FitError, match="district has 60 values, and 12 is the most that can be told apart"):
        plots.effects(own, by="district")
    with pytest.raises(FitError, match="1,934 rows to name, and 60 is the most"):
        plots.effects(own.iloc[np.zeros(1934, dtype=int)].assign(district=[f"{i}" for i in range(1934)]))


# the room -------------------------------------------------------------------------------------------------


def test_a_plot_that_does_not_exist_lists_those_that_do():
    with pytest.raises(AttributeError, match=r'there is no plot "shrinkages"; did you mean "shrinkage"'):
        bm.plots.shrinkages  # noqa: B018
    assert set(dir(bm.plots)) == set(plots.__all__)


def test_settings_of_matplotlib_are_left_alone(ml):
    before = dict(plt.rcParams)
    drawn(plots.shrinkage(ml))
    drawn(plots.agreement(ml, ml))
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


def test_long_names_are_broken_where_their_parts_end(toy):
    frame = toy.rename(
        columns={"x": "household_income_in_thousands_of_taka", "f": "occupation_of_the_head_of_household"}
    )
    fit = bm.Model("y ~ household_income_in_thousands_of_taka * occupation_of_the_head_of_household", frame).fit_ml()
    for ax in drawn(plots.coefficients(fit)).axes:
        assert all(len(line) <= 26 for line in ax.get_title().split("\n"))
        assert ax.get_title().count("\n") <= 1
