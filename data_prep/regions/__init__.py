"""What a region is: a cell of a grid, an H3 cell, a polygon of a file, or a chip.

Every kind gives the same `Regions`; what follows needs not know which it was. A kind
names places where a region might be; of these the ones that hold enough imagery stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.imagery import Imagery
from data_prep.regions import chips, grid, hexagons, polygons
from data_prep.regions.candidates import Candidates, keep
from data_prep.regions.regions import Regions
from data_prep.regions.tiles import TileSpec, read

__all__ = ["KINDS", "Regions", "TileSpec", "cut", "read", "tile_spec"]

KINDS = ("grid", "h3", "polygons", "chips")


def cut(
    imagery: Imagery,
    crs: str,
    *,
    kind: str,
    h3: Mapping[str, Any],
    polygons: Mapping[str, Any],
    **tile: Any,
) -> Regions:
    """Cuts the study area into regions, from checked settings.

    Args:
        imagery: The imagery, on a pixel grid of `tile["gsd_m"]`.
        crs: Metric CRS of the study area.
        kind: One of `KINDS`.
        h3: Keyword arguments of `hexagons.cells`.
        polygons: Keyword arguments of `polygons.candidates`.
        **tile: Keyword arguments of `tile_spec`.

    Returns:
        The regions that hold enough imagery.

    Raises:
        InputError: If none does, or one does not fit in the tile.
    """
    spec = tile_spec(**tile)
    return keep(_candidates(imagery, crs, spec, kind, h3, polygons), imagery, spec)


def tile_spec(
    *,
    tile_size_px: int,
    gsd_m: float,
    min_coverage: float,
    max_blank_share: float = 1.0,
    poi_buffer_m: float = 0.0,
    mask_outside: bool = False,
    max_regions: int | None = None,
) -> TileSpec:
    """The settings of `config.regions` that every kind shares; see `TileSpec`."""
    return TileSpec(
        size_px=tile_size_px,
        gsd_m=gsd_m,
        min_coverage=min_coverage,
        max_blank_share=max_blank_share,
        poi_buffer_m=poi_buffer_m,
        mask_outside=mask_outside,
        max_regions=max_regions,
    )


def _candidates(
    imagery: Imagery,
    crs: str,
    spec: TileSpec,
    kind: str,
    of_h3: Mapping[str, Any],
    of_polygons: Mapping[str, Any],
) -> Candidates:
    if kind == "grid":
        return grid.cells(imagery, spec)
    if kind == "h3":
        return hexagons.cells(imagery, crs, spec, **of_h3)
    if kind == "polygons":
        return polygons.candidates(imagery, crs, spec, **of_polygons)
    assert kind == "chips", kind
    return chips.candidates(imagery, spec)
