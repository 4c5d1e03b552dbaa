"""Makes one region from each image file (chip)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from data_prep.imagery.mosaic import Imagery
from data_prep.regions import tiles
from data_prep.regions.candidates import Candidates
from data_prep.regions.settings import RegionSettings
from mmgr_jax.errors import InputError

# A chip may differ from the tile by this share of its side: one cut in another CRS is
# turned and scaled a little.
_TOLERANCE = 0.02
_NAMED = 5


def candidates(imagery: Imagery, settings: RegionSettings) -> Candidates:
    """Returns one candidate per file, in the order of paths, named by the file's stem.

    The tile lies in the middle of the file, moved by at most half a pixel onto the grid
    that all files share. It shows only that file, even if other files lie there: chips
    of one place in two years are two regions with an image each.

    Args:
        imagery: The imagery, on a pixel grid of `settings.gsd_m`.
        settings: The tile.

    Raises:
        InputError: If files share a name, or are not squares of the tile's size.
    """
    problems = _problems(imagery.paths, imagery.footprints_m, settings)
    if problems:
        raise InputError(" ".join(problems))
    ids = np.array([path.stem for path in imagery.paths], object)
    corner_m = (imagery.bounds_m[0], imagery.bounds_m[3])
    once = np.ones(len(ids), np.int64)

    def name(chosen: Int[np.ndarray, " r"]) -> list[str]:
        return ids[chosen].tolist()

    return Candidates(
        what="chips",
        name=name,
        bounds_m=tiles.around(imagery.footprints_m, once, settings, corner_m),
        file=np.arange(len(ids)),
    )


def _problems(
    paths: Sequence[Path], boxes_m: Float[np.ndarray, "m 4"], settings: RegionSettings
) -> list[str]:
    """Why files cannot each be one region."""
    problems = []
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_stem[path.stem].append(str(path))
    shared = [" = ".join(names) for names in by_stem.values() if len(names) > 1]
    if shared:
        problems.append(
            "config.regions.kind is 'chips', so a file's name without its ending is "
            f"the id of its region and must be unique: {_listed(shared)}. Rename them."
        )
    west, south, east, north = boxes_m.T
    sides_m = np.stack([east - west, north - south], axis=1)
    limit_m = max(_TOLERANCE * settings.tile_size_m, settings.gsd_m)
    other = (np.abs(sides_m - settings.tile_size_m) > limit_m).any(axis=1)
    if other.any():
        usual_m = float(np.median(sides_m))
        files = [
            f"{paths[i]} ({sides_m[i, 0]:.1f} by {sides_m[i, 1]:.1f} m)"
            for i in np.flatnonzero(other).tolist()
        ]
        problems.append(
            "config.regions.kind is 'chips', so every file must be a square of "
            f"{tiles.in_words(settings)}; "
            f"{len(files)} of {len(paths)} are not: {_listed(files)}. The usual side "
            f"is {usual_m:.1f} m: with tile_size_px {settings.tile_size_px} that is "
            f"gsd_m {usual_m / settings.tile_size_px:.6g}. Files of another shape need "
            "kind 'grid'."
        )
    return problems


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
