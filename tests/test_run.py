"""The run directory: what it holds, what resuming redoes, what an interruption leaves."""

import json

import pytest
from rich.console import Console

import bayesmlm as bm
from bayesmlm.run import run_specs
from bayesmlm.rundir import RunDirectory, write_atomically

SPECS = """
title = "Small"
[data]
source = "contraception"
[defaults]
sampling = { draws = 100, chains = 2, seed = 4, tune = 150 }
[models.glm]
formula = "use ~ urban"
methods = ["ml"]
[models.one]
formula = "use ~ urban + (1 | district)"
[models.two]
formula = "use ~ urban + ch + (1 | district)"
"""


@pytest.fixture
def quiet():
    return Console(quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.toml").write_text(SPECS, encoding="utf-8")
    console = Console(record=True, width=80, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    run = run_specs(folder / "small.toml", folder / "out", console=console)
    console.file.close()
    return folder, run, console.export_text()


def test_the_directory_holds_everything(finished):
    folder, _, _ = finished
    files = {path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*") if path.is_file()}
    assert files == {
        "report.html", "run.json", "spec.toml",
        "likelihood/glm.json", "likelihood/one.json", "likelihood/two.json",
        "posterior/one.nc", "posterior/two.nc",
        "tables/glm_ml.csv", "tables/one_ml.csv", "tables/two_ml.csv", "tables/one_nuts.csv", "tables/two_nuts.csv",
        "tables/glm_side_by_side.csv", "tables/one_side_by_side.csv", "tables/two_side_by_side.csv",
        "tables/ladder.csv", "tables/loo.csv",
    }  # fmt: skip


def test_the_record_names_versions_seeds_and_times(finished):
    record = json.loads((finished[0] / "out" / "run.json").read_text(encoding="utf-8"))
    assert record["versions"]["bayesmlm"] == bm.__version__
    entry = record["models"]["one"]["nuts"]
    assert entry["seed"] == 4
    assert entry["seconds"] > 0
    assert "effective draws" in entry["verdict"]


def test_the_screen_shows_tables_verdicts_and_comparisons(finished):
    text = finished[2]
    assert "posterior mean (SD)" in text
    assert "sd district" in text
    assert "Likelihood ladder" in text
    assert "glm and one: glm is nested in one" in text
    assert "Leave-one-out prediction" in text


# Of 200 draws the smoothed weights of some row are beyond what so few can bear.
@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto distribution")
def test_the_posterior_file_is_arvizs(finished):
    import arviz as az

    tree = az.from_netcdf(finished[0] / "out" / "posterior" / "one.nc")
    assert {"posterior", "sample_stats", "log_likelihood", "observed_data"} <= set(tree.children)
    assert tree["posterior"]["beta"].sel(term="urban[Y]").shape == (2, 100)
    assert az.loo(tree).elpd < 0
    tree.close()


def test_the_stored_spec_gives_the_same_models(finished):
    folder = finished[0]
    assert bm.load_specs(folder / "out" / "spec.toml") == bm.load_specs(folder / "small.toml")


def test_resuming_redoes_only_what_is_missing(finished, quiet, monkeypatch):
    folder = finished[0]
    sampled, fitted = [], []
    sample, fit_ml = bm.Model.sample, bm.Model.fit_ml
    monkeypatch.setattr(bm.Model, "sample", lambda self, *a, **k: sampled.append(self.name) or sample(self, *a, **k))
    monkeypatch.setattr(bm.Model, "fit_ml", lambda self, *a, **k: fitted.append(self.name) or fit_ml(self, *a, **k))
    before = (folder / "out" / "tables" / "two_nuts.csv").read_bytes()
    (folder / "out" / "posterior" / "two.nc").unlink()
    run_specs(folder / "small.toml", folder / "out", resume=True, console=quiet)
    assert (sampled, fitted) == (["two"], [])
    # The same seed on the same data: the same draws.
    assert (folder / "out" / "tables" / "two_nuts.csv").read_bytes() == before


def test_a_changed_model_is_not_taken_for_finished(finished, quiet, monkeypatch, tmp_path):
    folder = finished[0]
    changed = tmp_path / "small.toml"
    changed.write_text(
        SPECS.replace('"use ~ urban + ch + (1 | district)"', '"use ~ age + (1 | district)"'), encoding="utf-8"
    )
    redone = []
    sample = bm.Model.sample
    monkeypatch.setattr(bm.Model, "sample", lambda self, *a, **k: redone.append(self.name) or sample(self, *a, **k))
    import shutil

    shutil.copytree(folder / "out", tmp_path / "out")
    run_specs(changed, tmp_path / "out", resume=True, console=quiet)
    assert redone == ["two"]


def test_an_interruption_leaves_what_was_finished(tmp_path, quiet, monkeypatch):
    (tmp_path / "small.toml").write_text(SPECS, encoding="utf-8")
    sample = bm.Model.sample

    def interrupted(self, *arguments, **keywords):
        if self.name == "two":
            raise KeyboardInterrupt
        return sample(self, *arguments, **keywords)

    monkeypatch.setattr(bm.Model, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_specs(tmp_path / "small.toml", tmp_path / "out", console=quiet)
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert set(record["models"]["one"]) == {"ml", "nuts"}
    assert set(record["models"]["two"]) == {"ml"}
    assert RunDirectory.open(tmp_path / "out").read_posterior("one")["posterior"].sizes["draw"] == 100
    monkeypatch.undo()
    run_specs(tmp_path / "small.toml", tmp_path / "out", resume=True, console=quiet)
    assert (tmp_path / "out" / "report.html").is_file()


def test_only_keeps_the_other_models_results(finished, quiet):
    folder, _, _ = finished
    run = run_specs(folder / "small.toml", folder / "out", only=["glm"], console=quiet)
    assert set(run.record["models"]) == {"glm", "one", "two"}


GAUSSIAN = """
[data]
source = "sleepstudy"
[defaults]
family = "gaussian"
sampling = { draws = 500, chains = 2 }
[models.a]
formula = "Reaction ~ Days + (1 | Subject)"
[models.b]
formula = "Reaction ~ Days + (Days | Subject)"
"""


def test_a_gaussian_run_with_modes(tmp_path, monkeypatch):
    (tmp_path / "sleep.toml").write_text(GAUSSIAN, encoding="utf-8")
    out = tmp_path / "out"
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=100, file=nowhere)
        run = run_specs(tmp_path / "sleep.toml", out, methods=["ml", "map", "nuts"], console=console)
    text = console.export_text()
    assert "posterior mode (SE)" in text
    assert " sigma " in text
    assert "Leave-one-out" in text
    assert set(run.record["models"]["b"]) == {"ml", "map", "nuts"}
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"likelihood/b.json", "mode/b.json", "tables/b_map.csv", "report.html"} <= files
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "AIC and BIC are of the likelihood at the posterior mode" in page

    before = (out / "tables" / "b_side_by_side.csv").read_bytes()
    for name in ("fit_ml", "fit_map", "sample"):
        monkeypatch.setattr(bm.Model, name, None)  # resuming fits nothing again
    resumed = run_specs(
        tmp_path / "sleep.toml", out, methods=["ml", "map", "nuts"], resume=True, console=Console(quiet=True)
    )
    assert resumed.record["models"] == run.record["models"]
    assert (out / "tables" / "b_side_by_side.csv").read_bytes() == before


def test_modes_alone_make_a_report(tmp_path, quiet):
    (tmp_path / "sleep.toml").write_text(GAUSSIAN, encoding="utf-8")
    run_specs(tmp_path / "sleep.toml", tmp_path / "out", methods=["map"], console=quiet)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The posterior mode was reached; there are no draws." in page
    assert not (tmp_path / "out" / "tables" / "ladder.csv").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")

    def broken(path):
        path.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, broken)
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"only": ["none"]}, 'has no model "none"'), ({"methods": ["gee"]}, 'no method "gee"; there are: ml, map, nuts')],
)
def test_what_is_not_there_is_named(tmp_path, quiet, keywords, message):
    (tmp_path / "small.toml").write_text(SPECS, encoding="utf-8")
    with pytest.raises(bm.SpecError, match=message):
        run_specs(tmp_path / "small.toml", tmp_path / "out", console=quiet, **keywords)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_named(tmp_path, quiet):
    (tmp_path / "small.toml").write_text(SPECS, encoding="utf-8")
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(bm.DataError, match="is a file, not a folder"):
        run_specs(tmp_path / "small.toml", tmp_path / "out", console=quiet)
