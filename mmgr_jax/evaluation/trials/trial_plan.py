"""Heads to fit for a target: by split, protocol and method, and for label curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads.jobs import Job, Method, Tuner
from mmgr_jax.evaluation.heads.protocols import FROM_A_LIST
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials.scores import Judge

NUMBERS_ONLY = ("released",)
"""Protocols that neither shares nor classes have."""

FewLabels = Sequence[tuple[grid.Grid, tuple[float | None, ...]]]
"""Result of `curves.grids`."""

MeasuredJobs = tuple[Judge, Sequence[Job]]
"""The judge that measures a result, and the jobs to fit for it."""

Line = Sequence[tuple[Job, tuple[float | None, ...]]]
"""Jobs with few labels, and the fractions that each is for; see `curves.grids`."""


@dataclasses.dataclass(frozen=True)
class TrialPlan:
    """Methods and settings of all targets; attributes as in `tasks.evaluate`."""

    methods: Mapping[str, Method]
    splits: Mapping[str, Split]
    settings: EvalSettings
    tuners: Mapping[str, Tuner]
    keep: Sequence[str]

    def trials(
        self, judge: Judge
    ) -> Iterator[tuple[tuple[str, str, str], MeasuredJobs]]:
        """Yields each (split, protocol, method) to try on a target, with its jobs.

        Args:
            judge: Judge of the target, for the first protocol under the first split.
        """
        target, protocols = judge.target, self.settings.protocols
        first = next(iter(self.splits))
        keep_by = [protocol for protocol in protocols if protocol != "finetune"][:1]
        for kind, split in self.splits.items():
            cells = grid.cells(split, target.known, fractions=(1.0,))
            tried, only = protocols, ()
            if kind != first:
                tried, only = protocols[:1], self.keep
            for protocol, method in pairs(
                self.methods, tried, target, tuned=self.tuners, only=only
            ):
                main = kind == first and protocol == protocols[0]
                measured = judge if main else Judge(target, split.fold, None)
                kept = kind == first and protocol in keep_by and method in self.keep
                job = self._job(target, protocol, method, cells)
                jobs = _with_whole(job, split, kept=kept)
                yield (kind, protocol, method), (measured, jobs)

    def line(self, target: Target, method: str, few: FewLabels) -> Line:
        """Returns the jobs for the label-efficiency curve of a method on a target."""
        protocol, _ = pairs(
            self.methods, self.settings.protocols, target, tuned=self.tuners
        )[0]
        return [
            (_choosing(self._job(target, protocol, method, cells)), fractions)
            for cells, fractions in few
        ]

    def _job(self, target: Target, protocol: str, method: str, cells: grid.Grid) -> Job:
        return Job(
            protocol,
            self.methods[method],
            target,
            cells.predicting(),
            self.settings,
            tuner=self.tuners.get(method) if protocol == "finetune" else None,
        )


def pairs(
    methods: Mapping[str, Method],
    protocols: Sequence[str],
    target: Target,
    *,
    tuned: Collection[str] = (),
    only: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Returns each (protocol, method) to try on a target under a split.

    Args:
        methods: Name -> features or rule that predicts.
        protocols: Protocols to try. Splits after the first serve for comparison, so one
            protocol is enough for them.
        target: What to predict.
        tuned: Methods whose encoders can be trained too.
        only: Methods to try in addition to the rules; () for all.
    """
    return [
        (protocol, name)
        for protocol in protocols
        if not target.label.classes or protocol not in NUMBERS_ONLY
        for name, method in methods.items()
        if not isinstance(method, Features)
        or ((protocol != "finetune" or name in tuned) and (not only or name in only))
    ]


def _with_whole(job: Job, split: Split, *, kept: bool) -> list[Job]:
    """The heads of all folds; then, where they are kept, one for other regions."""
    jobs = [job]
    if kept:
        whole = grid.whole(split, job.target.known).predicting()
        jobs = [
            dataclasses.replace(job, keep=job.grid.full),
            dataclasses.replace(job, grid=whole, keep=(0,)),
        ]
    if job.protocol == "linear" and job.target.is_number and job.reads:
        # Cheap enough that every fold chooses once; softmax is not.
        jobs = [
            dataclasses.replace(each, grid=each.grid.with_folds_as_parts(split.fold))
            for each in jobs
        ]
    return jobs


def _choosing(job: Job) -> Job:
    """What does not choose from a list has a cell for each part of few labels."""
    if job.grid.parts is None or (job.protocol in FROM_A_LIST and job.reads):
        return job
    return dataclasses.replace(job, grid=job.grid.by_parts())
