"""Describes a city's embeddings in STAC: a collection with one item, beside the files.

    collection.json    what the embeddings are: by which model, of which data
    embeddings.json    the item: the files, their columns, extent and time
    encoder.json       the model; see `card.stac_item`

The files follow version 0.0.1 of the Embeddings extension, a proposal, and therefore
version 1.0.0 of STAC, which the extension requires. All addresses are relative, so the
folder can be moved together with the files that it names.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyproj
from pyarrow import parquet

from mmgr_jax.disk import files
from mmgr_jax.geo import stac_words as words
from mmgr_jax.geo.columns import OWN, Column, type_name

COLLECTION, ITEM, MODEL = "collection.json", "embeddings.json", "encoder.json"

_EXTENSIONS = "https://stac-extensions.github.io/{}/schema.json"
EMBEDDINGS, PROCESSING, PROJECTION, TABLE, ITEM_ASSETS = (
    _EXTENSIONS.format(name)
    for name in (
        "embeddings/v0.0.1",
        "processing/v1.2.0",
        "projection/v2.0.0",
        "table/v1.2.0",
        "item-assets/v1.0.0",
    )
)

_PARQUET = "application/vnd.apache.parquet"
_TYPES = {
    ".gpkg": "application/geopackage+sqlite3",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".csv": "text/csv",
    ".png": "image/png",
    ".pmtiles": "application/vnd.pmtiles",
}
_ANY = "other"
"""Licence of what has several, or none that is known; names of them stand beside."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Facts that the header of the table does not hold.

    Attributes:
        facts: Facts about the city; see `data.facts`.
        layout: How regions are laid out; `emb:chip_layout`.
        source_href: Path of the records, relative to the folder.
        model: The STAC item of the encoder.
        software: Name and version of the software that made the files.
    """

    facts: Mapping[str, Any]
    layout: Mapping[str, Any]
    source_href: str
    model: Mapping[str, Any]
    software: Mapping[str, str]


def layout(regions: Mapping[str, Any], tile_size_px: int) -> dict[str, Any]:
    """Makes `emb:chip_layout` of regions from the section `regions` of their config."""
    side = [tile_size_px, tile_size_px]
    if regions.get("kind", "") == "grid":
        return {"layout_type": "regular_grid", "chip_size": side, "stride": side}
    if regions.get("kind", "") == "h3":
        resolution = (regions.get("h3") or {}).get("resolution")
        return {"layout_type": "named_grid", "grid_id": f"H3 resolution {resolution}"}
    return {"layout_type": "variable_grid"}


def write(
    table: Path,
    origin: Origin,
    described: Sequence[Column],
    others: Sequence[Path],
    *,
    uncertain: bool,
) -> list[Path]:
    """Writes the three files beside a table of embeddings.

    Args:
        table: A table that `writers` made; most facts come from its header.
        origin: The other facts.
        described: Descriptions of the columns that not every table has.
        others: Further files of the same run, in the same folder or below.
        uncertain: Whether predictions have intervals.

    Returns:
        The paths of the files.
    """
    header = parquet.ParquetFile(table)
    metadata = header.schema_arrow.metadata or {}
    about, geo = (json.loads(metadata[key]) for key in (b"emb", b"geo"))
    place = _Place.of(geo["columns"]["geometry"])
    item = _item(header, about, place, origin, described)
    item["assets"] = _assets(table, others, uncertain)
    if uncertain:
        item["properties"]["emb:uncertainty"] = words.uncertainty(about)
    contents = {
        MODEL: origin.model,
        ITEM: item,
        COLLECTION: _collection(about, place, origin),
    }
    for name, content in contents.items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        files.write_text(table.with_name(name), f"{text}\n")
    return [table.with_name(name) for name in contents]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where regions lie: the CRS, and `box` (west, south, east, north in degrees)."""

    box: list[float]
    code: str | None
    projjson: Mapping[str, Any]

    @classmethod
    def of(cls, column: Mapping[str, Any]) -> _Place:
        crs = pyproj.CRS.from_json_dict(column["crs"])
        # Edges bend on the way to degrees, so more of them than corners are looked at.
        transformer = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        box = transformer.transform_bounds(*column["bbox"], densify_pts=21)
        authority = crs.to_authority()
        code = None if authority is None else ":".join(authority)
        return cls([round(float(edge), 7) for edge in box], code, column["crs"])

    @property
    def geometry(self) -> dict[str, Any]:
        """The box, or two boxes if it crosses the 180th meridian."""
        west, south, east, north = self.box
        spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        rings = [
            [[[w, south], [e, south], [e, north], [w, north], [w, south]]]
            for w, e in spans
        ]
        if len(rings) == 1:
            return {"type": "Polygon", "coordinates": rings[0]}
        return {"type": "MultiPolygon", "coordinates": rings}


def _item(
    header: parquet.ParquetFile,
    about: Mapping[str, Any],
    place: _Place,
    origin: Origin,
    described: Sequence[Column],
) -> dict[str, Any]:
    named = {column.name: column for column in (*OWN, *described)}
    properties = {
        **words.time(about, origin.facts),
        "created": words.utc(about["created"]),
        "title": f"Embeddings of {about['city']}",
        "description": words.description(about, origin.facts),
        "proj:code": place.code,
        "processing:datetime": words.utc(about["created"]),
        "processing:software": dict(origin.software),
        "emb:runtime_parameters": {
            key: about[key] for key in ("features", "readout", "groups", "made_by")
        },
        "table:row_count": header.metadata.num_rows,
        "table:primary_geometry": "geometry",
        "table:columns": [
            {
                "name": field.name,
                "description": named[field.name].about,
                "type": type_name(field.type),
            }
            for field in header.schema_arrow
        ],
    }
    if place.code is None:
        properties["proj:projjson"] = place.projjson
    if about["data_type"] == "int8":
        properties["emb:quantization"] = {
            "method": "linear",
            "original_dtype": about["packed_from"],
            "quantized_dtype": "int8",
            "scale": about["scale"],
            "offset": about["offset"],
        }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [EMBEDDINGS, PROCESSING, PROJECTION, TABLE],
        "id": _id(about),
        "collection": f"{_id(about)}-embeddings",
        "bbox": place.box,
        "geometry": place.geometry,
        "properties": properties,
        "links": [
            *(
                _link(rel, f"./{COLLECTION}", "application/json")
                for rel in ("root", "parent", "collection")
            ),
            _source(origin),
        ],
        "assets": {},
    }


def _assets(
    table: Path, others: Sequence[Path], has_intervals: bool
) -> dict[str, dict[str, Any]]:
    uncertain = ["uncertainty"] if has_intervals else []
    assets: dict[str, dict[str, Any]] = {
        "embeddings": {
            "href": f"./{table.name}",
            "type": _PARQUET,
            "title": "GeoParquet: embeddings, predictions and outlines of regions",
            "roles": ["data", *uncertain],
        }
    }
    for path in others:
        kind = path.suffix
        if kind not in _TYPES:
            continue
        roles = {".csv": ["metadata"], ".png": ["overview"], ".pmtiles": ["overview"]}
        name = path.relative_to(table.parent)
        assets[str(name)] = {
            "href": f"./{name.as_posix()}",
            "type": _TYPES[kind],
            "roles": roles.get(kind, ["data", *uncertain]),
        }
    return assets


def _collection(
    about: Mapping[str, Any], place: _Place, origin: Origin
) -> dict[str, Any]:
    time = words.time(about, origin.facts)
    interval = [
        time.get(f"{end}_datetime") or time["datetime"] for end in ("start", "end")
    ]
    size_m = origin.facts["tile_size_m"]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [EMBEDDINGS, ITEM_ASSETS],
        "id": f"{_id(about)}-embeddings",
        "title": f"Embeddings of {about['city']}",
        "description": words.description(about, origin.facts),
        "license": _ANY,
        "providers": words.providers(origin.facts),
        "extent": {
            "spatial": {"bbox": [place.box]},
            "temporal": {"interval": [interval]},
        },
        "emb:type": "chip",
        "emb:dimensions": about["dimensions"],
        "data_type": about["data_type"],
        **({"gsd": size_m} if size_m else {}),
        "emb:chip_layout": dict(origin.layout),
        "emb:fit_for_use": ["similarity_search", "regression", "classification"],
        "item_assets": {
            "embeddings": {
                "type": _PARQUET,
                "title": "Embeddings, predictions and outlines of regions",
                "roles": ["data"],
            }
        },
        "links": [
            _link("root", f"./{COLLECTION}", "application/json"),
            _link("item", f"./{ITEM}", "application/geo+json"),
            _link("emb:model", f"./{MODEL}", "application/geo+json", "The encoder"),
            _source(origin),
        ],
    }


def _source(origin: Origin) -> dict[str, str]:
    title = "The records: " + words.sources(origin.facts)
    return _link("emb:source-data", origin.source_href, "application/json", title)


def _link(rel: str, href: str, kind: str, title: str = "") -> dict[str, str]:
    link = {"rel": rel, "href": href, "type": kind}
    return link | ({"title": title} if title else {})


def _id(about: Mapping[str, Any]) -> str:
    """The city's name, in letters that are allowed in addresses."""
    plain = re.sub(r"[^\w.-]+", "-", about["city"]).strip("-.")
    return plain or "city"
