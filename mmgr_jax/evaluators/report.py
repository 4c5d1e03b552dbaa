"""What an evaluation found, as a terminal table and as JSON."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluators import metrics

SPLIT_TITLES = {
    "block": "block split (whole spatial blocks held out: the numbers to quote)",
    "random": "random split (neighbours of tested regions are trained on)",
    "city": "leave one city out (trained on all the others)",
}
PADDING = " " * len(" ±0.00")
GAP_TITLE = "optimism gap (how much better the random split looks)"


@dataclasses.dataclass(frozen=True)
class Result:
    """One method on one task under one split.

    Attributes:
        prediction: Out-of-fold prediction of every region, [r] or [r k].
        metrics: Over all labelled regions together.
        fold_metrics: Over the labelled regions of each fold.
        strengths: L2 strength chosen in each fold; empty for the mean.
    """

    prediction: np.ndarray
    metrics: Mapping[str, float]
    fold_metrics: tuple[Mapping[str, float], ...]
    strengths: tuple[float, ...]

    def spread(self, metric: str) -> float:
        """Standard deviation of a metric over the folds (n - 1 in the divisor)."""
        values = np.array([fold[metric] for fold in self.fold_metrics])
        values = values[np.isfinite(values)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class Task:
    """All results of one label; `results[split kind][method]`."""

    label: Label
    head: str
    num_regions: int
    num_labelled: int
    results: Mapping[str, Mapping[str, Result]]

    def gap(self, method: str) -> dict[str, float] | None:
        """Improvement of the random over the block split, if both were run."""
        if not {"block", "random"} <= self.results.keys():
            return None
        block = self.results["block"][method].metrics
        random = self.results["random"][method].metrics
        return {
            name: metrics.improvement(name, random[name], block[name]) for name in block
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """All tasks of one evaluation.

    Attributes:
        tasks: Label name -> results.
        num_folds: Kind of split -> number of folds.
        seed: Seed of the folds.
    """

    tasks: Mapping[str, Task]
    num_folds: Mapping[str, int]
    seed: int

    @property
    def predictions(self) -> dict[str, dict[str, np.ndarray]]:
        """`[task][method]` -> out-of-fold predictions under the first split kind."""
        return {
            name: {
                method: result.prediction
                for method, result in next(iter(task.results.values())).items()
            }
            for name, task in self.tasks.items()
        }

    def table(self) -> str:
        """One table a task: methods as rows, metrics as columns, for each split.

        `*` marks the best method of a column; `±` is the standard deviation of the
        metric over folds, which differ by place, not by seed alone.
        """
        return "\n\n".join(
            "\n".join(_task_lines(name, task, self.num_folds))
            for name, task in self.tasks.items()
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the predictions; what is not defined is None."""
        return {
            "num_folds": dict(self.num_folds),
            "seed": self.seed,
            "tasks": {name: _task_json(task) for name, task in self.tasks.items()},
        }


def _task_lines(name: str, task: Task, num_folds: Mapping[str, int]) -> list[str]:
    year = f", {task.label.year}" if task.label.year else ""
    unit = (
        f"{len(task.label.classes)} area shares"
        if task.label.classes
        else (f"{task.label.kind}, {task.label.unit}")
    )
    lines = [
        f"{name} ({unit}{year}): {task.head}",
        f"{task.num_labelled:,} of {task.num_regions:,} regions have a label; "
        f"{_folds(num_folds)} folds, each tested once; ± over folds; * best",
    ]
    for kind, results in task.results.items():
        lines += ["", *_split_lines(SPLIT_TITLES[kind], results)]
    methods = next(iter(task.results.values()))
    if task.gap(next(iter(methods))) is not None:
        rows = {method: _gap_cells(task.gap(method)) for method in methods}
        header = list(next(iter(methods.values())).metrics)
        lines += ["", *_grid(GAP_TITLE, header, rows)]
    return lines


def _folds(num_folds: Mapping[str, int]) -> str:
    """The number of folds, of each kind of split where they differ."""
    if len(set(num_folds.values())) == 1:
        return str(next(iter(num_folds.values())))
    return ", ".join(f"{number} ({kind})" for kind, number in num_folds.items())


def _split_lines(title: str, results: Mapping[str, Result]) -> list[str]:
    header = list(next(iter(results.values())).metrics)
    best = {metric: _best(metric, results) for metric in header}
    rows = {
        method: [
            ("*" if method in best[metric] else "") + _cell(result, metric)
            for metric in header
        ]
        for method, result in results.items()
    }
    return _grid(title, [metric + PADDING for metric in header], rows)


def _cell(result: Result, metric: str) -> str:
    """A value and its spread, the latter left-aligned so that decimals line up."""
    spread = result.spread(metric)
    after = f" ±{_number(spread, digits=2)}" if math.isfinite(spread) else ""
    return _number(result.metrics[metric]) + after.ljust(len(PADDING))


def _best(metric: str, results: Mapping[str, Result]) -> set[str]:
    """Methods with the best value; empty where there is nothing to compare."""
    values = {method: result.metrics[metric] for method, result in results.items()}
    values = {method: v for method, v in values.items() if math.isfinite(v)}
    if len(values) < 2:
        return set()
    pick = max if metric in metrics.HIGHER_IS_BETTER else min
    return {method for method, v in values.items() if v == pick(values.values())}


def _gap_cells(gap: Mapping[str, float]) -> list[str]:
    signs = ("+" if value > 0 else "" for value in gap.values())
    return [sign + _number(v) for sign, v in zip(signs, gap.values(), strict=True)]


def _grid(title: str, header: list[str], rows: Mapping[str, list[str]]) -> list[str]:
    first = max(map(len, rows))
    widths = [
        max(len(cell) for cell in column)
        for column in zip(header, *rows.values(), strict=True)
    ]

    def line(name: str, cells: list[str]) -> str:
        aligned = (c.rjust(w) for c, w in zip(cells, widths, strict=True))
        return "  ".join([f"  {name.ljust(first)}", *aligned]).rstrip()

    return [f"  {title}", line("", header)] + [line(n, c) for n, c in rows.items()]


def _number(value: float, digits: int = 3) -> str:
    """Three significant digits for small numbers, whole units from 1,000 on."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, digits)}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _task_json(task: Task) -> dict[str, Any]:
    methods = next(iter(task.results.values()))
    return {
        "label": dataclasses.asdict(task.label),
        "head": task.head,
        "num_regions": task.num_regions,
        "num_labelled": task.num_labelled,
        "splits": {
            kind: {method: _result_json(result) for method, result in results.items()}
            for kind, results in task.results.items()
        },
        "optimism_gap": {
            method: _finite(task.gap(method)) for method in methods if task.gap(method)
        },
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "metrics": _finite(result.metrics),
        "spread": _finite({name: result.spread(name) for name in result.metrics}),
        "folds": [_finite(fold) for fold in result.fold_metrics],
        "strengths": list(result.strengths),
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in values.items()
    }
