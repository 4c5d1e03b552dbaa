"""Regions ranked by a text: from the words to a file, on a few small regions."""

import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from small_records import CATEGORIES, config_of

from mmgr_jax.data import schema, texts
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference
from mmgr_jax.evaluation.features import features
from mmgr_jax.geo import rows
from mmgr_jax.query import ranking as query
from mmgr_jax.train import loop

AXES = np.eye(5, 16)
"""Each category of the small records on an axis of its own."""


def _space(**changed):
    """The space of a table whose categories are the first five axes."""
    given = dict(
        model="wordllama",
        folder="",
        version="0",
        phrases=CATEGORIES,
        mean=np.zeros(5),
        components=np.eye(16, 5),
        scale=1.0,
    )
    return texts.TextSpace(**(given | changed))


def _encode(said):
    """Words of categories in a text -> unit vectors; a stand-in without a model."""
    found = np.array([[name in text.split() for name in CATEGORIES] for text in said])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained(records_dir, tmp_path_factory):
    """A short run on the small records, whose vectors are made from texts thereafter.

    Texts choose categories, the checkpoint has a table of its own: it stays good.
    """
    folder = tmp_path_factory.mktemp("query")
    shutil.copytree(records_dir, folder / "records")
    config = config_of(folder / "records", folder)
    loop.train(config)
    np.save(folder / "records" / "category_vectors.npy", AXES.astype(np.float32))
    (folder / "records" / texts.FILE).write_bytes(_space().to_bytes())
    tables = ("category_vectors.npy", texts.FILE)
    schema.Manifest.load(folder / "records").save(folder / "records", tables)
    return config


@pytest.fixture
def config(trained, monkeypatch):
    encoder = texts.SentenceEncoder("wordllama", "0", _encode)
    monkeypatch.setattr(texts, "load", lambda model, folder: encoder)
    return trained.copy_and_resolve_references()


def test_a_text_becomes_pois_by_softmax_and_largest_remainders():
    # Cosines .8, .6 and .0: shares e^0, e^-2 and e^-8 of 10 POIs are 8.807, 1.192
    # and .003, so 8, 1 and 0, and the largest remainder gets the last one.
    vector, table = np.array([0.8, 0.6, 0.0]), 3.0 * np.eye(3)
    found = query.as_pois(vector, table, number=10, nearest=3)
    assert found == [(0, 9), (1, 1)]
    assert query.as_pois(vector, table, number=10, nearest=1) == [(0, 10)]
    # Equally near: equal shares, the first one gets what cannot be shared.
    both = query.as_pois(np.array([1.0, 1.0, 0.0]), table, number=5, nearest=2)
    assert both == [(0, 3), (1, 2)]


def test_the_typical_number_is_the_median_of_regions_with_pois(records_dir):
    source = RecordSource(records_dir)
    counts = [len(source[row]["poi/category"]) for row in range(len(source))]
    assert 0 in counts
    expected = int(np.ceil(np.median([count for count in counts if count])))
    assert query.typical_number_of_pois(source) == expected


def _by_batch(encoder, source, name, number):
    """The POI projection that the encoder's own batch function gives such POIs."""
    batches = features.pipeline.epoch_batches(
        source, batch_size=16, num_threads=1, edges=encoder.reads_edges
    )
    batch = dict(next(iter(batches)))
    for key in ("poi_category", "poi_mask"):
        batch[key] = batch[key].copy()
    batch["poi_category"][0] = CATEGORIES.index(name)
    batch["poi_mask"][0] = np.arange(batch["poi_mask"].shape[1]) < number
    for key in ("poi_offset_m", "poi_edges", "poi_edge_weight"):
        if key in batch:
            batch[key] = np.zeros_like(batch[key])
    (asked,) = encoder.encode(batch)["poi_projection"].values()
    return asked[0]


@pytest.mark.parametrize("by", ["image", "poi"])
def test_regions_are_ranked_by_cosine_to_a_region_of_such_pois(config, by):
    """The oracle: the encoder's own batch function, on a batch with these POIs."""
    source = open_source(config)
    (park, two) = query.rank(config, source, ["a park", "bank or school"], by=by)
    number = query.typical_number_of_pois(source)
    assert park.asked == (("park", number),)
    assert dict(two.asked) == {"bank": -(-number // 2), "school": number // 2}
    bundle = query.checkpoint.latest(config.workdir)
    encoder = inference.load_encoder(config, bundle, source)
    plain = features.extract(
        encoder.encode, source, batch_size=16, num_threads=1, edges=False
    )
    regions = plain[query.KINDS[by]].values
    asked = _by_batch(encoder, source, "park", number)
    lengths = np.linalg.norm(regions, axis=1) * np.linalg.norm(asked)
    expected = regions @ asked / lengths
    np.testing.assert_allclose(park.cosine, np.sort(expected)[::-1], atol=2e-5)
    np.testing.assert_allclose(expected[park.order], park.cosine, atol=2e-5)
    assert sorted(park.order) == list(range(40))


@pytest.mark.parametrize("name", ["gcn_set2set", "attention"])
def test_every_encoder_is_asked_as_it_would_be_by_a_batch(config, name):
    config.model.poi_encoder = dict(name=name, vectors="frozen", counts=True)
    source = open_source(config)
    encoder = inference.random_encoder(config, source)
    (found,) = query._projections(encoder, [[(CATEGORIES.index("shop"), 4)]])
    expected = _by_batch(encoder, source, "shop", 4)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (more,) = query._projections(encoder, [[(CATEGORIES.index("shop"), 5)]])
    assert np.abs(more - found).max() > 1e-4  # counts are seen


def test_a_region_that_holds_just_what_is_asked_for_comes_first(config, tmp_path):
    """By POIs: equal sets have equal projections, so their cosine is 1."""
    config.checkpoint = config.checkpoint or config.workdir
    config.workdir = str(tmp_path)  # features of the records as they were lie elsewhere
    source = open_source(config)
    number = query.typical_number_of_pois(source)
    cafe = CATEGORIES.index("cafe")
    sets = [record["poi/category"] for record in query._records(source)]
    chosen = next(row for row, of in enumerate(sets) if len(of) == number)
    source._cache[chosen] = source[chosen] | {
        "poi/category": np.full(number, cafe, np.int32),
    }
    (found,) = query.rank(config, source, ["cafe"], by="poi")
    assert found.order[0] == chosen
    assert found.cosine[0] == pytest.approx(1, abs=1e-5) and found.cosine[1] < 1


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_file_holds_every_region_for_each_text(config, tmp_path, capsys, ending):
    out = tmp_path / "new" / f"found.{ending}"
    rankings = query.query(config, ["park", " school "], top=2, out=str(out))
    table = gpd.read_parquet(out) if ending == "parquet" else pd.read_csv(out)
    assert list(table.columns[:6]) == list(query.COLUMNS)
    assert len(table) == 80 and table["text"].unique().tolist() == ["park", "school"]
    assert table["rank"][:40].tolist() == list(range(1, 41))
    np.testing.assert_allclose(table["cosine"][:40], rankings[0].cosine)
    first = table.iloc[0]
    source = open_source(config)
    record = source[int(rankings[0].order[0])]
    assert first["region_id"] == record["region_id"]
    assert first["num_pois"] == len(record["poi/category"])
    if ending == "parquet":
        assert table.crs == "EPSG:32651" and first.geometry.wkb == record["geometry"]
    else:  # UTM zone 51 around its central meridian, 123 E, 3400 km north
        assert 120 < first["lon_deg"] < 123 and 30 < first["lat_deg"] < 31.5
    printed = capsys.readouterr().out
    number = query.typical_number_of_pois(source)
    assert f"park  (asked for: park x {number})" in printed
    lines = [line for line in printed.splitlines() if line[:4].strip().isdigit()]
    assert [int(line.split()[0]) for line in lines] == [1, 2, 1, 2]
    assert first["region_id"] == lines[0].split()[1]


def test_texts_that_a_spreadsheet_would_run_do_not(records_dir, tmp_path, caplog):
    source = RecordSource(records_dir)
    ids = [source[index]["region_id"] for index in range(2)]
    columns = {"region_id": ["=1+1", ids[1]], "rank": [1, -2], "text": ["-a", "+b(1)"]}
    geometry = [source[index]["geometry"] for index in range(2)]
    for name in ("told.csv", "told.parquet"):
        rows.write(tmp_path / name, columns, geometry, source.manifest.crs)
    told = pd.read_csv(tmp_path / "told.csv", keep_default_na=False)
    assert told["region_id"].tolist() == ["'=1+1", ids[1]]
    assert told["text"].tolist() == ["-a", "'+b(1)"]
    assert told["rank"].tolist() == [1, -2]
    assert "2 texts begin like a spreadsheet formula" in caplog.text
    as_they_are = gpd.read_parquet(tmp_path / "told.parquet")
    assert as_they_are["region_id"].tolist() == columns["region_id"]


def test_main_categories_are_the_commonest():
    names = ("bank", "cafe", "park", "zoo")
    told = query.main_categories(np.array([1, 1, 3, 2, 2, 1, 0]), names, 2)
    assert told == "cafe 3, park 2"
    assert query.main_categories(np.array([], int), names) == ""


def test_what_cannot_be_asked_is_said_in_a_sentence(config, tmp_path):
    for said, given, expected in (
        ([], {}, r"--text is missing or empty"),
        (["  "], {}, r"--text is missing or empty"),
        (["a"], dict(top=0), r"--top=0; allowed: 1 or more"),
        (["a"], dict(nearest=0), r"--nearest=0; allowed"),
        (["a"], dict(out="x.gpkg"), r"'x.gpkg'; allowed: .* .parquet or .csv"),
    ):
        with pytest.raises(InputError, match=expected):
            query.query(config, said, **(dict(top=1) | given))


def test_records_without_texts_and_other_tables_are_refused(config, tmp_path):
    folder = tmp_path / "records"
    shutil.copytree(config.records.dir, folder)
    config.records.dir = str(folder)
    source = RecordSource(folder)
    (folder / texts.FILE).write_bytes(_space(components=np.eye(8, 5)).to_bytes())
    with pytest.raises(InputError, match=r"made for 5 categories of 8 numbers, but"):
        query.rank(config, source, ["park"])
    (folder / texts.FILE).write_bytes(b"PK, but no archive")
    with pytest.raises(InputError, match=r"category_text.npz: cannot be read"):
        query.rank(config, source, ["park"])
    (folder / texts.FILE).unlink()
    with pytest.raises(
        InputError, match=r"no such file, so .* --config.category_vectors.method=text`"
    ):
        query.rank(config, source, ["park"])
