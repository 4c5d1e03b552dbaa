"""Processes that find each other, and what each is told where they do not."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmgr_jax.devices import joining, roll_call
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(port, processes, *, of=2, timeout_s=3.0, ports=None, host="127.0.0.1"):
    """What each process is told, "" where all is well."""

    def one(index, process):
        where = f"{host}:{(ports or {}).get(index, port)}"
        number = of[index] if isinstance(of, list) else of
        try:
            roll_call.call(where, number, process, timeout_s=timeout_s)
        except InputError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(one, range(len(processes)), processes))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_all_are_there(port, host):
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    assert call(port, [2, 0, 1, 3], of=4, host=host, timeout_s=10) == [""] * 4


def test_the_port_is_free_at_once_for_what_comes_after(port):
    assert call(port, [0, 1]) == ["", ""]
    with socket.create_server(("", port)):
        pass


def test_whoever_is_missing_is_named_to_all_who_came(port):
    began = time.monotonic()
    told = call(port, [0, 2], of=4, timeout_s=1.5)
    assert time.monotonic() - began < 10
    assert told[0] == told[1]
    assert "after 2 s processes 1, 3 of 4 had not connected to 127.0.0.1" in told[0]


def test_without_process_0_the_others_say_so(port):
    (told,) = call(port, [1], timeout_s=1.0)
    assert f"coordinator=127.0.0.1:{port}: process 0 has not answered process 1" in told
    assert "Connection refused" in told


@pytest.mark.parametrize("twice", [1, 2])
def test_equal_numbers_are_told_at_once(port, twice):
    began = time.monotonic()
    told = call(port, [0, twice, twice], of=3, timeout_s=60)
    assert time.monotonic() - began < 20
    assert told == [told[0]] * 3
    assert f"two processes have process_id={twice}" in told[0]


def test_two_first_processes_of_one_machine_are_told_at_once(port):
    told = call(port, [0, 0], timeout_s=1.0)
    assert any(
        "process 0 cannot listen at this port (another program" in t for t in told
    )
    assert any("process 1 of 2 had not connected" in t for t in told)


def test_another_number_of_processes_is_told_to_all(port):
    told = call(port, [0, 1], of=[2, 3])
    assert told[0] == told[1] and "process 1 is one of 3" in told[0]


def test_a_wrong_port_is_told_by_both_sides(port):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
    told = call(port, [0, 1], ports={1: other}, timeout_s=1.0)
    assert "process 1 of 2 had not connected" in told[0]
    assert f"{other}: process 0 has not answered process 1" in told[1]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400\r\n\r\n", b"\x00\x00\x12\x04", b"[]\n"]
)
def test_another_program_at_the_port_is_told(port, answer):
    def serve(server):
        caller, _ = server.accept()
        caller.recv(99)
        caller.sendall(answer)
        caller.close()

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        (told,) = call(port, [1])
        thread.join()
    assert "what answers there is no process 0 that waits for others" in told


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 9000, b"", b"[" * 4000 + b"\n", b"{}\n",
     json.dumps({"greeting": "x", "of": 2, "process": 1}).encode() + b"\n"],
)  # fmt: skip
def test_strangers_are_ignored(port, noise):
    def disturb():
        for _ in range(50):
            try:
                with socket.create_connection(("127.0.0.1", port)) as caller:
                    caller.sendall(noise)
                return
            except OSError:
                time.sleep(0.05)

    thread = threading.Thread(target=disturb)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, port, [0], timeout_s=20)
        thread.start()
        thread.join()
        assert call(port, [1], timeout_s=20) == [""]
        assert first.result() == [""]


def test_a_process_that_died_while_waiting_may_come_again(port):
    report = {"greeting": roll_call._GREETING, "of": 3, "process": 1}
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, port, [0], of=3, timeout_s=20)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as caller:
                    caller.sendall(json.dumps(report).encode() + b"\n")
                    time.sleep(0.5)
                break
            except OSError:
                time.sleep(0.05)
        # The others alone are not all: process 1 is missing again.
        others = pool.submit(call, port, [2], of=3, timeout_s=20)
        time.sleep(0.5)
        assert not others.done()
        assert call(port, [1], of=3, timeout_s=20) == [""]
        assert others.result() == first.result() == [""]


@pytest.mark.parametrize(
    ("coordinator", "told"),
    [
        ("a:0", "ports are numbered 1 to 65535"),
        ("a:65536", "1 to 65535"),
        ("a", "HOST"),
    ],
)
def test_addresses_that_are_none_are_refused(coordinator, told):
    given = dict(coordinator=coordinator, num_processes=2, process_id=0)
    with pytest.raises(InputError, match=told):
        joining.options(DistributedSettings(**given), {})


@pytest.mark.parametrize("value", ["many", "-1", "", "2.5"])
@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_a_launcher_that_says_no_number_is_named(name, value):
    with pytest.raises(InputError, match=f"variable {name}={value!r} is no number"):
        joining.options(DistributedSettings(), {name: value})


MEETING = """
import logging, pathlib, sys
from mmgr_jax.devices import distributed
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError
port, process, folder, what = sys.argv[1:]
given = dict(coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=int(process))
try:
    with distributed.session(DistributedSettings(**given, join_timeout_s=60.0)):
        if what == "shared":
            distributed.check_shared(pathlib.Path(folder), "config.workdir", 2)
        print("well")
except InputError as error:
    print("not met:", error)
    sys.exit(2)
"""


def meet(port, folders, what):
    """Exit status and output of two processes that meet for a moment."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(port), str(index), str(folder), what],
            env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for index, folder in enumerate(folders)
    ]  # fmt: skip
    said = [process.communicate(timeout=200)[0] for process in started]
    return [process.returncode for process in started], said


def test_a_folder_that_all_see_is_shared(port, tmp_path):
    assert meet(port, [tmp_path, tmp_path], "shared")[0] == [0, 0]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_another_on_each_machine_is_told_by_both(port, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    codes, said = meet(port, [tmp_path / "a", tmp_path / "b"], "shared")
    assert codes == [2, 2], said
    for index, text in enumerate(said):
        assert f"error: process {index} of 2: config.workdir" in text
        assert "are not seen by process 1. All processes need one folder" in text
        assert "Traceback" not in text
    assert os.listdir(tmp_path / "a") == os.listdir(tmp_path / "b") == []
