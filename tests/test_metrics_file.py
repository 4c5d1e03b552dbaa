"""metrics.jsonl over kills, damage and files of others."""

import json

import pytest

from mmgr_jax import metrics
from mmgr_jax.errors import InputError


def _write(folder, start, *steps, save_every=2):
    with metrics.Writer(folder, start_step=start, save_every=save_every) as writer:
        for step in steps:
            writer.write(step, {"loss": step / 2})


def _steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / metrics.METRICS_FILE


def _kept(tmp_path):
    return sorted(path.name for path in tmp_path.glob("metrics.before-*"))


def test_steps_that_are_taken_again_are_told_once(tmp_path, path):
    _write(tmp_path, 0, 1, 2, 3)
    _write(tmp_path, 2, 3, 4)
    assert _steps(path) == [1, 2, 3, 4]
    assert _kept(tmp_path) == []


def test_a_line_torn_by_a_kill_is_left_out(tmp_path, path):
    _write(tmp_path, 0, 1, 2)
    path.write_text(path.read_text() + '{"step": 3, "lo')
    _write(tmp_path, 2, 3)
    assert _steps(path) == [1, 2, 3]
    assert _kept(tmp_path) == []


@pytest.mark.parametrize(
    "line", [b"[]", b'{"epoch": 1}', b'"text"', b"\xff\xfe", b'{"step": "1"}', b"null"]
)
def test_lines_of_another_program_are_kept_in_a_copy(tmp_path, path, line, caplog):
    _write(tmp_path, 0, 1, 2)
    path.write_bytes(line + b"\n" + path.read_bytes())
    before = path.read_bytes()
    with caplog.at_level("WARNING"):
        _write(tmp_path, 2, 3)
    assert _steps(path) == [1, 2, 3]
    assert _kept(tmp_path) == ["metrics.before-1.jsonl"]
    assert (tmp_path / "metrics.before-1.jsonl").read_bytes() == before
    assert "1 lines of another program" in caplog.text


def test_rows_that_no_kill_explains_are_kept_in_a_copy(tmp_path, path, caplog):
    """As when somebody removed the checkpoints, or moved them away."""
    _write(tmp_path, 0, *range(1, 9))
    with caplog.at_level("WARNING"):
        _write(tmp_path, 0, 1)
    assert _steps(path) == [1]
    assert _steps(tmp_path / "metrics.before-1.jsonl") == list(range(1, 9))
    assert "rows up to step 8, but this run begins at step 0" in caplog.text
    _write(tmp_path, 0, *range(1, 9))
    _write(tmp_path, 0, 1)
    assert _kept(tmp_path) == ["metrics.before-1.jsonl", "metrics.before-2.jsonl"]


def test_a_file_that_cannot_be_read_stops_and_stays(tmp_path, path, monkeypatch):
    _write(tmp_path, 0, 1, 2)
    before = path.read_bytes()

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "read_bytes", refuse)
        with pytest.raises(InputError, match="metrics.jsonl: cannot be read .Permiss"):
            _write(tmp_path, 2, 3)
    assert path.read_bytes() == before


def test_a_link_gives_way_and_what_it_points_to_stays(tmp_path, path):
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text('{"step": 1}\n')
    path.symlink_to(theirs)
    _write(tmp_path, 1, 2)
    assert theirs.read_text() == '{"step": 1}\n'
    assert _steps(path) == [1, 2]
