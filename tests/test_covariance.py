"""θ, factors, standard deviations and correlations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm.laplace.covariance import factors, pack, sd_cor, sd_cor_jacobian, theta_size

COLUMNS = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(COLUMNS, st.integers(0, 1000))
def test_pack_undoes_factors(columns, seed):
    theta = np.random.default_rng(seed).normal(size=theta_size(columns))
    lams = factors(theta, columns)
    assert [lam.shape for lam in lams] == [(k, k) for k in columns]
    assert all(np.array_equal(lam, np.tril(lam)) for lam in lams)
    np.testing.assert_array_equal(pack(lams), theta)


def test_theta_is_column_by_column():
    """lme4's order: for two columns λ11, λ21, λ22."""
    (lam,) = factors(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (3,))
    assert lam.tolist() == [[1, 0, 0], [2, 4, 0], [3, 5, 6]]


def test_no_terms_no_theta():
    assert theta_size(()) == 0
    assert factors(np.zeros(0), ()) == []
    assert pack([]).shape == (0,)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_sd_and_correlations_are_those_of_the_covariance(k):
    lam = np.tril(np.random.default_rng(k).normal(size=(k, k)))
    sigma = lam @ lam.T
    sd, cor = sd_cor(lam)
    np.testing.assert_allclose(sd, np.sqrt(np.diag(sigma)), rtol=1e-14)
    expected = [sigma[a, b] / np.sqrt(sigma[a, a] * sigma[b, b]) for a in range(k) for b in range(a + 1, k)]
    np.testing.assert_allclose(cor, expected, rtol=1e-12)


@given(COLUMNS, st.integers(0, 1000))
def test_flipping_columns_changes_nothing(columns, seed):
    rng = np.random.default_rng(seed)
    for lam in factors(rng.normal(size=theta_size(columns)), columns):
        flipped = lam * rng.choice([-1.0, 1.0], size=len(lam))
        for a, b in zip(sd_cor(lam), sd_cor(flipped), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("columns", [(1,), (2,), (3,), (1, 2), (2, 1, 3)])
def test_jacobian_matches_central_differences(columns):
    """Central differences with step 1e-6 are good to 1e-9 here."""
    rng = np.random.default_rng(sum(columns))
    theta = rng.normal(size=theta_size(columns)) + 0.5
    exact = sd_cor_jacobian(theta, columns)

    def values(t):
        return np.concatenate([np.concatenate(sd_cor(lam)) for lam in factors(t, columns)])

    for j in range(len(theta)):
        step = np.zeros(len(theta))
        step[j] = 1e-6
        numeric = (values(theta + step) - values(theta - step)) / 2e-6
        np.testing.assert_allclose(exact[:, j], numeric, rtol=1e-7, atol=1e-8)
