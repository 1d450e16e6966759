"""The model without groups: sums by differences, the null likelihood, and separation against linear programming."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bayesmlm.ml import glm
from bayesmlm.model import Model
from tests.conftest import refusal
from tests.structures import by_differences

LINKS = {"logit": 0, "probit": 1, "cloglog": 2, "log": 3}


@pytest.mark.parametrize("link", LINKS)
def test_sums_are_value_gradient_and_information(link):
    """Fourth-order differences with h = 1e-3, good to 1e-8."""
    rng = np.random.default_rng(1)
    X, offset = rng.normal(size=(40, 3)), 0.3 * rng.normal(size=40)
    trials = np.ones(40) if link == "log" else rng.integers(1, 4, 40).astype(float)
    y = (rng.poisson(1.0, 40) if link == "log" else rng.binomial(trials.astype(int), 0.4)).astype(float)
    at = np.array([0.2, -0.5, 0.4])

    def sums(beta):
        gradient, information = np.empty(3), np.empty((3, 3))
        return glm.sums(LINKS[link], y, trials, X, offset, beta, gradient, information), gradient, information

    _, gradient, information = sums(at)
    np.testing.assert_allclose(gradient, by_differences(lambda b: sums(b)[0], at), rtol=1e-7, atol=1e-7)
    for j in range(3):
        slope = by_differences(lambda b, j=j: sums(b)[1][j], at)
        np.testing.assert_allclose(information[j], -slope, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sort", [False, True])
def test_rows_are_scaled_sorted_and_restored(sort, toy):
    design = Model("cbind(s, n - s) ~ x + f + (1 | g)", toy, "binomial", weights="w", freq="reps", offset="o").design
    rows = glm.read_rows(design, design.groups[0] if sort else None)
    times = (toy.w * toy.reps).to_numpy()
    expected = {"y": toy.s * times, "trials": toy.n * times, "offset": toy.o}
    for name, values in expected.items():
        np.testing.assert_allclose(rows.restore(getattr(rows, name)), values, rtol=1e-14)
    np.testing.assert_allclose(rows.restore(rows.X), design.scaling.apply(design.X), rtol=1e-12, atol=1e-14)
    if sort:
        codes = design.groups[0].codes
        assert np.all(np.diff(codes[rows.order]) >= 0)
        # The sort is stable: rows of one group keep their order.
        assert all(np.all(np.diff(rows.order[codes[rows.order] == code]) > 0) for code in range(6))


@pytest.mark.parametrize("offset", [None, "o"])
@pytest.mark.parametrize(
    ("left", "family"), [("y", "bernoulli"), ("cbind(s, n - s)", "binomial"), ("count", "poisson")]
)
def test_the_null_deviance_is_of_the_intercept_alone(left, family, offset, toy):
    fit = Model(f"{left} ~ x + (1 | g)", toy, family, offset=offset).fit_ml()
    y = (
        np.column_stack([toy.s, toy.n - toy.s])
        if family == "binomial"
        else toy["y" if family == "bernoulli" else "count"]
    )
    kind = sm.families.Poisson() if family == "poisson" else sm.families.Binomial()
    oracle = sm.GLM(y, np.ones(120), kind, offset=None if offset is None else toy.o).fit(tol=1e-12)
    assert fit.null_deviance == pytest.approx(-2 * oracle.llf, rel=1e-10)


# separation -----------------------------------------------------------------------------------------------------


def is_separated(X, signs):
    """Whether a direction b of Xb ≠ 0 has signs · Xb ≥ 0 in every row, and Xb = 0 where the sign is 0."""
    moved, fixed = X[signs != 0] * signs[signs != 0, None], X[signs == 0]
    found = linprog(
        -moved.sum(axis=0), A_ub=-moved, b_ub=np.zeros(len(moved)), bounds=(-1, 1),
        A_eq=fixed if len(fixed) else None, b_eq=np.zeros(len(fixed)) if len(fixed) else None,
    )  # fmt: skip
    return -found.fun > 1e-7


def refuses(model):
    said = refusal(model.fit_ml)
    assert said is None or "the likelihood has no maximum" in said
    return said is not None


@given(seed=st.integers(0, 100_000), link=st.sampled_from(["logit", "probit", "cloglog"]), n=st.integers(6, 25))
@settings(max_examples=300)
def test_separation_is_found_where_linear_programming_finds_it(seed, link, n):
    """A maximum exists unless a direction separates the answers (Albert & Anderson, 1984)."""
    rng = np.random.default_rng(seed)
    x, z = rng.integers(-2, 3, n).astype(float), rng.normal(size=n)
    y = rng.integers(0, 2, n) if seed % 3 else (x + 0.5 * rng.normal(size=n) > 0).astype(int)
    y[:2] = [0, 1]
    model = Model("y ~ x + z", pd.DataFrame({"y": y, "x": x, "z": z}), link=link)
    assert refuses(model) == is_separated(model.design.X, 2.0 * y - 1.0)


@given(seed=st.integers(0, 100_000), n=st.integers(6, 25))
@settings(max_examples=100)
def test_counts_of_zero_separate_where_linear_programming_says_so(seed, n):
    """Rows with counts cannot move, rows without can only move down."""
    rng = np.random.default_rng(seed)
    x, f = rng.integers(-1, 2, n).astype(float), rng.choice(["a", "b", "c"], n)
    y = rng.poisson(0.4 if seed % 2 else 1.5, n)
    y[0] = 2
    model = Model("y ~ x + f", pd.DataFrame({"y": y, "x": x, "f": f}), "poisson")
    assert refuses(model) == is_separated(model.design.X, np.where(y > 0, 0.0, -1.0))
