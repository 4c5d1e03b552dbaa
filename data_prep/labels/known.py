"""Which regions have a value: those of whose area enough is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from jaxtyping import Float

from data_prep.labels.source import LabelSource
from mmgr_jax.errors import InputError

Values = Float[np.ndarray, " r"] | Float[np.ndarray, "r k"]

# Below this, a share differs from its limit by rounding alone.
_SLACK = 1e-6


def mask(
    name: str,
    source: LabelSource,
    values: Values,
    known_share: Float[np.ndarray, " r"],
) -> tuple[Values, dict[str, Any]]:
    """Values as float32, NaN where too little of a region is known; and what to tell.

    Args:
        name: Name of the label, for messages.
        source: Where it comes from.
        values: Of all regions.
        known_share: Share of each region's area about which the source says something.

    Raises:
        InputError: If no region has a value.
    """
    known = known_share >= source.min_known - _SLACK
    if not known.any():
        raise InputError(
            f"config.labels.{name}: {source.path} says something of "
            f"{known_share.max(initial=0.0):.0%} of a region's area at best, and "
            f"min_known asks for {source.min_known:.0%}, so no region has a value. "
            "Does the file lie where the regions lie, is its nodata value right? Lower "
            "min_known where the source has gaps by nature."
        )
    masked = values.astype(np.float32)
    masked[~known] = np.nan
    return masked, {
        "regions without a value": int((~known).sum()),
        "mean covered share": round(float(np.minimum(known_share, 1).mean()), 4),
    }


def within(
    bounds: tuple[float, float, float, float], outlines: np.ndarray
) -> Float[np.ndarray, " r"]:
    """Share of each outline's area inside a box of the same CRS."""
    return shapely.area(
        shapely.intersection(outlines, shapely.box(*bounds))
    ) / shapely.area(outlines)
