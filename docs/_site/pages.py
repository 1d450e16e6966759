"""Pages that are made from other files of the project: tutorials from notebooks, the command line from its help."""

import json
import re
import sys
from html import unescape
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import roles  # this folder is no package

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def title_of(notebook: dict[str, Any]) -> str:
    """The first heading."""
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ")


def first_sentence(notebook: dict[str, Any]) -> str:
    """The first sentence below the heading, links aside."""
    below = "".join(notebook["cells"][0]["source"]).split("\n\n", 1)
    prose = " ".join(below[1].split("\n\n")[0].split()) if len(below) > 1 else ""
    return re.split(r"(?<=[.?!]) ", prose, maxsplit=1)[0]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def tutorial(path: Path, config: MkDocsConfig) -> list[File]:
    """A notebook as a page with its stored outputs, and its pictures; nothing is run."""
    from nbconvert import MarkdownExporter

    body, resources = MarkdownExporter().from_filename(str(path))
    pictures = resources["outputs"]
    for name in pictures:
        body = body.replace(f"![png]({name})", f"![figure]({path.stem}/{name})")
    page = File.generated(config, f"tutorials/{path.stem}.md", content=body)
    return [page] + [
        File.generated(config, f"tutorials/{path.stem}/{name}", content=content) for name, content in pictures.items()
    ]


def command_line() -> str:
    """Every command of ``bayesmlm`` with its arguments and options, in tables."""
    import typer

    from bayesmlm.cli import app

    out = ["# Command line", "Bad input is one sentence on standard error and exit code 2."]
    for name, command in typer.main.get_command(app).commands.items():
        shown = [part for part in command.params if part.name != "help"]
        usage = " ".join([part.human_readable_name for part in shown if part.param_type_name == "argument"])
        out += [f"## bayesmlm {name}", command.help, f"```console\nbayesmlm {name} {usage}\n```"]
        rows = ["| | | default |", "|---|---|---|"]
        for part in shown:
            label = part.human_readable_name if part.param_type_name == "argument" else part.opts[0]
            default = "" if part.required or part.default in (None, "", False, (), []) else f"`{part.default}`"
            rows.append(f"| `{label}` | {part.help or ''} | {default} |")
        out += ["\n".join(rows)] if shown else []
    return "\n\n".join(out)


def on_config(config: MkDocsConfig) -> None:
    """Put the tutorials and the pages below into the navigation."""
    sections = {name: item for item in config.nav for name in item}
    sections["Tutorials"]["Tutorials"] = ["tutorials/index.md"] + [
        {title_of(read(path)): f"tutorials/{path.stem}.md"} for path in NOTEBOOKS
    ]
    sections["Reference"]["Reference"].append({"Command line": "reference/cli.md"})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made."""
    for path in NOTEBOOKS:
        for file in tutorial(path, config):
            files.append(file)
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    return files


def listed_tutorials(_: re.Match[str]) -> str:
    rows = [
        f"- [{title_of(notebook)}]({path.stem}.md)<br>{first_sentence(notebook)}"
        for path, notebook in [(path, read(path)) for path in NOTEBOOKS]
    ]
    return "\n".join(rows)


def everything_in(match: re.Match[str]) -> str:
    """Every public name of a module: its first sentence in a table, then its docstring."""
    module = import_module(match[1])
    short = match[1].replace("bayesmlm.errors", "bm").replace("bayesmlm.", "bm.")
    found = [getattr(module, name) for name in module.__all__ if callable(getattr(module, name))]
    public = [thing for thing in found if short != "bm" or isinstance(thing, type)]
    rows = [f"| [`{thing.__name__}`][{thing.__module__}.{thing.__name__}] | {summary_of(thing)} |" for thing in public]
    described = [
        f"::: {thing.__module__}.{thing.__name__}\n    options:\n      heading: {short}.{thing.__name__}"
        for thing in public
    ]
    return "\n".join(["| | |", "|---|---|", *rows, "", "\n\n".join(described)])


def summary_of(thing: Any) -> str:
    return roles.ROLE.sub(r"`\2`", (thing.__doc__ or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|"))


def catalogue(_: re.Match[str]) -> str:
    from bayesmlm.datasets import CATALOGUE

    said = {True: "yes", False: "no"}
    rows = [
        f"| `{entry.name}` | {entry.rows:,} | {entry.title} | {entry.provenance} | {said[entry.embedded]} |"
        for entry in CATALOGUE.values()
    ]
    return "\n".join(["| name | rows | | source | in the package |", "|---|---|---|---|---|", *rows])


MADE = {
    re.compile("<!-- tutorials -->"): listed_tutorials,
    re.compile(r"<!-- everything in ([\w.]+) -->"): everything_in,
    re.compile("<!-- datasets -->"): catalogue,
}
"""What stands in a page for what is made."""

ROW = re.compile(r"^\|.*$", re.MULTILINE)
CODE = re.compile(r"`[^`]+`")


def with_bars(row: re.Match[str]) -> str:
    """A table's row with plain bars in its code: other readers of Markdown need an escape there, this one shows it."""
    return CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made where a page asks for it."""
    markdown = ROW.sub(with_bars, markdown)
    for place, make in MADE.items():
        markdown = place.sub(make, markdown)
    return markdown


FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\[(\[](.*?)\\([)\]])</(?:span|div)>', re.DOTALL)


def as_mathml(formula: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    return convert(unescape(formula[1]).strip(), display="block" if formula[2] == "]" else "inline")


def on_page_content(html: str, **_: Any) -> str:
    """Write formulas as MathML."""
    return FORMULA.sub(as_mathml, html)
