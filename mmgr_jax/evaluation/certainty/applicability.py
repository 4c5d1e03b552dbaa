"""Which regions are unlike all training regions: the area of applicability.

Cross-validation measures errors of regions that are similar to the training regions.
In feature space, a region can be farther from the training regions than any of them is
from the other folds. No such region was tested. So its prediction and its interval are
a guess, and maps should say so.

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
"""If there are more labelled regions, this many are drawn. Only these are used for the
threshold and for distances to the nearest region."""

WHISKER = 1.5
"""Outliers lie more than this many interquartile ranges above the upper quartile."""


@dataclasses.dataclass(frozen=True)
class Applicability:
    """Measures how dissimilar regions are from the training regions.

    Attributes:
        mean: Mean of each feature over the training regions, [f].
        factor: Factor of each feature's difference from the mean: its weight divided
            by its standard deviation, 0 for a constant feature, [f].
        training: Features of the training regions on that scale, [t f].
        mean_distance: Mean distance between two training regions.
        threshold: Largest dissimilarity of a training region from the other folds,
            without outliers. Regions above it are outside the area of applicability.
    """

    mean: Float[np.ndarray, " f"]
    factor: Float[np.ndarray, " f"]
    training: Float[np.ndarray, "t f"]
    mean_distance: float
    threshold: float

    def index(self, features: Float[np.ndarray, "r _"]) -> Float[np.ndarray, " r"]:
        """Computes the dissimilarity index: distance to the nearest training region.

        The unit is the mean distance between training regions. The index is 0 for a
        training region. It is about 1 for a region as far from the nearest training
        region as training regions are from each other on average.

        Raises:
            InputError: If the number of features differs from training.
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
        """Finds the regions whose dissimilarity index is above the threshold."""
        return self.index(features) > self.threshold


def fit(
    features: Float[np.ndarray, "t f"],
    fold: Int[np.ndarray, " t"],
    *,
    weight: Float[np.ndarray, " f"] | None = None,
    most: int = 4096,
    seed: int = 0,
) -> Applicability:
    """Computes the scale, mean distance and threshold from the training regions.

    Args:
        features: Features of the labelled regions.
        fold: Fold of each region, by spatial blocks. The threshold is the dissimilarity
            at which heads were tested. With random folds it would be too small.
        weight: Importance of each feature for the heads, 0 or more; None: all equal.
        most: Largest number of regions for the mean distance. If there are more, this
            many are drawn at random.
        seed: Random seed of the draw.

    Raises:
        InputError: If there are fewer than two folds, a feature is not finite, or all
            regions have the same features.
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
    """Mean distance between two different rows; of at most `most` rows."""
    if len(training) > most:
        rng = np.random.default_rng(seed)
        training = training[rng.choice(len(training), most, replace=False)]
    total = 0.0
    for block in distances.row_blocks(len(training), len(training)):
        apart = np.sqrt(distances.squared(training[block], training))
        rows = np.arange(len(apart))
        apart[rows, rows + block.start] = 0.0  # rounding can leave other values
        total += float(apart.sum(dtype=np.float64))
    return total / (len(training) * (len(training) - 1))


def _check(features: np.ndarray, fold: np.ndarray) -> None:
    if len(np.unique(fold)) < 2:
        raise InputError(
            "dissimilarity needs at least two folds with labelled regions; there are "
            f"{len(np.unique(fold))}."
        )
    checks.finite("dissimilarity: features", features, checks.GOOD_FEATURES)
