"""The Bambi model is our model: the same density wherever Bambi can express it, and a refusal where it cannot."""

import arviz as az
import numpy as np
import pytest
from pytensor.compile.mode import Mode

from bayesmlm.bayes.bambi import _matched_columns, _matched_groups
from bayesmlm.errors import FitError
from bayesmlm.model import Model
from tests.test_import import loaded_by

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS installation")

PLAIN = Mode(linker="py", optimizer=None)
"""Evaluate the graph as it is written: nothing to optimise, nothing to compile."""

# name: formula, and what else the model is made with
CASES = {
    "no groups": ("y ~ x + f", {}),
    "one intercept": ("y ~ x*f + (1 | g)", {}),
    "intercept alone": ("y ~ 1 + (1 | g)", {}),
    "no intercept": ("y ~ 0 + f + x + (1 | g)", {}),
    "no fixed effects": ("y ~ 0 + (1 | g)", {}),
    "two levels": ("answer ~ x + (1 | g)", {}),
    "truth": ("flag ~ x + (1 | g)", {}),
    "nested": ("y ~ x + (1 | g/f)", {}),
    "crossed, one coded by numbers": ("y ~ x + (1 | g) + (1 | h)", {}),
    "uncorrelated slopes": ("y ~ x + z + (1 + x + z || g)", {}),
    "slope alone": ("y ~ x + (0 + x | g)", {}),
    "functions": ("y ~ I(x^2) + sqrt(abs(z)) + log1p(n) + center(x) + factor(h)", {}),
    "bases": ("y ~ poly(x, 2) + bs(z, df=4)", {}),
    "a name in quotes": ("y ~ `my x` + (1 | g)", {}),
    "trials": ("cbind(s, n - s) ~ x + (1 | g)", {"family": "binomial"}),
    "successes and failures": ("cbind(s, reps) ~ x + (1 | g)", {"family": "binomial"}),
    "ratio": ("s / n ~ x + (1 | g)", {"family": "binomial", "link": "cloglog"}),
    "probit": ("y ~ x + (1 | g)", {"link": "probit"}),
    "cloglog": ("y ~ x + (1 | g)", {"link": "cloglog"}),
    "poisson": ("count ~ x + offset(log(n)) + (1 | h)", {"family": "poisson"}),
    "two offsets": ("count ~ x + offset(log(n)) + (1 | h)", {"family": "poisson", "offset": "o"}),
    "weights of counts": ("count ~ x + (1 | h)", {"family": "poisson", "weights": "w"}),
    "frequencies of counts": ("count ~ x + (1 | h)", {"family": "poisson", "freq": "reps"}),
    "gaussian": ("z ~ x + f + (1 | g)", {"family": "gaussian"}),
    "gaussian of a function": ("log(w) ~ x + (x || g)", {"family": "gaussian", "priors": {"sigma": "gamma(2, 1)"}}),
    "gaussian frequencies": ("z ~ x + (1 | g)", {"family": "gaussian", "freq": "reps"}),
    "priors by term": (
        "y ~ x + f + (1 | g) + (1 | h)",
        {"priors": {"x": "cauchy(0, 1)", "f[b]": "normal(0.2, 1)", "f[c]": "normal(0, 3)", "sd": {"h": "gamma(2, 0.1)"}}},
    ),
}  # fmt: skip
for prior in ("normal(0.3, 2)", "student_t(4, 0.2, 1.5)", "cauchy(0.1, 2)", "flat()"):
    CASES[f"coefficients {prior}"] = ("y ~ x + f + (1 | g)", {"priors": {"Intercept": prior, "fixed": prior}})
for prior in (
    "half_normal(2)", "half_student_t(4, 0, 1)", "half_cauchy(1)", "exponential(2)", "gamma(2, 0.1)", "flat()",
):  # fmt: skip
    CASES[f"sd {prior}"] = ("y ~ x + (1 | g)", {"priors": {"sd": prior}})


def model_of(case, data):
    formula, given = CASES[case]
    return Model(formula, data.assign(**{"my x": data.x + 1.0}), **given)


def points(model, theirs, seed):
    """The same point in the coordinates of ``to_pymc()`` and of the Bambi model.

    Moderate ones: near 0 and 1 Bambi's probabilities lose digits.  Its coefficients are those of the user's columns,
    ours of scaled ones; combinations of groups that have no rows stand at zero in Bambi.
    """
    design, rng = model.design, np.random.default_rng(seed)
    component = theirs.parameters[theirs.family.likelihood.parent]
    pymc, bambi = {}, {}
    internal = 0.3 * rng.standard_normal(len(design.terms))
    slopes = [j for j in range(len(design.terms)) if j != design.scaling.intercept]
    if design.scaling.intercept >= 0:
        pymc["intercept_centred"] = internal[design.scaling.intercept]
    pymc["slopes_scaled"] = internal[slopes]
    pymc |= {f"{design.terms[j]}_scaled": internal[j] for j in slopes}
    user = internal / design.scaling.scales
    for name, columns in _matched_columns(component, design).items():
        bambi[name] = user[columns] if np.size(columns) > 1 else user[columns[0]]
    for (name, numbers), label, group in zip(
        _matched_groups(component, design), design.group_labels, design.groups, strict=True
    ):
        pymc[f"sd_{label}__log__"] = bambi[f"{name}_sigma_log__"] = 0.3 * rng.standard_normal()
        z = 0.6 * rng.standard_normal(group.n_levels)
        pymc[f"z_{label}"] = z[:, None]
        bambi[f"{name}_offset"] = np.zeros(len(component.group_specific_terms[name].groups))
        bambi[f"{name}_offset"][numbers] = z
    pymc["sigma_log__"] = bambi["sigma_log__"] = 0.3 * rng.standard_normal()
    return pymc, bambi


def log_density(pm_model):
    """Log-density at a point, with the log-Jacobians of the sampler's coordinates."""
    names = [value.name for value in pm_model.value_vars]
    function = pm_model.compile_logp(mode=PLAIN)
    return lambda point: float(function({name: point[name] for name in names}))


@pytest.mark.parametrize("case", CASES)
def test_the_density_is_that_of_our_model(case, toy):
    """Up to a constant, that of the scaled coordinates and of combinations without rows, to 1e-9 of the density.

    To 1e-7 with a probit link, in which Bambi takes √2 in single precision.
    """
    model = model_of(case, toy)
    theirs = model.to_bambi()
    ours, other = log_density(model.to_pymc()), log_density(theirs.backend.model)
    values = np.array([[ours(a), other(b)] for a, b in (points(model, theirs, seed) for seed in range(4))])
    assert np.isfinite(values).all()
    assert np.ptp(values[:, 0]) > 1.0
    apart = np.ptp(values[:, 0] - values[:, 1]) / np.abs(values).max()
    assert apart < (1e-7 if model.design.family.link.name == "probit" else 1e-9)


def test_the_formula_is_bambis(toy):
    assert str(model_of("trials", toy).to_bambi().formula.main) == "p(s, n) ~ x + (1 | g)"
    assert str(model_of("two levels", toy).to_bambi().formula.main) == "answer['yes'] ~ x + (1 | g)"
    assert str(model_of("nested", toy).to_bambi().formula.main) == "y ~ x + (1 | g) + (1 | f:g)"


def test_another_response_goes_along(toy):
    flipped = Model("answer ~ x + (1 | g)", toy).with_response(1 - toy.y)
    assert flipped.to_bambi().response_term.data.tolist() == (1 - toy.y).tolist()


def test_rows_with_missing_values_stay_away(toy):
    holes = toy.astype({"x": float}).copy()
    holes.loc[[3, 7], "x"] = np.nan
    theirs = Model("y ~ x + (1 | g)", holes).to_bambi()
    assert theirs.response_term.data.tolist() == toy.y.drop([3, 7]).tolist()


def test_bambi_is_loaded_by_nothing_else():
    code = (
        "import bayesmlm as bm\n"
        "m = bm.Model('use ~ age + (1 | district)', bm.load_dataset('contraception'))\n"
        "m.priors(); m.prior_predictive(draws=2); m.to_pymc()"
    )
    assert not {"bambi", "formulae", "seaborn"} & loaded_by(code)


# what Bambi cannot express ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "given", "message"),
    [
        ("y ~ x + (1 + x | g)", {}, r'no correlations between group effects, which the terms Intercept, x of "g" have'),
        ("y ~ x + (f || g)", {}, 'no correlations between group effects, which the terms f'),
        ("y ~ x + (1 | g) + (1 | g)", {}, 'two equal terms of "g" for one'),
        ("y ~ x + I(2 * x)", {}, r"columns that others determine; leave I\(2 \* x\) out"),
        ("y ~ x + (1 | g)", {"weights": "w"}, "weights neither 0/1 responses nor counts of successes"),
        ("y ~ x + (1 | g)", {"freq": "reps"}, "weights neither 0/1 responses nor counts of successes"),
        ("z ~ x + (1 | g)", {"family": "gaussian", "weights": "w"}, "those of a gaussian model divide σ²"),
        ("count ~ x", {"family": "poisson", "weights": "w", "freq": "reps"}, "one column of weights, not weights and freq"),
        ("count ~ x", {"family": "poisson", "weights": np.full(120, 2.0)}, "as the name of a column, not as an array"),
        ("y ~ x", {"offset": np.full(120, 0.5)}, "offset from the data: give it as the name of a column"),
        ("p ~ x", {"family": "binomial", "weights": "n"}, "Bambi takes counts, not proportions"),
        ("y ~ scale(x)", {}, r'Bambi reads "scale\(x\)" otherwise than we do'),
        ("y ~ x %in% f", {}, "otherwise than we do"),
        ("y ~ 0 + cs(x, df=4)", {}, r'Bambi cannot read "y ~ 0 \+ cs\(x, df=4\)"'),
        ("z / 2 ~ x", {"family": "gaussian"}, "Bambi cannot read .* cannot contain '/'"),
        (
            "y ~ x + f", {"priors": {"f[b]": "normal(0, 1)", "f[c]": "cauchy(0, 1)"}},
            'one distribution for all columns of a term, those of "f" have cauchy, normal',
        ),
    ],
)  # fmt: skip
def test_what_bambi_cannot_express_is_refused(formula, given, message, toy):
    model = Model(formula, toy.assign(p=toy.s / toy.n), **given)
    with pytest.raises(FitError, match=message):
        model.to_bambi()


@pytest.mark.parametrize("part", ["response", "trials", "offset"])
def test_what_bambi_reads_otherwise_is_refused(part, toy):
    """The data have changed under the model: what Bambi reads now is not what the model was made from."""
    data = toy.copy()
    model = Model("cbind(s, n - s) ~ x + offset(o) + (1 | g)", data, "binomial")
    column, value = {"response": ("s", 0), "trials": ("n", 50), "offset": ("o", 9.0)}[part]
    data.loc[0, column] = value
    with pytest.raises(FitError, match=f"Bambi reads the {part}.* otherwise than we do"):
        model.to_bambi()


# posteriors ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_posteriors_agree(contraception):
    """Means and sds within four Monte-Carlo standard errors of both runs: 1 in 16,000 by chance per quantity."""
    model = Model("use ~ age + urban + (1 | urban:district)", contraception)
    ours = model.sample(draws=2000, chains=2, seed=5).tree["posterior"]
    theirs = model.to_bambi().fit(draws=2000, tune=1000, chains=2, cores=1, random_seed=6, progressbar=False)[
        "posterior"
    ]
    pairs = {term: (ours["beta"].sel(term=term), theirs[name]) for term, name in (
        ("Intercept", "Intercept"), ("age", "age"), ("urban[Y]", "urban"))}  # fmt: skip
    pairs["sd"] = (ours["sd_urban:district"], theirs["1|urban:district_sigma"])
    for name, sides in pairs.items():
        a, b = (np.squeeze(x.to_numpy()) for x in sides)
        error = np.hypot(az.mcse(a, method="mean"), az.mcse(b, method="mean"))
        assert abs(a.mean() - b.mean()) < 4 * error, name
        error = np.hypot(az.mcse(a, method="sd"), az.mcse(b, method="sd"))
        assert abs(a.std(ddof=1) - b.std(ddof=1)) < 4 * error, name
