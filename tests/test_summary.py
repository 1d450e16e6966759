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
