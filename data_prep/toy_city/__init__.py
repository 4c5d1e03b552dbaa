"""A generated city with known truth: imagery, places, labels and zones.

The latent fields behind it are visible in different places, so that each modality
matters (see `truth.VISIBILITY`): density is plain in the picture; prosperity is loud
among the places and quiet on the roofs; specialisation shows among the places alone;
noise shows nowhere and sets the ceiling.
"""

from __future__ import annotations

import logging
from pathlib import Path

from data_prep.toy_city import (
    buildings,
    layout,
    paint,
    places,
    scene,
    texture,
    truth,
    write,
    zoning,
)
from data_prep.toy_city.area import make_area
from data_prep.toy_city.overlay import Overlay

__all__ = ["generate"]

_log = logging.getLogger(__name__)


def generate(
    out_dir: str | Path,
    *,
    seed: int,
    size_regions: tuple[int, int] = (40, 40),
    region_size_m: float = 128.0,
    gsd_m: float = 2.0,
    crs: str = "EPSG:32651",
) -> None:
    """Writes the raw files of a city; the folder appears when all are complete.

    The files are `imagery.tif`, `pois.parquet`, `population.tif` (persons per pixel),
    `gdp.tif` (million CNY per pixel), `zones.gpkg`, and for tests alone
    `truth/truth.json` and `truth/truth.parquet`. The same arguments give the same
    pixels, places and numbers.

    Args:
        out_dir: Folder to make; may exist if it is empty.
        seed: Another seed, another city.
        size_regions: Whole regions from north to south and from west to east. The
            first lies in the mosaic's north-west corner; the mosaic reaches a little
            further to the south and east.
        region_size_m: Side of a region in metres.
        gsd_m: Side of a pixel in metres.
        crs: A registered projected CRS in metres; the city lies in the middle of
            where it is used.

    Raises:
        InputError: If the folder holds something, or a size or the CRS does not fit.
    """
    area = make_area(size_regions, region_size_m, gsd_m, crs)
    with write.new_folder(Path(out_dir)) as folder:
        urbanity = zoning.make_urbanity(area, seed)
        plan = layout.make_layout(area, seed, urbanity)
        blocks = plan.blocks
        uses = zoning.make_uses(area, seed, blocks, urbanity)
        _log.info("toy city: %d blocks laid out", len(blocks.polygon))
        built = buildings.make_built(seed, plan, uses)
        _log.info("toy city: %d buildings", len(built.roofs.block))
        pois = places.make_places(seed, blocks, uses, built)
        write.write_places(folder / write.POIS_FILE, area, pois)
        _log.info("toy city: %d places", len(pois.block))
        painter = paint.Painter(
            area,
            scene.make_layers(seed, plan, uses, built),
            blocks.polygon,
            scene.make_grain(seed, blocks, uses),
            texture.make_textures(seed, gsd_m),
        )
        overlay = Overlay(area, len(blocks.polygon))
        write.write_imagery(folder / write.IMAGERY_FILE, painter, overlay)
        _log.info("toy city: %d by %d pixels painted", *area.shape_px)
        rasters = truth.label_rasters(overlay, blocks, uses, built)
        write.write_labels(folder, overlay, rasters)
        write.write_zones(folder / write.ZONES_FILE, area, blocks, uses)
        table = truth.region_table(area, overlay, uses, built, pois, rasters)
        facts = {**truth.describe(area, seed), **truth.summary(table, rasters)}
        write.write_truth(folder, table, facts)
        _log.info("toy city: labels, zones and truth written to %s", out_dir)
