"""Which regions are unlike all that heads were trained on: the area of applicability.

Errors measured by cross-validation are those of regions like the training ones. A
region farther from these, in feature space, than any of them is from the other folds
was never tested, and its prediction and interval are a guess: maps should say so.

Reference:
    Meyer and Pebesma (2021), Methods in Ecology and Evolution 12(9):1620-1633.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks, distances

MANY = 8192
"""Of more labelled regions so many are drawn to stand for all: the distances to the
nearest, and the threshold, are of them alone."""

WHISKER = 1.5
"""Times the quartiles' distance above the upper one: farther ones are outliers."""


@dataclasses.dataclass(frozen=True)
class Applicability:
    """What is needed to tell how unlike the training regions a region is.

    Attributes:
        mean: Of each feature over the training regions, [f].
        factor: What the difference from the mean is multiplied by: the weight of the
            feature over its deviation, 0 for a constant one, [f].
        training: The training regions' features on that scale, [t f].
        mean_distance: Mean distance between two of them.
        threshold: Largest dissimilarity of a training region from the other folds,
            outliers apart: a region above it is outside.
    """

    mean: Float[np.ndarray, " f"]
    factor: Float[np.ndarray, " f"]
    training: Float[np.ndarray, "t f"]
    mean_distance: float
    threshold: float

    def index(self, features: Float[np.ndarray, "r _"]) -> Float[np.ndarray, " r"]:
        """Dissimilarity index: distance to the nearest training region.

        In units of the mean distance between training regions: 0 for a training region
        itself, and about 1 for what is no more like any of them than they are like
        each other.

        Raises:
            InputError: If there are not as many features as in training.
        """
        if features.shape[1] != len(self.mean):
            raise InputError(
                f"dissimilarity of regions with {features.shape[1]} features from "
                f"training regions with {len(self.mean)}: take the features that the "
                "heads were trained on."
            )
        scaled = ((features - self.mean) * self.factor).astype(np.float32)
        return _nearest(scaled, self.training) / self.mean_distance

    def outside(self, features: Float[np.ndarray, "r _"]) -> Bool[np.ndarray, " r"]:
        """Regions that are more unlike the training ones than was ever tested."""
        return self.index(features) > self.threshold


def fit(
    features: Float[np.ndarray, "t f"],
    fold: Int[np.ndarray, " t"],
    *,
    weight: Float[np.ndarray, " f"] | None = None,
    most: int = 4096,
    seed: int = 0,
) -> Applicability:
    """Learns what the training regions are like, and how unlike each other.

    Args:
        features: Features of the labelled regions.
        fold: Fold of each, by spatial blocks: the threshold is the dissimilarity that
            heads were tested at, so that of random folds would be too small.
        weight: Importance of each feature for the heads, 0 or more; None for equal.
        most: Regions to draw for the mean distance, where there are more.
        seed: Seed of the draw.

    Raises:
        InputError: If there are fewer than two folds, a feature is not finite, or all
            regions are the same.
    """
    _check(features, fold)
    x = features.astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    varies = deviation > checks.CONSTANT * np.abs(mean)
    factor = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    if weight is not None:
        factor = factor * weight
    training = ((x - mean) * factor).astype(np.float32)
    mean_distance = _mean_distance(training, most, seed)
    if mean_distance == 0:
        raise InputError(
            f"dissimilarity: all {len(features)} training regions have the same "
            "features. Check the checkpoint: the encoder may have collapsed."
        )
    nearest = np.empty(len(training))
    for tested in np.unique(fold):
        inside = fold == tested
        nearest[inside] = _nearest(training[inside], training[~inside])
    index = nearest / mean_distance
    lower, upper = np.quantile(index, [0.25, 0.75])
    threshold = index[index <= upper + WHISKER * (upper - lower)].max()
    return Applicability(mean, factor, training, mean_distance, float(threshold))


def _nearest(
    x: Float[np.ndarray, "m f"], training: Float[np.ndarray, "t f"]
) -> Float[np.ndarray, " m"]:
    """Distance of each row to the nearest training row."""
    nearest = np.empty(len(x))
    for block in distances.row_blocks(len(x), len(training)):
        nearest[block] = distances.squared(x[block], training).min(axis=1)
    return np.sqrt(nearest)


def _mean_distance(training: np.ndarray, most: int, seed: int) -> float:
    """Mean distance between two different rows, of at most so many."""
    if len(training) > most:
        rng = np.random.default_rng(seed)
        training = training[rng.choice(len(training), most, replace=False)]
    total = 0.0
    for block in distances.row_blocks(len(training), len(training)):
        apart = np.sqrt(distances.squared(training[block], training))
        rows = np.arange(len(apart))
        apart[rows, rows + block.start] = 0.0  # but for rounding
        total += float(apart.sum(dtype=np.float64))
    return total / (len(training) * (len(training) - 1))


def _check(features: np.ndarray, fold: np.ndarray) -> None:
    if len(np.unique(fold)) < 2:
        raise InputError(
            "dissimilarity needs at least two folds with labelled regions; there are "
            f"{len(np.unique(fold))}."
        )
    checks.finite("dissimilarity: features", features, checks.GOOD_FEATURES)
