"""Reports what a build would do: regions, POIs, labels, disk and time."""

from __future__ import annotations

import time

import numpy as np

from data_prep.city import City, encoded
from data_prep.imagery.mosaic import Imagery
from data_prep.pois import table as pois
from data_prep.records import writer
from data_prep.records.settings import RecordSettings
from mmgr_jax import cores
from mmgr_jax.terminal import duration

_SAMPLE = 64
_SHARD_BYTES = 2**17  # index and padding of an ArrayRecord file, measured
_BAR = 40
_TOP = 10


def report(city: City, imagery: Imagery, settings: RecordSettings) -> str:
    """Returns a text on what the records of a city would hold.

    Args:
        city: The city, gathered from its sources.
        imagery: The open imagery, to encode a sample of tiles.
        settings: Number of shards, and how tiles are stored.

    Returns:
        The text.
    """
    regions = city.regions
    left_out = pois.counted(regions.dropped) or "none"
    noted = pois.counted(city.report["regions noted"])
    lines = [
        f"{city.name}, {city.crs}: {len(regions):,} regions of "
        f"{regions.tile_size_px} px = {regions.tile_size_m:g} m in "
        f"{city.splits.block_id.max() + 1} blocks of {city.splits.block_size_m:g} m",
        f"  left out: {left_out}",
        *([f"  of the regions: {noted}"] if noted else []),
        "",
        *_poi_lines(city),
        "",
        "labels",
        *_label_lines(city),
        "",
        _cost_line(city, imagery, settings),
        "dry run: nothing was written",
    ]
    return "\n".join(lines)


def _poi_lines(city: City) -> list[str]:
    if not len(city.pois):
        return ["POIs: none, since config.pois.path is None: images alone"]
    counts = city.assignment.counts
    dropped = pois.counted(dict(city.report["POIs dropped"])) or "none"
    lines = [
        f"POIs: {city.report['POIs inside']:,} in regions; left out: {dropped}",
        f"  regions without POI: {city.empty_share:.1%}; most in one region: "
        f"{counts.max():,}; median {np.median(counts):g}",
        "  POIs a region",
        *_histogram(counts),
    ]
    if city.regions.poi_buffer_m:
        lines.append(
            f"  a POI counts in every region within {city.regions.poi_buffer_m:g} m"
        )
    lines.append(f"  categories: {len(city.pois.categories)}, the largest:")
    used = np.bincount(
        city.pois.category[city.assignment.poi], minlength=len(city.pois.categories)
    )
    for category in np.argsort(-used, kind="stable")[:_TOP]:
        lines.append(f"    {used[category]:>8,}  {city.pois.categories[category]}")
    return lines


def _histogram(counts: np.ndarray) -> list[str]:
    """Regions by number of POIs: 0, 1, 2-3, 4-7, ... as bars."""
    bins = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))) + 1, 0)
    totals = np.bincount(bins.astype(int))
    lines = []
    for index, total in enumerate(totals):
        low, high = (0, 0) if index == 0 else (2 ** (index - 1), 2**index - 1)
        span = f"{low}" if low == high else f"{low}-{high}"
        bar = "#" * round(_BAR * total / totals.max())
        lines.append(f"    {span:>11} {total:>8,} {bar}")
    return lines


def _label_lines(city: City) -> list[str]:
    lines = []
    for name, values in city.labels.items():
        meaning = city.meanings[name]
        known = ~np.isnan(values).reshape(len(values), -1).any(axis=1)
        line = f"  {name} ({meaning.kind}, {meaning.unit}): "
        line += f"{known.mean():.1%} of the regions known"
        report = city.report["labels"][name]
        if "mean covered share" in report:  # not of a table, which knows no area
            line += f", source covers {report['mean covered share']:.1%} of their area"
        if known.any() and meaning.kind == "class":
            counts = np.bincount(
                values[known].astype(int), minlength=len(meaning.classes)
            )
            line += "; regions: " + ", ".join(
                f"{label} {count:,}"
                for label, count in zip(meaning.classes, counts, strict=True)
            )
        elif known.any() and values.ndim == 1:
            middle = np.median(values[known])
            line += f"; {values[known].min():g} to {values[known].max():g}, "
            line += f"median {middle:g}"
        if known.any() and values.ndim == 2:
            means = values[known].mean(axis=0)
            line += "; mean " + ", ".join(
                f"{label} {share:.2f}"
                for label, share in zip(meaning.classes, means, strict=True)
            )
        lines.append(line)
    return lines or ["  none"]


def _cost_line(city: City, imagery: Imagery, settings: RecordSettings) -> str:
    """Disk and time, from encoding tiles spread over the city."""
    count = len(city.regions)
    chosen = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int))
    start = time.monotonic()
    examples = encoded(city, imagery, writer.tile_writer(settings), chosen.tolist())
    sizes = [len(example) for example in examples]
    seconds = (time.monotonic() - start) / len(sizes) * count
    num_shards = min(settings.num_shards, count)
    mebibytes = (np.mean(sizes) * count + _SHARD_BYTES * num_shards) / 2**20
    return (
        f"a build would write about {mebibytes:,.1f} MiB in {num_shards} shards, in "
        f"about {duration(seconds)} on {cores.count()} cores"
    )
