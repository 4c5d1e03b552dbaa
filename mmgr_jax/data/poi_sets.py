"""Turns POI sets, given by category name and position, into a batch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mmgr_jax.data import pipeline
from mmgr_jax.errors import InputError

UNKNOWN = ("refuse", "leave out")
"""What to do with POIs whose category the encoder does not know."""

Places = Sequence[Any]
"""The POIs of each region: a sequence of category names (or numbers), or a table with
the column `category`. A table gives positions by the columns `east_m` and
`north_m`, in metres from the centre of the region, or it is a GeoDataFrame of points in
a CRS in metres."""


def padded(
    places: Places,
    categories: Sequence[str],
    *,
    unknown: str,
    reads_places: bool,
    centre_m: Float[np.ndarray, "b 2"] | None = None,
) -> pipeline.Batch:
    """Turns the sets into one batch with enough slots for the fullest set.

    Args:
        places: The sets; see `Places`.
        categories: Names of the known categories; the number of one is its index.
        unknown: One of `UNKNOWN`.
        reads_places: Whether the positions of POIs are needed. If not, all POIs are put
            at the centre.
        centre_m: Centres of the regions in metres, in the CRS of the GeoDataFrames.

    Returns:
        `poi_category` int32 [b n], `poi_offset_m` float32 [b n 2] and `poi_mask` bool
        [b n].

    Raises:
        InputError: If `unknown` is "refuse" and a category is unknown; if positions are
            needed and missing; if a table has no column `category`; or if `centre_m`
            has not one row per region.
    """
    check_unknown(unknown)
    if centre_m is not None and len(centre_m) != len(places):
        raise InputError(
            f"centre_m has {len(centre_m)} rows for {len(places)} regions."
        )
    number_by_name = {name: index for index, name in enumerate(categories)}
    sets = []
    for region, pois in enumerate(places):
        names = _names(pois, region)
        category = _numbers(names, number_by_name, len(categories))
        known = category >= 0
        if unknown == "refuse" and not known.all():
            _refuse(names[int(np.argmin(known))], region, categories)
        offset_m = np.zeros((len(names), 2), np.float32)
        if reads_places:
            centre = None if centre_m is None else centre_m[region]
            offset_m = _offset_m(pois, region, centre)
        sets.append((category[known], offset_m[known]))
    slots = pipeline.rounded_slots(max([len(one) for one, _ in sets], default=0))
    batch = {
        "poi_category": np.zeros((len(sets), slots), np.int32),
        "poi_offset_m": np.zeros((len(sets), slots, 2), np.float32),
        "poi_mask": np.zeros((len(sets), slots), bool),
    }
    for row, (category, offset_m) in enumerate(sets):
        batch["poi_category"][row, : len(category)] = category
        batch["poi_offset_m"][row, : len(category)] = offset_m
        batch["poi_mask"][row, : len(category)] = True
    return batch


def check_unknown(unknown: str) -> None:
    """Checks that `unknown` is one of `UNKNOWN`.

    Raises:
        InputError: If it is not.
    """
    if unknown not in UNKNOWN:
        raise InputError(f"unknown={unknown!r}; allowed: {', '.join(UNKNOWN)}.")


def _names(pois: Any, region: int) -> Sequence[Any]:
    """The categories of a region's POIs."""
    columns = getattr(pois, "columns", None)
    if columns is None:
        return list(pois)
    if "category" not in columns:
        raise InputError(
            f"region {region}: its table has no column 'category'; its columns: "
            f"{', '.join(map(str, columns))}."
        )
    return pois["category"].tolist()


def _numbers(
    names: Sequence[Any], number_by_name: Mapping[str, int], count: int
) -> np.ndarray:
    """Numbers of the categories; an unknown category has -1."""
    numbers = np.full(len(names), -1, np.int64)
    for place, name in enumerate(names):
        if isinstance(name, int | np.integer) and not isinstance(name, bool):
            numbers[place] = name if 0 <= name < count else -1
        else:
            numbers[place] = number_by_name.get(str(name), -1)
    return numbers


def _refuse(name: Any, region: int, categories: Sequence[str]) -> None:
    near = difflib.get_close_matches(str(name), categories, n=1)
    raise InputError(
        f"region {region}: the encoder knows no category {name!r}"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + f"; it has {len(categories)}, see about.categories. unknown='leave out' "
        "leaves such POIs out."
    )


def _offset_m(pois: Any, region: int, centre_m: np.ndarray | None) -> np.ndarray:
    """Metres east and north of the region's centre [n 2]."""
    columns = getattr(pois, "columns", ())
    if {"east_m", "north_m"} <= set(columns):
        return pois[["east_m", "north_m"]].to_numpy(np.float32)
    crs = getattr(pois, "crs", None)
    if centre_m is None or crs is None or not crs.is_projected:
        raise InputError(
            f"region {region}: this POI encoder reads where POIs lie. Give tables with "
            "the columns category, east_m and north_m, or GeoDataFrames in a CRS of "
            "metres together with centre_m."
        )
    place_m = np.stack([pois.geometry.x, pois.geometry.y], axis=1)
    return (place_m - np.asarray(centre_m)).astype(np.float32)
