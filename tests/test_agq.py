"""Adaptive Gauss-Hermite quadrature of one scalar term: value by brute force, gradient by differences."""

import numpy as np
import pytest
from scipy.integrate import quad

from bayesmlm.laplace import agq, approximation, kernels, modes
from bayesmlm.laplace.layout import RandomTerm, block_structure

LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}
PARAMETERS = np.array([0.3, -0.6, 0.9])  # β, β, σ


class Problem:
    """A few groups of unequal size (one of a single row), with a covariate and a column that varies by group."""

    def __init__(self, link, slope=False, binomial=False, seed=0):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(5), [1, 3, 6, 4, 8])
        rng.shuffle(codes)
        n = len(codes)
        self.link, self.codes = LINKS[link], codes
        self.X = np.column_stack([np.ones(n), rng.normal(size=n)])
        self.z = rng.normal(1.0, 0.5, size=n) if slope else np.ones(n)
        self.offset = 0.2 * rng.normal(size=n)
        if link == "log":
            self.trials = np.ones(n)
            self.y = rng.poisson(1.5, n).astype(float)
        else:
            self.trials = rng.integers(1, 6, n).astype(float) if binomial else np.ones(n)
            self.y = rng.binomial(self.trials.astype(int), 0.45).astype(float)
        # Quadrature takes rows sorted by group.
        self.order = np.argsort(codes, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])

    def integrate(self, parameters, points, start=None):
        """(log-likelihood, gradient, modes, curvature) with a cold or a given start."""
        order = self.order
        X = self.X[order]
        u = np.zeros(5) if start is None else start.copy()
        H, c = np.ones(5), np.empty(len(self.y))
        value, d_sigma, found = agq.integrate(
            self.link, self.starts, self.y[order], self.trials[order], self.z[order],
            self.offset[order] + X @ parameters[:2], float(parameters[2]), *agq.gauss_hermite(points), u, H, c,
        )  # fmt: skip
        assert found
        return value, np.append(X.T @ c, d_sigma), u, H

    def log_joint(self, parameters, g, u):
        """log f(y_g | u) + log φ(u)."""
        mine = self.codes == g
        eta = self.offset[mine] + self.X[mine] @ parameters[:2] + parameters[2] * self.z[mine] * u
        rows = kernels.rows(self.link, self.y[mine], self.trials[mine], eta)[0].sum()
        return rows - 0.5 * u * u - 0.5 * np.log(2 * np.pi)

    def by_brute_force(self, parameters):
        total = 0.0
        for g in range(5):
            grid = np.linspace(-8, 8, 161)
            top = max(self.log_joint(parameters, g, u) for u in grid)
            area, _ = quad(
                lambda u, g=g, top=top: np.exp(self.log_joint(parameters, g, u) - top), -12, 12,
                points=[-2, 0, 2], epsabs=1e-13, epsrel=1e-12, limit=300,
            )  # fmt: skip
            total += top + np.log(area)
        return total


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("slope", [False, True])
def test_many_points_are_the_integral(link, slope):
    """51 points against adaptive integration to 1e-12: 1e-8 for these groups of one to eight rows."""
    problem = Problem(link, slope)
    assert problem.integrate(PARAMETERS, 51)[0] == pytest.approx(problem.by_brute_force(PARAMETERS), abs=1e-8)


@pytest.mark.parametrize(("points", "error"), [(1, 0.15), (3, 2e-2), (9, 1e-3), (25, 1e-5)])
def test_more_points_come_closer(points, error):
    """For single answers in small groups; the errors are those stated, and not by chance much smaller for one."""
    problem = Problem("logit")
    exact = problem.by_brute_force(PARAMETERS)
    assert abs(problem.integrate(PARAMETERS, points)[0] - exact) < error
    if points == 1:
        assert abs(problem.integrate(PARAMETERS, 1)[0] - exact) > 1e-4


@pytest.mark.parametrize("link", LINKS)
def test_one_point_is_laplace_by_hand(link):
    """Σ_g f(û) − ½ log H with û found by bisection of f′."""
    problem = Problem(link, slope=True)
    value, _, u, H = problem.integrate(PARAMETERS, 1)
    total = 0.0
    for g in range(5):
        low, high = -20.0, 20.0
        for _ in range(200):
            middle = 0.5 * (low + high)
            rise = problem.log_joint(PARAMETERS, g, middle + 1e-7) - problem.log_joint(PARAMETERS, g, middle - 1e-7)
            low, high = (middle, high) if rise > 0 else (low, middle)
        assert u[g] == pytest.approx(low, abs=1e-5)
        h = 1e-3
        f = [problem.log_joint(PARAMETERS, g, u[g] + k * h) for k in (-1, 0, 1)]
        assert H[g] == pytest.approx(-(f[0] - 2 * f[1] + f[2]) / h**2, rel=1e-5)
        total += f[1] + 0.5 * np.log(2 * np.pi) - 0.5 * np.log(H[g])
    assert value == pytest.approx(total, abs=1e-10)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("slope", [False, True])
def test_one_point_is_the_blocked_laplace(link, slope):
    """The same number from the general machinery, whose search for the modes stops at a step of 1e-8: to 2e-9."""
    problem = Problem(link, slope, binomial=True)
    value, gradient, u, _ = problem.integrate(PARAMETERS, 1)
    blocks = block_structure([RandomTerm(problem.codes, problem.z[:, None], 5)])
    work = modes.Evaluation(blocks)
    o = blocks.order
    general, d_lams, found = approximation.laplace(
        problem.link, problem.y[o], problem.trials[o], problem.offset[o] + problem.X[o] @ PARAMETERS[:2], blocks,
        [np.array([[PARAMETERS[2]]])], work,
    )  # fmt: skip
    assert found
    assert value == pytest.approx(general, abs=2e-9)
    np.testing.assert_allclose(u, work.main[:, 0, 0], atol=1e-8)
    np.testing.assert_allclose(gradient, np.append(problem.X[o].T @ work.coefficient, d_lams[0]), atol=1e-6)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("points", [1, 2, 5, 9])
@pytest.mark.parametrize("binomial", [False, True])
def test_the_gradient_is_exact(link, points, binomial):
    """Fourth-order differences with h = 1e-3 are good to 1e-8 here."""
    problem = Problem(link, slope=True, binomial=binomial)
    gradient = problem.integrate(PARAMETERS, points)[1]
    for j in range(3):
        e = np.zeros(3)
        e[j] = 1e-3
        f = [problem.integrate(PARAMETERS + k * e, points)[0] for k in (-2, -1, 1, 2)]
        numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-3
        assert gradient[j] == pytest.approx(numeric, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("points", [1, 9])
def test_the_sign_of_sigma_is_free(points):
    problem = Problem("logit", slope=True)
    a = problem.integrate(PARAMETERS, points)
    b = problem.integrate(PARAMETERS * [1, 1, -1], points)
    assert a[0] == pytest.approx(b[0], abs=1e-12)
    np.testing.assert_allclose(a[1], b[1] * [1, 1, -1], atol=1e-10)
    np.testing.assert_allclose(a[2], -b[2], atol=1e-10)


@pytest.mark.parametrize("points", [1, 9])
def test_without_variance_it_is_the_model_without_groups(points):
    problem = Problem("logit")
    value, gradient, u, H = problem.integrate(np.array([0.3, -0.6, 0.0]), points)
    eta = problem.offset + problem.X @ PARAMETERS[:2]
    out = kernels.rows(0, problem.y, problem.trials, eta)
    assert value == pytest.approx(out[0].sum(), abs=1e-11)
    np.testing.assert_allclose(gradient[:2], problem.X.T @ out[1], atol=1e-10)
    assert gradient[2] == pytest.approx(0.0, abs=1e-10)
    assert u.tolist() == [0.0] * 5
    assert H.tolist() == [1.0] * 5


@pytest.mark.parametrize("link", LINKS)
def test_the_start_of_the_modes_does_not_matter(link):
    problem = Problem(link)
    cold = problem.integrate(PARAMETERS, 5)
    for start in (np.full(5, 4.0), np.full(5, -6.0), cold[2]):
        again = problem.integrate(PARAMETERS, 5, start)
        assert again[0] == pytest.approx(cold[0], abs=1e-10)
        np.testing.assert_allclose(again[2], cold[2], atol=1e-7)


@pytest.mark.parametrize("sigma", [5.0, 20.0])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_modes_are_found_for_large_variances(link, sigma):
    problem = Problem(link)
    value, gradient, u, _ = problem.integrate(np.array([0.3, -0.6, sigma]), 1)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    for g in range(5):
        f = [problem.log_joint(np.array([0.3, -0.6, sigma]), g, u[g] + k) for k in (-1e-3, 0.0, 1e-3)]
        assert f[1] >= max(f[0], f[2])


def test_nodes_and_weights_integrate_polynomials():
    """k points are exact for degree 2k − 1: ∫ x⁴ exp(−x²) = ¾ √π."""
    nodes, log_weights = agq.gauss_hermite(3)
    weights = np.exp(log_weights - nodes**2)
    assert (weights * nodes**4).sum() == pytest.approx(0.75 * np.sqrt(np.pi))
