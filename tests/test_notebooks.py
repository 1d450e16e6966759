"""Every notebook runs from top to bottom, and is stored with what it shows."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bayesmlm import DataError, load_dataset

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"/(?:home|root|work|tmp|Users)/")

SECONDS_PER_CELL = 300

DATA = {"05_gee_and_mixed_models": "nhanes_2012"}
"""Data that a notebook needs and that do not come with bayesmlm."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output):
    """Texts an output holds, pictures aside: base64 may spell anything."""
    if output.output_type == "stream":
        yield output.text
    for mime, content in output.get("data", {}).items():
        if not mime.startswith("image/") or mime == "image/svg+xml":
            yield content if isinstance(content, str) else json.dumps(content)


def test_there_are_notebooks():
    assert NOTEBOOKS


@every_notebook
def test_notebook_is_stored_as_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # once, from top to bottom
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]


@every_notebook
def test_notebook_holds_nothing_of_the_machine(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    for text in [cell.source for cell in notebook.cells] + [text for output in outputs for text in texts(output)]:
        assert not MACHINE_PATH.search(text)
    assert notebook.metadata.kernelspec.name == "python3"
    # Neither times of execution nor anything else that changes from one run to the next.
    assert not MACHINE_PATH.search(json.dumps(notebook.metadata))
    assert not [cell.id for cell in code_cells(notebook) if "execution" in cell.metadata]
    assert path.stat().st_size < 1.5e6


def outputs(notebook):
    """What each cell shows: kinds of output, and whether it prints, which comes in pieces by the clock.

    What is said on the error stream (kernels are being compiled) is left aside.
    """
    return [
        [
            [out.output_type for out in cell.outputs if out.output_type != "stream"],
            any(out.get("name") == "stdout" for out in cell.outputs),
        ]
        for cell in code_cells(notebook)
    ]


@every_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    if path.stem in DATA:
        try:
            load_dataset(DATA[path.stem])
        except DataError as error:
            pytest.skip(str(error))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # the debugger's word on frozen modules
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not one of the user's
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # nobody's start-up files
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own, which shows figures
    notebook = nbformat.read(path, as_version=4)
    stored = outputs(notebook)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    assert outputs(notebook) == stored
