"""The protocol `linear`: ridge for numbers, softmax for shares and classes.

What validation has chosen is then fitted to training and validation labels together
(`refit`): labels are few, and those that chose are no secret from the head.

All cells of about the same size are fitted together, in NumPy and float64: the matrices
are ill-conditioned and small, TPUs have no float64, compiling a program for each size
took longer than fitting, and in a compiled batch cells that have ended wait for the
slowest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.heads import ridge, softmax
from mmgr_jax.evaluation.heads.fits import Fits, Problem, fit_cells


def fit(
    features: Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    strengths: Sequence[float],
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
    refit: bool = False,
) -> Fits:
    """A ridge or softmax regression in every cell; see `protocols.fit`."""
    x = features.astype(np.float64)
    length = x.shape[1]
    tried = np.asarray(strengths, np.float64)
    solver = ridge if target.is_number else softmax

    def solve(problem: Problem, _: Sequence[int]) -> tuple:
        # More threads wait for one another longer than they work, beside others above
        # all: cells and methods are what is shared out.
        with threadpool_limits(1, user_api="blas"):
            kernel, bias, losses, best = solver.solve(x, problem, tried, weight, refit)
        outputs = np.einsum("rf,jkf->jrk", x, kernel, optimize=True) + bias[:, None]
        weights = {"kernel": kernel.swapaxes(1, 2), "bias": bias}
        # The kernel is one for features as they are.
        mean, inverse = np.zeros((len(best), length)), np.ones((len(best), length))
        return outputs, losses, tried[best], weights, mean, inverse

    return fit_cells(
        "linear", solve, target, grid, keep=keep, bytes_a_region=24 * length
    )
