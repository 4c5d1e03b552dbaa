"""A city between raw files and records: regions with their POIs, labels and tiles."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import shapely
import tensorflow_datasets as tfds
from jaxtyping import Float, Int32, UInt8

from data_prep import graph, grid, labels, pois, splits, threads
from data_prep.grid import Regions
from data_prep.imagery import Imagery
from data_prep.labels import LabelSource, Values
from data_prep.pois import Assignment, PoiTable
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class City:
    """All that goes into the records but the pixels.

    Attributes:
        name: Name of the study area.
        crs: CRS of every coordinate.
        regions: The regions, in the order of the records.
        pois: The POIs.
        assignment: Which POI belongs to which region.
        diagonal_m: Diagonal of the bounding box of the regions' POIs.
        block_id: Spatial block of each region [r].
        labels: Values of each label, [r] or [r k].
        meanings: Meaning of each label.
        block_size_m: Side of a spatial block.
        report: Counts for the manifest.
    """

    name: str
    crs: str
    regions: Regions
    pois: PoiTable
    assignment: Assignment
    diagonal_m: float
    block_id: Int32[np.ndarray, " r"]
    labels: Mapping[str, Values]
    meanings: Mapping[str, schema.Label]
    block_size_m: float
    report: Mapping[str, Any]

    @property
    def empty_share(self) -> float:
        """Share of the regions without any POI."""
        return float((self.assignment.counts == 0).mean())


def gather(sections: Mapping[str, Any], imagery: Imagery) -> City:
    """Regions, POIs and labels of a city, from checked sources.

    Args:
        sections: The data preparation sections of the config as plain dicts.
        imagery: The open imagery.

    Returns:
        Everything the records hold but the pixels.

    Raises:
        InputError: If no region or no POI is left, or a label is unusable.
    """
    crs = sections["city"]["crs"]
    regions = grid.metric_grid(imagery, **sections["regions"])
    logging.info("regions: %s", _kept(len(regions), regions.dropped))
    table = pois.read(**sections["pois"], city_crs=crs)
    assignment = pois.assign(table, regions)
    dropped = {**table.dropped, "outside every region": assignment.outside}
    inside = len(table) - assignment.outside
    logging.info("POIs: %s", _kept(inside, dropped))
    if not inside:
        raise InputError(_all_outside(sections["pois"]["path"], table, regions))
    values, meanings, told = {}, {}, {}
    for name, settings in sections["labels"].items():
        source = LabelSource(**settings)
        values[name], told[name] = labels.extract(name, source, regions, crs)
        meanings[name] = source.meaning()
        shown = (f"{what} {number:,.6g}" for what, number in told[name].items())
        logging.info("label %s: %s", name, ", ".join(shown))
    size_m = sections["blocks"]["size_m"]
    diagonal_m = pois.diagonal_m(table, assignment.poi)
    return City(
        name=sections["city"]["name"],
        crs=crs,
        regions=regions,
        pois=table,
        assignment=assignment,
        diagonal_m=diagonal_m,
        block_id=splits.block_ids(regions.centre_m, size_m),
        labels=values,
        meanings=meanings,
        block_size_m=size_m,
        report={
            "regions dropped": regions.dropped,
            "POIs inside": inside,
            "POIs dropped": dropped,
            "POI diagonal_m": round(diagonal_m, 3),
            "POI buffer_m": regions.poi_buffer_m,
            "labels": told,
        },
    )


def manifest(
    city: City,
    image_format: str,
    *,
    sources: Mapping[str, Any],
    config: Mapping[str, Any],
) -> schema.Manifest:
    """What the records of a city hold, before there are shards.

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
        block_size_m=city.block_size_m,
        image_format=image_format,
        report=city.report,
        sources=sources,
        config=config,
    )


def encoded(
    city: City, imagery: Imagery, regions: Iterable[int], image_format: str
) -> Iterator[bytes]:
    """Serialised records of some regions, in their order.

    Tiles are read here and encoded by threads, a few tiles ahead.
    """
    size_px = city.regions.tile_size_px
    layout = schema.features(size_px, city.meanings, image_format)
    bounds_m = city.regions.bounds_m

    def tiles() -> Iterator[tuple[Any, ...]]:
        for region in regions:
            tile, _ = imagery.read_tile(tuple(bounds_m[region].tolist()), size_px)
            yield city, region, tile, layout, image_format

    yield from threads.in_order(_encode, tiles())


def region_graph(
    city: City, region: int
) -> tuple[
    Int32[np.ndarray, " n"],
    Float[np.ndarray, "n 2"],
    Int32[np.ndarray, "e 2"],
    Float[np.ndarray, " e"],
]:
    """A region's POIs: categories, offsets in metres, edges and edge weights."""
    poi = city.assignment.of(region)
    place_m = np.stack([city.pois.x_m[poi], city.pois.y_m[poi]], axis=1)
    offset_m = place_m - city.regions.centre_m[region]
    edges, weights = graph.delaunay(offset_m, city.diagonal_m)
    return city.pois.category[poi], offset_m.astype(np.float32), edges, weights


def _encode(
    city: City,
    region: int,
    tile: UInt8[np.ndarray, "h w 3"],
    layout: tfds.features.FeaturesDict,
    image_format: str,
) -> bytes:
    category, offset_m, edges, weights = region_graph(city, region)
    west, south, east, north = city.regions.bounds_m[region]
    record: schema.Record = {
        "region_id": city.regions.name(region),
        "image": schema.encode_image(tile, image_format),
        "poi/category": category,
        "poi/offset_m": offset_m,
        "poi/edges": edges,
        "poi/edge_weight": weights,
        "geometry": shapely.to_wkb(shapely.box(west, south, east, north)),
        "block_id": city.block_id[region],
    }
    for name, values in city.labels.items():
        record[f"label/{name}"] = values[region]
    return schema.serialize(record, layout)


def _kept(count: int, dropped: Mapping[str, int]) -> str:
    left_out = pois.counted(dropped)
    return f"{count:,} kept" + (f"; left out: {left_out}" if left_out else "")


def _all_outside(path: str, table: PoiTable, regions: Regions) -> str:
    west, south = regions.bounds_m[:, :2].min(axis=0)
    east, north = regions.bounds_m[:, 2:].max(axis=0)
    return (
        f"{path}: none of {len(table):,} POIs lies in a region. POIs: "
        f"x {table.x_m.min():.0f} to {table.x_m.max():.0f} m, "
        f"y {table.y_m.min():.0f} to {table.y_m.max():.0f} m; regions: "
        f"x {west:.0f} to {east:.0f} m, y {south:.0f} to {north:.0f} m. "
        "Check config.pois: are crs, datum, x_column and y_column right?"
    )
