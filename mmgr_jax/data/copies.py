"""Downloads, checks and removes local copies of records on object storage.

See `remote` for the folders of the copies and for their use.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mmgr_jax.addresses import SIGNED_URLS
from mmgr_jax.data import contents, schema, server
from mmgr_jax.data.server import Server, ServerError
from mmgr_jax.disk import files, locks
from mmgr_jax.errors import InputError

PARTIAL = ".partial"
"""End of the name of a copy that is still incomplete."""

_AT_ONCE = 8
_TELL_S = 30.0
_SETTLED_S = 0.1  # then a change would show in a file's times

log = logging.getLogger(__name__)


def bring(address: str, folder: Path, manifest: bytes) -> None:
    """Makes a copy whole, in a folder of another name where there is none yet."""
    partial = folder.with_name(folder.name + PARTIAL)
    place = folder if folder.exists() else partial
    place.mkdir(exist_ok=True)
    path = place / schema.MANIFEST_FILE
    if not path.exists() or path.read_bytes() != manifest:  # readers hold the file
        with files.replacing(path) as temporary:
            temporary.write_bytes(manifest)
    wanted = wanted_files(address, place)
    _link_same(place, wanted)
    if names := lacking(place, wanted):
        _fetch(address, place, {name: wanted[name] for name in names}, len(wanted))
        time.sleep(_SETTLED_S)
        with contents.stamps(place) as stamps:  # they were hashed as they came
            for name in filter(wanted.get, names):
                path = place / name
                before = contents.size_and_times(path)
                stamps.remember(name, path, wanted[name], before)
    if place != folder:
        os.rename(place, folder)


def remove_others(home: Path, folder: Path) -> None:
    """Removes older copies that no process reads."""
    for other in home.iterdir():
        if other == folder or not other.is_dir():
            continue
        with locks.removing(other / schema.MANIFEST_FILE) as unused:
            if unused:
                log.info("%s: removed, since it was changed on the server", other)
                shutil.rmtree(other, ignore_errors=True)


def wanted_files(address: str, folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that a manifest speaks of; "" where it keeps none.

    Raises:
        InputError: If one of them is no file of records.
    """
    manifest = manifest_in(address, folder)
    beside = dict(manifest.content.get("files", {}))
    if strange := sorted(set(beside) - set(schema.BESIDE)):
        raise InputError(
            f"{address}: its manifest names {strange[0]!r}, which is not a file of "
            "records. Do not use these records."
        )
    if not manifest.content:  # records of before
        beside[schema.CATEGORY_VECTORS_FILE] = ""
    shards = [path.name for path in manifest.shard_paths(folder)]
    return beside | dict(zip(shards, manifest.shard_sha256, strict=True))


def lacking(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Files that are absent or hold other bytes; read only if they may have changed."""
    with contents.stamps(folder) as stamps, ThreadPoolExecutor(_AT_ONCE) as threads:

        def is_here(name: str) -> bool:
            path, sha256 = folder / name, wanted[name]
            if not path.exists():
                return False
            return not sha256 or stamps.sha256(name, path) == sha256

        here = dict(zip(wanted, threads.map(is_here, wanted), strict=True))
    return [name for name in wanted if not here[name]]


def manifest_in(address: str, folder: Path) -> schema.Manifest:
    """The manifest of a folder; its faults are those of the address."""
    try:
        return schema.Manifest.load(folder)
    except InputError as error:
        text = str(error).replace(str(folder), address)
    raise InputError(text)


def refusal(address: str, error: ServerError) -> InputError:
    """What to tell of a folder or file that a server does not give, and the way out."""
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


def sizes_bytes(remote: Server, names: Sequence[str]) -> dict[str, int | None]:
    """Bytes of each file; None where the server does not say."""

    def size(name: str) -> int | None:
        try:
            return remote.size_bytes(name)
        except ServerError as error:
            failure = refusal(f"{remote.address}/{name}", error)
        raise failure

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(names, threads.map(size, names), strict=True))


def _link_same(place: Path, wanted: Mapping[str, str]) -> None:
    """Takes files that other copies of the address have, by their content."""
    for other in place.parent.glob(f"*/{schema.MANIFEST_FILE}"):
        with contextlib.suppress(InputError, OSError):
            theirs = wanted_files(str(other.parent), other.parent)
            names = {sha256: name for name, sha256 in theirs.items() if sha256}
            for name, sha256 in wanted.items():
                source = other.parent / names.get(sha256, "")
                if source.is_file() and not (place / name).exists():
                    os.link(source, place / name)


def _fetch(address: str, place: Path, wanted: Mapping[str, str], total: int) -> None:
    """Brings files and checks them; says sizes before."""
    remote = Server(address)
    sizes = sizes_bytes(remote, list(wanted))
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
            failure = refusal(f"{address}/{name}", error)
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


def _size(size_bytes: int) -> str:
    if size_bytes < 2**27:
        return f"{size_bytes / 2**20:.1f} MiB"
    return f"{size_bytes / 2**30:.2f} GiB"
