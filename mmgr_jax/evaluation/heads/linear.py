"""The protocol `linear`: ridge for numbers, softmax for shares and classes.

The chosen setting is then fitted to training and validation labels together (`refit`).
Labels are few, and validation labels are no longer needed after the choice.

All cells of about the same size are fitted together, in NumPy and float64. The matrices
are ill-conditioned and small, and TPUs have no float64. Compiling a program for each
size took longer than fitting. And in a compiled batch, finished cells wait for the
slowest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mmgr_jax import cores
from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import ridge, softmax, subsets
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells


def fit(
    features: Features | Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    strengths: Sequence[float],
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
    refit: bool = False,
) -> Fits:
    """Fits a ridge or softmax regression in every cell; see `protocols.fit`."""
    tried = np.asarray(strengths, np.float64)
    solver = ridge if target.is_number else softmax
    length = (
        features.shape[1] if isinstance(features, np.ndarray) else features.num_features
    )

    def solve(problem: Problem, cells: Sequence[int]) -> tuple:
        often = np.any((grid.train | grid.validation)[list(cells)], axis=0)
        assert isinstance(often, np.ndarray)
        table = subsets.FeatureRows(features, often)
        # More threads wait for one another longer than they work, beside others above
        # all: cells and methods are what is shared out.
        with cores.one_blas_thread():
            kernel, bias, losses, best = solver.solve(
                table, problem, tried, weight, refit
            )

            outputs = [
                _predicted(table, grid.rows(cell), kernel[place], bias[place])
                for place, cell in enumerate(cells)
            ]
        weights = {"kernel": kernel.swapaxes(1, 2), "bias": bias}
        # The kernel is one for features as they are.
        mean, inverse = np.zeros((len(best), length)), np.ones((len(best), length))
        return outputs, losses, tried[best], weights, mean, inverse

    often = int(np.max(np.sum(grid.train | grid.validation, axis=1), initial=0))
    axes = min(length, often if often <= softmax.MANY else softmax.MOST_AXES)
    return fit_cells(
        "linear",
        solve,
        target,
        grid,
        keep=keep,
        bytes_a_region=24 * (1 if target.is_number else axes),
    )


def _predicted(
    table: subsets.FeatureRows, rows: np.ndarray, kernel: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Outputs [n k] of some regions."""
    outputs = np.empty((len(rows), len(bias)))
    for part, x in table.slices(rows):
        outputs[part] = x @ kernel.T + bias
    return outputs
