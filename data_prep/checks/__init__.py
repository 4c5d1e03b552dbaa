"""Is every source fit? All problems are found and named before any work begins."""

from __future__ import annotations

import re

from data_prep import crs as crs_lib
from data_prep import grid, sources
from data_prep.checks import imagery, labels, pois
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError


def check(sections: sources.Sections) -> None:
    """Raises one `InputError` that lists all that is wrong with a city's sources.

    Args:
        sections: The data preparation sections of the config as plain dicts.
    """
    image_problems = imagery.problems(**sections["imagery"])
    extent_deg, middle_deg = None, None
    if not image_problems:
        extent_deg = west, south, east, north = imagery.extent_deg(
            sections["imagery"]["paths"]
        )
        middle_deg = ((west + east) / 2, (south + north) / 2)
    crs_problem = crs_lib.problem(sections["city"]["crs"], middle_deg)
    found = [crs_problem] if crs_problem else []
    found += _setting_problems(sections) + image_problems
    found += pois.problems(**sections["pois"])
    for name, settings in sections["labels"].items():
        found += labels.problems(name, settings, extent_deg)
    if found:
        listed = "".join(f"\n  {index}. {text}" for index, text in enumerate(found, 1))
        raise InputError(
            f"{sections['city']['name']}: {len(found)} problem(s), nothing was built."
            + listed
        )


def _setting_problems(sections: sources.Sections) -> list[str]:
    """Problems with numbers and names, seen without opening a file."""
    name, records = sections["city"]["name"], sections["records"]
    found = grid.problems(**sections["regions"])
    if not re.fullmatch(r"[a-zA-Z]\w*", name or "", re.ASCII):
        found.append(
            f"config.city.name is {name!r}; allowed: letters, digits and underscores, "
            "a letter first, because it names the files."
        )
    if not sections["blocks"]["size_m"] > 0:
        size_m = sections["blocks"]["size_m"]
        found.append(f"config.blocks.size_m is {size_m}; allowed: above 0.")
    for key in ("num_shards", "category_dim"):
        if not records[key] >= 1:
            found.append(f"config.records.{key} is {records[key]}; allowed: 1 or more.")
    if records["image_format"] not in schema.IMAGE_FORMATS:
        found.append(
            f"config.records.image_format is {records['image_format']!r}; allowed: "
            f"{', '.join(schema.IMAGE_FORMATS)}."
        )
    return found
