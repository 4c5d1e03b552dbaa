"""Fitting all cells of a grid: what is the same for every protocol."""

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
    """What the heads of a grid predict: each cell for its `Grid.rows`.

    Attributes:
        prediction: Of these n regions by each of the j cells, [n] in the label's unit
            or [n k] shares; out-of-sample only where it neither trained nor chose.
        chosen: What validation chose in each cell, such as the strength.
        validation_losses: [j a], a choices; NaN where one was not tried. Of numbers
            on the scale that is regressed.
        heads: The heads that were asked for, by cell.
        recall: Share of the true neighbours that were found, of protocols that look
            for any; 1 where none was missed.
    """

    prediction: tuple[Float[np.ndarray, "_ ..."], ...]
    chosen: tuple[float, ...]
    validation_losses: Float[np.ndarray, "j a"]
    heads: Mapping[int, Head]
    recall: float = 1.0

    def out_of_fold(
        self, grid: Grid, *, fraction: float | None = 1.0, seed: int = 0
    ) -> Float[np.ndarray, "r ..."]:
        """Each region's prediction by the cell that tests it; NaN where none does.

        Where several cells test it, those of `Grid.by_parts`, the mean of theirs.

        Args:
            grid: The grid that was fitted.
            fraction: Which cells, None for all; likewise `seed`.
            seed: See `fraction`.
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
    """The fits of all cells of a grid, each group of them fitted by itself.

    Args:
        group: Of each cell.
        keep: Cells whose heads are wanted.
        fit: (the cells of a group, which of these to keep) -> their fits.
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
    """Training data of some cells, j of them, of about the same size.

    Attributes:
        train: Regions to learn from, n at most.
        target: Their truth, [j n k]: numbers on their scale, k = 1, or shares; 0 for
            padding.
        validation: Regions that choose, m at most.
        truth: Likewise of them, [j m k].
    """

    train: subsets.Rows
    target: Float[Any, "j n k"]
    validation: subsets.Rows
    truth: Float[Any, "j m k"]

    def together(self) -> Problem:
        """A cell by itself, whose validation part joins what is learnt from."""
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
        """Each cell by itself, without its axis j and without padding."""
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
    """Solves cells of about the same size together.

    Args:
        protocol: Its name.
        solve: Fits some cells, whose numbers it is given too. Returns, of each cell,
            outputs for its `Grid.rows` [n k] (see `head.as_prediction`), losses on
            validation [j a], what was chosen [j]; then what a `Head` holds: name ->
            weights, mean [j f] and inverse deviation [j f] of the features.
        target: What to predict.
        grid: Who trains and chooses.
        keep: Cells whose heads are wanted.
        bytes_a_region: What a training region of one cell takes.
        bytes_a_cell: What a cell takes beside that.
        raw: Regress numbers as they are.
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
