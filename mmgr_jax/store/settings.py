"""Defines the section `init` of a config."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmgr_jax.settings import Section

Part = Literal["image_encoder", "image_head", "poi_encoder", "poi_head"]
"""A part of a model, as named in its parameters."""


@dataclasses.dataclass(frozen=True)
class InitSettings(Section):
    """Weights with which training begins, instead of random ones.

    Attributes:
        checkpoint: Folder of a run or checkpoint, or one that `python -m
            mmgr_jax.convert` wrote; None: begin with random weights.
        parts: Parts of the model to take from it; (): all that it has.
    """

    checkpoint: str | None = None
    parts: tuple[Part, ...] = ()
