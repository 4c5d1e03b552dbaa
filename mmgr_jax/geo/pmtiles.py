"""Writes regions as vector tiles in one PMTiles archive, for web maps and QGIS.

At high zooms, where every tile stays small, it holds the regions themselves. At lower
zooms a region would be a few pixels, so it holds squares of eight pixels with the
average of the regions in them. The city is seen whole, and no tile is large.
"""

from __future__ import annotations

import dataclasses
import gzip
import html
import importlib.util
import logging
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from jaxtyping import Float, Int

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install
from mmgr_jax.geo import systems, vector_tiles
from mmgr_jax.geo.vector_tiles import BUFFER, EXTENT, TileLayer

REGIONS, CELLS = "regions", "cells"
"""Layers: polygons of regions, and squares that stand for several."""

IN_CELL = "regions_in_cell"
"""Column of `CELLS`: how many regions have their middle in a square."""

MOST_BYTES = 500_000
"""Of a tile, not compressed."""

MOST_REGIONS = 6000
"""Of a tile: with more a region is smaller than seven pixels."""

MOST_NAMES = 256
"""Of a column of text that cells have, too."""

CELLS_ACROSS = 64
"""Squares along the side of a tile: eight pixels each."""

MOST_ZOOM = 22
_NORTH_DEG = 85.06
_MANY_CORNERS = 8  # of a polygon on average: fewer are not simplified
_HALF_PIXEL = 4 / EXTENT  # of a tile, whose side is 512 pixels
_PACKAGES = ("pmtiles", "mapbox_vector_tile")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WrittenTiles:
    """Facts about the tiles of an archive that was written.

    Attributes:
        min_zoom: Zoom at which the whole city fills about one tile.
        region_zoom: First zoom with regions, not cells; `min_zoom` if there are few.
        max_zoom: Last zoom; beyond it, maps enlarge its tiles.
        num_tiles: Number of tiles of all zooms.
        largest_bytes: Size of the largest tile, not compressed.
    """

    min_zoom: int
    region_zoom: int
    max_zoom: int
    num_tiles: int
    largest_bytes: int


def require_packages() -> None:
    """Raises InputError if the packages that write tiles are not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"vector tiles need the Python packages {' and '.join(missing)}; install "
            f"them with {install('explore')}."
        )


def write(
    path: str | Path,
    *,
    geometry_wkb: Sequence[bytes],
    crs: str,
    columns: Mapping[str, np.ndarray],
    name: str,
    attribution: str = "",
) -> WrittenTiles:
    """Writes a PMTiles archive (version 3) of Mapbox Vector Tiles.

    A region's feature has its index as id and its columns as attributes. A cell has the
    mean of numbers, the commonest text and truth value, and `IN_CELL`. Cells lack
    columns with more than `MOST_NAMES` texts, such as names of regions.

    Args:
        path: File to write; it appears whole, or not at all.
        geometry_wkb: Polygons in `crs`, one or more.
        crs: Anything pyproj understands.
        columns: Name -> a number, text or truth value for each region; None and values
            that are not finite are left out.
        name: Name of the city, for people who look into the archive.
        attribution: Sources and licences, as text.

    Raises:
        InputError: If a package is missing, the CRS is unknown, regions lie beyond 85
            degrees north or south, or a column is called `IN_CELL`.
    """
    require_packages()
    path = Path(path)
    if IN_CELL in columns:
        raise InputError(
            f"{path}: column {IN_CELL!r} is one of the tiles' own. Rename the label."
        )
    city = _City.of(path, geometry_wkb, crs, columns)
    with files.replacing(path) as temporary:
        return _write(temporary, city, name, attribution)


class Archive:
    """An archive for reading, mapped into memory.

    Attributes:
        data: All bytes of the archive.
    """

    def __init__(self, path: Path) -> None:
        """Opens a file that `write` made."""
        from pmtiles import reader

        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.data = memoryview(mapped)
        self._reader = reader.Reader(lambda first, size: mapped[first : first + size])

    def tile(self, zoom: int, x: int, y: int) -> bytes | None:
        """Reads a tile, compressed by gzip; None if there is no such tile."""
        across = 2**zoom if zoom <= MOST_ZOOM else 0
        if not (0 <= x < across and 0 <= y < across):
            return None
        return self._reader.get(zoom, x, y)


@dataclasses.dataclass(frozen=True)
class _City:
    """Regions in the square of Web Mercator: 0 to 1, y downwards."""

    polygons: np.ndarray
    bounds: Float[np.ndarray, "r 4"]
    centre: Float[np.ndarray, "r 2"]
    bounds_deg: tuple[float, float, float, float]
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        path: Path,
        geometry_wkb: Sequence[bytes],
        crs: str,
        columns: Mapping[str, np.ndarray],
    ) -> _City:
        system = systems.known(path, crs)
        to_deg = pyproj.Transformer.from_crs(system, "OGC:CRS84", always_xy=True)
        given = shapely.from_wkb(np.asarray(geometry_wkb, object))
        polygons = shapely.transform(
            given, lambda xy: np.stack(to_deg.transform(*xy.T), axis=1)
        )
        bounds_deg = shapely.total_bounds(polygons)
        if not (np.abs(bounds_deg[[1, 3]]) < _NORTH_DEG).all():
            raise InputError(
                f"{path}: regions lie between {bounds_deg[1]:.2f} and "
                f"{bounds_deg[3]:.2f} degrees of latitude; allowed in tiles of Web "
                "Mercator: -85 to 85. Leave 'pmtiles' out of config.embed.formats."
            )
        polygons = shapely.transform(polygons, _mercator)
        bounds = shapely.bounds(polygons)
        west, south, east, north = map(float, bounds_deg)
        centre = (bounds[:, :2] + bounds[:, 2:]) / 2
        return cls(polygons, bounds, centre, (west, south, east, north), columns)

    def of_zoom(self, zoom: int) -> _City:
        """Simplifies outlines as far as a zoom allows; neighbours stay neighbours."""
        if shapely.get_num_coordinates(self.polygons).mean() <= _MANY_CORNERS:
            return self
        tolerance = _HALF_PIXEL / 2**zoom
        if shapely.coverage_is_valid(self.polygons):
            simple = shapely.coverage_simplify(self.polygons, tolerance)
        else:
            simple = shapely.simplify(self.polygons, tolerance)
        return dataclasses.replace(self, polygons=simple)


def _mercator(places_deg: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
    lon, lat = places_deg.T
    y = np.log(np.tan(np.pi / 4 + np.radians(lat) / 2))
    return np.stack([(lon + 180) / 360, (1 - y / np.pi) / 2], axis=1)


def _write(path: Path, city: _City, name: str, attribution: str) -> WrittenTiles:
    from pmtiles import tile as container
    from pmtiles.writer import Writer

    span = (city.bounds[:, 2:].max(axis=0) - city.bounds[:, :2].min(axis=0)).max()
    zoom = min_zoom = int(np.clip(np.floor(-np.log2(span)), 0, MOST_ZOOM - 1))
    region_zoom, num_tiles, largest = None, 0, 0
    with path.open("wb") as stream:
        writer = Writer(stream)
        while region_zoom is None or zoom <= min(region_zoom + 1, MOST_ZOOM):
            if region_zoom is None and _regions_fit(city, zoom):
                region_zoom = zoom
            make = _cell_tiles if region_zoom is None else _region_tiles
            for number, tile in make(city, zoom):
                writer.write_tile(number, gzip.compress(tile, mtime=0))
                num_tiles, largest = num_tiles + 1, max(largest, len(tile))
            zoom += 1
        west, south, east, north = (round(value * 1e7) for value in city.bounds_deg)
        header = {
            "tile_type": container.TileType.MVT,
            "tile_compression": container.Compression.GZIP,
            "min_lon_e7": west, "min_lat_e7": south,
            "max_lon_e7": east, "max_lat_e7": north,
            "center_lon_e7": (west + east) // 2, "center_lat_e7": (south + north) // 2,
            "center_zoom": min_zoom,
        }  # fmt: skip
        zooms = (min_zoom, region_zoom, zoom - 1)
        writer.finalize(header, _metadata(city, zooms, name, attribution))
    return WrittenTiles(*zooms, num_tiles, largest)


def _metadata(
    city: _City, zooms: tuple[int, int, int], name: str, attribution: str
) -> dict[str, Any]:
    """The metadata that the specification requires for vector tiles, as TileJSON."""
    lowest, first, last = zooms
    fields = {
        column: {"b": "Boolean", "O": "String", "U": "String"}.get(
            values.dtype.kind, "Number"
        )
        for column, values in city.columns.items()
    }
    layers = [{"id": REGIONS, "fields": fields, "minzoom": first, "maxzoom": last}]
    if first > lowest:
        cells = {name: fields[name] for name in _of_cells(city.columns)}
        cells[IN_CELL] = "Number"
        layers.append(
            {"id": CELLS, "fields": cells, "minzoom": lowest, "maxzoom": first - 1}
        )
    origin = {"attribution": html.escape(attribution)} if attribution else {}
    return {"name": name, "type": "overlay", "vector_layers": layers, **origin}


def _regions_fit(city: _City, zoom: int) -> bool:
    """Whether tiles of a zoom can hold the regions, judged by the fullest tile."""
    if zoom >= MOST_ZOOM - 1:
        return True
    tile = np.floor(city.centre * 2**zoom).astype(np.int64)
    number = tile[:, 0] * 2**zoom + tile[:, 1]
    _, which, counts = np.unique(number, return_inverse=True, return_counts=True)
    if counts.max() > MOST_REGIONS:
        return False
    corners = np.bincount(which, shapely.get_num_coordinates(city.polygons))
    for fullest in {int(counts.argmax()), int(corners.argmax())}:
        inside = np.flatnonzero(which == fullest)
        own = dataclasses.replace(city, polygons=city.polygons[inside]).of_zoom(zoom)
        place = tile[inside[0]]
        if len(_encoded(own.polygons, city, inside, zoom, place)) > MOST_BYTES:
            return False
    return True


def _region_tiles(city: _City, zoom: int) -> Iterator[tuple[int, bytes]]:
    """Number of each tile and its regions, ascending."""
    polygons = city.of_zoom(zoom).polygons
    margin, most = BUFFER / EXTENT, 2**zoom - 1
    low = np.floor(city.bounds[:, :2] * 2**zoom - margin).astype(np.int64)
    high = np.floor(city.bounds[:, 2:] * 2**zoom + margin).astype(np.int64)
    low, high = np.clip(low, 0, most), np.clip(high, 0, most)
    across, down = (high - low + 1).T
    times = across * down
    region = np.repeat(np.arange(len(times)), times)
    step = np.arange(len(region)) - np.repeat(np.cumsum(times) - times, times)
    tile = low[region] + np.stack([step % across[region], step // across[region]], 1)
    for number, place, members in _by_tile(zoom, tile):
        inside = region[members]
        data = _encoded(polygons[inside], city, inside, zoom, place)
        while len(data) > MOST_BYTES and len(inside) > 1:
            size = shapely.area(polygons[inside])
            inside = np.sort(inside[np.argsort(-size, kind="stable")[: len(size) // 2]])
            data = _encoded(polygons[inside], city, inside, zoom, place)
            log.warning(
                "tile %d/%d/%d was too large: the smaller half of its regions is left "
                "out, %d remain", zoom, *place, len(inside),
            )  # fmt: skip
        if data:
            yield number, data


def _encoded(
    polygons: np.ndarray,
    city: _City,
    inside: Int[np.ndarray, " n"],
    zoom: int,
    place: Int[np.ndarray, " xy"],
) -> bytes:
    own = shapely.transform(polygons, lambda xy: xy * 2**zoom - place)
    columns = {name: values[inside] for name, values in city.columns.items()}
    return vector_tiles.encode([TileLayer(REGIONS, inside, own, columns)])


def _cell_tiles(city: _City, zoom: int) -> Iterator[tuple[int, bytes]]:
    """Number of each tile and its cells, ascending."""
    across = 2**zoom * CELLS_ACROSS
    place = np.floor(city.centre * across).astype(np.int64)
    number = place[:, 0] * across + place[:, 1]
    cells, which, counts = np.unique(number, return_inverse=True, return_counts=True)
    columns = {
        column: _summarised(values, which, len(cells))
        for column, values in _of_cells(city.columns).items()
    }
    columns[IN_CELL] = counts
    x, y = cells // across, cells % across
    tiles = np.stack([x // CELLS_ACROSS, y // CELLS_ACROSS], axis=1)
    squares = vector_tiles.unit_squares(
        x % CELLS_ACROSS, y % CELLS_ACROSS, CELLS_ACROSS
    )
    for tile_number, _, members in _by_tile(zoom, tiles):
        own = {column: values[members] for column, values in columns.items()}
        layer = TileLayer(CELLS, members, squares[members], own)
        yield tile_number, vector_tiles.encode([layer])


def _of_cells(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns that can stand for several regions."""
    return {
        name: values
        for name, values in columns.items()
        if values.dtype.kind not in "OU" or len(set(values.tolist())) <= MOST_NAMES
    }


def _summarised(
    values: np.ndarray, which: Int[np.ndarray, " r"], count: int
) -> np.ndarray:
    """Summarises the regions of each cell by a mean, or by the commonest value."""
    if values.dtype.kind in "fiu":
        known = np.isfinite(values)
        sums = np.bincount(which[known], values[known], count)
        numbers = np.bincount(which[known], minlength=count)
        mean = np.full(count, np.nan)
        return np.divide(sums, numbers, out=mean, where=numbers > 0).astype(np.float32)
    known = np.array([value is not None for value in values.tolist()], bool)
    names, code = np.unique(values[known], return_inverse=True)
    best = np.full(count, None, object)
    if not len(names):
        return best
    pairs, counts = np.unique(which[known] * len(names) + code, return_counts=True)
    order = np.lexsort([-pairs, counts])  # the last of a cell wins: the commonest
    cell, name = np.divmod(pairs[order], len(names))
    best[cell] = names[name].astype(object)
    return best


def _by_tile(
    zoom: int, tiles: Int[np.ndarray, "n 2"]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number, place and members of each tile, in the order of an archive."""
    from pmtiles.tile import zxy_to_tileid

    order = np.lexsort([tiles[:, 1], tiles[:, 0]])
    changes = (tiles[order][1:] != tiles[order][:-1]).any(axis=1)
    groups = np.split(order, np.flatnonzero(changes) + 1)
    numbered = [
        (zxy_to_tileid(zoom, *tiles[group[0]].tolist()), tiles[group[0]], group)
        for group in groups
    ]
    yield from sorted(numbered, key=lambda one: one[0])
