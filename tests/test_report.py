"""The report as a browser would read it: self-contained, complete, escaped, and with numbers fit for people."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import bayesmlm as bm
from bayesmlm.report.html import Entry, format_number, render

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


@pytest.fixture(scope="module")
def entries():
    data = bm.load_dataset("contraception")
    models = [
        bm.Model("use ~ urban", data, name="m_00"),
        bm.Model("use ~ urban + (1 | district)", data, name="m <b>1</b>"),
        bm.Model("use ~ age + urban + (1 | district)", data, name="m_02"),
    ]
    out = []
    for model in models:
        ml = model.fit_ml()
        posterior = model.sample(draws=60, tune=120, chains=2) if model.design.groups else None
        fits = [fit for fit in (ml, posterior) if fit is not None]
        verdict = posterior.diagnostics().verdict if posterior else ""
        formula = model.design.formula.text
        out.append(Entry(model.name, NASTY, formula, ml, posterior, bm.side_by_side(*fits), verdict, [NASTY]))
    return out


@pytest.fixture(scope="module")
def tables(entries):
    ladder = bm.anova(*(entry.ml for entry in entries))
    # As of bm.compare; model names in the order of the ranks.
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


def test_nothing_is_fetched(page, source):
    for url in [*page.attributes("src"), *page.attributes("href")]:
        assert url.startswith(("data:", "#")), url[:60]
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    style = page.text(inside="style")
    assert "url(" not in style
    assert "@import" not in style
    assert "//" not in re.sub(r"data:image/png;base64,[^\"]*", "", source)


def test_every_figure_is_inline_with_a_text_for_those_who_cannot_see_it(page):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    # Without groups the estimates only; else estimates, chains, predictive check and group effects.
    assert len(images) == 1 + 4 + 4
    for attrs in images:
        head, data = attrs["src"].split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert attrs["alt"]
        assert int(attrs["width"]) > int(attrs["height"]) / 4 > 0
    assert page.text(inside="figcaption").count("Posterior predictive check.") == 2


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


def test_every_model_is_there_with_verdict_notes_and_numbers(page, entries):
    text = page.text()
    for entry in entries:
        assert entry.name in text
        assert entry.formula in text
        assert entry.verdict.removeprefix("Take care: ") in text
    assert "A note on the ladder." in text
    assert "Every k̂ is fine." in text
    cells = [content for tags, content in page.texts if tags[-1:] == ("td",)]
    beta, se = entries[1].side_by_side.loc[1, ["ml_estimate", "ml_se"]]
    assert format_number(beta, error=se) in cells
    assert format_number(entries[0].ml.loglik, decimals=2) in cells


def test_leading_models_are_named(page):
    text = page.text()
    assert "By leave-one-out prediction m_02 comes first; m <b>1</b>, the next, has an ELPD 10.1 lower" in text
    assert "with a standard error of 4.5" in text
    assert "By AIC m_02 comes first" in text


def test_text_is_escaped(page, source):
    assert source.count("<script") == 0
    assert source.count("<b>1</b>") == 0
    assert page.text(inside="h1") == page.text(inside="title") == NASTY
    assert page.text(inside="li").count(NASTY) == 6
    assert "2 & more" in page.text()


def test_numbers_are_right_aligned_with_a_real_minus(page):
    numbers = [text for tags, text in page.texts if tags[-1:] == ("td",) and text.strip()[:1] in "−-0123456789"]
    assert any(text.startswith("−") for text in numbers)
    assert not [text for text in numbers if text.startswith("-")]
    classes = [attrs.get("class") for tag, attrs in page.tags if tag == "td"]
    assert classes.count("number") > 60
    assert ".number" in page.text(inside="style")


def test_tables_scroll_in_a_box_of_their_own(source):
    assert source.count("<table") == source.count('tabindex="0"><table')


def test_a_run_without_posteriors_and_comparisons_has_a_report(entries):
    first = entries[0]
    page = Page(render("One", [first], None, [], None, [], {}))
    assert "comparisons" not in page.attributes("id")
    assert "facts" not in page.attributes("id")
    assert "Maximum likelihood converged; there is no posterior." in page.text()


def test_a_model_without_any_reading_has_its_section():
    table = pd.DataFrame({"component": [], "group": [], "term": []})
    page = Page(render("None", [Entry("empty", "", "y ~ x", None, None, table, "", [])], None, [], None, [], {}))
    assert "empty" in page.text(inside="h2")
    assert page.attributes("src") == []


def test_a_figure_that_cannot_be_drawn_says_why(toy):
    fit = bm.Model("y ~ x + (1 | g)", toy, freq="reps").sample(draws=20, tune=40, chains=2)
    entry = Entry("weighted", "", "y ~ x + (1 | g)", None, fit, bm.side_by_side(fit), "Take care: short.", [])
    page = Page(render("Frequencies", [entry], None, [], None, [], {}))
    assert "Posterior predictive check: not drawn, because rows that stand for several" in page.text()
    assert len(page.attributes("src")) == 3


def test_care_is_shown_as_care(source, entries):
    for entry in entries[1:]:
        word = "Sound" if entry.posterior.converged else "Take care"
        kind = "sound" if entry.posterior.converged else "care"
        assert f'<p class="verdict {kind}"><b>{word}.</b>' in source
    assert "Take care: " not in source


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
