"""Draws title, colour bars, legend, scale bar and north arrow of a printed map."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyproj
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

from mmgr_jax.data.schema import Label
from mmgr_jax.geo import symbols
from mmgr_jax.geo.sheet import FOOTER, GAP, MARGIN, PANEL_WIDTH, Sheet, add_axes
from mmgr_jax.legend import printed

TEXT_SIZE = 10
TITLE_SIZE = 14
# Inches:
BAR_HEIGHT = 0.8  # colour bar with its breaks and unit
BAR_INSET = 0.35  # so that the outermost breaks stay within their panels
LEGEND_ROW = 0.205
LEGEND_CHARACTER = 0.078  # mean advance of a letter at TEXT_SIZE, generous
DIGIT = 0.08  # advance of a digit at TEXT_SIZE - 1
HALF_LABEL = 0.42  # half a scale bar that has room for a number in its middle
SOURCE_CHARACTERS = 110  # what fits beside the scale bar
ABOUT_CHARACTERS = 170  # a line of the width of the paper
UNKNOWN = dict(facecolor="#e3e3e3", edgecolor="#8c8c8c", hatch="/////", linewidth=0)
"""How regions without a label look."""
UNLIKE = dict(facecolor="none", edgecolor="#e8000b", hatch="xxxx", linewidth=0)
"""What lies over regions unlike the training ones."""


def draw_title(
    paper: Axes, sheet: Sheet, task: str, label: Label, about: Sequence[str]
) -> None:
    """Draws task, unit and year at the top left, and what the map is made of."""
    unit = {"share": "area shares", "class": "classes"}.get(label.kind, label.unit)
    year = f", {label.year}" if label.year else ""
    paper.text(
        MARGIN,
        sheet.height - 0.2,
        f"{task.replace('_', ' ')}: {unit}{year}",
        fontsize=TITLE_SIZE,
        fontweight="bold",
        va="top",
    )
    if about:
        paper.text(
            MARGIN,
            sheet.height - 0.5,
            "\n".join(textwrap.shorten(line, ABOUT_CHARACTERS) for line in about),
            fontsize=TEXT_SIZE,
            va="top",
            linespacing=1.4,
        )


def draw_bar(
    figure: Figure,
    sheet: Sheet,
    *,
    norm: BoundaryNorm,
    cmap: Colormap,
    panels: tuple[int, int],
    unit: str,
) -> None:
    """Draws a colour bar with all breaks under the panels `first .. last`.

    Open classes at the ends have no number beside them.
    """
    first, last = panels
    left = sheet.left(first) + BAR_INSET
    width = sheet.left(last) + PANEL_WIDTH - BAR_INSET - left
    bottom = FOOTER + sheet.key_height - 0.3
    axes = add_axes(figure, sheet, left=left, bottom=bottom, width=width, height=0.16)
    edges = norm.boundaries[np.isfinite(norm.boundaries)]
    is_open = norm.extend == "both"
    count = len(edges) + 1 if is_open else len(edges) - 1
    axes.imshow(
        cmap(np.arange(count))[None],
        extent=(0, count, 0, 1),
        aspect="auto",
        interpolation="nearest",
    )
    power = symbols.power_of_thousand(edges)
    shown = [printed.number(float(f"{edge / 10.0**power:.6g}")) for edge in edges]
    if DIGIT * (max(map(len, shown)) + 1) > width / count:
        shown[1::2] = [f"\n{text}" for text in shown[1::2]]  # two rows
    at = np.arange(len(edges)) + int(is_open)
    axes.set_xticks(at, shown, fontsize=TEXT_SIZE - 1)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=3, pad=2)
    axes.set_xlabel(symbols.with_power(unit, power), fontsize=TEXT_SIZE - 1, labelpad=1)


def legend_height(shown: Mapping[str, str]) -> float:
    """Height in inches that `draw_legend` needs."""
    return _legend_rows(shown)[1] * LEGEND_ROW + 0.2


def draw_legend(figure: Figure, sheet: Sheet, shown: Mapping[str, str]) -> None:
    """Draws names and colours of classes under the first two panels."""
    handles = [
        Patch(facecolor=color, edgecolor="#707070", linewidth=0.5, label=name)
        for name, color in shown.items()
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(
            MARGIN / sheet.width,
            (FOOTER + sheet.key_height - 0.1) / sheet.height,
        ),
        ncols=_legend_rows(shown)[0],
        fontsize=TEXT_SIZE,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.4,
        labelspacing=0.4,
        columnspacing=1.4,
    )


def draw_footer(
    paper: Axes,
    sheet: Sheet,
    crs: pyproj.CRS,
    label: Label,
    known: np.ndarray | None = None,
    unlike: np.ndarray | None = None,
) -> None:
    """Draws scale bar, north arrow, key of hatched regions, CRS, counts and source.

    `known` is for maps of the truth, `unlike` for maps of certainty.
    """
    if unlike is not None:
        hatched, look = unlike, UNLIKE
        meaning = count = "unlike the training regions"
    else:
        assert known is not None
        hatched, look, meaning, count = ~known, UNKNOWN, "no label", "without label"
    right = _draw_scale_bar(paper, sheet, MARGIN, 0.2)
    right = _draw_north_arrow(paper, right + 0.75, 0.14)
    regions = f"{len(hatched):,} regions"
    if hatched.any():
        _draw_hatch_key(paper, right + 0.35, 0.2, look, meaning)
        regions += f", {int(hatched.sum()):,} {count}"
    lines = [f"{crs_name(crs)}, {regions}"]
    if label.source and known is not None:
        source = f"Source of the truth: {label.source}"
        lines.append(textwrap.shorten(source, SOURCE_CHARACTERS, placeholder=" ..."))
    paper.text(
        sheet.width - MARGIN,
        0.12,
        "\n".join(lines),
        fontsize=TEXT_SIZE - 1,
        ha="right",
        va="bottom",
        linespacing=1.3,
    )


def _draw_scale_bar(paper: Axes, sheet: Sheet, left: float, bottom: float) -> float:
    """Draws a bar in two halves, at most a third of a panel; returns its right end."""
    length_m = printed.scale_bar_m(PANEL_WIDTH / 3 / sheet.inches_per_m)
    half = length_m * sheet.inches_per_m / 2
    for index, color in enumerate(("black", "white")):
        paper.add_patch(
            Rectangle(
                (left + index * half, bottom),
                half,
                0.07,
                facecolor=color,
                edgecolor="black",
                linewidth=0.8,
            )
        )
    texts = {0.0: "0", 2 * half: printed.length(length_m)}
    if half > HALF_LABEL:
        texts[half] = printed.length(length_m / 2)
    for at, text in texts.items():
        paper.text(left + at, bottom + 0.1, text, fontsize=TEXT_SIZE - 1, ha="center")
    return left + 2 * half


def _draw_north_arrow(paper: Axes, centre: float, bottom: float) -> float:
    """Draws grid north, which is up; returns the right end of the arrow."""
    tip, wing = bottom + 0.24, 0.08
    arrow = [(centre, tip), (centre - wing, bottom), (centre, bottom + 0.06)]
    mirrored = [(2 * centre - x, y) for x, y in arrow]
    paper.add_patch(Polygon(arrow, facecolor="black", edgecolor="black", linewidth=0.8))
    paper.add_patch(
        Polygon(mirrored, facecolor="white", edgecolor="black", linewidth=0.8)
    )
    paper.text(centre, tip + 0.02, "N", fontsize=TEXT_SIZE - 1, ha="center")
    return centre + wing


def _draw_hatch_key(
    paper: Axes, left: float, bottom: float, look: Mapping[str, Any], meaning: str
) -> None:
    paper.add_patch(Rectangle((left, bottom), 0.25, 0.14, **look))
    paper.text(left + 0.33, bottom, meaning, fontsize=TEXT_SIZE - 1)


def crs_name(crs: pyproj.CRS) -> str:
    """Code and name of a CRS, such as "EPSG:32651 (WGS 84 / UTM zone 51N)"."""
    authority = crs.to_authority()
    return f"{':'.join(authority)} ({crs.name})" if authority else crs.name


def _legend_rows(shown: Mapping[str, str]) -> tuple[int, int]:
    """Columns and rows of the legend under the first two panels."""
    entry = 0.55 + LEGEND_CHARACTER * max(map(len, shown))
    columns = max(1, min(len(shown), int((2 * PANEL_WIDTH + GAP) / entry)))
    return columns, -(-len(shown) // columns)
