"""Results of an evaluation: of each method, protocol, split and task, with intervals.

`report.json` holds the same results as numbers; see `report.report_json`.
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
        metrics: Metrics over all labelled regions together.
        fold_metrics: Metrics over the labelled regions of each fold.
        chosen: Setting that validation chose in each fold: an L2 strength, a number of
            neighbours or a step. Empty if nothing is chosen.
        intervals: Metric -> interval over resamples of spatial blocks. Empty if no
            intervals are wanted.
        samples: Metrics of each resample, for paired differences.
        num_blocks: Number of spatial blocks that were resampled.
        level: Level of the intervals.
        moran: Autocorrelation of the residuals. None if places are unknown.
        recall: Share of the true neighbours that the heads found, see
            `neighbours.Nearest`. 1 if the heads use no neighbours.
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
        """Computes the standard deviation of a metric over folds (divisor n - 1)."""
        values = np.array([fold[metric] for fold in self.fold_metrics])
        values = values[np.isfinite(values)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of a label-efficiency curve: a method with few of the labels.

    Attributes:
        fraction: Fraction of the labels of training and validation, 1 for all. None if
            the point has a fixed number of labels.
        num_labels: Number of labelled regions, as a mean over the folds.
        metrics: Metric -> its spread over the draws of these labels.
        intervals: Metric -> interval around the mean of the spread, over draws and
            blocks. Empty if no intervals are wanted.
        samples: Metrics of each resample; each resample uses one draw of labels.
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
        label: Meaning of the label.
        heads: Protocol -> the head for this task, in words.
        num_regions: Number of regions of the city.
        num_labelled: Number of regions with a label.
        log: Whether heads and the headline metric use logarithms.
        results: `results[split][protocol][method]`.
        curves: Method -> its points, fewest labels first.
        coverage: Method -> how often intervals of each level contain the truth.
        kept: Method -> its kept heads under the first split, by the fold on which each
            is tested. The head of `NO_FOLD` is for other regions: it was trained on all
            folds except the first, which chose its setting.
        classes: Method -> metric -> value for each class, for shares and classes.
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
        """The main metric of the task, such as R2 of the logarithms for amounts."""
        if self.label.kind in HEADLINES:
            return HEADLINES[self.label.kind]
        return "r2_log" if self.log else "r2"

    @property
    def main(self) -> Mapping[str, Result]:
        """Method -> result, by the first protocol under the first split."""
        return next(iter(next(iter(self.results.values())).values()))

    def gap(self, method: str, protocol: str = "") -> dict[str, float] | None:
        """Computes how much better the random split scores than the block split.

        None if not both were run.
        """
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
        """Computes how much better one method is than another, paired by resample.

        It uses the first protocol and the first split. None without resamples.
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
        """Computes how much better one method is than another with few labels.

        The difference is paired: same draws of labels, same resamples of blocks. None
        if one of the curves has no such point, or if there are no resamples.

        Args:
            method: The method that may be better.
            reference: The method to compare with.
            num_labels: Number of labels, as in the points of the curves.
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
