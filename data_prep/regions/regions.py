"""The regions of a city, in one form for all kinds."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Neighbours drawn by hand overlap by slivers; a share of the smaller outline below
# this is one.
_SLIVER = 0.01


@dataclasses.dataclass(frozen=True)
class Regions:
    """Regions in the order of the records.

    Attributes:
        ids: A name for each region [r] that depends only on the region.
        bounds_m: West, south, east, north of each region's tile, which is square
            [r 4], in metres of the study area's CRS.
        coverage: Share of each region's pixels that hold imagery [r].
        tile_size_px: Side of a tile in pixels.
        tile_size_m: Side of a tile in metres; a tile that had to be larger shows
            whole multiples of it.
        outline: Shapely polygons [r], or None where a region is its whole tile.
        file: Index of the one image file that shows each region [r]; None where all
            files do, as one image.
        poi_buffer_m: POIs this far outside a region still belong to it.
        mask_outside: Whether a tile is black outside its region.
        disjoint: Whether the regions are known not to overlap.
        dropped: Number of candidates left out, by reason.
        noted: Another note for the report -> number of regions to which it applies.
    """

    ids: list[str]
    bounds_m: Float[np.ndarray, "r 4"]
    coverage: Float[np.ndarray, " r"]
    tile_size_px: int
    tile_size_m: float
    outline: np.ndarray | None = None
    file: Int[np.ndarray, " r"] | None = None
    poi_buffer_m: float = 0.0
    mask_outside: bool = False
    disjoint: bool = False
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    noted: dict[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Number of regions r."""
        return len(self.ids)

    @functools.cached_property
    def centre_m(self) -> Float[np.ndarray, "r 2"]:
        """East and north coordinate of the middle of each tile in metres."""
        west, south, east, north = self.bounds_m.T
        return np.stack([(west + east) / 2, (south + north) / 2], axis=1)

    @functools.cached_property
    def geometry(self) -> np.ndarray:
        """Outline of each region [r] as shapely polygons in the study area's CRS."""
        return shapely.box(*self.bounds_m.T) if self.outline is None else self.outline

    def polygon(self, region: int) -> shapely.Geometry:
        """Outline of one region."""
        if self.outline is not None:
            return self.outline[region]
        return shapely.box(*self.bounds_m[region])

    @functools.cached_property
    def area_m2(self) -> Float[np.ndarray, " r"]:
        """Area of each region in square metres, as the CRS has it."""
        if self.outline is not None:
            return shapely.area(self.outline)
        west, south, east, north = self.bounds_m.T
        return (east - west) * (north - south)

    @functools.cached_property
    def gsd_m(self) -> Float[np.ndarray, " r"]:
        """Side of a pixel of each tile in metres."""
        return (self.bounds_m[:, 2] - self.bounds_m[:, 0]) / self.tile_size_px

    def overlap_groups(self) -> Int[np.ndarray, " r"]:
        """Numbers the sets of regions that overlap, directly or through others.

        Regions of one group show the same ground, so they must not stand on two sides
        of a split. What counts is the outline: the square tiles of neighbouring
        hexagons always overlap.

        Returns:
            Group of each region [r], counted from 0 in the order of the regions; every
            region has a group of its own where none overlap.
        """
        if self.disjoint:
            return np.arange(len(self))
        first, second = overlaps(self.geometry)
        links = coo_array(
            (np.ones(len(first), bool), (first, second)), shape=(len(self), len(self))
        )
        _, group = connected_components(links, directed=False)
        return group.astype(np.int64)


def overlaps(
    outline: np.ndarray,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Finds pairs i < j of polygons that share more than a sliver of the smaller."""
    first, second = shapely.STRtree(outline).query(outline, predicate="intersects")
    once = first < second
    first, second = first[once], second[once]
    shared_m2 = shapely.area(shapely.intersection(outline[first], outline[second]))
    area_m2 = shapely.area(outline)
    more: Bool[np.ndarray, " m"] = shared_m2 > _SLIVER * np.minimum(
        area_m2[first], area_m2[second]
    )
    return first[more], second[more]
