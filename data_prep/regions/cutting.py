"""Cuts the study area into regions of one kind."""

from __future__ import annotations

from data_prep.imagery.mosaic import Imagery
from data_prep.regions import chips, grid, hexagons, polygons
from data_prep.regions.candidates import Candidates, keep
from data_prep.regions.regions import Regions
from data_prep.regions.settings import RegionSettings


def cut(
    imagery: Imagery, crs: str, settings: RegionSettings, workers: int = 0
) -> Regions:
    """Cuts the study area into regions, from checked settings.

    Args:
        imagery: The imagery, on a pixel grid of `settings.gsd_m`.
        crs: Metric CRS of the study area.
        settings: What a region is.
        workers: Processes that look at places, where they are many; 0: one a core.

    Returns:
        The regions that hold enough imagery.

    Raises:
        InputError: If none does, or one does not fit in the tile.
    """
    return keep(_candidates(imagery, crs, settings), imagery, settings, workers)


def _candidates(imagery: Imagery, crs: str, settings: RegionSettings) -> Candidates:
    if settings.kind == "grid":
        return grid.cells(imagery, settings)
    if settings.kind == "h3":
        return hexagons.cells(imagery, crs, settings)
    if settings.kind == "polygons":
        return polygons.candidates(imagery, crs, settings)
    assert settings.kind == "chips", settings.kind
    return chips.candidates(imagery, settings)
