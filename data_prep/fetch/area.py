"""The area that is fetched: a box of degrees, the outlines of a file, or a place."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from data_prep.fetch.hosts import public
from data_prep.fetch.http import Client
from data_prep.files import crs as crs_lib
from data_prep.files import tables
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

Degrees = tuple[float, float, float, float]
"""West, south, east, north."""

_LEAST_DEG = 1e-5  # a metre
_MOST_KM2 = 250_000.0
_UTM_SOUTH, _UTM_NORTH = -80.0, 84.0
_QUESTION_S = 1.1
"""Between two questions: Nominatim's policy allows one a second."""


@dataclasses.dataclass(frozen=True)
class FetchArea:
    """Where to fetch.

    Attributes:
        outline: The outline in degrees of WGS84, longitude first.
        name: Name of the area in the command.
        source: Where its outline comes from; "" where the command gives it.
    """

    outline: BaseGeometry
    name: str
    source: str = ""

    @property
    def bounds_deg(self) -> Degrees:
        """Bounding box of the area."""
        west, south, east, north = self.outline.bounds
        return west, south, east, north

    def in_crs(self, crs: str) -> BaseGeometry:
        """Returns the outline in a metric CRS; its edges become curves there."""
        fine = shapely.segmentize(self.outline, 0.01)
        return gpd.GeoSeries([fine], crs=crs_lib.WGS84).to_crs(crs).to_numpy()[0]

    def utm(self) -> str:
        """The UTM zone of the area's middle, such as "EPSG:32633".

        Raises:
            InputError: If the area lies beyond the UTM zones.
        """
        west, south, east, north = self.bounds_deg
        lon, lat = (west + east) / 2, (south + north) / 2
        if not _UTM_SOUTH <= lat <= _UTM_NORTH:
            raise InputError(
                f"{self.name}: lies at {lat:.1f} degrees of latitude, where UTM has no "
                "zones: give the metric CRS of its imagery by --crs=EPSG:..."
            )
        return f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"


def of_box(text: str, key: str = "--bbox") -> FetchArea:
    """Makes an area from "W,S,E,N".

    Raises:
        InputError: If the text is no box, or the box cannot be fetched.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{key}={text}: wanted: four numbers in degrees, W,S,E,N, such as "
            "2.25,48.81,2.42,48.91."
        ) from error
    return FetchArea(_box((west, south, east, north), f"{key}={text}"), f"{key}={text}")


def of_file(path: str) -> FetchArea:
    """Makes one area from the outlines of a vector file.

    Raises:
        InputError: If the file holds no outline, or its CRS is not known.
    """
    if problem := tables.layer_problem(path, None, None):
        raise InputError(problem)
    table = tables.load(path)
    if not isinstance(table, gpd.GeoDataFrame) or table.crs is None:
        raise InputError(
            f"--area={path}: has no outlines with a CRS; wanted: a GeoPackage, "
            "GeoJSON, Shapefile or GeoParquet of polygons."
        )
    polygons = table.geometry[table.geom_type.isin(["Polygon", "MultiPolygon"])]
    if not len(polygons):
        raise InputError(f"--area={path}: holds no polygon, so no area.")
    degrees = gpd.GeoSeries(polygons, crs=table.crs).to_crs(crs_lib.WGS84)
    outlines = tables.repaired(path, degrees.to_numpy())
    outline = shapely.union_all(outlines)
    _box(tuple(outline.bounds), f"--area={path}")
    return FetchArea(outline, f"--area={path}")


def of_place(name: str, geocoder: str, client: Client) -> FetchArea:
    """Makes an area from a place's name; asks a geocoder once and keeps its answer.

    Args:
        name: Name of the place, such as "Santa Monica, California".
        geocoder: Address of a search like Nominatim's, ".../search".
        client: The client that asks.

    Raises:
        InputError: If the geocoder knows no place with an extent by that name.
    """
    query = {"q": name, "format": "geojson", "polygon_geojson": 1, "limit": 5}
    address = f"{geocoder}?{urlencode(query)}"
    time.sleep(0.0 if client.offline else _QUESTION_S)
    answer = client.document(address, fresh=False)
    try:
        places: list[Any] = files.from_json(answer)["features"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{public(geocoder)}: its answer is not GeoJSON; give --geocoder the "
            "address of a Nominatim search, which ends in /search."
        ) from error
    if not places:
        raise InputError(
            f"--place={name}: {public(geocoder)} finds no such place; add its "
            "country, or give --bbox=W,S,E,N."
        )
    best = places[0]
    label = str(best.get("properties", {}).get("display_name", name))
    outline = shape(best["geometry"])
    if outline.geom_type not in ("Polygon", "MultiPolygon"):
        outline = _box(tuple(best.get("bbox", outline.bounds)), f"--place={name}")
    outline = shapely.make_valid(outline)
    _box(tuple(outline.bounds), f"--place={name}")
    logging.info("%s: %s (the first of %d)", name, label, len(places))
    licence = json.loads(answer).get("licence", "")
    return FetchArea(
        outline, f"--place={name}", f"{public(geocoder)}: {label}. {licence}"
    )


def with_margin(area: FetchArea, margin_m: float) -> BaseGeometry:
    """Returns the outline with a margin in metres around it, in degrees.

    The margin ends at 180 degrees: the other side of that line is another area.

    Raises:
        InputError: If the margin is negative or no number.
    """
    if not (np.isfinite(margin_m) and margin_m >= 0):
        raise InputError(
            f"--poi_margin_m={margin_m:g}: wanted: a distance in metres, from 0."
        )
    if not margin_m:
        return area.outline
    west, south, east, north = area.bounds_deg
    lon, lat = (west + east) / 2, (south + north) / 2
    around = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m"
    wide = shapely.segmentize(area.in_crs(around).buffer(margin_m), 1000.0)
    degrees = gpd.GeoSeries([wide], crs=around).to_crs(crs_lib.WGS84).to_numpy()[0]

    def unwrapped(places: np.ndarray) -> np.ndarray:
        turned = (places[:, 0] - lon + 180) % 360 - 180 + lon
        return np.column_stack([turned, places[:, 1]])

    outline = shapely.make_valid(shapely.transform(degrees, unwrapped))
    return shapely.intersection(outline, shapely.box(-180, -90, 180, 90))


def as_json(area: FetchArea) -> dict[str, Any]:
    """The outline as GeoJSON."""
    return dict(mapping(area.outline))


def _box(bounds: Sequence[float], name: str) -> BaseGeometry:
    """The box, checked.

    Raises:
        InputError: In one sentence.
    """
    west, south, east, north = bounds
    if (
        not np.isfinite(bounds).all()
        or min(south, north) < -90
        or max(south, north) > 90
    ):
        wrong = "latitudes lie between -90 and 90, and come second and fourth"
    elif not (-180 <= west <= 180 and -180 <= east <= 180):
        wrong = "longitudes lie between -180 and 180, and come first and third"
    elif south > north:
        wrong = "its south lies north of its north: the order is W,S,E,N"
    elif west > east and west - east > 180:
        wrong = (
            "it crosses 180 degrees: fetch each side separately, into two folders; "
            "one config may name both"
        )
    elif west > east:
        wrong = "its west lies east of its east: the order is W,S,E,N"
    elif east - west > 180:
        wrong = (
            "it spans more than half of the Earth: an area across 180 degrees is "
            "fetched as two, one on either side"
        )
    elif min(east - west, north - south) < _LEAST_DEG:
        wrong = "it has no extent (less than a metre)"
    elif _km2(west, south, east, north) > _MOST_KM2:
        wrong = (
            f"it covers {_km2(west, south, east, north):,.0f} km2; at most "
            f"{_MOST_KM2:,.0f} are fetched at once"
        )
    else:
        return shapely.box(west, south, east, north)
    raise InputError(f"{name}: {wrong}.")


def _km2(west: float, south: float, east: float, north: float) -> float:
    middle = np.cos(np.radians((south + north) / 2))
    return float((east - west) * (north - south) * 111.2**2 * middle)
