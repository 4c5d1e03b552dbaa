"""Finds tiles that show nothing: cloud, or fill that is not marked as missing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

# Levels by which a colour may differ from the most common one and still be the same:
# JPEG leaves that much on an even surface. Still water differs by more.
_TOLERANCE = 2


def blank_share(
    tile: UInt8[np.ndarray, "h w 3"], valid: Bool[np.ndarray, "h w"] | None = None
) -> float:
    """Returns the share of a tile's pixels that have its most common colour.

    A tile counts as blank where one colour fills it: black or white fill around an
    image whose file marks nothing as missing, and cloud so bright that the sensor
    records only white. Such tiles hold nothing that contrastive learning could tell
    apart, so a study area is better without them. Two colours count as the same within
    2 of 255 levels in each band, because JPEG changes them by that much. Water, sand
    and snow have more texture than that and do not count.

    Args:
        tile: The tile, uint8 [h w 3].
        valid: The pixels [h w] that hold imagery; None: all pixels.

    Returns:
        Share of the valid pixels, in [0, 1]; 1 where none is valid.
    """
    pixels = tile.reshape(-1, 3) if valid is None else tile[valid]
    if not len(pixels):
        return 1.0
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    packed.sort()
    first = np.flatnonzero(np.diff(packed, prepend=packed[0] ^ 1))
    longest = np.diff(first, append=len(packed)).argmax()
    common = int(packed[first[longest]])
    color = np.array([common >> 16, common >> 8 & 255, common & 255], np.int16)
    near = np.abs(pixels.astype(np.int16) - color).max(axis=1) <= _TOLERANCE
    return float(near.mean())
