"""The whole page from the whole report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import html, standing, task, words
from mmgr_jax.report.page.svg import number, percent
from mmgr_jax.report.page.tree import Content, Element, element

Json = Mapping[str, Any]
FEW_REGIONS = 500
"""Below this many labelled regions the page warns."""

FEW_BLOCKS = 20
"""With fewer, intervals are too narrow; see `evaluation.certainty.intervals`."""


def render(report: Json) -> str:
    """The page of a report; see `report.report_json` for its layout."""
    city = report["data"]["city"]
    links: list[tuple[str, str]] = []
    parts: list[Content] = [_head(report), _warnings(report), _cards(report)]
    for name, found in report["tasks"].items():
        links.append((name, html.anchor(name)))
        parts.append(task.section(name, found, report["regions"]))
    for name, section in (
        ("Embeddings", _embeddings),
        ("Cities", _cities),
        ("Methods", _methods),
        ("Data and settings", _settings),
    ):
        content = section(report)
        if content:
            links.append((name, html.anchor(name)))
            heading = html.tag("h2", name, id_=html.anchor(name))
            parts.append(html.tag("section", heading, content))
    return html.document(f"{city}: what the embeddings are worth", links, parts)


def _head(report: Json) -> list[Content]:
    data = report["data"]
    created = report["created"][:16].replace("T", " ")
    told = (
        f"{data['num_regions']:,} regions in {data['num_blocks']} spatial blocks; "
        f"checkpoint {report['checkpoint']}; {created} UTC. Encoders saw tiles and "
        "POIs of all regions and no label; every number is of regions whose labels no "
        "head has seen."
    )
    return [
        html.tag("h1", f"{data['city']}: what the embeddings are worth"),
        html.bullets(standing.lines(report), "standing"),
        html.paragraph(told, "soft"),
    ]


def _warnings(report: Json) -> list[Content]:
    said = []
    blocks = report["data"]["num_blocks"]
    if blocks < FEW_BLOCKS:
        said.append(
            f"{blocks} spatial blocks are few: 95 % intervals of skewed quantities "
            "held the truth in 82 to 92 % of simulated cities with 4 to 20 blocks."
        )
    fewest = min(found["num_labelled"] for found in report["tasks"].values())
    if fewest < FEW_REGIONS:
        said.append(
            f"{fewest} labelled regions are few: a difference that is not told apart "
            "here may well exist, and one that is may be of this sample."
        )
    if "block" not in report["num_folds"] and "city" not in report["num_folds"]:
        said.append(
            "Nobody knows where these regions lie, so the split is a random one and "
            "the numbers flatter."
        )
    said += report.get("differences", [])
    return [html.paragraph(line, "warn") for line in said]


def _cards(report: Json) -> Element:
    cards = []
    for name, found in report["tasks"].items():
        link = element("a", name, href=f"#{html.anchor(name)}")
        best = words.best(found)
        said = words.sentences(found, best) if best else ["Nothing to compare."]
        lines = [html.paragraph(line) for line in said]
        cards.append(html.tag("div", html.tag("h3", link), lines, kind="card"))
    return html.tag("div", cards, kind="cards")


def _embeddings(report: Json) -> list[Content]:
    parts: list[Content] = []
    if report["health"]:
        names = list(dict.fromkeys(n for of in report["health"].values() for n in of))
        rows = [
            [method, *(number(of.get(name)) for name in names)]
            for method, of in report["health"].items()
        ]
        header = ["", *(words.HEALTH.get(name, name) for name in names)]
        parts += [html.tag("h3", "Health"), html.table(header, rows)]
    if report["retrieval"]:
        parts.append(html.tag("h3", "Finding a region by its other half"))
        parts.append(
            html.paragraph(
                "By the projections that the contrastive loss compares, among all "
                "regions with POIs: is the region's own partner among the k nearest?",
                "soft",
            )
        )
        parts.append(_retrieval(report["retrieval"]))
    return parts


def _retrieval(found: Json) -> Element:
    ranks = list(next(iter(found.values()))["recall"])
    rows = []
    for direction, of in found.items():
        chance = [min(int(k) / of["num_regions"], 1.0) for k in ranks]
        rows.append(
            [
                direction,
                *(
                    [
                        percent(of["recall"][k]),
                        html.tag("small", f"by chance {percent(by_chance)}"),
                    ]
                    for k, by_chance in zip(ranks, chance, strict=True)
                ),
                [
                    number(of["median_rank"]),
                    html.tag(
                        "small", f"by chance {number((of['num_regions'] + 1) / 2)}"
                    ),
                ],
                f"{of['num_regions']:,}",
            ]
        )
    return html.table(["", *(f"R@{k}" for k in ranks), "median rank", "regions"], rows)


def _cities(report: Json) -> list[Content]:
    cities = report["cities"]
    if not cities:
        return []
    told = (
        f"Encoders were trained on {cities['names'][0]} alone. Every city is tested by "
        "heads that saw no label of it."
    )
    parts: list[Content] = [html.paragraph(told, "soft")]
    for name, found in cities["tasks"].items():
        parts.append(html.tag("h3", name))
        parts.append(task.section(f"{name}, across cities", found, None))
        transfer = cities["transfer"].get(name, {})
        for method, rows in transfer.items():
            parts.append(_transfer(method, rows, cities["names"], found))
    return parts


def _transfer(
    method: str, rows: Sequence, names: Sequence[str], found: Json
) -> list[Content]:
    head = found["headline"]
    title = (
        f"{method}, {words.metric(head, found['label']['unit'])}: heads of the city on "
        "the left, tested in the city above (the diagonal out of fold)"
    )
    body = [
        [name, *(number(value) for value in row)]
        for name, row in zip(names, rows, strict=True)
    ]
    return [html.paragraph(title, "soft"), html.table(["", *names], body)]


def _methods(report: Json) -> Element:
    rows = [
        [
            name,
            "–" if of["num_features"] is None else f"{of['num_features']:,}",
            html.left(of["about"]),
        ]
        for name, of in report["methods"].items()
    ]
    about = html.tag("th", "what it is", kind="words")
    return html.table(["", "numbers a region", about], rows)


def _settings(report: Json) -> list[Content]:
    data = {k: v for k, v in report["data"].items() if k not in ("hashes", "sources")}
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())

    def folded(name: str, content: object) -> Element:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        return html.fold(name, html.tag("pre", text))

    return [
        html.paragraph(versions, "soft"),
        folded("Data", data),
        folded("Hashes of the records (SHA-256)", report["data"]["hashes"]),
        folded("Sources of the records", report["data"]["sources"]),
        folded("Settings of this evaluation", report["settings"]),
        folded(
            "The configuration: weights as trained, the rest as run", report["config"]
        ),
        folded("Where training began and went on", report.get("history", [])),
    ]
