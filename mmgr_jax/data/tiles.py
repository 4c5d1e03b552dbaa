"""Stores tiles as bytes: the formats, writing for the build, reading for training.

Of 92 real tiles (aerial, 224 px), a core of 2.1 GHz; the whole table with the command
that makes it: docs/input.md.

    format  size  written/s  read/s  loss
    raw     1     22,000     memory  none
    png     0.65  480        790     none
    webp    0.58  160        890     none, unless a quality is given
    jpeg    0.25  2,200      2,000   38.8 dB at quality 95, 26 of 255 at worst
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import imagecodecs
import numpy as np
from jaxtyping import UInt8

from mmgr_jax.data.pixels import PixelSums

FORMATS = ("png", "webp", "jpeg", "raw")
WITH_QUALITY = ("jpeg", "webp")
JPEG_QUALITY = 95

_PNG = dict(  # a sixth smaller, written three times and read a sixth faster than
    level=1,  # with the library's defaults
    strategy=imagecodecs.PNG.STRATEGY.RLE,
    filter=imagecodecs.PNG.FILTER.AVG,
)
_JPEG_END = b"\xff\xd9"
_DECODERS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "png": imagecodecs.png_decode,
        "webp": imagecodecs.webp_decode,
        "jpeg": imagecodecs.jpeg_decode,
    }
)


@dataclasses.dataclass(frozen=True)
class TileWriter:
    """How tiles are written; section `records` of a config.

    Attributes:
        image_format: One of `FORMATS`.
        image_quality: 1 to 100. None: 95 for JPEG, whose colours keep their
            resolution; lossless for WebP.
    """

    image_format: str
    image_quality: int | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong with these settings, None when nothing is."""
        name, quality = self.image_format, self.image_quality
        if name not in FORMATS:
            return (
                f"config.records.image_format is {name!r}; allowed: "
                f"{', '.join(FORMATS)}."
            )
        if quality is None:
            return None
        if name not in WITH_QUALITY:
            return (
                f"config.records.image_quality is {quality}, but {name!r} keeps every "
                f"pixel; allowed: None, or a format of {', '.join(WITH_QUALITY)}."
            )
        if not 1 <= quality <= 100:
            return f"config.records.image_quality is {quality}; allowed: 1 to 100."
        return None

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> bytes:
        """A tile as bytes, the same for the same tile."""
        return encode(image, self.image_format, self.image_quality)

    def measured(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[bytes, PixelSums]:
        """The same, and sums over the pixels that are read back from it."""
        stored = self.encode(image)
        loses = self.image_format == "jpeg" or self.image_quality is not None
        if loses:
            image = decode(stored, self.image_format, len(image))
        return stored, PixelSums.of(image)


def encode(
    image: UInt8[np.ndarray, "h w 3"], image_format: str, quality: int | None = None
) -> bytes:
    """A tile as bytes; the arguments are those of `TileWriter`."""
    image = np.ascontiguousarray(image)
    if image_format == "raw":
        return image.tobytes()
    if image_format == "png":
        return bytes(imagecodecs.png_encode(image, **_PNG))
    if image_format == "jpeg":
        level = quality or JPEG_QUALITY
        return bytes(imagecodecs.jpeg_encode(image, level, subsampling="444"))
    assert image_format == "webp", image_format
    # Method 1: method 4 writes ten times as long for a twentieth fewer bytes.
    options: dict[str, Any] = {"lossless": quality is None, "method": 1}
    return bytes(imagecodecs.webp_encode(image, quality or 0, **options))


def decode(
    stored: bytes,
    image_format: str,
    size_px: int,
    out: UInt8[np.ndarray, "h w 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """A tile from its bytes; other threads go on meanwhile.

    Args:
        stored: What `encode` gave.
        image_format: One of `FORMATS`.
        size_px: Side of the tile.
        out: Where to write, contiguous; None makes an array.

    Raises:
        Exception: Of many kinds, where the bytes hold no picture or one of another
            size.
    """
    if out is None:
        out = np.empty((size_px, size_px, 3), np.uint8)
    if image_format == "raw":
        out[...] = np.frombuffer(stored, np.uint8).reshape(out.shape)
        return out
    if image_format == "jpeg" and not stored.endswith(_JPEG_END):
        raise ValueError("a JPEG that breaks off")  # its decoder would invent the rest
    _DECODERS[image_format](stored, out=out)
    return out
