"""Reads the elements with some tags from an OpenStreetMap extract."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib import resources, util
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio.raw
import shapely

from data_prep.files import table_formats
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

_CRS = "EPSG:4326"
# Layers of GDAL's driver that hold single things, and the kind of their elements.
_LAYERS = {"points": "node", "lines": "way", "multipolygons": "relation"}
_EXTENSION = "duckdb_extension_spatial"

Wanted = Mapping[str, tuple[str, ...]]
"""Keys of tags and the values that matter; ("*",): all of them."""
Box = tuple[float, float, float, float]


def probe(path: str) -> None:
    """Opens an extract.

    Raises:
        InputError: If it is of another format, or damaged.
    """
    table_formats.check_osm(path)
    with table_formats.reading(path):
        pyogrio.read_info(path, layer="points")


def read_with_gdal(
    path: str, wanted: Wanted, box_deg: Box | None = None
) -> gpd.GeoDataFrame:
    """Reads elements that have any of some tags, with pyogrio's driver.

    Args:
        path: A file .osm.pbf or .osm.
        wanted: The tags.
        box_deg: West, south, east and north: elements outside and elements with broken
            geometries are left out; None: no element is left out.

    Returns:
        One row per element, with a name such as "way/17", and a column for each key and
        for "name"; no geometry where it is broken.

    Raises:
        InputError: If the file is damaged.
    """
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "osmconf.ini"
        settings.write_text(_gdal_settings(tuple(wanted)), encoding="utf-8")
        for layer in _LAYERS:
            try:
                parts.append(_gdal_layer(path, layer, wanted, settings, box_deg))
            except Exception as error:  # pyogrio's and GEOS's, and of texts
                refusals.refuse_unreadable(Path(path), error)
                raise _damaged(path, error) from error
    table = gpd.GeoDataFrame(pd.concat(parts), geometry="geometry", crs=_CRS)
    return table[~table.index.duplicated()]


def read_with_quackosm(path: str, wanted: Wanted) -> gpd.GeoDataFrame:
    """Like `read_with_gdal`, with QuackOSM: DuckDB, all cores, memory on disk.

    Raises:
        InputError: If QuackOSM or DuckDB's extension `spatial` is not installed, or the
            file is damaged.
    """
    try:
        # Not among the requirements of those who check types.
        import duckdb  # pyright: ignore[reportMissingImports]
        import quackosm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"config.pois.osm.reader is 'quackosm': {error}. Install it by "
            f"{install('osm')}, or choose 'gdal', which needs nothing more."
        ) from error
    try:
        if util.find_spec(_EXTENSION):  # else DuckDB asks its server for it
            root = resources.files(_EXTENSION).joinpath("extensions")
            file = root.joinpath(f"v{duckdb.__version__}", "spatial.duckdb_extension")
            duckdb.install_extension(str(file))
        with tempfile.TemporaryDirectory() as folder:
            table = quackosm.convert_pbf_to_geodataframe(
                path,
                tags_filter={
                    key: True if "*" in values else list(values)
                    for key, values in wanted.items()
                },
                keep_all_tags=True,
                explode_tags=False,
                ignore_cache=True,
                working_directory=folder,
                verbosity_mode="silent",
            )
    except duckdb.Error as error:
        raise InputError(
            f"{path}: QuackOSM failed: {error}. The file may be damaged; if DuckDB's "
            "extension `spatial` is what is missing, `pip install "
            "duckdb-extension-spatial` brings it along without a download."
        ) from error
    tags = table["tags"].map(dict)
    columns = {key: [row.get(key) for row in tags] for key in ("name", *wanted)}
    return gpd.GeoDataFrame(
        columns, geometry=table.geometry.to_numpy(), index=table.index, crs=_CRS
    )


READERS: dict[str, Callable[[str, Wanted], gpd.GeoDataFrame]] = {
    "gdal": read_with_gdal,
    "quackosm": read_with_quackosm,
}


def _gdal_settings(keys: tuple[str, ...]) -> str:
    names = ",".join(keys)
    lines = [f"closed_ways_are_polygons={names}", "attribute_name_laundering=no"]
    for layer in _LAYERS:
        lines += [f"[{layer}]", "osm_id=yes", f"attributes=name,{names}"]
    return "\n".join(lines)


def _gdal_layer(
    path: str, layer: str, wanted: Wanted, settings: Path, box_deg: Box | None
) -> gpd.GeoDataFrame:
    with warnings.catch_warnings():
        # Of rings cut at the edge of an extract: they are counted where they fail.
        warnings.simplefilter("ignore", RuntimeWarning)
        meta, _, wkb, values = pyogrio.raw.read(
            path,
            layer=layer,
            where=" OR ".join(_condition(*tag) for tag in wanted.items()),
            bbox=box_deg,
            CONFIG_FILE=str(settings),
        )
        geometry = shapely.from_wkb(wkb, on_invalid="ignore")
    fields: dict[str, Any] = dict(zip(meta["fields"], values, strict=True))
    kind = _LAYERS[layer]
    element = pd.Series(fields["osm_id"], dtype="string").radd(f"{kind}/")
    if "osm_way_id" in fields:  # a closed way
        way = pd.Series(fields["osm_way_id"], dtype="string").radd("way/")
        element = way.fillna(element)
    return gpd.GeoDataFrame(
        {key: np.asarray(fields[key], object) for key in ("name", *wanted)},
        geometry=geometry,
        index=pd.Index(element, name="element"),
        crs=_CRS,
    )


def _condition(key: str, values: tuple[str, ...]) -> str:
    if "*" in values:
        return f'"{key}" IS NOT NULL'
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f'"{key}" IN ({listed})'


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(
        f"{path}: cannot be read as an OpenStreetMap extract ({error}). It may be "
        "truncated; fetch it again."
    )
