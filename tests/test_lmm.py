"""The linear mixed model by cross-products against dense matrices, and its gradients against differences."""

import numpy as np
import pytest

from bayesmlm.laplace import covariance, lmm, pls
from bayesmlm.laplace.layout import RandomTerm, block_structure
from bayesmlm.ml import linear as linear_model
from tests.structures import STRUCTURES, by_differences, dense_columns, flat, structure_of


class Problem:
    """Random rows over a structure, weighted, with the dense covariance V₀ = W⁻¹ + ZΛΛ'Z' (relative to σ²)."""

    def __init__(self, structure, seed=0, weighted=True, n=None):
        rng = np.random.default_rng(seed)
        self.terms = structure_of(structure, rng, n)
        n = len(self.terms[0].codes)
        self.columns = tuple(term.z.shape[1] for term in self.terms)
        self.blocks = block_structure(self.terms)
        self.w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
        X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        self.right = np.column_stack([X, X @ [1.0, 0.5, -0.3] + rng.normal(size=n)])
        self.theta = 0.4 * rng.normal(size=covariance.theta_size(self.columns)) + 0.4
        o = self.blocks.order
        self.products = lmm.cross_products(self.blocks, self.w[o], self.right[o])

    def block_lams(self, theta):
        lams = covariance.factors(theta, self.columns)
        return [lams[t] for t in self.blocks.terms]

    def profile(self, theta):
        return lmm.profile(self.blocks, self.products, self.block_lams(theta))

    def dense(self, theta):
        """V₀ in the blocks' order."""
        M = dense_columns(self.blocks, self.terms, covariance.factors(theta, self.columns))
        return np.diag(1.0 / self.w[self.blocks.order]) + M @ M.T

    def objective(self, reml):
        linear = linear_model.Linear(
            self.blocks, self.profile, self.products.right, self.columns, np.zeros(3), float(len(self.w)),
            float(np.log(self.w).sum()), 0.0,
        )  # fmt: skip
        return linear_model.profiled(linear, reml)


@pytest.fixture(params=STRUCTURES)
def structure(request):
    return request.param


def profiled_by_hand(problem, theta, reml):
    """−½ [log |V| + log |X'V⁻¹X| + (n − p)(1 + log 2πσ̂²)], the middle term and p for REML only (V of σ = 1)."""
    V, right = problem.dense(theta), problem.right[problem.blocks.order]
    n, p = right.shape[0], right.shape[1] - 1
    X, y = right[:, :p], right[:, p]
    inverse = np.linalg.inv(V)
    information = X.T @ inverse @ X
    residual = y - X @ np.linalg.solve(information, X.T @ inverse @ y)
    dof = n - p if reml else n
    variance = residual @ inverse @ residual / dof
    logs = np.linalg.slogdet(V)[1] + (np.linalg.slogdet(information)[1] if reml else 0.0)
    return -0.5 * (logs + dof * (1.0 + np.log(2.0 * np.pi * variance)))


@pytest.mark.parametrize("reml", [False, True])
def test_the_profiled_likelihood_is_the_dense_one(structure, reml):
    """To rounding, weights included."""
    problem = Problem(structure)
    expected = profiled_by_hand(problem, problem.theta, reml)
    assert problem.objective(reml)(problem.theta)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("reml", [False, True])
def test_its_gradient_is_exact(structure, reml):
    """Fourth-order differences with h = 1e-3, good to 1e-8 of the gradient's scale."""
    problem = Problem(structure, seed=1)
    objective = problem.objective(reml)
    exact = objective(problem.theta)[1]
    numeric = by_differences(lambda theta: objective(theta)[0], problem.theta)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=1e-7 * max(np.abs(exact).max(), 1.0))


def test_parts_of_the_profile_are_the_dense_ones(structure):
    """½ log |H|, M = [X y]'V₀⁻¹[X y], P = H⁻¹F, E = Z'W([X y] − MP), and blocks of H⁻¹."""
    problem = Problem(structure, seed=2)
    at, o = problem.profile(problem.theta), problem.blocks.order
    lams = covariance.factors(problem.theta, problem.columns)
    M = dense_columns(problem.blocks, problem.terms, lams)
    Z = dense_columns(problem.blocks, problem.terms, [np.eye(k) for k in problem.columns])
    w, right = problem.w[o][:, None], problem.right[o]
    H = np.eye(M.shape[1]) + M.T @ (w * M)
    assert at.half == pytest.approx(0.5 * np.linalg.slogdet(H)[1], rel=1e-12)
    np.testing.assert_allclose(
        at.M, right.T @ np.linalg.solve(problem.dense(problem.theta), right), rtol=1e-9, atol=1e-9
    )
    P = np.linalg.solve(H, M.T @ (w * right))
    np.testing.assert_allclose(flat(at.effects), P, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(flat(at.residuals), Z.T @ (w * (right - M @ P)), rtol=1e-8, atol=1e-9)
    inverse, first = np.linalg.inv(H), 0
    for found in pls.selected_covariance(problem.blocks, at.factor):
        for block in found:
            k = len(block)
            np.testing.assert_allclose(block, inverse[first : first + k, first : first + k], rtol=1e-8, atol=1e-11)
            first += k


def test_derivatives_of_the_determinant_and_of_m(structure):
    """In every entry of every λ, by the module's formulas and by differences."""
    problem = Problem(structure, seed=3)
    theta = problem.theta
    at = problem.profile(theta)
    back = np.argsort(problem.blocks.terms)
    exact = covariance.pack([at.d_half[t] for t in back])
    np.testing.assert_allclose(exact, by_differences(lambda x: problem.profile(x).half, theta), rtol=1e-7, atol=1e-8)
    v = np.array([0.3, -1.0, 0.5, 2.0])
    slope = covariance.pack([-2.0 * np.einsum("lai,i,lbj,j->ab", at.residuals[t], v, at.effects[t], v) for t in back])
    numeric = by_differences(lambda x: v @ problem.profile(x).M @ v, theta)
    np.testing.assert_allclose(slope, numeric, rtol=0, atol=1e-7 * np.abs(numeric).max())


@pytest.mark.parametrize("zeros", [[0], [1], [0, 1, 2]])
@pytest.mark.parametrize("reml", [False, True])
def test_a_factor_with_zeros(zeros, reml):
    """λ₁₁ = 0 leaves a term of rank one, λ = 0 none; the gradient still is the differences'."""
    problem = Problem("crossed slopes", seed=4)
    theta = problem.theta.copy()
    theta[zeros] = 0.0
    objective = problem.objective(reml)
    value, gradient = objective(theta)
    assert value == pytest.approx(profiled_by_hand(problem, theta, reml), abs=1e-9)
    np.testing.assert_allclose(gradient, by_differences(lambda x: objective(x)[0], theta), rtol=0, atol=1e-6)


def test_without_variance_it_is_least_squares():
    problem = Problem("crossed slopes")
    at = problem.profile(np.zeros_like(problem.theta))
    assert at.half == 0.0
    np.testing.assert_allclose(at.M, problem.right.T @ (problem.w[:, None] * problem.right), rtol=1e-12)


def test_cross_products_are_the_dense_ones(structure):
    """Z'WZ and Z'W[X y] put together from their parts, each entry once, to rounding."""
    problem = Problem(structure, seed=5)
    products, blocks, layout = problem.products, problem.blocks, problem.blocks.layout
    groups, k0, q2 = len(layout.starts) - 1, int(layout.columns[0]), len(layout.component)
    main, other = np.arange(groups * k0).reshape(groups, k0), groups * k0 + np.arange(q2)
    found = np.zeros((groups * k0 + q2,) * 2)
    for g in range(groups):
        found[np.ix_(main[g], main[g])] = products.main[g]
        for at in range(layout.touched_starts[g], layout.touched_starts[g + 1]):
            column = other[layout.touched[at]]
            found[column, main[g]] = found[main[g], column] = products.between[at]
    rows, columns = products.cells.T
    assert np.all(rows >= columns)
    found[other[rows], other[columns]] = found[other[columns], other[rows]] = products.values
    # From the blocks' own order of columns to that of the terms.
    order = flat(blocks.by_term(main, other)).ravel().astype(int)
    Z = dense_columns(blocks, problem.terms, [np.eye(k) for k in problem.columns])
    w, right = problem.w[blocks.order][:, None], problem.right[blocks.order]
    np.testing.assert_allclose(found[np.ix_(order, order)], Z.T @ (w * Z), rtol=1e-11, atol=1e-11)
    right_found = flat(blocks.by_term(products.main_right, products.other_right))
    np.testing.assert_allclose(right_found, Z.T @ (w * right), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(products.right, right.T @ (w * right), rtol=1e-12)


def test_weights_are_replicated_rows():
    """Whole weights against rows that many times: the cross-products are the same sums."""
    problem = Problem("nested slopes", weighted=False)
    times = np.random.default_rng(1).integers(1, 4, len(problem.w))
    terms = [RandomTerm(np.repeat(t.codes, times), np.repeat(t.z, times, axis=0), t.n_levels) for t in problem.terms]
    blocks = block_structure(terms)
    o = blocks.order
    repeated = lmm.cross_products(blocks, np.ones(times.sum()), np.repeat(problem.right, times, axis=0)[o])
    o = problem.blocks.order
    weighted = lmm.cross_products(problem.blocks, times[o].astype(float), problem.right[o])
    a, b = (
        lmm.profile(which, products, problem.block_lams(problem.theta))
        for which, products in ((blocks, repeated), (problem.blocks, weighted))
    )
    assert a.half == pytest.approx(b.half, rel=1e-12)
    np.testing.assert_allclose(a.M, b.M, rtol=1e-10, atol=1e-10)


def test_a_factor_that_cannot_be_evaluated_is_nan_not_an_error():
    problem = Problem("crossed")
    assert np.isnan(problem.profile(np.full(2, np.nan)).half)
    value, gradient = problem.objective(False)(np.full(2, np.nan))
    assert value == -np.inf
    assert np.isnan(gradient).all()
