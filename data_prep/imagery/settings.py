"""What `config.imagery` says: which files show the city, and how they are read."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class ImagerySettings(Section):
    """The image files of the city; together they are read as one image.

    Attributes:
        paths: Image files (GeoTIFF, VRT mosaic, JPEG, PNG, JPEG 2000, Erdas Imagine or
            Esri ASCII grid), or glob patterns such as "raw/*.tif".
        bands: Three band numbers counted from 1: red, green, blue. A grey image is
            (1, 1, 1); (4, 1, 2) makes false colours of near infrared.
        nodata: Value of missing pixels in all three bands, for files that do not mark
            them (by nodata, an alpha band or a mask). NaN is always missing.
        stretch: How pixel values become 0 to 255. None: they already are. ("linear",
            low, high): from low to high, each a number for all bands or one for each
            band. ("percentile", low, high): the same between two percentiles, such as 2
            and 98.
        overlap: Where files overlap, which one is used: the first or the last in the
            order of paths.
        ignore: Wrong statements of the files to ignore. "alpha": a band that is marked
            as alpha holds something else. "colors": the order of red, green and blue is
            wrong.
        grid: How to place files without georeference, if they are tiles z/x/y of a web
            map. "xyz": y counts from the north. "tms": y counts from the south. None:
            files are georeferenced.
        folders: Further folders, besides those of `paths`, in which the images of a
            mosaic may be.
        source: Who made the images. This and the next three are stored in records,
            checkpoints and model cards, and have no other effect.
        licence: Licence of the images.
        year: Year in which the images were taken.
        sensor: Camera or satellite that took the images.
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
