"""Writes a city's records: shards, TFDS metadata, category vectors, manifest.

Everything is written to a folder beside the final one, which is renamed into place
when complete: finished records are never half replaced, and a build that was stopped
goes on with the shards it had finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float
from tensorflow_datasets.core import dataset_info, file_adapters, naming, splits

from data_prep import progress, sources
from data_prep.city import City, encoded
from data_prep.imagery import Imagery
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError

# One record a chunk: random access by the loader reads nothing else. PNG bytes do
# not compress further.
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"
_PROGRESS_FILE = "progress.json"


def write(
    city: City,
    imagery: Imagery,
    records_dir: Path,
    *,
    sections: sources.Sections,
) -> None:
    """Writes the records of a city and puts them in place.

    Args:
        city: What goes into the records.
        imagery: Where the tiles come from.
        records_dir: Folder to make; finished records in it are replaced.
        sections: The settings, for the manifest and to recognise earlier work;
            `records` holds num_shards, image_format (a key of
            `schema.IMAGE_FORMATS`) and category_dim.

    Raises:
        InputError: If `records_dir` holds something else than records.
    """
    settings = sections["records"]
    refuse_foreign(records_dir)
    partial = partial_dir(records_dir, sections)
    partial.mkdir(parents=True, exist_ok=True)
    num_shards = min(settings["num_shards"], len(city.regions))
    shards = _write_shards(city, imagery, partial, num_shards, settings["image_format"])
    vectors = category_vectors(city.pois.categories, settings["category_dim"])
    np.save(partial / schema.CATEGORY_VECTORS_FILE, vectors)
    manifest = schema.Manifest(
        city=city.name,
        crs=city.crs,
        tile_size_px=city.regions.tile_size_px,
        tile_size_m=city.regions.tile_size_m,
        num_regions=len(city.regions),
        shard_lengths=tuple(shard["length"] for shard in shards),
        shard_sha256=tuple(shard["sha256"] for shard in shards),
        max_pois=int(city.assignment.counts.max()),
        empty_share=city.empty_share,
        categories=city.pois.categories,
        category_parents=city.pois.parents,
        labels=city.meanings,
        block_size_m=city.block_size_m,
        image_format=settings["image_format"],
        report=city.report,
        sources=sources.describe(sections),
        config=sources.comparable(sections),
    )
    _write_tfds_metadata(manifest, partial)
    (partial / _PROGRESS_FILE).unlink()
    manifest.save(partial)
    put_in_place(partial, records_dir)


def partial_dir(records_dir: Path, sections: sources.Sections) -> Path:
    """Where the records of these settings and sources grow."""
    mark = sources.fingerprint(sections)[:12]
    return records_dir.with_name(f"{records_dir.name}.partial-{mark}")


def put_in_place(partial: Path, records_dir: Path) -> None:
    """Renames a complete folder into place and removes what it replaces."""
    replaced = records_dir.with_name(f"{records_dir.name}.replaced")
    if records_dir.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        records_dir.rename(replaced)
    partial.rename(records_dir)
    shutil.rmtree(replaced, ignore_errors=True)
    for stale in records_dir.parent.glob(f"{records_dir.name}.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)


def refuse_foreign(records_dir: Path) -> None:
    """Raises InputError when a folder holds files that no build made."""
    if (records_dir / schema.MANIFEST_FILE).exists() or not records_dir.exists():
        return
    if not records_dir.is_dir() or any(records_dir.iterdir()):
        raise InputError(
            f"config.records.dir {records_dir}: exists, but holds no records (no "
            f"{schema.MANIFEST_FILE}). Name another folder or remove this one."
        )


def category_vectors(categories: Iterable[str], dim: int) -> Float[np.ndarray, "k d"]:
    """Random unit vectors, one a category, float32 [k d].

    A vector hangs on the category's name alone, so it stays when others come or go.
    """
    rows = []
    for name in categories:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        row = np.random.default_rng(seed).standard_normal(dim)
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32).reshape(-1, dim)


def _write_shards(
    city: City, imagery: Imagery, partial: Path, num_shards: int, image_format: str
) -> list[dict[str, Any]]:
    """Writes the shards that are not there yet; length and hash of each."""
    finished = _finished_shards(partial)
    ranges = np.array_split(np.arange(len(city.regions)), num_shards)
    names = [schema.shard_name(city.name, k, num_shards) for k in range(num_shards)]
    todo = [k for k in range(num_shards) if names[k] not in finished]
    if finished:
        logging.info("going on with %d finished shard(s) in %s", len(finished), partial)
    regions = np.concatenate([ranges[k] for k in todo] or [ranges[0][:0]])
    examples = encoded(city, imagery, regions.tolist(), image_format)
    examples = progress.track(examples, "records written", len(regions))
    for k in todo:
        path = partial / names[k]
        _write_shard(path, examples, len(ranges[k]))
        finished[names[k]] = {
            "length": len(ranges[k]),
            "sha256": sources.sha256(path),
        }
        _replace_text(partial / _PROGRESS_FILE, json.dumps(finished))
    return [finished[name] for name in names]


def _write_shard(path: Path, examples: Iterator[bytes], length: int) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    writer = ArrayRecordWriter(str(temporary), _ARRAY_RECORD_OPTIONS)
    for _ in range(length):
        writer.write(next(examples))
    writer.close()
    temporary.replace(path)


def _finished_shards(partial: Path) -> dict[str, dict[str, Any]]:
    """Shards of an earlier, stopped build that are whole."""
    try:
        noted = json.loads((partial / _PROGRESS_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {
        name: shard
        for name, shard in noted.items()
        if (partial / name).exists()
        and sources.sha256(partial / name) == shard["sha256"]
    }


def _write_tfds_metadata(manifest: schema.Manifest, folder: Path) -> None:
    """Writes `dataset_info.json` and `features.json`, so that TFDS opens the folder."""
    identity = dataset_info.DatasetIdentity(
        name=manifest.city,
        version=manifest.version,
        data_dir=str(folder),
        module_name="data_prep.records",
    )
    info = dataset_info.DatasetInfo(
        builder=identity,
        description=(
            f"Regions of {manifest.city}: imagery tiles, points of interest, labels. "
            f"{schema.MANIFEST_FILE} says what the fields mean."
        ),
        features=manifest.features(),
        disable_shuffling=True,
    )
    info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
    paths = manifest.shard_paths(folder)
    split = splits.SplitInfo(
        name=schema.SPLIT,
        shard_lengths=list(manifest.shard_lengths),
        num_bytes=sum(path.stat().st_size for path in paths),
        filename_template=naming.ShardedFileTemplate(
            data_dir=folder,
            dataset_name=manifest.city,
            split=schema.SPLIT,
            filetype_suffix=file_adapters.FileFormat.ARRAY_RECORD.file_suffix,
        ),
    )
    info.set_splits(splits.SplitDict([split]))
    info.write_to_directory(folder)


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
