"""What `config.blocks` says: which regions are tested together."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import annotated_types as at

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class BlockSettings(Section):
    """Spatial blocks, and the folds to which they are assigned.

    Attributes:
        size_m: Side of a block in metres. "auto": the distance up to which the labels
            are spatially correlated, measured on them.
        num_folds: Number of folds, 3 or more; each is tested once.
        buffer_m: Regions within this distance of a tested one, in metres, are left out
            of training.
    """

    size_m: Annotated[float, at.Gt(0)] | Literal["auto"] = 2000.0
    num_folds: Annotated[int, at.Ge(3)] = 5
    buffer_m: Annotated[float, at.Ge(0)] = 0.0
