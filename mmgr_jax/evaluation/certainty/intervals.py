"""How certain a metric is: intervals from resamples of whole spatial blocks.

Neighbouring regions have similar errors, so a thousand of them tell less than a
thousand independent ones. Therefore whole blocks are resampled, each with all its
regions. The intervals say what another sample of blocks of this city would change. The
heads are not fitted again. So the intervals do not include how much results depend on
the training regions, or on the seed of the pre-training (`spread`).

Plain percentiles are too narrow if there are few blocks, so they are taken further out
(`widened`). 95 % intervals of a mean, simulated in 1,000 cities, contained it in

    blocks   normal: plain  widened   exponential: plain  widened
         4           79 %     87 %                 74 %     82 %
         6           86 %     93 %                 82 %     89 %
        10           91 %     95 %                 85 %     90 %
        20           93 %     95 %                 89 %     92 %
        50           94 %     95 %                 94 %     94 %
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse, stats

from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.settings import CertaintySettings

LEVEL = CertaintySettings().level
CHUNK = 2_000_000
"""Weights in memory at a time, for metrics that need each region of each resample."""

Samples = dict[str, Float[np.ndarray, " n"]]
"""Metric -> its value in each of n resamples; NaN if it is not defined there."""


@dataclasses.dataclass(frozen=True)
class BlockDraws:
    """Resamples of whole blocks, drawn with replacement.

    Attributes:
        member: Block of each region [r], from 0.
        counts: How often each of the n resamples contains each of the b blocks.
    """

    member: Int[np.ndarray, " r"]
    counts: Int[np.ndarray, "n b"]

    @property
    def num_blocks(self) -> int:
        """Number of blocks from which resamples are drawn."""
        return self.counts.shape[1]

    def rows(self, index: int) -> Int[np.ndarray, " _"]:
        """Returns the regions of one resample, each as often as it was drawn."""
        return np.repeat(np.arange(len(self.member)), self.counts[index][self.member])

    def every(self, step: int, start: int) -> BlockDraws:
        """Returns every `step`-th resample, beginning with number `start`."""
        return BlockDraws(self.member, self.counts[start::step])

    def sums(self, values: Float[np.ndarray, "r m"]) -> Float[np.ndarray, "n m"]:
        """Sums the values of all regions in each resample."""
        num_regions = len(self.member)
        sort = sparse.csr_array(
            (np.ones(num_regions), (self.member, np.arange(num_regions))),
            shape=(self.num_blocks, num_regions),
        )
        return self.counts @ (sort @ values)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its interval from resampling.

    Attributes:
        estimate: The value.
        low: Lower limit.
        high: Upper limit.
        positive: Share of the resamples in which a difference is above 0, so that the
            first method is better. NaN if the value is no difference.
    """

    estimate: float
    low: float
    high: float
    positive: float = float("nan")

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0. False for NaN limits."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Spread:
    """A value over several seeds; the divisor of `deviation` is `count` - 1."""

    mean: float
    deviation: float
    lowest: float
    highest: float
    count: int


def draw(block: Int[np.ndarray, " r"], *, num: int = 1000, seed: int = 0) -> BlockDraws:
    """Draws resamples of spatial blocks, with replacement.

    Each resample has as many blocks as the data.

    Args:
        block: Spatial block of each labelled region; any numbers.
        num: Number of resamples. With 1,000, a 95 % limit is exact to about a
            twentieth of the interval.
        seed: Random seed. Methods are compared on the same draws.
    """
    names, member = np.unique(block, return_inverse=True)
    even = np.full(len(names), 1.0 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), even, size=num)
    return BlockDraws(member, counts)


def scalar(
    truth: Float[np.ndarray, " r"],
    prediction: Float[np.ndarray, " r"],
    draws: BlockDraws,
    *,
    log_scale: float | None = None,
) -> Samples:
    """Computes `metrics.scalar` for every resample of the labelled regions.

    The scale of the logarithms comes from all regions and is the same in every
    resample.
    """
    truth, prediction = truth.astype(np.float64), prediction.astype(np.float64)
    scale = metrics.median_positive(truth) if log_scale is None else log_scale
    plain = _errors(truth, prediction, draws)
    logs = dict.fromkeys(("r2", "rmse", "mae"), np.full(len(draws.counts), np.nan))
    if min(truth.min(), prediction.min()) > -scale:
        logs = _errors(np.log1p(truth / scale), np.log1p(prediction / scale), draws)
    return {
        "mae": plain["mae"],
        "rmse": plain["rmse"],
        "r2": plain["r2"],
        "spearman": _spearman(truth, prediction, draws),
        "mape": _mape(truth, prediction, draws),
        **{f"{name}_log": logs[name] for name in ("r2", "rmse", "mae")},
    }


def shares(
    truth: Float[np.ndarray, "r k"],
    prediction: Float[np.ndarray, "r k"],
    draws: BlockDraws,
) -> Samples:
    """Computes `metrics.shares` for every resample."""
    by_region = metrics.shares_by_region(truth, prediction)
    sums = draws.sums(np.stack([*by_region.values(), np.ones(len(truth))], axis=1))
    return {name: sums[:, i] / sums[:, -1] for i, name in enumerate(by_region)}


def classes(
    truth: Int[np.ndarray, " r"],
    probability: Float[np.ndarray, "r k"],
    draws: BlockDraws,
) -> Samples:
    """Computes `metrics.classes` for every resample."""
    true = np.eye(probability.shape[1])[truth]
    predicted = np.eye(probability.shape[1])[probability.argmax(axis=1)]
    hits, trues, predictions = (
        draws.sums(ones) for ones in (true * predicted, true, predicted)
    )
    occurs = trues + predictions > 0
    f1 = np.where(occurs, 2 * hits / np.where(occurs, trues + predictions, 1), 0.0)
    number = trues.sum(axis=1)
    surprise = draws.sums(metrics.surprise(truth, probability)[:, None])[:, 0]
    return {
        "accuracy": hits.sum(axis=1) / number,
        "macro_f1": f1.sum(axis=1) / occurs.sum(axis=1),
        "log_loss": surprise / number,
    }


def repeat(
    metric: Callable[[Int[np.ndarray, " _"]], float], draws: BlockDraws
) -> Float[np.ndarray, " n"]:
    """Computes any metric (rows of regions -> value) for every resample, in turn."""
    return np.array([metric(draws.rows(i)) for i in range(len(draws.counts))])


def interval(
    estimate: float,
    samples: Float[np.ndarray, " n"],
    *,
    num_blocks: int | None = None,
    level: float = LEVEL,
) -> Interval:
    """Computes the percentile interval of a metric.

    Resamples in which the metric is not defined are left out. The limits are NaN if
    no resample remains, or if nothing varies because all regions lie in one block.

    Args:
        estimate: The metric over all regions.
        samples: The metric of each resample.
        num_blocks: `BlockDraws.num_blocks`. With few blocks the limits are taken
            further out (`widened`). None for plain percentiles.
        level: How often such intervals should contain the true value.
    """
    known = samples[np.isfinite(samples)]
    if not len(known) or np.ptp(known) == 0 or num_blocks == 1:
        return Interval(estimate, float("nan"), float("nan"))
    level = level if num_blocks is None else widened(level, num_blocks)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def widened(level: float, num_blocks: int) -> float:
    """Computes which percentile level makes the interval of a mean a Student interval.

    The deviation of resamples of b blocks is too small by sqrt((b - 1) / b). And a
    normal distribution with a deviation estimated from b values has too short tails.

    Args:
        level: Level to reach.
        num_blocks: Blocks, at least two.

    Reference:
        Hesterberg (2015), The American Statistician 69(4):371-386, "expanded
        percentile interval".
    """
    student = stats.t.ppf((1 + level) / 2, num_blocks - 1)
    expanded = np.sqrt(num_blocks / (num_blocks - 1)) * student
    return float(2 * stats.norm.cdf(expanded) - 1)


def difference(
    metric: str,
    ours: tuple[float, Float[np.ndarray, " n"]],
    reference: tuple[float, Float[np.ndarray, " n"]],
    *,
    num_blocks: int | None = None,
    level: float = LEVEL,
) -> Interval:
    """Computes how much better one method is than another, paired by resample.

    Args:
        metric: Name of the metric. It decides whether higher or lower is better.
        ours: Estimate and samples of the first method.
        reference: Estimate and samples of the other method, from the same draws.
        num_blocks: As for `interval`.
        level: As for `interval`.

    Returns:
        The difference. For every metric it is above 0 if `ours` is better.
    """
    sign = metrics.improvement(metric, 1.0, 0.0)
    estimate = sign * (ours[0] - reference[0])
    samples = sign * (ours[1] - reference[1])
    paired = interval(estimate, samples, num_blocks=num_blocks, level=level)
    known = samples[np.isfinite(samples)]
    positive = float(np.mean(known > 0)) if len(known) else float("nan")
    return dataclasses.replace(paired, positive=positive)


def spread(values: Sequence[float]) -> Spread:
    """Summarises a value over seeds. The deviation is NaN for a single seed."""
    known = np.asarray(values, np.float64)
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")
    return Spread(
        float(known.mean()),
        deviation,
        float(known.min()),
        float(known.max()),
        len(known),
    )


def _errors(truth: np.ndarray, prediction: np.ndarray, draws: BlockDraws) -> Samples:
    error = prediction - truth
    centred = truth - truth.mean()  # sums of squares would lose digits otherwise
    columns = (np.ones(len(truth)), np.abs(error), error**2, centred, centred**2)
    number, absolute, squared, first, second = draws.sums(np.stack(columns, axis=1)).T
    deviation = second - first**2 / number
    constant = deviation <= 1e-12 * np.maximum(second, np.finfo(float).tiny)
    return {
        "mae": absolute / number,
        "rmse": np.sqrt(squared / number),
        "r2": np.where(
            constant, np.nan, 1 - squared / np.where(constant, 1, deviation)
        ),
    }


def _mape(truth: np.ndarray, prediction: np.ndarray, draws: BlockDraws) -> np.ndarray:
    positive = truth > 0
    safe = np.where(positive, truth, 1.0)
    relative = np.where(positive, np.abs(prediction - truth) / safe, 0.0)
    columns = (relative, positive, truth < 0)
    total, number, negative = draws.sums(np.stack(columns, axis=1).astype(float)).T
    defined = (number > 0) & (negative == 0)
    return np.where(defined, total / np.maximum(number, 1), np.nan)


def _spearman(
    truth: np.ndarray, prediction: np.ndarray, draws: BlockDraws
) -> np.ndarray:
    """Rank correlation of every resample, from regions weighted by their counts."""
    ranked = [
        functools.partial(_ranks, _order(values)) for values in (truth, prediction)
    ]
    size = max(1, CHUNK // len(truth))
    parts = []
    for start in range(0, len(draws.counts), size):
        weight = draws.counts[start : start + size][:, draws.member].astype(np.float64)
        total = weight.sum(axis=1, keepdims=True)
        # The mean rank is known, whatever the ties.
        x, y = (ranks(weight) - (total + 1) / 2 for ranks in ranked)
        xy, xx, yy = (
            np.einsum("nr,nr,nr->n", weight, a, b) for a, b in ((x, y), (x, x), (y, y))
        )
        norm = np.sqrt(xx * yy)
        parts.append(np.where(norm > 0, xy / np.where(norm > 0, norm, 1), np.nan))
    return np.concatenate(parts)


def _order(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorting rows [r], where each group of equal values starts, group of each row."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.argsort(values, kind="stable"), np.cumsum(counts) - counts, group


def _ranks(
    order: tuple[np.ndarray, np.ndarray, np.ndarray], weight: np.ndarray
) -> np.ndarray:
    """Mean rank of each region among its resample [n r]."""
    rows, starts, group = order
    sizes = np.add.reduceat(weight[:, rows], starts, axis=1)
    return (np.cumsum(sizes, axis=1) - sizes + (sizes + 1) / 2)[:, group]
