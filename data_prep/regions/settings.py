"""What `config.regions` says: what a region is, and how its tile is cut."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class H3Settings(Section):
    """Which H3 cells are regions.

    Attributes:
        resolution: H3 resolution, 0 to 15. Cells of resolution 10 are about 150 m wide,
            of 9 about 400 m, of 8 about 1.1 km.
        containment: "overlap": every cell that touches an image file. "center": cells
            whose centre is inside an image file.
    """

    resolution: int = 10
    containment: Literal["overlap", "center"] = "overlap"


@dataclasses.dataclass(frozen=True)
class PolygonSettings(Section):
    """The file whose polygons are the regions.

    Attributes:
        path: GeoParquet, GeoPackage, GeoJSON or a Shapefile.
        layer: Layer of a GeoPackage; None: its only one.
        id_column: Column with a unique id; None: ids are hashes of the outlines.
        encoding: Character encoding of a Shapefile or GeoJSON, such as "gb18030"; None:
            the one that the file names.
        fit: What to do with a polygon that is larger than a tile. "refuse": an error.
            "scale": its pixels are two, three or more times as large, by averaging, so
            its tile has another resolution than others.
    """

    path: str | None = None
    layer: str | None = None
    id_column: str | None = None
    encoding: str | None = None
    fit: Literal["refuse", "scale"] = "refuse"


@dataclasses.dataclass(frozen=True)
class RegionSettings(Section):
    """The regions of a city, and their tiles.

    Attributes:
        kind: "grid": square cells. "h3": cells of the H3 grid. "polygons": polygons of
            a file. "chips": each image file is a region.
        tile_size_px: Side of a tile in pixels, at least 8.
        gsd_m: Ground sampling distance: side of a pixel of a tile in metres.
        min_coverage: Share of a region's pixels that must have imagery.
        max_blank_share: Largest share of a tile's pixels that may have one colour; 1.0:
            tiles are not checked, which is faster.
        poi_buffer_m: POIs up to this distance outside a region still belong to it, in
            metres.
        mask_outside: For "h3" and "polygons": whether pixels outside the region are
            made black.
        max_regions: Stop after this many regions; None: no limit.
        h3: Of kind "h3".
        polygons: Of kind "polygons".
    """

    kind: Literal["grid", "h3", "polygons", "chips"] = "grid"
    tile_size_px: Annotated[int, at.Ge(8)] = 224
    gsd_m: Annotated[float, at.Gt(0)] = 1.0
    min_coverage: Annotated[float, at.Gt(0), at.Le(1)] = 0.95
    max_blank_share: Annotated[float, at.Gt(0), at.Le(1)] = 0.99
    poi_buffer_m: Annotated[float, at.Ge(0)] = 0.0
    mask_outside: bool = False
    max_regions: Annotated[int, at.Ge(1)] | None = None
    h3: H3Settings = H3Settings()
    polygons: PolygonSettings = PolygonSettings()

    @property
    def tile_size_m(self) -> float:
        """Side of a tile in metres."""
        return self.tile_size_px * self.gsd_m
