"""Predictions against lme4's, their errors against glmmTMB's; what each rule for new groups means."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import norm

from bayesmlm.errors import DataError
from bayesmlm.model import Model
from tests.likelihood_reference import HERE, table_of

R = json.loads((HERE / "predict.json").read_text(encoding="utf-8"))
NAMES = [name for name in R if name != "_note"]

ADDED = {"cbpp": {"o": [0, 0.5, -0.3]}, "sleepstudy": {"w": [1, 2, 0.5], "o": [0, 10, -5, 20]}}
"""Columns the script puts beside the data, recycled."""


@pytest.fixture(scope="module")
def fits():
    """Fits by name, and the new rows of the reference: the last two in groups nobody has seen."""
    out = {}
    for name in NAMES:
        entry = R[name]
        data = table_of(entry["data"])
        data = data.assign(**{k: np.resize(v, len(data)) for k, v in ADDED.get(entry["data"], {}).items()})
        family = "bernoulli" if entry["data"] == "contraception" else entry["family"]
        model = Model(entry["formula"], data, family, weights=entry["weights"])
        out[name] = model.fit_ml(reml=family == "gaussian"), pd.DataFrame(entry["new"])
    return out


# lme4 and glmmTMB -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "response"])
@pytest.mark.parametrize("estimand", ["conditional", "typical"])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_lme4s(name, estimand, kind, fits):
    """predict(re.form = NULL and NA, allow.new.levels = TRUE) to 5e-5 of their standard errors.

    New groups are at zero there.  Offsets, weights and the state of poly() and scale() are the model's.
    """
    fit, new = fits[name]
    ours = fit.predict(new, kind, estimand, new_groups="zero")
    theirs = R[name][estimand if kind == "response" else f"{estimand}_link"]
    np.testing.assert_allclose(ours.estimate / ours.std_error, theirs / ours.std_error, rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_a_typical_group_are_those_of_r(name, fits):
    """To 1e-3, as all standard errors: glmmTMB's; by REML lme4's, which in con_poly is off by 15 % itself."""
    fit, new = fits[name]
    ours = fit.predict(new, "link", "typical").std_error
    np.testing.assert_allclose(ours, R[name]["typical_link_se"], rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if "conditional_link_se" in R[name]])
def test_errors_given_the_groups_are_glmmtmbs(name, fits):
    """Known groups' effects inside, and new groups' own: to 3e-3, what β's error owes to the variances, held there."""
    fit, new = fits[name]
    ours = fit.predict(new, "link").std_error
    np.testing.assert_allclose(ours, R[name]["conditional_link_se"], rtol=3e-3)


def test_effects_of_several_terms_are_known_together(toy):
    """Uncorrelated columns are two terms of one grouping: the error is that of the dense conditional covariance."""
    fit = Model("z ~ x + (x || g) + (1 | h)", toy, "gaussian", weights="w").fit_ml()
    columns, variances = [], []
    for group, sd in zip(fit.design.groups, fit.varcorr().sd, strict=False):
        columns.append((group.codes[:, None] == np.arange(group.n_levels)) * group.z)
        variances.append(np.full(group.n_levels, sd**2))
    Z, G, R_ = np.hstack(columns), np.diag(np.concatenate(variances)), np.diag(fit.sigma**2 / toy.w)
    inverse = np.linalg.inv(Z @ G @ Z.T + R_)
    slope = fit.design.X - Z @ G @ Z.T @ inverse @ fit.design.X
    given = Z @ (G - G @ Z.T @ inverse @ Z @ G) @ Z.T
    expected = np.sqrt(np.diag(slope @ fit.vcov().to_numpy() @ slope.T + given))
    np.testing.assert_allclose(fit.predict().std_error, expected, rtol=1e-6)


def test_errors_say_what_is_inside(fits):
    fit, new = fits["cbpp"]
    known = new.iloc[:-2]
    for estimand, kind, rows, said in (
        ("typical", "response", new, "of the fixed effects; no group's effect is inside"),
        ("population", "response", new, "of the fixed effects and the variances; no group's effect is inside"),
        ("conditional", "link", known, "of the fixed effects, and of the groups' effects given their variances"),
    ):
        assert fit.predict(rows, kind, estimand).attrs["std_error"] == said
    assert fit.predict(new, "link").attrs["std_error"].endswith("; a new group's own effect is inside")
    assert not fit.predict(new, "link", new_groups="zero").attrs["std_error"].endswith("own effect is inside")


# new groups -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ticks():
    """Counts in broods and locations: of two terms one may be known and the other not."""
    return Model("TICKS ~ cHEIGHT + (1 | BROOD) + (cHEIGHT | LOCATION)", table_of("grouseticks"), "poisson").fit_ml()


@pytest.fixture(scope="module")
def rows(ticks):
    """A known brood in its location, elsewhere, a new one in a known location, all new."""
    data = ticks.model.data
    brood, location = data.BROOD.iloc[0], data.LOCATION.iloc[0]
    return pd.DataFrame(
        {"cHEIGHT": [10.0, -20.0, 30.0, 5.0], "BROOD": [brood, brood, "new", "new"], "LOCATION": [location, "new"] * 2}
    ), (brood, location)


def parts_of(fit, new, known):
    """Linear predictors of a typical group, effects of the known groups, and variances of the new ones, by hand."""
    brood, location = known
    modes, table = fit.ranef().set_index(["group", "level", "term"]).estimate, fit.varcorr()
    sd, cor = table.sd.to_numpy(), table.correlation.iloc[-1]
    x = new.cHEIGHT.to_numpy()
    eta = fit.fixef().iloc[0] + x * fit.fixef().iloc[1]
    of_brood = modes["BROOD", brood, "Intercept"]
    of_location = modes["LOCATION", location, "Intercept"] + x * modes["LOCATION", location, "cHEIGHT"]
    by_brood = np.full(len(x), sd[0] ** 2)
    by_location = sd[1] ** 2 + x**2 * sd[2] ** 2 + 2 * cor * x * sd[1] * sd[2]
    known_brood, known_location = new.BROOD.eq(brood).to_numpy(), new.LOCATION.eq(location).to_numpy()
    effects = of_brood * known_brood + of_location * known_location
    return eta, effects, by_brood * ~known_brood + by_location * ~known_location


def test_rules_for_new_groups(ticks, rows):
    """Known terms give their modes; what is new is averaged over (a log-normal mean), at zero, or refused."""
    new, known = rows
    eta, effects, variance = parts_of(ticks, new, known)
    link, zero = (ticks.predict(new, "link", new_groups=rule) for rule in ("population", "zero"))
    for out in (link, zero):
        np.testing.assert_allclose(out.estimate, eta + effects, rtol=1e-9)
    # A new group's own effect is part of the error of its linear predictor.
    np.testing.assert_allclose(link.std_error**2 - zero.std_error**2, variance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ticks.predict(new).estimate, np.exp(eta + effects + variance / 2), rtol=1e-9)
    np.testing.assert_allclose(ticks.predict(new, new_groups="zero").estimate, np.exp(eta + effects), rtol=1e-9)
    for at, name in ((1, "LOCATION"), (2, "BROOD")):
        with pytest.raises(DataError, match=f'new data: row 0 .* is of {name} "new", which the model has not seen'):
            ticks.predict(new.iloc[[at]], new_groups="error")
    assert len(ticks.predict(new.iloc[[0]], new_groups="error")) == 1


def test_the_population_does_not_know_its_groups(ticks, rows):
    new, (brood, location) = rows
    eta, _, _ = parts_of(ticks, new, (brood, location))
    _, _, variance = parts_of(ticks, new.assign(BROOD="new", LOCATION="new"), (brood, location))
    expected = np.exp(eta + variance / 2)
    np.testing.assert_allclose(ticks.predict(new, estimand="population").estimate, expected, rtol=1e-9)
    without = new.drop(columns=["BROOD", "LOCATION"])
    np.testing.assert_allclose(ticks.predict(without, estimand="population").estimate, expected, rtol=1e-9)
    np.testing.assert_allclose(ticks.predict(without, estimand="typical").estimate, np.exp(eta), rtol=1e-9)


# populations --------------------------------------------------------------------------------------------------------

INVERSES = {"logit": expit, "probit": ndtr, "cloglog": lambda eta: -np.expm1(-np.exp(np.minimum(eta, 100.0)))}


@pytest.mark.parametrize("link", INVERSES)
def test_a_population_is_an_integral(link, toy):
    """By adaptive quadrature, slopes and an offset included, at standard deviations from 0.3 to 8: to 1e-9."""
    fit = Model("cbind(s, n - s) ~ x + offset(o) + (x | g)", toy, "binomial", link).fit_ml()
    sd, cor = fit.varcorr().sd[:2].to_numpy(), fit.varcorr().correlation[2]
    new = pd.DataFrame({"x": [0.0, -1.0, 3.0, 25.0], "o": [0.0, 0.5, -1.0, 0.0]})
    eta = fit.fixef().iloc[0] + fit.fixef().iloc[1] * new.x + new.o
    spread = np.sqrt(sd[0] ** 2 + new.x**2 * sd[1] ** 2 + 2 * cor * new.x * sd[0] * sd[1])
    for estimate, at, of in zip(fit.predict(new, estimand="population").estimate, eta, spread, strict=True):
        points = sorted({-13.0, *np.clip((np.array([-8.0, -3, 0, 3, 8]) - at) / of, -13, 13), 13.0})
        expected = sum(
            quad(lambda u, at=at, of=of: norm.pdf(u) * INVERSES[link](at + of * u), a, b, epsabs=1e-13, limit=200)[0]
            for a, b in pairwise(points)
        )
        assert estimate == pytest.approx(expected, abs=1e-9)


def test_a_population_is_what_simulation_gives(fits):
    """The mean of 4,000 draws with new effects is the population's, row by row, within 5 of its standard errors."""
    fit, new = fits["cbpp"]
    new = new.assign(herd="one herd", incidence=0, size=20)
    drawn = fit.simulate(4000, seed=1, newdata=new) / 20
    expected = fit.predict(new, estimand="population").estimate
    assert (np.abs(drawn.mean(axis=1) - expected) / (drawn.std(axis=1) / np.sqrt(4000))).max() < 5.0
    typical = fit.predict(new, estimand="typical").estimate
    assert (np.abs(drawn.mean(axis=1) - typical) / (drawn.std(axis=1) / np.sqrt(4000))).max() > 10.0
