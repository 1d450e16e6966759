"""Mixed models of NHANES 2011-12, as a chapter on multilevel models prints them; tests/test_gee.py has its GEEs."""

import numpy as np
import pytest

import bayesmlm as bm
from tests.likelihood_reference import table_of

SCORE = "dep ~ asthma + famsize + sed + race"


@pytest.fixture(scope="module")
def people():
    return table_of("nhanes_2012")


def gaussian(formula, people, reml=False):
    return bm.Model(formula, people, family="gaussian", name=formula).fit_ml(reml=reml)


def test_a_random_intercept_by_maximum_likelihood(people):
    fit = gaussian(f"{SCORE} + (1 | cluster)", people)
    table = fit.table().iloc[:8]
    printed = [2.491678, 1.335445, -0.042857, 0.001425, 1.289890, 0.008348, 0.171658, -0.552746]
    errors = [0.302768, 0.186618, 0.046341, 0.000337, 0.320595, 0.259449, 0.273382, 0.285512]
    np.testing.assert_array_equal(table.estimate.round(6), printed)
    np.testing.assert_array_equal(table.std_error.round(6), errors)
    np.testing.assert_array_equal(table.statistic.round(2), [8.23, 7.16, -0.92, 4.23, 4.02, 0.03, 0.63, -1.94])
    np.testing.assert_array_equal(fit.varcorr().variance.round(3), [0.105, 19.389])
    np.testing.assert_array_equal(fit.varcorr().sd.round(3), [0.324, 4.403])
    found = (fit.aic, fit.bic, fit.loglik, fit.deviance, fit.df_resid, fit.nobs)
    assert [round(value) for value in found] == [25780, 25844, -12880, 25760, 4427, 4437]
    quantiles = np.quantile(fit.residuals("pearson") / fit.sigma, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_array_equal(quantiles.round(3), [-1.327, -0.635, -0.355, 0.272, 5.435])
    correlation = fit.correlation().to_numpy()
    np.testing.assert_array_equal(correlation[5, :5].round(3), [-0.680, -0.038, 0.135, -0.148, 0.639])
    np.testing.assert_array_equal(correlation[7, :7].round(3), [-0.580, 0.0, 0.048, -0.135, 0.589, 0.725, 0.693])


def test_the_likelihood_ratio_of_asthma(people):
    with_asthma = gaussian(f"{SCORE} + (1 | cluster)", people)
    without = gaussian("dep ~ famsize + sed + race + (1 | cluster)", people)
    row = bm.anova(without, with_asthma).iloc[1]
    assert (round(row.chisq, 1), row.df, f"{row.p_value:.1e}") == (50.9, 1, "9.9e-13")
    assert [round(value) for value in (without.aic, without.bic, without.loglik)] == [25829, 25886, -12905]


def test_a_slope_of_asthma_by_reml(people):
    """The chapter's χ² is of a slope without its average effect; with it the test is another."""
    intercept = gaussian("dep ~ famsize + sed + race + (1 | cluster)", people, reml=True)
    slope = gaussian("dep ~ famsize + sed + race + (1 + asthma | cluster)", people, reml=True)
    table = bm.anova(intercept, slope)
    assert (round(table.chisq[1], 1), table.df[1]) == (37.3, 2)
    np.testing.assert_array_equal(
        table[["aic", "bic", "loglik"]].round(0), [[25855, 25912, -12918], [25821, 25892, -12900]]
    )
    assert "the plain χ² would give 7.97e-09" in table.attrs["notes"][0]  # the chapter's 8e-09
    around_zero = bm.anova(
        gaussian(f"{SCORE} + (1 | cluster)", people, reml=True),
        gaussian(f"{SCORE} + (1 + asthma | cluster)", people, reml=True),
    )
    assert around_zero.chisq[1] < 4.0
    assert around_zero.p_value[1] > 0.05


def test_a_column_in_any_unit_converges(people):
    """Where glmer fails to converge with sed in minutes, and converges with sed / 1000."""
    fits = [
        bm.Model(f"dep2 ~ asthma + famsize + {sed} + race + (1 | cluster)", people).fit_ml()
        for sed in ("sed", "I(sed/1000)")
    ]
    assert all(fit.diagnostics().ok for fit in fits)
    assert fits[0].loglik == pytest.approx(fits[1].loglik, abs=1e-9)
    assert fits[0].fixef()["sed"] * 1000 == pytest.approx(fits[1].fixef()["I(sed / 1000)"], rel=1e-7)
    fit, table = fits[1], fits[1].table().iloc[:8]
    printed = [-2.6316, 0.5619, -0.0336, 0.5835, 0.7564, 0.0955, 0.0531, -0.4950]
    np.testing.assert_allclose(table.estimate, printed, atol=1e-4)
    # Today's lme4 has our standard errors, that of the chapter had them a thousandth smaller.
    errors = [0.2435, 0.1281, 0.0374, 0.2618, 0.2421, 0.2159, 0.2277, 0.2590]
    np.testing.assert_allclose(table.std_error, errors, rtol=1.5e-3)
    assert round(fit.varcorr().variance[0], 4) == 0.0232
    found = (fit.aic, fit.bic, fit.loglik, fit.deviance, fit.df_resid)
    assert [round(value) for value in found] == [2665, 2722, -1323, 2647, 4428]
