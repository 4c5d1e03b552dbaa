"""All the subsets that heads are trained on: folds x label fractions x seeds.

For curves with few labels: folds x random draws of a number of labels; see `few`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design.splits import Split

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

LEAST_TRAIN = 5
"""A fraction that gives fewer training labels in some round is left out."""

LEAST_VALIDATION = 2
"""The same for labels that choose settings."""

PARTS = 5
"""Number of parts of few labels. Each part chooses once, by heads of the others."""

PART_DTYPE = np.int16
"""Small type for numbers of parts, as a grid has one for each region and cell."""

NO_FOLD = -1

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One head to train.

    Attributes:
        fold: The fold on which the head is tested; `NO_FOLD` for none.
        fraction: Fraction of the labels that the head may see, 1 for all.
        seed: Random seed that decides which labels these are.
    """

    fold: int
    fraction: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Grid:
    """The heads to train, one per cell, and which regions each head may see.

    In every cell some regions train the head, some choose its setting, and some are
    tested. The tested ones are mostly a fold, separate in space from the others.

    Attributes:
        cells: The cells, j of them.
        train: Labelled regions that each cell trains on, [j r].
        validation: Labelled regions that choose the setting of the head, [j r].
        test: Regions, with or without a label, on which the cell is tested, [j r].
        parts: Part of each label, -1 for no label, [j r]. All parts train, and the
            setting of the head is chosen by cross-validation over the parts. None if
            `validation` chooses.
        scaled_by: Labelled regions that set the scale of numbers, [j r]. None: the
            regions that train.
        predicted: Regions that each cell predicts, [j r]. None: every region.
    """

    cells: tuple[Cell, ...]
    train: Bool[np.ndarray, "j r"]
    validation: Bool[np.ndarray, "j r"]
    test: Bool[np.ndarray, "j r"]
    parts: Int[np.ndarray, "j r"] | None = None
    scaled_by: Bool[np.ndarray, "j r"] | None = None
    predicted: Bool[np.ndarray, "j r"] | None = None

    @property
    def full(self) -> tuple[int, ...]:
        """The cells with all labels, one per fold."""
        return tuple(self.where(fraction=1.0))

    def of(self, indices: Sequence[int]) -> Grid:
        """Selects some of the cells."""
        chosen = list(indices)
        test, predicted = self.test[chosen], self.predicted
        if predicted is not None:
            predicted = test if predicted is self.test else predicted[chosen]
        return Grid(
            tuple(self.cells[index] for index in chosen),
            self.train[chosen],
            self.validation[chosen],
            test,
            None if self.parts is None else self.parts[chosen],
            None if self.scaled_by is None else self.scaled_by[chosen],
            predicted,
        )

    def predicting(self, predicted: Bool[np.ndarray, "j r"] | None = None) -> Grid:
        """Returns the same cells that predict only some regions. None: their tests."""
        chosen = self.test if predicted is None else predicted
        return dataclasses.replace(self, predicted=chosen)

    def rows(self, cell: int) -> Int[np.ndarray, " n"]:
        """Returns the regions that a cell predicts, in order."""
        if self.predicted is None:
            return np.arange(self.test.shape[1])
        return np.flatnonzero(self.predicted[cell])

    def with_folds_as_parts(self, fold: Int[np.ndarray, " r"]) -> Grid:
        """Returns the same cells, with each fold of their labels as a part.

        So all labels train. If the labels of any cell lie in a single fold, the grid
        is returned unchanged.

        Args:
            fold: Fold of each region.
        """
        labels = self.train | self.validation
        parts = np.full(labels.shape, -1, PART_DTYPE)
        for row, mask in zip(parts, labels, strict=True):
            row[mask] = np.unique(fold[mask], return_inverse=True)[1]
        if parts.max(axis=1).min() < 1:
            return self
        return dataclasses.replace(
            self, train=labels, validation=np.zeros_like(labels), parts=parts
        )

    def by_parts(self) -> Grid:
        """Makes a cell for each part of each cell; this part chooses, the others train.

        New cells are in the order of the cells and their parts. The scale of numbers
        comes from all labels of the cell, so that the losses of its parts can be added.
        """
        assert self.parts is not None
        labels = self.parts >= 0
        counts = self.parts.max(axis=1) + 1
        cell = np.repeat(np.arange(len(counts)), counts)
        part = np.concatenate([np.arange(count) for count in counts])
        validation = self.parts[cell] == part.astype(PART_DTYPE)[:, None]
        scaled_by, test, predicted = labels[cell], self.test[cell], self.predicted
        if predicted is not None:
            predicted = test if predicted is self.test else predicted[cell]
        return Grid(
            tuple(self.cells[index] for index in cell),
            scaled_by & ~validation,
            validation,
            test,
            scaled_by=scaled_by,
            predicted=predicted,
        )

    def where(
        self, *, fraction: float | None = None, seed: int | None = None
    ) -> list[int]:
        """Returns indices of the cells with a given fraction, seed or both.

        Cells with all labels are the same for every seed, so they match each seed.
        """
        return [
            index
            for index, cell in enumerate(self.cells)
            if fraction in (None, cell.fraction)
            and (seed in (None, cell.seed) or cell.fraction == 1.0)
        ]


def cells(
    split: Split,
    known: Bool[np.ndarray, " r"],
    *,
    fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0,),
) -> Grid:
    """Makes a cell for every fold x fraction x seed.

    A cell gets this fraction of the training labels and of the labels that choose
    settings, because both cost the same. For one seed, the subset of a smaller fraction
    lies within that of a larger one, in every fold. All labels are the same subset for
    every seed, so there is one such cell per fold.

    Args:
        split: Folds of the regions, and which regions train, choose and are tested.
        known: Regions that have a label.
        fractions: Fractions in (0, 1]. A fraction that gives fewer than `LEAST_TRAIN`
            or `LEAST_VALIDATION` labels in some round is left out, and logged.
        seeds: Random seeds of the subsets.

    Returns:
        The grid, cells sorted by fraction, seed and fold.

    Raises:
        InputError: If a fraction is not in (0, 1], there is no seed, or no fraction is
            left.
    """
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise InputError(
            f"label fractions {tuple(fractions)}: give one or more numbers above 0 and "
            f"up to 1, such as {FRACTIONS}."
        )
    if not len(seeds):
        raise InputError("seeds of the label fractions: give at least one, such as 0.")
    parts = [split.parts(fold) for fold in range(split.num_folds)]
    train = np.stack([part.train & known for part in parts])
    validation = np.stack([part.validation & known for part in parts])
    chosen, rows = [], []
    for fraction in _affordable(sorted(set(fractions)), train, validation):
        for seed in seeds if fraction < 1 else seeds[:1]:
            order = np.random.default_rng(seed).permutation(len(known))
            for fold, part in enumerate(parts):
                chosen.append(Cell(fold, fraction, seed))
                rows.append(
                    (
                        _first(train[fold], order, fraction),
                        _first(validation[fold], order, fraction),
                        part.test,
                    )
                )
    return Grid(tuple(chosen), *(np.stack(role) for role in zip(*rows, strict=True)))


def few(
    split: Split,
    known: Bool[np.ndarray, " r"],
    *,
    num_labels: int,
    seeds: Sequence[int] = (0,),
) -> Grid | None:
    """Makes a cell for every fold x seed, with a given total number of labels.

    This number includes labels that choose settings. The labels are drawn from all that
    are neither in the tested fold nor too near to it. For one seed, the labels of a
    smaller number are among those of a larger number.

    Args:
        split: Folds of the regions, and which regions train, choose and are tested.
        known: Regions that have a label.
        num_labels: Number of labels that each head may see, at least 2.
        seeds: Random seeds of the draws.

    Returns:
        The grid, with parts; its cells are sorted by seed and fold. None if some round
        does not have more labels than `num_labels`; this is logged.
    """
    rounds = [split.parts(fold) for fold in range(split.num_folds)]
    there = [(roles.train | roles.validation) & known for roles in rounds]
    least = min(int(mask.sum()) for mask in there)
    if num_labels >= least:
        log.info(
            "label curves end below %d labels, because one fold has only %d to learn "
            "from",
            num_labels,
            least,
        )
        return None
    chosen, parts = [], []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(known))
        for fold, mask in enumerate(there):
            chosen.append(Cell(fold, num_labels / int(mask.sum()), seed))
            drawn = order[mask[order]][:num_labels]
            part = np.full(len(known), -1, PART_DTYPE)
            part[drawn] = np.arange(num_labels) % min(PARTS, num_labels)
            parts.append(part)
    parts = np.stack(parts)
    test = np.stack([roles.test for roles in rounds] * len(seeds))
    labels = parts >= 0
    return Grid(tuple(chosen), labels, np.zeros_like(labels), test, parts)


def whole(split: Split, known: Bool[np.ndarray, " r"]) -> Grid:
    """Makes one cell for a head to keep: fold 0 chooses, all other labels train.

    Nothing is tested, so no region is left out for being near a tested one.
    """
    validation = split.fold == 0
    nobody = np.zeros_like(known)
    return Grid(
        (Cell(NO_FOLD, 1.0, 0),),
        train=(~validation & known)[None],
        validation=(validation & known)[None],
        test=nobody[None],
    )


def _affordable(
    fractions: Sequence[float], train: np.ndarray, validation: np.ndarray
) -> list[float]:
    """The fractions that buy enough labels in every round; all labels always do."""
    least = [int(role.sum(axis=1).min()) for role in (train, validation)]
    left, dropped = [], []
    for fraction in fractions:
        enough = (
            _count(least[0], fraction) >= LEAST_TRAIN
            and _count(least[1], fraction) >= LEAST_VALIDATION
        )
        (left if enough or fraction == 1 else dropped).append(fraction)
    if dropped:
        log.info(
            "label fractions %s are left out: of %d training and %d validation "
            "labels they take fewer than %d or %d",
            ", ".join(f"{fraction:g}" for fraction in dropped),
            *least,
            LEAST_TRAIN,
            LEAST_VALIDATION,
        )
    if not left:
        raise InputError(
            f"label fractions {tuple(fractions)} take fewer than {LEAST_TRAIN} "
            f"training or {LEAST_VALIDATION} validation labels out of {least[0]} and "
            f"{least[1]}. Give larger ones, up to 1."
        )
    return left


def _first(role: np.ndarray, order: np.ndarray, fraction: float) -> np.ndarray:
    """That part of the regions of a role that come first in an order of all regions."""
    members = order[role[order]]
    subset = np.zeros_like(role)
    subset[members[: _count(len(members), fraction)]] = True
    return subset


def _count(number: int, fraction: float) -> int:
    """Labels that a fraction of them buys; a hair below a whole number counts."""
    return math.floor(number * fraction + 1e-9)
