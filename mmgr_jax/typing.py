"""Axis glossary and the array types shared by the public functions.

One letter means one thing in annotations, einsum strings and names:

    b      batch: examples (regions) of the global batch
    v      views of the same tile
    h w c  image rows, columns, channels; `s s` for a square view
    n      POI slots of a padded set
    d      POI vector
    f      backbone feature (pooled, before any head)
    p      projection (what the contrastive losses compare)
    k      classes, targets or POI categories
    r      regions (evaluation)
    t      tokens of a transformer
    e      edges of a POI graph
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

Scalar = Float[Array, ""]
Tiles = UInt8[Array, "b h w 3"]
Views = Float[Array, "v b s s 3"]
View = Float[Array, "b s s 3"]
PoiCategory = Int[Array, "b n"]
PoiOffset = Float[Array, "b n 2"]
PoiMask = Bool[Array, "b n"]
PoiEdges = Int[Array, "b e 2"]
PoiEdgeWeight = Float[Array, "b e"]
ExampleMask = Bool[Array, " b"]
Key = PRNGKeyArray

# Views of a tile that a training step compares.
VIEWS = 2

# Arrays of a batch on the devices, by name.
Batch = Mapping[str, Array]

# Axes of the mesh of devices. A batch is split along both; `fsdp` also splits state.
MESH_AXES = ("data", "fsdp")

# A Linen variable tree: nested mappings whose leaves are arrays.
Tree = Mapping[str, Any]


class PoiSets(NamedTuple):
    """The padded POI sets of a batch of regions.

    Attributes:
        category: Category ids in [0, k), any value where masked.
        offset_m: Positions east and north of the region's centre.
        mask: True for real POIs.
        edges: Slots of the two POIs of each edge, each edge once; None if the encoder
            does not need them.
        edge_weight: Weight of each edge, 0 for padding.
    """

    category: PoiCategory
    offset_m: PoiOffset
    mask: PoiMask
    edges: PoiEdges | None = None
    edge_weight: PoiEdgeWeight | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> "PoiSets":
        """Takes the POI sets from a batch of the input pipeline."""
        return cls(
            category=batch["poi_category"],
            offset_m=batch["poi_offset_m"],
            mask=batch["poi_mask"],
            edges=batch.get("poi_edges"),
            edge_weight=batch.get("poi_edge_weight"),
        )
