"""The labelled tasks: every method, protocol, label and split, out of fold.

Each fold is tested once by heads that never saw it: the regions of the others choose
the strength and train. Metrics are pooled over the out-of-fold predictions of all
labelled regions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.heads.head import Head
from mmgr_jax.evaluation.heads.jobs import Call, Job, Method, Tuner
from mmgr_jax.evaluation.heads.protocols import FROM_A_LIST
from mmgr_jax.evaluation.settings import CurveSettings, EvalSettings
from mmgr_jax.evaluation.trials import curves
from mmgr_jax.evaluation.trials.progress import WorkProgress
from mmgr_jax.evaluation.trials.results import Kept, Point, Report, Result, Task
from mmgr_jax.evaluation.trials.scores import Certainty, Judge

HEADS = {
    "knn": "nearest training regions by cosine",
    "mlp": "one hidden layer",
    "released": "the released head, on the value itself",
    "finetune": "the whole image encoder with a linear head",
}
"""Heads in words, but for those that hang on the task."""

JUDGING_S = 0.1
"""What judging a prediction takes, about, beside fitting its heads."""


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
    """How well each method predicts each label where it was not trained.

    All methods, protocols and tasks of one split share the folds.

    Args:
        methods: Name -> what predicts.
        labels: Name -> (meaning, values); values [r] in the label's unit, or [r k]
            shares. A region with NaN has no label: it is left out of training and
            metrics, yet predicted.
        given_splits: Kind -> split, see `splits.choose`; the first is the one whose
            predictions the report hands out.
        eval_settings: Which tasks, by which protocols, strengths and seed. The first
            protocol is the one whose predictions the report hands out, and the only one
            under other splits than the first.
        certainty: For intervals and what goes with them; None for metrics alone.
        label_curves: For label-efficiency curves; None for none.
        tuners: Method -> its training as a whole, for the protocol "finetune".
        keep: Methods whose heads the results should hold, by the first protocol that
            has heads of its own.

    Returns:
        The report.

    Raises:
        InputError: If a task is unknown, a label has no known value, is negative or
            does not sum to one where it must, features do not cover every region with
            finite numbers, or a round has no labelled region in some role.
    """
    names = _task_names(eval_settings.tasks, labels)
    job = Job(
        methods,
        eval_settings.protocols,
        eval_settings.strengths,
        eval_settings.seed,
        tuners or {},
        tuple(keep),
    )
    if not given_splits:
        raise InputError("evaluate: given_splits is empty; give at least one")
    num_regions = len(next(iter(given_splits.values())).fold)
    job.check(num_regions)
    checked = {n: targets.check(n, *labels[n], num_regions) for n in names}
    for kind, split in given_splits.items():
        for name, target in checked.items():
            _check_rounds(name, target, split, kind)
    rounds = [
        _Round(
            name,
            target,
            kind,
            split,
            quoted=index == 0,
            judge=Judge(target, split.fold, None if index else certainty),
        )
        for name, target in checked.items()
        for index, (kind, split) in enumerate(given_splits.items())
    ]
    pieces, lines = _pieces(rounds, job), _lines(rounds, job, label_curves)
    fits = job.fits([call for of in (*pieces, *lines) for call in of.calls])
    results, kept = _results(pieces, job, fits)
    drawn = _curves(lines, job, results, fits)
    found = {
        of.name: _task(of, job, results[of.name], kept[of.name], drawn[of.name])
        for of in rounds
        if of.quoted
    }
    num_folds = {kind: split.num_folds for kind, split in given_splits.items()}
    return Report(tasks=found, num_folds=num_folds, seed=eval_settings.seed)


@dataclasses.dataclass(frozen=True)
class _Round:
    """A task under a split.

    Attributes:
        name: Of the task.
        target: Its truth.
        kind: Of the split.
        split: Who is tested with whom.
        quoted: Whether the numbers to quote are those of this split.
        judge: Measures predictions; with certainty where they are quoted.
    """

    name: str
    target: Target
    kind: str
    split: Split
    quoted: bool
    judge: Judge


class _Piece(NamedTuple):
    """A method by a protocol in a round.

    Attributes:
        of: The round.
        protocol: How.
        method: By whom.
        calls: The heads of all folds; then, where they are kept, one for other regions.
    """

    of: _Round
    protocol: str
    method: str
    calls: Sequence[Call]


class _Line(NamedTuple):
    """A label-efficiency curve.

    Attributes:
        of: The round.
        method: Whose.
        stages: What is fitted, beside the result with all labels.
        calls: The heads of each stage.
    """

    of: _Round
    method: str
    stages: Sequence[curves.Stage]
    calls: Sequence[Call]


def _pieces(rounds: Sequence[_Round], job: Job) -> list[_Piece]:
    found = []
    for of in rounds:
        cells = grid.cells(of.split, of.target.known, fractions=(1.0,))
        whole = grid.whole(of.split, of.target.known)
        for protocol, method in job.parts(of.target, first=of.quoted):
            ask = partial(Call, protocol, method, of.target)
            own, for_others = cells, whole
            if protocol == "linear" and of.target.is_number:
                # Cheap enough that every fold chooses once; softmax is not.
                own, for_others = (
                    of_cells.with_folds_as_parts(of.split.fold)
                    if isinstance(job.methods[method], Features)
                    else of_cells
                    for of_cells in (cells, whole)
                )
            calls = [ask(own)]
            if of.quoted and job.keeps(protocol, method):
                calls = [ask(own, own.full), ask(for_others, (0,))]
            found.append(_Piece(of, protocol, method, calls))
    return found


def _lines(
    rounds: Sequence[_Round], job: Job, options: CurveSettings | None
) -> list[_Line]:
    """By the first protocol, under the split that is quoted."""
    found = []
    if options is None:
        return found
    for of in (of for of in rounds if of.quoted):
        stages = curves.stages(of.target, of.split, options)
        protocol, _ = job.parts(of.target)[0]
        for method in options.methods:
            own = stages
            if protocol not in FROM_A_LIST or not isinstance(
                job.methods[method], Features
            ):
                own = [curves.by_parts(stage) for stage in stages]
            calls = [Call(protocol, method, of.target, stage.cells) for stage in own]
            found.append(_Line(of, method, own, calls))
    return found


Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Result]]]]
"""`[task][split][protocol][method]`."""


def _results(
    pieces: Sequence[_Piece], job: Job, fits: Iterator[Fits]
) -> tuple[Results, Mapping[str, Mapping[str, Kept]]]:
    """The results, and task -> method -> heads that are kept."""
    results: dict = {}
    kept: dict[str, dict[str, Kept]] = {piece.of.name: {} for piece in pieces}
    progress = WorkProgress(
        "heads", [job.seconds(piece.calls) + JUDGING_S for piece in pieces]
    )
    for of, protocol, method, calls in pieces:
        judge = of.judge
        if protocol != job.protocols[0]:
            judge = Judge(of.target, of.split.fold, None)
        folds, *whole = (next(fits) for _ in calls)
        result = judge.result(
            folds.out_of_fold(calls[0].cells),
            tuple(folds.chosen),
            constant=job.methods[method] is None,
        )
        by_protocol = results.setdefault(of.name, {}).setdefault(of.kind, {})
        by_protocol.setdefault(protocol, {})[method] = result
        if whole:
            heads = [
                *(folds.heads[index] for index in calls[0].keep),
                whole[0].heads[0],
            ]
            names = dict(
                label_name=of.name, feature_kind=method.split()[-1], split=of.kind
            )
            kept[of.name][method] = _kept(heads, names, result)
        progress.step(f"{of.name}, {of.kind}, {protocol}, {method}")
    return results, kept


def _curves(
    lines: Sequence[_Line], job: Job, results: Results, fits: Iterator[Fits]
) -> Mapping[str, Mapping[str, Sequence[Point]]]:
    """Task -> method -> label-efficiency curve, which ends at what was found."""
    progress = WorkProgress("label curves", [job.seconds(line.calls) for line in lines])
    drawn: dict[str, dict[str, Sequence[Point]]] = {name: {} for name in results}
    for of, method, stages, calls in lines:
        drawn[of.name][method] = curves.curve(
            of.judge,
            of.target,
            of.split,
            [(stage, next(fits)) for stage, _ in zip(stages, calls, strict=True)],
            next(iter(results[of.name][of.kind].values()))[method],
            constant=job.methods[method] is None,
        )
        progress.step(f"{of.name}, {method}")
    return drawn


def _task(
    of: _Round,
    job: Job,
    results: Mapping[str, Mapping[str, Mapping[str, Result]]],
    kept: Mapping[str, Kept],
    drawn: Mapping[str, Sequence[Point]],
) -> Task:
    """All results of one label; intervals are of the first protocol and split."""
    main = next(iter(results[of.kind].values()))
    return Task(
        label=of.target.label,
        heads={protocol: head_name(protocol, of.target) for protocol in job.protocols},
        num_regions=len(of.target.known),
        num_labelled=int(of.target.known.sum()),
        log=of.target.log,
        results=results,
        curves=drawn,
        kept=kept,
        coverage={m: of.judge.coverage(main[m].prediction) for m in of.judge.covered},
        classes={
            m: of.judge.by_class(result.prediction)
            for m, result in main.items()
            if of.target.label.classes
        },
    )


def _kept(heads: Sequence[Head], names: Mapping[str, str], result: Result) -> Kept:
    *of_folds, whole = (
        dataclasses.replace(head, **names, metrics=dict(result.metrics))
        for head in heads
    )
    return Kept(tuple(of_folds), whole)


def head_name(protocol: str, target: Target) -> str:
    """The head a task gets by a protocol, in words."""
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
