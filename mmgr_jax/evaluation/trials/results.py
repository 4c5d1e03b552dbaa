"""What an evaluation found: every method, protocol, split and task, with its certainty.

`report.json` says the same in numbers alone; see `report.report_json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.certainty import intervals, metrics
from mmgr_jax.evaluation.certainty.autocorrelation import Moran
from mmgr_jax.evaluation.certainty.conformal import Coverage
from mmgr_jax.evaluation.certainty.intervals import LEVEL
from mmgr_jax.evaluation.heads.head import Head

HEADLINES = {"share": "l1", "class": "macro_f1"}
"""The metric to look at first, where it is not that of `headline`."""


@dataclasses.dataclass(frozen=True)
class Result:
    """How well one method predicts one label, by one protocol under one split.

    Attributes:
        prediction: Out-of-fold prediction of every region, [r] or [r k].
        metrics: Over all labelled regions together.
        fold_metrics: Over the labelled regions of each fold.
        chosen: What validation chose in each fold: an L2 strength, a number of
            neighbours, a step; empty where nothing is chosen.
        intervals: Metric -> interval over resamples of spatial blocks; empty where
            none was asked for.
        samples: The metrics of each resample, which paired differences need.
        num_blocks: Spatial blocks that were resampled.
        level: Of the intervals.
        moran: Autocorrelation of the residuals; None where places are unknown.
        recall: Share of the true neighbours that its heads found, see
            `neighbours.Nearest`; 1 where they look for none.
    """

    prediction: np.ndarray
    metrics: Mapping[str, float]
    fold_metrics: tuple[Mapping[str, float], ...]
    chosen: tuple[float, ...]
    intervals: Mapping[str, intervals.Interval] = dataclasses.field(
        default_factory=dict
    )
    samples: intervals.Samples = dataclasses.field(default_factory=dict)
    num_blocks: int | None = None
    level: float = LEVEL
    moran: Moran | None = None
    recall: float = 1.0

    def spread(self, metric: str) -> float:
        """Standard deviation of a metric over the folds (n - 1 in the divisor)."""
        values = np.array([fold[metric] for fold in self.fold_metrics])
        values = values[np.isfinite(values)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a label-efficiency curve: a method with few of the labels.

    Attributes:
        fraction: Of the labels of training and validation, 1 for all; None where a
            number of labels was asked for.
        num_labels: Labelled regions that this is, on average over the folds.
        metrics: Metric -> its spread over the draws of these labels.
        intervals: Metric -> interval around that mean, over draws and blocks; empty
            where none was asked for.
        samples: The metrics of each resample, of one draw each.
    """

    fraction: float | None
    num_labels: float
    metrics: Mapping[str, intervals.Spread]
    intervals: Mapping[str, intervals.Interval] = dataclasses.field(
        default_factory=dict
    )
    samples: intervals.Samples = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Task:
    """All results of one label: methods side by side.

    Attributes:
        label: What it means.
        heads: Protocol -> the head this task gets, in words.
        num_regions: Regions of the city.
        num_labelled: Those with a label.
        log: Whether heads and the headline metric see logarithms.
        results: `results[split][protocol][method]`.
        curves: Method -> its points, fewest labels first.
        coverage: Method -> how often intervals of each level hold the truth.
        kept: Method -> its heads under the first split, of those that were wanted, by
            the fold that each tests; that of `NO_FOLD` was trained on all folds but
            the first, which chose: for other regions.
        classes: Method -> metric -> value of each class, for shares and classes.
    """

    label: Label
    heads: Mapping[str, str]
    num_regions: int
    num_labelled: int
    log: bool
    results: Mapping[str, Mapping[str, Mapping[str, Result]]]
    curves: Mapping[str, Sequence[Point]] = dataclasses.field(default_factory=dict)
    coverage: Mapping[str, Sequence[Coverage]] = dataclasses.field(default_factory=dict)
    kept: Mapping[str, Mapping[int, Head]] = dataclasses.field(default_factory=dict)
    classes: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def headline(self) -> str:
        """The metric to look at first: R2, of logarithms where nothing is negative."""
        if self.label.kind in HEADLINES:
            return HEADLINES[self.label.kind]
        return "r2_log" if self.log else "r2"

    @property
    def main(self) -> Mapping[str, Result]:
        """Method -> result by the first protocol under the first split."""
        return next(iter(next(iter(self.results.values())).values()))

    def gap(self, method: str, protocol: str = "") -> dict[str, float] | None:
        """Improvement of the random over the block split, if both were run."""
        if not {"block", "random"} <= self.results.keys():
            return None
        protocol = protocol or next(iter(self.results["block"]))
        if method not in self.results["random"].get(protocol, {}):
            return None
        block = self.results["block"][protocol][method].metrics
        random = self.results["random"][protocol][method].metrics
        return {
            name: metrics.improvement(name, random[name], block[name]) for name in block
        }

    def difference(
        self, method: str, reference: str
    ) -> dict[str, intervals.Interval] | None:
        """How much better one method is than another, paired over the resamples.

        By the first protocol under the first split; None without resamples.
        """
        ours, theirs = self.main[method], self.main[reference]
        if not (ours.samples and theirs.samples):
            return None
        return {
            name: intervals.difference(
                name,
                (ours.metrics[name], ours.samples[name]),
                (theirs.metrics[name], theirs.samples[name]),
                num_blocks=ours.num_blocks,
                level=ours.level,
            )
            for name in ours.metrics
        }

    def curve_difference(
        self, method: str, reference: str, num_labels: float | int
    ) -> dict[str, intervals.Interval] | None:
        """How much better one method is than another with as many labels, paired.

        On the same draws of labels and the same resamples of blocks; None where one of
        the curves has no such point, or there are no resamples.

        Args:
            method: Whose improvement.
            reference: Over whom.
            num_labels: As in the points of the curves.
        """
        ours, theirs = (
            next((p for p in self.curves[name] if p.num_labels == num_labels), None)
            if name in self.curves
            else None
            for name in (method, reference)
        )
        if ours is None or theirs is None or not (ours.samples and theirs.samples):
            return None
        full = self.main[method]
        return {
            name: intervals.difference(
                name,
                (spread.mean, ours.samples[name]),
                (theirs.metrics[name].mean, theirs.samples[name]),
                num_blocks=full.num_blocks,
                level=full.level,
            )
            for name, spread in ours.metrics.items()
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """All tasks of one evaluation.

    Attributes:
        tasks: Label name -> results.
        num_folds: Kind of split -> number of folds.
        seed: Seed of the folds.
    """

    tasks: Mapping[str, Task]
    num_folds: Mapping[str, int]
    seed: int

    @property
    def predictions(self) -> dict[str, dict[str, np.ndarray]]:
        """`[task][method]` -> out-of-fold predictions, as in `Task.main`."""
        return {
            name: {method: result.prediction for method, result in task.main.items()}
            for name, task in self.tasks.items()
        }
