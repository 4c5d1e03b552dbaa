"""Extracts one label of every region from any kind of file."""

from __future__ import annotations

from typing import Any

from data_prep.labels import known, polygons, rasters, tables
from data_prep.labels.known import Values
from data_prep.labels.settings import LabelSettings
from data_prep.regions.regions import Regions

_EXTRACT = {
    "raster": rasters.extract,
    "polygons": polygons.extract,
    "table": tables.extract,
}


def extract(
    name: str, source: LabelSettings, regions: Regions, city_crs: str
) -> tuple[Values, dict[str, Any]]:
    """Extracts one label of every region.

    Args:
        name: Name of the label, for messages.
        source: Where it comes from.
        regions: The regions.
        city_crs: Their CRS.

    Returns:
        Values float32 [r], or [r k] for shares, NaN where unknown; and numbers for the
        report: regions without a value, the covered share, the smallest, median and
        largest number. For counts also the total of the regions, the total outside
        them, and the total of the source.

    Raises:
        InputError: If no region has a value, counts or densities are negative, a number
            is one that marks missing data, the total of counts is not preserved, or
            coordinates, classes or ids do not fit.
    """
    values, report = _EXTRACT[source.form](name, source, regions, city_crs)
    numbers = {} if source.has_classes else known.spread(values)
    return values, report | numbers
