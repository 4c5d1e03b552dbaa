"""Makes the whole page from the whole report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mmgr_jax.report.page import front, html, standing, task, words
from mmgr_jax.report.page.svg import number, percent
from mmgr_jax.report.page.tree import Content, Element, element

Json = Mapping[str, Any]
TITLE = "{}: predicted maps, and how far to trust them"
FEW_REGIONS = 500
"""Below this many labelled regions the page warns."""

FEW_BLOCKS = 20
"""With fewer, intervals are too narrow; see `evaluation.certainty.intervals`."""


def render(report: Json) -> str:
    """Makes the page of a report, whose layout is in `report.report_json`."""
    city = report["data"]["city"]
    links: list[tuple[str, str]] = []
    parts: list[Content] = [_head(report), _warnings(report), _cards(report)]
    for name, task_report in report["tasks"].items():
        links.append((name, html.anchor(name)))
        opening = front.sentences(name, task_report, report)
        section = task.section(name, task_report, report["regions"], opening)
        parts.append(section)
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
    return html.document(TITLE.format(city), links, parts)


def _head(report: Json) -> list[Content]:
    data = report["data"]
    created = report["created"][:16].replace("T", " ")
    # A page is shown to others: not where on this machine the run lies.
    checkpoint = "/".join(PurePath(report["checkpoint"]).parts[-3:])
    summary = (
        f"{data['num_regions']:,} regions in {data['num_blocks']} spatial blocks; "
        f"checkpoint {checkpoint}; {created} UTC. The encoders were trained on imagery "
        "and POIs of all regions, and on no label. Every score is of regions whose "
        "labels the head that predicts them has not seen."
    )
    return [
        html.tag("h1", TITLE.format(data["city"])),
        front.screen(report),
        html.tag("h2", "How good, label by label", id_="labels"),
        html.bullets(standing.lines(report), "standing"),
        html.paragraph(summary, "soft"),
    ]


def _warnings(report: Json) -> list[Content]:
    warnings = []
    blocks = report["data"]["num_blocks"]
    if blocks < FEW_BLOCKS:
        warnings.append(
            f"{blocks} spatial blocks are few: 95 % intervals of skewed quantities "
            "held the truth in 82 to 92 % of simulated cities with 4 to 20 blocks."
        )
    fewest = min(
        task_report["num_labelled"] for task_report in report["tasks"].values()
    )
    if fewest < FEW_REGIONS:
        warnings.append(
            f"{fewest} labelled regions are few: methods without a clear difference "
            "here may well differ, and a clear one may come from this sample alone."
        )
    if "block" not in report["num_folds"] and "city" not in report["num_folds"]:
        warnings.append(
            "The records do not say where these regions lie, so the split is random "
            "and the scores are too optimistic."
        )
    warnings += report.get("differences", [])
    return [html.paragraph(line, "warn") for line in warnings]


def _cards(report: Json) -> Element:
    cards = []
    for name, task_report in report["tasks"].items():
        link = element("a", name, href=f"#{html.anchor(name)}")
        best = words.best(task_report)
        sentences = (
            words.sentences(task_report, best) if best else ["Nothing to compare."]
        )
        lines = [html.paragraph(line) for line in sentences]
        cards.append(html.tag("div", html.tag("h3", link), lines, kind="card"))
    return html.tag("div", cards, kind="cards")


def _embeddings(report: Json) -> list[Content]:
    parts: list[Content] = []
    if report["health"]:
        names = list(
            dict.fromkeys(n for measures in report["health"].values() for n in measures)
        )
        rows = [
            [method, *(number(measures.get(name)) for name in names)]
            for method, measures in report["health"].items()
        ]
        header = ["encoder", *(words.HEALTH.get(name, name) for name in names)]
        parts += [html.tag("h3", "Health"), html.table(header, rows, name="health")]
    if report["retrieval"]:
        parts.append(
            html.tag("h3", "Retrieval: from image to POIs and from POIs to image")
        )
        parts.append(
            html.paragraph(
                "How often is the POI set of an image, or the image of a POI set, "
                "among the k nearest? All regions with POIs are compared by the "
                "projections that the contrastive loss uses.",
                "soft",
            )
        )
        parts.append(_retrieval(report["retrieval"]))
    return parts


def _retrieval(retrieval: Json) -> Element:
    ranks = list(next(iter(retrieval.values()))["recall"])
    rows = []
    for direction, scores in retrieval.items():
        chance = [min(int(k) / scores["num_regions"], 1.0) for k in ranks]
        rows.append(
            [
                direction,
                *(
                    [
                        percent(scores["recall"][k]),
                        html.tag("small", f"by chance {percent(by_chance)}"),
                    ]
                    for k, by_chance in zip(ranks, chance, strict=True)
                ),
                [
                    number(scores["median_rank"]),
                    html.tag(
                        "small", f"by chance {number((scores['num_regions'] + 1) / 2)}"
                    ),
                ],
                f"{scores['num_regions']:,}",
            ]
        )
    header = ["direction", *(f"R@{k}" for k in ranks), "median rank", "regions"]
    return html.table(header, rows, name="retrieval")


def _cities(report: Json) -> list[Content]:
    cities = report["cities"]
    if not cities:
        return []
    explained = (
        f"Encoders were trained on {cities['names'][0]} alone. Every city is tested by "
        "heads that saw no label of it."
    )
    parts: list[Content] = [html.paragraph(explained, "soft")]
    for name, task_report in cities["tasks"].items():
        parts.append(html.tag("h3", name))
        parts.append(task.section(f"{name}, across cities", task_report, None, ()))
        transfer = cities["transfer"].get(name, {})
        for method, rows in transfer.items():
            parts.append(_transfer(method, rows, cities["names"], task_report))
    return parts


def _transfer(
    method: str, rows: Sequence, names: Sequence[str], task_report: Json
) -> list[Content]:
    head, unit = task_report["headline"], task_report["label"]["unit"]
    title = (
        f"{method}, {words.metric(head, unit)}: heads of the city on "
        "the left, tested in the city above (the diagonal out of fold)"
    )
    body = [
        [name, *(number(value) for value in row)]
        for name, row in zip(names, rows, strict=True)
    ]
    return [
        html.paragraph(title, "soft"),
        html.table(["city", *names], body, name=title),
    ]


def _methods(report: Json) -> Element:
    rows = [
        [
            name,
            "–" if method["num_features"] is None else f"{method['num_features']:,}",
            html.left(method["about"]),
        ]
        for name, method in report["methods"].items()
    ]
    about = html.tag("th", "what it is", kind="words")
    return html.table(["method", "numbers a region", about], rows, name="methods")


def _settings(report: Json) -> list[Content]:
    data = {k: v for k, v in report["data"].items() if k not in ("hashes", "sources")}
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())

    def folded(name: str, content: object) -> Element:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        return html.fold(name, html.preformatted(text, name))

    return [
        html.paragraph(versions, "soft"),
        folded("Data", data),
        folded("Hashes of the records (SHA-256)", report["data"]["hashes"]),
        folded("Sources of the records", report["data"]["sources"]),
        folded("Settings of this evaluation", report["settings"]),
        folded(
            "The configuration: what decides the weights as it was in training, the "
            "rest as in this run",
            report["config"],
        ),
        folded("How training began and continued", report.get("history", [])),
    ]
