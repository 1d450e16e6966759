"""The blocked system against dense linear algebra, and the Laplace approximation's gradient against differences."""

from itertools import pairwise

import numpy as np
import pytest

from bayesmlm.errors import FitError
from bayesmlm.laplace import approximation, covariance, kernels, modes, pls
from bayesmlm.laplace.layout import Layout, RandomTerm, block_structure
from tests.structures import STRUCTURES, by_differences, dense_columns, flat, structure_of

LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}


class Problem:
    """Random rows over a structure, with both the blocks and the dense matrices."""

    def __init__(self, structure, link="logit", n=None, seed=0):
        rng = np.random.default_rng(seed)
        self.terms = structure_of(structure, rng, n)
        self.n = n = len(self.terms[0].codes)
        self.link, self.columns = LINKS[link], tuple(term.z.shape[1] for term in self.terms)
        self.X = np.column_stack([np.ones(n), rng.normal(size=n)])
        self.offset = 0.1 * rng.normal(size=n)
        self.trials = np.ones(n) if link == "log" else rng.integers(1, 4, n).astype(float)
        self.y = (rng.poisson(1.2, n) if link == "log" else rng.binomial(self.trials.astype(int), 0.5)).astype(float)
        self.blocks = block_structure(self.terms)
        size = covariance.theta_size(self.columns)
        self.parameters = np.concatenate([[0.2, -0.4], 0.4 * rng.normal(size=size) + 0.3])

    def lams(self, parameters):
        """λ of each term, in the order of the terms."""
        return covariance.factors(parameters[2:], self.columns)

    def block_lams(self, parameters):
        lams = self.lams(parameters)
        return [lams[t] for t in self.blocks.terms]

    def pack(self, d_lams):
        return covariance.pack([d_lams[t] for t in np.argsort(self.blocks.terms)])

    def rows(self, beta):
        """(link, y, trials, fixed part) in the blocks' order."""
        o = self.blocks.order
        return self.link, self.y[o], self.trials[o], self.offset[o] + self.X[o] @ beta

    def dense(self, parameters):
        return dense_columns(self.blocks, self.terms, self.lams(parameters))

    def modes(self, work):
        return flat(self.blocks.by_term(work.main, work.other))[:, 0]

    def laplace(self, parameters, work=None, use_expected=False):
        work = work or modes.Evaluation(self.blocks)
        value, d_lams, found = approximation.laplace(
            *self.rows(parameters[:2]), self.blocks, self.block_lams(parameters), work, use_expected
        )
        assert found
        return value, np.concatenate([self.X[self.blocks.order].T @ work.coefficient, self.pack(d_lams)]), work

    def joint(self, theta, start):
        """Laplace with β at the joint mode given θ: (value, gradient in θ, β)."""
        work, o = modes.Evaluation(self.blocks), self.blocks.order
        parameters = np.concatenate([start, theta])
        lams = self.block_lams(parameters)
        link, y, trials, _ = self.rows(start)
        beta, found = modes.joint_modes(link, y, trials, self.offset[o], self.X[o], start, self.blocks, lams, work)
        assert found
        value, d_lams, found = approximation.laplace(*self.rows(beta), self.blocks, lams, work, False, self.X[o])
        assert found
        return value, self.pack(d_lams), beta


@pytest.fixture(params=STRUCTURES)
def structure(request):
    return request.param


def dense_laplace(problem, parameters, use_expected=False):
    """Newton's method on the dense system: value, û, H of the observed information, weights."""
    M = problem.dense(parameters)
    link, y, trials, fixed = problem.rows(parameters[:2])
    u = np.zeros(M.shape[1])
    for _ in range(50):
        out = kernels.rows(link, y, trials, fixed + M @ u)
        H = np.eye(len(u)) + M.T @ (out[2][:, None] * M)
        step = np.linalg.solve(H, M.T @ out[1] - u)
        u = u + step
        if np.abs(step).max() < 1e-13:
            break
    eta = fixed + M @ u
    out = kernels.rows(link, y, trials, eta)
    H = np.eye(len(u)) + M.T @ (out[2][:, None] * M)
    in_determinant = H
    if use_expected:
        w = np.array([kernels.expected(link, t, e)[0] for t, e in zip(trials, eta, strict=True)])
        in_determinant = np.eye(len(u)) + M.T @ (w[:, None] * M)
    return out[0].sum() - 0.5 * u @ u - 0.5 * np.linalg.slogdet(in_determinant)[1], u, H, out[2]


def test_spherical_columns(structure):
    problem = Problem(structure)
    lams = problem.block_lams(problem.parameters)
    m = pls.spherical_columns(
        problem.blocks.z, problem.blocks.layout.columns, np.concatenate([lam.ravel() for lam in lams])
    )
    expected = np.hstack(
        [problem.terms[t].z[problem.blocks.order] @ lam for t, lam in zip(problem.blocks.terms, lams, strict=True)]
    )
    np.testing.assert_allclose(m, expected, rtol=1e-13, atol=1e-14)


def test_factor_solves_and_has_the_determinant(structure):
    """½ log |H|, H⁻¹b for two b at once, and the groups' blocks of H⁻¹ of the dense matrix, to rounding."""
    problem = Problem(structure)
    b, M = problem.blocks, problem.dense(problem.parameters)
    rng = np.random.default_rng(3)
    w = rng.uniform(0.1, 1.0, problem.n)
    H = np.eye(M.shape[1]) + M.T @ (w[:, None] * M)
    lams = problem.block_lams(problem.parameters)
    m = pls.spherical_columns(b.z, b.layout.columns, np.concatenate([lam.ravel() for lam in lams]))
    factor = pls.empty_factor(b.layout)
    half = modes.factorise_rows(w, m, b.layout, factor) + pls.factorise_components(b.layout, factor.S)
    assert half == pytest.approx(0.5 * np.linalg.slogdet(H)[1], rel=1e-12)
    groups, k0 = len(b.layout.starts) - 1, int(b.layout.columns[0])
    main, other = rng.normal(size=(groups, k0, 2)), rng.normal(size=(len(b.layout.component), 2))
    right = flat(b.by_term(main, other))
    pls.solve(b.layout, factor, main, other)
    np.testing.assert_allclose(flat(b.by_term(main, other)), np.linalg.solve(H, right), rtol=1e-9, atol=1e-11)


def test_laplace_value_and_modes_are_the_dense_ones(structure):
    problem = Problem(structure)
    value, _, work = problem.laplace(problem.parameters)
    expected, u, _, _ = dense_laplace(problem, problem.parameters)
    assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(problem.modes(work), u, atol=1e-8)


@pytest.mark.parametrize("link", LINKS)
def test_expected_information_enters_the_determinant_alone(link):
    """lme4's Laplace: other value, same modes; equal for canonical links."""
    problem = Problem("crossed slopes", link)
    value, _, work = problem.laplace(problem.parameters, use_expected=True)
    expected, u, _, _ = dense_laplace(problem, problem.parameters, use_expected=True)
    assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(problem.modes(work), u, atol=1e-8)
    observed = problem.laplace(problem.parameters)[0]
    assert (abs(value - observed) < 1e-9) == (link in ("logit", "log"))


def test_mode_covariances_are_of_the_dense_inverse(structure):
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    inverse = np.linalg.inv(dense_laplace(problem, problem.parameters)[2])
    first = 0
    for found, t in zip(modes.mode_covariances(problem.blocks, work), problem.blocks.terms, strict=True):
        k, levels = problem.columns[t], problem.terms[t].n_levels
        assert found.shape == (levels, k, k)
        for g in range(levels):
            place = slice(first + g * k, first + g * k + k)
            np.testing.assert_allclose(found[g], inverse[place, place], rtol=1e-8, atol=1e-11)
        first += levels * k


def test_fixed_information_is_the_dense_one(structure):
    """X'WX − X'WM H⁻¹ M'WX, and −H⁻¹ M'WX, the modes' derivative in β."""
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    X = problem.X[problem.blocks.order]
    info, slopes = modes.fixed_information(X, problem.blocks, problem.block_lams(problem.parameters), work)
    M = problem.dense(problem.parameters)
    _, _, H, w = dense_laplace(problem, problem.parameters)
    crossed = M.T @ (w[:, None] * X)
    np.testing.assert_allclose(flat(slopes), -np.linalg.solve(H, crossed), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(info, X.T @ (w[:, None] * X) - crossed.T @ np.linalg.solve(H, crossed), rtol=1e-8)


def test_linear_predictor_at_the_modes(structure):
    problem = Problem(structure)
    _, _, work = problem.laplace(problem.parameters)
    fixed = problem.rows(problem.parameters[:2])[3]
    eta = modes.linear_predictor(fixed, problem.blocks, problem.block_lams(problem.parameters), work)
    expected = fixed + problem.dense(problem.parameters) @ problem.modes(work)
    np.testing.assert_allclose(eta, expected, rtol=1e-11, atol=1e-12)


def check_gradient(problem, tolerance=1e-6, **options):
    """Fourth-order differences with h = 1e-3, good to 1e-8 of the gradient's scale."""
    exact = problem.laplace(problem.parameters, **options)[1]
    numeric = by_differences(lambda x: problem.laplace(x, **options)[0], problem.parameters)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=tolerance * max(np.abs(exact).max(), 1.0))


def test_gradient_of_every_structure(structure):
    check_gradient(Problem(structure))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shape", ["one slope", "crossed slopes", "nested"])
def test_gradient_of_every_link(link, shape):
    check_gradient(Problem(shape, link, seed=4))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shape", ["one", "nested slopes", "three crossed"])
def test_gradient_with_expected_information(link, shape):
    check_gradient(Problem(shape, link, seed=5), use_expected=True)


def test_gradient_where_a_variance_is_zero():
    """The likelihood is even in each column of λ: the gradient vanishes there, and exactly so."""
    problem = Problem("crossed")
    problem.parameters[2] = 0.0
    gradient = problem.laplace(problem.parameters)[1]
    assert gradient[2] == pytest.approx(0.0, abs=1e-10)
    check_gradient(problem)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shape", ["one slope", "crossed slopes", "nested"])
def test_joint_modes_are_stationary_and_their_gradient_is_exact(link, shape):
    """n_agq = 0: Σ x_i s_i = 0 at (β, û) to 1e-7; the gradient in θ follows β, checked by differences as above."""
    problem = Problem(shape, link, seed=6)
    theta = problem.parameters[2:]
    _, exact, beta = problem.joint(theta, problem.parameters[:2])
    link_code, y, trials, fixed = problem.rows(beta)
    _, u, _, _ = dense_laplace(problem, np.concatenate([beta, theta]))
    M = problem.dense(np.concatenate([beta, theta]))
    score = kernels.rows(link_code, y, trials, fixed + M @ u)[1]
    np.testing.assert_allclose(problem.X[problem.blocks.order].T @ score, 0.0, atol=1e-7)
    numeric = by_differences(lambda x: problem.joint(x, problem.parameters[:2])[0], theta)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=1e-6 * max(np.abs(exact).max(), 1.0))


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
    problem.terms = [RandomTerm(t.codes[shuffle], t.z[shuffle], t.n_levels) for t in problem.terms]
    problem.blocks = block_structure(problem.terms)
    again = problem.laplace(problem.parameters)
    assert again[0] == pytest.approx(value, abs=1e-10)
    np.testing.assert_allclose(again[1], gradient, atol=1e-8)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
def test_modes_are_found_for_large_variances(link):
    """Standard deviations of 20, from modes at zero or from those of standard deviations of 1."""
    problem = Problem("crossed slopes", link)
    problem.parameters[2:] = np.array([20.0, 5.0, 20.0, 20.0, -5.0, 20.0])
    value, gradient, work = problem.laplace(problem.parameters)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    problem.parameters[2:] /= 20.0
    work = problem.laplace(problem.parameters)[2]
    problem.parameters[2:] *= 20.0
    assert problem.laplace(problem.parameters, work)[0] == pytest.approx(value, abs=1e-8)


# block structure -------------------------------------------------------------------------------------------


def sizes_of(blocks):
    return np.diff(blocks.layout.firsts).tolist()


def test_the_term_with_the_most_groups_comes_first():
    blocks = Problem("nested").blocks
    assert blocks.terms.tolist() == [1, 0]
    assert blocks.levels.tolist() == sorted(blocks.levels.tolist(), reverse=True)


def test_nested_groups_fall_into_components_of_one():
    """Each outer group links its own inner groups only: nothing dense remains."""
    assert sizes_of(Problem("nested").blocks) == [1] * 4
    assert sizes_of(Problem("nested slopes").blocks) == [2] * 4


def test_crossed_groups_are_one_component():
    assert sizes_of(Problem("crossed").blocks) == [4]
    assert max(sizes_of(Problem("many crossed").blocks)) >= pls._LAPACK_FROM


def test_groups_that_never_meet_stay_apart():
    """Two halves of the data that share no group are two components."""
    codes = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    others = np.array([0, 1, 0, 1, 2, 2, 2, 2])
    one = np.ones((8, 1))
    blocks = block_structure([RandomTerm(codes, one, 4), RandomTerm(others, one, 3)])
    assert sorted(sizes_of(blocks)) == [1, 2]


def test_columns_touched_by_a_group_are_of_one_component(structure):
    """And ascending, as compiled code takes for granted; every other column has its place."""
    blocks = Problem(structure).blocks
    layout = blocks.layout
    assert sorted(blocks.place.tolist()) == list(range(len(layout.component)))
    for first, last in pairwise(layout.touched_starts):
        touched = layout.touched[first:last]
        assert np.all(np.diff(touched) > 0)
        assert len(set(layout.component[touched])) <= 1


def test_rows_are_sorted_by_the_main_term():
    problem = Problem("three crossed")
    codes = problem.terms[problem.blocks.terms[0]].codes[problem.blocks.order]
    assert np.all(np.diff(codes) >= 0)
    for g, (low, high) in enumerate(pairwise(problem.blocks.layout.starts)):
        assert np.all(codes[low:high] == g)


def test_effects_are_split_by_term():
    """by_term of columns that name themselves: (term, group, column)."""
    problem = Problem("three crossed")
    blocks, layout = problem.blocks, problem.blocks.layout
    groups, k0 = len(layout.starts) - 1, int(layout.columns[0])
    main = np.arange(groups * k0, dtype=float).reshape(groups, k0)
    split = blocks.by_term(main, layout.column_within + 10.0 * layout.column_term)
    assert [part.shape for part in split] == [(problem.terms[t].n_levels, problem.columns[t]) for t in blocks.terms]
    for t, part in enumerate(split[1:], start=1):
        np.testing.assert_array_equal(part, np.broadcast_to(10.0 * t + np.arange(part.shape[1]), part.shape))


def test_a_dense_block_too_large_for_memory_is_refused():
    """20,000 crossed columns would be 3.2 GB."""
    rng = np.random.default_rng(1)
    levels, n = 20_000, 120_000
    one = np.ones((n, 1))
    terms = [
        RandomTerm(np.concatenate([np.arange(levels), rng.integers(0, levels, n - levels)]), one, levels)
        for _ in range(2)
    ]
    with pytest.raises(FitError, match=r"dense block of .* columns, more than fits in memory"):
        block_structure(terms)


# components ------------------------------------------------------------------------------------------------

SIZES = [[1], [5], [63], [64], [90], [1, 7, 3], [2, 70, 64, 1]]
"""Components of 64 columns and more are left to LAPACK, together with the small ones beside them."""


def components(sizes, seed=0):
    """A layout of nothing but components, with random positive definite blocks (lower triangles, flat)."""
    rng = np.random.default_rng(seed)
    firsts, offsets = np.concatenate([[0], np.cumsum(sizes)]), np.concatenate([[0], np.cumsum(np.square(sizes))])
    none = np.zeros(0, dtype=np.int64)
    layout = Layout(*[none] * 8, firsts, offsets)
    blocks = [A @ A.T + k * np.eye(k) for k in sizes for A in [rng.normal(size=(k, k))]]
    # What lies above the diagonal is nobody's.
    return layout, blocks, np.concatenate([(np.tril(A) + np.triu(np.full_like(A, 9.9), 1)).ravel() for A in blocks])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_components_are_factorised_solved_and_inverted(sizes):
    """Both by our loops and by LAPACK, to rounding."""
    layout, blocks, S = components(sizes)
    right = np.random.default_rng(1).normal(size=(sum(sizes), 3))
    half = pls.factorise_components(layout, S)
    assert half == pytest.approx(0.5 * sum(np.linalg.slogdet(A)[1] for A in blocks), rel=1e-12)
    solved = right.copy()
    pls.solve_components(layout, S, solved)
    inverse = pls.invert_components(layout, S)
    for A, first, start in zip(blocks, layout.firsts, layout.offsets, strict=False):
        k = len(A)
        np.testing.assert_allclose(
            solved[first : first + k], np.linalg.solve(A, right[first : first + k]), rtol=1e-9, atol=1e-12
        )
        own = slice(start, start + k * k)
        np.testing.assert_allclose(np.tril(S[own].reshape(k, k)), np.linalg.cholesky(A), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            np.tril(inverse[own].reshape(k, k)), np.tril(np.linalg.inv(A)), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("sizes", [[2], [1, 3], [64], [2, 70]], ids=str)
def test_components_that_are_not_definite_are_found_out(sizes):
    layout, _, S = components(sizes)
    S[-1] = -1.0
    assert np.isnan(pls.factorise_components(layout, S))


def test_what_is_not_positive_definite_is_found_out():
    assert not pls.cholesky_in_place(np.array([[1.0, 2.0], [2.0, 1.0]]))
