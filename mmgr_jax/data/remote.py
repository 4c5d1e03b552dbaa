"""Records on object storage: a whole copy on this machine's disk, checked and kept.

    <cache>/<name>-<hash of the address>/<hash of the manifest>/     a copy
                                        /<hash>.partial/             one that grows
                                        /.lock                       who brings one

A copy is found by the content of its manifest, which is read from the server at each
start: records that were changed there are another copy, and the former one goes when
nobody reads it. Training shuffles over all regions before processes part them, so each
host needs every shard; its processes share one copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mmgr_jax import run_settings
from mmgr_jax.addresses import SIGNED_URLS, checked, is_address
from mmgr_jax.data import contents, schema, server
from mmgr_jax.data.server import Server, ServerError
from mmgr_jax.disk import files, locks, refusals
from mmgr_jax.errors import InputError

_LOCK_FILE = ".lock"
_PARTIAL = ".partial"
_MAGIC = re.compile(r"[*?\[]")
_AT_ONCE = 8
_TELL_S = 30.0
_SETTLED_S = 0.1  # then a change would show in a file's times

log = logging.getLogger(__name__)

_cache_folder = run_settings.RunSettings.records_cache


def begin(config: ConfigDict) -> None:
    """Has copies kept where a config says, from now on.

    Raises:
        InputError: If an address in it holds a credential.
    """
    global _cache_folder
    _cache_folder = run_settings.read(config).records_cache
    several = {
        "config.corpus.records": config.corpus.records,
        "config.eval.other_records": config.eval.other_records,
    }
    for key, places in {"config.records.dir": [config.records.dir], **several}.items():
        for place in filter(is_address, places):
            checked(place, key)


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
        if not _lacking(folder, _wanted(address, folder)):
            return folder, hold
    hold.close()
    with refusals.explained(home):
        home.mkdir(parents=True, exist_ok=True)
        with locks.awaited(home / _LOCK_FILE, f"the fetching of {address}"):
            _bring(address, folder, manifest)
            _remove_others(home, folder)
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
        return _loaded(address, Path(folder))


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
        raise _refusal(address, error) from None
    return manifest, sum(filter(None, _sizes(remote, names).values())), vectors


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
            raise _refusal(pattern, error) from None
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
            raise _refusal(address, error) from None
        log.warning(
            "%s: cannot be reached (%s); the whole copy in %s is read",
            address,
            error,
            copy,
        )
        return None


def _refusal(address: str, error: ServerError) -> InputError:
    remedy = {
        "missing": "See that all of the folder was copied there.",
        "forbidden": "Give credentials in the environment, as its tools want them "
        "(AWS_PROFILE or AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, "
        f"{SIGNED_URLS}), and the right to read and list the folder.",
        "refused": "See that the address is right and the folder is whole.",
        "unreachable": "Give the command again when it can be reached: it goes on from "
        "what was brought.",
    }[error.kind]
    what = {"missing": "is missing", "forbidden": "may not be read"}
    return InputError(
        f"{address}: {what.get(error.kind, 'cannot be read')} ({error}). {remedy}"
    )


def _newest_whole(home: Path) -> Path | None:
    """The copy that was made last, if it is whole."""
    copies = [
        path.parent
        for path in home.glob(f"*/{schema.MANIFEST_FILE}")
        if path.parent.suffix != _PARTIAL
    ]
    for copy in sorted(copies, key=lambda path: path.stat().st_mtime, reverse=True):
        if not _lacking(copy, _wanted(str(copy), copy)):
            return copy
    return None


def _loaded(address: str, folder: Path) -> schema.Manifest:
    """The manifest of a folder; its faults are those of the address."""
    try:
        return schema.Manifest.load(folder)
    except InputError as error:
        text = str(error).replace(str(folder), address)
    raise InputError(text)


def _wanted(address: str, folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that a manifest speaks of; "" where it keeps none.

    Raises:
        InputError: If one of them is no file of records.
    """
    manifest = _loaded(address, folder)
    beside = dict(manifest.content.get("files", {}))
    if strange := sorted(set(beside) - set(schema.BESIDE)):
        raise InputError(
            f"{address}: its manifest names {strange[0]!r}, which is no file of "
            "records. Do not trust records that say so."
        )
    if not manifest.content:  # records of before
        beside[schema.CATEGORY_VECTORS_FILE] = ""
    shards = [path.name for path in manifest.shard_paths(folder)]
    return beside | dict(zip(shards, manifest.shard_sha256, strict=True))


def _lacking(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Files that are absent or hold other bytes; read only if they may have changed."""
    with contents.stamps(folder) as stamps, ThreadPoolExecutor(_AT_ONCE) as threads:

        def is_here(name: str) -> bool:
            path, sha256 = folder / name, wanted[name]
            if not path.exists():
                return False
            return not sha256 or stamps.sha256(name, path) == sha256

        here = dict(zip(wanted, threads.map(is_here, wanted), strict=True))
    return [name for name in wanted if not here[name]]


def _bring(address: str, folder: Path, manifest: bytes) -> None:
    """Makes a copy whole, in a folder of another name where there is none yet."""
    partial = folder.with_name(folder.name + _PARTIAL)
    place = folder if folder.exists() else partial
    place.mkdir(exist_ok=True)
    path = place / schema.MANIFEST_FILE
    if not path.exists() or path.read_bytes() != manifest:  # readers hold the file
        with files.replacing(path) as temporary:
            temporary.write_bytes(manifest)
    wanted = _wanted(address, place)
    _link_same(place, wanted)
    if lacking := _lacking(place, wanted):
        _fetch(address, place, {name: wanted[name] for name in lacking}, len(wanted))
        time.sleep(_SETTLED_S)
        with contents.stamps(place) as stamps:  # they were hashed as they came
            for name in filter(wanted.get, lacking):
                path = place / name
                before = contents.size_and_times(path)
                stamps.remember(name, path, wanted[name], before)
    if place != folder:
        os.rename(place, folder)


def _link_same(place: Path, wanted: Mapping[str, str]) -> None:
    """Takes files that other copies of the address have, by their content."""
    for other in place.parent.glob(f"*/{schema.MANIFEST_FILE}"):
        with contextlib.suppress(InputError, OSError):
            theirs = _wanted(str(other.parent), other.parent)
            names = {sha256: name for name, sha256 in theirs.items() if sha256}
            for name, sha256 in wanted.items():
                source = other.parent / names.get(sha256, "")
                if source.is_file() and not (place / name).exists():
                    os.link(source, place / name)


def _sizes(remote: Server, names: Sequence[str]) -> dict[str, int | None]:
    """Bytes of each file; None where the server does not say."""

    def size(name: str) -> int | None:
        try:
            return remote.size_bytes(name)
        except ServerError as error:
            failure = _refusal(f"{remote.address}/{name}", error)
        raise failure

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(names, threads.map(size, names), strict=True))


def _fetch(address: str, place: Path, wanted: Mapping[str, str], total: int) -> None:
    """Brings files and checks them; says sizes before."""
    remote = Server(address)
    sizes = _sizes(remote, list(wanted))
    parts = [server.part_of(place / name) for name in wanted]
    here = sum(part.stat().st_size for part in parts if part.exists())
    whole = sum(filter(None, sizes.values()))
    log.info(
        "%s: %d of %d files, %s%s, to %s ...",
        address,
        len(wanted),
        total,
        _size(whole),
        f" ({_size(here)} of them here)" if here else "",
        place.parent,
    )
    room = shutil.disk_usage(place).free
    if whole - here > room:
        raise InputError(
            f"{address}: {_size(whole - here)} are to be copied to {place.parent}, "
            f"where {_size(room)} are free. Make room, name a folder on another disk "
            "in config.records_cache, or mount the bucket and name the folder."
        )

    def fetch(name: str) -> int:
        try:
            remote.fetch(name, place / name, wanted[name], sizes[name])
        except ServerError as error:
            failure = _refusal(f"{address}/{name}", error)
        else:
            return (place / name).stat().st_size
        raise failure

    start = last = time.monotonic()
    done = 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        waiting = [threads.submit(fetch, name) for name in wanted]
        try:
            for future in as_completed(waiting):
                done += future.result()
                if time.monotonic() - last > _TELL_S:
                    last = time.monotonic()
                    log.info("%s: %s of %s", address, _size(done), _size(whole))
        except BaseException:
            remote.stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    seconds = time.monotonic() - start
    log.info("%s: here and checked, in %.1f s", address, seconds)


def _remove_others(home: Path, folder: Path) -> None:
    """Removes former copies that nobody reads."""
    for other in home.iterdir():
        if other == folder or not other.is_dir():
            continue
        with locks.removing(other / schema.MANIFEST_FILE) as unused:
            if unused:
                log.info("%s: removed, since it was changed on the server", other)
                shutil.rmtree(other, ignore_errors=True)


def _size(size_bytes: int) -> str:
    if size_bytes < 2**27:
        return f"{size_bytes / 2**20:.1f} MiB"
    return f"{size_bytes / 2**30:.2f} GiB"
