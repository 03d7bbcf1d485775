"""The notebooks run from top to bottom, and every picture and number that they promise is there."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

import gan_jax
from tests.conftest import REPO

NOTEBOOKS = sorted((REPO / "docs" / "notebooks").glob("*.ipynb"))


def outputs(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Runs a notebook with budgets of one dispatch, in a process of its own; returns what its cells printed and showed."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install -e '.[dev]'")
    import nbformat

    # one device and few optimisations, as the other tests compile
    settings = {"GAN_JAX_NOTEBOOK_KIMG": "0.256", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
    settings |= {"PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}
    settings |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    book = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.filterwarnings("default")  # of the client's event loop and its sockets; the kernel has its own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
    found = outputs(path, tmp_path, monkeypatch)
    pictures = [output for output in found if "image/png" in output.get("data", {})]
    said = "".join(
        output.get("text", "") for output in found if output.output_type == "stream" and output.name == "stdout"
    )
    assert len(pictures) == 2
    if path.stem == "transfer_in_ten_minutes":
        assert "kid        adapted" in said and "protocol fashion-v1-" in said
    else:
        assert said.count("preserved: largest difference") >= 4 and "transplanted from embedded:fashion16" in said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_python_and_what_they_import_is_there(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name) and node.value.id == "gan_jax"}  # fmt: skip
    used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "gan_jax"
             for alias in node.names}  # fmt: skip
    assert used
    assert not [name for name in used if not hasattr(gan_jax, name)]


def test_both_notebooks_are_there_without_outputs():

    assert [path.stem for path in NOTEBOOKS] == ["surgery_and_fusion", "transfer_in_ten_minutes"]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
