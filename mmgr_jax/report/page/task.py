"""Makes the part of the page on one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import charts, few_labels, html, pictures, standing, words
from mmgr_jax.report.page.svg import number, percent, tick
from mmgr_jax.report.page.tree import Content, Element

Json = Mapping[str, Any]

INTERVALS = "Bars: intervals over resampled spatial blocks, 95 % unless set otherwise."


def section(
    name: str, task: Json, regions: Json | None, opening: Sequence[Element]
) -> Element:
    """Makes maps, comparisons, curves and certainty of a task; long tables are folded.

    Args:
        name: Name of the task.
        task: Results of the task.
        regions: Predictions of single regions; None if there are none to map.
        opening: Content that stands before everything else.
    """
    label = task["label"]
    year = f", {label['year']}" if label["year"] else ""
    measure = f"{len(label['classes'])} classes" if label["classes"] else label["unit"]
    about = (
        f"{label['kind']} ({measure}{year}"
        + (f"; {label['source']}" if label["source"] else "")
        + f"). {task['num_labelled']:,} of {task['num_regions']:,} regions have a "
        "label, and every region has a prediction."
    )
    parts: list[Content] = [html.tag("h2", name, id_=html.anchor(name)), *opening]
    parts += [html.paragraph(about, "soft")]
    if regions is None:  # the home city's sentences are the first of the page
        parts += [html.paragraph(standing.of_task(name, task))]
    else:
        parts += pictures.of_task(name, task, regions)
    parts += [html.tag("h3", "Compared with other methods")]
    parts += [
        html.paragraph(" ".join(words.sentences(task, method)))
        for method in words.ours(task)
    ]
    parts += [html.paragraph(words.without_pois(task))]
    for split, protocols in task["splits"].items():
        parts += _split(split, protocols, task)
    parts += _differences(task)
    parts += _gaps(task)
    parts += few_labels.section(task)
    parts += _classes(task)
    parts += _coverage(task)
    return html.tag("section", parts)


def _split(split: str, protocols: Json, task: Json) -> list[Content]:
    """The first split with its chart and first table; everything else is folded."""
    first = split == next(iter(task["splits"]))
    title = words.SPLITS.get(split, split)
    head, unit = task["headline"], task["label"]["unit"]
    named = f"{words.metric(head, unit)} {words.arrow(head)}"
    parts: list[Content] = []
    for index, (protocol, methods) in enumerate(protocols.items()):
        drawn = _table(methods, words.ours(task), unit)
        heads = f"{protocol}: {task['heads'].get(protocol, protocol)}"
        if not first or index:
            where = f"{split} split" if first else f"{split} split ({title})"
            parts.append(html.fold(f"{where}, {heads}", drawn))
            continue
        rows = [
            charts.Row(
                method,
                result["metrics"][head],
                *result["intervals"].get(head, (None, None)),
                ours=method in words.ours(task),
            )
            for method, result in methods.items()
        ]
        parts += [
            html.tag("h3", f"{split.capitalize()} split"),
            html.paragraph(f"{title.capitalize()}. Heads, {heads}.", "soft"),
            html.figure(charts.intervals(rows, name=named), INTERVALS),
            html.fold("All metrics as a table", drawn),
        ]
    return parts


def _table(methods: Json, own: Sequence[str], unit: str) -> Element:
    names = list(next(iter(methods.values()))["metrics"])
    best = {name: _best(name, methods) for name in names}
    moran = any(result["moran"] for result in methods.values())
    header = ["method"] + [f"{words.short(n, unit)} {words.arrow(n)}" for n in names]
    rows = []
    for method, result in methods.items():
        cells: list[Content] = [method]
        for name in names:
            value = result["metrics"][name]
            low, high = result["intervals"].get(name, (None, None))
            small = html.tag("small", words.interval(low, high))
            kind = "best" if value is not None and value == best[name] else ""
            cells.append(html.tag("td", number(value), small, kind=kind))
        rows.append(cells + ([_moran(result["moran"])] if moran else []))
    header += ["Moran's I"] if moran else []
    kinds = ["ours" if method in own else "" for method in methods]
    return html.table(header, rows, kinds=kinds, name="metrics of each method")


def _moran(moran: Json | None) -> Content:
    if moran is None or moran["statistic"] is None:
        return "–"
    small = html.tag("small", f"p {number(moran['p_value'])}")
    return [number(moran["statistic"]), small]


def _best(name: str, methods: Json) -> float | None:
    values = [r["metrics"][name] for r in methods.values()]
    known = [value for value in values if value is not None]
    pick = max if name in words.HIGHER_IS_BETTER else min
    return pick(known) if len(known) > 1 else None


def _differences(task: Json) -> list[Content]:
    differences = task["differences"]
    if not differences:
        return []
    head = task["headline"]
    names = [head, *(n for n in differences[0]["metrics"] if n != head)]
    rows = []
    for difference in differences:
        cells: list[Content] = [
            difference["method"],
            html.left(difference["reference"]),
        ]
        for name in names:
            cells.append(html.difference(*difference["metrics"][name]))
        rows.append(cells)
    header = [
        "method",
        "less",
        *(words.short(n, task["label"]["unit"]) for n in names),
    ]
    explained = (
        "How much better the method is than the other, whatever the metric: above 0 "
        "is better. Both are measured on the same resampled blocks. Where the interval "
        "holds 0, there is no clear difference."
    )
    return [
        html.tag("h3", "Paired differences"),
        html.paragraph(explained, "soft"),
        html.fold(
            f"{len(rows)} comparisons",
            html.table(header, rows, name="paired differences"),
        ),
    ]


def _gaps(task: Json) -> list[Content]:
    if not task["optimism_gap"]:
        return []
    gaps = next(iter(task["optimism_gap"].values()))
    names = list(next(iter(gaps.values())))
    rows = [
        [method, *(number(gap[name]) for name in names)] for method, gap in gaps.items()
    ]
    unit = task["label"]["unit"]
    explained = "How much better the random split makes each method look."
    header = ["method", *(words.short(n, unit) for n in names)]
    drawn = html.table(header, rows, name="optimism gap")
    return [
        html.tag("h3", "Optimism gap"),
        html.paragraph(explained, "soft"),
        html.fold("Gap of each metric", drawn),
    ]


def _classes(task: Json) -> list[Content]:
    own = [method for method in words.ours(task) if method in task["classes"]]
    others = [
        m for m in task["classes"] if m not in own and m.startswith(("random", "mean"))
    ]
    shown = (own + others)[:6]
    if not shown:
        return []
    metric = "mae" if task["label"]["kind"] == "share" else "f1"
    names = {"mae": "mean absolute error of the share ↓", "f1": "F1 ↑"}
    groups = {
        name: {method: task["classes"][method][metric][index] for method in shown}
        for index, name in enumerate(task["label"]["classes"])
    }
    return [
        html.tag("h3", "Class by class"),
        html.figure(charts.bars(groups, name=names[metric]), ""),
    ]


def _coverage(task: Json) -> list[Content]:
    if not task["coverage"]:
        return []
    rows = [
        [
            method,
            f"{tick(100 * level['level'])} %",
            _percent(level["by_region"]),
            _percent(level["by_block"]),
        ]
        for method, levels in task["coverage"].items()
        for level in levels
    ]
    explained = (
        "How often do the conformal intervals around predictions hold the truth? "
        "They are calibrated on other spatial blocks than those on which they are "
        "counted."
    )
    return [
        html.tag("h3", "Do the intervals hold?"),
        html.paragraph(explained, "soft"),
        html.table(
            ["method", "promised", "held, share of regions", "held, mean over blocks"],
            rows,
            name="coverage of intervals",
        ),
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)
