"""Training as a whole: resuming, devices, and what a user can get wrong."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import chex
import forks
import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import processes
import pytest
from small_records import config_of

from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint
from mmgr_jax.train import experiment, loop, metrics

ROOT = Path(__file__).parents[1]

RUN = """
import sys
sys.path.insert(0, {tests!r})
from configs import toy_city
from mmgr_jax.train import loop as train
config = toy_city.get_config("smoke")
config.workdir, config.records.dir = {workdir!r}, {records!r}
config.augment.size_px = 32
config.train.total, config.train.save_every = "20 steps", "10 steps"
config.train.log_every = "1 steps"
config.train.keep = 3
if __name__ == "__main__":
    train.train(config)
"""


def _start(workdir, records_dir):
    script = RUN.format(
        tests=str(ROOT / "tests"), workdir=str(workdir), records=str(records_dir)
    )
    environment = os.environ | {"XLA_FLAGS": processes.QUICK}
    with workdir.with_suffix(".txt").open("a") as output:
        return forks.Process(("-c", script), output, env=environment)


def _bundle(workdir, step):
    """Every array of a checkpoint, and how far its records were read."""
    folder = workdir / checkpoint.FOLDER / str(step)
    stored = ocp.checkpointables_metadata(folder).metadata
    template = {
        name: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), stored[name])
        for name in ("model", "train")
    }
    loaded = ocp.load_checkpointables(folder, template | {"data": None})
    return {name: loaded[name] for name in template}, loaded["data"]


@pytest.mark.slow
def test_twenty_steps_equal_ten_kill_restart_ten_bit_for_bit(records_dir, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert _start(straight, records_dir).wait(300) == 0

    process = _start(broken, records_dir)
    deadline = time.time() + 240
    while not (broken / checkpoint.FOLDER / "10").is_dir() and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (broken / checkpoint.FOLDER / "20").exists()
    assert _start(broken, records_dir).wait(300) == 0

    (arrays, iterator), (arrays_2, iterator_2) = (
        _bundle(workdir, 20) for workdir in (straight, broken)
    )
    assert iterator and iterator == iterator_2  # so the next batch is the same
    assert len(jax.tree.leaves(arrays)) > 50
    chex.assert_trees_all_equal(arrays, arrays_2)

    rows, rows_2 = (
        [json.loads(line) for line in (w / metrics.METRICS_FILE).open()]
        for w in (straight, broken)
    )
    assert [row["step"] for row in rows_2] == list(range(1, 21))
    assert [row["loss"] for row in rows] == [row["loss"] for row in rows_2]


@pytest.fixture
def finished(small_config, finished_workdir):
    """A config whose workdir holds a copy of a finished run."""
    shutil.copytree(finished_workdir, small_config.workdir)
    return small_config


@pytest.fixture(scope="module")
def finished_workdir(records_dir, tmp_path_factory):
    return loop.train(config_of(records_dir, tmp_path_factory.mktemp("finished")))


def test_iterator_restored_from_a_checkpoint_gives_the_next_batch(finished):
    config = finished
    run = experiment.build(config)
    straight = run.batches()
    for _ in range(run.total_steps):
        next(straight)
    expected = next(straight)

    with checkpoint.Checkpoints(run.workdir, keep=2) as checkpoints:
        state, restored, _ = loop.begin(run, checkpoints)
    assert int(state.step) == run.total_steps
    for name, rows in next(restored).items():
        np.testing.assert_array_equal(rows, expected[name])


@pytest.fixture(scope="module")
def one_device_steps(records_dir):
    """Five steps on one device."""
    return _steps_on(1, records_dir)


RATE = 0.1


def _optimised(function, jit=jax.jit, **given):
    """Compiles the step as users do: `processes.QUICK` rounds otherwise."""
    if "donate_argnums" in given:
        given["compiler_options"] = {
            "xla_backend_optimization_level": 3,
            "xla_llvm_disable_expensive_passes": False,
            "xla_cpu_use_fusion_emitters": True,
        }
    return jit(function, **given)


def _steps_on(devices, records_dir):
    """Metrics of five steps of SGD, and the gradient of the first."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.records.dir, config.augment.size_px = str(records_dir), 32
    config.mesh.data, config.data.batch_size = devices, 32
    config.optim.name, config.optim.schedule = "sgd", "constant"
    config.optim.learning_rate, config.optim.warmup = RATE, "0 steps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", _optimised)
        run = experiment.build(config)
    state, batches, told = run.init(), run.batches(), []
    before = jax.device_get(state.params)
    for _ in range(5):
        batch = run.put(next(batches))
        assert len(batch["image"].sharding.device_set) == devices
        state, values = run.step(state, batch)
        told.append(jax.device_get(values))
        if len(told) == 1:
            after = jax.device_get(state.params)
    gradient = jax.tree.map(lambda a, b: (a - b) / RATE, before, after)
    return told, gradient


def slow(parameter):
    return pytest.param(parameter, marks=pytest.mark.slow)


@pytest.mark.parametrize("devices", [*map(slow, (2, 4, 8))])
def test_loss_gradient_and_five_steps_do_not_depend_on_the_number_of_devices(
    devices, records_dir, one_device_steps
):
    expected, expected_gradient = one_device_steps
    told, gradient = _steps_on(devices, records_dir)
    for values, others in zip(told, expected, strict=True):
        for name in ("loss", "loss_inter", "loss_intra", "gradient_norm"):
            np.testing.assert_allclose(values[name], others[name], rtol=2e-5)
    norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(expected_gradient)))
    difference = jax.tree.map(np.subtract, gradient, expected_gradient)
    distance = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(difference)))
    assert distance <= 2e-5 * norm


@pytest.mark.slow
def test_a_checkpoint_goes_from_one_device_to_eight_and_to_two(
    small_config, tmp_path, recwarn, caplog
):
    config = small_config
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.optim.name, config.optim.learning_rate = "sgd", 0.1
    config.train.log_every = "1 steps"

    def trained(workdir, devices, total):
        config.workdir, config.mesh.data = str(tmp_path / workdir), devices
        config.train.total = f"{total} steps"
        workdir = loop.train(config)
        return [json.loads(line) for line in (workdir / metrics.METRICS_FILE).open()]

    straight = trained("straight", 1, 6)
    for devices, total in ((1, 2), (8, 4), (2, 6)):
        moved = trained("moved", devices, total)
    assert [row["step"] for row in moved] == list(range(1, 7))
    for row, expected in zip(moved, straight, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    told = [str(warning.message) for warning in recwarn] + caplog.messages
    assert not [text for text in told if "sharding" in text.lower()]


def _damage(bundle):
    """Cuts the largest file of a bundle in half, as a full disk does."""
    files = [path for path in bundle.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(finished, caplog):
    workdir = Path(finished.workdir)
    expected, _ = _bundle(workdir, 4)
    _damage(workdir / checkpoint.FOLDER / "4")
    with caplog.at_level("WARNING"):
        loop.train(finished)
    assert "checkpoints/4: this checkpoint is damaged" in caplog.text
    assert (workdir / checkpoint.FOLDER / "damaged-4").is_dir()
    again, _ = _bundle(workdir, 4)
    chex.assert_trees_all_equal(again, expected)


@pytest.mark.slow
def test_without_any_whole_checkpoint_the_run_says_so(small_config):
    small_config.train.keep = 1
    workdir = loop.train(small_config)
    _damage(workdir / checkpoint.FOLDER / "4")
    with pytest.raises(InputError, match="no checkpoint can be read.*damaged-<step>"):
        loop.train(small_config)


def test_another_optimiser_is_refused_and_nothing_set_aside(finished):
    finished.optim.name = "sgd"
    with pytest.raises(
        InputError, match=r"optim\.name: 'adam' in the checkpoint, 'sgd' here"
    ):
        loop.train(finished)
    assert not list(Path(finished.workdir).rglob("damaged*"))


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_continues(records_dir, tmp_path):
    """As a preempted machine does: a notice, a saved step, a later restart."""
    workdir = tmp_path / "run"
    process = _start(workdir, records_dir)
    log = workdir / metrics.METRICS_FILE
    while not (log.exists() and log.read_text().count("\n") >= 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    saved = int(checkpoint.latest(workdir).name)
    steps = [json.loads(line)["step"] for line in log.open()]
    assert 3 <= saved < 20 and steps[-1] == saved
    assert _start(workdir, records_dir).wait(300) == 0
    assert [json.loads(line)["step"] for line in log.open()] == list(range(1, 21))


def test_training_writes_log_rows_and_tensorboard(finished):
    workdir = Path(finished.workdir)
    rows = [json.loads(line) for line in (workdir / metrics.METRICS_FILE).open()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(row["loss"]) for row in rows)
    weight = finished.loss.image_weight
    for row in rows:
        expected = (1 - weight) * row["loss_inter"] + weight * row["loss_intra"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
    assert rows[0]["loss_intra"] < np.log(2 * 16 - 1) + 2
    assert list((workdir / "tensorboard").glob("events.*"))


def test_a_checkpoint_of_another_model_is_refused_naming_the_keys(finished):
    finished.model.image_encoder.width = 12
    with pytest.raises(InputError, match=r"image_encoder\.width: 8 in .*, 12 here"):
        loop.train(finished)


def test_a_loss_that_is_no_number_stops_the_run(small_config):
    small_config.optim.learning_rate = 1e38
    small_config.optim.schedule = "constant"
    small_config.optim.warmup = "0 steps"
    with pytest.raises(
        InputError,
        match="the loss or gradient is no longer a number .*with the regions r0",
    ):
        loop.train(small_config)
    assert checkpoint.Checkpoints(small_config.workdir, keep=2).latest_step is None


@pytest.mark.parametrize(("short_batch", "steps"), [("fill", 30), ("drop", 20)])
def test_epochs_of_the_config_are_those_of_the_log(small_config, short_batch, steps):
    small_config.data.batch_size, small_config.data.short_batch = 16, short_batch
    small_config.train.total = "10 epochs"
    run = experiment.build(small_config)
    told = loop.describe(run, "small")
    assert f"{steps} steps = 10.0 epochs" in told


@pytest.mark.parametrize("total", ["120 epochs", "5 steps"])
def test_a_batch_of_more_regions_than_there_are_is_told_before_all_else(
    small_config, caplog, total
):
    small_config.data.batch_size, small_config.train.total = 48, total
    with pytest.raises(InputError, match="batch_size=48 exceeds the 40 regions"):
        loop.train(small_config)
    assert "epochs" not in caplog.text


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("data", "batch_size", 41, r"batch_size=41 exceeds the 40 regions"),
        ("data", "max_pois", 0, r"max_pois=0; allowed: greater than or equal to 1"),
        ("mesh", "data", 9, r"mesh.data=9, but 8 devices"),
        ("model", "dtype", "half", r"model.dtype='half'; allowed: 'float32' or 'b"),
        ("optim", "name", "adagrad", r"optim.name='adagrad'; allowed: 'adam', 'adamw'"),
        ("optim", "weight_decay", 0.1, r"weight_decay=0.1 has no effect"),
        ("train", "total", "3 weeks", r"train.total='3 weeks' is not a duration"),
        ("train", "total", "0 steps", r"less than one step"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    section, key, value, message, small_config
):
    with pytest.raises(InputError, match=message):
        small_config[section][key] = value
        loop.train(small_config)


def test_an_indivisible_batch_is_refused_with_sizes_that_fit(small_config):
    small_config.mesh.data = 8
    small_config.data.batch_size = 20
    with pytest.raises(InputError, match="over 8 devices. Take 16 or 24"):
        loop.train(small_config)
