"""Text of a fit, read as an lme4 user reads it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import bayesmlm as bm


@pytest.fixture(scope="module")
def data():
    return bm.load_dataset("contraception")


def test_the_summary_has_lme4s_blocks_and_figures(data):
    text = bm.Model("use ~ age + urban + livch + (1 | district)", data).fit_ml().summary()
    lines = text.splitlines()
    assert lines[0].startswith("Generalized linear mixed model fit by maximum likelihood (Laplace")
    assert "2427.6 2466.6 -1206.8   2413.6     1927" in text
    # Scaled residuals and the variance, to the digits lme4 prints at its true optimum.
    assert "-1.8226 -0.7659 -0.5085 0.9983 2.7201" in text
    assert " district Intercept   0.2124   0.4609" in text
    assert "Number of obs: 1934, groups: district, 60" in text
    assert any(line.split() == ["urban[Y]", "0.7330", "0.1194", "6.138", "8.37e-10"] for line in lines)
    assert "Correlation of fixed effects:" in text
    assert "The response counts" not in text
    assert any(line.split() == ["livch[3+]", "-0.752", "-0.675", "0.092", "0.540", "0.621"] for line in lines)


def facts_of(text):
    """The two columns that a concise summary begins with."""
    return dict(re.split(r" {2,}", line) for line in text.split("\n\n")[0].splitlines())


def test_the_concise_summary_has_r2_and_icc(data):
    """jtools' summ() of the same two models: 2379.18, 2418.15, 0.12, 0.18, 0.06 and 2368.47, 2407.45, 0.12, 0.20, 0.09."""
    text = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", data).fit_ml().summary("concise")
    facts = facts_of(text)
    assert (facts["AIC"], facts["BIC"]) == ("2368.47", "2407.45")
    assert (facts["R² (fixed effects)"], facts["R² (total)"]) == ("0.12", "0.20")
    assert (facts["Observations"], facts["Type"]) == ("1934", "mixed generalized linear model")
    assert text.splitlines()[-1].split() == ["urban:district", "Intercept", "0.57", "102", "0.09"]
    text = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | district)", data).fit_ml().summary("concise")
    facts = facts_of(text)
    assert [facts[name] for name in ("AIC", "BIC", "R² (fixed effects)", "R² (total)")] == [
        "2379.18", "2418.15", "0.12", "0.18"
    ]  # fmt: skip
    assert text.splitlines()[-1].split() == ["district", "Intercept", "0.47", "60", "0.06"]
    rows = {
        line.split()[0]: [float(x) for x in line.split()[1:]]
        for line in text.splitlines()
        if line[:3] in ("age", "ch[")
    }
    # jtools' rounded figures, of an lme4 that stops short: z to 0.02.
    assert np.all(np.abs(np.subtract(rows["age"][:3], [-0.05, 0.02, -2.17])) < [0.005, 0.005, 0.02])
    assert np.all(np.abs(np.subtract(rows["ch[Y]"][:3], [1.21, 0.21, 5.84])) < [0.005, 0.005, 0.02])


def test_a_glm_says_it_has_no_groups(data):
    text = bm.Model("use ~ age + urban + livch", data).fit_ml().summary()
    assert text.startswith("Generalized linear model")
    assert "Random effects" not in text


def test_a_posteriors_summary_ends_in_the_verdict(data):
    fit = bm.Model("use ~ urban + (1 | district)", data).sample(draws=100, chains=2, seed=1)
    text = fit.summary()
    assert "R-hat" in text
    assert " ".join(text.split()).endswith(fit.diagnostics().verdict)
    assert max(map(len, text.splitlines())) <= 80


def test_a_style_that_does_not_exist_lists_those_that_do(data):
    with pytest.raises(bm.FitError, match='no summary style "short"; there are: full, concise'):
        bm.Model("use ~ age", data).fit_ml().summary("short")


# gaussian models and posterior modes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep():
    return bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")


def test_the_summary_of_reml_is_lme4s(sleep):
    """lme4 1.1-31 prints these figures (its own default stops a 3e-6 short: 24.741)."""
    assert (
        sleep.fit_ml(reml=True)
        .summary()
        .startswith(
            """\
Linear mixed model fit by REML
Formula: Reaction ~ Days + (Days | Subject)

REML criterion at convergence: 1743.6

Scaled residuals:
    Min      1Q Median     3Q    Max
-3.9536 -0.4634 0.0231 0.4634 5.1793

Random effects:
 Groups   Name      Variance Std.Dev. Corr
 Subject  Intercept   612.09   24.740
          Days         35.07    5.922  0.07
 Residual             654.94   25.592
Number of obs: 180, groups: Subject, 18

Fixed effects:
          Estimate Std. Error t value
Intercept  251.405      6.825  36.838
Days        10.467      1.546   6.771

Correlation of fixed effects:
     Intercept
Days    -0.138"""
        )
    )


def test_the_summary_of_a_linear_mixed_model_by_ml(sleep):
    text = sleep.fit_ml().summary()
    assert text.startswith("Linear mixed model fit by maximum likelihood\n")
    assert "1763.9 1783.1 -876.0   1751.9      174" in text
    assert "REML" not in text


@pytest.mark.parametrize("formula", ["Reaction ~ Days", "Reaction ~ 0 + (1 | Subject)"])
def test_parts_that_are_not_there_leave_no_headings(formula, sleep):
    fit = sleep.update(formula).fit_ml(reml=True)
    for style in ("full", "concise"):
        text = fit.summary(style)
        assert ("Fixed effects:" in text) == ("Days" in formula)
        assert "Random effects:" not in text or "Subject" in formula
    if "Days" in formula:
        assert fit.summary().startswith("Linear model fit by REML\n")
        # R's summary(lm(...)): residual standard error 47.71 on 178 degrees of freedom.
        assert "Residual standard deviation: 47.71\n" in fit.summary()


def test_no_two_columns_of_correlations_have_one_name(data):
    text = bm.Model("use ~ urban*livch", data).fit_ml().summary().split("Correlation of fixed effects:")[1]
    heads = text.splitlines()[1].split()
    assert len(heads) == len(set(heads)) == 7


def test_draws_without_fixed_effects_are_told(data):
    fit = bm.Model("use ~ 0 + (1 | district)", data).sample(method="marginal", draws=100, seed=1)
    assert "Fixed effects:" not in fit.summary()
    assert fit.vcov().shape == (0, 0)


def test_correlations_stand_beside_the_standard_deviations(data):
    fit = bm.Model("use ~ age + (1 + age + urban | district)", data).fit_ml()
    cor = fit.varcorr().dropna(subset="correlation").set_index("term").correlation
    text = fit.summary().split("Random effects:")[1]
    shown = [f"{cor[pair]:.2f}" for pair in ("Intercept,urban[Y]", "age,urban[Y]")]
    assert text.splitlines()[4].split()[-2:] == shown
    assert text.splitlines()[3].split()[-1] == f"{cor['Intercept,age']:.2f}"


def test_a_modes_summary_has_intervals_and_no_p_values(sleep, data):
    text = sleep.fit_map().summary()
    assert text.startswith("Linear mixed model: posterior mode\n")
    assert "Log-posterior:" in text
    assert "97.5 %" in text
    assert "Pr(" not in text
    assert " ".join(text.split()).endswith("which is not its maximum.")
    generalised = bm.Model("use ~ age + (1 | district)", data)
    head = "Generalized linear mixed model: posterior mode (Laplace approximation)\n"
    assert generalised.fit_map().summary().startswith(head)
    concise = generalised.fit_map().summary("concise")
    assert "Mode" in concise
    assert "Log-posterior" in concise
    assert "AIC" not in concise
    assert "(Laplace approximation, fast: n_agq = 0)" in generalised.fit_ml(n_agq=0).summary()
    assert "(adaptive Gauss-Hermite quadrature, 9 points)" in generalised.fit_map(n_agq=9).summary()


def test_the_concise_summary_of_reml(sleep):
    text = sleep.fit_ml(reml=True).summary("concise")
    rows = [line.split() for line in text.splitlines()]
    assert ["REML", "criterion", "1743.63"] in rows
    assert ["Subject", "Days", "5.92", "18"] in rows
    assert ["Residual", "25.59"] in rows
    assert ["R²", "(total)", "0.80"] in rows


def test_a_summary_with_degrees_of_freedom(sleep):
    """lmerTest's columns; the rest stays."""
    fit = sleep.fit_ml(reml=True)
    text = fit.summary(df="satterthwaite")
    assert text.startswith("Linear mixed model fit by REML. t tests use Satterthwaite's method\n")
    assert ["Days", "10.467", "1.546", "17.0", "6.771", "3.26e-06"] in [line.split() for line in text.splitlines()]
    plain = fit.summary().splitlines()
    changed = [i for i, line in enumerate(text.splitlines()) if line != plain[i]]
    assert [plain[i].split()[0] for i in changed] == ["Linear", "Estimate", "Intercept", "Days"]
    assert "Pr(>|t|)" in fit.summary("concise", df="satterthwaite")
    with pytest.raises(bm.FitError, match="no degrees of freedom"):
        sleep.fit_map().summary(df="satterthwaite")


# exponentials -----------------------------------------------------------------------------------------------------


def coefficients(text):
    """Rows of the fixed effects by term, as numbers."""
    block = next(part for part in text.split("\n\n") if part.startswith(("Fixed effects", "Coefficients of")))
    return {line.split()[0]: line.split()[1:] for line in block.splitlines()[2:]}


def test_odds_ratios_are_exponentials_of_estimates_and_limits(data):
    m = bm.Model("use ~ urban + (1 | district)", data)
    for fit in (m.fit_ml(), m.fit_map(), m.fit_gee(), m.sample(method="marginal")):
        text = fit.summary(exponentiate=True)
        assert " as odds ratios; of the intercept, odds:" in text
        assert "Std. Error" not in text.partition("as odds ratios")[2].partition("\n\n")[0]
        table = fit.table().set_index("term").loc["urban[Y]"]
        shown = [float(cell) for cell in coefficients(text)["urban[Y]"][:3]]
        np.testing.assert_allclose(shown, np.exp([table.estimate, table.conf_low, table.conf_high]), rtol=2e-4)
        assert "Odds ratio" in fit.summary("concise", exponentiate=True)
    # The estimate of draws is their geometric mean, the limits their quantiles.
    draws = np.exp(fit._values()[:, 1])
    assert shown[0] == pytest.approx(np.exp(np.log(draws).mean()), rel=2e-4)
    assert shown[1:] == pytest.approx(np.quantile(draws, [0.025, 0.975]), rel=1e-3)


def test_ratios_have_the_name_of_their_link(data):
    cbpp = bm.load_dataset("cbpp")
    counts = bm.Model("incidence ~ period + offset(log(size)) + (1 | herd)", cbpp, family="poisson").fit_ml()
    assert "as rate ratios; of the intercept, rate:" in counts.summary(exponentiate=True)
    hazard = bm.Model("use ~ urban", data, link="cloglog").fit_ml()
    assert "Hazard ratio" in hazard.summary(exponentiate=True)
    levels = bm.Model("use ~ 0 + urban + age", data).fit_ml()
    assert "as odds ratios; of urban[N], urban[Y], odds:" in levels.summary(exponentiate=True)
    with pytest.raises(bm.FitError, match=r"means nothing under the probit link.*link=\"logit\""):
        bm.Model("use ~ urban", data, link="probit").fit_ml().summary(exponentiate=True)


def test_differences_of_means_are_no_ratios(sleep):
    for fit in (sleep.fit_ml(), sleep.fit_gee(groups="Subject")):
        with pytest.raises(bm.FitError, match="under the identity link: it is a difference of means already"):
            fit.summary("concise", exponentiate=True)


# other readings ---------------------------------------------------------------------------------------------------


def test_a_posterior_without_chains_shows_its_certificate(data):
    fit = bm.Model("use ~ urban + (1 | district)", data).sample(method="marginal")
    for style in ("full", "concise"):
        text = " ".join(fit.summary(style).split())
        assert text.endswith(fit.diagnostics().verdict)
        assert "k̂" in text
        assert "R-hat" not in text
    full = fit.summary()
    assert f"Log marginal likelihood: {fit.log_evidence:.2f}" in full
    row = next(line for line in full.splitlines() if "sd(Intercept)" in line).split()
    assert row[0] == "district"
    assert float(row[2]) == pytest.approx(fit.varcorr().sd[0], abs=1e-4)
    assert "Scaled residuals:" in full


def test_the_residuals_of_a_posterior_are_nearly_those_of_the_likelihood(data):
    """One prior and 1,934 rows: quartiles within 0.02."""
    m = bm.Model("use ~ urban + (1 | district)", data)

    def quartiles(fit):
        return [float(x) for x in fit.summary().split("Scaled residuals:\n")[1].splitlines()[1].split()]

    np.testing.assert_allclose(quartiles(m.sample(method="marginal")), quartiles(m.fit_ml()), atol=0.02)


def test_a_fit_that_cannot_be_trusted_says_so_in_every_style(data):
    fit = bm.Model("use ~ urban + (1 | district)", data).fit_ml()
    optimum = replace(fit.solution.optimum, converged=False, distance=3.0)
    bad = replace(fit, solution=replace(fit.solution, optimum=optimum))
    for style in ("full", "concise"):
        assert "was not reached" in " ".join(bad.summary(style).split())
    assert "was not reached" in bad._repr_html_()


# HTML -------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects text, and fails on tags that are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.ids = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "meta", "link"):
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


@pytest.fixture(scope="module")
def odd():
    """Names of columns, levels and groups that mean something in HTML, Markdown and LaTeX."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, 200),
            "a_b": rng.normal(size=200),
            "arm": rng.choice(["<b>1</b>", "5 % & |more|"], 200),
            "site": rng.choice(["A&B", "<C>", "D_$", "E", "F", "G"], 200),
        }
    )


def test_html_is_well_formed_and_escaped(odd, data, sleep):
    m = bm.Model("y ~ a_b + arm + (1 | site)", odd, name="<m>")
    fits = [m.fit_ml(), m.fit_map(), m.sample(method="auto", draws=200), m.fit_gee(), sleep.fit_ml(reml=True)]
    for fit in fits:
        page = Page(fit._repr_html_())
        assert page.ids == []
        assert fit.design.formula.text in "".join(page.words)
    words = Page(fits[0]._repr_html_()).words
    assert "arm[<b>1</b>]" in words
    tables = [
        fits[0].table(), fits[0].table(ranef=True), fits[0].varcorr(), fits[0].ranef(), bm.side_by_side(*fits[:4]),
        bm.anova(m.update("y ~ a_b + (1 | site)").fit_ml(), fits[0]), bm.compare(fits[0]),
        bm.model_table(*fits), fits[0].standardised(),
    ]  # fmt: skip
    for table in tables:
        page = Page(table._repr_html_())
        assert page.ids == []
        assert "bayesmlm" in table._repr_html_()
    assert "<C>" in Page(fits[0].table(ranef=True)._repr_html_()).words
    assert "&lt;C&gt;" in fits[0].table(ranef=True)._repr_html_()


def test_html_of_a_table_has_its_digits_and_says_what_it_is(data):
    fit = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", data).fit_ml()
    words = Page(fit.table()._repr_html_()).words
    for cell in ("I(age^2)", "−0.005626", "2.5 %", "Standard deviations between groups", "0.5683", "1.65e−09"):
        assert cell in words
    assert "Given the groups' own effects; 95% Wald." in words
    assert "nan" not in "".join(words).lower()


def test_tables_of_results_are_data_frames(data):
    fit = bm.Model("use ~ urban + (1 | district)", data).fit_ml()
    table = fit.table()
    assert isinstance(table, pd.DataFrame)
    # Prints as any other, and long ones are left to pandas.
    assert repr(table) == repr(pd.DataFrame(table))
    assert "dataframe" in fit.table(ranef=True).merge(fit.table(ranef=True), how="cross")._repr_html_()
