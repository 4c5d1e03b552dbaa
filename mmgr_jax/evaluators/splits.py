"""Which regions are tested together, so that neighbours do not leak."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from mmgr_jax.errors import InputError

KINDS = ("block", "random")
MIN_FOLDS = 3


class Parts(NamedTuple):
    """The roles of all regions in one round, three disjoint masks [r]."""

    train: Bool[np.ndarray, " r"]
    validation: Bool[np.ndarray, " r"]
    test: Bool[np.ndarray, " r"]


def folds(
    block_id: Int[np.ndarray, " r"],
    *,
    num_folds: int,
    seed: int,
    kind: str = "block",
) -> Int[np.ndarray, " r"]:
    """The fold of each region, in 0 .. num_folds - 1.

    `block` keeps the regions of one spatial block together: blocks in an order drawn
    from the seed, largest first, each to the fold that is smallest so far. The
    answer depends on the block ids and the seed, not on the order of the regions.
    `random` deals regions out one by one, ignoring blocks, so neighbours of a test
    region are trained on; its scores flatter and are there for comparison.

    Args:
        block_id: Spatial block of each region.
        num_folds: Number of folds, at least 3 (test, validation, training).
        seed: Seed of the draw.
        kind: `block` or `random`.

    Returns:
        Fold of each region; every fold has at least one.

    Raises:
        InputError: If there are fewer blocks (or regions) than folds, fewer than 3
            folds, or the kind is unknown.
    """
    if kind not in KINDS:
        raise InputError(f"split kind {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    if num_folds < MIN_FOLDS:
        raise InputError(
            f"config.eval.num_folds is {num_folds}: at least {MIN_FOLDS} are needed, "
            "one to test on, one to choose the strength on and the rest to train on."
        )
    rng = np.random.default_rng(seed)
    if kind == "random":
        return _random_folds(len(block_id), num_folds, rng)
    return _block_folds(block_id, num_folds, rng)


def parts(fold: Int[np.ndarray, " r"], test_fold: int, num_folds: int) -> Parts:
    """One round: `test_fold` is tested, the next fold chooses, the rest trains."""
    test = fold == test_fold
    validation = fold == (test_fold + 1) % num_folds
    return Parts(train=~test & ~validation, validation=validation, test=test)


def _block_folds(
    block_id: np.ndarray, num_folds: int, rng: np.random.Generator
) -> np.ndarray:
    _, block, sizes = np.unique(block_id, return_inverse=True, return_counts=True)
    if len(sizes) < num_folds:
        raise InputError(
            f"{len(sizes)} spatial blocks cannot fill {num_folds} folds. Make blocks "
            "smaller (config.blocks.size_m, then build the records again) or ask for "
            f"fewer folds (config.eval.num_folds, at least {MIN_FOLDS})."
        )
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_block = np.empty(len(sizes), np.int64)
    fold_sizes = np.zeros(num_folds, np.int64)
    for index in order:
        smallest = int(np.argmin(fold_sizes))
        fold_of_block[index] = smallest
        fold_sizes[smallest] += sizes[index]
    return fold_of_block[block]


def _random_folds(
    num_regions: int, num_folds: int, rng: np.random.Generator
) -> np.ndarray:
    if num_regions < num_folds:
        raise InputError(
            f"{num_regions} regions cannot fill {num_folds} folds "
            "(config.eval.num_folds)."
        )
    fold = np.empty(num_regions, np.int64)
    fold[rng.permutation(num_regions)] = np.arange(num_regions) % num_folds
    return fold
