"""What more quadrature points are predicted to change, against fits that have them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit, logsumexp

from bayesmlm.ml.accuracy import points_to_check, predicted_shift
from bayesmlm.model import Model
from tests.likelihood_reference import model_of, table_of
from tests.troubles import pairs, pairs_in_schools


def change(fit, other):
    """From one fit to another, in standard errors of the first, in the table's order."""
    a, b = fit.table(), other.table()
    return ((b.estimate - a.estimate) / a.std_error).to_numpy()


@pytest.mark.parametrize(
    "name",
    ["con_ud", "con_livch", "cbpp", "con_ud_probit", "con_ud_cloglog", "grouse_brood", "con_slope", "con_cells",
     "con_three_ch"],
)  # fmt: skip
def test_one_newton_step_predicts_the_refit(name):
    """25 points of a scalar term, 11 or 7 per column of others: within a twentieth of the change, and 0.01."""
    model = model_of(name)
    fit = model.fit_ml()
    columns = len(fit.design.groups[0].terms)
    refit = model.fit_ml({1: 25, 2: 11, 3: 7}[columns])
    shift = predicted_shift(fit.design, fit.solution)
    assert shift.points == {1: 9, 2: 5, 3: 5}[columns]
    assert not shift.one_by_one
    actual = change(fit, refit)
    np.testing.assert_allclose(shift.shifts, actual, rtol=0.05, atol=0.01)
    # The refit climbs further: what is predicted is the value where the first fit stands.
    assert -0.02 < refit.loglik - fit.loglik - shift.loglik < 0.02
    assert shift.largest == np.abs(shift.shifts).max()
    table = fit.table()
    assert list(shift.names) == list(zip(table.component, table.group, table.term, strict=True))


def test_contraception_is_approximated_well():
    """0.09 standard errors at most: the model of five rows to 117 per group that everybody fits by Laplace."""
    fit = model_of("con_ud").fit_ml()
    assert 0.05 < predicted_shift(fit.design, fit.solution).largest < 0.12


def test_pairs_are_not():
    """200 × 2 answers, sd 3: Laplace finds 2.6 where the likelihood has 3.4; five points are not enough either."""
    model = Model("y ~ x + (1 | g)", pairs())
    exact = model.fit_ml(51)
    for points, least, most in ((1, 1.0, 2.0), (5, 0.3, 0.8), (9, 0.0, 0.1)):
        fit = model.fit_ml(points)
        shift = predicted_shift(fit.design, fit.solution)
        assert shift.points == max(9, 2 * points - 1)
        assert least < shift.largest < most
        actual = change(fit, exact)
        assert np.abs(shift.shifts - actual).max() < 0.4 * np.abs(actual).max()


def test_priors_cancel():
    model = model_of("con_cells")
    mode = model.fit_map()
    shift = predicted_shift(mode.design, mode.solution)
    np.testing.assert_allclose(shift.shifts, change(mode, model.fit_map(n_agq=9)), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("link", ["probit", "cloglog"])
def test_the_expected_information_is_a_rougher_approximation(link):
    """lme4's Laplace, whose error is another one."""
    model = model_of(f"con_ud_{link}")
    fit, refit = model.fit_ml(information="expected"), model.fit_ml(25)
    shift = predicted_shift(fit.design, fit.solution)
    np.testing.assert_allclose(shift.shifts, change(fit, refit), rtol=0.1, atol=0.01)


def exact_of_two_levels(data, points=40):
    """(β, sds) -> minus the log-likelihood of pairs in schools, by quadrature within quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    log_weights = np.log(weights / weights.sum())
    sign = 2.0 * data.y.to_numpy() - 1.0
    school = data.groupby("pair").school.first().to_numpy()

    def minus(t):
        eta = t[0] + t[1] * data.x.to_numpy()
        by_school = []
        for u in nodes:
            rows = log_expit(sign[:, None] * (eta + t[2] * u)[:, None] + sign[:, None] * t[3] * nodes)
            of_pair = logsumexp(rows.reshape(-1, 2, points).sum(axis=1) + log_weights, axis=1)
            by_school.append(np.bincount(school, of_pair))
        return -logsumexp(np.array(by_school) + log_weights[:, None], axis=0).sum()

    return minus


def test_several_terms_are_taken_one_by_one():
    """Against the integral over both levels: the direction, and between half and all of the change."""
    data = pairs_in_schools()
    fit = Model("y ~ x + (1 | school) + (1 | pair)", data).fit_ml()
    shift = predicted_shift(fit.design, fit.solution)
    assert shift.one_by_one
    table = fit.table()
    found = minimize(exact_of_two_levels(data), table.estimate, method="BFGS", options={"gtol": 1e-3})
    actual = (np.r_[found.x[:2], np.abs(found.x[2:])] - table.estimate) / table.std_error
    assert np.abs(actual).max() > 0.3
    worst = int(np.argmax(np.abs(actual)))
    assert 0.4 < shift.shifts[worst] / actual[worst] < 1.1
    assert 0.4 < shift.largest / np.abs(actual).max() < 1.1


def test_where_there_is_nothing_to_predict(toy, sleepstudy):
    for fit in (
        Model("y ~ x", toy).fit_ml(),
        Model("y ~ x + (1 | g)", toy).fit_ml(n_agq=0),
        Model("Reaction ~ Days + (1 | Subject)", sleepstudy, family="gaussian").fit_ml(),
    ):
        assert predicted_shift(fit.design, fit.solution) is None


def test_at_the_boundary_only_the_rest_can_move():
    fit = Model("y ~ x + (1 | g)", table_of("singular")).fit_ml()
    shift = predicted_shift(fit.design, fit.solution)
    assert np.isnan(shift.shifts).tolist() == [False, False, True]
    assert shift.largest < 1e-6
    assert shift.smaller(0.1) == ()


@pytest.mark.parametrize(
    ("columns", "n_agq", "points"), [(1, 1, 9), (1, 3, 9), (1, 25, 49), (2, 1, 5), (2, 5, 9), (4, 1, 3), (6, 1, 0)]
)
def test_points_to_check(columns, n_agq, points):
    assert points_to_check(columns, n_agq) == points
