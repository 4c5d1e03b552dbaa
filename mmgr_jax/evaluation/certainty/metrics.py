"""How far predictions are from the truth: numbers, area shares and classes."""

from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks

EPSILON = 1e-6
"""Predicted shares below this value are set to it before a logarithm is taken."""

HIGHER_IS_BETTER = frozenset(
    {"r2", "r2_log", "spearman", "cosine", "accuracy", "macro_f1"}
)
"""For these metrics higher is better. All others are errors: 0 is perfect."""


def scalar(
    truth: Float[np.ndarray, " r"],
    prediction: Float[np.ndarray, " r"],
    *,
    log_scale: float | None = None,
) -> dict[str, float]:
    """Computes errors and correlations for labels with one number per region.

    Args:
        truth: Known values, in the label's unit. The caller leaves out (and counts)
            regions without a known value.
        prediction: Predictions for the same regions, in the same unit.
        log_scale: The s of the logarithms, above 0 and in the label's unit. None: the
            median of the positive values of `truth`. Give it if these regions are only
            a part of a city.

    Returns:
        mae       mean |prediction - truth|, in the label's unit
        rmse      root of the mean squared difference, in the label's unit
        r2        1 - squared error / squared deviation of the truth from its mean.
                  It is not clipped: it is below 0 if the mean of the truth is better
        spearman  rank correlation; equal values share their mean rank
        mape      mean |prediction - truth| / truth, 1 being 100 %, over the regions
                  with a truth above 0 (it is not defined at 0). NaN if a truth is
                  negative, because such a number has no natural zero, or if none is
                  positive. One nearly empty region can dominate it
        r2_log, rmse_log, mae_log    the same for log(1 + value / s), without a unit;
                  NaN if a value is at or below -s
        A value that is not defined (constant truth or prediction) is NaN.

    Raises:
        InputError: If there is no region, or a value is not finite.
    """
    _check_finite(truth, prediction)
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    error = prediction - truth
    scale = median_positive(truth) if log_scale is None else log_scale
    return {
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "r2": _r2(truth, prediction),
        "spearman": _spearman(truth, prediction),
        "mape": _mape(truth, error),
        **_on_log_scale(truth / scale, prediction / scale),
    }


def shares(
    truth: Float[np.ndarray, "r k"], prediction: Float[np.ndarray, "r k"]
) -> dict[str, float]:
    """Compares distributions over k classes by five measures, averaged over regions.

    For one region with truth t and prediction p:
        l1         sum |t - p|, from 0 (equal) to 2 (disjoint)
        kl         KL(t || p) = sum t log(t / max(p, EPSILON)), in nats. A class with
                   t = 0 adds nothing
        cosine     t . p / (|t| |p|), a similarity from 0 to 1; 0 for a zero vector
        chebyshev  max |t - p|
        canberra   sum |t - p| / (|t| + |p|), with 0 / 0 = 0. Every class has the same
                   weight, even a small one. So it is near k if truth has exact zeros

    Args:
        truth: Shares in 0 .. 1 that sum to one. The caller leaves out (and counts)
            regions without a known value.
        prediction: Predicted shares for the same regions.

    Returns:
        The mean of each measure, by its name.

    Raises:
        InputError: If there is no region, or a value is not finite.
    """
    per_region = shares_by_region(truth, prediction)
    return {name: float(np.mean(values)) for name, values in per_region.items()}


def shares_by_region(
    truth: Float[np.ndarray, "r k"], prediction: Float[np.ndarray, "r k"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Computes the measures of `shares` for each region, without averaging."""
    _check_finite(truth, prediction)
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    distance = np.abs(truth - prediction)
    total = np.abs(truth) + np.abs(prediction)
    norms = np.linalg.norm(truth, axis=1) * np.linalg.norm(prediction, axis=1)
    dot = np.sum(truth * prediction, axis=1)
    return {
        "l1": distance.sum(axis=1),
        "kl": kl(truth, prediction),
        "cosine": _ratio(dot, norms),
        "chebyshev": distance.max(axis=1),
        "canberra": _ratio(distance, total).sum(axis=1),
    }


def classes(
    truth: Int[np.ndarray, " r"], probability: Float[np.ndarray, "r k"]
) -> dict[str, float]:
    """Computes how well the class of each region is predicted.

    Args:
        truth: The class of each region, from 0 to k - 1.
        probability: Probability of each class. The class with the largest one is
            predicted; of equal ones, the first.

    Returns:
        accuracy  share of the regions whose class was predicted correctly
        macro_f1  F1 of each class, averaged over the classes that are true or
                  predicted somewhere. Rare and common classes have equal weight
        log_loss  mean -log max(probability of the true class, EPSILON), in nats

    Raises:
        InputError: If there is no region, a class is not among the k, or a
            probability is not finite.
    """
    _check_finite(truth, probability)
    _check_classes(truth, probability.shape[1])
    predicted = np.argmax(probability, axis=1)
    hit, true, predictions = class_counts(truth, predicted, probability.shape[1])
    occurs = true + predictions > 0
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "macro_f1": float(np.mean(2 * hit[occurs] / (true + predictions)[occurs])),
        "log_loss": float(np.mean(surprise(truth, probability))),
    }


def class_counts(
    truth: Int[np.ndarray, " r"], predicted: Int[np.ndarray, " r"], num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts correct predictions, true regions and predictions of each class [k]."""
    counted = (truth[truth == predicted], truth, predicted)
    hit, true, predictions = (
        np.bincount(values, minlength=num_classes) for values in counted
    )
    return hit, true, predictions


def surprise(
    truth: Int[np.ndarray, " r"], probability: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    """Computes -log(predicted probability of the true class) per region, in nats."""
    given = np.take_along_axis(probability, truth[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(given.astype(np.float64), EPSILON))


def kl(
    truth: Float[np.ndarray, "r k"], prediction: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    """Computes KL(truth || prediction) of each region in nats, as in `shares`."""
    ratio = np.where(truth > 0, truth, 1.0) / np.maximum(prediction, EPSILON)
    return np.sum(np.where(truth > 0, truth * np.log(ratio), 0.0), axis=1)


def median_positive(values: Float[np.ndarray, " r"]) -> float:
    """Returns the median of the positive values, or 1 if no value is positive.

    It is the scale of the logarithms.
    """
    positive = values[values > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def improvement(name: str, value: float, reference: float) -> float:
    """Computes how much better `value` of the metric `name` is than `reference`."""
    difference = value - reference
    return difference if name in HIGHER_IS_BETTER else -difference


def _check_finite(truth: np.ndarray, prediction: np.ndarray) -> None:
    if not len(truth):
        raise InputError(
            "metrics of 0 regions are not defined: no region has a known label. "
            "Check the label's coverage in the manifest."
        )
    for name, values in (("truth", truth), ("prediction", prediction)):
        checks.finite(name, values, checks.KNOWN_LABELS)


def _check_classes(truth: np.ndarray, num_classes: int) -> None:
    if truth.min() < 0 or truth.max() >= num_classes:
        raise InputError(
            f"classes {truth.min()} to {truth.max()}, but there are probabilities of "
            f"{num_classes}, from 0 to {num_classes - 1}. Leave out regions without a "
            "label, and predict every class."
        )


def _r2(truth: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(truth) == 0:
        return float("nan")
    deviation = np.sum((truth - truth.mean()) ** 2)
    return float(1.0 - np.sum((prediction - truth) ** 2) / deviation)


def _mape(truth: np.ndarray, error: np.ndarray) -> float:
    positive = truth > 0
    if truth.min() < 0 or not positive.any():
        return float("nan")
    return float(np.mean(np.abs(error[positive]) / truth[positive]))


def _on_log_scale(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    if min(truth.min(), prediction.min()) <= -1:
        return dict.fromkeys(("r2_log", "rmse_log", "mae_log"), float("nan"))
    truth, prediction = np.log1p(truth), np.log1p(prediction)
    error = prediction - truth
    return {
        "r2_log": _r2(truth, prediction),
        "rmse_log": float(np.sqrt(np.mean(error**2))),
        "mae_log": float(np.mean(np.abs(error))),
    }


def _spearman(truth: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return float("nan")
    ranked = cast(Any, stats.spearmanr(truth, prediction))  # a class made at run time
    return float(ranked.statistic)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, 0 where the denominator is 0."""
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, numerator / safe, 0.0)
