"""Helpers that define labels of a config: numbers or classes of every region."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from data_prep.labels.settings import FUNCTION_CLASSES, LabelKind, LabelSettings
from mmgr_jax.parts import section


def count_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Totals, summed over each region: a raster of counts per pixel.

    With `column`, the file holds polygons with a count each; with `id_column` too, it
    is a table of regions.

    Args:
        path: The file.
        unit: Unit of the sum, such as "persons".
        **given: More of `LabelSettings`, such as year and source.
    """
    return _label("count", path, unit=unit, **given)


def density_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Amounts per area such as "persons/km2", averaged over each region."""
    return _label("density", path, unit=unit, **given)


def scalar_label(path: str, *, unit: str, **given: Any) -> ConfigDict:
    """Any other number, averaged over each region by area."""
    return _label("scalar", path, unit=unit, **given)


def share_label(
    path: str, *, mapping: Mapping[Any, str | None] = MappingProxyType({}), **given: Any
) -> ConfigDict:
    """Polygons of functional zones, taken as area shares of each region.

    Args:
        path: The file.
        mapping: What the file says -> the class that is meant; None leaves it out.
        **given: More of `LabelSettings`: `column` or `id_column`; the
            `classes` where they are not the urban functions.
    """
    return _label(
        "share",
        path,
        **(dict(classes=FUNCTION_CLASSES, unit="1") | given),
        mapping=_pairs(mapping),
    )


def class_label(
    path: str,
    *,
    classes: Sequence[str],
    mapping: Mapping[Any, str | None] = MappingProxyType({}),
    **given: Any,
) -> ConfigDict:
    """The one class of each region: that of most of its land, or a table's.

    Args:
        path: Polygons whose `column` says the class, or a table with `id_column` and
            `column`.
        classes: Their names.
        mapping: What the file says -> the class that is meant; None leaves it out.
        **given: More of `LabelSettings`.
    """
    return _label(
        "class", path, classes=tuple(classes), mapping=_pairs(mapping), **given
    )


def _pairs(
    mapping: Mapping[Any, str | None],
) -> tuple[tuple[str, str | None], ...]:
    """The mapping as pairs: a name with a full stop cannot be a key of a config."""
    return tuple((str(name), meant) for name, meant in mapping.items())


def _label(kind: LabelKind, path: str, **given: Any) -> ConfigDict:
    """A label's settings, all of them, so that each can be overridden by its key."""
    return section(LabelSettings(kind=kind, path=path, **given))
