"""Every reader of foreign bytes, by name: what it reads, and how."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import small_city
import undamaged_rasters as rasters
import undamaged_results as results
import undamaged_tables as tables
from reading_cities import (
    TABLE,
    good,
    read_category_list,
    read_imagery,
    read_label,
    read_osm_rules,
    read_pois,
    read_regions,
    read_settings,
    write_settings,
)
from reading_results import (
    read_features,
    read_heads,
    read_metrics,
    read_records,
    read_released,
    read_report,
    read_text_space,
    read_training,
    read_vectors,
    read_weights,
    training_settings,
)

OSM = dict(format="osm")


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads files.

    Attributes:
        write: Writes whole files into a folder.
        read: Reads them, damaged or not.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], None]


def _imagery():
    xyz = dict(paths="16/*/*.png", grid="xyz", gsd_m=16.0)
    return {
        "imagery tiled": Reader(rasters.geotiff, read_imagery),
        "imagery 16 bit": Reader(
            rasters.geotiff_striped,
            partial(read_imagery, bands=(3, 2, 1), stretch=("percentile", 2, 98)),
        ),
        "imagery .tfw": Reader(rasters.world_file, read_imagery),
        "imagery png": Reader(rasters.png, read_imagery),
        "imagery jpeg": Reader(rasters.jpeg, read_imagery),
        "imagery jp2": Reader(rasters.jpeg_2000, read_imagery),
        "imagery img": Reader(rasters.erdas, read_imagery),
        "imagery asc": Reader(
            rasters.ascii_grid,
            partial(read_imagery, bands=(1, 1, 1), stretch=("linear", 0, 255)),
        ),
        "imagery vrt": Reader(rasters.mosaic, partial(read_imagery, paths="image.vrt")),
        "imagery chips": Reader(
            rasters.chips, partial(read_imagery, paths="?.tif", kind="chips")
        ),
        "imagery z/x/y": Reader(rasters.web_tiles, partial(read_imagery, **xyz)),
    }


def _labels():
    people = dict(column="people")
    place = dict(x_column="x", y_column="y", crs=small_city.CRS)
    label = {
        "raster": (rasters.label_raster, "label.tif", "count", {}),
        "raster packed": (rasters.packed_raster, "label.tif", "density", {}),
        "points csv": (tables.points, "points.csv", "count", people | place),
    }
    for name, kind, settings in (
        ("zones.gpkg", "share", dict(column="zone")),
        ("zones.shp", "count", people),
        ("zones.geojson", "density", people),
        ("zones.fgb", "class", dict(column="zone")),
        ("zones.parquet", "scalar", people),
    ):
        write = partial(tables.zones, name=name)
        label[f"polygons {name[6:]}"] = (write, name, kind, settings)
    for name, kind in (("table.csv", "share"), ("table.parquet", "count")):
        settings = dict(id_column="id") | (people if kind == "count" else {})
        write = partial(tables.label_table, name=name)
        label[f"table {name[6:]}"] = (write, name, kind, settings)
    return {
        f"label {what}": Reader(
            write, partial(read_label, name=name, kind=kind, **settings)
        )
        for what, (write, name, kind, settings) in label.items()
    }


def _pois():
    found = {}
    for name in ("csv", "csv.gz", "tsv", "txt", "jsonl", "parquet"):
        settings = TABLE | dict(parent_column="parent")
        found[name] = (f"pois.{name}", settings)
    for name in ("gpkg", "geojson", "geojsonl", "shp", "zip", "fgb"):
        found[name] = (f"pois.{name}", dict(parent_column="parent"))
    found["geoparquet"] = ("places.parquet", {})
    readers = {
        what: Reader(
            partial(tables.pois, name=name),
            partial(read_pois, name=name, **settings),
        )
        for what, (name, settings) in found.items()
    }
    readers |= {
        "overture": Reader(
            tables.overture,
            partial(read_pois, name="places.parquet", format="overture"),
        ),
        "osm xml": Reader(tables.osm_xml, partial(read_pois, name="city.osm")),
        "osm pbf": Reader(tables.osm_pbf, partial(read_pois, name="city.osm.pbf")),
        "osm geojson": Reader(
            tables.osm_geojson, partial(read_pois, name="city.geojson", **OSM)
        ),
        "list of categories": Reader(tables.category_lists, read_category_list),
        "osm rules": Reader(tables.osm_rules, read_osm_rules),
    }
    return {f"POIs {what}": reader for what, reader in readers.items()}


def _regions():
    return {
        f"regions {kind}": Reader(
            partial(tables.zones, name=f"zones.{kind}"),
            lambda folder, kind=kind: read_regions(folder / f"zones.{kind}"),
        )
        for kind in ("gpkg", "geojson", "shp", "zip", "fgb", "parquet")
    }


def _numbers():
    found = {
        f"features {kind}": Reader(
            partial(tables.features, name=f"table.{kind}"),
            partial(read_features, name=f"table.{kind}"),
        )
        for kind in ("csv", "csv.gz", "parquet", "npz")
    }
    for kind in ("csv", "parquet"):
        found[f"category vectors {kind}"] = Reader(
            partial(tables.category_vectors, name=f"vectors.{kind}"),
            partial(read_vectors, name=f"vectors.{kind}"),
        )
    for name in ("image.safetensors", "image.pth"):
        found[f"weights {name[6:]}"] = Reader(
            partial(results.weights, name=name), partial(read_weights, name=name)
        )
    wrapped = partial(read_weights, name="image.pth.tar")
    return found | {"weights wrapped": Reader(results.wrapped_weights, wrapped)}


def _results():
    return {
        "released sample": Reader(results.released, read_released),
        "report": Reader(results.report, read_report),
        "report with hash": Reader(results.report_with_hash, read_report),
        "records": Reader(results.records, read_records),
        "text space": Reader(tables.text_space, read_text_space),
        "heads": Reader(results.heads, read_heads),
        "metrics": Reader(results.metrics, read_metrics),
        "settings": Reader(partial(write_settings, given=good), read_settings),
        "training settings": Reader(
            partial(write_settings, given=training_settings), read_training
        ),
    }


READERS = _imagery() | _labels() | _pois() | _regions() | _numbers() | _results()
"""All of them, by name."""
