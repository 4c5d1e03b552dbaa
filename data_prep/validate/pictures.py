"""What the records of a city look like: maps, histograms, tiles with their POIs."""

from __future__ import annotations

import io

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from data_prep.alignment.doctor import Alignment
from data_prep.validate.content import SAMPLES, Content, ShownTile
from mmgr_jax.data.schema import Label
from mmgr_jax.terminal import visible

_DPI = 110
_COLUMNS = 4
_MAP_WIDTH_IN, _MAP_HEIGHT_IN = 4.6, (2.5, 7.0)  # of the axes; least and most height
_NONE = "#dddddd"
_INK = "#1f4e79"


def region_map(content: Content) -> bytes | None:
    """Where regions lie, and how many POIs each holds; None where nobody knows."""
    if not content.manifest.crs:
        return None
    figure = Figure(figsize=(11, _map_height_in(content)), layout="constrained")
    left, right = figure.subplots(1, 2)
    has_area = shapely.area(content.geometry) > 0
    outlines = [np.asarray(_exterior(g)) for g in content.geometry[has_area]]
    counts = content.num_pois[has_area].astype(float)
    norm = LogNorm(1, max(counts.max(), 2))
    left.set_title(f"POIs a region (grey: none, {np.mean(counts == 0):.0%})")
    colours = ScalarMappable(norm, "viridis").to_rgba(np.maximum(counts, 1))
    colours[counts == 0] = (*(int(_NONE[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1)
    left.add_collection(PolyCollection(outlines, facecolors=colours))
    bar = figure.colorbar(
        ScalarMappable(norm, "viridis"), ax=left, label="POIs", shrink=0.8
    )
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    right.set_title(
        f"{len(np.unique(content.block_id)):,} spatial blocks of "
        f"{content.manifest.block_size_m:g} m"
    )
    # Neighbouring blocks differ in colour: a hash of the number, not its rank.
    shade = (content.block_id[has_area] * 2654435761 % 20) / 20
    hues = ScalarMappable(Normalize(0, 1), "tab20").to_rgba(shade)
    right.add_collection(PolyCollection(outlines, facecolors=hues))
    for axes in (left, right):
        axes.autoscale_view()
        axes.set_aspect("equal")
        _plain(axes.set_xlabel(f"east, m ({content.manifest.crs})"))
        axes.tick_params(labelsize=7)
        axes.ticklabel_format(style="plain", useOffset=False)
        axes.set_facecolor("#f7f7f7")
        _few_ticks(axes)
    left.set_ylabel("north, m")
    return _png(figure)


def label_histograms(content: Content) -> bytes | None:
    """The distribution of each label; None where there is none."""
    labels = content.manifest.labels
    if not labels:
        return None
    rows = -(-len(labels) // 3)
    figure = Figure(figsize=(11, 3.1 * rows), layout="constrained")
    axes_of = figure.subplots(rows, 3, squeeze=False).reshape(-1)
    for axes, (name, meaning) in zip(axes_of, labels.items(), strict=False):
        _histogram(axes, name, meaning, content.labels[name])
    for axes in axes_of[len(labels) :]:
        axes.set_axis_off()
    return _png(figure)


def tiles(content: Content) -> bytes:
    """Tiles spread over the city, with their POIs at their places; all at one scale."""
    rows = -(-len(content.samples) // _COLUMNS)
    figure = Figure(figsize=(11, 2.95 * rows), layout="constrained")
    axes_of = figure.subplots(rows, _COLUMNS, squeeze=False).reshape(-1)
    shown = content.samples[:SAMPLES]
    reach_m = _reach_m(shown, content.manifest.tile_size_m)
    for axes, sample in zip(axes_of, shown, strict=False):
        _tile(axes, sample, content.manifest.tile_size_m, reach_m)
    for axes in axes_of[len(content.samples) :]:
        axes.set_axis_off()
    return _png(figure)


def alignment(measured: Alignment) -> bytes | None:
    """How well POIs fit the imagery at each shift; None where nothing was measured."""
    if np.isnan(measured.agreement).all():
        return None
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    reach_m = float(measured.offsets_m[-1])
    half_m = float(np.diff(measured.offsets_m[:2])[0]) / 2
    edge = (-reach_m - half_m, reach_m + half_m)
    shown = axes.imshow(
        measured.agreement, origin="lower", extent=(*edge, *edge), cmap="viridis"
    )
    figure.colorbar(shown, ax=axes, label="POIs and places elsewhere apart, deviations")
    axes.plot(0, 0, "+", color="white", markersize=12, label="as they are")
    if measured.shift_m is not None:
        axes.plot(
            *measured.shift_m,
            "o", mfc="none", mec="#ff5533", markersize=12, label="best",
        )  # fmt: skip
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel("POIs moved east, m")
    axes.set_ylabel("POIs moved north, m")
    return _png(figure)


def _histogram(axes: Axes, name: str, meaning: Label, values: np.ndarray) -> None:
    known = ~np.isnan(values.reshape(len(values), -1)).any(axis=1)
    _plain(axes.set_title(f"{name}: {known.mean():.0%} of regions known", fontsize=10))
    axes.tick_params(labelsize=7)
    if not known.any():
        axes.set_axis_off()
        return
    if meaning.classes:
        means = values[known].mean(axis=0)
        axes.barh(np.arange(len(means)), means, color=_INK)
        names = [visible(name) for name in meaning.classes]
        for tick in axes.set_yticks(np.arange(len(means)), names):
            tick.label1.set_parse_math(False)
        axes.invert_yaxis()
        axes.set_xlabel("mean share")
        return
    shown = values[known]
    bins = int(np.clip(2 * np.sqrt(len(shown)), 5, 30))
    positive = shown[shown > 0]
    heavy = len(positive) and np.median(positive) * 20 < shown.max()
    if heavy:  # a linear axis would show one bar
        axes.hist(
            positive,
            np.geomspace(positive.min(), positive.max(), bins + 1),
            color=_INK,
        )
        axes.set_xscale("log")
        zeros = int((shown <= 0).sum())
        _plain(axes.set_xlabel(f"{meaning.unit} ({zeros:,} regions at 0 not shown)"))
    else:
        axes.hist(shown, bins, color=_INK)
        _plain(axes.set_xlabel(meaning.unit))
    axes.set_ylabel("regions")


def _map_height_in(content: Content) -> float:
    """Height of a figure whose axes are as wide and high as the city is."""
    west, south, east, north = shapely.total_bounds(content.geometry)
    high = _MAP_WIDTH_IN * (north - south) / max(east - west, 1e-9)
    return float(np.clip(high, *_MAP_HEIGHT_IN)) + 0.9  # titles and ticks


def _reach_m(samples: list[ShownTile], tile_size_m: float) -> float:
    """Half the side of a picture that holds the tile and all POIs of all samples."""
    half_m = tile_size_m / 2
    furthest_m = max(
        (float(np.abs(sample.offset_m).max(initial=0)) for sample in samples),
        default=0.0,
    )
    return half_m if furthest_m <= half_m else 1.05 * furthest_m


def _tile(axes: Axes, sample: ShownTile, tile_size_m: float, reach_m: float) -> None:
    half = tile_size_m / 2 or sample.tile.shape[0] / 2
    axes.imshow(sample.tile, extent=(-half, half, -half, half))
    if tile_size_m:
        east, north = sample.offset_m.T
        axes.scatter(east, north, s=14, c="#ffd400", edgecolors="black", linewidths=0.5)
        axes.set_xlim(-reach_m, reach_m)
        axes.set_ylim(-reach_m, reach_m)
    title = f"{sample.region_id}, {len(sample.category)} POIs"
    _plain(axes.set_title(title, fontsize=9))
    axes.set_xticks([])
    axes.set_yticks([])


def _exterior(shape: shapely.Geometry) -> list[tuple[float, float]]:
    """Outer ring of a polygon, of the largest part of a multipolygon."""
    parts = shapely.get_parts(shape)
    largest = parts[int(np.argmax(shapely.area(parts)))]
    return list(largest.exterior.coords)


def _few_ticks(axes: Axes) -> None:
    axes.locator_params(nbins=4)


def _plain(text: Text) -> None:
    """Somebody's words: a dollar is a dollar, a line is one line."""
    text.set_parse_math(False)
    text.set_text(visible(text.get_text()))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
