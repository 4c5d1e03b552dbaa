"""The records of several cities as one sequence of regions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, UInt8

from mmgr_jax.data import contents, misfits, record_format, schema
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource, RegionSource
from mmgr_jax.data.turns import Turns
from mmgr_jax.errors import InputError

log = logging.getLogger(__name__)


class Corpus(RegionSource):
    """The regions of several cities, city by city in the order of their names.

    Attributes:
        cities: The records of each city.
        names: Names of the cities.
        starts: Number of each city's first region, then the number of regions [c+1].
        weights: Weight of each city.
        settings: The section `corpus`.
    """

    def __init__(
        self,
        cities: Sequence[RecordSource],
        settings: CorpusSettings,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Combines the records of cities.

        Args:
            cities: The records, in any order.
            settings: The section `corpus`.
            weights: Weight of each city; None: 1 each.

        Raises:
            InputError: If two cities have the same name or different tile sizes, or
                if their POI categories differ although the settings forbid it.
        """
        weights = [1.0] * len(cities) if weights is None else weights
        pairs = sorted(
            zip(cities, weights, strict=True), key=lambda pair: pair[0].manifest.city
        )
        self.cities = tuple(city for city, _ in pairs)
        self.weights = tuple(weight for _, weight in pairs)
        self.names = tuple(city.manifest.city for city in self.cities)
        self.settings = settings
        self.starts = np.cumsum((0, *map(len, self.cities)), dtype=np.int64)
        misfits.refuse(self.cities, settings)
        self.manifest = _in_common([city.manifest for city in self.cities])
        self._numbers = tuple(map(self._numbers_of, self.cities))

    def __repr__(self) -> str:
        """Returns equal text for equal records: Grain compares it on restore."""
        return f"Corpus({', '.join(self.names)}; regions={len(self)})"

    @property
    def place(self) -> str:
        """The folders or addresses of the cities, as messages show them."""
        return misfits.few([city.place for city in self.cities])

    @functools.cached_property
    def identity(self) -> Mapping[str, str]:
        """See `RegionSource.identity`; covers all cities together."""
        each = [city.identity for city in self.cities]
        pairs = {
            part: list(zip(self.names, [one[part] for one in each], strict=True))
            for part in each[0]
        }
        whole = {part: contents.of_value(value) for part, value in pairs.items()}
        if not all(one["inputs"] for one in each):  # older records
            whole["inputs"] = ""
        return whole | {"categories": contents.of_value(self.manifest.categories)}

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        """Returns the identity of each city's records and its weight, by name."""
        each = [
            city.identity["inputs"] or city.identity["regions"] for city in self.cities
        ]
        return {
            "cities": dict(zip(self.names, each, strict=True)),
            "weights": dict(zip(self.names, self.weights, strict=True)),
        }

    def turns(self, data: DataSettings) -> Turns:
        """Returns the order in which training shows the cities."""
        sizes = np.diff(self.starts).tolist()
        return Turns.of(self.names, sizes, self.weights, self.settings, data)

    def describe(self, data: DataSettings, total_steps: int) -> str:
        """Describes what a run shows of each city, one line for each of the first."""
        return described(self.turns(data), total_steps)

    def city_index(self, region: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Returns the number of each region's city."""
        return np.searchsorted(self.starts, region, side="right") - 1

    def city_in(self, folder: str | Path) -> RecordSource | None:
        """Returns the city whose records lie in a folder; None if there is none."""
        return next((city for city in self.cities if city.lies_in(folder)), None)

    def read(
        self,
        indices: Sequence[int],
        *,
        image: bool = False,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None = None,
    ) -> list[record_format.Record]:
        """See `RegionSource.read`; POI categories have the numbers of `manifest`."""
        region = np.asarray(indices, np.int64)
        owner = self.city_index(region)
        records: list[record_format.Record] = [{}] * len(region)
        for city in np.unique(owner).tolist():
            rows = np.flatnonzero(owner == city).tolist()
            own = (region[rows] - self.starts[city]).tolist()
            tiles = None if into is None else [into[row] for row in rows]
            some = self.cities[city].read(own, image=image, into=tiles)
            some = _renumbered(some, self._numbers[city])
            for row, record in zip(rows, some, strict=True):
                records[row] = record
        return records

    def category_vectors(self) -> np.ndarray:
        """See `RegionSource.category_vectors`; the first city with a name gives its."""
        tables = [city.category_vectors() for city in self.cities]
        widths = {table.shape[1] for table in tables}
        if len(widths) > 1:
            first = tables[0].shape[1]
            other = next(i for i, table in enumerate(tables) if table.shape[1] != first)
            raise InputError(
                f"{self.cities[0].records_dir} has category vectors of {first} "
                f"numbers and {self.cities[other].records_dir} of "
                f"{tables[other].shape[1]}. Make them with the same "
                "config.category_vectors.dim by `python -m "
                "data_prep.category_embedding --config=...`."
            )
        vectors: dict[str, np.ndarray] = {}
        others = set()
        for city, table in zip(self.cities, tables, strict=True):
            for name, vector in zip(city.manifest.categories, table, strict=True):
                if not np.array_equal(vectors.setdefault(name, vector), vector):
                    others.add(name)
        if others:
            log.warning(
                "corpus: %d of %d POI categories have different vectors in different "
                "cities; of each category the vector of the first city that has it "
                "is used. Vectors that depend only on names are the same everywhere: "
                "config.category_vectors.method='random', or 'table'.",
                len(others),
                len(vectors),
            )
        return np.stack([vectors[name] for name in self.manifest.categories])

    def _numbers_of(self, city: RecordSource) -> np.ndarray | None:
        """Number of each of a city's categories; None where they are the same."""
        return numbers_in(city.manifest.categories, self.manifest.categories)


class Renumbered(RecordSource):
    """One city's records, with POI categories numbered as in the list of all cities."""

    def __init__(self, city: RecordSource, parents: Mapping[str, str]) -> None:
        """Wraps the open records of a city.

        Args:
            city: The records.
            parents: Each category name of the common list -> its first-level category;
                it includes all categories of the city.
        """
        vars(self).update(vars(city))
        vars(self).pop("identity", None)  # categories are part of it
        self._city = city  # its folder is kept as long as this object exists
        self.manifest = dataclasses.replace(
            city.manifest,
            categories=tuple(parents),
            category_parents=tuple(parents.values()),
        )
        self._numbers = numbers_in(city.manifest.categories, tuple(parents))

    def read(
        self,
        indices: Sequence[int],
        *,
        image: bool = False,
        into: UInt8[np.ndarray, "n h w 3"] | list[np.ndarray] | None = None,
    ) -> list[record_format.Record]:
        """See `RegionSource.read`."""
        records = super().read(indices, image=image, into=into)
        return _renumbered(records, self._numbers)


def _renumbered(
    records: list[record_format.Record], numbers: np.ndarray | None
) -> list[record_format.Record]:
    """The records with new numbers of POI categories; None leaves them unchanged."""
    if numbers is None:
        return records
    return [
        {**record, "poi/category": numbers[record["poi/category"]]}
        for record in records
    ]


def pixel_statistics(source: RegionSource) -> dict[str, PixelStatistics]:
    """Returns city -> mean and deviation of its pixels, in the order of `city_index`.

    Raises:
        InputError: If a city's records do not contain them.
    """
    cities = source.cities if isinstance(source, Corpus) else (source,)
    return {
        city.manifest.city: city.manifest.measured_pixels(city.place) for city in cities
    }


def palettes(
    source: RegionSource, normalise: str
) -> Float32[np.ndarray, "c 2 3"] | None:
    """Returns `pixel_statistics` as one array; None if nothing is normalised by them.

    Args:
        source: The records.
        normalise: `AugmentSettings.normalise`.
    """
    if normalise == "encoder":
        return None
    return np.stack([one.palette for one in pixel_statistics(source).values()])


def described(turns: Turns, total_steps: int) -> str:
    """Describes what a run shows of each city, one line for each of the first ones."""
    epochs = total_steps / turns.steps_per_epoch
    shown = turns.regions_per_epoch
    share = shown / shown.sum()
    times = epochs * shown / turns.sizes
    lines = [
        f"{name}: {size} regions, {part:.1%} of all regions shown, each shown "
        f"{often:.1f} times"
        for name, size, part, often in list(
            zip(turns.names, turns.sizes, share, times, strict=True)
        )[: misfits.NAMED]
    ]
    if len(rest := times[misfits.NAMED :]):
        often = f"{rest.min():.1f} to {rest.max():.1f} times"
        lines.append(f"and {len(rest)} more, their regions shown {often} each")
    kind = "each batch of one city" if turns.by_city else "batches of all cities"
    count = f"{len(turns.names)} cities, {turns.sizes.sum()} regions"
    return "\n  ".join([f"corpus of {count}, {kind}:", *lines])


def numbers_in(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray | None:
    """Finds the numbers of a city's categories in another list, by name.

    Args:
        theirs: Category names of the city.
        ours: Category names of the other list.

    Returns:
        int32 [k]; -1 for a category that `ours` lacks. None if both lists are equal.
    """
    if tuple(theirs) == tuple(ours):
        return None
    place = {name: number for number, name in enumerate(ours)}
    return np.array([place.get(name, -1) for name in theirs], np.int32)


def seed_of(seed: int, name: str) -> tuple[int, int]:
    """Returns two seeds for a city: for the order of regions and the draw of POIs."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[8:16], "big")


def _in_common(manifests: Sequence[schema.Manifest]) -> schema.Manifest:
    """A manifest of all regions, with only the fields that all cities share."""
    first = manifests[0]
    parents: dict[str, str] = {}
    for one in manifests:
        for name, parent in zip(one.categories, one.category_parents, strict=True):
            parents.setdefault(name, parent)
    sizes = np.array([one.num_regions for one in manifests])
    return dataclasses.replace(
        first,
        city=misfits.few([one.city for one in manifests]),
        crs="",
        num_regions=int(sizes.sum()),
        shard_lengths=(),
        shard_sha256=(),
        max_pois=max(one.max_pois for one in manifests),
        empty_share=float(sizes @ [one.empty_share for one in manifests] / sizes.sum()),
        categories=tuple(parents),
        category_parents=tuple(parents.values()),
        labels={},
        splits={},
        report={},
        sources={},
        config={},
        pixels=None,
        inputs_sha256="",
        content={},
    )
