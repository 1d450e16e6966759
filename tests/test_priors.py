"""Prior values, default rules, and how they are resolved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesmlm.errors import PriorError
from bayesmlm.priors import DISTRIBUTIONS, Prior, parse_prior, resolve_priors


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("normal(0, 1)", Prior("normal", (0.0, 1.0))),
        (" normal ( -1.5 ,2e1 ) ", Prior("normal", (-1.5, 20.0))),
        ("student_t(3, 0, 2.5)", Prior("student_t", (3.0, 0.0, 2.5))),
        ("cauchy(0, 2)", Prior("cauchy", (0.0, 2.0))),
        ("half_normal(1)", Prior("half_normal", (1.0,))),
        ("half_student_t(3, 0, 1)", Prior("half_student_t", (3.0, 0.0, 1.0))),
        ("half_cauchy(1)", Prior("half_cauchy", (1.0,))),
        ("exponential(2)", Prior("exponential", (2.0,))),
        ("gamma(2, 0.1)", Prior("gamma", (2.0, 0.1))),
        ("lkj(2)", Prior("lkj", (2.0,))),
        ("flat", Prior("flat")),
        ("flat()", Prior("flat")),
    ],
)
def test_priors_are_read(text, prior):
    assert parse_prior(text) == prior
    assert parse_prior(prior) is prior


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the prior"),
        ("normal(0 1)", "cannot read the prior"),
        ("normal(0, 1", "cannot read the prior"),
        ("normal(0, 1) + 1", "cannot read the prior"),
        ("normal(0, sd)", "cannot read the prior"),
        ("normal(0, 1,)", "cannot read the prior"),
        ("3", "cannot read the prior"),
        ("norml(0, 1)", 'no prior distribution "norml"; did you mean "normal"'),
        ("Normal(0, 1)", 'did you mean "normal"'),
        ("normal(0)", r"normal takes 2 numbers \(mean, sd\), not 1"),
        ("flat(1)", r"flat takes 0 numbers \(none\), not 1"),
        ("normal(0, 0)", "sd must be a positive number"),
        ("normal(0, -1)", "sd must be a positive number"),
        ("normal(nan, 1)", "mean must be a number"),
        ("normal(0, inf)", "sd must be a positive number"),
        ("gamma(0, 1)", "shape must be a positive number"),
        ("student_t(0, 0, 1)", "df must be a positive number"),
        ("half_student_t(3, 1, 1)", "starts at 0"),
        ("lkj(0)", "eta must be a positive number"),
    ],
)
def test_what_is_no_prior_is_refused(text, message):
    with pytest.raises(PriorError, match=message):
        parse_prior(text)


@pytest.mark.parametrize(
    ("text", "role", "message"),
    [
        ("gamma(1, 1)", "coefficient", "gamma.* cannot be the prior of a coefficient; use one of: normal"),
        ("half_normal(1)", "coefficient", "cannot be the prior of a coefficient"),
        ("normal(0, 1)", "sd", "cannot be the prior of a standard deviation; use one of: half_normal"),
        ("lkj(1)", "sd", "cannot be the prior of a standard deviation"),
        ("normal(0, 1)", "correlation", "cannot be the prior of a correlation; use one of: lkj"),
    ],
)
def test_a_prior_must_fit_its_role(text, role, message):
    with pytest.raises(PriorError, match=message):
        parse_prior(text, role)


@given(
    st.sampled_from(sorted(DISTRIBUTIONS)),
    st.lists(st.floats(1e-6, 1e9), min_size=3, max_size=3),
)
def test_writing_and_reading_a_prior_gives_the_same_prior(distribution, values):
    """To the last digit: a spec file must hold the prior that was used."""
    parameters = tuple(values[: len(DISTRIBUTIONS[distribution])])
    if distribution == "half_student_t":
        parameters = (parameters[0], 0.0, parameters[2])
    prior = Prior(distribution, parameters)
    assert parse_prior(str(prior)) == prior


def test_parameters_by_name():
    prior = parse_prior("student_t(3, 1, 2.5)")
    assert (prior["df"], prior["mean"], prior["scale"]) == (3.0, 1.0, 2.5)


def density(prior, x):
    match prior.distribution:
        case "normal":
            return stats.norm.pdf(x, prior["mean"], prior["sd"])
        case "student_t":
            return stats.t.pdf(x, prior["df"], prior["mean"], prior["scale"])
        case "cauchy":
            return stats.cauchy.pdf(x, prior["location"], prior["scale"])
        case "half_normal":
            return stats.halfnorm.pdf(x, 0, prior["sd"])
        case "half_student_t":
            return 2 * stats.t.pdf(x, prior["df"], 0, prior["scale"])
        case "half_cauchy":
            return stats.halfcauchy.pdf(x, 0, prior["scale"])
        case "exponential":
            return stats.expon.pdf(x, 0, 1 / prior["rate"])
        case "gamma":
            return stats.gamma.pdf(x, prior["shape"], 0, 1 / prior["rate"])


@pytest.mark.parametrize(
    "text",
    [
        "normal(0.5, 2)",
        "student_t(4, 0.5, 2)",
        "cauchy(0.5, 2)",
        "half_normal(2)",
        "half_student_t(4, 0, 2)",
        "half_cauchy(2)",
        "exponential(2)",
        "gamma(2, 0.5)",
    ],
)
@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_scaling_a_prior_is_a_change_of_variable(text, factor):
    """If x has the prior, factor * x has the scaled one: p_scaled(factor x) * factor = p(x)."""
    prior, x = parse_prior(text), np.array([0.1, 0.7, 2.0, 5.0])
    np.testing.assert_allclose(density(prior.scaled(factor), factor * x) * factor, density(prior, x), rtol=1e-12)


# resolution -------------------------------------------------------------------------------------------------

TERMS, SDS = ("Intercept", "age", "urban[Y]"), np.array([0.0, 5.0, 0.5])
GROUPS = (
    ("district", ("Intercept", "age"), np.array([0.0, 5.0])),
    ("school", ("Intercept",), np.array([0.0])),
)


def resolve(chosen, groups=GROUPS):
    return resolve_priors(chosen, TERMS, SDS, groups)


def written(priors):
    return [str(prior) for prior in priors]


def test_defaults_follow_the_rules():
    priors = resolve({})
    assert written(priors.fixed) == ["student_t(3, 0, 2.5)", "normal(0, 0.5)", "normal(0, 5)"]
    assert [written(sds) for sds in priors.sd] == [
        ["half_student_t(3, 0, 2.5)", "half_student_t(3, 0, 0.5)"],
        ["half_student_t(3, 0, 2.5)"],
    ]
    assert [str(prior) for prior in priors.correlation] == ["lkj(2)", "None"]


def test_one_term_all_slopes_and_the_intercept():
    priors = resolve({"age": "normal(0, 1)", "fixed": "cauchy(0, 2)", "Intercept": "normal(0, 10)"})
    assert written(priors.fixed) == ["normal(0, 10)", "normal(0, 1)", "cauchy(0, 2)"]


def test_fixed_does_not_speak_for_the_intercept():
    assert str(resolve({"fixed": "normal(0, 1)"}).fixed[0]) == "student_t(3, 0, 2.5)"


def test_standard_deviations_by_all_by_group_and_by_column():
    assert written(resolve({"sd": "exponential(1)"}).sd[0]) == ["exponential(1)"] * 2
    by_group = resolve({"sd": {"school": "exponential(1)"}})
    assert written(by_group.sd[1]) == ["exponential(1)"]
    assert written(by_group.sd[0])[0] == "half_student_t(3, 0, 2.5)"
    by_column = resolve({"sd": {"district": {"age": "gamma(2, 0.1)"}}})
    assert written(by_column.sd[0]) == ["half_student_t(3, 0, 2.5)", "gamma(2, 0.1)"]


def test_correlations():
    assert str(resolve({"cor": "lkj(4)"}).correlation[0]) == "lkj(4)"
    assert str(resolve({"cor": {"district": "lkj(4)"}}).correlation[0]) == "lkj(4)"


def test_uncorrelated_terms_share_a_name():
    groups = (("g", ("Intercept",), np.zeros(1)), ("g", ("x",), np.ones(1)))
    priors = resolve({"sd": {"g": {"x": "exponential(1)"}}}, groups)
    assert [written(sds) for sds in priors.sd] == [["half_student_t(3, 0, 2.5)"], ["exponential(1)"]]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"aeg": "normal(0, 1)"}, 'a prior is given for "aeg", which the model does not have; did you mean "age"'),
        ({"urban": "normal(0, 1)"}, r'did you mean "urban\[Y\]"'),
        ({"sd": {"distrct": "exponential(1)"}}, 'sd of "distrct", which is not a grouping of the model; did you mean'),
        ({"cor": {"schol": "lkj(1)"}}, 'cor of "schol", which is not a grouping'),
        ({"sd": {"school": {"age": "exponential(1)"}}}, 'sd of "age" within "school", which is not there'),
        ({"age": "gamma(1, 1)"}, "cannot be the prior of a coefficient"),
        ({"sd": "normal(0, 1)"}, "cannot be the prior of a standard deviation"),
        ({"cor": "normal(0, 1)"}, "cannot be the prior of a correlation"),
        ({"age": {"deeper": "normal(0, 1)"}}, "cannot read the prior"),
    ],
)
def test_priors_on_what_is_not_there_are_refused(chosen, message):
    with pytest.raises(PriorError, match=message):
        resolve(chosen)


def test_priors_on_groups_of_a_model_without_any_say_so():
    with pytest.raises(PriorError, match="it has none"):
        resolve({"sd": {"g": "exponential(1)"}}, ())
