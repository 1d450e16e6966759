"""The report in a browser: no console errors, one section at a time, tables that sort, nothing wider than a phone."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import bayesmlm as bm
from bayesmlm.report import Entry, render

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sample,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

DRIVER = """
const answers = {};
function heading(text) {
  const buttons = [...document.querySelectorAll("#comparisons thead button")];
  return buttons.find((button) => button.textContent === text);
}
function order(label, text) {
  heading(text).click();
  const table = heading(text).closest("table");
  answers[label] = [heading(text).parentElement.getAttribute("aria-sort"),
    [...table.tBodies[0].rows].map((row) => row.cells[0].textContent)];
}
for (const name of ["model", "AIC", "p"]) {
  order(`${name} 1`, name); order(`${name} 2`, name); order(`${name} 3`, name);
}
answers.sorted = document.querySelectorAll("th[aria-sort]").length;
answers.shown = [...document.querySelectorAll("main > section")].filter((one) => !one.hidden).map((one) => one.id);
answers.current = [...document.querySelectorAll("nav a[aria-current]")].map((one) => one.textContent);
answers.parts = [...document.querySelectorAll("#model-1 table.sortable")].map((one) => one.tBodies.length);
location.hash = "";
answers.width = [document.documentElement.scrollWidth, innerWidth];
const out = document.body.appendChild(document.createElement("pre"));
out.id = "answers";
out.textContent = JSON.stringify(answers);
"""
"""Clicks, and writes into the page what came of it."""


@pytest.fixture(scope="module")
def source():
    model = bm.Model("use ~ age + urban + (1 | district)", bm.load_dataset("contraception").iloc[::4], name="m_01")
    fit = model.fit_ml()
    entry = Entry("m_01", "a note", model.design.formula.text, [fit], bm.side_by_side(fit), fit.notes)
    ladder = pd.DataFrame(
        {
            "model": ["m_2", "m_10", "m_1", "m_3"],
            "aic": [2468.7, np.inf, -3.5, np.nan],
            "p_value": [np.nan, 5e-11, 0.2, 1e-9],
        }
    )
    return render("Four models", [entry], ladder, ["A note."], None, [], {"numpy": "2"})


def opened(folder, source, address="", *options):
    """Standard output and console messages of the browser."""
    page = folder / "report.html"
    page.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0",
            *options, f"{page.as_uri()}{address}",
        ],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def driven(folder, source, address="", *options):
    """What the driver found."""
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    allowed = source.replace("script-src ", f"script-src 'sha256-{digest}' ")
    assert allowed != source
    page, console = opened(
        folder, allowed.replace("</body>", f"<script>{DRIVER}</script></body>"), address, "--dump-dom", *options
    )
    assert console == []
    return json.loads(re.search('<pre id="answers">(.*?)</pre>', page)[1])


def test_the_console_is_silent(tmp_path, source):
    page, console = opened(tmp_path, source, "", "--dump-dom")
    assert console == []
    assert "All on one page" in page  # the script ran
    _, console = opened(tmp_path, source.replace("</body>", "<script>alert(1)</script></body>"), "", "--dump-dom")
    assert len(console) == 1  # the policy refused it, and the console would have said so
    assert "Content Security Policy" in console[0]


def test_tables_sort_by_what_their_cells_mean(tmp_path, source):
    found = driven(tmp_path, source)
    first = ["m_2", "m_10", "m_1", "m_3"]
    expected = {
        "model": (["m_1", "m_2", "m_3", "m_10"], ["m_10", "m_3", "m_2", "m_1"]),
        "AIC": (["m_1", "m_2", "m_10", "m_3"], ["m_10", "m_2", "m_1", "m_3"]),  # −3.5, 2468.7, ∞, and nothing last
        "p": (["m_10", "m_3", "m_1", "m_2"], ["m_1", "m_3", "m_10", "m_2"]),  # two of them read "< 0.001"
    }
    for name, (up, down) in expected.items():
        assert found[f"{name} 1"] == ["ascending", up]
        assert found[f"{name} 2"] == ["descending", down]
        assert found[f"{name} 3"] == [None, first]
    assert found["sorted"] == 0
    assert found["parts"][0] == 2  # fixed effects and standard deviations, sorted apart


@pytest.mark.parametrize(
    ("address", "shown", "current"),
    [
        ("", ["verdicts"], "Verdicts"),
        ("#model-1", ["model-1"], "m_01"),
        ("#model-1-figures", ["model-1"], "m_01"),
        ("#all", ["verdicts", "comparisons", "model-1", "facts"], "All on one page"),
        ("#nowhere", ["verdicts"], "Verdicts"),
    ],
)
def test_the_address_says_what_is_shown(tmp_path, source, address, shown, current):
    found = driven(tmp_path, source, address)
    assert found["shown"] == shown
    assert found["current"] == [current]


def test_no_page_is_wider_than_a_phone(tmp_path, source):
    width, window = driven(tmp_path, source, "#all", "--window-size=390,800")["width"]
    assert window < 600
    assert width <= window


def test_print_shows_every_section(tmp_path, source):
    target = tmp_path / "report.pdf"
    sizes = {}
    for address in ("#facts", "#all"):
        opened(tmp_path, source, address, "--no-pdf-header-footer", f"--print-to-pdf={target}")
        sizes[address] = len(re.findall(rb"/Type\s*/Page\b(?!s)", target.read_bytes()))
    assert sizes["#facts"] == sizes["#all"] > 3
