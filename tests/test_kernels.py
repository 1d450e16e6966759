"""One row's log-density and its derivatives, for every link, far into the tails."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import erfcx, expit, gammaln, log_expit, log_ndtr

from bayesmlm.laplace import kernels

LOGIT, PROBIT, CLOGLOG, LOG = 0, 1, 2, 3
NAMES = ("logit", "probit", "cloglog", "log")
CENTRE = np.linspace(-6.0, 4.0, 41)
TAILS = np.array([-300.0, -100.0, -40.0, -30.0, -20.0, -12.0, -9.0, -8.1, -7.9, 7.9, 8.1, 12.0, 20.0, 30.0])


def rows(link, y, n, eta):
    eta = np.asarray(eta, dtype=float)
    return kernels.rows(link, np.full(eta.shape, float(y)), np.full(eta.shape, float(n)), eta)


def log_density(link, y, n, eta):
    """The same from scipy's own functions, without the constant."""
    eta = np.asarray(eta, dtype=float)
    m = n - y
    with np.errstate(over="ignore"):
        match link:
            case 0:
                return y * log_expit(eta) + m * log_expit(-eta)
            case 1:
                return y * log_ndtr(eta) + m * log_ndtr(-eta)
            case 2:
                t = np.exp(eta)
                return (y * np.log(-np.expm1(-t)) if y else 0.0) - m * t
            case 3:
                return y * eta - n * np.exp(eta)


@pytest.mark.parametrize("link", range(4), ids=NAMES)
@pytest.mark.parametrize(("y", "n"), [(0, 1), (1, 1), (2, 5), (1.5, 2.5)])
def test_values_are_scipys(link, y, n):
    """To 1e-12 of the value, or the rounding of η itself (1e-14) where the value all but vanishes."""
    eta = np.concatenate([CENTRE, TAILS if link != LOG else TAILS[TAILS < 20]])
    eta = eta if link != CLOGLOG else eta[eta > -30]  # beyond, exp(-exp(eta)) itself rounds to 1 in the comparison
    np.testing.assert_allclose(rows(link, y, n, eta)[0], log_density(link, y, n, eta), rtol=1e-12, atol=1e-14)


def differences(function, eta, h):
    """Fourth-order central differences."""
    f = [function(eta + k * h) for k in (-2, -1, 1, 2)]
    return (f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / (12.0 * h)


@pytest.mark.parametrize("link", range(4), ids=NAMES)
@pytest.mark.parametrize(("y", "n"), [(0, 1), (1, 1), (2, 5), (1.5, 2.5)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_match_differences(link, y, n, order):
    """Each derivative against differences of the one before it.

    With h = 1e-3 the truncation error is below 1e-10 of the function's scale and rounding adds 1e-13 / h of the
    value differenced.
    """
    sign = (1.0, -1.0, 1.0)[order - 1]
    numeric = sign * differences(lambda eta: rows(link, y, n, eta)[order - 1], CENTRE, 1e-3)
    exact = rows(link, y, n, CENTRE)[order]
    scale = np.abs(rows(link, y, n, CENTRE)[order - 1]) + np.abs(exact)
    assert np.all(np.abs(exact - numeric) < 1e-9 * scale + 1e-11)


@pytest.mark.parametrize("y", [0, 1])
def test_logit_derivatives_in_the_tails(y):
    p = expit(TAILS)
    w = expit(TAILS) * expit(-TAILS)
    out = rows(LOGIT, y, 1, TAILS)
    np.testing.assert_allclose(out[1], y - p, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(out[2], w, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(out[3], w * (1 - 2 * p), rtol=1e-12, atol=1e-16)


def test_probit_derivatives_in_the_lower_tail():
    """From Mills' ratio a = φ/Φ by the scaled complementary error function: ℓ′ = a, −ℓ″ = a (η + a).

    The sum η + a cancels to 1/|η|, which costs η² roundings: 1e-9 at η = −30.
    """
    eta = TAILS[(TAILS < 0) & (TAILS > -35)]
    a = math.sqrt(2.0 / math.pi) / erfcx(-eta / math.sqrt(2.0))
    out = rows(PROBIT, 1, 1, eta)
    np.testing.assert_allclose(out[1], a, rtol=1e-11)
    np.testing.assert_allclose(out[2], a * (eta + a), rtol=1e-9)


def test_probit_has_no_seam():
    """Nothing jumps where one formula of log Φ hands over to another."""
    for seam in (-8.0, 8.0):
        near = rows(PROBIT, 1, 1, [seam - 1e-10, seam, seam + 1e-10])
        for row in near[:3]:
            assert np.ptp(row) < 1e-8 * (1.0 + abs(row[0]))


def test_cloglog_has_no_seam():
    """At exp(η) = 1e-8 a series takes over; the information is exp(η)/2 there, known to 1e-7 of itself."""
    seam = math.log(1e-8)
    near = rows(CLOGLOG, 1, 1, [seam - 1e-9, seam + 1e-9])
    np.testing.assert_allclose(near[:, 0], near[:, 1], rtol=1e-6)
    np.testing.assert_allclose(near[2], 0.5e-8, rtol=1e-6)


def test_cloglog_derivatives_in_the_lower_tail():
    """For t = exp(η) → 0: ℓ = η − t/2, ℓ′ = 1 − t/2, −ℓ″ = t/2, −ℓ‴ = t/2 for a success."""
    eta = np.array([-100.0, -40.0, -25.0])
    out, t = rows(CLOGLOG, 1, 1, eta), np.exp(eta)
    np.testing.assert_allclose(out[0], eta, rtol=1e-12)
    np.testing.assert_allclose(out[1], 1.0, rtol=1e-10)
    np.testing.assert_allclose(out[2], t / 2, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(out[3], t / 2, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize(
    ("link", "y", "limit"),
    [(LOGIT, 0, None), (LOGIT, 1, 0.0), (PROBIT, 1, 0.0), (CLOGLOG, 1, 0.0)],
    ids=["logit-0", "logit-1", "probit-1", "cloglog-1"],
)
@pytest.mark.parametrize("eta", [100.0, 600.0, 720.0, 800.0])
def test_a_certain_event_is_finite(link, y, limit, eta):
    """A step of an optimiser or a leapfrog may land far out: an event that is certain there has log-density 0."""
    out = rows(link, y, 1, [eta])[:, 0]
    assert np.isfinite(out).all()
    if limit is not None:
        assert out[0] == pytest.approx(limit, abs=1e-15)


@pytest.mark.parametrize("link", range(4), ids=NAMES)
@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize("eta", [-800.0, -720.0, -300.0, -40.0])
def test_the_lower_tail_is_finite(link, y, eta):
    assert np.isfinite(rows(link, y, 1, [eta])).all()


@pytest.mark.parametrize("link", range(4), ids=NAMES)
@pytest.mark.parametrize("y", [0, 1])
def test_information_is_never_negative(link, y):
    eta = np.concatenate([CENTRE, TAILS])
    assert np.all(rows(link, y, 1, eta)[2] >= 0.0)


@pytest.mark.parametrize("link", range(4), ids=NAMES)
def test_score_and_information_alone_are_the_same(link):
    for eta in [*CENTRE, -800.0, -40.0, 30.0]:
        out = rows(link, 1, 2, [eta])[:, 0]
        np.testing.assert_allclose(kernels.score_information(link, 1.0, 2.0, eta), out[1:3], rtol=1e-12, atol=1e-300)


def test_pointwise_is_rows_for_many_draws():
    rng = np.random.default_rng(1)
    eta, y, n = rng.normal(size=(3, 5)), np.array([0.0, 1, 1, 0, 2]), np.array([1.0, 1, 2, 1, 3])
    constant = kernels.row_constants(False, y, n, np.ones(5))
    out = kernels.pointwise(LOGIT, y, n, eta, constant)
    for d in range(3):
        np.testing.assert_allclose(out[d], kernels.rows(LOGIT, y, n, eta[d])[0] + constant, rtol=1e-14)


# constants ----------------------------------------------------------------------------------------------------


def test_with_its_constant_a_binomial_is_scipys():
    y, n, eta = np.array([0.0, 2, 5]), np.array([1.0, 4, 5]), np.array([-0.3, 0.4, 1.2])
    freq = np.array([1.0, 3.0, 2.0])
    value = kernels.rows(LOGIT, y * freq, n * freq, eta)[0].sum()
    constant = kernels.log_constant(False, y, n, np.ones(3), freq)
    assert value + constant == pytest.approx((freq * stats.binom.logpmf(y, n, expit(eta))).sum(), rel=1e-12)


def test_with_its_constant_a_poisson_is_scipys():
    y, eta, freq = np.array([0.0, 2, 7]), np.array([-0.3, 0.4, 1.2]), np.array([1.0, 3.0, 2.0])
    value = kernels.rows(LOG, y * freq, freq, eta)[0].sum()
    constant = kernels.log_constant(True, y, np.ones(3), np.ones(3), freq)
    assert value + constant == pytest.approx((freq * stats.poisson.logpmf(y, np.exp(eta))).sum(), rel=1e-12)


def test_prior_weights_multiply_log_densities():
    """R's reading: a count of weight w enters w times, its constant included."""
    y, n, w = np.array([1.0, 3.0]), np.array([4.0, 6.0]), np.array([2.0, 0.5])
    expected = w * (gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1))
    assert kernels.log_constant(False, y, n, w, np.ones(2)) == pytest.approx(expected.sum(), rel=1e-14)


def test_single_trials_have_no_constant():
    one = np.ones(3)
    assert kernels.log_constant(False, np.array([0.0, 1, 1]), one, one, 5 * one) == 0.0
