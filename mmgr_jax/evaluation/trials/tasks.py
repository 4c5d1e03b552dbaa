"""The labelled tasks: every method, protocol, label and split, out of fold.

Each fold is tested once by heads that never saw it: regions of the other folds train
and choose settings. Metrics are computed over the out-of-fold predictions of all
labelled regions together.

From features to metrics: a `Target` says what to predict. A `Grid` says which regions
train, choose and are tested. A `Job` fits one method to them. Its `Fits` hold
predictions, and `Head`s if these are kept. A `Judge` measures a `Result`. The results
of a label are a `Task`, and all tasks are the `Report`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.evaluation.heads.jobs import Method, Tuner, fit_all
from mmgr_jax.evaluation.settings import CurveSettings, EvalSettings
from mmgr_jax.evaluation.trials import curves
from mmgr_jax.evaluation.trials.progress import WorkProgress
from mmgr_jax.evaluation.trials.results import Point, Report, Result, Task
from mmgr_jax.evaluation.trials.scores import Certainty, Judge
from mmgr_jax.evaluation.trials.trial_plan import (
    FewLabels,
    Line,
    MeasuredJobs,
    TrialPlan,
)

HEADS = {
    "knn": "nearest training regions by cosine",
    "mlp": "one hidden layer",
    "released": "the released head, on the value itself",
    "finetune": "the whole image encoder with a linear head",
}
"""Heads in words, except those that depend on the task."""

MOST_BYTES = 2**28
"""Largest memory for predictions of curves that are not yet measured."""

JUDGING_S = 0.1
"""Approximate time to measure a prediction, in addition to fitting its heads."""

Trials = dict[tuple[str, str, str, str], MeasuredJobs]
"""(task, split, protocol, method) -> its judge and its jobs."""

Lines = dict[tuple[str, str], Line]
"""(task, method) -> jobs of its label-efficiency curve."""

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Result]]]]
"""`[task][split][protocol][method]`."""


def evaluate(
    methods: Mapping[str, Method],
    labels: Mapping[str, tuple[Label, Float[np.ndarray, " *r"]]],
    given_splits: Mapping[str, Split],
    eval_settings: EvalSettings,
    *,
    certainty: Certainty | None = None,
    label_curves: CurveSettings | None = None,
    tuners: Mapping[str, Tuner] | None = None,
    keep: Sequence[str] = (),
) -> Report:
    """Evaluates how well each method predicts each label in regions not trained on.

    All methods, protocols and tasks of one split share the folds.

    Args:
        methods: Name -> features or rule that predicts.
        labels: Name -> (meaning, values); values [r] in the label's unit, or [r k]
            shares. A region with NaN has no label: it is not used for training and
            metrics, but it is predicted.
        given_splits: Kind -> split, see `splits.choose`. The report holds predictions
            of the first split.
        eval_settings: Tasks, protocols, strengths and seed. The report holds
            predictions of the first protocol. Splits after the first use only this
            protocol.
        certainty: Data for intervals, autocorrelation and coverage; None for metrics
            only.
        label_curves: Settings of label-efficiency curves; None for no curves.
        tuners: Method -> training of its whole encoder, for the protocol "finetune".
        keep: Methods whose heads are kept in the results, by the first protocol that
            gives heads.

    Returns:
        The report.

    Raises:
        InputError: If a task is unknown, a label has no known value, amounts are
            negative, shares do not sum to one, features do not cover every region with
            finite numbers, or a round has no labelled region in some role.
    """
    checked = _checked(eval_settings.tasks, methods, labels, given_splits)
    first = next(iter(given_splits.values()))
    plan = TrialPlan(methods, given_splits, eval_settings, tuners or {}, keep)
    judges: dict[str, Judge] = {}
    trials: Trials = {}
    for name, target in checked.items():
        judges[name] = Judge(target, first.fold, certainty)
        for (kind, protocol, method), jobs in plan.trials(judges[name]):
            trials[name, kind, protocol, method] = jobs
    lines = {} if label_curves is None else _lines(plan, checked, first, label_curves)
    results, kept_heads = _results(trials)
    drawn = _curves(lines, trials, results, judges)
    evaluated = {
        name: dataclasses.replace(
            _task(judge, eval_settings.protocols, results[name]),
            curves=drawn[name],
            kept=kept_heads[name],
        )
        for name, judge in judges.items()
    }
    num_folds = {kind: split.num_folds for kind, split in given_splits.items()}
    return Report(tasks=evaluated, num_folds=num_folds, seed=eval_settings.seed)


def _lines(
    plan: TrialPlan,
    checked: Mapping[str, Target],
    split: Split,
    label_curves: CurveSettings,
) -> Lines:
    lines: Lines = {}
    few: dict[bytes, FewLabels] = {}  # labels known for the same regions share them
    for name, target in checked.items():
        known = target.known.tobytes()
        if known not in few:
            few[known] = curves.grids(split, label_curves, target.known)
        for method in label_curves.methods:
            lines[name, method] = plan.line(target, method, few[known])
    return lines


def _task(
    judge: Judge,
    protocols: Sequence[str],
    results: Mapping[str, Mapping[str, Mapping[str, Result]]],
) -> Task:
    """A task without curves and heads; coverage is of the first protocol and split."""
    task = Task(
        label=judge.target.label,
        heads={protocol: head_name(protocol, judge.target) for protocol in protocols},
        num_regions=len(judge.target.known),
        num_labelled=int(judge.target.known.sum()),
        log=judge.target.log,
        results=results,
    )
    predictions = {name: result.prediction for name, result in task.main.items()}
    coverage = {name: judge.coverage(predictions[name]) for name in judge.covered}
    classes = {
        name: judge.by_class(prediction)
        for name, prediction in predictions.items()
        if task.label.classes
    }
    return dataclasses.replace(task, coverage=coverage, classes=classes)


def _results(
    trials: Trials,
) -> tuple[Results, Mapping[str, Mapping[str, Mapping[int, Head]]]]:
    """The results, and task -> method -> heads that are kept."""
    results: dict = {}
    kept: dict[str, dict[str, Mapping[int, Head]]] = {name: {} for name, *_ in trials}
    seconds = [sum(job.seconds for job in jobs) for _, jobs in trials.values()]
    progress = WorkProgress("heads", [time + JUDGING_S for time in seconds])
    fits = fit_all([job for _, jobs in trials.values() for job in jobs])
    for (name, kind, protocol, method), (judge, jobs) in trials.items():
        folds, *whole = (next(fits) for _ in jobs)
        result = judge.result(
            folds.out_of_fold(jobs[0].grid),
            tuple(folds.chosen),
            constant=jobs[0].method is None,
        )
        result = dataclasses.replace(result, recall=folds.recall)
        by_protocol = results.setdefault(name, {}).setdefault(kind, {})
        by_protocol.setdefault(protocol, {})[method] = result
        if whole:
            kept[name][method] = {
                head.cell.fold: dataclasses.replace(
                    head,
                    label_name=name,
                    feature_kind=method.split()[-1],
                    split=kind,
                    metrics=dict(result.metrics),
                )
                for heads in (folds.heads, whole[0].heads)
                for head in heads.values()
            }
        progress.step(f"{name}, {kind}, {protocol}, {method}")
    return results, kept


def _curves(
    lines: Lines,
    trials: Trials,
    results: Results,
    judges: Mapping[str, Judge],
) -> Mapping[str, Mapping[str, Sequence[Point]]]:
    """Task -> method -> label-efficiency curve, which ends at what was found."""
    drawn: dict[str, dict[str, Sequence[Point]]] = {name: {} for name in results}
    for (name, method), fitted in _fitted_lines(lines):
        kind, by_protocol = next(iter(results[name].items()))
        protocol, by_method = next(iter(by_protocol.items()))
        _, (full, *_) = trials[name, kind, protocol, method]
        drawn[name][method] = curves.curve(
            judges[name],
            fitted,
            by_method[method],
            full.grid,
            constant=full.method is None,
        )
    return drawn


def _fitted_lines(
    lines: Lines,
) -> Iterator[tuple[tuple[str, str], list[curves.Fitted]]]:
    """What each curve needs, fitted; some curves at a time.

    Heads with few labels are fitted sooner than they are measured, and each of their
    draws predicts all regions: of a large city all curves would not fit into memory.
    """
    seconds = [job.seconds for jobs in lines.values() for job, _ in jobs]
    progress, waiting = WorkProgress("label curves", seconds), list(lines)
    while waiting:
        sizes = [sum(job.predicted_bytes for job, _ in lines[key]) for key in waiting]
        count = max(int(np.searchsorted(np.cumsum(sizes), MOST_BYTES)), 1)
        now, waiting = waiting[:count], waiting[count:]
        fits = fit_all([job for key in now for job, _ in lines[key]])
        for key in now:
            fitted = []
            for job, parts in lines[key]:
                fitted.append((job.grid, parts, next(fits)))
                progress.step(", ".join(key))
            yield key, fitted


def head_name(protocol: str, target: Target) -> str:
    """Returns the head that a protocol uses for a task, in words."""
    if protocol == "linear":
        name = "softmax" if target.label.classes else "ridge"
    else:
        name = HEADS[protocol]
    raw = protocol == "released" or not target.log
    return name if raw else f"{name} on log(1 + value / median)"


def _task_names(tasks: Sequence[str], labels: Mapping[str, tuple]) -> tuple[str, ...]:
    if not labels:
        raise InputError(
            "there is no label to evaluate. Add one under config.labels and build "
            "the records again."
        )
    unknown = [name for name in tasks if name not in labels]
    if unknown:
        raise InputError(
            f"config.eval.tasks names {', '.join(map(repr, unknown))}; the labels of "
            f"these records are {', '.join(sorted(labels))}. Choose among them, or "
            "leave it empty for all."
        )
    return tuple(tasks) or tuple(labels)


def _checked(
    tasks: Sequence[str],
    methods: Mapping[str, Method],
    labels: Mapping[str, tuple[Label, Float[np.ndarray, " *r"]]],
    splits: Mapping[str, Split],
) -> dict[str, Target]:
    """The target of each task, where methods and splits fit it."""
    names = _task_names(tasks, labels)
    if not splits:
        raise InputError("evaluate: given_splits is empty; give at least one")
    num_regions = len(next(iter(splits.values())).fold)
    _check_methods(methods, num_regions)
    checked = {n: targets.check(n, *labels[n], num_regions) for n in names}
    for kind, split in splits.items():
        for name, target in checked.items():
            _check_rounds(name, target, split, kind)
    return checked


def _check_rounds(name: str, target: Target, split: Split, kind: str) -> None:
    """Every round needs labelled regions to train, to choose and to test on."""
    for test_fold in range(split.num_folds):
        for role, rows in split.parts(test_fold)._asdict().items():
            if not (rows & target.known).any():
                raise InputError(
                    f"label/{name}: with fold {test_fold} of {split.num_folds} tested "
                    f"({kind} split), no {role} region with a label is left; "
                    f"{int(target.known.sum())} of {len(rows)} regions have one. Make "
                    "blocks smaller (config.blocks.size_m), ask for fewer folds "
                    "(config.eval.num_folds) or a narrower buffer "
                    "(config.eval.buffer_m)."
                )


def _check_methods(methods: Mapping[str, Method], num_regions: int) -> None:
    """A region without a prediction would be dropped silently: refuse it here."""
    if not methods:
        raise InputError("evaluate: methods is empty; give at least one")
    for method, features in methods.items():
        if not isinstance(features, Features):
            continue
        if len(features) != num_regions:
            raise InputError(
                f"features of {method!r} are of {len(features)} regions; expected one "
                f"row for each of the {num_regions} regions"
            )
        table = subsets.FeatureRows(features, np.zeros(num_regions, bool))
        broken = [
            part.start + np.flatnonzero(~np.isfinite(values).all(axis=1))
            for part, values in table.slices(np.arange(num_regions))
        ]
        rows = np.concatenate(broken)
        if len(rows):
            raise InputError(
                f"features of {method!r} are not finite for {len(rows)} of "
                f"{num_regions} regions, the first in row {rows[0]}, so these regions "
                "would have no prediction. Check the checkpoint and the images of "
                "these regions."
            )
