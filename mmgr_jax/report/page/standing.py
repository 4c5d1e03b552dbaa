"""Compares MMGR with methods without a network, in the first lines of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgr_jax.report.page import words
from mmgr_jax.report.page.svg import Number, number

Json = Mapping[str, Any]

REFERENCE = "statistics and counts"
"""The baseline to stand against: features that anybody can count."""

WITHOUT_NETWORK = (
    REFERENCE,
    "image statistics",
    "poi counts",
    "poi tf-idf",
    "coordinates",
    "neighbour average",
    "mean",
)
"""Baselines that can take its place, the best of them; so can a random encoder."""

IN_WORDS = {
    "statistics and counts": "image statistics and POI counts, no trained network",
    "image statistics": "image statistics, no trained network",
    "poi counts": "POI counts, no trained network",
    "mean": "the mean of the training labels everywhere",
    "neighbour average": "the mean of the nearest labels",
}
"""Baselines as a planner would call them."""

PLAIN = {"r2_log": "R² of logarithms", "l1": "L1 distance"}
"""Headline metrics in fewer words than on the axes of charts."""

OURS = "MMGR "
WHOLE = "MMGR both"
"""The method to quote: image and POIs, whether or not another one scores better."""


def lines(report: Json) -> list[str]:
    """Writes a sentence for each task of a report, plainly for good and bad results."""
    return [of_task(name, task) for name, task in report["tasks"].items()]


def of_task(name: str, task: Json) -> str:
    """Says what MMGR and the baseline reach on a task, and which one is better."""
    method, reference = quoted(task), opponent(task)
    if method is None:
        return f"{name}: no features of MMGR were evaluated."
    head, methods = task["headline"], words.main(task)
    better = "higher" if head in words.HIGHER_IS_BETTER else "lower"
    ours = methods[method]["metrics"][head]
    if reference is None:
        return (
            f"{name}: {method} {number(ours)} ({measure(task)}, {better} is better); "
            "no baseline was evaluated beside it."
        )
    theirs = methods[reference]["metrics"][head]
    instead = ""
    if reference != REFERENCE:
        instead = f" {reference} is the best baseline here: {REFERENCE!r} was not run."
    return (
        f"{name}: {method} {number(ours)}, {reference} {number(theirs)} "
        f"({measure(task)}, {better} is better); {_verdict(task, method, reference)}."
        + instead
    )


def measure(task: Json) -> str:
    """Names the headline metric in few words."""
    head = task["headline"]
    return PLAIN.get(head) or words.metric(head, task["label"]["unit"])


def quoted(task: Json) -> str | None:
    """Chooses the method of the checkpoint to quote: the whole, or else the best."""
    methods = [name for name in words.main(task) if name.startswith(OURS)]
    return WHOLE if WHOLE in methods else _best(task, methods)


def opponent(task: Json) -> str | None:
    """Chooses the baseline to compare with, or else the best available method."""
    methods = words.main(task)
    if REFERENCE in methods:
        return REFERENCE
    return _best(
        task,
        [m for m in methods if m in WITHOUT_NETWORK or m.startswith("random ")],
    )


def _best(task: Json, methods: list[str]) -> str | None:
    head, results = task["headline"], words.main(task)
    known = [m for m in methods if results[m]["metrics"][head] is not None]
    sign = 1 if head in words.HIGHER_IS_BETTER else -1
    return max(known, key=lambda m: sign * results[m]["metrics"][head], default=None)


def _verdict(task: Json, method: str, reference: str) -> str:
    head = task["headline"]
    for difference in task["differences"]:
        if (difference["method"], difference["reference"]) == (method, reference):
            share = difference.get("better", {}).get(head)
            return comparison(*difference["metrics"][head], better=share)
    return "no interval was asked for (config.eval.certainty.num_resamples)"


def comparison(
    estimate: Number | None,
    low: Number | None,
    high: Number | None,
    better: Number | None = None,
) -> str:
    """Describes a paired difference in words.

    Args:
        estimate: The difference, above 0 if the first method is better.
        low: Lower limit of its interval.
        high: Upper limit of its interval.
        better: Share of the resamples in which the first method is better.
    """
    if estimate is None:
        return "the difference is not defined"
    verdict = words.verdict(low, high)
    word = "better" if estimate > 0 else "worse"
    if estimate < 0 and low is not None and high is not None:
        low, high = -high, -low
    size = f"{number(abs(estimate))} {words.interval(low, high)}".strip()
    phrase = f"{word} by {size}"
    if verdict not in ("better", "worse"):
        phrase = f"{verdict} ({phrase if estimate else size})"
    if better is None:
        return phrase
    return f"{phrase}, better in {_of_hundred(better)} of 100 resamples of blocks"


def _of_hundred(share: Number) -> str:
    """A share as a count of a hundred; 100 and 0 are used only for all and none."""
    if 0 < share < 0.01:
        return "fewer than 1"
    if 0.99 < share < 1:
        return "more than 99"
    return f"{round(100 * share)}"
