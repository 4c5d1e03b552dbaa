"""A city in two years: the encoder of the later year reads both records."""

from __future__ import annotations

import csv
import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import change, pairs, readouts
from mmgr_jax.evaluation.certainty import checks
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.mapped_city import MappedCity

KIND = "image"
"""The features that are compared. POI features also differ if one table is more
complete, and surroundings if neighbours changed. Neither is a change of the region."""

READINGS = 2
"""How often earlier pictures are read again."""

MOST = 2_000
"""Largest number of regions, drawn at random, whose pictures are read again."""

ID_COLUMN = "region_id"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TwoYears:
    """What changed in a city.

    Attributes:
        source: The earlier records.
        geometry_wkb: Outlines of the earlier regions, in the CRS of those records.
        pairs: Pairs of earlier and later regions at the same place.
        change: How much each of these pairs changed.
        named: Number of pairs that a user named as unchanged; 0 without a list.
    """

    source: RecordSource
    geometry_wkb: list[bytes]
    pairs: pairs.Pairs
    change: change.Change
    named: int


def compare(
    config: ConfigDict,
    mapped: MappedCity,
    before: RecordSource,
    unchanged: str | Path | None = None,
) -> TwoYears:
    """Measures what changed in a city since the year of the earlier records.

    Args:
        config: Config of the later year. Its checkpoint reads both years.
        mapped: The city in the later year.
        before: Records of the earlier year.
        unchanged: A CSV with the column `region_id` that names regions of the later
            year believed to be unchanged. None: no such list.

    Raises:
        InputError: If no region lies at the same place in both years, there are too few
            regions, the encoder does not read these pictures, or the CSV does not fit.
    """
    later = mapped.city
    earlier = readouts.EvaluatedCity.of(before)
    matched = pairs.match(_place(earlier), _place(later))
    log.info(
        "%d regions lie where one of %s does (%d by the same name); %d earlier and %d "
        "later ones have no partner and are left out",
        len(matched.later), before.place, matched.by_name, *matched.alone,
    )  # fmt: skip
    named = None
    if unchanged is not None:
        named = _named(unchanged, later.regions.region_ids, matched)
    encoder, new = mapped.encoder, mapped.encoded[KIND]
    old = readouts.encoded(config, encoder, before)[KIND]
    drawn = checks.drawn(len(matched.earlier), MOST)
    again = []
    for number in range(READINGS):
        rng = np.random.default_rng([1, number])
        alter = functools.partial(_read_again, rng)
        rows = np.sort(matched.earlier[drawn])
        read = readouts.altered(config, encoder, before, alter, rows)[KIND]
        again.append(read.values[np.searchsorted(rows, matched.earlier[drawn])])
    measured = change.measure(
        old.rows(matched.earlier),
        new.rows(matched.later),
        again,
        drawn=drawn,
        unchanged=named,
        weights=_weights(new, mapped.readout.groups),
    )
    count = 0 if named is None else int(named.sum())
    return TwoYears(before, earlier.regions.geometry_wkb, matched, measured, count)


def _read_again(
    rng: np.random.Generator, tiles: UInt8[np.ndarray, "n h w 3"]
) -> UInt8[np.ndarray, "n h w 3"]:
    return change.read_again(tiles, rng)


def _place(city: readouts.EvaluatedCity) -> pairs.Place:
    manifest = city.source.manifest
    if not manifest.crs:
        raise InputError(
            f"{city.source.place}: the records do not say where the regions lie, so "
            "nobody knows which are the same place in another year."
        )
    regions = city.regions
    return pairs.Place(
        regions.region_ids, regions.geometry_wkb, manifest.crs, city.source.place
    )


def _weights(features: Features, groups: str) -> np.ndarray | None:
    return features.weights() if groups == "alike" else None


def _named(
    path: str | Path, region_ids: Sequence[str], matched: pairs.Pairs
) -> np.ndarray:
    """Which pairs are named in a CSV."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            columns = list(table.fieldnames or [])
            if ID_COLUMN not in columns:
                raise InputError(
                    f"{path}: no column {ID_COLUMN!r}; its columns are "
                    f"{', '.join(columns) or 'none'}. Name the regions that are "
                    "believed to be unchanged, one on each line."
                )
            wanted = {row[ID_COLUMN] for row in table}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a CSV in UTF-8: {error}."
        ) from error
    here = np.isin(np.asarray(region_ids, object)[matched.later], list(wanted))
    log.info(
        "%s: %d of its %d regions are in both years", path, here.sum(), len(wanted)
    )
    return here
