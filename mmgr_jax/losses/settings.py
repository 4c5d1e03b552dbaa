"""The section `loss` of a config."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import FloatName, Section

if TYPE_CHECKING:
    import annotated_types as at

Implementation = Literal["gathered", "ring", "dense"]


@dataclasses.dataclass(frozen=True)
class LossSettings(Section):
    """What the contrastive losses compare, and how they are computed.

    Attributes:
        temperature: Tau of both losses; 0.5 as released.
        image_weight: Lambda, the share of the image-image loss; 0.5 as released, 1 is
            image only.
        symmetric: Compare both views with the POIs, and average the two losses. The
            released code compares only view 1.
        empty_sets: "excluded": two regions without POIs are not negatives of each other
            if a POI row is involved. "repel": they are, as released.
        negatives: "all": every other region of a batch. "city": only those of the
            region's own city, for records of several cities.
        implementation: All give equal results at different costs. "gathered":
            similarities in tiles, the other devices' vectors by one all-gather. "ring":
            the same in tiles that pass from device to device, for batches near a
            million. "dense": the plain formula with all similarities in memory, as a
            reference.
        matmul_dtype: Type of the factors of similarities; norms, sums and logarithms
            are float32. "dense" is always float32.
        tile: Largest number of regions along each side of a tile of similarities. None:
            512, and 4096 on GPUs, where small tiles take longer to start than to
            compute.
    """

    temperature: Annotated[float, at.Gt(0)] = 0.5
    image_weight: Annotated[float, at.Ge(0), at.Le(1)] = 0.5
    symmetric: bool = False
    empty_sets: Literal["excluded", "repel"] = "excluded"
    negatives: Literal["all", "city"] = "all"
    implementation: Implementation = "gathered"
    matmul_dtype: FloatName = "float32"
    tile: Annotated[int, at.Ge(1)] | None = None
