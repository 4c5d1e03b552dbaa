"""Places each file on the study area's pixel grid, and says how to bring it there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import shapely
from jaxtyping import Float
from rasterio.enums import Resampling

from data_prep.files import crs as crs_lib
from data_prep.imagery.headers import ImageHeader
from mmgr_jax.errors import InputError

Bounds: TypeAlias = tuple[float, float, float, float]
"""West, south, east, north in metres of the study area's CRS."""

# A file is on the grid when no pixel of it lies further off, in pixels.
_GRID_TOLERANCE_PX = 0.01
# Coarser than this share of the grid's pixel, bilinear is the better resampling.
_AVERAGE_BELOW = 0.75
# An overview is read in place of the file where this many of its pixels fit along a
# pixel of the grid: most overviews were made by leaving pixels out, and their average
# over four and more hides it.
_OVERVIEW_PIXELS = 2.0
# So far from the edge of a file, in pixels of the grid, interpolation may find nothing.
_REACH_PX = 2
_ROUNDING_PX = 1e-6
# Coordinates beyond these are none on Earth: longitudes may go on beyond a turn, and
# grids have false origins.
_LIMITS_DEG = (540.0, 90.1, 540.0, 90.1)
_LIMITS_M = (1e8, 1e8, 1e8, 1e8)


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """One file and its place on the grid.

    Attributes:
        header: What the file says of itself.
        bounds_m: Its extent in the study area's CRS.
        gsd_m: Side of its own pixels there, the shorter one.
        column_px: Its first column on the grid, from the grid's corner.
        row_px: Its first row.
        width_px: Its width on the grid.
        height_px: Its height.
        resampling: How its pixels are resampled to the grid; None where they are
            copied.
        overview: Index of the overview that is read instead of the file itself.
        full_px: Part of its box on the grid (left, top, right, bottom) in which every
            pixel lies within the file, as first and last column and row; None where its
            edges are not parallel to the grid.
    """

    header: ImageHeader
    bounds_m: Bounds
    gsd_m: float
    column_px: int
    row_px: int
    width_px: int
    height_px: int
    resampling: Resampling | None
    overview: int | None
    full_px: tuple[int, int, int, int] | None

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path

    @property
    def crs(self) -> str | None:
        """The file's own CRS as WKT."""
        return self.header.crs


def footprints(headers: Sequence[ImageHeader], crs: str) -> Float[np.ndarray, "m 4"]:
    """West, south, east, north of files in a CRS, without their rotation.

    Edges are followed in steps, since they are curves in another CRS.

    Raises:
        InputError: If a file lies where the CRS has no coordinates.
    """
    steps = np.linspace(0.0, 1.0, 22)
    sides = [(steps, np.full_like(steps, side)) for side in (0.0, 1.0)]
    right, down = np.concatenate([*sides, *(side[::-1] for side in sides)], axis=1)
    x, y = _points(headers, crs, right, down)
    if crs_lib.parse(crs).is_geographic:  # across 180 degrees east follows on
        x = crs_lib.near_deg(x, x[:1])
    boxes = np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], axis=1)
    _refuse_nowhere(headers, boxes, crs)
    return boxes


def shared(headers: Sequence[ImageHeader], crs: str, gsd_m: float) -> np.ndarray:
    """Returns the ground that pairs of files share, as shapely geometries [k].

    Strips of less than a pixel of the grid do not count.
    """
    right, down = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    corners = np.stack(_points(headers, crs, right, down), axis=-1).swapaxes(0, 1)
    outline = np.asarray(shapely.make_valid(shapely.polygons(corners)))
    shrunk = shapely.buffer(outline, -gsd_m / 2, join_style="mitre")
    first, second = shapely.STRtree(shrunk).query(shrunk, predicate="intersects")
    first, second = np.stack([first, second])[:, first < second]
    box = shapely.bounds(outline)
    low = np.maximum(box[first, :2], box[second, :2])
    high = np.minimum(box[first, 2:], box[second, 2:])
    overlap = np.asarray(shapely.box(*low.T, *high.T))
    # Most files lie along the axes; GEOS would take a hundred times as long for them.
    fills = shapely.area(outline) > (1 - 1e-9) * shapely.area(shapely.box(*box.T))
    turned = ~(fills[first] & fills[second])
    overlap[turned] = shapely.intersection(
        outline[first[turned]], outline[second[turned]]
    )
    return overlap


def place(
    headers: Sequence[ImageHeader], crs: str, gsd_m: float
) -> tuple[list[ImageFile], tuple[float, float]]:
    """Places files on one grid.

    Args:
        headers: The files.
        crs: CRS of the grid.
        gsd_m: Side of its pixels.

    Returns:
        The files in their order, and west and north of the grid's corner in metres.
    """
    boxes = footprints(headers, crs)
    is_upright = _upright(headers, crs)
    corner_m = _corner(headers, boxes, is_upright, gsd_m)
    rows = zip(headers, boxes.tolist(), is_upright, strict=True)
    files = [_place(header, box, corner_m, gsd_m, plain) for header, box, plain in rows]
    return files, corner_m


def place_on(
    header: ImageHeader, crs: str, gsd_m: float, corner_m: tuple[float, float]
) -> ImageFile:
    """Places a file on an existing grid; see `place`."""
    box = footprints([header], crs)[0].tolist()
    return _place(header, box, corner_m, gsd_m, *_upright([header], crs))


def _upright(headers: Sequence[ImageHeader], crs: str) -> list[bool]:
    """Which files' rows and columns run along those of a grid."""
    same = functools.cache(lambda other: crs_lib.same(other, crs))
    return [header.is_upright and same(header.crs) for header in headers]


def _refuse_nowhere(
    headers: Sequence[ImageHeader], boxes: Float[np.ndarray, "m 4"], crs: str
) -> None:
    limits = _LIMITS_DEG if crs_lib.parse(crs).is_geographic else _LIMITS_M
    inside = (np.abs(boxes) <= limits).all(axis=1)  # what is not finite fails, too
    wrong = ~inside | (boxes[:, :2] >= boxes[:, 2:]).any(axis=1)
    if not wrong.any():
        return
    header = headers[int(wrong.argmax())]
    assert header.crs is not None
    grid = header.transform
    raise InputError(
        f"{header.path}: its corner is at ({grid.c:g}, {grid.f:g}), and it has "
        f"{header.width_px} x {header.height_px} pixels of {grid.a:g} by {grid.e:g}, "
        f"which lie nowhere in its CRS, {crs_lib.parse(header.crs).name!r}, or in "
        f"{crs_lib.parse(crs).name!r}. "
        "Correct the position or the CRS in the file, with `rio edit-info`, or in the "
        "world file beside it."
    )


def _corner(
    headers: Sequence[ImageHeader],
    boxes_m: Float[np.ndarray, "m 4"],
    is_upright: Sequence[bool],
    gsd_m: float,
) -> tuple[float, float]:
    """West and north of the grid: the corner of the files' common extent.

    Where the file furthest west (or north) has to be resampled anyhow, the corner moves
    out by a part of a pixel, so that files with the grid's own pixels are copied.
    """
    rows = zip(headers, boxes_m.tolist(), is_upright, strict=True)
    fits = [
        plain and _drift_px(header, box, gsd_m) < _GRID_TOLERANCE_PX
        for header, box, plain in rows
    ]
    west, north = boxes_m[:, 0].min(), boxes_m[:, 3].max()
    if any(fits):
        model = boxes_m[fits.index(True)]
        if not fits[int(boxes_m[:, 0].argmin())]:
            west = model[0] - np.ceil((model[0] - west) / gsd_m) * gsd_m
        if not fits[int(boxes_m[:, 3].argmax())]:
            north = model[3] + np.ceil((north - model[3]) / gsd_m) * gsd_m
    return float(west), float(north)


def _place(
    header: ImageHeader,
    box_m: Sequence[float],
    corner_m: tuple[float, float],
    gsd_m: float,
    is_upright: bool,
) -> ImageFile:
    west, south, east, north = box_m
    left, right = (west - corner_m[0]) / gsd_m, (east - corner_m[0]) / gsd_m
    top, bottom = (corner_m[1] - north) / gsd_m, (corner_m[1] - south) / gsd_m
    own_gsd_m = min((east - west) / header.width_px, (north - south) / header.height_px)
    offset_px = max(abs(left - round(left)), abs(top - round(top)))
    off_px = max(offset_px, _drift_px(header, box_m, gsd_m))
    if is_upright and off_px < _GRID_TOLERANCE_PX:
        column, row = round(left), round(top)
        width, height = header.width_px, header.height_px
        resampling, overview, full_px = None, None, (0, 0, width, height)
    else:
        column, row = int(np.floor(left)), int(np.floor(top))
        width, height = int(np.ceil(right)) - column, int(np.ceil(bottom)) - row
        is_fine = own_gsd_m < _AVERAGE_BELOW * gsd_m
        resampling = Resampling.average if is_fine else Resampling.bilinear
        overview = _overview(header, gsd_m / own_gsd_m)
        edges_px = (left - column, top - row, right - column, bottom - row)
        full_px = _within(edges_px, 0 if is_fine else _REACH_PX) if is_upright else None
    return ImageFile(
        header=header,
        bounds_m=(west, south, east, north),
        gsd_m=own_gsd_m,
        column_px=column,
        row_px=row,
        width_px=width,
        height_px=height,
        resampling=resampling,
        overview=overview,
        full_px=full_px,
    )


def _within(
    edges_px: tuple[float, float, float, float], margin_px: int
) -> tuple[int, int, int, int]:
    """The whole pixels between edges, less a margin on every side."""
    left, top, right, bottom = edges_px
    first = [int(np.ceil(edge - _ROUNDING_PX)) + margin_px for edge in (left, top)]
    last = [int(np.floor(edge + _ROUNDING_PX)) - margin_px for edge in (right, bottom)]
    return first[0], first[1], last[0], last[1]


def _drift_px(header: ImageHeader, box_m: Sequence[float], gsd_m: float) -> float:
    """By how much the far edge is off when the file's pixels count as the grid's."""
    west, south, east, north = box_m
    across = abs(east - west - header.width_px * gsd_m)
    return max(across, abs(north - south - header.height_px * gsd_m)) / gsd_m


def _overview(header: ImageHeader, pixels_along: float) -> int | None:
    """The coarsest overview that is fine enough, None for the file itself."""
    fine = [
        index
        for index, factor in enumerate(header.overviews)
        if pixels_along / factor >= _OVERVIEW_PIXELS
    ]
    return max(fine, default=None)


def _points(
    headers: Sequence[ImageHeader],
    crs: str,
    right: Float[np.ndarray, " n"],
    down: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    """Coordinates in a CRS of points given as shares of the files' sides."""
    x, y = np.zeros((2, len(right), len(headers)))
    by_crs: dict[str, list[int]] = {}
    for index, header in enumerate(headers):
        by_crs.setdefault(str(header.crs), []).append(index)
    for source_crs, members in by_crs.items():
        own = _edges([headers[index] for index in members], right, down)
        flat = crs_lib.transform(own[0].ravel(), own[1].ravel(), source_crs, crs)
        x[:, members], y[:, members] = (part.reshape(own[0].shape) for part in flat)
    return x, y


def _edges(
    headers: Sequence[ImageHeader],
    right: Float[np.ndarray, " n"],
    down: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    """Coordinates, in the files' own CRS, of points given as shares of their sides."""
    width, height = np.array([[own.width_px, own.height_px] for own in headers]).T
    a, b, c, d, e, f = np.array([own.transform[:6] for own in headers]).T
    column, row = right[:, None] * width, down[:, None] * height
    return c + a * column + b * row, f + d * column + e * row
