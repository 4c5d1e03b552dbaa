"""The end of a command: at most ten lines, and with --quiet the paths alone."""

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
