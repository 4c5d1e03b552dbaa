"""The server: what it answers, to whom, and what it refuses."""

import gzip
import http.client
import json
import signal
import socket
import threading

import mapbox_vector_tile
import numpy as np
import pytest
import shapely
from pmtiles import reader

from mmgr_jax.errors import InputError
from mmgr_jax.explore import city as city_lib
from mmgr_jax.explore import outlines, serve, served, vectors
from mmgr_jax.explore import server as server_lib

BINARY = {"Content-Type": "application/octet-stream"}


def ask(own, path, method="GET", body=None, **headers):
    """Status, headers and body of an answer; `_` in a header's name stands for "-"."""
    connection = http.client.HTTPConnection("127.0.0.1", own.server_port, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(
        method, path, skip_host="Host" in given, skip_accept_encoding=True
    )
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    if body is not None and "Content-Length" not in given:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, dict(answer.headers), data


def post(own, path, numbers, dtype):
    body = np.asarray(numbers, dtype).tobytes()
    return ask(own, path, "POST", body, **{"Content_Type": BINARY["Content-Type"]})


def test_the_page_comes_with_its_policy(server):
    status, headers, page = ask(server, "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and b"<h1>small</h1>" in page
    assert headers["Server"] == "mmgr-jax"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/city.json", 200), ("/basemap.webp", 200), ("/none", 404),
     ("/array/centresM", 200), ("/picture/3.webp", 200), ("/tiles/0/0/0.mvt", 204)],
)  # fmt: skip
def test_every_answer_says_that_it_is_for_nobody_else(server, path, status):
    for method in ("GET", "HEAD"):
        own, headers, body = ask(server, path, method)
        assert own == status
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert method == "GET" or body == b""


def test_head_tells_the_length_of_get(server):
    _, got, body = ask(server, "/array/centresM")
    _, headed, _ = ask(server, "/array/centresM", "HEAD", Range="bytes=0-1")
    assert headed["Content-Length"] == got["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/city.json", "//etc/passwd",
     "/array/", "/array/../city.json", "/array/none", "/array", "/city.json/",
     "/city.json?x", "/kept.json", "/embeddings.npy", "/explore/", "/.", "/%00",
     "/tiles/16/../../x.mvt", "/tiles/16/1/-1.mvt", "/tiles/16/1/1.mvt/",
     "/picture/40.webp", "/picture/-1.webp", "/picture/1.webp%00", "/picture/",
     "/array/" + "a" * 5000, "/rows/embeddings"],
)  # fmt: skip
def test_what_is_in_no_table_is_not_there(server, path):
    status, headers, body = ask(server, path)
    assert status == 404 and headers["Content-Type"].startswith("text/plain")
    assert body == b"No such name.\n" or body == b"No such region.\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_names_of_this_machine_are_answered(server, host):
    for port in ("", f":{server.server_port}"):
        assert ask(server, "/city.json", Host=host + port)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil",
     "192.168.1.5", "", None, "127.0.0.1@evil.example", "evil.example:x"],
)  # fmt: skip
def test_other_names_are_refused(server, host):
    status, _, body = ask(server, "/city.json", Host=host)
    assert status == 403 and b"by that name" in body


@pytest.mark.parametrize(
    "headers",
    [dict(Origin="http://evil.example"), dict(Origin="null"),
     dict(Sec_Fetch_Site="cross-site"), dict(Sec_Fetch_Site="same-site"),
     dict(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(server, headers):
    assert ask(server, "/city.json", **headers)[0] == 403
    body = np.zeros(1, "<u4").tobytes()
    more = headers | {"Content_Type": BINARY["Content-Type"]}
    assert ask(server, "/values", "POST", body, **more)[0] == 403


def test_a_link_may_open_the_page_and_the_page_may_ask(server):
    linked = dict(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert ask(server, "/", **linked)[0] == 200
    assert ask(server, "/", Sec_Fetch_Site="cross-site")[0] == 403  # fetched
    own = f"127.0.0.1:{server.server_port}"
    same = dict(Host=own, Origin=f"http://{own}", Sec_Fetch_Site="same-origin")
    assert ask(server, "/city.json", **same)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(server, method):
    status, headers, _ = ask(server, "/city.json", method)
    assert status == 405 and headers["Allow"] == "GET, HEAD, POST"


def test_what_is_no_http_gets_no_page(server):
    status, headers, body = ask(server, "/", "BREW")
    assert status == 501 and headers["X-Content-Type-Options"] == "nosniff"
    assert b"<" not in body
    with socket.create_connection(("127.0.0.1", server.server_port)) as line:
        line.sendall(b"GET <script> nonsense HTTP/1.1\r\n\r\n")
        answer = line.recv(4096)
    assert b"400" in answer.splitlines()[0] and b"<script>" not in answer


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 10), ("bytes=5-5", 5, 6), ("bytes=100-", 100, None),
     ("bytes=-7", -7, None), ("bytes=0-999999999", 0, None),
     ("bytes=-999999999", 0, None), ("BYTES=3-4", 3, 5)],
)  # fmt: skip
def test_a_range_is_that_part_of_the_whole(server, prepared, asked, first, last):
    whole = bytes(prepared.tiles.data)
    status, headers, body = ask(server, "/regions.pmtiles", Range=asked)
    own = range(len(whole))[first:last]
    assert status == 206 and body == whole[first:last]
    ends = f"bytes {own[0]}-{own[-1]}/{len(whole)}"
    assert headers["Content-Range"] == ends
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "asked", ["bytes=999999999-", "bytes=-0", "bytes=9999999-9999999"]
)
def test_a_range_behind_the_end_is_told(server, prepared, asked):
    status, headers, _ = ask(server, "/regions.pmtiles", Range=asked)
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{len(prepared.tiles.data)}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,4-5", "bytes=9-3", "bytes=-", "lines=0-5", "bytes=a-b", "bytes 0-4",
     "bytes=0-" + "9" * 40],
)  # fmt: skip
def test_what_is_no_range_gives_the_whole(server, prepared, asked):
    status, headers, body = ask(server, "/regions.pmtiles", Range=asked)
    assert status == 200 and body == bytes(prepared.tiles.data)
    assert headers["Accept-Ranges"] == "bytes"


def test_a_range_of_another_version_gives_the_whole(server, prepared):
    path, size = "/regions.pmtiles", len(prepared.tiles.data)
    tag = ask(server, path)[1]["ETag"]
    part = ask(server, path, Range="bytes=0-3", If_Range=tag)
    other = ask(server, path, Range="bytes=0-3", If_Range='"other"')
    assert (part[0], len(part[2])) == (206, 4)
    assert (other[0], len(other[2])) == (200, size)


def test_the_archive_is_read_by_ranges_alone(server, city):
    """As a map in another program would."""

    def read(first, size):
        asked = f"bytes={first}-{first + size - 1}"
        return ask(server, "/regions.pmtiles", Range=asked)[2]

    archive = reader.Reader(read)
    about = archive.metadata()
    assert about["vector_layers"][0]["id"] == "regions"
    seen = set()
    for (zoom, x, y), data in reader.all_tiles(read):
        status, headers, tile = ask(server, f"/tiles/{zoom}/{x}/{y}.mvt")
        assert (status, headers["Content-Encoding"], tile) == (200, "gzip", data)
        layers = mapbox_vector_tile.decode(gzip.decompress(tile))
        seen |= {feature["id"] for feature in layers["regions"]["features"]}
    assert seen == set(range(len(city.region_ids)))


def test_json_and_arrays_are_those_of_the_city(server, city, prepared):
    about = json.loads(ask(server, "/city.json")[2])
    assert about["ids"] == city.region_ids
    for name, own in about["arrays"].items():
        values = np.frombuffer(ask(server, f"/array/{name}")[2], own["type"])
        np.testing.assert_array_equal(values, prepared.arrays[name].ravel())
        assert list(prepared.arrays[name].shape) == own["shape"]
    assert "embeddings" not in about["arrays"]
    np.testing.assert_array_equal(
        prepared.arrays["task1Truth"], city.tasks["population"].truth
    )


def test_rows_and_products_are_those_of_exact_features(server, city):
    exact = vectors.Standardised.of(city.features).rows(np.arange(40))
    status, _, body = post(server, "/rows/embeddings", [7, 7, 0], "<u4")
    rows = np.frombuffer(body, "<f4").reshape(3, -1)
    assert status == 200
    np.testing.assert_allclose(rows, exact[[7, 7, 0]], rtol=1e-6)
    wanted = np.random.default_rng(0).normal(size=(3, rows.shape[1]))
    status, _, body = post(server, "/products/embeddings", wanted, "<f4")
    products = np.frombuffer(body, "<f4").reshape(40, 3)
    np.testing.assert_allclose(products, exact @ wanted.T, atol=1e-5)
    image = city.projections[0]
    _, _, body = post(server, "/rows/image", [5], "<u4")
    own = image[5] / np.linalg.norm(image[5])
    np.testing.assert_allclose(np.frombuffer(body, "<f4"), own, rtol=1e-5)


def test_products_of_more_rows_than_a_part_are_the_same(prepared, monkeypatch):
    monkeypatch.setattr("mmgr_jax.explore.served._ROWS", 7)
    vector = np.ones((1, prepared.matrices["embeddings"].shape[1]), np.float32)
    products = prepared.products("embeddings", vector)
    whole = np.asarray(prepared.matrices["embeddings"]) @ vector.T
    np.testing.assert_allclose(products, whole, atol=1e-5)


def test_outlines_of_regions_come_back(prepared, city):
    hole = shapely.box(2, 2, 4, 4)
    shapes = [
        shapely.box(0, 0, 9, 9).difference(hole),
        shapely.MultiPolygon([shapely.box(20, 0, 21, 1), shapely.box(30, 0, 33, 3)]),
        shapely.box(40, 0, 45, 5),
    ]
    moved = [shapely.transform(shape, lambda xy: xy + [3e5, 3.4e6]) for shape in shapes]
    lines = outlines.of([shape.wkb for shape in moved], "EPSG:32651", filled=False)
    small = type(prepared)(**{**vars(prepared), "lines": lines})
    body = small.outlines(np.array([2, 0, 1]))
    rings, points = np.frombuffer(body, "<u4", 2)
    owner = np.frombuffer(body, "<u4", rings, 8)
    starts = np.frombuffer(body, "<u4", rings + 1, 8 + 4 * rings)
    places = np.frombuffer(body, "<i4", 2 * points, 12 + 8 * rings).reshape(-1, 2)
    holes = np.frombuffer(body, "u1", rings, 12 + 8 * rings + 8 * points)
    assert owner.tolist() == [0, 1, 1, 2, 2] and holes.tolist() == [0, 0, 1, 0, 0]
    assert starts.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(places[:4], lines.points[lines.rings[4] :])
    assert small.outlines(np.zeros(0, int)) == np.array([0, 0, 0], "<u4").tobytes()


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/values", b"", dict(Content_Type="text/plain"), 415),
        ("/values", b"", {}, 415),
        ("/values", b"123", BINARY, 400),
        ("/values", np.array([40], "<u4").tobytes(), BINARY, 400),
        ("/values", np.array([-1], "<i4").tobytes(), BINARY, 400),
        ("/outlines", np.zeros(5000, "<u4").tobytes(), BINARY, 400),
        ("/rows/../embeddings", b"", BINARY, 404),
        ("/rows/none", b"", BINARY, 404),
        ("/values/x", b"", BINARY, 404),
        ("/products/embeddings", b"", BINARY, 400),
        ("/products/embeddings", b"1234", BINARY, 400),
        ("/products/embeddings", np.zeros(30 * 65, "<f4").tobytes(), BINARY, 400),
        ("/city.json", b"", BINARY, 404),
    ],
)
def test_what_cannot_be_computed_is_refused(server, path, body, headers, status):
    headers = {name.replace("-", "_"): value for name, value in headers.items()}
    assert ask(server, path, "POST", body, **headers)[0] == status


def test_a_body_must_say_a_length_that_is_allowed(server):
    kind = {"Content_Type": BINARY["Content-Type"]}
    too_long = {**kind, "Content_Length": str(server_lib.MOST_BODY + 1)}
    assert ask(server, "/values", "POST", b"", **too_long)[0] == 413
    assert ask(server, "/values", "POST", None, **kind)[0] == 411
    odd = {**kind, "Content_Length": "-4"}
    assert ask(server, "/values", "POST", b"", **odd)[0] == 411
    chunked = {**kind, "Transfer_Encoding": "chunked", "Content_Length": "0"}
    assert ask(server, "/values", "POST", b"", **chunked)[0] == 411


def test_beyond_this_machine_every_address_has_a_token(prepared, answering):
    own = answering(prepared, host="0.0.0.0")
    assert len(own.token) >= 32 and own.url.endswith(f"/{own.token}/")
    here = dict(Host=f"192.168.7.7:{own.server_port}")
    for path in (
        "",
        "city.json",
        "array/centresM",
        "tiles/0/0/0.mvt",
        "picture/0.webp",
    ):
        for wrong in ("/", f"/{own.token[:-1]}/", f"/{own.token}x/", "/x/"):
            assert ask(own, wrong + path, **here)[0] == 403, wrong + path
        assert ask(own, f"/{own.token}/{path}", **here)[0] in (200, 204)
    assert ask(own, f"/{own.token}", **here)[0] == 403
    assert ask(own, f"/{own.token}/city.json", Host="evil.example")[0] == 403
    assert (
        ask(own, "/values", "POST", b"", Content_Type=BINARY["Content-Type"])[0] == 403
    )


def test_a_place_where_nobody_can_listen_is_refused(prepared, server):
    for host, port in [("127.0.0.1", server.server_port), ("203.0.113.1", 0)]:
        with pytest.raises(InputError, match=f"--host={host} --port={port}: .* port"):
            type(server)(prepared, host, port)


def test_it_ends_by_control_c(prepared, server, caplog):
    own = type(server)(prepared)
    # Shells start what runs in the background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT)).start()
    try:
        with caplog.at_level("INFO"):
            serve.answer(own)
    finally:
        signal.signal(signal.SIGINT, before)
    assert own.url in caplog.text and "has ended" in caplog.text
    with pytest.raises(OSError):
        ask(own, "/")


def test_what_is_made_of_the_same_is_kept(city, prepared, tmp_path, monkeypatch):
    served.prepare(city, tmp_path)
    monkeypatch.setattr(served, "_write_tiles", None)
    monkeypatch.setattr(served, "_write_picture", None)
    monkeypatch.setattr(served, "_write_clusters", None)
    again = served.prepare(city, tmp_path)
    assert again.about == prepared.about and again.picture == prepared.picture
    assert bytes(again.tiles.data) == bytes(prepared.tiles.data)


@pytest.mark.parametrize(
    ("count", "is_served", "message"),
    [
        (
            150_001,
            False,
            "150,001 regions; .* 150,000 at most. Use --serve, .* 1,000,000",
        ),
        (1_000_001, False, "1,000,001 regions; .* 150,000 at most. Build records"),
        (1_000_001, True, "1,000,001 regions; .* 1,000,000 at most. Build records"),
    ],
)
def test_too_many_regions_are_refused(count, is_served, message):
    with pytest.raises(InputError, match=message):
        city_lib.refuse_many("data/records", count, served=is_served)
    city_lib.refuse_many("data/records", 1_000_000, served=True)
