"""Checks of arrays that all evaluations use."""

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError

KNOWN_LABELS = "Leave out regions without a label; every other needs a prediction."
GOOD_FEATURES = "Check the checkpoint and the images of these regions."

MANY = 16_384
"""Largest number of regions for computations that need all pairs or all features at
once. If there are more regions, `drawn` chooses this many."""

CONSTANT = 1e-6
"""A feature counts as constant if its deviation is below this part of its size."""


def finite(
    what: str, values: Float[np.ndarray, "r ..."] | Int[np.ndarray, " r"], remedy: str
) -> None:
    """Raises InputError, with the remedy, if a value of a region is not finite."""
    rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(rows):
        raise InputError(
            f"{what}: {len(rows)} of {len(values)} regions are not finite, the first "
            f"in row {rows[0]}. {remedy}"
        )


def drawn(num_regions: int, most: int) -> Int[np.ndarray, " m"]:
    """Returns sorted regions: all, or `most` of them, always the same random draw."""
    if num_regions <= most:
        return np.arange(num_regions)
    chosen = np.random.default_rng(0).choice(num_regions, most, replace=False)
    return np.sort(chosen)
