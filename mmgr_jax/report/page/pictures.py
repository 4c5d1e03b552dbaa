"""Draws maps and scatter plots of the predictions of one task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import charts, html, legends, maps, plain, words
from mmgr_jax.report.page.legends import Legend
from mmgr_jax.report.page.tree import Content, Element

Json = Mapping[str, Any]
MOST_CLASSES = 4
"""Scatter plots are of the classes with the largest shares."""

DISTANCE = "L1 distance (0 equal, 2 disjoint)"


@dataclasses.dataclass(frozen=True)
class TaskMap:
    """One map of a task.

    Attributes:
        title: What it shows.
        classes: Class of each region, None if it is not known.
        legend: Legend of these classes.
    """

    title: str
    classes: Sequence[int | None]
    legend: Legend

    def draw(
        self, name: str, regions: Json, *, caption: str = "", width: int = 380
    ) -> Element:
        """Draws the map with its legend; a caption below, or else its title above."""
        shown = () if self.legend.edges else {c for c in self.classes if c is not None}
        key = self.legend.draw(some_unknown=None in self.classes, shown=shown)
        picture = maps.draw(
            maps.Squares.of(regions),
            self.classes,
            self.legend.shades,
            name=f"map of {name}: {self.title}",
            width=width,
        )
        if caption:
            return html.figure(picture, caption, below=key)
        title = html.tag("figcaption", self.title, kind="title")
        return html.tag("figure", title, picture, key)


def mapped(name: str, task: Json, regions: Json | None) -> str | None:
    """The method whose predictions are mapped, among those that a report keeps."""
    method = words.best(task)
    kept = regions["tasks"][name]["predictions"] if regions else {}
    return method if method in kept else next(iter(kept), None)


def layers(name: str, task: Json, regions: Json, method: str) -> list[TaskMap]:
    """Makes maps of prediction, truth and error of a method, with breaks of truth."""
    by_region = regions["tasks"][name]
    truth, predicted = by_region["truth"], by_region["predictions"][method]
    label = task["label"]
    if label["classes"]:
        kinds = legends.of_classes(label["classes"])
        shown = "largest share" if label["kind"] == "share" else "most probable class"
        layers_ = [
            TaskMap(f"Prediction: {shown}", list(map(plain.largest, predicted)), kinds),
            TaskMap(f"Truth: {shown}", list(map(plain.largest, truth)), kinds),
        ]
        distance = legends.of_distances(DISTANCE)
        off = [_distance(*pair) for pair in zip(truth, predicted, strict=True)]
        return [
            *layers_,
            TaskMap("Error of the shares", distance.places(off), distance),
        ]
    values = legends.of_values(truth, label["unit"])
    errors = legends.of_errors(truth, label["unit"])
    off = [
        None if true is None else value - true
        for true, value in zip(truth, predicted, strict=True)
    ]
    return [
        TaskMap("Prediction", values.places(predicted), values),
        TaskMap("Truth", values.places(truth), values),
        TaskMap("Error: prediction minus truth", errors.places(off), errors),
    ]


def of_task(name: str, task: Json, regions: Json) -> list[Content]:
    """Draws every method whose predictions are kept; the best one is shown at first."""
    by_region = regions["tasks"][name]
    best = mapped(name, task, regions)
    if best is None:
        return []
    parts: list[Content] = [html.tag("h3", "Maps")]
    if len(regions["region_id"]) < regions["drawn_of"]:
        some = (
            f"{len(regions['region_id']):,} of {regions['drawn_of']:,} regions, "
            "chosen at random."
        )
        parts.append(html.paragraph(some, "soft"))
    parts.append(_maps(name, task, regions, best))
    parts.append(html.paragraph(_about(task, best), "soft"))
    scatter = _scatter(task, by_region, best)
    if scatter:
        parts.append(html.fold("Scatter plot, region by region", scatter))
    for method in by_region["predictions"]:
        if method != best:
            drawn = (
                _maps(name, task, regions, method),
                _scatter(task, by_region, method),
            )
            score = plain.score(task, method)
            parts.append(html.fold(f"Maps of {method}: {score}", drawn))
    return parts


def _about(task: Json, method: str) -> str:
    """Describes what the maps above are made of, and the score that chose them."""
    source = ", ".join(
        filter(None, (task["label"]["source"], task["label"]["licence"]))
    )
    of_truth = f" Truth: {source}." if source else ""
    return (
        f"Features: {plain.features(method)}, chosen by their scores on the other "
        f"folds. Score, out-of-fold: {plain.score(task, method)}.{of_truth}"
    )


def _maps(name: str, task: Json, regions: Json, method: str) -> Element:
    drawn = [layer.draw(name, regions) for layer in layers(name, task, regions, method)]
    return html.tag("div", drawn, kind="pictures")


def _distance(true: Any, predicted: Sequence[float]) -> float | None:
    """The L1 distance of predicted shares from the true shares, or from the class."""
    if true is None or (isinstance(true, list) and None in true):
        return None
    if isinstance(true, list):
        return sum(abs(a - b) for a, b in zip(true, predicted, strict=True))
    shares = [float(index == int(true)) for index in range(len(predicted))]
    return sum(abs(a - b) for a, b in zip(shares, predicted, strict=True))


def _scatter(task: Json, by_region: Json, method: str) -> Content:
    """Draws predictions over the truth; () for classes, which have no scale."""
    truth, predicted = by_region["truth"], by_region["predictions"][method]
    label = task["label"]
    if label["kind"] == "class":
        return ()
    if label["kind"] == "share":
        drawn = _scatter_of_shares(label["classes"], truth, predicted)
        return html.tag("div", drawn, kind="pictures")
    known = [i for i, value in enumerate(truth) if value is not None]
    drawn = charts.scatter(
        [truth[i] for i in known],
        [predicted[i] for i in known],
        unit=label["unit"],
        log=task["headline"] == "r2_log",
    )
    return html.figure(drawn, "Each region, predicted out-of-fold.")


def _scatter_of_shares(
    classes: Sequence[str], truth: Sequence, predicted: Sequence
) -> list[Content]:
    known = [i for i, row in enumerate(truth) if None not in row]
    size = [sum(truth[i][k] for i in known) for k in range(len(classes))]
    return [
        html.figure(
            charts.scatter(
                [truth[i][k] for i in known],
                [predicted[i][k] for i in known],
                unit="share",
                log=False,
            ),
            classes[k].replace("_", " "),
        )
        for k in sorted(range(len(size)), key=lambda k: -size[k])[:MOST_CLASSES]
    ]
