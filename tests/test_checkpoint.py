"""Checkpoints that are damaged, unreadable, foreign, held, or cannot be written."""

import errno
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import forks
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest

from benchmarks.measured.checkpoint import _Rows
from mmgr_jax.disk import checksums, marks
from mmgr_jax.errors import InputError
from mmgr_jax.store import bundles, checkpoint
from mmgr_jax.store.state import TrainState
from mmgr_jax.train import metrics

CLOCK = {"seconds": 1.0, "wait_seconds": 0.0}
METADATA = checkpoint.Metadata({"model": {"width": 4}}, ("shop", "park"), 64)


def _state(step):
    """A state that says everywhere which step it is of."""
    return TrainState(
        params={"w": jnp.full((40, 30), float(step)), "b": jnp.arange(7.0) * step},
        batch_stats={"mean": jnp.full(5, step / 2)},
        opt_state={"first": jnp.full((40, 30), -float(step))},
        step=jnp.int32(step),
    )


def _abstract():
    state = _state(1)
    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    return checkpoint.abstract_like(state, layout)


def _save(workdir, *steps, keep=9):
    with checkpoint.Checkpoints(workdir, keep=keep) as checkpoints:
        for step in steps:
            rows = _Rows()
            rows.state = {"rows": 64 * step}
            checkpoints.save(_state(step), rows, CLOCK, METADATA)
    return workdir


def _restore(workdir):
    """The step that is gone on from; everything else must be of that step."""
    rows = _Rows()
    with checkpoint.Checkpoints(workdir, keep=9) as checkpoints:
        assert not checkpoints.is_new()
        state, clock = checkpoints.restore(_abstract(), rows, CLOCK, lambda *_: None)
    step = int(state.step)
    jax.tree.map(np.testing.assert_array_equal, state, _state(step))
    assert rows.state == {"rows": 64 * step} and clock == CLOCK
    return step


def _contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("saved") / "run", 1, 2)


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


# ---- damage ----


def _flip(path, rng):
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return place


def test_a_flipped_bit_in_any_file_of_a_bundle_is_noticed(run, caplog):
    """Every file, at a random place; the bundle before is used, whole."""
    rng = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    bundle = run / checkpoint.FOLDER / "2"
    paths = sorted(p for p in bundle.rglob("*") if p.is_file() and p.stat().st_size)
    assert len(paths) > 20
    for path in paths:
        before = path.read_bytes()
        place = _flip(path, rng)
        named = path.relative_to(bundle).as_posix()
        with pytest.raises(marks.DamageError) as damage:
            bundles.verify(bundle)
        assert named in str(damage.value), (seed, named, place)
        path.write_bytes(before)
    bundles.verify(bundle)
    path = rng.choice(paths)
    _flip(path, rng)
    with caplog.at_level("WARNING"):
        assert _restore(run) == 1
    assert f"checkpoints/2: this checkpoint is damaged ({path.name}" in (
        caplog.text.replace(f"{path.relative_to(bundle).parent}/", "")
    )
    assert (run / "checkpoints/damaged-2").is_dir()


@pytest.mark.parametrize("how", ["cut", "emptied", "gone", "longer"])
def test_any_file_that_is_cut_emptied_or_gone_is_noticed(run, how):
    bundle = run / checkpoint.FOLDER / "2"
    for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
        before = path.read_bytes()
        if how == "gone":
            path.unlink()
        elif how == "longer":
            path.write_bytes(before + b"\0")
        else:
            path.write_bytes(before[: len(before) // 2] if how == "cut" else b"")
        if before != (path.read_bytes() if path.exists() else None):
            with pytest.raises(marks.DamageError):
                bundles.verify(bundle)
        path.write_bytes(before)
    bundles.verify(bundle)


def test_pieces_of_a_large_file_are_all_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(checksums, "PIECE_BYTES", 3_000_000)
    content = np.random.default_rng(0).bytes(10_000_001)
    (tmp_path / "large").write_bytes(content)
    marks.mark(tmp_path, "test", sums=True)
    assert marks.verify(tmp_path, "test")
    for place in (0, 2_999_999, 3_000_000, 9_999_999, 10_000_000):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (tmp_path / "large").write_bytes(flipped)
        with pytest.raises(marks.DamageError, match="large holds other bytes"):
            marks.verify(tmp_path, "test")


def test_all_damaged_never_begins_anew_and_nothing_is_lost(run):
    (run / metrics.METRICS_FILE).write_text('{"step": 1}\n')
    for step in (1, 2):
        path = run / checkpoint.FOLDER / str(step) / "train/_METADATA"
        path.write_bytes(path.read_bytes()[:9])
    for _ in range(3):  # and again, when nothing but what was set aside is left
        with pytest.raises(InputError, match="no checkpoint can be read.*damaged-"):
            _restore(run)
    left = sorted(path.name for path in (run / checkpoint.FOLDER).iterdir())
    assert left == ["damaged-1", "damaged-2"]
    assert (run / metrics.METRICS_FILE).read_text() == '{"step": 1}\n'


def test_what_was_set_aside_before_stays(run):
    for _ in range(2):
        (run / "checkpoints/2/orbax.checkpoint").write_text("torn")
        assert _restore(run) == 1
        _save(run, 2)
    left = sorted(path.name for path in (run / checkpoint.FOLDER).iterdir())
    assert left == ["1", "2", "damaged-2", "damaged-2-2"]


def test_a_bundle_under_another_step_is_refused(run):
    """Its last steps would be taken again, and not saved."""
    (run / checkpoint.FOLDER / "2").rename(run / checkpoint.FOLDER / "7")
    with pytest.raises(InputError, match="checkpoints/7: holds step 2.*renamed"):
        _restore(run)


@pytest.mark.parametrize("how", ["no model", "a file", "empty"])
def test_no_older_bundle_is_taken_in_silence(run, how, caplog):
    """Evaluation stops; training names it, sets it aside and takes the one before."""
    newest = run / checkpoint.FOLDER / "2"
    shutil.rmtree(newest / "model" if how == "no model" else newest)
    if how != "no model":
        newest.mkdir() if how == "empty" else newest.write_text("a note")
    with checkpoint.held(run) as bundle, pytest.raises(InputError, match="2: not a ch"):
        assert bundle == newest
        checkpoint.load_metadata(bundle)
        checkpoint.load_arrays(bundle)
    with caplog.at_level("WARNING"):
        assert _restore(run) == 1
    assert "checkpoints/2: this checkpoint is damaged" in caplog.text
    assert (run / checkpoint.FOLDER / "damaged-2").exists()


def test_evaluation_names_the_damage_and_sets_nothing_aside(run):
    bundle = checkpoint.latest(run)
    before = _contents(run)
    path = next((bundle / "model").rglob("d/*"))
    _flip(path, random.Random(0))
    for load in (checkpoint.load_arrays, lambda b: checkpoint.load_model(b, {})):
        with pytest.raises(InputError, match=f"2: .* damaged .*{path.name}.*--checkp"):
            load(bundle)
    assert _contents(run).keys() == before.keys()
    next((bundle / "train").rglob("d/*")).unlink()  # which evaluation does not read
    path.write_bytes(before[path.relative_to(run).as_posix()])
    assert float(checkpoint.load_arrays(bundle)["params"]["w"][0, 0]) == 2


# ---- not damage ----


@pytest.fixture
def refusing(monkeypatch):
    """Makes opening of some paths fail as the system would; tests run as root."""

    def refuse(only, error):
        whole = Path.open

        def fail(path, *arguments, **options):
            if only in str(path):
                raise error
            return whole(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", fail)
        monkeypatch.setattr(Path, "read_bytes", lambda path: fail(path, "rb").read())
        return monkeypatch

    return refuse


@pytest.mark.parametrize(
    ("only", "error", "message"),
    [
        ("2/train", PermissionError(13, "Permission denied"), "Permission denied"),
        ("2/model", OSError(errno.EIO, "Input/output error"), "Input/output error"),
        ("2/data", OSError(errno.ENFILE, "Too many open files"), "Too many open"),
        ("2/_CH", OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
        (f"2/{marks.MARK}", PermissionError(13, "Permission denied"), "Permission"),
        ("2/train", MemoryError(), "memory does not suffice"),
        ("2/train", OSError(errno.ENOMEM, "Cannot allocate memory"), "memory does not"),
    ],
)
def test_what_cannot_be_read_now_stops_and_stays(run, refusing, only, error, message):
    before = _contents(run)
    patch = refusing(only, error)
    with pytest.raises(InputError, match=f"{message}.*Nothing was changed"):
        _restore(run)
    patch.undo()
    assert _contents(run) == before
    assert _restore(run) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes", "memory does not"),
        ("PERMISSION_DENIED: Error opening local file", "cannot be read"),
        ("INTERNAL: of a kind that nobody foresaw", "is undamaged, but"),
    ],
)
def test_orbax_failing_on_whole_bytes_is_no_damage(run, monkeypatch, text, message):
    def fail(*_, **__):
        raise ValueError(text)

    before = _contents(run)
    monkeypatch.setattr(bundles.ocp, "load_checkpointables", fail)
    with pytest.raises(InputError, match=f"{message}.*Nothing was changed"):
        _restore(run)
    assert _contents(run) == before


def test_without_checksums_too_what_cannot_be_read_stops_and_stays(run, refusing):
    _before_checksums(run / checkpoint.FOLDER / "2")
    patch = refusing("2/train/_METADATA", PermissionError(13, "Permission denied"))
    with pytest.raises(InputError, match="Permission denied.*Nothing was changed"):
        _restore(run)
    patch.undo()
    assert _restore(run) == 2


def test_a_folder_of_checkpoints_that_cannot_be_listed_stops(run, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", fail)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        _restore(run)


def test_a_checkpoint_of_another_program_stops_and_stays(run):
    theirs = run / checkpoint.FOLDER / "9"
    ocp.save_checkpointables(theirs, {"theirs": {"a": np.zeros(3)}})
    before = _contents(run)
    with pytest.raises(InputError, match="9: is no checkpoint of this program"):
        _restore(run)
    assert _contents(run) == before


def test_checkpoints_of_another_program_are_never_removed(run):
    theirs = run / checkpoint.FOLDER / "0"
    ocp.save_checkpointables(theirs, {"theirs": {"a": np.zeros(3)}})
    before = _contents(theirs)
    _save(run, 3, 4, keep=1)
    assert sorted(path.name for path in theirs.parent.iterdir()) == ["0", "4"]
    assert _contents(theirs) == before


def test_a_checkpoint_of_another_format_is_told(run):
    mark = run / checkpoint.FOLDER / "2" / marks.MARK
    told = marks.mark_of(mark.parent) | {"format": 7, "made_by": "9.9"}
    told[marks._OWN] = marks._digest(told)
    mark.write_text(json.dumps(told))
    with pytest.raises(InputError, match="format 7 by mmgr-jax 9.9; .* reads format 1"):
        _restore(run)


def test_weights_alone_are_no_run_to_go_on_with(tmp_path):
    variables = {"params": {"w": np.zeros((40, 30), np.float32), "b": np.zeros(7)}}
    checkpoint.save_model(tmp_path, variables, METADATA)
    bundles.verify(checkpoint.latest(tmp_path))
    with (
        checkpoint.Checkpoints(tmp_path, keep=9) as checkpoints,
        pytest.raises(InputError, match="does not fit|holds weights alone"),
    ):
        assert not checkpoints.is_new()
        checkpoints.restore(_abstract(), _Rows(), CLOCK, lambda *_: None)


def _before_checksums(bundle):
    """As versions without checksums left it."""
    (bundle / marks.MARK).unlink()
    path = bundle / bundles.METADATA_FILE
    told = json.loads(path.read_text())
    del told["custom_metadata"][bundles._SEALED]
    path.write_text(json.dumps(told))


def test_checkpoints_without_checksums_are_read_and_a_torn_one_set_aside(run):
    for step in ("1", "2"):
        _before_checksums(run / checkpoint.FOLDER / step)
    assert _restore(run) == 2
    for path in (run / "checkpoints/2/train").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])
    assert _restore(run) == 1


# ---- writing ----


def test_a_full_disk_costs_the_new_bundle_only(run, monkeypatch):
    before = _contents(run)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(marks.checksums, "of", full)
    with pytest.raises(InputError, match="checkpoints: .*No space left.*Make room"):
        _save(run, 3)
    monkeypatch.undo()
    assert _contents(run) == before
    _save(run, 3)
    assert _restore(run) == 3


def test_files_that_come_after_a_failed_write_are_removed(run):
    """Where one write fails, Orbax's others are still on their way."""
    before, unfinished = _contents(run), run / "checkpoints/.unfinished"
    late = unfinished / "3.orbax-checkpoint-tmp/clock"
    late.mkdir(parents=True)
    (late / "manifest.ocdbt").write_text("late")
    _save(run, 3)
    assert not unfinished.exists() and _restore(run) == 3
    assert before.keys() < _contents(run).keys()
    late.mkdir(parents=True)
    (unfinished / "notes.txt").write_text("mine")
    _save(run, 4)
    assert (unfinished / "notes.txt").read_text() == "mine"


FULL = """
import resource, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
import test_checkpoint as t
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    t._save(t.Path({run!r}), 3)
except t.InputError as error:
    print("told:", error)
"""


def test_a_write_that_the_system_refuses_is_told(run):
    """A file may hold 600 bytes, as on a disk that is full before the arrays."""
    before = _contents(run)
    code = FULL.format(
        tests=str(Path(__file__).parent), root=str(bundles.Path.cwd()), run=str(run)
    )
    found = forks.run("-c", code)
    assert "told: " in found.stdout, found.stderr[-2000:]
    assert (
        "cannot be written" in found.stdout and "continues from there" in found.stdout
    )
    assert _contents(run) == before


def test_what_a_killed_save_left_is_removed_at_the_next_start(run):
    left = run / checkpoint.FOLDER / checkpoint.UNFINISHED
    left.mkdir()
    marks.mark(left, checkpoint.UNFINISHED)
    (left / "3").mkdir()
    (left / "3/half").write_text("half")
    assert _restore(run) == 2
    assert not left.exists()


def test_a_linked_folder_of_checkpoints_stays_a_link(tmp_path):
    disk, run = tmp_path / "disk", tmp_path / "run"
    disk.mkdir(), run.mkdir()
    (run / checkpoint.FOLDER).symlink_to(disk)
    _save(run, 1, 2, 3, keep=2)
    assert (run / checkpoint.FOLDER).is_symlink()
    assert sorted(path.name for path in disk.iterdir()) == ["2", "3"]
    shutil.rmtree(disk)
    (run / checkpoint.FOLDER).unlink()
    (run / checkpoint.FOLDER).symlink_to(tmp_path / "unmounted/disk")
    with pytest.raises(InputError, match="is a link to .*does not exist. Mount"):
        _save(run, 4)


# ---- who else is there ----

READER = """
import sys, time
sys.path.insert(0, {root!r})
from mmgr_jax.store import checkpoint
with checkpoint.held({run!r}) as bundle:
    print(bundle.name, flush=True)
    sys.stdin.readline()
    print(sorted(checkpoint.load_arrays(bundle)["params"]), flush=True)
"""


def test_a_bundle_that_another_process_reads_stays(run):
    code = READER.format(root=str(bundles.Path.cwd()), run=str(run))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout.readline() == "2\n"
        _save(run, 3, 4, keep=1)
        names = sorted(path.name for path in (run / checkpoint.FOLDER).iterdir())
        assert names == ["2", "4"]
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "['b', 'w']\n"
        assert reader.wait(60) == 0
    _save(run, 5, keep=1)
    assert [path.name for path in (run / checkpoint.FOLDER).iterdir()] == ["5"]


def test_holding_takes_the_newer_one_where_a_bundle_went_meanwhile(run, monkeypatch):
    whole, gone = checkpoint.latest, []

    def late(path):
        found = whole(path)
        if not gone:
            gone.append(shutil.rmtree(found))
        return found

    monkeypatch.setattr(checkpoint, "latest", late)
    with checkpoint.held(run) as bundle:
        assert bundle.name == "1"
