"""What may become a region, and which of it holds enough imagery."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

from data_prep.imagery.blank import blank_share
from data_prep.imagery.mosaic import Imagery
from data_prep.regions import tiles
from data_prep.regions.regions import Regions
from data_prep.regions.settings import RegionSettings
from data_prep.running import progress
from mmgr_jax.errors import InputError


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
        noted: What else is worth telling -> the candidates [m] to which it applies.
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


def keep(candidates: Candidates, imagery: Imagery, settings: RegionSettings) -> Regions:
    """The candidates that hold enough imagery, as regions.

    Args:
        candidates: Where to look.
        imagery: The open imagery, on a pixel grid of `settings.gsd_m`.
        settings: The tile, and how much of a region must hold imagery.

    Raises:
        InputError: If no candidate holds enough.
    """
    shares, is_blank = _looked_at(candidates, imagery, settings)
    chosen = np.flatnonzero((shares >= settings.min_coverage) & ~is_blank)
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
    candidates: Candidates, imagery: Imagery, settings: RegionSettings
) -> tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " k"]]:
    """Coverage of the first candidates, enough for the wanted number of regions.

    Returns:
        Share of the pixels of each that hold imagery; and which of those that hold
        enough show one colour only.
    """
    count, kept = len(candidates), 0
    shares, blank = [], []
    for index in progress.track(range(count), f"{candidates.what} looked at", count):
        shares.append(_share(candidates, imagery, settings, index))
        enough = shares[-1] >= settings.min_coverage
        blank.append(enough and _is_blank(candidates, imagery, settings, index))
        kept += enough and not blank[-1]
        if kept == settings.max_regions:
            break
    return np.array(shares, float), np.array(blank, bool)


def _share(
    candidates: Candidates, imagery: Imagery, settings: RegionSettings, index: int
) -> float:
    """Share of the pixels of a candidate that hold imagery."""
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


def _is_blank(
    candidates: Candidates, imagery: Imagery, settings: RegionSettings, index: int
) -> bool:
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
