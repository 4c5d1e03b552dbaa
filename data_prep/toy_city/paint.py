"""Layers and textures to pixels, one window at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import shapely
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

from data_prep.running import threads
from data_prep.toy_city.area import Area
from data_prep.toy_city.layers import Layer
from data_prep.toy_city.scene import Grain
from data_prep.toy_city.season import Dates
from data_prep.toy_city.sensing import Sensing
from data_prep.toy_city.texture import Textures, tiled

# A window of the mosaic; a multiple of the GeoTIFF's blocks.
WINDOW_PX = 1024
# Polygons are drawn at twice the resolution and averaged: soft edges, as in a photo.
SUPERSAMPLING = 2
# The share of light that a shadow takes away.
SHADE = 0.52
ASPHALT_PATCHES = 0.035
LIGHT, SENSOR = 0.02, 2.0
# The border of the mosaic that no flight covered: a wedge in its eastern margin.
WEDGE_SHARE_OF_MARGIN = 0.6


Window = tuple[tuple[int, int], UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "h w"]]
"""First row and column; the picture, 0 where there is none and nowhere else; the block
of every pixel, -1 on streets."""


@dataclasses.dataclass(frozen=True)
class Painter:
    """Paints windows of the mosaic.

    Attributes:
        area: The mosaic's rectangle.
        layers: What to paint, the lowest first.
        blocks: Outlines of the blocks, which the grain belongs to.
        grain: Textures of the blocks.
        textures: The periodic noise.
        sensing: Haze and noise of the sensor.
        dates: When every place was photographed; None for summer everywhere.
    """

    area: Area
    layers: list[Layer]
    blocks: np.ndarray
    grain: Grain
    textures: Textures
    sensing: Sensing
    dates: Dates | None

    def windows(self) -> Iterator[Window]:
        """Windows from the north-west, row by row, a few painted ahead by threads."""
        trees = [shapely.STRtree(layer.polygon) for layer in self.layers]
        block_tree = shapely.STRtree(self.blocks)
        rows, columns = self.area.shape_px

        def paint(row: int, column: int) -> Window:
            shape = min(WINDOW_PX, rows - row), min(WINDOW_PX, columns - column)
            corner = row, column
            block = self._blocks(block_tree, corner, shape)
            flat = self._flat(trees, corner, shape)
            if self.dates is not None:
                autumn = self._flat(trees, corner, shape, autumn=True)
                flat += self._date(corner, shape)[..., None] * (autumn - flat)
            return corner, self._finish(flat, block, corner), block

        starts = [range(0, side, WINDOW_PX) for side in (rows, columns)]
        return threads.in_order(paint, itertools.product(*starts))

    def _blocks(
        self, tree: shapely.STRtree, corner: tuple[int, int], shape: tuple[int, int]
    ) -> Int[np.ndarray, "h w"]:
        image = Image.new("I", (shape[1], shape[0]), -1)
        draw = ImageDraw.Draw(image)
        index = np.sort(tree.query(_box(self.area, corner, shape)))
        for number, points in _outlines(self.blocks, index, self.area, corner, 1):
            draw.polygon(points, fill=int(number))
        return np.asarray(image)

    def _flat(
        self,
        trees: list[shapely.STRtree],
        corner: tuple[int, int],
        shape: tuple[int, int],
        *,
        autumn: bool = False,
    ) -> np.ndarray:
        """The layers without texture, in summer or late autumn, float32 [h w 3]."""
        size = shape[1] * SUPERSAMPLING, shape[0] * SUPERSAMPLING
        image = Image.new("RGB", size, (120, 120, 120))
        around = _box(self.area, corner, shape)
        for layer, tree in zip(self.layers, trees, strict=True):
            index = np.sort(tree.query(around))
            outlines = _outlines(layer.polygon, index, self.area, corner, SUPERSAMPLING)
            if layer.rgb is None:
                mask = Image.new("L", size, 0)
                draw = ImageDraw.Draw(mask)
                for _, points in outlines:
                    draw.polygon(points, fill=round(255 * SHADE))
                image.paste((0, 0, 8), mask=mask)
            else:
                rgb = layer.rgb
                if autumn and layer.autumn_rgb is not None:
                    rgb = layer.autumn_rgb
                draw = ImageDraw.Draw(image)
                for number, points in outlines:
                    draw.polygon(points, fill=tuple(rgb[number].tolist()))
        return np.array(image.reduce(SUPERSAMPLING), np.float32)

    def _date(
        self, corner: tuple[int, int], shape: tuple[int, int]
    ) -> Float[np.ndarray, "h w"]:
        """Dates of a window's pixels, from summer (0) to late autumn (1)."""
        assert self.dates is not None
        gsd_m = self.area.gsd_m
        east_m = (np.arange(shape[1]) + corner[1] + 0.5) * gsd_m
        south_m = (np.arange(shape[0]) + corner[0] + 0.5) * gsd_m
        north_m = self.area.size_m[1] - south_m
        return self.dates(east_m[None], north_m[:, None]).astype(np.float32)

    def _finish(
        self, flat: np.ndarray, block: np.ndarray, corner: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Adds grain, uneven light, haze and noise, and cuts the wedge."""
        rows = np.arange(flat.shape[0]) + corner[0]
        columns = np.arange(flat.shape[1]) + corner[1]
        street = block < 0
        grain, textures = self.grain, self.textures
        east_m = columns[None] * self.area.gsd_m
        south_m = rows[:, None] * self.area.gsd_m
        wave = grain.wave_per_m[block]
        stripes = np.sin(wave[..., 0] * east_m - wave[..., 1] * south_m)
        patches = np.where(street, ASPHALT_PATCHES, grain.patches[block])
        canopy = np.where(street, 0.0, grain.canopy[block])
        gain = 1 + LIGHT * tiled(textures.light, rows, columns)
        gain += patches * tiled(textures.patches, rows, columns)
        gain += canopy * tiled(textures.canopy, rows, columns)
        gain += np.where(street, 0.0, grain.stripes[block]) * stripes
        noise = SENSOR * tiled(textures.sensor, rows, columns)
        light = flat * gain[..., None].astype(np.float32)
        light = self.sensing.through_haze(light, rows, columns)
        picture = self.sensing.levels(light) + noise[..., None]
        picture = picture + self.sensing.noise(corner, picture.shape)
        picture = np.clip(np.round(picture), 1, 255).astype(np.uint8)
        picture[self._wedge(rows, columns)] = 0
        return picture

    def _wedge(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Pixels without a picture, all east of the last whole region."""
        height, width = self.area.shape_px
        tile_px = self.area.region_size_m / self.area.gsd_m
        margin_px = width - self.area.regions[1] * tile_px
        reach_px = WEDGE_SHARE_OF_MARGIN * margin_px * rows / height
        return columns[None] >= (width - reach_px)[:, None]


def _box(
    area: Area, corner: tuple[int, int], shape: tuple[int, int]
) -> shapely.Geometry:
    north_m = area.size_m[1] - corner[0] * area.gsd_m
    west_m = corner[1] * area.gsd_m
    south_m, east_m = north_m - shape[0] * area.gsd_m, west_m + shape[1] * area.gsd_m
    return shapely.box(west_m, south_m, east_m, north_m)


def _outlines(
    polygons: np.ndarray,
    index: np.ndarray,
    area: Area,
    corner: tuple[int, int],
    scale: int,
) -> Iterator[tuple[int, list[float]]]:
    """Outer rings in the drawing's pixels, flattened as PIL wants them."""
    rings = shapely.get_exterior_ring(polygons[index])
    points, owner = shapely.get_coordinates(rings, return_index=True)
    row = (area.size_m[1] - points[:, 1]) / area.gsd_m - corner[0]
    column = points[:, 0] / area.gsd_m - corner[1]
    # PIL counts from pixel centres.
    flat = np.stack([column, row], axis=1) * scale - 0.5
    ends = np.flatnonzero(np.diff(owner)) + 1
    owners = owner[np.concatenate([[0], ends])] if len(owner) else []
    for number, ring in zip(owners, np.split(flat, ends), strict=len(owner) > 0):
        yield int(index[number]), ring.ravel().tolist()
