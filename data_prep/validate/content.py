"""Reads what the records of a city hold, and finds what is wrong with them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep.running import progress
from mmgr_jax.data import arrays, record_format, schema
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError

SAMPLES = 12
_NAMED = 5  # records named a fault
_SUM_TOLERANCE = 1e-3  # of shares
_BLANK = 0.98  # share of a tile that one colour may fill


@dataclasses.dataclass(frozen=True)
class ShownTile:
    """A tile with its POIs, to look at.

    Attributes:
        region_id: Name of the region.
        tile: uint8 [h w 3].
        offset_m: POIs east and north of the centre [n 2].
        category: Their categories [n].
    """

    region_id: str
    tile: np.ndarray
    offset_m: np.ndarray
    category: np.ndarray


@dataclasses.dataclass
class Content:
    """Numbers over all records, and the faults found on the way.

    Attributes:
        manifest: The manifest.
        geometry: Outline of each region [r], None where it cannot be read.
        num_pois: POIs of each region [r].
        category_counts: Records' POIs by category [k].
        blank_share: Share of a tile its most frequent colour fills [r].
        block_id: Spatial block of each region [r].
        labels: Values of each label, [r] or [r k].
        samples: Some tiles, spread over the city.
        errors: What makes the records unfit.
        warnings: What someone should look at.
    """

    manifest: schema.Manifest
    geometry: np.ndarray
    num_pois: np.ndarray
    category_counts: np.ndarray
    blank_share: np.ndarray
    block_id: np.ndarray
    labels: dict[str, np.ndarray]
    samples: list[ShownTile]
    errors: list[str]
    warnings: list[str]


class _Faults:
    """Faults by kind, with the first records that have them."""

    def __init__(self) -> None:
        self._records: dict[str, list[str]] = {}

    def add(self, what: str, record: str) -> None:
        self._records.setdefault(what, []).append(record)

    def lines(self) -> list[str]:
        lines = []
        for what, records in self._records.items():
            named = ", ".join(records[:_NAMED])
            more = len(records) - _NAMED
            tail = f" and {more:,} more" if more > 0 else ""
            lines.append(f"{what}: {named}{tail}")
        return lines


def read(records_dir: Path) -> Content:
    """Reads every record and checks it.

    Args:
        records_dir: A folder of records.

    Returns:
        The content, with all faults.

    Raises:
        InputError: If there is no manifest, or not one record can be read.
    """
    manifest = schema.Manifest.load(records_dir)
    faults = _Faults()
    errors = manifest.faults(records_dir, whole=True)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("geometry", "num_pois", "blank", "block", "id", "tile")
    }
    labels: dict[str, list[np.ndarray]] = {name: [] for name in manifest.labels}
    categories = np.zeros(len(manifest.categories), np.int64)
    samples = []
    wanted = set(np.linspace(0, manifest.num_regions - 1, SAMPLES).astype(int).tolist())
    records = _records(manifest, records_dir, faults)
    for index, record in progress.track(
        records, "records checked", manifest.num_regions
    ):
        geometry = _check(record, manifest, faults)
        tile, category = record["image"], record["poi/category"]
        columns["id"].append(record["region_id"])
        columns["geometry"].append(geometry)
        columns["num_pois"].append(len(category))
        columns["blank"].append(_most_frequent_share(tile))
        columns["block"].append(int(record["block_id"]))
        columns["tile"].append(hashlib.blake2b(tile.tobytes()).digest())
        for name, values in labels.items():
            values.append(record[f"label/{name}"])
        in_range = category[(category >= 0) & (category < len(categories))]
        categories += np.bincount(in_range, minlength=len(categories))
        if index in wanted:
            samples.append(
                ShownTile(record["region_id"], tile, record["poi/offset_m"], category)
            )
    if not columns["id"]:
        raise InputError(
            f"{records_dir}: not one record can be read. "
            + " ".join(errors + faults.lines())
            + " Build the records again."
        )
    errors += _table_faults(manifest, records_dir) + faults.lines()
    errors += _repeated("several records of one region_id", columns["id"])
    content = Content(
        manifest=manifest,
        geometry=np.array(columns["geometry"], object),
        num_pois=np.array(columns["num_pois"]),
        category_counts=categories,
        blank_share=np.array(columns["blank"]),
        block_id=np.array(columns["block"]),
        labels={name: np.stack(values) for name, values in labels.items()},
        samples=samples,
        errors=errors,
        warnings=[],
    )
    content.warnings = _warnings(content, columns["id"], columns["tile"])
    return content


def _records(
    manifest: schema.Manifest, records_dir: Path, faults: _Faults
) -> Iterator[tuple[int, record_format.Record]]:
    """Place in the city and content of every record that can be read."""
    layout = manifest.layout
    place = 0
    paths = manifest.shard_paths(records_dir)
    for path, length in zip(paths, manifest.shard_lengths, strict=True):
        try:
            source = ArrayRecordDataSource([str(path)])
            stored = len(source)
        except Exception as error:  # ArrayRecord raises bare RuntimeError
            refusals.refuse_unreadable(path, error)
            faults.add("not a whole shard", f"{path} ({_first_line(error)})")
            place += length
            continue
        if stored != length:
            faults.add(f"other than the {length} records of the manifest", str(path))
        for index in range(min(stored, length)):
            try:
                yield place + index, record_format.deserialize(source[index], layout)
            except Exception as error:  # three libraries, each with errors of its own
                refusals.refuse_unreadable(path, error)
                name = f"{path.name} record {index} ({_first_line(error)})"
                faults.add("damaged", name)
        place += length


def _check(
    record: record_format.Record, manifest: schema.Manifest, faults: _Faults
) -> shapely.Geometry | None:
    """Notes what is wrong with a record; returns its outline, None of unreadable."""
    name = record["region_id"]
    side = manifest.tile_size_px
    if record["image"].shape != (side, side, 3):
        shape = "x".join(map(str, record["image"].shape))
        faults.add(f"tile not of {side} px and three bands", f"{name} ({shape})")
    category, edges = record["poi/category"], record["poi/edges"]
    if np.any((category < 0) | (category >= len(manifest.categories))):
        faults.add("POI category outside the table", name)
    if not len(category) == len(record["poi/offset_m"]):
        faults.add("POI categories and positions of different number", name)
    if not np.all(np.isfinite(record["poi/offset_m"])):
        faults.add("POI position that is not finite", name)
    if np.any((edges < 0) | (edges >= len(category))):
        faults.add("edge to a POI that is not there", name)
    weight = record["poi/edge_weight"]
    if len(weight) != len(edges) or not np.all(np.isfinite(weight) & (weight >= 0)):
        faults.add("edge weight missing, negative or not finite", name)
    geometry = shapely.from_wkb(record["geometry"], on_invalid="ignore")
    if geometry is None or (manifest.crs and not (geometry.is_valid and geometry.area)):
        faults.add("outline that is no valid polygon", name)
    for label, meaning in manifest.labels.items():
        values = np.atleast_1d(record[f"label/{label}"])
        _check_label(values, label, meaning, name, faults)
    return geometry


def _check_label(
    values: np.ndarray, label: str, meaning: schema.Label, name: str, faults: _Faults
) -> None:
    known = ~np.isnan(values)
    if np.any(np.isinf(values)):
        faults.add(f"label {label} is infinite", name)
    if meaning.classes:
        if known.any() and not known.all():
            faults.add(f"label {label}: some shares known, others not", name)
        elif known.all() and abs(float(values.sum()) - 1) > _SUM_TOLERANCE:
            faults.add(f"label {label}: shares do not sum to one", name)
    if meaning.kind != "scalar" and np.any(values[known] < 0):
        faults.add(f"label {label} ({meaning.kind}) is negative", name)


def _table_faults(manifest: schema.Manifest, records_dir: Path) -> list[str]:
    path = records_dir / schema.CATEGORY_VECTORS_FILE
    try:
        vectors = arrays.load_npy(path).astype(np.float32)
    except (OSError, ValueError, TypeError) as error:
        refusals.refuse_unreadable(path, error)
        return [f"{path}: cannot be read ({error})"]
    faults = []
    if len(vectors) != len(manifest.categories):
        faults.append(
            f"{path}: {len(vectors)} rows for {len(manifest.categories)} categories"
        )
    if not np.all(np.isfinite(vectors)):
        faults.append(f"{path}: numbers that are not finite")
    return faults


def _repeated(what: str, names: list[str]) -> list[str]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    return [f"{what}: {', '.join(repeated[:_NAMED])}"] if repeated else []


def _warnings(content: Content, names: list[str], tiles: list[bytes]) -> list[str]:
    """What is allowed, and still worth a look."""
    warnings = []
    blank = np.flatnonzero(content.blank_share >= _BLANK)
    if len(blank):
        named = ", ".join(names[index] for index in blank[:_NAMED])
        warnings.append(
            f"{len(blank):,} tiles are one colour on {_BLANK:.0%} of their pixels: "
            f"{named}. Are they water, or missing data without a nodata value?"
        )
    same = sum(count for count in Counter(tiles).values() if count > 1)
    if same:
        warnings.append(f"{same:,} tiles are equal to another, pixel by pixel")
    empty = float((content.num_pois == 0).mean())
    if empty > 0.5:
        warnings.append(
            f"{empty:.0%} of the regions hold no POI; larger regions or "
            "config.regions.poi_buffer_m would give them some"
        )
    unused = int((content.category_counts == 0).sum())
    if unused > len(content.category_counts) / 2:
        warnings.append(
            f"{unused:,} of {len(content.category_counts):,} categories occur in no "
            "region"
        )
    for label, values in content.labels.items():
        rows = values.reshape(len(values), -1)
        known = ~np.isnan(rows).any(axis=1)
        if known.mean() < 0.5:
            warnings.append(f"label {label} is known for {known.mean():.0%} of regions")
        if known.any() and np.ptp(rows[known], axis=0).max() == 0:
            warnings.append(f"label {label} has one value everywhere")
    if len(np.unique(content.block_id)) < 5:
        warnings.append(
            f"{len(np.unique(content.block_id))} spatial blocks are too few for five "
            "folds; lower config.blocks.size_m"
        )
    return warnings


def _most_frequent_share(tile: np.ndarray) -> float:
    """Share of the pixels that have the tile's most frequent colour."""
    packed = tile.reshape(-1, 3).astype(np.uint32) @ np.array(
        [65536, 256, 1], np.uint32
    )
    return float(np.unique(packed, return_counts=True)[1].max() / len(packed))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
