"""Label efficiency: how good the heads are with a part of the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmgr_jax.evaluators import grid, intervals, protocols, scores
from mmgr_jax.evaluators.results import Point
from mmgr_jax.evaluators.splits import Split
from mmgr_jax.evaluators.targets import Target


@dataclasses.dataclass(frozen=True)
class Options:
    """What curves to make.

    Attributes:
        methods: Whose.
        protocol: By which heads.
        fractions: Parts of the labels of training and validation, up to 1.
        num_seeds: Random choices of each part.
    """

    methods: Sequence[str]
    protocol: str = "linear"
    fractions: Sequence[float] = grid.FRACTIONS
    num_seeds: int = 5


def cells_of(target: Target, split: Split, options: Options) -> grid.Grid:
    """Every head of a curve on one task."""
    return grid.cells(
        split,
        target.known,
        fractions=tuple(options.fractions),
        seeds=tuple(range(options.num_seeds)),
    )


def curve(
    target: Target, split: Split, cells: grid.Grid, fits: protocols.Fits
) -> list[Point]:
    """The curve of one method on one task, of all cells of `cells_of`.

    Every point is an evaluation of its own: each region is predicted by a head that
    saw a part of the labels of the other folds, and the metrics are those of all
    labelled regions. The spread is over the seeds that chose these labels.
    """
    judge = scores.Judge(target, split.fold, None)
    points = []
    for fraction in sorted({cell.fraction for cell in cells.cells}):
        seeds = sorted({c.seed for c in cells.cells if c.fraction == fraction})
        measured = [
            judge.measure(
                fits.out_of_fold(cells, fraction=fraction, seed=seed), target.known
            )
            for seed in seeds
        ]
        used = [index for index, c in enumerate(cells.cells) if c.fraction == fraction]
        labels = (cells.train[used] | cells.validation[used]) & target.known
        points.append(
            Point(
                fraction=fraction,
                num_labels=float(labels.sum(axis=1).mean()),
                metrics={
                    name: intervals.spread([values[name] for values in measured])
                    for name in measured[0]
                },
            )
        )
    return points
