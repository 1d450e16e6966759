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


def test_a_guess_of_the_information_may_be_made_after_the_first_evaluation():
    """The guess may need what the first evaluation leaves behind."""
    A, centre = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([2.0, -1.0])
    inner, seen = quadratic(A, centre), []

    def objective(x):
        seen.append(x.copy())
        return inner(x)

    def guess():
        seen.append("guess")
        return A

    optimum = maximise(objective, np.zeros(2), guess)
    assert seen[0].tolist() == [0.0, 0.0]
    assert [i for i, what in enumerate(seen) if isinstance(what, str)] == [1]
    assert optimum.evaluations == len(seen) - 1
    np.testing.assert_allclose(optimum.x, centre, atol=1e-10)


def test_nothing_to_maximise_is_done_at_once():
    optimum = maximise(lambda x: (3.0, np.zeros(0)), np.zeros(0), np.zeros((0, 0)))
    assert (optimum.value, optimum.converged, optimum.distance, optimum.evaluations) == (3.0, True, 0.0, 1)
    assert optimum.x.shape == optimum.gradient.shape == optimum.eigenvalues.shape == (0,)


def test_without_the_hessian_the_search_alone_goes_to_the_point():
    """1e-5 standard errors from the top, with as many evaluations as BFGS needs and no more."""
    A, centre = np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([2.0, -1.0])
    long, short = (maximise(quadratic(A, centre), np.zeros(2), np.eye(2), hessian=h) for h in (True, False))
    assert short.converged
    assert np.sqrt((short.x - centre) @ A @ (short.x - centre)) < 1e-5
    np.testing.assert_allclose(short.information, A, rtol=0.1)
    assert short.evaluations < long.evaluations


def exponential(v):
    """exp(x y), its gradient."""
    x, y = v
    e = np.exp(x * y)
    return float(e), np.array([y * e, x * e])


def test_hessian_of_an_exact_gradient():
    """exp(x y): third derivatives are of order one, so steps of 1e-7 give 1e-7."""
    at = np.array([0.5, -0.3])
    x, y = at
    expected = exponential(at)[0] * np.array([[y * y, 1 + x * y], [1 + x * y, x * x]])
    H = hessian_of_gradient(exponential, at, exponential(at)[1], np.full(2, 1e-7))
    np.testing.assert_allclose(H, expected, atol=1e-7)
    np.testing.assert_array_equal(H, H.T)
    # Forward differences: the error is the step times half a third derivative.
    errors = [
        np.abs(hessian_of_gradient(exponential, at, exponential(at)[1], np.full(2, h)) - expected).max()
        for h in (1e-4, 2e-4)
    ]
    assert errors[1] / errors[0] == pytest.approx(2.0, rel=1e-3)
    assert errors[0] < 1e-4
