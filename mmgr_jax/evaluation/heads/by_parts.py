"""Heads with few labels: cross-validation chooses their setting, and all labels train.

A separate validation part would take labels from training, and only a few labels would
choose. So the labels of a cell are divided into parts (`grid.few`). Heads are trained
on all parts except one and scored on that one. The losses are summed over the parts,
and the setting with the smallest sum is trained on all labels.

On the generated city (4 draws, ridge or softmax; L1 of functions, R2 of log GDP)

    labels                         25              50             100
    3 train, 1 chooses     .890   .531     .729   .631     .632   .683
    cross-validation       .797   .535     .685   .654     .605   .712
    mean of the parts' heads .828 .550     .705   .660     .618   .704
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.heads.fits import Fits, by_group


def fit(
    fit_cells: Callable[..., Fits],
    choices: Sequence[float | int],
    grid: Grid,
    *,
    keep: Sequence[int] = (),
) -> Fits:
    """Fits a head in every cell, with its setting chosen by cross-validation.

    Args:
        fit_cells: (grid, choices, keep) -> fits whose cells choose by validation, such
            as `linear.fit` with strengths.
        choices: Settings to choose from, in the order of their losses.
        grid: The cells, with parts.
        keep: Cells whose heads are wanted.

    Returns:
        The fits; `validation_losses` are means over all labels of a cell.
    """
    losses = cross_validated(fit_cells, choices, grid)
    best = np.argmin(losses, axis=1)

    def fit_alike(cells: list[int], wanted: list[int]) -> Fits:
        part = grid.of(cells)
        alone = dataclasses.replace(part, validation=part.train, parts=None)
        return fit_cells(alone, (choices[best[cells[0]]],), wanted)

    fits = by_group(best, keep, fit_alike)
    chosen = tuple(float(choices[index]) for index in best)
    return dataclasses.replace(fits, chosen=chosen, validation_losses=losses)


def cross_validated(
    fit_cells: Callable[..., Fits], choices: Sequence[float | int], grid: Grid
) -> Float[np.ndarray, "j a"]:
    """Computes the mean validation loss over all labels of a cell, for each choice.

    A softmax stops trying weaker strengths after `softmax.PATIENCE`, for each part
    separately. A strength that a part left out gets the loss of the next stronger one,
    which is lower than its own loss. If it would win, it is fitted after all.
    """
    assert grid.parts is not None
    parts = grid.by_parts()
    owner = np.repeat(np.arange(len(grid.cells)), grid.parts.max(axis=1) + 1)
    sizes = parts.validation.sum(axis=1)
    parts = parts.predicting(np.zeros_like(parts.test))  # what they lose is enough
    losses = fit_cells(parts, tuple(choices), ()).validation_losses.copy()
    from_strongest = np.argsort(-np.asarray(choices))
    while True:
        pooled = np.zeros((len(grid.cells), len(choices)))
        np.add.at(pooled, owner, sizes[:, None] * _filled(losses, from_strongest))
        best = np.argmin(pooled, axis=1)[owner]
        missing = np.isnan(losses[np.arange(len(owner)), best])
        if not missing.any():
            return pooled / np.bincount(owner, weights=sizes)[:, None]
        for index in np.unique(best[missing]):
            rows = np.flatnonzero(missing & (best == index)).tolist()
            again = fit_cells(parts.of(rows), (choices[index],), ())
            losses[rows, index] = again.validation_losses[:, 0]


def _filled(losses: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Losses [p a] where NaN is the last known one in an order of the choices."""
    filled = losses.copy()
    for before, index in zip(order[:-1], order[1:], strict=True):
        left_out = np.isnan(filled[:, index])
        filled[left_out, index] = filled[left_out, before]
    return filled
