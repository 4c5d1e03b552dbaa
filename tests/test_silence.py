"""No command says nothing for ten seconds to somebody who sits at a terminal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import silences

ROOT = Path(__file__).parents[1]
LONGEST_S = 10

WORKING = """
import os, sys, threading, time
from mmgr_jax import pulse, terminal
pulse.SILENCE_S = 0.2
pulse.Pulse.__init__.__defaults__ = (0.2,)
terminal.guard_output()
sys.stdout.show_pulse()
print("first", flush=True)
time.sleep(1)
print("second", flush=True)
print("open: ", end="", flush=True)
time.sleep(0.6)
print("closed", flush=True)
if not os.fork():
    print("of a fork", flush=True)
    os._exit(0)
os.wait()
time.sleep(0.6)
print("an error", file=sys.stderr, flush=True)
time.sleep(0.5)
"""


def seen(text):
    """What a terminal shows in the end: a carriage return goes back and overwrites."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


def test_a_line_says_that_work_goes_on_and_leaves_no_trace():
    status, _, text = silences.run("-c", WORKING, cwd=ROOT, timeout=100)
    assert status == 0, text
    assert len(re.findall(r"still working, \d+ s", text)) >= 4
    assert "open: \r" not in text and "open: closed" in text
    assert seen(text) == [
        "first", "second", "open: closed", "of a fork", "an error", "",
    ]  # fmt: skip


def test_a_pipe_gets_the_lines_alone():
    done = subprocess.run(
        [sys.executable, "-c", WORKING], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "first\nsecond\nopen: closed\nof a fork\n", done.stdout
    assert done.stderr == "an error\n"


@pytest.mark.slow
def test_no_command_is_silent_for_long(tmp_path):
    """The toy city's small variant, from nothing to its pages."""
    toy = "--config=toy_city:smoke"
    commands = [
        ("mmgr_jax.main", toy),  # builds, trains, evaluates, embeds
        ("data_prep.validate", toy),
        ("mmgr_jax.views", toy),
        ("mmgr_jax.explore", toy),
        ("mmgr_jax.plan", toy, "--topology=here"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)  # as on a new machine
    env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    for arguments in commands:
        status, quiet, text = silences.run("-m", *arguments, cwd=tmp_path, env=env)
        assert status == 0, (arguments, text)
        # Where others take the processors, the clock says nothing of the command.
        busy = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
        seconds = [silence.work_s if busy else silence.wall_s for silence in quiet]
        assert max(seconds) < LONGEST_S, (arguments, quiet[seconds.index(max(seconds))])
        last = [line for line in seen(text) if line][-10:]
        if arguments[0] != "mmgr_jax.plan":  # which writes nothing
            assert any(
                str(name) in " ".join(last) for name in ("runs/", "data/", ".png")
            )
