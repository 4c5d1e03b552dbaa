"""Writes `transfer.json` as text: a table for each label, with cities as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmgr_jax.terminal import columns, visible

OTHERS, OWN = "other cities", "own city"
"""Whose labels heads have; see `evaluation.transfer.trial`."""

PLAIN = "statistics and counts"
"""Features without a network, to stand beside."""

HEADINGS = {
    OTHERS: "heads of the other cities, with no label of the tested one",
    OWN: "heads of the tested city's own other blocks",
}
"""Whose labels -> words."""


def table(content: Mapping[str, Any]) -> str:
    """Writes the tables of a transfer study.

    Args:
        content: What `mmgr_jax.transfer` writes; see `evaluation.transfer.summary`.
    """
    parts = [
        "\n".join(map(visible, _label(name, one, content["tested"])))
        for name, one in content["labels"].items()
    ]
    return "\n\n".join(parts)


def first_lines(content: Mapping[str, Any]) -> list[str]:
    """A line for each label: an encoder that never saw the city, and other methods.

    Args:
        content: See `table`.
    """
    lines = []
    for name, one in content["labels"].items():
        methods = one["results"][OTHERS]
        whole = [m for m in methods if m.endswith(" both") or m == PLAIN]
        cells = [f"{m} {_number(methods[m]['mean'])}" for m in whole or methods]
        lines.append(
            f"{name}: {', '.join(cells)} ({one['headline']}, mean of "
            f"{len(content['tested'])} cities, no label of the tested one)"
        )
    return lines


def useless(one: Mapping[str, Any]) -> str:
    """A sentence if labels of other cities do not help; "" if some do, or without R2.

    Args:
        one: A label of the study.
    """
    methods = one["results"][OTHERS].values()
    if not one["headline"].startswith("r2") or any(m["mean"] >= 0 for m in methods):
        return ""
    return (
        "Labels of the other cities are of no use here: a head that learns from them "
        "alone predicts worse than the tested city's own mean would (R2 below 0)."
    )


def _label(name: str, one: Mapping[str, Any], tested: Sequence[str]) -> Iterator[str]:
    unit = one["label"]["unit"]
    yield f"{name} ({one['label']['kind']}, {unit}): {one['headline']}, mean of cities"
    for labels, methods in one["results"].items():
        yield ""
        yield HEADINGS[labels]
        rows = [
            [method, _number(cell["mean"]), _limits(cell), *_cities(cell, tested)]
            for method, cell in methods.items()
        ]
        yield from columns([["", "mean", "95 %", *tested], *rows])
        if labels == OTHERS and (sentence := useless(one)):
            yield sentence
    yield ""
    yield "how much better an encoder that has never seen the city is than ..."
    rows = [
        [
            f"{cell['method']} - {cell['reference']}, {cell['labels']}",
            f"{cell['mean']:+.3f}", _limits(cell), *_cities(cell, tested),
        ]
        for cell in one["differences"]
    ]  # fmt: skip
    yield from columns([["", "mean", "95 %", *tested], *rows])
    if any(points for uses in one["few"].values() for points in uses.values()):
        yield ""
        yield "with few labels of the tested city"
        yield from columns(_few(one["few"]))


def _few(few: Mapping[str, Any]) -> list[list[str]]:
    numbers = sorted(
        {
            point["num_labels"]
            for uses in few.values()
            for points in uses.values()
            for point in points
        }
    )
    rows = [["labels", *map(str, numbers)]]
    for method, uses in few.items():
        for use, points in uses.items():
            by_number = {point["num_labels"]: point["mean"] for point in points}
            cells = [_number(by_number.get(number)) for number in numbers]
            rows.append([f"{method}, {use}", *cells])
    return rows


def _cities(cell: Mapping[str, Any], tested: Sequence[str]) -> list[str]:
    return [_number(cell["cities"][city][0]) for city in tested]


def _limits(cell: Mapping[str, Any]) -> str:
    if cell["low"] is None or cell["high"] is None:
        return "-"
    return f"[{cell['low']:.3f}, {cell['high']:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
