"""Draws printed maps of one task: how right and how certain its predictions are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyproj
import shapely
from jaxtyping import Bool, Float, Int32
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.text import Text

from mmgr_jax.data.schema import Label
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.geo import marginalia, panels, sheet, systems
from mmgr_jax.geo.panels import Breaks, Panel
from mmgr_jax.terminal import visible

DPI = 150
"""Dots an inch; the figure is 13.1 inches wide."""

CLUSTERS_UNIT = "regions that look alike"

CASING = dict(edgecolors="#6e6e6e", linewidths=1.6)


def task_map(
    path: str | Path,
    *,
    geometry_wkb: Sequence[bytes],
    crs: str,
    truth: Float[np.ndarray, "r ..."],
    prediction: Float[np.ndarray, "r ..."],
    label: Label,
    task: str,
    breaks: Breaks | None = None,
    about: Sequence[str] = (),
) -> None:
    """Draws truth, prediction and error of one task as a PNG.

    For numbers, truth and prediction share round breaks. The error is prediction minus
    truth, with breaks symmetric around zero. For shares, the map shows the class with
    the largest share, and the L1 distance between the distributions. For classes it
    shows the same with their probabilities. Regions without a label are hatched. All
    panels have the same scale, and breaks are printed as used.

    Args:
        path: PNG to write; missing folders are made.
        geometry_wkb: Polygons of the regions in `crs`.
        crs: A projected CRS, such as "EPSG:32651".
        truth: Values [r], classes [r] or shares [r k]; NaN where unknown.
        prediction: Predictions of every region: [r], or [r k] for classes and shares.
        label: Kind, unit, classes, year and source of the truth.
        task: Name of the label.
        breaks: Values at which colours of numbers change; None: breaks of the truth.
        about: Lines below the title: how the prediction was made, and how good it is.

    Raises:
        InputError: If a prediction is missing, no label is known, shapes differ, the
            CRS is not projected or a geometry is not a polygon.
    """
    path = Path(path)
    if label.kind == "class":
        truth = panels.certain(truth, len(label.classes))
    _check(path, geometry_wkb, label, truth=truth, prediction=prediction)
    if not np.isfinite(truth).any():
        raise InputError(
            f"{path}: no region has a known label, so there is nothing to compare. "
            "Check the label's coverage."
        )
    if label.classes:
        shown = panels.shares(truth, prediction, label)
        legend = panels.shown_classes(shown, label)
        key_height = max(marginalia.legend_height(legend), marginalia.BAR_HEIGHT)
    else:
        breaks = breaks or Breaks.of(truth)
        shown, legend = panels.numbers(truth, prediction, label, breaks), {}
        key_height = marginalia.BAR_HEIGHT
    system = _projected(path, crs)
    figure, layout, paper = _printed(
        path, geometry_wkb, system, key_height, shown, task, label, about=about
    )
    if legend:
        marginalia.draw_legend(figure, layout, legend)
    else:
        _draw_bar(figure, layout, shown[0], (0, 1))
    _draw_bar(figure, layout, shown[2], (2, 2))
    known = np.isfinite(shown[0].values)
    marginalia.draw_footer(paper, layout, system, label, known)
    _save(figure, path, f"{task} ({marginalia.crs_name(system)})")


def certainty_map(
    path: str | Path,
    *,
    geometry_wkb: Sequence[bytes],
    crs: str,
    prediction: Float[np.ndarray, "r ..."],
    low: Float[np.ndarray, "r ..."],
    high: Float[np.ndarray, "r ..."],
    unlike: Bool[np.ndarray, " r"],
    level: float,
    label: Label,
    task: str,
    breaks: Breaks | None = None,
    about: Sequence[str] = (),
) -> None:
    """Draws a prediction between the ends of its intervals as a PNG.

    All panels share their breaks. For shares, the map shows the class whose predicted
    share is the largest. Regions unlike the training regions are hatched: value and
    interval are a guess there.

    Args:
        path: PNG to write; missing folders are made.
        geometry_wkb: Polygons of the regions in `crs`.
        crs: A projected CRS, such as "EPSG:32651".
        prediction: Predictions [r] or shares [r k].
        low: Lower ends, in the same shape; infinite where nothing can be promised.
        high: Upper ends, likewise.
        unlike: True for regions that are hatched.
        level: Level of the intervals, in (0, 1).
        label: Kind, unit, classes and year.
        task: Name of the label.
        breaks: As in `task_map`, so that colours mean the same; None: breaks of the
            prediction.
        about: As in `task_map`.

    Raises:
        InputError: If a prediction is missing, shapes differ, the CRS is not projected
            or a geometry is not a polygon.
    """
    path = Path(path)
    _check(path, geometry_wkb, label, low=low, high=high, prediction=prediction)
    breaks = breaks or Breaks.of(prediction.ravel())
    shown = panels.certainty(prediction, low, high, level, label, breaks)
    system = _projected(path, crs)
    figure, layout, paper = _printed(
        path, geometry_wkb, system, marginalia.BAR_HEIGHT, shown, task, label,
        unlike=unlike, about=about,
    )  # fmt: skip
    _draw_bar(figure, layout, shown[0], (0, 2))
    marginalia.draw_footer(paper, layout, system, label, unlike=unlike)
    _save(figure, path, f"{task}, certainty ({marginalia.crs_name(system)})")


def cluster_map(
    path: str | Path,
    *,
    geometry_wkb: Sequence[bytes],
    crs: str,
    members: Mapping[int, Int32[np.ndarray, " r"]],
) -> None:
    """Draws the regions in three numbers of clusters, coarse to fine, as a PNG.

    A colour stands for a cluster of its own panel; cluster 0 is the largest. The same
    colour in two panels means nothing.

    Args:
        path: PNG to write; missing folders are made.
        geometry_wkb: Polygons of the regions in `crs`.
        crs: A projected CRS, such as "EPSG:32651".
        members: Number of clusters -> the cluster of each region; three entries.

    Raises:
        InputError: If the CRS is not projected or a geometry is not a polygon.
    """
    path = Path(path)
    shown = panels.clusters(members)
    label = Label("scalar", CLUSTERS_UNIT)
    system = _projected(path, crs)
    figure, layout, paper = _printed(
        path, geometry_wkb, system, marginalia.BAR_HEIGHT, shown, "clusters", label
    )
    for index, panel in enumerate(shown):
        _draw_bar(figure, layout, panel, (index, index))
    known = np.ones(len(geometry_wkb), bool)
    marginalia.draw_footer(paper, layout, system, label, known)
    _save(figure, path, f"clusters ({marginalia.crs_name(system)})")


def _printed(
    path: Path,
    geometry_wkb: Sequence[bytes],
    system: pyproj.CRS,
    key_height: float,
    shown: list[Panel],
    task: str,
    label: Label,
    *,
    unlike: Bool[np.ndarray, " r"] | None = None,
    about: Sequence[str] = (),
) -> tuple[Figure, sheet.Sheet, Axes]:
    """Draws a sheet with its title and panels, without legends."""
    geometry = shapely.from_wkb(geometry_wkb)
    outlines = _outlines(path, geometry)
    layout = sheet.lay_out(geometry, system, key_height, len(about))
    figure = Figure(figsize=(layout.width, layout.height))
    paper = sheet.add_axes(figure, layout)
    paper.set(xlim=(0, layout.width), ylim=(0, layout.height))
    paper.axis("off")
    marginalia.draw_title(paper, layout, task, label, about)
    for index, panel in enumerate(shown):
        axes = _draw_panel(figure, layout, index, panel, outlines)
        if unlike is not None and unlike.any():
            chosen = [outlines[i] for i in np.flatnonzero(unlike)]
            axes.add_collection(
                PathCollection(chosen, **marginalia.UNLIKE), autolim=False
            )
    return figure, layout, paper


def _draw_panel(
    figure: Figure,
    layout: sheet.Sheet,
    index: int,
    panel: Panel,
    outlines: list[Outline],
) -> Axes:
    axes = sheet.add_axes(
        figure,
        layout,
        left=layout.left(index),
        bottom=sheet.FOOTER + layout.key_height,
        width=sheet.PANEL_WIDTH,
        height=layout.panel_height,
    )
    west_east, south_north = layout.limits()
    axes.set(xlim=west_east, ylim=south_north)
    axes.set(xticks=[], yticks=[])
    axes.set_title(panel.title, fontsize=marginalia.TEXT_SIZE + 1, loc="left", pad=5)
    # Drawn below the regions, their edges show around the city alone: a pale region
    # at its border is told from the paper.
    casing = PathCollection(outlines, facecolors="none", **CASING)
    axes.add_collection(casing, autolim=False)
    known = np.isfinite(panel.values)
    colored = PathCollection(
        [outlines[i] for i in np.flatnonzero(known)],
        array=panel.values[known],
        cmap=panel.cmap,
        norm=panel.norm,
        edgecolors="face",  # closes the hairlines between neighbours
        linewidths=0.5,
    )
    axes.add_collection(colored, autolim=False)
    if not known.all():
        unknown = [outlines[i] for i in np.flatnonzero(~known)]
        axes.add_collection(
            PathCollection(unknown, **marginalia.UNKNOWN), autolim=False
        )
    return axes


def _draw_bar(
    figure: Figure, layout: sheet.Sheet, panel: Panel, panels: tuple[int, int]
) -> None:
    marginalia.draw_bar(
        figure,
        layout,
        norm=panel.norm,
        cmap=panel.cmap,
        panels=panels,
        unit=panel.unit,
    )


def _outlines(path: Path, geometry: np.ndarray) -> list[Outline]:
    """Closed paths with holes, which run in the opposite direction to stay empty."""
    kinds = {item.geom_type for item in geometry} - {"Polygon", "MultiPolygon"}
    if kinds:
        raise InputError(
            f"{path}: regions must be polygons, found {', '.join(sorted(kinds))}"
        )
    outlines = []
    for region in shapely.orient_polygons(geometry):
        rings = shapely.get_rings(shapely.get_parts(region))
        rings = [Outline(shapely.get_coordinates(ring), closed=True) for ring in rings]
        outlines.append(Outline.make_compound_path(*rings))
    return outlines


def _check(
    path: Path,
    geometry_wkb: Sequence[bytes],
    label: Label,
    **given: np.ndarray,
) -> None:
    """Checks that all have the shape of the label, and no prediction is missing."""
    shape = (len(label.classes),) if label.classes else ()
    expected = (len(geometry_wkb), *shape)
    for name, values in given.items():
        if values.shape != expected:
            raise InputError(
                f"{path}: {name} has shape {values.shape}, expected {expected} for "
                f"{len(geometry_wkb)} regions of kind {label.kind!r}"
            )
    flat = given["prediction"].reshape(len(geometry_wkb), -1)
    missing = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(missing):
        raise InputError(
            f"{path}: the prediction is missing for {len(missing)} of {len(flat)} "
            f"regions, the first in row {missing[0]}. Evaluate again with features "
            "of every region."
        )


def _projected(path: Path, crs: str) -> pyproj.CRS:
    system = systems.known(path, crs)
    if not system.is_projected:
        raise InputError(
            f"{path}: CRS {crs!r} counts in degrees, so a scale bar would be wrong. "
            'Use a metric one as config.city.crs, such as "EPSG:32651".'
        )
    return system


def _save(figure: Figure, path: Path, title: str) -> None:
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar in a unit or name is a dollar
        text.set_text(visible(text.get_text(), keep="\n"))
    with files.replacing(path) as temporary:
        metadata = {"Title": visible(title)}
        figure.savefig(temporary, dpi=DPI, format="png", metadata=metadata)
