"""Boundaries of covariance matrices, and what a table shows there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm.laplace.covariance import sd_cor
from bayesmlm.ml.boundary import boundaries, boundary_of
from bayesmlm.model import Model
from tests.likelihood_reference import fit_of, table_of
from tests.troubles import one_effect_twice


def read(*rows):
    lam = np.array(rows, dtype=float)
    return boundary_of("g", tuple("abc"[: len(lam)]), "…", lam)


@pytest.mark.parametrize(
    ("rows", "vanished", "perfect", "rank"),
    [
        ([[0.5]], (False,), (), 1),
        ([[0.0]], (True,), (), 0),
        ([[2e-5]], (True,), (), 0),
        ([[1.0, 0.0], [0.3, 0.4]], (False, False), (0,), 2),
        ([[1.0, 0.0], [0.3, 0.0]], (False, False), (1,), 1),
        ([[1.0, 0.0], [-0.3, 1e-9]], (False, False), (-1,), 1),
        ([[0.0, 0.0], [0.0, 0.7]], (True, False), (0,), 1),
        ([[1e-9, 0.0], [1e-9, 0.0]], (True, True), (0,), 0),
        ([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.4, 0.0]], (False,) * 3, (0, 0, 0), 2),
        ([[1.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.2, 0.4, 0.0]], (False,) * 3, (1, 0, 0), 2),
        ([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], (False, False, True), (0, 0, 0), 2),
    ],
)
def test_boundaries_are_recognised(rows, vanished, perfect, rank):
    found = read(*rows)
    assert (found.vanished, found.perfect, found.rank) == (vanished, perfect, rank)
    assert found.is_singular == (rank < len(rows))
    assert found.without_error[: len(rows)].tolist() == list(vanished)
    assert found.without_error[len(rows) :].all() == (found.is_singular or len(rows) == 1)


@given(st.integers(0, 10_000))
def test_a_matrix_of_full_rank_is_at_no_boundary(seed):
    lam = np.tril(np.random.default_rng(seed).normal(size=(3, 3)))
    lam[np.diag_indices(3)] = np.abs(np.diag(lam)) + 0.2
    found = boundary_of("g", ("a", "b", "c"), "…", lam)
    assert not found.is_singular
    assert not found.without_error.any()
    sd, cor = sd_cor(lam)
    R = np.eye(3)
    R[np.triu_indices(3, 1)] = cor
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(R, "U"), atol=1e-12)
    assert (sd > 0.1).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_unit_of_a_column_makes_no_boundary(scale, sleepstudy):
    """Days in millionths have a standard deviation of 6e-6, in a response of thousandths still less."""
    data = sleepstudy.assign(Days=sleepstudy.Days / scale, Reaction=sleepstudy.Reaction * scale)
    fit = Model("Reaction ~ Days + (Days | Subject)", data, family="gaussian").fit_ml()
    assert not any(end.is_singular for end in boundaries(fit.design, fit.solution.theta, fit.sigma))
    assert fit.table().std_error.notna().all()


def test_a_perfect_correlation_has_no_standard_error():
    fit = Model("y ~ x + (x | g)", one_effect_twice(1)).fit_ml()
    row = fit.table().set_index("component").loc["cor"]
    assert row.estimate == pytest.approx(1.0, abs=1e-4)
    assert row[["std_error", "conf_low", "conf_high"]].isna().all()
    sds = fit.table().set_index("component").loc["sd"]
    assert (sds.std_error > 0.05).all()


def test_a_correlation_with_nothing_is_nothing():
    """Every group has the same mean to the last digit, and a slope of its own."""
    g, x = np.repeat(np.arange(20), 10), np.tile(np.linspace(-1.0, 1.0, 10), 20)
    noise = np.tile([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0], 20)
    z = 2.0 + 2.0 * np.random.default_rng(1).normal(size=20)[g] * x + noise
    fit = Model("z ~ x + (x | g)", {"z": z, "x": x, "g": g}, family="gaussian").fit_ml()
    table = fit.table()
    assert table.estimate[2] == 0.0
    assert table.estimate[3] > 1.0
    assert table.std_error.isna().tolist() == [False, False, True, False, True, False]
    assert table.estimate.isna().tolist() == [False] * 4 + [True, False]
    # What is computed from them does not mind.
    assert np.isfinite(fit.r2()).all()
    assert np.isfinite(fit.icc()).all()
    assert np.isfinite(fit.predict()).all().all()
    assert "NaN" in fit.summary()


def test_a_matrix_of_lower_rank_keeps_its_correlations_without_errors():
    """lme4 calls it singular; no standard deviation is 0 and no correlation ±1."""
    fit = fit_of("con_three", "lme4")
    (end,) = boundaries(fit.design, fit.solution.theta, fit.sigma)
    assert (end.rank, end.vanished, end.perfect) == (2, (False,) * 3, (0,) * 3)
    table = fit.table().set_index("component")
    assert table.loc["cor"].estimate.notna().all()
    assert table.loc["cor"].std_error.isna().all()
    assert table.loc["sd"].std_error.notna().all()


@pytest.mark.parametrize(("response", "family"), [("y", "bernoulli"), ("z", "gaussian")])
def test_a_variance_at_zero_has_no_standard_error(response, family):
    fit = Model(f"{response} ~ x + (1 | g)", table_of("singular"), family).fit_ml()
    row = fit.table().set_index("component").loc["sd"]
    assert row.estimate == 0.0
    assert np.isnan(row.std_error)
