"""Category vectors by skip-gram with negative sampling and a hierarchy term.

Reference: Huang et al. (2022), doi 10.1080/13658816.2022.2040510. With s_ij = t_i . c_j
for the target vector of category i and the context vector of category j, a pair (i, j)
with negatives n_1 .. n_K costs

    softplus(-s_ij) + sum over its negatives of softplus(s_in).

Pairs come from the walks, but vectors belong to categories: the mean cost over all
pairs and all draws of negatives is a sum over the k x k pairs of categories,

    loss = sum_ij  positive_ij softplus(-s_ij) + negative_ij softplus(s_ij),

with positive_ij the share of the pairs that are (i, j), and negative_ij the expected
number of times per pair that j is a negative of i. This is exactly the expected loss of
streamed pairs, and its gradient has no noise. Measured on 63 categories with absent
negatives: 2,000 steps of Adam at 5e-3 reach the loss of 1e5 streamed batches of 128 at
5e-4, and 300 steps lie between 3,000 and 10,000 batches (paper: Adam 5e-4, 100 epochs).
Memory grows with k^2 and not with the number of POIs.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Real
from scipy.special import expit

from data_prep.running import progress
from mmgr_jax.errors import InputError

NUM_NEGATIVES = 5
"""Negatives a pair K, as in the paper."""

HIERARCHY_WEIGHT = 0.01
"""Of the hierarchy term, relative to the loss of zero vectors."""

LEARNING_RATE = 5e-3
NUM_STEPS = 400
"""Steps of Adam on the whole loss.

The loss of absent negatives has no minimum, so the vectors depend on where training
stops; a few hundred steps are an early stop, far short of the paper's 100 epochs.
"""

_INITIAL_SCALE = 0.02
_MOMENTS = (0.9, 0.999)
_EPSILON = 1e-8

_Vectors = Float[np.ndarray, "k d"]


@dataclasses.dataclass(frozen=True)
class PairDraws:
    """How often categories are drawn together, per pair of the walks.

    Attributes:
        positive: Share of the pairs that are (target, context) [k k]; sums to 1.
        negative: Expected draws of each category as a negative of each target [k k];
            sums to the number of negatives.
    """

    positive: Float[np.ndarray, "k k"]
    negative: Float[np.ndarray, "k k"]


def train(
    counts: Real[np.ndarray, "k k"], parents: Sequence[str], *, dim: int, seed: int
) -> Float32[np.ndarray, "k d"]:
    """Trains the vectors of categories from how often they meet.

    The objective is, with H = 1/2 sum_ij w_ij |t_i - t_j|^2, w_ij = 1 where i and j
    share their first level, and P the number of such pairs i < j,

        loss + HIERARCHY_WEIGHT * (1 + K) log 2 * H / P.

    H / P is the mean squared distance of siblings, and (1 + K) log 2 the loss of zero
    vectors: siblings at a distance of 1 add `HIERARCHY_WEIGHT` times that loss,
    whatever the number of POIs, walks and categories. (The released code squares the
    sum of unsquared distances, so its weight of 1e-8 means nothing here.)

    The vectors are scaled by one number to a root mean square length of 1, as random
    and one-hot vectors have. Unscaled, their length would depend on the number of steps
    alone.

    Args:
        counts: Pairs (target, context) of the walks [k k].
        parents: First-level category of each category [k].
        dim: Length of a vector d.
        seed: Seed of the initial vectors.

    Returns:
        The target vectors, float32 [k d].

    Raises:
        InputError: If there is only one category.
    """
    group = np.unique(np.array(parents, str), return_inverse=True)[1].reshape(-1)
    _refuse_one_category(group)
    draws = expected_draws(counts)
    scale = _hierarchy_scale(group)
    target, context = fit(
        draws,
        group,
        scale,
        dim=dim,
        rng=np.random.default_rng(seed),
        learning_rate=LEARNING_RATE,
        num_steps=NUM_STEPS,
    )
    loss, _, _ = loss_and_gradient(target, context, draws)
    untrained = (1 + NUM_NEGATIVES) * math.log(2)
    logging.info("skip-gram loss %.4f (with vectors of zeros: %.4f)", loss, untrained)
    length = math.sqrt(np.mean(np.sum(target**2, axis=1)))
    return (target / length).astype(np.float32)


def expected_draws(counts: Real[np.ndarray, "k k"]) -> PairDraws:
    """Computes how often each category is a context and a negative of each target.

    Negatives are uniform over the categories that a target never met, as in the paper.
    Where a target met all categories, they are uniform over all.

    Args:
        counts: Pairs (target, context) of the walks [k k].
    """
    positive = counts / counts.sum()
    absent = counts == 0
    absent[~absent.any(axis=1)] = True
    noise = absent / absent.sum(axis=1, keepdims=True)
    pairs_of_target = positive.sum(axis=1, keepdims=True)
    return PairDraws(positive, NUM_NEGATIVES * pairs_of_target * noise)


def fit(
    draws: PairDraws,
    group: Int[np.ndarray, " k"],
    hierarchy_scale: float,
    *,
    dim: int,
    rng: np.random.Generator,
    learning_rate: float,
    num_steps: int,
) -> tuple[_Vectors, _Vectors]:
    """Returns target and context vectors after Adam steps (Kingma and Ba 2015).

    Args:
        draws: How often categories are drawn together, for the loss.
        group: First level of each category [k].
        hierarchy_scale: What `hierarchy` is multiplied by in the objective.
        dim: Length of a vector.
        rng: Source of the initial vectors.
        learning_rate: Step size of Adam.
        num_steps: Number of steps.
    """
    both = rng.normal(scale=_INITIAL_SCALE, size=(2, len(group), dim))
    mean, square = np.zeros_like(both), np.zeros_like(both)
    keep_mean, keep_square = _MOMENTS
    steps = range(1, num_steps + 1)
    for step in progress.track(steps, "training steps", num_steps):
        _, *gradients = loss_and_gradient(both[0], both[1], draws)
        gradient = np.stack(gradients)
        if hierarchy_scale:
            gradient[0] += hierarchy_scale * hierarchy(both[0], group)[1]
        mean += (1 - keep_mean) * (gradient - mean)
        square += (1 - keep_square) * (gradient**2 - square)
        rate = learning_rate / (1 - keep_mean**step)
        both -= rate * mean / (np.sqrt(square / (1 - keep_square**step)) + _EPSILON)
    target, context = both
    return target, context


def loss_and_gradient(
    target: _Vectors, context: _Vectors, draws: PairDraws
) -> tuple[float, _Vectors, _Vectors]:
    """Expected cost of a pair, with gradients for target and context vectors."""
    score = target @ context.T
    both = draws.positive + draws.negative
    # softplus(-s) = softplus(s) - s
    loss = np.sum(both * np.logaddexp(0, score) - draws.positive * score)
    d_score = both * expit(score) - draws.positive
    return float(loss), d_score @ context, d_score.T @ target


def hierarchy(
    vectors: _Vectors, group: Int[np.ndarray, " k"]
) -> tuple[float, _Vectors]:
    """1/2 sum_ij w_ij |c_i - c_j|^2, w_ij = 1 within a group, and its gradient.

    Computed as the sum over groups of m sum_i |c_i - mean|^2, m the group's size.
    """
    member = np.equal.outer(np.arange(group.max() + 1), group).astype(float)
    size = member.sum(axis=1)
    mean = (member @ vectors) / np.maximum(size, 1)[:, None]
    away = (vectors - mean[group]) * size[group, None]
    return float(np.sum(away * (vectors - mean[group]))), 2 * away


def _hierarchy_scale(group: Int[np.ndarray, " k"]) -> float:
    """What 1/2 sum w_ij |c_i - c_j|^2 is multiplied by in the objective."""
    size = np.bincount(group)
    num_pairs = int(np.sum(size * (size - 1)) // 2)
    if not num_pairs:
        logging.warning(
            "category vectors: no two of the %d categories share a first-level "
            "category (config.pois.parent_column names no column, or one as fine as "
            "category_column), so they are learnt from the walks alone",
            len(group),
        )
        return 0.0
    return HIERARCHY_WEIGHT * (1 + NUM_NEGATIVES) * math.log(2) / num_pairs


def _refuse_one_category(group: Int[np.ndarray, " k"]) -> None:
    if len(group) < 2:
        raise InputError(
            f"config.pois.category_column: {len(group)} category, but skip-gram needs "
            "2 or more. Name a column with finer categories, or set "
            "config.category_vectors.method to 'random'."
        )
