"""Writes a city's records: shards, TFDS metadata, category vectors, manifest.

Everything is written to a folder next to the final one and renamed into place when it
is complete. So finished records are never partly replaced, and a stopped build
continues with the shards it had finished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float32, Int
from tensorflow_datasets.core import dataset_info, file_adapters, naming, splits
from tensorflow_datasets.core.utils.version import Version

from data_prep.files import disk
from data_prep.records import shards
from data_prep.records.runners import Runner
from data_prep.records.settings import RecordSettings
from data_prep.records.shards import Encode
from mmgr_jax.data import contents, schema, seals, texts, tiles
from mmgr_jax.data import folds as folds_lib
from mmgr_jax.data.pixels import PixelSums
from mmgr_jax.disk import files, folders, locks, marks
from mmgr_jax.errors import InputError

KIND = "records"

_NAMED = 3  # sources named in a message
_SHARD = re.compile(r".+\.array_record-\d+-of-\d+(\.json|\.tmp)?")


def write(
    records_dir: Path,
    *,
    manifest: schema.Manifest,
    vectors: Float32[np.ndarray, "k d"],
    encode: Encode,
    num_shards: int,
    fingerprint: str,
    run: Runner,
    region_ids: Sequence[str] = (),
    folds: Mapping[str, Int[np.ndarray, " r"]] = MappingProxyType({}),
    beside: Mapping[str, bytes] = MappingProxyType({}),
    stamps: contents.Stamps | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Writes the records of a city and puts them in place.

    Args:
        records_dir: Folder to make; finished records in it are replaced.
        manifest: What the records hold; its shards are filled in here.
        vectors: The vector of each category.
        encode: Serialised records of some regions.
        num_shards: Number of shards; at most one per region is made.
        fingerprint: Distinguishes this build's settings and sources from any other.
        run: What writes the shards.
        region_ids: Name of each region [r], where there are folds.
        folds: Kind of split -> fold of each region; those `manifest.splits` names.
        beside: Name -> content of further files of the category vectors.
        stamps: Remembers, beside the records, what was read and written.
        check: Called when everything is written, before the folder is renamed.

    Raises:
        InputError: If `records_dir` holds something else than records, or cannot be
            written to; finished shards stay for the next build.
    """
    refuse_foreign(records_dir)
    partial = _partial_dir(records_dir, fingerprint)
    with disk.writing(partial):
        folders.refuse_foreign(partial, KIND, _entries, "the unfinished folder")
        partial.mkdir(parents=True, exist_ok=True)
        if not marks.is_ours(partial, KIND):
            marks.mark(partial, KIND)
    try:
        notes = _write_shards(manifest, partial, encode, num_shards, run)
    except BaseException:
        if not any(partial.glob("*.array_record*")):
            folders.remove(partial)
        raise
    manifest = dataclasses.replace(
        manifest,
        shard_lengths=tuple(note["length"] for note in notes),
        shard_sha256=tuple(note["sha256"] for note in notes),
        pixels=PixelSums.over(
            PixelSums(**note["pixels"]) for note in notes
        ).statistics(),
        inputs_sha256=seals.sum_of_inputs([int(note["inputs"], 16) for note in notes]),
    )
    check()
    with disk.writing(partial):
        np.save(partial / schema.CATEGORY_VECTORS_FILE, vectors)
        for name, content in beside.items():
            (partial / name).write_bytes(content)
        if folds:
            folds_lib.write(partial, region_ids, folds)
        _write_tfds_metadata(manifest, partial)
        manifest.save(partial)
    put_in_place(partial, records_dir)
    if stamps is not None:
        _remember(stamps, manifest, records_dir)


def _remember(
    stamps: contents.Stamps, manifest: schema.Manifest, records_dir: Path
) -> None:
    """What shards hold, so that they need not be read again to know it."""
    for path, sha256 in zip(
        manifest.shard_paths(records_dir), manifest.shard_sha256, strict=True
    ):
        stamps.remember(path.name, path, sha256, contents.size_and_times(path))
    stamps.save()


def finish(records_dir: Path, fingerprint: str) -> bool:
    """Puts complete records of a stopped build in place; whether there were any."""
    partial = _partial_dir(records_dir, fingerprint)
    if not (partial / schema.MANIFEST_FILE).exists():
        return False
    put_in_place(partial, records_dir)
    return True


def put_in_place(partial: Path, records_dir: Path) -> None:
    """Renames a complete folder into place and removes what it replaces.

    Files that no build made are moved too; a link stays a link.

    Raises:
        InputError: If a training or an evaluation reads what would be replaced.
    """
    place = folders.real(records_dir)
    refuse_foreign(place)
    with (
        disk.writing(records_dir),
        locks.removing(place / schema.MANIFEST_FILE) as free,
    ):
        if not free:
            raise _in_use(records_dir)
        for note in partial.glob("*.array_record*.json"):
            note.unlink()
        folders.replace(partial, place, KIND, _entries)
        folders.clean(place, KIND, _entries, unfinished=f"{place.name}.partial-")


@contextlib.contextmanager
def alone(records_dir: Path) -> Iterator[None]:
    """Inside the block, no other process writes these records.

    Raises:
        InputError: If another process writes them, or a training or an evaluation reads
            them.
    """
    place = folders.real(records_dir)
    remedy = "name another config.records.dir"
    with contextlib.ExitStack() as stack:
        with disk.writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = locks.held(folders.lock_of(place), "a build of records", remedy)
            stack.enter_context(lock)
            folders.clean(place, KIND, _entries)
            with locks.removing(place / schema.MANIFEST_FILE) as free:
                if not free:
                    raise _in_use(records_dir)
        yield


def refuse_foreign(records_dir: Path) -> None:
    """Raises InputError when a folder holds files that no build made."""
    with disk.writing(records_dir):
        place = folders.real(records_dir)
        folders.refuse_foreign(place, KIND, _entries, "config.records.dir")


def misfit(
    manifest: schema.Manifest,
    records_dir: Path,
    differing: Sequence[str],
    changed_sources: Callable[[], Sequence[str]],
) -> str | None:
    """Why finished records must be made again; None when they still fit.

    Args:
        manifest: Their manifest.
        records_dir: Their folder.
        differing: Names of the settings that now differ.
        changed_sources: Names of their sources that now differ; evaluated last.
    """
    if differing:
        return f"made with other settings ({', '.join(differing)})"
    if not all(path.exists() for path in manifest.shard_paths(records_dir)):
        return "shards are missing"
    if names := changed_sources():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"made from other sources ({', '.join(names[:_NAMED])}{more})"
    return None


def problems(city: str, settings: RecordSettings) -> list[str]:
    """Lists what is wrong with a city's name and the settings of its records."""
    problems = []
    if not re.fullmatch(r"[a-zA-Z]\w*", city or "", re.ASCII):
        problems.append(
            f"config.city.name is {city!r}; allowed: letters, digits and underscores, "
            "a letter first, because it names the files."
        )
    fault = tile_writer(settings).problem
    return [*problems, fault] if fault else problems


def tile_writer(settings: RecordSettings) -> tiles.TileWriter:
    """How the tiles are written."""
    return tiles.TileWriter(settings.image_format, settings.image_quality)


def _partial_dir(records_dir: Path, fingerprint: str) -> Path:
    """Where the records of these settings and sources grow."""
    place = folders.real(records_dir)
    return place.with_name(f"{place.name}.partial-{fingerprint[:12]}")


def _entries(folder: Path) -> Collection[str]:
    """Names of all that records have, where the folder holds them or was to."""
    names = [entry.name for entry in folder.iterdir()]
    own = {
        *(name for name in names if _SHARD.fullmatch(name)),
        *(schema.MANIFEST_FILE, schema.SPLITS_FILE, schema.CATEGORY_VECTORS_FILE),
        *(texts.FILE, contents.STAMPS_FILE, "category_neighbours.txt"),
        *("dataset_info.json", "features.json", marks.MARK),
    }
    # Earlier versions left no mark.
    unfinished = ".partial-" in folder.name and set(names) <= own
    return own if marks.MARK in names or unfinished or _is_manifest(folder) else ()


def _is_manifest(folder: Path) -> bool:
    """Whether a folder's manifest is of records."""
    try:
        manifest = files.from_json((folder / schema.MANIFEST_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return (
        isinstance(manifest, dict)
        and {"shard_lengths", "tile_size_px"} <= manifest.keys()
    )


def _in_use(records_dir: Path) -> InputError:
    return InputError(
        f"{records_dir}: a training or an evaluation reads these records. Give the "
        "command again when it has ended, or name another config.records.dir."
    )


def _write_shards(
    manifest: schema.Manifest,
    partial: Path,
    encode: Encode,
    num_shards: int,
    run: Runner,
) -> list[dict[str, Any]]:
    """Writes the shards that are not there yet; what is noted of each."""
    wanted = _shards(manifest, partial, num_shards)
    notes = {shard: shards.finished(shard) for shard in wanted}
    todo = [shard for shard in wanted if notes[shard] is None]
    if len(todo) < len(wanted):
        logging.info(
            "going on with %d finished shard(s) in %s", len(wanted) - len(todo), partial
        )
    run(encode, todo)
    for shard in todo:
        notes[shard] = shards.finished(shard)
    missing = [shard.path for shard in wanted if notes[shard] is None]
    if missing:
        raise InputError(
            f"{missing[0]}: was written, but is now missing or incomplete, and so are "
            f"{len(missing) - 1} more. Check that all workers see the same folder."
        )
    return [note for shard in wanted if (note := notes[shard]) is not None]


def _shards(
    manifest: schema.Manifest, folder: Path, num_shards: int
) -> list[shards.Shard]:
    """The shards of a city, as even as can be."""
    count = min(num_shards, manifest.num_regions)
    parts = np.array_split(np.arange(manifest.num_regions), count)
    return [
        shards.Shard(
            path=folder / schema.shard_name(manifest.city, index, count),
            first=int(part[0]),
            length=len(part),
        )
        for index, part in enumerate(parts)
    ]


def _write_tfds_metadata(manifest: schema.Manifest, folder: Path) -> None:
    """Writes `dataset_info.json` and `features.json`, so that TFDS opens the folder."""
    identity = dataset_info.DatasetIdentity(
        name=manifest.city,
        version=Version(manifest.version),
        data_dir=str(folder),
        module_name="data_prep.records",
    )
    info = dataset_info.DatasetInfo(
        builder=identity,
        description=(
            f"Regions of {manifest.city}: imagery tiles, points of interest, labels. "
            f"{schema.MANIFEST_FILE} says what the fields mean."
        ),
        features=manifest.layout.features(),
        disable_shuffling=True,
    )
    info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
    paths = manifest.shard_paths(folder)
    split = splits.SplitInfo(
        name=schema.SPLIT,
        shard_lengths=list(manifest.shard_lengths),
        num_bytes=sum(path.stat().st_size for path in paths),
        filename_template=naming.ShardedFileTemplate(
            data_dir=folder,  # pyright: ignore[reportArgumentType]  # made one
            dataset_name=manifest.city,
            split=schema.SPLIT,
            filetype_suffix=file_adapters.FileFormat.ARRAY_RECORD.file_suffix,
        ),
    )
    info.set_splits(splits.SplitDict([split]))
    info.write_to_directory(folder)
