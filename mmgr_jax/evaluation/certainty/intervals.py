"""How sure a metric is: resamples of whole spatial blocks, differences, seeds.

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
"""Weights held at a time where a metric needs every region of every resample."""

Samples = dict[str, Float[np.ndarray, " n"]]
"""Metric -> its value in each of n resamples, NaN where it is not defined there."""


@dataclasses.dataclass(frozen=True)
class BlockDraws:
    """Resamples of whole blocks, drawn with replacement.

    Attributes:
        member: Block of each region [r], from 0.
        counts: How often each resample [n] holds each block [b].
    """

    member: Int[np.ndarray, " r"]
    counts: Int[np.ndarray, "n b"]

    @property
    def num_blocks(self) -> int:
        """Blocks that were drawn from."""
        return self.counts.shape[1]

    def rows(self, index: int) -> Int[np.ndarray, " _"]:
        """Regions of one resample, repeated as drawn: for any metric whatever."""
        return np.repeat(np.arange(len(self.member)), self.counts[index][self.member])

    def every(self, step: int, start: int) -> BlockDraws:
        """Every so many of the resamples, from one of the first on."""
        return BlockDraws(self.member, self.counts[start::step])

    def sums(self, values: Float[np.ndarray, "r m"]) -> Float[np.ndarray, "n m"]:
        """Sum of the values of all regions of each resample."""
        num_regions = len(self.member)
        sort = sparse.csr_array(
            (np.ones(num_regions), (self.member, np.arange(num_regions))),
            shape=(self.num_blocks, num_regions),
        )
        return self.counts @ (sort @ values)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the range that resampling gives it.

    Attributes:
        estimate: The value.
        low: Lower limit; likewise `high`.
        high: Upper limit.
        positive: Share of the resamples in which it is above 0: of a difference, in
            which the first method is better.
    """

    estimate: float
    low: float
    high: float
    positive: float = float("nan")

    @property
    def excludes_zero(self) -> bool:
        """Whether all of the interval lies on one side of 0; not if it is NaN."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True)
class Spread:
    """One value over several seeds; `deviation` has n - 1 in the divisor."""

    mean: float
    deviation: float
    lowest: float
    highest: float
    count: int


def draw(block: Int[np.ndarray, " r"], *, num: int = 1000, seed: int = 0) -> BlockDraws:
    """Draws as many blocks as there are, `num` times.

    Args:
        block: Spatial block of each labelled region; any numbers.
        num: Resamples; 1,000 place a 95 % limit to about a twentieth of the interval.
        seed: Seed of the draws. Methods are compared on the same draws.
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
    """`metrics.scalar` of every resample, for the labelled regions.

    The scale of logarithms is that of all regions, in every resample.
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
    """`metrics.shares` of every resample."""
    by_region = metrics.shares_by_region(truth, prediction)
    sums = draws.sums(np.stack([*by_region.values(), np.ones(len(truth))], axis=1))
    return {name: sums[:, i] / sums[:, -1] for i, name in enumerate(by_region)}


def classes(
    truth: Int[np.ndarray, " r"],
    probability: Float[np.ndarray, "r k"],
    draws: BlockDraws,
) -> Samples:
    """`metrics.classes` of every resample."""
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
    """Any metric of every resample, one at a time: rows of regions -> value."""
    return np.array([metric(draws.rows(i)) for i in range(len(draws.counts))])


def interval(
    estimate: float,
    samples: Float[np.ndarray, " n"],
    *,
    num_blocks: int | None = None,
    level: float = LEVEL,
) -> Interval:
    """Percentile interval of a metric.

    Resamples where the metric is not defined are left out; if there is no other, or
    all regions lie in one block, so that nothing varies, the limits are NaN.

    Args:
        estimate: The metric of all regions.
        samples: The metric of each resample.
        num_blocks: Blocks drawn from, `BlockDraws.num_blocks`: with few of them
            the limits are taken further out (`widened`). None for plain percentiles.
        level: How often such intervals should hold the truth.
    """
    known = samples[np.isfinite(samples)]
    if not len(known) or np.ptp(known) == 0 or num_blocks == 1:
        return Interval(estimate, float("nan"), float("nan"))
    level = level if num_blocks is None else widened(level, num_blocks)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def widened(level: float, num_blocks: int) -> float:
    """Level of the percentiles that give a mean of so many blocks a Student interval.

    Resamples of b blocks vary by sqrt((b - 1) / b) too little, and a normal
    distribution is too short for a deviation that was estimated from b values.

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
    """How much better one method is than another on the same resamples, paired.

    Args:
        metric: Name of the metric, which says what is better.
        ours: Its estimate and its samples.
        reference: Those of the other method, from the same draws.
        num_blocks: As for `interval`.
        level: As for `interval`.

    Returns:
        The difference; above 0 where ours is better, whatever the metric.
    """
    sign = metrics.improvement(metric, 1.0, 0.0)
    estimate = sign * (ours[0] - reference[0])
    samples = sign * (ours[1] - reference[1])
    paired = interval(estimate, samples, num_blocks=num_blocks, level=level)
    known = samples[np.isfinite(samples)]
    positive = float(np.mean(known > 0)) if len(known) else float("nan")
    return dataclasses.replace(paired, positive=positive)


def spread(values: Sequence[float]) -> Spread:
    """How far a value differs over seeds; NaN deviation for a single one."""
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
