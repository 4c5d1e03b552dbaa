"""The order of a table's rows in which neighbours stand close together."""

from __future__ import annotations

import geopandas
import numpy as np
import shapely
from jaxtyping import Float, Int


def along_hilbert(centre_m: Float[np.ndarray, "r 2"]) -> Int[np.ndarray, " r"]:
    """The order of rows in which neighbours stand close together: a Hilbert curve's.

    A reader that wants a box of the city then skips more row groups. Of the table in
    `writers.ROW_GROUP_SIZE`, for boxes of 10 and 25 % of its side, DuckDB read 16 and
    41 MB in this order, and 26 and 60 MB in that of a grid's records, line by line.

    Args:
        centre_m: Centres of the regions, in the order of the records.

    Returns:
        Numbers of the regions, in the order of the rows.
    """
    points = geopandas.GeoSeries(shapely.points(centre_m))
    if len(points) < 2:
        return np.arange(len(points))
    return np.argsort(points.hilbert_distance().to_numpy(), kind="stable")
