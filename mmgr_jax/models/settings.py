"""The section `model` of a config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mmgr_jax.settings import FloatName, Section

if TYPE_CHECKING:
    import annotated_types as at

PoiEncoderName = Literal["set2set", "gcn_set2set", "attention"]
BatchStatistics = Literal["per_view", "joint"]


@dataclasses.dataclass(frozen=True)
class PoiEncoderSettings(Section):
    """What every POI encoder can be told; its own options are in a class of its name.

    Attributes:
        name: A key of `POI_ENCODERS`.
        vectors: Of the categories. "frozen": the table of the records, never changed
            (as released). "tuned": that table, trained further. "scratch": random and
            trained; the table of the records is not used.
        empty: The vector of a set without POIs. "learnt": a parameter. "constant": what
            the pooling gives for an empty set, as released.
        counts: Add the logarithm of the count of each category to the pooled vector.
            Pooling with weights that sum to one shows which POIs there are, but not how
            many.
    """

    name: PoiEncoderName = "set2set"
    vectors: Literal["frozen", "tuned", "scratch"] = "frozen"
    empty: Literal["learnt", "constant"] = "learnt"
    counts: bool = False

    @classmethod
    def kind_for(cls, given: Any) -> type[Section]:
        """The class of the encoder that these keys name."""
        return POI_ENCODERS.get(str(given.get("name", cls.name)), cls)

    def with_options(self) -> PoiEncoderSettings:
        """These settings with the options of their encoder, at least its defaults."""
        kind = POI_ENCODERS[self.name]
        return self if isinstance(self, kind) else kind(**dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Set2SetSettings(PoiEncoderSettings):
    """The released encoder: Set2Set reads the categories; where they are is not seen.

    Attributes:
        steps: Steps of the LSTM that reads a set.
    """

    name: Literal["set2set"] = "set2set"
    steps: Annotated[int, at.Ge(1)] = 5


@dataclasses.dataclass(frozen=True)
class GcnSet2SetSettings(PoiEncoderSettings):
    """Convolution over the Delaunay graph, then Set2Set: which POIs stand together.

    The released model is named for a graph convolution and loads the edges, but has
    no such layer.

    Attributes:
        layers: Of the convolution.
        steps: As for Set2Set.
    """

    name: Literal["gcn_set2set"] = "gcn_set2set"
    layers: Annotated[int, at.Ge(1)] = 1
    steps: Annotated[int, at.Ge(1)] = 5


@dataclasses.dataclass(frozen=True)
class AttentionSettings(PoiEncoderSettings):
    """Attention pooling of categories and positions: which POIs stand where.

    Positions are east and north on the ground. Views that are flipped or turned
    (`config.augment`) no longer show east and north, so only distances from the centre
    can be learnt from those.

    Attributes:
        heads: Of the attention.
        seeds: Learnt queries that read a set.
        shortest_wavelength_m: Of the sines that tell positions; 64.0 and 2048.0 suit
            regions of up to 1 km.
        longest_wavelength_m: Of these sines; no shorter than the shortest.
    """

    name: Literal["attention"] = "attention"
    heads: Annotated[int, at.Ge(1)] = 4
    seeds: Annotated[int, at.Ge(1)] = 2
    shortest_wavelength_m: Annotated[float, at.Gt(0)] = 64.0
    longest_wavelength_m: Annotated[float, at.Gt(0)] = 2048.0


POI_ENCODERS: Mapping[str, type[PoiEncoderSettings]] = {
    "set2set": Set2SetSettings,
    "gcn_set2set": GcnSet2SetSettings,
    "attention": AttentionSettings,
}
"""Name of a POI encoder -> what it can be told."""


@dataclasses.dataclass(frozen=True)
class ModelSettings(Section):
    """Both encoders and the space in which they meet.

    Attributes:
        image_encoder: `name` of an image encoder, what of it learns (`train`, one of
            `learning.FORMS`; without it all), and its keyword arguments; see
            docs/towers.md. `path` is that of a table, `kept_views` those of a locked
            tower.
        poi_encoder: The POI encoder.
        projection_dim: Length p of both projections.
        batch_statistics: How BatchNorm sees the two views in training. "per_view", as
            released: two passes, each with its own statistics; the running statistics
            move twice a step. "joint": one pass over both, and one move, which is
            cheaper and no worse for large batches.
        batch_norm: Rows from which BatchNorm takes its statistics in training: "global"
            (all devices), "local" (each device) or "group:k" devices; a ViT has none.
        learn_temperature: Train the temperature of the losses, from the configured one.
        dtype: Type of the image side; the POI side computes in float32.
    """

    image_encoder: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"name": "resnet50"}
    )
    poi_encoder: PoiEncoderSettings = PoiEncoderSettings()
    projection_dim: Annotated[int, at.Ge(1)] = 128
    batch_statistics: BatchStatistics = "per_view"
    batch_norm: str = "global"
    learn_temperature: bool = False
    dtype: FloatName = "float32"
