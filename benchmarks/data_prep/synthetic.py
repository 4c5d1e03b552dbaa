"""The POIs of a synthetic city, and the config that describes them.

Made after what is known of real tables: clusters of shops, few categories with most
of the POIs, and first levels that keep to their quarters.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ml_collections import ConfigDict

from configs import common

NUM_POIS = 78_377  # rows of a public table of venues of Las Vegas
NUM_CATEGORIES = 297
NUM_PARENTS = 27

_CENTRE_LON_LAT_DEG = (-115.2, 36.1)
_CITY_DEG, _CLUSTER_DEG = 0.12, 0.005
_NUM_CLUSTERS = 300
# Share of the POIs of a cluster that are of its own first level.
_OWN_SHARE = 0.6
# Frequency falls with rank to this power.
_TAIL = 1.1


def get_config() -> ConfigDict:
    """The settings of the paper for the synthetic city."""
    config = common.base("synthetic_city", crs="EPSG:26911")
    config.pois.crs = "EPSG:4326"
    config.pois.parent_column = "parent"
    config.pois.x_column = "lon"
    config.pois.y_column = "lat"
    return config


def write(path: Path, num_pois: int, seed: int = 0) -> None:
    """Writes a CSV with columns poi_id, lon, lat, category and parent.

    Args:
        path: The file.
        num_pois: Rows; with `NUM_CATEGORIES` or more, no category is without a POI.
        seed: Seed of the city.
    """
    import numpy as np  # --help shall not wait for it

    rng = np.random.default_rng(seed)
    parent_of = np.sort(rng.integers(0, NUM_PARENTS, NUM_CATEGORIES))
    share = (1.0 + rng.permutation(NUM_CATEGORIES)) ** -_TAIL
    cluster_deg = rng.normal(_CENTRE_LON_LAT_DEG, _CITY_DEG, (_NUM_CLUSTERS, 2))
    cluster = rng.integers(0, _NUM_CLUSTERS, num_pois)
    lon_lat_deg = cluster_deg[cluster] + rng.normal(0, _CLUSTER_DEG, (num_pois, 2))
    category = rng.choice(NUM_CATEGORIES, num_pois, p=share / share.sum())
    # A cluster's own first level takes the place of what was drawn for most of it.
    of_parent = [np.flatnonzero(parent_of == parent) for parent in np.unique(parent_of)]
    own = rng.integers(0, len(of_parent), _NUM_CLUSTERS)
    for row in np.flatnonzero(rng.random(num_pois) < _OWN_SHARE).tolist():
        siblings = of_parent[own[cluster[row]]]
        weights = share[siblings] / share[siblings].sum()
        category[row] = siblings[np.searchsorted(weights.cumsum(), rng.random())]
    category[:NUM_CATEGORIES] = np.arange(NUM_CATEGORIES)[:num_pois]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("poi_id", "lon", "lat", "category", "parent"))
        for row, (lon_deg, lat_deg) in enumerate(lon_lat_deg.tolist()):
            kind = int(category[row])
            writer.writerow(
                (row, lon_deg, lat_deg, f"kind {kind}", f"group {parent_of[kind]}")
            )
