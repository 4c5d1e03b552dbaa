"""The section `augment` of a config."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import Section

if TYPE_CHECKING:
    import annotated_types as at


Normalise = Literal["encoder", "city"]


@dataclasses.dataclass(frozen=True)
class AugmentSettings(Section):
    """How random views of a tile differ from it.

    Attributes:
        size_px: Side of the square views.
        crop_area: Range of the crop's share of the tile's area, in (0, 1].
        crop_ratio: Range of the crop's width over height, drawn log-uniformly.
        jitter_probability: Share of views with colour jitter.
        brightness: Brightness is multiplied by a random factor from 1 - this to 1 +
            this.
        contrast: The same, for contrast.
        saturation: The same, for saturation.
        hue: Largest shift of the hue, as a part of the colour circle, in [0, 0.5].
        grey_probability: Share of views turned grey.
        horizontal_flip: Flip half of the views left to right.
        vertical_flip: Flip half of the views top to bottom.
        quarter_turns: Turn each view by 0, 90, 180 or 270 degrees. Seen from above, no
            direction is up. The released code has neither this nor vertical flips.
        normalise: Which mean and standard deviation normalise red, green and blue.
            "encoder": those that the image encoder expects, the same for all cities.
            "city": those of all tiles of the records, so that a city cannot be
            recognised by its light. A checkpoint keeps the choice with which it was
            trained; see docs/many_cities.md.
    """

    size_px: Annotated[int, at.Ge(1)] = 224
    crop_area: tuple[
        Annotated[float, at.Gt(0), at.Le(1)], Annotated[float, at.Gt(0), at.Le(1)]
    ] = (0.2, 1.0)
    crop_ratio: tuple[Annotated[float, at.Gt(0)], Annotated[float, at.Gt(0)]] = (
        3 / 4,
        4 / 3,
    )
    jitter_probability: Annotated[float, at.Ge(0), at.Le(1)] = 0.8
    brightness: Annotated[float, at.Ge(0)] = 0.4
    contrast: Annotated[float, at.Ge(0)] = 0.4
    saturation: Annotated[float, at.Ge(0)] = 0.4
    hue: Annotated[float, at.Ge(0), at.Le(0.5)] = 0.1
    grey_probability: Annotated[float, at.Ge(0), at.Le(1)] = 0.2
    horizontal_flip: bool = True
    vertical_flip: bool = False
    quarter_turns: bool = False
    normalise: Normalise = "encoder"
