"""Records on object storage: a whole copy on this machine's disk, checked and kept.

    <cache>/<name>-<hash of the address>/<hash of the manifest>/     a copy
                                        /<hash>.partial/             an incomplete one
                                        /.lock                       who downloads one

A copy is found by the content of its manifest, which is read from the server at each
start. If the records on the server have changed, a new copy is made, and the old one is
removed when no process reads it. Training shuffles all regions before it divides them
among processes, so each host needs every shard. The processes of a host share one copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
import tempfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import run_settings
from mmgr_jax.addresses import checked, is_address
from mmgr_jax.data import copies, schema, server
from mmgr_jax.data.server import Server, ServerError
from mmgr_jax.disk import files, locks, refusals
from mmgr_jax.errors import InputError

_LOCK_FILE = ".lock"
_MAGIC = re.compile(r"[*?\[]")

log = logging.getLogger(__name__)

_cache_folder = run_settings.RunSettings.records_cache


def begin(config: ConfigDict) -> None:
    """Has copies kept where a config says, from now on.

    Raises:
        InputError: If an address in it holds a credential.
    """
    global _cache_folder
    _cache_folder = config.records_cache
    several = {
        "config.corpus.records": config.corpus.records,
        "config.eval.other_records": config.eval.other_records,
    }
    for key, places in {"config.records.dir": [config.records.dir], **several}.items():
        for place in filter(is_address, places):
            checked(str(place), key)


def held_copy(address: str) -> tuple[Path, contextlib.ExitStack]:
    """The folder of a whole copy, brought now where it lacks something.

    Args:
        address: Of a records folder.

    Returns:
        The folder, and what keeps it from being removed until it is closed.

    Raises:
        InputError: If the server does not give it, or gives other bytes than its
            manifest says; or if there is no room.
    """
    address = checked(address)
    home = _home(address)
    manifest = _asked(address, home)
    hold = contextlib.ExitStack()
    if manifest is None:
        folder = _newest_whole(home)
        assert folder is not None  # `_asked` has seen it
        hold.enter_context(locks.reading(folder / schema.MANIFEST_FILE))
        return folder, hold
    folder = home / hashlib.sha256(manifest).hexdigest()[:16]
    path = folder / schema.MANIFEST_FILE
    if hold.enter_context(locks.reading(path)) and path.read_bytes() == manifest:
        if not copies.lacking(folder, copies.wanted_files(address, folder)):
            return folder, hold
    hold.close()
    with refusals.explained(home):
        home.mkdir(parents=True, exist_ok=True)
        with locks.awaited(home / _LOCK_FILE, f"the fetching of {address}"):
            copies.bring(address, folder, manifest)
            copies.remove_others(home, folder)
            hold.enter_context(locks.reading(path))
    return folder, hold


def manifest_of(address: str) -> schema.Manifest:
    """What a records folder holds; of the records themselves nothing is brought.

    Raises:
        InputError: If the server does not give it and there is no copy.
    """
    address = checked(address)
    home = _home(address)
    manifest = _asked(address, home)
    if manifest is None:
        copy = _newest_whole(home)
        assert copy is not None
        return schema.Manifest.load(copy)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / schema.MANIFEST_FILE).write_bytes(manifest)
        return copies.manifest_in(address, Path(folder))


def described(address: str) -> tuple[schema.Manifest, int, np.ndarray]:
    """Manifest, size of the shards and category vectors; no shard is brought.

    Raises:
        InputError: If the server does not give them and there is no copy.
    """
    manifest = manifest_of(address)
    names = [path.name for path in manifest.shard_paths("")]
    remote = Server(checked(address))
    try:
        vectors = np.load(io.BytesIO(remote.read(schema.CATEGORY_VECTORS_FILE)))
    except ServerError as error:
        raise copies.refusal(address, error) from None
    return (
        manifest,
        sum(filter(None, copies.sizes_bytes(remote, names).values())),
        vectors,
    )


def folders(pattern: str) -> list[str]:
    """Addresses of the finished records folders that a pattern fits.

    Where the server cannot be reached they are those it listed last.

    Raises:
        InputError: If it lists nothing, and never did.
    """
    pattern = checked(pattern, "config.corpus.records")
    if not _MAGIC.search(pattern):
        return [pattern]
    kept = _cache() / f"listing-{_short_hash(pattern)}.json"
    waits_s = server.FEW_WAITS_S if kept.exists() else server.WAITS_S
    try:
        listed = Server(pattern, waits_s).folders_with(schema.MANIFEST_FILE)
    except ServerError as error:
        if error.kind != "unreachable" or not kept.exists():
            raise copies.refusal(pattern, error) from None
        log.warning(
            "%s: cannot be listed (%s); the folders are those it had last time",
            pattern,
            error,
        )
        return list(files.from_json(kept.read_text(encoding="utf-8")))
    with refusals.explained(kept.parent):
        files.write_text(kept, json.dumps(listed))
    return listed


def _cache() -> Path:
    return Path(_cache_folder).expanduser()


def _home(address: str) -> Path:
    """Where the copies of an address lie."""
    name = "-".join(address.partition("://")[2].split("/")[-2:])
    return _cache() / f"{files.safe_name(name)}-{_short_hash(address)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _asked(address: str, home: Path) -> bytes | None:
    """The manifest as the server has it; None: out of reach, and here is a copy."""
    waits_s = server.FEW_WAITS_S if home.exists() else server.WAITS_S
    try:
        return Server(address, waits_s).read(schema.MANIFEST_FILE)
    except ServerError as error:
        if error.kind == "missing":
            raise InputError(
                f"{address}: there is no {schema.MANIFEST_FILE}, so no finished "
                "records. Build them in a folder with `python -m data_prep.build "
                "--config=...` and copy all of it there."
            ) from None
        copy = _newest_whole(home) if error.kind == "unreachable" else None
        if copy is None:
            raise copies.refusal(address, error) from None
        log.warning(
            "%s: cannot be reached (%s); the whole copy in %s is read",
            address,
            error,
            copy,
        )
        return None


def _newest_whole(home: Path) -> Path | None:
    """The copy that was made last, if it is whole."""
    folders = [
        path.parent
        for path in home.glob(f"*/{schema.MANIFEST_FILE}")
        if path.parent.suffix != copies.PARTIAL
    ]
    for copy in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        if not copies.lacking(copy, copies.wanted_files(str(copy), copy)):
            return copy
    return None
