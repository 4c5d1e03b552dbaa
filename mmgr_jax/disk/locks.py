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
"""The holder touches its file so often."""

PATIENCE_S = 3.5 * BEAT_S
"""A file untouched for so long has lost its holder."""

_POLL_S = 0.2

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        work: What it does, such as "a training".
        process: Its process number.
        host: The machine.
        since: When it began, ISO 8601.
    """

    work: str
    process: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.work}, process {self.process} on {self.host}, since {self.since}"


@contextlib.contextmanager
def held(path: Path, work: str, remedy: str) -> Iterator[None]:
    """Within it nobody else holds this lock file.

    Args:
        path: The file; it is there while the lock is held, or its holder was killed.
        work: What this process does, such as "a training".
        remedy: What who meets the lock can do, such as "name another config.workdir".

    Raises:
        InputError: If another process holds it, naming that.
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
    """As `held`, when whoever holds it has ended."""
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
    """Within it `removing` says no to who would remove this file's folder.

    Args:
        path: A file of the folder, which is there as long as the folder is.

    Yields:
        Whether the file is still there under its name.
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
    """Within it `removing` says no for the file that lies here now, if one does."""
    while True:
        with reading(path) as there:
            if there or not path.exists():
                yield
                return


@contextlib.contextmanager
def removing(path: Path) -> Iterator[bool]:
    """Whether nobody reads the file's folder; nobody begins to within it.

    Args:
        path: As for `reading`.
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
    """Who holds, or held, a lock file; None where it does not say."""
    try:
        return Holder(**files.from_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _acquire(path: Path, remedy: str) -> int:
    """The open lock file, ours alone."""
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
    """Returns when the former holder is known to have ended."""
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
    """Whether the system gave the lock; None where this disk knows no locks."""
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
    """When the file was touched last; opened, for network disks ask the server then."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
    return 0
