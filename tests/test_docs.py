"""What the documentation says runs; the built site needs no network."""

import doctest
import re
import tomllib
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

import matplotlib
import pytest

import bayesmlm
from bayesmlm import spec
from bayesmlm.spec import load_specs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / "site"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}

SLOW = re.compile(r"\b(kfold|calibrate|repair=)")
"""Calls that sample many times: they run with the slow tests only."""

FENCE = re.compile(r"^```(?:\{ \.)?(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Step:
    """Something a page says that runs, and what it says that this prints."""

    line: int
    code: str
    printed: str | None = None


def cells(row):
    """Cells of a table's row; a pipe inside is written ``\\|``."""
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]


def in_tables(text):
    """Every code span in a column headed ``bayesmlm``, with the line it stands on."""
    column = None
    for number, row in enumerate(text.splitlines(), 1):
        if not row.startswith("|"):
            column = None
        elif column is None:
            heads = cells(row)
            column = heads.index("bayesmlm") if "bayesmlm" in heads else -1
        elif column >= 0 and not set(row) <= set("|-: "):
            yield from (Step(number, code) for code in CODE.findall(cells(row)[column]))


def steps(text):
    """What runs of a page, from top to bottom: blocks of Python and the tables' code."""
    blanked, found = text, []
    blocks = list(FENCE.finditer(text))
    for block, following in zip_longest(blocks, blocks[1:]):
        blanked = blanked.replace(block[0], "\n" * block[0].count("\n"), 1)
        if block[1] == "python":
            shown = (
                following is not None and following[1] == "text" and not text[block.end() : following.start()].strip()
            )
            found.append(Step(text.count("\n", 0, block.start()) + 2, block[2], following[2] if shown else None))
    return sorted([*found, *in_tables(blanked)], key=lambda step: step.line)


RUNNING = [page for page, text in PAGES.items() if steps(text)]


def run_page(page, capsys, slow):
    """Run a page's code in one namespace; other results than the printed ones are not looked at."""
    names = {}
    for step in steps(PAGES[page]):
        if SLOW.search(step.code) and not slow:
            continue
        # The file's own line in a traceback.
        code = compile("\n" * (step.line - 1) + step.code, str(DOCS / page), "exec")
        exec(code, names)
        printed = capsys.readouterr().out
        if step.printed is not None:
            same = doctest.OutputChecker().check_output(step.printed, printed.rstrip() + "\n", doctest.ELLIPSIS)
            assert same, f"{page}, line {step.line}: {printed}"


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """A folder where pages may write files, with the project's spec files."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")


def test_tables_are_read():
    text = "| R | bayesmlm |\n|---|---|\n| `f(x)` | `a \\| b`, then `c` |\n"
    assert [step.code for step in in_tables(text)] == ["a | b", "c"]
    assert [step.code for step in steps("```python\nx = 1\n```\n\n" + text)] == ["x = 1\n", "a | b", "c"]


@pytest.mark.parametrize("page", RUNNING)
def test_page_runs(page, capsys, at_home):
    run_page(page, capsys, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUNNING if SLOW.search(PAGES[page])])
def test_page_runs_as_a_whole(page, capsys, at_home):
    run_page(page, capsys, slow=True)


@pytest.mark.parametrize("page", PAGES)
def test_spec_files_of_pages_are_read(page, tmp_path):
    blocks = [block[2] for block in FENCE.finditer(PAGES[page]) if block[1] == "toml"]
    for block in blocks:
        (tmp_path / "specs.toml").write_text(block, encoding="utf-8")
        assert load_specs(tmp_path / "specs.toml").keys() == tomllib.loads(block)["models"].keys()


def test_names_of_pages_are_public():
    used = {name for page in RUNNING for step in steps(PAGES[page]) for name in re.findall(r"\bbm\.(\w+)", step.code)}
    assert used <= set(dir(bayesmlm))


def test_every_public_name_has_its_place_in_the_reference():
    listed = set(re.findall(r"`bm\.(\w+)`", PAGES["reference/index.md"]))
    assert set(dir(bayesmlm)) - {"__version__"} <= listed


def test_every_key_of_a_spec_file_is_described():
    described = {
        code
        for row in PAGES["how-to/spec-files.md"].splitlines()
        if row.startswith("|")
        for code in CODE.findall(cells(row)[0])
    }
    keys = {*spec._TOP, *spec._DATA, *spec._MODEL, *spec._SAMPLING, *spec._GEE}
    assert keys <= {part for code in described for part in re.split(r"[.\[\]]", code)}


def test_notes_are_quoted_as_they_are_said():
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "bayesmlm").rglob("*.py")))
    text = PAGES["how-to/convergence.md"].replace("| it says |", "| bayesmlm |")
    quoted = [step.code for step in in_tables(text)]
    assert quoted
    assert not [words for words in quoted if words not in source]


def test_every_page_is_within_two_clicks():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    hidden = [page for page in PAGES if page not in config]
    assert not hidden


class Loads(HTMLParser):
    """What a browser would fetch to show a page: not what a reader may click."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.urls.append(given.get("href"))
        elif tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "object"):
            self.urls += [given.get("src"), given.get("srcset"), given.get("data")]
        if "url(" in (given.get("style") or ""):
            self.urls.append(given["style"])


@pytest.mark.skipif(not SITE.is_dir(), reason="the site is not built: mkdocs build --strict")
def test_site_needs_no_network():
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > len(PAGES)
    outside = re.compile(r"https?:|^//|\(//")
    for path in pages:
        parser = Loads()
        parser.feed(path.read_text(encoding="utf-8"))
        assert not [url for url in parser.urls if url and outside.search(url)], path
    for path in SITE.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path
