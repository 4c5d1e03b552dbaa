"""Draws the maps of a transfer study: cities that the model has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmgr_jax.report.page import front, html, legends, pictures, plain, words
from mmgr_jax.report.page.svg import number
from mmgr_jax.report.page.tree import Content
from mmgr_jax.report.transfer_table import OTHERS, useless

Json = Mapping[str, Any]

PERSONS = "persons"


def screen(content: Json) -> Content:
    """Makes a map and three sentences on it; () if the places of regions are not known.

    The map shows the first label in persons, else the first number, else the first
    label, among those that labels of other cities can predict. Its city is the tested
    one with the median score.
    """
    labels, regions = content["labels"], content.get("regions", {})
    served = [name for name in labels if not useless(labels[name])] or list(labels)
    numbers = [name for name in served if not labels[name]["label"]["classes"]]
    persons = [name for name in numbers if labels[name]["label"]["unit"] == PERSONS]
    name = (persons or numbers or served)[0]
    one, method = labels[name], carried(labels[name])
    city = None if method is None else _middle(one, method, list(regions))
    if method is None or city is None:
        return ()
    prediction, _ = _layers(name, one, regions, city, method)
    several = len(regions) > 1
    middle = f", in the middle of {len(regions)} tested cities" if several else ""
    caption = (
        f"{city}: {plain.spoken(name)}, {prediction.title.lower()}, by a model of the "
        f"other cities. {_score(one, method, city)}{middle}."
    )
    picture = prediction.draw(
        f"{name} of {city}", regions[city], caption=caption, width=front.WIDTH
    )
    return html.tag(
        "section",
        picture,
        html.tag("div", list(_sentences(name, content, city, method))),
        kind="front",
    )


def of_label(name: str, content: Json) -> list[Content]:
    """Draws prediction and truth of tested cities, in one legend; [] without places."""
    one, regions = content["labels"][name], content.get("regions", {})
    method = carried(one)
    if method is None or not regions:
        return []
    parts: list[Content] = []
    for city in regions:
        drawn = [
            layer.draw(f"{name} of {city}", regions[city])
            for layer in _layers(name, one, regions, city, method)
        ]
        parts.append(html.tag("h3", f"{city}: {_score(one, method, city)}"))
        if (held := len(regions[city]["x_m"])) < regions[city]["drawn_of"]:
            some = (
                f"{held:,} of {regions[city]['drawn_of']:,} regions, drawn at random."
            )
            parts.append(html.paragraph(some, "soft"))
        parts.append(html.tag("div", drawn, kind="pictures"))
    about = (
        f"Predicted from {plain.features(method)} by heads of the other cities. "
        "Neither they nor the encoder have met the city. Colours mean the same on all "
        "maps."
    )
    return [
        html.fold(
            "Maps of the tested cities: prediction and truth",
            [html.paragraph(about, "soft"), *parts],
        )
    ]


def carried(one: Json) -> str | None:
    """The method whose predictions are kept: its encoder has not seen the city."""
    return next(
        (m for m in reversed(one["results"][OTHERS]) if m.startswith("never seen ")),
        None,
    )


def _sentences(name: str, content: Json, city: str, method: str) -> Iterator[Content]:
    one, regions = content["labels"][name], content["regions"][city]
    label, others = one["label"], len(content["cities"]) - 1
    year = f" in {label['year']}" if label["year"] else ""
    many = "another city" if others == 1 else f"{others} other cities"
    what = (
        f"The map shows {plain.shown(name, label)} that a model of {many} predicts "
        f"from {plain.features(method)} for each of {regions['drawn_of']:,} regions of "
        f"{city}{year}. It has seen no picture, no POI and no label of {city}."
    )
    by_region = regions["tasks"][name]
    values = by_region["truth"], by_region["predictions"][method]
    # As a task of a report: what nobody has measured here is left out of sentences.
    nothing: Json = {"metrics": {one["headline"]: None, "mae": None}, "intervals": {}}
    task = {
        "label": label,
        "headline": one["headline"],
        "splits": {"city": {"linear": {method: nothing}}},
        "coverage": {},
    }
    for title, text in (
        ("What it shows.", what),
        ("How good it is.", plain.good(task, *values, method)),
        ("Where not to trust it.", plain.careful(task, *values, method)),
    ):
        yield html.tag("p", html.tag("strong", title), f" {text}")


def _layers(
    name: str, one: Json, regions: Json, city: str, method: str
) -> list[pictures.TaskMap]:
    """Makes maps of prediction and truth, with breaks of the truth of all cities."""
    own = regions[city]["tasks"][name]
    if one["label"]["classes"]:
        return pictures.layers(name, one, regions[city], method)[:2]
    truth = [v for each in regions.values() for v in each["tasks"][name]["truth"]]
    legend = legends.of_values(truth, one["label"]["unit"])
    return [
        pictures.TaskMap(
            "Prediction", legend.places(own["predictions"][method]), legend
        ),
        pictures.TaskMap("Truth", legend.places(own["truth"]), legend),
    ]


def _middle(one: Json, method: str, cities: list[str]) -> str | None:
    """The city with the median score; of two in the middle, the worse one."""
    scores = one["results"][OTHERS][method]["cities"]
    known = [city for city in cities if scores[city][0] is not None]
    worst_first = one["headline"] in words.HIGHER_IS_BETTER
    ordered = sorted(known, key=lambda city: scores[city][0], reverse=not worst_first)
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _score(one: Json, method: str, city: str) -> str:
    value, low, high = one["results"][OTHERS][method]["cities"][city]
    unit = one["label"]["unit"]
    measure = words.short(one["headline"], unit)
    return f"{measure} {number(value)} {words.interval(low, high)}".strip()
