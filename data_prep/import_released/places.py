"""Where the regions of a released sample lie, as far as anybody knows."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float, Int32

from data_prep.files import cells, tables
from data_prep.files import crs as crs_lib
from data_prep.files import faults as common_faults
from data_prep.import_released.faults import Faults
from data_prep.splits import splits
from mmgr_jax.errors import InputError

_KEY = "config.released.centres"
_COLUMNS = ("region_id", "lon", "lat")


@dataclasses.dataclass(frozen=True)
class Places:
    """Outline and spatial block of each region.

    Attributes:
        crs: CRS of the outlines; "" where nothing says where the regions lie.
        geometry: Outlines [r], empty polygons where nothing says.
        block_id: Spatial block of each region [r].
        block_size_m: Side of a block; 0 where every region is a block of its own.
        tile_size_m: Side of a region; 0 where it is unknown.
    """

    crs: str
    geometry: np.ndarray
    block_id: Int32[np.ndarray, " r"]
    block_size_m: float
    tile_size_m: float


def read(
    regions: Sequence[str],
    path: str | None,
    *,
    datum: str,
    crs: str,
    tile_size_m: float | None,
    block_size_m: float,
    faults: Faults,
) -> Places | None:
    """Squares around centres, and the spatial blocks they lie in.

    Args:
        regions: Names of the regions.
        path: CSV with columns region_id, lon and lat, in degrees; rows of other
            regions are left aside. None: nothing says where the regions lie; each one
            is a block of its own.
        datum: Datum of the centres, one of `crs.DATUMS`.
        crs: Metric CRS of the study area; not read without centres.
        tile_size_m: Side of a region in metres; None, without centres: unknown.
        block_size_m: Side of a spatial block in metres; not read without centres.
        faults: Takes note of all that is wrong.

    Returns:
        The places, None where they are unfit.
    """
    if path is None:
        return _unknown(regions, tile_size_m)
    found = _setting_problems(tile_size_m)
    lon_lat_deg = _centres(regions, path, faults)
    middle_deg = None
    if lon_lat_deg is not None:
        lon_deg, lat_deg = lon_lat_deg.mean(axis=0).tolist()
        middle_deg = (lon_deg, lat_deg)
    crs_problem = crs_lib.problem(crs, middle_deg)
    found += [crs_problem.removesuffix(".")] if crs_problem else []
    for text in found:
        faults.add(text)
    if found or lon_lat_deg is None or tile_size_m is None:
        return None
    lon_deg, lat_deg = crs_lib.to_wgs84(lon_lat_deg[:, 0], lon_lat_deg[:, 1], datum)
    centre_m = np.stack(crs_lib.transform(lon_deg, lat_deg, crs_lib.WGS84, crs), axis=1)
    low, high = centre_m - tile_size_m / 2, centre_m + tile_size_m / 2
    return Places(
        crs=crs,
        geometry=shapely.box(*low.T, *high.T),
        block_id=splits.block_ids(centre_m, block_size_m),
        block_size_m=float(block_size_m),
        tile_size_m=float(tile_size_m),
    )


def _unknown(regions: Sequence[str], tile_size_m: float | None) -> Places:
    """Regions without a place, each one a block of its own.

    Blocks are numbered in the order of a hash of the regions' names, so that neither
    the order of the files nor what a name says of a place decides a split.
    """
    digests = [hashlib.sha256(name.encode()).digest() for name in regions]
    order = sorted(range(len(regions)), key=lambda index: digests[index])
    block_id = np.empty(len(regions), np.int32)
    block_id[order] = np.arange(len(regions), dtype=np.int32)
    nowhere = np.full(len(regions), shapely.Polygon(), object)
    return Places("", nowhere, block_id, 0.0, float(tile_size_m or 0))


def _setting_problems(tile_size_m: float | None) -> list[str]:
    found = []
    if tile_size_m is None or not tile_size_m > 0:
        found.append(
            f"config.released.tile_size_m is {tile_size_m}: with centres the side of a "
            "tile on the ground is needed, in metres, above 0"
        )
    return found


def _centres(
    regions: Sequence[str], path: str, faults: Faults
) -> Float[np.ndarray, "r 2"] | None:
    """Longitude and latitude of each region, None where they are unfit."""
    if not Path(path).is_file():
        faults.add(
            f"{_KEY} {path!r}: no such file. Wanted: CSV with columns "
            f"{', '.join(_COLUMNS)}"
        )
        return None
    try:
        header = tables.header(path)
        for text in common_faults.column_problems(path, header, _COLUMNS, _KEY):
            faults.add(text.removesuffix("."))
            return None
        rows = pd.DataFrame(tables.load(path, columns=_COLUMNS))
        rows["region_id"] = cells.text(rows["region_id"], path)
    except InputError as error:
        faults.add(str(error).removesuffix("."))
        return None
    rows = rows[rows["region_id"].isin(list(regions))]
    twice = rows["region_id"][rows["region_id"].duplicated()].unique()
    if len(twice):
        faults.add(f"{path}: several rows for one region", *map(str, twice))
    rows = rows.drop_duplicates("region_id").set_index("region_id")
    lon_lat_deg = rows.reindex(list(regions))[["lon", "lat"]]
    lon_lat_deg = lon_lat_deg.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    fine = (np.abs(lon_lat_deg) <= [180, 90]).all(axis=1)
    if not fine.all():
        absent = (regions[index] for index in np.flatnonzero(~fine).tolist())
        faults.add(f"{path}: no row with lon and lat in degrees for", *absent)
    return lon_lat_deg if fine.all() else None
