"""A city on a server: few numbers in memory, the others in memory-mapped files.

The page requests arrays when it shows them, and the server multiplies for it: a search
or the map of a head needs only products of all embeddings with a few vectors.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from mmgr_jax import cores
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import clusters
from mmgr_jax.explore import content, document, outlines, vectors
from mmgr_jax.explore.city import ExploredCity
from mmgr_jax.geo import pmtiles

FOLDER = "explore"
"""In the workdir: what the server maps into memory, and what it keeps for next time."""

MOST_ASKED = 4096
"""Regions whose rows or outlines are asked for at once."""

MOST_VECTORS = 64
"""Vectors that all embeddings are multiplied by at once: classes of a head, at most."""

_TILES, _PICTURE, _CLUSTERS = "regions.pmtiles", "basemap.webp", "clusters.npy"
_KEPT = "kept.json"
_LAZY = ("clusters", "componentColours", "poiDensity")
_SMALL = ("poiCategory", "poiCount")
_ROWS = 65536

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServedCity:
    """The data from which a server answers.

    Attributes:
        page: The HTML, as bytes.
        policy: Content-Security-Policy of the page.
        about: The JSON of the city.
        arrays: Name -> numbers of all regions.
        valued: Arrays of tasks, in the order of `values`.
        matrices: Name -> rows of numbers of all regions: "embeddings", and also "image"
            and "poi" if they share a space.
        lines: Outlines of all regions, without triangles.
        picture: The basemap, a WebP.
        tiles: Vector tiles.
        tile_of: Index -> the picture of a region, a WebP.
    """

    page: bytes
    policy: str
    about: bytes
    arrays: Mapping[str, np.ndarray]
    valued: tuple[str, ...]
    matrices: Mapping[str, np.ndarray]
    lines: outlines.Outlines
    picture: bytes
    tiles: pmtiles.Archive
    tile_of: Callable[[int], bytes]

    @property
    def num_regions(self) -> int:
        """Number of regions."""
        return len(self.matrices["embeddings"])

    def rows(
        self, matrix: str, regions: Int[np.ndarray, " m"]
    ) -> Float[np.ndarray, "m d"]:
        """Reads rows of a matrix."""
        return self.matrices[matrix][regions]

    def products(
        self, matrix: str, vectors: Float[np.ndarray, "k d"]
    ) -> Float[np.ndarray, "n k"]:
        """Computes products of all rows with some vectors; each core takes a part."""
        numbers = self.matrices[matrix]
        result = np.empty((len(numbers), len(vectors)), np.float32)
        turned = np.ascontiguousarray(vectors.T, np.float32)

        def multiply(first: int) -> None:
            rows = slice(first, first + _ROWS)
            np.matmul(numbers[rows], turned, out=result[rows])

        list(_workers().map(multiply, range(0, len(numbers), _ROWS)))
        return result

    def values(self, regions: Int[np.ndarray, " m"]) -> bytes:
        """Reads values of some regions, from one array of `valued` after another."""
        return b"".join(
            np.ascontiguousarray(self.arrays[name][regions]).tobytes()
            for name in self.valued
        )

    def outlines(self, regions: Int[np.ndarray, " m"]) -> bytes:
        """Reads the rings of some regions.

        Returns:
            uint32: number of rings q and of points p; which of the asked regions each
            ring is of [q]; the first point of each ring and p [q + 1]; int32: the
            points [p 2]; uint8: whether a ring is a hole [q].
        """
        lines = self.lines
        first = np.searchsorted(lines.region, regions)
        last = np.searchsorted(lines.region, regions, side="right")
        ring = _ranges(first, last)
        sizes = lines.rings[ring + 1] - lines.rings[ring]
        points = lines.points[_ranges(lines.rings[ring], lines.rings[ring + 1])]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        owner = np.repeat(np.arange(len(regions)), last - first)
        head = np.concatenate([[len(ring), len(points)], owner, starts])
        return (
            head.astype("<u4").tobytes()
            + points.astype("<i4").tobytes()
            + lines.hole[ring].astype(np.uint8).tobytes()
        )


def prepare(city: ExploredCity, workdir: Path) -> ServedCity:
    """Prepares a city; keeps tiles, basemap and clusters for the next time.

    Args:
        city: The city.
        workdir: Memory-mapped files go to its folder `explore`.

    Raises:
        InputError: If a package is not installed.
    """
    pmtiles.require_packages()
    # What a prediction is the sum of, the page works out by the server's products.
    plain = {
        name: dataclasses.replace(task, parts=None) for name, task in city.tasks.items()
    }
    city = dataclasses.replace(city, tasks=plain)
    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    kept = _Kept(folder)
    crs, geometry = city.manifest.crs, city.geometry_wkb
    outlined = hashlib.sha256(crs.encode())
    for wkb in geometry:
        outlined.update(wkb)
    lines = outlines.of(geometry, crs, filled=False)
    tiles = kept.made(
        _TILES,
        outlined.hexdigest(),
        lambda path: _write_tiles(path, city),
    )
    records = f"{outlined.hexdigest()} {json.dumps(dict(city.source.identity))}"
    laid = kept.made(_PICTURE, records, lambda path: _write_picture(path, city, lines))
    grouped = kept.made(
        _CLUSTERS,
        f"{records} {city.made_by}",
        lambda path: _write_clusters(path, city),
    )
    members = dict(zip(grouped["counts"], np.load(folder / _CLUSTERS), strict=True))
    held = vectors.mapped(city.features, folder / "embeddings.npy")
    matrices = {"embeddings": held.numbers, **_projections(city, folder)}
    about, arrays = content.described(city, lines, held, members)
    for name in _SMALL:
        arrays[name] = _small(arrays[name])
    arrays["inverse"] = held.inverse
    arrays["boxes"] = _boxes(lines)
    valued = tuple(name for name in arrays if name.startswith("task"))
    about["basemap"] = laid
    about["served"] = {
        "lazy": [name for name in arrays if name.startswith(("task", *_LAZY))],
        "valued": list(valued),
        "mostAsked": MOST_ASKED,
        "mostVectors": MOST_VECTORS,
        "regionZoom": tiles["region_zoom"],
        "maxZoom": tiles["max_zoom"],
        "spaceWidth": matrices["image"].shape[1] if "image" in matrices else 0,
    }
    page, policy = document.served(city.manifest.city)
    return ServedCity(
        page=page.encode(),
        policy=policy,
        about=document.as_json(document.described(about, arrays)).encode(),
        arrays={name: _little(values) for name, values in arrays.items()},
        valued=valued,
        matrices=matrices,
        lines=lines,
        picture=(folder / _PICTURE).read_bytes(),
        tiles=pmtiles.Archive(folder / _TILES),
        tile_of=_tile_reader(city),
    )


class _Kept:
    """Files that are made again only if their inputs have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _KEPT

    def made(
        self, name: str, key: str, make: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """The result of `make` for a file; `make` is called if no file has this key."""
        key = hashlib.sha256(f"{key} {_version()}".encode()).hexdigest()
        known = self._known()
        own = known.get(name)
        path = self._folder / name
        if isinstance(own, dict) and own.get("key") == key and path.exists():
            return own["about"]
        about = make(path)
        known[name] = {"key": key, "about": about}
        files.write_text(self._path, json.dumps(known) + "\n")
        return about

    def _known(self) -> dict[str, Any]:
        try:
            known = files.from_json(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _version() -> str:
    """A version that changes when the code makes different files of the same city."""
    return f"1 {content.MOST_PX} {pmtiles.MOST_REGIONS} {pmtiles.MOST_BYTES}"


def _write_tiles(path: Path, city: ExploredCity) -> dict[str, Any]:
    log.info("vector tiles of %d regions are made", len(city.region_ids))
    written = pmtiles.write(
        path,
        geometry_wkb=city.geometry_wkb,
        crs=city.manifest.crs,
        columns={},
        name=city.manifest.city,
    )
    return dataclasses.asdict(written)


def _write_picture(
    path: Path, city: ExploredCity, lines: outlines.Outlines
) -> dict[str, Any]:
    log.info("imagery of %d regions is read", len(city.region_ids))
    laid = content.laid_out(city.manifest, lines.bounds_m, city.tiles())
    with files.replacing(path) as temporary:
        temporary.write_bytes(content.as_webp(laid.pixels))
    return content.size_of(laid)


def _write_clusters(path: Path, city: ExploredCity) -> dict[str, Any]:
    log.info("groups of alike regions are made")
    members = clusters.cluster(city.features, content.CLUSTERS)
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.stack(list(members.values())).astype(np.uint8))
    return {"counts": list(members)}


def _projections(city: ExploredCity, folder: Path) -> dict[str, np.ndarray]:
    """Unit vectors in the space that images and POIs share; none if there is none."""
    if city.projections is None:
        return {}
    mapped = {}
    for name, rows in zip(("image", "poi"), city.projections, strict=True):
        path = folder / f"{name}.npy"
        with files.replacing(path) as temporary:
            written = np.lib.format.open_memmap(temporary, "w+", np.float32, rows.shape)
            for first in range(0, len(rows), _ROWS):
                part = np.asarray(rows[first : first + _ROWS], np.float32)
                length = np.linalg.norm(part, axis=1, keepdims=True)
                written[first : first + _ROWS] = part / np.where(length > 0, length, 1)
            written.flush()
        mapped[name] = np.asarray(np.load(path, mmap_mode="r"))
    return mapped


def _tile_reader(city: ExploredCity) -> Callable[[int], bytes]:
    alone = threading.Lock()  # nobody promises that records are read side by side

    def read(region: int) -> bytes:
        with alone:
            pixels = city.tile(region)
        return content.as_webp(np.asarray(Image.fromarray(pixels).convert("RGBA")))

    return read


def _boxes(lines: outlines.Outlines) -> Int[np.ndarray, "r 4"]:
    """West, south, east and north of each region, in `outlines.UNITS_PER_DEG`."""
    first_ring = np.flatnonzero(np.diff(lines.region, prepend=-1))
    starts = lines.rings[first_ring]
    low = np.minimum.reduceat(lines.points, starts)
    high = np.maximum.reduceat(lines.points, starts)
    return np.concatenate([low, high], axis=1).astype(np.int32)


def _small(values: np.ndarray) -> np.ndarray:
    """Stores whole numbers in two bytes each, if they fit."""
    fits = values.max(initial=0) < 2**16
    return values.astype(np.uint16) if fits else values


def raw(values: np.ndarray) -> memoryview:
    """The bytes of numbers as they are sent: row by row, little-endian."""
    flat: Any = _little(values).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _little(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def _ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whole numbers from each first up to below its last, one range after another."""
    sizes = last - first
    shift = np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    return np.arange(sizes.sum()) + shift


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores.count())


def refuse_regions(regions: np.ndarray, count: int) -> None:
    """Raises InputError if an index has no region, or there are too many indices."""
    if len(regions) > MOST_ASKED:
        raise InputError(f"{len(regions)} regions; allowed at once: {MOST_ASKED}.")
    if len(regions) and int(regions.max()) >= count:
        raise InputError(f"region {int(regions.max())}; there are {count}, from 0 on.")
