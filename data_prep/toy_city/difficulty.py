"""What the POI table of a generated city lacks and misplaces.

Each difficulty of `ToyCitySettings` has a neutral value, and a city with all of them
neutral is the city without them. None changes blocks, buildings or labels: the truth
always stays the same. Each uses a random stream of its own, so switching one on does
not change the effect of the others.
"""

from __future__ import annotations

import numpy as np

from data_prep.toy_city import taxonomies
from data_prep.toy_city.area import random_stream
from data_prep.toy_city.places import Places
from data_prep.toy_city.settings import ToyCitySettings


def listed(places: Places, settings: ToyCitySettings, seed: int) -> Places:
    """The places as the POI table lists them: some missing, the others misplaced.

    Args:
        places: All places, where they are.
        settings: The difficulties, and which categories the table has at all.
        seed: Seed of the city.
    """
    mapped = taxonomies.mapped(settings.poi_habits.unmapped)
    count = len(places.block)
    drawn = random_stream(seed, "poi missing").uniform(size=count)
    error = random_stream(seed, "poi scatter").standard_normal((count, 2))
    points = places.points + np.array(settings.poi_shift_m, float)
    points = points + settings.poi_scatter_m * error
    kept = np.flatnonzero((drawn >= settings.poi_missing) & mapped[places.category])
    return Places(
        points[kept],
        places.category[kept],
        places.variety[kept],
        places.block[kept],
        [places.name[index] for index in kept],
        [places.poi_id[index] for index in kept],
    )
