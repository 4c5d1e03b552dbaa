"""Checks that all processes are present before any of them starts to compute.

JAX itself waits minutes for a missing process, and then ends the program abruptly. Here
process 0 listens at the coordinator's address, and every other process reports there.
So each process can name, in one sentence, the process that is missing, that came twice
or that was started differently. Afterwards the port is free for JAX.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from mmgr_jax import __version__
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

TELL_EVERY_S = 10.0
"""Seconds between two messages of a process that waits."""

_MOST_BYTES = 4096  # of a report; longer messages are not read to their end
_GREETING = f"mmgr-jax {__version__}"
_ANSWER_S = 5.0

log = logging.getLogger(__name__)


def call(
    coordinator: str, num_processes: int, process_id: int, *, timeout_s: float | int
) -> None:
    """Waits until all processes are present, with the same program and number.

    Args:
        coordinator: HOST:PORT of process 0, where it listens.
        num_processes: Number of processes that there should be.
        process_id: Number of this process, from 0.
        timeout_s: Seconds to wait for the others.

    Raises:
        InputError: In every process that came, if one is missing, came twice or has
            another program or number of processes; the message names it.
    """
    if num_processes == 1:
        return
    host, port = split_address(coordinator)
    end = time.monotonic() + timeout_s
    report = {"greeting": _GREETING, "of": num_processes, "process": process_id}
    if process_id == 0:
        _gather(host, port, num_processes, end, timeout_s)
    else:
        _report(host, port, report, end, timeout_s)


def split_address(coordinator: str) -> tuple[str, int]:
    """Splits HOST:PORT into host and port; removes the brackets of an IPv6 address."""
    host, _, port = coordinator.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


# ---- process 0 ----


def _gather(
    host: str, port: int, num_processes: int, end: float, timeout_s: float | int
) -> None:
    waiting = _Waiting(num_processes)
    with _listening(host, port) as server, selectors.DefaultSelector() as ready:
        server.setblocking(False)
        ready.register(server, selectors.EVENT_READ)
        logged_at = time.monotonic()
        while not (waiting.complete or waiting.fault) and time.monotonic() < end:
            for key, _ in ready.select(timeout=0.2):
                if key.fileobj is server:
                    with contextlib.suppress(OSError):
                        caller, _ = server.accept()
                        caller.setblocking(False)
                        ready.register(caller, selectors.EVENT_READ, bytearray())
                elif not waiting.heard(cast(socket.socket, key.fileobj), key.data):
                    ready.unregister(key.fileobj)
            if time.monotonic() - logged_at > TELL_EVERY_S:
                logged_at = time.monotonic()
                log.info("waiting for %s at port %d ...", waiting.who(), port)
        fault = waiting.fault
        if not fault and waiting.missing:
            fault = (
                f"config.distributed: after {timeout_s:.0f} s {waiting.who()} of "
                f"{num_processes} had not connected to {host}:{port}. Start all of "
                "them, each with its own process_id and with this coordinator, which "
                "every host must reach; config.distributed.join_timeout_s says how "
                "long to wait."
            )
        waiting.answer(fault)
    if fault:
        raise InputError(fault)


class _Waiting:
    """The processes that have reported to process 0."""

    def __init__(self, num_processes: int) -> None:
        self._number = num_processes
        self._callers: dict[int, socket.socket] = {}
        self._strangers: list[socket.socket] = []
        self.fault = ""

    @property
    def missing(self) -> list[int]:
        return [i for i in range(1, self._number) if i not in self._callers]

    @property
    def complete(self) -> bool:
        """Whether all are present; a process that has hung up is missing again."""
        if not self.missing:
            there = self._callers.items()
            self._callers = {i: caller for i, caller in there if not _hung_up(caller)}
        return not self.missing

    def who(self) -> str:
        """Returns the missing processes in words."""
        named = ", ".join(map(str, self.missing[:8]))
        more = len(self.missing) - 8
        kind = "process" if len(self.missing) == 1 else "processes"
        return f"{kind} {named}" + (f" and {more} more" if more > 0 else "")

    def heard(self, caller: socket.socket, text: bytearray) -> bool:
        """Reads from a caller; returns whether more may follow."""
        try:
            chunk = caller.recv(_MOST_BYTES)
        except OSError:
            chunk = b""
        text += chunk
        if chunk and b"\n" not in text and len(text) < _MOST_BYTES:
            return True
        self._take(caller, _report_of(bytes(text)))
        return False

    def _take(self, caller: socket.socket, report: dict[str, Any] | None) -> None:
        if report is None:
            caller.close()  # somebody who has nothing to do with us
            return
        process = report["process"]
        if process not in self._callers or _hung_up(self._callers[process]):
            self._callers[process] = caller
        else:
            self._strangers.append(caller)
            self.fault = _twice(process)
        if process == 0:
            self.fault = _twice(0)
        if (report["greeting"], report["of"]) != (_GREETING, self._number):
            self.fault = (
                f"config.distributed: process {process} is one of {report['of']} of "
                f"{report['greeting']}, process 0 one of {self._number} of "
                f"{_GREETING}. Start all with the same program and num_processes."
            )

    def answer(self, fault: str) -> None:
        """Sends the result to every caller, and lets the caller hang up first."""
        callers: Sequence[socket.socket] = (*self._callers.values(), *self._strangers)
        for caller in callers:
            with contextlib.suppress(OSError):
                caller.settimeout(_ANSWER_S)
                caller.sendall(json.dumps({"fault": fault}).encode() + b"\n")
        for caller in callers:
            with contextlib.suppress(OSError):
                caller.recv(1)
            caller.close()


def _report_of(text: bytes) -> dict[str, Any] | None:
    """Returns what a caller reported; None if the text is no report."""
    try:
        fields = files.from_json(text)
        whole = {
            "greeting": str(fields["greeting"])[:80],
            "of": int(fields["of"]),
            "process": int(fields["process"]),
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return whole if whole["greeting"].startswith("mmgr-jax ") else None


def _hung_up(caller: socket.socket) -> bool:
    """Returns whether a process that had reported is gone."""
    try:
        return not caller.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _twice(process: int) -> str:
    return (
        f"config.distributed: two processes have process_id={process}. Number them "
        "from 0, each once; is one of an earlier start still running?"
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(
            ("", port), family=family, dualstack_ipv6=both, backlog=1024
        )
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "another program uses it; another process 0?" if taken else f"{error}"
        raise InputError(
            f"config.distributed.coordinator={host}:{port}: process 0 cannot listen at "
            f"this port ({why}). Name a free one, and end what is left of an earlier "
            "start."
        ) from error
    with server:
        yield server


# ---- the others ----


def _report(
    host: str, port: int, report: dict[str, Any], end: float, timeout_s: float | int
) -> None:
    logged_at, why = time.monotonic(), "no answer"
    while (left_s := end - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), min(left_s, 10.0)) as server:
                server.sendall(json.dumps(report).encode() + b"\n")
                # Process 0 answers when it has heard everybody, or waited long enough.
                server.settimeout(max(end - time.monotonic(), 0.0) + 2 * _ANSWER_S)
                _hear(server, f"{host}:{port}")
                return
        except (OSError, UnicodeError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error) or "no answer"
        if time.monotonic() - logged_at > TELL_EVERY_S:
            logged_at = time.monotonic()
            log.info("waiting for process 0 at %s:%d (%s) ...", host, port, why)
        time.sleep(min(0.2, left_s))
    raise InputError(
        f"config.distributed.coordinator={host}:{port}: process 0 has not answered "
        f"process {report['process']} for {timeout_s:.0f} s ({why}). Start process 0, "
        "and name its host and a port that is reachable from here."
    )


def _hear(server: socket.socket, where: str) -> None:
    """Waits until process 0 says that all are present.

    Raises:
        InputError: If process 0 reports a fault, or another program answers.
        OSError: If it hangs up without an answer: it may still be starting.
    """
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < _MOST_BYTES:
        part = server.recv(_MOST_BYTES)
        if not part and not answer:
            raise ConnectionError("it hangs up without a word")
        if not part:
            break
        answer += part
    try:
        fault = files.from_json(answer)["fault"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"config.distributed.coordinator={where}: what answers there is no process "
            "0 that waits for others: another program, or a training that has begun. "
            "Name a free port, and start all processes together."
        ) from error
    if fault:
        raise InputError(str(fault))
