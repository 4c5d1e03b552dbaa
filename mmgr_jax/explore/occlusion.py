"""What a prediction loses without a part of the tile: the picture is encoded again.

A cell of the tile is painted over in the tile's mean colour. That is a picture nobody
took, so the difference says what this encoder reads there, not what the place would be
without.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from mmgr_jax.errors import InputError

CELLS = 4
"""Along a side of a tile."""


def without_cells(
    tile: UInt8[np.ndarray, "h w 3"], cells: int = CELLS
) -> UInt8[np.ndarray, "m h w 3"]:
    """The tile once for each cell, row by row, with that cell in the mean colour.

    Args:
        tile: Red, green, blue.
        cells: Along a side; cells differ by a pixel where the side is no multiple.

    Raises:
        InputError: If there are more cells than pixels, or none.
    """
    height, width, _ = tile.shape
    if not 1 <= cells <= min(height, width):
        raise InputError(
            f"occlusion in {cells} x {cells} cells of a tile of {height} x {width} px: "
            f"give 1 to {min(height, width)} cells a side, such as {CELLS}."
        )
    colour = np.round(tile.mean(axis=(0, 1))).astype(np.uint8)
    rows, columns = (
        np.linspace(0, side, cells + 1).astype(int) for side in tile.shape[:2]
    )
    parts = np.repeat(tile[None], cells * cells, axis=0)
    for number, part in enumerate(parts):
        row, column = divmod(number, cells)
        part[
            rows[row] : rows[row + 1], columns[column] : columns[column + 1]
        ] = colour  # fmt: skip
    return parts


def of_tiles(
    embed: Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n f"]],
    tiles: UInt8[np.ndarray, "r h w 3"],
    kernel: Float[np.ndarray, "f k"],
    cells: int = CELLS,
) -> Float[np.ndarray, "r cells cells k"]:
    """What a linear head's output loses where a cell is painted over.

    Args:
        embed: Tiles -> the image features that the head reads, such as
            `Encoder.embed_tiles` with the city's pixel statistics.
        tiles: Of the regions that are asked about.
        kernel: The head's, of these features; those of POIs and surroundings stay as
            they are and cancel.
        cells: Along a side of a tile.

    Returns:
        Output with the whole tile less that without the cell, on the head's scale.

    Raises:
        InputError: If there are more cells than pixels, or none.
    """
    losses = np.zeros((len(tiles), cells, cells, kernel.shape[1]))
    for number, tile in enumerate(tiles):
        parts = np.concatenate([tile[None], without_cells(tile, cells)])
        features = embed(parts).astype(np.float64)
        lost = (features[:1] - features[1:]) @ kernel
        losses[number] = lost.reshape(cells, cells, -1)
    return losses
