"""Rebuilt blocks of generated cities, and what is called changed; see the section."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import stats

import mmgr_jax
from data_prep.toy_city import renewal
from data_prep.toy_city.area import make_area
from data_prep.toy_city.city import GeneratedCity, make_city
from data_prep.toy_city.settings import ToyCitySettings
from mmgr_jax.evaluation import change
from mmgr_jax.evaluation.certainty import discoveries
from mmgr_jax.evaluation.features.tile_statistics import image_statistics

REBUILT = 0.04
"""Of the blocks."""

YEARS: dict[str, dict[str, Any]] = {
    "same season": dict(flight=1, imagery_shift_m=(0.8, -0.6)),
    "other season": dict(
        flight=2,
        imagery_shift_m=(-0.7, 0.7),
        season=0.4,
        haze=0.1,
        sun_azimuth_deg=170.0,
        sun_elevation_deg=52.0,
    ),
}
LEVELS = (0.05, 0.1, 0.2)
CHANGED, UNTOUCHED = 0.25, 0.005
"""Share of a region in rebuilt blocks."""

NAMED = 150
READINGS = 2

Tiles = UInt8[np.ndarray, "r h w 3"]
Key = tuple[str, str, str]
"""Features, second year, method."""

log = logging.getLogger(__name__)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each encoder, second year and method."""
    encoders: dict[str, Callable[[Tiles], np.ndarray]] = {
        "image statistics": image_statistics
    }
    if options.encoder:
        encoders["MMGR image"] = mmgr_jax.load(options.encoder).embed_tiles
    results: dict[Key, list[list[float]]] = {}
    for number, seed in enumerate(options.seeds, start=1):
        log.info("city %d of %d", number, len(options.seeds))
        for key, figures in of_city(seed, options, encoders):
            results.setdefault(key, []).append(figures)
    return [row(key, np.array(figures)) for key, figures in results.items()]


def of_city(
    seed: int,
    options: argparse.Namespace,
    encoders: Mapping[str, Callable[[Tiles], np.ndarray]],
) -> Iterator[tuple[Key, list[float]]]:
    """Features, second year and method -> figures of one city; see `_figures`."""
    share, tiles = _painted(seed, options.regions, options.cache)
    rng = np.random.default_rng([seed, 1])
    again = [change.read_again(tiles["first"], rng) for _ in range(READINGS)]
    for name, embed in encoders.items():
        earlier, *moved = (embed(part) for part in (tiles["first"], *again))
        for year in YEARS:
            for way, figures in _ways(earlier, embed(tiles[year]), moved, share, rng):
                yield (name, year, way), figures


def _ways(
    earlier: np.ndarray,
    later: np.ndarray,
    moved: list[np.ndarray],
    share: Float[np.ndarray, " r"],
    rng: np.random.Generator,
) -> Iterator[tuple[str, list[float]]]:
    """Method -> its figures in one city: see `_figures`."""
    plain = plain_distance(earlier, later, common=True)
    yield "plain distance, common moments", _figures(*normal_null(plain), share)
    plain = plain_distance(earlier, later, common=False)
    yield "plain distance, own moments", _figures(*normal_null(plain), share)
    measured = change.measure(earlier, later, moved)
    yield "half", _figures(measured.factor, measured.q_value, share)
    untouched = np.flatnonzero(share < UNTOUCHED)
    named = np.zeros(len(share), bool)
    named[rng.choice(untouched, min(NAMED, len(untouched) // 2), replace=False)] = True
    measured = change.measure(earlier, later, moved, unchanged=named)
    yield "named", _figures(measured.factor, measured.q_value, share)


def plain_distance(
    earlier: np.ndarray, later: np.ndarray, *, common: bool
) -> Float[np.ndarray, " r"]:
    """Distances of features that are standardised by the first year, or by each own."""
    moments = [(part.mean(axis=0), part.std(axis=0)) for part in (earlier, later)]
    if common:
        moments[1] = moments[0]
    old, new = (
        (part - mean) / np.where(deviation > 1e-6, deviation, np.inf)
        for part, (mean, deviation) in zip((earlier, later), moments, strict=True)
    )
    return np.linalg.norm(new - old, axis=1)


def normal_null(
    distance: Float[np.ndarray, " r"],
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """The usual threshold: a normal distribution about the median, by its quartiles."""
    value = np.log(distance)
    low, middle = np.quantile(value, [0.25, 0.5])
    p_value = stats.norm.sf((value - middle) / ((middle - low) / 0.6745))
    return distance, discoveries.adjusted(p_value)


def _figures(
    amount: Float[np.ndarray, " r"],
    q_value: Float[np.ndarray, " r"],
    share: Float[np.ndarray, " r"],
) -> list[float]:
    """Area under the curve; at each level share of wrong ones, and recall."""
    untouched, rebuilt = share < UNTOUCHED, share >= CHANGED
    ranks = stats.mannwhitneyu(amount[rebuilt], amount[untouched]).statistic
    figures = [float(ranks / (rebuilt.sum() * untouched.sum()))]
    for level in LEVELS:
        hit: Bool[np.ndarray, " r"] = q_value <= level
        wrong = (hit & untouched).sum() / max(hit.sum(), 1)
        figures += [float(wrong), float(hit[rebuilt].mean())]
    return figures


def row(key: Key, figures: Float[np.ndarray, "t m"]) -> dict[str, Any]:
    """A line of the table, from the figures of all cities."""
    trials = len(figures)
    mean = figures.mean(axis=0)
    error = figures.std(axis=0, ddof=1) / np.sqrt(trials) if trials > 1 else mean * 0
    line: dict[str, Any] = dict(
        zip(("features", "second year", "method"), key, strict=True)
    )
    line |= {"cities": trials, "AUC": round(float(mean[0]), 3)}
    for number, level in enumerate(LEVELS):
        wrong, recall = mean[1 + 2 * number], mean[2 + 2 * number]
        line[f"wrong at {level:g}"] = f"{wrong:.3f} ± {2 * error[1 + 2 * number]:.3f}"
        line[f"recall at {level:g}"] = round(float(recall), 2)
    return line


def _painted(
    seed: int, side: int, cache: Path | None
) -> tuple[Float[np.ndarray, " r"], dict[str, Tiles]]:
    """Share of each region that was rebuilt, and the tiles of all years."""
    path = None if cache is None else cache / f"{seed}_{side}.npz"
    if path is not None and path.exists():
        held = dict(np.load(path))
        return held.pop("share"), held
    area = make_area((side, side), 128.0, 2.0, "EPSG:32651")
    plain = ToyCitySettings("", seed, (side, side))
    first = make_city(area, seed)
    second = renewal.renew(first, REBUILT, plain.poi_habits)
    paint = functools.partial(_tiles, side=side)
    tiles = {"first": paint(first, plain)} | {
        name: paint(second, ToyCitySettings("", rebuilt_share=REBUILT, **options))
        for name, options in YEARS.items()
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        held: dict[str, Any] = {"share": second.share_of_regions, **tiles}
        np.savez(path, **held)
    return second.share_of_regions, tiles


def _tiles(city: GeneratedCity, settings: ToyCitySettings, *, side: int) -> Tiles:
    area = city.area
    mosaic = np.zeros((*area.shape_px, 3), np.uint8)
    for (row, column), picture, _ in renewal.painter(city, settings).windows():
        height, width = picture.shape[:2]
        mosaic[row : row + height, column : column + width] = picture
    px = round(area.region_size_m / area.gsd_m)
    cut = mosaic[: side * px, : side * px].reshape(side, px, side, px, 3)
    return cut.swapaxes(1, 2).reshape(side * side, px, px, 3)
