"""Locks on folders, so that two processes never undo each other's work.

A lock is a file that says which process of which host holds it, and for what work. The
system releases the lock when its process ends for any reason. On some disks the locks
of other hosts are not visible. There the time of the file shows that the lock is held,
because its holder updates that time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

BEAT_S = 10.0
"""Seconds after which the holder updates the time of its file again."""

PATIENCE_S = 3.5 * BEAT_S
"""Seconds without an update after which the holder counts as ended."""

_POLL_S = 0.2

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        work: Its work, such as "a training".
        process: Its process number.
        host: Its machine.
        since: Time when it took the lock, ISO 8601.
    """

    work: str
    process: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.work}, process {self.process} on {self.host}, since {self.since}"


@contextlib.contextmanager
def held(path: Path, work: str, remedy: str) -> Iterator[None]:
    """Holds a lock file while the context lasts.

    Args:
        path: The file. It exists while the lock is held, or if its holder was killed.
        work: Work of this process, such as "a training".
        remedy: Advice if the lock is taken, such as "name another config.workdir".

    Raises:
        InputError: If another process holds the lock; the message names it.
        OSError: If the folder of the file cannot be written to.
    """
    descriptor = _acquire(path, remedy)
    ended = threading.Event()
    try:
        _write(descriptor, work)
        beat = threading.Thread(target=_beat, args=(descriptor, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()
            with contextlib.suppress(OSError):  # gone with its folder
                path.unlink()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def awaited(path: Path, work: str) -> Iterator[None]:
    """Holds a lock file as `held` does, but waits until another holder has ended."""
    with contextlib.ExitStack() as stack:
        is_told = False
        while True:
            try:
                stack.enter_context(held(path, work, "end it"))
                break
            except _Taken:
                if not is_told:
                    log.info("%s: waiting for %s ...", path, holder(path) or "another")
                is_told = True
            time.sleep(_POLL_S)
        yield


@contextlib.contextmanager
def reading(path: Path) -> Iterator[bool]:
    """Marks a folder as being read: meanwhile `removing` yields False elsewhere.

    Args:
        path: A file of the folder, which exists as long as the folder does.

    Yields:
        Whether the file still exists under its name.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        _flock(descriptor, fcntl.LOCK_SH)
        yield _is_file_of(descriptor, path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    """Makes `removing` yield False for the file that exists here now, if any."""
    while True:
        with reading(path) as there:
            if there or not path.exists():
                yield
                return


@contextlib.contextmanager
def removing(path: Path) -> Iterator[bool]:
    """Checks that no process reads a folder, and lets none begin meanwhile.

    Args:
        path: As for `reading`.

    Yields:
        Whether the folder may be removed.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # absent, or not to be written to: no reader holds it by this name
        yield True
        return
    try:
        yield _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) is not False
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Returns the process that holds, or held, a lock file; None if unknown."""
    try:
        return Holder(**files.from_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _acquire(path: Path, remedy: str) -> int:
    """Opens and locks a lock file; returns its descriptor."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o666)
        try:
            locked = _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if locked is False:
                raise _taken(path, remedy)
            if not _is_file_of(descriptor, path):  # its holder has just removed it
                os.close(descriptor)
                continue
            before = holder(path)
            if before is not None:
                _await_end(path, before, bool(locked), remedy)
            return descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _await_end(path: Path, before: Holder, locked: bool, remedy: str) -> None:
    """Waits until it is known that the former holder has ended."""
    if not locked or before.host != socket.gethostname():
        log.info(
            "%s: left by %s; waiting %.0f s for a sign of it ...",
            path,
            before,
            PATIENCE_S,
        )
        first, end = _touched(path), time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            time.sleep(min(1.0, PATIENCE_S / 8))
            if _touched(path) != first:
                raise _taken(path, remedy)
    log.info("%s: taken over; %s, ended without releasing it", path, before)


class _Taken(InputError):
    """Another process holds a lock."""


def _taken(path: Path, remedy: str) -> InputError:
    who = holder(path) or "another process"
    return _Taken(
        f"{path}: another process works here ({who}). Wait until it has ended, or "
        f"{remedy}."
    )


def _flock(descriptor: int, operation: int) -> bool | None:
    """Returns whether the system gave the lock; None if this disk has no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _write(descriptor: int, work: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    who = Holder(work, os.getpid(), socket.gethostname(), now)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(dataclasses.asdict(who)).encode(), 0)


def _beat(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def _touched(path: Path) -> int:
    """Returns the time of a file; opens it, so that a network disk asks its server."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return 0
