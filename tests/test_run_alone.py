"""A run and who else is there: other runs, readers, builds, what somebody broke."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_records import config_of

from mmgr_jax.data import schema
from mmgr_jax.disk import locks
from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop, metrics

ROOT = Path(__file__).parents[1]


def _lengthened(config):
    """A run that may be made longer: no step's rate hangs on the length."""
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    return config


@pytest.fixture(scope="module")
def finished_workdir(records_dir, tmp_path_factory):
    config = config_of(records_dir, tmp_path_factory.mktemp("finished"))
    return loop.train(_lengthened(config))


@pytest.fixture
def finished(small_config, finished_workdir):
    """A config whose workdir holds a copy of a finished run."""
    shutil.copytree(finished_workdir, small_config.workdir)
    return _lengthened(small_config)


def _contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


HOLDER = """
import sys
from pathlib import Path
from mmgr_jax.train import loop as train
with train.alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_trainings_in_one_workdir_meet(finished):
    """Started while another trains, a run refuses and touches nothing of its."""
    finished.train.total = "6 steps"
    unfinished = Path(finished.workdir) / checkpoint.FOLDER / checkpoint.UNFINISHED
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, finished.workdir],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        unfinished.mkdir()  # what the other is writing
        before = _contents(finished.workdir)
        with pytest.raises(
            InputError,
            match=rf"\(a training, process {process.pid} on .* another --config.workd",
        ):
            loop.train(finished)
        assert _contents(finished.workdir) == before and unfinished.is_dir()
        process.communicate("\n")
    unfinished.rmdir()
    loop.train(finished)
    assert checkpoint.latest(finished.workdir).name == "6"
    assert not (Path(finished.workdir) / loop.LOCK_FILE).exists()


def test_records_stay_while_a_run_reads_them(finished, monkeypatch):
    """A build that would replace them is told so; see `data_prep.records.alone`."""
    manifest = Path(finished.records.dir) / schema.MANIFEST_FILE
    seen, whole = [], loop._train

    def looking(*given):
        with locks.removing(manifest) as free:
            seen.append(free)
        return whole(*given)

    monkeypatch.setattr(loop, "_train", looking)
    loop.train(finished)
    assert seen == [False]
    with locks.removing(manifest) as free:
        assert free


def test_damaged_checkpoints_alone_never_begin_anew(finished):
    workdir = Path(finished.workdir)
    before = (workdir / metrics.METRICS_FILE).read_bytes()
    for bundle in (workdir / checkpoint.FOLDER).iterdir():
        next((bundle / "model").rglob("d/*")).write_bytes(b"")
    finished.train.total = "6 steps"
    for _ in range(2):
        with pytest.raises(InputError, match="no checkpoint can be read.*damaged-"):
            loop.train(finished)
    assert (workdir / metrics.METRICS_FILE).read_bytes() == before
    left = sorted(path.name for path in (workdir / checkpoint.FOLDER).iterdir())
    assert left == ["damaged-2", "damaged-4"]


def test_a_run_whose_checkpoints_somebody_took_away_keeps_its_numbers(finished, caplog):
    workdir = Path(finished.workdir)
    before = (workdir / metrics.METRICS_FILE).read_bytes()
    shutil.rmtree(workdir / checkpoint.FOLDER)
    finished.train.total, finished.train.save_every = "1 steps", "1 steps"
    with caplog.at_level("WARNING"):
        loop.train(finished)
    assert (workdir / "metrics.before-1.jsonl").read_bytes() == before
    assert "this run begins at step 0; a copy is kept" in caplog.text


def test_a_linked_workdir_stays_a_link(finished, tmp_path):
    disk = tmp_path / "disk"
    shutil.move(finished.workdir, disk)
    Path(finished.workdir).symlink_to(disk)
    finished.train.total = "6 steps"
    loop.train(finished)
    assert Path(finished.workdir).is_symlink()
    assert checkpoint.latest(disk).name == "6"
