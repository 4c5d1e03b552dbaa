"""What the records of a city look like: maps, histograms, tiles with their POIs."""

from __future__ import annotations

import io

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from data_prep.alignment.doctor import Alignment
from data_prep.validate.content import SAMPLES, Content, ShownTile
from mmgr_jax.data.schema import Label
from mmgr_jax.legend import breaks, colours, printed
from mmgr_jax.terminal import visible

_DPI = 110
_MAP_WIDTH_IN, _MAP_HEIGHT_IN = 4.6, (2.5, 7.0)  # of the axes; least and most height
_NONE = "#dddddd"
_INK = "#1f4e79"


def poi_map(content: Content) -> bytes | None:
    """Maps how many POIs each region holds, in round classes; None where unknown."""
    if not content.manifest.crs:
        return None
    figure, axes, has_area = _city(content)
    counts = content.num_pois[has_area].astype(float)
    edges = breaks.of_values(counts[counts > 0].tolist())
    shades = colours.ramp(colours.VALUES, len(edges) + 1)
    place = np.array([breaks.place(count, edges) for count in counts.tolist()], int)
    filled = [shades[at] for at in place.tolist()]
    names = printed.classes(edges)
    look = np.where(counts == 0, _NONE, np.array(filled, dtype=object)).tolist()
    axes.add_collection(PolyCollection(_outlines(content, has_area), facecolors=look))
    handles = [Patch(facecolor=_NONE, label="no POI")]
    handles += [
        Patch(facecolor=shade, label=name)
        for shade, name in zip(shades, names, strict=True)
    ]
    axes.legend(
        handles=handles, title="POIs in a region", ncols=3, fontsize=9,
        title_fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12),
        frameon=False,
    )  # fmt: skip
    _finish(axes, content)
    return _png(figure)


def block_map(content: Content) -> bytes | None:
    """Maps spatial blocks, neighbours in different colours; None where unknown."""
    if not content.manifest.crs:
        return None
    figure, axes, has_area = _city(content)
    # Neighbouring blocks differ in colour: a hash of the number, not its rank.
    shade = (content.block_id[has_area] * 2654435761 % 20) / 20
    hues = ScalarMappable(Normalize(0, 1), "tab20").to_rgba(shade)
    axes.add_collection(PolyCollection(_outlines(content, has_area), facecolors=hues))
    _finish(axes, content)
    return _png(figure)


def _city(content: Content) -> tuple[Figure, Axes, np.ndarray]:
    """A figure as wide as a phone's screen, and which regions have an outline."""
    figure = Figure(figsize=(5.4, _map_height_in(content)), layout="constrained")
    return figure, figure.subplots(), shapely.area(content.geometry) > 0


def _outlines(content: Content, has_area: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(_exterior(g)) for g in content.geometry[has_area]]


def _finish(axes: Axes, content: Content) -> None:
    axes.autoscale_view()
    axes.set_aspect("equal")
    _plain(axes.set_xlabel(f"east, m ({content.manifest.crs})"))
    axes.set_ylabel("north, m")
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.set_facecolor("#f7f7f7")
    axes.locator_params(nbins=4)


def label_histogram(content: Content, name: str) -> bytes:
    """The distribution of a label."""
    figure = Figure(figsize=(4.2, 3.1), layout="constrained")
    meaning, values = content.manifest.labels[name], content.labels[name]
    _histogram(figure.subplots(), name, meaning, values)
    return _png(figure)


def tiles(content: Content) -> list[tuple[str, int, bytes]]:
    """Tiles spread over the city, with their POIs at their places; all at one scale.

    Returns:
        Name, number of POIs and picture of each region.
    """
    shown = content.samples[:SAMPLES]
    reach_m = _reach_m(shown, content.manifest.tile_size_m)
    drawn = []
    for sample in shown:
        figure = Figure(figsize=(2.4, 2.4))
        axes = figure.add_axes((0, 0, 1, 1))
        _tile(axes, sample, content.manifest.tile_size_m, reach_m)
        picture = _png(figure, whole=False)
        drawn.append((sample.region_id, len(sample.category), picture))
    return drawn


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
    figure.colorbar(
        shown,
        ax=axes,
        label=("difference between POIs and other places, standard deviations"),
    )
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
    return float(np.clip(high, *_MAP_HEIGHT_IN)) + 1.4  # ticks and legend


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
    axes.set_xticks([])
    axes.set_yticks([])


def _exterior(shape: shapely.Geometry) -> list[tuple[float, float]]:
    """Outer ring of a polygon, of the largest part of a multipolygon."""
    parts = shapely.get_parts(shape)
    largest = parts[int(np.argmax(shapely.area(parts)))]
    return list(largest.exterior.coords)


def _plain(text: Text) -> None:
    """Somebody's words: a dollar is a dollar, a line is one line."""
    text.set_parse_math(False)
    text.set_text(visible(text.get_text()))


def _png(figure: Figure, *, whole: bool = True) -> bytes:
    """The figure; `whole`: with what lies beyond its edges, such as a legend."""
    buffer = io.BytesIO()
    box = "tight" if whole else None
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches=box, pad_inches=0.08)
    return buffer.getvalue()
