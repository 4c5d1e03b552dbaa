"""Sources by name: their address, publisher and licence.

The entries follow the publishers' documentation. `checked` is the day on which somebody
saw the address answer as written here, and None where nobody has yet. Addresses change;
`python -m data_prep.fetch --dry_run` shows whether one still answers.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Literal

from mmgr_jax.errors import InputError
from mmgr_jax.settings import nearest

Kind = Literal["stac", "service", "raster", "tiles", "places", "extract"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A source.

    Attributes:
        kind: "stac" or "service" (images, of a catalogue or as tiles for maps),
            "raster" (labels), "tiles" (labels in GHSL's archives), "places" (POIs in
            Overture's GeoParquet) or "extract" (of OpenStreetMap).
        url: Its address; for places, the folder of all releases; for a service, the
            address of a tile, see `tiles.scene_of`. "{place}" and "{PLACE}" stand for
            the text after a colon, such as "deu" in `worldpop:deu`.
        hosts: Further hosts of its files; ".host" means all hosts below it.
        licence: As the publisher names it.
        source: Who must be named with anything made from the data.
        year: Year of the data; None: that of each scene, or of the release.
        unit: Unit of the numbers; "" where there are none.
        crs: CRS of the files; "" where each file has its own.
        reading: How `config.labels` reads it: its kind, what missing pixels mean.
        bands: Year after the colon -> band, for a raster with one band per year.
        collections: Collections of a catalogue.
        assets: Names of the files of a scene.
        max_zoom: Deepest zoom level of a service.
        sign: See `signing.SIGNERS`.
        checksum: Ending that makes the address of a file's MD5 from that of the file.
        checked: When somebody saw the address answer; None: not checked yet.
    """

    kind: Kind
    url: str
    hosts: tuple[str, ...]
    licence: str
    source: str
    year: int | None = None
    unit: str = ""
    crs: str = ""
    collections: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    max_zoom: int = 0
    reading: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bands: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sign: str = "environment"
    checksum: str = ""
    checked: dt.date | None = None


PRESETS = {
    "naip": Preset(
        kind="stac",
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        hosts=("naipeuwest.blob.core.windows.net",),
        licence="public domain",
        source="USDA Farm Service Agency, NAIP",
        collections=("naip",),
        assets=("image",),
        sign="planetary_computer",
    ),
    "sentinel2": Preset(
        kind="stac",
        url="https://earth-search.aws.element84.com/v1",
        hosts=("sentinel-cogs.s3.us-west-2.amazonaws.com",),
        licence="Copernicus Sentinel data terms (free, attribution)",
        source="Contains modified Copernicus Sentinel data",
        collections=("sentinel-2-l2a",),
        assets=("visual",),
    ),
    "openaerialmap": Preset(
        kind="stac",
        url="https://api.imagery.hotosm.org/stac",
        hosts=("oin-hotosm-temp.s3.us-east-1.amazonaws.com",),
        licence="CC BY 4.0 (each scene says its own)",
        source="OpenAerialMap contributors",
        collections=("openaerialmap",),
        assets=("visual",),
    ),
    "pdok": Preset(
        kind="service",
        url="https://service.pdok.nl/hwh/luchtfotorgb/wmts/v1_0/Actueel_orthoHR/"
        "EPSG:3857/{z}/{x}/{y}.jpeg",
        hosts=(),
        licence="CC BY 4.0",
        source="Beeldmateriaal Nederland, through PDOK",
        crs="EPSG:3857",
        max_zoom=19,
    ),
    "swisstopo": Preset(
        kind="service",
        url="https://wmts.geo.admin.ch/1.0.0/ch.swisstopo.swissimage/default/current/"
        "3857/{z}/{x}/{y}.jpeg",
        hosts=(),
        licence="free use with the source named (swisstopo, OGD)",
        source="Federal Office of Topography swisstopo, SWISSIMAGE",
        crs="EPSG:3857",
        max_zoom=19,
    ),
    "ign": Preset(
        kind="service",
        url="https://data.geopf.fr/wmts?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0"
        "&LAYER=ORTHOIMAGERY.ORTHOPHOTOS&STYLE=normal&FORMAT=image/jpeg"
        "&TILEMATRIXSET=PM&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}",
        hosts=(),
        licence="Licence Ouverte 2.0",
        source="IGN, BD ORTHO",
        crs="EPSG:3857",
        max_zoom=19,
    ),
    "worldpop": Preset(
        kind="raster",
        url="https://data.worldpop.org/GIS/Population/Global_2000_2020/2020/{PLACE}/"
        "{place}_ppp_2020.tif",
        hosts=(),
        licence="CC BY 4.0",
        source="WorldPop (www.worldpop.org), doi 10.5258/SOTON/WP00645",
        year=2020,
        unit="persons",
        crs="EPSG:4326",
        reading={"kind": "count", "nodata": "zero"},
    ),
    "ghsl": Preset(
        kind="tiles",
        url="https://jeodpp.jrc.ec.europa.eu/ftp/jrc-opendata/GHSL/"
        "GHS_POP_GLOBE_R2023A/GHS_POP_E{place}_GLOBE_R2023A_54009_100/V1-0/tiles/"
        "GHS_POP_E{place}_GLOBE_R2023A_54009_100_V1_0_{{tile}}.zip",
        hosts=(),
        licence="CC BY 4.0",
        source="European Commission, Joint Research Centre: GHS-POP R2023A, "
        "doi 10.2905/2FF68A52-5B5B-4A22-8F40-C41DA8332CFE",
        unit="persons",
        crs="ESRI:54009",
        reading={"kind": "count", "nodata": "zero"},
    ),
    "kummu": Preset(
        kind="raster",
        url="https://zenodo.org/records/13943886/files/"
        "rast_gdpTot_1990_2020_30arcsec.tif",
        hosts=(),
        licence="CC BY 4.0",
        source="Kummu et al. (2025), gridded GDP (PPP) 1990-2022, "
        "doi 10.1038/s41597-025-04487-x",
        unit="USD (PPP, 2017)",
        crs="EPSG:4326",
        reading={"kind": "count", "nodata": "zero"},
        bands={str(year): band for band, year in enumerate(range(1990, 2021, 5), 1)},
    ),
    "overture": Preset(
        kind="places",
        url="https://overturemaps-us-west-2.s3.us-west-2.amazonaws.com/release/",
        hosts=(),
        licence="CDLA-Permissive-2.0, Apache-2.0, CC0-1.0 (each row says its own)",
        source="Overture Maps Foundation, overturemaps.org",
        crs="EPSG:4326",
    ),
    "geofabrik": Preset(
        kind="extract",
        url="https://download.geofabrik.de/{place}-latest.osm.pbf",
        hosts=(),
        licence="ODbL 1.0",
        source="OpenStreetMap contributors",
        crs="EPSG:4326",
        checksum=".md5",
    ),
}
"""By the name that `--imagery`, `--pois` and `--labels` have for them."""


def preset(name: str, kind: Kind | Sequence[Kind], key: str) -> Preset:
    """Returns a source by name.

    Args:
        name: See `PRESETS`.
        kind: The kind it must have, or several allowed kinds.
        key: The flag that names it.

    Raises:
        InputError: If there is no such source of that kind.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    names = [one for one, source in PRESETS.items() if source.kind in kinds]
    if name not in names:
        raise InputError(
            f"{key}={name}: is neither an address nor a known "
            f"source{nearest(name, names)}; known: {', '.join(names)}."
        )
    return PRESETS[name]
