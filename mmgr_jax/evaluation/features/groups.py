"""Features of regions in named groups, and mean features of neighbouring regions.

If a head penalises all columns equally, a group of 400 numbers has a hundred times the
weight of a group of four. So features know their groups: the stages of an encoder, the
POI set, the counts, the surroundings.
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
    """The features of every region that heads read.

    Attributes:
        parts: Arrays or memory maps [r _] whose columns are joined: first those of the
            regions themselves, then as many for each ring.
        groups: Name and number of columns of each group, in order.
        rings: Weights [r r] of the surrounding regions, for each ring.
        tested: Regions that do not count as neighbours of other regions [r]. None: no
            such regions. See `around_untested`.
    """

    parts: tuple[Float[np.ndarray, "r _"], ...]
    groups: tuple[tuple[str, int], ...]
    rings: tuple[sparse.csr_array, ...] = ()
    tested: Bool[np.ndarray, " r"] | None = None

    @classmethod
    def of(cls, name: str, values: Float[np.ndarray, "r f"]) -> Features:
        """Makes features with one group."""
        return cls((values,), ((name, values.shape[1]),))

    def __len__(self) -> int:
        """Number of regions."""
        return len(self.parts[0])

    @property
    def num_features(self) -> int:
        """Number of columns of all groups together."""
        return sum(part.shape[1] for part in self.parts)

    @property
    def values(self) -> Float[np.ndarray, "r f"]:
        """All features, read into memory."""
        return self.rows(np.arange(len(self)))

    def rows(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        """Reads the features of some regions."""
        rows = _gathered(self.parts, index)
        if self.tested is None:
            return rows
        own = self.parts[: len(self.parts) // (1 + len(self.rings))]
        width = rows.shape[1] // (1 + len(self.rings))
        for number, ring in enumerate(self.rings, start=1):
            cut = np.flatnonzero((ring[index] @ self.tested > 0) & ~self.tested[index])
            if not len(cut):
                continue
            around = _without(ring, self.tested, index[cut])
            near = np.unique(around.indices)
            means = around[:, near] @ _gathered(own, near)
            rows[cut, number * width : (number + 1) * width] = means
        return rows

    def around_untested(self, test: Bool[np.ndarray, " r"]) -> Features:
        """Returns the features with tested regions left out of surroundings.

        The surroundings of other regions are then means of neighbours that are not
        tested. Tested regions use all their neighbours. No labels are passed on.

        Args:
            test: Regions that are tested.
        """
        if not self.rings or not test.any():
            return self
        return dataclasses.replace(self, tested=test)

    def weights(self) -> Float[np.ndarray, " f"]:
        """Computes factors of standardised columns that give groups equal weight.

        The sum of their squares is f, as for f ones, so that strengths mean the same
        with and without these factors. For a single group all factors are 1.
        """
        sizes = np.array([size for _, size in self.groups], np.float64)
        share = sizes.sum() / (len(sizes) * sizes)
        return np.repeat(np.sqrt(share), sizes.astype(int))

    def renamed(self, template: str) -> Features:
        """Renames the groups; `template` contains `{}` for the old name."""
        groups = tuple((template.format(name), size) for name, size in self.groups)
        return dataclasses.replace(self, groups=groups)


def beside(parts: Sequence[Features]) -> Features:
    """Joins the columns of features of the same regions.

    Args:
        parts: One or more features of the same regions, without rings.
    """
    return parts[0] if len(parts) == 1 else joined(parts)


def joined(parts: Sequence[Features]) -> Features:
    """Joins as `beside`, without a store, which other processes cannot use."""
    return Features(
        tuple(columns for part in parts for columns in part.parts),
        tuple(group for part in parts for group in part.groups),
    )


def below(parts: Sequence[Features]) -> Features:
    """Joins the regions of several cities, one city after another.

    The result has no rings: a city is tested as a whole, and its regions have no
    neighbours in other cities.
    """
    return Features((np.concatenate([part.values for part in parts]),), parts[0].groups)


class Surroundings:
    """Mean features of the regions around each region, for each ring.

    A ring reaches from the previous radius (exclusive) to its own radius (inclusive),
    between centres. Only features are averaged, no labels. A region without a neighbour
    in a ring gets its own features there.

    Attributes:
        rings: Weights [r r] of the surrounding regions, for each ring.
    """

    def __init__(
        self, centre_m: Float[np.ndarray, "r 2"] | None, radii_m: Sequence[float]
    ) -> None:
        """Finds the neighbours.

        Args:
            centre_m: Centres of the regions; None if they are unknown.
            radii_m: Outer radii of the rings, increasing; () for no surroundings.

        Raises:
            InputError: If radii are not above 0 and increasing, or places are unknown.
        """
        self._radii_m = tuple(float(radius) for radius in radii_m)
        inner = (0.0, *self._radii_m)
        if not all(a < b for a, b in zip(inner, self._radii_m, strict=False)):
            raise InputError(
                f"config.readout.surroundings_m={tuple(radii_m)}: give growing radii "
                "in metres, such as (200.0, 400.0), or () for none."
            )
        if not self._radii_m:
            self.rings = ()
            return
        if centre_m is None:
            raise InputError(
                "config.readout.surroundings_m: the records do not say where regions "
                "lie, so their surroundings are not known. Set it to (), or build "
                "the records from imagery with a CRS."
            )
        self.rings = tuple(
            _mean_of_ring(centre_m, low, high)
            for low, high in zip(inner, self._radii_m, strict=False)
        )

    def added(self, features: Features) -> Features:
        """Appends the mean features of each ring to the features."""
        if not self.rings:
            return features
        around = [
            dataclasses.replace(
                features,
                parts=tuple(
                    (ring @ part).astype(np.float32) for part in features.parts
                ),
            ).renamed(f"{{}} within {radius:g} m")
            for ring, radius in zip(self.rings, self._radii_m, strict=True)
        ]
        return dataclasses.replace(beside([features, *around]), rings=self.rings)


def _gathered(
    parts: Sequence[np.ndarray], index: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n _"]:
    """Rows of columns beside columns."""
    return np.concatenate([part[index] for part in parts], axis=1)


def _without(
    ring: sparse.csr_array, test: Bool[np.ndarray, " r"], rows: Int[np.ndarray, " n"]
) -> sparse.csr_array:
    """The means [n r] of some untested regions, of which tested ones are no part."""
    cells = ring[rows].tocoo()
    kept = ~test[cells.col]
    return _mean(cells.row[kept], cells.col[kept], rows, len(test))


def _mean_of_ring(
    centre_m: Float[np.ndarray, "r 2"], low: float, high: float
) -> sparse.csr_array:
    """Weights [r r] whose row averages the neighbours between two distances."""
    count = len(centre_m)
    pairs = pairs_within(centre_m, high)
    apart = np.linalg.norm(centre_m[pairs[:, 0]] - centre_m[pairs[:, 1]], axis=1)
    pairs = pairs[apart > low] if low > 0 else pairs
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    return _mean(first, second, np.arange(count), count)


def _mean(
    first: Int[np.ndarray, " p"],
    second: Int[np.ndarray, " p"],
    rows: Int[np.ndarray, " n"],
    count: int,
) -> sparse.csr_array:
    """Weights [n count]: a row `first` averages `second`, itself where it has none."""
    alone = np.flatnonzero(np.bincount(first, minlength=len(rows)) == 0)
    first, second = np.append(first, alone), np.append(second, rows[alone])
    number = np.bincount(first, minlength=len(rows))
    return sparse.csr_array(
        (1.0 / number[first], (first, second)), shape=(len(rows), count)
    )


def pairs_within(centre_m: Float[np.ndarray, "r 2"], radius_m: float) -> np.ndarray:
    """Finds pairs of regions [p 2] with centres within `radius_m`, each pair once."""
    tree = spatial.KDTree(centre_m)
    return tree.query_pairs(radius_m, output_type="ndarray").astype(np.int64)
