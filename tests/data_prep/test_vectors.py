import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from data_prep.files import csv_files, tables
from mmgr_jax.errors import InputError

PLACES = [
    {"primary": "bar", "tree": ["food", "bar"]},
    {"primary": None, "tree": []},
    None,
]


def _nested(folder):
    table = pa.table({"id": [1, 2, 3], "kind": PLACES})
    pq.write_table(table, folder / "nested.parquet")
    return folder / "nested.parquet"


def test_nested_columns_are_listed_and_read(tmp_path):
    path = _nested(tmp_path)
    header = tables.header(path)
    assert header.columns == ("id", "kind")
    assert header.nested == ("kind.primary", "kind.tree", "kind.tree[0]")
    assert header.has("kind.tree[1]") and header.has("kind")
    assert not header.has("kind.name") and not header.has("kinds.primary")
    table = tables.load(path, columns=["kind.primary", "kind.tree[0]"])
    assert list(table.columns) == ["kind"]
    for name, wanted in {
        "kind.primary": ["bar", None, None],
        "kind.tree[0]": ["food", None, None],
        "kind.tree[1]": ["bar", None, None],
    }.items():
        found = tables.column(table, name)
        assert [None if pd.isna(value) else value for value in found] == wanted


def test_structs_that_geojson_keeps_as_text_are_read(tmp_path):
    features = [
        dict(
            type="Feature",
            properties=dict(kind=kind, id=index),
            geometry=dict(type="Point", coordinates=[index, 1.0]),
        )
        for index, kind in enumerate(PLACES)
    ]
    path = tmp_path / "places.geojson"
    path.write_text(json.dumps(dict(type="FeatureCollection", features=features)))
    assert tables.header(path).has("kind.primary")
    found = tables.column(tables.load(path), "kind.primary")
    assert [None if pd.isna(value) else value for value in found] == ["bar", None, None]


def test_a_column_with_a_dot_in_its_name_is_itself(tmp_path):
    path = tmp_path / "dots.csv"
    path.write_text("a.b,c\n1,2\n")
    assert tables.header(path).has("a.b") and not tables.header(path).has("c.d")
    assert tables.column(tables.load(path), "a.b").tolist() == ["1"]


def test_geometries_come_with_chosen_columns(tmp_path):
    points = shapely.points(np.arange(6.0).reshape(3, 2))
    table = gpd.GeoDataFrame(dict(a=[1, 2, 3], b=4), geometry=points, crs="EPSG:4326")
    table.rename_geometry("place").to_parquet(tmp_path / "a.parquet")
    read = tables.load(tmp_path / "a.parquet", columns=["a"])
    assert list(read.columns) == ["a", "place"]
    assert (read.geometry.to_numpy() == points).all()


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz"])
def test_text_stays_text_and_a_mark_of_order_is_no_name(tmp_path, ending):
    path = tmp_path / f"codes.{ending}"
    mark = "\t" if ending == "tsv" else ","
    rows = pd.DataFrame(dict(code=["050100", None], café=[1, 2]))
    rows.to_csv(path, sep=mark, index=False, encoding="utf-8-sig")
    assert tables.header(path).columns == ("code", "café")
    table = tables.load(path)
    assert table["code"].tolist()[0] == "050100" and pd.isna(table["code"][1])
    assert table["café"].tolist() == ["1", "2"]


def test_declared_encoding_and_separator_are_used(tmp_path):
    path = tmp_path / "gbk.csv"
    path.write_text("名称;类别\n星巴克;咖啡\n", encoding="gb18030")
    text = csv_files.Text(encoding="gb18030", separator=";")
    assert tables.header(path, text=text).columns == ("名称", "类别")
    assert tables.load(path, text=text)["类别"].tolist() == ["咖啡"]


def test_a_bad_byte_is_named_with_its_line(tmp_path):
    path = tmp_path / "gbk.csv"
    path.write_bytes(b"id,name\n1,ok\n2," + "外滩".encode("gb18030") + b"\n")
    with pytest.raises(InputError) as raised:
        tables.load(path)
    text = str(raised.value)
    assert "byte 15 (0xcd, in line 3) is not in UTF-8. Save it as UTF-8" in text
    assert "config.pois" not in text and "'gb18030'" in text
    assert "'utf-16'" not in text
    declared = csv_files.Text(encoding="ascii", key="config.pois")
    with pytest.raises(InputError, match="not in 'ascii', as config.pois.encoding"):
        tables.load(path, text=declared)


def test_only_a_shapefile_that_says_nothing_needs_its_encoding_declared(tmp_path):
    place = dict(geometry=[shapely.Point(121.5, 31.2)], crs="EPSG:4326")
    path = tmp_path / "a.shp"
    gpd.GeoDataFrame(dict(name=["外滩"]), **place).to_file(path, encoding="gb18030")
    assert tables.load(path)["name"].tolist() == ["外滩"]
    path.with_suffix(".cpg").unlink()
    dbf = bytearray(path.with_suffix(".dbf").read_bytes())
    dbf[29] = 0
    path.with_suffix(".dbf").write_bytes(dbf)
    with pytest.raises(InputError, match=r"a\.shp: .*encoding") as raised:
        tables.load(path)
    assert "gb18030" in str(raised.value) and "外滩" in str(raised.value)
    declared = tables.load(path, text=csv_files.Text(encoding="gb18030"))
    assert declared["name"].tolist() == ["外滩"]
    gpd.GeoDataFrame(dict(name=["Bund"]), **place).to_file(path)
    path.with_suffix(".cpg").unlink()
    assert tables.load(path)["name"].tolist() == ["Bund"]  # ASCII is ASCII
