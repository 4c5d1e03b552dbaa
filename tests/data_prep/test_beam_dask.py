"""Apache Beam on a Dask scheduler with two workers: the records of a local build."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_city

from data_prep import build
from data_prep.records import runners

pytest.importorskip("apache_beam")
distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

ROOT = Path(build.__file__).parents[1]
SHARDS = 8


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return str(folder / "raw")


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler, and the processes of its two workers."""
    file = tmp_path / "scheduler.json"
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    env = os.environ | {
        "PYTHONPATH": path,
        "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False",
    }
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    started = [
        subprocess.Popen(
            [*start, f"--scheduler-file={file}", "--port=0", "--no-dashboard"], env=env
        )
    ]
    try:
        start = [sys.executable, "-m", "distributed.cli.dask_worker"]
        options = [f"--scheduler-file={file}", "--nthreads=1", "--no-nanny"]
        workers = [
            subprocess.Popen(
                [*start, *options, "--no-dashboard"], env=env, cwd=tmp_path
            )
            for _ in range(2)
        ]
        started += workers
        with distributed.Client(scheduler_file=str(file), timeout=120) as client:
            client.wait_for_workers(2, timeout=120)
            yield client.scheduler.address, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


class Slow:
    """Encodes as the build does, slowly, and says which process began which shard."""

    def __init__(self, encode, folder):
        self.encode, self.folder = encode, folder

    def __call__(self, regions):
        Path(self.folder, f"{os.getpid()}-{regions[0]}").touch()
        time.sleep(1.5)
        yield from self.encode(regions)


def begun(folder):
    """Process and first region of every shard that was begun."""
    return [tuple(map(int, path.name.split("-"))) for path in folder.iterdir()]


@pytest.mark.parametrize("killed", [False, True])
def test_two_workers_write_what_a_local_build_does(raw, tmp_path, scheduler, killed):
    address, workers = scheduler
    config = small_city.describe(raw)
    config.records.num_shards = SHARDS
    config.records.dir = str(tmp_path / "local" / "records")
    expected = small_city.contents(build.build(config, run=runners.local(1)))
    marks = tmp_path / "marks"
    marks.mkdir()
    beam = runners.make(
        "beam",
        beam_runner="DaskRunner",
        beam_options=[f"--dask_client_address={address}"],
    )

    def run(encode, todo):
        killer = None
        if killed:
            killer = subprocess.Popen(
                [sys.executable, "-c", KILL, str(marks), str(workers[0].pid)]
            )
        beam(Slow(encode, str(marks)), todo)
        if killer:
            assert killer.wait() == 0

    config.records.dir = str(tmp_path / "beam" / "records")
    assert small_city.contents(build.build(config, run=run)) == expected
    shards_begun = begun(marks)
    assert {process for process, _ in shards_begun} == {w.pid for w in workers}
    assert len({first for _, first in shards_begun}) == SHARDS
    if killed:  # what the killed one was at was done again by the other
        assert workers[0].wait() == -signal.SIGKILL
        redone = {first for process, first in shards_begun if process == workers[0].pid}
        again = {first for process, first in shards_begun if process == workers[1].pid}
        assert redone & again


KILL = """
import os, signal, sys, time
from pathlib import Path
deadline = time.monotonic() + 200
while not list(Path(sys.argv[1]).glob(sys.argv[2] + "-*")):
    assert time.monotonic() < deadline
    time.sleep(0.02)
time.sleep(0.3)
os.kill(int(sys.argv[2]), signal.SIGKILL)
"""
