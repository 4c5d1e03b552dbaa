"""Ridge regression of many subsets and strengths in one program.

Each subset forms one Gram matrix, of its features or of its regions, whichever is
smaller; each strength adds to its diagonal and factors it. The penalty is taken over
the sum of the squared errors, as scikit-learn does, and the intercept is free.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

from mmgr_jax.evaluators import subsets
from mmgr_jax.evaluators.fits import Problem


class Solution(NamedTuple):
    """A line for each cell, on features as they are.

    Attributes:
        kernel: [j 1 f].
        bias: [j 1].
        losses: Mean squared error on the validation part, [j a].
        best: The strength that was chosen, an index, [j].
    """

    kernel: Array
    bias: Array
    losses: Array
    best: Array


@jax.jit
def solve(
    x: Float[Array, "r f"], problem: Problem, strengths: Float[Array, " a"]
) -> Solution:
    """The ridge regressions of all cells, each with its best strength.

    Args:
        x: Features of all regions.
        problem: The cells.
        strengths: L2 strengths, above 0.
    """
    return jax.vmap(partial(_cell, x, strengths))(problem)


def _cell(x: Array, strengths: Array, of: Problem) -> Solution:
    standard = subsets.standardised(x[of.train.index], of.train.present)
    target = of.target[:, 0]
    mean = jnp.sum(of.train.present * target) / jnp.sum(of.train.present)
    residual = of.train.present * (target - mean)
    coefficients = _coefficients(standard.x, residual, strengths)  # [a f]
    kernel = coefficients * standard.inverse
    bias = mean - kernel @ standard.mean
    error = x[of.validation.index] @ kernel.T + bias - of.truth
    losses = of.validation.present @ error**2 / jnp.sum(of.validation.present)
    best = jnp.argmin(losses)
    return Solution(kernel[best, None], bias[best, None], losses, best)


def _coefficients(x: Array, residual: Array, strengths: Array) -> Array:
    """Coefficients [a f] on standardised features x [n f]."""
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    right = residual if wide else x.T @ residual
    diagonal = jnp.eye(len(gram), dtype=gram.dtype)

    def one(strength: Array) -> Array:
        return cho_solve(cho_factor(gram + strength * diagonal), right)

    found = jax.lax.map(one, strengths)
    return found @ x if wide else found
