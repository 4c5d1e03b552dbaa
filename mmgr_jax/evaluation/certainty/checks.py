"""What every evaluation asks of its arrays."""

import numpy as np
from jaxtyping import Float, Int

from mmgr_jax.errors import InputError

KNOWN_LABELS = "Leave out regions without a label; every other needs a prediction."
GOOD_FEATURES = "Check the checkpoint and the images of these regions."

MANY = 16_384
"""Of more regions, what looks at all pairs, or at all features at once, looks at so
many, drawn by `drawn`."""

CONSTANT = 1e-6
"""A feature whose deviation is below this part of its size counts as constant."""


def finite(
    what: str, values: Float[np.ndarray, "r ..."] | Int[np.ndarray, " r"], remedy: str
) -> None:
    """Raises InputError, with the remedy, if a region has a value not finite."""
    rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(rows):
        raise InputError(
            f"{what}: {len(rows)} of {len(values)} regions are not finite, the first "
            f"in row {rows[0]}. {remedy}"
        )


def drawn(num_regions: int, most: int) -> Int[np.ndarray, " m"]:
    """Regions in order: all, or of more than `most` so many, the same each time."""
    if num_regions <= most:
        return np.arange(num_regions)
    chosen = np.random.default_rng(0).choice(num_regions, most, replace=False)
    return np.sort(chosen)
