"""Heads of other cities applied to a tested city, and adapted by few of its labels.

Heads of other cities never see a label of the tested city. Few labels of this city are
used to fit the residuals of such a head. Without labels the result is the head of the
other cities; with many it is that of the city itself. This is a ridge regression on the
features of the tested city whose penalty pulls towards the weights of the other cities
instead of 0 (biased regularisation: Kienzle and Chellapilla 2006; Orabona et al. 2009).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.certainty import metrics
from mmgr_jax.evaluation.design import grid as grid_lib
from mmgr_jax.evaluation.design.grid import NO_FOLD, Cell, Grid
from mmgr_jax.evaluation.design.targets import MAX_GROWTH, Target
from mmgr_jax.evaluation.heads.fits import Fits

LEFT_OVER = Label(kind="scalar", unit="1", rule="what a head of other cities misses")


def grid_of_others(
    sizes: Sequence[int],
    fold: Int[np.ndarray, " r"],
    known: Bool[np.ndarray, " r"],
    *,
    is_number: bool,
) -> Grid:
    """Makes a cell with one head of all cities except the last, which it predicts.

    The strength is chosen on a city that the head does not train on, as for the tested
    city. For numbers each city chooses in turn. For shares and classes, which take
    longer to fit, the last training city chooses. With a single training city, its
    folds take the place of cities.

    Args:
        sizes: Number of regions of each city, the tested one last.
        fold: Fold of every region within its own city.
        known: Regions with a label.
        is_number: Whether the label is a number.
    """
    city = np.repeat(np.arange(len(sizes)), sizes)
    tested = city == len(sizes) - 1
    labels = known & ~tested
    group = city if len(sizes) > 2 else fold
    part = np.full(len(known), -1, grid_lib.PART_DTYPE)
    part[labels] = np.unique(group[labels], return_inverse=True)[1]
    cell, nobody = (Cell(NO_FOLD, 1.0, 0),), np.zeros_like(known)[None]
    if is_number and part.max() > 0:
        return Grid(cell, labels[None], nobody, tested[None], part[None]).predicting()
    chooses = labels & (part == part.max())
    trains = labels & ~chooses
    return Grid(cell, trains[None], chooses[None], tested[None]).predicting()


@dataclasses.dataclass(frozen=True)
class Missed:
    """Residuals of a head of other cities, on a scale on which corrections are added.

    Numbers are used as log(1 + value / median) if none is negative.

    Attributes:
        target: The label of the tested city.
        before: Prediction for each region by the head of other cities, [r] or [r k].
    """

    target: Target
    before: Float[np.ndarray, "r ..."]

    @property
    def _unit(self) -> float:
        """Known without a label of the tested city."""
        return metrics.median_positive(np.maximum(self.before, 0.0))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if not self.target.log:
            return values
        return np.log1p(np.maximum(values, 0.0) / self._unit)

    def targets(self) -> list[Target]:
        """Returns the residuals to fit: one target, or one for each class."""
        known = self.target.known
        truth = self.target.values if self.target.is_number else self.target.shares()
        missed = self._scaled(np.where(_rows(known, truth), truth, 0.0))
        missed = missed - self._scaled(self.before)
        columns = missed.reshape(len(known), -1).T
        return [Target(LEFT_OVER, column, known, log=False) for column in columns]

    def added(
        self, cells: Grid, fits: Sequence[Fits], *, seed: int
    ) -> Float[np.ndarray, "r ..."]:
        """Adds fitted residuals to the predictions of every region.

        Args:
            cells: Which regions train and are tested.
            fits: Fits of each of `targets`.
            seed: Seed of the draw of labels.
        """
        columns = [one.out_of_fold(cells, fraction=None, seed=seed) for one in fits]
        extra = np.stack(columns, axis=-1).reshape(self.before.shape)
        if not self.target.is_number:
            shares = np.maximum(self.before + extra, 0.0)
            total = shares.sum(axis=1, keepdims=True)
            even = np.full_like(shares, 1.0 / shares.shape[1])
            return np.where(total > 0, shares / np.where(total > 0, total, 1.0), even)
        scaled = self._scaled(self.before) + extra
        if not self.target.log:
            return scaled
        ceiling = np.zeros(len(scaled))
        for cell in cells.where(seed=seed):
            seen = cells.train[cell] | cells.validation[cell]
            highest = max(self.before.max(), self.target.values[seen].max())
            ceiling[cells.test[cell]] = MAX_GROWTH * highest
        return self._unit * np.expm1(
            np.clip(scaled, 0.0, np.log1p(ceiling / self._unit))
        )


def _rows(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return known.reshape(-1, *[1] * (values.ndim - 1))
