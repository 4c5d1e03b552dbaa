"""Overture Places of an area: from files on a server to what the build reads."""

import contextlib
import dataclasses
import json
import logging
import shutil

import geopandas as gpd
import http_folder
import numpy as np
import places_world
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from poi_settings import SETTINGS

from data_prep.fetch import command, overture, presets
from data_prep.fetch.request import Request
from data_prep.pois import check as checks
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

BOX = (2.30, 48.30, 2.36, 48.34)
MARGIN_M = 500.0
TABLE = "pois/overture.parquet"


@pytest.fixture(scope="module")
def table():
    return places_world.places()


@pytest.fixture(scope="module")
def bucket(table, tmp_path_factory):
    """A bucket with the releases; the newest alone has its files."""
    root = tmp_path_factory.mktemp("bucket")
    for release in places_world.RELEASES[:-1]:
        places_world.write(root, table.slice(0, 10), release, files=1)
    places_world.write(root, table)
    (root / "release/2023-07-26-alpha.0").mkdir()
    (root / "release/2023-07-26-alpha.0/part.parquet").write_bytes(b"old")
    return root


@pytest.fixture
def served(bucket, monkeypatch):
    with _serving(bucket, monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def expected(bucket, tmp_path_factory):
    """The table of `BOX`, of a server that does not break."""
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        _serving(bucket, monkeypatch) as one,
    ):
        return command.fetch(request(one, tmp_path_factory.mktemp("expected"))) / TABLE


@pytest.fixture
def own(table, tmp_path, monkeypatch):
    """As `served`, with a folder that a test may change: one small file."""
    small = table.slice(0, 4_000).drop_columns(["phones"])
    places_world.write(tmp_path / "bucket", small, files=1)
    with _serving(tmp_path / "bucket", monkeypatch) as server:
        (server.path,) = (tmp_path / "bucket").rglob("*.parquet")
        inside = server.path.relative_to(tmp_path / "bucket").as_posix()
        server.file = f"{server.address}/{inside}"
        yield server


@contextlib.contextmanager
def _serving(root, monkeypatch):
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    with http_folder.serving(root) as server:
        server.etags, server.pages = True, places_world.bucket(root)
        url = f"{server.address}/?list-type=2&prefix=release/&delimiter=/"
        preset = dataclasses.replace(presets.PRESETS["overture"], url=url)
        monkeypatch.setitem(presets.PRESETS, "overture", preset)
        yield server


def request(served, tmp_path, **changed):
    fields = dict(
        out=str(tmp_path / "raw"),
        bbox=",".join(map(str, BOX)),
        pois="overture",
        poi_margin_m=MARGIN_M,
        cache=str(tmp_path / "cache"),
        allow_hosts=[served.address],
    )
    return Request(**fields | changed)


def ids_within(table, box, margin_m):
    """Ids of the places at most so many metres from a box, by PROJ's own geodesics."""
    west, south, east, north = box
    points = shapely.from_wkb(table.column("geometry").to_numpy())
    lon, lat = shapely.get_x(points), shapely.get_y(points)
    near = pyproj.Geod(ellps="WGS84").inv(
        lon, lat, np.clip(lon, west, east), np.clip(lat, south, north)
    )[2]
    ids = np.array(table.column("id").to_pylist())
    # The nearest point of a box in degrees lies a bit off its clipped corner.
    return set(ids[near <= max(margin_m - 1, 0)]), set(ids[near <= margin_m + 1])


def parts_of(folder):
    return json.loads((folder / "sources.json").read_text())["parts"]


@pytest.mark.parametrize("margin_m", [0.0, 500.0, 5_000.0])
def test_the_places_of_an_area_and_its_margin_and_no_others(
    served, table, tmp_path, margin_m
):
    folder = command.fetch(request(served, tmp_path, poi_margin_m=margin_m))
    brought = gpd.read_parquet(folder / TABLE)
    surely, at_most = ids_within(table, BOX, margin_m)
    assert surely <= set(brought["id"]) <= at_most and brought["id"].is_unique
    assert len(surely) >= 40
    assert list(brought.columns) == [
        "id", "names", "basic_category", "taxonomy", "confidence", "operating_status",
        "sources", "geometry",
    ]  # fmt: skip
    row = {name: value for name, value in brought.iloc[3].items()}
    index = table.column("id").to_pylist().index(row["id"])
    there = table.slice(index, 1).to_pylist()[0]
    assert row["names"] == {"primary": there["names"]["primary"]}
    assert list(row["taxonomy"]["hierarchy"]) == there["taxonomy"]["hierarchy"]
    assert shapely.to_wkb(row["geometry"]) == there["geometry"]
    assert [set(one) for one in row["sources"]] == [
        {"property", "dataset", "license"}
    ] * 2


@pytest.mark.parametrize("seed", range(4))
def test_no_place_of_any_box_is_missed(served, table, tmp_path, seed):
    west, south = np.random.default_rng(seed).uniform((2, 48), (2.9, 48.9)).round(4)
    side = (0.02, 0.1, 0.4, 0.9)[seed]
    box = (west, south, west + side, south + side)
    bbox = ",".join(f"{value:.4f}" for value in box)
    folder = command.fetch(request(served, tmp_path, bbox=bbox, poi_margin_m=0.0))
    points = gpd.GeoSeries.from_wkb(table.column("geometry").to_numpy())
    inside = points.x.between(box[0], box[2]) & points.y.between(box[1], box[3])
    wanted = np.array(table.column("id").to_pylist())[inside]
    assert set(gpd.read_parquet(folder / TABLE)["id"]) == set(wanted)


def test_the_build_reads_them_as_it_does_the_whole_release(table, expected, tmp_path):
    settings = read(
        PoiSettings, SETTINGS | dict(path=str(expected), format="overture"), "pois"
    )
    assert checks.problems(settings) == []
    brought = pois.read(settings, city_crs="EPSG:32631")
    whole = tmp_path / "whole.parquet"
    pq.write_table(table.slice(0, 6_000), whole)  # the others lie elsewhere
    settings = dataclasses.replace(settings, path=str(whole))
    all_of_them = pois.read(settings, city_crs="EPSG:32631")
    kept = np.isin(all_of_them.name, brought.name)
    assert 50 < len(brought) == kept.sum() < 0.05 * len(all_of_them)
    assert brought.categories == ("bank", "cafe", "park", "school")
    assert brought.categories == all_of_them.categories
    assert brought.parents == all_of_them.parents
    order = np.argsort(brought.name), np.argsort(all_of_them.name[kept])
    for key in ("x_m", "y_m", "category"):
        one, other = getattr(brought, key), getattr(all_of_them, key)[kept]
        np.testing.assert_array_equal(one[order[0]], other[order[1]])


def test_sources_say_the_release_and_whose_each_row_is(served, tmp_path):
    folder = command.fetch(request(served, tmp_path))
    brought = gpd.read_parquet(folder / TABLE)
    about = parts_of(folder)["pois"]
    squares = sum(int(name[1:]) % 5 == 0 for name in brought["id"])
    assert about["details"] == {
        "format": "overture",
        "release": "2026-09-23.1",
        "rows": len(brought),
        "rows_by_dataset": {
            "Overture": len(brought),
            "meta": len(brought) - squares,
            "Foursquare": squares,
        },
        "rows_by_licence": {
            "CDLA-Permissive-2.0": len(brought),
            "Apache-2.0": squares,
        },
        "margin_m": MARGIN_M,
    }
    assert about["licence"] == "CDLA-Permissive-2.0, Apache-2.0"
    assert (
        about["source"].startswith("Overture Maps Foundation") and about["year"] == 2026
    )
    assert about["crs"] == "EPSG:4326" and list(about["files"]) == [
        "pois/overture.parquet"
    ]


def test_a_small_area_takes_few_bytes_of_large_files(served, bucket, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    command.fetch(request(served, tmp_path, dry_run=True))
    feet = sum(served.sent.values())
    assert not (tmp_path / "raw").exists()
    command.fetch(request(served, tmp_path))
    folder = bucket / "release/2026-09-23.1/theme=places/type=place"
    total = sum(path.stat().st_size for path in folder.iterdir())
    sent = sum(served.sent.values())
    assert total > 25e6 and feet < 0.03 * total and sent < 0.07 * total
    (text,) = (text for text in caplog.messages[:4] if "row group(s)" in text)
    assert "2 of 12 row group(s) in 3 file(s), 4,000 places" in text
    estimate = float(text.split("; ")[1].split(" MB")[0]) * 1e6
    # The blocks at the edges were there before, with the feet.
    assert (
        sent - feet == pytest.approx(estimate, rel=0.5)
        and sent - feet <= estimate + 1e5
    )
    untouched = [
        name for name, count in served.sent.items() if count < 0.03 * total / 3
    ]
    assert len([name for name in untouched if name.endswith(".parquet")]) == 2


@pytest.mark.parametrize(
    "faults",
    [["cut", None, 500], [None, None, "cut", 503], [None, "other range"], [(429, {})]],
)
def test_whatever_breaks_on_the_way_the_places_are_the_same(
    served, bucket, tmp_path, faults, expected
):
    for path in bucket.rglob("2026-09-23.1/**/*.parquet"):
        served.faults[path.name] = list(faults)
    folder = command.fetch(request(served, tmp_path))
    assert (folder / TABLE).read_bytes() == expected.read_bytes()


def test_a_stopped_fetch_goes_on_with_its_release_and_its_blocks(
    served, bucket, tmp_path, monkeypatch
):
    asked = request(served, tmp_path)
    monkeypatch.setattr(overture.OverturePlaces, "write", _stop)
    with pytest.raises(KeyboardInterrupt):
        command.fetch(asked)
    monkeypatch.undo()
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    assert not list((tmp_path / "raw").rglob("*.parquet"))
    served.pages = lambda path, query: None  # nobody is asked which is the newest
    folder = command.fetch(dataclasses.replace(asked, pois="overture"))
    assert parts_of(folder)["pois"]["details"]["release"] == "2026-09-23.1"
    served.gets.clear()
    again = command.fetch(asked)
    assert not served.gets and parts_of(again) == parts_of(folder)


def test_a_release_that_went_while_a_fetch_was_stopped_is_told(
    own, tmp_path, monkeypatch
):
    asked = request(own, tmp_path, bbox="2,48,3,49")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(overture.OverturePlaces, "write", _stop)
        command.fetch(asked)
    newest = own.path.parents[2]
    newest.rename(newest.with_name("2026-10-21.0"))
    with pytest.raises(InputError, match="release 2026-09-23.1, which its server no"):
        command.fetch(asked)
    shutil.rmtree(tmp_path / "raw/pois")
    folder = command.fetch(asked)
    assert parts_of(folder)["pois"]["details"]["release"] == "2026-10-21.0"


def _stop(*_):
    raise KeyboardInterrupt


def test_what_was_fetched_is_there_without_a_network(served, tmp_path):
    first = command.fetch(request(served, tmp_path))
    served.gets.clear()
    out = str(tmp_path / "again")
    again = command.fetch(request(served, tmp_path, offline=True, out=out))
    paths = [folder / "pois/overture.parquet" for folder in (first, again)]
    assert paths[0].read_bytes() == paths[1].read_bytes() and not served.gets
    with pytest.raises(
        InputError, match=("--offline is set, and it is not in the cache")
    ):
        far = request(
            served, tmp_path, offline=True, out=out + "2", bbox="2.8,48.8,2.9,48.9"
        )
        command.fetch(far)


def test_a_table_that_was_changed_or_lost_is_made_again(served, tmp_path):
    asked = request(served, tmp_path)
    path = command.fetch(asked) / "pois/overture.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    command.fetch(asked)
    assert path.read_bytes() == whole
    path.unlink()
    command.fetch(asked)
    assert path.read_bytes() == whole


def test_another_question_in_the_same_folder_is_refused(served, tmp_path):
    command.fetch(request(served, tmp_path))
    with pytest.raises(InputError, match="another poi_margin_m. Name another --out"):
        command.fetch(request(served, tmp_path, poi_margin_m=100.0))
    with pytest.raises(InputError, match="another pois"):
        command.fetch(request(served, tmp_path, pois="overture:2026-09-23.1"))
    (tmp_path / "raw/pois/pois.json").write_text('{"question"')
    with pytest.raises(InputError, match="pois.json: is damaged"):
        command.fetch(request(served, tmp_path))


# -- releases and listings


def test_a_release_is_named_or_the_newest_is_taken(served, tmp_path):
    older = request(served, tmp_path, pois="overture:2026-09-23.0", bbox="2,48,3,49")
    folder = command.fetch(older)
    assert parts_of(folder)["pois"]["details"]["release"] == "2026-09-23.0"
    assert len(gpd.read_parquet(folder / TABLE)) == 10


def test_a_listing_of_many_pages_is_read_to_its_end(served, bucket, tmp_path):
    served.pages = places_world.bucket(bucket, page=1)
    first = command.fetch(request(served, tmp_path))
    assert parts_of(first)["pois"]["details"]["release"] == "2026-09-23.1"
    state = json.loads((first / "pois/pois.json").read_text())
    assert len(state["chosen"]["files"]) == 3
    served.gets.clear()
    out = str(tmp_path / "again")
    command.fetch(request(served, tmp_path, out=out, offline=True))
    assert not served.gets  # each page is kept by itself


def test_a_listing_that_goes_in_a_circle_is_refused(served, tmp_path):
    page = "<ListBucketResult><IsTruncated>true</IsTruncated><CommonPrefixes><Prefix>"
    page += "release/2026-01-01.0/</Prefix></CommonPrefixes></ListBucketResult>"
    served.pages = lambda path, query: page.encode()
    with pytest.raises(
        InputError, match="cannot be followed: page 2 names nothing new"
    ):
        command.fetch(request(served, tmp_path))


EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
BOMB = b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>'


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (EMPTY, "lists no release of Overture Maps"),
        (
            b"<html><body>hello</body></html>",
            "is not a listing of files.*it is an XML document <html>",
        ),
        (b"<ListBucketResult><Contents>", "is not a listing of files"),
        (BOMB, "is not a listing of files.*declares a document type"),
        (b"\xff\x00", "is not a listing of files"),
    ],
)
def test_answers_that_are_no_listing(served, tmp_path, page, sentence):
    served.pages = lambda path, query: page
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(request(served, tmp_path))
    assert "\n" not in str(error.value)


def test_a_release_without_files_is_told(served, bucket, tmp_path):
    answers = places_world.bucket(bucket)
    served.pages = lambda path, query: (
        EMPTY if "theme" in query else answers(path, query)
    )
    with pytest.raises(InputError, match=r"names no .parquet file \(nothing\)"):
        command.fetch(request(served, tmp_path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("overture:2019-01-01.0", "no such release is listed; there are 2026-08-19.0"),
        ("overture:../x", "wanted: overture for the newest release"),
        ("overtrue", r"\(did you mean 'overture'\?\); known: overture, geofabrik"),
        ("naip", "known: overture, geofabrik"),
        ("/data/places.parquet", "is neither an address nor a known source"),
        ("https://example.org/a.osm.pbf", "write --pois=osm=https://example.org"),
        ("geofabrik", "such as geofabrik:europe/monaco"),
        ("geofabrik:../etc", "such as geofabrik:europe/monaco"),
        (
            "https://example.org/release/",
            "cannot be fetched|is its host|Name or service",
        ),
    ],
)
def test_sources_of_pois_that_are_none(served, tmp_path, text, sentence):
    if "example.org/release" in text:
        text, sentence = f"{served.address}/nothing/", "HTTP status 404"
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(request(served, tmp_path, pois=text))
    assert "\n" not in str(error.value)


def test_a_page_with_links_and_a_single_file_serve_as_well(own, tmp_path):
    link = own.file.rpartition("/")[2]
    page = (
        f'<a href="../">up</a><a href="{link}">a</a><a href="https://x.org/b.parquet">'
    )
    own.pages = lambda path, query: (
        page.encode() if path.endswith("type=place/") else None
    )
    area = dict(bbox="2,48,3,49")
    folder = own.file.rpartition("/")[0] + "/"
    first = command.fetch(request(own, tmp_path, pois=folder, **area))
    out = str(tmp_path / "file")
    second = command.fetch(request(own, tmp_path, pois=own.file, out=out, **area))
    paths = [one / "pois/overture.parquet" for one in (first, second)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(gpd.read_parquet(paths[0])) == 4_000
    about = parts_of(second)["pois"]
    assert about["year"] == 2026 and about["source"] == "meta; Foursquare"


def test_azure_lists_in_its_own_words(own, tmp_path):
    key = own.path.relative_to(own.root).as_posix().partition("/")[2]
    pages = {
        "": f"<Blobs><Blob><Name>{key}</Name><Properties><Content-Length>5"
        "</Content-Length></Properties></Blob></Blobs><NextMarker>m2</NextMarker>",
        "m2": "<Blobs><Blob><Name>a/_SUCCESS</Name></Blob></Blobs><NextMarker/>",
    }

    def answer(path, query):
        if "comp=list" not in query:
            return None
        marker = "m2" if "marker=m2" in query else ""
        text = f"<EnumerationResults>{pages[marker]}</EnumerationResults>"
        return b"\xef\xbb\xbf" + text.encode()

    own.pages = answer
    address = f"{own.address}/release?restype=container&comp=list&prefix=x"
    folder = command.fetch(request(own, tmp_path, pois=address, bbox="2,48,3,49"))
    assert len(gpd.read_parquet(folder / TABLE)) == 4_000


# -- files that are none


def _rewritten(own, change):
    table = pq.read_table(own.path)
    pq.write_table(change(table), own.path, row_group_size=places_world.GROUP_ROWS)


def _geo(**changes):
    def change(table):
        geo = json.loads(places_world.GEO)
        about = geo["columns"]["geometry"] | changes.pop("about", {})
        geo = geo | {"columns": {"geometry": about}} | changes
        return table.replace_schema_metadata({"geo": json.dumps(geo)})

    return change


SWEREF = pyproj.CRS("EPSG:3006").to_json_dict()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop_columns(["bbox"]), "has no column bbox.xmin, bbox.ymin"),
        (
            lambda t: t.drop_columns(["basic_category", "taxonomy"]),
            "has none of basic_category, taxonomy.primary, categories.primary",
        ),
        (lambda t: t.replace_schema_metadata({}), "is Parquet, but not GeoParquet"),
        (_geo(version="2.0.0"), "is GeoParquet 2.0.0, but only 1.0 and 1.1 are read"),
        (
            _geo(about={"encoding": "point"}),
            "its geometries as point, but only WKB is read",
        ),
        (_geo(about={"crs": SWEREF}), "in another CRS than longitude and latitude"),
        (_geo(about={"crs": None}), "in another CRS than longitude and latitude"),
        (_geo(primary_column="shape"), "geometries is damaged"),
        (_geo(about={"covering": {"bbox": [1]}}), "geometries is damaged"),
        (
            lambda t: t.replace_schema_metadata({"geo": "[1"}),
            "geometries is damaged|cannot be read as Parquet",
        ),
    ],
)
def test_files_of_another_schema(own, tmp_path, change, sentence):
    _rewritten(own, change)
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(request(own, tmp_path, pois=own.file, bbox="2,48,3,49"))
    assert "\n" not in str(error.value) and own.path.name in str(error.value)
    assert not list((tmp_path / "raw").rglob("*.parquet"))


def test_a_covering_names_the_columns_of_the_box(own, tmp_path):
    def renamed(table):
        names = ["box" if name == "bbox" else name for name in table.column_names]
        covering = {
            "bbox": {side: ["box", side] for side in ("xmin", "ymin", "xmax", "ymax")}
        }
        return _geo(about={"covering": covering})(table.rename_columns(names))

    _rewritten(own, renamed)
    folder = command.fetch(request(own, tmp_path, pois=own.file, bbox="2,48,3,49"))
    assert len(gpd.read_parquet(folder / TABLE)) == 4_000


def test_row_groups_without_statistics_are_all_read(own, table, tmp_path):
    pq.write_table(
        table.slice(0, 4_000), own.path, row_group_size=2_000, write_statistics=False
    )
    points = gpd.GeoSeries.from_wkb(table.slice(0, 4_000).column("geometry").to_numpy())
    x, y = points.x.median(), points.y.median()
    box = (x - 0.05, y - 0.05, x + 0.05, y + 0.05)
    folder = command.fetch(
        request(
            own, tmp_path, pois=own.file, bbox=",".join(map(str, box)), poi_margin_m=0.0
        )
    )
    brought = gpd.read_parquet(folder / TABLE)
    inside = points.x.between(box[0], box[2]) & points.y.between(box[1], box[3])
    assert len(brought) == inside.sum() > 0


@pytest.mark.parametrize("keep", [0, 3, 1_000, 200_000, -1, -2_000])
def test_a_file_that_is_cut_on_its_server(own, tmp_path, keep):
    data = own.path.read_bytes()
    own.path.write_bytes(data[:keep])
    with pytest.raises(
        InputError, match="cannot be read as Parquet|416|gives no"
    ) as error:
        command.fetch(request(own, tmp_path, pois=own.file))
    assert "\n" not in str(error.value)


def test_damage_within_a_row_group_stops_the_fetch(own, tmp_path):
    data = bytearray(own.path.read_bytes())
    foot = pq.read_metadata(own.path)
    leaf = [foot.schema.column(i).path for i in range(foot.num_columns)].index(
        "geometry"
    )
    start = foot.row_group(0).column(leaf).data_page_offset
    data[start : start + 4_000] = bytes(4_000)
    own.path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        command.fetch(request(own, tmp_path, pois=own.file, bbox="2,48,3,49"))
    assert not list((tmp_path / "raw").rglob("*.parquet"))


def test_no_place_within_the_area(own, tmp_path, table):
    with pytest.raises(
        InputError, match="none of its 2 row group.s. lies over the area"
    ):
        command.fetch(request(own, tmp_path, pois=own.file, bbox="10,10,10.1,10.1"))
    one = table.slice(0, 2)
    (x, y), (other_x, other_y) = shapely.get_coordinates(
        shapely.from_wkb(one.column("geometry").to_numpy())
    )
    pq.write_table(one, own.path)
    middle = ((x + other_x) / 2, (y + other_y) / 2)
    box = f"{middle[0] - 1e-4},{middle[1] - 1e-4},{middle[0] + 1e-4},{middle[1] + 1e-4}"
    with pytest.raises(InputError, match="none of the 2 place.s. in the row groups"):
        command.fetch(request(own, tmp_path, pois=own.file, bbox=box, poi_margin_m=0.0))
    assert not list((tmp_path / "raw").rglob("*.parquet"))


def test_broken_geometries_are_counted_and_left_out(own, tmp_path, caplog):
    def broken(table):
        values = table.column("geometry").to_pylist()
        values[:3] = [None, b"", b"\x01\x01"]
        return table.set_column(1, "geometry", pa.array(values, pa.binary()))

    _rewritten(
        own, lambda t: broken(t).replace_schema_metadata({"geo": places_world.GEO})
    )
    folder = command.fetch(request(own, tmp_path, pois=own.file, bbox="2,48,3,49"))
    assert len(gpd.read_parquet(folder / TABLE)) == 3_997
    assert "3 place(s) without a readable geometry" in caplog.text


def test_files_that_differ_in_their_columns_make_no_table(
    served, bucket, tmp_path, table
):
    root = tmp_path / "bucket"
    shutil.copytree(bucket, root)
    path = next(root.rglob("2026-09-23.1/**/part-00002*.parquet"))
    part = table.slice(16_000).drop_columns(["taxonomy"])
    pq.write_table(part, path)
    served.root, served.pages = root, places_world.bucket(root)
    with pytest.raises(InputError, match="one release has one schema"):
        command.fetch(request(served, tmp_path, bbox="2,48,3,49"))


@pytest.mark.parametrize(
    ("admitted", "sentence"), [(False, "status 403"), (None, "nothing came for|500")]
)
def test_servers_that_refuse(own, tmp_path, admitted, sentence):
    if admitted is None:
        own.faults[own.path.name] = [500] * 20
    else:
        own.admits = lambda path, query, headers: "parquet" not in path
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(request(own, tmp_path, pois=own.file))
    assert "\n" not in str(error.value)


def test_hosts_that_nobody_named_are_not_asked(own, tmp_path):
    with pytest.raises(InputError, match="lies in the local network"):
        command.fetch(request(own, tmp_path, allow_hosts=[]))
    command.fetch(
        request(own, tmp_path, allow_hosts=[], pois=own.file, bbox="2,48,3,49")
    )


def test_signatures_are_in_no_file(own, tmp_path):
    own.admits = lambda path, query, headers: "sig=geheim" in query
    address = f"{own.file}?sig=geheim"
    command.fetch(request(own, tmp_path, pois=address, bbox="2,48,3,49"))
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert texts and not any(b"geheim" in text for text in texts)


@pytest.mark.parametrize("margin_m", [-1.0, float("nan"), float("inf")])
def test_margins_that_are_none(served, tmp_path, margin_m):
    with pytest.raises(InputError, match="--poi_margin_m=.*wanted: a distance"):
        command.fetch(request(served, tmp_path, poi_margin_m=margin_m))
