"""Files of compiled programs, each with a seal: a damaged one is compiled again.

JAX loads machine code whatever its bytes are: of 30 files of a small program with one
bit flipped each, 7 ended the process by a signal. Here a file has the SHA-256 of its
name and of what it holds at its end, and a name of its own, so that other programs
which share a folder by JAX_COMPILATION_CACHE_DIR find theirs as they were.
"""

from __future__ import annotations

import functools
import hashlib
import logging

from mmgr_jax.devices.private import CacheInterface, compilation_cache

_SEAL_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


class Sealed(CacheInterface):
    """A cache of JAX whose files are compared before they are used."""

    def __init__(self, files: CacheInterface) -> None:
        """Takes JAX's own cache of files."""
        self._files = files
        self._path = files._path

    def get(self, key: str) -> bytes | None:
        """What was kept under a name; None where there is nothing whole."""
        name = f"{key}-sealed"
        stored = self._files.get(name)
        if stored is None:
            return None
        value, seal = stored[:-_SEAL_BYTES], stored[-_SEAL_BYTES:]
        if seal == _seal(name, value):
            return value
        file = self._path / f"{name}-cache"
        log.warning("%s: damaged, so this program is compiled again", file)
        file.unlink(missing_ok=True)
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program."""
        name = f"{key}-sealed"
        self._files.put(name, value + _seal(name, value))


@functools.cache
def seal_all() -> None:
    """Has JAX seal its programs; to be called before anything is compiled."""
    plain = compilation_cache.get_file_cache

    def sealed(path: str) -> tuple[CacheInterface, str] | None:
        cache = plain(path)
        return cache and (Sealed(cache[0]), cache[1])

    compilation_cache.get_file_cache = sealed


def _seal(name: str, value: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + value).digest()
