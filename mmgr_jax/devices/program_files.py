"""Adds a checksum to files of compiled programs: a damaged one is compiled again.

JAX loads machine code without checking its bytes: of 30 files of a small program, with
one bit flipped in each, 7 ended the process by a signal. Here each file ends with the
SHA-256 of its name and content. The files have names of their own, so that other
programs that share the folder by JAX_COMPILATION_CACHE_DIR find theirs unchanged.
"""

from __future__ import annotations

import functools
import hashlib
import logging

from mmgr_jax.devices.private import CacheInterface, compilation_cache

_SEAL_BYTES = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


class Sealed(CacheInterface):
    """A cache of JAX whose files are checked before they are used."""

    def __init__(self, files: CacheInterface) -> None:
        """Wraps JAX's own cache of files."""
        self._files = files
        self._path = files._path

    def get(self, key: str) -> bytes | None:
        """Returns the program kept under a name; None if absent or damaged."""
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
        """Stores a program under a name, with its checksum."""
        name = f"{key}-sealed"
        self._files.put(name, value + _seal(name, value))


@functools.cache
def seal_all() -> None:
    """Makes JAX add checksums to its programs; call it before anything is compiled."""
    plain = compilation_cache.get_file_cache

    def sealed(path: str) -> tuple[CacheInterface, str] | None:
        cache = plain(path)
        return cache and (Sealed(cache[0]), cache[1])

    compilation_cache.get_file_cache = sealed


def _seal(name: str, value: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + value).digest()
