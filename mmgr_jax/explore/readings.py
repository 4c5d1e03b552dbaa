"""Reads regions whole, with a cell painted over, or without a category."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from mmgr_jax.data import record_format
from mmgr_jax.data.source import RegionSource
from mmgr_jax.errors import InputError

CELLS = 4
"""Along a side of a tile."""

MOST_CATEGORIES = 12
"""Of a region: the commonest of its own."""

_READ = 64


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read a region.

    Attributes:
        region: Index of the region.
        cell: Cell that is painted over; None: no cell.
        category: Category whose POIs are left out; None: no category.
    """

    region: int
    cell: int | None = None
    category: int | None = None


class Readings(RegionSource):
    """Regions read in several ways, each way as a separate record."""

    def __init__(
        self, source: RegionSource, readings: Sequence[Reading], cells: int = CELLS
    ) -> None:
        """Takes the records, and the ways to read them."""
        self.manifest = source.manifest
        self._source, self._readings, self._cells = source, readings, cells

    def __len__(self) -> int:
        """Number of readings."""
        return len(self._readings)

    @property
    def place(self) -> str:
        """See `RegionSource.place`."""
        return self._source.place

    @property
    def identity(self) -> Mapping[str, str]:
        """See `RegionSource.identity`."""
        return self._source.identity

    def category_vectors(self) -> np.ndarray:
        """See `RegionSource.category_vectors`."""
        return self._source.category_vectors()

    def read(
        self,
        indices: Sequence[int],
        *,
        image: bool = False,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None = None,
    ) -> list[record_format.Record]:
        """See `RegionSource.read`."""
        asked = [self._readings[index] for index in indices]
        regions = list(dict.fromkeys(reading.region for reading in asked))
        wanted = image or into is not None
        read = self._source.read(regions, image=wanted)
        whole = dict(zip(regions, read, strict=True))
        records = []
        for place, reading in enumerate(asked):
            record = whole[reading.region]
            if reading.category is not None:
                record = without_category(record, reading.category)
            if wanted and reading.cell is not None:
                painted = without_cell(record["image"], reading.cell, self._cells)
                record = {**record, "image": painted}
            if into is not None:
                into[place][...] = record["image"]
            records.append(record)
        return records


def of_regions(
    source: RegionSource, regions: Int[np.ndarray, " q"], cells: int
) -> list[list[Reading]]:
    """Lists for each region: whole, without each cell, and without each category."""
    readings = []
    for first in range(0, len(regions), _READ):
        some = regions[first : first + _READ].tolist()
        for region, record in zip(some, source.read(some), strict=True):
            own, count = np.unique(record["poi/category"], return_counts=True)
            order = np.argsort(-count, kind="stable")[:MOST_CATEGORIES]
            readings.append(
                [
                    Reading(region),
                    *(Reading(region, cell=cell) for cell in range(cells**2)),
                    *(Reading(region, category=int(own[place])) for place in order),
                ]
            )
    return readings


def chosen(asked: str, region_ids: Sequence[str]) -> Int[np.ndarray, " q"]:
    """The regions that `--occlusion` names.

    Args:
        asked: "all"; a number of regions, taken evenly from the records; or ids after
            "ids:", separated by commas.
        region_ids: Ids of all regions of the city.

    Raises:
        InputError: If `asked` is something else, or no region of the city has the id.
    """
    if asked == "all":
        return np.arange(len(region_ids))
    if asked.startswith("ids:"):
        place = {name: index for index, name in enumerate(region_ids)}
        names = [name for name in asked[4:].split(",") if name]
        unknown = [name for name in names if name not in place]
        if unknown or not names:
            raise InputError(
                f"--occlusion={asked!r}: {', '.join(map(repr, unknown)) or 'no id'} is "
                f"no region of these records; their ids are such as {region_ids[0]!r}."
            )
        return np.unique([place[name] for name in names])
    if asked.isdecimal() and int(asked) > 0:
        count = min(int(asked), len(region_ids))
        return np.unique(np.linspace(0, len(region_ids) - 1, count).astype(int))
    raise InputError(
        f"--occlusion={asked!r}; allowed: all, a number of regions such as 200, or "
        "ids:ID,ID with ids of regions."
    )


def without_cell(
    tile: UInt8[np.ndarray, "h w 3"], cell: int, cells: int = CELLS
) -> UInt8[np.ndarray, "h w 3"]:
    """Paints one cell of a tile in the mean colour of the tile.

    Args:
        tile: Red, green, blue.
        cell: Number of the cell, row by row.
        cells: Number of cells along a side. Their sizes differ by a pixel if the side
            is not a multiple of it.
    """
    colour = np.round(tile.mean(axis=(0, 1))).astype(np.uint8)
    edges = [np.linspace(0, side, cells + 1).astype(int) for side in tile.shape[:2]]
    row, column = divmod(cell, cells)
    painted = tile.copy()
    painted[
        edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]
    ] = colour
    return painted


def without_category(
    record: record_format.Record, category: int
) -> record_format.Record:
    """Removes the POIs of a category, and their edges, from a region."""
    kept = record["poi/category"] != category
    place = np.cumsum(kept) - 1
    inside = kept[record["poi/edges"]].all(axis=1)
    return {
        **record,
        "poi/category": record["poi/category"][kept],
        "poi/offset_m": record["poi/offset_m"][kept],
        "poi/edges": place[record["poi/edges"][inside]].astype(np.int32),
        "poi/edge_weight": record["poi/edge_weight"][inside],
    }
