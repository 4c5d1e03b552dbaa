"""`report.json`: all numbers of an evaluation, for programs and for the page.

The layout, version `SCHEMA` (null: not defined, never 0 and never left out):

    schema, created, versions {package: version}
    checkpoint, training_seed, settings {level, num_resamples, ...}
    config      {...}: what decides weights as they were trained, the rest as it was run
    differences [a sentence for each thing the checkpoint was not trained with]
    made_by     {weights, model.dtype, augment.size_px, readout...}: of the features
    trained_on  {records, table, began_with, total_steps}    see mmgr_jax.store.identity
    history     [{step, version, devices, processes, changes {key: [before, now]}}]
    encoders    {name: {from, weights}}, tables {name: sha256}     what was compared
    sha256      of all the rest; see mmgr_jax.report.report_file
    data        city, crs, num_regions, num_blocks, block_size_m, tile_size_m,
                empty_share, identity {part of the records: sha256},
                hashes {file: sha256}, sources {...}
    methods     {method: {about, num_features}}      what the heads were given
    num_folds   {split: folds}, seed                 of the folds
    tasks       {task: {
      label       {kind, unit, classes, year, source, licence, rule}
      headline    the metric to look at first, one of `metric_names`
      heads       {protocol: the head in words}
      num_regions, num_labelled
      splits      {split: {protocol: {method: {
                    metrics   {metric: value}        pooled over the tested regions
                    intervals {metric: [low, high]}  blocks of regions resampled
                    spread    {metric: deviation}    over the folds
                    folds     [{metric: value}]
                    chosen    [a fold's choice by validation]
                    recall    share of the true neighbours that were found
                    moran     {statistic, expected, p_value, ...} or null}}}}
      optimism_gap {protocol: {method: {metric: how much better random looks}}}
      differences [{method, reference, metrics {metric: [estimate, low, high]},
                    better {metric: share of the resamples where method is better}}]
                    above 0: method is better; first protocol, first split, paired
      curves      {method: [{fraction, num_labels,
                    metrics {metric: {mean, deviation, lowest, highest, count}},
                    intervals {metric: [low, high]}}]}  over draws of the labels
                    and blocks; fraction is null where a number was asked for
      curve_differences [{num_labels, and what differences have}]  paired, on the
                    same labels; methods and references that have curves
      coverage    {method: [{level, by_region, by_block, ...}]}
      classes     {method: {metric: [one a class]}}  shares and classes alone}}
    regions     {region_id, x_m, y_m, block, side_m, drawn_of}; at most MOST_REGIONS
                of the city's, a fixed random choice; with
                tasks {task: {truth, predictions {method: [...]}}}
    health      {method: {measure: value}}
    retrieval   {direction: {recall {k: value}, median_rank, num_regions,
                num_queries}}
    cities      null, or {names, tasks {...} as above, transfer {...}}

Version 1 has no better, no curve_differences, no intervals of curves, and a fraction
in all of their points.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mmgr_jax.evaluation.certainty import intervals
from mmgr_jax.evaluation.trials.results import Report, Result, Task

SCHEMA = 2
MOST_REGIONS = 4000
"""Regions whose predictions a report keeps; `embed` writes them all."""

DIGITS = 5
"""Significant digits of the values of single regions."""


def report_json(report: Report, *, references: Mapping[str, Sequence[str]]) -> dict:
    """Makes the JSON of a report, without the facts that only the caller knows.

    Args:
        report: The report.
        references: Method -> methods that it is compared with.
    """
    return {
        "num_folds": dict(report.num_folds),
        "seed": report.seed,
        "tasks": {name: _task(task, references) for name, task in report.tasks.items()},
    }


def regions_json(
    report: Report,
    truths: Mapping[str, np.ndarray],
    *,
    region_ids: Sequence[str],
    centre_m: np.ndarray,
    side_m: float,
    block: np.ndarray,
    methods: Sequence[str],
) -> dict[str, Any]:
    """Makes the JSON of single regions, at most `MOST_REGIONS`: truth and predictions.

    Args:
        report: Holds the predictions.
        truths: Task -> known values [r] or [r k], NaN where unknown.
        region_ids: Id of each region.
        centre_m: Easting and northing of its centre [r 2].
        side_m: Side of a region, for maps.
        block: Spatial block of each region [r].
        methods: Methods whose predictions are kept.
    """
    count = len(region_ids)
    chosen = drawn(count)
    return {
        "region_id": [region_ids[index] for index in chosen.tolist()],
        "x_m": np.round(centre_m[chosen, 0], 1).tolist(),
        "y_m": np.round(centre_m[chosen, 1], 1).tolist(),
        "block": block[chosen].tolist(),
        "side_m": side_m,
        "drawn_of": count,
        "tasks": {
            name: {
                "truth": rounded(truths[name][chosen]),
                "predictions": {
                    method: rounded(task.main[method].prediction[chosen])
                    for method in methods
                    if method in task.main
                },
            }
            for name, task in report.tasks.items()
        },
    }


def drawn(count: int) -> Int[np.ndarray, " n"]:
    """Chooses the regions of a report: all, or a fixed random `MOST_REGIONS`."""
    if count <= MOST_REGIONS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_REGIONS])


def finite(values: Mapping[str, float | int]) -> dict[str, float | None]:
    """The values, with None for each that is not a finite number."""
    return {name: number(value) for name, value in values.items()}


def number(value: float | int) -> float | None:
    """The value, or None if it is not a finite number."""
    return float(value) if math.isfinite(value) else None


def rounded(values: np.ndarray) -> list:
    """Nested lists with `DIGITS` significant digits, and None if not finite."""
    if values.ndim > 1:
        return [rounded(row) for row in values]
    return [
        float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        for value in values.tolist()
    ]


def _task(task: Task, references: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "label": dataclasses.asdict(task.label),
        "headline": task.headline,
        "heads": dict(task.heads),
        "num_regions": task.num_regions,
        "num_labelled": task.num_labelled,
        "splits": {
            split: {
                protocol: {method: _result(result) for method, result in by.items()}
                for protocol, by in protocols.items()
            }
            for split, protocols in task.results.items()
        },
        "optimism_gap": _gaps(task),
        "differences": list(_differences(task, references)),
        "curves": {
            method: [
                {
                    "fraction": point.fraction,
                    "num_labels": point.num_labels,
                    "metrics": {
                        name: finite(dataclasses.asdict(spread))
                        for name, spread in point.metrics.items()
                    },
                    "intervals": _limits(point.intervals),
                }
                for point in points
            ]
            for method, points in task.curves.items()
        },
        "curve_differences": list(_curve_differences(task, references)),
        "coverage": {
            method: [finite(dataclasses.asdict(level)) for level in levels]
            for method, levels in task.coverage.items()
        },
        "classes": {
            method: {name: rounded(np.asarray(v)) for name, v in by.items()}
            for method, by in task.classes.items()
        },
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "metrics": finite(result.metrics),
        "intervals": _limits(result.intervals),
        "spread": finite({name: result.spread(name) for name in result.metrics}),
        "folds": [finite(fold) for fold in result.fold_metrics],
        "chosen": list(result.chosen),
        "recall": result.recall,
        "moran": result.moran and finite(dataclasses.asdict(result.moran)),
    }


def _gaps(task: Task) -> dict[str, dict[str, dict[str, float | None]]]:
    if not {"block", "random"} <= task.results.keys():
        return {}
    return {
        protocol: {method: finite(task.gap(method, protocol) or {}) for method in by}
        for protocol, by in task.results["random"].items()
    }


def _differences(task: Task, references: Mapping[str, Sequence[str]]) -> Any:
    for method, others in references.items():
        for reference in others:
            difference = task.difference(method, reference)
            if difference is not None:
                yield _difference(method, reference, difference)


def _curve_differences(task: Task, references: Mapping[str, Sequence[str]]) -> Any:
    for method in (name for name in references if name in task.curves):
        for reference in (name for name in references[method] if name in task.curves):
            for point in task.curves[method]:
                difference = task.curve_difference(method, reference, point.num_labels)
                if difference is not None:
                    yield {
                        "num_labels": point.num_labels,
                        **_difference(method, reference, difference),
                    }


def _difference(
    method: str, reference: str, difference: Mapping[str, intervals.Interval]
) -> dict[str, Any]:
    return {
        "method": method,
        "reference": reference,
        "metrics": {name: _triple(interval) for name, interval in difference.items()},
        "better": finite(
            {name: interval.positive for name, interval in difference.items()}
        ),
    }


def _limits(
    by_metric: Mapping[str, intervals.Interval],
) -> dict[str, list[float | None]]:
    return {
        name: [number(each.low), number(each.high)] for name, each in by_metric.items()
    }


def _triple(interval: intervals.Interval) -> list[float | None]:
    return [number(interval.estimate), number(interval.low), number(interval.high)]
