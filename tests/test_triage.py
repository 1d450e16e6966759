"""What a reader is told of a fit: one trouble at a time, word for word, and nothing where there is none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from bayesmlm.errors import NoMaximumError
from bayesmlm.ml.triage import diagnose
from bayesmlm.model import Model
from tests.likelihood_reference import fit_of, model_of, table_of
from tests.troubles import (
    alike_within_groups,
    few_groups,
    level_without_events,
    one_effect_twice,
    ordered_within_groups,
    pairs,
    pairs_in_schools,
)


def told(fit):
    """The notes but for the event."""
    return [note for note in fit.notes if not note.startswith("The response counts")]


# nothing to say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["con_ud", "con_livch", "con_slope", "cbpp", "grouse", "con_ud_probit"])
def test_models_that_everybody_fits_are_in_order(name):
    fit = model_of(name).fit_ml()
    assert told(fit) == []
    found = fit.diagnostics()
    assert found.ok
    assert found.problems == []
    assert found.verdict.startswith(
        "The estimates can be trusted: the maximum is reached (a Newton step would move it by "
    )
    assert "would move no estimate by more than 0." in found.verdict


@pytest.mark.parametrize(
    "formula", ["Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (Days || Subject)", "Reaction ~ Days"]
)
@pytest.mark.parametrize("reml", [False, True])
def test_linear_models_have_nothing_approximated(formula, reml, sleepstudy):
    fit = Model(formula, sleepstudy, family="gaussian").fit_ml(reml=reml)
    assert told(fit) == []
    assert fit.diagnostics().shift is None
    assert "quadrature" not in fit.diagnostics().verdict


@pytest.mark.parametrize("shift", [0.0, 1980.0])
@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_unscaled_polynomials_are_fitted_without_a_word(shift, unit, contraception):
    """Years AD and their square are what lme4 calls nearly unidentifiable; the likelihood is that of age."""
    data = contraception.assign(year=unit * (contraception.age + shift))
    fit = Model("use ~ year + I(year^2) + urban + (1 | district)", data).fit_ml()
    plain = Model("use ~ age + I(age^2) + urban + (1 | district)", contraception).fit_ml()
    assert fit.converged
    assert told(fit) == []
    assert fit.loglik == pytest.approx(plain.loglik, abs=1e-6)
    np.testing.assert_allclose(fit.fitted(), plain.fitted(), atol=1e-6)
    assert fit.table().statistic[2] == pytest.approx(plain.table().statistic[2], rel=1e-3)


def test_a_mode_has_nothing_to_say_but_what_it_is(contraception):
    mode = Model("use ~ age + (1 | district)", contraception).fit_map()
    assert told(mode) == ["AIC and BIC are of the likelihood at the posterior mode, which is not its maximum."]
    assert mode.diagnostics().verdict.startswith("The estimates can be trusted: the mode is reached")


# the facts ------------------------------------------------------------------------------------------------------


def test_facts_of_a_fit(contraception):
    fit = Model("use ~ age + urban + (1 | district)", contraception).fit_ml()
    found, optimum = fit.diagnostics(), fit.solution.optimum
    assert found.converged == fit.converged
    assert found.distance == optimum.distance < 1e-4
    assert found.gradient == np.abs(optimum.gradient).max() < 1e-3
    np.testing.assert_array_equal(found.eigenvalues, np.linalg.eigvalsh(optimum.information))
    assert found.evaluations == optimum.evaluations
    assert found.singular == ()
    (group,) = found.groups
    assert (group.name, group.levels, round(group.rows, 1), group.alike) == ("district", 60, 32.2, 3)
    assert found.shift.points == 9


# the search -----------------------------------------------------------------------------------------------------


def unfinished(fit, **changes):
    return replace(fit.solution, optimum=replace(fit.solution.optimum, converged=False, **changes))


def test_a_search_that_stopped_short_is_no_fit(contraception):
    fit = Model("use ~ age + (1 | district)", contraception).fit_ml()
    found = diagnose(fit.design, unfinished(fit, distance=3.21))
    assert not found.ok
    assert found.findings[0].sentence.startswith(
        "The maximum was not reached: a Newton step would still move 3.2 standard errors (smallest eigenvalue of the "
        "information "
    )
    assert "Do not use these estimates; try check_optimum()" in found.findings[0].sentence
    assert found.verdict.startswith("Take care: the maximum was not reached")
    # Nothing is predicted from where the search happened to stop.
    assert found.shift is None


@pytest.mark.parametrize(
    ("place", "values", "message"),
    [
        (2, 0.0, "the likelihood is flat along the standard deviation of Intercept between district"),
        (1, -2.0, "the likelihood is bent upwards along the coefficient of age"),
        (0, -2.0, "the likelihood is bent upwards along the intercept"),
    ],
)
def test_the_direction_without_a_maximum_is_named(place, values, message, contraception):
    fit = Model("use ~ age + (1 | district)", contraception).fit_ml()
    diagonal = np.full(3, 5.0)
    diagonal[place] = values
    found = diagnose(fit.design, unfinished(fit, information=np.diag(diagonal), eigenvalues=np.sort(diagonal)))
    assert message in found.problems[0]


def test_directions_of_correlated_columns_are_named(sleepstudy):
    fit = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian").fit_ml()
    for place, name in enumerate(["the standard deviation of Intercept between Subject",
                                  "the correlation of Intercept,Days between Subject",
                                  "the standard deviation of Days between Subject"]):  # fmt: skip
        diagonal = np.where(np.arange(3) == place, 0.0, 1.0)
        found = diagnose(fit.design, unfinished(fit, information=np.diag(diagonal), eigenvalues=np.sort(diagonal)))
        assert f"flat along {name}" in found.problems[0]


def test_a_mode_that_was_not_reached_asks_for_tighter_priors(contraception):
    mode = Model("use ~ age + (1 | district)", contraception).fit_map()
    found = diagnose(mode.design, unfinished(mode, distance=1.0))
    assert found.problems[0].startswith("the mode was not reached")
    assert "tighter priors" in found.findings[0].remedy


# the boundary ---------------------------------------------------------------------------------------------------


def test_a_variance_at_zero():
    for response, family in (("y", "bernoulli"), ("z", "gaussian")):
        fit = Model(f"{response} ~ x + (1 | g)", table_of("singular"), family).fit_ml()
        assert told(fit) == [
            "The fit is singular: the standard deviation of Intercept between g is zero. The groups differ no more than "
            "chance makes them: leave (1 | g) out, which changes no other estimate, or use fit_map(), whose prior keeps "
            "it off the boundary."
        ]
        # Leaving it out changes nothing else, and the prior does keep it off.
        plain = Model(f"{response} ~ x", table_of("singular"), family).fit_ml()
        np.testing.assert_allclose(fit.fixef(), plain.fixef(), atol=1e-6)
        assert not any("singular" in note for note in fit.model.fit_map().notes)


def test_one_of_two_variances_at_zero():
    fit = fit_of("con_nested", "lme4")
    assert [end.group for end in fit.diagnostics().singular] == ["district"]
    assert any("leave (1 | district) out" in note for note in fit.notes)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation(sign):
    fit = Model("y ~ x + (x | g)", one_effect_twice(sign)).fit_ml()
    assert told(fit) == [
        f"The fit is singular: the correlation of Intercept,x between g is {sign:+d}. Standard errors of its correlations "
        f"are not defined there (NaN in the table): effects of one are a multiple of the other's. Leave one of them out, "
        f"fit uncorrelated effects (x || g), or use fit_map(), whose prior keeps it off the boundary."
    ]
    # Each way out is one.
    for other in (Model("y ~ x + (x || g)", fit.model.data).fit_ml(), fit.model.fit_map()):
        assert not any("singular" in note for note in other.notes)
        assert other.table().std_error.notna().all()


def test_a_covariance_of_lower_rank():
    (note,) = told(fit_of("con_three", "lme4"))
    assert note.startswith(
        "The fit is singular: the 3 columns of (1 + urban + age | district) vary in 2 directions only, though no standard "
        "deviation is zero and no correlation ±1."
    )
    # (… || district) would leave the levels of urban correlated: it is no way out.
    assert "||" not in note
    assert "Leave a column out, or use fit_map()" in note


def test_an_intercept_that_does_not_vary_beside_a_slope():
    g, x = np.repeat(np.arange(20), 10), np.tile(np.linspace(-1.0, 1.0, 10), 20)
    noise = np.tile([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0], 20)
    z = 2.0 + 2.0 * np.random.default_rng(1).normal(size=20)[g] * x + noise
    fit = Model("z ~ x + (x | g)", {"z": z, "x": x, "g": g}, family="gaussian").fit_ml()
    (note,) = told(fit)
    assert "the standard deviation of Intercept between g is zero. Correlations with it are not defined" in note
    assert "fit (0 + x | g), or use fit_map()" in note


# the approximation ----------------------------------------------------------------------------------------------


def test_tiny_clusters():
    model = Model("y ~ x + (1 | g)", pairs())
    (note,) = told(model.fit_ml())
    assert note.startswith(
        "The Laplace approximation is too rough here: 9 quadrature points would move, in standard errors, the standard "
        "deviation of Intercept between g by 1 or more, the coefficient of x by +0."
    )
    assert note.endswith("There are 2.0 rows per group of g: use n_agq=9.")
    (note,) = told(model.fit_ml(5))
    assert note.startswith("5 quadrature points are too few: 9 would move, in standard errors, the standard deviation")
    # What is advised helps.
    assert told(model.fit_ml(9)) == []


def test_tiny_clusters_of_two_columns():
    data = pairs(150)
    data = pd.concat([data, data.assign(x=data.x + 0.5, y=1 - data.y.where(data.g % 3 == 0, 1 - data.y))])
    (note,) = [n for n in told(Model("y ~ x + (x | g)", data).fit_ml()) if "Laplace" in n]
    assert "5 quadrature points per column would move" in note
    assert note.endswith("use n_agq=5.")


def test_tiny_clusters_among_several_terms():
    fit = Model("y ~ x + (1 | school) + (1 | pair)", pairs_in_schools()).fit_ml()
    (note,) = told(fit)
    assert "each term taken alone, and probably further. There are 2.0 rows per group of pair." in note
    assert note.endswith("Quadrature is for a single term: use sample(), which integrates over all groups.")


def test_tiny_clusters_whose_error_does_not_show():
    """The prediction takes one term at a time, so that it is not left at that where it is small."""
    rng = np.random.default_rng(16)
    pair, h = np.repeat(np.arange(200), 2), rng.integers(0, 20, 400)
    y = rng.binomial(1, expit(0.3 * rng.normal(size=200)[pair] + rng.normal(size=20)[h]))
    fit = Model("y ~ 1 + (1 | pair) + (1 | h)", {"y": y, "pair": pair, "h": h}).fit_ml()
    assert 0.05 < fit.diagnostics().shift.largest < 0.2
    assert told(fit) == [
        "There are 2.0 rows per group of pair, few for the Laplace approximation of 0/1 answers. How far it is off is "
        "known for each term alone only: compare with sample()."
    ]


# separation -----------------------------------------------------------------------------------------------------


def test_answers_alike_within_all_groups():
    """No number of points finds a maximum: it is not said that more are needed."""
    for points in (1, 9):
        (note,) = told(Model("y ~ x + (1 | g)", alike_within_groups()).fit_ml(points))
        assert " on the logit scale, enough to determine the answers by the group: in 30 of 30 groups all " in note
        assert note.endswith(
            "The data do not bound it from above, and coefficients grow with it; use fit_map() or sample(), whose priors "
            "do, or group by something coarser."
        )


def test_what_the_approximation_made_large_is_not_called_large():
    """Pairs with rare events: Laplace has a maximum at 12.7 where the likelihood has it at 1.7."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(200), 2), rng.normal(size=400)
    model = Model("y ~ x + (1 | g)", {"y": rng.binomial(1, expit(x - 3.0 + rng.normal(size=200)[g])), "x": x, "g": g})
    fit, exact = model.fit_ml(), model.fit_ml(25)
    assert fit.varcorr().sd[0] > 12.0
    assert exact.varcorr().sd[0] < 2.0
    (note,) = told(fit)
    assert note.startswith("The Laplace approximation is too rough here")
    assert told(exact) == []


def test_separation_inside_one_group_factor():
    data = ordered_within_groups()
    notes = told(Model("y ~ x + (1 | g)", data).fit_ml(9))
    both = data.groupby("g").y.nunique().eq(2).sum()
    (note,) = [n for n in notes if "separated" in n]
    assert note.startswith(
        f"The answers are separated within g by x: in each of the {both} groups that have both, all of one kind lie beyond "
        f"the others. Its coefficient ("
    )
    assert "kept finite by the assumed distribution of the group effects alone" in note


def test_a_level_without_events_in_a_random_effect():
    notes = told(Model("y ~ 1 + (0 + f | g)", level_without_events()).fit_ml())
    (note,) = [n for n in notes if "determine" in n]
    assert note.startswith("The standard deviation of f[b] between g is ")
    assert (
        "in 10 of 10 groups all answers in rows of f[b] are the same, and no such row has y = 1. The data do not"
        in note
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, r"the likelihood has no maximum: f\[b\] separates the responses .* or use fit_map\(\) or sample\(\)"),
        ({"y": 0}, "the response is constant: no row has y = 1, so the likelihood has no maximum"),
        ({"y": 1}, "the response is constant: every row has y = 1"),
    ],
)
def test_what_has_no_maximum_is_refused_and_kept_by_priors(change, message):
    model = Model("y ~ f + (1 | g)", level_without_events().assign(**change))
    with pytest.raises(NoMaximumError, match=message) as refused:
        model.fit_ml()
    assert refused.value.terms == (() if change else ("f[b]",))
    mode = model.fit_map()
    assert mode.converged
    (note,) = [n for n in mode.notes if "priors alone" in n]
    assert note.startswith(f"The priors alone keep the estimates finite ({refused.value.reason}). They decide")
    assert note.endswith(
        "They decide how large the estimates and their intervals are: see what other sensible priors give."
    )
    assert mode.diagnostics().verdict.startswith("Take care: the priors alone keep the estimates finite")


# groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "said"), [(2, True), (5, True), (6, False)])
def test_few_groups(groups, said):
    fit = Model("y ~ 1 + (1 | g)", few_groups(groups)).fit_ml()
    sentence = (
        f"There are only {groups} groups of g. They hardly determine a standard deviation, and intervals that rest on it "
        f"are too narrow: give it a prior that you can defend, with fit_map() or sample(), or put g among the fixed effects."
    )
    assert (sentence in fit.notes) == said
    assert not any("only" in note for note in fit.model.fit_map().notes)


def test_few_groups_of_uncorrelated_columns_are_said_once():
    data = few_groups().assign(x=np.tile(np.linspace(-1.0, 1.0, 40), 5))
    notes = told(Model("y ~ x + (x || g)", data).fit_ml())
    assert sum("There are only 5 groups of g" in note for note in notes) == 1


# where it is read -----------------------------------------------------------------------------------------------


def test_a_summary_ends_with_what_was_found():
    fit = Model("y ~ x + (1 | g)", pairs()).fit_ml()
    assert " ".join(fit.summary().split()).endswith(fit.notes[-1])


def test_several_findings_are_one_verdict():
    fit = fit_of("con_crossed", "lme4")
    assert fit.diagnostics().verdict == "Take care: there are only 4 groups of livch."
    found = Model("y ~ x + (1 | g)", ordered_within_groups()).fit_ml().diagnostics()
    assert len(found.findings) > 1
    assert [facts.group for facts in found.separation] == ["g", "g"]
    assert found.verdict == f"Take care: {'; '.join(found.problems)}."
