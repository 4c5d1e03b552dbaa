"""Prepares a city for the page as one JSON and arrays; see page/README.md."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mmgr_jax import __version__
from mmgr_jax.data import schema, texts
from mmgr_jax.evaluation import clusters, predictors
from mmgr_jax.explore import change, outlines, scales, vectors
from mmgr_jax.explore.city import ExploredCity, ExploredTask, origins_of, tiles_of
from mmgr_jax.geo import basemap
from mmgr_jax.legend import colours

CLUSTERS = tuple(range(2, 13))
"""Numbers of clusters that the slider offers."""

MOST_PX = 4096
"""Along the longer side of the picture beneath the map: what phones can hold, too."""

_QUALITY = 80
_SLACK_PX = 0.5  # as data_prep: a tile lies on whole pixels


@dataclasses.dataclass(frozen=True)
class PageContent:
    """The content of the page.

    Attributes:
        about: Everything except large arrays; it becomes JSON.
        arrays: Name -> numbers; row-major, little-endian.
        picture: The basemap, a WebP.
        picture_before: The basemap of an earlier year; None if no year was named.
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    picture: bytes
    picture_before: bytes | None = None


def of(city: ExploredCity) -> PageContent:
    """Prepares a city for its page."""
    lines = outlines.of(city.geometry_wkb, city.manifest.crs)
    held = vectors.of(city.features)
    laid = laid_out(city.manifest, lines.bounds_m, city.tiles())
    arrays = {
        "embeddings": held.numbers,
        "embeddingScale": held.scale,
        "points": lines.points,
        "rings": lines.rings.astype(np.uint32),
        "ringRegion": lines.region.astype(np.uint32),
        "ringHole": lines.hole.astype(np.uint8),
        "triangles": lines.triangles.astype(np.uint32),
    }
    if city.projections is not None:
        for name, rows in zip(("Image", "Poi"), city.projections, strict=True):
            whole, scale = vectors.quantised(np.asarray(rows, np.float64))
            arrays |= {f"projection{name}": whole, f"projection{name}Scale": scale}
    about, shared = described(city, lines, held)
    about["basemap"] = size_of(laid)
    about["occlusion"] = _about_occlusion(city)
    about["words"], own = _words(city)
    arrays |= shared | own | _occlusion(city)
    if city.since is None:
        return PageContent(about, arrays, as_webp(laid.pixels))
    shown = outlines.of(city.since.geometry_wkb, city.since.source.manifest.crs)
    source = city.since.source
    before = laid_out(source.manifest, shown.bounds_m, tiles_of(source))
    about["change"], own = change.of(city, city.since, size_of(before))
    return PageContent(
        about, arrays | own, as_webp(laid.pixels), as_webp(before.pixels)
    )


def described(
    city: ExploredCity,
    lines: outlines.Outlines,
    held: vectors.PageVectors,
    members: Mapping[int, np.ndarray] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Makes the parts that all pages of a city share, with a server or without.

    Args:
        city: The city.
        lines: Outlines of its regions.
        held: Its embeddings, as the page or the server holds them.
        members: Number of clusters -> the cluster of each region, if known.

    Returns:
        The JSON without `basemap`, and the arrays without embeddings, projections and
        outlines.
    """
    arrays = {
        "weights": held.weights.astype(np.float32),
        "componentColours": held.colours,
        "centresDeg": outlines.in_degrees(city.centre_m, city.manifest.crs),
        "centresM": (city.centre_m - city.centre_m.min(axis=0)).astype(np.float32),
        "areasM2": lines.area_m2.astype(np.float32),
        "blocks": city.block_id.astype(np.int32),
        "poiStart": city.pois.start.astype(np.uint32),
        "poiCategory": city.pois.category.astype(np.uint32),
        "poiCount": city.pois.count.astype(np.uint32),
    }
    if members is None:
        members = clusters.cluster(city.features, CLUSTERS)
    for number, member in members.items():
        arrays[f"clusters{number}"] = member.astype(np.uint8)
    if held.moments is not None:
        arrays["mean"], arrays["deviation"] = held.moments.astype(np.float32)
    sizes, own = _poi_encoder(city)
    arrays |= own
    tasks = {}
    for number, (name, task) in enumerate(city.tasks.items()):
        tasks[name], own = _task(task, f"task{number}")
        arrays |= own
    density = city.pois.total / np.maximum(lines.area_m2 / 1e6, 1e-12)
    arrays["poiDensity"] = density.astype(np.float32)
    about = {
        **_about(city, held),
        "tasks": tasks,
        "poiEncoder": sizes,
        "density": scales.quantiles(density, colours.VALUES, "POIs/km²"),
        "palettes": scales.palettes(),
        "clusters": [int(name[8:]) for name in arrays if name.startswith("clusters")],
        "unitsPerDeg": outlines.UNITS_PER_DEG,
        "shape": [len(city.region_ids), len(held.weights)],
    }
    return about, arrays


def _about(city: ExploredCity, held: vectors.PageVectors) -> dict[str, Any]:
    manifest = city.manifest
    ends = np.cumsum([size for _, size in held.groups]).tolist()
    return {
        "name": manifest.city,
        "crs": manifest.crs,
        "ids": city.region_ids,
        "features": city.kind,
        "encoder": city.made_by,
        "numFeatures": city.features.num_features,
        "groups": [
            {"name": name, "start": end - size, "size": size}
            for (name, size), end in zip(held.groups, ends, strict=True)
        ],
        "explained": held.explained,
        "recall": {"depth": vectors.DEPTH, "value": held.recall},
        "level": predictors.LEVEL,
        "categories": list(manifest.categories),
        "parents": list(manifest.category_parents),
        "origins": origins_of(manifest),
        "tileSizeM": manifest.tile_size_m,
        "software": f"mmgr-jax {__version__}",
    }


def _poi_encoder(
    city: ExploredCity,
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """Sizes of the POI encoder, and its weights; None and nothing without one."""
    if city.poi_weights is None:
        return None, {}
    given = {name: value for name, value in city.poi_weights.items()}
    arrays = {
        name: value for name, value in given.items() if isinstance(value, np.ndarray)
    }
    sizes = {name: value for name, value in given.items() if name not in arrays}
    sizes["arrays"] = sorted(arrays)
    return sizes, {f"poiEncoder-{name}": value for name, value in arrays.items()}


def _task(
    task: ExploredTask, name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Makes the JSON of a task, and its arrays, whose names begin with `name`."""
    label, arrays = task.label, {}
    if task.truth is not None:
        arrays["Truth"] = task.truth
    if task.prediction is not None:
        arrays["Prediction"] = task.prediction.value
        arrays["Unlike"] = task.prediction.unlike
        if label.kind != "class":
            arrays["Low"], arrays["High"] = task.prediction.low, task.prediction.high
    types = {"Unlike": np.uint8, "PartCategory": np.int32}
    if (own := task.parts) is not None:
        arrays |= {
            "Baseline": own.baseline,
            "Parts": own.by_group,
            "PartCategory": own.category,
            "PartCategories": own.by_category,
        }
        if own.units is not None:
            arrays["Units"] = own.units
    about = {
        "array": name,
        "kind": label.kind,
        "unit": label.unit,
        "classes": list(label.classes),
        "year": label.year,
        "source": label.source,
        "licence": label.licence,
        "scales": scales.of_task(task),
        "parts": None if own is None else list(own.groups),
    }
    return about, {
        f"{name}{part}": values.astype(types.get(part, np.float32))
        for part, values in arrays.items()
    }


def _words(
    city: ExploredCity,
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
    """The data that turn texts into mixes; None and no arrays without words."""
    own = city.words
    if own is None:
        return None, {}
    about = {
        "list": own.words,
        "number": own.number_of_pois,
        "nearest": texts.NEAREST,
        "temperature": texts.TEMPERATURE,
    }
    return about, {
        "wordNumbers": own.numbers,
        "wordScale": own.scale.astype(np.float32),
        "wordMean": own.mean.astype(np.float32),
        "wordComponents": own.components.astype(np.float32),
        "wordTable": own.table.astype(np.float32),
    }


def _about_occlusion(city: ExploredCity) -> dict[str, Any] | None:
    """The results of occlusion by label; None if they were not requested."""
    lost = city.occlusion
    if lost is None:
        return None
    return {
        "cells": lost.cells,
        "tasks": {
            name: {
                "image": own.by_cell is not None,
                "pois": own.by_category is not None,
            }
            for name, own in lost.tasks.items()
        },
    }


def _occlusion(city: ExploredCity) -> dict[str, np.ndarray]:
    lost = city.occlusion
    if lost is None:
        return {}
    arrays: dict[str, np.ndarray] = {
        "occludedRegion": lost.region.astype(np.uint32),
        "occludedStart": lost.start.astype(np.uint32),
        "occludedCategory": lost.category.astype(np.uint32),
    }
    names = list(city.tasks)
    for task, own in lost.tasks.items():
        name = f"task{names.index(task)}"
        arrays[f"{name}OccludedClass"] = own.shown.astype(np.uint32)
        for part, values in (("Cells", own.by_cell), ("Pois", own.by_category)):
            if values is not None:
                arrays[f"{name}Occluded{part}"] = values.astype(np.float32)
    return arrays


def as_webp(pixels: UInt8[np.ndarray, "h w 4"]) -> bytes:
    """Encodes a picture as WebP; transparent parts stay transparent."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()


def size_of(laid: basemap.Basemap) -> dict[str, Any]:
    """The place and size of a picture."""
    height, width = laid.pixels.shape[:2]
    return {
        "bounds": laid.bounds_deg,
        "gsdM": laid.gsd_m,
        "width": width,
        "height": height,
    }


def laid_out(
    manifest: schema.Manifest,
    bounds_m: Float[np.ndarray, "r 4"],
    tiles: Iterable[UInt8[np.ndarray, "h w 3"]],
) -> basemap.Basemap:
    """Joins the tiles of some records into one picture.

    Args:
        manifest: Manifest of the records.
        bounds_m: West, south, east and north of each region in their CRS.
        tiles: Tile of each region, in order.
    """
    gsd_m = manifest.tile_size_m / manifest.tile_size_px
    boxes = _tile_boxes(bounds_m, gsd_m, manifest.tile_size_px)
    extent = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    west, south, east, north = map(float, extent)

    def placed() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from zip(boxes, tiles, strict=True)

    return basemap.stitch(
        placed(),
        extent_m=(west, south, east, north),
        gsd_m=gsd_m,
        crs=manifest.crs,
        most_px=MOST_PX,
    )


def _tile_boxes(
    bounds_m: Float[np.ndarray, "r 4"], gsd_m: float, size_px: int
) -> Float[np.ndarray, "r 4"]:
    """Where tiles lie: squares around their regions, of whole usual tiles."""
    west, south, east, north = bounds_m.T
    longer = np.maximum(east - west, north - south)
    factor = np.maximum(np.ceil((longer / gsd_m - _SLACK_PX) / size_px), 1)
    half = factor * size_px * gsd_m / 2
    x, y = (west + east) / 2, (south + north) / 2
    return np.stack([x - half, y - half, x + half, y + half], axis=1)
