"""Binding a spec and data."""

import numpy as np
import pytest

from bayesmlm.errors import BayesmlmError, DataError, FitError, SpecError
from bayesmlm.model import Model
from bayesmlm.spec import DataSource, Spec


def test_text_or_spec(toy):
    a = Model("y ~ x + (1 | g)", toy, family="bernoulli", link="probit", priors={"x": "normal(0, 1)"}, name="m")
    b = Model(Spec("y ~ x + (1 | g)", link="probit", priors={"x": "normal(0, 1)"}, name="m"), toy)
    assert a.spec == b.spec
    assert a.name == "m"
    assert a.fit_ml().loglik == b.fit_ml().loglik


def test_arguments_go_before_the_spec(toy):
    spec = Spec("y ~ x", priors={"x": "normal(0, 1)"}, name="old", weights="w")
    model = Model(spec, toy, priors={"x": "cauchy(0, 1)"}, name="new", weights="reps")
    assert (model.name, model.spec.weights, str(model.design.priors.fixed[1])) == ("new", "reps", "cauchy(0, 1)")
    np.testing.assert_array_equal(model.design.weights, toy.reps)


def test_extras_as_columns_are_part_of_the_spec(toy):
    assert Model("y ~ x", toy, weights="w", offset="o").spec == Spec("y ~ x", weights="w", offset="o")


def test_repr_says_what_it_is(toy):
    text = repr(Model("y ~ x + (1 | g)", toy, name="m"))
    assert "m" in text
    assert "y ~ x + (1 | g)" in text
    assert "bernoulli (logit)" in text
    assert "120 rows" in text


@pytest.mark.parametrize("weights", ["w", None])
def test_update_keeps_data_family_and_extras(weights, toy):
    offset = toy.o.to_numpy()
    model = Model("y ~ x + (1 | g)", toy, link="probit", weights=weights, offset=offset, name="m")
    other = model.update("y ~ z + (1 | g)")
    direct = Model("y ~ z + (1 | g)", toy, link="probit", weights=weights, offset=offset)
    assert other.design.terms == ("Intercept", "z")
    assert other.fit_ml().loglik == pytest.approx(direct.fit_ml().loglik, abs=1e-10)
    assert model.design.terms == ("Intercept", "x")


def test_update_keeps_prepared_data(tmp_path):
    (tmp_path / "d.csv").write_text("y,a\n0,1\n1,2\n1,1\n0,3\n1,3\n", encoding="utf-8")
    spec = Spec("y ~ double", data=DataSource(str(tmp_path / "d.csv"), derive={"double": "a * 2"}))
    assert Model(spec).update("y ~ double + I(double^2)").design.terms[-1] == "I(double^2)"


def test_a_spec_prepares_given_data_too(toy):
    spec = Spec("y ~ f", data=DataSource("unused", levels={"f": ("c", "b", "a")}))
    assert Model(spec, toy).design.terms == ("Intercept", "f[b]", "f[a]")


def test_a_model_is_fitted_many_times_without_a_trace(toy):
    model = Model("y ~ x + (1 | g)", toy)
    a = model.fit_ml()
    model.fit_ml(n_agq=7)
    b = model.fit_ml()
    np.testing.assert_array_equal(a.table(ranef=True).estimate, b.table(ranef=True).estimate)


def test_the_users_data_stay_as_they_are(toy):
    before = toy.copy()
    Model("y ~ x*f + flag + (x | g) + offset(log(n))", toy, weights="w").fit_ml().predict(toy)
    assert toy.equals(before)


def test_what_cannot_be_bound_raises_at_once(toy):
    with pytest.raises(DataError, match='no column "xx"'):
        Model("y ~ xx", toy)
    with pytest.raises(SpecError, match="no family"):
        Model("y ~ x", toy, family="gausian")
    with pytest.raises(BayesmlmError, match=r"priors|normal"):
        Model("y ~ x", toy, priors="normal(0, 1)")


def test_a_mode_has_priors_of_its_own(toy):
    model = Model("y ~ x + (x | g)", toy, priors={"sd": {"g": {"x": "exponential(1)"}}})
    sampled, mode = model.priors(), model.priors("map")
    assert sampled.prior.tolist()[2:] == ["half_student_t(3, 0, 2.5)", "exponential(1)", "lkj(2)"]
    assert mode.prior.tolist()[2:] == ["gamma(2, 0.1)", "exponential(1)", "lkj(2)"]
    with pytest.raises(FitError, match='no priors for "ml"; there are: nuts, map'):
        model.priors("ml")


def test_sigma_has_a_prior(sleepstudy):
    model = Model("Reaction ~ Days", sleepstudy, family="gaussian", priors={"sigma": "exponential(0.01)"})
    assert model.priors().iloc[-1].tolist() == ["residual", "", "sigma", "exponential(0.01)", "sigma"]
    assert model.priors().term.tolist() == ["Intercept", "Days", "sigma"]


def test_a_gaussian_model_has_all_its_readings(sleepstudy):
    """Means and modes within a tenth of a posterior standard deviation of each other for the fixed effects."""
    model = Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian")
    likelihood, posterior = model.fit_ml(reml=True).table(), model.sample(seed=1).table()
    assert posterior.component.tolist() == likelihood.component.tolist()
    distance = (posterior.estimate - likelihood.estimate) / posterior.std_error
    assert (distance[:2].abs() < 0.1).all()
    assert (distance.abs() < 1.0).all()
    assert "sigma" in model.to_pymc().named_vars


def test_reml_is_for_gaussian_models_only(toy):
    with pytest.raises(FitError, match="REML is defined for gaussian models"):
        Model("y ~ x + (1 | g)", toy).fit_ml(reml=True)


@pytest.mark.parametrize(
    ("response", "message"), [("f", 'should be numbers .* it holds "'), ("log(y)", "is -inf in row")]
)
def test_a_gaussian_response_is_finite_numbers(response, message, toy):
    with pytest.raises(DataError, match=message):
        Model(f"{response} ~ x", toy, family="gaussian")
