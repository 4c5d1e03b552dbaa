"""Writes predictions as Cloud Optimized GeoTIFF, if regions are cells of a grid."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyproj
import rasterio
import rasterio.shutil
import shapely
from jaxtyping import Int
from rasterio.io import DatasetWriter
from rasterio.transform import Affine

from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.geo import columns as columns_lib
from mmgr_jax.geo import qgis_styles
from mmgr_jax.geo.columns import Mapped
from mmgr_jax.geo.panels import Breaks
from mmgr_jax.legend import breaks as breaks_lib
from mmgr_jax.legend import colours
from mmgr_jax.terminal import visible

MOST_CELLS = 250_000_000
"""Most cells of a grid, with or without a region: one gigabyte a band in memory."""

_TOLERANCE = 1e-6
"""Part of a side by which corners may lie off those of the grid."""

NO_CLASS = 255
"""Value of cells without a region in a band of classes; class numbers are lower."""


@dataclasses.dataclass(frozen=True)
class CellGrid:
    """A grid with north up, in which some cells are regions.

    Attributes:
        crs: CRS of the grid.
        west: Left edge of the grid, in the unit of the CRS.
        north: Upper edge of the grid, in the unit of the CRS.
        side: Width and height of a cell, in the unit of the CRS.
        shape: Number of rows and columns.
        cell: Cell of each region [r]: row times number of columns plus column.
    """

    crs: str
    west: float
    north: float
    side: tuple[float, float]
    shape: tuple[int, int]
    cell: Int[np.ndarray, " r"]

    def filled(self, values: np.ndarray, empty: float | int) -> np.ndarray:
        """Puts the values of the regions [r] into a band [rows columns]."""
        band = np.full(self.shape, empty, values.dtype)
        band.ravel()[self.cell] = values
        return band


def grid(path: Path, geometry_wkb: Sequence[bytes], crs: str) -> CellGrid:
    """Finds the grid in which each region is a cell.

    Args:
        path: File that is to be written, for error messages.
        geometry_wkb: Polygons in `crs`.
        crs: Anything pyproj understands.

    Raises:
        InputError: If a region is not an upright rectangle of the same size as all
            others, lies between cells, or lies in the cell of another region; or if the
            grid is too large.
    """
    outlines = shapely.from_wkb(geometry_wkb)
    bounds = shapely.bounds(outlines)
    side = bounds[:, 2:] - bounds[:, :2]
    size = np.nanmedian(side, axis=0)
    origin = np.array([np.nanmin(bounds[:, 0]), np.nanmax(bounds[:, 3])])
    steps = (bounds[:, [0, 3]] - origin) / size * (1, -1)
    place = np.rint(steps)
    last = np.nanmax(place)
    full = np.abs(shapely.area(outlines) / size.prod() - 1)
    wrong = (
        (np.abs(side / size - 1).max(axis=1) > _TOLERANCE)
        | (np.abs(steps - place).max(axis=1) > _TOLERANCE * max(1, last))
        | (full > _TOLERANCE)
    )
    again = "Leave 'cog' out of config.embed.formats; 'gpkg' holds regions of any shape"
    if not np.isfinite(steps).all() or wrong.any():
        first = int(np.flatnonzero(wrong | ~np.isfinite(steps).all(axis=1))[0])
        raise InputError(
            f"{path}: regions are not a grid of equal rectangles; the region in row "
            f"{first} is not a cell of {size[0]:g} by {size[1]:g}. {again}."
        )
    columns, rows = place.max(axis=0).astype(int) + 1
    if rows * columns > MOST_CELLS:
        raise InputError(
            f"{path}: the grid has {rows:,} by {columns:,} cells, more than "
            f"{MOST_CELLS:,}. {again}."
        )
    cell = (place[:, 1] * columns + place[:, 0]).astype(np.int64)
    if len(np.unique(cell)) < len(cell):
        raise InputError(f"{path}: two regions lie in one cell of a grid. {again}.")
    return CellGrid(
        crs, float(origin[0]), float(origin[1]), (float(size[0]), float(size[1])),
        (int(rows), int(columns)), cell,
    )  # fmt: skip


def write(
    folder: Path,
    cells: CellGrid,
    mapped: Mapped,
    level: float,
    breaks: Breaks | None,
) -> list[Path]:
    """Writes `<task>.tif` and, for shares and classes, `<task>_predicted_class.tif`.

    `<task>.tif` is float32 and has a band for each numeric column of `columns.of_task`,
    with the name that the GeoPackage uses and the unit. A cell is NaN where there is no
    region, no known value, or no limit that can be promised. The last band is 1 where
    the region is unlike the training regions.

    The style `<task>.qml` beside it makes QGIS show the prediction in the colours of
    our maps; for shares, the prediction of the first class. Without a style QGIS would
    take three bands for red, green and blue.

    `<task>_predicted_class.tif` holds the number of the predicted class, from 0, in the
    colours of our maps; 255 means no region. Its metadata names each class (`class_0`).
    It is not written for more than 255 classes.

    Args:
        folder: Where the files go.
        cells: The grid of the regions.
        mapped: Known and predicted values of the label.
        level: Level of the intervals, such as 0.9.
        breaks: Values at which the colours change; None for shares and classes.

    Returns:
        The files written.
    """
    name = files.safe_name(mapped.task)
    values = columns_lib.of_task(mapped)
    described = [
        column
        for column in columns_lib.about_task(mapped.task, mapped.label, level)
        if values[column.name].dtype.kind != "O"
    ]
    path = folder / f"{name}.tif"
    with _writing(path, cells, len(described), "float32", np.nan) as image:
        for index, column in enumerate(described, 1):
            band = values[column.name].astype(np.float32)
            band[~np.isfinite(band)] = np.nan
            image.write(cells.filled(band, np.nan), index)
            image.set_band_description(index, visible(column.readable))
            image.set_band_unit(index, visible(column.unit))
            image.update_tags(index, about=visible(column.about))
    style = folder / f"{name}.qml"
    shown = [column.name.startswith(f"{mapped.task}_pred") for column in described]
    edges = breaks_lib.SHARES if breaks is None else breaks.values
    files.write_text(style, qgis_styles.of_image(shown.index(True) + 1, edges))
    if not 0 < len(mapped.label.classes) <= NO_CLASS:
        return [path, style]
    classes = folder / f"{name}_predicted_class.tif"
    return [path, style, _write_classes(classes, cells, mapped)]


def _write_classes(path: Path, cells: CellGrid, mapped: Mapped) -> Path:
    """The predicted class of each region, coloured; returns the path."""
    classes = mapped.label.classes
    predicted = mapped.value.argmax(axis=1).astype(np.uint8)
    with _writing(path, cells, 1, "uint8", NO_CLASS) as image:
        image.write(cells.filled(predicted, NO_CLASS), 1)
        image.set_band_description(1, visible(f"{mapped.task}_predicted_class"))
        names = {f"class_{number}": visible(one) for number, one in enumerate(classes)}
        image.update_tags(1, **names)
        shades = colours.of_classes(classes)
        image.write_colormap(
            1,
            {
                number: tuple(int(shade[at : at + 2], 16) for at in (1, 3, 5))
                for number, shade in enumerate(shades)
            },
        )
    return path


@contextlib.contextmanager
def _writing(
    path: Path, cells: CellGrid, count: int, dtype: str, nodata: float | int
) -> Iterator[DatasetWriter]:
    """Opens an image to fill, which then becomes a COG at `path` by one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = cells.side
    with (
        files.replacing(path) as temporary,
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".draft-") as scratch,
    ):
        draft = Path(scratch) / "draft.tif"
        with rasterio.open(
            draft, "w", driver="GTiff", count=count, dtype=dtype, nodata=nodata,
            height=cells.shape[0], width=cells.shape[1],
            crs=pyproj.CRS.from_user_input(cells.crs).to_wkt(),
            transform=Affine(width, 0, cells.west, 0, -height, cells.north),
            tiled=True, interleave="band", compress="deflate", bigtiff="if_safer",
        ) as image:  # fmt: skip
            yield image
        # Values of regions are what they are: overviews are means, or the class that
        # covers the most.
        rasterio.shutil.copy(
            draft, temporary, driver="COG", compress="DEFLATE", predictor="YES",
            overview_resampling="AVERAGE" if dtype == "float32" else "MODE",
        )  # fmt: skip
