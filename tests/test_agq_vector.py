"""Quadrature of one vector-valued term: its scalar and one-point cases, brute force, and gradients by differences."""

import numpy as np
import pytest

from bayesmlm.laplace import agq, agq_vector, approximation, covariance, kernels, modes
from bayesmlm.laplace.layout import RandomTerm, block_structure
from tests.structures import by_differences

LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}
THETA = {1: [0.9], 2: [0.8, -0.4, 0.6], 3: [0.8, -0.4, 0.3, 0.6, 0.2, 0.5]}


class Problem:
    """Five groups of unequal size (one of a single row), rows sorted, k columns that vary by group."""

    def __init__(self, link, k, seed=0):
        rng = np.random.default_rng(seed)
        self.k, self.link = k, LINKS[link]
        self.codes = np.repeat(np.arange(5), [1, 3, 6, 4, 8])
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(self.codes))])
        n = len(self.codes)
        self.X = np.column_stack([np.ones(n), rng.normal(size=n)])
        self.z = np.column_stack([rng.normal(1.0, 0.5, n), *(rng.normal(size=n) for _ in range(k - 1))])
        self.offset = 0.2 * rng.normal(size=n)
        self.trials = np.ones(n) if link == "log" else rng.integers(1, 4, n).astype(float)
        self.y = (rng.poisson(1.5, n) if link == "log" else rng.binomial(self.trials.astype(int), 0.45)).astype(float)
        self.parameters = np.array([0.3, -0.6, *THETA[k]])

    def integrate(self, parameters, points, start=None):
        """(log-likelihood, gradient, modes, roots)."""
        (lam,) = covariance.factors(parameters[2:], (self.k,))
        u = np.zeros((5, self.k)) if start is None else start.copy()
        L, c, d_lam = np.ones((5, self.k, self.k)), np.empty(len(self.y)), np.empty((self.k, self.k))
        value, found = agq_vector.integrate_vector(
            self.link, self.starts, self.y, self.trials, self.z, self.offset + self.X @ parameters[:2], lam,
            *agq_vector.product_rule(points, self.k), u, L, c, d_lam,
        )  # fmt: skip
        assert found
        return value, np.concatenate([self.X.T @ c, covariance.pack([d_lam])]), u, L

    def log_joint(self, parameters, g, u):
        """log f(y_g | u) + log φ(u) for every row of u, shape (…, k)."""
        mine = self.codes == g
        (lam,) = covariance.factors(parameters[2:], (self.k,))
        eta = self.offset[mine] + self.X[mine] @ parameters[:2] + u @ (self.z[mine] @ lam).T
        y, trials = (np.broadcast_to(values[mine], eta.shape).ravel() for values in (self.y, self.trials))
        rows = kernels.rows(self.link, y, trials, eta.ravel())[0].reshape(eta.shape).sum(axis=-1)
        return rows - 0.5 * (u * u).sum(axis=-1) - 0.5 * self.k * np.log(2 * np.pi)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("points", [1, 2, 5, 9])
def test_one_column_is_scalar_quadrature(link, points):
    """The same sum in another arrangement, to rounding."""
    problem = Problem(link, 1)
    value, gradient, u, L = problem.integrate(problem.parameters, points)
    v, H, c = np.zeros(5), np.ones(5), np.empty(len(problem.y))
    expected, d_sigma, _ = agq.integrate(
        problem.link, problem.starts, problem.y, problem.trials, problem.z[:, 0].copy(),
        problem.offset + problem.X @ problem.parameters[:2], 0.9, *agq.gauss_hermite(points), v, H, c,
    )  # fmt: skip
    assert value == pytest.approx(expected, abs=1e-11)
    np.testing.assert_allclose(gradient, np.append(problem.X.T @ c, d_sigma), atol=1e-9)
    np.testing.assert_allclose(u[:, 0], v, atol=1e-9)
    np.testing.assert_allclose(L[:, 0, 0] ** 2, H, rtol=1e-9)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("k", [2, 3])
def test_one_point_is_the_blocked_laplace(link, k):
    """The same number from the general machinery; both searches end with steps below 1e-8."""
    problem = Problem(link, k)
    value, gradient, u, L = problem.integrate(problem.parameters, 1)
    blocks = block_structure([RandomTerm(problem.codes, problem.z, 5)])
    work = modes.Evaluation(blocks)
    general, d_lams, found = approximation.laplace(
        problem.link, problem.y, problem.trials, problem.offset + problem.X @ problem.parameters[:2], blocks,
        covariance.factors(problem.parameters[2:], (k,)), work,
    )  # fmt: skip
    assert found
    assert value == pytest.approx(general, abs=1e-9)
    np.testing.assert_allclose(u, work.main[..., 0], atol=1e-8)
    expected = np.concatenate([problem.X.T @ work.coefficient, covariance.pack(d_lams)])
    np.testing.assert_allclose(gradient, expected, atol=1e-7)
    np.testing.assert_allclose(
        np.linalg.inv(L @ L.transpose(0, 2, 1)), modes.mode_covariances(blocks, work)[0], rtol=1e-7
    )
    assert np.all(np.triu(L, 1) == 0.0)


@pytest.mark.parametrize("link", LINKS)
def test_many_points_are_the_integral(link):
    """31 × 31 points against a trapezoidal rule that is exact to 1e-12 for such smooth tails."""
    problem = Problem(link, 2)
    axis = np.linspace(-9, 9, 151)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    total = 0.0
    for g in range(5):
        logs = problem.log_joint(problem.parameters, g, grid)
        total += logs.max() + np.log(np.exp(logs - logs.max()).sum() * (axis[1] - axis[0]) ** 2)
    assert problem.integrate(problem.parameters, 31)[0] == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize("k", [2, 3])
def test_more_points_come_closer(k):
    problem = Problem("logit", k)
    values = [problem.integrate(problem.parameters, points)[0] for points in (1, 3, 7, 15)]
    errors = np.abs(np.array(values[:3]) - values[3])
    assert errors[0] > 1e-3
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.2 * errors[1]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("points", [1, 2, 3])
def test_the_gradient_is_exact(link, k, points):
    """Fourth-order differences with h = 1e-3 are good to 1e-8 here."""
    problem = Problem(link, k)
    gradient = problem.integrate(problem.parameters, points)[1]
    numeric = by_differences(lambda x: problem.integrate(x, points)[0], problem.parameters)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("points", [1, 3])
def test_the_gradient_is_exact_at_the_boundary(points):
    """λ with a zero column, and λ = 0."""
    problem = Problem("logit", 2)
    for theta in ([0.8, -0.4, 0.0], [0.0, 0.0, 0.7], [0.0, 0.0, 0.0]):
        at = np.array([0.3, -0.6, *theta])
        numeric = by_differences(lambda x: problem.integrate(x, points)[0], at)
        np.testing.assert_allclose(problem.integrate(at, points)[1], numeric, atol=1e-7)


# invariances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 4])
@pytest.mark.parametrize("column", [0, 1])
def test_the_sign_of_a_column_is_free(points, column):
    """Effects of that column turn along, and so does its gradient."""
    problem = Problem("cloglog", 2)
    turned = np.ones((2, 2))
    turned[:, column] = -1.0
    signs = np.concatenate([[1.0, 1.0], covariance.pack([turned])])
    a = problem.integrate(problem.parameters, points)
    b = problem.integrate(problem.parameters * signs, points)
    assert a[0] == pytest.approx(b[0], abs=1e-11)
    np.testing.assert_allclose(a[1], b[1] * signs, atol=1e-9)
    np.testing.assert_allclose(a[2], b[2] * turned[0], atol=1e-9)


def test_columns_in_any_order_give_the_same():
    """With the factor of the permuted covariance; at one point, since the axes of a product rule are the columns'."""
    problem = Problem("logit", 3)
    value = problem.integrate(problem.parameters, 1)[0]
    (lam,) = covariance.factors(problem.parameters[2:], (3,))
    order = [2, 0, 1]
    problem.z = np.ascontiguousarray(problem.z[:, order])
    permuted = np.linalg.cholesky((lam @ lam.T)[np.ix_(order, order)])
    again = problem.integrate(np.concatenate([problem.parameters[:2], covariance.pack([permuted])]), 1)[0]
    assert again == pytest.approx(value, abs=1e-11)


@pytest.mark.parametrize("points", [1, 3])
def test_groups_and_rows_in_any_order_give_the_same(points):
    problem = Problem("probit", 2)
    value, gradient, u, _ = problem.integrate(problem.parameters, points)
    groups = np.array([3, 0, 4, 1, 2])
    order = np.concatenate([np.flatnonzero(problem.codes == g)[::-1] for g in groups])
    for name in ("X", "z", "offset", "trials", "y"):
        setattr(problem, name, np.ascontiguousarray(getattr(problem, name)[order]))
    problem.starts = np.concatenate([[0], np.cumsum(np.bincount(problem.codes)[groups])])
    again = problem.integrate(problem.parameters, points)
    assert again[0] == pytest.approx(value, abs=1e-11)
    np.testing.assert_allclose(again[1], gradient, atol=1e-9)
    np.testing.assert_allclose(again[2], u[groups], atol=1e-9)


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("k", [2, 3])
def test_without_variance_it_is_the_model_without_groups(points, k):
    problem = Problem("logit", k)
    parameters = np.concatenate([problem.parameters[:2], np.zeros(len(THETA[k]))])
    value, gradient, u, L = problem.integrate(parameters, points)
    out = kernels.rows(0, problem.y, problem.trials, problem.offset + problem.X @ parameters[:2])
    assert value == pytest.approx(out[0].sum(), abs=1e-11)
    np.testing.assert_allclose(gradient[:2], problem.X.T @ out[1], atol=1e-10)
    assert np.all(u == 0.0)
    np.testing.assert_array_equal(L, np.tile(np.eye(k), (5, 1, 1)))


@pytest.mark.parametrize("link", LINKS)
def test_the_start_of_the_modes_does_not_matter(link):
    problem = Problem(link, 2)
    cold = problem.integrate(problem.parameters, 3)
    for start in (np.full((5, 2), 4.0), np.full((5, 2), -6.0), cold[2]):
        again = problem.integrate(problem.parameters, 3, start)
        assert again[0] == pytest.approx(cold[0], abs=1e-10)
        np.testing.assert_allclose(again[2], cold[2], atol=1e-7)


@pytest.mark.parametrize("scale", [5.0, 20.0])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_modes_are_found_for_large_variances(link, scale):
    """A step of 1e-3 in any direction does not improve on them."""
    problem = Problem(link, 2)
    parameters = problem.parameters * [1.0, 1.0, scale, scale, scale]
    value, gradient, u, _ = problem.integrate(parameters, 1)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    around = 1e-3 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    for g in range(5):
        logs = problem.log_joint(parameters, g, u[g] + around)
        assert np.all(logs[0] >= logs[1:])


# the rule -----------------------------------------------------------------------------------------------------


def test_nodes_and_weights_integrate_polynomials():
    """3 points a side are exact for degree 5 in each variable: ∫ x⁴ y² exp(−x² − y²) = ¾ · ½ · π."""
    nodes, log_weights = agq_vector.product_rule(3, 2)
    weights = np.exp(log_weights - (nodes**2).sum(axis=1))
    assert (weights * nodes[:, 0] ** 4 * nodes[:, 1] ** 2).sum() == pytest.approx(0.375 * np.pi)
    assert (weights * nodes[:, 0] ** 3 * nodes[:, 1] ** 2).sum() == pytest.approx(0.0, abs=1e-14)
