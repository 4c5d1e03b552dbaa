"""What damaged files have found, each in a file that is made by hand."""

import json
import sqlite3
import struct
import zipfile
from types import SimpleNamespace

import containers
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import readers
import shapely
import small_city
import undamaged_rasters

from data_prep.files import formats, side_files
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.data import arrays
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read
from mmgr_jax.train import metrics


def _refused(name, folder, message):
    with pytest.raises(InputError, match=message) as raised:
        readers.READERS[name].read(folder)
    return str(raised.value)


def _written(name, folder):
    readers.READERS[name].write(folder)
    return folder


# ---- rasters ----


def test_an_error_that_rasterio_lets_pass_is_told(tmp_path):
    side = _written("imagery .tfw", tmp_path) / "image.tif.aux.xml"
    text = side.read_text()
    assert 'UNIT["metre",1,' in text
    side.write_text(text.replace('UNIT["metre",1,', 'UNIX["metre",1,'))
    _refused("imagery .tfw", tmp_path, r"image.tif: cannot be read")


@pytest.mark.parametrize("name", ["imagery png", "label raster packed"])
def test_a_crs_that_is_no_text_is_told(tmp_path, name):
    folder = _written(name, tmp_path)
    (side,) = folder.glob("*.aux.xml")
    text = side.read_bytes()
    if b"<SRS>" not in text:
        srs = undamaged_rasters.wkt().encode()
        text = text.replace(b"<PAMDataset>", b"<PAMDataset><SRS>" + srs + b"</SRS>")
    side.write_bytes(text.replace(b"zone 51N", b"zone\xff51N"))
    _refused(name, tmp_path, r"(image.png|label.tif): cannot be read")


@pytest.mark.parametrize("number", ["1e999", "nan", "0", "1e30", "1e-300"])
@pytest.mark.parametrize("line", [0, 3])
def test_an_image_that_lies_nowhere_is_told(tmp_path, number, line):
    world = _written("imagery jpeg", tmp_path) / "image.jgw"
    lines = world.read_text().split("\n")
    lines[line] = number
    world.write_text("\n".join(lines))
    _refused("imagery jpeg", tmp_path, "lie nowhere in its CRS|makes areas inf|no pos")


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_an_ascii_grid_whose_end_is_missing_is_refused_at_once(tmp_path, kept):
    path = _written("imagery asc", tmp_path) / "image.asc"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="image.asc: cannot be read"):
        formats.check_raster(path)


def test_an_ascii_grid_that_declares_more_than_it_can_hold_is_refused(tmp_path):
    path = _written("imagery asc", tmp_path) / "image.asc"
    path.write_text(path.read_text().replace("ncols 64", "ncols 640000"))
    with pytest.raises(InputError, match="declares 640000 x 48 numbers, more than"):
        formats.check_raster(path)


def test_a_whole_ascii_grid_is_read(tmp_path):
    undamaged_rasters.ascii_grid(tmp_path)
    assert formats.check_raster(tmp_path / "image.asc") == "AAIGrid"


# ---- tables ----


def _open_ring():
    """A polygon whose ring does not end where it begins, as GeoPackages store it."""
    ring = struct.pack("<8d", 0, 0, 1, 0, 1, 1, 0, 1)
    wkb = struct.pack("<bIII", 1, 3, 1, 4) + ring
    return b"GP\0\1" + struct.pack("<i", 32651) + wkb


@pytest.mark.parametrize("name", ["label polygons gpkg", "regions gpkg"])
def test_a_ring_that_is_open_is_told(tmp_path, name):
    path = _written(name, tmp_path) / "zones.gpkg"
    with sqlite3.connect(path) as base:
        for (trigger,) in base.execute(
            "SELECT name FROM sqlite_master WHERE type='trigger'"
        ).fetchall():
            base.execute(f'DROP TRIGGER "{trigger}"')
        base.execute("UPDATE zones SET geom = ?", (_open_ring(),))
    base.close()
    _refused(name, tmp_path, r"zones.gpkg: cannot be read \(.*closed linestring")


@pytest.mark.parametrize(
    "said", [b"{", b"[]", b'{"index_columns": [[1]], "columns": [1]}']
)
@pytest.mark.parametrize("name", ["label table parquet", "POIs parquet"])
def test_what_pandas_says_in_parquet_may_be_anything(tmp_path, name, said):
    (path,) = _written(name, tmp_path).iterdir()
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"pandas": said}), path)
    _refused(name, tmp_path, r"cannot be read \(.* Wanted: GeoParquet")


def test_geometries_that_are_no_bytes_are_told(tmp_path):
    path = _written("regions parquet", tmp_path) / "zones.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("geometry")
    numbers = pd.Series([1.5] * len(table)).to_numpy()
    metadata = table.schema.metadata
    table = table.set_column(place, "geometry", [numbers])
    pq.write_table(table.replace_schema_metadata(metadata), path)
    _refused("regions parquet", tmp_path, r"cannot be read \(Expected bytes")


def test_a_member_of_an_archive_without_a_name(tmp_path):
    path = _written("POIs zip", tmp_path) / "pois.zip"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x", b"")
        archive.infolist()[-1].filename = ""  # in the list at the end of the file
    with zipfile.ZipFile(path) as archive:
        assert "" in archive.namelist()
    readers.READERS["POIs zip"].read(tmp_path)


@pytest.mark.parametrize(
    ("far", "message"),
    [
        (1e300, "has coordinates that do not fit|do not fit its CRS"),
        (1e12, "do not fit its CRS"),
        (1e7, "polygon '7' is .* m across; allowed: 8,192 m"),
    ],
)
def test_a_region_without_bounds_is_refused_before_its_tile(tmp_path, far, message):
    path = _written("regions geojson", tmp_path) / "zones.geojson"
    told = json.loads(path.read_text())
    west, north = small_city.WEST_M, small_city.NORTH_M
    wide = shapely.box(west, north - 96, west + far, north)
    told["features"][0]["geometry"] = shapely.geometry.mapping(wide)
    path.write_text(json.dumps(told))
    _refused("regions geojson", tmp_path, message)


def test_a_tag_of_an_extract_that_is_no_text_is_told(tmp_path):
    path = _written("POIs osm pbf", tmp_path) / "city.osm.pbf"
    change = SimpleNamespace(
        rng=SimpleNamespace(choice=lambda blocks: blocks[-1]),
        bytes=lambda body: body.replace(b"cafe", b"caf\xff"),
    )
    path.write_bytes(containers.pbf(change, path.read_bytes()))
    _refused("POIs osm pbf", tmp_path, "cannot be read as an OpenStreetMap extract")


@pytest.mark.parametrize("key", ['LOCAL_CS["x"]', "=1+1", "a,b", "a b"])
def test_a_key_of_the_rules_that_is_none_is_told(tmp_path, key):
    path = _written("POIs osm rules", tmp_path) / "rules.csv"
    quoted = key.replace('"', '""')
    path.write_text(path.read_text() + f'"{quoted}",x,a,b\n')
    _refused("POIs osm rules", tmp_path, r"rules.csv: row 5, .*wanted: a key \(of")


def test_an_outline_past_repair_is_told(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise shapely.errors.GEOSException("Segment vertex does not intersect ring")

    monkeypatch.setattr(shapely, "make_valid", fail)
    for name in ("regions gpkg", "label polygons gpkg"):
        folder = tmp_path / name
        folder.mkdir()
        _written(name, folder)
        _refused(name, folder, "zones.gpkg: an outline .*cannot be repaired .Segment")


# ---- arrays, weights, images, reports ----


def _npy(shape, kind="<f4", body=b""):
    head = repr({"descr": kind, "fortran_order": False, "shape": shape}) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_npy((2**40,)), r"says it is \[1099511627776\] of float32, and has 0 bytes"),
        (_npy((-1,)), "an array says it is"),
        (_npy((1,), "|O", b"x" * 8), "Object arrays cannot be loaded"),
        (
            _npy((1,), "<U1", b"\xff\xff\xff\xff"),
            "characters that Unicode does not have",
        ),
        (b"\x93NUMPY\1\0\xff\xff{", "."),
        (b"", "."),
    ],
)
def test_arrays_are_no_larger_than_their_file(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        arrays.load_npy(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=message):
        arrays.load_npz(tmp_path / "a.npz")


def test_an_archive_of_arrays_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_UNPACKED_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10_000))
    with pytest.raises(ValueError, match="unpacks to"):
        arrays.load_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["公园", "a"]),
        np.array(3.5),
        np.zeros((0, 4), ">f8"),
        np.array([b"a", b"bc"]),
        np.array("", str),
    ],
)
def test_arrays_are_read_as_numpy_reads_them(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", a=array)
    for found in (
        arrays.load_npy(tmp_path / "a.npy"),
        arrays.load_npz(tmp_path / "a.npz")["a"],
    ):
        expected = np.load(tmp_path / "a.npy")
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)


def test_weights_that_are_not_finite_are_named(tmp_path):
    from mmgr_jax.models import torch_files

    path = _written("weights safetensors", tmp_path) / "image.safetensors"
    held = torch_files.read_state_dict(path)
    name = next(name for name in held if name.endswith("norm1.weight"))
    held[name][0] = np.nan
    torch_files.write_state_dict(path, held, {})
    _refused("weights safetensors", tmp_path, f"not finite: {name}")


def test_an_image_of_a_sample_without_its_head_is_told(tmp_path):
    folder = _written("released sample", tmp_path) / "raw/sub_shanghai_img"
    path = min(folder.iterdir())
    content = path.read_bytes()
    place = content.index(b"IHDR")
    path.write_bytes(content[: place - 4] + struct.pack(">I", 2) + content[place:])
    _refused("released sample", tmp_path, "image cannot be read")


@pytest.mark.parametrize("place", ["label", "data"])
def test_reports_that_lack_something_are_no_reports(tmp_path, place):
    path = _written("report", tmp_path) / "eval/report.json"
    told = json.loads(path.read_text())
    if place == "label":
        told["tasks"]["population"]["label"] = None
    else:
        told["data"] = [1]
    path.write_text(json.dumps(told))
    _refused("report", tmp_path, "no report of an evaluation")


DEEP = "[" * 20_000 + "]" * 20_000


def test_json_without_bottom_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="nested too deep"):
        files.from_json(DEEP)
    path = _written("records", tmp_path) / "manifest.json"
    path.write_text(DEEP)
    _refused("records", tmp_path, "not a manifest this program wrote .it is nested")


def test_a_line_of_metrics_without_bottom_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + DEEP + "\n")
    assert metrics._rows(tmp_path / "metrics.jsonl") == ([{"step": 1}], 1)


def test_a_category_that_is_json_without_bottom_is_a_name(tmp_path):
    path = _written("POIs csv", tmp_path) / "pois.csv"
    path.write_text(path.read_text().replace("cafe", DEEP, 1))
    readers.READERS["POIs csv"].read(tmp_path)


def test_json_lines_without_bottom_are_told(tmp_path):
    path = _written("POIs jsonl", tmp_path) / "pois.jsonl"
    path.write_text(f'{{"category": {DEEP}}}\n' + path.read_text())
    _refused("POIs jsonl", tmp_path, "pois.jsonl: ")


def test_xml_without_bottom_beside_an_image(tmp_path):
    side = _written("imagery tiled", tmp_path) / "image.tif.aux.xml"
    deep = "<a>" * 20_000 + "</a>" * 20_000
    side.write_text(f"<PAMDataset>{deep}</PAMDataset>")
    assert side_files.of_statistics(side) is None


def test_regions_in_a_torn_file_are_told(tmp_path):
    path = _written("regions geojson", tmp_path) / "zones.geojson"
    path.write_bytes(path.read_bytes()[:-40])
    _refused("regions geojson", tmp_path, "zones.geojson: cannot be read")


def test_the_stem_of_a_resnet_is_one_that_there_is(tmp_path):
    path = _written("training settings", tmp_path) / "settings.txt"
    path.write_text(path.read_text().replace("stem=conv7s4", "stem=none"))
    _refused("training settings", tmp_path, "config.model.image_encoder.stem='none'")


def test_bands_are_numbers():
    with pytest.raises(InputError, match="imagery.bands=.*'2'.*; allowed: an integer"):
        read(ImagerySettings, {"bands": (1, "2", 3)}, "imagery")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("mean", np.zeros(3), "cannot be read"),  # here by the check of axes
        ("scale", np.nan, "numbers that are not finite"),
        ("phrases", np.float64(1), "cannot be read"),
    ],
)
def test_parts_of_a_text_space_fit_each_other(tmp_path, part, value, message):
    path = _written("text space", tmp_path) / "category_text.npz"
    np.savez(path, **{**arrays.load_npz(path), part: value})
    _refused("text space", tmp_path, message)
