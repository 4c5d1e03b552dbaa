"""Fitting all cells of a grid: what is the same for every protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target, TargetScale
from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.head import Head, told


@dataclasses.dataclass(frozen=True)
class Fits:
    """All cells of a grid, fitted.

    Attributes:
        prediction: Of every region by every cell, [j r] in the label's unit or [j r k]
            shares; out-of-sample only where the cell neither trained nor chose.
        chosen: What validation chose in each cell, such as the strength.
        validation_losses: [j a], a choices; NaN where one was not tried. Of numbers
            on the scale that is regressed.
        heads: The heads that were asked for, by cell.
    """

    prediction: Float[np.ndarray, "j r ..."]
    chosen: tuple[float, ...]
    validation_losses: Float[np.ndarray, "j a"]
    heads: Mapping[int, Head]

    @classmethod
    def joined(cls, parts: Sequence[tuple[Sequence[int], Fits]]) -> Fits:
        """The fits of all cells of a grid from those of some cells each.

        Args:
            parts: The cells, each in one part, and their fits.
        """
        places = np.argsort(np.concatenate([cells for cells, _ in parts]))
        chosen = [value for _, of in parts for value in of.chosen]
        return cls(
            np.concatenate([of.prediction for _, of in parts])[places],
            tuple(chosen[place] for place in places) if chosen else (),
            np.concatenate([of.validation_losses for _, of in parts])[places],
            {
                cells[place]: head
                for cells, of in parts
                for place, head in of.heads.items()
            },
        )

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
        total = np.zeros(self.prediction.shape[1:])
        for cell in cells:
            total[grid.test[cell]] += self.prediction[cell][grid.test[cell]]
        count = grid.test[cells].sum(axis=0).reshape(-1, *[1] * (total.ndim - 1))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class Problem(NamedTuple):
    """Some cells to fit, j of them, of about the same size.

    Attributes:
        train: Regions to learn from, n at most.
        target: What they are to be told, [j n k]: numbers on their scale, k = 1, or
            shares; 0 for padding.
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
                np.concatenate(of)
                for of in zip(self.train, self.validation, strict=True)
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


class Lines(NamedTuple):
    """A linear head for each cell, on features as they are.

    Attributes:
        kernel: [j k f].
        bias: [j k].
        losses: Mean on the validation part by each strength, [j a], of heads that
            learnt from the training part alone.
        best: The strength that was chosen, an index, [j].
    """

    kernel: np.ndarray
    bias: np.ndarray
    losses: np.ndarray
    best: np.ndarray


class Found(NamedTuple):
    """What a protocol makes of a problem.

    Attributes:
        outputs: For every region, [j r k]; see `head.told`.
        losses: On validation, [j a].
        settings: What was chosen, [j].
        head: A place among the cells -> weights, mean and inverse deviation of the
            features of a `Head`.
    """

    outputs: np.ndarray
    losses: np.ndarray
    settings: np.ndarray
    head: Callable[[int], tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]


def fit_cells(
    protocol: str,
    solve: Callable[[Problem, Sequence[int]], Found],
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
        solve: Fits some cells, whose numbers it is given too.
        target: What to predict.
        grid: Who trains and chooses.
        keep: Cells whose heads are wanted.
        bytes_a_region: What a training region of one cell takes.
        bytes_a_cell: What a cell takes beside that.
        raw: Regress numbers as they are.
    """
    numbers: list[TargetScale] = []
    if target.is_number:
        known = np.where(target.known, target.values, 0.0)
        numbers = [
            TargetScale() if raw else TargetScale.of(known[train], log=target.log)
            for train in (grid.train if grid.scaled_by is None else grid.scaled_by)
        ]
    scales: Sequence[TargetScale | None] = numbers or [None] * len(grid.cells)

    def truth(rows: subsets.Rows, cells: Sequence[int]) -> np.ndarray:
        if not target.is_number:
            return rows.take(target.shares())
        own = [numbers[cell].regressed(known) for cell in cells]
        return rows.take_own(np.stack(own))[:, :, None]

    predictions, losses, settings = {}, {}, {}
    heads: dict[int, Head] = {}
    for cells in subsets.chunks(grid.train, bytes_a_region, bytes_a_cell):
        train = subsets.rows(grid.train, cells)
        validation = subsets.rows(grid.validation, cells)
        problem = Problem(
            train, truth(train, cells), validation, truth(validation, cells)
        )
        found = solve(problem, cells)
        for place, cell in enumerate(cells):
            outputs = np.asarray(found.outputs[place], np.float64)
            predictions[cell] = told(protocol, scales[cell], outputs)
            losses[cell] = np.asarray(found.losses[place], np.float64)
            settings[cell] = float(found.settings[place])
            if cell in keep:
                weights, mean, inverse = found.head(place)
                heads[cell] = Head(
                    protocol=protocol,
                    weights=weights,
                    feature_mean=mean,
                    feature_inverse=inverse,
                    scale=scales[cell],
                    cell=grid.cells[cell],
                    setting=settings[cell],
                    label=target.label,
                )
    order = range(len(grid.cells))
    return Fits(
        np.stack([predictions[cell] for cell in order]),
        tuple(settings[cell] for cell in order),
        np.stack([losses[cell] for cell in order]),
        heads,
    )
