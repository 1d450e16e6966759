"""Where the search for the variances starts: near the truth, off the boundary, with the information expected there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from bayesmlm.laplace.covariance import factors
from bayesmlm.ml.start import start_gaussian, start_glmm

LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}


def term(codes, *columns, scales=None):
    """(codes, columns, scales, groups), the first column an intercept."""
    z = np.column_stack([np.ones(len(codes)), *columns])
    return codes.astype(np.int32), z, np.ones(z.shape[1]) if scales is None else np.array(scales), int(codes.max()) + 1


def sums_of(link, y, trials, eta, of):
    """U (groups, k) and W (groups, k, k) of a term, by numpy."""
    from bayesmlm.laplace import kernels

    codes, z, scales, levels = of
    out, z = kernels.rows(link, y, trials, eta), z / scales
    U, W = np.zeros((levels, z.shape[1])), np.zeros((levels, z.shape[1], z.shape[1]))
    np.add.at(U, codes, out[1][:, None] * z)
    np.add.at(W, codes, out[2][:, None, None] * z[:, :, None] * z[:, None, :])
    return U, W


def expected_by_differences(theta, W):
    """½ Σ tr(C⁻¹ dC C⁻¹ dC′) with C = W + WΣW, the information on λ of normal group sums: dC by differences."""

    def spread(x):
        (lam,) = factors(x, (W.shape[1],))
        return W + W @ (lam @ lam.T) @ W

    inverse, h = np.linalg.inv(spread(theta)), 1e-5
    moved = [inverse @ (spread(theta + h * e) - spread(theta - h * e)) / (2 * h) for e in np.eye(len(theta))]
    return np.array([[0.5 * np.einsum("gab,gba->", A, B) for B in moved] for A in moved])


@pytest.mark.parametrize("link", LINKS)
def test_the_information_is_that_of_the_groups_sums(link):
    """Scalar and vector terms stand in blocks of their own; differences are good to 1e-8."""
    rng = np.random.default_rng(1)
    n = 600
    a, b, x = rng.integers(0, 30, n), rng.integers(0, 12, n), rng.normal(size=n)
    y = (
        rng.poisson(np.exp(0.8 * rng.normal(size=30)[a]))
        if link == "log"
        else rng.binomial(1, expit(rng.normal(size=30)[a]))
    )
    terms = [term(a, x, scales=[1.0, 2.0]), term(b)]
    eta = np.zeros(n)
    theta, information = start_glmm(LINKS[link], y.astype(float), np.ones(n), eta, terms)
    assert theta.shape == (4,)
    for of, own in ((terms[0], slice(0, 3)), (terms[1], slice(3, 4))):
        _, W = sums_of(LINKS[link], y.astype(float), np.ones(n), eta, of)
        np.testing.assert_allclose(information[own, own], expected_by_differences(theta[own], W), rtol=1e-6, atol=1e-8)
    assert not information[:3, 3].any()
    assert not information[3, :3].any()


def test_moments_of_one_scalar_term_by_hand():
    """σ² = (Σ U² − Σ W) / Σ W²."""
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(40), 12)
    y = rng.binomial(1, expit(1.2 * rng.normal(size=40)[codes])).astype(float)
    eta, trials = np.full(480, 0.1), np.ones(480)
    U, W = sums_of(0, y, trials, eta, term(codes))
    variance = ((U**2).sum() - W.sum()) / (W**2).sum()
    assert variance > 0.5
    theta, _ = start_glmm(0, y, trials, eta, [term(codes)])
    assert theta[0] ** 2 == pytest.approx(variance, rel=1e-10)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("family", ["logit", "gaussian"])
def test_it_starts_near_the_truth(family, seed):
    """500 groups of 40: sds within a third (moments are of first order in the variance), covariance 0.08 ± 0.08."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(500), 40)
    n = len(codes)
    x, lam = rng.normal(size=n), np.array([[0.4, 0.0], [0.2, 0.3]])
    own = rng.normal(size=(500, 2)) @ lam.T
    effects = own[codes, 0] + own[codes, 1] * x
    if family == "gaussian":
        theta, _ = start_gaussian(np.ones(n), effects + rng.normal(size=n), [term(codes, x)])
    else:
        y = rng.binomial(1, expit(effects)).astype(float)
        theta, _ = start_glmm(0, y, np.ones(n), np.zeros(n), [term(codes, x)])
    (found,) = factors(theta, (2,))
    np.testing.assert_allclose(np.sqrt(np.diag(found @ found.T)), np.sqrt(np.diag(lam @ lam.T)), rtol=1 / 3)
    assert (found @ found.T)[0, 1] == pytest.approx(0.08, abs=0.08)


def test_a_balanced_gaussian_layout_starts_at_its_estimate():
    """One-way analysis of variance: moments and REML are one there, but for n where n − 1 should be: within 5%."""
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(60), 10)
    y = rng.normal(size=60)[codes] * 0.8 + rng.normal(size=600)
    y -= y.mean()
    means = y.reshape(60, 10).mean(axis=1)
    within = ((y - means[codes]) ** 2).sum() / 540
    between = 10 * (means**2).sum() / 59
    theta, _ = start_gaussian(np.ones(600), y, [term(codes)])
    assert theta[0] == pytest.approx(np.sqrt((between - within) / 10 / within), rel=0.05)


@given(
    seed=st.integers(0, 9999), link=st.sampled_from(sorted(LINKS)), groups=st.integers(1, 12), rows=st.integers(1, 80),
    kind=st.sampled_from(["as they are", "all alike", "rare", "column of zeros", "equal columns", "huge"]),
)  # fmt: skip
def test_any_data_give_a_start_off_the_boundary(seed, link, groups, rows, kind):
    """Finite, with a definite covariance and information that is not negative: a search can begin there."""
    rng = np.random.default_rng(seed)
    codes, x = rng.integers(0, groups, rows), rng.normal(size=rows)
    codes[0] = groups - 1
    y = rng.binomial(1, 0.4, rows).astype(float)
    eta = np.full(rows, -0.3)
    if kind == "all alike":
        y[:] = 1.0
    if kind == "rare":
        y[:], eta = 0.0, np.full(rows, -12.0)
    if kind == "column of zeros":
        x[:] = 0.0
    if kind == "equal columns":
        x[:] = 1.0
    if kind == "huge":
        x *= 1e4
    terms = [term(codes, x), term(rng.permutation(codes))]
    for theta, information in (
        start_glmm(LINKS[link], y, np.ones(rows), eta, terms),
        start_gaussian(rng.uniform(0.5, 2.0, rows), y - 0.4, terms),
    ):
        assert np.isfinite(theta).all()
        assert np.isfinite(information).all()
        for lam in factors(theta, (2, 1)):
            assert np.linalg.eigvalsh(lam @ lam.T)[0] > 0.0
        assert np.linalg.eigvalsh(information)[0] > -1e-9 * np.abs(information).max()
        assert theta[3] > 0.0


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scales_of_columns_are_taken_out(scale):
    rng = np.random.default_rng(6)
    codes, x = rng.integers(0, 20, 400), rng.normal(size=400)
    y = rng.binomial(1, expit(0.7 * rng.normal(size=20)[codes])).astype(float)
    given_ = (0, y, np.ones(400), np.zeros(400))
    a = start_glmm(*given_, [term(codes, x)])
    b = start_glmm(*given_, [term(codes, scale * x, scales=[1.0, scale])])
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
