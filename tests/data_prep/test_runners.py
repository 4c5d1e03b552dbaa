"""Whoever writes the shards, the records are the same; what a runner refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_city

from data_prep import build
from data_prep.records import runners, shards
from mmgr_jax.errors import InputError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return str(folder / "raw")


@pytest.fixture
def config(raw, tmp_path):
    config = small_city.describe(raw)
    config.records.dir = str(tmp_path / "records")
    return config


@pytest.fixture(scope="module")
def expected(raw, tmp_path_factory):
    config = small_city.describe(raw)
    config.records.dir = str(tmp_path_factory.mktemp("one") / "records")
    return small_city.contents(build.build(config, run=runners.local(1)))


def test_two_processes_write_the_same_bytes(config, expected):
    assert small_city.contents(build.build(config, run=runners.local(2))) == expected


def test_beam_writes_the_same_bytes(config, expected):
    pytest.importorskip("apache_beam")
    run = runners.make("beam", beam_runner="FnApiRunner")
    assert small_city.contents(build.build(config, run=run)) == expected


def test_a_build_begun_by_one_runner_is_finished_by_another(
    config, expected, monkeypatch
):
    whole = shards.write

    def stop_after_one(shard, encode):
        if shard.first:
            raise KeyboardInterrupt
        whole(shard, encode)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            build.build(config, run=runners.local(1))
    assert small_city.contents(build.build(config, run=runners.local(2))) == expected


class Dying:
    """Encodes nothing: its process is killed, as for lack of memory."""

    def __call__(self, regions):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told_as_such(tmp_path):
    todo = [shards.Shard(tmp_path / str(i), i, 1) for i in range(2)]
    with pytest.raises(InputError, match="one of 2 worker processes died"):
        runners.local(2)(Dying(), todo)


class Failing:
    """Encodes nothing: its sources are unfit."""

    def __call__(self, regions):
        raise InputError("tile.tif: cannot be read")


ORPHANS = """
import os, sys, time
from pathlib import Path
from data_prep.records import runners
from data_prep.records import shards

def endless(regions):
    Path(sys.argv[1], f"pid-{os.getpid()}").touch()
    time.sleep(600)
    yield b""

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    todo = [shards.Shard(folder / f"{k}", k, 1) for k in range(2)]
    runners.local(2)(endless, todo)
"""


def test_workers_end_with_a_build_that_is_killed(tmp_path):
    """So that the build that takes over its lock is alone."""
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    root = str(Path(runners.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": root},
    )
    deadline = time.monotonic() + 100
    while len(pids := list(tmp_path.glob("pid-*"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    numbers = [int(path.name.removeprefix("pid-")) for path in pids]
    while any(_lives(number) for number in numbers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[1][:3]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_is_that_of_the_build(tmp_path, workers):
    todo = [shards.Shard(tmp_path / str(i), i, 1) for i in range(2)]
    with pytest.raises(InputError, match="tile.tif: cannot be read"):
        runners.local(workers)(Failing(), todo)


def test_few_regions_are_written_by_this_process():
    assert runners._sensible(100) == 1
    assert runners._sensible(100_000) == os.cpu_count()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spark", {}, "--runner=spark is unknown; allowed: local, beam"),
        ("local", {"workers": -1}, "--workers=-1; allowed: 1 or more"),
        ("local", {"beam_options": ["--x"]}, "no effect without --runner=beam"),
        ("beam", {}, "names no engine. Name one, such as FnApiRunner"),
        ("beam", {"beam_runner": "DirectRunner"}, "names no engine"),
        (
            "beam",
            {"beam_runner": "FnApiRunner", "beam_options": ["--runner=x"]},
            "name it by --beam_runner",
        ),
        ("beam", {"workers": 2}, "--workers has no effect with --runner=beam"),
    ],
)
def test_what_does_not_go_together_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        runners.make(name, **options)
