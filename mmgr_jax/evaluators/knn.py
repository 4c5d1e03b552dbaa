"""The protocol `knn`: the mean of the nearest training regions, by cosine.

Of standardised features, and on the scale that other heads regress. The number of
neighbours is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.evaluators import subsets
from mmgr_jax.evaluators.fits import Fits, Found, Problem, fit_cells
from mmgr_jax.evaluators.grid import Grid
from mmgr_jax.evaluators.metrics import EPSILON
from mmgr_jax.evaluators.targets import Target

COUNTS = (1, 2, 3, 5, 10, 20, 50)
"""Numbers of neighbours to choose from; more than all training regions are all."""


def fit(
    features: Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    counts: Sequence[int] = COUNTS,
    keep: Sequence[int] = (),
) -> Fits:
    """Nearest neighbours in every cell; see `protocols.fit`.

    The loss that chooses is the mean squared error of numbers on their scale, and the
    cross entropy of shares and classes. Of equally near regions the first counts.
    """
    count, length = features.shape
    with subsets.precise():
        given = jax.device_put(subsets.padded(features))

    def solve(problem: Problem, _: Sequence[int]) -> Found:
        with subsets.precise():
            of = _solve(given, problem, tuple(counts), target.is_number)
            means, losses, best, standard = jax.tree.map(np.asarray, of)
        present = problem.train.present > 0

        def head(place: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
            rows = present[place]
            votes = problem.target[place][rows]
            weights = {"features": standard.x[place][rows, :length], "votes": votes}
            mean, inverse = standard.mean[place], standard.inverse[place]
            return weights, mean[:length], inverse[:length]

        settings = np.minimum(np.asarray(counts)[best], present.sum(axis=1))
        return Found(means[:, :count], losses, settings, head)

    return fit_cells("knn", solve, target, grid, keep=keep, bytes_a_region=24 * length)


@partial(jax.jit, static_argnames=("counts", "number"))
def _solve(
    x: Array, problem: Problem, counts: tuple[int, ...], number: bool
) -> tuple[Array, Array, Array, subsets.Standard]:
    """Means [j r k] of the best count, losses [j a], its index [j], unit features."""

    def cell(of: Problem) -> tuple[Array, Array, Array, subsets.Standard]:
        standard = subsets.standardised(x[of.train.index], of.train.present)
        standard = standard._replace(x=_unit(standard.x))
        everyone = _unit((x - standard.mean) * standard.inverse)
        similarity = everyone @ standard.x.T
        similarity = jnp.where(of.train.present > 0, similarity, -jnp.inf)
        most = min(max(counts), similarity.shape[1])
        # In float32, which XLA selects from 15 times faster on a CPU.
        _, nearest = jax.lax.top_k(similarity.astype(jnp.float32), most)  # [r most]
        sums = jnp.cumsum(of.target[nearest], axis=1)  # padding votes 0
        members = jnp.sum(of.train.present)
        means = [
            sums[:, min(count, most) - 1] / jnp.minimum(count, members)
            for count in counts
        ]
        means = jnp.stack(means)  # [a r k]
        told = means[:, of.validation.index]
        if number:
            loss = jnp.sum((told - of.truth) ** 2, axis=2)
        else:
            loss = -jnp.sum(of.truth * jnp.log(jnp.maximum(told, EPSILON)), axis=2)
        losses = loss @ of.validation.present / jnp.sum(of.validation.present)
        best = jnp.argmin(losses)
        return means[best], losses, best, standard

    return jax.lax.map(cell, problem)


def _unit(x: Array) -> Array:
    length = jnp.linalg.norm(x, axis=1, keepdims=True)
    return x / jnp.where(length > 0, length, 1.0)
