"""All that is wrong with a city is told at once; see `test_bad_inputs.py` for each."""

from pathlib import Path

import pytest
import small_city

from configs import shanghai
from data_prep import build
from mmgr_jax.errors import InputError


@pytest.fixture
def config(tmp_path):
    return small_city.write(tmp_path)


def _raw(config):
    return Path(config.pois.path).parent


def _missing_raster(config):
    (_raw(config) / "imagery.tif").unlink()


def _corrupt_tiff(config):
    path = _raw(config) / "imagery.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _column_absent(config):
    config.pois.category_column = "kind"


def _label_missing(config):
    Path(config.labels.people.path).unlink()


def _zone_column(config):
    config.labels.zones.column = "ZONE"


def test_all_problems_are_told_at_once(config):
    for damage in (_missing_raster, _column_absent, _label_missing, _zone_column):
        damage(config)
    with pytest.raises(InputError) as raised:
        build.build(config)
    lines = str(raised.value).splitlines()
    assert "4 problem(s)" in lines[0]
    assert [line.split(".")[0].strip() for line in lines[1:]] == ["1", "2", "3", "4"]


def test_a_truncated_image_is_found_before_any_work(config):
    _corrupt_tiff(config)
    _label_missing(config)
    with pytest.raises(InputError, match=r"(?s)2 problem.*truncated.*people.tif"):
        build.build(config)


def test_a_city_without_files_is_told_what_to_bring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = shanghai.get_config()
    with pytest.raises(InputError) as raised:
        build.build(config, dry_run=True)
    message = str(raised.value)
    wanted = [*config.imagery.paths, config.pois.path, config.pois.category_column]
    wanted += [label.path for label in config.labels.values()]
    for text in wanted:
        assert text in message
    assert list(tmp_path.iterdir()) == []
