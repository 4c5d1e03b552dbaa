"""Which blocks every region and every pixel of the label rasters holds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import shapely
from jaxtyping import Float, Int
from scipy import sparse

from data_prep.toy_city.area import Area
from data_prep.toy_city.layout import Blocks

# Population and GDP come on a grid of their own: coarser, and shifted by a length
# that no region shares. One ring of pixels around the city holds nothing.
LABEL_PIXEL_M = 50.0
LABEL_SHIFT_M = (67.0, 73.0)


@dataclasses.dataclass(frozen=True)
class LabelGrid:
    """The pixels of the label rasters, in metres from the mosaic's north-west corner.

    Attributes:
        west_m: Western edge, negative.
        north_m: Northern edge, positive northwards.
        shape: Rows and columns.
    """

    west_m: float
    north_m: float
    shape: tuple[int, int]


def label_grid(area: Area) -> LabelGrid:
    """Label pixels that cover the mosaic and more."""
    width_m, height_m = area.size_m
    shift_x_m, shift_y_m = LABEL_SHIFT_M
    columns = math.ceil((width_m + shift_x_m) / LABEL_PIXEL_M) + 1
    rows = math.ceil((height_m + shift_y_m) / LABEL_PIXEL_M) + 1
    return LabelGrid(-shift_x_m, shift_y_m, (rows, columns))


class Overlay:
    """Area of every block within every label pixel.

    Pixels of the mosaic are added window by window, as they are painted; the outline
    of a block is painted with it, half a pixel wide.
    """

    def __init__(self, area: Area, block_count: int) -> None:
        """Starts with nothing added."""
        self.area = area
        self.grid = label_grid(area)
        # Streets are one more "block", the last.
        self._shape = math.prod(self.grid.shape), block_count + 1
        self._cells = sparse.csr_array(self._shape)

    def add(self, corner: tuple[int, int], block: Int[np.ndarray, "h w"]) -> None:
        """Adds the blocks of a window's pixels.

        Args:
            corner: First row and column of the window.
            block: Block of every pixel, -1 on streets.
        """
        gsd_m = self.area.gsd_m
        south_m = (np.arange(block.shape[0]) + corner[0] + 0.5) * gsd_m
        east_m = (np.arange(block.shape[1]) + corner[1] + 0.5) * gsd_m
        row = ((south_m + self.grid.north_m) // LABEL_PIXEL_M).astype(int)
        column = ((east_m - self.grid.west_m) // LABEL_PIXEL_M).astype(int)
        cell = row[:, None] * self.grid.shape[1] + column
        street = self._shape[1] - 1
        block = np.where(block < 0, street, block)
        pixel_m2 = np.full(block.size, gsd_m**2)
        self._cells += sparse.coo_array(
            (pixel_m2, (cell.ravel(), block.ravel())), self._shape
        ).tocsr()

    @property
    def covered(self) -> np.ndarray:
        """Label pixels that the mosaic touches [h w]."""
        return (self._cells.sum(axis=1) > 0).reshape(self.grid.shape)

    def to_labels(self, total: Float[np.ndarray, " m"]) -> Float[np.ndarray, "h w"]:
        """Spreads what blocks hold evenly over them and sums it by label pixel."""
        cells = self._cells[:, :-1]
        area_m2 = cells.sum(axis=0)
        density = np.where(area_m2 > 0, total / np.maximum(area_m2, 1e-9), 0.0)
        return (cells @ density).reshape(self.grid.shape)

    def label_to_regions(
        self, label: Float[np.ndarray, "h w"]
    ) -> Float[np.ndarray, " r"]:
        """Sums of label pixels by region, in proportion to the shared area."""
        rows, columns = self.area.regions
        size_m = self.area.region_size_m
        down = _shares(rows, size_m, self.grid.shape[0], -self.grid.north_m)
        across = _shares(columns, size_m, self.grid.shape[1], self.grid.west_m)
        return (down @ label @ across.T).ravel()


def _shares(
    count: int, size_m: float, cells: int, start_m: float
) -> Float[np.ndarray, "r n"]:
    """Share of every label pixel that lies in every region, along one axis."""
    low = np.arange(count)[:, None] * size_m
    cell = start_m + np.arange(cells) * LABEL_PIXEL_M
    shared = np.minimum(low + size_m, cell + LABEL_PIXEL_M) - np.maximum(low, cell)
    return np.maximum(shared, 0) / LABEL_PIXEL_M


def region_area_m2(area: Area, blocks: Blocks) -> sparse.csr_array:
    """Area of every block within every region [r m], streets apart."""
    rows, columns = area.regions
    row, column = (grid.ravel() for grid in np.indices((rows, columns)))
    size_m = area.region_size_m
    west_m, north_m = column * size_m, area.size_m[1] - row * size_m
    squares = shapely.box(west_m, north_m - size_m, west_m + size_m, north_m)
    block, region = shapely.STRtree(squares).query(blocks.polygon, "intersects")
    shapely.prepare(blocks.polygon)
    shared_m2 = shapely.area(
        shapely.intersection(blocks.polygon[block], squares[region])
    )
    shape = rows * columns, len(blocks.polygon)
    return sparse.coo_array((shared_m2, (region, block)), shape).tocsr()
