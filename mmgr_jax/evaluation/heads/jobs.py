"""Jobs of an evaluation: each fits one method by one protocol to a grid of heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import joblib
import numpy as np

from mmgr_jax import cores
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import by_fold, knn
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.settings import EvalSettings

IN_NUMPY = ("linear", "knn")
"""Protocols that processes can share; the others are JAX programs and fill the
devices by themselves."""

WORTH_S = 6.0
"""Seconds that heads should take before processes are started for them: each imports
for two seconds."""

MOST_PROCESSES = 16
"""Largest number of processes, as each process has its own copy of features."""

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, float | None]]
"""(targets, training regions, validation regions) -> (prediction of every region, what
validation chose, None where nothing is): a method that reads labels and no features."""

Method = Features | Rule | None
"""Features of all regions, a rule, or None for the mean of the training targets."""

Tuner = Callable[[Target, Grid], Fits]
"""Trains a whole encoder with its head, for the protocol `finetune`."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One method, to be fitted to one target in every cell of a grid.

    Attributes:
        protocol: Kind of head, such as "linear"; a rule is the same for all protocols.
        method: Features that a head reads, or a rule without features.
        target: What to predict.
        grid: Which regions train, choose and are tested in each cell.
        settings: Strengths to choose from, and the seed.
        keep: Cells whose heads are kept.
        tuner: Trains the encoder of the features too, for the protocol "finetune".
    """

    protocol: str
    method: Method
    target: Target
    grid: Grid
    settings: EvalSettings
    keep: Sequence[int] = ()
    tuner: Tuner | None = None

    @property
    def reads(self) -> bool:
        """Whether the method has features; otherwise it is a rule."""
        return isinstance(self.method, Features)

    @property
    def in_numpy(self) -> bool:
        """Whether one of several parallel processes can do the job."""
        return self.reads and self.protocol in IN_NUMPY

    @property
    def seconds(self) -> float:
        """Estimated time on one core, in seconds."""
        if not isinstance(self.method, Features):
            return 0.02
        if self.protocol == "finetune":
            return 60.0
        softmax = 2e-7 * self.target.num_outputs
        each = {"linear": 5e-8 if self.target.is_number else softmax, "knn": 4e-7}
        numbers = self.grid.train.sum() * self.method.num_features
        if self.grid.parts is not None:
            numbers *= 5
        return float(numbers * each.get(self.protocol, 6e-6))

    @property
    def predicted_bytes(self) -> int:
        """Size of the predictions of all cells, in bytes."""
        test, predicted = self.grid.test, self.grid.predicted
        count = test.size if predicted is None else int(predicted.sum())
        return 8 * count * self.target.num_outputs

    def fit(self, neighbourhoods: knn.Neighbourhoods | None = None) -> Fits:
        """Fits the heads of all cells.

        Args:
            neighbourhoods: Neighbours that jobs with the same features have found.
        """
        if not isinstance(self.method, Features):
            return _by_rule(self.method or _mean, self.target, self.grid)
        if self.tuner is not None:
            return self.tuner(self.target, self.grid)
        return by_fold.fit(
            self.protocol,
            self.method,
            self.target,
            self.grid,
            strengths=self.settings.strengths,
            keep=self.keep,
            seed=self.settings.seed,
            neighbourhoods=neighbourhoods,
        )


def fit_all(jobs: Sequence[Job]) -> Iterator[Fits]:
    """Fits all jobs and yields their results, in order.

    Jobs that search neighbours in the same features are done together, so that the
    neighbours are found once for all targets.

    If it takes long enough, heads in NumPy are fitted by one process per core. Threads
    do not help: a step of L-BFGS is about seventy NumPy calls of ten microseconds each,
    and the interpreter's lock changes between them. Two threads took as long as one,
    two processes half as long.
    """
    work = _pieces_of_work(jobs)
    shareable = [numbers for numbers in work if jobs[numbers[0]].in_numpy]
    elsewhere: Iterator[list[Fits]] = iter(())
    seconds = sum(jobs[number].seconds for numbers in shareable for number in numbers)
    if shared := seconds > WORTH_S and cores.can_share_work():
        count = min(cores.count(), MOST_PROCESSES)
        with joblib.parallel_config("loky", n_jobs=count, inner_max_num_threads=1):
            elsewhere = cast(  # joblib returns what `return_as` says
                Iterator[list[Fits]],
                joblib.Parallel(return_as="generator")(
                    joblib.delayed(_fit)([jobs[number] for number in numbers])
                    for numbers in shareable
                ),
            )
    ready: dict[int, Fits] = {}
    for number in range(len(jobs)):
        if number not in ready:  # the first of its piece of work
            numbers = work.pop(0)
            there = shared and jobs[number].in_numpy
            fits = next(elsewhere) if there else _fit([jobs[n] for n in numbers])
            ready |= dict(zip(numbers, fits, strict=True))
        yield ready.pop(number)


def _pieces_of_work(jobs: Sequence[Job]) -> list[list[int]]:
    """Numbers of the jobs that belong together, by the first of each."""
    pieces: dict[tuple[int, int], list[int]] = {}
    for number, job in enumerate(jobs):
        alike = job.reads and job.protocol == "knn"
        name = (id(job.method), -1) if alike else (0, number)
        pieces.setdefault(name, []).append(number)
    return list(pieces.values())


def _fit(jobs: Sequence[Job]) -> list[Fits]:
    """A piece of work, whose jobs tell each other what they find."""
    neighbourhoods = knn.Neighbourhoods()
    return [job.fit(neighbourhoods) for job in jobs]


def _mean(
    values: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, None]:
    average = values[train | validation].astype(np.float64).mean(axis=0)
    return np.broadcast_to(average, values.shape).copy(), None


def _by_rule(rule: Rule, target: Target, grid: Grid) -> Fits:
    """A rule as if it were a head."""
    values = target.values
    if target.label.kind == "class":  # a rule averages probabilities
        values = np.eye(target.num_outputs)[
            np.where(target.known, values, 0).astype(int)
        ]
    answers = [
        rule(values, train & target.known, validation & target.known)
        for train, validation in zip(grid.train, grid.validation, strict=True)
    ]
    chosen = tuple(float(choice) for _, choice in answers if choice is not None)
    losses = np.full((len(answers), 1), np.nan)
    predictions = tuple(
        prediction[grid.rows(cell)].copy()
        for cell, (prediction, _) in enumerate(answers)
    )
    return Fits(predictions, chosen, losses, {})
