"""Which regions a city has: square cells of a metric grid that hold imagery."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float, Int

from data_prep import progress
from data_prep.imagery import Bounds, Imagery
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Regions:
    """Square regions, row by row from the north-west.

    Attributes:
        row: Grid row of each region [r], counted southwards from 0.
        column: Grid column of each region [r], counted eastwards from 0.
        coverage: Share of each region's pixels that hold imagery [r].
        origin_m: West and north edge of row 0, column 0 in metres.
        tile_size_px: Side of a region in pixels.
        tile_size_m: Side of a region in metres.
        poi_buffer_m: POIs this far outside a region still belong to it.
        dropped: Number of grid cells left out, by reason.
    """

    row: Int[np.ndarray, " r"]
    column: Int[np.ndarray, " r"]
    coverage: Float[np.ndarray, " r"]
    origin_m: tuple[float, float]
    tile_size_px: int
    tile_size_m: float
    poi_buffer_m: float = 0.0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Number of regions r."""
        return len(self.row)

    @property
    def ids(self) -> list[str]:
        """Names that depend on the grid alone, such as "r0012c0031"."""
        return [self.name(region) for region in range(len(self))]

    def name(self, region: int) -> str:
        """Name of one region."""
        return f"r{self.row[region]:04d}c{self.column[region]:04d}"

    @functools.cached_property
    def bounds_m(self) -> Float[np.ndarray, "r 4"]:
        """West, south, east, north of each region in metres."""
        west = self.origin_m[0] + self.column * self.tile_size_m
        north = self.origin_m[1] - self.row * self.tile_size_m
        size = self.tile_size_m
        return np.stack([west, north - size, west + size, north], axis=1)

    @functools.cached_property
    def centre_m(self) -> Float[np.ndarray, "r 2"]:
        """East and north coordinate of each region's centre in metres."""
        west, _, _, north = self.bounds_m.T
        half = self.tile_size_m / 2
        return np.stack([west + half, north - half], axis=1)

    @property
    def geometry(self) -> np.ndarray:
        """Outline of each region [r] as shapely polygons in the study area's CRS."""
        return shapely.box(*self.bounds_m.T)


def metric_grid(
    imagery: Imagery,
    *,
    tile_size_px: int,
    gsd_m: float,
    min_coverage: float,
    poi_buffer_m: float = 0.0,
    max_regions: int | None = None,
) -> Regions:
    """Cuts the imagery's extent into square regions.

    The grid starts at the north-west corner of the imagery's extent and goes on in
    whole tiles; cells at the east and south edge may reach beyond the imagery.

    Args:
        imagery: The imagery, on a pixel grid of `gsd_m`.
        tile_size_px: Side of a region in pixels.
        gsd_m: Side of a pixel in metres.
        min_coverage: Share in (0, 1] of a region's pixels that must hold imagery.
        poi_buffer_m: POIs this far outside a region still belong to it.
        max_regions: Stop after this many regions; None for no limit.

    Returns:
        The regions kept, from north to south and west to east.

    Raises:
        InputError: If no cell of the grid holds enough imagery.
    """
    west, _, _, north = imagery.bounds_m
    tile_size_m = tile_size_px * gsd_m
    cells = _candidates(imagery, tile_size_m)
    coverage, looked_at, kept = [], 0, 0
    for share in _coverages(imagery, cells, tile_size_px, tile_size_m):
        coverage.append(share)
        looked_at += 1
        kept += share >= min_coverage
        if kept == max_regions:
            break
    shares = np.array(coverage, float)
    cells = cells[:looked_at]
    keep = shares >= min_coverage
    if not keep.any():
        best = shares.max(initial=0.0)
        raise InputError(
            f"config.regions: none of the {len(cells)} cells of {tile_size_m:g} m "
            f"holds imagery on {min_coverage:.0%} of its pixels (best: {best:.0%}). "
            "Lower min_coverage or tile_size_px, or check the imagery's nodata value."
        )
    return Regions(
        row=cells[keep, 0],
        column=cells[keep, 1],
        coverage=shares[keep],
        origin_m=(west, north),
        tile_size_px=tile_size_px,
        tile_size_m=tile_size_m,
        poi_buffer_m=poi_buffer_m,
        dropped={
            "without imagery": int((shares == 0).sum()),
            "partly covered": int(((shares > 0) & ~keep).sum()),
        },
    )


def problems(
    *,
    tile_size_px: int,
    gsd_m: float,
    min_coverage: float,
    poi_buffer_m: float = 0.0,
    max_regions: int | None = None,
) -> list[str]:
    """What is wrong with the numbers of `config.regions`."""
    limits: list[tuple[str, Any, bool, str]] = [
        ("tile_size_px", tile_size_px, tile_size_px >= 8, "at least 8"),
        ("gsd_m", gsd_m, gsd_m > 0, "above 0"),
        ("min_coverage", min_coverage, 0 < min_coverage <= 1, "above 0, at most 1"),
        ("poi_buffer_m", poi_buffer_m, poi_buffer_m >= 0, "0 or more"),
        ("max_regions", max_regions, max_regions is None or max_regions > 0, "above 0"),
    ]
    return [
        f"config.regions.{name} is {value}; allowed: {allowed}."
        for name, value, fine, allowed in limits
        if not fine
    ]


def _candidates(imagery: Imagery, tile_size_m: float) -> Int[np.ndarray, "m 2"]:
    """Row and column of every cell that a file touches, row by row."""
    west, _, _, north = imagery.bounds_m
    found = set()
    for left, bottom, right, top in imagery.footprints_m:
        columns = _cell_range(left - west, right - west, tile_size_m)
        rows = _cell_range(north - top, north - bottom, tile_size_m)
        found.update((row, column) for row in rows for column in columns)
    return np.array(sorted(found), np.int64)


def _cell_range(low_m: float, high_m: float, size_m: float) -> range:
    """Cells that overlap [low, high] by more than a rounding error."""
    slack = 1e-6
    return range(int(low_m / size_m + slack), int(np.ceil(high_m / size_m - slack)))


def _coverages(
    imagery: Imagery,
    cells: Int[np.ndarray, "m 2"],
    tile_size_px: int,
    tile_size_m: float,
) -> Iterator[float]:
    west, _, _, north = imagery.bounds_m
    for row, column in progress.track(cells, "grid cells looked at", len(cells)):
        left, top = west + column * tile_size_m, north - row * tile_size_m
        bounds: Bounds = (left, top - tile_size_m, left + tile_size_m, top)
        yield imagery.coverage(bounds, tile_size_px)
