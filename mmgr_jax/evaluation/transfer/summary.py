"""Combines the results of all tested cities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmgr_jax.evaluation.certainty import intervals, metrics
from mmgr_jax.evaluation.heads import jobs
from mmgr_jax.evaluation.transfer import encoders as encoders_lib
from mmgr_jax.evaluation.transfer import trial
from mmgr_jax.evaluation.transfer.trial import CityResult, Study
from mmgr_jax.evaluation.trials.results import Point, Result
from mmgr_jax.evaluation.trials.scores import Judge

Trials = Mapping[str, Mapping[str, CityResult]]
"""`[tested city][label]`."""

Measured = tuple[float, np.ndarray, int, float]
"""Value, its samples, blocks behind them, level of the intervals."""


def of(study: Study, trials: Trials) -> dict[str, Any]:
    """Collects all numbers for `transfer.json` and for the report.

    {label: {
      label       {kind, unit, classes, year}
      headline    a metric
      results     {whose labels: {method: Mean}}
      differences [{labels, method, reference, Mean}]   above 0: method is better
      few         {method: {how they are used: [{num_labels, Mean}]}}
      matrix      {method: [labels of: [tested on: value]]}}}

    Mean: {mean, low, high, cities {city: [value, low, high]}}. The limits are from
    resampled spatial blocks of these cities, null if there are none.
    """
    return {label: _label(study, trials, label) for label in study.targets}


def _label(study: Study, trials: Trials, label: str) -> dict[str, Any]:
    by_city = {city: results[label] for city, results in trials.items()}
    first = next(iter(by_city.values()))
    meaning = next(iter(study.targets[label].values())).label
    name = first.headline
    results = {
        labels: {
            method: _mean(
                {
                    city: _of_result(one.results[labels][method], name)
                    for city, one in by_city.items()
                }
            )
            for method in first.results[labels]
        }
        for labels in first.results
    }
    return {
        "label": {
            "kind": meaning.kind, "unit": meaning.unit,
            "classes": list(meaning.classes), "year": meaning.year,
        },
        "headline": name,
        "results": results,
        "differences": [
            {
                "labels": labels, "method": method, "reference": reference,
                **_difference(by_city, labels, method, reference, name),
            }
            for labels in first.results
            for method, reference in _pairs(study, list(first.results[labels]))
        ],
        "few": {
            method: {
                use: _few([one.points[method][use] for one in by_city.values()],
                          list(by_city), name)
                for use in uses
            }
            for method, uses in first.points.items()
        },
        "matrix": matrix(study, list(trials), label, name),
    }  # fmt: skip


def _pairs(study: Study, there: Sequence[str]) -> list[tuple[str, str]]:
    """Methods to compare: an unseen city's encoder with all that could replace it."""
    pairs = []
    for kind in study.eval_settings.features:
        ours = f"{encoders_lib.UNSEEN} {kind}"
        rivals = [
            f"{encoders_lib.ALL} {kind}",
            f"{encoders_lib.OWN} {kind}",
            "statistics and counts",
            "image statistics",
            "poi counts",
            "random image",
        ]
        pairs += [(ours, rival) for rival in rivals]
    return [pair for pair in pairs if set(pair) <= set(there)]


def _of_result(result: Result, name: str) -> Measured:
    samples = result.samples.get(name, np.zeros(0))
    return result.metrics[name], samples, result.num_blocks or 0, result.level


def _difference(
    by_city: Mapping[str, CityResult],
    labels: str,
    method: str,
    reference: str,
    name: str,
) -> dict[str, Any]:
    sign = metrics.improvement(name, 1.0, 0.0)
    parts = {}
    for city, one in by_city.items():
        ours, theirs = (
            _of_result(one.results[labels][which], name)
            for which in (method, reference)
        )
        parts[city] = (
            sign * (ours[0] - theirs[0]), sign * (ours[1] - theirs[1]), *ours[2:],
        )  # fmt: skip
    return _mean(parts)


def _few(
    points: Sequence[Sequence[Point]], cities: Sequence[str], name: str
) -> list[dict[str, Any]]:
    """Points that every city has, fewest labels first."""
    rows = []
    for each in zip(*points, strict=False):  # a small city may lack the last ones
        parts = {}
        for city, point in zip(cities, each, strict=True):
            samples = point.samples.get(name, np.zeros(0))
            parts[city] = (point.metrics[name].mean, samples, 0, intervals.LEVEL)
        rows.append({"num_labels": round(each[0].num_labels), **_mean(parts)})
    return rows


def _mean(parts: Mapping[str, Measured]) -> dict[str, Any]:
    """The mean over cities, each of which counts alike, and each of them."""
    values = [value for value, *_ in parts.values()]
    blocks = sum(blocks for *_, blocks, _ in parts.values())
    level = next(iter(parts.values()))[-1]
    samples = np.stack([samples for _, samples, *_ in parts.values()])
    whole = _interval(float(np.mean(values)), samples.mean(axis=0), blocks, level)
    return {
        "mean": whole[0], "low": whole[1], "high": whole[2],
        "cities": {
            city: _interval(value, samples, blocks, level)
            for city, (value, samples, blocks, level) in parts.items()
        },
    }  # fmt: skip


def _interval(
    value: float, samples: np.ndarray, blocks: int, level: float
) -> list[float | None]:
    limits = intervals.interval(value, samples, num_blocks=blocks or None, level=level)
    numbers = (limits.estimate, limits.low, limits.high)
    return [float(n) if np.isfinite(n) else None for n in numbers]


def matrix(
    study: Study, tested: Sequence[str], label: str, name: str
) -> dict[str, list[list[float | None]]]:
    """Tests heads of each city in each city; the diagonal tests other blocks.

    Features are of the last kind in `eval.features`. They come from the encoder of all
    cities, which has seen tiles of the tested city, and from that of all other cities.
    """
    kind = study.eval_settings.features[-1]
    wanted = [f"{role} {kind}" for role in (encoders_lib.ALL, encoders_lib.UNSEEN)]
    keys, work = [], []
    for city in tested:
        by_name = {one.name: one for one in trial.methods(study, city)}
        for method in wanted:
            for teacher in study.names:
                keys.append((method, teacher, city))
                work.append(
                    trial.own_job(study, label, by_name[method], city)
                    if teacher == city
                    else trial.carried_job(
                        study, label, by_name[method], [teacher], city
                    )
                )
    cells: dict[tuple[str, str, str], float | None] = {}
    for key, job, fits in zip(keys, work, jobs.fit_all(work), strict=True):
        _, teacher, city = key
        prediction = (
            fits.out_of_fold(job.grid) if teacher == city else fits.prediction[0]
        )
        target = study.targets[label][city]
        judge = Judge(target, study.cities[city].split.fold, None)
        value = judge.measure(prediction, target.known)[name]
        cells[key] = float(value) if np.isfinite(value) else None
    return {
        method: [[cells[method, a, b] for b in tested] for a in study.names]
        for method in wanted
    }
