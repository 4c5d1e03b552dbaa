"""What `config.released` says: where the folders of a released sample lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class LabelFolderSettings(Section):
    """Where one label of a sample comes from.

    Attributes:
        dir: Folder with a file `<region>.txt` for each region, one number in it.
        kind: What the number is.
        unit: Unit of the numbers.
        year: Reference year of the source.
        source: Who made the data.
        licence: Licence of the data.
    """

    dir: str
    kind: Literal["count", "density", "scalar"]
    unit: str
    year: int | None = None
    source: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class ReleasedSettings(Section):
    """A released sample, taken over in place of building records.

    Attributes:
        image_dir: Folder with an image X.png for each region X.
        vector_dir: Folder with X.tensor, float32 [n d], a row a POI.
        edge_dir: Folder with X.tensor, int64 [2 e], pairs of POIs.
        labels: Name -> where the label comes from.
        lists: Name -> text file with one region a line; see `texts.read_lists`.
        centres: CSV with the centre of each region: region_id, lon and lat in degrees;
            None: nothing says where the regions lie.
        datum: Datum of the centres; "gcj02" from AMap.
        tile_size_m: Side of a region in metres, needed with centres; None: unknown.
        tile_size_px: Side of the tiles, 8 or more, to which images are resized; None:
            all images have one size.
    """

    image_dir: str
    vector_dir: str
    edge_dir: str
    labels: Mapping[str, LabelFolderSettings] = dataclasses.field(default_factory=dict)
    lists: Mapping[str, str] = dataclasses.field(default_factory=dict)
    centres: str | None = None
    datum: Literal["wgs84", "gcj02", "bd09"] = "wgs84"
    tile_size_m: float | None = None
    tile_size_px: int | None = None
