"""Tables of features in every form, written by pandas, GeoPandas, NumPy and Arrow."""

import json
import logging
import re

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from pyarrow import parquet

from mmgr_jax.data import feature_tables
from mmgr_jax.errors import InputError
from mmgr_jax.geo import writers

NUM_REGIONS, NUM_FEATURES = 30, 5
REGION_IDS = [f"{index:03d}" for index in range(NUM_REGIONS)]  # text, not numbers
COLUMNS = [f"f{index}" for index in range(NUM_FEATURES)]


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return rng.normal(size=(NUM_REGIONS, NUM_FEATURES)).astype(np.float32)


def _embeddings(path, features, metadata=None):
    """As `mmgr_jax.embed` leaves them."""
    writers.write_embeddings(
        path,
        region_ids=REGION_IDS,
        geometry_wkb=[shapely.box(0, 0, 1, 1).wkb] * NUM_REGIONS,
        crs="EPSG:32651",
        embeddings=features,
        columns={},
        metadata=metadata or {"model": {"name": "mmgr"}},
    )
    return path


def test_no_flipped_bit_of_our_own_table_changes_a_feature(tmp_path, features):
    rng = np.random.default_rng(seed := int(np.random.default_rng().integers(10**6)))
    print(f"seed {seed}")
    path = _embeddings(tmp_path / "embeddings.parquet", features)
    whole, refused = path.read_bytes(), 0
    for _ in range(60):
        place = int(rng.integers(len(whole)))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = feature_tables.read("ours", str(path), REGION_IDS)
        except InputError:
            refused += 1
            continue
        np.testing.assert_array_equal(found, features, err_msg=f"{seed}, {place}")
    assert refused > 5


def test_a_table_of_an_older_version_without_places_is_read(tmp_path, features):
    path = _embeddings(tmp_path / "embeddings.parquet", features)
    table = parquet.read_table(path).drop_columns(["lon_deg", "lat_deg", "row"])
    parquet.write_table(table, path)
    found = feature_tables.read("ours", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, features)


@pytest.mark.parametrize("inputs", ["one", "other"])
def test_our_own_table_says_what_made_it(tmp_path, features, caplog, inputs):
    path = tmp_path / "embeddings.parquet"
    made = {
        "made_by": {"weights": "0123456789abcdef"},
        "checkpoint": "runs/x/checkpoints/4",
        "records": {"inputs": "one"},
    }
    _embeddings(path, features, made)
    with caplog.at_level(logging.INFO):
        feature_tables.read("a", str(path), REGION_IDS, records={"inputs": inputs})
    assert "the weights 0123456789ab, which were in runs/x/checkpoints/4" in caplog.text
    told = "made from other tiles or POIs than these records hold" in caplog.text
    assert told == (inputs == "other")


def test_our_own_table_with_other_numbers_is_refused(tmp_path, features):
    path = _embeddings(tmp_path / "embeddings.parquet", features)
    np.testing.assert_array_equal(
        feature_tables.read("ours", str(path), REGION_IDS), features
    )
    table = parquet.read_table(path)
    moved = table.set_column(0, "region_id", pa.array(REGION_IDS[::-1]))
    parquet.write_table(moved, path)
    with pytest.raises(InputError, match="damaged, or edited.*sha256 out of its"):
        feature_tables.read("ours", str(path), REGION_IDS)
    parquet.write_table(moved.replace_schema_metadata({}), path)
    found = feature_tables.read("ours", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, features[::-1])


@pytest.fixture
def order():
    """The table's rows are not in the order of the records."""
    return np.random.default_rng(1).permutation(NUM_REGIONS)


def _ids(order):
    return [REGION_IDS[row] for row in order]


def _frame(ids, features):
    return pd.DataFrame(features, columns=COLUMNS[: features.shape[1]]).assign(
        region_id=ids
    )


def _lists(path, ids, features):
    frame = pd.DataFrame(dict(region_id=ids, embedding=list(features)))
    frame.to_parquet(path.with_suffix(".parquet"))


def _indexed(path, ids, features):
    _frame(ids, features).set_index("region_id").to_parquet(
        path.with_suffix(".parquet")
    )


def _geo(path, ids, features):
    points = geopandas.points_from_xy(np.arange(len(ids)), np.zeros(len(ids)))
    frame = geopandas.GeoDataFrame(_frame(ids, features), geometry=points, crs=3857)
    frame.to_parquet(
        path.with_suffix(".geoparquet"),
        write_covering_bbox=True,
        geometry_encoding="geoarrow",  # its points are lists of two numbers
    )


def _csv(path, ids, features):
    _frame(ids, features).to_csv(path.with_suffix(".csv"), index=False)


def _csv_gz(path, ids, features):
    _frame(ids, features).to_csv(path.with_suffix(".csv.gz"), index=False)


def _npz(path, ids, features):
    np.savez(path.with_suffix(".npz"), region_id=ids, features=features)


def _rows_of_pandas(path, ids, features):
    frame = _frame(ids, features)
    frame.index = np.arange(len(ids))[::-1] + 5  # saved as a column without a name
    frame.to_parquet(path.with_suffix(".parquet"))


def _categorical(path, ids, features):
    frame = _frame(ids, features.astype(np.float64))
    frame = frame.astype({"region_id": "category"}).rename(columns={"region_id": "id"})
    frame.to_parquet(path.with_suffix(".parquet"))


@pytest.mark.parametrize(
    "write", [_lists, _indexed, _geo, _csv, _csv_gz, _npz, _categorical]
)
def test_features_come_in_the_order_of_the_records(write, features, order, tmp_path):
    write(tmp_path / "table", _ids(order), features[order])
    (path,) = tmp_path.iterdir()
    found = feature_tables.read("ours", str(path), REGION_IDS)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features)


def test_what_embed_writes_is_a_table(features, tmp_path):
    path = tmp_path / "embeddings.parquet"
    square = shapely.to_wkb(shapely.box(0, 0, 1, 1))
    writers.write_embeddings(
        path,
        region_ids=REGION_IDS,
        geometry_wkb=[square] * NUM_REGIONS,
        crs="EPSG:32651",
        embeddings=features,
        columns=dict(population_true=np.arange(NUM_REGIONS, dtype=np.float32)),
        metadata=dict(model={"name": "x"}, checkpoint="runs/a", source="tiles"),
    )
    found = feature_tables.read(
        "a", str(path), REGION_IDS[5:], label_names=["population"]
    )
    np.testing.assert_array_equal(found, features[5:])
    told = feature_tables.about("a", str(path))
    assert told == "features of embeddings.parquet (embedding): runs/a"


def test_rows_of_a_larger_area_are_left_out(features, tmp_path, caplog):
    others = [f"other {index}" for index in range(20_000)]  # several batches
    rng = np.random.default_rng(2)
    ids = [*others, *REGION_IDS]
    rows = np.concatenate([np.full((len(others), NUM_FEATURES), np.nan), features])
    order = rng.permutation(len(ids))
    frame = _frame([ids[row] for row in order], rows[order])
    frame["note"] = "text"
    path = tmp_path / "table.parquet"
    frame.to_parquet(path, row_group_size=1000)
    caplog.set_level(logging.INFO)
    found = feature_tables.read("wide", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, features)
    assert caplog.messages == [
        "table wide: 5 features of 30 regions, from f0, f1, f2, f3, f4; "
        "20,000 other rows not used; columns not used: note"
    ]


def test_alphaearth_s_bands_are_known_by_name(tmp_path):
    rng = np.random.default_rng(3)
    bands = rng.normal(size=(NUM_REGIONS, 64)).astype(np.float32)
    frame = pd.DataFrame(bands, columns=[f"A{band:02d}" for band in range(64)])
    frame = frame[rng.permutation(frame.columns)]
    frame = frame.assign(id=REGION_IDS, population=1.0, lon=2.0)
    path = tmp_path / "aef.parquet"
    frame.to_parquet(path)
    found = feature_tables.read(
        "aef", str(path), REGION_IDS, label_names=["population"]
    )
    np.testing.assert_array_equal(found, bands)


def test_places_are_no_features(features, tmp_path):
    path = tmp_path / "placed.parquet"
    pairs = [[0.0, 1.0]] * NUM_REGIONS  # GeoArrow's interleaved points
    columns = dict(zip(COLUMNS, features.T, strict=True))
    table = pa.table(dict(region_id=REGION_IDS, outline=pairs, bbox=pairs, **columns))
    said = json.dumps(dict(primary_column="outline", columns=dict(outline={})))
    parquet.write_table(table.replace_schema_metadata({"geo": said}), path)
    found = feature_tables.read("placed", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, features)


def test_columns_may_be_asked_for(features, tmp_path):
    path = tmp_path / "both.parquet"
    frame = _frame(REGION_IDS, features)
    frame = frame.assign(
        population=1.0, dino=list(2 * features), clay=list(3 * features)
    )
    frame.to_parquet(path)
    for column, factor in (("dino", 2), ("clay", 3), ("f*", 1)):
        found = feature_tables.read("x", f"{path}:{column}", REGION_IDS)
        np.testing.assert_array_equal(found, factor * features)
    found = feature_tables.read("x", f"{path}:f[13]", REGION_IDS)
    np.testing.assert_array_equal(found, features[:, [1, 3]])


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_whole_numbers_with_a_scale(form, tmp_path):
    stored = np.random.default_rng(4).integers(-128, 128, (NUM_REGIONS, 3), np.int8)
    scale, offset = [0.5, 0.25, 2.0], 1.0
    said = json.dumps(dict(model="m", scale=scale, offset=offset, license="CC BY 4.0"))
    path = tmp_path / f"packed.{form}"
    if form == "npz":
        np.savez(path, region_id=REGION_IDS, features=stored, metadata=said)
    else:
        table = pa.table(dict(region_id=REGION_IDS, vector=list(stored)))
        parquet.write_table(table.replace_schema_metadata({"emb": said}), path)
    found = feature_tables.read("packed", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, stored * np.float32(scale) + 1)
    assert feature_tables.about("packed", str(path)).endswith("): m, CC BY 4.0")


def test_counts_are_numbers_as_they_stand(tmp_path):
    path = tmp_path / "counts.csv"
    counts = np.arange(2 * NUM_REGIONS).reshape(NUM_REGIONS, 2)
    pd.DataFrame(counts, columns=["shops", "schools"]).assign(
        region_id=REGION_IDS
    ).to_csv(path, index=False)
    found = feature_tables.read("counts", str(path), REGION_IDS)
    np.testing.assert_array_equal(found, counts)


@pytest.mark.parametrize("write", [_csv, _rows_of_pandas])
def test_row_numbers_and_other_names_are_no_features(write, features, order, tmp_path):
    write(tmp_path / "table", _ids(order), features[order])
    path = next(tmp_path.iterdir())
    if path.suffix == ".csv":
        frame = pd.read_csv(path, dtype={"region_id": str})
        frame.assign(id=7).to_csv(path, index=True)  # a column without a name
    found = feature_tables.read("t", str(path), REGION_IDS)
    np.testing.assert_allclose(found, features, rtol=1e-6)


def test_names_are_compared_in_one_form(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("region_id,a\nCafe\u0301,1\n NA ,2\n", encoding="utf-8-sig")
    found = feature_tables.read("t", str(path), ["NA", "Café"])
    assert found.tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region_id,a,a\nx,1,2\n", "column a occurs more than once"),
        ("region_id,a\nx,1,\n", "cannot be read as .csv (CSV parse error: Expected 2"),
        ("region_id,a\nx,1\ny,n/k\nz,2\n", "'a' holds numbers, but also n/k in 1 of 3"),
        ("region_id,a\nx,NA\ny,1\n", "1 of 1 regions have features that are missing"),
    ],
)
def test_a_csv_that_does_not_say_numbers_is_refused(text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        feature_tables.read("t", str(path), ["x"])


def test_a_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("region_id,a\n街道,1\n".encode("gb18030"))
    with pytest.raises(InputError, match="cannot be read as .csv"):
        feature_tables.read("t", str(path), ["街道"])


def _table(path, **columns):
    parquet.write_table(pa.table(columns), path)


def _rows(path, ids=None, **changes):
    frame = pd.DataFrame(dict(region_id=ids or REGION_IDS, a=1.0, b=2.0)).assign(
        **changes
    )
    frame.to_parquet(path)


def _with_nan(path):
    _rows(path, a=[np.nan, np.inf, *range(NUM_REGIONS - 2)])


def _uneven(path):
    _table(path, region_id=REGION_IDS, v=[[1.0]] * 29 + [[1.0, 2.0]])


def _empty_lists(path):
    _table(path, region_id=REGION_IDS, v=pa.array([[]] * 30, pa.list_(pa.float32())))


def _without_one(path):
    _table(path, region_id=REGION_IDS, v=[[1.0]] * 29 + [None])


def _hole_in_a_list(path):
    _table(path, region_id=REGION_IDS, v=[[1.0, 3.0]] * 29 + [[1.0, None]])


def _packed(path):
    _table(path, region_id=REGION_IDS, v=[[1, 2]] * 30)


def _packed_bands(path):
    bands = {f"A{band:02d}": np.zeros(30, np.int8) for band in range(64)}
    _table(path, region_id=REGION_IDS, **bands)


def _scales_that_do_not_fit(path):
    table = pa.table(dict(region_id=REGION_IDS, v=[[1, 2]] * 30))
    table = table.replace_schema_metadata({"emb": '{"scale": [1, 2, 3]}'})
    parquet.write_table(table, path)


REFUSED = {
    "no such file": (lambda path: None, "table.parquet: no such file; give a file: .p"),
    "a folder": (lambda path: path.mkdir(), "table.parquet: is a folder; give a file"),
    "not Parquet": (
        lambda path: path.write_text("region_id,a\n"),
        "cannot be read as .parquet (Parquet magic bytes not found",
    ),
    "no names": (
        lambda path: _table(path, name=REGION_IDS, a=[1.0] * 30),
        "has no column region_id or id; its columns: name, a. Rename the one",
    ),
    "decimal names": (
        lambda path: _table(path, id=np.arange(30.0), a=[1.0] * 30),
        "column 'id' holds decimal numbers; wanted: the names of the regions",
    ),
    "names in lists": (
        lambda path: _table(path, id=[[name] for name in REGION_IDS], a=[1.0] * 30),
        "column 'id' holds list<",
    ),
    "names that are bytes": (
        lambda path: _table(path, id=[b"\xff"] * 30, a=[1.0] * 30),
        "column 'id' holds binary, which is no text",
    ),
    "a name missing": (
        lambda path: _table(path, id=[*REGION_IDS[1:], None], a=[1.0] * 30),
        "column 'id' is empty in places",
    ),
    "regions missing": (
        lambda path: _rows(path, ids=[*REGION_IDS[:28], "x", "y"]),
        "has no row for 2 of 30 regions, such as '028', '029'; its region_id is "
        "'000', '001', '002' and so on. Make features of the regions of these records",
    ),
    "no rows": (
        lambda path: _table(path, id=pa.array([], pa.string()), a=pa.array([], "f4")),
        "has no row for 30 of 30 regions, such as '000', '001', '002'; its id is",
    ),
    "a region twice": (
        lambda path: _rows(path, ids=["001", "001", *REGION_IDS[2:]]),
        "1 regions have more than one row, such as '001' with 2; keep one",
    ),
    "not finite": (
        _with_nan,
        "2 of 30 regions have features that are missing or not finite, such as '000', "
        "'001'; fill them in",
    ),
    "a hole in a list": (_hole_in_a_list, "1 of 30 regions have features that are mis"),
    "lists of two lengths": (
        _uneven,
        "region '000' has 1 features and region '029' has 2; give all regions the "
        "same number",
    ),
    "no list": (_without_one, "region '029' has no v; give every region one"),
    "empty lists": (
        _empty_lists,
        "regions have 0 features; give all regions the same number",
    ),
    "no numbers": (
        lambda path: _table(path, region_id=REGION_IDS, a=["x"] * 30),
        "has no column of numbers, or of lists of them, beside 'region_id'; its",
    ),
    "several lists": (
        lambda path: _rows(path, u=[[1.0]] * 30, v=[[1.0]] * 30),
        "has several columns of lists, u, v; name one, such as ",
    ),
    "packed": (
        _packed,
        "features are whole numbers without a scale; write them as float32, or give",
    ),
    "packed bands": (
        _packed_bands,
        "whole numbers without a scale; turn AlphaEarth's into sign(v) (v / 127.5)^2",
    ),
    "scales": (_scales_that_do_not_fit, "scale and offset do not fit 2 features"),
    "a label": (
        lambda path: _rows(path, population_true=1.0),
        "column 'population_true' is named after a label of the records, so heads "
        "would learn from the answer; take it out, or name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, tmp_path):
    write, message = REFUSED[case]
    path = tmp_path / "table.parquet"
    write(path)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        feature_tables.read("t", str(path), REGION_IDS, label_names=["population"])
    assert str(caught.value).startswith(f"config.eval.tables: t: {path}")
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there_and_a_suffix_nobody_reads(tmp_path):
    path = tmp_path / "table.parquet"
    _rows(path)
    with pytest.raises(InputError, match=r"matches 'dino\*'; there are: a, b\.$"):
        feature_tables.read("t", f"{path}:dino*", REGION_IDS)
    other = tmp_path / "table.pkl"
    other.write_bytes(b"")
    with pytest.raises(InputError, match="tables end in one of .parquet, .geopar"):
        feature_tables.read("t", str(other), REGION_IDS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(features=np.ones((30, 2))), "has no array 'region_id'; its arrays: feat"),
        (
            dict(region_id=np.array(REGION_IDS, object), features=np.ones((30, 2))),
            "cannot be read as .npz (Object arrays cannot be loaded",
        ),
        (
            dict(region_id=REGION_IDS, features=np.ones(30)),
            "region_id has shape (30,) and features (30,); wanted: [n] and [n m].",
        ),
    ],
)
def test_arrays_that_are_refused(arrays, message, tmp_path):
    path = tmp_path / "table.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        feature_tables.read("t", str(path), REGION_IDS)
