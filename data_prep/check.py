"""Are a city's sources and settings fit? All that is wrong, before any work begins."""

from __future__ import annotations

from data_prep import category_embedding, sources
from data_prep import sections as sections_lib
from data_prep.files import crs as crs_lib
from data_prep.files import faults
from data_prep.imagery import check as imagery
from data_prep.labels import check as labels
from data_prep.pois import check as pois
from data_prep.records import writer
from data_prep.regions import check as regions
from data_prep.splits import splits


def check(sections: sources.Sections) -> None:
    """Refuses a city whose sources or settings are unfit.

    Args:
        sections: The data preparation sections of the config as plain dicts.

    Raises:
        InputError: Naming everything that is wrong.
    """
    image_problems = imagery.problems(**sections["imagery"])
    extent_deg, middle_deg = None, None
    if not image_problems:
        extent_deg = west, south, east, north = imagery.extent_deg(
            **sections["imagery"]
        )
        middle_deg = ((west + east) / 2, (south + north) / 2)
    crs_problem = crs_lib.problem(sections["city"]["crs"], middle_deg)
    found = [crs_problem] if crs_problem else []
    found += regions.problems(**sections["regions"])
    found += _setting_problems(sections) + image_problems
    found += pois.problems(**sections["pois"])
    for name, settings in sections["labels"].items():
        found += labels.problems(name, settings, extent_deg)
    faults.refuse(sections["city"]["name"], found)


def _setting_problems(sections: sources.Sections) -> list[str]:
    """Problems with numbers and names, seen without opening a file."""
    found = splits.problems(**sections["blocks"])
    vectors = sections_lib.vector_settings(sections)
    found += category_embedding.problems(**vectors)
    return found + writer.problems(sections["city"]["name"], **sections["records"])
