import logging

import numpy as np
import pandas as pd
import pytest
import small_city

from data_prep.pois import categories as poi_categories
from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import CategoryListSettings, PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

ROWS = [
    ("a", " cafe", "food", 123.0, 31.0),
    ("b", "zoo", "leisure", 123.1, 31.0),
    ("c", "park", "leisure", 123.2, 31.0),
    ("d", "kiosk", "shops", 123.3, 31.0),
    ("e", "zoo", "leisure", 123.4, 31.0),
    ("f", None, "leisure", 123.5, 31.0),
]
SETTINGS = dict(
    crs="EPSG:4326",
    datum="wgs84",
    category_column="category",
    parent_column="parent",
    x_column="lon",
    y_column="lat",
)


def _read(folder, **categories):
    path = folder / "pois.csv"
    names = ["name", "category", "parent", "lon", "lat"]
    pd.DataFrame(ROWS, columns=names).to_csv(path, index=False)
    given = dict(SETTINGS, path=str(path), categories=categories)
    return pois.read(read(PoiSettings, given, "pois"), city_crs=small_city.CRS)


def _list(folder, text="category,parent\npark,green\nother,other\ncafe,food\nbar,\n"):
    path = folder / "categories.csv"
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


def test_a_list_decides_names_order_and_parents(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        table = _read(tmp_path, path=_list(tmp_path))
    assert table.categories == ("park", "other", "cafe", "bar")
    assert table.parents == ("green", "other", "food", "bar")
    assert table.category.tolist() == [2, 0]
    assert table.row.tolist() == [1, 3]
    assert table.dropped == {
        "invalid coordinates": 0,
        "missing category": 1,
        "unknown category": 3,
        "duplicates": 0,
    }
    assert table.counted_as_other == 0
    assert "unknown category: row 2, 4, 5" in caplog.text
    assert "not in the list are left out: 'zoo' (2), 'kiosk' (1)" in caplog.text


def test_other_takes_what_the_list_does_not_know(tmp_path, caplog):
    table = _read(tmp_path, path=_list(tmp_path), unknown="other")
    assert table.category.tolist() == [2, 1, 0, 1, 1]
    assert table.counted_as_other == 3 and "unknown category" not in table.dropped
    assert "count as 'other': 'zoo' (2), 'kiosk' (1)" in caplog.text


def test_names_without_parents_take_those_of_the_file(tmp_path):
    table = _read(tmp_path, path=_list(tmp_path, "category\nzoo\nbar\ncafe\n"))
    assert table.categories == ("zoo", "bar", "cafe")
    assert table.parents == ("leisure", "bar", "food")


def test_two_cities_with_one_list_have_one_numbering(tmp_path):
    listed = poi_categories.shared_list(CategoryListSettings(_list(tmp_path)))
    one = poi_categories.ids_of(pd.Series(["bar", "cafe"]), listed)
    two = poi_categories.ids_of(pd.Series(["cafe", "park"]), listed)
    np.testing.assert_array_equal((one, two), ([3, 2], [2, 0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(path="none.csv"), r"categories.path 'none.csv': no such file. Wanted"),
        (dict(unknown="other"), "unknown is 'other', but there is no list"),
    ],
)
def test_an_unfit_list_is_explained(settings, message):
    with pytest.raises(InputError, match=message):
        poi_categories.shared_list(CategoryListSettings(**settings))
    assert poi_categories.problems(CategoryListSettings(**settings))


def test_a_stranger_takes_no_unknown_ones(tmp_path):
    with pytest.raises(InputError, match="unknown is 'others', .* not in the list"):
        poi_categories.shared_list(CategoryListSettings(_list(tmp_path), "others"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,parent\na,b\n", r"categories.csv: has no column 'category'"),
        ("category,parent\na,b\n,c\n", r"row 2 has no category"),
        ("category\n", "holds no category"),
        ("category\na\na\n", "'a' occurs more than once"),
    ],
)
def test_an_unfit_file_of_categories_is_explained(tmp_path, text, message):
    path = _list(tmp_path, text)
    given = dict(SETTINGS, categories=dict(path=path))
    found = checks.problems(read(PoiSettings, given, "pois"))
    assert len(found) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(found[0])
