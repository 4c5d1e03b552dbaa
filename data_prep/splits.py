"""Spatial blocks, so that neighbouring regions stay on one side of a split."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int32


def block_ids(
    centre_xy_m: Float[np.ndarray, "r 2"], size_m: float
) -> Int32[np.ndarray, " r"]:
    """Numbers the square blocks that the regions' centres fall in.

    Block edges lie at whole multiples of `size_m` in the CRS, whatever regions there
    are; blocks are counted row by row from the north-west, empty ones skipped.

    Args:
        centre_xy_m: East and north coordinate of each region's centre [r 2], metres.
        size_m: Side of a block in metres.

    Returns:
        Block number of each region [r], 0 to the number of blocks - 1.
    """
    column = np.floor(centre_xy_m[:, 0] / size_m).astype(np.int64)
    row = -np.floor(centre_xy_m[:, 1] / size_m).astype(np.int64)
    blocks = np.stack([row, column], axis=1)
    _, ids = np.unique(blocks, axis=0, return_inverse=True)
    return ids.reshape(-1).astype(np.int32)
