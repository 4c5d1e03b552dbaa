"""The protocol `knn`: the mean of the nearest training regions, by cosine.

Features are standardised, and numbers have the scale that other heads regress. The
number of neighbours is chosen on validation.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax import cores
from mmgr_jax.evaluation.certainty.metrics import EPSILON
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells
from mmgr_jax.evaluation.heads.head import unit_length
from mmgr_jax.evaluation.heads.neighbours import Nearest

COUNTS = (1, 2, 3, 5, 10, 20, 50)
"""Numbers of neighbours to choose from; more than all training regions are all."""

NOT_KEPT = subsets.Standard(np.zeros((0, 0)), np.zeros(0), np.zeros(0))


def fit(
    features: Features | Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    counts: Sequence[int] = COUNTS,
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
    neighbourhoods: Neighbourhoods | None = None,
) -> Fits:
    """Predicts by nearest neighbours in every cell; see `protocols.fit`.

    The number is chosen by the mean squared error for numbers on their scale, and by
    the cross entropy for shares and classes. Of equally near regions the first is
    taken, if all regions are compared; see `neighbours`.

    Args:
        features: Features of every region.
        target: What to predict.
        grid: Which regions train, choose and are predicted.
        counts: Numbers of neighbours to choose from.
        keep: Cells whose heads are kept.
        weight: Factor of each standardised feature; None for 1.
        neighbourhoods: Neighbours found for other targets with the same features and
            weight. New ones are added to it.
    """
    allowed = np.asarray(counts)
    near = neighbourhoods or Neighbourhoods()

    def solve(problem: Problem, cells: Sequence[int]) -> tuple:
        outputs, losses, settings, kept = [], [], [], []
        for number, cell in zip(cells, problem.cells(), strict=True):
            asked = (cell.validation.index, grid.rows(number))
            places = near.find(features, weight, cell.train, asked, int(allowed.max()))
            means, loss, best = _choose(cell, places, allowed, target.is_number)
            outputs.append(means)
            losses.append(loss)
            settings.append(min(allowed[best], len(cell.target)))
            kept.append(
                _standard(features, cell.train, weight) if number in keep else NOT_KEPT
            )
        unit, mean, inverse = zip(*kept, strict=True)
        votes = [cell.target for cell in problem.cells()]
        weights = {"features": unit, "votes": votes}
        return outputs, losses, settings, weights, mean, inverse

    fits = fit_cells("knn", solve, target, grid, keep=keep, bytes_a_region=24)
    return dataclasses.replace(fits, recall=near.recall)


class Neighbourhoods:
    """Nearest training regions of cells, found once for all targets of some features.

    Attributes:
        recall: Smallest recall of all searches, see `neighbours.Nearest`.
    """

    def __init__(self) -> None:
        """Starts without any neighbours."""
        self._found: dict[str, list[np.ndarray]] = {}
        self.recall = 1.0

    def find(
        self,
        features: Features | np.ndarray,
        weight: np.ndarray | None,
        train: subsets.Rows,
        asked: Sequence[Int[np.ndarray, " _"]],
        most: int,
    ) -> list[Int[np.ndarray, "_ _"]]:
        """Finds neighbours as positions in the training regions, most similar first.

        Args:
            features: Features of every region.
            weight: Factor of each standardised feature; None for 1.
            train: The training regions to search, without padding.
            asked: Lists of regions whose neighbours are wanted.
            most: Number of neighbours; all training regions if there are fewer.
        """
        digest = hashlib.blake2b(str(most).encode())
        if isinstance(features, Features) and features.tested is not None:
            digest.update(features.tested.tobytes())
        for index in (train.index, *asked):
            digest.update(index.astype(np.int64).tobytes())
        name = digest.hexdigest()
        if name not in self._found:
            with cores.one_blas_thread():
                standard = _standard(features, train, weight)
                nearest = Nearest(standard.x)
                most = min(most, len(standard.x))
                self._found[name] = [
                    _places(features, index, standard, nearest, most) for index in asked
                ]
            self.recall = min(self.recall, nearest.recall)
        return self._found[name]


def _standard(
    features: Features | np.ndarray, train: subsets.Rows, weight: np.ndarray | None
) -> subsets.Standard:
    """Standardised features of unit length of some training regions."""
    table = subsets.FeatureRows(features, np.zeros(len(features), bool))
    x = table.rows(train.index)
    standard = subsets.standardised(x, train.present, weight)
    return standard._replace(x=unit_length(standard.x))


def _places(
    features: Features | np.ndarray,
    index: Int[np.ndarray, " m"],
    standard: subsets.Standard,
    nearest: Nearest,
    most: int,
) -> Int[np.ndarray, "m _"]:
    """Places of the most similar training regions of some regions."""
    table = subsets.FeatureRows(features, np.zeros(len(features), bool))
    places = np.empty((len(index), most), np.int32)
    for part, x in table.slices(index):
        query = unit_length((x - standard.mean) * standard.inverse)
        places[part] = nearest.find(query, most)
    return places


def _choose(
    cell: Problem,
    places: Sequence[Int[np.ndarray, "_ _"]],
    counts: Int[np.ndarray, " a"],
    number: bool,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Means [n k] of the best count for those predicted, losses [a], its index."""
    most = np.minimum(counts, len(cell.target))
    of_validation, of_predicted = places
    sums = np.cumsum(cell.target[of_validation], axis=1)
    predicted = sums[:, most - 1] / most[:, None]  # [m a k]
    truth = cell.truth[:, None]
    if number:
        losses = np.mean(np.sum((predicted - truth) ** 2, axis=2), axis=0)
    else:
        log_shares = np.log(np.maximum(predicted, EPSILON))
        losses = -np.mean(np.sum(truth * log_shares, axis=2), axis=0)
    best = int(np.argmin(losses))
    # Summed as above: the same mean to the last digit.
    sums = np.cumsum(cell.target[of_predicted[:, : most[best]]], axis=1)
    return sums[:, -1] / most[best], losses, best
