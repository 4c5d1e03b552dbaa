"""Text that is not UTF-8: declared, or asked for; never read as something else."""

import dataclasses
import zipfile

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
import small_city
from poi_settings import SETTINGS

from data_prep.files import shapefiles
from data_prep.files import tables as vectors
from data_prep.files.csv_files import Text
from data_prep.labels import check as label_checks
from data_prep.labels import polygons, tables
from data_prep.labels.settings import LabelSettings
from data_prep.pois import check as poi_checks
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from data_prep.regions import check as region_checks
from data_prep.regions import polygons as region_polygons
from data_prep.regions.settings import PolygonSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

NAMES = ["公园", "餐饮", "school"]


def _table(names=NAMES):
    places = shapely.points(123.0 + 0.1 * np.arange(len(names)), 31.0)
    columns = dict(name=[f"p{row}" for row in range(len(names))], category=names)
    return gpd.GeoDataFrame(columns, geometry=places, crs=4326)


def _shapefile(path, table=None, encoding="gbk", language=0, cpg=None):
    """What programs on a Chinese Windows leave: no .cpg, some language byte."""
    (_table() if table is None else table).to_file(path, encoding=encoding)
    path.with_suffix(".cpg").unlink(missing_ok=True)
    if cpg is not None:
        path.with_suffix(".cpg").write_text(cpg)
    content = bytearray(path.with_suffix(".dbf").read_bytes())
    content[29] = language
    path.with_suffix(".dbf").write_bytes(content)
    return path


def _pois(path, **changes):
    settings = read(PoiSettings, SETTINGS | changes | dict(path=str(path)), "pois")
    found = poi_checks.problems(settings)
    if found:
        raise InputError("\n".join(found))
    return pois.read(settings, city_crs=small_city.CRS)


def _zipped(path):
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for suffix in (".shp", ".shx", ".dbf", ".prj", ".cpg"):
            if path.with_suffix(suffix).exists():
                archive.write(path.with_suffix(suffix), path.with_suffix(suffix).name)
                path.with_suffix(suffix).unlink()
    return packed


def _capitals(path):
    for part in list(path.parent.glob(f"{path.stem}.*")):
        part.rename(part.with_name(part.name.upper()))
    return path.with_name(path.name.upper())


def _alone(path):
    for suffix in (".shp", ".shx", ".prj"):
        path.with_suffix(suffix).unlink()
    return path.with_suffix(".dbf")


@pytest.mark.parametrize("delivered", [lambda path: path, _zipped, _capitals, _alone])
@pytest.mark.parametrize(
    ("language", "cpg"),
    [(0, None), (0x57, None), (0x99, None), (0, ""), (0, "ANSI 936"), (0x57, " ")],
)
def test_a_shapefile_without_an_encoding_asks_for_it(
    tmp_path, delivered, language, cpg
):
    path = delivered(_shapefile(tmp_path / "pois.shp", language=language, cpg=cpg))
    with pytest.raises(
        InputError, match=r"nothing in it.* config.pois.encoding; .*'gb"
    ):
        vectors.header(path, None, Text(key="config.pois"))
    found = vectors.load(path, None, Text("gb18030", key="config.pois"))
    assert found["category"].tolist() == NAMES


@pytest.mark.parametrize(
    ("encoding", "language", "cpg"),
    [
        ("gbk", 0x4D, None),
        ("gbk", 0, "GBK"),
        ("gbk", 0, "936"),
        ("utf-8", 0, "UTF-8"),
        ("utf-8", 0x57, "UTF-8"),
        ("cp1252", 0x03, None),
    ],
)
def test_a_shapefile_that_says_its_encoding_is_read(tmp_path, encoding, language, cpg):
    names = ["Café", "Straße"] if encoding == "cp1252" else NAMES
    path = _shapefile(tmp_path / "p.shp", _table(names), encoding, language, cpg)
    assert _pois(path).categories == tuple(sorted(names))


def test_plain_letters_need_no_encoding(tmp_path):
    path = _shapefile(tmp_path / "pois.shp", _table(["a", "b"]), "ascii")
    assert _pois(path).categories == ("a", "b")


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-8", r"is not in 'utf-8', as config.pois.encoding says.*'gb18030'"),
        ("ascii", r"is not in 'ascii'"),
        ("hex", r"config.pois.encoding is 'hex', which Python does not know"),
        ("GBKK", r"config.pois.encoding is 'GBKK', which Python does not know"),
    ],
)
def test_a_wrong_encoding_is_told(tmp_path, encoding, message):
    path = _shapefile(tmp_path / "pois.shp")
    with pytest.raises(InputError, match=message):
        _pois(path, encoding=encoding)


def test_a_character_that_its_cell_cuts_is_no_fault(tmp_path):
    table = _table(["公" * 127 + "园", "公园", "a"])  # of 254 bytes a cell at most
    path = _shapefile(tmp_path / "pois.shp", table, encoding="utf-8")
    with pytest.raises(InputError, match="nothing in it"):
        _pois(path)
    found = _pois(path, encoding="utf-8")
    assert set(found.categories[1:]) == {"公" * 84, "公园"}


def test_the_names_of_a_table_are_those_that_gdal_reads(tmp_path):
    table = _table(["公园", "餐饮", "公园"]).rename(columns=dict(name="名称"))
    path = _shapefile(tmp_path / "pois.shp", table.assign(n=[1, -200, 3], x=0.5))
    found = shapefiles.names(path.with_suffix(".dbf").read_bytes())
    raw = pyogrio.read_dataframe(path, encoding="gbk")
    expected = {"名称", *raw["category"]}
    assert {name.decode("gbk") for name in found} == expected
    assert shapefiles.names(b"") == shapefiles.names(b"\x03" + bytes(40)) == []


def test_formats_in_utf_8_take_no_other_encoding(tmp_path):
    _table().to_file(tmp_path / "pois.gpkg")
    _table().to_parquet(tmp_path / "pois.parquet")
    for name in ("pois.gpkg", "pois.parquet"):
        with pytest.raises(InputError, match="are always in UTF-8. Set it to None"):
            _pois(tmp_path / name, encoding="gb18030")
        assert len(_pois(tmp_path / name, encoding="utf-8")) == 3


def test_geojson_in_another_encoding_is_declared(tmp_path):
    _table().to_file(tmp_path / "pois.geojson")
    content = (tmp_path / "pois.geojson").read_text(encoding="utf-8")
    (tmp_path / "pois.geojson").write_bytes(content.encode("gb18030"))
    with pytest.raises(InputError, match="encoding in config.pois.encoding, such as"):
        _pois(tmp_path / "pois.geojson")
    found = _pois(tmp_path / "pois.geojson", encoding="gb18030")
    assert found.categories == tuple(sorted(NAMES))


def _zones(folder):
    west, north = small_city.WEST_M, small_city.NORTH_M
    left = west + 32 * np.arange(3)
    boxes = shapely.box(left, north - 96, left + 32, north)
    table = gpd.GeoDataFrame(dict(name=NAMES), geometry=boxes, crs=small_city.CRS)
    return _shapefile(folder / "zones.shp", table)


def test_classes_of_a_label_are_asked_for_their_encoding(tmp_path):
    mapping = (("公园", "green"), ("餐饮", "built"), ("school", "built"))
    settings = dict(
        kind="share",
        path=str(_zones(tmp_path)),
        column="name",
        classes=("green", "built"),
        mapping=mapping,
    )
    (found,) = label_checks.problems("use", LabelSettings(**settings), None)
    assert "Declare the encoding in config.labels.use.encoding" in found
    settings["encoding"] = "gbk"
    assert label_checks.problems("use", LabelSettings(**settings), None) == []
    table, _ = polygons.read("k", LabelSettings(**settings), small_city.CRS)
    assert table["name"].tolist() == NAMES
    settings["encoding"] = "none such"
    (found,) = label_checks.problems("use", LabelSettings(**settings), None)
    assert "config.labels.use.encoding is 'none such', which Python does not" in found


def test_ids_of_regions_are_asked_for_their_encoding(tmp_path):
    path = _zones(tmp_path)
    settings = PolygonSettings(str(path), id_column="name")
    (found,) = region_checks._polygon_problems(settings)
    assert "Declare the encoding in config.regions.polygons.encoding" in found
    settings = dataclasses.replace(settings, encoding="gbk")
    assert region_checks._polygon_problems(settings) == []
    outlines = region_polygons._read(settings, small_city.CRS)
    assert outlines.ids.tolist() == NAMES


def test_a_table_of_labels_may_be_in_another_encoding(tmp_path):
    rows = "地块;人口\n街道一;7\n街道二;NA\n".encode("gb18030")
    (tmp_path / "people.csv").write_bytes(rows)
    settings = dict(
        kind="count",
        path=str(tmp_path / "people.csv"),
        unit="persons",
        id_column="地块",
        column="人口",
        separator=";",
    )
    (found,) = label_checks.problems("people", LabelSettings(**settings), None)
    assert "Declare the encoding in config.labels.people.encoding" in found
    settings["encoding"] = "gb18030"
    assert label_checks.problems("people", LabelSettings(**settings), None) == []
    table = tables._by_id("config.labels.people", LabelSettings(**settings))
    pd.testing.assert_frame_equal(
        table,
        pd.DataFrame({"人口": [7.0, np.nan]}, index=["街道一", "街道二"]),
        check_index_type=False,
    )
