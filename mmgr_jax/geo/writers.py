"""Writes embeddings, predictions and their origin as GeoParquet 1.1 tables."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from jaxtyping import Float, Int
from pyarrow import parquet
from pyproj.exceptions import ProjError

from mmgr_jax.data import seals
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.geo import systems
from mmgr_jax.geo.columns import RESERVED
from mmgr_jax.geo.packed import NEIGHBOURS, Recall, measured

ROW_GROUP_SIZE = 8192
"""Most rows that a reader must hold at once: 64 MiB of 2048-wide embeddings.

Measured on a table of 200,704 regions with 256 numbers each (0.2 GB), in the order of
`spatial_order`: for a box of 2 % of the city's side DuckDB read 8 MB. With groups of
128 MB it read 68 MB.
"""

ROW_GROUP_BYTES = 128 * 2**20
"""Most bytes of embeddings in a row group; wider embeddings get fewer rows."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_embeddings(
    path: str | Path,
    *,
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    crs: str,
    embeddings: Float[np.ndarray, "r f"],
    columns: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
    packed: bool = False,
) -> None:
    """Writes a table with one row for each region.

    A row holds the region's id, its centre, the further columns, its embedding, its
    bounding box and its outline. The file is GeoParquet 1.1 with ZSTD compression.
    `geometry` is WKB. `bbox` is its covering, so that readers can skip regions that lie
    elsewhere. `embedding` is a list of f float32 or int8 numbers. Rows are in the order
    given; `row` numbers them.

    The schema metadata holds JSON under `geo` (GeoParquet) and under `emb` (what the
    vectors are). `emb` holds the given metadata plus `column`, `dimensions`,
    `data_type`, `crs` and `sha256`; for int8 also `scale`, `offset` and
    `recall_of_20_nearest`. `sha256` shows damage when the file is read as a table of
    features. Pages have checksums, too. The file appears complete, by one rename, or
    not at all.

    Args:
        path: File to write; missing folders are made.
        region_ids: Stable names, all different.
        geometry_wkb: Polygons in `crs`.
        crs: Anything pyproj understands, such as "EPSG:32651".
        embeddings: One finite vector for each region.
        columns: Name -> r values, such as those of `columns.of_task`; NaN becomes null.
        metadata: Where the vectors come from, such as model, checkpoint, date and
            source; must be JSON.
        packed: Whether to store vectors as int8, in a quarter of the bytes; see the
            module `packed`.

    Raises:
        InputError: If lengths differ, ids repeat, an embedding is not finite, a
            column has a reserved name, or the CRS or metadata cannot be written.
    """
    path = Path(path)
    _check(path, region_ids, geometry_wkb, embeddings, columns)
    refuse_repeated(path, region_ids)
    recall = measured([embeddings], embeddings.__getitem__) if packed else None
    with writing(path, crs=crs, metadata=metadata, recall=recall) as table:
        for first in range(0, max(len(region_ids), 1), ROW_GROUP_SIZE):
            rows = slice(first, first + ROW_GROUP_SIZE)
            table.add(
                np.arange(len(region_ids))[rows],
                region_ids[rows],
                geometry_wkb[rows],
                embeddings[rows],
                {name: values[rows] for name, values in columns.items()},
            )


@contextlib.contextmanager
def writing(
    path: str | Path,
    *,
    crs: str,
    metadata: Mapping[str, Any],
    recall: Recall | None = None,
) -> Iterator[TableWriter]:
    """Opens a table like that of `write_embeddings`, to be written in parts.

    Add the parts with `TableWriter.add`; each becomes at least one row group.

    Only one part at a time is held in memory. The file appears at the end, or not at
    all.

    Args:
        path: File to write; missing folders are made.
        crs: Anything pyproj understands.
        metadata: Where the vectors come from; must be JSON.
        recall: How vectors are packed as int8; None: they are stored as float32.
    """
    path = Path(path)
    _json(path, metadata)
    projjson = systems.known(path, crs).to_json_dict()
    with files.replacing(path) as temporary:
        table = TableWriter(path, temporary, crs, projjson, metadata, recall)
        try:
            yield table
            table.finish()
        finally:
            table.close()


class TableWriter:
    """A table that is written part by part; see `writing`."""

    def __init__(
        self,
        path: Path,
        temporary: Path,
        crs: str,
        projjson: dict[str, Any],
        metadata: Mapping[str, Any],
        recall: Recall | None = None,
    ) -> None:
        """Opens nothing yet: the first rows decide the columns."""
        self._path, self._temporary = path, temporary
        self._crs, self._projjson, self._metadata = crs, projjson, metadata
        self._recall = recall
        self._writer: parquet.ParquetWriter | None = None
        self._seal = seals.OfTable()
        self._types: set[str] = set()
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)
        self._width = 0

    def add(
        self,
        numbers: Int[np.ndarray, " n"],
        region_ids: Sequence[str],
        geometry_wkb: Sequence[bytes],
        embeddings: Float[np.ndarray, "n f"],
        columns: Mapping[str, np.ndarray],
    ) -> None:
        """Writes the next rows; all calls must give the same columns.

        Args:
            numbers: Numbers of the regions in the records, from 0.
            region_ids: As for `write_embeddings`, like the other arguments.
            geometry_wkb: Outlines of the regions.
            embeddings: Vectors of the regions.
            columns: Further columns.

        Raises:
            InputError: As for `write_embeddings`, except for repeated ids, which
                `refuse_repeated` finds.
        """
        _check(self._path, region_ids, geometry_wkb, embeddings, columns)
        geometry = shapely.from_wkb(geometry_wkb)
        bounds = shapely.bounds(geometry)
        self._width = embeddings.shape[1]
        self._types |= {item.geom_type for item in geometry}
        if len(bounds):
            self._low = np.minimum(self._low, bounds[:, :2].min(axis=0))
            self._high = np.maximum(self._high, bounds[:, 2:].max(axis=0))
        stored = embeddings.astype(np.float32)
        if self._recall is not None:
            stored = self._recall.packing.pack(embeddings)
            self._recall.add(numbers, embeddings, stored)
        self._seal.add(region_ids, stored)
        vectors = pa.FixedSizeListArray.from_arrays(
            pa.array(stored.ravel()), self._width
        )
        longitude, latitude = self._middle(geometry)
        corners = [pa.array(bounds[:, index]) for index in range(4)]
        rows = pa.table(
            {
                "region_id": pa.array(region_ids, pa.string()),
                "lon_deg": pa.array(longitude),
                "lat_deg": pa.array(latitude),
                "row": pa.array(numbers, pa.int64()),
                **{name: pa.array(v, from_pandas=True) for name, v in columns.items()},
                "embedding": vectors,
                "bbox": pa.StructArray.from_arrays(corners, CORNERS),
                "geometry": pa.array(geometry_wkb, pa.binary()),
            }
        )
        if self._writer is None:
            self._writer = parquet.ParquetWriter(
                self._temporary,
                rows.schema,
                compression="zstd",
                write_page_checksum=True,
            )
        fitting = ROW_GROUP_BYTES // max(4 * self._width, 1)
        self._writer.write_table(
            rows, row_group_size=min(ROW_GROUP_SIZE, max(fitting, 1))
        )

    def _middle(self, geometry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of the centroids, in degrees (WGS 84)."""
        centroid = shapely.centroid(geometry)
        x, y = shapely.get_x(centroid), shapely.get_y(centroid)
        try:
            return _to_degrees(self._crs).transform(x, y, errcheck=True)
        except ProjError as error:
            raise InputError(
                f"{self._path}: no longitude and latitude follow from CRS "
                f"{self._crs!r} ({error}). Give a CRS that lies on the Earth as "
                "config.city.crs."
            ) from error

    def finish(self) -> None:
        """Writes the metadata of the whole table; call it once, after the last rows."""
        assert self._writer is not None  # a city has a region
        described = {
            **self._metadata,
            "column": "embedding",
            "dimensions": self._width,
            "data_type": "float32",
            "crs": self._crs,
        }
        if self._recall is not None:
            described |= {
                **self._recall.packing.described(),
                "data_type": "int8",
                "packed_from": "float32",
                f"recall_of_{NEIGHBOURS}_nearest": self._recall.share(),
            }
        described["sha256"] = self._seal.sha256(
            json.loads(_json(self._path, described))
        )
        column = {
            "encoding": "WKB",
            "geometry_types": sorted(self._types),
            "crs": self._projjson,
            "covering": {"bbox": {corner: ["bbox", corner] for corner in CORNERS}},
        }
        if np.isfinite(self._low).all():
            column["bbox"] = [*self._low.tolist(), *self._high.tolist()]
        geo = {  # of the GeoParquet 1.1 specification
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {"geometry": column},
        }
        content = {"geo": json.dumps(geo), "emb": _json(self._path, described)}
        # Arrow reads what its own copy of the schema says, and nothing beside it.
        schema = self._writer.schema.with_metadata(content).serialize().to_pybytes()
        content["ARROW:schema"] = base64.b64encode(schema).decode()
        self._writer.add_key_value_metadata(content)

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def refuse_repeated(path: str | Path, region_ids: Sequence[str]) -> None:
    """Raises InputError if two regions of a table have the same id."""
    names, counts = np.unique(np.asarray(region_ids, str), return_counts=True)
    if len(names) and counts.max() > 1:
        raise InputError(
            f"{path}: region_id {str(names[counts.argmax()])!r} occurs {counts.max()} "
            "times; ids must be unique. Build the records again."
        )


def _check(
    path: Path,
    region_ids: Sequence[str],
    geometry_wkb: Sequence[bytes],
    embeddings: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> None:
    given = {"geometry_wkb": geometry_wkb, "embeddings": embeddings, **columns}
    _check_lengths(path, len(region_ids), given)
    for name, values in columns.items():
        if np.ndim(values) != 1:
            raise InputError(
                f"{path}: column {name} has shape {np.shape(values)}; give one value "
                "a region, such as `columns.of_task` makes of shares"
            )
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(broken):
        raise InputError(
            f"{path}: {len(broken)} embeddings are not finite, the first of region "
            f"{region_ids[broken[0]]!r}. Check the checkpoint."
        )
    reserved = [name for name in columns if name in RESERVED]
    if reserved:
        raise InputError(
            f"{path}: column {reserved[0]!r} is one of the table's own "
            f"({', '.join(RESERVED)}). Rename the label."
        )


def _check_lengths(path: Path, rows: int, given: Mapping[str, Sized]) -> None:
    for name, values in given.items():
        if len(values) != rows:
            raise InputError(
                f"{path}: {name} has {len(values)} rows for {rows} regions; give one "
                "a region"
            )


@functools.cache
def _to_degrees(crs: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)


def _json(path: Path, metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the metadata is not JSON ({error}). Use text, numbers, lists "
            "and dicts."
        ) from error
