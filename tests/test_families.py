"""Families and links."""

import numpy as np
import pytest

from bayesmlm.errors import SpecError
from bayesmlm.families import FAMILIES, family_of
from bayesmlm.laplace import kernels

LINKS = [(family, link.name) for family, links in FAMILIES.items() for link in links]
ETA = np.linspace(-4.0, 2.0, 25)


@pytest.mark.parametrize(("family", "link"), LINKS)
def test_inverse_undoes_the_link(family, link):
    """To 1e-10: 1 - mu loses at most four digits on this range."""
    function = family_of(family, link).link
    np.testing.assert_allclose(function.link(function.inverse(ETA)), ETA, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("family", "link"), LINKS)
def test_derivative_is_that_of_the_inverse(family, link):
    """Central differences with step 1e-5 are good to 1e-9 here."""
    function, h = family_of(family, link).link, 1e-5
    numeric = (function.inverse(ETA + h) - function.inverse(ETA - h)) / (2 * h)
    np.testing.assert_allclose(function.derivative(ETA), numeric, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_probabilities_stay_in_the_unit_interval(link):
    mu = family_of("bernoulli", link).link.inverse(np.array([-700.0, -40.0, 0.0, 40.0, 700.0]))
    assert np.all((mu >= 0.0) & (mu <= 1.0))
    assert mu[0] < 1e-250
    assert mu[-1] == 1.0


@pytest.mark.parametrize(("family", "link"), [pair for pair in LINKS if pair[0] != "gaussian"])
def test_kernels_know_the_link_by_its_code(family, link):
    function = family_of(family, link).link
    one = np.ones_like(ETA)
    score = kernels.rows(function.code, one, one, ETA)[1]
    mu, slope = function.inverse(ETA), function.derivative(ETA)
    expected = slope * (1.0 - mu) / (mu * (1.0 - mu)) if family != "poisson" else 1.0 - mu
    np.testing.assert_allclose(score, expected, rtol=1e-9)


def test_canonical_links():
    assert [str(family_of(name)) for name in FAMILIES] == [
        "bernoulli (logit)", "binomial (logit)", "poisson (log)", "gaussian (identity)",
    ]  # fmt: skip
    assert [family_of(name).is_binary for name in FAMILIES] == [True, True, False, False]
    assert [link for family, link in LINKS if not family_of(family, link).is_canonical] == 2 * ["probit", "cloglog"]


def test_latent_residual_variances():
    """Nakagawa & Schielzeth (2010), table 2."""
    variances = {link.name: link.residual_variance for link in FAMILIES["bernoulli"]}
    assert variances == {
        "logit": pytest.approx(np.pi**2 / 3), "probit": 1.0, "cloglog": pytest.approx(np.pi**2 / 6),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("family", "link", "message"),
    [
        ("binom", None, 'no family "binom"; did you mean "binomial"'),
        ("gama", None, 'no family "gama"'),
        ("bernoulli", "logitt", 'the bernoulli family has no link "logitt"; did you mean "logit"'),
        ("poisson", "probit", 'the poisson family has no link "probit"; there are: log'),
        (3, None, "3"),
        ("bernoulli", 3, "3"),
    ],
)
def test_unknown_names_list_the_known(family, link, message):
    with pytest.raises(SpecError, match=message):
        family_of(family, link)
