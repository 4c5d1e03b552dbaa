"""Label efficiency: how good the heads are with few labels.

The number of labels includes those that choose a head's setting, because they cost as
much as those that train it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from mmgr_jax.evaluation.certainty import intervals
from mmgr_jax.evaluation.design import grid
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.settings import CurveSettings
from mmgr_jax.evaluation.trials.results import Point, Result
from mmgr_jax.evaluation.trials.scores import Judge

FEW = 25

Fitted = tuple[grid.Grid, tuple[float | None, ...], Fits]
"""Cells, the points they are for (see `grids`), and what was fitted."""


def grids(
    split: Split, options: CurveSettings, known: Bool[np.ndarray, " r"]
) -> list[tuple[grid.Grid, tuple[float | None, ...]]]:
    """Returns the grids to fit for the curves, in addition to that with all labels.

    Args:
        split: Folds of the regions, and which regions train, choose and are tested.
        options: Numbers of labels, fractions and draws.
        known: Regions that have a label.

    Returns:
        Cells that are fitted together, and the points of the curve that they give: the
        fractions of the labels, all below 1, or (None,) for a number of labels.
    """
    made: list[tuple[grid.Grid, tuple[float | None, ...]]] = []
    for number in sorted(set(options.num_labels)):
        seeds = tuple(range(_draws(number, options.num_draws)))
        cells = grid.few(split, known, num_labels=number, seeds=seeds)
        if cells is not None:
            made.append((cells, (None,)))
    if options.fractions:
        every = grid.cells(
            split,
            known,
            fractions=options.fractions,
            seeds=tuple(range(options.num_seeds)),
        )
        fewer = [index for index, cell in enumerate(every.cells) if cell.fraction < 1]
        if fewer:
            cells = every.of(fewer)
            made.append((cells, tuple(sorted({cell.fraction for cell in cells.cells}))))
    return made


def _draws(num_labels: int, num_draws: int) -> int:
    return num_draws if num_labels <= FEW else max(num_draws // 2, 1)


def curve(
    judge: Judge,
    fitted: Sequence[Fitted],
    full: Result,
    full_cells: grid.Grid,
    *,
    constant: bool = False,
) -> list[Point]:
    """Computes the curve of one method on one task, fewest labels first.

    Every point is a separate evaluation: each region is predicted by a head that saw
    few labels of the other folds, and the metrics are over all labelled regions. The
    spread is over the draws of these labels. The interval is over draws and spatial
    blocks together (`Judge.resampled`). The last point is the result with all labels.

    Args:
        judge: Measures predictions.
        fitted: The fitted heads.
        full: The result with all labels.
        full_cells: The cells of that result.
        constant: Whether all regions of a fold get the same prediction.
    """
    points = []
    for cells, fractions, fits in fitted:
        for fraction in fractions:
            used = cells.where(fraction=fraction)
            predictions = [
                fits.out_of_fold(cells, fraction=fraction, seed=seed)
                for seed in sorted({cells.cells[index].seed for index in used})
            ]
            measured = [
                judge.measure(prediction, judge.target.known, constant=constant)
                for prediction in predictions
            ]
            samples = judge.resampled(predictions, constant=constant)
            number = _num_labels(cells, fraction)
            points.append(point(fraction, number, measured, samples, full))
    number = _num_labels(full_cells, 1.0)
    end = point(1.0, number, [full.metrics], full.samples, full)
    return [*sorted(points, key=lambda point: point.num_labels), end]


def _num_labels(cells: grid.Grid, fraction: float | None) -> float:
    """Labels that a cell of this fraction sees, on average."""
    used = cells.where(fraction=fraction)
    labels = cells.train[used] | cells.validation[used]
    return float(labels.sum(axis=1).mean())


def point(
    fraction: float | None,
    number: float,
    measured: Sequence[Mapping[str, float]],
    samples: intervals.Samples,
    full: Result,
) -> Point:
    """Makes a point of a curve.

    Args:
        fraction: Fraction of all labels; None for a number of labels.
        number: Number of labels.
        measured: The metrics of each draw of labels.
        samples: Metrics of each resample, see `Judge.resampled`.
        full: The result with all labels.
    """
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
    )
