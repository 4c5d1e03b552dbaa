"""Makes the page of a transfer study from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import charts, html, transfer_maps, words
from mmgr_jax.report.page.svg import number
from mmgr_jax.report.page.tree import Content, Element, element
from mmgr_jax.report.transfer_table import OTHERS, OWN, useless

Json = Mapping[str, Any]

TITLE = "What a model of many cities is worth in another"

KNOWLEDGE = (
    ("all cities", OWN, "seen", "its own"),
    ("never seen", OWN, "not seen", "its own"),
    ("all cities", OTHERS, "seen", "of other cities"),
    ("never seen", OTHERS, "not seen", "of other cities"),
)
"""Encoder, whose labels; and both in words: tiles and labels of the tested city."""


def render(content: Json) -> str:
    """Makes the page of `transfer.json`; see `evaluation.transfer.summary` for it."""
    parts: list[Content] = [_head(content)]
    links = []
    for name, one in content["labels"].items():
        links.append((name, html.anchor(name)))
        parts.append(_label(name, one, content))
    links.append(("Cities", "cities"))
    parts.append(_cities(content))
    return html.document(TITLE, links, parts)


def _head(content: Json) -> list[Content]:
    tested = content["tested"]
    lines = [
        sentence
        for name, one in content["labels"].items()
        if (sentence := _standing(name, one))
    ]
    summary = (
        f"{len(tested)} of {len(content['cities'])} cities, each left out in turn: "
        "where it says 'never seen', neither the encoder nor the heads have met the "
        "tested city; its labels are used only for the scores. Each city counts "
        "alike. Limits come from resampled spatial blocks of these cities; other "
        f"cities may differ more. {content['created'][:16].replace('T', ' ')} UTC."
    )
    return [
        html.tag("h1", TITLE),
        transfer_maps.screen(content),
        html.tag("h2", "How good, label by label", id_="labels"),
        html.bullets(lines, "standing"),
        html.paragraph(summary, "soft"),
    ]


def _standing(name: str, one: Json) -> str:
    """Says in a sentence how good the results are in a city that no model has seen."""
    if sentence := useless(one):
        return f"{name}: {sentence}"
    by_pair = {
        (cell["method"], cell["reference"]): cell
        for cell in one["differences"]
        if cell["labels"] == OTHERS
    }
    method = transfer_maps.carried(one)
    plain = by_pair.get((method, "statistics and counts"))
    if method is None or plain is None:
        return ""
    kind = method.removeprefix("never seen ")
    sentence = (
        f"{name} ({words.short(one['headline'])}): in a city that it has never seen, "
        f"MMGR ({kind}) is "
        f"{_comparison(plain)} image statistics and POI counts with the same labels, "
        f"and better in {_count(plain['cities'])}."
    )
    seen = by_pair.get((method, f"all cities {kind}"))
    if seen is None:
        return sentence
    return f"{sentence} It is {_comparison(seen)} an encoder that has seen its tiles."


def _comparison(cell: Json) -> str:
    """Compares one method with another, in words to put before the other's name."""
    limits = words.interval(cell["low"], cell["high"])
    verdict = words.verdict(cell["low"], cell["high"])
    if not verdict.startswith(("better", "worse")):
        return (
            f"neither clearly better nor worse ({number(cell['mean'])} {limits}) than"
        )
    kind = verdict.split()[0]
    return f"{kind} by {number(abs(cell['mean']))} {limits} than"


def _label(name: str, one: Json, content: Json) -> Element:
    tested = content["tested"]
    metric = words.metric(one["headline"], one["label"]["unit"])
    parts: list[Content] = [
        html.tag("h2", name, id_=html.anchor(name)),
        html.paragraph(f"{metric} {words.arrow(one['headline'])}", "soft"),
        *transfer_maps.of_label(name, content),
        html.tag("h3", "Tiles seen or not, labels seen or not"),
        _knowledge(one),
    ]
    for labels, heading in (
        (OTHERS, "With labels of the other cities alone"),
        (OWN, "With labels of the city's own other blocks"),
    ):
        methods = one["results"][labels]
        rows = [
            charts.Row(method, cell["mean"], cell["low"], cell["high"],
                       ours=_ours(method))
            for method, cell in methods.items()
        ]  # fmt: skip
        parts += [
            html.tag("h3", heading),
            html.figure(charts.intervals(rows, name=metric), "Mean of the cities."),
            html.fold("Each city", _by_city(methods, tested)),
        ]
    parts += [
        html.tag("h3", "An encoder that has never seen the city, beside others"),
        _differences(one),
    ]
    parts += _few(one, metric)
    parts += [html.tag("h3", "From each city to each"), *_matrices(one, content)]
    return html.tag("section", parts)


def _ours(method: str) -> bool:
    return method.startswith(("all cities", "never seen"))


def _knowledge(one: Json) -> Element:
    kinds = [
        method.removeprefix("never seen ")
        for method in one["results"][OTHERS]
        if method.startswith("never seen ")
    ]
    rows = []
    for role, labels, tiles, whose in KNOWLEDGE:
        cells = [
            _mean_cell(one["results"][labels].get(f"{role} {kind}")) for kind in kinds
        ]
        rows.append([html.left(tiles), html.left(whose), *cells])
    header = ["tiles and POIs of the city", "labels", *kinds]
    return html.table(header, rows, name="what was seen")


def _mean_cell(cell: Json | None) -> Element:
    if cell is None:
        return html.tag("td", "-")
    small = html.tag("small", words.interval(cell["low"], cell["high"]))
    return html.tag("td", number(cell["mean"]), small)


def _by_city(methods: Json, tested: Sequence[str]) -> Element:
    rows = [
        [html.left(method), *(number(cell["cities"][city][0]) for city in tested)]
        for method, cell in methods.items()
    ]
    return html.table(["method", *tested], rows, name="each city")


def _differences(one: Json) -> Element:
    rows = [
        [
            html.left(cell["method"]),
            html.left(cell["reference"]),
            html.left(cell["labels"]),
            html.difference(cell["mean"], cell["low"], cell["high"]),
            html.left(_count(cell["cities"])),
        ]
        for cell in one["differences"]
    ]
    header = ["method", "beside", "labels of", "better by", "better in"]
    return html.table(header, rows, name="paired differences")


def _count(cities: Json) -> str:
    better = sum(value[0] is not None and value[0] > 0 for value in cities.values())
    return f"{better} of {len(cities)} cities"


def _few(one: Json, metric: str) -> list[Content]:
    series = []
    for method, uses in one["few"].items():
        start = one["results"][OTHERS][method]
        for use, points in uses.items():
            if not points:
                continue
            first = [{"num_labels": 1, **start}] if use == "adapted" else []
            every = [*first, *points]
            series.append(
                charts.Series(
                    f"{method}, {use}",
                    *(
                        [point[key] for point in every]
                        for key in ("num_labels", "mean", "low", "high")
                    ),
                )
            )
    if not series:
        return []
    words_ = (
        "Heads of the other cities, corrected by few labels of the tested city "
        "(adapted; the point at 1 shows them with no label of it), and heads that "
        "learn from those few labels alone. Mean over cities and over random choices "
        "of labels."
    )
    picture = charts.curves(series, x_name="labels of the city", y_name=metric)
    key = charts.key([one.name for one in series])
    return [
        html.tag("h3", "With few labels of the city"),
        html.figure(picture, words_, above=key),
    ]


def _matrices(one: Json, content: Json) -> list[Content]:
    parts: list[Content] = [
        html.paragraph(
            "Rows: the city whose labels the heads learn from. Columns: the city "
            "that is tested. On the diagonal the city's own other blocks.",
            "soft",
        )
    ]
    names = sorted(content["cities"])
    for method, values in one["matrix"].items():
        rows = [
            [html.left(name), *map(number, row)]
            for name, row in zip(names, values, strict=True)
        ]
        title = f"Encoder: {method}"
        parts.append(
            html.fold(
                title, html.table(["labels of", *content["tested"]], rows, name=title)
            )
        )
    return parts


def _cities(content: Json) -> Element:
    rows = [
        [html.left(name), f"{city['num_regions']:,}", str(city["num_blocks"]),
         str(city["num_categories"])]
        for name, city in content["cities"].items()
    ]  # fmt: skip
    encoders = [
        element("li", f"{name}: {', '.join(cities)}")
        for name, cities in content["encoders"].items()
    ]
    header = ["city", "regions", "blocks", "POI categories"]
    return html.tag(
        "section",
        html.tag("h2", "Cities", id_="cities"),
        html.table(header, rows, name="cities"),
        html.fold("Encoders, and the cities they were trained on",
                  html.tag("ul", encoders)),
    )  # fmt: skip
