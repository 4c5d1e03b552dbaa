"""Checks totals: regions and the ground outside them against the whole source."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float

from mmgr_jax.errors import InputError

TOLERANCE = 1e-3
"""Part of the total that may be lost or gained."""

# Regions whose areas exceed their union by more than this part overlap.
_OVERLAP = 1e-6


@dataclasses.dataclass(frozen=True)
class Total:
    """A total, measured in two ways.

    Attributes:
        regions: Sum over each region [r], also those without a value of their own.
        outside: Sum over the ground outside every region, measured by itself.
        source: Sum of the source, measured without the regions.
        overlapping: Whether regions overlap, so that some ground counts twice.
        whole: Whether `source` is the whole source; otherwise it is a window around the
            regions.
    """

    regions: Float[np.ndarray, " r"]
    outside: float
    source: float
    overlapping: bool
    whole: bool = True


def union(outlines: np.ndarray) -> tuple[shapely.Geometry, bool]:
    """Returns the ground that outlines cover together, and whether some overlap."""
    covered = shapely.union_all(outlines)
    areas = float(shapely.area(outlines).sum())
    return covered, areas > float(shapely.area(covered)) * (1 + _OVERLAP)


def check(
    name: str, path: str, total: Total, values: Float[np.ndarray, " r"]
) -> dict[str, Any]:
    """Checks that a total is preserved, and returns the figures to report.

    Args:
        name: Name of the label, for messages.
        path: Its file.
        total: The measured total.
        values: Values of the regions as they are stored, NaN where unknown.

    Raises:
        InputError: If regions and outside together differ from the total of the source;
            overlapping regions may exceed it.
    """
    inside = float(total.regions.sum())
    surplus = inside + total.outside - total.source
    slack = TOLERANCE * abs(total.source)
    lost = surplus < -slack
    if lost or (surplus > slack and not total.overlapping):
        raise InputError(
            f"config.labels.{name}: {path} holds {total.source:,.6g}, but the regions "
            f"got {inside:,.6g} and {total.outside:,.6g} lies outside them: "
            f"{surplus:+,.6g} too much. Polygons of the source, or regions, that "
            "overlap are the likely cause; repair them, or name another source."
        )
    stored = float(total.regions[~np.isnan(values)].sum())
    scope = "source" if total.whole else "source around the regions"
    report = {
        "total": stored,
        "outside every region": total.outside,
        f"total of the {scope}": total.source,
        "total in regions without a value": inside - stored,
    }
    if total.overlapping:
        report["counted more than once, as regions overlap"] = max(surplus, 0.0)
    return report
