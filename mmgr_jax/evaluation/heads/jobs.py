"""What an evaluation has to fit: methods by protocols, heads in processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import joblib
import numpy as np

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import by_fold, protocols

NUMBERS_ONLY = ("released",)
"""Protocols that neither shares nor classes have."""

IN_NUMPY = ("linear", "knn")
"""Protocols that processes can share; the others are JAX programs and fill the
devices by themselves."""

WORTH_S = 6.0
"""Seconds that heads should take before processes are started for them: each imports
for two seconds."""

MOST_PROCESSES = 16
"""However many cores there are: each process holds features of its own."""

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float | None]]
"""(targets, training regions, validation regions) -> (prediction of every region, what
validation chose, None where nothing is): a method that reads labels and no features."""

Method = Features | np.ndarray | Rule | None
"""Features of all regions, in groups or an array [r f] that is one, a rule, or None for
the mean of the training targets."""

Tuner = Callable[[Target, grid.Grid], protocols.Fits]
"""Trains a whole encoder with its head, for the protocol `finetune`."""


class Call(NamedTuple):
    """Cells to fit.

    Attributes:
        protocol: How.
        method: By whom.
        target: What to predict.
        cells: Who trains, chooses and is tested.
        keep: Cells whose heads are wanted.
    """

    protocol: str
    method: str
    target: Target
    cells: grid.Grid
    keep: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """How every method is fitted; see `tasks.evaluate`."""

    methods: Mapping[str, Method]
    protocols: Sequence[str]
    strengths: Sequence[float]
    seed: int
    tuners: Mapping[str, Tuner] = dataclasses.field(default_factory=dict)
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        """An array is features of one group."""
        grouped = {name: _grouped(of) for name, of in self.methods.items()}
        object.__setattr__(self, "methods", grouped)

    def check(self, num_regions: int) -> None:
        """Raises InputError where it cannot be done."""
        if not self.methods:
            raise InputError("evaluate: methods is empty; give at least one")
        for method, features in self.methods.items():
            _check_features(method, features, num_regions)

    def parts(self, target: Target, *, first: bool = True) -> list[tuple[str, str]]:
        """(protocol, method) of all that is done for a task under a split.

        Splits after the first are there for comparison: one protocol is enough, and
        rules beside the methods whose heads are kept, where some are.
        """
        return [
            (protocol, method)
            for protocol in (self.protocols if first else self.protocols[:1])
            if not target.label.classes or protocol not in NUMBERS_ONLY
            for method, of in self.methods.items()
            if protocol != "finetune" or not _reads(of) or method in self.tuners
            if first or not self.keep or method in self.keep or not _reads(of)
        ]

    def keeps(self, protocol: str, method: str) -> bool:
        """Whether the heads of this method are wanted."""
        with_heads = [name for name in self.protocols if name != "finetune"]
        return method in self.keep and protocol in with_heads[:1]

    def fits(self, calls: Sequence[Call]) -> Iterator[protocols.Fits]:
        """What comes of each call, in order.

        Heads in NumPy are fitted by a process for each core, where that takes long
        enough to be worth it. Threads would not do: a step of L-BFGS is some seventy
        NumPy calls of ten microseconds each, between which the interpreter's lock
        changes hands; two threads took as long as one, and two processes half of that.
        """
        shareable = [call for call in calls if self._in_numpy(call)]
        elsewhere: Iterator[protocols.Fits] = iter(())
        if shared := self.seconds(shareable) > WORTH_S:
            cores = min(joblib.cpu_count(), MOST_PROCESSES)
            with joblib.parallel_config("loky", n_jobs=cores, inner_max_num_threads=1):
                elsewhere = cast(  # joblib returns what `return_as` says
                    Iterator[protocols.Fits],
                    joblib.Parallel(return_as="generator")(
                        joblib.delayed(by_fold.fit)(**self._arguments(call))
                        for call in shareable
                    ),
                )
        for call in calls:
            there = shared and self._in_numpy(call)
            yield next(elsewhere) if there else self._fit(call)

    def seconds(self, calls: Sequence[Call]) -> float:
        """How long calls take on one core, about: for estimates."""
        return sum(map(self._seconds, calls), start=0.0)

    def _fit(self, call: Call) -> protocols.Fits:
        """What comes of a call, here."""
        of = self.methods[call.method]
        if not _reads(of):
            rule = _mean if of is None else cast(Rule, of)  # `check` refuses others
            return _by_rule(rule, call.target, call.cells)
        if call.protocol == "finetune":
            return self.tuners[call.method](call.target, call.cells)
        return by_fold.fit(**self._arguments(call))

    def _seconds(self, call: Call) -> float:
        of = self.methods[call.method]
        if not isinstance(of, Features):
            return 0.02
        if call.protocol == "finetune":
            return 60.0
        softmax = 2e-7 * call.target.num_outputs
        each = {"linear": 5e-8 if call.target.is_number else softmax, "knn": 4e-7}
        numbers = call.cells.train.sum() * of.num_features
        if call.cells.parts is not None:
            numbers *= 5
        return float(numbers * each.get(call.protocol, 6e-6))

    def _in_numpy(self, call: Call) -> bool:
        of = self.methods[call.method]
        return isinstance(of, Features) and call.protocol in IN_NUMPY

    def _arguments(self, call: Call) -> dict:
        return dict(
            protocol=call.protocol,
            features=self.methods[call.method],
            target=call.target,
            grid=call.cells,
            strengths=self.strengths,
            keep=call.keep,
            seed=self.seed,
        )


def _grouped(of: Method) -> Method:
    if isinstance(of, np.ndarray) and of.ndim == 2:
        return Features.of("features", of)
    return of


def _reads(of: Method) -> bool:
    """Whether a method has features; otherwise it is a rule."""
    return isinstance(of, Features)


def _mean(
    values: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, None]:
    average = values[train | validation].astype(np.float64).mean(axis=0)
    return np.broadcast_to(average, values.shape).copy(), None


def _by_rule(rule: Rule, target: Target, cells: grid.Grid) -> protocols.Fits:
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
    return protocols.Fits(np.stack([of for of, _ in said]), chosen, losses, {})


def _check_features(method: str, features: Method, num_regions: int) -> None:
    """A region without a prediction would be dropped silently: refuse it here."""
    if features is None or callable(features):
        return
    values = features.values if isinstance(features, Features) else features
    if values.ndim != 2 or len(values) != num_regions:
        raise InputError(
            f"features of {method!r} have shape {values.shape}; expected one row "
            f"for each of the {num_regions} regions"
        )
    rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(rows):
        raise InputError(
            f"features of {method!r} are not finite for {len(rows)} of {num_regions} "
            f"regions, the first in row {rows[0]}, so these regions would have no "
            "prediction. Check the checkpoint and the images of these regions."
        )
