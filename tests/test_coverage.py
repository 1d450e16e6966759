"""The simulation of coverage: what it draws, how it counts, and that a table once made is not made again."""

import numpy as np
import pytest
from rich.console import Console

from benchmarks import coverage
from benchmarks.coverage import BETA, FILE, METHODS, QUANTITIES, Cell, Plan

CELL = Cell(20, 10, 1.0)


def test_covariates_vary_where_they_should():
    frame = coverage.covariates(CELL)
    assert len(frame) == 200
    assert (frame.groupby("g").size() == 10).all()
    assert (frame.groupby("g").w.nunique() == 1).all()
    assert frame.groupby("g").x.nunique().min() == 10
    # Normal scores: centred, and of nearly unit variance.
    assert abs(frame.x.mean()) < 1e-12
    assert 0.9 < frame.w.std(ddof=0) <= frame.x.std(ddof=0) < 1.0


def test_responses_have_the_mean_of_the_truth():
    frame = coverage.covariates(CELL)
    rng = np.random.default_rng(1)
    drawn = np.mean([coverage.response(CELL, frame, rng) for _ in range(400)], axis=0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    eta = BETA[0] + BETA[1] * frame.x.to_numpy() + BETA[2] * frame.w.to_numpy()
    mean = (weights / weights.sum()) @ (1.0 / (1.0 + np.exp(-(eta + CELL.sd * nodes[:, None]))))
    # 80,000 responses, those of a group correlated: the standard error of their mean is about 0.003.
    assert abs(drawn.mean() - mean.mean()) < 0.01
    assert np.corrcoef(drawn, mean)[0, 1] > 0.9


def test_replicates_depend_on_their_number_alone():
    plan = Plan(4, 2, 39)
    one, other = coverage.replicates_of((CELL, plan)), coverage.replicates_of((CELL, plan))
    together = one(range(3))
    assert together.shape == (3, len(METHODS), len(QUANTITIES), 3)
    np.testing.assert_array_equal(together[1:], other(range(1, 3)))
    estimate, low, high = np.moveaxis(together, -1, 0)
    assert (low[:, :2] < estimate[:, :2]).all()
    assert (estimate[:, :2] < high[:, :2]).all()
    # Only the first two are bootstrapped.
    assert np.isfinite(together[:2]).all()
    assert np.isnan(together[2, 2:, :, 1:]).all()


def test_counts():
    found = np.zeros((10, len(METHODS), len(QUANTITIES), 3))
    found[..., 0] = 0.4
    found[..., 1], found[..., 2] = 0.5, 1.5
    found[0, ..., 1:] = 0.1, 0.9  # below an sd of 1
    found[1:4, ..., 1:] = 1.1, 2.1  # above it
    found[4, :, -1] = 0.0, np.nan, np.nan  # singular, without an interval
    row = next(r for r in coverage.summarise(CELL, Plan(10, 5, 39), found) if r["quantity"] == "sd")
    assert row["method"] == "wald"
    assert (row["replicates"], row["refits"]) == (10, 0)
    assert row["below"] == pytest.approx(1 / 9)
    assert row["above"] == pytest.approx(3 / 9)
    assert row["coverage"] == pytest.approx(5 / 9)
    assert row["mc_se"] == pytest.approx(np.sqrt(5 / 9 * 4 / 9 / 9))
    assert row["width"] == pytest.approx((8 * 1.0 + 0.8) / 9)
    assert (row["missing"], row["singular"]) == pytest.approx((0.1, 0.1))
    assert row["estimate"] == pytest.approx(0.36)
    last = coverage.summarise(CELL, Plan(10, 5, 39), found)[-1]
    assert (last["method"], last["replicates"], last["refits"]) == ("normal", 5, 39)


def test_a_cell_that_is_there_is_left_out(tmp_path, monkeypatch):
    made = []

    def simulated(cell, plan, workers, advance):
        made.append(cell)
        out = np.ones((plan.replicates, len(METHODS), len(QUANTITIES), 3))
        out[:, :, :, 1:] = -1.0, 2.0
        return out

    monkeypatch.setattr(coverage, "_simulated", simulated)
    monkeypatch.setattr(coverage, "console", lambda: Console(quiet=True))
    file = tmp_path / "table.csv"
    once = {"bootstrapped": 4, "refits": 39, "n_agq": 1, "workers": 1, "file": file}
    coverage.run(replicates=6, groups=20, **once)
    assert [cell.groups for cell in made] == [20] * 4
    coverage.run(replicates=6, groups=None, **once)
    assert len(made) == len(coverage.CELLS)
    before = file.read_text(encoding="utf-8")
    coverage.run(replicates=6, groups=None, **once)
    assert len(made) == len(coverage.CELLS)
    assert file.read_text(encoding="utf-8") == before
    # With other numbers it is made again, in place of the old.
    coverage.run(replicates=5, groups=40, **once)
    assert len(made) == len(coverage.CELLS) + 4
    assert len(coverage.read(file)) == len(coverage.CELLS) * len(METHODS) * len(QUANTITIES)


@pytest.mark.skipif(not FILE.is_file(), reason="the table has not been made")
def test_the_committed_table_is_whole_and_sensible():
    rows = coverage.read(FILE)
    # By the Laplace approximation with all methods; with nine points without the bootstrap.
    each = len(coverage.CELLS) * len(QUANTITIES)
    assert [sum(row["n_agq"] == n for row in rows) for n in ("1", "9")] == [each * len(METHODS), each * 2]
    for row in rows:
        share, error = float(row["coverage"]), float(row["mc_se"])
        assert share + float(row["below"]) + float(row["above"]) == pytest.approx(1.0, abs=2e-4)
        # Fixed effects, whatever the method: near 95 %, with room for 20 groups.
        if row["quantity"] != "sd":
            assert abs(share - 0.95) < 0.03 + 4.0 * error, row
