"""Writes the part of a task on how good few labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import charts, html, standing, words
from mmgr_jax.report.page.svg import number, tick
from mmgr_jax.report.page.tree import Content

Json = Mapping[str, Any]

WITH_INTERVALS = (
    "Each point is the mean over random choices of this many labels; labels that "
    "choose a head's setting are counted, too. Bars (95 % unless set otherwise) "
    "resample these choices and spatial blocks together: they show how much the "
    "score may differ with another choice of labels and another sample of blocks. "
    "Very long bars are cut off."
)
WITHOUT_INTERVALS = "Mean and standard deviation over random choices of the labels."


def section(task: Json) -> list[Content]:
    """Makes chart, table and paired differences; empty if there are no curves."""
    if not task["curves"]:
        return []
    head = task["headline"]
    named = f"{words.metric(head, task['label']['unit'])} {words.arrow(head)}"
    series = [
        charts.Series(
            method,
            [point["num_labels"] for point in points],
            [point["metrics"][head]["mean"] for point in points],
            *zip(*(_band(point, head) for point in points), strict=True),
        )
        for method, points in task["curves"].items()
    ]
    points = next(iter(task["curves"].values()))
    rows = [
        [method, *(_cell(point, head) for point in points)]
        for method, points in task["curves"].items()
    ]
    banded = any(point.get("intervals") for point in points)
    return [
        html.tag("h3", "With few labels"),
        html.figure(
            charts.curves(series, x_name="labels to learn from", y_name=named),
            WITH_INTERVALS if banded else WITHOUT_INTERVALS,
            above=charts.key([one.name for one in series]),
        ),
        html.table(["labels", *map(_number_of, points)], rows, name="few labels"),
        *_differences(task, points),
    ]


def _number_of(point: Json) -> str:
    """The number of labels, and the fraction if a fraction was requested."""
    count = f"{point['num_labels']:,.0f}"
    if point["fraction"] == 1:
        return f"all ({count})"
    if point["fraction"] is None:
        return count
    return f"{tick(100 * point['fraction'])} % ({count})"


def _cell(point: Json, head: str) -> Content:
    low, high = point.get("intervals", {}).get(head, (None, None))
    spread = point["metrics"][head]
    small = words.interval(low, high)
    if not small and spread["deviation"] is not None:
        small = f"± {number(spread['deviation'])}"
    return [number(spread["mean"]), html.tag("small", small)]


def _band(point: Json, head: str) -> tuple[float | None, float | None]:
    """Both ends of a band: the interval, or a standard deviation if there is none."""
    spread, limits = point["metrics"][head], point.get("intervals", {}).get(head)
    if limits is not None and None not in limits:
        return tuple(limits)
    mean, deviation = spread["mean"], spread["deviation"]
    if mean is None or deviation is None:
        return mean, mean
    return mean - deviation, mean + deviation


def _differences(task: Json, points: Sequence[Json]) -> list[Content]:
    """How much better the quoted method is than each other method, at each point."""
    differences, method = task.get("curve_differences", []), standing.quoted(task)
    head = task["headline"]
    by_reference: dict[str, dict[float, Json]] = {}
    for one in differences:
        if one["method"] == method:
            by_num_labels = by_reference.setdefault(one["reference"], {})
            by_num_labels[one["num_labels"]] = one
    if not by_reference:
        return []
    rows = [
        [
            reference,
            *(_difference(by_num_labels.get(p["num_labels"]), head) for p in points),
        ]
        for reference, by_num_labels in by_reference.items()
    ]
    explained = (
        f"How much better {method} is with the same number of labels (above 0 is "
        "better, whatever the metric), on the same choices of labels and the same "
        "resampled blocks:"
    )
    return [
        html.paragraph(explained, "soft"),
        html.table(["than", *map(_number_of, points)], rows, name="differences"),
    ]


def _difference(difference: Json | None, head: str) -> Content:
    if difference is None:
        return "–"
    return html.difference(*difference["metrics"][head])
