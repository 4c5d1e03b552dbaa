"""Checks a city's sources and settings before any work begins."""

from __future__ import annotations

import logging

from data_prep.category_embedding import vectors
from data_prep.files import crs as crs_lib
from data_prep.files import faults
from data_prep.imagery import check as imagery
from data_prep.labels import check as labels
from data_prep.pois import check as pois
from data_prep.records import writer
from data_prep.regions import check as regions
from data_prep.settings import PreparationSettings


def check(settings: PreparationSettings) -> None:
    """Refuses a city whose sources or settings cannot be used.

    Args:
        settings: The data preparation sections of the config.

    Raises:
        InputError: If anything is wrong; it names everything that is wrong.
    """
    city = settings.city
    image_problems = imagery.problems(settings.imagery)
    extent_deg, middle_deg = None, None
    if not image_problems:
        extent_deg = imagery.extent_deg(settings.imagery)
        west, south, east, north = extent_deg
        middle_deg = ((west + east) / 2, (south + north) / 2)
    crs_problem = crs_lib.problem(city.crs, middle_deg)
    problems = [crs_problem] if crs_problem else []
    problems += regions.problems(settings.regions)
    problems += vectors.problems(settings.category_vectors)
    problems += writer.problems(city.name, settings.records) + image_problems
    problems += pois.problems(settings.pois)
    for name, label in settings.labels.items():
        problems += labels.problems(name, label, extent_deg)
    faults.refuse(city.name, problems)
    datum = settings.pois.datum
    if datum != "wgs84" and middle_deg and not crs_lib.shifted_datums(*middle_deg):
        logging.warning(
            "config.pois.datum is %r, a datum of Chinese maps, but the imagery lies "
            "at %.3f E, %.3f N, outside China, where this datum shifts nothing. "
            "Check that the imagery shows this city; if it does, set 'wgs84'.",
            datum,
            *middle_deg,
        )
