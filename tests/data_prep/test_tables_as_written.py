"""Tables arrive as they are written: every row, every field, every name.

Oracles: Arrow's writer and reader of CSV, pandas and GeoPandas as writers.
"""

import json
import logging
import unicodedata

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import shapely
import small_city
from poi_settings import SETTINGS

from data_prep.files import cells, csv_files, tables
from data_prep.files.csv_files import Text
from data_prep.pois import categories as poi_categories
from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import CategoryListSettings, PoiSettings
from mmgr_jax.data.names import alike, one_form
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

TABLE = dict(x_column="lon", y_column="lat", crs="EPSG:4326")
WORDS = ["NA", "None", "null", "nan", "N/A", "", "007", "1e5", "True", "-", "x"]


def _read(path, **changes):
    """What `build` does with POIs: its checks, then reading them."""
    settings = read(PoiSettings, SETTINGS | changes | dict(path=str(path)), "pois")
    found = checks.problems(settings)
    if found:
        raise InputError("\n".join(found))
    return pois.read(settings, city_crs=small_city.CRS)


def _frame(categories, **columns):
    number = len(categories)
    places = dict(lon=123.0 + 0.01 * np.arange(number), lat=np.full(number, 31.0))
    names = dict(name=[f"p{row}" for row in range(number)])
    return pd.DataFrame(names | dict(category=categories) | places | columns)


def _geo(frame):
    points = shapely.points(frame["lon"], frame["lat"])
    return gpd.GeoDataFrame(
        frame.drop(columns=["lon", "lat"]), geometry=points, crs=4326
    )


# ---- rows and fields of CSV files ----


@pytest.mark.parametrize("seed", range(5))
def test_every_row_and_field_is_read_as_arrow_writes_it(tmp_path, seed):
    rng = np.random.default_rng(seed)
    pieces = [*WORDS, 'say "x"', "a,b", "line\nbreak", " spaces ", "外滩", "a;b\tc"]
    columns = {
        name: [str(rng.choice(pieces)) for _ in range(200)] for name in ("a", "b", "c")
    }
    columns["d"] = [f"{row}!" for row in range(200)]  # so that no row is blank
    path = tmp_path / "table.csv"
    pa.csv.write_csv(pa.table(columns), path)
    found = csv_files.load(path, Text())
    expected = pa.csv.read_csv(
        path,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string())
        ),
    )
    assert len(found) == expected.num_rows == 200
    for name, written in columns.items():
        assert found[name].fillna("").tolist() == expected[name].to_pylist() == written


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "1,a,x,\n2,b,y,\n",
            r"line 2, '1' ..., has 4 fields and the header 3.*off the",
        ),
        ("1,a,x\n2,b\n", r"line 3, '2' ..., has 2 fields and the header 3.*fill up"),
        ("1,a,x\n2,b, c,y\n", r"line 3, '2' ..., has 4 fields .* in double quotes"),
        ('1,"a\nb",x\n2,b\n', r"line 4, '2' ..., has 2 fields"),
        ('1,"a"b,x\n', r"row that begins in line 2 cannot be split.*twice"),
        ('1,a,x\n2,"a,x\n3,c,z\n', r"begins in line 3 cannot be split"),
        ("1,a,x\n\x1a", r"line 3, '\\x1a' ..., has 1 fields"),
        ("1,a,x\ry,z\n", r"line 3, 'y' ..., has 2 fields"),
    ],
)
def test_a_row_with_other_fields_is_named(tmp_path, rows, message):
    path = tmp_path / "table.csv"
    path.write_bytes(b"id,name,kind\n" + rows.encode())
    with pytest.raises(InputError, match=message):
        csv_files.load(path, Text())


def test_blank_lines_line_ends_and_marks_are_no_rows(tmp_path):
    path = tmp_path / "table.csv"
    for end in (b"\n", b"\r\n", b"\r"):
        lines = [b"\xef\xbb\xbf id ,name", b"", b"1,a", b",", b"   ", b"2,b", b""]
        path.write_bytes(end.join(lines))
        for encoding in (None, "utf-8", "UTF8"):
            found = csv_files.load(path, Text(encoding))
            assert found.columns.tolist() == ["id", "name"]
            assert found.fillna("").to_numpy().tolist() == [
                ["1", "a"],
                ["", ""],
                ["2", "b"],
            ]


def test_row_numbers_that_pandas_adds_are_no_column(tmp_path, caplog):
    frame = pd.DataFrame(dict(id=["b", "a"], v=[1, 2]), index=[7, 3])
    frame.to_csv(tmp_path / "table.csv")
    frame.to_parquet(tmp_path / "table.parquet")
    frame.set_index("id").to_parquet(tmp_path / "named.parquet")
    with caplog.at_level(logging.INFO):
        for name in ("table.csv", "table.parquet", "named.parquet"):
            path = tmp_path / name
            assert sorted(tables.header(path).columns) == ["id", "v"]
            found = tables.load(path)
            assert sorted(found.columns) == ["id", "v"]
            assert found["id"].tolist() == ["b", "a"]
    assert "table.csv: column 1 has no name and is not read" in caplog.text


def test_a_repeated_name_is_refused_in_whatever_form(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Café,Cafe\u0301\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="occurs more than once"):
        tables.header(path)


def test_a_txt_table_is_read_and_its_separator_asked_for(tmp_path):
    frame = _frame(["cafe", "NA"])
    frame.to_csv(tmp_path / "pois.txt", index=False)
    assert _read(tmp_path / "pois.txt", **TABLE).categories == ("NA", "cafe")
    frame.to_csv(tmp_path / "tabs.txt", sep="\t", index=False)
    with pytest.raises(InputError, match=r"Set config.pois.separator to '\\t'"):
        _read(tmp_path / "tabs.txt", **TABLE)
    found = _read(tmp_path / "tabs.txt", **TABLE, separator="\t")
    assert found.categories == ("NA", "cafe")


def test_a_sheet_or_a_packed_csv_is_not_guessed_at(tmp_path):
    _frame(["cafe"]).to_csv(tmp_path / "pois.csv.zip", index=False)
    with pytest.raises(InputError, match="CSV"):
        _read(tmp_path / "pois.csv.zip", **TABLE)


# ---- words, numbers and containers ----


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".geojson", ".jsonl"])
def test_words_that_libraries_take_for_missing_are_names(tmp_path, suffix):
    categories = ["NA", "null", "None", "nan", "N/A", "cafe", None]
    frame, path = _frame(categories), tmp_path / f"pois{suffix}"
    settings = TABLE
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        _geo(frame).to_file(path)
        settings = {}
    found = _read(path, **settings)
    assert found.categories == tuple(sorted(categories[:-1]))
    assert found.dropped["missing category"] == 1


def test_whole_numbers_stay_whole_beside_gaps(tmp_path):
    large = 9007199254740993  # 2**53 + 1 is no decimal number of 64 bits
    ids = pd.array([7, None, large], "Int64")
    path = tmp_path / "table.parquet"
    pd.DataFrame(dict(id=ids, v=1)).to_parquet(path)
    found = cells.text(tables.load(path)["id"])
    assert found.fillna("").tolist() == ["7", "", str(large)]
    assert cells.text(pd.Series([7.0, np.nan])).fillna("").tolist() == ["7", ""]
    with pytest.raises(
        InputError, match=("too large to be exact. Save the column as te")
    ):
        cells.text(pd.Series([7.0, 2.0**53]), "table: column 'id'")


LISTS = dict(
    list=(
        [["cafe"], ["bar", "pub"]],
        r"holds lists or struct.*part of it: 'category\[0",
    ),
    struct=([dict(primary="cafe")] * 2, r"Name one part of it: 'category.primary'"),
)


@pytest.mark.parametrize("case", LISTS)
def test_a_container_is_no_category(tmp_path, case):
    values, message = LISTS[case]
    frame = _frame(values)
    frame.to_parquet(tmp_path / "pois.parquet")
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "pois.parquet", **TABLE)
    rows = [json.dumps(row) for row in frame.to_dict("records")]
    (tmp_path / "pois.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        _read(tmp_path / "pois.jsonl", **TABLE)
    part = "category[0]" if case == "list" else "category.primary"
    for name in ("pois.parquet", "pois.jsonl"):
        found = _read(tmp_path / name, **TABLE, category_column=part)
        assert "cafe" in found.categories


@pytest.mark.parametrize(
    "values",
    [
        [["cafe"], ["bar"]],
        [dict(primary="cafe"), dict(primary="bar")],
        [dict(primary="cafe"), "bar"],
    ],
)
def test_containers_of_geojson_are_no_categories(tmp_path, values):
    features = [
        dict(
            type="Feature",
            properties=dict(name=f"p{row}", category=value),
            geometry=dict(type="Point", coordinates=[123.0, 31.0 + row]),
        )
        for row, value in enumerate(values)
    ]
    path = tmp_path / "pois.geojson"
    path.write_text(
        json.dumps(dict(type="FeatureCollection", features=features)), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"category.*holds (a list|a struct|lists or)"):
        _read(path)
    part = "category[0]" if isinstance(values[0], list) else "category.primary"
    assert "cafe" in _read(path, category_column=part).categories


@pytest.mark.parametrize(
    "printed",
    ["['food > cafe' 'Extra > Thing']", '["cafe"]', '{"primary": "cafe"}', "{a: b}"],
)
def test_a_printed_list_is_no_category(tmp_path, printed):
    _frame([printed, printed, "bar"]).to_csv(tmp_path / "pois.csv", index=False)
    with pytest.raises(InputError, match="lists or structs written as text, such as"):
        _read(tmp_path / "pois.csv", **TABLE)


def test_bytes_that_are_text_are_text(tmp_path):
    frame = _frame(["公园".encode(), b"cafe"])
    frame.to_parquet(tmp_path / "pois.parquet")
    assert _read(tmp_path / "pois.parquet", **TABLE).categories == ("cafe", "公园")
    frame["category"] = [b"\xff\xfe", b"cafe"]
    frame.to_parquet(tmp_path / "pois.parquet")
    with pytest.raises(InputError, match="bytes that are no UTF-8 text"):
        _read(tmp_path / "pois.parquet", **TABLE)


@pytest.mark.parametrize(
    ("column", "numbers", "wrong"),
    [
        (["1", " 2.5 ", "1e3", "", None], [1, 2.5, 1000, None, None], []),
        (["NA", "nan", "NULL", "#N/A"], [None] * 4, []),
        (["1,5", "n/k", "1 234", "0x1A", "inf"], [None] * 4 + [np.inf], range(5)),
        ([1.0, np.nan, np.inf], [1, None, np.inf], [2]),
        ([[1], 2], [None, 2], [0]),
        (pd.to_datetime(["2020-01-01"]), [None], [0]),
    ],
)
def test_numbers_and_what_is_none(column, numbers, wrong):
    found, flagged = cells.numbers(pd.Series(column))
    np.testing.assert_array_equal(found, np.array(numbers, float))
    assert np.flatnonzero(flagged).tolist() == list(wrong)


# ---- names in one form ----


def test_names_that_look_the_same_are_the_same(tmp_path, caplog):
    composed, apart = "Café", unicodedata.normalize("NFD", "Café")
    assert composed != apart
    categories = [
        composed,
        apart,
        "bank",
        "bank\u200b",
        "\ufeffbank",
        "a\u00a0b",
        "a b",
    ]
    _frame(categories).to_csv(tmp_path / "pois.csv", index=False)
    found = _read(tmp_path / "pois.csv", **TABLE)
    assert found.categories == ("Café", "a b", "bank")
    assert np.bincount(found.category).tolist() == [2, 2, 3]
    path = tmp_path / "list.csv"
    path.write_text(f"category\n{apart}\nbank\n", encoding="utf-8")
    listed = poi_categories.shared_list(CategoryListSettings(str(path), apart))
    assert listed.names == ("Café", "bank") and listed.other == "Café"
    _frame(["x"] * 2, **{apart: ["bank", "bar"]}).to_csv(
        tmp_path / "pois.csv", index=False
    )
    assert _read(tmp_path / "pois.csv", **TABLE, category_column=composed).categories


def test_names_that_differ_by_little_are_told(tmp_path, caplog):
    _frame(["ATM", "atm", "ＡＴＭ", "bank"]).to_csv(tmp_path / "pois.csv", index=False)
    with caplog.at_level(logging.WARNING):
        found = _read(tmp_path / "pois.csv", **TABLE)
    assert len(found.categories) == 4
    assert "1 group(s) of names differ only in case, width or space" in caplog.text


def test_what_no_page_could_show_is_dropped():
    assert one_form("ca\0fe\n bar\x1b") == "cafe  bar"
    assert one_form(" NA\t") == "NA"


@pytest.mark.parametrize("separator", ["||", '"', "\n", " "])
def test_a_separator_that_is_none_is_refused(tmp_path, separator):
    _frame(["cafe"]).to_csv(tmp_path / "pois.csv", index=False)
    with pytest.raises(InputError, match="config.pois.separator is .* one character"):
        _read(tmp_path / "pois.csv", **TABLE, separator=separator)


def test_columns_and_single_names_have_one_form():
    rng = np.random.default_rng(0)
    odd = "\0\x07\t\n\x1c\x1f\x7f\x85\xa0\xad\u200b\u200c\u200d\u2028\u2060\u3000\ufeff"
    letters = list(odd + "ab 公园e\u0301é👨‍ａ")
    names = ["".join(rng.choice(letters, rng.integers(0, 8))) for _ in range(3000)]
    names += ["plain", " plain ", "NA"]
    expected = [one_form(name) for name in names]
    found = cells.text(pd.Series(names)).fillna("")
    assert found.tolist() == expected
    plain = cells.text(pd.Series([" a", "b\t", "", None])).fillna("")
    assert plain.tolist() == ["a", "b", "", ""]


def test_joiners_within_a_name_stay():
    family, persian = "👨\u200d👩\u200d👧", "می\u200cخواهم"
    assert one_form(family) == family and one_form(persian + "\u200c") == persian
    assert alike([persian, persian.replace("\u200c", "")])


# ---- JSON lines ----


def test_json_lines_are_a_table_with_paths(tmp_path):
    rows = [
        dict(id=9007199254740993, cat=dict(main="cafe"), lon=123.0, lat=31.0),
        dict(id=None, cat=dict(main="bar"), lon=123.1, lat=31.1, extra=[1]),
    ]
    path = tmp_path / "pois.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    found = _read(path, **TABLE, category_column="cat.main")
    assert found.categories == ("bar", "cafe")
    assert cells.text(tables.load(path)["id"]).tolist()[0] == "9007199254740993"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": "x"}\n', "changed from number to string in row 1"),
        ('{"a": 1, "a": 2}\n', "specified twice"),
        ('{"a": 1\n', "cannot be read"),
        ("name,category\n", "cannot be read"),
    ],
)
def test_json_lines_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "pois.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        _read(path, **TABLE)


def test_features_a_line_are_geojson(tmp_path):
    for name in ("pois.jsonl", "pois.geojsonl", "pois.ndjson"):
        _geo(_frame(["cafe", "bar"])).to_file(tmp_path / name, driver="GeoJSONSeq")
        assert _read(tmp_path / name).categories == ("bar", "cafe")


# ---- tags of OpenStreetMap in many columns ----


def test_tags_in_columns_are_read_as_openstreetmap(tmp_path):
    frame = _frame(["x"] * 4).drop(columns="category")
    frame["@id"] = ["node/1", "node/2", "way/3", "node/4"]
    frame["amenity"] = ["cafe;bar", None, None, None]
    frame["shop"] = [None, "bakery", None, None]
    frame["surface"] = [None, None, "asphalt", "gravel"]
    path = tmp_path / "export.geojson"
    _geo(frame).to_file(path)
    with pytest.raises(
        InputError,
        match=r"'amenity', 'shop' are tags of OpenStreetMap: "
        r"set config.pois.format to 'osm'",
    ):
        _read(path)
    found = _read(path, format="osm")
    assert sorted(found.categories) == sorted(
        {found.categories[index] for index in found.category}
    )
    assert len(found) == 2 and found.row.tolist() == ["node/1", "node/2"]
    assert any("cafe" in name for name in found.categories)
    plain = tmp_path / "plain.geojson"
    _geo(_frame(["x"])).to_file(plain)
    with pytest.raises(InputError, match="none of its columns is a tag"):
        _read(plain, format="osm")


def test_a_list_of_categories_of_any_kind_is_read(tmp_path):
    pq.write_table(
        pa.table(dict(category=[1, 2], parent=["a", None])), tmp_path / "l.pq"
    )
    listed = poi_categories.shared_list(CategoryListSettings(str(tmp_path / "l.pq")))
    assert listed.names == ("1", "2") and listed.parents == ("a", "2")
    (tmp_path / "l.xlsx").write_bytes(b"PK no sheet")
    with pytest.raises(InputError, match="l.xlsx: cannot be read"):
        poi_categories.shared_list(CategoryListSettings(str(tmp_path / "l.xlsx")))
