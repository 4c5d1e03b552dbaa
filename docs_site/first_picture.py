"""docs/images/first_screen.jpg: the generated city, its maps, the page to explore it.

After `python -m mmgr_jax.main --config=configs/toy_city.py`:

    python -m docs_site.first_picture runs/toy_city data/toy_city/raw
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from mmgr_jax.legend import breaks, colours

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH_PX, HEIGHT_PX = 1560, 648
_MAP_PX = 268  # side of a map
_PAGE_PX = (982, 614)  # as wide to high as the page's own picture


def main(run: Path, raw: Path) -> None:
    """Draws and saves the picture.

    Args:
        run: Folder of a run, with `maps/embeddings.parquet`.
        raw: Folder of the generated city's raw files.
    """
    table = geopandas.read_parquet(run / "maps" / "embeddings.parquet")
    figure = Figure(figsize=(WIDTH_PX / 100, HEIGHT_PX / 100), dpi=100)
    axes = [
        _panel(figure, left, bottom, (_MAP_PX, _MAP_PX), title)
        for left, bottom, title in (
            (6, 352, "Image of the city"),
            (284, 352, "Function"),
            (6, 6, "Population"),
            (284, 6, "GDP"),
        )
    ]
    with rasterio.open(raw / "imagery.tif") as file:
        image = np.moveaxis(file.read([1, 2, 3], out_shape=(3, 640, 640)), 0, 2)
    axes[0].imshow(image, interpolation="antialiased", aspect="auto")
    _map(axes[1], table, _classes(table))
    _map(axes[2], table, _numbers(table, "population"))
    _map(axes[3], table, _numbers(table, "gdp"))
    page = _panel(figure, 570, 6, _PAGE_PX, "A page to click in")
    page.imshow(Image.open(IMAGES / "explore.jpg"), aspect="auto")
    figure.savefig(
        IMAGES / "first_screen.jpg", pil_kwargs=dict(quality=86, optimize=True)
    )


def _panel(
    figure: Figure, left_px: int, bottom_px: int, size_px: tuple[int, int], title: str
) -> Axes:
    """A frame at a place of the picture, with its title above."""
    box = (
        left_px / WIDTH_PX,
        bottom_px / HEIGHT_PX,
        size_px[0] / WIDTH_PX,
        size_px[1] / HEIGHT_PX,
    )
    axes = figure.add_axes(box)
    axes.set_title(title, fontsize=18, fontweight="bold", color="#1c2733", pad=5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(color="#8a949e", linewidth=1)
    return axes


def _map(axes: Axes, table: geopandas.GeoDataFrame, filling: list[str]) -> None:
    """Regions in their colours."""
    rings = [shapely.get_coordinates(outline) for outline in table.geometry]
    axes.add_collection(
        PolyCollection(rings, facecolors=filling, edgecolors=filling, linewidths=0.3)
    )
    west, south, east, north = table.total_bounds
    axes.set(xlim=(west, east), ylim=(south, north))


def _numbers(table: geopandas.GeoDataFrame, name: str) -> list[str]:
    """Colours of a predicted number, with the breaks of the printed maps."""
    edges = breaks.of_values(table[f"{name}_true"].dropna().tolist())
    ramp = colours.ramp(colours.VALUES, len(edges) + 1)
    return [ramp[index] for index in np.searchsorted(edges, table[f"{name}_pred"])]


def _classes(table: geopandas.GeoDataFrame) -> list[str]:
    """Colours of the class with the largest predicted share."""
    names = [str(name) for name in table["function_pred_class"]]
    classes = sorted(set(names))
    known = dict(zip(classes, colours.of_classes(classes), strict=True))
    return [known[name] for name in names]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
