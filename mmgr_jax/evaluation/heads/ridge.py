"""Ridge regression of many subsets and strengths.

Each subset forms one Gram matrix, of its features or of its regions, whichever is
smaller; each strength adds to its diagonal and factors it. The penalty is taken over
the sum of the squared errors, as scikit-learn does, and the intercept is free.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import linalg

from mmgr_jax.evaluation.heads import subsets
from mmgr_jax.evaluation.heads.fits import Problem


def solve(
    x: Float[np.ndarray, "r f"],
    problem: Problem,
    strengths: Float[np.ndarray, " a"],
    weight: Float[np.ndarray, " f"] | None = None,
    refit: bool = False,
) -> tuple[np.ndarray, ...]:
    """The ridge regressions of all cells, each with its best strength.

    Args:
        x: Features of all regions.
        problem: The cells.
        strengths: L2 strengths, above 0.
        weight: Of each standardised feature; None for 1.
        refit: Let the validation part teach too, once it has chosen.

    Returns:
        Kernel [j 1 f] and bias [j 1] on features as they are; mean squared errors on
        the validation part [j a], of lines that learnt from the training part alone;
        the index of the strength that was chosen [j].
    """
    solved = [_cell(x, cell, strengths, weight, refit) for cell in problem.cells()]
    return tuple(np.stack(part) for part in zip(*solved, strict=True))


def _cell(
    x: np.ndarray,
    cell: Problem,
    strengths: np.ndarray,
    weight: np.ndarray | None,
    refit: bool,
) -> tuple[np.ndarray, ...]:
    kernel, bias = _lines(x, cell, strengths, weight)
    error = x[cell.validation.index] @ kernel.T + bias - cell.truth
    losses = np.mean(error**2, axis=0)
    best = np.asarray(np.argmin(losses))
    if refit:
        kernel, bias = _lines(x, cell.together(), strengths[[best]], weight)
        return kernel, bias, losses, best
    return kernel[best, None], bias[best, None], losses, best


def _lines(
    x: np.ndarray, cell: Problem, strengths: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [a f] and bias [a] of each strength, of the training part."""
    target = cell.target[:, 0]
    standard = subsets.standardised(x[cell.train.index], cell.train.present, weight)
    mean = target.mean()
    coefficients = _coefficients(standard.x, target - mean, strengths)  # [a f]
    kernel = coefficients * standard.inverse
    return kernel, mean - kernel @ standard.mean


def _coefficients(
    x: np.ndarray, residual: np.ndarray, strengths: np.ndarray
) -> np.ndarray:
    """Coefficients [a f] on standardised features x [n f]."""
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    right = residual if wide else x.T @ residual
    diagonal = np.eye(len(gram))
    solutions = np.stack(
        [
            linalg.cho_solve(linalg.cho_factor(gram + strength * diagonal), right)
            for strength in strengths
        ]
    )
    return solutions @ x if wide else solutions
