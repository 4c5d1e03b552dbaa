"""Writes land use of an area from the OpenStreetMap extract that gives its POIs.

Land use is the areas with the key `landuse`, each with the value that mappers gave it.
Where one lies within another (a park in a residential area), the smaller one is on top,
so that every place has one class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Shaped

from data_prep.fetch import osm, pois
from data_prep.fetch.area import FetchArea
from data_prep.fetch.http import Client
from data_prep.fetch.presets import Preset
from data_prep.fetch.request import Request
from data_prep.files import fetched, tables
from data_prep.files.fetched import Fetched
from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError

KEY = "landuse"
_NAMES_SHOWN = 5


def fetch(
    name: str,
    request: Request,
    area: FetchArea,
    stem: Path,
    client_of: Callable[[Request, Preset | None, str], Client],
) -> Fetched | None:
    """Writes land use as polygons with a class; in a dry run, only says its source.

    Args:
        name: Name of the label.
        request: The command.
        area: The area.
        stem: Stem of the GeoParquet to make.
        client_of: Makes the client for a preset and a way to sign.

    Raises:
        InputError: If `--pois` names no extract, or the extract has no land use in the
            area.
    """
    places = pois.source(request.pois)
    if places is None or places.kind != "extract":
        raise InputError(
            f"--labels={name}=osm: land use comes from the OpenStreetMap extract that "
            "--pois names: add --pois=geofabrik:REGION or --pois=osm=FILE."
        )
    extract = places.extract
    if request.dry_run:
        logging.info("%s: from %s, as the POIs", name, extract.name)
        return None
    client = client_of(request, places.preset, request.sign or "environment")
    here = extract.file(client)
    elements = osm.over(extract, here, {KEY: ("*",)}, area.outline)
    table = _polygons(extract.name, elements)
    if not len(table):
        raise InputError(
            f"{extract.name}: has no area with the key {KEY} over the area. Leave the "
            "label out, or take land use from another source."
        )
    path = stem.with_name(f"{stem.name}.parquet")
    with refusals.explained(path.parent), files.replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
    counts = table[KEY].value_counts()
    shown = ", ".join(
        f"{kind} {count:,}" for kind, count in counts[:_NAMES_SHOWN].items()
    )
    logging.info("%s: %s (%s, ...)", name, path, shown)
    header = osm.header_of(here)
    return Fetched(
        files=fetched.described(stem.parent.parent, path),
        source=pois.MAPPERS,
        licence=pois.ODBL,
        year=header.time.year if header and header.time else None,
        unit="1",
        crs=pois.CRS,
        address="" if extract.is_here else extract.name,
        details={"classes": {str(kind): int(count) for kind, count in counts.items()}},
    )


def _polygons(name: str, elements: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Areas that do not overlap, the smaller ones on top: id, landuse, geometry.

    Raises:
        InputError: If an outline is past repair.
    """
    areas = elements[shapely.get_dimensions(elements.geometry.to_numpy()) == 2]
    outlines = tables.repaired(name, areas.geometry.to_numpy())
    # Of one size, the earlier id, so that any order of the file gives the same.
    order = np.lexsort((areas.index.astype(str), shapely.area(outlines)))
    outlines = _on_top(outlines[order])
    table = gpd.GeoDataFrame(
        {"id": areas.index.astype(str)[order], KEY: areas[KEY].to_numpy()[order]},
        geometry=outlines,
        crs=elements.crs,
    )
    return table[~shapely.is_empty(outlines)].reset_index(drop=True)


def _on_top(outlines: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """What is seen of outlines [n], the first on top."""
    tree = shapely.STRtree(outlines)
    below, above = tree.query(outlines, predicate="intersects")
    below, above = below[above < below], above[above < below]
    order = np.argsort(below, kind="stable")
    starts = np.searchsorted(below[order], np.arange(len(outlines) + 1))
    seen = np.array(outlines, object)
    for index in np.unique(below):
        covering = outlines[above[order][starts[index] : starts[index + 1]]]
        seen[index] = shapely.difference(outlines[index], shapely.union_all(covering))
    return _areas_of(seen)


def _areas_of(geometry: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """The polygons of geometries [n], without the lines that differences leave."""
    polygons = shapely.get_type_id(geometry)
    mixed = np.flatnonzero(polygons == shapely.GeometryType.GEOMETRYCOLLECTION)
    for index in mixed:
        parts = shapely.get_parts(geometry[index])
        parts = parts[shapely.area(parts) > 0]
        geometry[index] = shapely.union_all(parts) if len(parts) else shapely.Polygon()
    return geometry
