"""Figures by their content: what is drawn where, what the axes say, what is refused."""

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
    assert names[0] == names[1] != names[2]
    assert [ax.get_ylabel() for ax in plots.caterpillar(fit, group="h").axes] == ["h"]


def test_names_of_very_many_groups_are_left_out():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"y": rng.integers(0, 2, 1200), "g": np.repeat(np.arange(200), 6)})
    (ax,) = drawn(plots.caterpillar(bm.Model("y ~ 1 + (1 | g)", frame).fit_ml())).axes
    assert len(ax.get_yticks()) == 0
    assert ax.get_ylabel() == "200 levels of g, sorted"


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
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("age", "probability of use = Y")
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
    assert figure.get_supylabel() == "expected count"
    line = figure.axes[0].get_lines()[0]
    new = pd.DataFrame({"x": line.get_xdata(), "z": toy.z.mean(), "h": 0, "o": toy.o.mean()})
    assert line.get_ydata() == pytest.approx(fit.predict(new, estimand="typical").estimate.to_numpy())


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
    assert figure.get_supylabel() == "expected Reaction"
    assert figure.axes[0].get_ylim()[0] > 200
