"""Protocols that evaluate frozen features: linear, mlp, released and knn.

Every protocol fits all cells of a grid in one call, chooses by each cell's validation
regions, and predicts every region. Features are standardised by each cell's training
regions only (`released` does not standardise). Numbers are regressed as log(1 +
value / median of the positive training values) unless they can be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from mmgr_jax.evaluation.design.grid import Grid
from mmgr_jax.evaluation.design.targets import Target
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import by_parts, knn, linear, mlp, released
from mmgr_jax.evaluation.heads.fits import Fits
from mmgr_jax.evaluation.settings import EvalSettings

STRENGTHS = EvalSettings().strengths

PROTOCOLS: Mapping[str, Callable[..., Fits]] = {
    "linear": linear.fit,
    "mlp": mlp.fit,
    "released": released.fit,
    "knn": knn.fit,
}

FROM_A_LIST = ("linear", "knn")
"""Protocols that choose from a list, so that cross-validation can choose instead; the
cells of the others have no parts, see `Grid.by_parts`."""


def fit(
    protocol: str,
    features: Features | Float[np.ndarray, "r f"],
    target: Target,
    grid: Grid,
    *,
    strengths: Sequence[float] = STRENGTHS,
    keep: Sequence[int] = (),
    weight: Float[np.ndarray, " f"] | None = None,
    seed: int = 0,
    neighbourhoods: knn.Neighbourhoods | None = None,
) -> Fits:
    """Fits heads in all cells by one protocol.

    Args:
        protocol: One of `PROTOCOLS`.
        features: Features of every region.
        target: What to predict.
        grid: Which regions train, choose and are tested in each cell. For a grid with
            parts see `by_parts`.
        strengths: L2 strengths that `linear` chooses from, above 0.
        keep: Cells whose heads are kept.
        weight: Factor of each standardised feature, see `groups.Features.weights`;
            None for 1. Not used by `released`, which does not standardise.
        seed: Random seed of initial weights and of the order of regions, for `mlp` and
            `released`.
        neighbourhoods: Neighbours already found in these features, for `knn`.

    Raises:
        InputError: If the protocol does not support this kind of label.
    """
    options = {
        "linear": {"strengths": strengths, "weight": weight, "refit": True},
        "mlp": {"seed": seed, "weight": weight},
        "released": {"seed": seed},
        "knn": {"weight": weight, "neighbourhoods": neighbourhoods},
    }
    given = options[protocol]
    if grid.parts is None:
        return PROTOCOLS[protocol](features, target, grid, keep=keep, **given)
    assert protocol in FROM_A_LIST, protocol
    # All labels of such a cell teach anyway.
    weighted = partial(PROTOCOLS[protocol], features, target, weight=weight)
    if protocol == "knn":
        # Few labels are others for each target: nothing to find twice.
        return by_parts.fit(
            lambda grid, counts, keep: weighted(grid, counts=counts, keep=keep),
            knn.COUNTS, grid, keep=keep,
        )  # fmt: skip
    return by_parts.fit(
        lambda grid, tried, keep: weighted(grid, strengths=tried, keep=keep),
        strengths, grid, keep=keep,
    )  # fmt: skip
