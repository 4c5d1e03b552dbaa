"""Which regions of two years are the same place."""

import numpy as np
import pyproj
import pytest
import shapely

from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import pairs

CRS = "EPSG:32651"


def place(west, south, *, names=None, size=100.0, crs=CRS, what="records"):
    """A grid of 3 by 4 squares."""
    column, row = (part.ravel() for part in np.meshgrid(np.arange(4), np.arange(3)))
    boxes = shapely.box(
        west + column * size, south + row * size,
        west + (column + 1) * size, south + (row + 1) * size,
    )  # fmt: skip
    names = names or [f"r{i}c{j}" for i, j in zip(row, column, strict=True)]
    return pairs.Place(names, [box.wkb for box in boxes], crs, what)


def test_the_same_grid_in_another_order():
    first = place(3e5, 3.4e6)
    order = np.random.default_rng(0).permutation(12)
    second = pairs.Place(
        [first.region_ids[i] for i in order],
        [first.geometry_wkb[i] for i in order],
        CRS,
        "other",
    )
    matched = pairs.match(first, second)
    np.testing.assert_array_equal(matched.earlier, order)
    np.testing.assert_array_equal(matched.later, np.arange(12))
    assert (matched.by_name, matched.alone) == (12, (0, 0))


def test_names_say_nothing_where_places_differ():
    """A grid that begins a column further east: names are shifted, too."""
    matched = pairs.match(place(3e5, 3.4e6), place(3e5 + 100, 3.4e6))
    assert len(matched.later) == 9 and matched.by_name == 0
    assert matched.alone == (3, 3)
    assert all(
        matched.earlier[i] == matched.later[i] + 1 for i in range(len(matched.later))
    )


def test_a_grid_that_is_displaced():
    """By 30 of 100 m squares share 70 of 130; by 45 they share 55 of 145."""
    first = place(3e5, 3.4e6)
    matched = pairs.match(first, place(3e5 + 30, 3.4e6))
    assert len(matched.later) == matched.by_name == 12
    with pytest.raises(InputError, match="on one grid"):
        pairs.match(first, place(3e5 + 45, 3.4e6))


def test_of_regions_that_overlap_each_has_one_partner():
    first = place(3e5, 3.4e6)
    double = pairs.Place(
        [*first.region_ids, "again"], [*first.geometry_wkb, first.geometry_wkb[0]],
        CRS, "double",
    )  # fmt: skip
    matched = pairs.match(double, first)
    assert len(matched.later) == 12 and matched.alone == (1, 0)
    assert matched.earlier[0] == 0  # the one with the same name


def test_another_crs_is_transformed():
    first = place(3e5, 3.4e6)
    to = pyproj.Transformer.from_crs(CRS, "EPSG:32650", always_xy=True)
    moved = [
        shapely.transform(
            shapely.from_wkb(one), lambda xy: np.stack(to.transform(*xy.T), axis=1)
        ).wkb
        for one in first.geometry_wkb
    ]
    other = pairs.Place(first.region_ids, moved, "EPSG:32650", "west")
    assert pairs.match(other, first).by_name == 12


def test_places_apart_are_refused():
    with pytest.raises(InputError, match="west: none of its 12 regions lies where one"):
        pairs.match(place(2e5, 3.4e6, what="west"), place(3e5, 3.4e6, what="east"))
