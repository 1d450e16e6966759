"""A mean averaged over a normal linear predictor."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from bayesmlm.families import FAMILIES, family_of
from bayesmlm.prediction import averaged_mean

LINKS = [("bernoulli", link.name) for link in FAMILIES["bernoulli"]] + [("poisson", "log")]


@pytest.mark.parametrize(("family", "link"), LINKS)
@pytest.mark.parametrize(("eta", "variance"), [(0.0, 0.0), (-1.3, 0.25), (0.8, 1.0), (2.0, 2.25)])
def test_average_is_the_integral(family, link, eta, variance):
    """31 points are exact to 5e-6 for standard deviations up to 1.5 (the
    complementary log-log is the hardest), their derivatives to 1e-4.
    """
    function = family_of(family, link).link
    sd = np.sqrt(variance)

    def average(e, s):
        return quad(lambda u: norm.pdf(u) * function.inverse(np.array(e + s * u)), -9, 9, epsabs=1e-12, limit=200)[0]

    mean, d_eta, d_sd = averaged_mean(np.array([eta]), np.array([variance]), function)
    h = 1e-4
    assert mean[0] == pytest.approx(average(eta, sd), abs=5e-6)
    assert d_eta[0] == pytest.approx((average(eta + h, sd) - average(eta - h, sd)) / (2 * h), abs=1e-4)
    assert d_sd[0] == pytest.approx((average(eta, sd + h) - average(eta, sd - h)) / (2 * h), abs=1e-4)
