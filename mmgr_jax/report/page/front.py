"""Makes the first screen of a report: one map, and three sentences about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgr_jax.report.page import html, pictures, plain
from mmgr_jax.report.page.tree import Content, Element

Json = Mapping[str, Any]

WIDTH = 560


def screen(report: Json) -> Content:
    """Draws the first label in persons, else the first number, else the first label.

    () if the report has no predictions of single regions, as for records that do not
    state where the regions lie.
    """
    tasks, regions = report["tasks"], report["regions"]
    numbers = [name for name, task in tasks.items() if not task["label"]["classes"]]
    persons = [name for name in numbers if tasks[name]["label"]["unit"] == "persons"]
    name = (persons or numbers or list(tasks))[0]
    method = pictures.mapped(name, tasks[name], regions)
    if regions is None or method is None:
        return ()
    prediction, *_ = pictures.layers(name, tasks[name], regions, method)
    caption = (
        f"{name.replace('_', ' ')}, {prediction.title.lower()}. Out-of-fold score: "
        f"{plain.score(tasks[name], method)}. {_source(tasks[name])}"
    )
    picture = prediction.draw(name, regions, caption=caption, width=WIDTH)
    text = html.tag("div", sentences(name, tasks[name], report))
    return html.tag("section", picture, text, kind="front")


def sentences(name: str, task: Json, report: Json) -> list[Element]:
    """Writes a paragraph each on what is mapped, its quality and its weak places."""
    regions = report["regions"]
    method = pictures.mapped(name, task, regions)
    if regions is None or method is None:
        return []
    by_region = regions["tasks"][name]
    values = by_region["truth"], by_region["predictions"][method]
    return [
        _titled("What it shows.", plain.what(name, task, report, method)),
        _titled("How good it is.", plain.good(task, *values, method)),
        _titled("Where not to trust it.", plain.careful(task, *values, method)),
    ]


def _titled(title: str, text: str) -> Element:
    return html.tag("p", html.tag("strong", title), f" {text}")


def _source(task: Json) -> str:
    label = task["label"]
    given = ", ".join(filter(None, (label["source"], label["licence"])))
    return f"Labels: {given}." if given else ""
