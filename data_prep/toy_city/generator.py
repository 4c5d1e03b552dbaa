"""The raw files of a generated city: painted, listed and written."""

from __future__ import annotations

import logging
from pathlib import Path

from data_prep.toy_city import renewal, taxonomies, truth, write
from data_prep.toy_city.area import make_area
from data_prep.toy_city.city import GeneratedCity, make_city
from data_prep.toy_city.difficulty import listed
from data_prep.toy_city.overlay import Overlay
from data_prep.toy_city.settings import ToyCitySettings

VERSION = 2
"""Raised whenever the same arguments would give another city."""

_log = logging.getLogger(__name__)


def generate(settings: ToyCitySettings) -> None:
    """Writes the raw files of a city; the folder appears when all are complete.

    The files are `imagery.tif`, `pois.parquet`, `population.tif` (persons per pixel),
    `gdp.tif` (million CNY per pixel), `zones.gpkg`, and for tests alone
    `truth/truth.json` and `truth/truth.parquet`. The same arguments give the same
    pixels, places and numbers.

    Args:
        settings: Which city, and where its files go.

    Raises:
        InputError: If the folder holds something else, or a size, the CRS, a
            difficulty or the name of a category does not fit.
    """
    area = make_area(
        settings.size_regions, settings.region_size_m, settings.gsd_m, settings.crs
    )
    with write.new_folder(Path(settings.out_dir)) as folder:
        city = make_city(area, settings.seed, settings.poi_habits)
        if settings.rebuilt_share > 0:
            city = renewal.renew(city, settings.rebuilt_share, settings.poi_habits)
        _write(folder, city, settings)
    _log.info("toy city: complete in %s", settings.out_dir)


def _write(folder: Path, city: GeneratedCity, settings: ToyCitySettings) -> None:
    """Paints and writes everything."""
    area, blocks, uses = city.area, city.layout.blocks, city.uses
    pois = listed(city.places, settings, city.seed)
    overlay = Overlay(area, len(uses.zone))
    painter = renewal.painter(city, settings)
    write.write_imagery(folder / write.IMAGERY_FILE, painter, overlay)
    _log.info("toy city: %d by %d pixels painted", *area.shape_px)
    names = taxonomies.names(settings.taxonomy, pois.category, pois.variety)
    write.write_places(folder / write.POIS_FILE, area, pois, names)
    write.write_zones(folder / write.ZONES_FILE, area, blocks, uses)
    rasters = truth.label_rasters(overlay, blocks, uses, city.built)
    write.write_labels(folder, overlay, rasters)
    table = truth.region_table(
        area, overlay, blocks, uses, city.built, city.places, rasters
    )
    if isinstance(city, renewal.RenewedCity):
        table[renewal.COLUMN] = city.share_of_regions
    described = truth.describe(area, settings)
    facts = {**described, **truth.summary(table, rasters)}
    write.write_truth(folder, table, facts)
