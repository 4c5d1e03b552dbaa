"""What is gathered of a city: the same as records, features and `embed` say."""

import re

import geopandas as gpd
import numpy as np
import pytest
from small_records import CATEGORIES, config_of

from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import mapping
from mmgr_jax.explore import city, command, content
from mmgr_jax.train import loop


@pytest.fixture(scope="module")
def config(records_dir, tmp_path_factory):
    """A short run on the small records."""
    config = config_of(records_dir, tmp_path_factory.mktemp("explore"))
    config.embed.features = "both"
    loop.train(config)
    return config


def test_a_page_is_written_of_what_embed_writes(config, tmp_path, monkeypatch):
    gathered = []
    gather = city.gather
    monkeypatch.setattr(
        city, "gather", lambda config: gathered.append(gather(config)) or gathered[-1]
    )
    path = command.explore(config, str(tmp_path / "new" / "city.html"))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert re.findall(r'(?:src|href)="([^"]*)"', text.split("<script")[0]) == []

    (own,) = gathered
    embedded = gpd.read_parquet(mapping.embed(config) / "embeddings.parquet")
    assert own.region_ids == embedded["region_id"].tolist()
    rows = np.stack(embedded["embedding"].to_numpy())
    np.testing.assert_allclose(own.features.values, rows, rtol=1e-6)
    task = own.tasks["population"]
    for column, values in [
        ("population", task.truth),
        ("population_predicted", task.prediction.value),
        ("population_low", task.prediction.low),
        ("population_high", task.prediction.high),
        ("population_unlike", task.prediction.unlike),
    ]:
        expected = embedded[column].to_numpy(float)
        np.testing.assert_allclose(np.asarray(values, float), expected, rtol=1e-4)

    source = RecordSource(config.records.dir)
    for region in (0, 7, 21):
        record = source[region]
        wanted = np.bincount(record["poi/category"], minlength=len(CATEGORIES))
        part = slice(own.pois.start[region], own.pois.start[region + 1])
        counted = np.zeros(len(CATEGORIES), int)
        counted[own.pois.category[part]] = own.pois.count[part]
        np.testing.assert_array_equal(counted, wanted)
        assert own.pois.total[region] == wanted.sum()
    assert [rows.shape for rows in own.projections] == [(40, 16), (40, 16)]


def test_what_cannot_be_shown_is_refused(config, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--out='map.htm'; allowed: .*\.html"):
        command.explore(config, "map.htm")
    monkeypatch.setattr(city, "MOST_REGIONS", 39)
    with pytest.raises(InputError, match="40 regions; allowed on a page: 39"):
        city.gather(config)
    monkeypatch.setattr("mmgr_jax.explore.document.LIBRARY", "no_such_library")
    with pytest.raises(InputError, match="requirements-explore.txt"):
        command.explore(config, str(tmp_path / "city.html"))
    assert not list(tmp_path.iterdir())


def test_origins_are_told_of_everything(config):
    source = RecordSource(config.records.dir)
    known = city.ExploredCity.__dict__["origins"]
    origins = known(type("Known", (), {"manifest": source.manifest}))
    assert [one["what"] for one in origins] == [
        "imagery", "POIs", "function", "population"
    ]  # fmt: skip
    assert origins[3]["year"] == "2020" and origins[0]["source"] == ""


def test_tiles_lie_around_their_regions():
    bounds = np.array([[0.0, 0.0, 64.0, 64.0], [10.0, 0.0, 60.0, 100.0]])
    boxes = content._tile_boxes(bounds, gsd_m=2.0, size_px=32)
    np.testing.assert_allclose(boxes[0], bounds[0])
    np.testing.assert_allclose(boxes[1], [-29, -14, 99, 114])  # two tiles a side
