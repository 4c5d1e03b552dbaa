"""Finds which regions have a value: those with enough known area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float

from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError

Values = Float[np.ndarray, " r"] | Float[np.ndarray, "r k"]

# Below this, a share differs from its limit by rounding alone.
_SLACK = 1e-6

# What programs and offices write where there is no number: grids, short and long
# integers, and the US Census where it has no estimate.
_FILLS = (-999, -9999, -99999, -999999, -9999999, -32767, -32768, -2147483647)
_FILLS += (-2147483648, -222222222, -333333333, -555555555, -666666666, -888888888)
_FILLS += (-999999999,)
# Beyond it are the fills of floating-point grids: 1e20, 9.96921e36, 3.4e38, 1.8e308.
_LARGEST = 9e19


def mask(
    name: str,
    source: LabelSettings,
    values: Values,
    known_share: Float[np.ndarray, " r"],
) -> tuple[Values, dict[str, Any]]:
    """Returns float32 values, NaN where too little of a region is known; and a report.

    Args:
        name: Name of the label, for messages.
        source: Where it comes from.
        values: Of all regions.
        known_share: Share of each region's area for which the source has a value.

    Raises:
        InputError: If no region has a value.
    """
    known = known_share >= source.min_known - _SLACK
    if not known.any():
        raise InputError(
            f"config.labels.{name}: {source.path} covers at most "
            f"{known_share.max(initial=0.0):.0%} of a region's area, but min_known "
            f"asks for {source.min_known:.0%}, so no region has a value. Check that "
            "the file covers the regions and that its nodata value is right, or "
            "lower min_known if the source really has gaps."
        )
    masked = values.astype(np.float32)
    masked[~known] = np.nan
    return masked, {
        "regions without a value": int((~known).sum()),
        "mean covered share": round(float(np.minimum(known_share, 1).mean()), 4),
    }


def impossible(
    kind: str, lowest: Float[np.ndarray, " n"], highest: Float[np.ndarray, " n"]
) -> tuple[float, str] | None:
    """Returns an impossible number of a source, and why; None where there is none.

    Args:
        kind: Of the label.
        lowest: Low numbers [n] as they are in the source; NaN does not count.
        highest: High numbers [n].
    """
    low = float(np.nanmin(lowest, initial=0.0))
    high = float(np.nanmax(highest, initial=0.0))
    names = {"count": "counts", "density": "densities"}
    if kind in names and low < 0:
        return low, f"{names[kind]} are 0 or more"
    for number in (low, high):
        if number in _FILLS or abs(number) > _LARGEST:
            return number, "which programs write where data is missing"
    return None


def spread(values: Values) -> dict[str, float]:
    """Returns smallest, median and largest of the known numbers; nothing for shares."""
    known = values[~np.isnan(values)] if values.ndim == 1 else np.zeros(0)
    if not len(known):
        return {}
    return {
        "smallest": float(known.min()),
        "median": float(np.median(known)),
        "largest": float(known.max()),
    }


def within(bounds: Sequence[float], outlines: np.ndarray) -> Float[np.ndarray, " r"]:
    """Returns the share of each outline's area inside a box of the same CRS."""
    west, south, east, north = bounds
    return shapely.area(
        shapely.intersection(outlines, shapely.box(west, south, east, north))
    ) / shapely.area(outlines)
