"""Whether embeddings use their space: rank, uniformity, alignment, shared neighbours.

None of these needs a label. They show, without heads, whether an encoder collapsed, so
that it maps all regions to about the same vector. Good values alone promise nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.certainty import checks, distances


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How far two spaces agree about which regions are neighbours.

    Attributes:
        share: Mean share of a region's nearest regions in one space that are also among
            the nearest in the other, 0 to 1.
        by_chance: Mean share that unrelated spaces would give.
        num_neighbours: Number of nearest regions that were compared.
    """

    share: float
    by_chance: float
    num_neighbours: int


def effective_rank(features: Float[np.ndarray, "r f"]) -> float:
    """Computes over how many directions features spread: 1 for a line, f for a ball.

    It is the exponential of the entropy of the singular values of the centred features,
    scaled to sum to one. It is 0 if all rows are equal, and at most min(r - 1, f).

    Reference:
        Roy and Vetterli (2007), "The effective rank", EUSIPCO. Here features are
        centred, so that a common offset does not count as a direction.
    """
    _check(features=features)
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    wide = centred.shape[1] > centred.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    energy = np.linalg.eigvalsh(gram)
    # Rounding leaves some 1e-16 of the largest energy where there is none.
    energy = energy[energy > 1e-14 * energy.max(initial=0.0) * len(energy)]
    if not len(energy) or energy.max() <= _rounding(features):
        return 0.0
    part = np.sqrt(energy)
    part /= part.sum()
    return float(np.exp(-np.sum(part * np.log(part))))


def constant_share(features: Float[np.ndarray, "r f"]) -> float:
    """Computes the share of features that have the same value in all regions."""
    _check(features=features)
    x = features.astype(np.float64)
    return float(np.mean(x.std(axis=0) <= checks.CONSTANT * np.abs(x.mean(axis=0))))


def uniformity(features: Float[np.ndarray, "r f"], *, most: int = 4096) -> float:
    """Measures how evenly directions fill the sphere: log mean exp(-2 |x - y|^2).

    x and y are the unit vectors of two different regions; the mean is over pairs. It is
    0 if all directions are the same. The lowest value is about -4, for directions
    spread evenly in many dimensions.

    Args:
        features: Projections or features.
        most: Largest number of regions. If there are more, this many are drawn, because
            the number of pairs grows with the square.

    Reference:
        Wang and Isola (2020), ICML, eq. 2, t = 2.
    """
    _check(features=features)
    drawn = checks.drawn(len(features), most)
    x = distances.unit(features[drawn]).astype(np.float64)
    total = 0.0
    for block in distances.row_blocks(len(x), len(x)):
        total += np.exp(-2 * distances.squared(x[block], x)).sum()
    pairs = len(x) * (len(x) - 1)
    return float(np.log((total - len(x)) / pairs))  # each is at distance 0 of itself


def alignment(a: Float[np.ndarray, "r p"], b: Float[np.ndarray, "_ _"]) -> float:
    """Computes mean |x - y|^2 of unit vectors of a region in two views or modalities.

    It is 0 if the two agree, 2 for unrelated directions, 4 for opposite ones. Read it
    together with `uniformity`, because a collapsed encoder is perfectly aligned.

    Args:
        a: Projections of one view, or of the images.
        b: Projections of the other view, or of the POI sets, of the same length.

    Raises:
        InputError: If `a` and `b` differ in their number of regions or in length.

    Reference:
        Wang and Isola (2020), ICML, eq. 1, alpha = 2.
    """
    _check(a=a, b=b)
    if a.shape != b.shape:
        raise InputError(
            f"alignment of vectors of shapes {a.shape} and {b.shape}: compare the "
            "projections of both sides, which share one space."
        )
    x, y = (distances.unit(vectors).astype(np.float64) for vectors in (a, b))
    return float(np.mean(np.sum((x - y) ** 2, axis=1)))


def neighbour_overlap(
    a: Float[np.ndarray, "r _"],
    b: Float[np.ndarray, "_ _"],
    *,
    num_neighbours: int = 10,
    most: int = 2048,
) -> Overlap:
    """Computes the share of nearest regions in space `a` that are also nearest in `b`.

    Neighbours are found by cosine similarity. The spaces may differ in dimension.

    Args:
        a: Vectors of all regions in one space, such as image features.
        b: Vectors of the same regions in the other, such as POI features. Leave out
            regions without POIs, whose vectors are all the same.
        num_neighbours: Number of nearest regions to compare.
        most: Largest number of regions whose neighbours are compared. If there are
            more, this many are drawn. Neighbours are searched among all regions.

    Raises:
        InputError: If `a` and `b` have different numbers of regions, or too few.
    """
    _check(a=a, b=b)
    if len(a) != len(b):
        raise InputError(f"neighbours of {len(a)} and of {len(b)} regions: give both.")
    rows = checks.drawn(len(a), most)
    near_a, near_b = (
        distances.nearest_neighbours(distances.unit(vectors), rows, num_neighbours)
        for vectors in (a, b)
    )
    common = near_a[:, :, None] == near_b[:, None]  # a region is named once in each
    return Overlap(
        share=float(common.any(axis=2).mean()),
        by_chance=num_neighbours / (len(a) - 1),
        num_neighbours=num_neighbours,
    )


def _rounding(features: np.ndarray) -> float:
    """Energy that features of one value may have by rounding alone."""
    largest = float(np.abs(features).max(initial=0.0))
    return features.size * (largest * float(np.finfo(features.dtype).eps)) ** 2


def _check(**spaces: np.ndarray) -> None:
    for name, features in spaces.items():
        if len(features) < 2:
            raise InputError(
                f"embedding health of {len(features)} regions ({name}): at least two "
                "are needed."
            )
        checks.finite(f"embedding health: {name}", features, checks.GOOD_FEATURES)
