"""Specs as values, and spec files."""

import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesmlm.errors import BayesmlmError, FormulaError, PriorError, SpecError
from bayesmlm.model import Model
from bayesmlm.priors import Prior
from bayesmlm.settings import INFORMATION, Equations, Likelihood
from bayesmlm.spec import DataSource, Sampling, Spec, _specs_of, dump_specs, load_specs, title_of


def test_a_spec_is_checked_when_it_is_made():
    with pytest.raises(FormulaError, match='"\\)" without its'):
        Spec("y ~ x) + z")
    with pytest.raises(SpecError, match='no family "binom"'):
        Spec("y ~ x", family="binom")
    with pytest.raises(SpecError, match='no link "log"'):
        Spec("y ~ x", link="log")
    with pytest.raises(PriorError, match="norml"):
        Spec("y ~ x", priors={"sd": {"g": {"x": "norml(0, 1)"}}})
    with pytest.raises(SpecError, match='no method "mle"; did you mean "ml"'):
        Spec("y ~ x", methods=("mle",))


def test_a_posterior_mode_is_for_those_who_ask():
    assert Spec("y ~ x").methods == ("ml", "nuts")
    assert Spec.from_toml('[models.m]\nformula = "y ~ x"').methods == ("ml", "nuts")
    assert Spec.from_toml('[models.m]\nformula = "y ~ x"\nmethods = "map"').methods == ("map",)


def test_a_spec_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Spec("y ~ x").formula = "y ~ z"


def test_a_spec_has_a_label():
    assert Spec("y ~ x").label == "y ~ x"
    assert Spec("y ~ x", name="m").label == "m"


def test_settings_of_readings_go_from_defaults_to_models():
    text = """
[defaults]
methods = ["ml", "gee"]
n_agq = 9
gee = { groups = "school", se = "bias_corrected" }
[models.a]
formula = "y ~ x"
[models.b]
formula = "y ~ x"
n_agq = 1
information = "expected"
reml = true
[models.b.gee]
corr = "ar1"
time = "visit"
scale = 1
"""
    specs = _specs_of(tomllib.loads(text), Path())
    assert specs["a"].likelihood == Likelihood(n_agq=9)
    assert specs["a"].gee == Equations(groups="school", se="bias_corrected")
    assert specs["b"].likelihood == Likelihood(1, True, "expected")
    assert specs["b"].gee == Equations("school", "ar1", "visit", 1, "bias_corrected")


# reading files ------------------------------------------------------------------------------------------------

FILE = """
title = "A study"
[data]
source = "study.csv"
levels.livch = ["0", "1+"]
derive.ch = { where = "livch != '0'", levels = ["N", "Y"] }
derive.decade = "age / 10"
[defaults]
family = "binomial"
link = "probit"
methods = ["ml"]
sampling = { draws = 500, seed = 7 }
[models.one]
formula = "cbind(s, n - s) ~ age + (1 | g)"
[models.two]
formula = "cbind(s, n - s) ~ age + (age | g)"
link = "logit"
methods = "nuts"
note = "slopes vary"
sampling = { draws = 50 }
weights = "w"
[models.two.priors]
age = "normal(0, 1)"
sd."g" = "exponential(1)"
"""


def test_a_file_is_read(tmp_path):
    (tmp_path / "study.toml").write_text(FILE, encoding="utf-8")
    specs = load_specs(tmp_path / "study.toml")
    source = DataSource(
        (tmp_path / "study.csv").as_posix(),
        {"livch": ("0", "1+")},
        {"ch": {"where": "livch != '0'", "levels": ["N", "Y"]}, "decade": "age / 10"},
    )
    assert list(specs) == ["one", "two"]
    assert specs["one"] == Spec(
        "cbind(s, n - s) ~ age + (1 | g)", "binomial", "probit", name="one", methods=("ml",),
        sampling=Sampling(draws=500, seed=7), data=source,
    )  # fmt: skip
    assert specs["two"] == Spec(
        "cbind(s, n - s) ~ age + (age | g)", "binomial", "logit", {"age": "normal(0, 1)", "sd": {"g": "exponential(1)"}},
        name="two", note="slopes vary", weights="w", methods=("nuts",), sampling=Sampling(draws=50, seed=7), data=source,
    )  # fmt: skip
    assert title_of(tmp_path / "study.toml") == "A study"


def test_a_dataset_is_no_path(tmp_path):
    (tmp_path / "s.toml").write_text('[data]\nsource = "cbpp"\n[models.m]\nformula = "y ~ x"', encoding="utf-8")
    assert load_specs(tmp_path / "s.toml")["m"].data.source == "cbpp"
    assert title_of(tmp_path / "s.toml") == "s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('x = 1\n[models.m]\nformula = "y ~ x"', 'the spec file has an unknown key "x"'),
        ('titel = "t"\n[models.m]\nformula = "y ~ x"', 'unknown key "titel"; did you mean "title"'),
        (
            '[models.m]\nformula = "y ~ x"\nfamly = "b"',
            r'\[models.m\] has an unknown key "famly"; did you mean "family"',
        ),
        ('[defaults]\nlinc = 1\n[models.m]\nformula = "y ~ x"', r'\[defaults\] has an unknown key "linc"'),
        ('[data]\nsource = "cbpp"\nlevel = 1\n[models.m]\nformula = "y ~ x"', r'\[data\] has an unknown key "level"'),
        (
            '[data]\nsource = "cbpp"\nderive.a = { when = "x > 1", levels = ["N", "Y"] }\n[models.m]\nformula = "y ~ x"',
            r'\[data\] derive."a" has an unknown key "when"; did you mean "where"',
        ),
        (
            '[models.m]\nformula = "y ~ x"\nsampling = { draw = 3 }',
            r'sampling of \[models.m\] has an unknown key "draw"',
        ),
        (
            '[models.m]\nformula = "y ~ x"\nsampling = { draws = 0 }',
            "draws should be a whole number of 1 or more, not 0",
        ),
        (
            '[models.m]\nformula = "y ~ x"\nsampling = { chains = 1.5 }',
            "chains should be a whole number of 1 or more, not 1.5",
        ),
        ('[models.m]\nformula = "y ~ x"\nsampling = { draws = true }', "draws should be a whole number of 1 or more"),
        (
            '[models.m]\nformula = "y ~ x"\nsampling = { seed = -1 }',
            "seed should be a whole number of 0 or more, not -1",
        ),
        ('[models.m]\nformula = "y ~ x"\nsampling = 3', "should be a table, not 3"),
        ('[models.m]\nformula = "y ~ x"\ngee = "g"', r"\[models.m\]: gee should be a table, not 'g'"),
        (
            '[models.m]\nformula = "y ~ x"\ngee = { group = "g" }',
            r'gee of \[models.m\] has an unknown key "group"; did you mean "groups"',
        ),
        (
            '[defaults.gee]\ncor = "ar1"\n[models.m]\nformula = "y ~ x"',
            r'gee of \[defaults\] has an unknown key "cor"; did you mean "corr"\? \(there are: groups, corr, time, scale, se, fla',
        ),
        (
            '[models.m]\nformula = "y ~ x"\ngee.corr = "fixed"',
            r'\[models.m\]: there is no gee.corr "fixed"; there are: independence, exchangeable, ar1, unstructured',
        ),
        ('[models.m]\nformula = "y ~ x"\ngee.corr = ["ar1"]', r"\[models.m\]: there is no gee.corr"),
        (
            '[models.m]\nformula = "y ~ x"\ngee.se = "robst"',
            r'\[models.m\]: there is no gee.se "robst"; did you mean "robust"',
        ),
        (
            '[models.m]\nformula = "y ~ x"\ngee.flavour = "sas"',
            r'\[models.m\]: there is no gee.flavour "sas"; there are: yan_fine',
        ),
        (
            '[models.m]\nformula = "y ~ x"\ngee.groups = 3',
            r"\[models.m\]: gee.groups should be the name of a column, not 3",
        ),
        ('[models.m]\nformula = "y ~ x"\ngee.scale = 0', r"\[models.m\]: gee.scale should be a number above 0, not 0"),
        (
            '[models.m]\nformula = "y ~ x"\ngee.scale = true',
            r"\[models.m\]: gee.scale should be a number above 0, not True",
        ),
        (
            '[models.m]\nformula = "y ~ x"\nn_agq = -1',
            r"\[models.m\]: n_agq should be 0 \(fast\), 1 \(Laplace\) or more",
        ),
        ('[models.m]\nformula = "y ~ x"\nn_agq = 1.0', r"\[models.m\]: n_agq should be"),
        ('[models.m]\nformula = "y ~ x"\nreml = 1', r"\[models.m\]: reml should be true or false, not 1"),
        (
            '[models.m]\nformula = "y ~ x"\ninformation = "fisher"',
            r'\[models.m\]: there is no information "fisher"; there are: observed, expected',
        ),
        (
            '[models.m]\nformula = "y ~ x"\nmethods = ["nuts", "auto"]',
            r"\[models.m\]: methods has nuts and auto, two ways to one posterior",
        ),
        ('title = "t"', "the spec file has no models"),
        ("[models]", "the spec file has no models"),
        ('models = "x"', "models"),
        ('[models]\nm = "y ~ x"', r"\[models.m\] should be a table"),
        ('[models.m]\nfamily = "bernoulli"', r"\[models.m\] has no formula"),
        ('[models.m]\nformula = "y ~ x) + z"', r'\[models.m\]: cannot read the formula "y ~ x\) \+ z"'),
        ('[models.m]\nformula = "y ~ x"\npriors.x = "norml(0, 1)"', r"\[models.m\]: there is no prior distribution"),
        ('[models.m]\nformula = "y ~ x"\nmethods = ["mle"]', r'\[models.m\]: there is no method "mle"'),
        ('[models.a]\nformula = "y ~ x"\n[models.b]\nformula = "y ~ x"', "one model is expected, 2 are there: a, b"),
        ('data = "x"\n[models.m]\nformula = "y ~ x"', r"\[data\] should be a table"),
        ('[data]\n[models.m]\nformula = "y ~ x"', r'\[data\] needs a "source"'),
        ('[data]\nsource = "cbpp"\nlevels.x = "0"\n[models.m]\nformula = "y ~ x"', 'levels."x" should be a list'),
        ('[data]\nsource = "cbpp"\nlevels.x = []\n[models.m]\nformula = "y ~ x"', 'levels."x" should be a list'),
        (
            '[data]\nsource = "cbpp"\nderive.a = { where = "x > 1" }\n[models.m]\nformula = "y ~ x"',
            'derive."a" needs "where" .* and "levels"',
        ),
        ('[data]\nsource = "cbpp"\nderive.a = "os.system(1)"\n[models.m]\nformula = "y ~ x"', "cannot be called"),
        ("[models.m", "the text is not valid TOML"),
    ],
)
def test_what_a_file_must_not_hold(text, message):
    with pytest.raises(BayesmlmError, match=message):
        Spec.from_toml(text)


@pytest.mark.parametrize("key", ["formula", "family", "link", "priors", "note", "weights", "freq", "offset", "methods"])
def test_a_value_of_the_wrong_kind_names_its_key(key):
    text = "[models.m]\n" + ("" if key == "formula" else 'formula = "y ~ x"\n') + f"{key} = 3"
    with pytest.raises(SpecError, match=rf"\[models\.m\].*{key}"):
        Spec.from_toml(text)


@pytest.mark.parametrize(
    "text", ["levels = 3", "derive = 3", "derive.a = 3", 'derive.a = { where = "x > 1", levels = "NY" }']
)
def test_a_data_value_of_the_wrong_kind_is_refused(text):
    with pytest.raises(SpecError, match=r"levels|derive"):
        Spec.from_toml(f'[data]\nsource = "cbpp"\n{text}\n[models.m]\nformula = "y ~ x"')


def test_a_derived_column_that_cannot_be_read_is_named():
    with pytest.raises(BayesmlmError, match=r'derive\."a"'):
        Spec.from_toml('[data]\nsource = "cbpp"\nderive.a = "x +"\n[models.m]\nformula = "y ~ x"')


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"there is no spec file .*no\.toml"):
        load_specs(tmp_path / "no.toml")
    with pytest.raises(SpecError, match="there is no spec file"):
        load_specs(tmp_path)


def test_a_file_of_ours_is_read():
    specs = load_specs(Path(__file__).parents[1] / "models" / "contraception.toml")
    assert specs["m_05"].formula.endswith("(1 | urban:district)")
    assert specs["m_05"].sampling.seed == 1989


# reading data ---------------------------------------------------------------------------------------------------


def test_a_spec_that_names_its_source_needs_no_data(tmp_path):
    (tmp_path / "d.csv").write_text("y,age,livch\n0,10,0\n1,20,2\n1,30,0\n0,40,1\n", encoding="utf-8")
    source = DataSource(
        str(tmp_path / "d.csv"), {"livch": ("0", "1", "2")},
        {"ch": {"where": "livch != 0", "levels": ["N", "Y"]}, "decade": "age / 10"},
    )  # fmt: skip
    design = Model(Spec("y ~ decade + ch", data=source)).design
    assert design.terms == ("Intercept", "decade", "ch[Y]")
    assert design.X.tolist() == [[1, 1, 0], [1, 2, 1], [1, 3, 0], [1, 4, 1]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("contracepton", 'neither a csv or parquet file nor a dataset; did you mean "contraception"'),
        ("table.xls", "neither a csv or parquet file nor a dataset"),
        ("no/such.csv", r"there is no file no/such\.csv"),
        ("no/such.parquet", r"there is no file no/such\.parquet"),
    ],
)
def test_a_source_that_is_not_there(source, message):
    with pytest.raises(BayesmlmError, match=message):
        Model(Spec("y ~ x", data=DataSource(source)))


@pytest.mark.parametrize(("name", "content"), [("e.csv", b""), ("b.csv", b"\xff\xfea,b\n1,2"), ("n.parquet", b"x")])
def test_a_source_that_is_no_table(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BayesmlmError, match="cannot be read as a table"):
        Model(Spec("y ~ x", data=DataSource(str(tmp_path / name))))


def test_a_model_without_data_says_so():
    with pytest.raises(BayesmlmError, match="the model has no data"):
        Model("y ~ x")


# round trips ----------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
KEYS = st.text("abcxyzäé0123_-.:[] \"'", min_size=1, max_size=10)
PRIORS = st.sampled_from(["normal(0, 1)", "student_t(3, 0, 2.5)", "cauchy(0, 2)", "flat()"])
SD_PRIORS = st.sampled_from(["exponential(1)", "gamma(2, 0.1)", "half_normal(1)"])
LEAVES = st.one_of(SD_PRIORS, st.dictionaries(KEYS, SD_PRIORS, max_size=2))
LEVELS = st.lists(WORDS, min_size=1, max_size=4).map(tuple)

SOURCES = st.builds(
    DataSource,
    source=st.sampled_from(["contraception", "data.csv", "a/b.parquet"]),
    levels=st.dictionaries(KEYS, LEVELS, max_size=3),
    derive=st.dictionaries(
        KEYS,
        st.one_of(
            st.sampled_from(["age / 10", "log(age)"]),
            st.fixed_dictionaries({"where": st.just("age > 3"), "levels": st.lists(WORDS, min_size=2, max_size=2)}),
        ),
        max_size=3,
    ),
)

SPECS = st.builds(
    Spec,
    formula=st.sampled_from(
        ["y ~ x", "use ~ age*ch + I(age^2) + (1 | urban:district)", "cbind(s, f) ~ `b c` + (x || g)"]
    ),
    family=st.just("binomial"),
    link=st.sampled_from([None, "logit", "probit"]),
    priors=st.dictionaries(KEYS.map("term ".__add__), PRIORS, max_size=3).flatmap(
        lambda own: st.one_of(st.just(own), LEAVES.map(lambda sd: {**own, "sd": sd}))
    ),
    name=KEYS,
    note=WORDS,
    weights=st.none() | KEYS,
    freq=st.none() | KEYS,
    offset=st.none() | KEYS,
    methods=st.sampled_from([("ml",), ("nuts",), ("ml", "nuts"), ("map", "ml"), ("gee", "auto")]),
    likelihood=st.builds(
        Likelihood, n_agq=st.integers(0, 25), reml=st.booleans(), information=st.sampled_from(INFORMATION)
    ),
    gee=st.builds(
        Equations,
        groups=st.none() | KEYS,
        corr=st.sampled_from(["exchangeable", "ar1"]),
        time=st.none() | KEYS,
        scale=st.none() | st.floats(0.01, 100.0),
        se=st.sampled_from(["robust", "naive"]),
        flavour=st.sampled_from(["yan_fine", "gee"]),
    ),
    sampling=st.builds(
        Sampling,
        draws=st.integers(1, 5000),
        chains=st.integers(1, 8),
        seed=st.integers(0, 2**31),
        tune=st.none() | st.integers(1, 2000),
    ),
    data=st.none() | SOURCES,
)


@given(SPECS)
def test_a_spec_survives_its_file(spec):
    assert Spec.from_toml(spec.to_toml()) == spec


def test_several_specs_survive_their_file(tmp_path):
    source = DataSource("cbpp", {"period": ("1", "2", "3", "4")})
    specs = {name: Spec(f"y ~ {name}", name=name, data=source) for name in ("a", "b")}
    path = tmp_path / "s.toml"
    path.write_text(dump_specs(specs, title="Two"), encoding="utf-8")
    assert load_specs(path) == specs
    assert title_of(path) == "Two"


def test_a_prior_given_as_a_value_is_written_in_full():
    spec = Spec("y ~ x", name="m", priors={"x": Prior("normal", (0.0, 1.0 / 3.0))})
    back = Spec.from_toml(spec.to_toml())
    assert Model(back, {"y": [0, 1, 1], "x": [1.0, 2.0, 0.0]}).design.priors.fixed[1] == spec.priors["x"]


def test_specs_that_read_different_data_do_not_share_a_file():
    with pytest.raises(SpecError, match="the specs read different data"):
        dump_specs({"a": Spec("y ~ x", data=DataSource("cbpp")), "b": Spec("y ~ x", data=DataSource("exam"))})


def test_no_specs_make_no_file():
    with pytest.raises(SpecError):
        dump_specs({})
