"""Finds how large blocks may be while there are enough for the folds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

BLOCKS_A_FOLD = 4
"""Blocks a fold that make the folds of like content, where the place allows it."""

_LARGEST_M = 2000.0
_MOST_STEPS = 16


def count(centre_m: Float[np.ndarray, "r 2"], size_m: float) -> int:
    """Number of blocks of a size that hold a region."""
    return len(np.unique(np.floor(centre_m / size_m).astype(np.int64), axis=0))


def fitting_size_m(
    centre_m: Float[np.ndarray, "r 2"], step_m: float, num_folds: int
) -> float | None:
    """The largest size of blocks that leaves enough of them for the folds.

    Sizes are whole steps, up to 2 km or four steps. The aim is `BLOCKS_A_FOLD` blocks
    per fold; where no size leaves that many, it is the largest size that leaves one
    block per fold.

    Args:
        centre_m: East and north coordinate of each region's centre.
        step_m: How far regions lie apart.
        num_folds: Number of folds.

    Returns:
        The size; None where there are fewer regions than folds.
    """
    largest = max(min(int(_LARGEST_M // step_m), _MOST_STEPS), 4)
    sizes = [steps * step_m for steps in range(largest, 0, -1)]
    for wanted in (BLOCKS_A_FOLD * num_folds, num_folds):
        for size_m in sizes:
            if count(centre_m, size_m) >= wanted:
                return size_m
    return None
