"""Regions as H3 cells of one resolution."""

from __future__ import annotations

from typing import Literal

import h3.api.numpy_int as h3
import numpy as np
import shapely
from jaxtyping import Int, UInt64

from data_prep.files import crs as crs_lib
from data_prep.imagery.mosaic import Imagery
from data_prep.regions import grid, tiles
from data_prep.regions.candidates import Candidates
from data_prep.regions.settings import RegionSettings
from mmgr_jax.errors import InputError

RESOLUTIONS = range(16)
# Points along the edge of a file, which is no straight line in degrees.
_EDGE_PARTS = 16


def cells(imagery: Imagery, crs: str, settings: RegionSettings) -> Candidates:
    """The cells over the imagery, in the order of their indices.

    A cell is named by its index in hexadecimal, and its tile is the square around it.
    Its outline has straight edges between its corners in `crs`.

    Args:
        imagery: The imagery, on a pixel grid of `settings.gsd_m`.
        crs: Metric CRS of the study area.
        settings: The tile, and which cells.

    Raises:
        InputError: If there is no cell, or a cell does not fit in the tile.
    """
    resolution = settings.h3.resolution
    _refuse_too_many(imagery, resolution)
    index = over(imagery.footprints_m, crs, resolution, settings.h3.containment)
    if not len(index):
        raise InputError(
            f"config.regions.h3: no cell of resolution {resolution} has its centre in "
            "the imagery. Take containment 'overlap' or a larger resolution."
        )
    outline = outlines(index, crs)
    extent_m = tiles.extents_m(outline)
    factor = tiles.factors(extent_m, settings)
    if factor.max() > 1:
        raise InputError(_too_large(resolution, float(extent_m.max()), settings))
    corner_m = (imagery.bounds_m[0], imagery.bounds_m[3])

    def name(chosen: Int[np.ndarray, " r"]) -> list[str]:
        return [h3.int_to_str(cell) for cell in index[chosen].tolist()]

    return Candidates(
        what=f"H3 cells of resolution {resolution}",
        name=name,
        bounds_m=tiles.around(shapely.bounds(outline), factor, settings, corner_m),
        outline=outline,
        disjoint=True,
    )


def _refuse_too_many(imagery: Imagery, resolution: int) -> None:
    west, south, east, north = imagery.footprints_m.T
    cell_m2 = h3.average_hexagon_area(resolution, unit="m^2")
    cells = float(((east - west) * (north - south)).sum() / cell_m2)
    if cells > grid.MAX_CELLS:
        raise InputError(
            f"config.regions.h3.resolution is {resolution}, of which the imagery holds "
            f"some {cells:,.0f} cells; allowed: {grid.MAX_CELLS:,}. Cut the imagery to "
            "the study area, or take a smaller resolution."
        )


def over(
    boxes_m: np.ndarray,
    crs: str,
    resolution: int,
    containment: Literal["overlap", "center"],
) -> UInt64[np.ndarray, " m"]:
    """The cells that boxes [k 4] in metres touch or hold the centre of, sorted."""
    cells = [np.zeros(0, np.uint64)]
    for west, south, east, north in boxes_m:
        edge = shapely.segmentize(
            shapely.box(west, south, east, north),
            max(east - west, north - south) / _EDGE_PARTS,
        )
        x, y = shapely.get_coordinates(edge).T
        lon_deg, lat_deg = crs_lib.transform(x, y, crs, crs_lib.WGS84)
        area = h3.LatLngPoly(list(zip(lat_deg, lon_deg, strict=True)))
        cells.append(
            h3.h3shape_to_cells_experimental(area, resolution, contain=containment)
        )
    # h3 says ulonglong, which is as wide.
    return np.unique(np.concatenate(cells)).astype(np.uint64)


def outlines(index: UInt64[np.ndarray, " m"], crs: str) -> np.ndarray:
    """Shapely polygons [m] of cells in a CRS."""
    corners = [h3.cell_to_boundary(cell) for cell in index.tolist()]
    lat_deg, lon_deg = np.array([point for cell in corners for point in cell]).T
    x, y = crs_lib.transform(lon_deg, lat_deg, crs_lib.WGS84, crs)
    cell = np.repeat(np.arange(len(index)), [len(cell) for cell in corners])
    rings = shapely.linearrings(np.stack([x, y], 1), indices=cell)
    return np.asarray(shapely.polygons(rings))


def diameter_m(resolution: int) -> float:
    """From corner to corner of a cell of the mean size, in metres."""
    return 2 * h3.average_hexagon_edge_length(resolution, unit="m")


def _too_large(resolution: int, largest_m: float, settings: RegionSettings) -> str:
    # Here cells are this much larger than the mean of the globe.
    local = largest_m / diameter_m(resolution)
    fitting = [r for r in RESOLUTIONS if local * diameter_m(r) <= settings.tile_size_m]
    finer = f", or a resolution of at least {fitting[0]}" if fitting else ""
    return (
        f"config.regions.h3.resolution is {resolution}: its cells are up to "
        f"{largest_m:.1f} m across here and do not fit in the tile of "
        f"{tiles.in_words(settings)}. Take tile_size_px of at least "
        f"{int(np.ceil(largest_m / settings.gsd_m))}, or gsd_m of at least "
        f"{np.ceil(1e3 * largest_m / settings.tile_size_px) / 1e3:g}{finer}."
    )
