"""Prior values, default rules, and how they are resolved."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesmlm.errors import PriorError
from bayesmlm.model import Model
from bayesmlm.prior_rules import resolve_priors
from bayesmlm.priors import DISTRIBUTIONS, ROLES, Prior, parse_prior
from bayesmlm.spec import Spec


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
        ("half-normal(1)", 'no prior distribution "half-normal"; did you mean "half_normal"'),
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


PROPER = [
    "normal(0.5, 2)",
    "student_t(4, 0.5, 2)",
    "cauchy(0.5, 2)",
    "half_normal(2)",
    "half_student_t(4, 0, 2)",
    "half_cauchy(2)",
    "exponential(2)",
    "gamma(2, 0.5)",
]


@pytest.mark.parametrize("text", PROPER)
def test_draws_follow_the_density(text):
    """Kolmogorov's distance of 20,000 draws from the density's own integral: 0.0157 is exceeded about once in 10,000."""
    prior = parse_prior(text)
    draws = np.sort(prior.draw(np.random.default_rng(3), 20_000))
    grid = np.linspace(*np.quantile(draws, [0.01, 0.99]), 2001)
    mass = np.array([np.exp(prior.log_density(x)[0]) for x in grid])
    between = np.concatenate([[0.0], np.cumsum((mass[1:] + mass[:-1]) / 2 * np.diff(grid))])
    share = np.searchsorted(draws, grid) / len(draws)
    assert np.abs(share - share[0] - between).max() < 0.0157


def test_nothing_is_drawn_from_a_flat_prior():
    with pytest.raises(PriorError, match="nothing can be drawn from a flat prior"):
        parse_prior("flat()").draw(np.random.default_rng(1), 3)


@pytest.mark.parametrize("text", PROPER)
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
        ({"cor": {"school": "lkj(1)"}}, 'cor of "school", whose effects have no correlation'),
        ({"fixed": {"aeg": "normal(0, 1)"}}, 'fixed of "aeg", which is not a term of the model; did you mean "age"'),
        ({"sigma": "exponential(1)"}, 'a prior is given for "sigma", which the model does not have'),
        ({"age": "gamma(1, 1)"}, r'gamma\(1, 1\) cannot be the prior of a coefficient \("age"\); use one of'),
        ({"sd": "normal(0, 1)"}, r'cannot be the prior of a standard deviation \("Intercept \| district"\)'),
        ({"cor": "normal(0, 1)"}, r'cannot be the prior of a correlation \("district"\)'),
        ({"age": {"deeper": "normal(0, 1)"}}, "cannot read the prior"),
    ],
)
def test_priors_on_what_is_not_there_are_refused(chosen, message):
    with pytest.raises(PriorError, match=message):
        resolve(chosen)


def test_every_prior_says_where_it_comes_from():
    chosen = {
        "age": "normal(0, 1)", "fixed": "cauchy(0, 2)", "cor": "lkj(3)",
        "sd": {"district": {"age": "gamma(2, 1)"}, "school": "exponential(1)"},
    }  # fmt: skip
    assert resolve(chosen).origins == (
        "default", "age", "fixed",  # fixed effects
        "default", "sd.district.age", "cor",  # district
        "sd.school",
    )  # fmt: skip
    assert set(resolve({}).origins) == {"default"}


def test_a_term_may_bear_the_name_of_a_class():
    """Its prior is then given in the table of fixed effects; the name alone speaks for the class."""
    terms, groups = ("Intercept", "sd"), (("g", ("Intercept",), np.zeros(1)),)
    chosen = {"fixed": {"sd": "normal(0, 3)"}, "sd": "exponential(1)"}
    priors = resolve_priors(chosen, terms, np.array([0.0, 1.0]), groups)
    assert written(priors.fixed) == ["student_t(3, 0, 2.5)", "normal(0, 3)"]
    assert written(priors.sd[0]) == ["exponential(1)"]
    assert priors.origins == ("default", "fixed.sd", "sd")


def test_a_gaussian_response_scales_the_defaults():
    priors = resolve_priors({}, TERMS, SDS, GROUPS, response=(300.0, 50.0))
    assert written(priors.fixed) == ["student_t(3, 300, 125)", "normal(0, 25)", "normal(0, 250)"]
    assert written(priors.sd[0]) == ["half_student_t(3, 0, 125)", "half_student_t(3, 0, 25)"]
    assert written(priors.mode_sd[1]) == ["gamma(2, 0.002)"]
    assert str(priors.sigma) == "half_student_t(3, 0, 125)"
    given = resolve_priors({"sigma": "exponential(0.1)"}, TERMS, SDS, GROUPS, response=(300.0, 50.0))
    assert (str(given.sigma), given.origins[-1]) == ("exponential(0.1)", "sigma")


def test_priors_on_groups_of_a_model_without_any_say_so():
    with pytest.raises(PriorError, match="it has none"):
        resolve({"sd": {"g": "exponential(1)"}}, ())


# in specs and at the shell ----------------------------------------------------------------------------------


def test_every_prior_survives_the_spec_file_of_its_model(contraception):
    """Whatever can be given for a role is the same value after writing and reading, and so is where it came from."""
    numbers = iter(np.random.default_rng(8).uniform(0.1, 9.0, 1000).tolist())

    def any_prior(distribution):
        values = [next(numbers) for _ in DISTRIBUTIONS[distribution]]
        if distribution == "half_student_t":
            values[1] = 0.0
        return Prior(distribution, tuple(values))

    formula = "use ~ age + urban + (1 + age | district) + (1 | urban:district)"
    for coefficient in ROLES["coefficient"]:
        for sd in ROLES["sd"]:
            priors = {
                "Intercept": any_prior(coefficient),
                "urban[Y]": str(any_prior(coefficient)),
                "fixed": any_prior(coefficient),
                "sd": {"district": {"age": any_prior(sd)}, "urban:district": str(any_prior(sd))},
                "cor": {"district": any_prior("lkj")},
            }
            spec = Spec(formula, priors=priors, name="m")
            back = Spec.from_toml(spec.to_toml())
            assert back == spec
            assert Model(back, contraception).priors().equals(Model(spec, contraception).priors())


def test_a_spec_keeps_its_priors_whatever_becomes_of_the_users_table():
    given = {"x": "normal(0, 1)", "sd": {"g": "exponential(1)"}}
    spec = Spec("y ~ x + (1 | g)", priors=given)
    given["x"] = given["sd"]["g"] = "flat()"
    assert spec.priors == {"x": Prior("normal", (0.0, 1.0)), "sd": {"g": Prior("exponential", (1.0,))}}


def test_the_table_of_priors_is_on_the_users_scale(contraception):
    model = Model("use ~ age + (1 | district)", contraception, priors={"Intercept": "normal(0, 1)"})
    table = model.priors().set_index(["component", "term"])
    sd = contraception.age.std(ddof=0)
    assert table.loc[("fixed", "age"), "prior"] == f"normal(0, {2.5 / sd:.6g})"
    assert table.origin.tolist() == ["Intercept", "default", "default"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('agee = "normal(0, 1)"', 'a prior is given for "agee", which the model does not have; did you mean "age"?'),
        ('age = "normal(0 1)"', 'cannot read the prior "normal(0 1)"'),
        ('sd = "normal(0, 1)"', "cannot be the prior of a standard deviation"),
    ],
)
def test_at_the_shell_a_wrong_prior_is_one_sentence_and_exit_code_2(line, message, tmp_path):
    (tmp_path / "s.toml").write_text(
        f'[data]\nsource = "contraception"\n[models.m]\nformula = "use ~ age + (1 | district)"\n'
        f'methods = ["ml"]\n[models.m.priors]\n{line}\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "bayesmlm.cli", "run", "s.toml", "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
