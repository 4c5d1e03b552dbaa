"""Regions as the polygons of a vector file: districts, traffic zones, parcels."""

from __future__ import annotations

import dataclasses
import hashlib
import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Float, Int

from data_prep.files import cells, tables
from data_prep.imagery.mosaic import Imagery
from data_prep.regions import tiles
from data_prep.regions.candidates import Candidates
from data_prep.regions.settings import PolygonSettings, RegionSettings
from mmgr_jax.errors import InputError

KEY = "config.regions.polygons"
MAX_FACTOR = 256
"""How many usual tiles a tile may be wide and high, where it is scaled to fit."""

_HASH_DIGITS = 16
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class _Outlines:
    """Usable polygons [m] in the study area's CRS, in the order of the file."""

    ids: np.ndarray
    polygon: np.ndarray
    repaired: Bool[np.ndarray, " m"]
    dropped: dict[str, int]


def candidates(imagery: Imagery, crs: str, settings: RegionSettings) -> Candidates:
    """The polygons near the imagery, in the order of the file.

    The tile lies in the middle of a polygon's bounding box. Rows without a geometry
    are left out; invalid outlines, such as those that cross themselves, are repaired.
    Without an id column a polygon is named by a hash of its outline as the file has
    it, and of equal ones the first counts.

    Args:
        imagery: The imagery, on a pixel grid of `settings.gsd_m`.
        crs: Metric CRS of the study area.
        settings: The tile, and the file of polygons.

    Raises:
        InputError: If no polygon meets the imagery, or one is too large to fit.
    """
    outlines = _read(settings.polygons, crs)
    path = settings.polygons.path or ""
    near = _touches(outlines.polygon, imagery.footprints_m)
    if not near.any():
        raise InputError(_all_outside(path, outlines.polygon, imagery))
    ids, polygon = outlines.ids[near], outlines.polygon[near]
    extent_m = tiles.extents_m(polygon)
    factor = tiles.factors(extent_m, settings)
    if settings.polygons.fit == "refuse" and factor.max() > 1:
        raise InputError(_too_large(path, ids, extent_m, settings))
    if factor.max() > MAX_FACTOR:
        raise InputError(_far_too_large(path, ids, extent_m, settings))
    corner_m = (imagery.bounds_m[0], imagery.bounds_m[3])

    def name(chosen: Int[np.ndarray, " r"]) -> list[str]:
        return ids[chosen].tolist()

    return Candidates(
        what=f"polygons of {path}",
        name=name,
        bounds_m=tiles.around(shapely.bounds(polygon), factor, settings, corner_m),
        outline=polygon,
        outside=int((~near).sum()),
        dropped=outlines.dropped,
        noted={
            "outline repaired": outlines.repaired[near],
            "tile scaled to fit": factor > 1,
        },
    )


def ids_of(column: pd.Series) -> np.ndarray:
    """Ids as text [n], "" where one is missing; 7.0, as NaN makes of 7, is "7"."""
    what = f"the id column {column.name!r} of regions"
    return cells.text(column, what).fillna("").to_numpy(object)


def _read(settings: PolygonSettings, crs: str) -> _Outlines:
    path, id_column = settings.path, settings.id_column
    assert path is not None, "checked before"
    text = tables.Text(settings.encoding, key=KEY)
    table = tables.load(path, settings.layer, text)
    assert isinstance(table, gpd.GeoDataFrame)
    raw = shapely.force_2d(table.geometry.to_numpy())
    empty = shapely.is_missing(raw) | shapely.is_empty(raw)
    names = ids_of(tables.column(table, id_column)) if id_column else _hashes(raw)
    repeated = ~empty & pd.Series(names).mask(empty).duplicated().to_numpy()
    usable = ~empty & ~repeated
    polygon = tables.moved(path, gpd.GeoSeries(raw[usable], crs=table.crs), crs)
    names, row = names[usable], np.flatnonzero(usable) + 1
    broken = ~shapely.is_valid(polygon)
    polygon[broken] = tables.repaired(
        path, polygon[broken], method="structure", keep_collapsed=False
    )
    gone = shapely.is_empty(polygon)
    _log(path, "repaired", names[broken], row[broken])
    dropped = {
        "without geometry": int(empty.sum()),
        "repeated": int(repeated.sum()),
        "without area": int(gone.sum()),
    }
    return _Outlines(
        ids=names[~gone],
        polygon=polygon[~gone],
        repaired=broken[~gone],
        dropped={reason: count for reason, count in dropped.items() if count},
    )


def _hashes(polygon: np.ndarray) -> np.ndarray:
    """A name for each polygon [n] that hangs on its corners alone."""
    binary = shapely.to_wkb(shapely.normalize(polygon), byte_order=1)
    return np.array(
        [
            hashlib.sha256(shape or b"").hexdigest()[:_HASH_DIGITS]
            for shape in binary.tolist()
        ],
        object,
    )


def _touches(
    polygon: np.ndarray, boxes_m: Float[np.ndarray, "k 4"]
) -> Bool[np.ndarray, " m"]:
    """Polygons that meet at least one box."""
    near = np.zeros(len(polygon), bool)
    tree = shapely.STRtree(shapely.box(*boxes_m.T))
    near[tree.query(polygon, predicate="intersects")[0]] = True
    return near


def _log(path: str, what: str, names: np.ndarray, row: Int[np.ndarray, " m"]) -> None:
    if not len(names):
        return
    shown = ", ".join(
        f"{name!r} (row {number})"
        for name, number in zip(names[:_NAMED], row[:_NAMED], strict=True)
    )
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    logging.info("%s: outlines %s: %s%s", path, what, shown, more)


def _too_large(
    path: str,
    ids: np.ndarray,
    extent_m: Float[np.ndarray, " m"],
    settings: RegionSettings,
) -> str:
    large = np.flatnonzero(tiles.factors(extent_m, settings) > 1)
    large = large[np.argsort(-extent_m[large], kind="stable")]
    shown = ", ".join(f"{ids[i]!r} ({extent_m[i]:.0f} m)" for i in large[:_NAMED])
    more = f" and {len(large) - _NAMED:,} more" if len(large) > _NAMED else ""
    largest_m = extent_m[large[0]]
    return (
        f"{path}: {len(large)} of {len(ids)} polygons do not fit in the tile of "
        f"{tiles.in_words(settings)}: "
        f"{shown}{more}. Take tile_size_px of at least "
        f"{int(np.ceil(largest_m / settings.gsd_m))}, or gsd_m of at least "
        f"{np.ceil(1e3 * largest_m / settings.tile_size_px) / 1e3:g}, or let the "
        "tile of a large polygon show more ground with coarser pixels by "
        "config.regions.polygons.fit='scale'."
    )


def _far_too_large(
    path: str,
    ids: np.ndarray,
    extent_m: Float[np.ndarray, " m"],
    settings: RegionSettings,
) -> str:
    largest = int(extent_m.argmax())
    return (
        f"{path}: polygon {ids[largest]!r} is {extent_m[largest]:,.0f} m across; "
        f"allowed: {MAX_FACTOR * settings.tile_size_m:,.0f} m, which is {MAX_FACTOR} "
        f"tiles of tile_size_px {settings.tile_size_px} * gsd_m {settings.gsd_m:g}. "
        "Leave it out, or take a larger gsd_m."
    )


def _all_outside(path: str, polygon: np.ndarray, imagery: Imagery) -> str:
    places = [shapely.total_bounds(polygon), imagery.bounds_m]
    shown = (f"x {w:.0f} to {e:.0f} m, y {s:.0f} to {n:.0f} m" for w, s, e, n in places)
    return (
        f"{path}: none of its {len(polygon)} polygons meets the imagery. Polygons: "
        f"{next(shown)}; imagery: {next(shown)}. Check config.regions.polygons.path "
        "and the CRS that the file names."
    )
