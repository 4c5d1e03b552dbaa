"""Names things on the page, and explains the numbers of a report in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgr_jax.report import choice
from mmgr_jax.report.page.svg import Number, number

METRICS = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "r2_log": "R² of log(1 + value / median)",
    "rmse_log": "RMSE of logarithms",
    "mae_log": "MAE of logarithms",
    "spearman": "rank correlation (Spearman)",
    "mape": "mean relative error",
    "l1": "L1 distance (0 equal, 2 disjoint)",
    "kl": "KL(truth ‖ prediction), nats",
    "cosine": "cosine similarity",
    "chebyshev": "Chebyshev distance",
    "canberra": "Canberra distance",
    "accuracy": "accuracy",
    "macro_f1": "F1, mean over classes",
    "log_loss": "log loss, nats",
}
SHORT = {
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "r2_log": "R² log",
    "rmse_log": "RMSE log",
    "mae_log": "MAE log",
    "spearman": "Spearman",
    "mape": "MAPE",
    "l1": "L1",
    "kl": "KL",
    "macro_f1": "F1",
    "log_loss": "log loss",
}
HIGHER_IS_BETTER = {"r2", "r2_log", "spearman", "cosine", "accuracy", "macro_f1"}
WITH_UNIT = {"mae", "rmse"}
SPLITS = {
    "block": "whole spatial blocks held out: the numbers to quote",
    "random": (
        "neighbours of tested regions are trained on, so scores are too optimistic"
    ),
    "city": "one city left out: heads are trained on all the others",
}
HEALTH = {
    "num_regions": "regions looked at",
    "effective_rank": "effective rank (directions that are used)",
    "constant_share": "share of the features that are the same everywhere",
    "uniformity": "uniformity (0 is collapsed, lower is better spread)",
    "alignment": "alignment of image and POIs (0 is equal)",
    "neighbour_overlap": "nearest neighbours that image and POIs share",
    "overlap_by_chance": "the same by chance",
}


UNCLEAR = "no clear difference"
"""Where the interval of a difference holds zero."""


def metric(name: str, unit: str = "") -> str:
    """Name of a metric, with the label's unit if it has one."""
    named = METRICS.get(name, name.replace("_", " "))
    return f"{named} ({unit})" if name in WITH_UNIT and unit else named


def short(name: str, unit: str = "") -> str:
    """Name of a metric at the head of a column."""
    named = SHORT.get(name, name.replace("_", " "))
    return f"{named} ({unit})" if name in WITH_UNIT and unit else named


def arrow(name: str) -> str:
    """An arrow that shows which direction is better."""
    return "↑" if name in HIGHER_IS_BETTER else "↓"


def interval(low: Number | None, high: Number | None) -> str:
    """An interval in brackets; empty if there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low)}, {number(high)}]"


def verdict(low: Number | None, high: Number | None) -> str:
    """Says what the interval of a difference means."""
    if low is None or high is None:
        return "no interval"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return UNCLEAR


def best(task: Mapping[str, Any]) -> str | None:
    """The checkpoint's method that is mapped: the best one by the headline metric.

    See `mmgr_jax.report.choice`: no fold is judged by its own score.
    """
    methods, head = main(task), task["headline"]
    folds = {
        method: [fold[head] for fold in methods[method]["folds"]]
        for method in ours(task)
    }
    return choice.best(folds, higher=head in HIGHER_IS_BETTER)


def ours(task: Mapping[str, Any]) -> list[str]:
    """Methods of the checkpoint, which the report compares with others."""
    return list(dict.fromkeys(d["method"] for d in task["differences"]))


def sentences(task: Mapping[str, Any], method: str) -> list[str]:
    """Says what a method reaches, and which methods it is and is not better than."""
    head, result = task["headline"], main(task)[method]
    low, high = result["intervals"].get(head, (None, None))
    value = f"{number(result['metrics'][head])} {interval(low, high)}".strip()
    lines = [f"{method}: {metric(head, task['label']['unit'])} {value}."]
    by_verdict: dict[str, list[str]] = {}
    for difference in task["differences"]:
        if difference["method"] == method and difference["reference"] not in ours(task):
            _, low, high = difference["metrics"][head]
            by_verdict.setdefault(verdict(low, high), []).append(
                difference["reference"]
            )
    for words, joint in (("better", "than"), (UNCLEAR, "from"), ("worse", "than")):
        if words in by_verdict:
            others = ", ".join(by_verdict[words])
            lines.append(f"{words.capitalize()} {joint} {others}.")
    return lines


def without_pois(task: Mapping[str, Any]) -> str:
    """Says in a sentence what is lost with the image alone; "" if not compared."""
    head = task["headline"]
    for difference in task["differences"]:
        pair = difference["method"], difference["reference"]
        kinds = tuple(name.rsplit(" ", 1)[-1] for name in pair)
        if kinds == ("both", "image") and pair[1] in ours(task):
            value, low, high = difference["metrics"][head]
            caveat = "" if low is None or low > 0 else f", {verdict(low, high)}"
            return (
                f"Without POIs (image features alone) {metric(head)} is worse by "
                f"{number(round(value, 4))} {interval(low, high)}{caveat}."
            )
    return ""


def main(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Method -> result by the first protocol under the first split."""
    return next(iter(next(iter(task["splits"].values())).values()))
