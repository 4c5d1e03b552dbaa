"""Label efficiency: how good the heads are with a part of the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmgr_jax.evaluators import grid, intervals, scores
from mmgr_jax.evaluators.fits import Fits
from mmgr_jax.evaluators.results import Point, Result
from mmgr_jax.evaluators.splits import Split
from mmgr_jax.evaluators.targets import Target


@dataclasses.dataclass(frozen=True)
class Options:
    """What curves to make, by the first protocol of an evaluation.

    Attributes:
        methods: Whose.
        fractions: Parts of the labels of training and validation, up to 1.
        num_seeds: Random choices of each part.
    """

    methods: Sequence[str]
    fractions: Sequence[float] = grid.FRACTIONS
    num_seeds: int = 5


def cells(target: Target, split: Split, options: Options) -> grid.Grid:
    """Every subset of the labels that a curve is made of, all labels among them."""
    return grid.cells(
        split,
        target.known,
        fractions=tuple(options.fractions),
        seeds=tuple(range(options.num_seeds)),
    )


def fewer_labels(cells: grid.Grid) -> grid.Grid:
    """Those that have to be fitted for the curve alone."""
    fewer = [index for index, cell in enumerate(cells.cells) if cell.fraction < 1]
    return cells.of(fewer)


def curve(
    target: Target, split: Split, cells: grid.Grid, fits: Fits | None, full: Result
) -> list[Point]:
    """The curve of one method on one task.

    Every point is an evaluation of its own: each region is predicted by a head that
    saw a part of the labels of the other folds, and the metrics are those of all
    labelled regions. The spread is over the seeds that chose these labels.

    Args:
        target: The truth.
        split: Who is tested with whom.
        cells: See `cells`.
        fits: Of `fewer_labels`; None where there are none.
        full: The result with all labels.
    """
    fewer = fewer_labels(cells)
    judge = scores.Judge(target, split.fold, None)
    points = []
    for fraction in sorted({cell.fraction for cell in cells.cells}):
        used = [index for index, c in enumerate(cells.cells) if c.fraction == fraction]
        seeds = sorted({cells.cells[index].seed for index in used})
        measured = [full.metrics]
        if fraction < 1:
            told = [fits.out_of_fold(fewer, fraction=fraction, seed=s) for s in seeds]
            measured = [judge.measure(of, target.known) for of in told]
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
