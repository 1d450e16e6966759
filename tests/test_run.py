"""The run directory: what it holds, what resuming redoes, what an interruption leaves."""

import json
import shutil
from html import escape

import numpy as np
import pandas as pd
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
    mode = bm.Model(bm.load_specs(tmp_path / "sleep.toml")["a"]).fit_map()
    assert escape(mode.diagnostics().verdict.rstrip(".")) in page
    assert not (tmp_path / "out" / "tables" / "ladder.csv").exists()


POPULATION = """
title = "Three readings"
[data]
source = "contraception"
[defaults]
methods = ["ml", "auto", "gee"]
n_agq = 9
sampling = { draws = 500, chains = 2, seed = 4 }
[models.town]
formula = "use ~ urban + (1 | district)"
[models.age]
formula = "use ~ age"
gee = { groups = "district", se = "mancl_derouen" }
"""


@pytest.fixture(scope="module")
def three_readings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("population")
    (folder / "three.toml").write_text(POPULATION, encoding="utf-8")
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=120, file=nowhere)
        run = run_specs(folder / "three.toml", folder / "out", console=console)
    return folder, run, console.export_text()


def test_three_readings_are_kept_and_shown(three_readings):
    folder, run, text = three_readings
    model = bm.Model(bm.load_specs(folder / "three.toml")["town"])
    table = pd.read_csv(folder / "out/tables/town_side_by_side.csv", keep_default_na=False, na_values=[""])
    for fit, column in ((model.fit_ml(9), "ml_estimate"), (model.fit_gee(), "gee_estimate")):
        own = "conditional" if column == "ml_estimate" else "population"
        stored = table[(table.component == "fixed") & (table.estimand == own)][column]
        np.testing.assert_allclose(stored, fit.fixef(), rtol=1e-12)
    assert set(run.record["models"]["town"]) == {"ml", "auto", "gee"}
    assert set(run.record["models"]["age"]) == {"ml", "gee"}  # nothing to sample by groups
    assert run.record["models"]["town"]["auto"]["sampler"] == "importance-weighted Laplace"
    assert "exact to Monte-Carlo error: importance-weighted Laplace" in text
    assert "GEE (SE)" in text
    assert "GEE: The estimates can be trusted" in text
    own = bm.Model(bm.load_specs(folder / "three.toml")["age"]).fit_gee("district", se="mancl_derouen")
    stored = pd.read_csv(folder / "out/tables/age_gee.csv")
    np.testing.assert_allclose(stored.std_error[:2], np.sqrt(np.diag(own.vcov())), rtol=1e-12)
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert "GEE estimate" in page
    assert "Coefficients of the GEE are averaged over groups" in page
    assert "not drawn" not in page


def refitted(monkeypatch, run):
    """Which readings a run makes anew, as (model, reading)."""
    made = []

    def spy(name):
        original = getattr(bm.Model, name)
        return lambda self, *a, **k: made.append((self.name, name)) or original(self, *a, **k)

    with monkeypatch.context() as patch:
        patch.setattr("bayesmlm.run._report", lambda *parts: None)  # draws figures for seconds
        for name in ("fit_ml", "fit_map", "fit_gee", "sample"):
            patch.setattr(bm.Model, name, spy(name))
        run()
    return made


@pytest.mark.parametrize(
    ("old", "new", "made"),
    [
        ("n_agq = 9", "n_agq = 9", []),
        ("n_agq = 9", "n_agq = 1", [("town", "fit_ml"), ("age", "fit_ml")]),
        ('se = "mancl_derouen"', 'se = "robust"', [("age", "fit_gee")]),
        ('groups = "district"', 'groups = "runs:district"', [("age", "fit_gee")]),
        ('"ml", "auto", "gee"', '"ml", "marginal", "gee"', [("town", "sample")]),
        ("seed = 4", "seed = 5", [("town", "sample")]),
    ],
)
def test_resuming_takes_no_result_of_other_settings(three_readings, tmp_path, quiet, monkeypatch, old, new, made):
    folder = three_readings[0]
    shutil.copytree(folder / "out", tmp_path / "out")
    (tmp_path / "three.toml").write_text(POPULATION.replace(old, new), encoding="utf-8")
    found = refitted(
        monkeypatch, lambda: run_specs(tmp_path / "three.toml", tmp_path / "out", resume=True, console=quiet)
    )
    assert found == made


def test_another_way_to_the_posterior_leaves_no_stale_record(three_readings, tmp_path, quiet, monkeypatch):
    folder = three_readings[0]
    shutil.copytree(folder / "out", tmp_path / "out")
    again = {"out": tmp_path / "out", "only": ["town"], "resume": True, "console": quiet}
    # Each time the file is of the other method, and not taken for this one.
    for methods in (["marginal"], [], ["marginal"]):
        found = refitted(
            monkeypatch, lambda methods=methods: run_specs(folder / "three.toml", methods=methods, **again)
        )
        assert found == [("town", "sample")]
    assert RunDirectory.open(tmp_path / "out").record["models"]["town"].keys() == {"ml", "gee", "marginal"}


def test_clusters_are_part_of_what_a_gee_was_made_from(tmp_path, quiet, monkeypatch):
    data = bm.load_dataset("contraception")
    specs = (
        '[data]\nsource = "d.csv"\n[models.m]\nformula = "use ~ age"\nmethods = "gee"\n'
        'gee = { groups = "place", corr = "ar1", time = "at" }'
    )
    (tmp_path / "s.toml").write_text(specs, encoding="utf-8")
    places = {"place": data.district, "at": data.groupby("district", observed=True).cumcount()}
    moved = {"place": data.district, "at": data.groupby("district", observed=True).cumcount(ascending=False)}
    for columns, made in ((places, 1), (places, 0), (moved, 1)):
        data.assign(**columns).to_csv(tmp_path / "d.csv", index=False)
        found = refitted(
            monkeypatch, lambda: run_specs(tmp_path / "s.toml", tmp_path / "out", resume=True, console=quiet)
        )
        assert len(found) == made


def test_a_posterior_without_chains_is_read_back_as_one(three_readings):
    from bayesmlm.readings import Outcome, make

    folder, run, _ = three_readings
    spec = bm.load_specs(folder / "three.toml")["town"]
    outcome = Outcome(spec, bm.Model(spec))
    for method in ("auto", "gee"):
        make(outcome, method, run, keep=True)
    assert outcome.posterior.engine == "marginal"
    assert np.isfinite(outcome.posterior.log_evidence)
    assert outcome.readings["gee"].options.groups == "district"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('formula = "use ~ agee"', r'b: .*no column "agee"'),
        ('formula = "use ~ age"\nmethods = "gee"', "b: a GEE needs clusters"),
        ('formula = "use ~ age"\nreml = true\nmethods = "ml"', "b: REML is defined for gaussian models"),
        ('formula = "use ~ age"\npriors.agee = "normal(0, 1)"', "b: .*agee"),
    ],
)
def test_what_is_wrong_with_a_model_names_it(tmp_path, quiet, change, message):
    text = '[data]\nsource = "contraception"\n[models.a]\nformula = "use ~ age"\nmethods = "ml"\n[models.b]\n' + change
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    with pytest.raises(bm.BayesmlmError, match=message):
        run_specs(tmp_path / "s.toml", tmp_path / "out", console=quiet)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "[]"),
        ("run.json", '{"models": 3}'),
        ("likelihood/town.json", '{"beta": ['),
        ("population/town.json", "{}"),
        ("posterior/town.nc", "half"),
        ("tables/loo.csv", ""),
    ],
)
def test_a_damaged_file_is_named(three_readings, tmp_path, quiet, file, text):
    folder, _, _ = three_readings
    shutil.copytree(folder / "out", tmp_path / "out")
    (tmp_path / "out" / file).write_text(text, encoding="utf-8")
    with pytest.raises(bm.DataError, match=f"{file} cannot be read: remove it, and what it held is made anew"):
        run_specs(folder / "three.toml", tmp_path / "out", resume=True, console=quiet)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a/b", "a_b"), 'models "a/b" and "a_b" would share the file a_b'),
        (("A", "a"), 'models "A" and "a" would share the file a'),
        (("", "a"), 'the model "" needs a name'),
    ],
)
def test_models_that_would_share_a_file_are_refused(tmp_path, quiet, names, said):
    models = "".join(f'[models."{name}"]\nformula = "use ~ age"\n' for name in names)
    (tmp_path / "s.toml").write_text(f'[data]\nsource = "contraception"\n{models}', encoding="utf-8")
    with pytest.raises(bm.SpecError, match=said):
        run_specs(tmp_path / "s.toml", tmp_path / "out", console=quiet)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, quiet):
    (tmp_path / "small.toml").write_text(SPECS, encoding="utf-8")
    with pytest.raises(bm.DataError, match=r"no folder .*small.toml/out can be made: Not a directory; choose another"):
        run_specs(tmp_path / "small.toml", tmp_path / "small.toml" / "out", console=quiet)


def test_a_spec_file_that_is_no_text_is_named(tmp_path, quiet):
    (tmp_path / "s.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(bm.SpecError, match=r"s\.toml is not a text file in UTF-8"):
        run_specs(tmp_path / "s.toml", tmp_path / "out", console=quiet)


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
    [
        ({"only": ["none"]}, 'has no model "none"'),
        ({"methods": ["bayes"]}, 'no method "bayes"; there are: ml, map, nuts, auto, marginal, gee'),
        ({"methods": ["ml", "nuts", "marginal"]}, "methods has nuts and marginal, two ways to one posterior"),
    ],
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
