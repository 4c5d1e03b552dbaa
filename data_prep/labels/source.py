"""The source of a label, and checks that its settings do not contradict each other."""

from __future__ import annotations

import re

from data_prep.files.csv_files import Text
from data_prep.labels.settings import CLASS, IGNORE, LabelSettings
from mmgr_jax.data.names import one_form
from mmgr_jax.data.schema import Label

EACH = "*"
"""As the column of a count: every polygon or point counts as one."""

_AREA = r"(?:km|m|mi|sq\.? ?km|sq\.? ?m|sq\.? ?mi)(?:2|²|\^2)?|ha|hectares?|acres?"
_PER_AREA = re.compile(rf"(?:/|\bper)\s*(?:{_AREA})(?!\w)", re.IGNORECASE)
_PER_PIXEL = re.compile(r"(?:/|\bper)\s*(?:pixel|cell|grid)", re.IGNORECASE)


def class_of(source: LabelSettings) -> dict[str, str | None]:
    """The class for each value in the file, in one form; None: left out."""
    pairs = dict(source.mapping) or {name: name for name in source.classes}
    return {one_form(str(name)): meant for name, meant in pairs.items()}


def text(source: LabelSettings, key: str) -> Text:
    """How the file is written, by the section of the config that says so."""
    return Text(source.encoding, source.separator, key)


def meaning(source: LabelSettings) -> Label:
    """The entry of the manifest."""
    return Label(
        kind=source.kind,
        unit=source.unit,
        classes=tuple(source.classes) if source.has_classes else (),
        year=source.year,
        source=source.source,
        licence=source.licence,
        rule=_rule(source),
    )


def problems(key: str, source: LabelSettings) -> list[str]:
    """Lists settings that contradict each other, without opening a file."""
    problems = _unit_problems(key, source)
    if source.has_classes:
        return problems + _class_problems(key, source)
    if source.form == "table" and source.column is None:
        problems.append(f"{key}: a table needs column, the one with the number.")
    return problems + _place_problems(key, source)


def _rule(source: LabelSettings) -> str:
    """What counts as known, in words."""
    if source.form == "table":
        return "given by region"
    needed = f"a region needs {source.min_known:.0%} of its area known"
    if not source.has_classes:
        return f"missing data is {source.nodata}; {needed}"
    other = source.uncovered_class
    land = f"belongs to {other}" if other else "is left out"
    largest = "the class of most land; " if source.kind == "class" else ""
    return f"{largest}land without a class {land}; {needed}"


def _place_problems(key: str, source: LabelSettings) -> list[str]:
    """Problems with points, and with counting things themselves."""
    problems = []
    given = (source.x_column, source.y_column, source.crs)
    if any(given) and not (all(given) and source.form == "polygons"):
        problems.append(
            f"{key}: x_column, y_column and crs say where the points of a table lie, "
            f"and must be given together, with column; they are {given}."
        )
    if source.column == EACH and (source.kind != "count" or source.form == "table"):
        problems.append(
            f"{key}.column is {EACH!r}, which counts polygons or points; allowed only "
            "with kind 'count' and without id_column."
        )
    return problems


def names_area(unit: str) -> bool:
    """Whether a unit is per area, such as "persons/km2"."""
    return bool(_PER_AREA.search(unit))


def _unit_problems(key: str, source: LabelSettings) -> list[str]:
    """A density taken for a count, and the like: errors that change every number."""
    unit = source.unit
    per_area = names_area(unit)
    if source.kind == "count" and (per_area or _PER_PIXEL.search(unit)):
        remedy = (
            'Say kind="density" for a source that is per area'
            if per_area
            else "Name the unit of the sum over a region, such as persons"
        )
        return [f"{key}: kind is 'count', but the unit {unit!r} is per area. {remedy}."]
    if source.kind == "density" and not per_area:
        return [
            f"{key}: kind is 'density', but the unit {unit!r} names no area. Wanted: a "
            'unit such as "persons/km2" ("/ha" and "/m2" are known, too); a raster of '
            'totals per pixel, such as that of WorldPop, has kind="count".'
        ]
    if source.has_classes and unit != "1":
        return [
            f'{key}: kind is {source.kind!r}, but the unit is {unit!r}; allowed: "1".'
        ]
    return []


def _class_problems(key: str, source: LabelSettings) -> list[str]:
    if source.form == "raster" or not source.classes:
        return [
            f"{key}: a {source.kind} needs column and classes, or id_column and "
            "classes."
        ]
    if source.kind == "class" and source.column is None:
        return [f"{key}: a class needs column, the one with the name of the class."]
    problems = []
    meant = {name for name in class_of(source).values() if name is not None}
    strangers = sorted(meant - set(source.classes))
    if strangers:
        problems.append(
            f"{key}.mapping names {', '.join(map(repr, strangers))}; {key}.classes "
            f"are {', '.join(source.classes)}."
        )
    other = source.uncovered_class
    if other is not None and (
        not source.uncovered.startswith(CLASS) or other not in source.classes
    ):
        problems.append(
            f"{key}.uncovered is {source.uncovered!r}; allowed: {IGNORE!r} or "
            f"'{CLASS}NAME' with one of {', '.join(source.classes)}."
        )
    return problems
