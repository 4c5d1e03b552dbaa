"""Draws the charts of the report, each by a pure function from numbers to SVG."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from mmgr_jax.report.page import html, svg
from mmgr_jax.report.page.tree import Element, element

ROW = 24
"""Height of a line of a chart of methods, in pixels."""

NAME_WIDTH = 178

KEYS = 2
"""Names of methods beside each other, above bars."""

TICK_PX = 26
"""Room of a number below an axis."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A method in a chart of intervals; limits are None if there is no interval."""

    name: str
    value: svg.Number | None
    low: svg.Number | None = None
    high: svg.Number | None = None
    ours: bool = False


@dataclasses.dataclass(frozen=True)
class Series:
    """A line with a band: x, mean and both ends of the band at each point."""

    name: str
    x: Sequence[svg.Number]
    mean: Sequence[svg.Number | None]
    low: Sequence[svg.Number | None]
    high: Sequence[svg.Number | None]


def intervals(
    rows: Sequence[Row],
    *,
    name: str,
    zero: svg.Number | None = None,
    width: svg.Number = 520,
) -> Element:
    """Draws methods below each other, each as a dot with its interval.

    Args:
        rows: The methods, in order.
        name: Name of the horizontal axis.
        zero: A value to mark by a line.
        width: In pixels.
    """
    values = [
        value
        for row in rows
        for value in (row.value, row.low, row.high)
        if value is not None
    ]
    bottom = 14 + ROW * len(rows)
    x = svg.scale(
        values, NAME_WIDTH, width - 20, include=() if zero is None else (zero,)
    )
    parts = _grid(x, 8.0, bottom)
    if zero is not None:
        at = x(zero)
        parts.append(
            element("line", x1=at, x2=at, y1=4.0, y2=float(bottom), class_="zero")
        )
    for index, row in enumerate(rows):
        parts += _interval(row, 8 + ROW * (index + 0.5), x)
    parts.append(
        svg.label(
            (NAME_WIDTH + width - 20) / 2, bottom + 34, name, class_="name middle"
        )
    )
    return svg.chart(width, bottom + 42, parts, name=name)


def _grid(x: svg.Axis, top: svg.Number, bottom: svg.Number) -> list[Element]:
    """Draws vertical lines at the ticks of the horizontal axis, and their numbers."""
    lines = [
        element(
            "line", x1=x(t), x2=x(t), y1=float(top), y2=float(bottom), class_="grid"
        )
        for t in x.ticks()
    ]
    numbers = [
        svg.label(x(t), bottom + 15, svg.tick(t), class_="tick middle")
        for t in x.ticks()
    ]
    return lines + numbers


def _interval(row: Row, y: svg.Number, x: svg.Axis) -> list[Element]:
    kind = "ours" if row.ours else "other"
    parts = [svg.label(NAME_WIDTH - 10, y + 4, row.name, class_=f"tick end {kind}")]
    if row.value is None:
        return [*parts, svg.label(x.start + 6, y + 4, "not defined", class_="tick")]
    spoken = f"{row.name}: {svg.number(row.value)}"
    if row.low is not None and row.high is not None:
        spoken += f" [{svg.number(row.low)}, {svg.number(row.high)}]"
        parts.append(
            element(
                "line", x1=x(row.low), x2=x(row.high), y1=y, y2=y, class_=f"bar {kind}"
            )
        )
    dot = element("circle", svg.told(spoken), cx=x(row.value), cy=y, r=5, class_=kind)
    return [*parts, dot]


def curves(
    series: Sequence[Series], *, x_name: str, y_name: str, width: svg.Number = 440
) -> Element:
    """Draws lines over a logarithmic axis, each with its band; `key` names them.

    The chart is narrow, so that it stays readable on a phone.
    """
    height, left, right = 0.75 * width, 62, width - 12
    x = svg.scale([v for one in series for v in one.x], left, right, log=True)
    y = svg.scale(_in_sight(series), height - 48, 12)
    parts = svg.axes(
        x, y, x_name=x_name, y_name=y_name, x_format=lambda v: f"{v:,.0f}",
        x_ticks=_apart(x, sorted({v for one in series for v in one.x})),
    )  # fmt: skip
    middle = (len(series) - 1) / 2
    for index, one in enumerate(series):
        parts += _curve(one, x, y, *_look(index), shift=4 * (index - middle))
    return svg.chart(width, height, parts, name=f"{y_name} by {x_name}")


def key(names: Sequence[str]) -> Element:
    """Writes the names of the lines in `curves`, as text."""
    parts = []
    for index, name in enumerate(names):
        colour, dash = _look(index)
        line = element(
            "line", x1=0.0, x2=28.0, y1=5.0, y2=5.0, stroke=colour, stroke_width=3,
            stroke_dasharray=dash or None,
        )  # fmt: skip
        picture = element("svg", line, viewBox="0 0 28 10", aria_hidden="true")
        parts.append(html.tag("span", picture, name))
    return html.tag("div", parts, kind="key")


def _look(index: int) -> tuple[str, str]:
    """Colour and dashes of a line."""
    colours = svg.COLOURS
    dash = svg.DASHES[index // len(colours) % len(svg.DASHES)]
    return colours[index % len(colours)], dash


def _apart(x: svg.Axis, values: Sequence[svg.Number]) -> list[svg.Number]:
    """Values whose names do not overlap those before them; always the last value."""
    kept: list[svg.Number] = []
    for value in values:
        while kept and value == values[-1] and x(value) - x(kept[-1]) < TICK_PX:
            kept.pop()
        if not kept or x(value) - x(kept[-1]) >= TICK_PX:
            kept.append(value)
    return kept


def _in_sight(series: Sequence[Series]) -> list[svg.Number]:
    """Values that the axis must hold: means, and bands within half their range."""
    means = [v for one in series for v in one.mean if v is not None]
    if not means:
        return []
    room = 0.5 * (max(means) - min(means))
    low, high = min(means) - room, max(means) + room
    ends = [v for one in series for v in (*one.low, *one.high) if v is not None]
    return means + [min(max(v, low), high) for v in ends]


def _curve(
    one: Series,
    x: svg.Axis,
    y: svg.Axis,
    colour: str,
    dash: str,
    *,
    shift: svg.Number,
) -> list[Element]:
    """Draws line, band and limits; limits stand beside those of other lines."""
    points = [
        (x(at), y(mean), y(mean if low is None else low), y(mean if up is None else up))
        for at, mean, low, up in zip(one.x, one.mean, one.low, one.high, strict=True)
        if mean is not None
    ]
    if not points:
        return []
    band = [(at, low) for at, _, low, _ in points]
    band += [(at, up) for at, _, _, up in reversed(points)]
    dots = [
        element(
            "circle",
            svg.told(f"{one.name}, {at:,.0f}: {svg.number(mean)}"),
            cx=x(at), cy=y(mean), r=3, fill=colour,
        )
        for at, mean in zip(one.x, one.mean, strict=True)
        if mean is not None
    ]  # fmt: skip
    return [
        element("path", d=_path(band) + "Z", fill=colour, opacity=0.06),
        *(
            element(
                "line", x1=at + shift, x2=at + shift, y1=low, y2=up, stroke=colour,
                stroke_width=2.5, opacity=0.5,
            )
            for at, _, low, up in points
        ),
        element(
            "path", d=_path([point[:2] for point in points]), fill="none",
            stroke=colour, stroke_width=2, stroke_dasharray=dash or None,
        ),
        *dots,
    ]  # fmt: skip


def _path(points: Sequence[tuple[svg.Number, svg.Number]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def scatter(
    truth: Sequence[svg.Number],
    prediction: Sequence[svg.Number],
    *,
    unit: str,
    log: bool,
    width: svg.Number = 380,
) -> Element:
    """Draws predictions over the truth, with the line where both are equal.

    On a logarithmic scale a value at or below zero lies at the lower end.
    """
    height = width
    pairs = list(zip(truth, prediction, strict=True))
    positive = sorted(v for pair in pairs for v in pair if v > 0)
    if log and positive:
        # A few near zeros would take all the room.
        lowest = positive[len(positive) // 50]
        x = svg.scale([lowest, positive[-1]], 64, width - 24, log=True)
    else:
        x = svg.scale([v for pair in pairs for v in pair], 64, width - 24)
    y = dataclasses.replace(x, start=height - 48, end=12.0)
    parts = svg.axes(x, y, x_name=f"truth ({unit})", y_name=f"prediction ({unit})")
    parts.append(
        element("line", x1=x.start, y1=y.start, x2=x.end, y2=y.end, class_="zero")
    )
    # One path for all points: a circle each would make the page ten times as large.
    dots = "".join(f"M{x(true):.1f} {y(predicted):.1f}h0" for true, predicted in pairs)
    parts.append(element("path", d=dots, class_="points"))
    return svg.chart(width, height, parts, name=f"prediction over truth, {unit}")


def bars(
    groups: Mapping[str, Mapping[str, svg.Number | None]],
    *,
    name: str,
    width: svg.Number = 520,
) -> Element:
    """Draws groups below each other, with a bar for every method in each group.

    Args:
        groups: Group -> method -> value; all groups have the same methods.
        name: What the length of a bar means.
        width: In pixels.
    """
    methods = list(next(iter(groups.values())))
    thick = 11
    step = thick * len(methods) + 12
    top = 20 * math.ceil(len(methods) / KEYS) + 8
    bottom = top + step * len(groups)
    values = [v for group in groups.values() for v in group.values() if v is not None]
    x = svg.scale(values, NAME_WIDTH, width - 50, include=(0.0,))
    parts = _grid(x, top, bottom)
    for i, method in enumerate(methods):
        at = (10.0 + width / KEYS * (i % KEYS), 12.0 + 20 * (i // KEYS))
        box = element(
            "rect", x=at[0], y=at[1] - 9, width=11, height=11, fill=svg.COLOURS[i % 8]
        )
        parts += [box, svg.label(at[0] + 16, at[1], method, class_="tick")]
    for j, (group, by_method) in enumerate(groups.items()):
        y = top + step * j + 6
        parts.append(
            svg.label(
                NAME_WIDTH - 10,
                y + thick * len(methods) / 2 + 4,
                group.replace("_", " "),
                class_="tick end",
            )
        )
        for i, method in enumerate(methods):
            parts += _bar(
                by_method[method], x, y + thick * i, thick, i, f"{group}, {method}"
            )
    parts.append(
        svg.label((NAME_WIDTH + width) / 2, bottom + 34, name, class_="name middle")
    )
    return svg.chart(width, bottom + 42, parts, name=name)


def _bar(
    value: svg.Number | None,
    x: svg.Axis,
    y: svg.Number,
    thick: svg.Number,
    index: int,
    words: str,
) -> list[Element]:
    if value is None:
        return []
    start, end = sorted((x(0.0), x(value)))
    return [
        element(
            "rect",
            svg.told(f"{words}: {svg.number(value)}"),
            x=start,
            y=y,
            width=max(end - start, 0.5),
            height=thick - 1.5,
            fill=svg.COLOURS[index % len(svg.COLOURS)],
        )
    ]
