"""What `config.released_sample` says: where a released sample lies."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmgr_jax.settings import Section


@dataclasses.dataclass(frozen=True)
class PopulationSettings(Section):
    """What the numbers of people of a sample mean.

    Attributes:
        kind: What a number is.
        unit: Unit of the numbers.
        year: Reference year of the source.
        source: Who made the data.
        licence: Licence of the data.
    """

    kind: Literal["count", "density", "scalar"]
    unit: str
    year: int | None = None
    source: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class ReleasedSettings(Section):
    """A released sample, taken over in place of building records.

    Attributes:
        dir: Folder that holds sub_*_img, sub_*_emb, sub_*_edge and pop1km.
        population: What the numbers in pop1km mean.
    """

    dir: str
    population: PopulationSettings
