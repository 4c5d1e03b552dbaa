"""Checks that the raster of a label can be used and lies where the imagery lies."""

from __future__ import annotations

from data_prep.files import faults
from data_prep.labels import raster_files
from data_prep.labels import source as source_lib
from data_prep.labels.raster_files import Band
from data_prep.labels.settings import LabelSettings


def problems(
    key: str, source: LabelSettings, extent_deg: faults.Bounds | None
) -> list[str]:
    """Lists everything that prevents a label from a raster.

    Args:
        key: The section of the config.
        source: What it says.
        extent_deg: West, south, east, north of the imagery; None: not known.

    Raises:
        InputError: If the file cannot be read, or its band is not the intended one.
    """
    with raster_files.open_band(key, source) as band:
        raster = band.raster
        own_crs = None if raster.crs is None else raster.crs.to_wkt()
        problems = faults.crs_problems(source.path, own_crs)
        if problems or own_crs is None:
            return problems
        if raster.transform.is_degenerate:
            return [f"{source.path}: its pixels have no area. Make it again."]
        faults.probe(raster, [band.number])
        problems = _unit_problems(key, source, band)
        return problems + faults.overlap_problems(
            key, source.path, band.bounds, own_crs, extent_deg
        )


def _unit_problems(key: str, source: LabelSettings, band: Band) -> list[str]:
    """A unit of the file that contradicts what the config says of its numbers."""
    unit = band.raster.units[band.number - 1] or ""
    if source.kind != "count" or not source_lib.names_area(unit):
        return []
    return [
        f"{key}: kind is 'count', but band {band.in_words} of {source.path} is in "
        f"{unit!r}, which is per area. Say kind='density' and that unit; or, where the "
        "file is wrong, correct it with `rio edit-info --units`."
    ]
