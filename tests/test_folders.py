"""Folders that replace others: what is ours, what stays, what a kill leaves."""

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import forks
import pytest

from mmgr_jax.disk import folders, locks, marks
from mmgr_jax.errors import InputError

KIND = "pictures"


def _fill(place, name="a.txt", text="ours", **options):
    with folders.replacing(place, KIND, key="config.place", **options) as new:
        (new / name).write_text(text)
        (new / "below").mkdir()
        (new / "below" / name).write_text(text)


def _tree(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.name != marks.MARK
    }


def test_a_folder_appears_whole_and_gives_way_to_the_next(tmp_path):
    place = tmp_path / "deep" / "place"
    _fill(place)
    _fill(place, "b.txt")
    assert _tree(place) == {"b.txt", "below", "below/b.txt"}
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_what_a_user_laid_beside_ours_stays(tmp_path):
    place = tmp_path / "place"
    _fill(place)
    (place / "notes.txt").write_text("mine")
    (place / "sub").mkdir()
    (place / "sub/notes.txt").write_text("mine too")
    _fill(place, "b.txt")
    assert (place / "notes.txt").read_text() == "mine"
    assert (place / "sub/notes.txt").read_text() == "mine too"
    assert not (place / "a.txt").exists()
    _fill(place, "c.txt")  # and the next time
    assert (place / "sub/notes.txt").read_text() == "mine too"


@pytest.mark.parametrize("what", ["manifest.json", "a.txt", "sub/thesis.tex"])
def test_a_folder_without_our_mark_is_refused_and_untouched(tmp_path, what):
    path = tmp_path / "place" / what
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    before = _tree(tmp_path)
    with pytest.raises(InputError, match="config.place .*exists, but holds no pictur"):
        _fill(tmp_path / "place")
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("text", ["{}", "[]", "", '{"kind": "pictures"}', "\xff"])
def test_a_mark_that_we_did_not_write_is_none(tmp_path, text):
    place = tmp_path / "place"
    place.mkdir()
    (place / marks.MARK).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="exists, but holds no pictures"):
        _fill(place)


def test_a_mark_of_another_kind_is_refused(tmp_path):
    place = tmp_path / "place"
    with folders.replacing(place, "records", key="config.place") as new:
        (new / "a.txt").write_text("other")
    with pytest.raises(InputError, match="exists, but holds no pictures"):
        _fill(place)
    with pytest.raises(InputError, match="holds records, not pictures"):
        marks.verify(place, KIND)


def test_links_stay_links_and_what_they_point_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "data" / "place"
    link.parent.mkdir()
    link.symlink_to("../disk/real")  # relative, and not there yet
    _fill(link)
    _fill(link, "b.txt")
    assert link.is_symlink() and os.readlink(link) == "../disk/real"
    assert _tree(tmp_path / "disk/real") == {"b.txt", "below", "below/b.txt"}
    assert [path.name for path in link.parent.iterdir()] == ["place"]


def test_a_link_among_ours_is_removed_and_not_followed(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    place = tmp_path / "place"
    _fill(place)
    (place / "below/a.txt").unlink()
    (place / "below/a.txt").symlink_to(theirs / "thesis.tex")
    (place / "a.txt").unlink()
    (place / "a.txt").symlink_to(theirs)
    _fill(place, "b.txt")
    assert (theirs / "thesis.tex").read_text() == "years of work"


def test_an_error_leaves_what_was_there(tmp_path):
    place = tmp_path / "place"
    _fill(place)
    before = _tree(tmp_path)
    with (
        pytest.raises(RuntimeError),
        folders.replacing(place, KIND, key="config.place"),
    ):
        raise RuntimeError
    assert _tree(tmp_path) == before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "No space left.*Make room"),
        (errno.EROFS, "Read-only file system.*Get the right"),
        (errno.EIO, "Input/output error.*Mend its disk"),
    ],
)
@pytest.mark.parametrize("nth", [1, 2])
def test_renaming_that_fails_is_told_and_undone(
    tmp_path, monkeypatch, code, message, nth
):
    place = tmp_path / "place"
    _fill(place)
    before, whole, calls = _tree(tmp_path), Path.rename, []

    def fail(path, target):
        calls.append(path)
        if len(calls) == nth:
            raise OSError(code, os.strerror(code), str(path))
        return whole(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match=f"place: cannot be written .{message}"):
        _fill(place, "b.txt")
    assert _tree(tmp_path) == before


KILLED = """
import os, sys
from pathlib import Path
from mmgr_jax.disk import files
from mmgr_jax.disk import folders
left = int(sys.argv[2])
def count(function):
    def counted(*given, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return function(*given, **options)
    return counted
for owner, names in (
    (Path, ("rename", "mkdir", "rmdir", "unlink", "write_text")),
    (os, ("rmdir", "unlink", "replace")),
):
    for name in names:
        setattr(owner, name, count(getattr(owner, name)))
with folders.replacing(sys.argv[1], "pictures", key="config.place") as new:
    (new / "b.txt").write_text("newer")
"""


def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_is_cleaned_up(tmp_path):
    """Killed before every call that changes the disk; then started again."""
    outcomes = []
    for step in range(100):
        place = tmp_path / str(step) / "place"
        _fill(place)
        (place / "mine.txt").write_text("mine")
        code = forks.run("-c", KILLED, place, step, jax=False).returncode
        if place.is_dir():
            whole = {"a.txt", "below", "below/a.txt"}, {"b.txt"}
            assert _tree(place) - {"mine.txt"} in whole
        outcomes.append(code)
        _fill(place, "c.txt")
        assert _tree(place) == {"c.txt", "below", "below/c.txt", "mine.txt"}
        assert [path.name for path in place.parent.iterdir()] == ["place"]
        if code == 0:
            break
    assert outcomes[-1] == 0 and set(outcomes[:-1]) == {-signal.SIGKILL}
    assert len(outcomes) > 8


def test_folders_of_others_that_look_like_leftovers_stay(tmp_path):
    for name in (".place.partial-mine", ".place.replaced-mine", "place.partial-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
    before = _tree(tmp_path)
    _fill(tmp_path / "place")
    assert before <= _tree(tmp_path)


# ---- sums ----


def test_any_flip_of_any_file_is_noticed(tmp_path):
    rng = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    place = tmp_path / "place"
    _fill(place, text="some text " * 50, sums=True)
    assert marks.verify(place, KIND)
    for path in [path for path in place.rglob("*") if path.is_file()]:
        before = path.read_bytes()
        for _ in range(20):
            content = bytearray(before)
            at = rng.randrange(len(content))
            content[at] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            with pytest.raises((marks.DamageError, InputError)):
                marks.verify(place, KIND)
        path.write_bytes(before)
    assert marks.verify(place, KIND)
    assert marks.verify(place, KIND, parts=())
    (place / "below/a.txt").unlink()
    assert marks.verify(place, KIND, parts=())
    with pytest.raises(marks.DamageError, match="below/a.txt is missing"):
        marks.verify(place, KIND)


# ---- locks ----

HOLDER = """
import sys
from pathlib import Path
from mmgr_jax.disk import locks
with locks.held(Path(sys.argv[1]), "a training", "name another"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def _holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def _hold(path):
    with locks.held(path, "a training", "name another config.workdir"):
        return locks.holder(path)


def test_who_holds_a_lock_is_named_and_a_killed_one_holds_none(tmp_path):
    path = tmp_path / "lock"
    with _holder(path) as process:
        with pytest.raises(
            InputError,
            match=rf"lock: another process works here \(a training, process "
            rf"{process.pid} on .*, since 20.*name another config.workdir\.",
        ):
            _hold(path)
        process.kill()
        process.wait()
        assert path.exists()
        assert _hold(path).process == os.getpid()
    assert not path.exists()


def test_a_lock_that_was_given_back_leaves_nothing(tmp_path):
    with _holder(tmp_path / "lock") as process:
        process.communicate("\n")
        assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def _left(path, **changes):
    """A lock file of another host, whose locks do not show here."""
    told = dict(work="a training", process=1, host="elsewhere", since="2020") | changes
    path.write_text(str(told).replace("'", '"'))


def test_a_lock_of_another_host_is_stale_when_nobody_touches_it(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.4)
    path = tmp_path / "lock"
    _left(path)
    assert _hold(path).host != "elsewhere"


def test_a_lock_of_another_host_that_is_touched_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 4.0)
    path, times = tmp_path / "lock", iter(range(1, 99))
    _left(path)
    whole = locks.time.sleep

    def touch(seconds):
        os.utime(path, (next(times), 0))
        whole(0.01)

    monkeypatch.setattr(locks.time, "sleep", touch)
    with pytest.raises(InputError, match="process 1 on elsewhere, since 2020"):
        _hold(path)


def test_the_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_S", 0.02)
    path = tmp_path / "lock"
    with locks.held(path, "a training", "wait"):
        os.utime(path, (1, 1))
        for _ in range(200):
            if path.stat().st_mtime > 1:
                break
            locks.time.sleep(0.02)
        assert path.stat().st_mtime > 1


def test_a_disk_without_locks_goes_by_the_touch(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    monkeypatch.setattr(locks, "PATIENCE_S", 0.4)
    path = tmp_path / "lock"
    assert _hold(path).process == os.getpid()
    _left(path, host=locks.socket.gethostname())
    assert _hold(path).process == os.getpid()


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError):
        _hold(tmp_path / "lock")
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_of_many_at_once_one_holds(tmp_path):
    """Ten processes in turns on one file that comes and goes: never two inside."""
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from mmgr_jax.disk import locks\n"
        "from mmgr_jax.errors import InputError\n"
        "lock, inside = Path(sys.argv[1]), sys.argv[2]\n"
        "got, end = 0, time.monotonic() + 2\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with locks.held(lock, 'work', 'wait'):\n"
        "            os.mkdir(inside)\n"
        "            got += 1\n"
        "            os.rmdir(inside)\n"
        "    except InputError:\n"
        "        time.sleep(0.001)\n"
        "sys.exit(0 if got else 3)\n"
    )
    given = [str(tmp_path / "lock"), str(tmp_path / "inside")]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *given]) for _ in range(5)
    ]
    assert {process.wait(60) for process in processes} <= {0, 3}


def test_two_processes_never_write_one_folder(tmp_path):
    place = tmp_path / "place"
    with _holder(folders.lock_of(place)) as process:
        with pytest.raises(InputError, match=f"process {process.pid} .*another config"):
            _fill(place)
        process.communicate("\n")
    _fill(place)
    with (
        folders.replacing(place, KIND, key="config.place"),
        pytest.raises(InputError, match=f"writing pictures, process {os.getpid()}"),
    ):
        _fill(place)


def test_what_cannot_be_removed_keeps_its_mark_and_is_removed_later(
    tmp_path, monkeypatch
):
    folder = tmp_path / "ours"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/file").write_text("x")
    marks.mark(folder, "kind")
    with monkeypatch.context() as patch:
        patch.setattr(folders.shutil, "rmtree", lambda *_, **__: None)
        folders.remove(folder)
    assert marks.is_ours(folder, "kind") and (folder / "inner/file").exists()
    folders.remove(folder)
    assert not folder.exists()
