"""Reads GeoParquet on a server: the row groups over a box, and their rows.

Arrow never uses the network itself: it reads through `RemoteFile`. So the rules for
every other byte (allowed hosts, retries, the cache, --offline) hold here too.

Reference: https://geoparquet.org/releases/v1.1.0/ ("covering" names the columns with
the box of each row; without it, Overture's `bbox` is used).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
from pyproj.exceptions import CRSError

from data_prep.fetch import parquet_foot
from data_prep.fetch.area import Degrees
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.fetch.remote_file import BLOCK_BYTES, RemoteFile
from data_prep.files import arrow_files, table_formats
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

BATCH_ROWS = 32_768
_SIDES = ("xmin", "ymin", "xmax", "ymax")
# Boxes of rows are of 32 bits, which at 180 degrees are 1.5e-5 degrees apart.
_ROUNDED_DEG = 1e-4


class RemoteParquet:
    """A GeoParquet file on a server whose footer has been read.

    Attributes:
        name: Its address, without secrets.
        header: Columns and number of rows, as the build sees them.
        schema: Schema of all columns.
        geometry: Name of the column with the geometries, as WKB in degrees.
    """

    def __init__(self, client: Client, address: str) -> None:
        """Reads the foot.

        Raises:
            InputError: If there is no such file, it is damaged, its geometries are not
                in degrees of longitude and latitude, or no column has their boxes.
        """
        self.file = RemoteFile(client, address)
        self.name = public(address)
        with self.reading():
            self._groups = parquet_foot.read(self.file, self.file.size)
            handle = pa.PythonFile(self.file, mode="r")
            self._file = pq.ParquetFile(handle, pre_buffer=False)
            foot = self._file.metadata
            self.schema = self._file.schema_arrow
            self.header = arrow_files.header_of(self.name, foot)
            columns = range(foot.num_columns)
            self._leaves = [foot.schema.column(index).path for index in columns]
            self._refuse_odd_groups()
        self.geometry, about = self._geometry()
        self._box = self._box_leaves(about)

    def leaves(self, *tops: str) -> list[str]:
        """Paths of everything stored for some columns, such as "names.primary"."""
        return [
            path
            for path in self._leaves
            if any(path == top or path.startswith(f"{top}.") for top in tops)
        ]

    def groups_over(self, box_deg: Degrees) -> list[int]:
        """Returns the row groups that may have rows in a box, by their statistics."""
        return [
            group for group in range(self.num_groups) if self._touches(group, box_deg)
        ]

    @property
    def num_groups(self) -> int:
        """Number of row groups."""
        return len(self._groups)

    def rows_of(self, groups: Sequence[int]) -> int:
        """Number of rows."""
        return sum(self._groups[group].rows for group in groups)

    def bytes_of(self, groups: Sequence[int], leaves: Sequence[str]) -> int:
        """Bytes read over the network for some leaves of some row groups.

        They are more than the leaves' own bytes, since a file is read in blocks.
        """
        blocks: set[int] = set()
        for group in groups:
            for leaf in leaves:
                chunk = self._groups[group].chunks[leaf]
                end = chunk.start + chunk.packed_bytes
                blocks.update(range(chunk.start // BLOCK_BYTES, -(-end // BLOCK_BYTES)))
        return min(len(blocks) * BLOCK_BYTES, self.file.size)

    def batches(self, group: int, leaves: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a row group in batches.

        Raises:
            InputError: If the rows cannot be read, or unpack to too much data.
        """
        chunks = self._groups[group].chunks
        unpacked = sum(chunks[leaf].unpacked_bytes for leaf in leaves)
        if unpacked > table_formats.MAX_UNPACKED_BYTES:
            raise InputError(
                f"{self.name}: row group {group} unpacks to {unpacked / 2**30:.1f} "
                f"GiB; at most {table_formats.MAX_UNPACKED_BYTES / 2**30:g} are read. "
                "Take a copy with smaller row groups."
            )
        with self.reading():
            yield from self._file.iter_batches(
                BATCH_ROWS, row_groups=[group], columns=list(leaves), use_threads=False
            )

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Turns any failure inside the block into one sentence about the file.

        Raises:
            InputError: About the server if it failed; otherwise about the format.
        """
        # Arrow's errors are of several kinds, and those of Python.
        return self.file.explained((Exception,), self._unreadable)

    def _unreadable(self, error: BaseException) -> InputError:
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        return InputError(
            f"{self.name}: cannot be read as Parquet ({cause.rstrip('.')}). Is it "
            "truncated, or of another format? Take another source."
        )

    def _refuse_odd_groups(self) -> None:
        """Raises FootError where row groups lack columns, or lie beyond the file."""
        for group in self._groups:
            if set(group.chunks) != set(self._leaves) or group.rows < 0:
                raise parquet_foot.FootError(
                    "its row groups have other columns than its header"
                )
            for chunk in group.chunks.values():
                end = chunk.start + chunk.packed_bytes
                if min(chunk.packed_bytes, chunk.unpacked_bytes) < 0 or not (
                    0 <= chunk.start <= end <= self.file.size
                ):
                    raise parquet_foot.FootError("its columns lie beyond its end")

    def _geometry(self) -> tuple[str, dict[str, Any]]:
        """The column of geometries, and what the file says of it.

        Raises:
            InputError: If it is no GeoParquet 1.x, or not in degrees.
        """
        raw = (self.schema.metadata or {}).get(b"geo")
        name, about, version = "", {}, ""
        try:
            if raw:
                geo: Any = files.from_json(raw)
                version, name = str(geo["version"]), str(geo["primary_column"])
                about = dict(geo["columns"][name])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        encoding, crs = about.get("encoding"), about.get("crs", "OGC:CRS84")
        problem = ""
        if not raw:
            problem = "is Parquet, but not GeoParquet: nothing says where its rows lie"
        elif not version.startswith("1."):
            problem = f"is GeoParquet {version[:20]}, but only 1.0 and 1.1 are read"
        elif encoding != "WKB" or name not in self.schema.names:
            problem = (
                f"stores its geometries as {str(encoding)[:40]}, but only WKB is read"
            )
        elif not _is_degrees(crs):
            problem = "is in another CRS than longitude and latitude of WGS84"
        if problem:
            raise InputError(
                f"{self.name}: {problem}. Wanted: GeoParquet as Overture Maps writes "
                "it. Convert the file, or name it in the config as it is "
                "(config.pois.path)."
            )
        return name, about

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.name}: its metadata about geometries is damaged "
            f"({type(error).__name__}). Take another source."
        )

    def _box_leaves(self, about: dict[str, Any]) -> dict[str, str]:
        """Paths of the columns with the box of each row.

        Raises:
            InputError: If there are none.
        """
        try:
            covering = dict(about.get("covering", {})).get("bbox", {})
            parts = {side: covering.get(side, ("bbox", side)) for side in _SIDES}
            paths = {side: ".".join(part) for side, part in parts.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error
        lacking = [path for path in paths.values() if path not in self._leaves]
        if lacking:
            raise InputError(
                f"{self.name}: has no column {', '.join(lacking)}, which is needed to "
                "find the rows of an area; its columns: "
                f"{', '.join(self.header.columns[:20])}. Is it of an older schema? "
                "Take a newer release."
            )
        return paths

    def _touches(self, group: int, box_deg: Degrees) -> bool:
        """Whether a row group may have rows in a box; True where nothing says."""
        west, south, east, north = box_deg
        ranges = {}
        for side, leaf in self._box.items():
            extremes = self._groups[group].chunks[leaf].extremes
            if extremes is None or not all(map(math.isfinite, extremes)):
                return True
            ranges[side] = extremes
        return (
            ranges["xmin"][0] <= east + _ROUNDED_DEG
            and ranges["xmax"][1] >= west - _ROUNDED_DEG
            and ranges["ymin"][0] <= north + _ROUNDED_DEG
            and ranges["ymax"][1] >= south - _ROUNDED_DEG
        )


def metadata(geometry: str) -> dict[bytes, bytes]:
    """Returns the metadata of a file with points in degrees."""
    about = {"encoding": "WKB", "geometry_types": []}
    geo = {"version": "1.0.0", "primary_column": geometry, "columns": {geometry: about}}
    return {b"geo": json.dumps(geo).encode()}


def _is_degrees(crs: Any) -> bool:
    """Whether a CRS is WGS84 in degrees; GeoParquet has longitude first always."""
    try:
        known = pyproj.CRS.from_user_input(crs) if crs else None
    except CRSError:
        return False
    wanted = (pyproj.CRS("OGC:CRS84"), pyproj.CRS("EPSG:4326"))
    return known is not None and any(
        known.equals(one, ignore_axis_order=True) for one in wanted
    )
