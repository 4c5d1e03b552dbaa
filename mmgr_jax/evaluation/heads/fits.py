"""Fits all cells of a grid: the part that is the same for every protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target, TargetScale
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.head import Head, as_prediction


@dataclasses.dataclass(frozen=True)
class Fits:
    """Predictions of the heads of a grid, each cell for its `Grid.rows`.

    Attributes:
        prediction: Predictions of each of the j cells for its n regions, [n] in the
            label's unit or [n k] shares. They are out-of-sample only for regions that
            neither trained nor chose in this cell.
        chosen: Setting that validation chose in each cell, such as the strength.
        validation_losses: Losses [j a] of a choices; NaN if a choice was not tried.
            For numbers they are on the regressed scale.
        heads: The heads to keep, by cell.
        recall: Share of the true neighbours that were found, for protocols that use
            neighbours. 1 if none was missed.
    """

    prediction: tuple[Float[np.ndarray, "_ ..."], ...]
    chosen: tuple[float, ...]
    validation_losses: Float[np.ndarray, "j a"]
    heads: Mapping[int, Head]
    recall: float = 1.0

    def out_of_fold(
        self, grid: Grid, *, fraction: float | None = 1.0, seed: int = 0
    ) -> Float[np.ndarray, "r ..."]:
        """Returns each region's prediction by the cell that tests it, NaN if none.

        If several cells test a region, as with `Grid.by_parts`, it is their mean.

        Args:
            grid: The grid that was fitted.
            fraction: Fraction of the cells to use; None for all fractions.
            seed: Seed of the cells to use.
        """
        cells = grid.where(fraction=fraction, seed=seed)
        shape = self.prediction[cells[0]].shape[1:]
        total = np.zeros((grid.test.shape[1], *shape))
        for cell in cells:
            rows = grid.rows(cell)
            tested = grid.test[cell][rows]
            total[rows[tested]] += self.prediction[cell][tested]
        count = grid.test[cells].sum(axis=0).reshape(-1, *[1] * len(shape))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def by_group(
    group: Int[np.ndarray, " j"],
    keep: Sequence[int],
    fit: Callable[[list[int], list[int]], Fits],
) -> Fits:
    """Fits all cells of a grid, each group of cells separately.

    Args:
        group: Group of each cell.
        keep: Cells whose heads are kept.
        fit: (cells of a group, those of them to keep) -> their fits.
    """
    groups = [np.flatnonzero(group == number).tolist() for number in np.unique(group)]
    parts = [
        fit(cells, [place for place, cell in enumerate(cells) if cell in keep])
        for cells in groups
    ]
    places = np.argsort(np.concatenate(groups))
    chosen = [value for part in parts for value in part.chosen]
    predictions = [rows for part in parts for rows in part.prediction]
    return Fits(
        tuple(predictions[place] for place in places),
        tuple(chosen[place] for place in places) if chosen else (),
        np.concatenate([part.validation_losses for part in parts])[places],
        {
            cells[place]: head
            for cells, part in zip(groups, parts, strict=True)
            for place, head in part.heads.items()
        },
    )


class Problem(NamedTuple):
    """Training data of j cells of about the same size.

    Attributes:
        train: Training regions, at most n.
        target: True values of the training regions, [j n k]: scaled numbers (k = 1) or
            shares; 0 for padding.
        validation: Regions that choose settings, at most m.
        truth: True values of the validation regions, [j m k].
    """

    train: subsets.Rows
    target: Float[Any, "j n k"]
    validation: subsets.Rows
    truth: Float[Any, "j m k"]

    def together(self) -> Problem:
        """Joins training and validation regions of a single cell."""
        joined = subsets.Rows(
            *(
                np.concatenate(part)
                for part in zip(self.train, self.validation, strict=True)
            )
        )
        return self._replace(
            train=joined, target=np.concatenate([self.target, self.truth])
        )

    def cells(self) -> Iterator[Problem]:
        """Yields each cell separately, without the axis j and without padding."""
        for train, target, validation, truth in zip(
            self.train.unpadded(), self.target, self.validation.unpadded(), self.truth,
            strict=True,
        ):  # fmt: skip
            yield Problem(
                train, target[: len(train.index)],
                validation, truth[: len(validation.index)],
            )  # fmt: skip


def fit_cells(
    protocol: str,
    solve: Callable[[Problem, Sequence[int]], tuple],
    target: Target,
    grid: Grid,
    *,
    keep: Sequence[int],
    bytes_a_region: int,
    bytes_a_cell: int = 0,
    raw: bool = False,
) -> Fits:
    """Fits all cells; cells of about the same size are solved together.

    Args:
        protocol: Name of the protocol.
        solve: (problem, indices of its cells) -> results. These are, for each cell, the
            outputs for its `Grid.rows` [n k] (see `head.as_prediction`), validation
            losses [j a] and choices [j]; then, for a `Head`: name -> weights, mean
            [j f] and inverse deviation [j f] of the features.
        target: What to predict.
        grid: Which regions train and choose.
        keep: Cells whose heads are kept.
        bytes_a_region: Memory for a training region of one cell.
        bytes_a_cell: Further memory for each cell.
        raw: Whether numbers are regressed without scaling.
    """
    scales = _scales(target, grid, raw)

    def truth(rows: subsets.Rows, cells: Sequence[int]) -> np.ndarray:
        return _truth(target, rows, [scales[cell] for cell in cells])

    predictions, losses, settings = {}, {}, {}
    heads: dict[int, Head] = {}
    for cells in subsets.chunks(grid.train, bytes_a_region, bytes_a_cell):
        train = subsets.rows(grid.train, cells)
        validation = subsets.rows(grid.validation, cells)
        problem = Problem(
            train, truth(train, cells), validation, truth(validation, cells)
        )
        outputs, loss, chosen, weights, mean, inverse = solve(problem, cells)
        for place, cell in enumerate(cells):
            output = np.asarray(outputs[place], np.float64)
            predictions[cell] = as_prediction(protocol, scales[cell], output)
            losses[cell] = np.asarray(loss[place], np.float64)
            settings[cell] = float(chosen[place])
            if cell in keep:
                heads[cell] = Head(
                    protocol=protocol,
                    weights={name: part[place] for name, part in weights.items()},
                    feature_mean=mean[place],
                    feature_inverse=inverse[place],
                    scale=scales[cell],
                    cell=grid.cells[cell],
                    setting=settings[cell],
                    label=target.label,
                )
    order = range(len(grid.cells))
    return Fits(
        tuple(predictions[cell] for cell in order),
        tuple(settings[cell] for cell in order),
        np.stack([losses[cell] for cell in order]),
        heads,
    )


def _scales(target: Target, grid: Grid, raw: bool) -> list[TargetScale | None]:
    """The scale of each cell's numbers, by those it learns from; None of classes."""
    if not target.is_number:
        return [None] * len(grid.cells)
    if raw:
        return [TargetScale() for _ in grid.cells]
    known = np.where(target.known, target.values, 0.0)
    by = grid.train if grid.scaled_by is None else grid.scaled_by
    return [TargetScale.of(known[train], log=target.log) for train in by]


def _truth(
    target: Target, rows: subsets.Rows, scales: Sequence[TargetScale | None]
) -> np.ndarray:
    """The truth of some regions of each cell, on its scale [j n k]."""
    if not target.is_number:
        return rows.take(target.shares())
    known = np.where(target.known, target.values, 0.0)
    own = [scale.regressed(known) for scale in scales if scale is not None]
    return rows.take_own(np.stack(own))[:, :, None]
