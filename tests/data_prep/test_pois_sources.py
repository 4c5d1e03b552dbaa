import collections
import importlib.util
import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from poi_settings import SETTINGS

from configs import common
from data_prep.files import crs as crs_lib
from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import OsmSettings, PoiSettings
from data_prep.pois.sources import osm, osm_readers
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

REAL = Path(pois.__file__).parents[3] / "shared" / "data"
HELSINKI = "EPSG:3067"


def _real(name):
    if not (REAL / name).exists():
        pytest.skip(f"no real sample at {REAL / name}")
    return str(REAL / name)


def _settings(path, **changes):
    return read(PoiSettings, SETTINGS | changes | dict(path=str(path)), "pois")


def _checked(path, city_crs=HELSINKI, **changes):
    settings = _settings(path, **changes)
    assert checks.problems(settings) == []
    return pois.read(settings, city_crs=city_crs)


def _by(table, names):
    return dict(collections.Counter(names[index] for index in table.category))


def test_the_defaults_of_the_config_read_every_source(tmp_path):
    section = common.base("somewhere", crs=HELSINKI).pois
    section.path = str(_osm(tmp_path))
    settings = read(PoiSettings, section, "pois")
    assert checks.problems(settings) == []
    assert len(pois.read(settings, city_crs=HELSINKI)) == 7


# ---- Overture Places ----

BASIC = pa.array(["cafe", "park", None, "cafe"])
TREES = [
    dict(primary="coffee_shop", hierarchy=["food_and_drink", "cafe", "coffee_shop"]),
    dict(primary="dog_park", hierarchy=["sports_and_recreation", "park", "dog_park"]),
    None,
    dict(primary="tea_room", hierarchy=["food_and_drink", "cafe", "tea_room"]),
]
OLD = [
    dict(primary="coffee_shop", alternate=["cafe"]),
    dict(primary="dog_park", alternate=None),
    None,
    dict(primary="tea_room", alternate=[]),
]
NAMES = [dict(primary=name, common=[("fi", name)]) for name in "abcd"]


def _overture(folder, **columns):
    points = shapely.points([[24.9, 60.1], [24.91, 60.1], [24.92, 60.1], [24.93, 60.1]])
    base = gpd.GeoDataFrame(dict(id=list("wxyz")), geometry=points, crs="EPSG:4326")
    base.to_parquet(folder / "points.parquet")
    table = pq.read_table(folder / "points.parquet")
    for name, values in {"names": NAMES, **columns}.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, folder / "places.parquet")
    return folder / "places.parquet"


@pytest.mark.parametrize(
    ("columns", "categories", "parents"),
    [
        (
            dict(basic_category=BASIC, taxonomy=TREES, categories=OLD),
            ("cafe", "park"),
            ("food_and_drink", "sports_and_recreation"),
        ),
        (
            dict(taxonomy=TREES),
            ("coffee_shop", "dog_park", "tea_room"),
            ("food_and_drink", "sports_and_recreation", "food_and_drink"),
        ),
        (
            dict(categories=OLD),
            ("coffee_shop", "dog_park", "tea_room"),
            ("coffee_shop", "dog_park", "tea_room"),
        ),
    ],
)
def test_overture_takes_the_best_columns_and_says_so(
    tmp_path, caplog, columns, categories, parents
):
    path = _overture(tmp_path, **columns)
    with caplog.at_level(logging.INFO):
        table = _checked(path, format="overture")
    assert (table.categories, table.parents) == (categories, parents)
    assert len(table) == 3 and table.dropped["missing category"] == 1
    assert "Overture Places: category from" in caplog.text
    assert "name from names.primary" in caplog.text
    assert "missing category: row 3" in caplog.text


def test_any_path_within_a_column_may_be_the_category(tmp_path):
    path = _overture(tmp_path, taxonomy=TREES)
    table = _checked(
        path,
        category_column="taxonomy.hierarchy[1]",
        parent_column="taxonomy.hierarchy[0]",
        name_column="names.primary",
    )
    assert table.categories == ("cafe", "park")
    assert table.parents == ("food_and_drink", "sports_and_recreation")


def test_what_is_no_overture_extract_is_refused(tmp_path):
    path = _overture(tmp_path)
    found = checks.problems(_settings(path, format="overture"))
    assert len(found) == 1 and "none of basic_category, taxonomy.primary" in found[0]
    found = checks.problems(_settings(path, name_column="names.primry"))
    assert "'names.primary' for 'names.primry'" in found[0]


# ---- OpenStreetMap ----

SQUARE = [(0, 0), (0, 4), (4, 4), (4, 0)]
TINY_OSM = [  # (kind, corner, side, tags)
    ("node", (24.0, 60.0), 0, dict(amenity="cafe", name="A", cuisine="cake")),
    ("node", (24.1, 60.0), 0, dict(amenity="bench")),
    ("node", (24.2, 60.0), 0, dict(amenity="restaurant", tourism="hotel", name="H")),
    ("node", (24.3, 60.0), 0, dict(shop="books;gifts", amenity="bench")),
    ("node", (24.4, 60.0), 0, dict(highway="bus_stop", public_transport="platform")),
    ("node", (24.4, 60.1), 0, dict(public_transport="stop_position", name="Stop")),
    ("way", (24.5, 60.0), 0.01, dict(amenity="school", name="School")),
    ("node", (24.503, 60.003), 0, dict(amenity="school")),  # the same school
    ("node", (24.504, 60.004), 0, dict(amenity="school", name="Other school")),
    ("way", (24.6, 60.0), 0.01, dict(building="yes", office="lawyer")),
    ("way", (24.7, 60.0), 0.01, dict(highway="residential")),
]


def _osm(folder):
    lines, ways, number = [], [], 0
    for kind, (lon, lat), side, tags in TINY_OSM:
        text = "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())
        corners = [(0, 0), (0, 1), (1, 1), (1, 0)] if kind == "way" else [(0, 0)]
        first = number + 1
        for right, up in corners:
            number += 1
            place = f'lat="{lat + up * side}" lon="{lon + right * side}"'
            inner = text if kind == "node" else ""
            lines.append(f'<node id="{number}" version="1" {place}>{inner}</node>')
        if kind == "way":
            ring = [*range(first, number + 1), first]
            nodes = "".join(f'<nd ref="{node}"/>' for node in ring)
            ways.append(f'<way id="{first}" version="1">{nodes}{text}</way>')
    path = folder / "tiny.osm"
    path.write_text(f'<osm version="0.6">{"".join(lines + ways)}</osm>')
    return path


def test_tags_become_categories_and_an_element_is_one_poi(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        table = _checked(_osm(tmp_path))
    rows = dict(
        zip(table.row, (table.categories[i] for i in table.category), strict=True)
    )
    assert rows == {
        "node/1": "amenity/cafe",
        "node/3": "tourism/hotel",  # its line stands above that of amenities
        "node/4": "shop/books",
        "node/5": "public_transport/platform",
        "way/7": "amenity/school",
        "node/12": "amenity/school",
        "way/13": "office/lawyer",
    }
    assert table.dropped["mapped twice"] == 1
    assert "mapped twice: row node/11" in caplog.text
    first = dict(zip(table.categories, table.parents, strict=True))
    assert first["shop/books"] == "shop" and first["tourism/hotel"] == "tourism"
    x_m, y_m = crs_lib.transform(
        np.array([24.505]), np.array([60.005]), "EPSG:4326", HELSINKI
    )
    way = table.row.get_loc("way/7")
    assert np.hypot(table.x_m[way] - x_m[0], table.y_m[way] - y_m[0]) < 300


def test_a_table_of_ones_own_decides(tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("key,value,category,parent\ncuisine,*,eats * ,food\n")
    table = _checked(_osm(tmp_path), osm=dict(table=str(own)))
    assert (table.categories, table.parents) == (("eats cake",), ("food",))
    own.write_text("key,value,category,parent\nsport,*,sport,sport\n")
    with pytest.raises(InputError, match="none of 0 elements is a POI by .*own.csv"):
        settings = _settings(_osm(tmp_path), osm=dict(table=str(own)))
        pois.read(settings, city_crs=HELSINKI)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,value\n", "its columns are key, value; wanted: key, value, category"),
        ("key,value,category,parent\nshop,*,,shop\n", "row 1, 'shop,\\*,,shop'"),
        ("key,value,category,parent\nshop,a,b,c\nshop,a,,\n", "row 2.*each pair once"),
    ],
)
def test_an_unfit_table_of_tags_is_explained(tmp_path, text, message):
    own = tmp_path / "own.csv"
    own.write_text(text)
    found = checks.problems(_settings(_osm(tmp_path), osm=dict(table=str(own))))
    with pytest.raises(InputError, match=message):
        raise InputError(found[0])


def test_the_table_of_tags_reads_and_shadows_no_line():
    rules = osm.read_rules(Path(osm.__file__).with_name("osm_categories.csv"))
    assert {"amenity", "shop", "office", "tourism", "leisure", "healthcare"} < set(
        rules
    )
    named = [rule for of_key in rules.values() for rule in of_key.values()]
    assert sorted(rule.rank for rule in named) == list(range(len(named)))
    assert all(rule.category.startswith(rule.parent) for rule in named)


def test_the_extract_of_helsinki_reads():
    table = _checked(_real("helsinki/Helsinki.osm.pbf"))
    first = _by(table, table.parents)
    assert 1500 < len(table) < 2200
    assert first["amenity"] > first["shop"] > first["tourism"] > 80
    assert {"office", "leisure", "public_transport", "historic"} < set(first)
    assert _by(table, table.categories)["amenity/restaurant"] > 150
    assert table.row.is_unique and table.row.str.match(r"(node|way|relation)/\d+").all()
    to_deg = pyproj.Transformer.from_crs(HELSINKI, "EPSG:4326", always_xy=True)
    lon_deg, lat_deg = to_deg.transform(table.x_m, table.y_m)
    # The data set's own box, with room for areas that reach out of it.
    assert ((lon_deg > 24.92) & (lon_deg < 24.97)).all()
    assert ((lat_deg > 60.15) & (lat_deg < 60.19)).all()


@pytest.mark.skipif(
    importlib.util.find_spec("quackosm") is None,
    reason="QuackOSM is not installed (requirements-osm.txt)",
)
@pytest.mark.slow
def test_quackosm_finds_the_same_pois():
    path = _real("helsinki/Helsinki.osm.pbf")
    gdal, _ = osm.load(path, OsmSettings("gdal"))
    other, _ = osm.load(path, OsmSettings("quackosm"))
    assert set(other.index) <= set(gdal.index)
    # Only what the edge of the extract cuts is missing: no single point.
    missing = set(gdal.index) - set(other.index)
    assert len(missing) < 30 and all(name.startswith("way/") for name in missing)
    same = gdal.loc[other.index]
    pd.testing.assert_frame_equal(
        pd.DataFrame(same.drop(columns="geometry")).astype("string"),
        pd.DataFrame(other.drop(columns="geometry")).astype("string"),
        check_names=False,
        check_index_type=False,
    )
    places = [table.to_crs(HELSINKI).representative_point() for table in (same, other)]
    assert places[0].distance(places[1], align=False).max() < 0.01


def test_quackosm_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "quackosm", None)
    with pytest.raises(InputError, match="requirements-osm.txt.*or choose 'gdal'"):
        osm_readers.read_with_quackosm(str(_osm(tmp_path)), {"shop": ("*",)})


# ---- other real tables ----


@pytest.mark.parametrize(
    ("category", "parent"), [("category", "type"), ("subcategory", "category")]
)
def test_the_venues_of_las_vegas_read_with_parents(category, parent):
    path = _real("las_vegas/pois.csv.gz")
    table = _checked(
        path,
        city_crs="EPSG:26911",
        crs="EPSG:4326",
        category_column=category,
        parent_column=parent,
        x_column="lon",
        y_column="lat",
    )
    raw = pd.read_csv(path)
    assert len(table) + sum(table.dropped.values()) == len(raw) == 78_377
    assert table.dropped["missing category"] == raw[category].isna().sum() > 0
    usual = raw.groupby(category)[parent].agg(lambda kind: kind.mode()[0])
    assert dict(zip(table.categories, table.parents, strict=True)) == usual.to_dict()


def test_the_points_of_santa_monica_read():
    table = _checked(_real("santa_monica/pois.geojson"), city_crs="EPSG:26911")
    assert len(table) == 944
    assert _by(table, table.categories)["bus stop"] == 518
