"""Prepares the change since an earlier year for the page and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mmgr_jax.evaluation.two_years import TwoYears
from mmgr_jax.explore import scales
from mmgr_jax.explore.city import ExploredCity, origins_of
from mmgr_jax.geo import rows
from mmgr_jax.legend import colours

LEVELS = (0.01, 0.05, 0.1, 0.2)
"""Rates of false discoveries that the page offers."""

LEVEL = 0.05
"""The one that it shows at first."""

BREAKS = (0.8, 1.25, 1.6, 2.0, 3.0)
"""Of distances, where 1 is usual for regions that look alike."""


def of(
    city: ExploredCity, since: TwoYears, basemap: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Makes the JSON and the arrays of the change for the page; see page/README.md.

    Args:
        city: The city in the later year.
        since: What changed.
        basemap: Place of the earlier picture.
    """
    pairs, change = since.pairs, since.change
    manifest = since.source.manifest
    about = {
        "name": manifest.city,
        "basemap": basemap,
        "origins": origins_of(manifest),
        "regions": len(since.source),
        "pairs": len(pairs.later),
        "byName": pairs.by_name,
        "aloneBefore": pairs.alone[0],
        "aloneNow": pairs.alone[1],
        "null": change.null,
        "named": since.named,
        "levels": list(LEVELS),
        "level": LEVEL,
        "scale": scales.open_ended(BREAKS, colours.VALUES),
    }
    count = len(city.region_ids)
    return about, {
        "changeFactor": _spread(count, since, change.factor),
        "changeP": _spread(count, since, change.p_value),
        "changeQ": _spread(count, since, change.q_value),
    }


def write_table(path: Path, city: ExploredCity) -> None:
    """Writes a GeoParquet file with a row for each region of the later year.

    Args:
        path: A file ending in .parquet.
        city: A city with an earlier year.
    """
    since = city.since
    assert since is not None
    count = len(city.region_ids)
    change = since.change
    q_value = _spread(count, since, change.q_value)
    columns = {
        "region_id": city.region_ids,
        "change_factor": _spread(count, since, change.factor),
        "change_p_value": _spread(count, since, change.p_value),
        "change_q_value": q_value,
        f"changed_at_{LEVEL:g}": q_value <= LEVEL,
    }
    rows.write(path, columns, city.geometry_wkb, city.manifest.crs)


def _spread(
    count: int, since: TwoYears, values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " r"]:
    """Spreads values of pairs over all later regions; NaN if a region has no pair."""
    whole = np.full(count, np.nan, np.float32)
    whole[since.pairs.later] = values
    return whole
