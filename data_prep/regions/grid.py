"""Regions as square cells of a metric grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from data_prep.imagery.mosaic import Imagery
from data_prep.regions.candidates import Candidates
from data_prep.regions.settings import RegionSettings
from mmgr_jax.errors import InputError

MAX_CELLS = 20_000_000


def cells(imagery: Imagery, settings: RegionSettings) -> Candidates:
    """Every cell that a file touches, from north to south and west to east.

    The grid starts at the north-west corner of the imagery's extent and goes on in
    whole tiles; cells at the east and south edge may reach beyond the imagery. A cell
    is named by its row and column, such as "r0012c0031".

    Args:
        imagery: The imagery, on a pixel grid of `settings.gsd_m`.
        settings: The tile.
    """
    _refuse_too_many(imagery, settings)
    west, _, _, north = imagery.bounds_m
    row, column = _touched(imagery, settings.tile_size_m)

    def name(index: Int[np.ndarray, " r"]) -> list[str]:
        return [
            f"r{r:04d}c{c:04d}" for r, c in zip(row[index], column[index], strict=True)
        ]

    return Candidates(
        what=f"cells of {settings.tile_size_m:g} m",
        name=name,
        bounds_m=squares_m(row, column, (west, north), settings.tile_size_m),
        disjoint=True,
    )


def _refuse_too_many(imagery: Imagery, settings: RegionSettings) -> None:
    """Refuses files that declare more ground than can be meant, before any is read."""
    west, south, east, north = imagery.footprints_m.T
    cells = (east - west) * (north - south) / settings.tile_size_m**2
    if cells.sum() > MAX_CELLS:
        largest = int(cells.argmax())
        raise InputError(
            f"{imagery.paths[largest]}: declares {cells[largest]:,.0f} cells of "
            f"{settings.tile_size_m:g} m, all files {cells.sum():,.0f}; allowed: "
            f"{MAX_CELLS:,}. Cut the imagery to the study area, or take larger tiles "
            "by config.regions.tile_size_px and gsd_m."
        )


def squares_m(
    row: Int[np.ndarray, " m"],
    column: Int[np.ndarray, " m"],
    corner_m: tuple[float, float],
    size_m: float,
) -> Float[np.ndarray, "m 4"]:
    """West, south, east, north of cells of a grid.

    Neighbours have the same number for the edge they share, to the last bit, so that
    a POI on it has one region.

    Args:
        row: Row of each cell, counted southwards from 0.
        column: Column of each cell, counted eastwards from 0.
        corner_m: West and north edge of row 0, column 0.
        size_m: Side of a cell.
    """
    west, north = corner_m
    return np.stack(
        [
            west + column * size_m,
            north - (row + 1) * size_m,
            west + (column + 1) * size_m,
            north - row * size_m,
        ],
        axis=1,
    )


def _touched(
    imagery: Imagery, size_m: float
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Row and column of every cell that a file touches, row by row."""
    west, _, east, north = imagery.bounds_m
    num_columns = len(_cell_range(0.0, east - west, size_m))
    cells: Int[np.ndarray, " m"] = np.zeros(0, np.int64)
    waiting: list[Int[np.ndarray, " k"]] = []
    for left, bottom, right, top in imagery.footprints_m:
        columns = _cell_range(left - west, right - west, size_m)
        rows = _cell_range(north - top, north - bottom, size_m)
        waiting.append(np.add.outer(rows * num_columns, columns).ravel())
        # Files of one place, say of several dates, must not add up.
        if sum(map(len, waiting)) > len(cells) + 2**20:
            cells, waiting = _once([cells, *waiting]), []
    return np.divmod(_once([cells, *waiting]), num_columns)


def _once(cells: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, " m"]:
    """The cells of several lists, sorted, each once.

    NumPy 2.3 and later collects them in a hash table: 6.4 s for four million.
    """
    merged = np.sort(np.concatenate(cells))
    return merged[np.diff(merged, prepend=-1) > 0]


def _cell_range(low_m: float, high_m: float, size_m: float) -> Int[np.ndarray, " k"]:
    """Cells that overlap [low, high] by more than a rounding error."""
    slack = 1e-6
    first, last = int(low_m / size_m + slack), int(np.ceil(high_m / size_m - slack))
    return np.arange(first, last)
