"""Encodes polygons as Mapbox Vector Tiles, cut at tile edges, in whole units.

The schema of tiles comes from the package `mapbox-vector-tile`. The encoder of that
package handles each polygon in Python, which takes 80 to 190 microseconds for a square.
A city of a million regions has two million squares. Here all polygons of a tile are
turned into units and commands at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import shapely
from jaxtyping import Int

EXTENT = 4096
"""Units along the side of a tile, as nearly all readers take it."""

BUFFER = 64
"""Units around a tile that are kept, so that outlines do not end at its edge."""

_MOVE_TO, _LINE_TO, _CLOSE = 1, 2, 7
_POLYGON = 3


@dataclasses.dataclass(frozen=True)
class TileLayer:
    """The polygons of a tile with their attributes.

    Attributes:
        name: Name of the layer.
        ids: Whole numbers by which readers tell features apart [n].
        polygons: Polygons or multipolygons [n]. Their unit is the side of the tile; the
            origin is its north-western corner, and y points down.
        columns: Name -> n values: numbers, text or truth values; None and values that
            are not finite are left out.
    """

    name: str
    ids: Int[np.ndarray, " n"]
    polygons: np.ndarray
    columns: Mapping[str, np.ndarray]


def encode(layers: Sequence[TileLayer]) -> bytes:
    """Encodes a tile by version 2.1 of the specification; cuts polygons at its edge.

    A polygon smaller than a unit becomes a square of one unit, so that none vanishes.

    Args:
        layers: Layers with different names. Layers without a polygon in the tile are
            left out.

    Returns:
        The tile, not compressed; b"" if it is empty.
    """
    from mapbox_vector_tile.Mapbox import vector_tile_pb2

    schema: Any = vector_tile_pb2  # whose messages are made when it is imported
    tile = schema.tile()
    for layer in layers:
        commands, ends, which = _commands(_cut(layer.polygons))
        if not len(which):
            continue
        made = tile.layers.add(name=layer.name, version=2, extent=EXTENT)
        tags = _tags(made, layer.columns, which)
        listed, start = commands.tolist(), 0
        for number, (end, identity) in enumerate(
            zip(ends.tolist(), layer.ids[which].tolist(), strict=True)
        ):
            made.features.add(
                id=identity,
                type=_POLYGON,
                tags=tags[number],
                geometry=listed[start:end],
            )
            start = end
    return tile.SerializeToString()


def _cut(polygons: np.ndarray) -> np.ndarray:
    """The polygons within the tile and its buffer; empty where nothing is left."""
    low, high = -BUFFER / EXTENT, 1 + BUFFER / EXTENT
    bounds = shapely.bounds(polygons)
    beyond = (bounds[:, :2] < low).any(axis=1) | (bounds[:, 2:] > high).any(axis=1)
    if not beyond.any():
        return polygons
    cut = polygons.copy()
    cut[beyond] = shapely.clip_by_rect(polygons[beyond], low, low, high, high)
    return cut


def _commands(
    polygons: np.ndarray,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Commands and zigzag numbers of all polygons, one after another.

    Returns:
        The numbers, the end of each polygon's numbers among them, and which polygons
        they are, ascending: those that lie at least partly in the tile.
    """
    nothing = np.zeros(0, int)
    if shapely.is_empty(polygons).all():
        return nothing, nothing, nothing
    points, ring_of, polygon_of, shell = _rings(polygons)
    points, ring_of, kept = _oriented(points, ring_of, shell)
    polygon_of = polygon_of[kept]
    if not len(ring_of):
        return nothing, nothing, nothing
    sizes = np.bincount(ring_of)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    own_polygon = polygon_of[ring_of]
    moves = np.diff(points, axis=0, prepend=0)
    fresh = np.r_[True, own_polygon[1:] != own_polygon[:-1]]
    moves[fresh] = points[fresh]  # each feature begins at the tile's corner
    zigzag = (moves << 1) ^ (moves >> 63)
    # Of a ring of k corners: move, x, y, line of k - 1, x, y, ..., close.
    lengths = 2 * sizes + 3
    starts = np.concatenate([[0], np.cumsum(lengths)])
    commands = np.empty(starts[-1], np.int64)
    commands[starts[:-1]] = _MOVE_TO | 1 << 3
    commands[starts[:-1] + 3] = _LINE_TO | (sizes - 1) << 3
    commands[starts[1:] - 1] = _CLOSE | 1 << 3
    at = np.arange(len(points)) - first[ring_of]
    places = starts[:-1][ring_of] + np.where(at == 0, 1, 2 * at + 2)
    commands[places], commands[places + 1] = zigzag.T
    which, last = np.unique(polygon_of[::-1], return_index=True)
    return commands, starts[1:][len(polygon_of) - 1 - last], which


def _rings(
    polygons: np.ndarray,
) -> tuple[
    Int[np.ndarray, "m 2"],
    Int[np.ndarray, " m"],
    Int[np.ndarray, " q"],
    Int[np.ndarray, " q"],
]:
    """Corners in units, the ring of each, the polygon of each ring, and its shell.

    The shell of a shell is the shell itself. A corner that repeats the one before it is
    left out, and so is the last corner of a ring.
    """
    parts, part_polygon = shapely.get_parts(polygons, return_index=True)
    areas = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    areas &= ~shapely.is_empty(parts)
    parts, part_polygon = parts[areas], part_polygon[areas]
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    first_ring = np.searchsorted(ring_part, np.arange(len(parts)))
    places, ring_of = shapely.get_coordinates(rings, return_index=True)
    points = np.round(places * EXTENT).astype(np.int64)
    same = np.r_[False, (points[1:] == points[:-1]).all(axis=1)]
    same &= np.r_[False, ring_of[1:] == ring_of[:-1]]
    points, ring_of = points[~same], ring_of[~same]
    # The last corner repeats the first one, but of rings that are one point.
    last = np.r_[ring_of[1:] != ring_of[:-1], True]
    last &= np.bincount(ring_of, minlength=len(rings))[ring_of] > 1
    return (
        points[~last],
        ring_of[~last],
        part_polygon[ring_part],
        first_ring[ring_part],
    )


def _oriented(
    points: Int[np.ndarray, "m 2"],
    ring_of: Int[np.ndarray, " m"],
    shell: Int[np.ndarray, " q"],
) -> tuple[Int[np.ndarray, "m2 2"], Int[np.ndarray, " m2"], Int[np.ndarray, " q2"]]:
    """Rings with an area, shells clockwise as seen and holes the other way round.

    Returns:
        Their corners, the ring of each, and which rings they are. Shells without an
        area become squares of one unit.
    """
    count = len(shell)
    sizes = np.bincount(ring_of, minlength=count)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    following = np.arange(1, len(points) + 1)
    following[ends[sizes > 0] - 1] = starts[sizes > 0]
    x, y = points.T
    cross = x * y[following] - x[following] * y
    double = np.bincount(ring_of, cross, minlength=count)  # > 0: clockwise, y downwards
    is_shell = shell == np.arange(count)
    backwards = (double > 0) != is_shell
    place = np.arange(len(points))
    mirrored = starts[ring_of] + ends[ring_of] - 1 - place
    points = points[np.where(backwards[ring_of], mirrored, place)]
    flat = double == 0
    speck = flat & is_shell
    kept = ~(flat | flat[shell]) | speck
    corner = points[starts[speck]]
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    own = kept[ring_of] & ~speck[ring_of]
    points = np.concatenate([points[own], (corner[:, None] + square).reshape(-1, 2)])
    ring_of = np.concatenate([ring_of[own], np.repeat(np.flatnonzero(speck), 4)])
    order = np.argsort(ring_of, kind="stable")
    number = np.cumsum(kept) - 1
    return points[order], number[ring_of[order]], np.flatnonzero(kept)


def _tags(
    layer: Any, columns: Mapping[str, np.ndarray], which: Int[np.ndarray, " k"]
) -> list[list[int]]:
    """Numbers of keys and values of each feature; adds keys and values to the layer."""
    tags: list[list[int]] = [[] for _ in which]
    values: dict[tuple[str, Any], int] = {}
    for number, (name, column) in enumerate(columns.items()):
        layer.keys.append(name)
        short = column.dtype == np.float32
        for own, value in zip(tags, column[which].tolist(), strict=True):
            if value is None or (isinstance(value, float) and not isfinite(value)):
                continue
            kind = "float_value" if short else _kind(value)
            place = values.setdefault((kind, value), len(values))
            if place == len(layer.values):
                layer.values.add(**{kind: value})
            own += (number, place)
    return tags


def _kind(value: Any) -> str:
    """The field of a value in the schema."""
    if isinstance(value, bool):
        return "bool_value"
    if isinstance(value, int):
        return "sint_value"
    return "string_value" if isinstance(value, str) else "double_value"


def unit_squares(
    x: Int[np.ndarray, " n"], y: Int[np.ndarray, " n"], across: int
) -> np.ndarray:
    """Squares of a grid, `across` cells along a tile, in the unit of `TileLayer`."""
    low = np.stack([x, y], axis=1).astype(float) / across
    high = low + 1 / across
    return shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
