"""metrics.jsonl over kills, damage and files of others."""

import json

import pytest
import tensorboardX
from tensorboardX.proto import event_pb2

from mmgr_jax.errors import InputError
from mmgr_jax.train import board, metrics


def _write(folder, start, *steps, save_every=2):
    with metrics.MetricsWriter(
        folder, start_step=start, save_every=save_every
    ) as writer:
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


@pytest.mark.parametrize("how", ["edited", "of another run", "cut", "gone", "not"])
def test_rows_that_are_not_those_of_the_checkpoint_are_kept_apart(
    tmp_path, path, caplog, how
):
    with metrics.MetricsWriter(tmp_path, start_step=0, save_every=2) as writer:
        writer.write(1, {"loss": 0.5})
        writer.write(2, {"loss": 0.25})
        told = writer.digest()
        writer.write(3, {"loss": 0.125})  # taken again
    lines = path.read_text().splitlines(keepends=True)
    damaged = {
        "edited": [lines[0].replace("0.5", "0.6"), *lines[1:]],
        "of another run": [line.replace("0.", "0.9") for line in lines],
        "cut": lines[:1],
    }.get(how, lines)
    path.write_text("".join(damaged))
    if how == "gone":
        path.unlink()
    with caplog.at_level("WARNING"):
        with metrics.MetricsWriter(
            tmp_path, start_step=2, save_every=2, digest=told
        ) as writer:
            writer.write(3, {"loss": 0.125})
            last = writer.digest()
    assert _steps(path) == ([1, 2, 3] if how == "not" else [3])
    kept = [] if how in ("not", "gone") else ["metrics.before-1.jsonl"]
    assert _kept(tmp_path) == kept
    told = "is missing" if how == "gone" else "has other rows than it had at step 2"
    assert (told in caplog.text) == (how != "not")
    caplog.clear()
    with metrics.MetricsWriter(tmp_path, start_step=3, digest=last):
        assert "rows" not in caplog.text  # said once


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


def _events(folder):
    """Step, name and value of every event, and where a start begins."""
    found = []
    for path in folder.glob("events.*"):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = event_pb2.Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            told = [(of.tag, of.simple_value) for of in event.summary.value]
            found.append((event.step, told, event.session_log.status))
    return found


def test_tensorboard_is_told_what_tensorboardx_would_tell(tmp_path):
    values = {"loss": 0.5, "image-POI": 0.25}
    ours = board.Board(tmp_path / "ours", first_step=3)
    theirs = tensorboardX.SummaryWriter(str(tmp_path / "theirs"), purge_step=3)
    for step in (3, 4):
        ours.write(step, values)
        for name, value in values.items():
            theirs.add_scalar(name, value, step)
    ours.close(), theirs.close()
    kept = [event for event in _events(tmp_path / "theirs") if event[1] or event[2]]
    assert kept == [e for e in _events(tmp_path / "ours") if e[1] or e[2]]
    assert len(kept) == 5 and kept[0][0] == 3


def test_a_disk_that_takes_no_more_events_costs_a_warning(tmp_path, caplog):
    whole = board.Board(tmp_path / "board", first_step=1)
    whole._events._py_recordio_writer._writer.close()
    whole._events._py_recordio_writer._writer = open("/dev/full", "wb", buffering=0)
    with caplog.at_level("WARNING"):
        for step in range(40):
            whole.write(step, {"loss": 1.0})
        whole.close()
    assert caplog.text.count("board: cannot be written (No space left") == 1


def test_a_disk_that_takes_no_more_rows_stops_the_run(tmp_path):
    with metrics.MetricsWriter(tmp_path, start_step=0) as writer:
        writer._file.close()
        writer._file = open("/dev/full", "w")
        with pytest.raises(InputError, match="metrics.jsonl: cannot be written .No sp"):
            writer.write(1, {"loss": 1.0})
