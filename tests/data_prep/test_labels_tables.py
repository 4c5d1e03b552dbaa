"""Labels that a table gives by region id."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pyogrio
import pytest
from test_labels import _extract, _regions

from data_prep.labels.settings import LabelSettings
from mmgr_jax.errors import InputError

FORMATS = {".gpkg": dict(driver="GPKG"), ".dbf": dict(driver="ESRI Shapefile")}
IDS = ["r0000c0000", "r0000c0001", "r0000c0002"]


def _table(folder, columns, suffix=".csv"):
    path = folder / f"table{suffix}"
    table = pd.DataFrame(columns)
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    return str(path)


def _source(path, kind="count", unit="million CNY", **given):
    return LabelSettings(kind, path, unit, column="gdp", id_column="id", **given)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_values_find_their_regions_by_id(tmp_path, suffix, caplog):
    columns = dict(id=["elsewhere", IDS[2], IDS[0]], gdp=[100.0, 3.0, 1.0])
    source = _source(_table(tmp_path, columns, suffix))
    with caplog.at_level(logging.WARNING):
        found, report = _extract(source, _regions(rows=1, columns=3))
    np.testing.assert_array_equal(found, np.float32([1.0, np.nan, 3.0]))
    assert found.dtype == np.float32
    assert report == {
        "regions without a value": 1,
        "ids of no region": 1,
        "total": 4.0,
        "total of the source": 104.0,
        "smallest": 1.0,
        "median": 2.0,
        "largest": 3.0,
    }
    assert "1 id(s) of no region, left out: 'elsewhere'" in caplog.text


def test_ids_keep_their_leading_zeros(tmp_path):
    source = _source(_table(tmp_path, dict(id=["007", "8"], gdp=[7, 8])), "scalar")
    regions = dataclasses.replace(_regions(rows=1, columns=2), ids=["007", "8"])
    found, _ = _extract(source, regions)
    assert found.tolist() == [7, 8]


@pytest.mark.parametrize("suffix", [".gpkg", ".pq", ".csv", ".jsonl", ".dbf"])
def test_whole_numbers_are_ids_in_every_format(tmp_path, suffix):
    path = tmp_path / f"people{suffix}"
    table = pd.DataFrame(dict(id=[101, 102, 103], gdp=[1.5, 2.5, 4.0]))
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".pq":
        table.to_parquet(path)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        pyogrio.write_dataframe(table, path, **FORMATS[suffix])
    regions = dataclasses.replace(_regions(rows=1, columns=3), ids=["103", "7", "101"])
    found, report = _extract(_source(str(path)), regions)
    np.testing.assert_array_equal(found, np.float32([4.0, np.nan, 1.5]))
    assert report["total of the source"] == 8.0


def test_words_are_ids_and_no_numbers(tmp_path, caplog):
    (tmp_path / "table.csv").write_text(
        "id,gdp\nNA,1\nnull,NA\nCafe\u0301,3\n,4\n", encoding="utf-8"
    )
    regions = _regions(rows=1, columns=3)
    regions = dataclasses.replace(regions, ids=["NA", "null", "Café"])
    with caplog.at_level(logging.INFO):
        found, report = _extract(_source(str(tmp_path / "table.csv")), regions)
    np.testing.assert_array_equal(found, np.float32([1, np.nan, 3]))
    assert "cells without a number: 'NA' (1)" in caplog.text
    assert "1 row(s) without an id, left out" in caplog.text
    assert report["total of the source"] == 4.0


def test_a_row_with_a_comma_at_its_end_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text(
        f"code,id,gdp\n{IDS[0]},1,7,\n{IDS[1]},2,8,\n", encoding="utf-8"
    )
    source = dataclasses.replace(_source(str(tmp_path / "table.csv")), id_column="code")
    with pytest.raises(InputError, match="line 2, .* has 4 fields and the header 3"):
        _extract(source, _regions(rows=1, columns=3))


def test_shares_stand_in_one_column_a_class(tmp_path):
    columns = dict(
        id=IDS, woods=[0.2, 0.1, 0.0], park=[0.3, 0.1, 0.0], lake=[0.5, 0.6, 0.1]
    )
    settings = dict(classes=("forest", "water"), id_column="id")
    mapping = (("woods", "forest"), ("park", "forest"), ("lake", "water"))
    path = _table(tmp_path, columns)
    source = LabelSettings("share", path, **settings, mapping=mapping)
    found, report = _extract(source, _regions(rows=1, columns=3))
    expected = [[0.5, 0.5], [0.25, 0.75], [np.nan, np.nan]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert report["regions without a value"] == 1
    percent = _table(tmp_path, {**columns, "lake": [50, 80, 100]})
    source = LabelSettings("share", percent, **settings, mapping=mapping)
    with pytest.raises(InputError, match="3 region.s. .* first to 50.5. Wanted: parts"):
        _extract(source, _regions(rows=1, columns=3))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            dict(id=["a", "b"], gdp=[1, 2]),
            r"no id .* says 'a', 'b'. Wanted: .* 'r0",
        ),
        (
            dict(id=[IDS[0]] * 2, gdp=[1, 2]),
            r"several rows for 1 region\(s\): 'r0000c0",
        ),
        (
            dict(id=IDS[:2], gdp=["1", "n/k"]),
            r"'gdp', region r0000c0001: 'n/k' is no nu",
        ),
        (dict(id=IDS[:2], gdp=[1, -2]), r"holds the count -2; counts are 0 or more"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, columns, message):
    with pytest.raises(InputError, match=f"labels.people: .*{message}"):
        _extract(_source(_table(tmp_path, columns)), _regions(rows=1, columns=3))


def test_classes_of_a_table_go_by_name(tmp_path):
    columns = dict(id=[*IDS, "x"], gdp=["lake", "woods", None, "city"])
    mapping = (("woods", "forest"), ("lake", "water"), ("city", None))
    settings = dict(unit="1", classes=("forest", "water"), mapping=mapping)
    path = _table(tmp_path, columns)
    found, _ = _extract(_source(path, "class", **settings), _regions(rows=1, columns=3))
    np.testing.assert_array_equal(found, np.float32([1, 0, np.nan]))
    settings["mapping"] = mapping[:1]
    wrong = "region r0000c0000: 'lake' is no class. Allowed: woods; give it a class"
    with pytest.raises(InputError, match=wrong):
        _extract(_source(path, "class", **settings), _regions(rows=1, columns=3))
