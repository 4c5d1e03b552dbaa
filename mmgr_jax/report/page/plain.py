"""Explains to a city council what a map shows, how good it is, and where to doubt it.

It uses units that a planner knows: persons, shares of area, regions out of a hundred.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr_jax.report.page import legends, standing, words
from mmgr_jax.report.page.svg import Number, number, tick

Json = Mapping[str, Any]

FEATURES = {
    "image": "imagery",
    "poi": "points of interest (POIs)",
    "both": "imagery and points of interest (POIs)",
    "all": "imagery and points of interest (POIs), image statistics and POI counts",
}
"""Kind of features -> what they are made of."""

OUT_OF_FOLD = {
    "block": "the model that predicts a region saw no label of it or of its spatial "
    "block",
    "random": "the model that predicts a region saw no label of it, but labels of its "
    "neighbours",
    "city": "the model that predicts a region saw no label of its city",
}
"""Kind of split -> what was not seen."""

FEWEST = 20
"""Regions that a statement about a part of a map needs."""


def features(method: str) -> str:
    """Describes what a method's features are made of, with its name."""
    kind = method.rsplit(" ", 1)[-1]
    return f"{FEATURES[kind]} ({method})" if kind in FEATURES else method


def shown(name: str, label: Json) -> str:
    """Describes what a map of a label shows."""
    return {
        "share": f"the class with the largest share ({spoken(name)})",
        "class": f"the most probable class ({spoken(name)})",
    }.get(label["kind"], f"the {spoken(name)} ({label['unit']})")


def what(name: str, task: Json, report: Json, method: str) -> str:
    """Says what the map shows, how it was made, and that no label was seen."""
    label, data = task["label"], report["data"]
    year = f" in {label['year']}" if label["year"] else ""
    unseen = OUT_OF_FOLD[next(iter(task["splits"]))]
    return (
        f"The map shows {shown(name, label)} that a model predicts from "
        f"{features(method)} for each of {data['num_regions']:,} regions of "
        f"{data['city']}{year}. "
        f"Each value is out-of-fold: {unseen}."
    )


def good(task: Json, truth: Sequence, predicted: Sequence, method: str) -> str:
    """Says how wrong predictions are, compared with answers that need no model."""
    known = _known(task, truth, predicted)
    if not known:
        return "No region on this map has a label, so nobody knows how good it is."
    if task["label"]["classes"]:
        return _classes_good(task, known, method)
    unit = task["label"]["unit"]
    off = sorted(abs(p - t) for t, p in known)
    middle = statistics.median(t for t, _ in known)
    plain = statistics.median(abs(t - middle) for t, _ in known)
    return (
        f"Half of the regions are off by less than {rough(statistics.median(off))} "
        f"{unit}, nine in ten by less than {rough(off[int(0.9 * (len(off) - 1))])}; "
        f"with the same value everywhere (the median, {rough(middle)}) half would be "
        f"off by more than {rough(plain)}."
        + _beside(task, method, "mae", f"The mean error is {{}} {unit}", rough)
    )


def careful(task: Json, truth: Sequence, predicted: Sequence, method: str) -> str:
    """Says where predictions are worst, and what was not tested."""
    known = _known(task, truth, predicted)
    worst = (_worst_class if task["label"]["classes"] else _worst_values)(task, known)
    blocks = _coverage(task, method)
    return (
        f"{worst}{blocks} Do not use the map outside these regions or for another "
        "year: it was not tested there."
    )


def rough(value: Number) -> str:
    """Formats a number as people say it: two digits, with separated thousands."""
    if value == 0:
        return "0"
    short = float(f"{value:.2g}")
    return tick(short) if abs(short) < 10 else f"{short:,.0f}".replace("-", "−")


def score(task: Json, method: str) -> str:
    """Formats the headline metric of a method with its interval."""
    head, result = task["headline"], words.main(task)[method]
    limits = words.interval(*result["intervals"].get(head, (None, None)))
    measure = standing.measure(task)
    return f"{measure} {number(result['metrics'][head])} {limits}".strip()


def spoken(name: str) -> str:
    """The name of a label or class in readable form."""
    return name.replace("_", " ")


def _known(task: Json, truth: Sequence, predicted: Sequence) -> list[tuple[Any, Any]]:
    """Truth and prediction of labelled regions; for shares and classes the largest."""
    pairs = zip(truth, predicted, strict=True)
    if not task["label"]["classes"]:
        return [(t, p) for t, p in pairs if t is not None]
    return [(largest(t), largest(p)) for t, p in pairs if largest(t) is not None]


def largest(values: Any) -> int | None:
    """The class with the largest share or probability; None if it is not known."""
    if values is None or isinstance(values, (int, float)):
        return None if values is None else int(values)
    if None in values:
        return None
    return max(range(len(values)), key=lambda index: values[index])


def _classes_good(task: Json, known: Sequence[tuple[int, int]], method: str) -> str:
    classes = task["label"]["classes"]
    truths = [t for t, _ in known]
    usual = max(set(truths), key=lambda index: (truths.count(index), -index))
    right = sum(t == p for t, p in known) / len(known)
    share = task["label"]["kind"] == "share"
    named = "the class that truly has the largest share" if share else "the true class"
    sentence = (
        f"The map shows {named} in {_hundred(right)} of 100 regions; always "
        f"{spoken(classes[usual])!r} would be right in "
        f"{_hundred(truths.count(usual) / len(truths))}."
    )
    if not share:
        return sentence + _beside(task, method, "accuracy", "Accuracy is {}", number)
    return sentence + _beside(
        task, method, "l1",
        "On average {} % of a region's area is given to a wrong class",
        lambda distance: f"{50 * distance:.0f}",
    )  # fmt: skip


def _beside(task: Json, method: str, metric: str, begins: str, shown: Any) -> str:
    """The metric of a method, together with that of the baseline to compare with."""
    methods, reference = words.main(task), standing.opponent(task)
    ours = methods[method]["metrics"].get(metric)
    theirs = methods[reference]["metrics"].get(metric) if reference else None
    if ours is None or theirs is None or reference is None:
        return ""
    without = standing.IN_WORDS.get(reference, reference)
    return f" {begins.format(shown(ours))}, against {shown(theirs)} with {without}."


def _worst_values(task: Json, known: Sequence[tuple[Number, Number]]) -> str:
    """The class of the legend in which predictions are most wrong."""
    unit = task["label"]["unit"]
    legend = legends.of_values([t for t, _ in known], unit)
    off: dict[int, list[float]] = {}
    for (t, p), place in zip(known, legend.places(p for _, p in known), strict=True):
        off.setdefault(place or 0, []).append(abs(p - t))
    large = {c: statistics.median(v) for c, v in off.items() if len(v) >= FEWEST}
    if not large:
        return f"Only {len(known)} regions have a label, so these figures are rough."
    worst = max(large, key=lambda c: large[c])
    return (
        f"Trust it least where it shows {legend.names[worst]} {unit}: half of these "
        f"regions are off by more than {rough(large[worst])}."
    )


def _worst_class(task: Json, known: Sequence[tuple[int, int]]) -> str:
    wrong: dict[int, list[bool]] = {}
    for t, p in known:
        wrong.setdefault(p, []).append(t != p)
    large = {c: sum(v) / len(v) for c, v in wrong.items() if len(v) >= FEWEST}
    if not large:
        return f"Only {len(known)} regions have a label, so these figures are rough."
    worst = max(large, key=lambda c: large[c])
    named = spoken(task["label"]["classes"][worst])
    return (
        f"Trust it least where it shows {named!r}: {_hundred(large[worst])} of 100 of "
        "these regions truly belong to another class."
    )


def _coverage(task: Json, method: str) -> str:
    """Says that the 90 % intervals are too narrow on other blocks, if they are."""
    for level in task["coverage"].get(method, ()):
        if level["level"] == 0.9 and (held := level["by_block"]) is not None:
            if held < 0.85:
                return (
                    f" Its 90 % intervals are too narrow: they hold "
                    f"{_hundred(held)} of 100 true values."
                )
    return ""


def _hundred(share: Number) -> str:
    return f"{100 * share:.0f}"
