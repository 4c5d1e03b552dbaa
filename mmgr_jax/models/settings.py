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
    """Settings that all POI encoders share; those of each encoder follow below.

    Attributes:
        name: Which POI encoder; see docs/method.md.
        vectors: Category vectors. "frozen": those of the records, never changed (as in
            the released program). "tuned": those of the records, trained further.
            "scratch": random ones, trained; those of the records are not used.
        empty: The vector of a set without POIs. "learnt": a parameter. "constant": what
            the pooling gives for an empty set (as in the released program).
        counts: Add the logarithm of the count of each category to the pooled vector.
            Pooling alone is a weighted mean: it shows which POIs there are, but not how
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
    """Set2Set over the category vectors, as released; it does not see positions.

    Attributes:
        steps: Steps of the LSTM that reads a set.
    """

    name: Literal["set2set"] = "set2set"
    steps: Annotated[int, at.Ge(1)] = 5


@dataclasses.dataclass(frozen=True)
class GcnSet2SetSettings(PoiEncoderSettings):
    """Convolution over the Delaunay graph, then Set2Set: sees which POIs are near.

    The released model is named for a graph convolution and loads the edges, but has
    no such layer.

    Attributes:
        layers: Number of layers of the graph convolution.
        steps: Steps of the LSTM that reads a set.
    """

    name: Literal["gcn_set2set"] = "gcn_set2set"
    layers: Annotated[int, at.Ge(1)] = 1
    steps: Annotated[int, at.Ge(1)] = 5


@dataclasses.dataclass(frozen=True)
class AttentionSettings(PoiEncoderSettings):
    """Attention pooling of categories and positions: sees which POIs are where.

    Positions are east and north on the ground. Views that are flipped or turned
    (`config.augment`) no longer show east and north, so only distances from the centre
    can be learnt from those.

    Attributes:
        heads: Number of heads of the attention.
        seeds: Number of learnt queries (seeds) that read a set.
        shortest_wavelength_m: Shortest wavelength of the sines that encode positions.
            64.0 with a longest one of 2048.0 suits regions of up to 1 km.
        longest_wavelength_m: Longest wavelength of these sines; at least the shortest.
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
"""Name of a POI encoder -> its settings."""


@dataclasses.dataclass(frozen=True)
class ModelSettings(Section):
    """The encoders of images and POIs, and their projections.

    Attributes:
        image_encoder: `name` of an image encoder; `train`, the part of it that is
            trained ("all", "none", "last:K" or "decay:F"; without it "all"); and
            further keys of that encoder. All are explained in docs/towers.md.
        poi_encoder: The POI encoder.
        projection_dim: Length of both projections.
        batch_statistics: How BatchNorm treats the two views in training. "per_view" (as
            in the released program): two passes, each with its own statistics; the
            running statistics are updated twice a step. "joint": one pass over both
            views and one update, which is cheaper, and no worse for large batches.
        batch_norm: Regions from which BatchNorm takes its statistics in training: those
            of all devices ("global"), of each device ("local") or of each k
            neighbouring devices ("group:k"). A ViT has no BatchNorm.
        learn_temperature: Train the temperature of the losses, beginning with
            `loss.temperature`.
        dtype: Number type in which images are encoded; POIs are always encoded in
            float32.
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
