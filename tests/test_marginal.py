"""A posterior without chains: each part against what it stands for, the whole against long runs and quadrature."""

import math
import re
from dataclasses import replace

import arviz as az
import numpy as np
import pandas as pd
import pytest
from arviz_stats.base import array_stats
from numba import njit
from scipy import stats
from scipy.special import expit, logsumexp

import bayesmlm as bm
from bayesmlm.bayes.draws import table_draws
from bayesmlm.bayes.fit import BayesFit
from bayesmlm.bayes.marginal import ladder
from bayesmlm.bayes.marginal.candidates import Candidates, candidates
from bayesmlm.bayes.marginal.conditional import (
    ROOT_MEAN,
    group_laws,
    scalar_constants,
    scalar_laws,
    shape_constants,
    skewed,
)
from bayesmlm.bayes.marginal.density import density_through
from bayesmlm.bayes.marginal.derivatives import row_derivatives
from bayesmlm.bayes.marginal.fit import MarginalFit, fit_of_draws
from bayesmlm.bayes.marginal.inner import inner_mode, moments
from bayesmlm.bayes.marginal.joint import integrate
from bayesmlm.bayes.marginal.ladder import sample_marginal
from bayesmlm.bayes.marginal.many import sample_many
from bayesmlm.bayes.marginal.outer import outer_proposal
from bayesmlm.bayes.marginal.pareto import effective_draws, k_limit, resampled, smoothed
from bayesmlm.bayes.marginal.parts import parts_of
from bayesmlm.bayes.marginal.reweighting import under_other_priors
from bayesmlm.bayes.marginal.walk import settle
from bayesmlm.bayes.prior_density import log_prior_density
from bayesmlm.design import build_design
from bayesmlm.errors import ComparisonError, FitError, PriorError
from bayesmlm.evidence import bayes_factor
from bayesmlm.laplace import agq, kernels
from bayesmlm.spec import Spec
from bayesmlm.start import find_start
from benchmarks.data import DataMissing
from benchmarks.marginal import MODELS, errors_of, model_of, posterior_of, references
from benchmarks.simulated import simulated
from tests.conftest import refusal
from tests.test_bayes import CASES as EVERY
from tests.test_bayes import design_of

REFERENCES = references()

CASES = (
    "no groups", "one intercept", "nested", "crossed", "uncorrelated slopes", "slope alone", "trials", "poisson",
    "probit", "cloglog", "weights", "frequencies", "two offsets", "no fixed effects", "correlated", "three columns",
    "correlated and crossed", "gaussian", "gaussian groups", "gaussian slopes", "gaussian weights",
    "coefficients cauchy(0.1, 2)", "coefficients flat()", "sd gamma(2, 0.1)",
)  # fmt: skip
"""Every family, link, kind of term and of prior."""


def fit_of(model, draws=4000, seed=1, rungs=ladder.RUNGS):
    return MarginalFit(model, sample_marginal(model.design, find_start(model.design)[0], draws, seed, rungs).tree)


def somewhere(parts, rng, draws=1):
    """Coordinates of θ and b near the middle of things, u at 0."""
    x = np.zeros((draws, parts.kernel.size))
    x[:, parts.theta] = 0.3 * rng.standard_normal((draws, len(parts.theta)))
    x[:, parts.rest] = 0.3 * rng.standard_normal((draws, len(parts.rest)))
    return x


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# the parts ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=CASES)
def parts(request, toy):
    return parts_of(design_of(request.param, toy))


def test_the_parts_are_the_whole(parts, rng):
    """θ, b and u are all coordinates, each once, and what is written into them is read back."""
    places = np.concatenate([parts.theta, parts.rest, np.arange(parts.kernel.size)[parts.effects]])
    assert sorted(places) == list(range(parts.kernel.size))
    x = np.zeros((3, parts.kernel.size))
    theta, b = rng.standard_normal((3, len(parts.theta))), rng.standard_normal((3, len(parts.rest)))
    parts.set_theta(x, theta)
    parts.set_rest(x, b)
    np.testing.assert_allclose(parts.theta_of(x), theta, atol=1e-12)
    for one, values in zip(x, b, strict=True):
        np.testing.assert_allclose(parts.standardised(one, one[parts.rest]), values, atol=1e-10)


def test_the_jacobians_of_the_parts_by_differences(parts, rng):
    x, h = np.zeros((1, parts.kernel.size)), 1e-5
    theta, b = rng.standard_normal((1, len(parts.theta))), rng.standard_normal((1, len(parts.rest)))
    of_theta, of_rest = parts.set_theta(x, theta), parts.set_rest(x, b)

    def derivative(write, at, places):
        J = np.empty((at.size, at.size))
        for j in range(at.size):
            e = np.zeros_like(at)
            e[0, j] = h
            high, low = x.copy(), x.copy()
            write(high, at + e)
            write(low, at - e)
            J[:, j] = (high - low)[0, places] / (2 * h)
        return np.linalg.slogdet(J)[1]

    assert of_theta[0] == pytest.approx(derivative(parts.set_theta, theta, parts.theta), abs=1e-8)
    assert of_rest[0] == pytest.approx(derivative(parts.set_rest, b, parts.rest), abs=1e-8)


def test_the_weight_is_the_kernels_density_over_that_of_the_draw(parts, rng):
    """With one candidate: log p(x) − log q(u), q by the Jacobian of u in z, group by group, from differences."""
    mode = inner_mode(parts, np.zeros(parts.kernel.size))
    base, k, groups, h = somewhere(parts, rng), len(parts.Z), parts.groups, 1e-4

    def drawn(z):
        x = base.copy()
        log_phi = -0.5 * np.square(z).sum(axis=3)
        value = integrate(parts, mode, x, Candidates(z, log_phi, np.zeros((1, groups))))[0]
        return x[0], value

    z = rng.standard_normal((1, 1, groups, k))
    x, value = drawn(z)
    log_q = -0.5 * np.square(z).sum() - 0.5 * groups * k * math.log(2 * math.pi)
    J = np.empty((groups, k, k))
    for a in range(k):
        e = np.zeros_like(z)
        e[..., a] = h
        J[:, :, a] = ((drawn(z + e)[0] - drawn(z - e)[0])[parts.effects] / (2 * h)).reshape(groups, k)
    log_q -= np.linalg.slogdet(J)[1].sum() if k else 0.0
    # Differences with h = 1e-4 are good to 1e-8 each.
    assert value == pytest.approx(parts.kernel(x)[0] - log_q, abs=1e-6)


def test_the_estimates_are_unbiased(parts, rng):
    """The mean over 4,000 single candidates is the value many nodes find, within four standard errors of it."""
    mode = inner_mode(parts, np.zeros(parts.kernel.size))
    base, k = somewhere(parts, rng), len(parts.Z)
    one, many = np.repeat(base, 4000, axis=0), base.copy()
    values = integrate(parts, mode, one, candidates(rng, 4000, 1, parts.groups, k))
    exact = integrate(parts, mode, many, candidates(rng, 1, 610, parts.groups, k))[0]
    ratio = np.exp(values - exact)
    assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.std() / math.sqrt(4000) + 1e-3)


def test_few_nodes_integrate_as_well_as_many(parts, rng):
    """The nodes of the second rung: the log-likelihood of all groups together to a tenth of a unit."""
    mode = inner_mode(parts, np.zeros(parts.kernel.size))
    base, k = somewhere(parts, rng), len(parts.Z)
    exact = integrate(parts, mode, base.copy(), candidates(rng, 1, 610, parts.groups, k))[0]
    nodes = ladder.NODES[k]
    values = integrate(parts, mode, np.repeat(base, 50, axis=0), candidates(rng, 50, nodes, parts.groups, k))
    assert np.sqrt(np.square(values - exact).mean()) < 0.1


def test_a_gaussian_groups_effects_are_drawn_from_their_own_law(toy, rng):
    """Nothing is approximated: the weight does not depend on the draw."""
    parts = parts_of(design_of("gaussian slopes", toy))
    mode = inner_mode(parts, np.zeros(parts.kernel.size))
    x = np.repeat(somewhere(parts, rng), 200, axis=0)
    values = integrate(parts, mode, x, candidates(rng, 200, 1, parts.groups, 2))
    assert np.ptp(values) < 1e-8
    assert x[:, parts.effects].std(axis=0).min() > 0.01


def test_the_candidate_taken_is_taken_by_its_weight(toy, rng):
    """Of one group, given all else: mean and variance of 20,000 draws among six are those of the exact law."""
    parts = parts_of(design_of("one intercept", toy))
    mode = inner_mode(parts, np.zeros(parts.kernel.size))
    base = somewhere(parts, rng)
    x = np.repeat(base, 20_000, axis=0)
    integrate(parts, mode, x, candidates(rng, 20_000, 6, parts.groups, 1))
    place = parts.effects.start
    grid = np.linspace(-5.0, 5.0, 2001)
    log_density = []
    for u in grid:
        at = base[0].copy()
        at[place] = u
        log_density.append(parts.kernel(at)[0])
    p = np.exp(np.array(log_density) - max(log_density))
    p /= p.sum()
    mean, variance = p @ grid, p @ np.square(grid) - (p @ grid) ** 2
    drawn = x[:, place]
    assert drawn.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / 20_000))
    assert drawn.var() == pytest.approx(variance, rel=4 * math.sqrt(2.5 / 20_000))


# the law of a group's effects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["no groups", "trials", "probit", "cloglog", "poisson", "gaussian", "weights"])
def test_the_rows_derivatives_are_those_of_the_likelihood_engine(case, toy, rng):
    parts = parts_of(design_of(case, toy))
    eta, out = rng.normal(0.0, 3.0, len(parts.y)), np.empty((3, len(parts.y)))
    row_derivatives(parts.link, 0.7, parts.y, parts.trials, eta, *out)
    if case == "gaussian":
        expected = 0.7 * parts.trials * (parts.y - eta), 0.7 * parts.trials, 0.0 * eta
    else:
        expected = kernels.rows(parts.link, parts.y, parts.trials, eta)[1:]
    np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("away", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("case", ["one intercept", "slope alone", "poisson", "correlated", "three columns", "cloglog"])
def test_the_law_of_a_group_is_its_mode_curvature_and_third_derivatives(case, away, toy, rng):
    """Against Newton's method to its end, from near and far; a step of third order leaves a hundredth of an sd."""
    parts = parts_of(design_of(case, toy))
    k, groups, omega = len(parts.Z), parts.groups, np.eye(len(parts.Z)) + 0.2
    eta = parts.linear_predictors(somewhere(parts, rng))[0]
    exact = np.zeros((groups, k))
    of_rows = np.repeat(np.arange(groups), np.diff(parts.starts))

    def derivatives(u):
        h = eta + np.einsum("ai,ia->i", parts.Z, u[of_rows])
        _, score, weight, slope = kernels.rows(parts.link, parts.y, parts.trials, h)
        total = [np.zeros((groups, *(k,) * order)) for order in (1, 2, 3)]
        np.add.at(total[0], of_rows, np.einsum("i,ai->ia", score, parts.Z))
        np.add.at(total[1], of_rows, np.einsum("i,ai,bi->iab", weight, parts.Z, parts.Z))
        np.add.at(total[2], of_rows, np.einsum("i,ai,bi,ci->iabc", slope, parts.Z, parts.Z, parts.Z))
        return total[0] - u @ omega, total[1] + omega, total[2]

    for _ in range(50):
        gradient, H, _ = derivatives(exact)
        exact += np.linalg.solve(H, gradient[..., None])[..., 0]
    _, H, S = derivatives(exact)
    L = np.linalg.cholesky(H)
    inverse = np.linalg.inv(L)
    T = -np.einsum("gai,gbj,gcl,gijl->gabc", inverse, inverse, inverse, S)
    start = exact + away * np.einsum("gba,gb->ga", inverse, rng.standard_normal((groups, k)))
    modes, roots, cubes = start.copy(), np.empty((groups, k, k)), np.empty((groups, k, k, k))
    work = np.empty((4, len(eta)))
    group_laws(parts.link, 1.0, parts.y, parts.trials, eta, parts.Z, parts.starts, omega, modes, roots, cubes, work)
    off = np.einsum("gab,ga->gb", L, modes - exact)
    assert np.abs(off).max() < 0.01
    np.testing.assert_allclose(roots, L, atol=0.01 * np.abs(L).max())
    np.testing.assert_allclose(cubes, T, atol=0.05)
    if k == 1:
        alone = [start[:, 0].copy(), np.empty(groups), np.empty(groups)]
        scalar_laws(
            parts.link, 1.0, parts.y, parts.trials, eta, parts.Z[0], parts.starts, omega[0, 0], *alone, work
        )  # fmt: skip
        for one, other in zip(alone, (modes[:, 0], roots[:, 0, 0], cubes[:, 0, 0, 0]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("skewness", [-0.5, -0.1, 0.0, 0.2, 0.5])
def test_the_skew_law_has_the_moments_it_should(skewness):
    """Mean γ/2, variance 1 + γ² and, to first order, skewness γ, by quadrature over z."""
    cosh, sinh, mean = scalar_constants.py_func(skewness)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w /= w.sum()
    t = mean + cosh * z + sinh * (np.sqrt(1.0 + z * z) - ROOT_MEAN)
    assert w @ t == pytest.approx(skewness / 2, abs=1e-6)
    centred = t - w @ t
    assert w @ centred**2 == pytest.approx(1.0 + skewness**2, rel=1e-6)
    third = w @ centred**3 / (w @ centred**2) ** 1.5
    assert third == pytest.approx(skewness, rel=0.3, abs=1e-9)


def test_skew_candidates_weigh_less_apart_than_normal_ones_would(rng):
    """Of one group with eight answers of ten: log p − log q of skew candidates varies a third as much, or less."""
    eta, omega = 0.5, 0.25

    def log_p(u):
        return 8.0 * (eta + u) - 10.0 * np.logaddexp(0.0, eta + u) - 0.5 * omega * u * u

    one = np.ones(1)
    law = [np.zeros(1), np.empty(1), np.empty(1)]
    scalar_laws(0, 1.0, 8.0 * one, 10.0 * one, eta * one, one, np.array([0, 1]), omega, *law, np.empty((4, 1)))
    mode, root, cube = (values[0] for values in law)
    cosh, sinh, mean = scalar_constants.py_func(cube)
    z = rng.standard_normal(50_000)
    spread = np.sqrt(1.0 + z * z)
    skew = mode + (mean + cosh * z + sinh * (spread - ROOT_MEAN)) / root
    of_skew = log_p(skew) + 0.5 * z * z + np.log(cosh + sinh * z / spread)
    of_normal = log_p(mode + z / root) + 0.5 * z * z
    assert of_skew.std() < of_normal.std() / 3


@njit
def all_skewed(z, cubes, constants, t, jacobian):
    """Candidates of one group; functions that only kernels call have no other way in."""
    shape_constants(cubes, 0, constants)
    for i in range(len(z)):
        jacobian[i] = skewed(z, i, 0, cubes, constants, t[i])


def test_skew_candidates_of_two_columns_weigh_less_apart(rng):
    """Of one group with eight answers of ten at each of three places: cross derivatives are taken the right way."""
    Z, y, trials, omega = (
        np.array([[1.0, 1.0, 1.0], [-1.0, 0.5, 2.0]]),
        np.full(3, 8.0),
        np.full(3, 10.0),
        np.eye(2) / 4,
    )
    starts = np.array([0, 3])

    def log_p(u):
        h = u @ Z
        return (y * h - trials * np.logaddexp(0.0, h)).sum(axis=1) - 0.5 * np.einsum("sa,ab,sb->s", u, omega, u)

    modes, roots, cubes = np.zeros((1, 2)), np.empty((1, 2, 2)), np.empty((1, 2, 2, 2))
    group_laws(0, 1.0, y, trials, np.zeros(3), Z, starts, omega, modes, roots, cubes, np.empty((4, 3)))
    z = rng.standard_normal((20_000, 1, 2))
    t, jacobian = np.empty((20_000, 2)), np.empty(20_000)
    all_skewed(z, cubes, np.empty((1, 2, 3)), t, jacobian)
    inverse = np.linalg.inv(roots[0])
    square = 0.5 * np.square(z[:, 0]).sum(axis=1)
    of_skew = log_p(modes + t @ inverse) + square + np.log(jacobian)
    of_normal = log_p(modes + z[:, 0] @ inverse) + square
    assert of_skew.std() < of_normal.std() / 3


# the inner Laplace approximation --------------------------------------------------------------------------------


def dense_hessian(kernel, x, places, h=1e-4):
    H = np.empty((len(places), len(places)))
    for j, place in enumerate(places):
        e = np.zeros(len(x))
        e[place] = h
        H[:, j] = (kernel(x + e)[1] - kernel(x - e)[1])[places] / (2 * h)
    return -0.5 * (H + H.T)


@pytest.mark.parametrize("case", ["nested", "correlated and crossed", "poisson", "gaussian slopes"])
def test_the_inner_mode_and_its_determinant(case, toy, rng):
    """Against Newton's own condition and the Hessian by differences; normal priors, whose curvature is exact."""
    formula, given = EVERY[case]
    priors = {**given.get("priors", {}), "Intercept": "normal(0, 2)", "fixed": "normal(0, 2)"}
    design = build_design(Spec(formula, given.get("family", "bernoulli"), priors=priors), toy)
    parts = parts_of(design)
    start = np.zeros(parts.kernel.size)
    start[parts.theta] = 0.3 * rng.standard_normal(len(parts.theta))
    mode = inner_mode(parts, start)
    np.testing.assert_array_equal(mode.x[parts.theta], start[parts.theta])
    places = np.concatenate([parts.rest, np.arange(parts.kernel.size)[parts.effects]])
    value, gradient = parts.kernel(mode.x)
    H = dense_hessian(parts.kernel, mode.x, places)
    # The last step had a square below 1e-4, the next one would have one of the order of its square.
    assert gradient[places] @ np.linalg.solve(H, gradient[places]) < 1e-6
    expected = value - 0.5 * np.linalg.slogdet(H)[1] + 0.5 * len(places) * math.log(2 * math.pi)
    assert mode.log_density == pytest.approx(expected, abs=0.02)
    covariance = np.linalg.inv(H)[: len(parts.rest), : len(parts.rest)]
    root = moments(parts, mode).root
    lifted = parts.standardised(mode.x, parts.standardised(mode.x, covariance).T)
    np.testing.assert_allclose(root @ root.T, lifted, atol=0.03 * np.abs(lifted).max())


def test_the_mean_correction_finds_the_mean(rng):
    """Tiny groups, σ known: the mode of (b, u) is half a standard deviation off, the corrected mean a fifth of that."""
    parts = parts_of(simulated("hard_2").design)
    start = np.zeros(parts.kernel.size)
    start[parts.theta] = math.log(2.0)
    mode = inner_mode(parts, start)
    found = moments(parts, mode)
    w = 1.3 * rng.standard_normal((20_000, 2))
    x = np.repeat(start[None], 20_000, axis=0)
    parts.set_rest(x, found.mean + w @ found.root.T)
    log_weight = integrate(parts, mode, x, candidates(rng, 20_000, 6, parts.groups, 1)) + 0.5 * np.square(w).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    exact = weight @ x[:, parts.rest] / weight.sum()
    sd = np.sqrt(np.square(found.root).sum(axis=1))
    of_mode, of_mean = np.abs(mode.x[parts.rest] - exact) / sd, np.abs(found.mean - exact) / sd
    assert of_mode.max() > 0.3
    assert of_mean.max() < 0.5 * of_mode.max()


# the proposal ---------------------------------------------------------------------------------------------------


def test_a_density_is_one():
    t = np.arange(-5.0, 6.0)
    density = density_through(t, -np.cosh(t / 2.0) + 0.3 * t)
    grid = np.linspace(-40.0, 40.0, 400_001)
    p = np.exp(density.log_density(grid))
    assert np.trapezoid(p, grid) == pytest.approx(1.0, abs=1e-6)
    cumulated = np.cumsum(p) * (grid[1] - grid[0])
    for probability in (1e-4, 0.01, 0.3, 0.5, 0.9, 0.9999):
        place = density.quantile(np.array([probability]))[0]
        assert np.interp(place, grid, cumulated) == pytest.approx(probability, abs=1e-4)


@pytest.mark.parametrize("case", ["nested", "gaussian slopes"])
def test_bent_paths_have_the_density_of_their_draws(case, toy, rng):
    """The same with axes that bend and narrow far more than those of any model here."""
    parts = parts_of(design_of(case, toy))
    m = len(parts.theta)
    proposal = outer_proposal(*settle(parts, np.zeros(parts.kernel.size), 0.1 * np.eye(m)))
    bent = []
    for j, path in enumerate(proposal.paths):
        later = np.arange(m) > j
        shift = np.where(later, 0.2 * path.t[:, None] ** 2, 0.0)
        bent.append(replace(path, shift=shift, log_scale=np.where(later, 0.3 * np.tanh(path.t)[:, None], 0.0)))
    x, log_q = replace(proposal, paths=tuple(bent)).draw(100_000, rng)
    theta = parts.theta_of(x)
    jacobian = parts.set_theta(x, theta)
    both = np.column_stack([theta, x[:, parts.rest]])
    low, middle, high = np.quantile(both, [0.25, 0.5, 0.75], axis=0)
    ratio = np.exp(stats.norm(middle, 0.4 * (high - low)).logpdf(both).sum(axis=1) - log_q - jacobian)
    error = ratio.std() / math.sqrt(len(ratio))
    assert error < 0.2
    assert ratio.mean() == pytest.approx(1.0, abs=4 * error)


def test_a_flat_piece_and_a_tail_that_does_not_fall():
    density = density_through(np.arange(4.0), np.zeros(4))
    p = density.quantile(np.linspace(0.001, 0.999, 999))
    assert (np.diff(p) > 0).all()
    assert np.isfinite(density.log_density(np.array([-50.0, 50.0]))).all()


@pytest.mark.parametrize("case", ["one intercept", "nested", "correlated", "no groups", "gaussian"])
def test_the_proposals_density_is_that_of_its_draws(case, toy, rng):
    """∫ f over a normal density f by importance sampling is 1, whatever q, if q is what the draws have."""
    parts = parts_of(design_of(case, toy))
    proposal = outer_proposal(*settle(parts, np.zeros(parts.kernel.size), 0.1 * np.eye(len(parts.theta))))
    places = np.concatenate([parts.theta, parts.rest])
    x, log_q = proposal.draw(40_000, rng)
    low, middle, high = np.quantile(x[:, places], [0.25, 0.5, 0.75], axis=0)
    ratio = np.exp(stats.norm(middle, 0.4 * (high - low)).logpdf(x[:, places]).sum(axis=1) - log_q)
    error = ratio.std() / math.sqrt(len(ratio))
    assert error < 0.2
    assert ratio.mean() == pytest.approx(1.0, abs=4 * error)


# the certificate ------------------------------------------------------------------------------------------------


def test_smoothing_is_arvizs(rng):
    """ArviZ takes log-likelihoods to be left out, whose weights are their inverses."""
    log_weights = 1.5 * rng.standard_normal(2000)
    found = smoothed(log_weights)
    theirs, k = array_stats.psislw(-log_weights)
    np.testing.assert_allclose(found.weights, np.exp(theirs), rtol=1e-9)
    assert found.k_hat == pytest.approx(float(k))
    assert found.log_mean == pytest.approx(logsumexp(log_weights) - math.log(2000))


def test_weights_that_are_equal_need_no_tail():
    found = smoothed(np.full(100, -3.0))
    assert found.k_hat < k_limit(100)
    assert found.ess == pytest.approx(100.0)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_draws_of_no_weight_have_none(bad, rng):
    log_weights = rng.standard_normal(500)
    log_weights[:100] = bad
    found = smoothed(log_weights)
    assert found.weights[:100].max() < 1e-100
    assert found.k_hat < 0.7
    assert smoothed(np.full(50, bad)).k_hat == math.inf


def test_heavy_weights_are_not_certified(rng):
    found = smoothed(rng.standard_exponential(4000) / 0.8)
    assert found.k_hat > 0.7


def test_resampling_is_as_even_as_can_be(rng):
    weights = rng.dirichlet(np.ones(300))
    chosen, _ = resampled(weights, 1000, rng)
    counts = np.bincount(chosen, minlength=300)
    assert (np.abs(counts - 1000 * weights) < 1.0).all()
    even, noise = resampled(np.full(500, 1 / 500), 500, rng)
    assert sorted(even) == list(range(500))
    assert noise == pytest.approx(1.0)


def test_the_effective_size_is_the_one_of_the_weighted_mean(rng):
    """From resampled draws alone, what the weights of all draws give; ArviZ believes nearly all of them."""
    x = rng.standard_normal(20_000)
    found = smoothed(1.2 * x + 0.4 * rng.standard_normal(20_000))
    w = found.weights
    mean = w @ x
    exact = (w @ np.square(x - mean)) / (np.square(w) @ np.square(x - mean))
    chosen, noise = resampled(w, 20_000, rng)
    bulk, tail = effective_draws(x[chosen, None], w[chosen], noise)
    assert bulk[0] == pytest.approx(exact / noise, rel=0.15)
    assert tail[0] < 20_000
    assert float(az.ess(x[chosen][None])) > 2 * bulk[0]


def test_the_noise_is_that_of_rounding(rng):
    """Of 2,000 resamplings of one sample: the variance they add to a mean, and what it does to the effective size."""
    weights, x = smoothed(rng.standard_normal(500)).weights, rng.standard_normal(500)
    means = []
    for _ in range(2000):
        chosen, noise = resampled(weights, 500, rng)
        means.append(x[chosen].mean())
    own = np.square(weights) @ np.square(x - weights @ x)
    assert np.var(means) == pytest.approx((noise - 1.0) * own, rel=0.3)
    one, two = (effective_draws(x[chosen, None], weights[chosen], factor) for factor in (1.0, 2.0))
    np.testing.assert_allclose(one, 2 * np.array(two))


def test_the_effective_size_foretells_the_error(rng):
    """Of 400 resampled means: their variance against the variance they say they have."""
    errors, promised = [], []
    for _ in range(400):
        x = rng.standard_normal(400)
        found = smoothed(x)
        chosen, noise = resampled(found.weights, 400, rng)
        bulk, _ = effective_draws(x[chosen, None], found.weights[chosen], noise)
        errors.append(x[chosen].mean() - 1.0)
        promised.append(x[chosen].var() / bulk[0])
    assert np.mean(promised) == pytest.approx(np.square(errors).mean(), rel=0.3)


# the whole ------------------------------------------------------------------------------------------------------


def known(name):
    try:
        return model_of(name)
    except DataMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", [name for name in MODELS if name in REFERENCES])
def test_the_posterior_of_the_long_run(name):
    """Means within 0.05 sd, sds within 3 %, 5 and 95 % quantiles within 0.1 sd, plus four Monte-Carlo errors."""
    fit = posterior_of(known(name))
    assert fit.converged, fit.diagnostics().verdict
    found = errors_of(fit, REFERENCES[name])
    assert found.within, found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name in REFERENCES])
def test_many_draws_find_the_long_run_within_its_errors(name):
    """100,000 draws: what the certificate calls exact is, to half the error asked of 4,000."""
    fit = posterior_of(known(name), 100_000)
    found = errors_of(fit, REFERENCES[name])
    assert found.within
    assert found.mean < 0.025
    assert found.sd < 0.025
    assert found.quantile < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_posterior_of_nuts(case, toy):
    """Of every family, link and kind of term: means of both within five Monte-Carlo errors, 1 in 10⁶ by chance each."""
    formula, given = EVERY[case]
    model = bm.Model(formula, toy, **given)
    fit, nuts = fit_of(model), model.sample(draws=2000, chains=4, seed=3)
    ours, theirs = fit.table(), nuts.table()
    error = np.hypot(ours.std_error / np.sqrt(ours.ess_bulk), theirs.std_error / np.sqrt(theirs.ess_bulk))
    assert ((ours.estimate - theirs.estimate).abs() < 5 * error).all()


@pytest.fixture(scope="module")
def model(contraception):
    return bm.Model("use ~ age + urban + (1 + urban | district)", contraception, name="slopes")


@pytest.fixture(scope="module")
def fit(model):
    return fit_of(model, draws=2000)


def test_draws_are_labelled(fit):
    posterior = fit.tree["posterior"]
    assert dict(posterior.sizes) == {
        "chain": 1, "draw": 2000, "term": 3, "district": 60, "district_term": 2, "district_pair": 1,
    }  # fmt: skip
    assert posterior["ranef_district"].dims == ("chain", "draw", "district", "district_term")
    assert fit.tree["sample_stats"]["weight"].shape == (1, 2000)
    assert all(np.isfinite(posterior[name]).all() for name in posterior.data_vars)
    assert fit.engine == "marginal"


def test_the_table_carries_the_effective_sizes_of_the_weights(fit):
    table = fit.table(ranef=True)
    assert table.rhat.isna().all()
    assert (table.ess_bulk < fit.tree.attrs["ess"] * 1.3).all()
    assert (table.ess_tail > 100).all()
    assert table.ess_bulk.notna().all()


def test_the_verdict_names_rung_k_ess_and_time(fit):
    pattern = (
        r"exact to Monte-Carlo error: importance-weighted Laplace, k̂ -?\d\.\d\d, ESS 1,\d{3} of 2,000, \d+\.\d\d s"
    )
    assert re.fullmatch(pattern, fit.diagnostics().verdict)
    assert fit.converged
    assert fit.notes[-1] == fit.diagnostics().verdict


def test_every_verb_answers(fit):
    """A posterior like any other."""
    assert len(fit.predict()) == 1934
    assert fit.hypothesis("urban[Y] > 0").probability[0] > 0.99
    assert fit.log_likelihood().shape == (1, 2000, 1934)
    assert np.isfinite(az.loo(fit.to_arviz()).elpd)
    assert len(fit.ranef()) == 120
    assert fit.posterior_predictive(draws=5).shape == (5, 1934)


def test_draws_on_disk_keep_their_certificate(fit, model, tmp_path):
    import xarray as xr

    fit.tree.to_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as tree:
        again = fit_of_draws(model, tree.load())
    assert again.log_evidence == fit.log_evidence
    assert again.diagnostics().verdict == fit.diagnostics().verdict
    assert again.table().ess_bulk.tolist() == fit.table().ess_bulk.tolist()


def test_the_seed_gives_the_draws_whatever_the_threads(model, monkeypatch):
    start = find_start(model.design)[0]
    one = sample_marginal(model.design, start, 600, 7).tree["posterior"]
    monkeypatch.setenv("BAYESMLM_THREADS", "1")
    two = sample_marginal(model.design, start, 600, 7).tree["posterior"]
    other = sample_marginal(model.design, start, 600, 8).tree["posterior"]
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name], two[name])
    assert not np.array_equal(one["beta"], other["beta"])


def test_without_a_start_it_finds_the_mode_itself(model, fit):
    """From standard deviations of 0.5 and nothing known of the rest."""
    tree = sample_marginal(model.design, None, 2000, 2).tree
    assert tree.attrs["ess"] > 0.8 * fit.tree.attrs["ess"]
    table, other = fit.table(), MarginalFit(model, tree).table()
    error = table.std_error * np.hypot(1 / np.sqrt(table.ess_bulk), 1 / np.sqrt(other.ess_bulk))
    assert ((table.estimate - other.estimate).abs() < 5 * error).all()


def test_progress_is_told(model):
    told = []
    sample_marginal(model.design, None, 600, 1, progress=lambda *done: told.append(done))
    assert told[-1] == (600, 600, 0)


# rungs ------------------------------------------------------------------------------------------------------------


def test_tiny_groups_are_certified_by_quadrature():
    """200 groups of two or three answers, sd 3: the first rung says that it fails, the second is near exact."""
    model = simulated("hard_3")
    outcome = sample_marginal(model.design, find_start(model.design)[0], 4000, 1)
    first, second = outcome.steps
    assert not first.holds
    assert second.k_hat < 0.3
    assert second.ess > 3000
    fit = MarginalFit(model, outcome.tree)
    assert "importance-weighted quadrature" in fit.diagnostics().verdict


@pytest.mark.parametrize("draws", [250, 1000])
def test_few_draws_do_not_deceive(draws):
    """The first rung of tiny groups: k̂ of few draws passes some of 20 samples, the effective size none."""
    model = simulated("hard_2.5")
    start = find_start(model.design)[0]
    steps = [sample_marginal(model.design, start, draws, seed, ("laplace",)).steps[0] for seed in range(20)]
    assert any(step.k_hat < k_limit(draws) for step in steps)
    assert not any(step.holds for step in steps)


def test_where_no_rung_holds_the_outcome_says_nuts(toy, monkeypatch):
    design = design_of("one intercept", toy)
    monkeypatch.setattr(ladder, "fault", lambda k_hat, ess, draws: f"k̂ {k_hat:.2f} is not to be had")
    outcome = sample_marginal(design, None, 500, 1)
    assert not outcome.holds
    assert outcome.tree is None
    assert [step.rung for step in outcome.steps] == ["laplace", "quadrature"]
    assert re.fullmatch(
        r"No importance sample of this posterior is certified \(importance-weighted Laplace: k̂ .* is not to be had; "
        r"importance-weighted quadrature: k̂ .* is not to be had\)",
        outcome.sentence,
    )
    assert outcome.best is not None


def test_a_posterior_that_is_not_certified_says_so(model, fit):
    tree = fit.tree.copy()
    tree.attrs["pareto_k"] = 1.1
    bad = MarginalFit(model, tree)
    assert not bad.converged
    assert bad.diagnostics().verdict.startswith(
        'Take care: k̂ 1.10 is not below 0.70: do not use these draws; sample(method="nuts")'
    )


def test_a_model_too_rich_goes_to_nuts(model, monkeypatch):
    monkeypatch.setattr(ladder, "_WORK", 100.0)
    outcome = sample_marginal(model.design, None, 100, 1)
    assert outcome.best is None
    assert outcome.sentence == (
        "No importance sample of this posterior is certified (importance-weighted Laplace: 3 fixed and group effects "
        "beside those of the largest term are too many for its inner Laplace steps)"
    )


def test_a_hopeless_rung_is_left_after_a_few_draws():
    """300 groups of two answers, sd 4."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(300), 2)
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-(4.0 * rng.normal(size=300)[g]))))
    model = bm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g.astype(str)}))
    told = []
    outcome = sample_marginal(model.design, None, 4000, 1, progress=lambda *done: told.append(done[0]))
    assert outcome.tree.attrs["rung"] == "quadrature"
    first = next(i for i in range(1, len(told)) if told[i] < told[i - 1])
    assert told[first - 1] < 1000


def test_the_certificate_does_not_see_a_second_mode():
    """Six numbers around 0, a prior of their mean that insists on 6: two thirds of the posterior lie where no draw does.

    The share by a grid over mean and log σ, finer where the prior is narrow.
    """
    y = np.array([-1.0, 0.6, -0.4, 0.9, 0.3, -0.4])
    model = bm.Model("y ~ 1", {"y": y}, family="gaussian", priors={"Intercept": "student_t(3, 6, 0.05)"})
    fit, priors = fit_of(model), model.design.priors
    mean = np.concatenate([np.linspace(-4.0, 5.0, 1001)[:-1], np.linspace(5.0, 7.0, 2001)])
    log_sd = np.linspace(-3.0, 6.0, 451)
    log_p = np.array([priors.fixed[0].log_density(m)[0] for m in mean]) + np.log(np.gradient(mean))
    of_sd = np.array([priors.sigma.log_density(math.exp(s))[0] + s for s in log_sd])
    grid = log_p[:, None] + of_sd + stats.norm(mean[:, None, None], np.exp(log_sd)[:, None]).logpdf(y).sum(axis=2)
    share = np.exp(logsumexp(grid[mean > 4.5]) - logsumexp(grid))
    assert fit.converged
    assert 0.6 < share < 0.7
    assert fit.tree["posterior"]["beta"].to_numpy().max() < 4.5
    evidence = logsumexp(grid) + math.log(log_sd[1] - log_sd[0])
    assert fit.log_evidence == pytest.approx(evidence + math.log(1.0 - share), abs=0.01)


def test_separation_with_proper_priors_is_certified():
    x = np.linspace(-2.0, 2.0, 30)
    model = bm.Model("y ~ x", {"y": (x > 0.1).astype(int), "x": x})
    fit = fit_of(model)
    assert fit.converged
    assert fit.fixef()["x"] > 2.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"draws": 0}, "draws should be 1 or more, not 0"),
        ({"draws": 2.5}, "draws should be 1 or more, not 2.5"),
        ({"seed": -1}, "seed should be 0 or more, not -1"),
        ({"rungs": ("laplac",)}, 'there is no rung "laplac"; did you mean "laplace"? (there are: laplace, quadrature)'),
    ],
)
def test_bad_input_is_one_sentence(model, arguments, said):
    assert refusal(lambda: sample_marginal(model.design, None, **arguments)) == said


def test_one_draw_is_a_draw(model):
    """It has no certificate: k̂ cannot be had."""
    outcome = sample_marginal(model.design, None, 1, 1)
    assert outcome.tree is None
    assert outcome.best["posterior"].sizes["draw"] == 1


# Model.sample -----------------------------------------------------------------------------------------------------


def test_a_model_is_sampled_without_chains(model, fit):
    """The ladder's draws from the mode, ``draws * chains`` of them, by either name."""
    one, two = (model.sample(draws=500, chains=4, seed=1, method=method) for method in ("marginal", "auto"))
    for sampled in (one, two):
        assert isinstance(sampled, MarginalFit)
        np.testing.assert_array_equal(sampled.tree["posterior"]["beta"], fit.tree["posterior"]["beta"])
    assert one.summary().startswith("Posterior by importance-weighted Laplace: 2000 draws\n")
    np.testing.assert_array_equal(one._again(model).tree["posterior"]["beta"], fit.tree["posterior"]["beta"])


@pytest.fixture
def nothing_holds(monkeypatch):
    monkeypatch.setattr(ladder, "fault", lambda k_hat, ess, draws: "the weights are too uneven")


SAID = (
    "No importance sample of this posterior is certified (importance-weighted Laplace: the weights are too uneven; "
    "importance-weighted quadrature: the weights are too uneven)"
)


def test_marginal_refuses_what_no_rung_certifies(model, nothing_holds):
    said = refusal(lambda: model.sample(draws=100, method="marginal"))
    assert said == f'{SAID}: sample(method="nuts") or sample(method="auto")'


def test_auto_ends_in_nuts_and_says_so(model, nothing_holds):
    fit = model.sample(draws=50, tune=100, chains=2, method="auto")
    assert type(fit) is BayesFit
    assert dict(fit.tree["posterior"].sizes)["chain"] == 2
    assert fit.tree.attrs["sampler"] == "nutpie NUTS on the fused kernel"
    assert any(note.startswith(f"{SAID}: it was sampled by NUTS.") for note in fit.notes)


@pytest.mark.parametrize("method", ["marginal", "auto"])
def test_sampling_refuses_no_draws(model, method):
    assert refusal(lambda: model.sample(draws=0, method=method)) == "draws should be 1 or more, not 0"
    assert refusal(lambda: model.sample(chains=0, method=method)) == "chains should be 1 or more, not 0"


# evidence -----------------------------------------------------------------------------------------------------------


def few_groups():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(8), 7)
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-(0.4 + rng.normal(size=8)[g]))))
    return bm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g.astype(str)}))


@pytest.mark.parametrize("rung", ladder.RUNGS)
def test_the_evidence_by_quadrature(rung):
    """Intercept and log sd on a grid, the effects by 41-point Gauss-Hermite quadrature; the grid is good to 1e-4."""
    model = few_groups()
    fit = fit_of(model, draws=10_000, rungs=(rung,))
    design = model.design
    order = np.argsort(design.groups[0].codes, kind="stable")
    starts = np.searchsorted(design.groups[0].codes[order], np.arange(9)).astype(np.int64)
    y, one = design.response.y[order].astype(float), np.ones(56)
    nodes, log_weights = agq.gauss_hermite(41)
    intercepts, log_sds = np.linspace(-5.0, 6.0, 111), np.linspace(-9.0, 4.0, 131)
    values = np.empty((111, 131))
    for i, intercept in enumerate(intercepts):
        for j, log_sd in enumerate(log_sds):
            values[i, j] = agq.integrate(
                0, starts, y, one, one, intercept * one, math.exp(log_sd), nodes, log_weights, np.zeros(8), np.ones(8),
                np.empty(56),
            )[0]  # fmt: skip
            values[i, j] += design.priors.fixed[0].log_density(intercept)[0] + log_sd
            values[i, j] += design.priors.sd[0][0].log_density(math.exp(log_sd))[0]
    exact = logsumexp(values) + 2 * math.log(0.1)
    assert fit.log_evidence == pytest.approx(exact, abs=4 * fit.log_evidence_se + 1e-3)
    assert fit.log_evidence_se < 0.01


def test_the_evidence_of_a_conjugate_model():
    """Of a binomial response with a beta prior there would be one in closed form; of a normal one there is.

    y ~ N(μ, σ²) with σ given nearly by its prior: N(y; 0, σ²I + τ²11').
    """
    y = np.array([0.3, -1.2, 0.8, 1.9, 0.4, -0.1])
    priors = {"Intercept": "normal(0, 2)", "sigma": "gamma(1e6, 1e6)"}
    fit = fit_of(bm.Model("y ~ 1", {"y": y}, family="gaussian", priors=priors), draws=10_000)
    exact = stats.multivariate_normal(np.zeros(6), np.eye(6) + 4.0).logpdf(y)
    # σ's prior has a standard deviation of 1e-3, which moves the evidence by its square.
    assert fit.log_evidence == pytest.approx(exact, abs=4 * fit.log_evidence_se + 1e-3)


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_the_evidence_has_all_constants(family):
    """Counts, or successes of trials, some rows counting several times, by a grid over their one parameter."""
    data = {"y": np.array([3, 0, 2, 5]), "left": np.array([2, 4, 4, 2]), "times": [2, 1, 3, 1]}
    left = "y" if family == "poisson" else "cbind(y, left)"
    model = bm.Model(f"{left} ~ 1", data, family=family, freq="times", priors={"Intercept": "normal(0, 1.5)"})
    eta = np.linspace(-6.0, 6.0, 4001)
    y, n = data["y"][:, None], (data["y"] + data["left"])[:, None]
    log_p = stats.poisson.logpmf(y, np.exp(eta)) if family == "poisson" else stats.binom.logpmf(y, n, expit(eta))
    exact = logsumexp(data["times"] @ log_p + stats.norm(0, 1.5).logpdf(eta)) + math.log(eta[1] - eta[0])
    fit = fit_of(model)
    assert fit.log_evidence == pytest.approx(exact, abs=4 * fit.log_evidence_se + 1e-3)


@pytest.fixture(scope="module")
def pair(contraception):
    formulas = ("use ~ age + urban + (1 | district)", "use ~ age + (1 | district)")
    return [fit_of(bm.Model(f, contraception, name=name)) for f, name in zip(formulas, "ab", strict=True)]


def test_a_bayes_factor_is_the_ratio_of_evidences(pair):
    table = bayes_factor(*pair)
    assert table.prior_width.tolist() == [1.0, 0.5, 2.0]
    assert table.log_bayes_factor[0] == pytest.approx(pair[0].log_evidence - pair[1].log_evidence)
    assert table.attrs["notes"][0] == "Only a has urban[Y]; only b has nothing: the priors of these are widened."
    back = bayes_factor(*pair[::-1])
    np.testing.assert_allclose(back.log_bayes_factor, -table.log_bayes_factor)
    assert (table.probability > 0.99).all()


@pytest.mark.parametrize(("row", "prior"), [(1, "normal(0, 2.51)"), (2, "normal(0, 10.04)")])
def test_its_sensitivity_is_that_of_models_with_those_priors(pair, contraception, row, prior):
    """The default prior of ``urban`` is normal(0, 2.5 / sd): half and twice as wide, sampled afresh."""
    given = pair[0].design.priors.fixed[pair[0].design.terms.index("urban[Y]")]
    width = given["sd"] * (0.5 if row == 1 else 2.0)
    other = fit_of(
        bm.Model("use ~ age + urban + (1 | district)", contraception, priors={"urban[Y]": f"normal(0, {width})"})
    )
    table = bayes_factor(*pair)
    exact = other.log_evidence - pair[1].log_evidence
    error = math.hypot(table.std_error[row], other.log_evidence_se)
    assert table.log_bayes_factor[row] == pytest.approx(exact, abs=4 * error)


def test_bayes_factors_are_refused_where_there_is_none(pair, contraception):
    flat = fit_of(bm.Model("use ~ age + (1 | district)", contraception, name="f", priors={"age": "flat()"}), draws=500)
    with pytest.raises(ComparisonError, match=r"f has a flat prior of age; give it a proper one"):
        bayes_factor(pair[0], flat)
    with pytest.raises(FitError, match=r"the prior of age is flat; give it a proper one"):
        flat.log_evidence  # noqa: B018
    few = fit_of(bm.Model("use ~ age + (1 | district)", contraception[:500], name="few"), draws=500)
    with pytest.raises(ComparisonError, match="a was fitted to 1934 rows and few to 500"):
        bayes_factor(pair[0], few)
    with pytest.raises(ComparisonError, match="posteriors that know their marginal likelihood"):
        bayes_factor(pair[0], BayesFit(pair[1].model, pair[1].tree))


def test_priors_of_draws_by_hand(pair):
    fit = pair[0]
    priors, posterior, design = fit.design.priors, fit.tree["posterior"], fit.design
    beta = posterior["beta"].to_numpy()[0, 0]
    intercept = beta[0] + beta[1:] @ design.X[:, 1:].mean(axis=0)
    expected = priors.fixed[0].log_density(intercept)[0]
    expected += sum(prior.log_density(b)[0] for prior, b in zip(priors.fixed[1:], beta[1:], strict=True))
    expected += priors.sd[0][0].log_density(float(posterior["sd_district"].to_numpy()[0, 0, 0]))[0]
    assert log_prior_density(design, priors, fit.tree)[0] == pytest.approx(expected)


def test_priors_of_correlations_by_hand(fit):
    """LKJ(η) of two columns: (1 + ρ) / 2 ~ Beta(η, η), whose density in ρ is half as high; 0 of flat priors."""
    design, flat = fit.design, bm.Prior("flat")
    rho = fit.tree["posterior"]["cor_district"].to_numpy()[0, :, 0]
    alone = replace(design.priors, fixed=(flat,) * 3, sd=((flat, flat),), correlation=(bm.Prior("lkj", (5.0,)),))
    expected = stats.beta.logpdf((1 + rho) / 2, 5, 5) - math.log(2.0)
    np.testing.assert_allclose(log_prior_density(design, alone, fit.tree), expected, rtol=1e-8, atol=1e-8)


def test_sensitivity_is_the_posterior_under_the_other_prior(pair, contraception):
    given = {"urban[Y]": "normal(0, 0.3)", "sd": "exponential(2)"}
    table = under_other_priors(pair[0], given)
    other = fit_of(bm.Model("use ~ age + urban + (1 | district)", contraception, priors=given)).table()
    assert table.pareto_k.max() < 0.7
    np.testing.assert_allclose(table.estimate, other.estimate, atol=0.1 * other.std_error.max())
    assert ((table.estimate - other.estimate).abs() < 0.15 * other.std_error).all()
    assert ((table.conf_high - other.conf_high).abs() < 0.3 * other.std_error).all()
    assert table["shift"].abs().max() > 0.3


def test_sensitivity_says_where_the_draws_do_not_reach(pair):
    table = under_other_priors(pair[0], {"urban[Y]": "normal(0, 0.01)"})
    assert table.estimate.isna().all()
    assert "the draws do not reach that posterior" in table.attrs["notes"][0]
    both = under_other_priors(pair[0])
    assert both.priors.unique().tolist() == ["widths × 0.5", "widths × 2"]
    assert both["shift"].abs().max() < 0.3


@pytest.mark.parametrize("width", [0.0, -1.0, True, "wide", math.inf])
def test_sensitivity_refuses_what_is_no_prior(pair, width):
    with pytest.raises(FitError, match="a prior's width is multiplied by a positive number"):
        under_other_priors(pair[0], width)


def test_sensitivity_refuses_priors_of_nothing(pair):
    with pytest.raises(PriorError, match="ubran"):
        under_other_priors(pair[0], {"ubran": "normal(0, 1)"})
    with pytest.raises(FitError, match="under_other_priors takes a posterior"):
        under_other_priors(3)


# many ---------------------------------------------------------------------------------------------------------------


def surveys(contraception, n=4):
    return [
        bm.Model("use ~ age + (1 | district)", contraception.sample(900, random_state=i), name=f"m{i}")
        for i in range(n)
    ]


def test_many_models_are_sampled_side_by_side(contraception):
    """Processes or none: the same draws, in the order of the models."""
    models = surveys(contraception)
    told = []
    here = sample_many(models, draws=400, workers=1, progress=lambda *done: told.append(done))
    there = sample_many(models, draws=400, workers=2)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert here.names == ("m0", "m1", "m2", "m3")
    for one, two in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.tree["posterior"]["beta"], two.tree["posterior"]["beta"])
    assert len({float(fit.fixef()["age"]) for fit in here}) == 4
    table, verdicts = there.table(), there.verdicts()
    assert table.model.tolist() == [f"m{i}" for i in range(4) for _ in range(3)]
    assert verdicts.converged.all()
    assert verdicts.method.eq("laplace").all()
    assert verdicts.ess.between(200, 400).all()


def test_every_model_has_random_numbers_of_its_own(contraception):
    """Though both are the same model; and the seed gives them again."""
    models = surveys(contraception, 1) * 2
    one, two = (sample_many(models, draws=400, seed=seed, workers=1) for seed in (3, 3))
    draws = [fit.tree["posterior"]["beta"].to_numpy() for fit in (*one, *two)]
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[:2], draws[2:])


def test_a_model_that_fails_does_not_stop_the_others(contraception):
    bad = bm.Model("y ~ x", {"y": [0, 0, 0, 1, 1, 1], "x": [1.0, 2, 3, 4, 5, 6]}, priors={"x": "flat()"}, name="bad")
    good = surveys(contraception, 1)[0]
    many = sample_many([bad, good], draws=400, workers=1)
    assert many[0] is None
    assert many[1] is not None
    assert "improper" in many.errors[0]
    assert many.verdicts().verdict[0] == many.errors[0]
    assert many.table().model.unique().tolist() == ["m0"]


def test_one_draw_has_no_certificate_and_no_covariance(contraception):
    model = bm.Model("use ~ urban + (1 | district)", contraception)
    said = refusal(lambda: model.sample(1, chains=1, method="marginal"))
    assert "a certificate takes 25 draws or more, not 1" in said
    fit = model.sample(1, chains=1, method="auto")
    assert fit.engine == "nuts"
    assert refusal(fit.vcov) == "a covariance takes two draws or more, and there is one: sample more"


@pytest.mark.parametrize(
    ("models", "arguments", "said"),
    [
        ([], {}, "there are no models to sample"),
        (3, {}, "sample_many takes a sequence of models, not a int"),
        ([3], {}, "sample_many takes models, such as bm.Model(...) makes, not a int"),
        (
            None,
            {"method": "nutz"},
            'there is no sampling method "nutz"; did you mean "nuts"? (there are: auto, marginal, nuts)',
        ),
        (None, {"draws": 0}, "draws should be 1 or more, not 0"),
        (None, {"workers": 0}, "workers should be 1 or more, not 0"),
    ],
)
def test_many_refuses_in_one_sentence(contraception, models, arguments, said):
    models = surveys(contraception, 1) if models is None else models
    assert refusal(lambda: sample_many(models, **arguments)) == said


# what the draws are for -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name in REFERENCES])
def test_the_certificate_never_deceives(name):
    """Of 20 seeds, none is certified while an error is beyond what is asked; all of these models are certified."""
    model = known(name)
    for seed in range(20):
        fit = posterior_of(model, seed=seed)
        assert fit.converged, fit.diagnostics().verdict
        assert errors_of(fit, REFERENCES[name]).within, seed


def test_the_draws_of_group_effects_go_with_the_rest(fit):
    """Group effects and standard deviations of one draw belong together: their squares agree over draws."""
    draws = table_draws(fit.design, fit.tree)[0]
    sd = fit.tree["posterior"]["sd_district"].to_numpy()[0, :, 0]
    effects = fit.tree["posterior"]["ranef_district"].to_numpy()[0, :, :, 0]
    assert np.corrcoef(np.log(sd), np.log(effects.std(axis=1)))[0, 1] > 0.7
    assert draws.shape == (2000, 6)
