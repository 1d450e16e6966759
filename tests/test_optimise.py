"""The optimiser: to the point, with the facts of how it got there."""

import numpy as np
import pytest

from bayesmlm.ml.optimise import hessian_of_gradient, maximise


def quadratic(A, centre, top=0.0):
    return lambda x: (top - 0.5 * float((x - centre) @ A @ (x - centre)), -A @ (x - centre))


def test_a_quadratic_is_solved_with_its_own_information():
    A, centre = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([2.0, -1.0])
    optimum = maximise(quadratic(A, centre, 7.0), np.zeros(2), A)
    assert optimum.converged
    np.testing.assert_allclose(optimum.x, centre, atol=1e-10)
    np.testing.assert_allclose(optimum.information, A, rtol=1e-8)
    np.testing.assert_allclose(optimum.eigenvalues, np.linalg.eigvalsh(A), rtol=1e-8)
    assert optimum.value == pytest.approx(7.0)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -2.0), (0.0, 0.0)])
def test_rosenbrock(start):
    """A curved valley from a poor guess of the information: to 1e-6, where the gradient all but vanishes."""

    def objective(x):
        a, b = x
        value = -((1 - a) ** 2 + 100 * (b - a * a) ** 2)
        return value, np.array([2 * (1 - a) + 400 * a * (b - a * a), -200 * (b - a * a)])

    optimum = maximise(objective, np.array(start), np.eye(2))
    assert optimum.converged
    np.testing.assert_allclose(optimum.x, 1.0, atol=1e-6)
    assert np.abs(optimum.gradient).max() < 1e-4


def test_unlike_scales():
    """Curvatures twelve orders of magnitude apart."""
    A = np.diag([1e-6, 1.0, 1e6])
    optimum = maximise(quadratic(A, np.array([1e3, 1.0, 1e-3])), np.zeros(3), np.eye(3))
    np.testing.assert_allclose(optimum.x, [1e3, 1.0, 1e-3], rtol=1e-6)


def test_where_the_objective_cannot_be_evaluated_the_step_is_shortened():
    def objective(x):
        if x[0] <= 0.0:
            return -np.inf, np.full(1, np.nan)
        return float(np.log(x[0]) - x[0]), 1.0 / x - 1.0

    optimum = maximise(objective, np.array([8.0]), np.array([[0.01]]))
    assert optimum.converged
    np.testing.assert_allclose(optimum.x, 1.0, rtol=1e-7)


def test_a_saddle_or_a_flat_direction_is_not_called_converged():
    flat = maximise(lambda x: (-0.5 * float(x[0] ** 2), np.array([-x[0], 0.0])), np.ones(2), np.eye(2))
    assert not flat.converged
    endless = maximise(lambda x: (float(x[0]), np.ones(1)), np.zeros(1), np.eye(1), max_iterations=20)
    assert not endless.converged


def test_hessian_of_an_exact_gradient():
    """exp(x y): third derivatives are of order one, so steps of 1e-4 give 1e-7."""

    def objective(v):
        x, y = v
        e = np.exp(x * y)
        return float(e), np.array([y * e, x * e])

    x, y = 0.5, -0.3
    e = np.exp(x * y)
    expected = e * np.array([[y * y, 1 + x * y], [1 + x * y, x * x]])
    H = hessian_of_gradient(objective, np.array([x, y]), np.full(2, 1e-4))
    np.testing.assert_allclose(H, expected, atol=1e-7)
    np.testing.assert_array_equal(H, H.T)
