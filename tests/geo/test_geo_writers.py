"""GeoParquet read back by GeoPandas and PyArrow, and what is refused."""

import json

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyarrow import parquet

from mmgr_jax.errors import InputError
from mmgr_jax.geo import writers

NUM_REGIONS = 30


@pytest.fixture
def table():
    """Arguments of `write_embeddings` for thirty squares and a multipolygon."""
    rng = np.random.default_rng(0)
    x = 345_000 + 100.0 * np.arange(NUM_REGIONS)
    geometry = shapely.box(x, 3_450_000, x + 100, 3_450_100)
    geometry[3] = shapely.union(geometry[3], shapely.box(0, 0, 1, 1))
    truth = rng.random(NUM_REGIONS).astype(np.float32)
    truth[2] = np.nan
    return dict(
        region_ids=[f"r{index:02d}" for index in range(NUM_REGIONS)],
        geometry_wkb=list(shapely.to_wkb(geometry)),
        crs="EPSG:32651",
        embeddings=rng.normal(size=(NUM_REGIONS, 16)).astype(np.float32),
        columns=dict(
            population_true=truth, block_id=np.arange(NUM_REGIONS, dtype="i4")
        ),
        metadata=dict(model={"name": "resnet50"}, created="2026-01-02", source="tiles"),
    )


def test_geopandas_reads_back_every_value(table, tmp_path):
    path = tmp_path / "maps" / "embeddings.parquet"
    writers.write_embeddings(path, **table)
    frame = geopandas.read_parquet(path)
    assert frame.crs == "EPSG:32651"
    assert frame["region_id"].tolist() == table["region_ids"]
    assert list(frame.geometry.to_wkb()) == table["geometry_wkb"]
    np.testing.assert_array_equal(
        np.stack(frame["embedding"].to_numpy()), table["embeddings"]
    )
    for name, values in table["columns"].items():
        np.testing.assert_array_equal(frame[name].to_numpy(), values)
    assert frame["row"].tolist() == list(range(NUM_REGIONS))
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_the_bbox_column_lets_readers_skip_what_lies_elsewhere(table, tmp_path):
    path = tmp_path / "embeddings.parquet"
    writers.write_embeddings(path, **table)
    box = (345_010.0, 3_450_000.0, 345_190.0, 3_450_050.0)
    found = geopandas.read_parquet(path, bbox=box)
    assert found["region_id"].tolist() == ["r00", "r01", "r03"]  # r03 has a far part
    boxes = parquet.read_table(path)["bbox"].to_pylist()
    assert tuple(boxes[1].values()) == (345_100, 3_450_000, 345_200, 3_450_100)


def test_types_compression_and_metadata(table, tmp_path):
    path = tmp_path / "embeddings.parquet"
    writers.write_embeddings(path, **table)
    file = parquet.ParquetFile(path)
    schema = file.schema_arrow
    assert schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert schema.field("block_id").type == pa.int32()
    column = file.metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert parquet.read_table(path)["population_true"].null_count == 1

    geo = json.loads(schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    geometry = geo["columns"]["geometry"]
    assert geometry["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert geometry["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    assert geometry["bbox"] == [0, 0, 348_000, 3_450_100]
    assert geometry["crs"]["id"] == {"authority": "EPSG", "code": 32651}

    told = json.loads(schema.metadata[b"emb"])
    assert len(told.pop("sha256")) == 64  # compared in test_feature_tables.py
    assert told == {
        **table["metadata"],
        "column": "embedding",
        "dimensions": 16,
        "data_type": "float32",
        "crs": "EPSG:32651",
    }


def test_row_groups_hold_so_many_bytes_at_most(table, tmp_path, monkeypatch):
    path = tmp_path / "embeddings.parquet"
    for most, rows in ((2**20, [30]), (12 * 16 * 4 + 5, [12, 12, 6]), (1, [1] * 30)):
        monkeypatch.setattr(writers, "ROW_GROUP_BYTES", most)
        writers.write_embeddings(path, **table)
        written = parquet.ParquetFile(path).metadata
        groups = [written.row_group(n) for n in range(written.num_row_groups)]
        assert [group.num_rows for group in groups] == rows
        frame = geopandas.read_parquet(path)
        assert frame["region_id"].tolist() == table["region_ids"]


def test_a_failed_write_leaves_the_old_file(table, tmp_path, monkeypatch):
    path = tmp_path / "embeddings.parquet"
    writers.write_embeddings(path, **table)
    before = path.read_bytes()

    def break_off(self, table, **_):
        raise OSError("disk full")

    monkeypatch.setattr(writers.parquet.ParquetWriter, "write_table", break_off)
    with pytest.raises(OSError, match="disk full"):
        writers.write_embeddings(path, **table)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_longitude_and_latitude_are_those_of_pyproj(table, tmp_path):
    path = tmp_path / "embeddings.parquet"
    writers.write_embeddings(path, **table)
    frame = geopandas.read_parquet(path)
    middle = frame.geometry.centroid.to_crs("EPSG:4326")
    np.testing.assert_allclose(frame["lon_deg"], middle.x, atol=1e-9)
    np.testing.assert_allclose(frame["lat_deg"], middle.y, atol=1e-9)
    assert frame["lon_deg"][0] == pytest.approx(121.38, abs=0.01)  # 155 km west of 123


def test_a_plan_without_a_place_on_earth_is_refused(table, tmp_path):
    table["crs"] = 'LOCAL_CS["a site",UNIT["metre",1]]'
    with pytest.raises(InputError, match="no longitude and latitude follow from CRS"):
        writers.write_embeddings(tmp_path / "embeddings.parquet", **table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(geometry_wkb=[b""]), "geometry_wkb has 1 rows for 30 regions"),
        (dict(columns={"x": np.zeros(3)}), "x has 3 rows for 30 regions"),
        (dict(columns={"x": np.zeros((30, 2))}), r"column x has shape \(30, 2\)"),
        (dict(columns={"bbox": np.zeros(30)}), "column 'bbox' is one of the table's"),
        (dict(region_ids=["same"] * 30), "'same' occurs 30 times"),
        (dict(crs="EPSG:0"), "CRS 'EPSG:0' is unknown"),
        (dict(metadata={"model": object()}), "metadata is not JSON"),
        (dict(metadata={"loss": float("nan")}), "metadata is not JSON"),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_is_left(
    table, tmp_path, change, message
):
    path = tmp_path / "embeddings.parquet"
    with pytest.raises(InputError, match=message) as caught:
        writers.write_embeddings(path, **{**table, **change})
    assert str(path) in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_an_embedding_that_is_not_finite_is_named(table, tmp_path):
    table["embeddings"][4, 2] = np.inf
    with pytest.raises(InputError, match="1 embeddings are not finite, .* 'r04'"):
        writers.write_embeddings(tmp_path / "embeddings.parquet", **table)
