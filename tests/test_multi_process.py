"""Several processes that train as one, on loopback: the same run, and what ends it."""

import json
import re
import shutil
import signal
import time

import chex
import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest
from processes import SAVE_EVERY, TOTAL, configure, output, start

from mmgr_jax import settings
from mmgr_jax.devices import joining
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.while_training import Evaluator
from mmgr_jax.store import checkpoint
from mmgr_jax.train import loop, metrics

TOLD = ("loss", "loss_inter", "loss_intra", "gradient_norm")


def rows(workdir):
    return [json.loads(line) for line in (workdir / metrics.METRICS_FILE).open()]


def bundle(workdir, step=TOTAL):
    """Every array of a checkpoint, wherever it lay when it was saved."""
    folder = workdir / checkpoint.FOLDER / str(step)
    stored = ocp.checkpointables_metadata(folder).metadata
    template = {
        name: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), stored[name])
        for name in ("model", "train")
    }
    return ocp.load_checkpointables(folder, template | {"data": None})


def finish(processes, workdir):
    """Waits for the processes; they must end well."""
    codes = [process.wait(300) for process in processes]
    assert codes == [0] * len(codes), output(workdir, 0).read_text()[-4000:]


def wait_for(condition, processes):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        assert any(process.poll() is None for process in processes)
        time.sleep(0.02)


def alone(workdir, records_dir, total=TOTAL, **changes):
    """The same run in this process, on one device."""
    from configs import toy_city

    city = toy_city.get_config("smoke")
    config = configure(city, workdir, records_dir, total, **changes)
    config.mesh.data = 1
    return loop.train(config, Evaluator(config))


def assert_same_run(ours, theirs):
    """Losses and gradients of every step, to 1e-5."""
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, expected in zip(ours, theirs, strict=True):
        for name in TOLD:
            assert row[name] == pytest.approx(expected[name], rel=1e-5), row["step"]
        looked = [name for name in row if name.startswith(metrics.VALIDATION)]
        assert len(looked) == (0 if row["step"] % SAVE_EVERY else 2)
        for name in looked:  # a neighbour may change places with the next
            assert row[name] == pytest.approx(expected[name], abs=0.01), row["step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def one(folder, records_dir):
    """A run of one process on one device."""
    return alone(folder / "one", records_dir)


@pytest.fixture(scope="module")
def two(folder, records_dir):
    """The same run of two processes with two devices each."""
    workdir = folder / "two"
    finish(start(workdir, records_dir), workdir)
    return workdir


@pytest.mark.slow
def test_two_processes_train_as_one(one, two):
    assert_same_run(rows(two), rows(one))
    ours, theirs = bundle(two), bundle(one)
    assert ours["data"] == theirs["data"]
    start = bundle(one, SAVE_EVERY)["model"]
    way = jax.tree.map(np.subtract, theirs["model"], start)
    off = jax.tree.map(np.subtract, ours["model"], theirs["model"])
    length = lambda tree: np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(tree)))  # noqa: E731
    assert length(off) <= 1e-4 * length(way)


@pytest.mark.slow
def test_two_processes_with_one_locked_tower(folder, records_dir):
    """Process 0 makes its features, both read them; state is split over devices."""
    together, single = folder / "together", folder / "single"
    finish(start(together, records_dir, total=4, fsdp=2, locked=True), together)
    alone(single, records_dir, total=4, locked=True)
    assert_same_run(rows(together), rows(single))
    (ours,), (theirs,) = (path.glob("tower/*.npy") for path in (together, single))
    assert ours.name == theirs.name  # of equal weights
    np.testing.assert_allclose(np.load(ours), np.load(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_process_0_alone_speaks_and_writes(two):
    told, silent = (output(two, index).read_text() for index in (0, 1))
    assert "16 over 4 cpu devices (8 in each of 2 processes, 4 on each)" in told
    assert re.search(rf"step {TOTAL}/{TOTAL}", told)
    # Gloo writes by several threads, at times into one another's lines.
    gloo = ("[Gloo]", "connected peer ranks")
    silent = [line for line in silent.splitlines() if not any(g in line for g in gloo)]
    assert silent == []
    assert len(list((two / "tensorboard").glob("events.*"))) == 1
    assert [row["step"] for row in rows(two)] == list(range(1, TOTAL + 1))


@pytest.mark.slow
def test_nobody_reads_a_sharding_file(two):
    assert "harding" not in output(two, 0).read_text()


@pytest.mark.slow
def test_one_process_goes_on_from_a_checkpoint_of_two(two, records_dir, tmp_path):
    workdir = tmp_path / "run"
    mid = f"{checkpoint.FOLDER}/{TOTAL - SAVE_EVERY}"
    shutil.copytree(two / mid, workdir / mid)
    alone(workdir, records_dir)
    assert_same_run(rows(workdir), rows(two)[-SAVE_EVERY:])


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_go_on(two, records_dir, tmp_path):
    workdir = tmp_path / "run"
    first, second = processes = start(workdir, records_dir)
    saved = workdir / checkpoint.FOLDER / str(SAVE_EVERY)
    wait_for(saved.is_dir, processes)
    second.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert first.wait(60) != 0
    assert time.monotonic() - began < 60
    assert re.search(
        "one of them has ended|another task", output(workdir, 0).read_text()
    )
    assert not (workdir / checkpoint.FOLDER / str(TOTAL)).exists()

    finish(start(workdir, records_dir), workdir)
    assert "continuing from step" in output(workdir, 0).read_text()
    chex.assert_trees_all_equal(bundle(workdir), bundle(two))
    assert [row["step"] for row in rows(workdir)] == list(range(1, TOTAL + 1))
    assert [row["loss"] for row in rows(workdir)] == [row["loss"] for row in rows(two)]


@pytest.mark.slow
@pytest.mark.parametrize("asked", [(0, 1), (1,)])
def test_sigterm_saves_at_the_same_step_in_all(asked, two, records_dir, tmp_path):
    workdir = tmp_path / "run"
    processes = start(workdir, records_dir, total=400)
    log = workdir / metrics.METRICS_FILE
    wait_for(lambda: log.exists() and log.read_text().count("\n") >= 3, processes)
    for index in asked:
        processes[index].send_signal(signal.SIGTERM)
    assert [process.wait(120) for process in processes] == [143, 143]
    saved = int(checkpoint.latest(workdir).name)
    assert 3 <= saved < 400 and rows(workdir)[-1]["step"] == saved
    for process in start(workdir, records_dir, total=saved + 2):
        assert process.wait(300) == 0
    straight = rows(two)[: saved + 2]
    assert [row["loss"] for row in rows(workdir)][: len(straight)] == [
        row["loss"] for row in straight
    ]


@pytest.mark.slow
def test_two_processes_go_on_from_a_checkpoint_of_one(one, records_dir, tmp_path):
    workdir = tmp_path / "run"
    mid = f"{checkpoint.FOLDER}/{TOTAL - SAVE_EVERY}"
    shutil.copytree(one / mid, workdir / mid)
    finish(start(workdir, records_dir), workdir)
    assert_same_run(rows(workdir), rows(one)[-SAVE_EVERY:])


@pytest.mark.slow
def test_four_processes_train_as_one(one, records_dir, tmp_path):
    workdir = tmp_path / "run"
    finish(start(workdir, records_dir, count=4, devices=1), workdir)
    assert_same_run(rows(workdir), rows(one))


@pytest.mark.slow
def test_state_split_over_two_processes_goes_on_whole_in_one(
    one, records_dir, tmp_path
):
    workdir = tmp_path / "run"
    finish(start(workdir, records_dir, fsdp=4, total=TOTAL - SAVE_EVERY), workdir)
    alone(workdir, records_dir)
    assert_same_run(rows(workdir), rows(one))


GIVEN = dict(coordinator="10.0.0.1:8476", num_processes=2, process_id=0)
NONE = dict.fromkeys(GIVEN)


@pytest.mark.parametrize(
    ("mode", "given", "environment", "expected"),
    [
        ("auto", NONE, {}, None),
        ("off", NONE, {"SLURM_STEP_NUM_TASKS": "8"}, None),
        ("on", NONE, {}, {}),
        ("auto", NONE, {"SLURM_STEP_NUM_TASKS": "8"}, {}),
        ("auto", NONE, {"SLURM_STEP_NUM_TASKS": "1"}, None),
        ("auto", NONE, {"SLURM_NTASKS": "8"}, None),  # a script that has yet to srun
        ("auto", NONE, {"OMPI_COMM_WORLD_SIZE": "2"}, {}),
        ("auto", NONE, {"TPU_ML_PLATFORM": "JAX"}, {}),
        (
            "auto",
            GIVEN,
            {},
            {
                "coordinator_address": "10.0.0.1:8476",
                "num_processes": 2,
                "process_id": 0,
            },
        ),
    ],
)
def test_who_joins(mode, given, environment, expected):
    given = DistributedSettings(mode=mode, **given)
    options = joining.options(given, environment)
    assert options == expected


@pytest.mark.parametrize(
    ("mode", "changed", "message"),
    [
        ("later", {}, "distributed.mode='later'; allowed: 'auto', 'on' or 'off'"),
        ("off", {}, r"mode='off', but .*coordinator='10.0.0.1:8476'"),
        (
            "auto",
            {"process_id": None},
            r"incomplete: .*num_processes=2, but not "
            r"process_",
        ),
        ("auto", {"coordinator": "10.0.0.1"}, "'10.0.0.1' is not HOST:PORT"),
        ("auto", {"num_processes": 0}, "num_processes=0 must be at least 1"),
        ("auto", {"process_id": 2}, "process_id=2: 2 processes are numbered 0 to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(mode, changed, message):
    with pytest.raises(InputError, match=message):
        given = {"mode": mode} | GIVEN | changed
        read = settings.read(DistributedSettings, given, "distributed")
        joining.options(read, {})
