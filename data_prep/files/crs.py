"""Checks and transforms coordinate systems, and handles the Chinese map datums.

GCJ-02 (AMap, Tencent) and BD-09 (Baidu) are obfuscated coordinates, some 300 to
700 m away from WGS84 within China. A file does not say which it uses, so the config
declares it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pyproj
from jaxtyping import Float
from pyproj.exceptions import CRSError, ProjError

from mmgr_jax.errors import InputError

DATUMS = ("wgs84", "gcj02", "bd09")
WGS84 = "EPSG:4326"

# GCJ-02 is defined on the ellipsoid of Krasovsky (1940).
_SEMI_MAJOR_AXIS_M = 6378245.0
_ECCENTRICITY_SQUARED = 0.00669342162296594323
# The obfuscation applies within this box, in degrees: west, east, south, north.
_CHINA_DEG = (72.004, 137.8347, 0.8293, 55.8271)
# An area in the CRS may differ from the one on the ground by this share: Web Mercator
# is 37 % off at Shanghai, a neighbouring UTM zone 0.4 %.
_MAX_AREA_DISTORTION = 0.01

_Degrees = Float[np.ndarray, " n"]
CrsLike = str | pyproj.CRS


def parse(crs: CrsLike) -> pyproj.CRS:
    """Returns the CRS of a string, a code or an object.

    Raises:
        InputError: If PROJ does not know it.
    """
    try:
        return pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(
            f"CRS {crs!r} is unknown. Give a code such as 'EPSG:32651' "
            "(https://epsg.io lists them)."
        ) from error


def same(first: CrsLike, second: CrsLike) -> bool:
    """Whether two CRS mean the same coordinates, written as (x, y) or (lon, lat)."""
    return parse(first).equals(parse(second), ignore_axis_order=True)


@functools.lru_cache(256)
def unusable(crs: CrsLike) -> str | None:
    """Why coordinates in a file's CRS have no place on Earth; None when they have one.

    Local ("engineering") and undefined systems can be parsed and have a name, often
    that of the right system. But nothing says where on Earth they are.
    """
    parsed = parse(crs)
    is_undefined = parsed.name.casefold().startswith("undefined")
    if not is_undefined and (parsed.is_projected or parsed.is_geographic):
        try:
            pyproj.Transformer.from_crs(parsed, parse(WGS84), always_xy=True)
            return None
        except ProjError:
            pass
    return (
        f"names the CRS {parsed.name!r} ({parsed.type_name}), which does not say "
        "where on Earth its coordinates lie."
    )


def problem(
    crs: str | None, lon_lat_deg: tuple[float, float] | None = None
) -> str | None:
    """Why a CRS cannot be used for a study area; None when it can.

    Args:
        crs: The CRS in the config.
        lon_lat_deg: A point of the study area, to measure the distortion there.
    """
    if crs is None:
        return "config.city.crs is missing: give a metric CRS, such as 'EPSG:32651'."
    try:
        parsed = parse(crs)
    except InputError as error:
        return f"config.city.crs: {error}"
    units = {axis.unit_name for axis in parsed.axis_info}
    if not parsed.is_projected or units != {"metre"}:
        return (
            f"config.city.crs {crs!r} is in units of {', '.join(sorted(units))}: tiles "
            "are cut in metres, so a projected CRS in metres is needed"
            f"{_utm_hint(lon_lat_deg)}."
        )
    if lon_lat_deg is None:
        return None
    scale = _area_scale(parsed, lon_lat_deg)
    if abs(scale - 1) > _MAX_AREA_DISTORTION:
        return (
            f"config.city.crs {crs!r} makes areas {scale:.3f} times as large at "
            f"{lon_lat_deg[0]:.3f} E, {lon_lat_deg[1]:.3f} N; at most "
            f"{_MAX_AREA_DISTORTION:.0%} off is allowed: use a CRS made for the place"
            f"{_utm_hint(lon_lat_deg)}."
        )
    return None


def wrong_place_advice(bounds: tuple[float, float, float, float], crs: CrsLike) -> str:
    """Says what to check when a file lies in the wrong place.

    Args:
        bounds: West, south, east, north of the file in its own CRS.
        crs: The CRS that it names.
    """
    name = parse(crs).name
    if in_degrees_by_mistake(bounds, crs):
        return (
            f"It is in degrees, but says {name!r}. Write the right CRS into it, "
            "such as EPSG:4326."
        )
    return f"Is it of another place, or is the CRS that it names, {name!r}, wrong?"


def in_degrees_by_mistake(
    bounds: tuple[float, float, float, float], crs: CrsLike
) -> bool:
    """Whether the bounds of a file in metres look like longitude and latitude."""
    west, south, east, north = bounds
    on_earth = -180 <= west < east <= 360 and -90 <= south < north <= 90
    return parse(crs).is_projected and on_earth


def utm(lon_lat_deg: tuple[float, float]) -> str:
    """Returns the code of the UTM zone (WGS84) of a place."""
    lon_deg, lat_deg = lon_lat_deg
    zone = int((lon_deg + 180) // 6) % 60 + 1
    return f"EPSG:{(32600 if lat_deg >= 0 else 32700) + zone}"


def shifted_datums(lon_deg: float, lat_deg: float) -> bool:
    """Whether GCJ-02 and BD-09 are shifted at a place: in a box around China."""
    west, east, south, north = _CHINA_DEG
    return west <= lon_deg <= east and south <= lat_deg <= north


def transform(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    source: CrsLike,
    target: CrsLike,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Transforms coordinates (x, y) or (lon, lat) from one CRS to another.

    Raises:
        InputError: If there is no transformation between them.
    """
    if same(source, target):
        return x, y
    x_target, y_target = _transformer(source, target).transform(x, y)
    return np.asarray(x_target, float), np.asarray(y_target, float)


def transform_bounds(
    bounds: tuple[float, float, float, float], source: CrsLike, target: CrsLike
) -> tuple[float, float, float, float]:
    """Transforms a box (west, south, east, north) to another CRS; densifies its edges.

    In degrees, east is above 180 where the box crosses that line.

    Raises:
        InputError: If there is no transformation between the two CRS.
    """
    if same(source, target):
        return bounds
    steps = _transformer(source, target)
    west, south, east, north = steps.transform_bounds(*bounds, densify_pts=21)
    is_across = west > east and parse(target).is_geographic
    return west, south, east + 360 if is_across else east, north


def near_deg(
    lon_deg: Float[np.ndarray, " *n"], about_deg: Float[np.ndarray, " *m"] | float
) -> Float[np.ndarray, " *n"]:
    """Shifts longitudes by whole turns to within 180 degrees of another longitude."""
    return about_deg + (lon_deg - about_deg + 180) % 360 - 180


def _transformer(source: CrsLike, target: CrsLike) -> pyproj.Transformer:
    try:
        return pyproj.Transformer.from_crs(parse(source), parse(target), always_xy=True)
    except ProjError as error:
        raise InputError(
            f"no coordinate can be transformed from the CRS {parse(source).name!r} to "
            f"{parse(target).name!r}. Write the right CRS into the file that names it."
        ) from error


def to_wgs84(
    lon_deg: _Degrees, lat_deg: _Degrees, datum: str
) -> tuple[_Degrees, _Degrees]:
    """Returns WGS84 longitude and latitude of coordinates in a declared datum.

    Args:
        lon_deg: Longitudes [n] in degrees east.
        lat_deg: Latitudes [n] in degrees north.
        datum: One of `DATUMS`.

    Returns:
        Longitudes and latitudes [n] in degrees, within a millimetre of the exact
        inverse.

    Raises:
        InputError: If the datum is none of `DATUMS`.
    """
    if datum not in DATUMS:
        raise InputError(
            f"config.pois.datum is {datum!r}; allowed: {', '.join(DATUMS)}. AMap and "
            "Tencent deliver gcj02, Baidu bd09, most others wgs84."
        )
    if datum == "bd09":
        lon_deg, lat_deg = bd09_to_gcj02(lon_deg, lat_deg)
    if datum in ("gcj02", "bd09"):
        lon_deg, lat_deg = gcj02_to_wgs84(lon_deg, lat_deg)
    return lon_deg, lat_deg


def wgs84_to_gcj02(lon_deg: _Degrees, lat_deg: _Degrees) -> tuple[_Degrees, _Degrees]:
    """Converts WGS84 coordinates to GCJ-02; unchanged outside China."""
    east_m, north_m = _gcj02_shift_m(lon_deg - 105.0, lat_deg - 35.0)
    lat = np.radians(lat_deg)
    w_squared = 1 - _ECCENTRICITY_SQUARED * np.sin(lat) ** 2
    prime_vertical_m = _SEMI_MAJOR_AXIS_M / np.sqrt(w_squared)
    meridional_m = prime_vertical_m * (1 - _ECCENTRICITY_SQUARED) / w_squared
    west, east, south, north = _CHINA_DEG
    inside = (lon_deg >= west) & (lon_deg <= east)
    inside &= (lat_deg >= south) & (lat_deg <= north)
    shift_lon_deg = np.degrees(east_m / (prime_vertical_m * np.cos(lat)))
    shift_lat_deg = np.degrees(north_m / meridional_m)
    return (
        lon_deg + np.where(inside, shift_lon_deg, 0.0),
        lat_deg + np.where(inside, shift_lat_deg, 0.0),
    )


def gcj02_to_wgs84(lon_deg: _Degrees, lat_deg: _Degrees) -> tuple[_Degrees, _Degrees]:
    """Converts GCJ-02 coordinates to WGS84, by fixed-point iteration.

    The shift changes by about 1 % of a displacement, so five rounds leave an error
    below a millimetre. The usual one-step inverse leaves a metre or two.
    """
    return _inverse(wgs84_to_gcj02, lon_deg, lat_deg, start=(lon_deg, lat_deg))


def gcj02_to_bd09(lon_deg: _Degrees, lat_deg: _Degrees) -> tuple[_Degrees, _Degrees]:
    """Converts GCJ-02 coordinates to BD-09."""
    frequency = np.pi * 3000.0 / 180.0
    radius = np.hypot(lon_deg, lat_deg) + 2e-5 * np.sin(lat_deg * frequency)
    angle = np.arctan2(lat_deg, lon_deg) + 3e-6 * np.cos(lon_deg * frequency)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def bd09_to_gcj02(lon_deg: _Degrees, lat_deg: _Degrees) -> tuple[_Degrees, _Degrees]:
    """Converts BD-09 coordinates to GCJ-02, by fixed-point iteration."""
    start = lon_deg - 0.0065, lat_deg - 0.006
    return _inverse(gcj02_to_bd09, lon_deg, lat_deg, start=start)


def _inverse(
    forward: Callable[[_Degrees, _Degrees], tuple[_Degrees, _Degrees]],
    lon_deg: _Degrees,
    lat_deg: _Degrees,
    *,
    start: tuple[_Degrees, _Degrees],
) -> tuple[_Degrees, _Degrees]:
    """What a shift of coordinates was made of, by five rounds of iteration."""
    lon, lat = start
    for _ in range(5):
        forward_lon, forward_lat = forward(lon, lat)
        lon, lat = lon + (lon_deg - forward_lon), lat + (lat_deg - forward_lat)
    return lon, lat


def _gcj02_shift_m(x: _Degrees, y: _Degrees) -> tuple[_Degrees, _Degrees]:
    """The GCJ-02 displacement in metres at x, y degrees from 105 E, 35 N."""

    def waves(angle: _Degrees, *terms: tuple[float, float]) -> _Degrees:
        parts = (height * np.sin(angle * rate * np.pi) for height, rate in terms)
        return sum(parts, np.zeros_like(angle)) / 3

    root, common = np.sqrt(np.abs(x)), waves(x, (40.0, 6.0), (40.0, 2.0))
    east_m = 300.0 + x + 2 * y + 0.1 * x**2 + 0.1 * x * y + 0.1 * root + common
    east_m += waves(x, (40.0, 1.0), (80.0, 1 / 3), (300.0, 1 / 12), (600.0, 1 / 30))
    north_m = -100.0 + 2 * x + 3 * y + 0.2 * y**2 + 0.1 * x * y + 0.2 * root + common
    north_m += waves(y, (40.0, 1.0), (80.0, 1 / 3), (320.0, 1 / 12), (640.0, 1 / 30))
    return east_m, north_m


def _area_scale(crs: pyproj.CRS, lon_lat_deg: tuple[float, float]) -> float:
    scale = pyproj.Proj(crs).get_factors(*lon_lat_deg).areal_scale
    return scale if np.isfinite(scale) else np.inf


def _utm_hint(lon_lat_deg: tuple[float, float] | None) -> str:
    if lon_lat_deg is None:
        return ", such as that of its UTM zone"
    return f", such as {utm(lon_lat_deg)!r}"
