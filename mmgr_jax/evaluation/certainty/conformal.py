"""Intervals that hold the truth as often as they say: conformal, by spatial blocks.

A score says how far a prediction was from the truth of a region that its head had not
seen: out-of-fold, on the scale of the head. The radius is a quantile of these scores,
and an interval is all values whose score is within the radius.

Regions of a block have similar errors, so r regions locate a quantile less exactly than
r independent ones. The similarity is measured. The quantile is taken as far out as
split conformal takes it for the number of independent regions that they are worth
(`effective_number`). It lies between the number of blocks (all regions of a block have
the same error) and r (all errors are independent). Each block has the same weight.

Mean coverage of regions of blocks that no head had seen, in 200 simulated cities of 16
regions a block whose errors reach 0.5 to 3 regions far, for a level of 90 %:

    blocks   regions as if independent   blocks alone    here
        12                  89 to 90 %     95 to 97 %   90 to 91 %
        20                        90 %     94 to 95 %   90 to 92 %
        40                        90 %           92 %   90 to 91 %
        70                        90 %     91 to 92 %   90 to 91 %

"Blocks alone" is the hierarchical quantile (one more block that may score anything),
which promises its level whatever the distribution, at this price. The largest score of
each block instead, which promises whole blocks at once, held 97 to 99 % of regions.
The share in a single city has a deviation of 2 to 8 points all the same.

Scores come from cross-validation, each from the heads that had not seen its block, not
from one set of blocks kept aside: a city has too few. `held_out_coverage` measures
what a city's own intervals are worth.

Reference:
    Barber, Candes, Ramdas and Tibshirani (2021), Annals of Statistics 49(1):486-507,
    for scores of cross-validation; Kish (1965), Survey Sampling, for the effective
    number; Dunn, Wasserman and Ramdas (2023), JASA 118(544):2491-2502, for the
    hierarchical quantile.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks

LEVEL = 0.9


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth of regions that had no part in them.

    Attributes:
        level: What was promised.
        by_block: Share of a block's regions that were held, averaged over the blocks:
            what the promise is about. NaN where no radius was finite.
        by_region: Share of all regions that were held; NaN likewise.
        radius: Mean radius over the folds, on the scale of the scores; infinite where
            the other folds had too few blocks.
        num_blocks: Blocks with a labelled region.
        num_regions: Labelled regions.
    """

    level: float
    by_block: float
    by_region: float
    radius: float
    num_blocks: int
    num_regions: int


def radius(
    scores: Float[np.ndarray, "r ..."],
    block: Int[np.ndarray, " r"],
    *,
    level: float = LEVEL,
) -> float | Float[np.ndarray, " k"]:
    """The score that a region of another block stays within, with probability `level`.

    The least score at which the weights of the blocks reach level (1 + 1 / n), n being
    the effective number of regions for the ranks of the scores. With n below
    level / (1 - level), 9 for 90 %, they never do, and the radius is infinite: nothing
    can be promised. One block alone is worth one region.

    Args:
        scores: Scores of labelled regions by heads that had not seen them, [r], or
            [r k] for a radius of each class.
        block: Spatial block of each region; any numbers.
        level: Probability to be promised, in 0 .. 1.

    Returns:
        The radius, or one for each class [k].

    Raises:
        InputError: If there is no region, a score is not finite, or the level is not
            between 0 and 1.
    """
    _check(scores, block, level)
    if scores.ndim > 1:
        return np.array([radius(column, block, level=level) for column in scores.T])
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    weight = 1.0 / (sizes[member] * len(sizes))
    number = effective_number(stats.rankdata(scores), block)
    return _weighted_quantile(scores, weight, level * (1 + 1 / number))


def effective_number(
    values: Float[np.ndarray, " r"], block: Int[np.ndarray, " r"]
) -> float:
    """How many independent regions have a mean as certain as these have.

    r / (1 + (m - 1) rho), with the intraclass correlation rho by analysis of variance,
    kept within 0 .. 1, and m the mean number of regions in the block of a region. So
    it lies between r and about the number of blocks; one block counts as one region.

    Args:
        values: A number for each region.
        block: Spatial block of each region.
    """
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    num_regions, num_blocks = len(values), len(sizes)
    if num_blocks == 1:
        return 1.0
    size_of_region = np.sum(sizes**2) / num_regions
    correlation = _intraclass_correlation(values, member, sizes)
    return float(num_regions / (1 + (size_of_region - 1) * correlation))


def held_out_coverage(
    scores: Float[np.ndarray, " r"],
    block: Int[np.ndarray, " r"],
    fold: Int[np.ndarray, " r"],
    *,
    level: float = LEVEL,
) -> Coverage:
    """Coverage of each fold's regions by the radius that the other folds give.

    Args:
        scores: Scores of labelled regions, out of fold.
        block: Spatial block of each region.
        fold: Fold of each region; no block should lie in two of them. With random
            folds neighbours do, and the coverage flatters.
        level: Probability that is promised.

    Raises:
        InputError: As for `radius`, or if there is one fold alone.
    """
    names = np.unique(fold)
    if len(names) < 2:
        raise InputError(
            "conformal coverage needs at least two folds with labelled regions; "
            f"there are {len(names)}."
        )
    limit = np.empty(len(scores))
    radii = []
    for tested in names:
        rest = fold != tested
        radii.append(radius(scores[rest], block[rest], level=level))
        limit[~rest] = radii[-1]
    held = scores <= limit
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    known = bool(np.isfinite(radii).any())
    of_block = np.bincount(member, weights=held) / sizes
    return Coverage(
        level=level,
        by_block=float(of_block.mean()) if known else float("nan"),
        by_region=float(held.mean()) if known else float("nan"),
        radius=float(np.mean(radii)),
        num_blocks=len(sizes),
        num_regions=len(scores),
    )


def number_scores(
    truth: Float[np.ndarray, "r ..."],
    prediction: Float[np.ndarray, "r ..."],
    *,
    log_scale: float | None = None,
) -> Float[np.ndarray, "r ..."]:
    """|prediction - truth|, or that of log(1 + value / s).

    Args:
        truth: Known values in the label's unit, or shares [r k].
        prediction: Out-of-fold predictions, same unit.
        log_scale: The s of a head on logarithms, in the label's unit; None for a head
            in the label's unit. Any one s will do, as long as the interval takes the
            same: the median of the positive labels is a good one.
    """
    scaled = [_to_scale(values, log_scale) for values in (truth, prediction)]
    return np.abs(scaled[1] - scaled[0])


def number_interval(
    prediction: Float[np.ndarray, " r"],
    radius: float,
    *,
    log_scale: float | None = None,
) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
    """Limits of each prediction in the label's unit, of scores by `number_scores`.

    On a log scale intervals are wide where values are large, and stop at 0.

    Returns:
        Low and high; infinite where the radius is.
    """
    centre = _to_scale(prediction, log_scale)
    low, high = centre - radius, centre + radius
    if log_scale is None:
        return low, high
    return (
        log_scale * np.expm1(np.maximum(low, 0.0)),
        log_scale * np.expm1(high),
    )


def share_bands(
    prediction: Float[np.ndarray, "r k"], radius: Float[np.ndarray, " k"]
) -> tuple[Float[np.ndarray, "r k"], Float[np.ndarray, "r k"]]:
    """Band of each class's share, within 0 .. 1.

    Each class is held with the promised probability by itself, not all of them at
    once.
    """
    return np.maximum(prediction - radius, 0.0), np.minimum(prediction + radius, 1.0)


def _to_scale(values: np.ndarray, log_scale: float | None) -> np.ndarray:
    values = values.astype(np.float64)
    return values if log_scale is None else np.log1p(values / log_scale)


def _intraclass_correlation(
    values: np.ndarray, member: np.ndarray, sizes: np.ndarray
) -> float:
    """Share of the variance that lies between groups, by one-way analysis of variance.

    0 where nothing varies, or where groups differ less than by chance.
    """
    num_values, num_groups = len(values), len(sizes)
    mean = np.bincount(member, weights=values) / sizes
    between = np.sum(sizes * (mean - values.mean()) ** 2) / (num_groups - 1)
    within = np.sum((values - mean[member]) ** 2) / max(num_values - num_groups, 1)
    size = (num_values - np.sum(sizes**2) / num_values) / (num_groups - 1)
    total = between + (size - 1) * within
    return float(np.clip((between - within) / total, 0, 1)) if total > 0 else 0.0


def _weighted_quantile(scores: np.ndarray, weight: np.ndarray, level: float) -> float:
    """Least score at which the weights add up to the level; infinite if they do not."""
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weight[order]) >= level - 1e-12
    return float(scores[order[np.argmax(reached)]]) if reached.any() else math.inf


def _check(scores: np.ndarray, block: np.ndarray, level: float) -> None:
    if not 0 < level < 1:
        raise InputError(
            f"conformal intervals of level {level}: give a probability above 0 and "
            "below 1, such as 0.9."
        )
    if not len(scores) or len(scores) != len(block):
        raise InputError(
            f"conformal intervals from scores of {len(scores)} regions in blocks of "
            f"{len(block)}: take the labelled regions of both, at least one."
        )
    checks.finite("conformal scores", scores, checks.KNOWN_LABELS)
