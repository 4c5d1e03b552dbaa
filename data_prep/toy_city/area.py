"""Where the generated city lies, and the smooth random fields over it.

Everything inside the package counts in local metres: x to the east and y to the
north of the mosaic's south-west corner. Only `write` and `truth` add the corner.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
import pyproj
from jaxtyping import Float
from pyproj.exceptions import CRSError
from scipy import ndimage

from mmgr_jax.errors import InputError

# The mosaic reaches beyond the last whole region, as mosaics do; the part to the
# south and east is too narrow to hold another whole region.
MARGIN_SHARE = 0.625
FIELD_CELL_M = 32.0
# Cities below 6 by 6 regions have no room for districts.
MIN_REGIONS = 6

Points = Float[np.ndarray, "m 2"]


@dataclasses.dataclass(frozen=True)
class Area:
    """The rectangle of the mosaic.

    Attributes:
        regions: Whole regions from north to south and from west to east, counted
            from the mosaic's north-west corner.
        region_size_m: Side of a region.
        gsd_m: Side of a pixel.
        crs: Metric CRS of everything but the POIs.
        west_m: Easting of the south-west corner in `crs`.
        south_m: Northing of the south-west corner in `crs`.
        shape_px: Rows and columns of the mosaic.
    """

    regions: tuple[int, int]
    region_size_m: float
    gsd_m: float
    crs: str
    west_m: float
    south_m: float
    shape_px: tuple[int, int]

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height."""
        return self.shape_px[1] * self.gsd_m, self.shape_px[0] * self.gsd_m

    @property
    def extent_m(self) -> float:
        """The shorter side, the scale of the city's structure."""
        return min(self.size_m)

    @property
    def centre(self) -> Float[np.ndarray, " 2"]:
        """Middle of the rectangle."""
        return np.array(self.size_m) / 2

    @property
    def north_m(self) -> float:
        """Northing of the northern edge in `crs`."""
        return self.south_m + self.size_m[1]

    @property
    def corner_m(self) -> Float[np.ndarray, " 2"]:
        """Coordinates of the south-west corner in `crs`."""
        return np.array([self.west_m, self.south_m])


def make_area(
    size_regions: tuple[int, int], region_size_m: float, gsd_m: float, crs: str
) -> Area:
    """The mosaic's rectangle in the middle of where the CRS is made for.

    Raises:
        InputError: If the CRS is not metric, or a size does not fit.
    """
    rows, columns = (int(n) for n in size_regions)
    if min(rows, columns) < MIN_REGIONS:
        raise InputError(
            f"toy_city.size_regions is {tuple(size_regions)}; a city needs at least "
            f"{MIN_REGIONS} regions each way. Raise it."
        )
    tile_px = region_size_m / gsd_m if gsd_m > 0 else 0.0
    if tile_px < 8 or abs(tile_px - round(tile_px)) > 1e-9:
        raise InputError(
            f"toy_city.region_size_m {region_size_m} over toy_city.gsd_m {gsd_m} gives "
            f"{tile_px:g} pixels a region; a whole number of at least 8 is needed, "
            "such as 128.0 over 2.0."
        )
    margin_px = int(MARGIN_SHARE * tile_px)
    shape_px = (
        rows * round(tile_px) + margin_px,
        columns * round(tile_px) + margin_px,
    )
    east_m, north_m = _middle_of(crs)
    return Area(
        regions=(rows, columns),
        region_size_m=float(region_size_m),
        gsd_m=float(gsd_m),
        crs=crs,
        west_m=float(np.round(east_m - shape_px[1] * gsd_m / 2)),
        south_m=float(np.round(north_m - shape_px[0] * gsd_m / 2)),
        shape_px=shape_px,
    )


def _middle_of(crs: str) -> tuple[float, float]:
    try:
        parsed = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(
            f"toy_city.crs {crs!r} is unknown; give a code such as 'EPSG:32651'."
        ) from error
    units = {axis.unit_name for axis in parsed.axis_info}
    use = parsed.area_of_use
    if not parsed.is_projected or units != {"metre"} or use is None:
        raise InputError(
            f"toy_city.crs {crs!r} is not a registered projected CRS in metres; give "
            "one such as 'EPSG:32651'."
        )
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", parsed, always_xy=True)
    return to_crs.transform((use.west + use.east) / 2, (use.south + use.north) / 2)


def random_stream(seed: int, name: str) -> np.random.Generator:
    """Makes a generator for each part, so that parts can change independently."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclasses.dataclass(frozen=True)
class Field:
    """A smooth random field, zero mean and unit variance over the area.

    Attributes:
        values: Values at cell centres, first row in the south.
    """

    values: Float[np.ndarray, "h w"]

    def __call__(self, points: Points) -> Float[np.ndarray, " m"]:
        """Values at points in local metres, linear between cells."""
        cell = points[:, ::-1].T / FIELD_CELL_M - 0.5
        return ndimage.map_coordinates(self.values, cell, order=1, mode="nearest")


def gaussian_field(
    rng: np.random.Generator, area: Area, correlation_length_m: float
) -> Field:
    """White noise under a Gaussian filter.

    Args:
        rng: Source of the noise.
        area: What to cover.
        correlation_length_m: Distance at which the correlation falls to 1/e, twice
            the filter's standard deviation.
    """
    width_m, height_m = area.size_m
    shape = (int(height_m / FIELD_CELL_M) + 1, int(width_m / FIELD_CELL_M) + 1)
    sigma_cells = correlation_length_m / 2 / FIELD_CELL_M
    pad = int(3 * sigma_cells) + 1
    noise = rng.standard_normal((shape[0] + 2 * pad, shape[1] + 2 * pad))
    smooth = ndimage.gaussian_filter(noise, sigma_cells)[pad:-pad, pad:-pad]
    return Field((smooth - smooth.mean()) / smooth.std())
