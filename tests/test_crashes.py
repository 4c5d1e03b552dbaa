"""The whole command, killed at random moments: nothing lost, nothing different."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import forks
import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import processes
import pytest

from mmgr_jax.data import schema
from mmgr_jax.store import bundles, checkpoint
from mmgr_jax.train import metrics

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("MMGR_KILLS", 20))
STEPS = 24
COMMAND = [
    "-m", "mmgr_jax.main", f"--config={ROOT}/configs/toy_city.py:smoke",
    f"--config.train.total={STEPS} steps", "--config.train.save_every=3 steps",
    "--config.eval.features=('image',)", "--config.eval.baselines=('mean',)",
    "--config.eval.curves.methods=()", "--config.eval.protocols=('linear',)",
    "--config.embed.features=image",
]  # fmt: skip
RECORDS, RUN = Path("data/toy_city_smoke/records"), Path("runs/toy_city_smoke")


def _start(folder, programs):
    """The command; what a kill leaves of its compiled programs is no other test's."""
    given = {
        "XLA_FLAGS": processes.QUICK,
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # each is needed many times
    }  # fmt: skip
    with (folder / "output.txt").open("a") as output:
        return forks.Process(
            COMMAND, output, cwd=folder, env=os.environ | given, session=True
        )


def _rows(folder):
    return [json.loads(line) for line in (folder / RUN / metrics.METRICS_FILE).open()]


def _arrays(folder):
    bundle = checkpoint.latest(folder / RUN)
    stored = ocp.checkpointables_metadata(bundle).metadata
    template = {
        name: jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), stored[name])
        for name in ("model", "train")
    }
    return ocp.load_checkpointables(bundle, template | {"data": None})


def _check_whole(folder):
    """What must hold after every kill: what has its final name is whole."""
    if (folder / RECORDS).exists():
        manifest = schema.Manifest.load(folder / RECORDS)
        assert all(path.exists() for path in manifest.shard_paths(folder / RECORDS))
    for bundle in (folder / RUN / checkpoint.FOLDER).glob("[0-9]*"):
        bundles.verify(bundle)
    report = folder / RUN / "eval/report.json"
    if report.exists():
        json.loads(report.read_text())


def _left(folder):
    """Names that nothing finished should have."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.startswith(".")
        or path.name.endswith((".tmp", ".partial"))
        or "damaged-" in path.name
        or ".before-" in path.name
    ]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nobody killed; the second, which finds its programs compiled."""
    folder = tmp_path_factory.mktemp("straight")
    programs = folder / "programs"
    for name in ("first", "second"):
        (folder / name).mkdir()
        begin = time.monotonic()
        told = folder / name / "output.txt"
        assert _start(folder / name, programs).wait(600) == 0, told.read_text()[-3000:]
    return folder / "second", programs, time.monotonic() - begin


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_and_change_nothing(straight, tmp_path):
    expected, programs, duration_s = straight
    rng = random.Random(seed := int(os.environ.get("MMGR_SEED", time.time())))
    print(f"seed {seed}; a run takes {duration_s:.0f} s")
    kills, starts, runs = 0, 0, 0
    while kills < KILLS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        before = kills
        while True:
            process, begin = _start(folder, programs), time.monotonic()
            starts += 1
            try:
                code = process.wait(rng.uniform(0.1, 1.0) * duration_s)
            except subprocess.TimeoutExpired:
                if kills == KILLS:
                    code = process.wait(600)
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                    assert process.wait(60) == -signal.SIGKILL
                    kills += 1
                    _check_whole(folder)
                    continue
            if before == kills:  # the machine may be less busy than it was
                duration_s = min(duration_s, time.monotonic() - begin)
            told = (folder / "output.txt").read_text()
            assert code == 0, (seed, told[-3000:])
            break
        runs += 1
        assert "Traceback" not in told, (seed, told[-3000:])
        assert "is damaged" not in told, seed
        _assert_same(folder, expected, seed)
    print(f"{kills} kills, {starts} starts, {runs} runs: all alike")


def _assert_same(folder, expected, seed):
    ours, theirs = _rows(folder), _rows(expected)
    assert [row["step"] for row in ours] == list(range(1, STEPS + 1)), seed
    assert [row["loss"] for row in ours] == [row["loss"] for row in theirs], seed
    ours, theirs = _arrays(folder), _arrays(expected)
    assert ours["data"] == theirs["data"]
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    ours, theirs = (
        schema.Manifest.load(of / RECORDS).shard_sha256 for of in (folder, expected)
    )
    assert ours == theirs, seed
    ours, theirs = (
        json.loads((of / RUN / "eval/report.json").read_text())["tasks"]
        for of in (folder, expected)
    )
    assert ours == theirs, seed
    assert (folder / RUN / "maps/population.png").stat().st_size > 5000
    assert _left(folder) == [], seed
