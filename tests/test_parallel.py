"""Threads: parts cover all rows once, and results do not depend on how many there are."""

import os
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm import parallel
from bayesmlm.ml import glm, integrated
from bayesmlm.model import Model
from bayesmlm.parallel import chunks, in_threads, one_blas_thread, threads


def test_threads_are_counted_from_the_environment(monkeypatch):
    for given_, expected in (("1", 1), ("3", 3), ("0", 1), ("many", os.cpu_count()), ("", os.cpu_count())):
        monkeypatch.setenv("BAYESMLM_THREADS", given_)
        assert threads() == expected
    monkeypatch.delenv("BAYESMLM_THREADS")
    assert threads() == os.cpu_count()


@given(sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
def test_chunks_cover_all_rows_and_groups_once(sizes):
    """In order, with whole groups, none without rows where there are several, at most one per 25,000 rows."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    parts = chunks(starts)
    row = group = 0
    for rows, groups, own in parts:
        assert (rows.start, groups.start) == (row, group)
        np.testing.assert_array_equal(own + rows.start, starts[groups.start : groups.stop + 1])
        assert own[-1] == rows.stop - rows.start
        row, group = rows.stop, groups.stop
    assert row == starts[-1]
    # Groups without rows may stand at the ends.
    assert np.all(np.array(sizes)[group:] == 0)
    assert 1 <= len(parts) <= max(starts[-1] // 25_000, 1)


def test_chunks_depend_on_the_data_alone(monkeypatch):
    starts = np.arange(0, 200_001, 50)
    found = []
    for number in ("1", "2", "7"):
        monkeypatch.setenv("BAYESMLM_THREADS", number)
        found.append([(rows, groups) for rows, groups, _ in chunks(starts)])
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 8


@pytest.mark.parametrize("number", ["1", "2", "5"])
def test_results_are_in_order(number, monkeypatch):
    monkeypatch.setenv("BAYESMLM_THREADS", number)
    assert in_threads(lambda x: x * x, list(range(50))) == [x * x for x in range(50)]
    assert in_threads(abs, []) == []


def test_threads_are_used_and_one_part_needs_none(monkeypatch):
    monkeypatch.setenv("BAYESMLM_THREADS", "2")
    meet = threading.Barrier(2, timeout=10)
    # Each waits for the other: with one thread neither would get past.
    assert in_threads(lambda x: (meet.wait(), x)[1], [1, 2]) == [1, 2]
    assert in_threads(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


def test_an_error_in_a_thread_is_an_error(monkeypatch):
    monkeypatch.setenv("BAYESMLM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda x: 1 // x, [1, 0])


def test_the_linear_algebra_library_is_kept_to_one_thread():
    from threadpoolctl import threadpool_info

    def counts():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = counts()
    with one_blas_thread():
        assert set(counts()) == {1}
    assert counts() == before


@pytest.fixture(scope="module")
def large():
    """120,000 rows, four parts, in 800 groups."""
    rng = np.random.default_rng(4)
    n = 120_000
    g, x = rng.integers(0, 800, n), rng.normal(size=n)
    eta = -0.5 + 0.3 * x + (0.7 * rng.normal(size=800))[g] + (0.3 * rng.normal(size=800))[g] * x
    return pd.DataFrame({"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x, "g": g})


TERMS = {"y ~ x + (1 | g)": integrated.scalar_term, "y ~ x + (x | g)": integrated.vector_term}


@pytest.mark.parametrize("formula", TERMS)
def test_the_parts_add_up_to_the_whole(formula, large, monkeypatch):
    """Value, gradient and state of four parts are those of one, to the rounding of 120,000 terms."""
    design = Model(formula, large).design
    rows = glm.read_rows(design, design.groups[0])
    at, found = np.array([-0.4, 0.2, 0.6, -0.1, 0.3])[: 3 if "(1" in formula else 5], []
    for size in (25_000, 10**9):
        monkeypatch.setattr(parallel, "_CHUNK_ROWS", size)
        likelihood = TERMS[formula](design, rows, 3)
        value, gradient = likelihood.objective(at)
        found.append((value, gradient, likelihood.state(at)))
    (a, da, one), (b, db, other) = found
    assert a == pytest.approx(b, rel=1e-12)
    np.testing.assert_allclose(da, db, rtol=1e-9)
    np.testing.assert_array_equal(one.modes[0], other.modes[0])
    np.testing.assert_allclose(one.information, other.information, rtol=1e-12)


@pytest.mark.parametrize("formula", TERMS)
def test_fits_are_the_same_bit_for_bit(formula, large, monkeypatch):
    """With one thread or two."""
    used, fits = [], []
    real = parallel.in_threads

    def counting(function, parts):
        used.append((threads(), len(parts)))
        return real(function, parts)

    monkeypatch.setattr("bayesmlm.ml.integrated.in_threads", counting)
    for number in ("1", "2"):
        monkeypatch.setenv("BAYESMLM_THREADS", number)
        fits.append(Model(formula, large).fit_ml().solution)
    assert set(used) == {(1, 4), (2, 4)}
    one, two = fits
    for name in ("beta", "theta", "covariance", "loglik", "linear_predictor"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.modes[0], two.modes[0])
