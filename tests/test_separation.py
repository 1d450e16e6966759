"""Separation within groups: where the likelihood has a maximum, but only just."""

import numpy as np
import pandas as pd
import pytest

from bayesmlm.errors import FitError
from bayesmlm.ml.separation import alike_groups, ordered_within, runaway_terms
from bayesmlm.model import Model
from tests.troubles import alike_within_groups, level_without_events, one_effect_twice, ordered_within_groups, pairs


def fitted(formula, data, n_agq=1, **keywords):
    fit = Model(formula, data, **keywords).fit_ml(n_agq)
    return fit.design, fit.solution


def test_groups_whose_answers_are_alike_are_counted(toy):
    data = toy.assign(y=np.where(toy.g == "north", 1, np.where(toy.g == "west", 0, toy.y)))
    design = Model("y ~ x + (1 | g)", data).design
    assert alike_groups(design, design.groups[0]) == 2
    counted = Model("cbind(s, n - s) ~ x + (1 | g)", data.assign(s=data.n * data.y), "binomial").design
    assert alike_groups(counted, counted.groups[0]) == 2
    # A row without weight says nothing.
    freq = np.where((data.g == "coast") & (data.y == 1), 0, 1)
    weighted = Model("y ~ x + (1 | g)", data, freq=freq).design
    assert alike_groups(weighted, weighted.groups[0]) == 3
    for family in ("poisson", "gaussian"):
        other = Model("count ~ x + (1 | g)", data, family).design
        assert alike_groups(other, other.groups[0]) == 0


@pytest.mark.parametrize("n_agq", [1, 9])
@pytest.mark.parametrize(("odd", "alike"), [(0, 30), (1, 29)])
def test_answers_alike_within_groups_run_away(n_agq, odd, alike):
    """With more points the estimate only grows: there is no maximum, or one far off."""
    (found,) = runaway_terms(*fitted("y ~ 1 + (1 | g)", alike_within_groups(odd), n_agq))
    assert (found.group, found.term, found.levels, found.alike, found.empty) == ("g", "Intercept", 30, alike, "")
    assert found.sd > 20.0


def test_a_level_that_varies_by_group_without_events_is_named():
    """Nothing but the effects of f can tell that b has no events."""
    data = level_without_events()
    for empty, turned in (("no", data), ("every", data.assign(y=1 - data.y))):
        (found,) = runaway_terms(*fitted("y ~ 1 + (0 + f | g)", turned))
        assert (found.term, found.levels, found.alike, found.empty) == ("f[b]", 10, 10, empty)


def test_large_differences_alone_are_nothing_to_say():
    assert runaway_terms(*fitted("y ~ x + (1 | g)", pairs(), 9)) == []
    assert runaway_terms(*fitted("y ~ x + (x | g)", one_effect_twice(-1))) == []


def test_the_unit_of_a_column_makes_nothing_large(datasets):
    data = datasets["exam"].assign(milli=datasets["exam"].standLRT / 1000.0)
    design, solution = fitted("success ~ milli + (milli | school)", data)
    assert solution.theta.max() > 100.0
    assert runaway_terms(design, solution) == []


@pytest.mark.parametrize("n_agq", [1, 9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_column_that_orders_the_answers_within_groups_is_found(n_agq, sign):
    data = ordered_within_groups()
    design, solution = fitted(
        "y ~ x + z + (1 | g)", data.assign(x=sign * data.x, z=np.tile([0.0, 1.0, 2.0], 40)), n_agq
    )
    (found,) = ordered_within(design, solution)
    both = data.groupby("g").y.nunique().eq(2).sum()
    assert (found.term, found.group, found.groups) == ("x", "g", both)
    assert found.std_error > 2.0


def test_one_answer_out_of_order_undoes_it():
    data = ordered_within_groups()
    g = data.groupby("g").y.nunique().idxmax()
    rows = data.index[data.g == g]
    data.loc[rows[data.x[rows].argmax()], "y"] = 0
    data.loc[rows[data.x[rows].argmin()], "y"] = 1
    assert ordered_within(*fitted("y ~ x + (1 | g)", data)) == []


def test_a_level_that_orders_the_answers_within_groups_is_named():
    """Within every group only town has events, in some of its rows or all."""
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(40), 6)
    town = np.tile(["town", "land"], 120)
    everyone = (np.arange(40) % 4 == 0)[g]
    y = np.where(everyone, 1, np.where(town == "town", np.arange(40)[g] % 4 != 1, 0)).astype(int)
    data = pd.DataFrame({"y": y, "place": pd.Categorical(town, ["land", "town"]), "g": g, "x": rng.normal(size=240)})
    (found,) = ordered_within(*fitted("y ~ place + x + (1 | g)", data))
    assert (found.term, found.groups) == ("place[town]", 20)


@pytest.mark.parametrize("bars", ["(1 | g)", "(x | g)", "(1 | g) + (0 + x | g)"])
def test_a_level_without_any_events_is_refused_with_groups_too(bars):
    with pytest.raises(FitError, match=r"the likelihood has no maximum: f\[b\] separates"):
        Model(f"y ~ f + x + {bars}", level_without_events()).fit_ml()


def test_a_level_with_events_in_one_group_is_no_separation():
    """That group's events are all there is to say about f[b]: few, but enough."""
    fit = Model("y ~ f + (1 | g)", level_without_events(but_in_group=3)).fit_ml()
    assert fit.converged
    assert -6.0 < fit.fixef()["f[b]"] < -2.0
    assert ordered_within(fit.design, fit.solution) == []


def test_counts_and_numbers_are_not_looked_at(toy):
    for family in ("poisson", "gaussian"):
        design, solution = fitted("count ~ x + (1 | g)", toy, family=family)
        assert runaway_terms(design, solution) == ordered_within(design, solution) == []


def test_columns_that_almost_determine_each_other_do_not_separate(contraception):
    # Far from zero age and its square are alike to nine digits, and their coefficients huge; their sums are not.
    near, far = (
        Model("use ~ age + I(age^2) + urban + (1 | district)", contraception.assign(age=contraception.age + shift))
        for shift in (0.0, 1e5)
    )
    assert far.fit_ml().loglik == pytest.approx(near.fit_ml().loglik, abs=1e-6)
    assert far.fit_ml().fixef()["urban[Y]"] == pytest.approx(near.fit_ml().fixef()["urban[Y]"], abs=1e-6)
