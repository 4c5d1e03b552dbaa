"""Labels, features and POI categories that several cities share."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from mmgr_jax.data.corpus import Renumbered, numbers_in
from mmgr_jax.data.misfits import few
from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features.baselines import category_counts
from mmgr_jax.evaluation.features.groups import Features, below
from mmgr_jax.evaluation.heads.jobs import Method
from mmgr_jax.evaluation.readouts import EvaluatedCity

log = logging.getLogger(__name__)

Labels = Mapping[str, tuple[Label, np.ndarray]]


def alike(cities: Sequence[EvaluatedCity]) -> list[EvaluatedCity]:
    """Returns the same cities, with the same POI categories in all of them.

    Encoders find categories by name, and baselines count all categories of all cities.
    """
    parents: dict[str, str] = {}
    for city in cities:
        own = city.source.manifest
        for name, parent in zip(own.categories, own.category_parents, strict=True):
            parents.setdefault(name, parent)
    if all(city.source.manifest.categories == tuple(parents) for city in cities):
        return list(cities)
    return [
        dataclasses.replace(city, source=Renumbered(city.source, parents))
        for city in cities
    ]


def tell_of_rare_categories(cities: Sequence[EvaluatedCity]) -> None:
    """Logs which POI categories of each city occur in no other city.

    Nothing that is learnt in other cities knows these categories.
    """
    for city in cities:
        theirs = sorted(
            {
                category
                for other in cities
                if other is not city
                for category in other.source.manifest.categories
            }
        )
        own = city.source.manifest.categories
        numbers = numbers_in(own, theirs)
        if numbers is None or (numbers >= 0).all():
            continue
        counts = category_counts(city.source).sum(axis=0)
        lost = counts * (numbers < 0)
        order = np.argsort(-lost, kind="stable")
        rare = [own[index] for index in order if numbers[index] < 0]
        log.info(
            "%s: %d of %d POI categories, %.0f %% of its POIs, are in no other city, "
            "so what is learnt from the other cities leaves them out: %s",
            city.source.manifest.city, len(rare), len(own),
            100 * lost.sum() / max(counts.sum(), 1), few(rare),
        )  # fmt: skip


MEANING = ("kind", "unit", "classes")
"""Fields that must be equal for labels of the same name to be the same label."""


def shared_labels(cities: Sequence[Labels]) -> Labels:
    """Joins the labels that all cities have with the same kind, unit and classes.

    Raises:
        InputError: If there is no such label.
    """
    return {
        name: (cities[0][name][0], np.concatenate([city[name][1] for city in cities]))
        for name in shared_names(cities, MEANING, "config.eval.other_records")
    }


def shared_names(
    cities: Sequence[Labels], meaning: Sequence[str], setting: str
) -> list[str]:
    """Returns labels with the same meaning in all cities; logs the other labels.

    Args:
        cities: Labels of each city.
        meaning: Fields of `Label` that must be the same.
        setting: The setting that names the cities, for errors.

    Raises:
        InputError: If there is no such label.
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
    """Joins the features of all cities, for each method of the last city."""
    # Cities share no rules: a method without features is the mean, None.
    shared = cast(Sequence[Mapping[str, Features]], cities)
    return {
        method: None if features is None else below([city[method] for city in shared])
        for method, features in cities[-1].items()
    }


def _differing(labels: Sequence[Label], meaning: Sequence[str]) -> str:
    """The different meanings of a label in several cities; "" if they are the same."""
    for field in meaning:
        meanings = list(dict.fromkeys(getattr(label, field) for label in labels))
        if len(meanings) > 1:
            return f"its {field} is {' here and '.join(map(repr, meanings))} there"
    return ""
