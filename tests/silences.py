"""How long a command says nothing, as somebody at a terminal sees it."""

import dataclasses
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

_PULSE = re.compile(rb"(\r( *|  \.\.\. still working, \d+ s *))+")
"""What `mmgr_jax.pulse` writes into a terminal while a command says nothing itself."""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Silence:
    """The time between two writings of a command, or before the first.

    Attributes:
        wall_s: Seconds on the clock.
        work_s: Processor seconds of the command and of all that it started. On a
            machine that is busy with other things they say more than the clock.
        after: The line before it.
    """

    wall_s: float
    work_s: float
    after: str


def run(*arguments, cwd, env=None, timeout=3600, pulse=True):
    """Runs `python *arguments` in a terminal of its own.

    Args:
        arguments: Of Python.
        cwd: Folder to run it in.
        env: Its environment; None for this one.
        timeout: Seconds until it is ended.
        pulse: Whether the line that work goes on ends a silence, as for somebody at a
            terminal; without it silences are those of a log file.

    Returns:
        Its exit status, all its silences, and what it wrote.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    silences, parts = [], []
    begin = at = time.monotonic()
    work = 0.0
    try:
        while True:
            ready, _, _ = select.select([master], [], [], 1.0)
            now = time.monotonic()
            if now - begin > timeout:
                process.kill()
                raise TimeoutError(arguments)
            if not ready:
                continue
            try:
                chunk = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                chunk = b""
            if not pulse and _PULSE.fullmatch(chunk):
                continue
            spent = _work_s(process.pid) or work
            lines = b"".join(parts[-3:]).decode(errors="replace").splitlines()
            silences.append(Silence(now - at, spent - work, lines[-1] if lines else ""))
            at, work = now, spent
            if not chunk:
                break
            parts.append(chunk)
    finally:
        os.close(master)
    return process.wait(60), silences, b"".join(parts).decode(errors="replace")


def _work_s(session):
    """Processor seconds of all processes of a session, those that ended included."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):  # it has just ended
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


if __name__ == "__main__":
    words = sys.argv[1:]
    in_a_log = words[:1] == ["--log"]
    status, silences, _ = run(*words[in_a_log:], cwd=Path.cwd(), pulse=not in_a_log)
    print(f"exit status {status}; the longest silences:")
    for silence in sorted(silences, key=lambda s: -s.wall_s)[:12]:
        times = f"{silence.wall_s:7.1f} s, work {silence.work_s:6.1f} s"
        print(f"{times} after: {silence.after[:90]}")
