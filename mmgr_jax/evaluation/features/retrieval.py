"""Cross-modal retrieval: does a tile find its own POI set, and a POI set its tile?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks, distances

DEPTHS = (1, 5, 10)

MOST_QUERIES = 4096
"""If there are more regions, always the same queries are drawn; all are searched."""

TIE = 1e-6
"""Cosines this close are equal: equal vectors may differ by rounding of float32."""


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How well queries find their own region among all regions.

    Attributes:
        recall: Depth -> share of the queries whose own region is among the `depth` most
            similar regions.
        median_rank: Median rank of a query's own region; 1 is the best.
        num_regions: Number of regions that were searched. By chance, recall is the
            depth divided by this number, and the median rank is half of it.
        num_queries: Number of regions used as queries.
    """

    recall: Mapping[int, float]
    median_rank: float
    num_regions: int
    num_queries: int


def both_ways(
    z_image: Float[np.ndarray, "r p"], z_poi: Float[np.ndarray, "_ _"]
) -> dict[str, Retrieval]:
    """Measures retrieval of POI sets by tiles, and of tiles by POI sets.

    Args:
        z_image: Projections of the tiles.
        z_poi: Projections of the POI sets of the same regions. Leave out regions
            without POIs: their sets are all the same and cannot be distinguished.

    Returns:
        `image to poi` and `poi to image`.
    """
    return {
        "image to poi": retrieve(z_image, z_poi),
        "poi to image": retrieve(z_poi, z_image),
    }


def retrieve(
    query: Float[np.ndarray, "r p"], gallery: Float[np.ndarray, "_ _"]
) -> Retrieval:
    """Computes recall and median rank of retrieval by cosine; see `ranks`."""
    place = ranks(query, gallery)
    return Retrieval(
        recall={depth: float(np.mean(place <= depth)) for depth in DEPTHS},
        median_rank=float(np.median(place)),
        num_regions=len(gallery),
        num_queries=len(place),
    )


def ranks(
    query: Float[np.ndarray, "r p"], gallery: Float[np.ndarray, "_ _"]
) -> Int[np.ndarray, " q"]:
    """Computes the rank of each query's own row of the gallery; 1 is most similar.

    If there are more than `MOST_QUERIES` queries, this many are drawn.

    Rows as similar as a query's own row (`TIE`) are ranked before it. So an encoder
    that gives all regions the same vector finds nothing, instead of everything or half.

    Raises:
        InputError: If the two differ in shape, are empty or are not finite.
    """
    _check(query, gallery)
    query, gallery = distances.unit(query), distances.unit(gallery)
    asking = checks.drawn(len(query), MOST_QUERIES)
    place = np.empty(len(asking), np.int64)
    for block in distances.row_blocks(len(asking), len(gallery)):
        similarity = query[asking[block]] @ gallery.T
        own = similarity[np.arange(len(similarity)), asking[block]]
        place[block] = np.sum(similarity >= own[:, None] - TIE, axis=1)  # and itself
    return place


def _check(query: np.ndarray, gallery: np.ndarray) -> None:
    if query.shape != gallery.shape or not len(query):
        raise InputError(
            f"retrieval between vectors of shapes {query.shape} and {gallery.shape}: "
            "both sides must be projections of the same regions, at least of one."
        )
    for name, vectors in (("query", query), ("gallery", gallery)):
        checks.finite(f"retrieval: {name}", vectors, checks.GOOD_FEATURES)
