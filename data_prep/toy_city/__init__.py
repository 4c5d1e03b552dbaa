"""A generated city with known truth: imagery, places, labels and zones.

The latent fields behind it are visible in different places, so that each modality
matters (see `truth.VISIBILITY`): density is plain in the picture; prosperity is loud
among the places and quiet on the roofs; specialisation shows among the places alone;
noise shows nowhere and sets the ceiling.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from data_prep.toy_city import truth, write
from data_prep.toy_city.area import make_area
from data_prep.toy_city.city import City, make_city
from data_prep.toy_city.difficulty import Difficulty, listed
from data_prep.toy_city.overlay import Overlay

__all__ = ["VERSION", "generate"]

VERSION = 2
"""Raised whenever the same arguments would give another city."""

_log = logging.getLogger(__name__)


def generate(
    out_dir: str | Path,
    *,
    seed: int,
    size_regions: tuple[int, int] = (40, 40),
    region_size_m: float = 128.0,
    gsd_m: float = 2.0,
    crs: str = "EPSG:32651",
    **difficulties: Any,
) -> None:
    """Writes the raw files of a city; the folder appears when all are complete.

    The files are `imagery.tif`, `pois.parquet`, `population.tif` (persons per pixel),
    `gdp.tif` (million CNY per pixel), `zones.gpkg`, and for tests alone
    `truth/truth.json` and `truth/truth.parquet`. The same arguments give the same
    pixels, places and numbers.

    Args:
        out_dir: Folder to make. An earlier generated city there is replaced; files of
            yours beside it stay.
        seed: Another seed, another city.
        size_regions: Whole regions from north to south and from west to east. The
            first lies in the mosaic's north-west corner; the mosaic reaches a little
            further to the south and east.
        region_size_m: Side of a region in metres.
        gsd_m: Side of a pixel in metres.
        crs: A registered projected CRS in metres; the city lies in the middle of
            where it is used.
        **difficulties: What makes the city harder to read, such as `haze`; see
            `difficulty.Difficulty`. Labels, zones and regions are the same under all.

    Raises:
        InputError: If the folder holds something else, or a size, the CRS or a
            difficulty does not fit.
    """
    difficulty = Difficulty(**difficulties)
    area = make_area(size_regions, region_size_m, gsd_m, crs)
    with write.new_folder(Path(out_dir)) as folder:
        city = make_city(area, seed)
        _write(folder, city, difficulty)
    _log.info("toy city: complete in %s", out_dir)


def _write(folder: Path, city: City, difficulty: Difficulty) -> None:
    """Paints and writes everything."""
    area, blocks, uses = city.area, city.layout.blocks, city.uses
    overlay = Overlay(area, len(uses.zone))
    write.write_imagery(folder / write.IMAGERY_FILE, city.painter(difficulty), overlay)
    _log.info("toy city: %d by %d pixels painted", *area.shape_px)
    pois = listed(city.places, difficulty, city.seed)
    write.write_places(folder / write.POIS_FILE, area, pois)
    write.write_zones(folder / write.ZONES_FILE, area, blocks, uses)
    rasters = truth.label_rasters(overlay, blocks, uses, city.built)
    write.write_labels(folder, overlay, rasters)
    table = truth.region_table(
        area, overlay, blocks, uses, city.built, city.places, rasters
    )
    described = truth.describe(area, city.seed, difficulty)
    facts = {**described, **truth.summary(table, rasters)}
    write.write_truth(folder, table, facts)
