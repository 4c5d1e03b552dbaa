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
        temperature: Temperature (tau) of both losses; 0.5 in the released program.
        image_weight: Weight of the loss between two views of a tile (lambda); the loss
            between image and POIs has the rest. 0.5 in the released program; 1: POIs
            are not used.
        symmetric: Compare both views with the POIs, and average the two losses. The
            released code compares only view 1.
        empty_sets: "excluded": two regions without POIs are not negatives of each other
            where their POI vectors are compared. "repel": they are, as in the released
            program.
        negatives: Regions that a region is compared with. "all": all others of the
            batch. "city": only those of its own city.
        implementation: Way to compute the losses; all give equal results. "gathered":
            each device gets the vectors of all others at once, and computes
            similarities in parts. "ring": the vectors pass from device to device; for
            batches near a million regions. "dense": all similarities in memory, as a
            reference for tests.
        matmul_dtype: Number type of the vectors that are multiplied for similarities.
            Norms, sums and logarithms are float32. "dense" is always float32.
        tile: Largest number of regions on each side of a part of the similarities.
            None: 512, and 4096 on GPUs, where small parts take longer to start than to
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
