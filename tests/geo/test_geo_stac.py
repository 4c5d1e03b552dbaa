"""STAC of a city's embeddings, read by pystac; rules of the Embeddings extension."""

import json

import numpy as np
import pytest
import shapely
import stac_schemas

from mmgr_jax.data.schema import Label
from mmgr_jax.geo import columns, stac, stac_words, writers

COUNT, WIDTH = 6, 4
MADE = "2026-11-28T00:01:05.411555+00:00"
PERSONS = Label("count", "persons", year=2020, source="census", licence="CC0-1.0")
HEADER = {
    "features": "image", "readout": {"image": "pooled"}, "groups": [["image", WIDTH]],
    "made_by": {"weights": "ab12"}, "created": MADE, "city": "Łódź / west",
    "interval_level": 0.9,
}  # fmt: skip
FACTS = {
    "tile_size_m": 128.0,
    "imagery": {"source": "an agency", "licence": "CC-BY-4.0", "year": 2019},
    "pois": {"source": "OpenStreetMap contributors", "licence": "ODbL-1.0"},
    "labels": {"population": {"source": None, "licence": None, "year": None}},
}
MODEL = {
    "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": "model",
    "geometry": None, "properties": {"datetime": "2026-11-28T00:00:00Z"}, "links": [],
    "assets": {},
}  # fmt: skip


def write(folder, *, crs="EPSG:32651", box=(345_000, 3_450_000), packed=False, **facts):
    """A table, files beside it, and their STAC."""
    values = np.arange(COUNT, dtype=float)
    given = columns.Mapped(
        "population", PERSONS, values, values, values, values, values > 3
    )
    x = box[0] + 100.0 * np.arange(COUNT)
    table = folder / "embeddings.parquet"
    writers.write_embeddings(
        table,
        region_ids=[f"r{index}" for index in range(COUNT)],
        geometry_wkb=list(shapely.to_wkb(shapely.box(x, box[1], x + 100, box[1] + 50))),
        crs=crs,
        embeddings=np.random.default_rng(0).normal(size=(COUNT, WIDTH)),
        columns=columns.of_task(given),
        metadata=HEADER,
        packed=packed,
    )
    (folder / "population.tif").touch()
    origin = stac.Origin(
        facts=FACTS | facts,
        layout=stac.layout({"kind": "grid"}, 64),
        source_href="../records/manifest.json",
        model=MODEL,
        software={"mmgr-jax": "0"},
    )
    described = columns.about_task("population", PERSONS, 0.9)
    others = [folder / "population.tif", folder / "styles" / "a.qml"]
    written = stac.write(table, origin, described, others, uncertain=True)
    assert {path.parent for path in written} == {folder}
    return folder


def test_pystac_walks_from_the_collection_to_the_files(tmp_path):
    folder = write(tmp_path)
    collection = stac_schemas.check(folder / "collection.json")
    (item,) = collection.get_items()
    stac_schemas.check(folder / "embeddings.json")
    stac_schemas.check(folder / "encoder.json")
    asset = item.assets["embeddings"]
    assert asset.get_absolute_href() == str(folder / "embeddings.parquet")
    assert asset.roles == ["data", "uncertainty"]
    assert item.assets["population.tif"].roles == ["data", "uncertainty"]
    assert set(item.assets) == {"embeddings", "population.tif"}
    assert item.collection_id == collection.id == "Łódź-west-embeddings"
    start, end = collection.extent.temporal.intervals[0]
    assert (start.year, end.year) == (2019, 2019) and item.datetime is None
    assert item.common_metadata.start_datetime == start


def test_a_collection_has_what_the_extension_asks_for(tmp_path):
    """Version 0.0.1: these fields, a link to the model and one to the source data."""
    content = json.loads((write(tmp_path) / "collection.json").read_text())
    assert stac.EMBEDDINGS in content["stac_extensions"]
    assert content["emb:type"] in ("pixel", "chip") and content["emb:dimensions"] == 4
    assert content["data_type"] == "float32" and content["gsd"] == 128.0
    assert content["emb:chip_layout"] == {
        "layout_type": "regular_grid",
        "chip_size": [64, 64],
        "stride": [64, 64],
    }
    links = {link["rel"]: link["href"] for link in content["links"]}
    assert links["emb:model"] == "./encoder.json"
    assert links["emb:source-data"] == "../records/manifest.json"
    assert [one["name"] for one in content["providers"]] == [
        "an agency", "OpenStreetMap contributors",
    ]  # fmt: skip
    assert "ODbL-1.0" in content["description"]
    assert "Label population: source not recorded" in content["description"]


def test_every_column_is_described_in_the_item(tmp_path):
    item = json.loads((write(tmp_path) / "embeddings.json").read_text())
    properties = item["properties"]
    described = {one["name"]: one for one in properties["table:columns"]}
    assert described["population_pred"]["description"] == "Predicted population."
    assert described["embedding"]["type"] == "4 float32"
    assert properties["table:row_count"] == COUNT and properties["proj:code"] == (
        "EPSG:32651"
    )
    assert "emb:quantization" not in properties
    assert "90% intervals" in properties["emb:uncertainty"]["description"]
    assert properties["created"] == "2026-11-28T00:01:05.411555Z"


def test_packed_vectors_say_how_to_unpack_them(tmp_path):
    folder = write(tmp_path, packed=True)
    item = json.loads((folder / "embeddings.json").read_text())
    packed = item["properties"]["emb:quantization"]
    assert {packed["method"], packed["original_dtype"]} == {"linear", "float32"}
    assert len(packed["scale"]) == len(packed["offset"]) == WIDTH
    assert json.loads((folder / "collection.json").read_text())["data_type"] == "int8"
    stac_schemas.check(folder / "embeddings.json")


def test_imagery_without_a_year_has_the_date_of_the_embeddings_and_says_so(tmp_path):
    folder = write(tmp_path, imagery={"source": None, "year": None}, tile_size_m=0.0)
    collection = stac_schemas.check(folder / "collection.json")
    assert "year of the imagery is not recorded" in collection.description
    assert "gsd" not in collection.extra_fields
    item = stac_schemas.check(folder / "embeddings.json")
    assert item.datetime.year == 2026


def test_a_box_over_the_180th_meridian_is_two(tmp_path):
    folder = write(tmp_path, crs="EPSG:3832", box=(3_339_500, 0))  # 150 E, and 30 more
    item = json.loads((folder / "embeddings.json").read_text())
    west, _, east, _ = item["bbox"]
    assert west > 179 and east < -179
    assert item["geometry"]["type"] == "MultiPolygon"
    assert shapely.from_geojson(json.dumps(item["geometry"])).is_valid
    stac_schemas.check(folder / "embeddings.json")


def test_a_crs_without_a_code_is_written_out(tmp_path):
    crs = "+proj=laea +lat_0=31 +lon_0=121 +datum=WGS84 +units=m"
    item = json.loads((write(tmp_path, crs=crs) / "embeddings.json").read_text())
    assert item["properties"]["proj:code"] is None
    assert item["properties"]["proj:projjson"]["type"] == "ProjectedCRS"


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ({"kind": "h3", "h3": {"resolution": 9}}, ("named_grid", "H3 resolution 9")),
        ({"kind": "polygons"}, ("variable_grid", None)),
        ({}, ("variable_grid", None)),
    ],
)
def test_layouts(regions, expected):
    layout = stac.layout(regions, 64)
    assert (layout["layout_type"], layout.get("grid_id")) == expected


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    folder = write(tmp_path)
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    monkeypatch.setattr(stac_words, "providers", lambda facts: [object()])
    with pytest.raises(TypeError):
        write(tmp_path)
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before
