"""Vectors as int8: how far off they are, what it costs a search, and who reads them."""

import json

import geopandas
import numpy as np
import pytest
import shapely
from pyarrow import parquet
from sklearn.neighbors import NearestNeighbors

from mmgr_jax.data import feature_tables
from mmgr_jax.errors import InputError
from mmgr_jax.geo import columns, packed, spatial_order, writers

COUNT, WIDTH = 300, 12


def vectors(count=COUNT, seed=0):
    """Columns of very different sizes, one of equal numbers, one of zeros."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.3, 1, (count, WIDTH)) * 10.0 ** rng.integers(-4, 5, WIDTH)
    values[:, 3], values[:, 5] = 7.25, 0
    return values.astype(np.float32)


def parts(values, size=77):
    return [values[first : first + size] for first in range(0, len(values), size)]


def test_a_number_is_off_by_half_a_step_of_its_column_at_most():
    values = vectors()
    packing = packed.Packing.fitting(parts(values))
    stored = packing.pack(values)
    assert stored.dtype == np.int8 and stored.min() == -127 and stored.max() == 127
    steps = (values.max(axis=0) - values.min(axis=0)) / 254
    error = np.abs(packing.unpack(stored) - values)
    assert (error <= 0.5001 * steps + 1e-6 * np.abs(values)).all()
    assert (error[:, [3, 5]] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1e30, -1e-30, 3e38])
def test_columns_of_one_number_and_of_huge_ones_stay_finite(value):
    values = np.float32([[value, -value], [value, value]])
    packing = packed.Packing.fitting([values, values[:0]])
    back = packing.unpack(packing.pack(values))
    np.testing.assert_allclose(back, values, rtol=1e-5)


def recall_by_scikit_learn(values, back, asking, nearest):
    kept = []
    found = [
        NearestNeighbors(n_neighbors=nearest + 1, metric="cosine").fit(one)
        for one in (values, back)
    ]
    for row in asking:
        (before,), (after,) = (
            model.kneighbors(one[row : row + 1], return_distance=False)
            for model, one in zip(found, (values, back), strict=True)
        )
        before, after = set(before) - {row}, set(after) - {row}
        kept.append(len(before & after) / nearest)
    return np.mean(kept)


def test_the_loss_is_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(packed, "QUERIES", 40)
    rng = np.random.default_rng(3)
    values = rng.normal(size=(COUNT, WIDTH)).astype(np.float32)
    values[0] = 300 * values[0]  # so that a step is wide, and much is lost
    order = rng.permutation(COUNT)
    recall = packed.measured(parts(values[order]), values.__getitem__)
    for rows in np.array_split(order, 5):
        recall.add(rows, values[rows], recall.packing.pack(values[rows]))
    asking = np.sort(np.random.default_rng(0).permutation(COUNT)[:40])
    back = recall.packing.unpack(recall.packing.pack(values))
    expected = recall_by_scikit_learn(values, back, asking, 20)
    assert 0.2 < expected < 0.9
    assert recall.share() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("count", "expected"), [(1, None), (2, 1.0), (5, 1.0)])
def test_few_regions_have_few_neighbours(count, expected):
    values = vectors(count, seed=1)
    recall = packed.measured([values], values.__getitem__)
    recall.add(np.arange(count), values, recall.packing.pack(values))
    assert recall.share() == expected


def write(path, values, **given):
    count = len(values)
    writers.write_embeddings(
        path,
        region_ids=[f"r{index}" for index in range(count)],
        geometry_wkb=[shapely.box(0, 0, 1, 1).wkb] * count,
        crs="EPSG:32651",
        embeddings=values,
        columns={},
        metadata={},
        packed=True,
        **given,
    )


def test_a_packed_table_reads_back_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "ROW_GROUP_SIZE", 128)
    values = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
    path = tmp_path / "embeddings.parquet"
    write(path, values)
    schema = parquet.read_schema(path)
    assert str(schema.field("embedding").type) == "fixed_size_list<element: int8>[12]"
    about = json.loads(schema.metadata[b"emb"])
    assert (about["data_type"], about["packed_from"]) == ("int8", "float32")
    assert 0.9 < about["recall_of_20_nearest"] <= 1
    stored = np.stack(geopandas.read_parquet(path)["embedding"])
    back = stored * np.float32(about["scale"]) + np.float32(about["offset"])
    np.testing.assert_allclose(back, values, atol=0.51 * max(about["scale"]))
    ids = [f"r{index}" for index in range(COUNT)][::-1]
    read = feature_tables.read("ours", str(path), ids)  # as other runs read it
    np.testing.assert_allclose(read, back[::-1], rtol=1e-6, atol=1e-6)
    columns.write_dictionary(path, [])
    assert "12 int8" in (path.with_name("columns.csv")).read_text()
    assert "number * scale + offset" in (path.with_name("columns.csv")).read_text()


def test_other_scales_are_an_edited_file(tmp_path):
    path = tmp_path / "embeddings.parquet"
    write(path, vectors())
    table = parquet.read_table(path)
    about = json.loads(table.schema.metadata[b"emb"])
    about["scale"][0] *= 2
    changed = dict(table.schema.metadata) | {b"emb": json.dumps(about)}
    parquet.write_table(table.replace_schema_metadata(changed), path)
    with pytest.raises(InputError, match="damaged, or edited since it was written"):
        feature_tables.read("ours", str(path), ["r0"])


def test_what_is_not_finite_is_refused_before_it_is_packed(tmp_path):
    values = vectors()
    values[4, 2] = np.nan
    with pytest.raises(InputError, match="1 embeddings are not finite, .* 'r4'"):
        write(tmp_path / "embeddings.parquet", values)
    assert not any(tmp_path.iterdir())


def test_neighbours_stand_together_along_a_hilbert_curve():
    row, column = np.divmod(np.random.default_rng(0).permutation(64 * 64), 64)
    centre_m = np.stack([column, row], axis=1) * 100.0 + 3e5
    order = spatial_order.along_hilbert(centre_m)
    assert sorted(order) == list(range(64 * 64))
    steps = np.abs(np.diff(centre_m[order], axis=0)).sum(axis=1)
    assert np.median(steps) == 100 and steps.mean() < 130
    boxes = [np.ptp(centre_m[part], axis=0).max() for part in np.split(order, 16)]
    assert max(boxes) <= 1700  # a sixteenth of the rows is a sixteenth of the city


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_regions_have_an_order_too(count):
    order = spatial_order.along_hilbert(np.zeros((count, 2)))
    assert order.tolist() == list(range(count))
