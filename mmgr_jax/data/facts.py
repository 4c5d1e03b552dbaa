"""Facts about the records of each city, for readers and not for programs.

Checkpoints store these facts, and the card of a saved encoder shows them. An unknown
fact is "" or None. Nothing is guessed, except what follows from the kind of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmgr_jax.data import schema
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.source import RecordSource, RegionSource

_OSM_SUFFIXES = (".pbf", ".osm")
_OSM = {"source": "OpenStreetMap contributors", "licence": "ODbL-1.0"}
_ORIGIN = ("source", "licence", "year")


def of_source(source: RegionSource) -> tuple[dict[str, Any], ...]:
    """The facts of each city that a run is trained on, by name.

    Args:
        source: The records of a city, or a corpus.
    """
    cities = source.cities if isinstance(source, Corpus) else (source,)
    return tuple(
        of_manifest(city.manifest) for city in cities if isinstance(city, RecordSource)
    )


def of_manifest(manifest: schema.Manifest) -> dict[str, Any]:
    """The facts of one city.

    Returns:
        `city`, `num_regions`, `crs`, `tile_size_px`, `tile_size_m` (0 if unknown);
        `imagery` and `pois` with `source`, `licence` and `year`, and with `sensor` or
        `categories` and `inside` (POIs in regions); `labels` {name: {kind, unit,
        source, licence, year}}.
    """
    imagery = manifest.config.get("imagery") or {}
    pois = manifest.config.get("pois") or {}
    return {
        "city": manifest.city,
        "num_regions": manifest.num_regions,
        "crs": manifest.crs,
        "tile_size_px": manifest.tile_size_px,
        "tile_size_m": manifest.tile_size_m,
        "imagery": _origin(imagery) | {"sensor": imagery.get("sensor", "")},
        "pois": (_OSM if _is_osm(pois) else {})
        | {key: value for key, value in _origin(pois).items() if value}
        | {
            "categories": len(manifest.categories),
            "inside": manifest.report.get("POIs inside"),
        },
        "labels": {
            name: {
                "kind": label.kind,
                "unit": label.unit,
                "source": label.source,
                "licence": label.licence,
                "year": label.year,
            }
            for name, label in manifest.labels.items()
        },
    }


def _origin(section: Mapping[str, Any]) -> dict[str, Any]:
    """Where files come from; a manifest of before does not say it."""
    return {key: section.get(key) or None for key in _ORIGIN}


def _is_osm(pois: Mapping[str, Any]) -> bool:
    """Whether they are an extract of OpenStreetMap; as `PoiSettings.format` has it."""
    suffix = Path(pois.get("path") or "").suffix
    form = pois.get("format") or ("osm" if suffix in _OSM_SUFFIXES else "table")
    return form == "osm"
