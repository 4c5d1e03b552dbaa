"""A city before its records are written: regions with POIs, labels and tiles."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float, Int, Int32, UInt8

from data_prep.files import crs as crs_lib
from data_prep.imagery.mosaic import Imagery
from data_prep.labels import sentences
from data_prep.labels.extraction import extract
from data_prep.labels.known import Values
from data_prep.labels.settings import LabelSettings
from data_prep.labels.source import meaning
from data_prep.pois import assign as assign_lib
from data_prep.pois import graph
from data_prep.pois import table as pois
from data_prep.pois.assign import Assignment
from data_prep.pois.table import PoiTable
from data_prep.regions.cutting import cut
from data_prep.regions.regions import Regions
from data_prep.regions.tiles import read as read_tile
from data_prep.running import threads
from data_prep.settings import PreparationSettings
from data_prep.splits import splits as splits_lib
from data_prep.splits.splits import Splits
from mmgr_jax.data import record_format, schema, tiles
from mmgr_jax.data.pixels import PixelSums
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class City:
    """Everything that goes into the records, except the pixels.

    Attributes:
        name: Name of the study area.
        crs: CRS of every coordinate.
        regions: The regions, in the order of the records.
        pois: The POIs.
        assignment: Which POI belongs to which region.
        diagonal_m: Diagonal of the bounding box of the regions' POIs.
        splits: Spatial block and folds of each region.
        labels: Values of each label, [r] or [r k].
        meanings: Meaning of each label.
        report: Counts for the manifest.
    """

    name: str
    crs: str
    regions: Regions
    pois: PoiTable
    assignment: Assignment
    diagonal_m: float
    splits: Splits
    labels: Mapping[str, Values]
    meanings: Mapping[str, schema.Label]
    report: Mapping[str, Any]

    @property
    def empty_share(self) -> float:
        """Share of the regions without any POI."""
        return float((self.assignment.counts == 0).mean())


def gather(settings: PreparationSettings, imagery: Imagery, workers: int = 0) -> City:
    """Gathers regions, POIs and labels of a city from checked sources.

    Args:
        settings: The data preparation sections of the config.
        imagery: The open imagery.
        workers: Processes that look for regions; 0: as many as save time.

    Returns:
        Everything the records hold, except the pixels.

    Raises:
        InputError: If no region or no POI is left, or a label cannot be used.
    """
    crs = settings.city.crs
    regions = cut(imagery, crs, settings.regions, workers)
    group = regions.overlap_groups()
    noted = {**regions.noted, **_overlapping(group)}
    logging.info("regions: %s", _kept(len(regions), regions.dropped, noted))
    area_deg = _extent_deg(regions, crs)
    table = pois.none()
    if settings.pois.path is not None:
        table = pois.read(settings.pois, city_crs=crs, area_deg=area_deg)
    assignment = assign_lib.assign(table, regions)
    dropped = {**table.dropped, "outside every region": assignment.outside}
    inside = len(table) - assignment.outside
    logging.info("POIs: %s", _kept(inside, dropped))
    if assignment.outside and table.row is not None:
        outside = np.ones(len(table), bool)
        outside[assignment.poi] = False
        logging.info("POIs outside: %s", pois.rows_in_words(table.row[outside]))
    if not inside and len(table):
        raise InputError(_all_outside(settings.pois.path, table, regions))
    known, reports = _labels(settings.labels, regions, crs)
    splits = splits_lib.assign(
        regions.ids, regions.centre_m, group, known, settings.blocks
    )
    diagonal_m = assign_lib.diagonal_m(table, assignment.poi)
    return City(
        name=settings.city.name,
        crs=crs,
        regions=regions,
        pois=table,
        assignment=assignment,
        diagonal_m=diagonal_m,
        splits=splits,
        labels={name: values for name, (_, values) in known.items()},
        meanings={name: meaning for name, (meaning, _) in known.items()},
        report={
            "imagery": imagery.report,
            "regions dropped": regions.dropped,
            "regions noted": noted,
            "POIs inside": inside,
            "POIs dropped": dropped,
            "POIs of other categories": table.counted_as_other,
            "POI diagonal_m": round(diagonal_m, 3),
            "POI buffer_m": regions.poi_buffer_m,
            "splits": splits.report,
            "labels": reports,
        },
    )


def _extent_deg(regions: Regions, crs: str) -> tuple[float, float, float, float]:
    """West, south, east, north of all regions in degrees."""
    low, high = regions.bounds_m[:, :2].min(axis=0), regions.bounds_m[:, 2:].max(axis=0)
    west, south, east, north = *low.tolist(), *high.tolist()
    return crs_lib.transform_bounds((west, south, east, north), crs, crs_lib.WGS84)


def manifest(
    city: City,
    image_format: str,
    *,
    sources: Mapping[str, Any],
    config: Mapping[str, Any],
) -> schema.Manifest:
    """Makes the manifest of a city's records before shards exist.

    Args:
        city: The city.
        image_format: Encoding of the tiles.
        sources: Size, time and hash of each source.
        config: The settings that made the city.
    """
    return schema.Manifest(
        city=city.name,
        crs=city.crs,
        tile_size_px=city.regions.tile_size_px,
        tile_size_m=city.regions.tile_size_m,
        num_regions=len(city.regions),
        shard_lengths=(),
        shard_sha256=(),
        max_pois=int(city.assignment.counts.max()),
        empty_share=city.empty_share,
        categories=city.pois.categories,
        category_parents=city.pois.parents,
        labels=city.meanings,
        block_size_m=city.splits.block_size_m,
        image_format=image_format,
        splits=city.splits.meanings,
        report=city.report,
        sources=sources,
        config=config,
    )


def encoded(
    city: City, imagery: Imagery, tile_writer: tiles.TileWriter, regions: Iterable[int]
) -> Iterator[tuple[bytes, PixelSums]]:
    """Yields serialised records of some regions and sums of their pixels, in order.

    The calling thread reads tiles; other threads encode them, a few tiles ahead.
    """
    layout = record_format.RecordLayout(
        city.regions.tile_size_px, city.meanings, tile_writer.image_format
    )

    def arguments() -> Iterator[tuple[Any, ...]]:
        for region in regions:
            tile = read_tile(imagery, city.regions, region)
            yield city, region, tile, layout, tile_writer

    yield from threads.in_order(_encode, arguments())


def region_graph(
    city: City, region: int
) -> tuple[
    Int32[np.ndarray, " n"],
    Float[np.ndarray, "n 2"],
    Int32[np.ndarray, "e 2"],
    Float[np.ndarray, " e"],
]:
    """Returns categories, offsets in metres, edges and weights of a region's POIs."""
    poi = city.assignment.of(region)
    place_m = np.stack([city.pois.x_m[poi], city.pois.y_m[poi]], axis=1)
    offset_m = place_m - city.regions.centre_m[region]
    edges, weights = graph.delaunay(offset_m, city.diagonal_m)
    return city.pois.category[poi], offset_m.astype(np.float32), edges, weights


def _encode(
    city: City,
    region: int,
    tile: UInt8[np.ndarray, "h w 3"],
    layout: record_format.RecordLayout,
    tile_writer: tiles.TileWriter,
) -> tuple[bytes, PixelSums]:
    category, offset_m, edges, weights = region_graph(city, region)
    image, pixels = tile_writer.measured(tile)
    record: record_format.Record = {
        "region_id": city.regions.ids[region],
        "image": image,
        "poi/category": category,
        "poi/offset_m": offset_m,
        "poi/edges": edges,
        "poi/edge_weight": weights,
        "geometry": shapely.to_wkb(city.regions.polygon(region)),
        "block_id": city.splits.block_id[region],
    }
    for name, values in city.labels.items():
        record[f"label/{name}"] = values[region]
    return record_format.serialize(record, layout), pixels


def _labels(
    sources: Mapping[str, LabelSettings], regions: Regions, crs: str
) -> tuple[dict[str, tuple[schema.Label, Values]], dict[str, Any]]:
    """Meaning and values of each label, and what is worth telling of it."""
    known, reports = {}, {}
    for name, source in sources.items():
        values, reports[name] = extract(name, source, regions, crs)
        known[name] = (meaning(source), values)
        logging.info("label %s: %s", name, sentences.in_words(reports[name]))
    return known, reports


def _overlapping(group: Int[np.ndarray, " r"]) -> dict[str, int]:
    """How many regions share their group with another, if any."""
    count = int((np.bincount(group)[group] > 1).sum())
    return {"overlapping another": count} if count else {}


def _kept(
    count: int, dropped: Mapping[str, int], noted: Mapping[str, int] | None = None
) -> str:
    text = f"{count:,} kept"
    if noted:
        text += f", of them {pois.counted(noted)}"
    left_out = pois.counted(dropped)
    return text + (f"; left out: {left_out}" if left_out else "")


def _all_outside(path: str | None, table: PoiTable, regions: Regions) -> str:
    west, south = regions.bounds_m[:, :2].min(axis=0)
    east, north = regions.bounds_m[:, 2:].max(axis=0)
    return (
        f"{path}: none of {len(table):,} POIs lies in a region. POIs: "
        f"x {table.x_m.min():.0f} to {table.x_m.max():.0f} m, "
        f"y {table.y_m.min():.0f} to {table.y_m.max():.0f} m; regions: "
        f"x {west:.0f} to {east:.0f} m, y {south:.0f} to {north:.0f} m. "
        "Check config.pois: are crs, datum, x_column and y_column right?"
    )
