"""The notebook runs from top to bottom, on a CPU, as somebody would who opens it after installation."""

import copy
import os
import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install -e '.[docs]'")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install -e '.[docs]'")

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOK = DOCS / "first-steps.ipynb"


@pytest.fixture(scope="module")
def written():
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(output["text"] for output in cell.outputs if output.get("name") == "stdout")


def pictures(cell):
    kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
    return sum(kind.startswith("image/") for kind in kinds)


def run(notebook, folder, monkeypatch):
    """Run a copy. A command that fails ends it: by itself, a line with `!` goes on."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    ran = copy.deepcopy(notebook)
    for cell in code(ran):
        cell.outputs, cell.execution_count = [], None
        cell.source = re.sub(r"^(!.*)$", r"\1\nassert _exit_code == 0, _exit_code", cell.source, flags=re.MULTILINE)
    client = nbclient.NotebookClient(
        ran, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_the_stored_one_shows(written, tmp_path, monkeypatch):
    ran = run(written, tmp_path, monkeypatch)
    assert (tmp_path / "first-steps/runs/field/best.safetensors").exists()
    for stored, cell in zip(code(written), code(ran), strict=True):
        assert pictures(cell) == pictures(stored), cell.source
        # Words and names of columns; numbers are of a machine.
        assert re.findall(r"[a-z]+", printed(cell)) == re.findall(r"[a-z]+", printed(stored)), cell.source


@pytest.mark.slow
def test_a_command_that_fails_ends_the_run(written, tmp_path, monkeypatch):
    broken = copy.deepcopy(written)
    first, *_ = (cell for cell in code(broken) if cell.source.startswith("!memorysam"))
    first.source = first.source.replace("make-scenes", "make-scene")
    broken.cells = [cell for cell in broken.cells if cell in (code(broken)[0], first)]
    with pytest.raises(nbclient.exceptions.CellExecutionError, match=r"AssertionError\S*: 2"):
        run(broken, tmp_path, monkeypatch)


def test_what_is_stored_ran_from_top_to_bottom(written):
    counts = [cell.execution_count for cell in code(written)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum(map(pictures, code(written))) >= 5
    kinds = {output.output_type for cell in code(written) for output in cell.outputs}
    assert kinds == {"stream", "display_data", "execute_result"}
    said = NOTEBOOK.read_text(encoding="utf-8")
    assert "stderr" not in said
    assert not re.search(r"/(home|root|tmp|work|opt|usr)/", said)


def test_its_links_lead_somewhere(written):
    words = "\n".join(cell.source for cell in written.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", words)
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []
