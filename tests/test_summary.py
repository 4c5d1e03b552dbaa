"""The end of a command: at most ten lines, and with --quiet the paths alone."""

import ast
from pathlib import Path

import pytest

from mmgr_jax import summary


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(summary._Ending, "paths_alone", False)


def test_figures_that_do_not_fit_are_counted_and_every_path_stays(capsys):
    paths = {"page": "a.html", "table": "b.txt"}
    summary.end([f"figure {k}" for k in range(8)], paths)
    assert len(capsys.readouterr().out.splitlines()) == summary.MOST_LINES
    summary.end([f"figure {k}" for k in range(230)], paths)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == summary.MOST_LINES
    assert lines[6] == "figure 6" and lines[7].startswith("... and 223 more")
    assert lines[8:] == ["page: a.html", "table: b.txt"]
    summary.end(["figure"], {f"page {k}": f"{k}.html" for k in range(40)})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["figure", "page 0: 0.html"]
    assert lines[8:] == ["page 7: 7.html", "... and 32 more files beside these"]
    summary.end(["no \x1b[2J"], {})
    assert capsys.readouterr().out == "no \\x1b[2J\n"


def test_parts_end_together_or_not_at_all(capsys):
    with summary.together():
        summary.end(["first"], {"page": "a"})
        with summary.together():
            summary.end([], {"table": "b"})
        with summary.parts(), summary.together():
            summary.end(["of a part"], {"inner": "c"})
        assert not capsys.readouterr().out
        summary.end(["second"], {})
    lines = ["first", "second", "page: a", "table: b"]
    assert capsys.readouterr().out.splitlines() == lines


def test_where_a_later_part_fails_what_is_done_is_named(capsys):
    with pytest.raises(ZeroDivisionError), summary.together():
        summary.end(["first"], {"page": "a"})
        raise ZeroDivisionError
    assert capsys.readouterr().out == "first\npage: a\n"


def test_quiet_leaves_the_paths(capsys):
    summary.print_paths_alone(True)
    with summary.together():
        summary.end(["first"], {"page": "a b.html"})
        summary.end([], {"table": "c.txt"})
    assert capsys.readouterr().out == "a b.html\nc.txt\n"
    summary.end(["nothing was written"], {})
    assert not capsys.readouterr().out


ROOT = Path(__file__).parents[1]
ANSWERS = {
    "mmgr_jax/command_line.py", "mmgr_jax/compare.py", "mmgr_jax/page.py",
    "mmgr_jax/plan.py", "mmgr_jax/preflight.py", "mmgr_jax/query/ranking.py",
    "data_prep/build.py", "data_prep/toy_city/ceilings.py",
}  # fmt: skip
"""What prints by itself: answers of commands that write no file, of dry runs, too."""

ENDS = {
    "mmgr_jax/main.py", "mmgr_jax/evaluation/run.py", "mmgr_jax/evaluation/mapping.py",
    "mmgr_jax/explore/command.py", "mmgr_jax/query/ranking.py",
    "mmgr_jax/views/sheet.py", "mmgr_jax/ablation.py", "mmgr_jax/transfer/command.py",
    "mmgr_jax/convert/weights.py", "mmgr_jax/init.py", "data_prep/fetch/command.py",
    "data_prep/fetch/onward.py", "data_prep/build.py", "data_prep/validate/command.py",
    "data_prep/import_released/__main__.py",
    "data_prep/category_embedding/command.py",
}  # fmt: skip
"""Where commands that write files end."""


def test_no_command_has_an_end_of_its_own():
    printing, ending = set(), set()
    for package in ("mmgr_jax", "data_prep"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name, called = path.relative_to(ROOT).as_posix(), ast.unparse(node)
                if called.startswith("print(") and "sys.stderr" not in called:
                    printing.add(name)
                elif called.startswith("summary.end("):
                    ending.add(name)
    assert printing - {"mmgr_jax/summary.py"} == ANSWERS
    assert ending == ENDS
