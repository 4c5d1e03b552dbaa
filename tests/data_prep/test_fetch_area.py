"""Areas: boxes, files, places by name; signatures; a STAC API that searches."""

import datetime as dt
import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import geopandas as gpd
import pytest
import shapely

from data_prep.fetch import area as area_lib
from data_prep.fetch import catalogue, command, days, grid, presets, signing
from data_prep.fetch.cache import Cache
from data_prep.fetch.hosts import Hosts
from data_prep.fetch.http import Client
from data_prep.fetch.request import Request
from mmgr_jax.errors import InputError


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ("1,2,3", "wanted: four numbers"),
        ("a,b,c,d", "wanted: four numbers"),
        ("2,48,1,49", "its west lies east of its east"),
        ("1,49,2,48", "its south lies north of its north"),
        ("179.5,-17,-179.5,-16", "it crosses 180 degrees: fetch each side"),
        ("-179.5,-17,179.5,-16", "more than half of the Earth"),
        ("48,200,49,201", "latitudes lie between -90 and 90"),
        ("190,10,191,11", "longitudes lie between -180 and 180"),
        ("2,48,2,49", "it has no extent"),
        ("nan,48,2,49", "latitudes lie between"),
        ("0,0,20,20", "it covers 4,[0-9,]+ km2; at most 250,000"),
    ],
)
def test_boxes_that_are_none(box, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        area_lib.of_box(box)
    assert f"--bbox={box}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("box", "crs"),
    [("2.25,48.81,2.42,48.91", "EPSG:32631"), ("150,-34,150.2,-33.9", "EPSG:32756")],
)
def test_the_grid_of_a_box_lies_in_its_utm_zone(box, crs):
    over = grid.over(area_lib.of_box(box), None, 2.0)
    assert over.crs == crs and over.west_m % 2 == over.north_m % 2 == 0
    outline = gpd.GeoSeries([shapely.box(*map(float, box.split(",")))], crs="EPSG:4326")
    west, south, east, north = outline.to_crs(crs).total_bounds
    assert 0 <= west - over.west_m < 4 and 0 <= over.north_m - north < 4
    assert over.width_px == pytest.approx((east - west) / 2, abs=3)
    assert over.height_px == pytest.approx((north - south) / 2, abs=3)


def test_grids_that_do_not_suit():
    area = area_lib.of_box("2.25,48.81,2.42,48.91")
    with pytest.raises(InputError, match="--crs 'EPSG:4326' is in units of degree"):
        grid.over(area, "EPSG:4326", 1.0)
    with pytest.raises(InputError, match="times as large"):
        grid.over(area, "EPSG:3857", 1.0)
    with pytest.raises(InputError, match="billion"):
        grid.over(area, None, 0.1)
    with pytest.raises(InputError, match="UTM has no zones.*--crs"):
        grid.over(area_lib.of_box("0,85,1,86"), None, 1.0)


def test_the_outlines_of_a_file(tmp_path):
    triangle = shapely.Polygon([(2.0, 48.0), (2.1, 48.0), (2.0, 48.1)])
    path = str(tmp_path / "area.gpkg")
    table = gpd.GeoDataFrame(geometry=[triangle], crs="EPSG:4326").to_crs("EPSG:2154")
    table.to_file(path)
    area = area_lib.of_file(path)
    assert shapely.hausdorff_distance(area.outline, triangle) < 1e-8
    gpd.GeoDataFrame(geometry=[shapely.Point(2, 48)], crs="EPSG:4326").to_file(path)
    with pytest.raises(InputError, match="holds no polygon"):
        area_lib.of_file(path)


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ("2.30,48.30,2.36,48.34", 1.0),
        ("-70.02,-53.2,-69.9,-53.1", 1.0),
        ("24.9,78.1,25.2,78.2", 1.0),
        ("179.9,-17,180,-16.9", 0.9),  # the other side of the line is another area
        ("-180,-17,-179.9,-16.9", 0.9),
    ],
)
def test_a_margin_is_as_wide_in_all_directions(box, share):
    area = area_lib.of_box(box)
    wide = area_lib.with_margin(area, 1500.0)
    crs = grid.over(area, None, 1.0).crs
    metres = gpd.GeoSeries([area.outline], crs="EPSG:4326").to_crs(crs)
    wanted = metres.buffer(1500.0).area[0]
    got = gpd.GeoSeries([wide], crs="EPSG:4326").to_crs(crs).area[0]
    assert share - 0.05 < got / wanted < share + 0.02
    assert wide.covers(area.outline) and wide.is_valid
    west, _, east, _ = wide.bounds
    assert -180 <= west < east <= 180 and east - west < 1
    assert area_lib.with_margin(area, 0.0) is area.outline


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers by `server.answer(path, query, body)`; every question is noted."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.server.asked.append((url.path, parse_qs(url.query), dict(self.headers)))
        told = json.dumps(self.server.answer(url.path, url.query, body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)


@pytest.fixture
def answering():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.asked, server.address = [], f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def client(server, tmp_path, **options):
    hosts = Hosts([server.address])
    cache = Cache(tmp_path / "cache")
    return Client(hosts, cache, offline=False, waits_s=(), **options)


def test_a_place_is_asked_for_once_by_our_name(answering, tmp_path, monkeypatch):
    monkeypatch.setattr(area_lib, "_QUESTION_S", 0.0)
    outline = shapely.Polygon([(16.2, 48.1), (16.6, 48.1), (16.4, 48.3)])
    place = {
        "type": "Feature",
        "bbox": [16.2, 48.1, 16.6, 48.3],
        "properties": {"display_name": "Wien, Österreich"},
        "geometry": shapely.geometry.mapping(outline),
    }
    told = {"type": "FeatureCollection", "licence": "ODbL", "features": [place]}
    answering.answer = lambda path, query, body: told
    geocoder = f"{answering.address}/search"
    asking = client(answering, tmp_path)
    for _ in range(2):
        area = area_lib.of_place("Wien", geocoder, asking)
    assert area.outline.equals(outline) and area.source.endswith("Österreich. ODbL")
    ((path, query, headers),) = answering.asked
    assert path == "/search" and query["q"] == ["Wien"]
    assert headers["User-Agent"].startswith("mmgr-jax/")
    told["features"][0]["geometry"] = {"type": "Point", "coordinates": [16.4, 48.2]}
    area = area_lib.of_place("Vienna", geocoder, asking)
    assert area.bounds_deg == (16.2, 48.1, 16.6, 48.3)
    told["features"] = []
    with pytest.raises(InputError, match="finds no such place.*--bbox"):
        area_lib.of_place("Nowhere", geocoder, asking)
    answering.answer = lambda *_: ["no", "GeoJSON"]
    with pytest.raises(InputError, match="its answer is not GeoJSON"):
        area_lib.of_place("Elsewhere", geocoder, asking)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (dict(out=None), "--out is missing"),
        (dict(bbox=None), "name one of --bbox"),
        (dict(area="a.gpkg"), "--bbox and --area: name one"),
        (dict(bbox=None, place="Wien"), "--place needs a geocoder"),
        (dict(imagery=None), "there is nothing to fetch"),
        (dict(imagery="niap"), r"nor a known source \(did you mean 'naip'\?\)"),
        (dict(bands=["1", "x", "3"]), "--bands=1,x,3: wanted"),
        (dict(dates="last summer"), "--dates=last summer: wanted"),
        (dict(dates="2022/2021"), "the first day comes after the last"),
        (dict(imagery="http://example.org/stac"), "only https:// is allowed"),
    ],
)
def test_commands_that_cannot_be_followed(tmp_path, changed, sentence):
    fields = dict(out=str(tmp_path / "raw"), cache=str(tmp_path / "cache"))
    fields |= dict(bbox="2.25,48.81,2.26,48.82", imagery="https://example.org/stac")
    with pytest.raises(InputError, match=sentence):
        command.fetch(Request(**fields | changed))


def test_days():
    day = dt.date
    assert days.days("2020") == (day(2020, 1, 1), day(2020, 12, 31))
    assert days.days("2020-02") == (day(2020, 2, 1), day(2020, 2, 29))
    assert days.days("2020-12/2021-01-05") == (day(2020, 12, 1), day(2021, 1, 5))
    assert days.days("../2021") == (None, day(2021, 12, 31))
    assert days.days("2020/..") == (day(2020, 1, 1), None)


def _feature(name, west, cloud):
    ring = [[west, 48], [west + 1, 48], [west + 1, 49], [west, 49], [west, 48]]
    asset = {"href": f"https://example.org/{name}.tif", "type": "image/tiff"}
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "links": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 48, west + 1, 49], "assets": {"image": asset},
        "properties": {"datetime": "2022-05-01T00:00:00Z", "eo:cloud_cover": cloud,
                       "license": "CC0-1.0"},
    }  # fmt: skip


def test_an_api_is_searched_page_by_page(answering, tmp_path):
    searched = []

    def answer(path, query, body):
        links = [
            {"rel": "search", "href": f"{answering.address}/search", "method": "POST",
             "type": "application/geo+json"},
            {"rel": "self", "href": answering.address},
        ]  # fmt: skip
        if path != "/search":
            api = "https://api.stacspec.org/v1.0.0"
            return {
                "type": "Catalog", "id": "api", "description": "one",
                "stac_version": "1.0.0", "links": links,
                "conformsTo": [f"{api}/core", f"{api}/item-search"],
            }  # fmt: skip
        searched.append(json.loads(body))
        page = {"type": "FeatureCollection", "links": []}
        if "token" in searched[-1]:
            return page | {"features": [_feature("b", 2.5, 5), _feature("c", 9, 5)]}
        following = {"rel": "next", "href": f"{answering.address}/search",
                     "method": "POST", "merge": True,
                     "body": {"token": "2"}}  # fmt: skip
        return page | {"features": [_feature("a", 2, 90)], "links": [following]}

    answering.answer = answer
    wanted = catalogue.Search(
        f"{answering.address}/", ("naip",), dt.date(2022, 1, 1), None, 50.0, (), ()
    )
    area = area_lib.of_box("2.6,48.2,2.7,48.3")
    scenes = catalogue.search(client(answering, tmp_path), wanted, area)
    assert [(scene.name, scene.cloud, scene.licence) for scene in scenes] == [
        ("b", 5.0, "CC0-1.0")
    ]
    assert searched[0]["bbox"] == [2.6, 48.2, 2.7, 48.3]
    assert searched[0]["collections"] == ["naip"] and len(searched) == 2
    assert searched[0]["datetime"].startswith("2022-01-01")


def test_tokens_of_a_container_are_taken_once_and_renewed(answering, tmp_path):
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    count = iter(range(9))

    def answer(path, query, body):
        assert path == "/token/account/images"
        return {"token": f"sig={next(count)}", "msft:expiry": later.isoformat()}

    answering.answer = answer
    tokens = f"{answering.address}/token"
    signer = signing.PlanetaryComputer(client(answering, tmp_path), tokens)
    place = "https://account.blob.core.windows.net/images/a.tif"
    assert signer.signed(place, anew=False) == f"{place}?sig=0"
    assert signer.signed(place, anew=False) == f"{place}?sig=0"
    assert signer.signed(place, anew=True) == f"{place}?sig=1"
    assert signer.signed("https://example.org/a", anew=False) == "https://example.org/a"
    assert not list((tmp_path / "cache").rglob("*"))  # no token is kept
    answering.answer = lambda *_: {"msg": "no"}
    with pytest.raises(InputError, match="its answer holds no token"):
        signer.signed(place, anew=True)


def test_signed_addresses_of_the_environment(monkeypatch):
    monkeypatch.setenv("MMGR_SIGNED_URLS", "https://a.org/x/?sig=1 https://b.org/?s=2")
    signer = signing.FromEnvironment()
    assert signer.signed("https://a.org/x/1.tif", anew=False).endswith("1.tif?sig=1")
    assert signer.signed("https://a.org/xy/1.tif", anew=False).endswith("1.tif")
    assert signer.signed("https://b.org/c?d=1", anew=False).endswith("c?d=1&s=2")


def test_presets_say_what_is_needed_and_claim_no_check():
    for source in presets.PRESETS.values():
        assert source.url.startswith("https://") and source.licence and source.source
        assert source.sign in signing.SIGNERS
        assert source.checked is None or isinstance(source.checked, dt.date)
