"""Text of a fit, read as an lme4 user reads it."""

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


def test_the_concise_summary_has_r2_and_icc(data):
    text = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", data).fit_ml().summary("concise")
    facts = {
        line.rsplit(maxsplit=1)[0].strip(): line.rsplit(maxsplit=1)[1] for line in text.splitlines()[:8] if " " in line
    }
    assert facts["AIC"] == "2368.47"
    assert facts["R² (fixed effects)"] == "0.12"
    assert facts["R² (total)"] == "0.20"
    assert text.splitlines()[-1].split() == ["urban:district", "Intercept", "0.57", "102", "0.09"]


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
    assert "Mode" in generalised.fit_map().summary("concise")
    assert "(Laplace approximation, fast: n_agq = 0)" in generalised.fit_ml(n_agq=0).summary()
    assert "(adaptive Gauss-Hermite quadrature, 9 points)" in generalised.fit_map(n_agq=9).summary()


def test_the_concise_summary_of_reml(sleep):
    text = sleep.fit_ml(reml=True).summary("concise")
    rows = [line.split() for line in text.splitlines()]
    assert ["REML", "criterion", "1743.63"] in rows
    assert ["Subject", "Days", "5.92", "18", "0.72"] in rows
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
