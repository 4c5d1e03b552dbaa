"""Features of regions in named groups, and what neighbours add to them.

A head that penalises all columns alike hears a group of 400 numbers a hundred times
louder than one of four. So features come with their groups: the stages of an encoder,
the POI set, the counts, the surroundings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse, spatial

from mmgr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Features:
    """What heads are given of every region.

    Attributes:
        values: The numbers, group after group [r f].
        groups: Name and number of columns of each group, in order.
        rings: Weights [r r] of the regions around, for each ring; the columns are
            those of the regions themselves, then as many for each ring.
    """

    values: Float[np.ndarray, "r f"]
    groups: tuple[tuple[str, int], ...]
    rings: tuple[sparse.csr_array, ...] = ()

    @classmethod
    def of(cls, name: str, values: Float[np.ndarray, "r f"]) -> Features:
        """Features of one group."""
        return cls(values, ((name, values.shape[1]),))

    @property
    def num_features(self) -> int:
        """Columns of all groups."""
        return self.values.shape[1]

    def around_untested(self, test: Bool[np.ndarray, " r"]) -> Float[np.ndarray, "r f"]:
        """The numbers when nobody else reads a tested region.

        What surrounds the others is then the mean of their neighbours that are not
        tested. The tested ones read all around them: no label travels.

        Args:
            test: Regions that are tested.
        """
        if not self.rings or not test.any():
            return self.values
        own = self.values[:, : self.num_features // (1 + len(self.rings))]
        around = [_without(ring, test) @ own for ring in self.rings]
        return np.concatenate([own, *around], axis=1, dtype=self.values.dtype)

    def weights(self) -> Float[np.ndarray, " f"]:
        """Factors of standardised columns by which all groups weigh alike.

        The sum of their squares is that of f ones, so that strengths mean the same
        with and without them; a single group has ones.
        """
        sizes = np.array([size for _, size in self.groups], np.float64)
        share = sizes.sum() / (len(sizes) * sizes)
        return np.repeat(np.sqrt(share), sizes.astype(int))

    def renamed(self, template: str) -> Features:
        """The same with other names of groups; `template` holds `{}`."""
        groups = tuple((template.format(name), size) for name, size in self.groups)
        return dataclasses.replace(self, groups=groups)


def beside(parts: Sequence[Features]) -> Features:
    """Features side by side.

    Args:
        parts: One or more, of the same regions, without rings.
    """
    if len(parts) == 1:
        return parts[0]
    return Features(
        np.concatenate([part.values for part in parts], axis=1),
        tuple(group for part in parts for group in part.groups),
    )


def below(parts: Sequence[Features]) -> Features:
    """The same features of more regions, one city after another.

    Cities are tested whole, and nobody reads a region of another one: rings end here.
    """
    return Features(np.concatenate([part.values for part in parts]), parts[0].groups)


class Surroundings:
    """The mean features of the regions around each region, ring by ring.

    A ring reaches from the radius before it (exclusive) to its own (inclusive), from
    centre to centre. Nothing but features travels: no label does. A region without any
    neighbour in a ring is taken to be surrounded by its like.
    """

    def __init__(
        self, centre_m: Float[np.ndarray, "r 2"] | None, radii_m: Sequence[float]
    ) -> None:
        """Finds the neighbours.

        Args:
            centre_m: Centres of the regions; None where nobody knows them.
            radii_m: Outer radii of the rings, growing; () for no surroundings.

        Raises:
            InputError: If radii do not grow from above 0, or places are not known.
        """
        self._radii_m = tuple(float(radius) for radius in radii_m)
        inner = (0.0, *self._radii_m)
        if not all(a < b for a, b in zip(inner, self._radii_m, strict=False)):
            raise InputError(
                f"config.readout.surroundings_m={tuple(radii_m)}: give growing radii "
                "in metres, such as (200.0, 400.0), or () for none."
            )
        if not self._radii_m:
            self._rings = ()
            return
        if centre_m is None:
            raise InputError(
                "config.readout.surroundings_m: the records do not say where regions "
                "lie, so nobody knows what surrounds them. Set it to (), or build the "
                "records from imagery with a CRS."
            )
        self._rings = tuple(
            _mean_of_ring(centre_m, low, high)
            for low, high in zip(inner, self._radii_m, strict=False)
        )

    def added(self, features: Features) -> Features:
        """The features, and behind them those of each ring."""
        if not self._rings:
            return features
        around = [
            dataclasses.replace(
                features, values=(ring @ features.values).astype(np.float32)
            ).renamed(f"{{}} within {radius:g} m")
            for ring, radius in zip(self._rings, self._radii_m, strict=True)
        ]
        return dataclasses.replace(beside([features, *around]), rings=self._rings)


def _without(ring: sparse.csr_array, test: Bool[np.ndarray, " r"]) -> sparse.csr_array:
    """The same means, of which tested regions are no part but for one another."""
    cells = ring.tocoo()
    kept = test[cells.row] | ~test[cells.col]
    return _mean(cells.row[kept], cells.col[kept], len(test))


def _mean_of_ring(
    centre_m: Float[np.ndarray, "r 2"], low: float, high: float
) -> sparse.csr_array:
    """Weights [r r] whose row averages the neighbours between two distances."""
    count = len(centre_m)
    pairs = pairs_within(centre_m, high)
    apart = np.linalg.norm(centre_m[pairs[:, 0]] - centre_m[pairs[:, 1]], axis=1)
    pairs = pairs[apart > low] if low > 0 else pairs
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    return _mean(first, second, count)


def _mean(
    first: Int[np.ndarray, " p"], second: Int[np.ndarray, " p"], count: int
) -> sparse.csr_array:
    """Weights whose row `first` averages its partners `second`: itself without any."""
    alone = np.flatnonzero(np.bincount(first, minlength=count) == 0)
    first, second = np.append(first, alone), np.append(second, alone)
    number = np.bincount(first, minlength=count)
    return sparse.csr_array(
        (1.0 / number[first], (first, second)), shape=(count, count)
    )


def pairs_within(centre_m: Float[np.ndarray, "r 2"], radius_m: float) -> np.ndarray:
    """Pairs of regions [p 2] whose centres are at most so far apart, each pair once."""
    tree = spatial.KDTree(centre_m)
    return tree.query_pairs(radius_m, output_type="ndarray").astype(np.int64)
