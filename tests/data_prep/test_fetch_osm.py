"""POIs of an area from an extract of OpenStreetMap, on a server that breaks."""

import dataclasses
import datetime as dt
import hashlib
import json
import logging
import struct
from pathlib import Path

import geopandas as gpd
import http_folder
import numpy as np
import osm_pbf
import pyproj
import pytest
import shapely
from poi_settings import SETTINGS

from data_prep.fetch import command, osm, osm_header, presets
from data_prep.fetch import land_use as land_use_lib
from data_prep.fetch.request import Request
from data_prep.labels import check as label_checks
from data_prep.labels.settings import LabelSettings
from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

EXTRACT_BOX = (24.0, 60.0, 25.0, 61.0)
AREA = "24.4,60.4,24.6,60.6"
TIME = dt.datetime(2026, 11, 20, 20, 21, tzinfo=dt.UTC)
CRS = "EPSG:3067"
HELSINKI = Path(pois.__file__).parents[3] / "shared/data/helsinki/Helsinki.osm.pbf"


def elements():
    """Cafes on a grid, a bench, a school mapped twice, a park at the edge, a ruin."""
    nodes, number = [], 0
    rng = np.random.default_rng(0)
    for lon in np.linspace(24.02, 24.98, 25):
        for lat in np.linspace(60.02, 60.98, 25):
            number += 1
            tags = dict(amenity="cafe", name=f"Café {number}", cuisine="cake")
            tags["note"] = rng.bytes(500).hex()  # so that the file has a size
            nodes.append(("node", number, (round(lon, 7), round(lat, 7)), tags))
    nodes.append(("node", 1001, (24.5, 60.5), dict(amenity="bench")))
    nodes.append(("node", 1002, (24.502, 60.502), dict(amenity="school")))
    ways = []
    # A school around 24.5, 60.5; a park that leaves the area; another one far off.
    squares = [
        (2000, (24.49, 60.49), 0.02, dict(amenity="school", name="Koulu")),
        (2100, (24.59, 60.49), 0.05, dict(leisure="park", name="Reuna")),
        (2200, (24.1, 60.1), 0.01, dict(leisure="park", name="Kaukana")),
        (2300, (24.45, 60.45), 0.01, {}),
    ]
    for first, (lon, lat), side, tags in squares:
        corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
        for step, (right, up) in enumerate(corners):
            place = (round(lon + right * side, 7), round(lat + up * side, 7))
            nodes.append(("node", first + step, place, {}))
        ring = [first, first + 1, first + 2, first + 3, first]
        ways.append(("way", first, ring, tags))
    ruin = dict(type="multipolygon", historic="ruins", name="Linna")
    return [*nodes, *ways, ("relation", 9, [("outer", 2300)], ruin)]


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    path = tmp_path_factory.mktemp("osm") / "finland-latest.osm.pbf"
    osm_pbf.write(path, elements(), box=EXTRACT_BOX, time=int(TIME.timestamp()))
    return path.read_bytes()


@pytest.fixture(scope="module")
def expected(extract, tmp_path_factory):
    """The table of `AREA`, without a server."""
    folder = tmp_path_factory.mktemp("expected")
    (folder / "a.osm.pbf").write_bytes(extract)
    place = osm.Extract(str(folder / "a.osm.pbf"))
    box = shapely.box(*map(float, AREA.split(",")))
    osm.write_pois(place, folder / "a.osm.pbf", box, folder / "osm.parquet")
    return folder / "osm.parquet"


@pytest.fixture
def served(extract, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    root = tmp_path / "files"
    (root / "europe").mkdir(parents=True)
    (root / "europe/finland-latest.osm.pbf").write_bytes(extract)
    digest = hashlib.md5(extract).hexdigest()
    text = f"{digest}  finland-latest.osm.pbf\n"
    (root / "europe/finland-latest.osm.pbf.md5").write_text(text)
    with http_folder.serving(root) as server:
        server.etags = True
        url = f"{server.address}/{{place}}-latest.osm.pbf"
        preset = dataclasses.replace(presets.PRESETS["geofabrik"], url=url)
        monkeypatch.setitem(presets.PRESETS, "geofabrik", preset)
        yield server


def request(served, tmp_path, **changed):
    fields = dict(
        out=str(tmp_path / "raw"),
        bbox=AREA,
        pois="geofabrik:europe/finland",
        poi_margin_m=0.0,
        cache=str(tmp_path / "cache"),
        allow_hosts=[served.address],
    )
    return Request(**fields | changed)


def about(folder):
    return json.loads((folder / "sources.json").read_text())["parts"]["pois"]


def test_what_touches_the_area_comes_with_its_tags(expected):
    table = gpd.read_parquet(expected).set_index("id")
    west, south, east, north = map(float, AREA.split(","))
    cafes = {
        f"node/{number}"
        for kind, number, place, tags in elements()
        if kind == "node" and tags.get("amenity") == "cafe"
        if west <= place[0] <= east and south <= place[1] <= north
    }
    others = {"node/1001", "node/1002", "way/2000", "way/2100", "relation/9"}
    assert len(cafes) == 25 and set(table.index) == cafes | others
    assert table.loc["way/2000", ["name", "amenity"]].tolist() == ["Koulu", "school"]
    assert table.loc["relation/9", "historic"] == "ruins"
    # It touches the area, and stays whole.
    assert table.geometry["way/2100"].bounds == pytest.approx(
        (24.59, 60.49, 24.64, 60.54)
    )
    assert "cuisine" not in table and "tourism" not in table


def test_the_build_reads_of_the_table_what_it_reads_of_the_extract(
    extract, expected, tmp_path
):
    whole = tmp_path / "whole.osm.pbf"
    whole.write_bytes(extract)
    tables = []
    for path, kind in ((whole, None), (expected, "osm")):
        settings = read(
            PoiSettings, SETTINGS | dict(path=str(path), format=kind), "pois"
        )
        assert checks.problems(settings) == []
        tables.append(pois.read(settings, city_crs=CRS))
    everything, brought = tables
    assert len(everything) == 629 and len(brought) == 28  # not the bench, one school
    assert brought.dropped["mapped twice"] == everything.dropped["mapped twice"] == 1
    place = everything.row.get_indexer(brought.row)
    assert (place >= 0).all()
    for key in ("x_m", "y_m", "name"):
        one, other = getattr(brought, key), getattr(everything, key)[place]
        np.testing.assert_array_equal(one, other)
    kinds = [
        [table.categories[index] for index in table.category[rows]]
        for table, rows in ((brought, slice(None)), (everything, place))
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.skipif(not HELSINKI.exists(), reason=f"no real sample at {HELSINKI}")
def test_a_real_extract_gives_the_same_as_the_build_reads_of_it(tmp_path):
    box = (24.9400, 60.1660, 24.9480, 60.1720)
    folder = command.fetch(
        Request(
            out=str(tmp_path / "raw"),
            bbox=",".join(map(str, box)),
            pois=f"osm={HELSINKI}",
            cache=str(tmp_path / "cache"),
            poi_margin_m=0.0,
        )
    )
    tables = []
    for path, kind in ((HELSINKI, None), (folder / "pois/osm.parquet", "osm")):
        settings = read(
            PoiSettings, SETTINGS | dict(path=str(path), format=kind), "pois"
        )
        tables.append(pois.read(settings, city_crs=CRS))
    everything, brought = tables
    assert 300 < len(brought) < 0.7 * len(everything)
    place = everything.row.get_indexer(brought.row)
    assert (place >= 0).all()
    np.testing.assert_array_equal(brought.x_m, everything.x_m[place])
    lon, lat = _degrees(everything)
    inside = (lon > box[0]) & (lon < box[2]) & (lat > box[1]) & (lat < box[3])
    assert set(everything.row[inside]) <= set(brought.row)
    fetched = about(folder)
    assert fetched["address"] == "" and fetched["details"]["pois"] >= len(brought)


def _degrees(table):
    to_deg = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    return to_deg.transform(table.x_m, table.y_m)


def test_an_outline_counts_not_the_box_around_it(extract, tmp_path):
    path, triangle = (
        tmp_path / "a.osm.pbf",
        [(24.4, 60.4), (24.61, 60.4), (24.4, 60.61)],
    )
    path.write_bytes(extract)
    outline = shapely.Polygon(triangle)
    osm.write_pois(osm.Extract(str(path)), path, outline, tmp_path / "osm.parquet")
    table = gpd.read_parquet(tmp_path / "osm.parquet")
    assert table.intersects(outline).all()
    cafes = [
        number
        for kind, number, place, tags in elements()
        if kind == "node" and tags.get("amenity") == "cafe"
        if outline.intersects(shapely.Point(place))
    ]
    assert (table["amenity"] == "cafe").sum() == len(cafes) == 15  # of 25


def test_sources_say_whose_it_is_and_of_when(served, extract, tmp_path):
    folder = command.fetch(request(served, tmp_path))
    fetched = about(folder)
    assert fetched["licence"] == "ODbL 1.0" and fetched["year"] == 2026
    assert fetched["source"] == "OpenStreetMap contributors"
    assert fetched["address"] == f"{served.address}/europe/finland-latest.osm.pbf"
    details = fetched["details"]
    assert details["data_time"] == TIME.isoformat() and details["format"] == "osm"
    assert details["rows"] == 30 and details["pois"] == 29
    assert details["extract"] == {
        "bytes": len(extract),
        "sha256": hashlib.sha256(extract).hexdigest(),
    }


def test_another_area_takes_the_extract_that_is_there(served, extract, tmp_path):
    command.fetch(request(served, tmp_path))
    served.sent.clear()
    out = str(tmp_path / "other")
    command.fetch(request(served, tmp_path, bbox="24.7,60.7,24.8,60.8", out=out))
    assert served.sent["finland-latest.osm.pbf"] < 10  # is it still the newest?
    served.gets.clear()
    out = str(tmp_path / "third")
    command.fetch(request(served, tmp_path, out=out, offline=True))
    command.fetch(request(served, tmp_path))  # there already
    assert not served.gets


def test_a_dry_run_says_how_much_and_of_when(served, extract, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    command.fetch(request(served, tmp_path, dry_run=True))
    assert "an extract of 0.4 MB of 2026-11-20; 0.4 MB" in caplog.text
    assert not (tmp_path / "raw").exists()
    assert not list(tmp_path.glob("cache/*/body*"))


@pytest.mark.parametrize(
    "faults",
    [[None, None, "cut", 500], [None, None, 503, 503], [500, 500, None, "cut"]],
)
def test_whatever_breaks_on_the_way_the_pois_are_the_same(
    served, tmp_path, faults, expected
):
    served.faults["finland-latest.osm.pbf"] = list(faults)
    folder = command.fetch(request(served, tmp_path))
    assert (folder / "pois/osm.parquet").read_bytes() == expected.read_bytes()


def test_a_stopped_fetch_goes_on_where_it_was(served, extract, tmp_path):
    served.faults["finland-latest.osm.pbf"] = [None, None, "cut", *[500] * 5]
    with pytest.raises(InputError, match="it goes on from here"):
        command.fetch(request(served, tmp_path))
    assert not list((tmp_path / "raw").rglob("*.parquet"))
    served.faults.clear()
    served.sent.clear()
    command.fetch(request(served, tmp_path))
    assert served.sent["finland-latest.osm.pbf"] < 0.6 * len(extract) + 100


def test_other_bytes_than_the_checksum_says_are_removed(served, tmp_path):
    (served.root / "europe/finland-latest.osm.pbf.md5").write_text("0" * 32 + "  x\n")
    with pytest.raises(InputError, match="its checksum is not the one"):
        command.fetch(request(served, tmp_path))
    names = [path for path in tmp_path.glob("cache/*/body*")]
    assert len(names) == 1 and names[0].stat().st_size < 100  # the checksum alone
    (served.root / "europe/finland-latest.osm.pbf.md5").write_text("<html>busy</html>")
    with pytest.raises(InputError, match="holds no MD5"):
        command.fetch(request(served, tmp_path))


def test_an_extract_of_another_place_is_not_fetched(served, extract, tmp_path):
    padded = served.root / "padded.osm.pbf"
    padded.write_bytes(extract + bytes(3_000_000))
    away = request(
        served,
        tmp_path,
        bbox="10,50,10.1,50.1",
        pois=f"osm={served.address}/padded.osm.pbf",
    )
    with pytest.raises(InputError, match=r"covers 24.00,60.00,25.00,61.00 \(W,S,E,N\)"):
        command.fetch(away)
    assert served.sent["padded.osm.pbf"] <= osm_header.HEAD_BYTES


def test_a_part_of_the_area_that_lacks_is_told(served, tmp_path, caplog):
    command.fetch(request(served, tmp_path, bbox="24.8,60.4,25.2,60.6"))
    assert "covers only 24.00,60.00,25.00,61.00, 50% of the area" in caplog.text


def test_a_server_without_parts_serves_whole_extracts(served, tmp_path):
    served.ranges = False
    folder = command.fetch(request(served, tmp_path))
    assert about(folder)["year"] == 2026  # its header is read of the file that came
    assert len(gpd.read_parquet(folder / "pois/osm.parquet")) == 30


def test_no_poi_in_the_area(served, tmp_path):
    bench = request(served, tmp_path, bbox="24.4995,60.4995,24.5005,60.5005")
    served.root.joinpath("europe/bench.osm.pbf").write_bytes(b"")
    osm_pbf.write(
        served.root / "bench.osm.pbf",
        [("node", 1, (24.5, 60.5), dict(amenity="bench"))],
    )
    asked = dataclasses.replace(bench, pois=f"osm={served.address}/bench.osm.pbf")
    with pytest.raises(InputError, match="none of its 1 element.s. .* is a POI by"):
        command.fetch(asked)
    asked = dataclasses.replace(asked, bbox="24.1,60.1,24.11,60.11")
    with pytest.raises(InputError, match="none of its 0 element.s."):
        command.fetch(dataclasses.replace(asked, out=str(tmp_path / "other")))
    assert not list(tmp_path.rglob("osm.parquet"))


@pytest.mark.parametrize("damage", ["html", "cut", "bytes", "empty"])
def test_damaged_extracts_are_told_by_their_address(served, extract, tmp_path, damage):
    path = served.root / "broken.osm.pbf"
    middle = len(extract) // 2
    path.write_bytes(
        {
            "html": b"<html>404</html>" * 9000,
            "cut": extract[:middle],
            "bytes": extract[: middle - 200] + bytes(400) + extract[middle + 200 :],
            "empty": b"",
        }[damage]
    )
    pois = f"osm={served.address}/broken.osm.pbf"
    with pytest.raises(InputError, match=f"{served.address}/broken.osm.pbf") as error:
        command.fetch(request(served, tmp_path, pois=pois))
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)
    assert not list(tmp_path.rglob("osm.parquet"))


def test_an_extract_that_lies_here(served, extract, tmp_path):
    path = tmp_path / "here.osm.pbf"
    path.write_bytes(extract)
    folder = command.fetch(
        request(served, tmp_path, pois=f"osm={path}", allow_hosts=[])
    )
    assert len(gpd.read_parquet(folder / "pois/osm.parquet")) == 30
    assert not served.gets and not (tmp_path / "cache").exists()
    with pytest.raises(
        InputError, match=("gone.osm.pbf: is neither a file nor an address")
    ):
        out = str(tmp_path / "other")
        command.fetch(request(served, tmp_path, pois="osm=gone.osm.pbf", out=out))


# -- land use


def square(first, lon, lat, side, **tags):
    """Nodes and the way of a square."""
    corners = [(0, 0), (0, side), (side, side), (side, 0)]
    nodes = [
        ("node", first + step, (round(lon + right, 7), round(lat + up, 7)), {})
        for step, (right, up) in enumerate(corners)
    ]
    return nodes, ("way", first, [*range(first, first + 4), first], tags)


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    """A town with a wood and a pond in it, fields beside it, a quarry as a relation."""
    squares = [
        square(100, 24.40, 60.40, 0.10, landuse="residential"),
        square(200, 24.44, 60.44, 0.02, landuse="forest"),
        square(300, 24.45, 60.45, 0.005, landuse="basin"),
        square(400, 24.45, 60.36, 0.06, landuse="farmland"),  # a part is the town's
        square(500, 24.55, 60.55, 0.01, building="yes"),
        square(600, 24.56, 60.42, 0.02),
        square(700, 24.90, 60.90, 0.02, landuse="farmland"),  # far off
    ]
    quarry = dict(type="multipolygon", landuse="quarry")
    elements = [node for nodes, _ in squares for node in nodes]
    elements += [way for _, way in squares]
    elements.append(("node", 1, (24.45, 60.45), dict(amenity="cafe")))
    elements.append(("relation", 9, [("outer", 600)], quarry))
    elements.sort(key=lambda one: ("node way relation".index(one[0]), one[1]))
    path = tmp_path_factory.mktemp("land") / "land.osm.pbf"
    osm_pbf.write(path, elements, box=EXTRACT_BOX, time=int(TIME.timestamp()))
    return path


def land_use(path, tmp_path):
    asked = Request(
        out=str(tmp_path / "raw"),
        bbox=AREA,
        pois=f"osm={path}",
        labels=["land_use=osm"],
        cache=str(tmp_path / "cache"),
    )
    return command.fetch(asked)


def test_every_place_has_one_land_use_the_smaller_on_top(land, tmp_path):
    folder = land_use(land, tmp_path)
    path = folder / "labels/land_use.parquet"
    table = gpd.read_parquet(path).set_index("id")
    assert table["landuse"].to_dict() == {
        "way/100": "residential",
        "way/200": "forest",
        "way/300": "basin",
        "way/400": "farmland",
        "relation/9": "quarry",
    }
    sizes = shapely.area(table.geometry.to_numpy())
    assert dict(zip(table.index, np.round(sizes * 1e6).astype(int), strict=True)) == {
        "way/300": 25,
        "way/200": 400 - 25,
        "way/400": 3600,  # smaller than the town, so on top of it
        "way/100": 10_000 - 400 - 1000,
        "relation/9": 400,
    }
    # No two share ground, and together they cover what the file covers.
    assert sizes.sum() == pytest.approx(shapely.union_all(table.geometry).area)
    parts = json.loads((folder / "sources.json").read_text())["parts"]
    label = parts["land_use"]
    assert label["licence"] == "ODbL 1.0" and label["year"] == 2026
    assert label["details"]["classes"]["residential"] == 1
    assert list(label["files"]) == ["labels/land_use.parquet"]
    settings = LabelSettings(
        kind="share",
        path=str(path),
        column="landuse",
        classes=("residential", "forest", "basin", "farmland", "quarry"),
    )
    box = tuple(map(float, AREA.split(",")))
    assert label_checks.problems("land_use", settings, box) == []


def test_land_use_needs_an_extract(served, tmp_path):
    with pytest.raises(
        InputError, match=("land use comes from the OpenStreetMap extract")
    ):
        asked = request(served, tmp_path, pois=None, labels=["land_use=osm"])
        command.fetch(asked)


def test_an_area_without_land_use_is_told(extract, tmp_path):
    (tmp_path / "a.osm.pbf").write_bytes(extract)
    with pytest.raises(InputError, match="has no area with the key landuse"):
        land_use(tmp_path / "a.osm.pbf", tmp_path)


def test_outlines_that_cross_themselves_are_mended():
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    inner = shapely.box(0.2, 0.9, 0.4, 1.1)
    table = gpd.GeoDataFrame(
        {"landuse": ["a", "b", "c"]},
        geometry=[bow, inner, shapely.Point(0, 0)],
        index=["way/1", "way/2", "node/3"],
        crs="EPSG:4326",
    )
    made = land_use_lib._polygons("file", table).set_index("id")
    assert sorted(made.index) == ["way/1", "way/2"] and made.is_valid.all()
    assert shapely.area(made.geometry["way/1"]) == pytest.approx(2 - 0.04)


# -- headers


def test_a_header_says_where_and_when(extract, tmp_path):
    header = osm_header.parse(extract[: osm_header.HEAD_BYTES])
    assert header.box_deg == EXTRACT_BOX and header.time == TIME
    path, west = tmp_path / "a.osm.pbf", (-179.5, -89.25, -1.5, -0.125)
    osm_pbf.write(path, [], box=west)
    assert osm_header.parse(path.read_bytes()).box_deg == west
    osm_pbf.write(path, [])
    none = osm_header.ExtractHeader(None, None)
    assert osm_header.parse(path.read_bytes()) == none


def test_hostile_headers_are_none(extract):
    rng = np.random.default_rng(0)
    head = extract[:300]
    assert osm_header.parse(b"") is None and osm_header.parse(b"<html>" * 99) is None
    for _ in range(3000):
        data = bytearray(
            head[: rng.integers(1, len(head))] if rng.random() < 0.3 else head
        )
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        header = osm_header.parse(bytes(data))
        assert header is None or isinstance(header, osm_header.ExtractHeader)
    endless = struct.pack(">I", 13) + b"\x0a\x09OSMHeader\x18" + b"\xff" * 200
    assert osm_header.parse(endless) is None


def test_names_of_extracts_in_messages_hold_no_secret():
    extract = osm.Extract("https://example.org/a.osm.pbf?sig=geheim")
    assert extract.name == "https://example.org/a.osm.pbf" and not extract.is_here
