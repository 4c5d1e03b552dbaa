"""Reads what an evaluation found about an encoder's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgr_jax.report import report_file
from mmgr_jax.store.exported import About

_REPORT = "eval/report.json"


def with_evaluation(about: About, bundle: Path) -> About:
    """Adds results of the evaluation to the facts on an encoder; see `evaluation`."""
    results = evaluation(bundle, about.weights)
    known = {**about.trained_on, "evaluation": results}
    return dataclasses.replace(about, trained_on=known)


def evaluation(bundle: Path, weights: str) -> dict[str, Any] | None:
    """Reads the results for these weights in the report of the checkpoint's run.

    Args:
        bundle: The checkpoint, in its run's folder of checkpoints.
        weights: Hash of the encoder's arrays.

    Returns:
        `city`, `num_regions`, `created`, and `rows` with the headline metric of each
        task; None if there is no report, or the report is about other weights only.

    Raises:
        InputError: If the report is damaged.
    """
    path = bundle.parent.parent / _REPORT
    if not path.exists():
        return None
    report = report_file.read(path)
    with report_file.understood(path):
        ours = [
            name
            for name, encoder in report.get("encoders", {}).items()
            if encoder["weights"] == weights
        ]
        if not ours:
            return None
        data = report["data"]
        return {
            "city": data["city"],
            "num_regions": data["num_regions"],
            "created": report["created"],
            "rows": list(_rows(report, ours)),
        }


def _rows(report: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Headline numbers of the first split and protocol; the mean shows their scale."""
    for task, content in report["tasks"].items():
        split, protocols = next(iter(content["splits"].items()))
        protocol, methods = next(iter(protocols.items()))
        metric = content["headline"]
        for method, numbers in methods.items():
            if method == "mean" or method.split(" ")[0] in names:
                yield {
                    "task": task,
                    "split": split,
                    "protocol": protocol,
                    "method": method,
                    "metric": metric,
                    "value": numbers["metrics"][metric],
                    "interval": numbers["intervals"].get(metric),
                }
