"""The report as a browser would read it: self-contained, complete, escaped, and with numbers fit for people."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bayesmlm as bm
from bayesmlm.report import Entry, render
from bayesmlm.report.figures import figures, png
from bayesmlm.report.pictures import Picture, pictures_of
from bayesmlm.report.tables import Cell, Column, Part, table
from bayesmlm.sheets.numbers import format_interval, format_number

VOID = {"meta", "link", "img", "br"}
NASTY = "<script>alert('x')</script> & \"quotes\""


class Page(HTMLParser):
    """What a document holds: tags with attributes, text by tag, and whether tags are closed in order."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.texts, self.problems = [], [], [], []
        self.feed(source)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes another tag")

    def handle_data(self, text):
        self.texts.append((tuple(self.open), text))

    def attributes(self, name, tag=None):
        return [attrs[name] for kind, attrs in self.tags if name in attrs and tag in (None, kind)]

    def text(self, inside=None):
        return " ".join(text for tags, text in self.texts if inside is None or inside in tags)


def entry_of(*fits, note="", notes=()):
    model = fits[0].model
    return Entry(model.name, note, model.design.formula.text, fits, bm.side_by_side(*fits), list(notes))


@pytest.fixture(scope="module")
def entries():
    data = bm.load_dataset("contraception").iloc[::4]
    glm = bm.Model("use ~ urban", data, name="m_00")
    one = bm.Model("use ~ urban + (1 | district)", data, name="m <b>1</b>")
    two = bm.Model("use ~ age + urban + (1 | district)", data, name="m_02")
    sampled = one.sample(draws=60, tune=120, chains=2)
    return [
        entry_of(glm.fit_ml(), note=NASTY, notes=[NASTY]),
        entry_of(one.fit_ml(), sampled, note=NASTY, notes=[NASTY]),
        entry_of(two.fit_map(), two.fit_gee(), note=NASTY, notes=[NASTY]),
    ]


@pytest.fixture(scope="module")
def tables():
    # As of bm.anova and bm.compare; model names in the order of the ranks.
    ladder = pd.DataFrame(
        {
            "model": ["m_00", "m <b>1</b>"], "npar": [2, 3], "aic": [2468.74, 2427.61], "bic": [2479.9, 2444.3],
            "loglik": [-1232.37, -1210.81], "chisq": [np.nan, 43.12], "df": [np.nan, 1], "p_value": [np.nan, 5e-11],
        }
    )  # fmt: skip
    loo = pd.DataFrame(
        {
            "model": ["m_02", "m <b>1</b>"], "rank": [0, 1], "elpd": [-1230.04, -1240.16], "se": [17.1, 16.9],
            "p": [35.0, 34.0], "elpd_diff": [0.0, -10.12], "dse": [0.0, 4.46], "weight": [0.93, 0.07], "bad_k": [0, 0],
        }
    )  # fmt: skip
    return ladder, loo


@pytest.fixture(scope="module")
def source(entries, tables):
    ladder, loo = tables
    return render(NASTY, entries, ladder, ["A note on the ladder."], loo, ["Every k̂ is fine."], {"numpy": "2 & more"})


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_tags_are_balanced_and_ids_unique(page):
    assert page.problems == []
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched_and_the_policy_says_so(page, source):
    for url in [*page.attributes("src"), *page.attributes("href")]:
        assert url.startswith(("data:", "#")), url[:60]
    assert not {"iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    policy = page.attributes("content", "meta")[-1]
    for tag in ("style", "script"):
        text = source.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    # Neither attribute would pass the policy.
    assert not [attrs for _, attrs in page.tags if "style" in attrs or any(name.startswith("on") for name in attrs)]


def test_without_its_script_the_page_shows_everything(page):
    assert not [attrs for _, attrs in page.tags if "hidden" in attrs]
    assert "button" not in {tag for tag, _ in page.tags}


def titles(page):
    """Titles of figures by section."""
    out, section = {}, ""
    for tag, attrs in page.tags:
        section = attrs["id"] if tag == "section" else section
        if tag == "img":
            out.setdefault(section, []).append(attrs["alt"].split(" of ")[0])
    return out


CHECKS = ["Predictive check", "Calibration", "Simulated residuals"]


def test_each_model_has_the_figures_its_readings_admit(page):
    assert titles(page) == {
        "model-1": ["Estimates", "Predictions by urban", *CHECKS],
        "model-2": [
            "Estimates", "Predictions by urban", "Chains", "Posterior predictive check", *CHECKS[1:],
            "Spread between groups", "Group effects", "Shrinkage",
        ],
        "model-3": ["Estimates", "Predictions along age", *CHECKS, "Group effects", "Shrinkage"],
    }  # fmt: skip
    text = page.text("li")
    assert "group effects and shrinkage: the model has no groups." in text
    assert text.count("Chains: there are no draws by NUTS.") == 2


def test_every_figure_is_inline_with_a_text_for_those_who_cannot_see_it(page):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    for attrs in images:
        head, data = attrs["src"].split(",", 1)
        assert head == "data:image/png;base64"
        image = Image.open(BytesIO(base64.b64decode(data, validate=True)))
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert image.width / image.height == pytest.approx(int(attrs["width"]) / int(attrs["height"]), rel=0.01)
        assert attrs["alt"]
    captions = page.text("figcaption")
    assert captions.count("Posterior predictive check.") == 1
    assert captions.count(".") >= 2 * len(images)


def test_rare_colours_survive_the_palette():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    ax.imshow(np.random.default_rng(1).random((60, 80)), cmap="gray")
    ax.plot([10], [10], "s", color="#D55E00", markersize=5)
    image = Image.open(BytesIO(png(figure)))
    colours = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert np.abs(colours - [0xD5, 0x5E, 0x00]).max(axis=1).min() < 10


def test_contents_lead_to_every_section(page):
    anchors = page.attributes("href", "a")
    ids = {f"#{name}" for name in page.attributes("id")}
    assert {"#verdicts", "#comparisons", "#model-1", "#model-2", "#model-3", "#facts"} <= set(anchors) <= ids
    names = ["Verdicts", "Comparisons", "m_00", "m <b>1</b>", "m_02", "Versions, seeds, times"]
    assert [text for tags, text in page.texts if tags[-1:] == ("a",) and "nav" in tags] == names


def test_verdicts_come_first(source):
    order = [source.index(f'<section id="{name}"') for name in ("verdicts", "comparisons", "facts")]
    assert order == sorted(order)
    assert source.index('id="comparisons"') < source.index('id="model-1"') < source.index('id="facts"')


def test_every_reading_has_its_verdict(page, source, entries):
    top = source[source.index('id="verdicts"') : source.index('id="comparisons"')]
    fits = [fit for entry in entries for fit in entry.fits]
    sound = [fit.diagnostics().ok for fit in fits]
    assert not all(sound)  # sixty draws are too few
    assert top.count("✓ sound") == sum(sound)
    assert top.count("! take care") == len(sound) - sum(sound)
    text = page.text("p")
    for fit in fits:
        said = re.sub("^Take care[:.] ?", "", fit.diagnostics().verdict)
        assert said[1:].removesuffix(".") in text
    assert 'class="verdict care"' in top


def test_every_model_is_there_in_words_and_numbers(page, entries):
    text = page.text()
    for entry in entries:
        assert entry.name in text
        assert entry.formula in text
        for fit in entry.fits:
            assert fit.summary() in page.text("pre")
    assert "A note on the ladder." in text
    assert "Every k̂ is fine." in text
    for sentence in entries[1].fits[1].report(width=None).split("\n\n")[0].split(". "):
        assert sentence in page.text("p")
    cells = [content for tags, content in page.texts if tags[-1:] == ("td",)]
    beta, se = entries[1].side_by_side.loc[1, ["ml_estimate", "ml_se"]]
    assert format_number(beta, error=se) in cells
    ml = entries[1].fits[0].table()
    row = ml[ml.term == "urban[Y]"].iloc[0]
    assert format_interval(*np.exp(row[["estimate", "conf_low", "conf_high"]].to_numpy(dtype=float))) in cells
    assert format_number(entries[1].fits[0].icc().iloc[0], decimals=3) in cells


def test_quantities_of_the_population_are_no_neighbours_of_conditional_ones(page):
    parts = [text for tags, text in page.texts if tags[-1:] == ("th",)]
    assert parts.count("Fixed effects within a group") == parts.count("Fixed effects averaged over groups") == 1
    assert "those of the other readings hold within a group: different quantities." in page.text("figcaption")


def test_leading_models_are_named(page):
    text = page.text()
    assert "By leave-one-out prediction m_02 comes first; m <b>1</b>, the next, has an ELPD 10.1 lower" in text
    assert "with a standard error of 4.5" in text
    assert "By AIC m <b>1</b> comes first" in text


def test_all_models_stand_in_the_columns_of_one_table(page, source):
    text = source[source.index("<span>All models</span>") :]
    text = text[: text.index("</table>")]
    assert re.findall(r'<th scope="col" class="number">([^<]*)', text)[0] == "m_00, ML"
    assert "SD of Intercept | district" in text
    assert "<table><caption><span>All models" in source  # rows of different kinds are not sorted


def test_text_is_escaped(page, source):
    assert source.count("<script") == 1
    assert source.count("<b>1</b>") == 0
    assert page.text(inside="h1") == page.text(inside="title") == NASTY
    assert page.text().count(NASTY) == 2 + 6 + 3  # heads, notes of models above and below, notes
    assert "2 & more" in page.text()


def test_numbers_are_right_aligned_with_a_real_minus(page):
    numbers = [text for tags, text in page.texts if tags[-1:] == ("td",) and text.strip()[:1] in "−-0123456789"]
    assert any(text.startswith("−") for text in numbers)
    assert not [text for text in numbers if text.startswith("-")]
    classes = [attrs.get("class") for tag, attrs in page.tags if tag == "td"]
    assert classes.count("number") > 60
    assert ".number" in page.text(inside="style")


def test_cells_carry_what_they_are_sorted_by():
    rows = [[Cell("< 0.001", 5e-11)], [Cell("∞", np.inf)], [Cell("−∞", -np.inf)], [Cell("", np.nan)], [Cell("words")]]
    cells = [attrs for tag, attrs in Page(table("p", [Column("p")], [Part("", rows)])).tags if tag == "td"]
    assert [attrs.get("data-value") for attrs in cells] == ["5e-11", "Infinity", "-Infinity", None, None]


def test_tables_scroll_in_a_box_of_their_own(source):
    assert source.count("<table") == source.count('tabindex="0"><table')


def test_a_run_without_posteriors_and_comparisons_has_a_report(entries, monkeypatch):
    monkeypatch.setattr("bayesmlm.report.section.pictures_of", lambda entry: ([], []))
    page = Page(render("One", entries[:1], None, [], None, [], {}))
    assert "comparisons" not in page.attributes("id")
    assert "facts" not in page.attributes("id")


def test_a_model_without_any_reading_has_its_section():
    frame = pd.DataFrame({"component": [], "group": [], "term": []})
    page = Page(render("None", [Entry("empty", "", "y ~ x", [], frame, [])], None, [], None, [], {}))
    assert "empty" in page.text(inside="h2")
    assert page.attributes("src") == []


def test_what_cannot_be_drawn_says_why():
    def refuse():
        raise bm.FitError("this is why")

    text = figures([Picture("Broken", "", refuse)], ["Left out: it says so."], "m")
    assert "<li>Left out: it says so.</li><li>Broken: this is why.</li>" in text
    assert "img" not in text


def test_what_cannot_be_said_says_why(toy, monkeypatch):
    monkeypatch.setattr("bayesmlm.report.section.pictures_of", lambda entry: ([], []))
    probit = bm.Model("y ~ x + (1 | g)", toy, link="probit", name="probit").fit_ml()
    page = Page(render("Probit", [entry_of(probit)], None, [], None, [], {}))
    assert "means nothing under the probit link" in page.text("p")


def test_large_data_are_not_replicated(entries, monkeypatch):
    monkeypatch.setattr("bayesmlm.report.pictures.REPLICATED_ROWS", 100)
    pictures, missing = pictures_of(entries[1])
    assert not set(CHECKS) & {picture.title for picture in pictures}
    assert any(sentence.startswith("Checks by replicates: left out above 100 rows") for sentence in missing)


def test_a_gee_alone_has_means_only(entries):
    gee = entries[2].fits[1]
    pictures, missing = pictures_of(entry_of(gee))
    assert [picture.title for picture in pictures] == ["Estimates", "Predictions along age"]
    assert any("neither a distribution of the answers nor effects of groups" in sentence for sentence in missing)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1.0, np.nan, np.nan), "1"),
        ((251.44, 236.33, 266.98), "251.4 [236.3, 267.0]"),
        ((-0.5, -1.25, 0.25), "−0.50 [−1.25, 0.25]"),
        ((2e7, 3.0, np.inf), "2e+07"),
        ((2e7, 3.0, 1e14), "2e+07 [3, 1e+14]"),
    ],
)
def test_format_interval(numbers, text):
    assert format_interval(*numbers) == text


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (float("nan"), {}, ""),
        (None, {}, ""),
        (np.inf, {}, "∞"),
        (-np.inf, {}, "−∞"),
        (0, {}, "0"),
        (12345, {}, "12345"),
        (np.int64(-7), {}, "−7"),
        (0.000012345, {}, "1.23e−05"),
        (-0.0001, {"decimals": 2}, "0.00"),
        (2427.6, {"decimals": 1}, "2427.6"),
        (-0.0463, {"error": 0.0222}, "−0.046"),
        (-0.0056264, {"error": 0.00085}, "−0.00563"),
        (1234.567, {"error": 250.0}, "1235"),
        (1.5, {"error": 0.0}, "1.5"),
        (1.5, {"error": float("nan")}, "1.5"),
    ],
)
def test_format_number(value, options, text):
    assert format_number(value, **options) == text
