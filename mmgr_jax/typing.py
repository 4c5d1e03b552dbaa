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
    e      edges of a POI graph
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

Scalar = Float[Array, ""]
Tiles = UInt8[Array, "b h w 3"]
Views = Float[Array, "v b s s 3"]
View = Float[Array, "b s s 3"]
PoiCategory = Int[Array, "b n"]
PoiOffset = Float[Array, "b n 2"]
PoiMask = Bool[Array, "b n"]
ExampleMask = Bool[Array, " b"]
Key = PRNGKeyArray

# A Linen variable tree: nested mappings whose leaves are arrays.
Tree = Mapping[str, Any]
