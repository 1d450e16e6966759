"""The command line as a user meets it: exit codes, one sentence for bad input, no traceback."""

import subprocess
import sys

import pytest

import bayesmlm as bm


def bayesmlm(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "bayesmlm.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.csv"
    data = bm.load_dataset("contraception")
    data.assign(one="a", zero=0).to_csv(path, index=False)
    return path


def test_fit_prints_the_summary_without_pymc(csv):
    done = bayesmlm("fit", "use ~ age + urban + livch + (1 | district)", csv)
    assert done.returncode == 0, done.stderr
    assert "2427.6 2466.6 -1206.8   2413.6     1927" in done.stdout
    code = (
        "import sys; from bayesmlm.cli import app\n"
        f"app(['fit', 'use ~ age + (1 | district)', {str(csv)!r}], standalone_mode=False)\n"
        "assert not {'pymc', 'arviz', 'nutpie', 'matplotlib', 'statsmodels'} & set(sys.modules)"
    )
    check = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("use ~ aeg + (1 | district)", (), 'no column "aeg"; did you mean "age"?'),
        ("use ~ age +", (), 'it ends after "+"'),
        ("use ~ age) + urban", (), 'a ")" without its "(" at character 10'),
        ("livch ~ age", (), 'the response "livch" is not binary: it holds 4 values ("0", "1", "2", "3+")'),
        ("use ~ age + (1 | one)", (), 'the grouping "one" has one level only'),
        ("use ~ age + (1 | woman)", (), 'the grouping "woman" has a level of its own for each of the 1934 rows'),
        ("zero ~ age", (), "the response is constant: no row has zero = 1"),
        (
            "use ~ age",
            ("--method", "bayes"),
            'there is no method "bayes"; there are: ml, map, nuts, auto, marginal, gee',
        ),
        ("use ~ age", ("--factor", "distrct"), 'did you mean "district"?'),
        ("use ~ age", ("--n-agq", "-1"), "n_agq should be 0 (fast), 1 (Laplace) or more"),
        ("use ~ age", ("--reml",), "REML is defined for gaussian models"),
        ("use ~ age", ("--reml", "--method", "map"), "--reml is a way of maximum likelihood"),
        ("use ~ age", ("--information", "fisher"), 'there is no "fisher" information; there are: observed, expected'),
        ("use ~ age", ("--groups", "district"), "--groups is for --method gee, not ml"),
        ("use ~ age", ("--method", "gee"), "a GEE needs clusters: give groups="),
        ("use ~ age", ("--method", "gee", "--groups", "distrct"), 'no column "distrct"; did you mean "district"?'),
        (
            "use ~ age + (1 | district)",
            ("--method", "gee", "--corr", "exchangable"),
            'there is no gee.corr "exchangable"; did you mean "exchangeable"?',
        ),
        ("use ~ age", ("--method", "gee", "--reml"), "--reml is a way of maximum likelihood"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(csv, formula, options, message):
    done = bayesmlm("fit", formula, csv, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_fit_by_reml_and_at_the_posterior_mode(tmp_path):
    bm.load_dataset("sleepstudy").to_csv(tmp_path / "sleep.csv", index=False)
    fit = ("fit", "Reaction ~ Days + (Days | Subject)", tmp_path / "sleep.csv", "--family", "gaussian")
    assert "REML criterion at convergence: 1743.6" in bayesmlm(*fit, "--reml").stdout
    assert bayesmlm(*fit, "--method", "map").stdout.startswith("Linear mixed model: posterior mode")


def test_fit_of_the_population_and_of_a_posterior_without_chains(tmp_path, csv):
    bm.load_dataset("sleepstudy").to_csv(tmp_path / "sleep.csv", index=False)
    gee = ("--family", "gaussian", "--method", "gee", "--groups", "Subject", "--corr", "ar1", "--time", "Days")
    done = bayesmlm("fit", "Reaction ~ Days", tmp_path / "sleep.csv", *gee, "--se", "naive", "--flavour", "geepack")
    assert done.stdout.startswith("Generalised estimating equations, ar1 working correlation (as R's geepack)")
    assert "clusters: Subject, 18 of 10 rows" in done.stdout
    assert "naive standard errors" in done.stdout
    for method in ("auto", "marginal"):
        done = bayesmlm("fit", "use ~ urban + (1 | district)", csv, "--method", method, "--draws", "500")
        assert "exact to Monte-Carlo error" in done.stdout, done.stderr


def test_a_missing_file_is_named(tmp_path):
    done = bayesmlm("fit", "use ~ age", tmp_path / "no.csv")
    assert (done.returncode, "there is no file" in done.stderr) == (2, True)


def test_an_unknown_key_of_a_spec_file_is_named(tmp_path):
    (tmp_path / "bad.toml").write_text('[models.a]\nformula = "use ~ age"\nformla = 1\n', encoding="utf-8")
    done = bayesmlm("run", tmp_path / "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert 'unknown key "formla"; did you mean "formula"?' in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.toml"]


def test_the_datasets_are_listed():
    done = bayesmlm("datasets")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {
        "contraception",
        "exam",
        "cbpp",
        "sleepstudy",
        "nhanes_2012",
    }


def test_comparing_an_empty_folder_says_how_to_fill_it(tmp_path):
    done = bayesmlm("compare", tmp_path)
    assert done.returncode == 2
    assert "bayesmlm run" in done.stderr


def test_a_damaged_comparison_is_named(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "ladder.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    done = bayesmlm("compare", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ladder.csv cannot be read" in done.stderr


def test_models_of_other_rows_are_not_compared_and_have_a_report(tmp_path):
    data = bm.load_dataset("contraception")
    data.assign(x=data.age.where(data.index > 50)).to_csv(tmp_path / "data.csv", index=False)
    specs = '[data]\nsource = "data.csv"\n[models.a]\nformula = "use ~ age"\n[models.b]\nformula = "use ~ x"\n'
    (tmp_path / "specs.toml").write_text(specs, encoding="utf-8")
    done = bayesmlm("run", "specs.toml", "--methods", "ml", cwd=tmp_path)
    assert done.returncode == 0
    assert "There is no likelihood ladder: a was fitted to 1934 rows and b to 1883" in " ".join(done.stdout.split())
    page = (tmp_path / "runs" / "specs" / "report.html").read_text(encoding="utf-8")
    assert "There is no likelihood ladder: a was fitted to 1934 rows and b to 1883" in page
    assert not (tmp_path / "runs" / "specs" / "tables" / "ladder.csv").exists()


@pytest.mark.parametrize("option", [("--n-agq", "5"), ("--information", "expected")])
def test_options_of_likelihoods_are_refused_elsewhere(option, tmp_path):
    done = bayesmlm("fit", "y ~ x", "data.csv", "--method", "gee", *option, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{option[0]} is for --method ml and map" in done.stderr
