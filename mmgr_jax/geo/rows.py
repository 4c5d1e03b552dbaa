"""Any rows with the outlines of regions: GeoParquet, or CSV with their centres."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


def frame(
    columns: Mapping[str, Sequence[Any]], geometry_wkb: Sequence[bytes], crs: str
) -> gpd.GeoDataFrame:
    """A table with outlines, in memory.

    Args:
        columns: Name -> a value a row.
        geometry_wkb: The outline of each row, in `crs`.
        crs: Their CRS; "" where nobody knows it.
    """
    return gpd.GeoDataFrame(
        dict(columns), geometry=shapely.from_wkb(geometry_wkb), crs=crs or None
    )


def write(
    path: Path,
    columns: Mapping[str, Sequence[Any]],
    geometry_wkb: Sequence[bytes],
    crs: str,
) -> None:
    """Writes a table in one rename.

    Args:
        path: `.parquet`: GeoParquet 1.1 with the outlines and their boxes; else CSV
            with `lon_deg` and `lat_deg` of their centres.
        columns: Name -> a value a row.
        geometry_wkb: The outline of each row, in `crs`.
        crs: Their CRS; "" where nobody knows where regions lie: a CSV goes without
            centres.

    Raises:
        InputError: If GeoParquet is asked for where nobody knows where regions lie.
    """
    if not crs and path.suffix == ".parquet":
        raise InputError(
            f"{path}: the records do not say where the regions lie, so no GeoParquet "
            "can be written. Name a file ending in .csv."
        )
    with files.replacing(path) as temporary:
        if path.suffix == ".parquet":
            frame(columns, geometry_wkb, crs).to_parquet(
                temporary,
                index=False,
                schema_version="1.1.0",
                write_covering_bbox=True,
                compression="zstd",
            )
        else:
            table = _with_centres(_for_people(path, columns), geometry_wkb, crs)
            table.to_csv(temporary, index=False, encoding="utf-8")


def _for_people(
    path: Path, columns: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """The columns as a spreadsheet may open them; says how many cells that changed."""
    safe = {
        name: [files.no_formula(v) if isinstance(v, str) else v for v in values]
        for name, values in columns.items()
    }
    changed = sum(
        cell != value
        for name, values in columns.items()
        for cell, value in zip(safe[name], values, strict=True)
    )
    if changed:
        log.warning(
            "%s: %d texts begin like a spreadsheet formula, so each gets an "
            "apostrophe in front. A .parquet file holds them as they are.",
            path,
            changed,
        )
    return safe


def _with_centres(
    columns: Mapping[str, Sequence[Any]], geometry_wkb: Sequence[bytes], crs: str
) -> pd.DataFrame:
    table = pd.DataFrame(dict(columns))
    if not crs:
        return table
    outlines = gpd.GeoSeries(shapely.from_wkb(geometry_wkb), crs=crs)
    centre = outlines.centroid.to_crs("EPSG:4326")
    return table.assign(lon_deg=centre.x.round(6), lat_deg=centre.y.round(6))
