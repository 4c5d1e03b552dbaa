"""Image files of any 8-bit kind as RGB tiles of one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_prep import progress
from data_prep.import_released.faults import Faults
from mmgr_jax.errors import InputError

_KEY = "config.released.image_dir"
_LEAST_PX = 8
_DEEP_MODES = ("I", "F")
# Of a PNG file: where its header says how many bits a channel has.
_PNG_DEPTH_AT = 24


def inspect(
    paths: Mapping[str, Path], tile_size_px: int | None, faults: Faults
) -> tuple[int, dict[str, int]]:
    """Checks every image, its pixels by their checksums alone.

    Args:
        paths: Region -> its image.
        tile_size_px: Side of the tiles, to which images of another size are resized;
            None: all images must have one size.
        faults: Takes note of all that is wrong.

    Returns:
        The side of the tiles in pixels, and how many images must be changed, by what
        is done to them.
    """
    counts, sizes = Counter(), {}
    for name, path in progress.track(paths.items(), "images checked", len(paths)):
        try:
            sizes[name] = _inspect(path, faults, counts)
        except Exception as error:  # Pillow has many kinds of its own
            faults.add(f"{_KEY}: cannot be read", f"{path.name}: {error}")
    if tile_size_px is not None and tile_size_px < _LEAST_PX:
        faults.add(
            f"config.released.tile_size_px is {tile_size_px}; allowed: {_LEAST_PX} or "
            "more, or None"
        )
    usual = Counter(sizes.values()).most_common(1)
    size_px = tile_size_px or (usual[0][0][0] if usual else 0)
    for name, (width_px, height_px) in sizes.items():
        if width_px != height_px:
            faults.add(
                f"{_KEY}: not square; cut a square out of them",
                f"{paths[name].name}: {width_px} x {height_px}",
            )
        elif width_px == size_px:
            continue
        elif tile_size_px:
            counts["resized"] += 1
        else:
            faults.add(
                f"{_KEY}: not of {size_px} px as most are; set "
                "config.released.tile_size_px to resize them",
                f"{paths[name].name}: {width_px} px",
            )
    return size_px, {what: count for what, count in counts.items() if count}


def read(path: Path, size_px: int) -> UInt8[np.ndarray, "h w 3"]:
    """An image as a tile.

    Grey and palette images become RGB; an alpha channel is dropped, not blended, so
    that pixels keep the colours they are stored with. Another size is resized by PIL's
    bilinear filter, which is wide enough not to alias.

    Args:
        path: An image that `inspect` found fit.
        size_px: Side of the tile in pixels.

    Raises:
        InputError: If the pixels are damaged.
    """
    try:
        with Image.open(path) as image:
            # By way of RGBA, palettes with transparency keep their colours, too.
            image = image.convert("RGBA" if image.mode == "P" else image.mode)
            image = image.convert("RGB")
    except Exception as error:
        raise InputError(
            f"{path}: cannot be decoded ({error}). Get the file again."
        ) from error
    if image.size != (size_px, size_px):
        image = image.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _inspect(path: Path, faults: Faults, counts: Counter[str]) -> tuple[int, int]:
    """Width and height; notes what is wrong and what must be changed."""
    with path.open("rb") as file:
        header = file.read(_PNG_DEPTH_AT + 1)
    with Image.open(path) as image:
        mode, size = image.mode, image.size
        has_alpha = mode in ("LA", "RGBA") or "transparency" in image.info
        deep = mode.startswith(_DEEP_MODES)
        if image.format == "PNG":
            # Pillow would cut 16-bit colours to 8 bits without a word.
            deep |= header[_PNG_DEPTH_AT] > 8
        image.verify()
    if deep:
        faults.add(
            f"{_KEY}: more than 8 bits a channel; scale all of them alike to 8 bits, "
            "such as with `gdal_translate -ot Byte -scale LOW HIGH 0 255 IN OUT`",
            path.name,
        )
    counts["alpha dropped"] += has_alpha
    counts["grey to RGB"] += mode in ("1", "L", "LA")
    counts["palette to RGB"] += mode == "P"
    return size
