"""Fetches places of an area from Overture Maps, or GeoParquet of the same form.

    1. Choose the release (the newest that is listed, or the one named) and its files.
    2. Find the row groups over the area from the footers of the files.
    3. Read them, keep the rows within the outline, and write the columns that the build
       knows to one GeoParquet.

Reference: https://docs.overturemaps.org/schema/reference/places/place/
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from jaxtyping import Bool
from shapely.geometry.base import BaseGeometry

from data_prep.fetch import geoparquet, listing
from data_prep.fetch.geoparquet import RemoteParquet
from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.pois.sources import overture
from data_prep.running.progress import Meter
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

PLACES = "theme=places/type=place/"
"""Below a release."""

_RELEASE = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)")
_PARQUET = (".parquet", ".geoparquet")
# Columns that the build may be asked to read; of names and sources a part of each.
_COLUMNS = (
    "id", "basic_category", "taxonomy", "categories", "confidence",
    "operating_status", "names.primary",
)  # fmt: skip
_SOURCES = ("property", "dataset", "license")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class PlacesSize:
    """Size of the places of an area, before they are fetched.

    Attributes:
        files: Number of files.
        groups: Row groups over the area.
        num_groups: Row groups of all files.
        rows: Rows in the row groups over the area; fewer lie within it.
        bytes_to_read: Bytes read over the network, without the footers.
        total_bytes: Bytes of all files; None where the listing does not say.
    """

    files: int
    groups: int
    num_groups: int
    rows: int
    bytes_to_read: int
    total_bytes: int | None


@dataclasses.dataclass
class PlacesCount:
    """How many rows were written, from which datasets.

    Attributes:
        rows: Rows within the outline.
        read: Rows that were read.
        broken: Rows without a readable geometry.
        datasets: Number of rows for each dataset that they, or parts of them, come
            from.
        licences: Number of rows for each licence.
    """

    rows: int = 0
    read: int = 0
    broken: int = 0
    datasets: Counter[str] = dataclasses.field(default_factory=Counter)
    licences: Counter[str] = dataclasses.field(default_factory=Counter)


def choose(client: Client, address: str, release: str) -> dict[str, Any]:
    """Chooses the release and its files.

    Args:
        client: Who asks.
        address: Address of the folder of all releases.
        release: The release; "": the newest.

    Returns:
        "release", and "files" with address and size of each file.

    Raises:
        InputError: If there is no release, or not the one named.
    """
    releases = _releases(client, address)
    if not releases:
        raise InputError(
            f"{public(address)}: lists no release of Overture Maps. Give "
            "the command again later, or take another source."
        )
    release = release or list(releases)[-1]
    if release not in releases:
        raise InputError(
            f"--pois=overture:{release}: no such release is listed; there are "
            f"{', '.join(list(releases)[-_SHOWN:])} (only the newest few are kept)."
        )
    places = parquets_in(client, listing.below(releases[release], PLACES))
    logging.info("pois: release %s of Overture Maps", release)
    return {"release": release, "files": places}


def parquets_in(client: Client, address: str) -> list[dict[str, Any]]:
    """Returns address and size of the Parquet files of a folder, or of one file.

    Raises:
        InputError: If there is none.
    """
    if not listing.is_folder(address):
        return [{"address": address, "size": None}]
    inside = listing.files_in(client, address)
    parquets = [one for one in inside if one.name.lower().endswith(_PARQUET)]
    if not parquets:
        shown = ", ".join(one.name for one in inside[:_SHOWN]) or "nothing"
        raise InputError(
            f"{public(address)}: its listing names no .parquet file ({shown}). Correct "
            "the folder, or name the file itself."
        )
    return [{"address": one.address, "size": one.size} for one in parquets]


class OverturePlaces:
    """Places over an outline, in files on a server."""

    def __init__(
        self, client: Client, places: Sequence[dict[str, Any]], outline: BaseGeometry
    ) -> None:
        """Reads the feet of the files.

        Args:
            client: Who asks.
            places: Address and size of each file.
            outline: In degrees.

        Raises:
            InputError: If one cannot be read, or has no category that the build knows.
        """
        self._outline = outline
        self._files: list[tuple[RemoteParquet, list[int]]] = []
        sizes = [one["size"] for one in places]
        self._total = None if None in sizes else sum(sizes)
        meter = Meter("footers of files", len(places))
        for one in places:
            file = RemoteParquet(client, one["address"])
            _refuse_no_category(file)
            self._files.append((file, file.groups_over(outline.bounds)))
            meter.add()

    def size(self) -> PlacesSize:
        """Returns the size of what `write` will read."""
        over = [(file, groups) for file, groups in self._files if groups]
        return PlacesSize(
            files=len(self._files),
            groups=sum(len(groups) for _, groups in over),
            num_groups=sum(file.num_groups for file, _ in self._files),
            rows=sum(file.rows_of(groups) for file, groups in over),
            bytes_to_read=sum(
                file.bytes_of(groups, [*file.leaves(file.geometry), *_leaves(file)])
                for file, groups in over
            ),
            total_bytes=self._total,
        )

    def write(self, path: Path) -> PlacesCount:
        """Writes the rows within the outline as one GeoParquet.

        Raises:
            InputError: If a row group cannot be read, files differ in their columns, or
                no row lies within the outline.
        """
        count = PlacesCount()
        meter = Meter("row groups", sum(len(groups) for _, groups in self._files))
        shapely.prepare(self._outline)
        writer: pq.ParquetWriter | None = None
        with refusals.explained(path.parent), files.replacing(path) as temporary:
            try:
                for table in self._tables(count, meter):
                    if writer is None:
                        writer = pq.ParquetWriter(
                            temporary, table.schema, compression="zstd"
                        )
                    writer.write_table(table)
            finally:
                if writer is not None:
                    writer.close()
            if not count.rows:
                raise InputError(
                    f"pois: none of the {count.read:,} place(s) in the row groups over "
                    "the area lies within it. Take another source (--pois=geofabrik:"
                    "...), a larger area or --poi_margin_m."
                )
        return count

    def _tables(self, count: PlacesCount, meter: Meter) -> Iterator[pa.Table]:
        """Rows within the outline, of one schema."""
        schema: pa.Schema | None = None
        for file, groups in self._files:
            for group in groups:
                for batch in self._inside(file, group, count):
                    table = _with_geometry_named(batch, file)
                    if schema is None:
                        schema = table.schema
                    try:
                        yield table.cast(schema)
                    except (pa.ArrowInvalid, ValueError, NotImplementedError) as error:
                        raise InputError(
                            f"{file.name}: its columns are {_shown(table.schema)}, "
                            f"but those of the files before it are {_shown(schema)}; "
                            "one release has one schema. Name a single file."
                        ) from error
                meter.add()

    def _inside(
        self, file: RemoteParquet, group: int, count: PlacesCount
    ) -> Iterator[pa.Table]:
        """Rows of a row group within the outline; their columns only if there are."""
        column = file.leaves(file.geometry)
        masks: list[Bool[np.ndarray, " n"]] = []
        for batch in file.batches(group, column):
            values = batch.column(0).to_numpy(zero_copy_only=False)
            with np.errstate(invalid="ignore"):  # of coordinates that are none
                geometry = shapely.from_wkb(values, on_invalid="ignore")
                masks.append(shapely.intersects(self._outline, geometry))
            count.read += len(geometry)
            count.broken += int(shapely.is_missing(geometry).sum())
        if not any(mask.any() for mask in masks):
            return
        leaves = [*column, *_leaves(file)]
        for batch, mask in zip(file.batches(group, leaves), masks, strict=True):
            if mask.any():
                table = pa.Table.from_batches([batch]).filter(pa.array(mask))
                _count(table, count)
                yield table


def _releases(client: Client, address: str) -> dict[str, str]:
    """Releases and their folders, the newest last."""
    folders = {one.name: one.address for one in listing.folders_in(client, address)}
    matches = [match for match in map(_RELEASE.fullmatch, folders) if match]
    matches.sort(key=lambda match: (match[1], int(match[2])))
    return {match[0]: folders[match[0]] for match in matches}


def _leaves(file: RemoteParquet) -> list[str]:
    """What is read of a file beside its geometries."""
    sources = [
        leaf for leaf in file.leaves("sources") if leaf.rpartition(".")[2] in _SOURCES
    ]
    return [*file.leaves(*_COLUMNS), *sources]


def _refuse_no_category(file: RemoteParquet) -> None:
    if not any(file.header.has(name) for name in overture.CATEGORY):
        raise InputError(
            f"{file.name}: has none of {', '.join(overture.CATEGORY)}, which say what "
            f"a place is; its columns: {', '.join(file.header.columns[:20])}. Is it of "
            "the theme places?"
        )


def _with_geometry_named(table: pa.Table, file: RemoteParquet) -> pa.Table:
    """The geometries last, under one name, and what says that they are such."""
    geometry = table.column(file.geometry)
    others = table.drop_columns([file.geometry])
    schema = geoparquet.metadata("geometry")
    plain = geometry.cast(pa.binary())
    return others.append_column("geometry", plain).replace_schema_metadata(schema)


def _count(table: pa.Table, count: PlacesCount) -> None:
    """Counts rows, and those of each dataset and licence."""
    count.rows += len(table)
    if "sources" not in table.column_names:
        return
    column = table.column("sources").combine_chunks()
    if not pa.types.is_list(column.type):
        return
    rows, source = column.value_parent_indices(), column.flatten()
    names = {field.name for field in source.type}
    for name, counter in (("dataset", count.datasets), ("license", count.licences)):
        if name not in names:
            continue
        pairs = pa.table({"row": rows, "value": source.field(name)})
        unique = pairs.group_by(["row", "value"]).aggregate([]).column("value")
        for item in unique.drop_null().value_counts().to_pylist():
            counter[str(item["values"])] += item["counts"]


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {str(field.type)[:30]}" for field in schema)[:300]
