"""Writes rows of regions as GeoParquet with outlines, or as CSV with centres."""

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
    """Makes a table with outlines, in memory.

    Args:
        columns: Name -> a value for each row.
        geometry_wkb: The outline of each row, in `crs`.
        crs: CRS of the outlines; "" if it is not known.
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
    """Writes a table, which appears complete by one rename.

    Args:
        path: File to write. `.parquet`: GeoParquet 1.1 with the outlines and their
            boxes; else CSV with `lon_deg` and `lat_deg` of the centres.
        columns: Name -> a value for each row.
        geometry_wkb: The outline of each row, in `crs`.
        crs: CRS of the outlines; "" if it is not known where regions lie: then a CSV
            has no centres.

    Raises:
        InputError: If a GeoParquet file is requested and it is not known where regions
            lie.
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
    """Makes columns safe to open in a spreadsheet; logs how many cells were changed."""
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
