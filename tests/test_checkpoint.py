"""A killed run loses nothing that was written: it is read as a posterior, and said to be incomplete."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bayesmlm.bayes import checkpoint
from bayesmlm.errors import DataError
from bayesmlm.model import Model

FORMULA = "y ~ x + (x | g)"

SCRIPT = """
import sys
import pandas as pd
from bayesmlm.bayes import checkpoint
from bayesmlm.model import Model

checkpoint.AFTER, checkpoint.EVERY, checkpoint.SHARE = 0.2, 0.2, 0.9
Model({formula!r}, pd.read_csv(sys.argv[1])).sample(draws=400_000, chains=3, seed=1, checkpoint=sys.argv[2])
"""


@pytest.fixture(scope="module")
def killed(toy, tmp_path_factory):
    """Data, and what a run left that was killed outright."""
    folder = tmp_path_factory.mktemp("killed")
    data, path, script = folder / "toy.csv", folder / "draws.nc", folder / "run.py"
    toy.to_csv(data, index=False)
    script.write_text(SCRIPT.format(formula=FORMULA), encoding="utf-8")
    process = subprocess.Popen([sys.executable, script, data, path], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    return path, said


def test_what_was_drawn_is_a_posterior(killed, toy):
    path, said = killed
    assert f"draws so far are kept in {path}" in said
    model = Model(FORMULA, toy)
    fit = model.read_draws(path)
    sizes = fit.tree["posterior"].sizes
    assert 0 < sizes["draw"] < 400_000
    assert sizes["chain"] >= 1
    note = next(note for note in fit.notes if note.startswith("Incomplete: "))
    assert f"{sizes['draw'] * sizes['chain']:,} of 1,200,000 draws" in note
    assert np.isfinite(fit.table(ranef=True).estimate).all()
    assert np.isfinite(fit.predict().estimate).all()


def test_of_another_model_it_is_refused(killed, toy):
    path, _ = killed
    with pytest.raises(DataError, match="holds draws of another model: its fixed effects are Intercept, x"):
        Model("y ~ x + z + (x | g)", toy).read_draws(path)
    with pytest.raises(DataError, match="holds draws of another model"):
        Model("y ~ x + (1 | h)", toy).read_draws(path)


def test_what_is_no_posterior_is_refused(toy, tmp_path):
    model, other = Model(FORMULA, toy), tmp_path / "other.nc"
    with pytest.raises(DataError, match="there is no file"):
        model.read_draws(tmp_path / "nowhere.nc")
    other.write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as the draws of a posterior"):
        model.read_draws(other)


def test_a_finished_run_leaves_no_file_and_says_nothing(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "AFTER", 0.05)
    path = tmp_path / "draws.nc"
    fit = Model(FORMULA, toy).sample(draws=3000, chains=2, seed=2, checkpoint=path)
    assert not list(tmp_path.iterdir())
    assert fit.tree.attrs["complete"] == 1
    assert not any("Incomplete" in note for note in fit.notes)
    assert str(path) in capsys.readouterr().err


def test_a_short_run_writes_nothing(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint.Checkpoint, "write", lambda self: pytest.fail("written"))
    Model(FORMULA, toy).sample(draws=50, tune=50, chains=1, checkpoint=tmp_path / "draws.nc")
    assert "kept in" not in capsys.readouterr().err


def test_chains_of_different_lengths_are_cut_to_most_draws():
    """Of 100, 90 and 20 draws, two chains of 90 are most."""
    import xarray as xr

    beta = np.zeros((3, 100, 1))
    beta[1, 90:] = beta[2, 20:] = np.nan
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"beta": (("chain", "draw", "term"), beta)})})
    tree.attrs.update(draws=100, chains=3)
    cut = checkpoint.incomplete(tree)
    assert dict(cut["posterior"].sizes) == {"chain": 2, "draw": 90, "term": 1}
    assert cut.attrs["note"].startswith("Incomplete: 180 of 300 draws, of 2 chains")
