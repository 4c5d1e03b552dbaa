"""Finds which places hold enough imagery to become a region."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

from data_prep.files import formats
from data_prep.imagery.blank import blank_share
from data_prep.imagery.mosaic import Imagery
from data_prep.regions import tiles
from data_prep.regions.regions import Regions
from data_prep.regions.settings import RegionSettings
from data_prep.running import processes, progress
from mmgr_jax import cores
from mmgr_jax.errors import InputError

_TOGETHER = 512  # candidates looked at between two looks at the clock
_ALONE_S = 5.0  # two starts of a process; less is left to this one

_Seen: TypeAlias = tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " k"]]
"""Of candidates: share of pixels with imagery, and whether they show one colour."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Places where a region might be, in the order of the records.

    Attributes:
        what: Their kind in words, such as "cells of 224 m".
        name: Gives the ids of candidates by their indices.
        bounds_m: West, south, east, north of each tile [m 4], on the pixel grid.
        outline: Shapely polygons [m], or None where a region is its whole tile.
        file: Index of the one image file that shows each place [m]; None where all
            files do, as one image.
        disjoint: Whether they are known not to overlap.
        outside: Number of places already left out since no imagery is near.
        dropped: Number of places left out for other reasons.
        noted: Another note for the report -> the candidates [m] to which it applies.
    """

    what: str
    name: Callable[[Int[np.ndarray, " r"]], list[str]]
    bounds_m: Float[np.ndarray, "m 4"]
    outline: np.ndarray | None = None
    file: Int[np.ndarray, " m"] | None = None
    disjoint: bool = False
    outside: int = 0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    noted: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Number of candidates m."""
        return len(self.bounds_m)

    def file_of(self, index: int) -> int | None:
        """The one file that shows a place; None: all."""
        return None if self.file is None else int(self.file[index])


class _Places(NamedTuple):
    """What a process needs to look at candidates; the names are left out."""

    candidates: Candidates
    imagery: Imagery
    settings: RegionSettings


def keep(
    candidates: Candidates,
    imagery: Imagery,
    settings: RegionSettings,
    workers: int = 0,
) -> Regions:
    """Returns the candidates that hold enough imagery, as regions.

    Args:
        candidates: Where to look.
        imagery: The open imagery, on a pixel grid of `settings.gsd_m`.
        settings: The tile, and how much of a region must hold imagery.
        workers: Processes that look, where there is much to see; 0: one a core.

    Raises:
        InputError: If no candidate holds enough.
    """
    shares, is_blank = _looked_at(candidates, imagery, settings, workers)
    chosen = np.flatnonzero(_fit(shares, is_blank, settings))
    if not len(chosen):
        raise InputError(_none_left(candidates, shares, is_blank, settings))
    several = _of_several_files(candidates, imagery)
    counts = {
        what: int(who[chosen].sum())
        for what, who in (candidates.noted | several).items()
    }
    noted = {what: count for what, count in counts.items() if count}
    nothing, blank = int((shares == 0).sum()), int(is_blank.sum())
    return Regions(
        ids=candidates.name(chosen),
        bounds_m=candidates.bounds_m[chosen],
        coverage=shares[chosen],
        tile_size_px=settings.tile_size_px,
        tile_size_m=settings.tile_size_m,
        outline=None if candidates.outline is None else candidates.outline[chosen],
        file=None if candidates.file is None else candidates.file[chosen],
        poi_buffer_m=settings.poi_buffer_m,
        mask_outside=settings.mask_outside,
        disjoint=candidates.disjoint,
        dropped={
            **candidates.dropped,
            "without imagery": candidates.outside + nothing,
            "partly covered": len(shares) - len(chosen) - nothing - blank,
            "blank": blank,
        },
        noted=noted,
    )


def _looked_at(
    candidates: Candidates, imagery: Imagery, settings: RegionSettings, workers: int
) -> _Seen:
    """The first candidates, enough for the wanted number of regions.

    Where this process would take long alone, others help with what is left.
    """
    places = _Places(
        dataclasses.replace(candidates, name=_unnamed, noted={}), imagery, settings
    )
    parts = [
        range(first, min(first + _TOGETHER, len(candidates)))
        for first in range(0, len(candidates), _TOGETHER)
    ]
    meter = progress.Meter(f"{candidates.what} looked at", len(candidates))
    seen: dict[int, _Seen] = {}
    kept, next_part = 0, 0
    for index, one in _in_any_order(places, parts, workers):
        seen[index] = one
        meter.add(len(parts[index]))
        while kept < (settings.max_regions or math.inf) and next_part in seen:
            kept += int(_fit(*seen[next_part], settings).sum())
            next_part += 1
        if kept >= (settings.max_regions or math.inf):
            break
    shares, is_blank = (
        np.concatenate([seen[part][which] for part in range(next_part)] or [[]])
        for which in (0, 1)
    )
    is_blank = is_blank.astype(bool)
    if settings.max_regions and kept >= settings.max_regions:
        fit = np.flatnonzero(_fit(shares, is_blank, settings))
        end = fit[settings.max_regions - 1] + 1
        return shares[:end], is_blank[:end]
    return shares, is_blank


def _in_any_order(
    places: _Places, parts: Sequence[range], workers: int
) -> Iterator[tuple[int, _Seen]]:
    """Numbers of parts and what is seen in them: here at first, then by processes."""
    start = time.monotonic()
    for index, part in enumerate(parts):
        elapsed_s = time.monotonic() - start
        left = len(parts) - index
        count = min(workers or cores.count(), left)
        if count > 1 and elapsed_s >= _ALONE_S and elapsed_s * left >= _ALONE_S * index:
            logging.info("%d processes look at the others", count)
            for done, seen in processes.as_done(_look, places, parts[index:], count):
                yield index + done, seen
            return
        yield index, _look(places, part)


def _look(places: _Places, part: range) -> _Seen:
    """Coverage of some candidates; and which that hold enough show one colour only."""
    shares, is_blank = np.zeros(len(part)), np.zeros(len(part), bool)
    with formats.settings():  # once, since entering takes as long as a small read
        for row, index in enumerate(part):
            shares[row] = _share(places, index)
            enough = shares[row] >= places.settings.min_coverage
            is_blank[row] = enough and _is_blank(places, index)
    return shares, is_blank


def _fit(
    shares: Float[np.ndarray, " k"],
    is_blank: Bool[np.ndarray, " k"],
    settings: RegionSettings,
) -> Bool[np.ndarray, " k"]:
    return (shares >= settings.min_coverage) & ~is_blank


def _share(places: _Places, index: int) -> float:
    """Share of the pixels of a candidate that hold imagery."""
    candidates, imagery, settings = places
    bounds_m = candidates.bounds_m[index]
    factor = _factor(bounds_m, settings)
    file = candidates.file_of(index)
    share = tiles.covered_share(imagery, bounds_m, settings.tile_size_px, factor, file)
    if candidates.outline is None or share in (0.0, 1.0):
        return share
    # Only the region itself has to be covered, not the corners of its tile.
    _, valid = tiles.read_reduced(
        imagery, bounds_m, settings.tile_size_px, factor, file
    )
    region = tiles.inside(candidates.outline[index], bounds_m, settings.tile_size_px)
    return float(valid[region].mean())


def _is_blank(places: _Places, index: int) -> bool:
    candidates, imagery, settings = places
    if settings.max_blank_share >= 1:
        return False
    bounds_m = candidates.bounds_m[index]
    factor = _factor(bounds_m, settings)
    file = candidates.file_of(index)
    tile, valid = tiles.read_reduced(
        imagery, bounds_m, settings.tile_size_px, factor, file
    )
    return blank_share(tile, valid) > settings.max_blank_share


def _of_several_files(
    candidates: Candidates, imagery: Imagery
) -> dict[str, Bool[np.ndarray, " m"]]:
    """Candidates whose tile lies in part where files overlap, and which file shows."""
    if candidates.file is not None or not len(imagery.shared_m):
        return {}
    tree = shapely.STRtree(imagery.shared_m)
    squares = shapely.box(*candidates.bounds_m.T)
    several = np.zeros(len(candidates), bool)
    several[tree.query(squares, predicate="intersects")[0]] = True
    return {f"where files overlap, so that {imagery.rule} shows": several}


def _unnamed(index: Int[np.ndarray, " r"]) -> list[str]:
    raise AssertionError("names are given where all candidates are known")


def _factor(bounds_m: Float[np.ndarray, " 4"], settings: RegionSettings) -> int:
    """Size of a tile in usual tiles."""
    return round((bounds_m[2] - bounds_m[0]) / settings.tile_size_m)


def _none_left(
    candidates: Candidates,
    shares: Float[np.ndarray, " k"],
    is_blank: Bool[np.ndarray, " k"],
    settings: RegionSettings,
) -> str:
    if is_blank.any():
        return (
            f"config.regions: of {len(candidates)} {candidates.what} "
            f"{int(is_blank.sum())} hold imagery, but one colour fills more than "
            f"{settings.max_blank_share:.0%} of each. Check config.imagery.bands and "
            "stretch, or set max_blank_share to 1.0."
        )
    best = shares.max(initial=0.0)
    return (
        f"config.regions: none of the {len(candidates)} {candidates.what} holds "
        f"imagery on {settings.min_coverage:.0%} of its pixels (best: {best:.0%}). "
        "Lower min_coverage or tile_size_px, or check the imagery's nodata value."
    )
