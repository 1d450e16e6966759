"""The blocked system against dense linear algebra, and the Laplace approximation's gradient against differences."""

from itertools import pairwise

import numpy as np
import pytest

from bayesmlm.errors import FitError
from bayesmlm.laplace import covariance, kernels, modes, pls

# Each structure: per term, the number of groups and the columns; "nested" puts the second within the first.
STRUCTURES = {
    "one": [(6, 1)],
    "one slope": [(6, 2)],
    "three columns": [(6, 3)],
    "crossed": [(6, 1), (4, 1)],
    "crossed slopes": [(6, 2), (4, 2)],
    "small main with wide other": [(6, 1), (4, 3)],
    "nested": [(4, 1), (12, 1)],
    "nested slopes": [(4, 2), (12, 2)],
    "uncorrelated": [(6, 1), (6, 1)],
    "three crossed": [(7, 1), (5, 2), (3, 1)],
    "many crossed": [(70, 1), (60, 1)],
    "nested and crossed": [(4, 1), (12, 1), (5, 1)],
}
LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}


class Problem:
    """Random rows over a structure, with both the blocks and the dense matrices."""

    def __init__(self, structure, link="logit", n=None, seed=0):
        rng = np.random.default_rng(seed)
        shape = STRUCTURES[structure]
        n = n or max(80, 3 * shape[0][0])
        self.link, self.columns = LINKS[link], tuple(k for _, k in shape)
        self.terms = []
        for t, (levels, k) in enumerate(shape):
            codes = np.concatenate([np.arange(levels), rng.integers(0, levels, n - levels)])
            if structure.startswith("nested") and t == 0:
                outer = codes
            if structure.startswith("nested") and t == 1:
                inner = levels // shape[0][0]
                codes = outer * inner + rng.integers(0, inner, n)
                _, codes = np.unique(codes, return_inverse=True)
                levels = int(codes.max()) + 1
            if structure == "uncorrelated" and t == 1:
                codes = self.terms[0].codes
            z = np.column_stack([np.ones(n), *(rng.normal(size=n) for _ in range(k - 1))])
            if structure == "uncorrelated" and t == 1:
                z = rng.normal(size=(n, 1))
            self.terms.append(pls.RandomTerm(codes, z, levels))
        self.n = n
        self.X = np.column_stack([np.ones(n), rng.normal(size=n)])
        self.offset = 0.1 * rng.normal(size=n)
        self.trials = np.ones(n) if link == "log" else rng.integers(1, 4, n).astype(float)
        self.y = (rng.poisson(1.2, n) if link == "log" else rng.binomial(self.trials.astype(int), 0.5)).astype(float)
        self.blocks = pls.block_structure(self.terms)
        size = covariance.theta_size(self.columns)
        self.parameters = np.concatenate([[0.2, -0.4], 0.4 * rng.normal(size=size) + 0.3])

    def lams(self, parameters):
        return covariance.factors(parameters[2:], self.columns)

    def dense(self, parameters):
        """M with m_i as rows, columns in block order (main term first), rows in the blocks' order."""
        lams = self.lams(parameters)
        parts = []
        for t in self.blocks.terms:
            term, lam = self.terms[t], lams[t]
            k = len(lam)
            M = np.zeros((self.n, term.n_levels * k))
            m = term.z @ lam
            for i in range(self.n):
                M[i, term.codes[i] * k : term.codes[i] * k + k] = m[i]
            parts.append(M)
        return np.hstack(parts)[self.blocks.order]

    def laplace(self, parameters, work=None):
        work = work or modes.Evaluation(self.blocks)
        o = self.blocks.order
        lams = self.lams(parameters)
        value, d_lams, found = modes.laplace(
            self.link, self.y[o], self.trials[o], self.offset[o] + self.X[o] @ parameters[:2], self.blocks,
            [lams[t] for t in self.blocks.terms], work,
        )  # fmt: skip
        assert found
        back = np.argsort(self.blocks.terms)
        gradient = np.concatenate([self.X[o].T @ work.coefficient, covariance.pack([d_lams[t] for t in back])])
        return value, gradient, work


@pytest.fixture(params=STRUCTURES)
def structure(request):
    return request.param


def dense_laplace(problem, parameters):
    """Newton's method on the dense system: value, û, H, weights."""
    M, o = problem.dense(parameters), problem.blocks.order
    fixed = problem.offset[o] + problem.X[o] @ parameters[:2]
    u = np.zeros(M.shape[1])
    for _ in range(50):
        out = kernels.rows(problem.link, problem.y[o], problem.trials[o], fixed + M @ u)
        H = np.eye(len(u)) + M.T @ (out[2][:, None] * M)
        step = np.linalg.solve(H, M.T @ out[1] - u)
        u = u + step
        if np.abs(step).max() < 1e-13:
            break
    out = kernels.rows(problem.link, problem.y[o], problem.trials[o], fixed + M @ u)
    H = np.eye(len(u)) + M.T @ (out[2][:, None] * M)
    return out[0].sum() - 0.5 * u @ u - 0.5 * np.linalg.slogdet(H)[1], u, H, out[2]


def flat(main, other):
    return np.concatenate([main.ravel(), other])


def test_spherical_columns(structure):
    problem = Problem(structure)
    lams = [problem.lams(problem.parameters)[t] for t in problem.blocks.terms]
    m = pls.spherical_columns(problem.blocks.z, problem.blocks.columns, np.concatenate([lam.ravel() for lam in lams]))
    expected = np.hstack(
        [problem.terms[t].z[problem.blocks.order] @ lam for t, lam in zip(problem.blocks.terms, lams, strict=True)]
    )
    np.testing.assert_allclose(m, expected, rtol=1e-13, atol=1e-14)


def test_factor_solves_and_has_the_determinant(structure):
    """½ log |H| and H⁻¹b of the dense matrix, to rounding."""
    problem = Problem(structure)
    b, M = problem.blocks, problem.dense(problem.parameters)
    rng = np.random.default_rng(3)
    w = rng.uniform(0.1, 1.0, problem.n)
    H = np.eye(M.shape[1]) + M.T @ (w[:, None] * M)
    work = modes.Evaluation(b)
    lams = [problem.lams(problem.parameters)[t] for t in b.terms]
    m = pls.spherical_columns(b.z, b.columns, np.concatenate([lam.ravel() for lam in lams]))
    half, definite = pls.factorise(
        w, m, int(b.columns[0]), b.starts, b.local, b.touched_starts, b.position, b.component, b.sizes, b.offsets,
        work.L, work.Y, work.S,
    )  # fmt: skip
    assert definite
    assert half == pytest.approx(0.5 * np.linalg.slogdet(H)[1], rel=1e-12)
    right = rng.normal(size=M.shape[1])
    main = right[: work.main.size].reshape(work.main.shape).copy()
    other = right[work.main.size :].copy()
    pls.solve(main, other, b.starts, b.touched_starts, b.touched, b.column_component, b.column_position, b.sizes,
              b.offsets, work.L, work.Y, work.S)  # fmt: skip
    np.testing.assert_allclose(flat(main, other), np.linalg.solve(H, right), rtol=1e-9, atol=1e-11)


def test_laplace_value_and_modes_are_the_dense_ones(structure):
    problem = Problem(structure)
    value, _, work = problem.laplace(problem.parameters)
    expected, u, _, _ = dense_laplace(problem, problem.parameters)
    assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(flat(work.main, work.other), u, atol=1e-8)


def test_selected_covariance_is_the_dense_inverse(structure):
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    inverse = np.linalg.inv(dense_laplace(problem, problem.parameters)[2])
    first = 0
    for blocks, t in zip(modes.selected_covariance(problem.blocks, work), problem.blocks.terms, strict=True):
        k, levels = problem.columns[t], problem.terms[t].n_levels
        assert blocks.shape == (levels, k, k)
        for g in range(levels):
            place = slice(first + g * k, first + g * k + k)
            np.testing.assert_allclose(blocks[g], inverse[place, place], rtol=1e-8, atol=1e-11)
        first += levels * k


def test_fixed_information_is_the_dense_one(structure):
    """X'WX − X'WM H⁻¹ M'WX, and H⁻¹ M'WX, which is minus the modes' derivative in β."""
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    lams = [problem.lams(problem.parameters)[t] for t in problem.blocks.terms]
    X = problem.X[problem.blocks.order]
    info, solved = modes.fixed_information(X, problem.blocks, lams, work)
    M = problem.dense(problem.parameters)
    _, _, H, w = dense_laplace(problem, problem.parameters)
    crossed = M.T @ (w[:, None] * X)
    np.testing.assert_allclose(solved.T, np.linalg.solve(H, crossed), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(info, X.T @ (w[:, None] * X) - crossed.T @ np.linalg.solve(H, crossed), rtol=1e-8)


def test_linear_predictor_at_the_modes(structure):
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    lams = [problem.lams(problem.parameters)[t] for t in problem.blocks.terms]
    fixed = (problem.offset + problem.X @ problem.parameters[:2])[problem.blocks.order]
    eta = modes.linear_predictor(fixed, problem.blocks, lams, work)
    expected = fixed + problem.dense(problem.parameters) @ flat(work.main, work.other)
    np.testing.assert_allclose(eta, expected, rtol=1e-11, atol=1e-12)


def check_gradient(problem, tolerance=1e-6):
    """Fourth-order differences with h = 1e-3, good to 1e-8 of the gradient's scale."""
    exact = problem.laplace(problem.parameters)[1]
    scale = np.abs(exact).max()
    places = range(len(exact))
    for j in places:
        e = np.zeros(len(exact))
        e[j] = 1e-3
        f = [problem.laplace(problem.parameters + k * e)[0] for k in (-2, -1, 1, 2)]
        numeric = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-3
        assert exact[j] == pytest.approx(numeric, abs=tolerance * max(scale, 1.0))


def test_gradient_of_every_structure(structure):
    check_gradient(Problem(structure))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shape", ["one slope", "crossed slopes", "nested"])
def test_gradient_of_every_link(link, shape):
    check_gradient(Problem(shape, link, seed=4))


def test_gradient_where_a_variance_is_zero():
    """The likelihood is even in each column of λ: the gradient vanishes there, and exactly so."""
    problem = Problem("crossed")
    problem.parameters[2] = 0.0
    gradient = problem.laplace(problem.parameters)[1]
    assert gradient[2] == pytest.approx(0.0, abs=1e-10)
    check_gradient(problem)


def test_a_warm_start_gives_the_same(structure):
    problem = Problem(structure)
    cold_value, cold_gradient, work = problem.laplace(problem.parameters)
    moved = problem.parameters + 0.05
    problem.laplace(moved, work)
    value, gradient, _ = problem.laplace(problem.parameters, work)
    assert value == pytest.approx(cold_value, abs=1e-10)
    np.testing.assert_allclose(gradient, cold_gradient, atol=1e-7)


def test_rows_in_any_order_give_the_same():
    problem = Problem("crossed slopes")
    value, gradient, _ = problem.laplace(problem.parameters)
    shuffle = np.random.default_rng(1).permutation(problem.n)
    for name in ("X", "offset", "trials", "y"):
        setattr(problem, name, getattr(problem, name)[shuffle])
    problem.terms = [pls.RandomTerm(t.codes[shuffle], t.z[shuffle], t.n_levels) for t in problem.terms]
    problem.blocks = pls.block_structure(problem.terms)
    again = problem.laplace(problem.parameters)
    assert again[0] == pytest.approx(value, abs=1e-10)
    np.testing.assert_allclose(again[1], gradient, atol=1e-8)


# block structure -------------------------------------------------------------------------------------------


def test_the_term_with_the_most_groups_comes_first():
    blocks = Problem("nested").blocks
    assert blocks.terms.tolist() == [1, 0]
    assert blocks.levels.tolist() == sorted(blocks.levels.tolist(), reverse=True)


def test_nested_groups_fall_into_components_of_one():
    """Each outer group links its own inner groups only: nothing dense remains."""
    blocks = Problem("nested").blocks
    assert blocks.sizes.tolist() == [1] * 4
    assert Problem("nested slopes").blocks.sizes.tolist() == [2] * 4


def test_crossed_groups_are_one_component():
    assert Problem("crossed").blocks.sizes.tolist() == [4]
    assert Problem("many crossed").blocks.sizes.max() > 48


def test_groups_that_never_meet_stay_apart():
    """Two halves of the data that share no group are two components."""
    codes = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    others = np.array([0, 1, 0, 1, 2, 2, 2, 2])
    one = np.ones((8, 1))
    blocks = pls.block_structure([pls.RandomTerm(codes, one, 4), pls.RandomTerm(others, one, 3)])
    assert sorted(blocks.sizes.tolist()) == [1, 2]


def test_rows_are_sorted_by_the_main_term():
    problem = Problem("three crossed")
    codes = problem.terms[problem.blocks.terms[0]].codes[problem.blocks.order]
    assert np.all(np.diff(codes) >= 0)
    for g, (low, high) in enumerate(pairwise(problem.blocks.starts)):
        assert np.all(codes[low:high] == g)


def test_a_dense_block_too_large_for_memory_is_refused():
    """20,000 crossed columns would be 3.2 GB."""
    rng = np.random.default_rng(1)
    levels, n = 20_000, 120_000
    one = np.ones((n, 1))
    terms = [
        pls.RandomTerm(np.concatenate([np.arange(levels), rng.integers(0, levels, n - levels)]), one, levels)
        for _ in range(2)
    ]
    with pytest.raises(FitError, match=r"dense block of .* columns, more than fits in memory"):
        pls.block_structure(terms)


@pytest.mark.parametrize("k", [1, 5, 48, 49, 60])
def test_cholesky_of_small_and_large_blocks(k):
    """Beyond 48 columns LAPACK takes over; both give the same factor and inverse."""
    rng = np.random.default_rng(k)
    A = rng.normal(size=(k, k))
    A = A @ A.T + k * np.eye(k)
    L = A.copy()
    assert pls.cholesky_in_place(L)
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(A), rtol=1e-10, atol=1e-12)
    flat_inverse = pls.invert_components(L.ravel(), np.array([k]), np.array([0, k * k]))
    np.testing.assert_allclose(flat_inverse.reshape(k, k), np.linalg.inv(A), rtol=1e-9, atol=1e-12)


def test_what_is_not_positive_definite_is_found_out():
    assert not pls.cholesky_in_place(np.array([[1.0, 2.0], [2.0, 1.0]]))
