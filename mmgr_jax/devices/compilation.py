"""Keeps compiled programs from run to run, and counts compilations."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import platform
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
from jax import monitoring

from mmgr_jax.devices import program_files
from mmgr_jax.errors import InputError

_ENVIRONMENT = "JAX_COMPILATION_CACHE_DIR"
_EVENT = "/jax/core/compile/backend_compile_duration"
_MIN_SECONDS = 0.2
"""Programs that compile faster are not worth a file."""

_MAX_BYTES = 4 * 2**30
_NUMBERS = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_default_matmul_precision": None,
    "jax_numpy_dtype_promotion": "standard",
    "jax_disable_jit": False,
}
"""Settings of JAX that change results, with the value that every run must have."""

log = logging.getLogger(__name__)


class _Count:
    """Counts programs that this process has compiled, or loaded from the cache."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.programs, self.seconds = 0, 0.0
        monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **_: object) -> None:
        if event == _EVENT:
            with self._lock:
                self.programs += 1
                self.seconds += duration_secs


count = functools.cache(_Count)
"""Returns the one count of this process; it counts from the first call on."""


class Watch:
    """Counts the steps of a loop, after the first, that had to be compiled again."""

    def __init__(self) -> None:
        """Starts with a count of zero."""
        self._steps = self.again = 0

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Surrounds one step; warns if a later step than the first was compiled."""
        before = count().programs, count().seconds
        yield
        new, seconds = count().programs - before[0], count().seconds - before[1]
        self._steps += 1
        if self._steps > 1 and new:
            self.again += 1
            log.warning(
                "step %d was compiled again (%.1f s, %d times so far): its arrays have "
                "other shapes or layouts than before. JAX_EXPLAIN_CACHE_MISSES=1 tells "
                "which.",
                step,
                seconds,
                self.again,
            )


def use_cache(where: str) -> Path | None:
    """Keeps compiled programs on disk, so that the next run starts without compiling.

    Call this before anything is compiled. A program is found again by its code, the
    version of JAX, its options and the devices. Each kind of CPU has a folder of its
    own, because several machines may share a home folder. If a file is damaged, or
    cannot be read or written, the program is compiled again with a warning. When a
    folder has grown beyond 4 GiB, the oldest files are removed.

    Args:
        where: "auto": below the user's cache folder, or in the folder that
            JAX_COMPILATION_CACHE_DIR names. "off": nowhere. Otherwise a folder.

    Returns:
        The folder; None if programs are not kept.
    """
    if where == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    program_files.seal_all()
    if where == "auto" and os.environ.get(_ENVIRONMENT):
        return Path(os.environ[_ENVIRONMENT])  # JAX has read it
    folder = Path("~/.cache")
    try:
        folder = (_user_cache() if where == "auto" else Path(where)) / _cpu()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(folder)
        _prune(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: the home folder is unknown
        log.warning(
            "%s: compiled programs cannot be kept there (%s); name another folder by "
            "--config.compilation_cache=FOLDER, or 'off'",
            folder,
            getattr(error, "strerror", None) or error,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)
    return folder


def refuse_other_numbers() -> None:
    """Refuses settings of JAX in the environment that would change every number.

    Raises:
        InputError: If there is such a variable; the message names it.
    """
    for name, ours in _NUMBERS.items():
        value = getattr(jax.config, name)
        if value != ours:
            raise InputError(
                f"the environment variable {name.upper()} makes JAX compute with "
                f"{value!r} instead of {ours!r}: results would differ, and the run "
                "could not continue elsewhere. Unset it; precision is set by "
                "config.model.dtype."
            )


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    if not home or not Path(home).is_absolute():  # which the standard ignores
        home = Path.home() / ".cache"
    return Path(home) / "mmgr_jax" / "xla"


def _refuse_others(folder: Path) -> None:
    """Refuses a folder that others may write to, because its programs are run.

    Raises:
        OSError: If another user owns the folder, or others may write to it.
    """
    about = folder.stat()
    if about.st_uid not in (os.getuid(), 0) or about.st_mode & stat.S_IWOTH:
        raise PermissionError(
            errno.EPERM, "another user owns it or may write to it", str(folder)
        )


def _cpu() -> str:
    """Returns a name that differs for CPUs that cannot run each other's programs."""
    traits = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        traits += next(k for k in lines if k.startswith(("flags", "Features")))
    except (OSError, StopIteration):  # not Linux
        traits += platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(traits.encode()).hexdigest()[:8]}"


def _prune(folder: Path) -> None:
    """Removes the oldest files of a folder that has grown too large."""
    programs = [(path.stat(), path) for path in folder.iterdir() if path.is_file()]
    size = sum(about.st_size for about, _ in programs)
    for about, path in sorted(programs, key=lambda item: item[0].st_mtime):
        if size <= _MAX_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= about.st_size
