"""The notebooks of docs/notebooks: whole, without outputs, and, slowly, run."""

import ast
import importlib
import os
import re
from pathlib import Path

import nbclient
import nbformat
import processes
import pytest

import mmgr_jax

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/notebooks"
NAMES = ("first_city", "own_tiles", "few_labels", "two_cities")
LONGEST_CELL = 30  # lines
MACHINE = re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|work|Users|mnt)\b|[A-Za-z]:\\)")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_of(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def imported(tree):
    """(module, name or None) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def exists(module, name):
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return False
    return name is None or hasattr(loaded, name)


def test_the_four_are_all():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_whole_and_holds_no_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert not MACHINE.search(cell.source), cell.source
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize(
    "text", ["/home/ann/city.tif", '"/tmp/x"', r"C:\data", "in /root, say"]
)
def test_a_path_of_a_machine_is_found(text):
    assert MACHINE.search(text)


@pytest.mark.parametrize("text", ["data/tmp/x.tif", "runs/home", "https://a.b/tmp"])
def test_other_paths_are_not(text):
    assert not MACHINE.search(text)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_imported_and_called_exists(name):
    tree = ast.parse("\n".join(code_of(read(name))))
    names = list(imported(tree))
    assert ("mmgr_jax", None) in names
    assert [pair for pair in names if not exists(*pair)] == []
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "mmgr_jax"
    }
    assert used and used <= set(mmgr_jax.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    texts = [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\(([^)#]+)", "\n".join(texts))
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_what_does_not_exist_is_found():
    tree = ast.parse("import jax\nimport jaxx\nfrom mmgr_jax import load, lod\n")
    missing = [pair for pair in imported(tree) if not exists(*pair)]
    assert missing == [("jaxx", None), ("mmgr_jax", "lod")]


PICTURES = {"first_city": 3, "own_tiles": 2, "few_labels": 3, "two_cities": 3}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_an_empty_folder(name, tmp_path):
    notebook = read(name)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    before = os.environ.get("PYTHONPATH", "")
    client.execute(
        env=os.environ
        | {"XLA_FLAGS": processes.QUICK, "PYTHONPATH": f"{ROOT}{os.pathsep}{before}"}
    )
    outputs = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert not [one for one in outputs if one.output_type == "error"]
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    assert len(pictures) == PICTURES[name]
    assert {path.name for path in tmp_path.iterdir()} >= {"data", "runs"}
