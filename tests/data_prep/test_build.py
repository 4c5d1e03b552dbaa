import dataclasses
import json
import logging
import os
import re
import shutil
from pathlib import Path

import forks
import geopandas as gpd
import numpy as np
import pytest
import small_city

from data_prep import build
from data_prep.category_embedding import command, plain
from data_prep.toy_city import generator
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError


@pytest.fixture
def config(tmp_path):
    return small_city.write(tmp_path)


def _raw(config):
    return Path(config.pois.path).parent


def test_a_dry_run_reports_and_writes_nothing(config, capsys):
    build.build(config, dry_run=True)
    out = capsys.readouterr().out
    assert "9 regions of 16 px = 32 m in 4 blocks of 64 m" in out
    assert "3 partly covered" in out
    assert "8 in regions; left out: 1 outside every region" in out
    assert "regions without POI: 44.4%; most in one region: 3" in out
    assert "people (count, persons): 100.0% of the regions known" in out
    assert "covers 83.3% of their area" in out
    assert "MiB in 3 shards" in out
    # Regions with 0, 1, and 2 or 3 POIs.
    assert [line.split()[:2] for line in out.splitlines() if line.endswith("#")] == [
        ["0", "4"],
        ["1", "3"],
        ["2-3", "2"],
    ]
    assert [path.name for path in _raw(config).parent.iterdir()] == ["raw"]


def test_the_estimate_is_near_the_truth(config, capsys):
    build.build(config, dry_run=True)
    said = capsys.readouterr().out
    folder = build.build(config)
    paths = schema.Manifest.load(folder).shard_paths(folder)
    written_mib = sum(path.stat().st_size for path in paths) / 2**20
    said_mib = float(re.search(r"about ([\d.]+) MiB", said)[1])
    assert said_mib == pytest.approx(written_mib, rel=0.15)


def _count_builds(monkeypatch):
    calls = []
    real = build.build

    def counted(config, **options):
        calls.append(config)
        return real(config, **options)

    monkeypatch.setattr(build, "build", counted)
    return calls


def test_ensure_builds_once(config, monkeypatch):
    calls = _count_builds(monkeypatch)
    first = build.ensure(config)
    config.train.total = "7 epochs"  # no business of the records
    assert build.ensure(config) == first
    assert len(calls) == 1


def test_ensure_builds_again_for_other_settings(config, monkeypatch, caplog):
    build.ensure(config)
    calls = _count_builds(monkeypatch)
    config.regions.min_coverage = 0.5
    with caplog.at_level(logging.INFO):
        folder = build.ensure(config)
    assert len(calls) == 1
    assert "made with other settings (regions.min_coverage)" in caplog.text
    assert schema.Manifest.load(folder).num_regions == 12


def test_what_a_run_would_have_is_seen_before_it(config, capsys):
    planned = build.foreseen(config)
    assert not Path(str(config.records.dir)).exists()
    build.ensure(config)
    there = build.foreseen(config)
    assert there == schema.Manifest.load(config.records.dir)
    assert planned.num_regions == there.num_regions and planned.labels == there.labels
    capsys.readouterr()
    config.regions.poi_buffer_m = 20.0
    assert build.foreseen(config).max_pois > there.max_pois
    shown = capsys.readouterr().out
    assert "made with other settings (regions.poi_buffer_m" in shown
    assert schema.Manifest.load(config.records.dir) == there


def test_ensure_builds_again_for_changed_sources(config, monkeypatch, caplog):
    build.ensure(config)
    calls = _count_builds(monkeypatch)
    small_city.poi_table().iloc[:3].to_parquet(config.pois.path)
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert len(calls) == 1 and "made from other sources" in caplog.text


def test_a_copied_source_is_the_same_source(config, monkeypatch):
    build.ensure(config)
    calls = _count_builds(monkeypatch)
    os.utime(config.pois.path, (1, 1))
    build.ensure(config)
    assert calls == []


def test_a_new_file_under_a_pattern_is_a_changed_source(config, monkeypatch):
    config.imagery.paths = (str(_raw(config) / "imagery*.tif"),)
    build.ensure(config)
    calls = _count_builds(monkeypatch)
    small_city.write_raster(_raw(config) / "imagery2.tif", small_city.pixels())
    build.ensure(config)
    assert len(calls) == 1


def test_missing_shards_are_built_again(config, monkeypatch):
    folder = build.ensure(config)
    calls = _count_builds(monkeypatch)
    schema.Manifest.load(folder).shard_paths(folder)[1].unlink()
    build.ensure(config)
    assert len(calls) == 1


def test_records_outlive_their_sources(config, monkeypatch):
    folder = build.ensure(config)
    for path in _raw(config).iterdir():
        path.unlink()
    assert build.ensure(config) == folder
    config.regions.min_coverage = 0.5
    with pytest.raises(InputError, match="no such file"):
        build.ensure(config)
    assert schema.Manifest.load(folder).num_regions == 9


def _table(folder):
    return np.load(folder / schema.CATEGORY_VECTORS_FILE)


def _shards(folder):
    paths = schema.Manifest.load(folder).shard_paths(folder)
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_other_vector_settings_make_the_table_alone_again(config, monkeypatch, caplog):
    folder = build.ensure(config)
    calls, shards = _count_builds(monkeypatch), _shards(folder)
    config.category_vectors.update(method="onehot", dim=5)
    with caplog.at_level(logging.INFO):
        assert build.ensure(config) == folder
    np.testing.assert_array_equal(_table(folder), np.eye(3, 5))
    assert "(category_vectors.dim, category_vectors.method); making" in caplog.text
    assert calls == [] and _shards(folder) == shards
    inode = (folder / schema.CATEGORY_VECTORS_FILE).stat().st_ino
    build.ensure(config)
    assert (folder / schema.CATEGORY_VECTORS_FILE).stat().st_ino == inode
    config.category_vectors.method = "skipgram"
    config.category_vectors.walks.length = 5
    build.ensure(config)
    made = schema.Manifest.load(folder).config["category_vectors"]
    assert made["walks"]["length"] == 5 and _table(folder).shape == (3, 5)
    assert calls == [] and _shards(folder) == shards


def test_settings_of_other_methods_decide_nothing(config, monkeypatch, caplog):
    build.ensure(config)
    calls = _count_builds(monkeypatch)
    config.category_vectors.seed = 3  # random vectors hang on names alone
    config.category_vectors.walks.length = 4
    config.category_vectors.out = "elsewhere.npy"
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert calls == [] and caplog.text == ""


def test_settings_that_went_decide_nothing(config, monkeypatch, caplog):
    config.category_vectors.method = "skipgram"
    folder = build.ensure(config)
    manifest = schema.Manifest.load(folder)
    settings = json.loads(json.dumps(manifest.config))
    settings["category_vectors"]["walks"]["per_poi"] = 5
    settings["category_vectors"]["skipgram"] = dict(num_steps=400)
    dataclasses.replace(manifest, config=settings).save(folder)
    calls, before = _count_builds(monkeypatch), _table(folder)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert calls == [] and caplog.text == ""
    np.testing.assert_array_equal(_table(folder), before)


def test_names_of_categories_that_went_decide_nothing(config, monkeypatch, caplog):
    folder = build.ensure(config)
    manifest = schema.Manifest.load(folder)
    settings = json.loads(json.dumps(manifest.config))
    settings["pois"]["categories"] |= dict(names=[], parents=[])
    dataclasses.replace(manifest, config=settings).save(folder)
    calls = _count_builds(monkeypatch)
    with caplog.at_level(logging.INFO):
        build.ensure(config)
    assert calls == [] and caplog.text == ""


def test_vectors_the_command_made_are_kept_for_its_settings(config, caplog):
    folder = build.ensure(config)
    own = config.copy_and_resolve_references()
    own.category_vectors.method = "onehot"
    command.write(own)
    with caplog.at_level(logging.INFO):
        build.ensure(own)
    assert "again" not in caplog.text
    np.testing.assert_array_equal(_table(folder), np.eye(3, 64))
    with caplog.at_level(logging.INFO):
        build.ensure(config)  # asks for random ones: not silently
    assert "other settings (category_vectors.method); making them again" in caplog.text
    np.testing.assert_array_equal(
        _table(folder), plain.random(("cafe", "park", "school"), 64)
    )


def test_vectors_half_replaced_are_made_again(config, monkeypatch):
    folder = build.ensure(config)
    own = config.copy_and_resolve_references()
    own.category_vectors.method = "onehot"

    def stop(made, path):
        np.save(path, made.vectors)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            command.write(own)
    calls = _count_builds(monkeypatch)
    build.ensure(config)
    assert calls == []
    np.testing.assert_array_equal(
        _table(folder), plain.random(("cafe", "park", "school"), 64)
    )


def test_a_changed_table_of_vectors_is_read_again_and_a_lost_one_missed_by_none(
    config, tmp_path, monkeypatch
):
    path = tmp_path / "own.csv"
    path.write_text("category,u\ncafe,1\npark,2\nschool,3\n")
    config.category_vectors.method = "table"
    config.category_vectors.table.path = str(path)
    folder = build.ensure(config)
    np.testing.assert_array_equal(_table(folder), [[1], [2], [3]])
    calls = _count_builds(monkeypatch)
    path.write_text("category,u\ncafe,1\npark,2\nschool,4\n")
    build.ensure(config)
    np.testing.assert_array_equal(_table(folder), [[1], [2], [4]])
    path.unlink()
    build.ensure(config)
    assert calls == []


def test_without_its_pois_a_city_is_built_again_for_other_vectors(config):
    build.ensure(config)
    Path(config.pois.path).unlink()
    Path(config.imagery.paths[0]).unlink()
    config.category_vectors.method = "onehot"
    with pytest.raises(InputError, match=r"(?s)2 problem.*imagery.*pois.path"):
        build.ensure(config)


def test_unfit_vector_settings_are_named_with_all_else(config):
    config.category_vectors.method = "table"
    config.imagery.bands = (1, 2)
    with pytest.raises(InputError) as error:
        build.build(config, dry_run=True)
    for text in (
        "2 problem(s)",
        "config.category_vectors.table.path None: no such file. Wanted: CSV",
        "config.imagery.bands",
    ):
        assert text in str(error.value)


def _generator(monkeypatch):
    """Puts the hand-made city in the place of the generated one."""
    calls = []

    def generate(settings):
        calls.append(settings.seed)
        folder = Path(settings.out_dir)
        small_city.write(folder / "made")
        for path in (folder / "made" / "raw").iterdir():
            path.replace(folder / path.name)
        shutil.rmtree(folder / "made")

    monkeypatch.setattr(generator, "VERSION", 1)
    monkeypatch.setattr(generator, "generate", generate)
    return calls


@pytest.fixture
def generated(tmp_path):
    """A config whose raw files are yet to be generated."""
    raw = tmp_path / "city" / "raw"
    config = small_city.describe(str(raw))
    config.toy_city = dict(out_dir=str(raw), seed=3)
    return config


def test_a_generated_city_is_generated_once(generated, monkeypatch):
    calls = _generator(monkeypatch)
    folder = build.build(generated)
    assert schema.Manifest.load(folder).num_regions == 9
    build.build(generated)
    assert calls == [3]
    generated.toy_city.seed = 4
    build.ensure(generated)
    assert calls == [3, 4]
    note = json.loads((_raw(generated) / "generated.json").read_text())
    assert note["settings"]["seed"] == 4


def test_a_newer_generator_makes_city_and_records_again(generated, monkeypatch):
    calls = _generator(monkeypatch)
    build.ensure(generated)
    build.ensure(generated)
    assert calls == [3]
    monkeypatch.setattr(generator, "VERSION", 2)
    builds = _count_builds(monkeypatch)
    build.ensure(generated)
    assert calls == [3, 3]
    assert len(builds) == 1


def test_a_city_half_generated_is_generated_again(generated, monkeypatch):
    calls = _generator(monkeypatch)
    build.build(generated)
    whole = generator.generate

    def stop(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "generate", stop)
    generated.toy_city.seed = 4
    with pytest.raises(KeyboardInterrupt):
        build.build(generated)
    monkeypatch.setattr(generator, "generate", whole)
    generated.toy_city.seed = 3
    build.build(generated)
    assert calls == [3, 3]


def test_a_dry_run_generates_elsewhere(generated, monkeypatch, tmp_path, capsys):
    calls = _generator(monkeypatch)
    build.build(generated, dry_run=True)
    assert calls == [3]
    assert "9 regions" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


CONFIG = """
import sys
sys.path.insert(0, {folder!r})
import small_city
def get_config():
    return small_city.describe({raw!r})
"""


def _command(tmp_path, config, *arguments):
    path = tmp_path / "small.py"
    here = str(Path(__file__).parent)
    path.write_text(CONFIG.format(folder=here, raw=str(_raw(config))))
    return forks.run("-m", "data_prep.build", f"--config={path}", *arguments)


def test_the_command_builds_and_says_so(config, tmp_path):
    result = _command(tmp_path, config)
    assert result.returncode == 0, result.stderr
    assert "9 kept" in result.stdout and "9 records in" in result.stdout
    assert len(gpd.read_file(config.labels.zones.path)) == 2
    assert schema.Manifest.load(config.records.dir).num_regions == 9


def test_the_command_fails_with_one_message(config, tmp_path):
    (_raw(config) / "imagery.tif").unlink()
    result = _command(tmp_path, config, "--dry_run", "--quiet")
    assert result.returncode == 2
    assert result.stderr.startswith("error: small_city: 1 problem(s)")
    assert "Traceback" not in result.stderr and result.stdout == ""
