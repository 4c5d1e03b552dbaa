"""Every text file is opened in a named encoding, whatever the locale says."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("mmgr_jax", "data_prep", "configs", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Calls that open a text, and where their mode and encoding stand when not named.
_WRITERS = {"write_text": (None, 1), "read_text": (None, 0)}
_OPENERS = {"open": (0, 2), "fdopen": (1, 3), "NamedTemporaryFile": (0, 2)}
# Modules, and a client of catalogues, whose `open` opens no text.
_BINARY = {
    "StacApi",
    "rasterio",
    "Image",
    "tarfile",
    "zipfile",
    "os",
    "exactextract",
    "webbrowser",
}


def _calls_without_encoding(tree):
    """Line of each call that would take its encoding from the locale."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        named = {word.arg for word in node.keywords}
        if isinstance(node.func, ast.Name):
            name, owner, place = node.func.id, None, 1
        elif isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            name, place = node.func.attr, 1 if owner in ("gzip", "io", "os") else 0
        else:
            continue
        if name in _WRITERS:
            if "encoding" not in named and len(node.args) <= _WRITERS[name][1]:
                yield node.lineno
        elif name in _OPENERS and owner not in _BINARY:
            mode = next(
                (word.value for word in node.keywords if word.arg == "mode"),
                node.args[place] if len(node.args) > place else None,
            )
            default = "b" if owner == "gzip" or name == "NamedTemporaryFile" else ""
            mode = mode.value if isinstance(mode, ast.Constant) else mode or default
            if isinstance(mode, str) and "b" in mode:
                continue
            if owner == "gzip" and "t" not in str(mode):
                continue
            if "encoding" not in named:
                yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_are_opened_in_a_named_encoding(path):
    found = list(_calls_without_encoding(ast.parse(path.read_text(encoding="utf-8"))))
    assert not found, f"{path}: no encoding in line {found}"


@pytest.mark.parametrize(
    "code",
    [
        "open('a')",
        "open('a', 'w')",
        "path.open()",
        "path.open('a')",
        "path.write_text(text)",
        "Path('a').read_text()",
        "gzip.open('a', 'rt')",
    ],
)
def test_a_call_without_an_encoding_is_found(code):
    assert list(_calls_without_encoding(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "open('a', 'rb')",
        "path.open('wb')",
        "path.write_text(text, encoding='utf-8')",
        "path.read_text('utf-8')",
        "path.open(encoding='utf-8')",
        "gzip.open('a')",
        "rasterio.open('a')",
        "Image.open('a')",
    ],
)
def test_a_call_with_one_is_not(code):
    assert not list(_calls_without_encoding(ast.parse(code)))


def test_folds_are_written_in_utf_8_under_an_ascii_locale(tmp_path):
    """Under C without UTF-8 mode, as under Latin-1, Chinese names fit no locale."""
    code = (
        "import sys, numpy\n"
        "from mmgr_jax.data import folds\n"
        "ids = ['\\u8857\\u9053', 'b', 'c']\n"
        "folds.write(sys.argv[1], ids, {'block': numpy.arange(3)})\n"
    )
    plain = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | plain,
        cwd=ROOT,
        check=True,
    )
    stored = (tmp_path / "splits.csv").read_text(encoding="utf-8")
    assert stored == "region_id,block\n街道,0\nb,1\nc,2\n"
