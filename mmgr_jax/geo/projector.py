"""Writes embeddings for TensorBoard's projector: vectors, labels and tiles.

projector_config.pbtxt    what TensorBoard looks for in a folder of logs
tensors.tsv               a row a region: its vector
metadata.tsv              a row a region below a header: what a point is
sprite.png                tiles in rows of equal length, in the order of the regions
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from mmgr_jax.disk import folders
from mmgr_jax.terminal import visible

KIND = "projector"

MOST_REGIONS = 10_000
"""That are shown; t-SNE in a browser takes minutes for more."""

SPRITE_PX, TILE_PX = 8192, 64
"""Sides of the largest image that TensorBoard takes, and of a tile in it."""

_NAME = "regions"


def chosen(count: int) -> Int[np.ndarray, " n"]:
    """Chooses the regions that are shown: all, or `MOST_REGIONS` drawn at random."""
    drawn = np.random.default_rng(0).permutation(count)[:MOST_REGIONS]
    return np.sort(drawn)


def write(
    folder: Path,
    vectors: Float[np.ndarray, "n f"],
    columns: Mapping[str, Sequence[Any]],
    tiles: Iterator[UInt8[np.ndarray, "h w 3"]] | None,
) -> Path:
    """Writes the folder and replaces an older one; `tensorboard --logdir` opens it.

    Args:
        folder: Folder to make. If it is a folder of this kind, it is replaced.
        vectors: Vectors of the regions that are shown.
        columns: Facts on each region, at least two columns; missing numbers stay empty.
        tiles: Tiles of the same regions; None if there are none.

    Returns:
        The folder.

    Raises:
        InputError: If the folder holds something else, or cannot be written to.
    """
    with folders.replacing(folder, KIND, key="config.workdir") as new:
        with (new / "tensors.tsv").open("w", encoding="ascii") as file:
            np.savetxt(file, vectors, fmt="%.6g", delimiter="\t")
        (new / "metadata.tsv").write_text(_table(columns), encoding="utf-8")
        config = [
            f'tensor_name: "{_NAME}"',
            'tensor_path: "tensors.tsv"',
            f"tensor_shape: {vectors.shape[0]}",
            f"tensor_shape: {vectors.shape[1]}",
            'metadata_path: "metadata.tsv"',
        ]
        if tiles is not None:
            side = _draw(new / "sprite.png", tiles, len(vectors))
            config.append(
                'sprite { image_path: "sprite.png" '
                f"single_image_dim: {side} single_image_dim: {side} }}"
            )
        text = "embeddings {\n" + "".join(f"  {line}\n" for line in config) + "}\n"
        (new / "projector_config.pbtxt").write_text(text, encoding="ascii")
    return folder


def tile_px(count: int) -> int:
    """Side of a tile in pixels, in a sprite of this many regions."""
    per_row = int(np.ceil(np.sqrt(max(count, 1))))
    return min(TILE_PX, SPRITE_PX // per_row)


def _table(columns: Mapping[str, Sequence[Any]]) -> str:
    text = io.StringIO()
    text.write("\t".join(map(_cell, columns)) + "\n")
    for row in zip(*columns.values(), strict=True):
        text.write("\t".join(map(_cell, row)) + "\n")
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return "" if value is None else visible(" ".join(str(value).split()))


def _draw(path: Path, tiles: Iterator[UInt8[np.ndarray, "h w 3"]], count: int) -> int:
    """Draws the tiles side by side; returns the side of one."""
    side = tile_px(count)
    per_row = int(np.ceil(np.sqrt(count)))
    rows = -(-count // per_row)
    sprite = Image.new("RGB", (per_row * side, rows * side))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, per_row)
        small = Image.fromarray(tile).resize((side, side), Image.Resampling.BOX)
        sprite.paste(small, (column * side, row * side))
    sprite.save(path)
    return side
