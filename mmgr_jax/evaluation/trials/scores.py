"""Scores of one prediction of one task: metrics, intervals, autocorrelation, coverage.

The metrics depend on the kind of the label. Residuals are on the scale of the heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.evaluation.certainty import (
    autocorrelation,
    conformal,
    intervals,
    metrics,
    places,
)
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.settings import CertaintySettings
from mmgr_jax.evaluation.trials.results import Result

NEIGHBOURS = 8
"""Number of neighbours of each region, for the autocorrelation of residuals."""

COVERAGE_LEVELS = (0.5, 0.8, 0.9)
"""Levels of the conformal intervals whose coverage is measured."""


@dataclasses.dataclass(frozen=True)
class Certainty:
    """Data and settings for intervals, autocorrelation and coverage.

    Attributes:
        block: Spatial block of each region [r].
        settings: Settings of the intervals.
        centre_m: Centre of each region [r 2]. None if the places are unknown.
        covered: Methods whose coverage by conformal intervals is measured.
    """

    block: Int[np.ndarray, " r"]
    settings: CertaintySettings = CertaintySettings()
    centre_m: Float[np.ndarray, "r 2"] | None = None
    covered: Sequence[str] = ()


class Judge:
    """Measures predictions of one task under one split, all on the same resamples."""

    def __init__(
        self, target: Target, fold: Int[np.ndarray, " r"], certainty: Certainty | None
    ) -> None:
        """Draws the resamples.

        Args:
            target: The true values.
            fold: Fold in which each region is tested [r].
            certainty: Data for intervals; None for metrics only.
        """
        self.target, self._fold, self._certainty = target, fold, certainty
        # One scale for the city, so that folds and resamples can be compared.
        self._scale = None
        if not target.label.classes:
            self._scale = metrics.median_positive(target.values[target.known])
        self._draws = self._weights = None
        known = target.known
        if certainty is not None and certainty.settings.num_resamples:
            self._draws = intervals.draw(
                certainty.block[known], num=certainty.settings.num_resamples
            )
        if certainty is not None and certainty.centre_m is not None:
            count = int(known.sum())
            if count > NEIGHBOURS:
                self._weights = places.nearest(
                    certainty.centre_m[known], num_neighbours=NEIGHBOURS
                )

    @property
    def covered(self) -> Sequence[str]:
        """Methods whose coverage by conformal intervals is measured."""
        return self._certainty.covered if self._certainty else ()

    def result(
        self,
        prediction: Float[np.ndarray, "r ..."],
        chosen: tuple[float, ...],
        *,
        constant: bool = False,
    ) -> Result:
        """Measures the result of one method.

        Args:
            prediction: Out-of-fold prediction of every region; all finite.
            chosen: Setting that validation chose in each fold.
            constant: Whether all regions of a fold get the same prediction.
        """
        if not np.isfinite(prediction).all():
            raise AssertionError("every region is tested once, with a finite value")
        known, fold = self.target.known, self._fold
        values = self.measure(prediction, known, constant=constant)
        samples = self.resampled([prediction], constant=constant)
        return Result(
            prediction=prediction,
            metrics=values,
            fold_metrics=tuple(
                self.measure(prediction, known & (fold == tested), constant=constant)
                for tested in np.unique(fold)
            ),
            chosen=chosen,
            intervals={
                name: self._interval(values[name], samples[name]) for name in samples
            },
            samples=samples,
            num_blocks=self._draws and self._draws.num_blocks,
            level=self._certainty.settings.level
            if self._certainty
            else intervals.LEVEL,
            moran=self._moran(prediction),
        )

    def resampled(
        self,
        predictions: Sequence[Float[np.ndarray, "r ..."]],
        *,
        constant: bool = False,
    ) -> intervals.Samples:
        """Computes the metrics of resampled blocks, with several predictions in turn.

        Each prediction gets its share of the resamples. For every method these are the
        same resamples, so that differences are paired. Together they show how a metric
        varies over draws of the labels and over blocks.

        Args:
            predictions: Predictions by heads of one method that saw different labels.
            constant: Whether all regions of a fold get the same prediction.

        Returns:
            The samples; {} without resamples.
        """
        if self._draws is None:
            return {}
        step = min(len(predictions), len(self._draws.counts))
        parts = [
            self._samples(prediction, constant, self._draws.every(step, start))
            for start, prediction in enumerate(predictions[:step])
        ]
        samples = {
            name: np.empty(len(self._draws.counts), np.float64) for name in parts[0]
        }
        for start, part in enumerate(parts):
            for name, values in part.items():
                samples[name][start::step] = values
        return samples

    def measure(
        self,
        prediction: Float[np.ndarray, "r ..."],
        rows: Bool[np.ndarray, " r"],
        *,
        constant: bool = False,
    ) -> dict[str, float]:
        """Computes the metrics over some labelled regions."""
        truth, predicted = self.target.values[rows], prediction[rows]
        if self.target.label.kind == "share":
            return metrics.shares(truth, predicted)
        if self.target.label.kind == "class":
            return metrics.classes(truth.astype(np.int64), predicted)
        values = metrics.scalar(truth, predicted, log_scale=self._scale)
        if constant:
            # The mean gives no ranking, but over several folds it would: one with high
            # values has a low training mean, hence a negative correlation.
            values["spearman"] = float("nan")
        return values

    def coverage(
        self, prediction: Float[np.ndarray, "r ..."]
    ) -> list[conformal.Coverage]:
        """Measures how often intervals of each level cover the truth in other folds."""
        assert self._certainty is not None
        known = self.target.known
        scores = conformal_scores(self.target, prediction)[known]
        block, fold = self._certainty.block[known], self._fold[known]
        return [
            _mean_coverage(
                [
                    conformal.held_out_coverage(part, block, fold, level=level)
                    for part in scores.reshape(len(scores), -1).T
                ]
            )
            for level in COVERAGE_LEVELS
        ]

    def by_class(self, prediction: Float[np.ndarray, "r k"]) -> dict[str, np.ndarray]:
        """Computes metrics of each class for shares and classes; empty for numbers."""
        known = self.target.known
        truth, predicted = self.target.values[known], prediction[known]
        if self.target.label.kind == "share":
            squared = np.sum((truth - predicted) ** 2, axis=0)
            deviation = np.sum((truth - truth.mean(axis=0)) ** 2, axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                r2 = np.where(deviation > 0, 1 - squared / deviation, np.nan)
            return {
                "mean_share": truth.mean(axis=0),
                "mae": np.abs(truth - predicted).mean(axis=0),
                "r2": r2,
            }
        if self.target.label.kind == "class":
            truth = truth.astype(np.int64)
            hit, true, named = metrics.class_counts(
                truth, predicted.argmax(axis=1), predicted.shape[1]
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                f1 = np.where(true + named > 0, 2 * hit / (true + named), np.nan)
            return {"share_of_regions": true / len(truth), "f1": f1}
        return {}

    def _samples(
        self, prediction: np.ndarray, constant: bool, draws: intervals.BlockDraws
    ) -> intervals.Samples:
        known = self.target.known
        truth, predicted = self.target.values[known], prediction[known]
        if self.target.label.kind == "share":
            return intervals.shares(truth, predicted, draws)
        if self.target.label.kind == "class":
            return intervals.classes(truth.astype(np.int64), predicted, draws)
        samples = intervals.scalar(truth, predicted, draws, log_scale=self._scale)
        if constant:
            samples["spearman"] = np.full_like(samples["spearman"], np.nan)
        return samples

    def _interval(self, value: float, samples: np.ndarray) -> intervals.Interval:
        assert self._draws is not None and self._certainty is not None
        return intervals.interval(
            value,
            samples,
            num_blocks=self._draws.num_blocks,
            level=self._certainty.settings.level,
        )

    def _moran(self, prediction: np.ndarray) -> autocorrelation.Moran | None:
        if self._weights is None:
            return None
        known = self.target.known
        residual = residuals(self.target, prediction, self._scale)[known]
        return autocorrelation.moran(residual, self._weights)


def _mean_coverage(of_classes: Sequence[conformal.Coverage]) -> conformal.Coverage:
    """Of shares, whose classes have an interval each, the mean over the classes."""
    return dataclasses.replace(
        of_classes[0],
        **{
            name: float(np.mean([getattr(coverage, name) for coverage in of_classes]))
            for name in ("by_block", "by_region", "radius")
        },
    )


def residuals(
    target: Target, prediction: Float[np.ndarray, "r ..."], scale: float | None
) -> Float[np.ndarray, "r ..."]:
    """Computes prediction - truth, on the scale of the head.

    Returns:
        [r] for numbers; [r k] for shares, and for classes with the truth as 0 and 1.
    """
    if target.label.kind == "class":
        known = np.where(target.known, target.values, 0).astype(np.int64)
        return prediction - np.eye(prediction.shape[1])[known]
    if target.label.kind == "share" or not target.log:
        return prediction - target.values
    return np.log1p(prediction / scale) - np.log1p(target.values / scale)


def conformal_scores(
    target: Target, prediction: Float[np.ndarray, "r ..."]
) -> Float[np.ndarray, "r ..."]:
    """Computes the scores for conformal intervals: how wrong each prediction is.

    Returns:
        [r] for numbers and classes, [r k] for shares; NaN where the truth is unknown.
    """
    known = target.known
    shape = prediction.shape if target.label.kind == "share" else prediction.shape[:1]
    scores = np.full(shape, np.nan)
    truth, predicted = target.values[known], prediction[known]
    if target.label.kind == "class":
        scores[known] = metrics.surprise(truth.astype(np.int64), predicted)
    else:
        scores[known] = conformal.number_scores(
            truth, predicted, log_scale=log_scale(target)
        )
    return scores


def log_scale(target: Target) -> float | None:
    """Returns the scale of the logarithms; None if heads predict the number itself."""
    return metrics.median_positive(target.values[target.known]) if target.log else None
