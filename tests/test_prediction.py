"""A mean averaged over a normal linear predictor; the variance of known groups' effects."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from bayesmlm import prediction
from bayesmlm.families import FAMILIES, family_of
from bayesmlm.laplace.covariance import factors, theta_size
from bayesmlm.prediction import averaged_mean, effects_variance
from tests.structures import STRUCTURES, structure_of

# averages -------------------------------------------------------------------------------------------------------

LINKS = [("bernoulli", link.name) for link in FAMILIES["bernoulli"]] + [("poisson", "log")]


def integral(function, eta, sd):
    """∫ φ(u) f(η + sd u) du, piecewise where the function bends."""
    ends = np.unique(np.clip((np.array([-8.0, -3.0, 0.0, 3.0, 8.0]) - eta) / max(sd, 1e-9), -13.0, 13.0))
    ends = [-13.0, *ends, 13.0]
    return sum(
        quad(lambda u: norm.pdf(u) * function(u, eta + sd * u), a, b, epsabs=1e-13, epsrel=1e-12, limit=500)[0]
        for a, b in pairwise(ends)
        if b > a
    )


@pytest.mark.parametrize(("family", "link"), LINKS)
@pytest.mark.parametrize(("eta", "sd"), [(0.0, 0.0), (-1.3, 0.5), (0.8, 1.0), (2.0, 2.0), (-2.0, 3.0), (1.0, 10.0)])
def test_an_average_is_the_integral(family, link, eta, sd):
    """To the 1e-9 of adaptive quadrature; derivatives, integrals of the link's derivative, to a tenth of that."""
    function = family_of(family, link).link
    # Beyond, hardly any of a log-normal's mean is where the integral is taken.
    sd = min(sd, 3.0) if link == "log" else sd
    mean, d_eta, d_sd = averaged_mean(np.array([eta]), np.array([sd**2]), function)
    assert mean[0] == pytest.approx(integral(lambda u, at: float(function.inverse(np.array(at))), eta, sd), rel=1e-9)

    def slope(u, at):
        return float(function.derivative(np.array(at)))

    assert d_eta[0] == pytest.approx(integral(slope, eta, sd), rel=1e-8, abs=1e-9)
    assert d_sd[0] == pytest.approx(integral(lambda u, at: u * slope(u, at), eta, sd), rel=1e-8, abs=1e-9)


def test_rows_are_averaged_each_by_its_own_variance():
    """Points are taken for the widest row; the others do not mind."""
    link = family_of("bernoulli").link
    eta, variance = np.array([[0.3, -2.0], [1.0, 4.0]]), np.array([[0.0, 0.04], [4.0, 25.0]])
    together = averaged_mean(eta, variance, link)
    for i, j in np.ndindex(2, 2):
        alone = averaged_mean(eta[i : i + 1, j], variance[i : i + 1, j], link)
        np.testing.assert_allclose([part[i, j] for part in together], np.ravel(alone), rtol=1e-12, atol=1e-15)
    assert together[0][0, 0] == pytest.approx(1 / (1 + np.exp(-0.3)), rel=1e-14)


def test_averages_over_groups_as_different_as_can_be():
    """Of sd 1000 nearly every group has 0 or 1 only: Φ(η / sd), to the 1e-2 of a step."""
    mean = averaged_mean(np.array([0.0, 500.0]), np.full(2, 1e6), family_of("bernoulli").link)[0]
    np.testing.assert_allclose(mean, norm.cdf([0.0, 0.5]), atol=1e-2)


# effects of known groups --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [prediction._AT_ONCE, 50])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_variance_of_effects_is_the_dense_one(structure, at_once, monkeypatch):
    """m′H⁻¹m with the dense H, for combinations of groups seen together or not, and without some; in parts too."""
    monkeypatch.setattr(prediction, "_AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    terms = structure_of(structure, rng)
    columns = tuple(term.z.shape[1] for term in terms)
    lams = factors(rng.normal(size=theta_size(columns)), columns)
    weights = rng.uniform(0.1, 2.0, len(terms[0].codes))

    def dense(codes, z):
        parts = []
        for term, lam, of, values in zip(terms, lams, codes, z, strict=True):
            part = np.zeros((len(of), term.n_levels, len(lam)))
            known = np.flatnonzero(of >= 0)
            part[known, of[known]] = (values @ lam)[known]
            parts.append(part.reshape(len(of), -1))
        return np.hstack(parts)

    M = dense([term.codes for term in terms], [term.z for term in terms])
    codes = [rng.integers(-1, term.n_levels, 70) for term in terms]
    z = [rng.normal(size=(70, k)) for k in columns]
    m = dense(codes, z)
    expected = np.einsum("ij,ji->i", m, np.linalg.solve(np.eye(M.shape[1]) + M.T @ (weights[:, None] * M), m.T))
    found = effects_variance(terms, lams, weights, codes, z)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
    assert effects_variance(terms, lams, weights, [of[:0] for of in codes], [of[:0] for of in z]).shape == (0,)
