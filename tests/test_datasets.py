"""The embedded datasets, their provenance, and the one that is not embedded."""

import numpy as np
import pandas as pd
import pytest

from bayesmlm.datasets import CATALOGUE, list_datasets, load_dataset
from bayesmlm.datasets.nhanes import SURVEY_FILES
from bayesmlm.errors import DataError

EMBEDDED = [name for name, entry in CATALOGUE.items() if entry.embedded]


@pytest.mark.parametrize("name", EMBEDDED)
def test_rows_and_levels_are_as_catalogued(name):
    entry, data = CATALOGUE[name], load_dataset(name)
    assert len(data) == entry.rows
    assert data.notna().all().all()
    for column, levels in entry.factors.items():
        assert data[column].dtype == "category"
        if levels:
            assert tuple(data[column].cat.categories) == levels


def test_facts_of_contraception(contraception):
    """Huq & Cleland (1990) as in R's mlmRev: 1,934 women, 60 districts, 102 districts by town and country."""
    d = contraception
    assert d.district.nunique() == 60
    assert d.groupby(["urban", "district"], observed=True).ngroups == 102
    assert (d.use == "Y").sum() == 759
    assert ((d.livch != "0") == (d.ch == "Y")).all()


def test_facts_of_exam(datasets):
    d = datasets["exam"]
    assert d.school.nunique() == 65
    np.testing.assert_array_equal(d.success, (d.normexam >= 0).astype(int))


def test_facts_of_cbpp(datasets):
    d = datasets["cbpp"]
    assert d.herd.nunique() == 15
    assert (d.incidence.sum(), d["size"].sum()) == (99, 842)


def test_facts_of_sleepstudy():
    """As in R's lme4: ten days of each of 18 subjects, in order of appearance."""
    d = load_dataset("sleepstudy")
    assert d.Subject.cat.categories.tolist() == list(dict.fromkeys(d.Subject))
    assert (d.Subject.nunique(), d.Subject.iloc[0]) == (18, "308")
    assert (d.groupby("Subject", observed=True).Days.agg(list).map(tuple) == tuple(range(10))).all()
    assert d.Reaction.sum() == pytest.approx(53731.4205)


def test_the_list():
    table = list_datasets()
    assert table.name.tolist() == list(CATALOGUE)
    assert table.provenance.str.len().min() > 20
    pd.testing.assert_frame_equal(load_dataset(), table)


def test_every_load_is_a_fresh_table():
    data = load_dataset("cbpp")
    data["herd"] = "x"
    assert load_dataset("cbpp").herd.nunique() == 15


def test_unknown_name_comes_with_a_suggestion():
    with pytest.raises(DataError, match='no dataset "contracepton"; did you mean "contraception"'):
        load_dataset("contracepton")


# nhanes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("BAYESMLM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


SMALL = (
    "dep,dep2,asthma,famsize,sed,race,cluster,sdmvstra,sdmvpsu,seqn\n"
    "3,0,No Asthma,2,300,White,1,90,1,62161\n"
    "12,1,Asthma,,480,Black,1,90,1,62164\n"
)


def test_nhanes_says_what_to_do_when_it_is_not_at_hand(nowhere):
    with pytest.raises(DataError, match=r"set BAYESMLM_DATA to that folder.*survey_files=FOLDER.*DEMO_G\.XPT"):
        load_dataset("nhanes_2012")


def test_nhanes_is_found_in_the_folder_the_environment_names(nowhere, monkeypatch):
    (nowhere / "data").mkdir()
    (nowhere / "data" / "nhanes_2012.csv").write_text(SMALL, encoding="utf-8")
    monkeypatch.setenv("BAYESMLM_DATA", str(nowhere / "data"))
    data = load_dataset("nhanes_2012")
    assert data.dep2.tolist() == ["0", "1"]
    assert data.dep2.cat.categories.tolist() == ["0", "1"]
    assert data.asthma.cat.categories.tolist() == ["No Asthma", "Asthma"]
    assert data.sed.tolist() == [300, 480]
    assert np.isnan(data.famsize[1])


def test_nhanes_is_found_in_the_cache(nowhere):
    (nowhere / "cache" / "bayesmlm").mkdir(parents=True)
    (nowhere / "cache" / "bayesmlm" / "nhanes_2012.csv").write_text(SMALL, encoding="utf-8")
    assert len(load_dataset("nhanes_2012")) == 2


def test_nhanes_names_the_survey_file_that_lacks(nowhere):
    with pytest.raises(DataError, match=r"has no DEMO_G\.XPT \(the NHANES 2011-12 demographics file\)"):
        load_dataset("nhanes_2012", survey_files=nowhere)


def survey(monkeypatch, folder):
    """Stand in for the official files: six people, of whom three have every answer."""
    seqn = np.arange(1.0, 7.0)
    answers = {f"DPQ{i:03d}": np.full(6, 5.4e-79) for i in range(10, 100, 10)}
    answers["DPQ010"] = np.array([3.0, 1.0, 5.4e-79, 7.0, 2.0, 1.0])
    answers["DPQ020"] = np.full(6, 3.0)
    answers["DPQ030"] = np.array([3.0, 3.0, 3.0, 3.0, np.nan, 3.0])
    answers["DPQ040"] = np.array([3.0, 5.4e-79, 1.0, 3.0, 3.0, 3.0])
    tables = {
        "DEMO_G.XPT": pd.DataFrame(
            {
                "SEQN": seqn,
                "DMDFMSIZ": [1.0, 6.0, 7.0, 2.0, 2.0, 2.0],
                "RIDRETH3": [1.0, 3.0, 7.0, 2.0, 4.0, 6.0],
                "SDMVSTRA": [90.0, 91.0, 103.0, 90.0, 90.0, 90.0],
                "SDMVPSU": np.ones(6),
            }
        ),
        "DPQ_G.XPT": pd.DataFrame({"SEQN": seqn, **answers}),
        "MCQ_G.XPT": pd.DataFrame({"SEQN": seqn, "MCQ010": [1.0, 2.0, 2.0, 1.0, 1.0, 9.0]}),
        "PAQ_G.XPT": pd.DataFrame({"SEQN": seqn, "PAD680": [300.0, 60.0, 480.0, 300.0, 300.0, 300.0]}),
    }
    for file in SURVEY_FILES:
        (folder / file).write_bytes(b"")
    monkeypatch.setattr(pd, "read_sas", lambda path, format: tables[path.name])


def test_nhanes_is_built_from_the_survey_files_once(nowhere, monkeypatch):
    """A refusal (7) or a missing answer leaves the person out, and so does an unknown diagnosis (9)."""
    survey(monkeypatch, nowhere)
    data = load_dataset("nhanes_2012", survey_files=nowhere)
    assert data.seqn.tolist() == [1, 2, 3]
    assert data.dep.tolist() == [12, 7, 7]
    assert data.dep2.tolist() == ["1", "0", "0"]
    assert data.asthma.tolist() == ["Asthma", "No Asthma", "No Asthma"]
    assert data.race.tolist() == ["MexicanAmerican", "White", "Other"]
    assert data.cluster.tolist() == [1, 2, 14]
    assert np.isnan(data.famsize[2])
    monkeypatch.setattr(pd, "read_sas", None)
    pd.testing.assert_frame_equal(load_dataset("nhanes_2012"), data)
