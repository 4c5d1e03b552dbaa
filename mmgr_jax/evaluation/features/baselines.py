"""Baselines to compare with: features and rules that need no training.

Features of baselines are used by the same heads and splits as those of an encoder. A
rule predicts labels directly. No baseline reads a label on which it is tested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float
from scipy import spatial

from mmgr_jax import cores
from mmgr_jax.data.source import RecordSource, RegionSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.features.tile_statistics import image_statistics

NEIGHBOUR_COUNTS = (1, 2, 4, 8, 16, 32)
BATCH = 16
"""Tiles whose statistics a thread takes at a time: they stay in the cache."""
_READ = 256


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Data of a city from which baselines are computed.

    Attributes:
        source: The records of a city.
        centre_m: Centres of the regions [r 2]. None if they are unknown.
    """

    source: RecordSource
    centre_m: Float[np.ndarray, "r 2"] | None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A way to predict without learning from the city's images and POIs.

    Attributes:
        sentence: Description for tables.
        features: Computes features. None for a rule, or if a network computes them.
        of_rows: Computes features of some regions. None if they depend on all regions.
        parts: Baselines whose features are combined, instead of own features.
        needs: `place` for the centres of regions, `encoder` for a network.
    """

    sentence: str
    features: Callable[[Inputs], Features] | None = None
    of_rows: Callable[[RegionSource, Sequence[int]], Features] | None = None
    parts: tuple[str, ...] = ()
    needs: str = ""


def _counts_of_rows(source: RegionSource, rows: Sequence[int]) -> Features:
    return Features.of("POI counts", log_counts(category_counts(source, rows)))


def _statistics_of_rows(source: RegionSource, rows: Sequence[int]) -> Features:
    return Features.of("image statistics", statistics_of_tiles(source, rows))


BASELINES: Mapping[str, Baseline] = {
    "mean": Baseline("the mean of the training labels"),
    "coordinates": Baseline(
        "where a region lies: a polynomial of degree 3 in its coordinates",
        lambda inputs: Features.of("place", trend_surface(_centres_m(inputs))),
        needs="place",
    ),
    "neighbour average": Baseline(
        "the mean of the training labels that are nearest on the map, their number "
        "chosen by validation",
        needs="place",
    ),
    "poi counts": Baseline(
        "log(1 + number of POIs) of each category and of all",
        lambda inputs: _counts_of_rows(inputs.source, range(len(inputs.source))),
        _counts_of_rows,
    ),
    "poi tf-idf": Baseline(
        "POI counts of each category, rare ones weighing more, scaled to length 1",
        lambda inputs: Features.of(
            "POI tf-idf", tf_idf(category_counts(inputs.source))
        ),
    ),
    "image statistics": Baseline(
        "colour moments and histograms, gradients and local binary patterns of a tile",
        lambda inputs: _statistics_of_rows(inputs.source, range(len(inputs.source))),
        _statistics_of_rows,
    ),
    "statistics and counts": Baseline(
        "image statistics and POI counts side by side: what MMGR must beat",
        parts=("image statistics", "poi counts"),
    ),
    "random encoder": Baseline(
        "features of the same network with random weights", needs="encoder"
    ),
}


def _centres_m(inputs: Inputs) -> Float[np.ndarray, "r 2"]:
    """Centres of the regions, of a baseline that needs them."""
    assert inputs.centre_m is not None
    return inputs.centre_m


def trend_surface(centre_m: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, "r m"]:
    """Computes all products x^i y^j with 0 < i + j <= 3, of coordinates in -1 to 1.

    The degree is low because heads must extrapolate to the blocks that they are tested
    on.
    """
    middle = (centre_m.max(axis=0) + centre_m.min(axis=0)) / 2
    apart = centre_m - middle
    x, y = (apart / max(np.abs(apart).max(), 1.0)).T
    powers = [(i, n - i) for n in (1, 2, 3) for i in range(n, -1, -1)]
    return np.stack([x**i * y**j for i, j in powers], axis=1).astype(np.float32)


def category_counts(
    source: RegionSource, rows: Sequence[int] | None = None
) -> Float[np.ndarray, "r k"]:
    """Counts the POIs of each category in each region, or in some of the regions."""
    rows = range(len(source)) if rows is None else rows
    num_categories = len(source.manifest.categories)
    counts = np.zeros((len(rows), num_categories), np.float32)
    for first in range(0, len(rows), _READ):
        for place, record in enumerate(source.read(rows[first : first + _READ]), first):
            counts[place] = np.bincount(
                record["poi/category"], minlength=num_categories
            )
    return counts


def log_counts(counts: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "r k+1"]:
    """Computes log(1 + count), as counts have heavy tails, by category and in total."""
    total = counts.sum(axis=1, keepdims=True)
    return np.log1p(np.concatenate([counts, total], axis=1))


def tf_idf(counts: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "r k"]:
    """Computes counts times 1 + log((1 + r) / (1 + regions with the category)).

    Rows are scaled to length 1, as in scikit-learn's TfidfTransformer. Regions are
    counted in the whole city, which reads no label. A region without POIs has zeros.
    """
    present = np.sum(counts > 0, axis=0)
    weighted = counts * (1 + np.log((1 + len(counts)) / (1 + present)))
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return (weighted / np.where(length > 0, length, 1.0)).astype(np.float32)


def statistics_of_tiles(
    source: RegionSource, rows: Sequence[int] | None = None
) -> Float[np.ndarray, "r m"]:
    """Computes statistics of tiles, with a thread per core; see `tile_statistics`."""
    rows = range(len(source)) if rows is None else rows

    def of_batch(first: int) -> np.ndarray:
        records = source.read(rows[first : first + BATCH], image=True)
        return image_statistics(np.stack([record["image"] for record in records]))

    with ThreadPoolExecutor(cores.count()) as pool:
        return np.concatenate(list(pool.map(of_batch, range(0, len(rows), BATCH))))


def neighbour_average(
    centre_m: Float[np.ndarray, "r 2"],
    target: Float[np.ndarray, "r ..."],
    *,
    train: Bool[np.ndarray, " r"],
    validation: Bool[np.ndarray, " r"],
    counts: Sequence[int] = NEIGHBOUR_COUNTS,
) -> tuple[Float[np.ndarray, "r ..."], int]:
    """Predicts the mean label of the nearest training regions, from location only.

    Args:
        centre_m: Centres of all regions.
        target: Labels [r], or shares [r k]. Only those of `train` and `validation` are
            read.
        train: Labelled regions whose labels are averaged.
        validation: Labelled regions that choose the number of neighbours with the
            smallest mean absolute error.
        counts: Numbers of neighbours to choose from. If there are fewer training
            regions, all of them are used.

    Returns:
        Predictions for all regions, in the label's unit, and the chosen count. A
        training region is its own neighbour. Only predictions for regions in neither
        part are out-of-sample.

    Raises:
        InputError: If there is no training or no validation region.
    """
    for name, part in (("training", train), ("validation", validation)):
        if not part.any():
            raise InputError(
                f"neighbour average: there is no {name} region with a label among "
                f"{len(part)}. Ask for fewer folds (config.eval.num_folds)."
            )
    counts = sorted({min(count, int(train.sum())) for count in counts})
    tree = spatial.KDTree(centre_m[train])
    nearest = np.asarray(tree.query(centre_m, k=counts[-1])[1])
    nearest = nearest.reshape(len(centre_m), -1)  # of one neighbour without this axis
    labels = target[train].astype(np.float64)
    chosen, prediction, least = 0, np.zeros(0), np.inf
    for count in counts:
        average = labels[nearest[:, :count]].mean(axis=1)
        error = np.abs(average[validation] - target[validation]).mean()
        if error < least:
            chosen, prediction, least = count, average, error
    return prediction, chosen
