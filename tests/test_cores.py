"""Cores that are ours, and systems on which processes cannot work together."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from data_prep.running import processes
from mmgr_jax import cores


@pytest.mark.skipif(sys.platform != "linux", reason="others bind no process to cores")
def test_only_cores_that_the_process_may_use_count():
    asked = "from mmgr_jax import cores; print(cores.count())"
    core = str(min(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "--cpu-list", core, sys.executable, "-c", asked],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "1\n" and cores.count() >= 1


@pytest.fixture
def warnings(monkeypatch, caplog):
    """What is logged where the system has no semaphores."""

    def no_lock(context):
        raise PermissionError(13, "Permission denied")

    context = type(multiprocessing.get_context("spawn"))
    monkeypatch.setattr(context, "Lock", no_lock)
    return caplog


def test_it_is_said_why_one_process_works_alone(warnings):
    assert not cores.can_share_work()
    assert "(Permission denied). On Linux, /dev/shm" in warnings.messages[0]


def test_this_process_does_the_work_of_the_others(warnings):
    def work(shared, item):  # which no other process could load
        return shared + item

    assert list(processes.as_done(work, 10, [1, 2, 3], 2)) == [
        (0, 11),
        (1, 12),
        (2, 13),
    ]
    assert len(warnings.messages) == 1


def test_elsewhere_processes_share_work():
    assert cores.can_share_work()


def test_one_blas_thread_within_and_as_before_after():
    def threads():
        return [
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ]

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert set(before) == {2}
        for _ in range(2):  # the second time nothing is looked for
            with cores.one_blas_thread():
                assert set(threads()) == {1}
            assert threads() == before


def test_a_library_that_is_loaded_later_has_one_thread_too():
    asked = (
        "from mmgr_jax import cores\n"
        "from threadpoolctl import threadpool_info as info\n"
        "with cores.one_blas_thread(): assert not info()\n"
        "import numpy, scipy.linalg\n"
        "with cores.one_blas_thread(): print({i['num_threads'] for i in info()})"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.stdout == "{1}\n"
