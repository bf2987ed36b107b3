"""The notebooks in examples/: committed without outputs, and run from beginning to end in a kernel of their own."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from own_metadata import write_metadata

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
FRAMES = {"comparing": 2, "dallas": 2}  # interactive pages
DRAWN = {"comparing": 2, "dallas": 2}  # interventions and checks


def test_there_are_two() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(FRAMES) == set(DRAWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_says(path: Path, tmp_path: Path, monkeypatch) -> None:
    search = [str(write_metadata(tmp_path / "metadata")), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, search)))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    shown = [output.data for output in outputs if output.output_type == "execute_result"]
    pages = [data["text/html"] for data in shown if data.get("text/html", "").startswith("<iframe")]
    assert len(pages) == FRAMES[path.stem]
    assert all('id="orrery-data">' in page and "sandbox=" in page and len(page) < 1_500_000 for page in pages)
    assert sum(data.get("text/html", "").startswith("<div><svg") for data in shown) == DRAWN[path.stem]
    # Text alone, where there is no browser: a summary, never the arrays that a graph holds.
    assert all(re.search(r"replacement|Supernodes|next token|Direct effects", data["text/plain"]) for data in shown)
    assert all("array(" not in data["text/plain"] for data in shown)
