"""What is known about regions: sums and means of rasters, area shares of polygons."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import exactextract
import geopandas as gpd
import numpy as np
import rasterio
import shapely
from exactextract.raster import RasterioRasterSource
from jaxtyping import Float

from data_prep import vectors
from data_prep.grid import Regions
from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError

RASTER_KINDS = ("count", "density", "scalar")
# Below this covered share a region has no shares of its own.
_MIN_COVERED = 0.01
# Pairs of region and polygon intersected at a time, to bound memory.
_PAIRS = 100_000


@dataclasses.dataclass(frozen=True)
class LabelSource:
    """Where one label comes from.

    Attributes:
        kind: "count" (a raster of totals per pixel, summed over a region),
            "density" or "scalar" (a raster, averaged over a region) or "share"
            (polygons with a class each, taken as area shares).
        path: The raster or vector file.
        unit: Unit of the stored number, such as "persons"; "1" for shares.
        band: Band of the raster, counted from 1.
        column: Column with the class of a polygon.
        classes: Names of the classes, in the order they are stored.
        year: Reference year of the source.
        source: Who made the data.
        licence: Licence of the data.
    """

    kind: str
    path: str
    unit: str = "1"
    band: int = 1
    column: str | None = None
    classes: Sequence[str] = ()
    year: int | None = None
    source: str = ""
    licence: str = ""

    def meaning(self) -> Label:
        """The entry of the manifest."""
        return Label(
            kind=self.kind,
            unit=self.unit,
            classes=tuple(self.classes) if self.kind == "share" else (),
            year=self.year,
            source=self.source,
            licence=self.licence,
        )


Values = Float[np.ndarray, " r"] | Float[np.ndarray, "r k"]


def extract(
    name: str, source: LabelSource, regions: Regions, city_crs: str
) -> tuple[Values, dict[str, Any]]:
    """One label of every region.

    Args:
        name: Name of the label, for messages.
        source: Where it comes from.
        regions: The regions.
        city_crs: Their CRS.

    Returns:
        float32 [r], or [r k] for shares, NaN where nothing is known; and what is worth
        telling: the total, the number of regions without a value, the covered share.

    Raises:
        InputError: If a raster of counts holds negative values.
    """
    if source.kind == "share":
        return _shares(source, regions, city_crs)
    return _zonal(name, source, regions, city_crs)


def _zonal(
    name: str, source: LabelSource, regions: Regions, city_crs: str
) -> tuple[Float[np.ndarray, " r"], dict[str, Any]]:
    """Sums or means over the exact part of each pixel that a region covers."""
    with rasterio.open(source.path) as raster:
        # The raster keeps its own pixels: resampling it would change its total.
        outlines = gpd.GeoDataFrame(geometry=regions.geometry, crs=city_crs)
        outlines = outlines.to_crs(raster.crs.to_wkt())
        statistics = exactextract.exact_extract(
            RasterioRasterSource(raster, source.band),
            outlines,
            ["sum", "mean", "count", "min"],
            output="pandas",
        )
        pixel_area = abs(raster.transform.a * raster.transform.e)
    covered_px = statistics["count"].to_numpy(float)
    known = covered_px > 0
    if source.kind == "count":
        _refuse_negative(name, source, statistics["min"].to_numpy(float)[known])
    column = "sum" if source.kind == "count" else "mean"
    values = np.where(known, statistics[column].to_numpy(float), np.nan)
    # Both areas are in the raster's own units, degrees or not.
    covered = covered_px * pixel_area / shapely.area(outlines.geometry.to_numpy())
    report: dict[str, Any] = {
        "regions without a value": int((~known).sum()),
        "mean covered share": round(float(covered.mean()), 4),
    }
    if source.kind == "count":
        report["total"] = float(np.nansum(values))
    return values.astype(np.float32), report


def _refuse_negative(
    name: str, source: LabelSource, minima: Float[np.ndarray, " m"]
) -> None:
    lowest = minima.min(initial=0.0)
    if lowest < 0:
        raise InputError(
            f"config.labels.{name}: {source.path}, band {source.band}, holds the count "
            f"{lowest:g}; counts are 0 or more. If that marks missing data, declare it "
            f"in the file: `rio edit-info --nodata {lowest:g} {source.path}`."
        )


def _shares(
    source: LabelSource, regions: Regions, city_crs: str
) -> tuple[Float[np.ndarray, "r k"], dict[str, Any]]:
    """Area shares of the classes, over the part of a region that polygons cover."""
    polygons, class_of = _polygons(source, city_crs)
    area_m2 = overlay(regions, polygons, class_of, len(source.classes))
    covered_m2 = area_m2.sum(axis=1)
    covered = covered_m2 / regions.tile_size_m**2
    known = covered >= _MIN_COVERED
    shares = np.full_like(area_m2, np.nan)
    shares[known] = area_m2[known] / covered_m2[known, None]
    overlapping = int((covered > 1.001).sum())
    if overlapping:
        logging.warning(
            "%s: polygons overlap in %d regions; overlaps count once per polygon",
            source.path,
            overlapping,
        )
    report = {
        "regions without a value": int((~known).sum()),
        "mean covered share": round(float(np.minimum(covered, 1).mean()), 4),
        "regions with overlapping polygons": overlapping,
    }
    return shares.astype(np.float32), report


def _polygons(source: LabelSource, city_crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Valid polygons in the study area's CRS, and the class index of each."""
    table = vectors.load(source.path)
    assert isinstance(table, gpd.GeoDataFrame)
    table = table[table[source.column].notna() & ~table.geometry.isna()]
    index_of: Mapping[str, int] = {name: i for i, name in enumerate(source.classes)}
    class_of = table[source.column].astype(str).map(index_of).to_numpy(int)
    polygons = table.to_crs(city_crs).geometry.to_numpy()
    return shapely.make_valid(polygons), class_of


def overlay(
    regions: Regions, polygons: np.ndarray, class_of: np.ndarray, num_classes: int
) -> Float[np.ndarray, "r k"]:
    """Area of each class in each region in square metres [r k].

    Args:
        regions: The regions.
        polygons: Valid shapely polygons [m] in the regions' CRS.
        class_of: Class index of each polygon [m].
        num_classes: Number of classes k.
    """
    area_m2 = np.zeros((len(regions), num_classes))
    outlines = regions.geometry
    tree = shapely.STRtree(outlines)
    polygon, region = tree.query(polygons, predicate="intersects")
    for first in range(0, len(polygon), _PAIRS):
        pairs = slice(first, first + _PAIRS)
        shared = shapely.intersection(outlines[region[pairs]], polygons[polygon[pairs]])
        cell = (region[pairs], class_of[polygon[pairs]])
        np.add.at(area_m2, cell, shapely.area(shared))
    return area_m2
