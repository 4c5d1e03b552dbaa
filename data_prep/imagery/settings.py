"""What `config.imagery` says: which files show the city, and how they are read."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class ImagerySettings(Section):
    """Image files, read as one image.

    Attributes:
        paths: GeoTIFF files, VRT mosaics, other files of `formats.RASTERS`, or glob
            patterns of them.
        bands: Three band numbers counted from 1: red, green, blue. A grey image is
            (1, 1, 1); (4, 1, 2) makes false colours of near infrared.
        nodata: Number that missing pixels hold in all three bands, for files that mark
            none themselves (by nodata, an alpha band or a mask). NaN is always missing.
        stretch: How pixels become 8-bit. None: they already are; ("linear", low, high):
            a number for all bands or one for each; ("percentile", low, high):
            percentages, such as 2 and 98.
        overlap: Which file is shown where several overlap: the first or the last by
            path.
        ignore: What files say wrongly: "alpha" (a band marked as alpha shows something
            else), "colors" (the order of red, green and blue).
        grid: How to place files without a position: "xyz" (tiles z/x/y of a web map, y
            counted from the north), "tms" (y from the south); None: files have a
            position.
        folders: Further folders, besides those of `paths`, in which members of mosaics
            may lie.
        source: Who made the images. This and the next three change no pixel: they go
            into records, checkpoints and the cards of models.
        licence: Licence of the images.
        year: When they were taken.
        sensor: What took them.
    """

    paths: tuple[str, ...] = ()
    bands: tuple[int, ...] = (1, 2, 3)
    nodata: float | None = None
    stretch: tuple[Any, ...] | None = None
    overlap: Literal["first", "last"] = "first"
    ignore: tuple[Literal["alpha", "colors"], ...] = ()
    grid: Literal["xyz", "tms"] | None = None
    folders: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    year: int | None = None
    sensor: str = ""
