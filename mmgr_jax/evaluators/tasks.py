"""The labelled tasks: every method, protocol, label and split, out of fold.

Each fold is tested once by heads that never saw it: other regions choose the strength,
and others again train. Metrics are pooled over the out-of-fold predictions of all
labelled regions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.evaluators import curves, grid, targets
from mmgr_jax.evaluators import protocols as protocols_lib
from mmgr_jax.evaluators.head import Head
from mmgr_jax.evaluators.progress import Progress
from mmgr_jax.evaluators.results import Kept, Point, Report, Result, Task
from mmgr_jax.evaluators.scores import Certainty, Judge
from mmgr_jax.evaluators.splits import Split
from mmgr_jax.evaluators.targets import Target

NUMBERS_ONLY = ("released",)
"""Protocols that neither shares nor classes have."""

HEADS = {
    "knn": "nearest training regions by cosine",
    "mlp": "one hidden layer",
    "released": "the released head, on the value itself",
    "finetune": "the whole image encoder with a linear head",
}
"""Heads in words, but for those that hang on the task."""

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float | None]]
"""(targets, training regions, validation regions) -> (prediction of every region, what
validation chose, None where nothing is): a method that reads labels and no features."""

Method = Float[np.ndarray, "_ _"] | Rule | None
"""Features of all regions, a rule, or None for the mean of the training targets."""

Tuner = Callable[[Target, grid.Grid], protocols_lib.Fits]
"""Trains a whole encoder with its head, for the protocol `finetune`."""


def evaluate(
    methods: Mapping[str, Method],
    labels: Mapping[str, tuple[Label, Float[np.ndarray, " *r"]]],
    given_splits: Mapping[str, Split],
    *,
    tasks: Sequence[str] = (),
    protocols: Sequence[str] = ("linear",),
    strengths: Sequence[float],
    seed: int = 0,
    certainty: Certainty | None = None,
    label_curves: curves.Options | None = None,
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
        tasks: Labels to evaluate; empty for all of them.
        protocols: Of `protocols.PROTOCOLS`, or "finetune"; the first is the one whose
            predictions the report hands out, and the only one under other splits than
            the first.
        strengths: L2 strengths to choose from, above 0.
        seed: Seed of the folds, for the report, and of heads that are trained.
        certainty: For intervals and what goes with them; None for metrics alone.
        label_curves: For label-efficiency curves; None for none.
        tuners: Method -> its training as a whole, for the protocol "finetune".
        keep: Methods whose heads the results should hold, by the first protocol that
            has heads of its own.

    Returns:
        The report.

    Raises:
        InputError: If a task or protocol is unknown, a label has no known value, is
            negative or does not sum to one where it must, features do not cover every
            region with finite numbers, or a round has no labelled region in some role.
    """
    names = _task_names(tasks, labels)
    job = _Job(
        methods, tuple(protocols), tuple(strengths), seed, tuners or {}, tuple(keep)
    )
    job.check()
    if not given_splits:
        raise InputError("evaluate: given_splits is empty; give at least one")
    num_regions = len(next(iter(given_splits.values())).fold)
    checked = {n: targets.check(n, *labels[n], num_regions) for n in names}
    for method, features in methods.items():
        _check_features(method, features, num_regions)
    for kind, split in given_splits.items():
        for name, target in checked.items():
            _check_rounds(name, target, split, kind)
    sizes = [
        _size(protocol, target, methods[method])
        for target in checked.values()
        for index in range(len(given_splits))
        for protocol, method in job.parts(target, first=index == 0)
    ]
    progress = Progress("heads", sizes)
    found = {
        name: _task(name, target, given_splits, job, certainty, progress)
        for name, target in checked.items()
    }
    if label_curves is not None:
        split = next(iter(given_splits.values()))
        for name, drawn in _curves(checked, split, job, label_curves, found).items():
            found[name] = dataclasses.replace(found[name], curves=drawn)
    num_folds = {kind: split.num_folds for kind, split in given_splits.items()}
    return Report(tasks=found, num_folds=num_folds, seed=seed)


@dataclasses.dataclass(frozen=True)
class _Job:
    """How every method is fitted."""

    methods: Mapping[str, Method]
    protocols: Sequence[str]
    strengths: Sequence[float]
    seed: int
    tuners: Mapping[str, Tuner]
    keep: Sequence[str]

    def check(self) -> None:
        if not self.methods:
            raise InputError("evaluate: methods is empty; give at least one")
        allowed = (*protocols_lib.PROTOCOLS, "finetune")
        for protocol in self.protocols or ("",):
            check_choice("eval.protocols", protocol, allowed)
        if not self.strengths or min(self.strengths) <= 0:
            raise InputError(
                f"config.eval.strengths is {self.strengths}: give one or more numbers "
                "above 0, such as (1e-3, 1.0, 1e3)."
            )

    def parts(self, target: Target, *, first: bool = True) -> list[tuple[str, str]]:
        """(protocol, method) of all that is done for a task under a split.

        Splits after the first are there for comparison: one protocol is enough.
        """
        return [
            (protocol, method)
            for protocol in (self.protocols if first else self.protocols[:1])
            if not target.label.classes or protocol not in NUMBERS_ONLY
            for method, of in self.methods.items()
            if protocol != "finetune" or not _reads(of) or method in self.tuners
        ]

    def keeps(self, protocol: str, method: str) -> bool:
        """Whether the heads of this method are wanted."""
        with_heads = [name for name in self.protocols if name != "finetune"]
        return method in self.keep and protocol in with_heads[:1]

    def fit(
        self,
        protocol: str,
        method: str,
        target: Target,
        cells: grid.Grid,
        keep: Sequence[int] = (),
    ) -> protocols_lib.Fits:
        """All cells of a grid; `keep` are those whose heads are wanted."""
        of = self.methods[method]
        if not _reads(of):
            return _by_rule(of or _mean, target, cells)
        if protocol == "finetune":
            return self.tuners[method](target, cells)
        return protocols_lib.fit(
            protocol,
            of,
            target,
            cells,
            strengths=self.strengths,
            keep=keep,
            seed=self.seed,
        )


def _curves(
    checked: Mapping[str, Target],
    split: Split,
    job: _Job,
    options: curves.Options,
    found: Mapping[str, Task],
) -> dict[str, dict[str, list[Point]]]:
    """Task -> method -> label-efficiency curve, which ends at what was found."""
    full = {name: next(iter(task.results.values())) for name, task in found.items()}
    sizes = [
        _size(next(iter(full[name])), target, job.methods[method])
        for name, target in checked.items()
        for method in options.methods
    ]
    progress = Progress("label curves", sizes)
    drawn: dict[str, dict[str, list[Point]]] = {name: {} for name in checked}
    for name, target in checked.items():
        protocol, results = next(iter(full[name].items()))
        for method in options.methods:
            fit = partial(job.fit, protocol, method, target)
            drawn[name][method] = curves.curve(
                target, split, options, fit, results[method]
            )
            progress.step(f"{name}, {method}")
    return drawn


def _size(protocol: str, target: Target, of: Method) -> float:
    """How long heads take to fit, about, beside a ridge regression; for estimates."""
    if not _reads(of):
        return 0.1
    if protocol == "linear":
        return 1.0 if target.is_number else 6.0
    return {"knn": 1.0, "finetune": 300.0}.get(protocol, 20.0)


def _task(
    name: str,
    target: Target,
    given_splits: Mapping[str, Split],
    job: _Job,
    certainty: Certainty | None,
    progress: Progress,
) -> Task:
    """All results of one label; intervals are of the first protocol and split."""
    results: dict[str, dict[str, dict[str, Result]]] = {}
    kept: dict[str, Kept] = {}
    first = next(iter(given_splits.values()))
    judge = Judge(target, first.fold, certainty)
    for kind, split in given_splits.items():
        plain = Judge(target, split.fold, None)
        cells = grid.cells(split, target.known, fractions=(1.0,))
        for protocol, method in job.parts(target, first=split is first):
            quoted = split is first and protocol == job.protocols[0]
            by_protocol = results.setdefault(kind, {}).setdefault(protocol, {})
            keeps = split is first and job.keeps(protocol, method)
            fits = job.fit(protocol, method, target, cells, cells.full if keeps else ())
            by_protocol[method] = (judge if quoted else plain).result(
                fits.out_of_fold(cells),
                tuple(fits.chosen),
                constant=job.methods[method] is None,
            )
            if keeps:
                whole = grid.whole(split, target.known)
                last = job.fit(protocol, method, target, whole, (0,))
                kept[method] = _kept(
                    [fits.heads[index] for index in cells.full] + [last.heads[0]],
                    dict(label_name=name, feature_kind=method.split()[-1], split=kind),
                    by_protocol[method],
                )
            progress.step(f"{name}, {kind}, {protocol}, {method}")
    main = next(iter(next(iter(results.values())).values()))
    covered = certainty.covered if certainty else ()
    return Task(
        label=target.label,
        heads={protocol: head_name(protocol, target) for protocol in job.protocols},
        num_regions=len(target.known),
        num_labelled=int(target.known.sum()),
        log=target.log,
        results=results,
        kept=kept,
        coverage={m: judge.coverage(main[m].prediction) for m in covered},
        classes={
            m: judge.by_class(result.prediction)
            for m, result in main.items()
            if target.label.classes
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


def _reads(of: Method) -> bool:
    """Whether a method has features; otherwise it is a rule."""
    return of is not None and not callable(of)


def _mean(
    values: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, None]:
    average = values[train].astype(np.float64).mean(axis=0)
    return np.broadcast_to(average, values.shape).copy(), None


def _by_rule(rule: Rule, target: Target, cells: grid.Grid) -> protocols_lib.Fits:
    """A rule as if it were a head."""
    values = target.values
    if target.label.kind == "class":  # a rule averages probabilities
        values = np.eye(target.num_outputs)[
            np.where(target.known, values, 0).astype(int)
        ]
    said = [
        rule(values, train & target.known, validation & target.known)
        for train, validation in zip(cells.train, cells.validation, strict=True)
    ]
    chosen = tuple(float(choice) for _, choice in said if choice is not None)
    losses = np.full((len(said), 1), np.nan)
    return protocols_lib.Fits(np.stack([of for of, _ in said]), chosen, losses, {})


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


def _check_features(method: str, features: Method, num_regions: int) -> None:
    """A region without a prediction would be dropped silently: refuse it here."""
    if not _reads(features):
        return
    if features.ndim != 2 or len(features) != num_regions:
        raise InputError(
            f"features of {method!r} have shape {features.shape}; expected one row "
            f"for each of the {num_regions} regions"
        )
    rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(rows):
        raise InputError(
            f"features of {method!r} are not finite for {len(rows)} of {num_regions} "
            f"regions, the first in row {rows[0]}, so these regions would have no "
            "prediction. Check the checkpoint and the images of these regions."
        )


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
