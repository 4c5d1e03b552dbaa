"""What several cities have in common, so that one can be tested by the others."""

import logging
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features.groups import Features, below
from mmgr_jax.evaluation.heads.jobs import Method

log = logging.getLogger(__name__)

Labels = Mapping[str, tuple[Label, np.ndarray]]


def shared_features(
    cities: Sequence[RecordSource], kinds: Sequence[str]
) -> tuple[str, ...]:
    """The kinds of features that mean the same in every city.

    Those of POIs do where the records share one list of categories.

    Raises:
        InputError: If none is left.
    """
    first = cities[0].manifest.categories
    if all(city.manifest.categories == first for city in cities):
        return tuple(kinds)
    if "image" not in kinds:
        raise InputError(
            "config.eval.other_records: the cities name other POI categories, so only "
            f"features of kind 'image' can be compared; config.eval.features is "
            f"{tuple(kinds)}. Add 'image', or build the records with one category list."
        )
    log.warning(
        "cities: their POI categories differ, so only features of images are compared"
    )
    return ("image",)


MEANING = ("kind", "unit", "classes")
"""What makes labels of one name the same label."""


def shared_labels(cities: Sequence[Labels]) -> Labels:
    """The labels that all cities have with the same kind, unit and classes, joined.

    Raises:
        InputError: If there is none.
    """
    return {
        name: (cities[0][name][0], np.concatenate([city[name][1] for city in cities]))
        for name in shared_names(cities, MEANING, "config.eval.other_records")
    }


def shared_names(
    cities: Sequence[Labels], meaning: Sequence[str], setting: str
) -> list[str]:
    """The labels that all cities have and mean alike; the log names the others.

    Args:
        cities: Labels of each.
        meaning: Fields of `Label` that must be the same.
        setting: What names the cities.

    Raises:
        InputError: If there is none.
    """
    shared = []
    for name in dict.fromkeys(name for city in cities for name in city):
        labels = [city[name][0] for city in cities if name in city]
        differing = _differing(labels, meaning)
        if differing:
            log.warning("cities: label %s is left out: %s", name, differing)
        elif len(labels) < len(cities):
            log.info("cities: label %s is not in all, left out", name)
        else:
            shared.append(name)
    if not shared:
        raise InputError(
            f"{setting}: no label has the same name, {', '.join(meaning[:-1])} and "
            f"{meaning[-1]} in all cities. Name them alike under config.labels and "
            "build the records again."
        )
    return shared


def joined(
    cities: Sequence[Mapping[str, Method]],
) -> dict[str, Features | None]:
    """Features of the regions of all cities, of the methods that the last one has."""
    # No rule is shared: what is not features is the mean, None.
    shared = cast(Sequence[Mapping[str, Features]], cities)
    return {
        method: None if features is None else below([city[method] for city in shared])
        for method, features in cities[-1].items()
    }


def _differing(labels: Sequence[Label], meaning: Sequence[str]) -> str:
    """What one name means in several cities, where it is not one thing; else ""."""
    for field in meaning:
        meanings = list(dict.fromkeys(getattr(label, field) for label in labels))
        if len(meanings) > 1:
            return f"its {field} is {' here and '.join(map(repr, meanings))} there"
    return ""
