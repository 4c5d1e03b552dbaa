"""Writes the results of an evaluation as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.certainty.intervals import Interval
from mmgr_jax.evaluation.trials.results import Report, Result, Task
from mmgr_jax.report.page import words
from mmgr_jax.terminal import columns, visible

SPLIT_TITLES = {
    "block": "block split (whole spatial blocks held out: the numbers to quote)",
    "random": "random split (neighbours of tested regions are trained on)",
    "city": "leave one city out (trained on all the others)",
}
GAP_TITLE = "optimism gap (how much better the random split looks)"
COLUMNS = {
    "share": ("l1", "kl", "cosine", "chebyshev", "canberra"),
    "class": ("accuracy", "macro_f1", "log_loss"),
    "number": ("mae", "rmse", "r2", "r2_log", "spearman"),
}
"""Metrics that fit a terminal; the page has them all."""

PADDING = " " * len(" ±0.00")


def table(
    report: Report, *, references: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Makes a table for each task and split: methods as rows, metrics as columns.

    `*` marks the best method of a column. `±` is the standard deviation of the metric
    over folds, which differ by place, not only by seed. Brackets hold the interval of
    the headline metric over resampled blocks.

    Args:
        report: The results.
        references: Method -> methods with which it is compared.
    """
    blocks = [
        _task_lines(name, task, report.num_folds, references or {})
        for name, task in report.tasks.items()
    ]
    return "\n\n".join("\n".join(map(visible, lines)) for lines in blocks)


def _task_lines(
    name: str,
    task: Task,
    num_folds: Mapping[str, int],
    references: Mapping[str, Sequence[str]],
) -> list[str]:
    year = f", {task.label.year}" if task.label.year else ""
    unit = {
        "share": f"{len(task.label.classes)} area shares",
        "class": f"{len(task.label.classes)} classes",
    }.get(task.label.kind, f"{task.label.kind}, {task.label.unit}")
    protocol, head = next(iter(task.heads.items()))
    lines = [
        f"{name} ({unit}{year}): {head}",
        f"{task.num_labelled:,} of {task.num_regions:,} regions have a label; "
        f"{_folds(num_folds)} folds, each tested once; ± over folds; * best",
    ]
    for kind, protocols in task.results.items():
        lines += ["", *_split_lines(SPLIT_TITLES[kind], protocols[protocol], task)]
    lines += _protocol_lines(task)
    if task.gap(next(iter(task.main))) is not None:
        gaps = {m: task.gap(m) for m in task.main}
        rows = {m: _gap_cells(gap, _columns(task)) for m, gap in gaps.items() if gap}
        lines += ["", *_grid(GAP_TITLE, _columns(task), rows)]
    return lines + _difference_lines(task, references)


def _columns(task: Task) -> list[str]:
    kind = task.label.kind if task.label.classes else "number"
    return [
        name for name in COLUMNS[kind] if name in next(iter(task.main.values())).metrics
    ]


def _folds(num_folds: Mapping[str, int]) -> str:
    """The number of folds, for each kind of split if the numbers differ."""
    if len(set(num_folds.values())) == 1:
        return str(next(iter(num_folds.values())))
    return ", ".join(f"{number} ({kind})" for kind, number in num_folds.items())


def _split_lines(title: str, results: Mapping[str, Result], task: Task) -> list[str]:
    header = _columns(task)
    best = {metric: _best(metric, results) for metric in header}
    with_interval = any(result.intervals for result in results.values())
    rows = {}
    for method, result in results.items():
        cells = [
            ("*" if method in best[metric] else "") + _cell(result, metric)
            for metric in header
        ]
        if with_interval:
            cells.append(_brackets(result.intervals.get(task.headline)))
        rows[method] = cells
    names = [metric + PADDING for metric in header]
    names += [f"95 % of {task.headline}"] if with_interval else []
    return _grid(title, names, rows)


def _protocol_lines(task: Task) -> list[str]:
    """The headline metric by every protocol, if there are several."""
    protocols = next(iter(task.results.values()))
    if len(protocols) < 2:
        return []
    methods = list(dict.fromkeys(m for by in protocols.values() for m in by))
    rows = {
        method: [
            _number(by[method].metrics[task.headline]) if method in by else "-"
            for by in protocols.values()
        ]
        for method in methods
    }
    return ["", *_grid(f"{task.headline} by other heads", list(protocols), rows)]


def _difference_lines(task: Task, references: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines on how much better the best compared method is than each reference."""
    known = [m for m in references if m in task.main]
    known = [m for m in known if math.isfinite(task.main[m].metrics[task.headline])]
    if not known or task.difference(known[0], known[0]) is None:
        return []
    sign = metrics.improvement(task.headline, 1.0, 0.0)
    best = max(known, key=lambda m: sign * task.main[m].metrics[task.headline])
    rows = {}
    for reference in references[best]:
        if reference not in task.main:
            continue
        if (difference := task.difference(best, reference)) is not None:
            interval = difference[task.headline]
            rows[reference] = [
                _signed(interval.estimate),
                _brackets(interval),
                _said(interval),
            ]
    title = (
        f"{task.headline} of {best} minus that of the method in the row (above 0: "
        f"{best} is better)"
    )
    return ["", *_grid(title, ["", "95 %", ""], rows)] if rows else []


def _said(interval: Interval) -> str:
    if not interval.excludes_zero:
        return words.UNCLEAR
    return "better" if interval.low > 0 else "worse"


def _cell(result: Result, metric: str) -> str:
    """A value and its spread; the spread is left-aligned, so that decimals line up."""
    spread = result.spread(metric)
    after = f" ±{_number(spread, digits=2)}" if math.isfinite(spread) else ""
    return _number(result.metrics[metric]) + after.ljust(len(PADDING))


def _brackets(interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.low):
        return "-"
    return f"[{_number(interval.low)}, {_number(interval.high)}]"


def _best(metric: str, results: Mapping[str, Result]) -> set[str]:
    """Methods with the best value; empty if there is nothing to compare."""
    values = {method: result.metrics[metric] for method, result in results.items()}
    values = {method: v for method, v in values.items() if math.isfinite(v)}
    if len(values) < 2:
        return set()
    pick = max if metric in metrics.HIGHER_IS_BETTER else min
    return {method for method, v in values.items() if v == pick(values.values())}


def _gap_cells(gap: Mapping[str, float], columns: Sequence[str]) -> list[str]:
    return [_signed(gap[name]) for name in columns]


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _number(value)


def _grid(
    title: str, header: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> list[str]:
    lines = columns([["", *header], *([name, *cells] for name, cells in rows.items())])
    return [f"  {line}" for line in (title, *lines)]


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
