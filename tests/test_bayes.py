"""The posterior reading: the PyMC model is the meaning, the kernel is the same density, the draws are labelled."""

import arviz as az
import numpy as np
import pandas as pd
import pytensor
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats
from scipy.special import expit, log_expit

from bayesmlm.bayes.compile import compile_model
from bayesmlm.bayes.diagnostics import energy_fraction
from bayesmlm.bayes.fit import BayesFit
from bayesmlm.bayes.kernel import build_kernel
from bayesmlm.design import build_design
from bayesmlm.errors import FitError
from bayesmlm.model import Model
from bayesmlm.prediction import averaged_mean
from bayesmlm.spec import Spec
from tests.conftest import refusal

# A remark on the machine's linear algebra, made once by whichever test compiles a product first.
pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS installation")

PLAIN = Mode(linker="py", optimizer=None)
"""Evaluate the graph as it is written: nothing to optimise, nothing to compile."""

# name: formula, family, link, priors, and weights, freq or offset
CASES = {
    "no groups": ("y ~ x + f", {}),
    "one intercept": ("y ~ x + f + (1 | g)", {}),
    "intercept alone": ("y ~ 1 + (1 | g)", {}),
    "nested": ("y ~ x + (1 | g/f)", {}),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", {}),
    "uncorrelated slopes": ("y ~ x + (x || g)", {}),
    "slope alone": ("y ~ x + (0 + x | g)", {}),
    "trials": ("cbind(s, n - s) ~ x + (1 | g)", {"family": "binomial"}),
    "ratio": ("s / n ~ x + (1 | g)", {"family": "binomial"}),
    "proportions": ("p ~ x + (1 | g)", {"family": "binomial", "weights": "n"}),
    "poisson": ("count ~ x + (1 | h)", {"family": "poisson"}),
    "probit": ("y ~ x + (1 | g)", {"link": "probit"}),
    "cloglog": ("y ~ x + (1 | g)", {"link": "cloglog"}),
    "trials probit": ("cbind(s, n - s) ~ x + (1 | g)", {"family": "binomial", "link": "probit"}),
    "trials cloglog": ("cbind(s, n - s) ~ x + (1 | g)", {"family": "binomial", "link": "cloglog"}),
    "weights": ("y ~ x + (1 | g)", {"weights": "w"}),
    "frequencies": ("y ~ x + (1 | g)", {"freq": "reps"}),
    "weights and frequencies of trials": (
        "cbind(s, n - s) ~ x + (1 | g)", {"family": "binomial", "weights": "w", "freq": "reps"},
    ),
    "weights of counts": ("count ~ x + (1 | h)", {"family": "poisson", "weights": "w", "freq": "reps"}),
    "offset": ("y ~ x + offset(o) + (1 | g)", {}),
    "two offsets": ("count ~ x + offset(log(n)) + (1 | h)", {"family": "poisson", "offset": "o"}),
    "no intercept": ("y ~ 0 + x + f + (1 | g)", {}),
    "no fixed effects": ("y ~ 0 + (1 | g)", {}),
    "correlated": ("y ~ x + (x | g)", {}),
    "three columns": ("y ~ x + (x + z | g)", {"priors": {"cor": "lkj(3)"}}),
    "four columns": ("count ~ x + (x + z + o | h)", {"family": "poisson", "weights": "w"}),
    "correlated and crossed": ("cbind(s, n - s) ~ x + (x | g) + (1 | h) + (0 + z | f)", {"family": "binomial"}),
    "gaussian": ("z ~ x + f", {"family": "gaussian"}),
    "gaussian groups": ("z ~ x + (1 | g) + (1 | h)", {"family": "gaussian", "priors": {"sigma": "gamma(2, 0.5)"}}),
    "gaussian slopes": ("z ~ x + (x | g)", {"family": "gaussian", "priors": {"sigma": "exponential(1)"}}),
    "gaussian weights": ("z ~ x + (1 | g)", {"family": "gaussian", "weights": "w", "freq": "reps", "offset": "o"}),
    "repeated rows": ("y ~ f + (1 | h)", {"weights": "w", "freq": "reps"}),
    "repeated counts": ("count ~ f + (1 | h)", {"family": "poisson"}),
    "mixed priors": ("y ~ x + z + f + (1 | g)", {"priors": {"x": "normal(0, 1)", "z": "cauchy(0, 1)"}}),
}  # fmt: skip
for prior in ("normal(0.3, 2)", "student_t(4, 0.2, 1.5)", "cauchy(0.1, 2)", "flat()"):
    CASES[f"coefficients {prior}"] = ("y ~ x + z + (1 | g)", {"priors": {"Intercept": prior, "fixed": prior}})
for prior in (
    "half_normal(2)",
    "half_student_t(4, 0, 1)",
    "half_cauchy(1)",
    "exponential(2)",
    "gamma(2, 0.1)",
    "flat()",
):
    CASES[f"sd {prior}"] = ("y ~ x + (1 | g)", {"priors": {"sd": prior}})


def design_of(case, data):
    formula, given = CASES[case]
    extras = {key: given[key] for key in ("weights", "freq", "offset") if key in given}
    spec = Spec(formula, given.get("family", "bernoulli"), given.get("link"), given.get("priors", {}))
    return build_design(spec, data.assign(p=data.s / data.n), **extras)


def density_of(model):
    """x -> (log-density, gradient) of a ``pm.Model``, x its free variables in their order, raveled."""
    values = [model.rvs_to_values[variable] for variable in model.free_RVs]
    initial = model.initial_point()
    shapes = [np.shape(initial[value.name]) for value in values]
    logp = model.logp()
    function = pytensor.function(values, [logp, *pytensor.grad(logp, values)], mode=PLAIN)

    def at(x):
        parts, place = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(np.reshape(x[place : place + size], shape))
            place += size
        assert place == len(x)
        value, *gradient = function(*parts)
        return float(value), np.concatenate([np.ravel(g) for g in gradient])

    start = np.concatenate([np.ravel(initial[value.name]) for value in values])
    return at, start


# the kernel is the model --------------------------------------------------------------------------------------


def every_other(design, first):
    """Centred and standardised terms by turns."""
    return tuple((t % 2 == 0) == first for t in range(len(design.groups)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("first", [False, True], ids=["standardised", "centred"])
def test_the_kernel_is_the_pymc_model(case, first, toy):
    """Log-density and gradient to 1e-8 of themselves at random points, all constants included."""
    design = design_of(case, toy)
    centered = every_other(design, first)
    kernel = build_kernel(design, centered)
    at, start = density_of(compile_model(design, centered))
    assert len(start) == kernel.size
    rng = np.random.default_rng(7)
    for x in [start, *(0.8 * rng.normal(size=(3, kernel.size)))]:
        value, gradient = at(x)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        mine, mine_gradient = kernel(x)
        assert mine == pytest.approx(value, rel=1e-8)
        np.testing.assert_allclose(mine_gradient, gradient, rtol=1e-8, atol=1e-8 * np.abs(gradient).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("first", [False, True], ids=["standardised", "centred"])
def test_the_kernels_gradient_is_that_of_its_value(case, first, toy):
    """Fourth-order differences with h = 1e-3: truncation 1e-10 and rounding 1e-11 of the value's scale."""
    design = design_of(case, toy)
    kernel = build_kernel(design, every_other(design, first))
    x = 0.5 * np.random.default_rng(3).normal(size=kernel.size)
    exact = kernel(x)[1]
    for j in range(min(kernel.size, 12)):
        e = np.zeros(kernel.size)
        e[j] = 1e-3
        f = [kernel(x + k * e)[0] for k in (-2, -1, 1, 2)]
        numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-3
        assert exact[j] == pytest.approx(numeric, rel=1e-7, abs=1e-7)


def test_the_density_by_hand_on_the_users_scale(toy):
    """Priors on the user's coefficients, the intercept at the predictors' means, and the log-Jacobians."""
    design = build_design(
        Spec("y ~ x + z + (1 | g)", priors={"x": "normal(0.3, 2)", "z": "student_t(4, 0, 1)", "sd": "gamma(2, 0.5)"}),
        toy,
    )
    kernel = build_kernel(design)
    point = 0.6 * np.random.default_rng(11).normal(size=kernel.size)
    intercept, scaled, log_sd, u = point[0], point[1:3], point[3], point[4:]
    spread = toy[["x", "z"]].std(ddof=0).to_numpy()
    beta, sd = scaled / spread, np.exp(log_sd)
    centred = toy[["x", "z"]] - toy[["x", "z"]].mean()
    codes = design.groups[0].codes
    eta = intercept + centred.to_numpy() @ beta + sd * u[codes]
    expected = (
        stats.t.logpdf(intercept, 3, 0, 2.5)
        + stats.norm.logpdf(beta[0], 0.3, 2) - np.log(spread[0])
        + stats.t.logpdf(beta[1], 4, 0, 1) - np.log(spread[1])
        + stats.gamma.logpdf(sd, 2, 0, 1 / 0.5) + log_sd
        + stats.norm.logpdf(u).sum()
        + (toy.y * log_expit(eta) + (1 - toy.y) * log_expit(-eta)).sum()
    )  # fmt: skip
    assert kernel(point)[0] == pytest.approx(expected, rel=1e-11)


def test_centred_effects_are_the_same_model(toy):
    """ranef = sd · z: the centred density is the other one less the log-Jacobian, groups × log sd."""
    design = design_of("one intercept", toy)
    plain, start = density_of(compile_model(design))
    centred, _ = density_of(compile_model(design, centered=True))
    x = 0.5 * np.random.default_rng(5).normal(size=len(start))
    p, levels = len(design.terms), design.groups[0].n_levels
    moved = x.copy()
    moved[p + 1 :] *= np.exp(x[p])
    assert centred(moved)[0] == pytest.approx(plain(x)[0] - levels * x[p], rel=1e-8)


class Correlated:
    """A model with a correlated slope, which goes through PyMC: density, and quantities at a point."""

    def __init__(self, data, eta):
        self.design = build_design(Spec("y ~ x + (x | g)", priors={"cor": f"lkj({eta})"}), data)
        self.model = compile_model(self.design)
        self.density, self.start = density_of(self.model)
        names = [variable.name for variable in self.model.free_RVs]
        initial = self.model.initial_point()
        values = [self.model.rvs_to_values[variable] for variable in self.model.free_RVs]
        self.shapes = [np.shape(initial[value.name]) for value in values]
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        ends = np.cumsum(sizes)
        self.place = {name: slice(end - size, end) for name, end, size in zip(names, ends, sizes, strict=True)}
        wanted = self.model.replace_rvs_by_values([self.model[name] for name in ("beta", "sd_g", "cor_g", "ranef_g")])
        self.function = pytensor.function(values, wanted, mode=PLAIN, on_unused_input="ignore")

    def quantities(self, x):
        parts = np.split(x, np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1])
        return self.function(*(np.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)))


@pytest.fixture(scope="module")
def correlated(toy):
    return Correlated(toy, 3)


def test_the_pairs_of_columns_are_a_dimension(correlated):
    assert list(correlated.model.coords["g_pair"]) == ["Intercept,x"]


def test_correlated_effects_are_sd_times_factor_times_z(correlated):
    x = correlated.start + 0.5 * np.random.default_rng(2).normal(size=len(correlated.start))
    _, sd, cor, ranef = correlated.quantities(x)
    z = x[correlated.place["z_g"]].reshape(-1, 2)
    root = np.diag(sd) @ np.linalg.cholesky(np.array([[1.0, cor[0]], [cor[0], 1.0]]))
    np.testing.assert_allclose(ranef, z @ root.T, rtol=1e-10)


def test_the_likelihood_of_correlated_effects_by_hand(correlated, toy):
    """Between two values of z, all else equal, the density moves by the normal of z and the answers'."""
    a = correlated.start + 0.5 * np.random.default_rng(3).normal(size=len(correlated.start))
    b = a.copy()
    b[correlated.place["z_g"]] = 0.3 * np.random.default_rng(4).normal(size=12)

    def by_hand(x):
        beta, _, _, ranef = correlated.quantities(x)
        group = correlated.design.groups[0]
        eta = correlated.design.X @ beta + np.einsum("ia,ia->i", group.z, ranef[group.codes])
        answers = (toy.y * log_expit(eta) + (1 - toy.y) * log_expit(-eta)).sum()
        return answers + stats.norm.logpdf(x[correlated.place["z_g"]]).sum()

    assert correlated.density(a)[0] - correlated.density(b)[0] == pytest.approx(by_hand(a) - by_hand(b), rel=1e-8)


def test_the_prior_of_a_correlation_is_lkj(correlated):
    """For two columns (1 + ρ)/2 ~ Beta(η, η), seen through the sampler's coordinate with its Jacobian.

    With z at zero the answers say nothing of ρ; dρ/dv by differences, good to 1e-8.
    """
    free = correlated.place["cor_g_factor"]
    assert free.stop - free.start == 1
    base = correlated.start.copy()
    base[correlated.place["z_g"]] = 0.0

    def density_and_prior(v):
        x = base.copy()
        x[free] = v
        rho, high, low = (
            correlated.quantities(np.where(np.arange(len(x)) == free.start, v + h, x))[2][0] for h in (0.0, 1e-5, -1e-5)
        )
        prior = stats.beta.logpdf((1 + rho) / 2, 3, 3) + np.log(abs(high - low) / 2e-5)
        return correlated.density(x)[0] - prior

    values = [density_and_prior(v) for v in (-1.5, -0.4, 0.0, 0.7, 2.0)]
    np.testing.assert_allclose(values, values[0], atol=1e-6)


def test_names_and_coords_of_the_pymc_model(contraception):
    model = Model("use ~ age + urban + (1 | urban:district)", contraception).to_pymc()
    assert list(model.coords["term"]) == ["Intercept", "age", "urban[Y]"]
    assert len(model.coords["urban:district"]) == 102
    assert model.named_vars_to_dims["beta"] == ("term",)
    assert model.named_vars_to_dims["ranef_urban:district"][0] == "urban:district"


def test_the_table_of_priors(toy):
    table = Model("y ~ x + (x | g)", toy, priors={"x": "normal(0, 1)", "cor": "lkj(3)"}).priors()
    assert table[["component", "group", "term"]].to_numpy().tolist() == [
        ["fixed", "", "Intercept"], ["fixed", "", "x"], ["sd", "g", "Intercept"], ["sd", "g", "x"], ["cor", "g", ""],
    ]  # fmt: skip
    assert table.prior.iloc[1] == "normal(0, 1)"
    assert table.prior.iloc[4] == "lkj(3)"


# draws ----------------------------------------------------------------------------------------------------------

SHORT = {"draws": 100, "tune": 150, "chains": 2}


@pytest.fixture(scope="module")
def model(toy):
    return Model("y ~ x + f + (x || g) + (1 | h)", toy, name="short")


@pytest.fixture(scope="module")
def fit(model):
    return model.sample(**SHORT, seed=3)


def test_draws_are_labelled(fit, toy):
    assert isinstance(fit, BayesFit)
    posterior = fit.tree["posterior"]
    assert dict(posterior.sizes) == {
        "chain": 2, "draw": 100, "term": 4, "g": 6, "g_term": 1, "g.1_term": 1, "h": 8, "h_term": 1,
    }  # fmt: skip
    assert posterior["beta"].dims == ("chain", "draw", "term")
    assert posterior.coords["term"].to_numpy().tolist() == ["Intercept", "x", "f[b]", "f[c]"]
    assert posterior["ranef_g"].dims == ("chain", "draw", "g", "g_term")
    assert posterior.coords["g"].to_numpy().tolist() == sorted(toy.g.unique())
    assert posterior.coords["g.1_term"].to_numpy().tolist() == ["x"]
    assert posterior.coords["h"].to_numpy().tolist() == [str(i) for i in range(8)]
    assert {"diverging", "energy", "tree_depth", "lp"} <= set(fit.tree["sample_stats"].data_vars)
    np.testing.assert_array_equal(fit.tree["observed_data"]["y"], toy.y)
    assert all(np.isfinite(posterior[name]).all() for name in posterior.data_vars)
    assert (posterior["sd_g"] > 0).all()


def test_lp_is_the_models_density(model, fit):
    """The sampler's own record of the log-density, at the draws turned back, up to a constant."""
    posterior, design = fit.tree["posterior"], model.design
    centered = tuple(bool(one) for one in fit.tree.attrs["centered"])
    assert any(centered)
    kernel = build_kernel(design, centered)
    inverse = np.linalg.inv(design.scaling.matrix)
    values = []
    for c, d in ((0, 0), (0, 50), (1, 99)):
        draw = posterior.isel(chain=c, draw=d)
        x = [inverse @ draw["beta"].to_numpy()]
        for label, one in zip(design.group_labels, centered, strict=True):
            sd = float(draw[f"sd_{label}"][0])
            x += [[np.log(sd)], draw[f"ranef_{label}"].to_numpy()[:, 0] / (1.0 if one else sd)]
        values.append(float(fit.tree["sample_stats"]["lp"][c, d]) - kernel(np.concatenate(x))[0])
    assert np.ptp(values) < 1e-6


def test_the_same_seed_gives_the_same_draws(model, fit):
    again, other = model.sample(**SHORT, seed=3), model.sample(**SHORT, seed=4)
    for name in fit.tree["posterior"].data_vars:
        a, b, c = (f.tree["posterior"][name].to_numpy() for f in (fit, again, other))
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    chains = fit.tree["posterior"]["beta"].to_numpy()
    assert not np.array_equal(chains[0], chains[1])


def test_the_settings_are_on_record(fit):
    attrs = fit.tree.attrs
    assert (attrs["draws"], attrs["chains"], attrs["seed"]) == (100, 2, 3)
    # R-hat of a hundred draws a chain may be above 1.01: then they were tuned longer, and the better run was kept.
    assert attrs["tune"] in ((150, 1000) if "with 1,000 tuning steps" in attrs["note"] else (150,))
    assert attrs["formula"] == "y ~ x + f + (x || g) + (1 | h)"


def test_settings_may_be_numpys(toy):
    model, given = Model("y ~ x + (1 | g)", toy), {"draws": 20, "tune": 20, "chains": 2, "seed": 5}
    plain = model.sample(**given)
    other = model.sample(**{name: np.int64(value) for name, value in given.items()})
    np.testing.assert_array_equal(plain.tree["posterior"]["beta"], other.tree["posterior"]["beta"])


def test_progress_is_told(toy):
    seen = []
    Model("y ~ x + (1 | g)", toy).sample(
        draws=700, tune=300, chains=2, progress=lambda done, total, divergences: seen.append((done, total))
    )
    assert seen
    assert all(total == 2000 and 0 <= done <= total for done, total in seen)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"draws": 0}, "draws should be 1 or more, not 0"),
        ({"draws": -5}, "draws should be 1 or more, not -5"),
        ({"draws": 2.5}, "draws"),
        ({"chains": 0}, "chains should be 1 or more, not 0"),
        ({"tune": -1}, "tune should be 0 or more, not -1"),
        ({"seed": -1}, "seed"),
        ({"method": "nut"}, 'no sampling method "nut"; did you mean "nuts"'),
        ({"method": "gibbs"}, 'no sampling method "gibbs"; there are: nuts'),
    ],
)
def test_sampling_that_is_not_offered(given, message, model):
    with pytest.raises(FitError, match=message):
        model.sample(**given)


@pytest.mark.parametrize(
    "case", ["no groups", "no fixed effects", "trials", "ratio", "poisson", "probit", "two offsets"]
)
def test_every_kind_of_model_is_sampled(case, toy):
    formula, given = CASES[case]
    fit = Model(formula, toy, **given).sample(draws=20, tune=30, chains=1)
    table = fit.table(ranef=True)
    assert np.isfinite(table.estimate).all()
    assert len(table) == len(fit.table()) + sum(g.n_levels for g in fit.design.groups)


def labels_of(formula, data):
    """Component, term and level of every row of a short posterior's table; the PyMC model must be made too."""
    model = Model(formula, data)
    model.to_pymc()
    table = model.sample(draws=10, tune=10, chains=1).table(ranef=True)
    return table[["component", "term", "level"]].to_numpy().tolist()


@pytest.mark.parametrize("name", ["term", "row", "slope", "chain", "draw", "beta", "offset", "sd_g", "X_scaled"])
def test_a_grouping_of_any_name_is_sampled_or_refused_by_name(name, toy):
    """The labels of a posterior share their names with its dimensions; a clash is said, not crashed on."""
    given = f"y ~ x + (1 | {name})", toy.rename(columns={"g": name})
    said = refusal(labels_of, *given)
    assert name in said if said is not None else labels_of(*given) == labels_of("y ~ x + (1 | g)", toy)


@pytest.mark.parametrize("name", ["beta", "offset", "trials", "row", "h_codes"])
def test_a_response_of_any_name_is_sampled_or_refused_by_name(name, toy):
    given = f"{name} ~ x + offset(o) + (1 | h)", toy.rename(columns={"y": name})
    said = refusal(labels_of, *given)
    assert name in said if said is not None else labels_of(*given) == labels_of("y ~ x + offset(o) + (1 | h)", toy)


# the posterior is the right one -----------------------------------------------------------------------------------


def test_a_small_posterior_is_that_of_a_grid():
    """Two coefficients, integrated on a grid; means and sds within five Monte-Carlo errors of 4,000 draws."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=25)
    y = rng.binomial(1, expit(0.5 + x))
    fit = Model("y ~ x", {"y": y, "x": x}, priors={"x": "normal(0, 1)"}).sample(draws=2000, chains=2, seed=2)
    slope = np.linspace(-3, 5, 321)[:, None, None]
    centre = np.linspace(-4, 5, 361)[None, :, None]
    eta = centre + slope * (x - x.mean())
    log_p = (y * log_expit(eta) + (1 - y) * log_expit(-eta)).sum(axis=2)
    log_p += stats.norm.logpdf(slope[:, :, 0]) + stats.t.logpdf(centre[:, :, 0], 3, 0, 2.5)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    table = fit.table().set_index("term")
    mean = (p * slope[:, :, 0]).sum()
    sd = np.sqrt((p * slope[:, :, 0] ** 2).sum() - mean**2)
    error = sd / np.sqrt(table.ess_bulk["x"])
    assert table.estimate["x"] == pytest.approx(mean, abs=5 * error)
    assert table.std_error["x"] == pytest.approx(sd, abs=5 * error)
    intercept = (p * (centre[:, :, 0] - slope[:, :, 0] * x.mean())).sum()
    assert table.estimate["Intercept"] == pytest.approx(intercept, abs=0.05)


def test_with_many_data_the_posterior_is_around_the_likelihoods_mode(contraception):
    """Fixed effects within a third of a standard error; a skewed standard deviation has its mean above its mode."""
    model = Model("use ~ age + urban + livch + (1 | district)", contraception)
    fit, ml = model.sample(draws=300, chains=2, seed=5).table(), model.fit_ml().table()
    moved = (fit.estimate - ml.estimate) / ml.std_error
    is_sd = ml.component == "sd"
    assert np.all(np.abs(moved[~is_sd]) < 1 / 3)
    assert moved[is_sd].between(0.0, 1.0).all()
    np.testing.assert_allclose(fit.std_error, ml.std_error, rtol=0.25)


@pytest.mark.parametrize(
    "answers",
    [lambda d: np.ones(len(d), dtype=int), lambda d: (d.x > 0).astype(int)],
    ids=["constant", "separated"],
)
def test_where_the_likelihood_has_no_maximum_the_priors_carry(answers, toy):
    fit = Model("y ~ x + (1 | g)", toy.assign(y=answers(toy))).sample(draws=100, tune=200, chains=2)
    assert np.isfinite(fit.table().estimate).all()
    assert any("priors alone keep the estimates finite" in note for note in fit.notes)


# what a posterior answers -----------------------------------------------------------------------------------------


def test_the_table(fit):
    table = fit.table(level=0.9)
    assert list(table.columns) == [
        "component", "group", "term", "level", "estimate", "std_error", "conf_low", "conf_high", "ess_bulk", "ess_tail",
        "rhat",
    ]  # fmt: skip
    assert table[["component", "group", "term"]].to_numpy().tolist() == [
        *(["fixed", "", term] for term in ("Intercept", "x", "f[b]", "f[c]")),
        ["sd", "g", "Intercept"], ["sd", "g", "x"], ["sd", "h", "Intercept"],
    ]  # fmt: skip
    beta = fit.tree["posterior"]["beta"].to_numpy().reshape(200, 4)
    np.testing.assert_allclose(table.estimate[:4], beta.mean(axis=0))
    np.testing.assert_allclose(table.std_error[:4], beta.std(axis=0, ddof=1))
    np.testing.assert_allclose(table.conf_low[:4], np.quantile(beta, 0.05, axis=0))
    assert "90% equal-tailed" in table.attrs["interval"]
    np.testing.assert_allclose(fit.vcov(), np.cov(beta.T))


def test_ranef_rows_match_the_likelihoods(model, fit):
    columns = ["component", "group", "term", "level"]
    mine = fit.table(ranef=True)[columns]
    pd.testing.assert_frame_equal(mine, model.fit_ml().table(ranef=True)[columns])
    effects = fit.ranef()
    h = effects[effects.group == "h"]
    np.testing.assert_allclose(
        h.estimate, fit.tree["posterior"]["ranef_h"].mean(("chain", "draw")).to_numpy()[:, 0], rtol=1e-12
    )


@pytest.mark.parametrize("name", ["loglik", "aic", "bic", "deviance"])
def test_what_a_posterior_has_not_names_what_to_use(fit, name):
    with pytest.raises(FitError, match=r"a posterior has no .*; use "):
        getattr(fit, name)


def draws_of_eta(fit, rows):
    """Fixed part of the linear predictor per draw, by hand."""
    X = fit.design.fixed_matrix(rows)
    return fit.tree["posterior"]["beta"].to_numpy().reshape(-1, X.shape[1]) @ X.T


def test_predictions(fit, toy):
    own = fit.predict()
    np.testing.assert_allclose(own, fit.predict(toy), rtol=1e-10)
    new = toy.iloc[:5]
    typical = fit.predict(new.drop(columns=["g", "h"]), estimand="typical")
    np.testing.assert_allclose(typical.estimate, expit(draws_of_eta(fit, new)).mean(axis=0), rtol=1e-10)
    link = fit.predict(new, kind="link", estimand="typical")
    np.testing.assert_allclose(link.std_error, draws_of_eta(fit, new).std(axis=0, ddof=1), rtol=1e-10)
    posterior = fit.tree["posterior"]
    sd = {label: posterior[f"sd_{label}"].to_numpy().reshape(-1) for label in ("g", "g.1", "h")}
    variance = sd["g"][:, None] ** 2 + (sd["g.1"][:, None] * new.x.to_numpy()) ** 2 + sd["h"][:, None] ** 2
    population = averaged_mean(draws_of_eta(fit, new), variance, fit.design.family.link, points=61)[0]
    out = fit.predict(new.drop(columns=["g", "h"]), estimand="population")
    np.testing.assert_allclose(out.estimate, population.mean(axis=0), atol=1e-5)
    unseen = fit.predict(new.assign(g="nowhere", h=99))
    np.testing.assert_allclose(unseen.estimate, out.estimate, rtol=1e-10)
    assert np.all((out.conf_low < out.estimate) & (out.estimate < out.conf_high))


def test_convergence_is_arvizs(fit):
    table = fit.table()
    summary = {"ess_bulk": az.ess(fit.tree, method="bulk"), "rhat": az.rhat(fit.tree)}
    for column, values in summary.items():
        values = values["posterior"] if "posterior" in values.children else values
        np.testing.assert_allclose(table[column][:4], values["beta"], rtol=1e-10)
        np.testing.assert_allclose(
            table[column][4:], [float(values[f"sd_{g}"][0]) for g in ("g", "g.1", "h")], rtol=1e-10
        )


def test_correlated_effects_are_averaged_with_their_correlation(toy):
    """Draws made up: var(a + b x) = sd_a² + 2 ρ sd_a sd_b x + sd_b² x²."""
    rng = np.random.default_rng(6)
    draws = {
        "beta": (("chain", "draw", "term"), rng.normal(size=(2, 30, 2))),
        "sd_g": (("chain", "draw", "g_term"), rng.uniform(0.3, 1.2, size=(2, 30, 2))),
        "cor_g": (("chain", "draw", "g_pair"), rng.uniform(-0.9, 0.9, size=(2, 30, 1))),
        "ranef_g": (("chain", "draw", "g", "g_term"), rng.normal(size=(2, 30, 6, 2))),
    }
    model = Model("y ~ x + (x | g)", toy)
    fit = BayesFit(model, xr.DataTree.from_dict({"posterior": xr.Dataset(draws)}))
    x = np.array([-1.5, 0.5, 2.0])
    beta, sd, rho = (draws[name][1].reshape(60, -1) for name in ("beta", "sd_g", "cor_g"))
    variance = sd[:, :1] ** 2 + 2 * rho * sd[:, :1] * sd[:, 1:] * x + (sd[:, 1:] * x) ** 2
    eta = beta[:, :1] + beta[:, 1:] * x
    expected = averaged_mean(eta, variance, model.design.family.link)[0].mean(axis=0)
    out = fit.predict({"x": x}, estimand="population")
    np.testing.assert_allclose(out.estimate, expected, atol=1e-7)
    own = eta + draws["ranef_g"][1][:, :, 2, 0].reshape(60, 1) + draws["ranef_g"][1][:, :, 2, 1].reshape(60, 1) * x
    name = model.design.groups[0].levels[2]
    np.testing.assert_allclose(fit.predict({"x": x, "g": [name] * 3}).estimate, expit(own).mean(axis=0), rtol=1e-10)


@pytest.mark.parametrize("case", ["one intercept", "trials", "poisson", "weights"])
def test_pointwise_log_likelihood(case, toy):
    formula, given = CASES[case]
    fit = Model(formula, toy, **given).sample(draws=5, tune=20, chains=2)
    values = fit.log_likelihood()
    assert values.shape == (2, 5, 120)
    posterior, design = fit.tree["posterior"], fit.design
    beta = posterior["beta"].to_numpy()
    label = design.group_labels[0]
    effects = posterior[f"ranef_{label}"].to_numpy()[..., 0]
    eta = beta @ design.X.T + effects[..., design.groups[0].codes]
    match case:
        case "trials":
            expected = stats.binom.logpmf(toy.s, toy.n, expit(eta))
        case "poisson":
            expected = stats.poisson.logpmf(toy["count"], np.exp(eta))
        case _:
            expected = stats.bernoulli.logpmf(toy.y, expit(eta)) * (toy.w.to_numpy() if case == "weights" else 1.0)
    np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-12)
    tree = fit.to_arviz()
    np.testing.assert_array_equal(tree["log_likelihood"][design.response.name], values)
    assert "log_likelihood" not in fit.tree.children


def test_replicated_responses(toy):
    fit = Model("cbind(s, n - s) ~ x + (1 | g)", toy, family="binomial").sample(draws=50, tune=100, chains=2)
    a, b = fit.posterior_predictive(seed=1), fit.posterior_predictive(seed=1)
    assert a.shape == (100, 120)
    np.testing.assert_array_equal(a, b)
    assert np.all((a >= 0) & (a <= toy.n.to_numpy()))
    assert fit.posterior_predictive(draws=7).shape == (7, 120)
    mean = (fit.fitted() * toy.n.to_numpy()).sum()
    assert a.sum(axis=1).mean() == pytest.approx(mean, rel=0.05)


# diagnostics ------------------------------------------------------------------------------------------------------


def changed(fit, name, function):
    """The fit with one recorded variable changed."""
    tree = fit.tree.copy()
    group = "sample_stats" if name in fit.tree["sample_stats"] else "posterior"
    data = fit.tree[group].to_dataset().copy(deep=True)
    data[name] = (data[name].dims, function(data[name].to_numpy()))
    tree[group] = xr.DataTree(data)
    return BayesFit(fit.model, tree)


def stuck(beta):
    beta[1, :, 2] += 20.0
    return beta


def divergent(flags):
    flags[0, :7] = True
    return flags


def test_a_stuck_chain_is_named(fit):
    diagnostics = changed(fit, "beta", stuck).diagnostics()
    assert diagnostics.rhat_term == "f[b]"
    assert diagnostics.rhat > 1.5
    assert not diagnostics.ok
    assert diagnostics.verdict.startswith("Take care: the chains are stuck apart (f[b]): do not use these draws")
    assert "the chains disagree" in diagnostics.verdict
    assert "f[b]" in diagnostics.verdict


def test_divergences_are_counted(fit):
    calm = changed(fit, "diverging", lambda flags: flags & False)
    assert calm.diagnostics().divergences == 0
    wild = changed(fit, "diverging", divergent).diagnostics()
    assert wild.divergences == 7
    assert "7 divergent transitions (3.5%)" in wild.verdict
    assert not wild.ok


def test_transitions_at_the_greatest_depth_are_counted(fit):
    diagnostics = changed(fit, "reached_max_treedepth", divergent).diagnostics()
    assert diagnostics.saturated == 7
    assert "reached the greatest tree depth: tune longer" in diagnostics.verdict


def test_the_verdict_is_the_last_note(fit):
    assert fit.notes[-1] == fit.diagnostics().verdict
    assert fit.converged == fit.diagnostics().ok


def test_one_chain_has_no_rhat(toy):
    diagnostics = Model("y ~ x + (1 | g)", toy).sample(draws=100, tune=100, chains=1).diagnostics()
    assert np.isnan(diagnostics.rhat)
    assert "R-hat is unavailable with one chain" in diagnostics.verdict


def test_a_single_draw_has_a_table(toy):
    table = Model("y ~ x + (1 | g)", toy).sample(draws=1, tune=20, chains=1).table()
    assert table.estimate.notna().all()
    assert table.rhat.isna().all()


def test_energy_fraction_of_a_slow_energy_is_small():
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(size=(2, 4000)), axis=1)
    assert np.all(energy_fraction(walk) < 0.1)
    np.testing.assert_allclose(energy_fraction(rng.normal(size=(3, 4000))), 2.0, atol=0.2)
