"""Label efficiency: how good the heads are with few labels.

Labels are counted in all: one that chooses a head's setting costs as much as one that
it learns from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mmgr_jax.evaluation.certainty import intervals
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.settings import CurveSettings
from mmgr_jax.evaluation.trials.results import Point, Result
from mmgr_jax.evaluation.trials.scores import Judge

FEW = 25


@dataclasses.dataclass(frozen=True)
class Stage:
    """Cells that are fitted together.

    Attributes:
        cells: Those of one number of labels, or of all fractions below 1.
        fractions: The fractions; () where it is a number of labels.
    """

    cells: grid.Grid
    fractions: tuple[float, ...] = ()

    def points(self) -> list[tuple[float | None, list[int]]]:
        """Fraction, None where it is a number of labels, and cells of each point."""
        if not self.fractions:
            return [(None, list(range(len(self.cells.cells))))]
        return [(of, self.cells.where(fraction=of)) for of in self.fractions]


def stages(target: Target, split: Split, options: CurveSettings) -> list[Stage]:
    """What has to be fitted for the curves, beside the result with all labels."""
    found = [
        grid.few(
            split,
            target.known,
            num_labels=number,
            seeds=tuple(range(_draws(number, options.num_draws))),
        )
        for number in sorted(set(options.num_labels))
    ]
    made = [Stage(cells) for cells in found if cells is not None]
    if options.fractions:
        every = grid.cells(
            split,
            target.known,
            fractions=options.fractions,
            seeds=tuple(range(options.num_seeds)),
        )
        fewer = [index for index, cell in enumerate(every.cells) if cell.fraction < 1]
        cells = every.of(fewer)
        if fewer:
            parts = tuple(sorted({cell.fraction for cell in cells.cells}))
            made.append(Stage(cells, parts))
    return made


def _draws(num_labels: int, num_draws: int) -> int:
    return num_draws if num_labels <= FEW else max(num_draws // 2, 1)


def by_parts(stage: Stage) -> Stage:
    """For what does not choose from a list: a cell for each part of few labels."""
    if stage.cells.parts is None:
        return stage
    return dataclasses.replace(stage, cells=stage.cells.by_parts())


def curve(
    judge: Judge,
    target: Target,
    split: Split,
    fitted: Sequence[tuple[Stage, Fits]],
    full: Result,
    *,
    constant: bool = False,
) -> list[Point]:
    """The curve of one method on one task, fewest labels first.

    Every point is an evaluation of its own: each region is predicted by a head that
    saw few labels of the other folds, and the metrics are those of all labelled
    regions. The spread is over the draws of these labels; the interval is over draws
    and spatial blocks together (`Judge.resampled`). The last point is the result with
    all labels.

    Args:
        judge: Measures predictions.
        target: The truth.
        split: Who is tested with whom.
        fitted: What was fitted, stage by stage.
        full: The result with all labels.
        constant: Whether all regions of a fold are told the same.
    """
    points = []
    for stage, fits in fitted:
        for fraction, used in stage.points():
            seeds = sorted({stage.cells.cells[index].seed for index in used})
            predictions = [
                fits.out_of_fold(stage.cells, fraction=fraction, seed=seed)
                for seed in seeds
            ]
            measured = [
                judge.measure(of, target.known, constant=constant) for of in predictions
            ]
            samples = judge.resampled(predictions, constant=constant)
            labels = stage.cells.train[used] | stage.cells.validation[used]
            number = float((labels & target.known).sum(axis=1).mean())
            points.append(_point(fraction, number, measured, samples, full))
    return [*sorted(points, key=lambda p: p.num_labels), _end(target, split, full)]


def _end(target: Target, split: Split, full: Result) -> Point:
    """All labels."""
    cells = grid.cells(split, target.known, fractions=(1.0,))
    number = float((cells.train | cells.validation).sum(axis=1).mean())
    return _point(1.0, number, [full.metrics], full.samples, full)


def _point(
    fraction: float | None,
    number: float,
    measured: Sequence[Mapping[str, float]],
    samples: intervals.Samples,
    full: Result,
) -> Point:
    metrics = {
        name: intervals.spread([values[name] for values in measured])
        for name in measured[0]
    }
    return Point(
        fraction=fraction,
        num_labels=number,
        metrics=metrics,
        intervals={
            name: intervals.interval(
                metrics[name].mean,
                samples[name],
                num_blocks=full.num_blocks,
                level=full.level,
            )
            for name in samples
        },
        samples=samples,
        num_blocks=full.num_blocks,
        level=full.level,
    )
