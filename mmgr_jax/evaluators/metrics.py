"""How far predictions are from the truth, for numbers and for area shares."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from mmgr_jax.errors import InputError

EPSILON = 1e-6
"""A predicted share below this counts as this much where a logarithm is taken."""

HIGHER_IS_BETTER = frozenset({"r2", "r2_log", "spearman", "cosine"})
"""All other metrics are errors: lower is better, 0 is perfect."""


def scalar(
    truth: Float[np.ndarray, " r"],
    prediction: Float[np.ndarray, " r"],
    *,
    log_scale: float | None = None,
) -> dict[str, float]:
    """Errors and correlations of one number a region.

    Args:
        truth: Known values, in the label's unit; regions without one are left out
            (and counted) by the caller.
        prediction: Predictions of the same regions, same unit.
        log_scale: The s of `r2_log`, above 0 and in the label's unit; None for the
            median of the positive values of `truth`. Given when these regions are a
            part of a city.

    Returns:
        mae       mean |prediction - truth|, in the label's unit
        rmse      root of the mean squared difference, in the label's unit
        r2        1 - squared error / squared deviation of the truth from its mean;
                  not clipped, so worse than that mean is below 0
        spearman  rank correlation, ties share their mean rank
        r2_log    r2 of log(1 + value / s), whatever the unit; NaN where a value is
                  at or below -s
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
        "r2_log": _r2_log(truth / scale, prediction / scale),
    }


def shares(
    truth: Float[np.ndarray, "r k"], prediction: Float[np.ndarray, "r k"]
) -> dict[str, float]:
    """Distances between distributions over k classes, each averaged over regions.

    With t the truth and p the prediction of one region:
        l1         sum |t - p|, in 0 (equal) .. 2 (disjoint)
        kl         KL(t || p) = sum t log(t / max(p, EPSILON)), in nats; a class with
                   t = 0 adds nothing, so only classes that are there can cost
        cosine     t . p / (|t| |p|), a similarity in 0 .. 1; 0 for a zero vector
        chebyshev  max |t - p|
        canberra   sum |t - p| / (|t| + |p|), 0 / 0 = 0; every class weighs the same,
                   however small, so it is near k wherever truth has exact zeros

    Args:
        truth: Shares in 0 .. 1 that sum to one; regions without truth are left out
            (and counted) by the caller.
        prediction: Predicted shares of the same regions.

    Returns:
        The five means.

    Raises:
        InputError: If there is no region, or a value is not finite.
    """
    _check_finite(truth, prediction)
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    distance = np.abs(truth - prediction)
    total = np.abs(truth) + np.abs(prediction)
    norms = np.linalg.norm(truth, axis=1) * np.linalg.norm(prediction, axis=1)
    dot = np.sum(truth * prediction, axis=1)
    per_region = {
        "l1": distance.sum(axis=1),
        "kl": kl(truth, prediction),
        "cosine": _ratio(dot, norms),
        "chebyshev": distance.max(axis=1),
        "canberra": _ratio(distance, total).sum(axis=1),
    }
    return {name: float(np.mean(values)) for name, values in per_region.items()}


def kl(
    truth: Float[np.ndarray, "r k"], prediction: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    """KL(truth || prediction) of each region in nats, rules as in `shares`."""
    ratio = np.where(truth > 0, truth, 1.0) / np.maximum(prediction, EPSILON)
    return np.sum(np.where(truth > 0, truth * np.log(ratio), 0.0), axis=1)


def median_positive(values: Float[np.ndarray, " r"]) -> float:
    """Median of the positive values, the scale of logarithms; 1 if there is none."""
    positive = values[values > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def improvement(name: str, value: float, reference: float) -> float:
    """How much better `value` of the metric `name` is than `reference`."""
    difference = value - reference
    return difference if name in HIGHER_IS_BETTER else -difference


def _check_finite(truth: np.ndarray, prediction: np.ndarray) -> None:
    if not len(truth):
        raise InputError(
            "metrics of 0 regions are not defined: no region has a known label. "
            "Check the label's coverage in the manifest."
        )
    for name, values in (("truth", truth), ("prediction", prediction)):
        rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        if len(rows):
            raise InputError(
                f"{name}: {len(rows)} of {len(values)} regions are not finite, the "
                f"first in row {rows[0]}. Leave out regions without a label; every "
                "other region needs a prediction."
            )


def _r2(truth: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(truth) == 0:
        return float("nan")
    deviation = np.sum((truth - truth.mean()) ** 2)
    return float(1.0 - np.sum((prediction - truth) ** 2) / deviation)


def _r2_log(truth: np.ndarray, prediction: np.ndarray) -> float:
    if min(truth.min(), prediction.min()) <= -1:
        return float("nan")
    return _r2(np.log1p(truth), np.log1p(prediction))


def _spearman(truth: np.ndarray, prediction: np.ndarray) -> float:
    if np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return float("nan")
    return float(stats.spearmanr(truth, prediction).statistic)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, 0 where the denominator is 0."""
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, numerator / safe, 0.0)
