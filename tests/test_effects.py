"""Predictions, comparisons, slopes and means of every engine, against R, by hand and by simulation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm, studentized_range

import bayesmlm as bm
from bayesmlm.effects.adjustment import adjusted
from bayesmlm.laplace.covariance import factors
from tests.conftest import refusal
from tests.likelihood_reference import table_of

effects = bm.effects

NUMBERS = ["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]


@pytest.fixture(scope="module")
def r():
    """What R says; see ``reference/effects.R``."""
    return json.loads((Path(__file__).parent / "reference" / "effects.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def m_05(contraception):
    return bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def livch(contraception):
    return bm.Model("use ~ age + urban + livch + (1 | district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def products(contraception):
    return bm.Model("use ~ age + urban*ch + (1 | district)", contraception).fit_ml()


@pytest.fixture(scope="module")
def posterior(m_05):
    return m_05.model.sample(draws=500, chains=2, seed=1)


@pytest.fixture(scope="module")
def gee(m_05):
    return m_05.model.fit_gee()


def assert_as_r(table, expected, order=None):
    """Estimates and limits to 1e-4 standard errors; lme4's standard errors, by finite differences, have four digits."""
    expected = {name: np.atleast_1d(expected[name]).astype(float) for name in NUMBERS if name in expected}
    if order is not None:
        expected = {name: values[order] for name, values in expected.items()}
    assert {"estimate"} < expected.keys()
    for name, values in expected.items():
        if name not in table:
            continue
        assert len(table) == len(values)
        if name in ("estimate", "conf_low", "conf_high"):
            np.testing.assert_array_less(np.abs(table[name] - values) / table.std_error, 1e-4, err_msg=name)
        elif name == "p_value":
            np.testing.assert_allclose(table[name], values, rtol=2e-3, atol=1e-12)
        else:
            np.testing.assert_allclose(table[name], values, rtol=1e-4, err_msg=name)


# against R ---------------------------------------------------------------------------------------------------------

PAIRS = [0, 1, 3, 2, 4, 5]
"""emmeans goes through pairs in another order."""


def test_marginal_means_are_those_of_emmeans(livch, r):
    expected = r["emmeans_livch"]
    assert_as_r(effects.means(livch, "livch", "grid", scale="link"), expected["link"])
    # Limits of emmeans' regridded means are symmetric, ours are made on the log-odds.
    response = {name: expected["response"][name] for name in ("estimate", "std_error")}
    assert_as_r(effects.means(livch, "livch", "grid"), response)


@pytest.mark.parametrize("adjust", ["none", "tukey", "holm", "bonferroni"])
def test_pairs_are_those_of_emmeans(adjust, livch, r):
    asked = None if adjust == "none" else adjust
    table = effects.means(livch, "livch", "grid", scale="link", hypothesis="pairwise", adjust=asked)
    assert_as_r(table, r["emmeans_livch"]["pairs"][adjust], PAIRS)
    by_changes = effects.comparisons(
        livch, {"livch": "pairwise"}, True, "grid", comparison="lnoddsratio", adjust=asked
    )  # fmt: skip
    assert_as_r(by_changes, r["emmeans_livch"]["pairs"][adjust], PAIRS)


def test_single_steps_are_those_of_emmeans(livch, r):
    """emmeans integrates at random: p-values agree to 5e-4, limits to 2e-3 standard errors."""
    table = effects.means(livch, "livch", "grid", scale="link", hypothesis="pairwise", adjust="single-step")
    expected = {name: np.array(values)[PAIRS] for name, values in r["emmeans_livch"]["pairs"]["mvt"].items()}
    np.testing.assert_allclose(table.p_value, expected["p_value"], atol=5e-4)
    for name in ("conf_low", "conf_high"):
        np.testing.assert_array_less(np.abs(table[name] - expected[name]) / table.std_error, 2e-3)


def test_ratios_and_other_contrasts_are_those_of_emmeans(livch, r):
    expected = r["emmeans_livch"]
    pairs = {"livch": "pairwise"}
    assert_as_r(effects.comparisons(livch, pairs, True, "grid", comparison="oddsratio"), expected["odds_ratios"], PAIRS)
    assert_as_r(effects.means(livch, "livch", "grid", hypothesis="pairwise"), expected["response_pairs"], PAIRS)
    assert_as_r(
        effects.comparisons(livch, {"livch": "sequential"}, True, "grid", comparison="lnoddsratio"),
        expected["sequential"],
    )
    quadratic = {"quadratic": [1, -1, -1, 1]}
    assert_as_r(effects.means(livch, "livch", "grid", scale="link", hypothesis=quadratic), expected["quadratic"])


def test_slopes_are_those_of_emtrends(m_05, r):
    grid = effects.grid(m_05, "ch", "urban", age=-10)
    assert_as_r(effects.slopes(m_05, "age", "ch", grid, scale="link"), r["emtrends"]["link"])
    assert_as_r(effects.slopes(m_05, "age", "ch", grid), r["emtrends"]["response"])


def test_contrasts_of_contrasts_are_those_of_emmeans(products, r):
    asked = {"by": True, "newdata": "grid", "at": "ch"}
    within = effects.comparisons(products, "urban", comparison="lnoddsratio", **asked)
    assert_as_r(within, r["emmeans_products"]["within"])
    assert within.ch.tolist() == ["N", "Y"]
    expected = r["emmeans_products"]["interaction"]
    assert_as_r(
        effects.comparisons(products, "urban", comparison="lnoddsratio", hypothesis="pairwise", **asked), expected
    )
    # A ratio of odds ratios is the exponential of the interaction's coefficient.
    ratio = effects.comparisons(products, "urban", comparison="oddsratio", hypothesis="pairwise", **asked)
    assert ratio.estimate[0] == pytest.approx(np.exp(products.fixef()["urban[Y]:ch[Y]"]), rel=1e-12)
    assert ratio.contrast[0] == "(odds(Y) / odds(N), ch = Y) / (odds(Y) / odds(N), ch = N)"
    assert ratio.p_value[0] == pytest.approx(expected["p_value"], rel=1e-3)


def test_offsets_are_held_as_emmeans_holds_them(r):
    """emmeans takes the mean of the offset, log(size)."""
    data = bm.load_dataset("cbpp")
    fit = bm.Model("incidence ~ period + offset(log(size)) + (1 | herd)", data, family="poisson").fit_ml()
    grid = effects.grid(fit, size=np.exp(np.log(data["size"]).mean()))
    assert_as_r(effects.means(fit, "period", grid, scale="link"), r["emmeans_offset"]["link"])
    ratios = effects.comparisons(fit, {"period": "pairwise"}, True, "grid", comparison="ratio")
    assert_as_r(ratios, r["emmeans_offset"]["ratios"], PAIRS)


def test_means_of_a_gaussian_model_are_those_of_emmeans(sleepstudy, r):
    fit = bm.Model("Reaction ~ Days + (Days | Subject)", sleepstudy, family="gaussian").fit_ml()
    assert_as_r(effects.means(fit, {"Days": [0, 9]}), r["emmeans_gaussian"]["means"])
    for estimand in ("typical", "population"):
        slope = effects.slopes(fit, "Days", estimand=estimand)
        assert slope.estimate[0] == pytest.approx(fit.fixef()["Days"], rel=1e-9)
        assert slope.std_error[0] == pytest.approx(np.sqrt(fit.vcov().loc["Days", "Days"]), rel=1e-9)


def test_predictions_on_a_grid_are_those_of_ggeffects(m_05, r):
    expected = r["ggeffects_grid"]
    grid = pd.DataFrame({name: expected[name] for name in ("age", "ch", "urban")})
    assert_as_r(
        effects.predictions(m_05, newdata=grid), {k: expected[k] for k in ("estimate", "conf_low", "conf_high")}
    )


@pytest.mark.parametrize(
    ("name", "verb", "asked"),
    [
        ("difference", "comparisons", {"variables": "urban"}),
        ("lnratio", "comparisons", {"variables": "urban", "comparison": "lnratio"}),
        ("lnratio_rows", "comparisons", {"variables": "urban", "comparison": "lnratio", "average": "rows"}),
        ("lnoddsratio", "comparisons", {"variables": "urban", "comparison": "lnoddsratio"}),
        ("lnoddsratio_means", "comparisons", {"variables": "urban", "comparison": "lnoddsratio", "average": "means"}),
        ("difference_by_ch", "comparisons", {"variables": "urban", "by": "ch"}),
        ("difference_of_differences", "comparisons", {"variables": "urban", "by": "ch", "hypothesis": "pairwise"}),
        ("slope", "slopes", {"variables": "age"}),
        ("means_of_ch", "means", {"by": "ch"}),
    ],
)
def test_averages_over_the_data_are_those_of_r(name, verb, asked, m_05, r):
    assert_as_r(getattr(effects, verb)(m_05, **asked), r["on_data"][name])


def test_averages_over_the_population_are_those_of_r(m_05, contraception, r):
    """Integrals, and errors by lme4's joint Hessian of variance and coefficients."""
    expected, some = r["in_population"], contraception.iloc[::10]
    asked = {"newdata": some, "estimand": "population"}
    assert_as_r(effects.means(m_05, "urban", **asked), expected["means"])
    assert_as_r(effects.comparisons(m_05, "urban", True, **asked), expected["difference"])
    odds = effects.comparisons(m_05, "urban", True, comparison="lnoddsratio", **asked)
    assert_as_r(odds, expected["lnoddsratio"])
    assert_as_r(effects.population_coefficients(m_05), expected["coefficients"])


# the founding documents ------------------------------------------------------------------------------------------------


def test_a_typical_district_as_the_document_has_it(m_05):
    """Row 11: −1.340698 → 0.2073953 with lme4's optimiser stopped short, within a thousandth of a standard error."""
    new = effects.grid(m_05, "urban", age=0, ch="N")
    link, response = (effects.predictions(m_05, newdata=new, scale=scale) for scale in ("link", "response"))
    assert link.estimate[0] == pytest.approx(-1.340843, abs=5e-6)
    assert abs(link.estimate[0] + 1.340698) < 1e-3 * link.std_error[0]
    assert response.estimate[0] == pytest.approx(0.2073953, abs=5e-5)
    # The childless woman in a town, of whom the document gives no number.
    assert link.estimate[1] == pytest.approx(m_05.fixef()[["Intercept", "urban[Y]"]].sum(), abs=1e-12)
    assert response.urban.tolist() == ["N", "Y"]
    assert "typical: in a group whose effects are zero" in str(response)


def test_probabilities_by_age_children_and_town(m_05):
    """Row 12: the table behind the figure."""
    table = effects.predictions(m_05, newdata=effects.grid(m_05, "urban", "ch", age=[-10, 0, 10]))
    assert table[["urban", "ch", "age"]].values.tolist()[:4] == [
        ["N", "N", -10.0], ["N", "N", 0.0], ["N", "N", 10.0], ["N", "Y", -10.0],
    ]  # fmt: skip
    assert (table.conf_low < table.estimate).all()
    assert (table.conf_high < 1.0).all()
    # Towns lie above the country, and mothers peak later.
    country, town = table.estimate[:6].to_numpy(), table.estimate[6:].to_numpy()
    assert (town > country).all()
    assert country[2] < country[0]
    assert country[5] > country[3]


def test_three_readings_of_one_question(m_05, posterior, gee):
    """Population-averaged effects of ``urban`` agree within their uncertainty; the conditional odds ratio is larger."""
    fits = {"ml": m_05, "posterior": posterior, "gee": gee}
    odds = {
        name: effects.comparisons(fit, "urban", estimand="population", comparison="lnoddsratio").iloc[0]
        for name, fit in fits.items()
    }
    assert abs(odds["ml"].estimate - odds["posterior"].estimate) < 0.25 * odds["ml"].std_error
    assert abs(odds["ml"].estimate - odds["gee"].estimate) < 0.5 * odds["ml"].std_error
    for name in ("ml", "posterior"):
        typical = effects.comparisons(fits[name], "urban", comparison="lnoddsratio")
        assert typical.estimand[0] == "typical"
        assert odds[name].estimand == "population"
        # Attenuated about as Zeger, Liang & Albert (1988) say, 1 / √(1 + 0.346 σ²): a rule made for larger variances.
        variance = fits[name].varcorr().variance[0]
        attenuated = 1.0 - odds[name].estimate / typical.estimate[0]
        assert attenuated == pytest.approx(1.0 - 1.0 / np.sqrt(1.0 + 0.346 * variance), rel=1 / 3)
    assert odds["gee"].estimate == pytest.approx(gee.fixef()["urban[Y]"], abs=1e-12)


def test_side_by_side_says_which_is_which(m_05, posterior, gee):
    table = bm.side_by_side(m_05, posterior, gee)
    assert table.columns.tolist() == [
        "component", "group", "term", "ml_estimate", "ml_se", "estimand", "post_mean", "post_sd", "gee_estimate", "gee_se",
        "difference",
    ]  # fmt: skip
    rows = table[table.term == "urban[Y]"].set_index("estimand")
    assert rows.index.tolist() == ["conditional", "population"]
    assert np.isnan(rows.gee_estimate["conditional"])
    assert rows.ml_estimate["conditional"] == m_05.fixef()["urban[Y]"]
    assert rows.gee_estimate["population"] == gee.fixef()["urban[Y]"]
    assert (
        rows.loc["population", ["ml_estimate", "post_mean"]] < rows.loc["conditional", ["ml_estimate", "post_mean"]]
    ).all()
    coefficients = effects.population_coefficients(m_05).set_index("term")
    assert rows.ml_se["population"] == coefficients.std_error["urban[Y]"]
    assert table.estimand[table.component == "sd"].tolist() == [""]
    # Without a GEE they come when asked for.
    assert "estimand" not in bm.side_by_side(m_05, posterior)
    assert bm.side_by_side(m_05, population=True).ml_estimate.tolist() == table.ml_estimate.dropna().tolist()
    assert "estimand" not in bm.side_by_side(m_05, gee, population=False)


def test_effects_of_asthma_as_the_third_document_has_its_coefficients():
    """Row 20: the odds ratio of a typical stratum, and nearly the same in the population; sed by the minute."""
    data = table_of("nhanes_2012")
    fit = bm.Model("dep2 ~ asthma + famsize + I(sed/1000) + race + (1 | sdmvstra)", data).fit_ml()
    odds = {
        estimand: effects.comparisons(fit, "asthma", estimand=estimand, comparison="oddsratio").iloc[0]
        for estimand in ("typical", "population")
    }
    assert np.log(odds["typical"].estimate) == pytest.approx(0.5619, abs=5e-4)
    # Strata differ little: a variance of 0.023 attenuates by less than a per cent.
    assert 0.99 < odds["population"].estimate / odds["typical"].estimate < 1.0
    slope = effects.slopes(fit, "sed", scale="link")
    assert 1000 * slope.estimate[0] == pytest.approx(0.5835, abs=5e-4)


# the estimand, by hand and by simulation ----------------------------------------------------------------------------------

STRUCTURES = {
    "intercepts": ("use ~ age*ch + urban + (1 | district)", {}),
    "slopes": ("use ~ age + ch + urban + (1 + urban | district)", {}),
    "uncorrelated": ("use ~ age + ch + urban + (1 + age || district)", {}),
    "nested": ("use ~ age + ch + urban + (1 | district/urban)", {}),
    "crossed": ("use ~ age + ch + urban + (1 | district) + (1 | livch)", {}),
    "probit": ("use ~ age + ch + urban + (1 + urban | district)", {"link": "probit"}),
    "cloglog": ("use ~ age + ch + urban + (1 | district)", {"link": "cloglog"}),
    "no groups": ("use ~ age + ch + urban", {}),
}


@pytest.fixture(scope="module")
def structures(contraception):
    return {
        name: bm.Model(formula, contraception, **options).fit_ml() for name, (formula, options) in STRUCTURES.items()
    }


@pytest.mark.parametrize("estimand", ["typical", "conditional", "population"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_single_rows_are_those_of_predict(structure, estimand, structures, contraception):
    fit = structures[structure]
    new = contraception.iloc[100:140].assign(district=["61", *contraception.district[101:140]])
    for newdata in (None, new):
        table = effects.predictions(fit, by=False, newdata=newdata, estimand=estimand)
        expected = fit.predict(newdata, estimand=estimand)
        np.testing.assert_allclose(table[list(expected)], expected, rtol=1e-10)
        assert table.index.equals(expected.index)


def moved(fit, newdata, functional, estimand):
    """Standard errors of a functional of the population's or typical means, by central differences in β and θ."""
    solution, design = fit.solution, fit.design
    p, sizes = len(solution.beta), tuple(len(group.terms) for group in design.groups)
    psi = np.concatenate([solution.beta, solution.theta])
    V = solution.covariance[: len(psi), : len(psi)]
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)

    def means(at, data):
        eta, spread = design.fixed_matrix(data) @ at[:p], 0.0
        for group, lam in zip(design.groups, factors(at[p:], sizes), strict=True):
            spread = spread + ((design.group_columns(group, data) @ lam) ** 2).sum(axis=1)
        if estimand == "typical":
            return design.family.link.inverse(eta)
        return design.family.link.inverse(eta[:, None] + np.sqrt(spread)[:, None] * nodes) @ (weights / weights.sum())

    def value(at):
        return np.atleast_1d(functional(lambda data: means(at, data)))

    h = 1e-4 * np.sqrt(np.diag(V))
    J = np.column_stack([(value(psi + e) - value(psi - e)) / (2 * s) for e, s in zip(np.diag(h), h, strict=True)])
    return value(psi), np.sqrt(np.diag(J @ V @ J.T))


@pytest.mark.parametrize("estimand", ["typical", "population"])
@pytest.mark.parametrize(
    "structure", ["intercepts", "slopes", "uncorrelated", "nested", "crossed", "probit", "cloglog"]
)
def test_errors_are_of_coefficients_and_variances(structure, estimand, structures, contraception):
    """The delta method, its gradient by differences of means computed otherwise; 1e-6 of differences."""
    fit, some = structures[structure], contraception.iloc[::40].drop(columns=["district", "livch"])

    def difference(means):
        return np.mean(means(some.assign(urban="Y")) - means(some.assign(urban="N")))

    def log_ratio(means):
        return np.log(means(some.assign(age=some.age + 5)).mean() / means(some).mean())

    for functional, asked in (
        (difference, {"variables": "urban"}),
        (log_ratio, {"variables": {"age": 5}, "comparison": "lnratio"}),
    ):
        table = effects.comparisons(fit, by=True, newdata=some, estimand=estimand, **asked)
        value, error = moved(fit, some, functional, estimand)
        np.testing.assert_allclose(table.estimate, value, rtol=1e-7)
        np.testing.assert_allclose(table.std_error, error, rtol=1e-6)


@pytest.mark.parametrize("structure", ["slopes", "nested", "crossed"])
def test_errors_of_known_groups_are_of_all_their_effects_at_once(structure, structures):
    """β moves the effects along; given β they have the inverse of I + Λ′Z′WZΛ, dense here, as covariance."""
    fit = structures[structure]
    design, solution, rows = fit.design, fit.solution, np.arange(0, len(fit.design.rows), 7)
    lams = factors(solution.theta, tuple(len(group.terms) for group in design.groups))
    parts, slope = [], design.X.copy()
    for group, lam, moving in zip(design.groups, lams, solution.sensitivities, strict=True):
        part = np.zeros((len(design.X), group.n_levels, len(lam)))
        part[np.arange(len(part)), group.codes] = group.z @ lam
        parts.append(part.reshape(len(part), -1))
        slope += np.einsum("ia,iap->ip", group.z, moving[group.codes])
    m, p = np.hstack(parts), fit.predict().estimate.to_numpy()
    w = p * (1.0 - p)
    inner = np.linalg.inv(np.eye(m.shape[1]) + m.T @ (w[:, None] * m))
    V = solution.covariance[: len(solution.beta), : len(solution.beta)]
    J, B = (w[rows, None] * slope[rows]).mean(axis=0), (w[rows, None] * m[rows]).mean(axis=0)
    table = effects.predictions(fit, by=True, newdata=fit.model.data.iloc[rows], estimand="conditional")
    assert table.estimate[0] == pytest.approx(p[rows].mean(), rel=1e-12)
    assert table.std_error[0] == pytest.approx(np.sqrt(J @ V @ J + B @ inner @ B), rel=1e-8)


def test_the_population_is_what_simulated_groups_are_like(structures):
    """Means of 400,000 groups with effects of their own, to four of their standard errors."""
    fit, rng = structures["slopes"], np.random.default_rng(1)
    new = effects.grid(fit, "urban", age=0.0, ch="Y")
    lam = factors(fit.solution.theta, (2,))[0]
    b = rng.standard_normal((400_000, 2)) @ lam.T
    z = fit.design.group_columns(fit.design.groups[0], new)
    p = expit(fit.design.fixed_matrix(new) @ fit.solution.beta + b @ z.T)
    table = effects.predictions(fit, newdata=new, estimand="population")
    assert (np.abs(table.estimate - p.mean(axis=0)) < 4.0 * p.std(axis=0) / np.sqrt(len(p))).all()
    difference = effects.comparisons(fit, "urban", newdata=new.iloc[:1], estimand="population")
    own = p[:, 1] - p[:, 0]
    assert abs(difference.estimate.iloc[0] - own.mean()) < 4.0 * own.std() / np.sqrt(len(own))
    # Responses drawn from the model, 1934 women and 400 times the districts.
    drawn = fit.simulate(400, seed=2).to_numpy().mean(axis=0)
    average = effects.predictions(fit, estimand="population")
    assert abs(average.estimate[0] - drawn.mean()) < 4.0 * drawn.std() / np.sqrt(len(drawn))


def test_draws_of_a_posterior_are_taken_one_by_one(posterior, contraception):
    tree, some = posterior.tree["posterior"], contraception.iloc[::97]
    beta = tree["beta"].to_numpy().reshape(-1, 6)
    sd = tree["sd_urban:district"].to_numpy().ravel()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def means(data, spread):
        eta = beta @ posterior.design.fixed_matrix(data).T
        return expit(eta[..., None] + spread[:, None, None] * nodes) @ (weights / weights.sum())

    for estimand, spread in (("typical", 0.0 * sd), ("population", sd)):
        high, low = (means(some.assign(urban=level), spread) for level in ("Y", "N"))
        ratio = high.mean(axis=1) / low.mean(axis=1)
        table = effects.comparisons(posterior, "urban", True, some, estimand, comparison="ratio").iloc[0]
        assert table.estimate == pytest.approx(ratio.mean(), rel=1e-9)
        assert table["median"] == pytest.approx(np.median(ratio), rel=1e-9)
        assert table.std_error == pytest.approx(ratio.std(ddof=1), rel=1e-9)
        assert [table.conf_low, table.conf_high] == pytest.approx(np.quantile(ratio, [0.025, 0.975]), rel=1e-9)
        assert table.p_direction == max((ratio > 1).mean(), (ratio < 1).mean())
    own = effects.predictions(posterior, by=False, newdata=some, estimand="conditional")
    expected = posterior.predict(some, estimand="conditional")
    np.testing.assert_allclose(own[list(expected)], expected, rtol=1e-10)
    assert "1000 draws" in str(own)


@pytest.mark.parametrize("estimand", ["typical", "conditional", "population"])
@pytest.mark.parametrize("rows", ["own", "all different"])
def test_predictions_of_a_posterior_are_made_once_for_equal_rows(rows, estimand, posterior, contraception):
    """Of 1934 rows, in their order, what Gauss-Hermite quadrature gives for each alone."""
    few, rng = posterior.thinned(40), np.random.default_rng(5)
    data = contraception if rows == "own" else contraception.assign(age=rng.uniform(-14, 20, len(contraception)))
    data = data.sample(frac=1.0, random_state=1)
    found = few.predict(data, estimand=estimand)
    assert found.index.equals(data.index)
    tree, some = few.tree["posterior"], data.iloc[::61]
    eta = tree["beta"].to_numpy().reshape(-1, 6) @ few.design.fixed_matrix(some).T
    sd = tree["sd_urban:district"].to_numpy().ravel() * (estimand == "population")
    if estimand == "conditional":
        group = few.design.groups[0]
        codes = [group.levels.index(f"{u}:{d}") for u, d in zip(some.urban, some.district, strict=True)]
        eta += tree["ranef_urban:district"].to_numpy().reshape(len(eta), -1)[:, codes]
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    means = expit(eta[..., None] + sd[:, None, None] * nodes) @ (weights / weights.sum())
    np.testing.assert_allclose(found.estimate.loc[some.index], means.mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(found.conf_low.loc[some.index], np.quantile(means, 0.025, axis=0), atol=1e-7)


def test_draws_whose_variances_differ_by_row_are_averaged_row_by_row():
    """Slopes that vary: no curve serves a draw, and blocks of rows take as many points as the widest of them needs."""
    from bayesmlm.families import family_of
    from bayesmlm.prediction import averaged_under

    rng = np.random.default_rng(6)
    eta, variance = rng.normal(0.0, 2.0, (3, 9000)), rng.uniform(0.0, 4.0, (3, 9000)) ** 2
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    for name in ("logit", "probit"):
        link = family_of("bernoulli", name).link
        found = averaged_under(eta, variance, link)
        at = np.s_[:, ::500]
        exact = link.inverse(eta[at][..., None] + np.sqrt(variance[at])[..., None] * nodes) @ (weights / weights.sum())
        np.testing.assert_allclose(found[at], exact, atol=1e-6)
    means = averaged_under(eta, variance, family_of("poisson").link)
    np.testing.assert_allclose(means, np.exp(eta + variance / 2.0), rtol=1e-14)


def test_one_curve_serves_all_rows_of_a_draw(posterior, contraception):
    """Interpolated between knots, to 1e-7, where every row would be an integral."""
    rng = np.random.default_rng(4)
    many = contraception.assign(age=rng.uniform(-14, 20, len(contraception)))
    some = many.iloc[::100]
    for asked in ({"by": False}, {"by": False, "scale": "link"}):
        all_rows = effects.predictions(posterior, newdata=many, estimand="population", **asked)
        single = effects.predictions(posterior, newdata=some, estimand="population", **asked)
        np.testing.assert_allclose(
            all_rows.loc[some.index, ["estimate", "conf_low"]], single[["estimate", "conf_low"]], atol=1e-7
        )


def test_contrasts_of_draws_are_draws_of_contrasts(posterior):
    table = effects.means(posterior, "ch", hypothesis="pairwise").iloc[0]
    change = effects.comparisons(posterior, "ch").iloc[0]
    assert table[["estimate", "conf_low", "p_direction"]].tolist() == pytest.approx(
        change[["estimate", "conf_low", "p_direction"]].tolist(), rel=1e-12
    )
    assert "p_value" not in table


# population-averaged coefficients -----------------------------------------------------------------------------------------


def test_population_coefficients_of_a_probit_are_known(contraception):
    """Φ(η) averaged over N(0, σ²) is Φ(η / √(1 + σ²)), a probit again."""
    fit = bm.Model("use ~ age + urban + (1 | district)", contraception, link="probit").fit_ml()
    beta, sd, V = fit.solution.beta, fit.solution.theta[0], fit.solution.covariance
    shrunk = np.sqrt(1.0 + sd**2)
    table = effects.population_coefficients(fit)
    np.testing.assert_allclose(table.estimate, beta / shrunk, rtol=1e-8)
    J = np.column_stack([np.eye(3) / shrunk, -beta * sd / shrunk**3])
    np.testing.assert_allclose(table.std_error, np.sqrt(np.diag(J @ V @ J.T)), rtol=1e-8)
    assert table.term.tolist() == fit.fixef().index.tolist()


@pytest.mark.parametrize("offset", ["column", "array", "formula"])
def test_population_coefficients_of_counts_are_known(offset, toy):
    """exp(η) averaged over N(0, σ²) is exp(η + σ²/2): the intercept moves alone, and offsets are no coefficients."""
    formula = "count ~ x + f + (1 | g)" + (" + offset(o)" if offset == "formula" else "")
    given = {"column": "o", "array": toy.o.to_numpy(), "formula": None}[offset]
    fit = bm.Model(formula, toy, family="poisson", offset=given).fit_ml()
    expected = fit.fixef().to_numpy() + 0.5 * fit.varcorr().variance[0] * np.array([1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(effects.population_coefficients(fit).estimate, expected, rtol=1e-9)


def test_population_coefficients_without_group_effects_are_the_models_own(gee, structures):
    for fit in (gee, structures["no groups"]):
        table = effects.population_coefficients(fit)
        np.testing.assert_allclose(table.estimate, fit.fixef(), rtol=1e-9)
        np.testing.assert_allclose(table.std_error, np.sqrt(np.diag(fit.vcov())), rtol=1e-9)


# averages ---------------------------------------------------------------------------------------------------------------


def test_counted_answers_weigh_as_single_ones(toy):
    """0/1 rows, the same as successes and trials, with frequencies, and with prior weights: one average effect."""
    single = pd.concat(
        [toy[["x", "f", "g"]].loc[toy.index.repeat(toy.n)], toy[["s", "n"]].loc[toy.index.repeat(toy.n)]], axis=1
    )
    single["y"] = (single.groupby(level=0).cumcount() < single.s).astype(int)
    counts = toy.assign(p=toy.s / toy.n)
    binary = single.groupby(["x", "f", "g", "y"], as_index=False).size()
    fits = [
        bm.Model("y ~ x + f + (1 | g)", single).fit_ml(),
        bm.Model("s / n ~ x + f + (1 | g)", toy, family="binomial").fit_ml(),
        bm.Model("p ~ x + f + (1 | g)", counts, family="binomial", weights="n").fit_ml(),
        bm.Model("y ~ x + f + (1 | g)", binary, freq="size").fit_ml(),
    ]
    for estimand in ("typical", "population", "conditional"):
        first, *others = (effects.comparisons(fit, {"f": "pairwise", "x": "sd"}, estimand=estimand) for fit in fits)
        for table in others:
            # The fits agree to seven digits, their standard errors to five.
            np.testing.assert_allclose(table.estimate, first.estimate, rtol=2e-6)
            np.testing.assert_allclose(table.std_error, first.std_error, rtol=2e-5)
            assert table.attrs["average"] == first.attrs["average"] == "averaged over 599 observations"
    assert effects.grid(fits[1]).x[0] == pytest.approx(single.x.mean(), rel=1e-12)


def test_averages_are_weighted_as_asked(structures, contraception):
    fit, weights = structures["intercepts"], np.random.default_rng(3).uniform(size=len(contraception))
    each = effects.comparisons(fit, "urban", by=False)
    table = effects.comparisons(fit, "urban", weights=weights)
    assert table.estimate[0] == pytest.approx(np.average(each.estimate, weights=weights), rel=1e-12)
    by = effects.comparisons(fit, "urban", by="livch", weights=weights)
    expected = [
        np.average(each.estimate[own], weights=weights[own])
        for own in (contraception.livch == level for level in contraception.livch.cat.categories)
    ]
    np.testing.assert_allclose(by.estimate, expected, rtol=1e-12)
    new = contraception.assign(w=weights)
    again = effects.comparisons(fit, "urban", by=True, newdata=new, weights="w")
    assert again.estimate[0] == pytest.approx(table.estimate[0], rel=1e-12)
    assert again.attrs["average"] == "averaged over 1934 rows, weighted"


def test_equal_rows_are_one(structures, contraception):
    """Averages are of the rows, however they are grouped inside: of ages that all differ, too."""
    fit = structures["intercepts"]
    shaken = contraception.assign(age=contraception.age + 1e-13 * np.arange(len(contraception)))
    for estimand in ("typical", "conditional", "population"):
        one = effects.slopes(fit, "age", ["ch", "urban"], estimand=estimand)
        other = effects.slopes(fit, "age", ["ch", "urban"], shaken, estimand=estimand)
        np.testing.assert_allclose(one[["estimate", "std_error"]], other[["estimate", "std_error"]], rtol=1e-6)


def test_slopes_are_derivatives(m_05, contraception):
    """p(1 − p) (β₁ + 2 β₃ age + β₅ ch), by rows and averaged."""
    b, design = m_05.fixef(), m_05.design
    p = expit(design.X @ b.to_numpy())
    inner = b["age"] + 2 * b["I(age^2)"] * contraception.age + b["age:ch[Y]"] * (contraception.ch == "Y")
    expected = p * (1 - p) * inner
    np.testing.assert_allclose(effects.slopes(m_05, "age", by=False).estimate, expected, rtol=1e-7, atol=1e-11)
    assert effects.slopes(m_05).estimate[0] == pytest.approx(expected.mean(), rel=1e-8)
    link = effects.slopes(m_05, by=False, scale="link")
    np.testing.assert_allclose(link.estimate, inner, rtol=1e-7, atol=1e-10)


def test_odds_ratios_of_a_typical_group_are_exponentials_of_coefficients(structures):
    fit = structures["slopes"]
    table = effects.comparisons(fit, comparison="oddsratio").set_index("term")
    beta, error = fit.fixef(), np.sqrt(np.diag(fit.vcov()))
    for term, name, at in (("age", "age", 1), ("ch", "ch[Y]", 2), ("urban", "urban[Y]", 3)):
        assert table.estimate[term] == pytest.approx(np.exp(beta[name]), rel=1e-12)
        assert table.std_error[term] == pytest.approx(np.exp(beta[name]) * error[at], rel=1e-10)
        assert table.conf_high[term] == pytest.approx(np.exp(beta[name] + norm.ppf(0.975) * error[at]), rel=1e-10)
        assert table.p_value[term] == pytest.approx(2 * norm.sf(abs(beta[name] / error[at])), rel=1e-6)
    assert table.contrast["age"] == "+1"
    assert table.contrast["ch"] == "odds(Y) / odds(N)"


def test_an_exposure_in_the_offset_is_changed_too(toy):
    data = toy.assign(time=np.exp(toy.o))
    fit = bm.Model("count ~ x + offset(log(time)) + (1 | g)", data, family="poisson").fit_ml()
    table = effects.comparisons(fit, {"time": (1, 2)}, comparison="ratio")
    assert table.estimate[0] == pytest.approx(2.0, rel=1e-12)
    assert table.contrast[0] == "2 / 1"


def test_an_offset_given_as_an_array_stays_with_its_rows(toy):
    given, column = (bm.Model("y ~ x + f + (1 | g)", toy, offset=offset).fit_ml() for offset in (toy.o.to_numpy(), "o"))
    for by in (None, False, "f"):
        one, other = (effects.predictions(fit, by=by) for fit in (given, column))
        np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-10)


# levels -------------------------------------------------------------------------------------------------------------------


def test_levels_are_in_the_order_of_the_documents(livch):
    assert effects.comparisons(livch, "livch").contrast.tolist() == ["1 - 0", "2 - 0", "3+ - 0"]
    assert effects.comparisons(livch, {"livch": "sequential"}).contrast.tolist() == ["1 - 0", "2 - 1", "3+ - 2"]
    assert effects.comparisons(livch, {"livch": ("3+", "1")}).contrast.tolist() == ["1 - 3+"]
    assert effects.means(livch, "livch").livch.tolist() == ["0", "1", "2", "3+"]
    assert effects.predictions(livch, by=["livch", "urban"]).livch.tolist() == [
        "0",
        "0",
        "1",
        "1",
        "2",
        "2",
        "3+",
        "3+",
    ]


def test_factors_of_every_kind_are_set(toy):
    """Truth values, text, categories that are numbers, and numbers that the formula turns into a factor."""
    data = toy.assign(k=pd.Categorical(toy.h % 3, categories=[2, 0, 1]))
    fit = bm.Model("y ~ x + flag + f + k + factor(h) + (1 | g)", data).fit_ml()
    b = fit.fixef()
    asked = {"flag": None, "f": None, "k": None, "h": (0, 7)}
    table = effects.comparisons(fit, asked, comparison="lnoddsratio")
    expected = [b["flag[True]"], b["f[b]"], b["f[c]"]]
    np.testing.assert_allclose(table.estimate[:3], expected, rtol=1e-10)
    assert table.contrast.tolist()[-1] == "ln(odds(7) / odds(0))"
    assert table.contrast.tolist()[3:5] == ["ln(odds(0) / odds(2))", "ln(odds(1) / odds(2))"]


def test_polars_frames_are_taken(structures, contraception):
    import polars as pl

    fit = structures["slopes"]
    new = contraception.iloc[:50]
    for estimand in ("typical", "population", "conditional"):
        one = effects.comparisons(fit, "urban", "ch", new, estimand)
        other = effects.comparisons(fit, "urban", "ch", pl.from_pandas(new), estimand)
        np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-12)


# what a table says ----------------------------------------------------------------------------------------------------------


def test_a_table_says_what_it_is_of(m_05, gee, structures):
    table = effects.comparisons(m_05, "urban", estimand="population", comparison="oddsratio")
    assert table.columns.tolist() == ["term", "contrast", *NUMBERS, "estimand"]
    text = " ".join(str(table).split())
    assert (
        "odds ratio of use = Y; population: averaged over the distribution of the group effects; geometric mean over "
        "1934 observations; standard errors contain the uncertainty of the coefficients and of the groups' variances; "
        "95% Wald intervals."
    ) in text
    assert table.attrs["estimand"] == "population: averaged over the distribution of the group effects"
    assert str(table.round(2)).endswith("95% Wald intervals.")
    assert ">odds ratio of use = Y; population" in table._repr_html_()
    assert "robust standard errors" in str(effects.comparisons(gee, "urban"))
    same = effects.predictions(structures["no groups"], estimand="population")
    assert same.attrs["notes"] == [
        "The model has no group effects: the population estimand is the same as the typical one."
    ]
    assert same.estimate[0] == effects.predictions(structures["no groups"]).estimate[0]


def test_a_change_of_group_is_said(m_05, structures):
    data = m_05.model.data
    parts = set(zip(data.urban, data.district, strict=True))
    unseen = np.mean([(level, district) not in parts for district in data.district for level in "NY"])
    (note,) = effects.comparisons(m_05, "urban", estimand="conditional").attrs["notes"]
    assert note == (
        f'"urban" is part of the grouping urban:district: another value is another group, and {unseen:.0%} of the '
        f"predictions are for groups that the data do not have, which are averaged over."
    )
    assert not effects.comparisons(structures["slopes"], "urban", estimand="conditional").attrs["notes"]
    zero = effects.comparisons(m_05, "urban", estimand="conditional", new_groups="zero")
    assert "taken as typical" in zero.attrs["notes"][0]


def test_a_posterior_mode_and_a_gee_answer_in_the_same_words(m_05, gee):
    mode = m_05.model.fit_map()
    ours = effects.predictions(mode, by=False, estimand="population")
    expected = mode.predict(estimand="population")
    np.testing.assert_allclose(ours[list(expected)], expected, rtol=1e-10)
    ours = effects.predictions(gee, by=False)
    expected = gee.predict()
    np.testing.assert_allclose(ours[list(expected)], expected, rtol=1e-10)
    assert set(ours.estimand) == {"population"}


# several tests ----------------------------------------------------------------------------------------------------------------


def test_adjusted_p_values():
    from statsmodels.stats.multitest import multipletests

    z = np.array([2.5, -1.9, 0.3, 3.1, -2.2])
    single = 2 * norm.sf(np.abs(z))
    for name in ("bonferroni", "holm"):
        found = adjusted(name, z, np.eye(5), 0.9)
        np.testing.assert_allclose(found.p_value, multipletests(single, method=name)[1], rtol=1e-12)
        assert found.critical == pytest.approx(norm.ppf(1 - 0.1 / 10), rel=1e-10)
    independent = adjusted("single-step", z, np.eye(5), 0.95)
    # Of independent statistics 1 − (1 − p)ᵐ, to the lattice's three digits.
    np.testing.assert_allclose(independent.p_value, 1 - (1 - single) ** 5, rtol=3e-3)
    assert independent.critical == pytest.approx(norm.ppf(0.5 + 0.5 * 0.95**0.2), rel=1e-3)


@pytest.mark.parametrize("k", [3, 5, 8])
def test_single_steps_of_all_pairs_are_tukeys(k):
    """The correlation of all pairs of k independent means is singular; its largest statistic is a studentised range."""
    pairs = np.array([[float(i == b) - float(i == a) for i in range(k)] for a in range(k) for b in range(a + 1, k)])
    z = np.linspace(0.5, 5.0, len(pairs))
    found = adjusted("single-step", z, pairs @ pairs.T / 2.0, 0.95)
    np.testing.assert_allclose(found.p_value, studentized_range.sf(np.sqrt(2) * z, k, np.inf), rtol=5e-3)
    assert found.critical == pytest.approx(studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2), rel=1e-3)


def test_adjustments_are_said(livch):
    table = effects.comparisons(livch, {"livch": "pairwise"})
    assert "not adjusted for the 6 made" in " ".join(str(table).split())
    tukey = effects.comparisons(livch, {"livch": "pairwise"}, adjust="tukey")
    assert "the studentised range, of all pairs of 4 values" in " ".join(str(tukey).split())
    assert (tukey.p_value > table.p_value).all()
    assert (tukey.conf_low < table.conf_low).all()
    assert (
        "adjust" not in effects.comparisons(livch, "urban").attrs
        or not effects.comparisons(livch, "urban").attrs["adjust"]
    )


# what is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "asked", "said"),
    [
        ("comparisons", {"variables": "religion"}, '"religion" is no predictor of the model; there are: age, ch, urban'),
        ("comparisons", {"variables": "aeg"}, '"aeg" is no predictor of the model; did you mean "age"? (there are: age, ch, urban)'),
        ("comparisons", {"variables": "district"}, '"district" is a grouping of the model, not a predictor, of which there are: age, ch, urban'),
        ("comparisons", {"variables": {"urban": ("N", "Z")}}, '"urban" has no level "Z"; there are: N, Y'),
        ("comparisons", {"variables": {"urban": ("N",)}}, '"urban" should be compared at two levels, not 1'),
        ("comparisons", {"variables": {"urban": "each"}}, 'the levels of "urban" cannot be compared by "each"; there are: reference, sequential, pairwise'),
        ("comparisons", {"variables": {"age": "pairwise"}}, '"age" is numeric: it is compared over a step, "sd" or two values, not by "pairwise"'),
        ("comparisons", {"variables": {"age": 0}}, '"age" is to be compared over a step of 0'),
        ("comparisons", {"variables": {"age": (1, 2, 3)}}, '"age" should be compared at two values, not 3'),
        ("comparisons", {"variables": {"age": (1, "b")}}, "\"age\" is a number; it cannot be 'b'"),
        ("comparisons", {"comparison": "odds"}, 'there is no comparison "odds"; did you mean "oddsratio"? (there are: difference, ratio, oddsratio, lnratio, lnoddsratio)'),
        ("comparisons", {"estimand": "marginal"}, 'there is no estimand "marginal"; there are: conditional, typical, population'),
        ("comparisons", {"variables": "urban", "at": "urban"}, '"urban" is compared, and cannot be set by at= as well'),
        ("comparisons", {"average": "median"}, 'average should be "rows" or "means", not "median"'),
        ("comparisons", {"new_groups": "error"}, 'new_groups should be "population" or "zero", not "error"'),
        ("comparisons", {"level": 95}, "level should lie between 0 and 1, for example 0.95, not 95"),
        ("comparisons", {"hypothesis": "all"}, "there is no hypothesis 'all'; there are: pairwise, reference, sequential, or weights by name"),
        ("comparisons", {"variables": "urban", "hypothesis": "pairwise"}, 'there is one row only, and nothing to contrast it with by "pairwise"'),
        ("comparisons", {"hypothesis": {"a": [1, -1]}}, 'the contrast "a" has 2 weights for 3 rows ((age: +1), (ch: Y - N), (urban: Y - N))'),
        ("comparisons", {"by": False, "hypothesis": "pairwise"}, "the table has 5802 rows, too many to contrast with each other; average within by= first"),
        ("comparisons", {"adjust": "fdr"}, 'there is no adjustment "fdr"; there are: bonferroni, holm, tukey, single-step'),
        ("comparisons", {"adjust": "tukey"}, 'adjust="tukey" is for all pairs of several values; "single-step" and "holm" are for any'),
        ("comparisons", {"by": "religion"}, 'the data have no column "religion"; there are: woman, district, use, livch, age, urban, ch'),
        ("comparisons", {"by": 3}, "by should name columns, not 3"),
        ("comparisons", {"weights": "use"}, 'weights: column "use" does not hold numbers'),
        ("comparisons", {"weights": [1.0, 2.0]}, "weights have shape (2,); there are 1934 rows"),
        ("comparisons", {"weights": -np.ones(1934)}, "weights should be numbers of 0 or more, not all of them 0"),
        ("comparisons", {"by": False, "weights": np.ones(1934)}, "weights= is of averages, and here every row stands for itself; average with by=True"),
        ("comparisons", {"weights": ["a"] * 1934}, "weights should be numbers, one per row, or the name of a column"),
        ("comparisons", {"variables": []}, "variables= names none: leave it out for all predictors"),
        ("slopes", {"variables": []}, "variables= names none: leave it out for all predictors"),
        ("comparisons", {"hypothesis": {}}, "hypothesis= has no contrast: give weights by name"),
        ("comparisons", {"hypothesis": {"a": [1, np.nan, 0]}}, 'the contrast "a" should have numbers for weights, one per row, not [1, nan, 0]'),
        ("comparisons", {"hypothesis": {"a": ["x", "y", "z"]}}, "the contrast \"a\" should have numbers for weights, one per row, not ['x', 'y', 'z']"),
        ("comparisons", {"variables": "age", "newdata": {"age": ["old"], "ch": ["N"], "urban": ["N"]}}, 'new data: column "age" holds "old"; the model knows it as numbers'),
        ("means", {"by": []}, "means are by something: name a factor, or give values of a variable"),
        ("means", {"by": "urban", "newdata": "grid", "estimand": "conditional"}, 'newdata="grid" has no "district", whose effects estimand="conditional" is given: name its groups, as newdata=effects.grid(fit, district=[...])'),
        ("slopes", {"variables": "urban"}, '"urban" is a factor and has no slope; comparisons() compares its levels'),
        ("slopes", {"scale": "odds"}, 'scale should be "response" or "link", not "odds"'),
        ("means", {"by": "age"}, '"age" is numeric and has no levels: say at which values, as {"age": [0, 1]}'),
        ("means", {"by": None}, "means are by something: name a factor, or give values of a variable"),
        ("means", {"by": {"urban": []}}, '"urban" is given no value'),
        ("means", {"by": "urban", "adjust": "holm"}, "adjust= is of tests, and here is none: ask for contrasts, by hypothesis="),
        ("predictions", {"newdata": "balanced"}, 'newdata should be a data frame, or "grid" for every combination of levels, not "balanced"'),
        ("predictions", {"newdata": {"age": [0.0], "ch": ["N"]}}, 'new data: the data have no column "urban"; there are: age, ch'),
        ("predictions", {"newdata": {"age": [0.0], "ch": ["N"], "urban": ["Z"]}}, 'new data: column "urban" holds "Z", a level the model has not seen; there are: N, Y'),
        ("predictions", {"newdata": {"age": [np.nan], "ch": ["N"], "urban": ["N"]}}, 'new data: column "age" is missing in row 0 (counting from 0)'),
        ("predictions", {"newdata": {"age": [0.0], "ch": ["N"], "urban": ["N"]}, "estimand": "conditional"}, 'new data: the data have no column "district"; there are: age, ch, urban'),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(verb, asked, said, m_05):
    assert refusal(lambda: getattr(effects, verb)(m_05, **asked)) == said


def test_what_a_fit_cannot_answer_is_refused_in_words(gee, posterior, m_05, sleepstudy, contraception):
    assert refusal(lambda: effects.predictions(m_05.model)) == (
        "effects.predictions takes fits, such as model.fit_ml() gives, not a Model"
    )
    for estimand in ("typical", "conditional"):
        assert refusal(lambda: effects.predictions(gee, estimand=estimand)) == (  # noqa: B023
            f'a GEE has no group effects: its only estimand is "population"; fit by fit_ml() or sample() for "{estimand}"'
        )
    assert refusal(lambda: effects.comparisons(posterior, adjust="holm")) == (
        "a posterior has no p-values to adjust: its probabilities are of all quantities at once"
    )
    gaussian = bm.Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian").fit_ml()
    assert refusal(lambda: effects.comparisons(gaussian, comparison="oddsratio")) == (
        'an odds ratio is of a binary response, not of a gaussian (identity); ask for "ratio"'
    )
    assert refusal(lambda: effects.comparisons(gaussian, {"Days": (-30, 0)}, comparison="ratio")) == (
        "an expected response is at the end of its range (a probability of 0 or 1, a mean that is not positive), where "
        "this comparison is not defined; ask for differences"
    )
    constant = bm.Model("use ~ 1 + (1 | district)", contraception).fit_ml()
    assert refusal(lambda: effects.comparisons(constant)) == (
        "the model has no predictors, and so no effects to compare"
    )
    assert effects.predictions(constant).estimate[0] == pytest.approx(expit(constant.fixef().iloc[0]), rel=1e-12)
    assert refusal(lambda: effects.predictions(constant, newdata=contraception.head(0))) == (
        "new data: the data have no rows; check how they were read or filtered"
    )
    missing = contraception.assign(region=["north", None] * 967)
    fit = bm.Model("use ~ urban", missing).fit_ml()
    assert refusal(lambda: effects.predictions(fit, by="region")) == (
        'by: column "region" is missing in row 1 (counting from 0)'
    )
    named = bm.Model("use ~ urban", contraception.assign(term="a")).fit_ml()
    assert refusal(lambda: effects.predictions(named, by="term")) == (
        'the column "term" has the name of a column of the table; rename it'
    )


def test_a_function_that_is_not_defined_for_a_new_value_is_named(toy):
    data = toy.assign(size=np.exp(toy.x))
    fit = bm.Model("y ~ log(size) + (1 | g)", data).fit_ml()
    said = 'new data: "log(size)" is nan in row 0 (counting from 0): the function is not defined for the value there'
    assert refusal(lambda: fit.predict(data.assign(size=-1.0))) == said
    assert refusal(lambda: effects.means(fit, {"size": [-1.0]})) == said


def test_a_column_named_twice_is_averaged_within_once(m_05):
    assert effects.predictions(m_05, by=["ch", "ch"]).equals(effects.predictions(m_05, by="ch"))


def test_grids(m_05):
    grid = effects.grid(m_05, "urban", age=[-10, 10])
    assert grid.columns.tolist() == ["urban", "age", "ch"]
    assert grid.ch.tolist() == ["N"] * 4
    balanced = effects.grid(m_05, balanced=True)
    assert len(balanced) == 4
    assert balanced.age.tolist() == pytest.approx([m_05.model.data.age.mean()] * 4)
    assert effects.grid(m_05, district=["1", "2"], urban="Y").district.tolist() == ["1", "2"]
    assert len(effects.predictions(m_05, newdata=effects.grid(m_05, district=["1", "2"]), estimand="conditional")) == 2
    assert refusal(lambda: effects.grid(m_05, religion=1)) == (
        '"religion" is no predictor of the model; there are: age, ch, urban, district'
    )
    assert refusal(lambda: effects.grid(m_05, urban="Z")) == '"urban" has no level "Z"; there are: N, Y'


# the package marginaleffects ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marginaleffects():
    return pytest.importorskip("marginaleffects", reason="needs the extra marginaleffects")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("estimand", ["typical", "population"])
def test_marginaleffects_says_the_same(estimand, structures, marginaleffects):
    """Its forward differences in the parameters have six digits; those of slopes, themselves differences, two."""
    fit = structures["slopes"]
    adapted = effects.to_marginaleffects(fit, estimand)
    asked = {"by": "livch", "comparison": "lnor"}
    for theirs, ours, digits in (
        (
            marginaleffects.avg_comparisons(adapted, variables="urban"),
            effects.comparisons(fit, "urban", estimand=estimand),
            1e-5,
        ),
        (
            marginaleffects.avg_comparisons(adapted, variables={"ch": "reference"}, **asked),
            effects.comparisons(fit, "ch", "livch", estimand=estimand, comparison="lnoddsratio", average="means"),
            1e-5,
        ),
        (marginaleffects.avg_slopes(adapted, variables="age"), effects.slopes(fit, "age", estimand=estimand), 1e-2),
        (marginaleffects.predictions(adapted), effects.predictions(fit, by=False, estimand=estimand), 1e-5),
    ):
        np.testing.assert_allclose(theirs["estimate"].to_numpy(), ours.estimate, rtol=1e-6)
        np.testing.assert_allclose(theirs["std_error"].to_numpy(), ours.std_error, rtol=digits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_marginaleffects_takes_a_gee_and_factors_of_numbers(gee, toy, marginaleffects):
    theirs = marginaleffects.avg_comparisons(effects.to_marginaleffects(gee), variables="ch")
    ours = effects.comparisons(gee, "ch")
    np.testing.assert_allclose(theirs["std_error"].to_numpy(), ours.std_error, rtol=1e-5)
    fit = bm.Model("y ~ x + flag + factor(h) + (1 | g)", toy).fit_ml()
    adapted = effects.to_marginaleffects(fit)
    theirs = marginaleffects.avg_comparisons(adapted, variables=["flag", "h"])
    ours = effects.comparisons(fit, ["flag", "h"])
    np.testing.assert_allclose(np.sort(theirs["estimate"].to_numpy()), np.sort(ours.estimate), rtol=1e-6)


def test_what_marginaleffects_cannot_take_is_refused_in_words(m_05, posterior, toy):
    assert refusal(effects.to_marginaleffects, posterior) == (
        "marginaleffects takes one estimate, not draws: use bayesmlm.effects for a posterior"
    )
    assert refusal(effects.to_marginaleffects, m_05, "conditional") == (
        'marginaleffects does not know of groups\' own effects: estimand="typical" or "population"'
    )
    offset = bm.Model("y ~ x", toy, offset=toy.o.to_numpy()).fit_ml()
    assert refusal(effects.to_marginaleffects, offset) == (
        "marginaleffects needs the offset in a column of the data; here it was given as an array"
    )


def test_marginaleffects_is_asked_for_where_it_is_missing(m_05, monkeypatch):
    from bayesmlm.effects import adapter

    adapter._adapter.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "marginaleffects.classes", None)
    assert refusal(effects.to_marginaleffects, m_05).startswith(
        "the package marginaleffects is not installed: pip install"
    )
