"""Heads on features with surroundings, without training on tested regions.

A training region uses the mean features of its neighbours. A neighbour that is tested
is left out of this mean, so features differ between folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import protocols
from mmgr_jax.evaluation.heads.fits import Fits, by_group


def fit(
    protocol: str,
    features: Features,
    target: Target,
    grid: Grid,
    *,
    keep: Sequence[int] = (),
    **options: Any,
) -> Fits:
    """Fits heads in all cells by one protocol.

    Args:
        protocol: One of `protocols.PROTOCOLS`.
        features: Features of every region, with rings.
        target: What to predict.
        grid: Which regions train, choose and are tested in each cell.
        keep: Cells whose heads are wanted.
        **options: See `protocols.fit`.
    """
    options["weight"] = features.weights()
    if not features.rings:
        return protocols.fit(protocol, features, target, grid, keep=keep, **options)
    fold = np.array([cell.fold for cell in grid.cells])

    def fit_fold(cells: list[int], wanted: list[int]) -> Fits:
        untested = features.around_untested(grid.test[cells[0]])
        return protocols.fit(
            protocol, untested, target, grid.of(cells), keep=wanted, **options
        )

    return by_group(fold, keep, fit_fold)
