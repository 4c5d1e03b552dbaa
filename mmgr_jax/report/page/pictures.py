"""Scatter plots and maps of the predictions of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import charts, html, maps, words
from mmgr_jax.report.page.tree import Content

Json = Mapping[str, Any]
MOST_CLASSES = 4
"""Scatter plots are of the classes with the largest shares."""


def of_task(name: str, task: Json, regions: Json) -> list[Content]:
    """The pictures of every method whose predictions are there, the best one open."""
    by_region = regions["tasks"][name]
    if task["label"]["kind"] == "class" or not by_region["predictions"]:
        return []
    parts: list[Content] = [html.tag("h3", "Predictions and residuals")]
    if len(regions["region_id"]) < regions["drawn_of"]:
        some = (
            f"{len(regions['region_id']):,} of {regions['drawn_of']:,} regions, "
            "chosen at random."
        )
        parts.append(html.paragraph(some, "soft"))
    best = words.best(task)
    for method in sorted(by_region["predictions"], key=lambda m: m != best):
        draw = _shares if task["label"]["kind"] == "share" else _numbers
        drawn = draw(
            task, by_region["truth"], by_region["predictions"][method], regions
        )
        inner = html.tag("div", drawn, kind="pictures")
        parts.append(html.fold(method, inner, shown=method == best))
    return parts


def _numbers(
    task: Json, truth: Sequence, prediction: Sequence, regions: Json
) -> list[Content]:
    unit = task["label"]["unit"]
    known = [i for i, value in enumerate(truth) if value is not None]
    residual = [
        None if true is None else predicted - true
        for true, predicted in zip(truth, prediction, strict=True)
    ]
    scatter = charts.scatter(
        [truth[i] for i in known],
        [prediction[i] for i in known],
        unit=unit,
        log=task["headline"] == "r2_log",
    )
    return [
        html.figure(scatter, "Each region, predicted out of fold."),
        html.figure(
            maps.residual_map(*_places(regions), residual, unit=unit),
            "Residuals; north is up.",
        ),
    ]


def _shares(
    task: Json, truth: Sequence, prediction: Sequence, regions: Json
) -> list[Content]:
    classes = task["label"]["classes"]
    known = [i for i, row in enumerate(truth) if None not in row]
    size = [sum(truth[i][k] for i in known) for k in range(len(classes))]
    largest = sorted(range(len(size)), key=lambda k: -size[k])[:MOST_CLASSES]
    pictures = [
        html.figure(
            charts.scatter(
                [truth[i][k] for i in known],
                [prediction[i][k] for i in known],
                unit="share",
                log=False,
            ),
            classes[k].replace("_", " "),
        )
        for k in largest
    ]
    distance = [
        None
        if None in true
        else sum(abs(a - b) for a, b in zip(true, predicted, strict=True))
        for true, predicted in zip(truth, prediction, strict=True)
    ]
    drawn = maps.residual_map(
        *_places(regions), distance, unit="L1 distance", one_sided=True
    )
    return [*pictures, html.figure(drawn, "Distance from the truth; north is up.")]


def _places(regions: Json) -> tuple[Sequence[float], Sequence[float], float]:
    return regions["x_m"], regions["y_m"], regions["side_m"]
