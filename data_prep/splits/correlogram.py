"""How far a label resembles itself: the size that spatial blocks should have.

The correlogram is that of all pairs of regions, binned by distance: the mean product
of standardised values. A bin is as wide as neighbouring regions are apart, so
neighbours fill the first bin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from data_prep.labels.known import Values
from mmgr_jax.data.schema import Label

THRESHOLD = 0.2
"""Below this correlation, regions no longer tell much of each other."""

# Pairs grow with the square of the regions; more than these are a sample.
_MAX_REGIONS = 4000
_CHUNK = 500
_MIN_PAIRS = 30
_MAX_BINS = 40


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A proposed size of blocks, and why.

    Attributes:
        size_m: Side of a block in metres.
        reason: In words.
        distance_m: Middle of each bin.
        correlation: Label -> correlation in each bin, None where pairs are few.
        range_m: Label -> distance at which it falls below the threshold.
    """

    size_m: float
    reason: str
    distance_m: tuple[float, ...]
    correlation: Mapping[str, tuple[float | None, ...]]
    range_m: Mapping[str, float]

    def __str__(self) -> str:
        """The proposal in a line."""
        ranges = ", ".join(f"{name} {far:,.0f} m" for name, far in self.range_m.items())
        return f"{self.size_m:,.0f} m proposed: {self.reason} ({ranges})"

    def to_json(self) -> dict[str, Any]:
        """The proposal for the manifest."""
        return {"threshold": THRESHOLD, **dataclasses.asdict(self)}


def propose(
    centre_m: Float[np.ndarray, "r 2"],
    labels: Mapping[str, tuple[Label, Values]],
    *,
    num_blocks: int,
) -> Proposal:
    """The side of blocks beyond which no label resembles itself.

    For each label, the distance is where its correlogram first falls below `THRESHOLD`;
    the largest of these distances is proposed. It is at least the size of two regions
    side by side, and small enough to leave `num_blocks` blocks.

    Args:
        centre_m: East and north coordinate of each region's centre [r 2].
        labels: Name -> meaning and values, NaN where unknown. Counts and densities are
            taken as log(1 + value / median); shares as the mean over their classes.
        num_blocks: Smallest number of blocks that is wanted.
    """
    step_m = spacing_m(centre_m)
    sample = np.random.default_rng(0).permutation(len(centre_m))[:_MAX_REGIONS]
    extent_m = np.ptp(centre_m, axis=0)
    num_bins = int(np.clip(np.hypot(*extent_m) / 2 / step_m, 1, _MAX_BINS))
    distance_m = step_m * (np.arange(num_bins) + 1)
    curves, ranges = {}, {}
    for name, (label, values) in labels.items():
        curve = correlation(
            centre_m[sample], _standardised(label, values[sample]), step_m, num_bins
        )
        if np.isfinite(curve).any():
            curves[name] = tuple(
                round(float(value), 4) if np.isfinite(value) else None
                for value in curve
            )
            ranges[name] = _reach(curve, distance_m)
    wanted_m = max(ranges.values(), default=2 * step_m)
    reason = f"closer regions have similar labels (correlation {THRESHOLD} or more)"
    largest_m = float(np.sqrt(np.prod(np.maximum(extent_m, step_m)) / num_blocks))
    size_m = max(min(wanted_m, largest_m), 2 * step_m)
    if not ranges:
        reason = "no label to judge by, so two regions side by side"
    elif size_m < wanted_m:
        reason = f"{wanted_m:,.0f} m would leave fewer than {num_blocks} blocks"
    return Proposal(
        round(size_m, 1), reason, tuple(distance_m.tolist()), curves, ranges
    )


def correlation(
    centre_m: Float[np.ndarray, "r 2"],
    z: Float[np.ndarray, "r k"],
    step_m: float,
    num_bins: int,
) -> Float[np.ndarray, " m"]:
    """Mean product of standardised values over the pairs of each bin of distance.

    Args:
        centre_m: Centres.
        z: Columns of mean 0 and variance 1; NaN rows are left out.
        step_m: Width of a bin; bin i is centred on (i + 1) * `step_m`.
        num_bins: Number of bins m.

    Returns:
        The correlation, the mean over columns; NaN where there are too few pairs.
    """
    known = np.isfinite(z).all(axis=1)
    centre_m, z = centre_m[known], z[known]
    products, pairs = np.zeros(num_bins), np.zeros(num_bins)
    for first in range(0, len(z), _CHUNK):
        rows = slice(first, first + _CHUNK)
        apart_m = np.linalg.norm(centre_m[rows, None] - centre_m[None], axis=-1)
        bin_of = np.round(apart_m / step_m).astype(np.int64) - 1
        # Each pair is met twice, which changes no mean.
        near = (bin_of >= 0) & (bin_of < num_bins)
        product = z[rows] @ z.T / max(z.shape[1], 1)
        products += np.bincount(bin_of[near], product[near], minlength=num_bins)
        pairs += np.bincount(bin_of[near], minlength=num_bins)
    enough = pairs >= 2 * _MIN_PAIRS
    return np.where(enough, products / np.maximum(pairs, 1), np.nan)


def _reach(curve: np.ndarray, distance_m: np.ndarray) -> float:
    """First distance at which a curve lies below the threshold, between its bins."""
    known = np.isfinite(curve)
    # At no distance, the correlation is one.
    curve = np.concatenate([[1.0], curve[known]])
    distance_m = np.concatenate([[0.0], distance_m[known]])
    below = np.flatnonzero(curve < THRESHOLD)
    if not len(below):
        return float(distance_m[-1])
    after = int(below[0])
    part = (curve[after - 1] - THRESHOLD) / (curve[after - 1] - curve[after])
    return float(
        distance_m[after - 1] + part * (distance_m[after] - distance_m[after - 1])
    )


def _standardised(label: Label, values: Values) -> Float[np.ndarray, "r k"]:
    """Columns of mean 0 and variance 1; those that do not vary are left out."""
    x = values.reshape(len(values), -1).astype(float)
    known = np.isfinite(x).all(axis=1)
    if not known.any():
        return x[:, :0] * np.nan
    if label.kind in ("count", "density"):
        positive = x[known][x[known] > 0]
        x = np.log1p(np.maximum(x, 0) / (np.median(positive) if len(positive) else 1))
    deviation = x[known].std(axis=0)
    varies = deviation > 1e-9
    return (x[:, varies] - x[known].mean(axis=0)[varies]) / deviation[varies]


def spacing_m(centre_m: np.ndarray) -> float:
    """How far regions lie from their nearest neighbour, by the median."""
    if len(centre_m) < 2:
        return 1.0
    apart_m, _ = KDTree(centre_m).query(centre_m, k=2)
    return float(max(np.median(apart_m[:, 1]), 1.0))
