"""Refuses records that cannot be used together in one training run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

NAMED = 8  # cities or categories in a sentence


def refuse(cities: Sequence[RecordSource], settings: CorpusSettings) -> None:
    """Raises InputError naming two folders that cannot be trained on together."""
    first, named = cities[0], {}
    for city in cities:
        name = city.manifest.city
        if name in named:
            raise InputError(
                f"{named[name]} and {city.place} are both of a city called "
                f"{name!r}. Leave one out, or build it again under another "
                "config.city.name."
            )
        named[name] = city.place
        for what, theirs, ours in (
            ("px", city.manifest.tile_size_px, first.manifest.tile_size_px),
            ("m a pixel", _gsd_m(city), _gsd_m(first)),
        ):
            if not np.isclose(theirs, ours, rtol=1e-9, atol=0):
                raise InputError(
                    f"{first.place} has tiles of {ours:g} {what} and {city.place} of "
                    f"{theirs:g} {what}: one model reads one kind of tiles. Build "
                    "both with the same config.regions."
                )
        if settings.categories == "same":
            _refuse_other_categories(first, city)


def _refuse_other_categories(first: RecordSource, city: RecordSource) -> None:
    ours, theirs = first.manifest.categories, city.manifest.categories
    if ours == theirs:
        return
    alone = [
        f"only {source.place} has {few(names)}"
        for source, names in (
            (first, [name for name in ours if name not in set(theirs)]),
            (city, [name for name in theirs if name not in set(ours)]),
        )
        if names
    ]
    raise InputError(
        f"{first.place} and {city.place} have different POI categories: "
        f"{'; '.join(alone) or 'the same names in another order'}. Build both with "
        "one list, or join them by --config.corpus.categories=by_name."
    )


def _gsd_m(city: RecordSource) -> float:
    return city.manifest.tile_size_m / city.manifest.tile_size_px


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
