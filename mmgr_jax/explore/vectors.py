"""Prepares features for the page: standardised, reduced, one byte for each number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int8, Num, UInt8

from mmgr_jax.data.unit_vectors import unit_rows
from mmgr_jax.disk import files
from mmgr_jax.evaluation.features.groups import Features

MOST_BYTES = 2**25
"""Of all numbers on the page; of more the first principal components are taken."""

MOST_FILE_BYTES = 2**30
"""Of the numbers that a server maps into memory, four bytes each: all of them are read
at every search, a tenth of a second a core for so many."""

LEAST_NUMBERS = 64
"""Of a region, however many regions there are."""

DEPTH = 20
"""Nearest regions by which the loss is measured."""

_ROWS = 8192
_FITTED = 20_000  # regions that components are fitted to
_QUERIES = 200
_COSINES = 3e7  # of all queries together: 240 MB
_SPREAD = 1e-6  # as clusters.py: a column that differs less says nothing


@dataclasses.dataclass(frozen=True)
class Standardised:
    """Features whose columns have mean 0 and deviation 1, computed when they are read.

    Attributes:
        features: The features [r f].
        mean: Of each column.
        deviation: Of each column; infinite if a column is constant, so that it becomes
            0.
        weights: Weights of columns in cosines, so that all groups have equal weight.
    """

    features: Features
    mean: Float[np.ndarray, " f"]
    deviation: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, " f"]

    @classmethod
    def of(cls, features: Features) -> Standardised:
        """Measures the columns, a part of the regions at a time."""
        sums = np.zeros((2, features.num_features))
        shift = features.rows(np.arange(1))[0].astype(np.float64)
        for rows in _slices(len(features)):
            values = features.rows(rows) - shift
            sums += values.sum(axis=0), np.square(values).sum(axis=0)
        mean, square = sums / len(features)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        deviation[deviation <= _SPREAD] = np.inf
        return cls(features, mean + shift, deviation, features.weights())

    def rows(self, index: np.ndarray) -> Float[np.ndarray, "n f"]:
        """Reads the rows of some regions."""
        return (self.features.rows(index) - self.mean) / self.deviation

    def components(self, count: int) -> tuple[Float[np.ndarray, "f k"], float]:
        """Computes the first principal components of weighted columns.

        Returns:
            The matrix by which standardised columns are multiplied, and the share of
            the variance that is kept.
        """
        total = len(self.features)
        chosen = np.arange(total)
        if total > _FITTED:
            rng = np.random.default_rng(0)
            chosen = np.sort(rng.choice(total, _FITTED, replace=False))
        width = self.features.num_features
        products = np.zeros((width, width))
        for rows in _slices(len(chosen)):
            values = self.rows(chosen[rows]) * self.weights
            products += values.T @ values
        variance, axes = np.linalg.eigh(products / len(chosen))
        axes = axes[:, ::-1][:, :count]
        largest = np.argmax(np.abs(axes), axis=0)
        axes *= np.sign(axes[largest, np.arange(axes.shape[1])])
        whole = max(float(variance.sum()), np.finfo(float).tiny)
        kept = float(variance[::-1][:count].sum()) / whole
        return self.weights[:, None] * axes, kept


@dataclasses.dataclass(frozen=True)
class PageVectors:
    """Facts about the numbers that a page computes with, on the page or on a server.

    Attributes:
        moments: Mean and deviation of each raw feature [2 d], deviation 0 where it is
            constant; None if the numbers are components.
        weights: Weights of the numbers in cosines [d].
        groups: Name of each group of features and how many numbers it has, in order.
        colours: Red, green and blue of the first three components [r 3].
        explained: Share of the variance that the d numbers keep; 1: no component was
            left out.
        recall: Mean share of the `DEPTH` regions nearest by the cosine of all features
            that are among the `DEPTH` nearest by these numbers.
    """

    moments: Float[np.ndarray, "2 d"] | None
    weights: Float[np.ndarray, " d"]
    groups: tuple[tuple[str, int], ...]
    colours: UInt8[np.ndarray, "r 3"]
    explained: float
    recall: float


@dataclasses.dataclass(frozen=True)
class Vectors(PageVectors):
    """Numbers that the page holds.

    Attributes:
        numbers: Whole numbers of each region [r d].
        scale: Factor of these numbers, one for each region.
    """

    numbers: Int8[np.ndarray, "r d"]
    scale: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class MappedVectors(PageVectors):
    """Numbers with which a server computes.

    Attributes:
        numbers: A file [r d] that is mapped into memory.
        inverse: 1 over the length of each weighted row; 0 for a row of zeros.
    """

    numbers: Float[np.ndarray, "r d"]
    inverse: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class _Space:
    """The numbers that stand for features: standardised columns, or components."""

    exact: Standardised
    axes: Float[np.ndarray, "f d"] | None
    explained: float
    weights: Float[np.ndarray, " d"]
    groups: tuple[tuple[str, int], ...]
    moments: Float[np.ndarray, "2 d"] | None
    three: Float[np.ndarray, "f k"]

    def described(self, components: Sequence[np.ndarray]) -> dict[str, Any]:
        """What `PageVectors` says of it but for recall; `components` [n 3] in parts."""
        return {
            "moments": self.moments,
            "weights": self.weights,
            "groups": self.groups,
            "colours": as_colours(np.concatenate(components)),
            "explained": self.explained,
        }

    @classmethod
    def of(cls, features: Features, most: int) -> _Space:
        """Makes a space with at most `most` numbers for each region."""
        exact = Standardised.of(features)
        three, _ = exact.components(3)
        if features.num_features > most:
            axes, explained = exact.components(most)
            groups = (("components", most),)
            return cls(exact, axes, explained, np.ones(most), groups, None, three)
        finite = np.where(np.isfinite(exact.deviation), exact.deviation, 0)
        moments = np.stack([exact.mean, finite])
        return cls(exact, None, 1.0, exact.weights, features.groups, moments, three)

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields parts of the regions: which, their numbers, their first components."""
        for rows in _slices(len(self.exact.features)):
            values = self.exact.rows(rows)
            own = values if self.axes is None else values @ self.axes
            yield rows, own, values @ self.three


def of(features: Features) -> Vectors:
    """Prepares the features of a city for its page."""
    space = _Space.of(features, max(MOST_BYTES // len(features), LEAST_NUMBERS))
    numbers, scales, first = [], [], []
    for _, values, components in space.parts():
        first.append(components)
        whole, scale = quantised(values)
        numbers.append(whole)
        scales.append(scale)
    number, scale = np.concatenate(numbers), np.concatenate(scales)
    return Vectors(
        numbers=number,
        scale=scale,
        recall=recall(space.exact, number, space.weights),
        **space.described(first),
    )


def mapped(features: Features, path: Path) -> MappedVectors:
    """Prepares the features of a city for a server.

    Args:
        features: Features of all regions.
        path: A file to write, ending in .npy.
    """
    most = max(MOST_FILE_BYTES // (4 * len(features)), LEAST_NUMBERS)
    space = _Space.of(features, most)
    shape = (len(features), len(space.weights))
    lengths, first = [], []
    with files.replacing(path) as temporary:
        written = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        for rows, values, components in space.parts():
            written[rows] = values
            first.append(components)
            lengths.append(np.linalg.norm(values * space.weights, axis=1))
        written.flush()
    length = np.concatenate(lengths)
    inverse = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    numbers = np.asarray(np.load(path, mmap_mode="r"))
    whole = space.axes is None
    return MappedVectors(
        numbers=numbers,
        inverse=inverse.astype(np.float32),
        recall=1.0 if whole else recall(space.exact, numbers, space.weights),
        **space.described(first),
    )


def quantised(
    values: Float[np.ndarray, "n d"],
) -> tuple[Int8[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """Turns rows into whole numbers from -127 to 127, and a factor for each row.

    Args:
        values: Finite rows; a row of zeros gets the scale 0.
    """
    scale = (np.abs(values).max(axis=1, initial=0.0) / 127).astype(np.float32)
    divisor = np.where(scale > 0, scale, 1.0)[:, None]
    whole = np.clip(np.round(values / divisor), -127, 127).astype(np.int8)
    return whole, scale


def recall(
    exact: Standardised,
    numbers: Num[np.ndarray, "r d"],
    weights: Float[np.ndarray, " d"],
) -> float:
    """Measures the share of nearest regions that stay nearest; see `PageVectors`.

    If there are many regions, the neighbours of `_QUERIES` regions are searched among
    all regions. These are the same each time.

    Args:
        exact: The features.
        numbers: Numbers that stand for the features on the page, with rows of any
            length.
        weights: Weights of the numbers in cosines.
    """
    total = len(numbers)
    depth = min(DEPTH, total - 1)
    if depth < 1:
        return 1.0
    rng = np.random.default_rng(0)
    queries = min(_QUERIES, total, max(int(_COSINES / total), 1))
    asked = np.sort(rng.choice(total, queries, replace=False))
    own = exact.weights
    asks = _unit32(exact.rows(asked) * own), _unit32(numbers[asked] * weights)
    cosine = np.empty((2, len(asked), total), np.float32)
    for rows in _slices(total):
        cosine[0][:, rows] = asks[0] @ _unit32(exact.rows(rows) * own).T
        cosine[1][:, rows] = asks[1] @ _unit32(numbers[rows] * weights).T
    cosine[:, np.arange(len(asked)), asked] = -np.inf  # itself
    near = np.argpartition(-cosine, depth - 1, axis=2)[..., :depth]
    shares = [
        len(np.intersect1d(first, second)) / depth
        for first, second in zip(*near, strict=True)
    ]
    return float(np.mean(shares))


def as_colours(values: Float[np.ndarray, "r k"]) -> UInt8[np.ndarray, "r 3"]:
    """Turns up to three numbers a region into colours; similar numbers look alike.

    The first becomes lightness, the others red-green and yellow-blue of OKLab
    (Ottosson 2020), between the 2nd and the 98th percentile of each.
    """
    values = np.pad(values, ((0, 0), (0, 3 - values.shape[1])))
    low, high = np.quantile(values, [0.02, 0.98], axis=0)
    spread = np.where(high > low, high - low, 1.0)
    share = np.clip((values - low) / spread, 0, 1)
    share[:, high <= low] = 0.5
    lightness = 0.4 + 0.5 * share[:, 0]
    green_red, blue_yellow = (share[:, 1:] - 0.5).T * 0.24
    lms = np.stack(
        [
            lightness + 0.3963377774 * green_red + 0.2158037573 * blue_yellow,
            lightness - 0.1055613458 * green_red - 0.0638541728 * blue_yellow,
            lightness - 0.0894841775 * green_red - 1.2914855480 * blue_yellow,
        ],
        axis=1,
    )
    linear = lms**3 @ _TO_LINEAR_RGB.T
    linear = np.clip(linear, 0, 1)
    gamma = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return np.round(gamma * 255).astype(np.uint8)


_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
"""From the cube of OKLab's cone responses to linear sRGB."""


def _slices(total: int) -> list[np.ndarray]:
    return np.array_split(np.arange(total), max(-(-total // _ROWS), 1))


def _unit32(rows: np.ndarray) -> Float[np.ndarray, "n d"]:
    return unit_rows(np.asarray(rows, np.float32))
