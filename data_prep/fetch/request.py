"""What a command asks for, and the flags that say so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from data_prep.fetch import presets, signing
from data_prep.fetch.hosts import TOKENS
from data_prep.imagery.settings import ImagerySettings
from data_prep.regions.settings import RegionSettings
from mmgr_jax.addresses import SIGNED_URLS

USAGE = f"""Fetches the raw files of an area from open sources, and writes their config.

Images come from a STAC catalogue (a preset, or any address), or from GeoTIFFs that you
name. Only the windows of the area are read, onto one metric grid. POIs come from
Overture Places, of which only the row groups over the area are read, or from an extract
of OpenStreetMap. Labels come from rasters, of which the part over the area is copied.
If the command was stopped, give it again: it continues. Downloads are kept in --cache,
and --offline reads only from there. --dry_run says sizes and times before anything
large is fetched. At the end the files are read, as by `python -m mmgr_jax.init`, and a
config is written for this machine. With --build its records are built, too.

Only hosts that the command or its presets name are contacted; --allow_hosts adds
others. Proxies (HTTPS_PROXY), tokens ({TOKENS}: host=token) and signed addresses
({SIGNED_URLS}) come from the environment and are never stored. Beside the files,
sources.json says whose they are and under which licence.

Usage:
    python -m data_prep.fetch --bbox=-118.50,34.00,-118.46,34.03 --imagery=naip \\
        --dates=2022 --out=data/town/raw --dry_run
    python -m data_prep.fetch --area=district.gpkg --out=data/town/raw \\
        --imagery=https://example.org/stac/catalog.json --allow_hosts=files.example.org
    python -m data_prep.fetch --place="Santa Monica, California" --imagery=naip \\
        --geocoder=https://nominatim.openstreetmap.org/search --out=data/town/raw
    python -m data_prep.fetch --bbox=2.33,48.84,2.36,48.86 --out=data/town/raw \\
        --cog=https://example.org/ortho_1.tif,https://example.org/ortho_2.tif \\
        --pois=overture --labels=population=worldpop:fra
"""


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command asks for; `_HELP` says what each field means."""

    out: str | None = None
    write_config: str | None = None
    build: bool = False
    bbox: str | None = None
    area: str | None = None
    place: str | None = None
    geocoder: str | None = None
    imagery: str | None = None
    cog: Sequence[str] = ()
    tiles: str | None = None
    max_zoom: int = 22  # many services end at 19 (0.3 m at the equator) or 20
    collections: Sequence[str] = ()
    dates: str = ""
    max_cloud: float | None = None
    order: str = "newest"
    assets: Sequence[str] = ()
    bands: Sequence[int | str] = ImagerySettings.bands
    skip: Sequence[str] = ()
    pois: str | None = None
    poi_margin_m: float = 500.0
    labels: Sequence[str] = ()
    sign: str | None = None
    crs: str | None = None
    gsd_m: float = RegionSettings.gsd_m
    allow_hosts: Sequence[str] = ()
    cache: str = "~/.cache/mmgr_jax/fetch"
    offline: bool = False
    dry_run: bool = False


_CATALOGUES = [name for name, one in presets.PRESETS.items() if one.kind == "stac"]
_HELP = {
    "out": "Folder of the raw files, such as data/town/raw.",
    "write_config": "The config to write; by default configs/NAME.py, with the name "
    "in --out. An existing file is kept.",
    "build": "Also build the records, if the config has no open question.",
    "bbox": "The area: W,S,E,N in degrees.",
    "area": "The area: a file of polygons (GeoPackage, GeoJSON, ...).",
    "place": "The area: a name that --geocoder knows.",
    "geocoder": "Address of a Nominatim search.",
    "imagery": f"Images: one of {', '.join(_CATALOGUES)}; or the address of a STAC "
    "catalogue, collection, item or API.",
    "cog": "Images: addresses of GeoTIFFs, the first on top.",
    "tiles": "Images: a tile service that you are allowed to use, as an address with "
    "{z}, {x} and {y}; WMTS tiles work, too.",
    "max_zoom": "Finest zoom level of --tiles, or of a preset that is a tile service.",
    "collections": "Collections of the catalogue to use; by default all.",
    "dates": "Days of the scenes: 2022, 2022-06 or 2022-05-01/2022-09-30.",
    "max_cloud": "Scenes with more clouds than this, in %, are left out.",
    "order": "Which scenes lie on top.",
    "assets": "Files (assets) of a scene: one, or one for each of three bands.",
    "bands": "Red, green and blue in a file, counted from 1.",
    "skip": "Names of scenes to leave out.",
    "pois": "POIs: overture, overture:RELEASE or the address of GeoParquet like it "
    "(a file, or a folder that ends in /); geofabrik:REGION such as "
    "geofabrik:europe/monaco, or osm=ADDRESS of an extract (.osm.pbf), or "
    "osm=FILE.",
    "poi_margin_m": (
        "POIs up to this distance outside the area are fetched, too; in metres."
    ),
    "labels": "Rasters: NAME=ADDRESS of a GeoTIFF, or NAME=PRESET:PLACE, such as "
    "population=worldpop:deu; the part over the area, not resampled. "
    "NAME=osm: land use from the extract that --pois names.",
    "sign": (
        "What signs addresses; by default as the preset says, else from the "
        "environment."
    ),
    "crs": "Metric CRS of the grid; by default the area's UTM zone.",
    "gsd_m": "Side of a pixel of the grid, in metres.",
    "allow_hosts": (
        "More hosts that may be contacted; .example.org means all hosts below it."
    ),
    "cache": "Folder where downloads are kept.",
    "offline": "Contact no host; read only the cache.",
    "dry_run": "Print sizes and times; fetch nothing large.",
}
_CHOICES = {"order": ["newest", "clearest"], "sign": list(signing.SIGNERS)}


def flags_of() -> dict[str, flags.FlagHolder]:
    """Defines the flags and returns them by the name of their field in `Request`."""
    holders: dict[str, flags.FlagHolder] = {}
    for field in dataclasses.fields(Request):
        name, text = field.name, _HELP[field.name]
        default: Any = field.default
        define: Any = flags.DEFINE_string
        if name in _CHOICES:
            holders[name] = flags.DEFINE_enum(name, default, _CHOICES[name], text)
            continue
        if str(field.type).startswith("Sequence"):
            define, default = flags.DEFINE_list, [str(part) for part in default]
        elif field.type == "int":
            define = flags.DEFINE_integer
        elif "float" in str(field.type):
            define = flags.DEFINE_float
        elif field.type == "bool":
            define = flags.DEFINE_bool
        holders[name] = define(name, default, text)
    return holders
