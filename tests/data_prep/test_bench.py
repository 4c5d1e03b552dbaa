import json
import subprocess
import sys
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.windows import Window

from benchmarks.data_prep import (
    category_vectors,
    command,
    synthetic,
    tile_worker,
    tiles,
)
from data_prep.category_embedding import walks
from data_prep.category_embedding.settings import WalkSettings
from data_prep.pois import table as pois
from data_prep.pois.settings import PoiSettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

ROOT = Path(command.__file__).parents[2]


def test_the_synthetic_city_has_a_tail_and_quarters(tmp_path):
    for name in ("a.csv", "b.csv"):
        synthetic.write(tmp_path / name, 20_000)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    config = synthetic.get_config()
    config.pois.path = str(tmp_path / "a.csv")
    settings = read(PoiSettings, config.pois, "pois")
    table = pois.read(settings, city_crs=config.city.crs)
    assert len(table) == 20_000 and not any(table.dropped.values())
    assert len(table.categories) == synthetic.NUM_CATEGORIES
    assert 20 <= len(set(table.parents)) <= synthetic.NUM_PARENTS
    counts = np.sort(np.bincount(table.category))[::-1]
    assert counts[:30].sum() > 0.5 * counts.sum() and np.median(counts) < 40
    # Neighbours share their first level far more often than chance has it.
    parent = pd.factorize(np.array(table.parents))[0][table.category]
    source, neighbour = walks.network(table.x_m, table.y_m, WalkSettings()).nonzero()
    alike = np.mean(parent[source] == parent[neighbour])
    chance = np.sum((np.bincount(parent) / len(parent)) ** 2)
    assert alike > 2 * chance


def test_the_command_measures_and_says_so(tmp_path):
    path = tmp_path / "bench.json"
    words = ["category_vectors", "--num_pois=400", f"--json={path}"]
    told = forks.run("-m", "benchmarks.data_prep", *words)
    assert told.returncode == 0, told.stderr
    assert "vectors of 400 POIs in 297 categories (synthetic_city, skip" in told.stdout
    assert "s is within 180 s" in told.stdout and "MiB is within 4,096" in told.stdout
    (result,) = json.loads(path.read_text())["rows"]
    seconds = dict(result["seconds"])
    whole_s = seconds.pop("whole process")
    assert sum(seconds.values()) == pytest.approx(whole_s)
    assert min(seconds.values()) >= 0 and 0.5 < whole_s < 180
    assert {"POIs", "network", "walks", "training", "start and rest"} == set(seconds)
    assert 50 < result["peak_mib"] < 4096


def test_drawn_walks_meet_what_is_expected(tmp_path, monkeypatch):
    pytest.importorskip("igraph")
    from benchmarks.data_prep import drawn_walks

    monkeypatch.setattr(drawn_walks, "ROUNDS", 1)
    monkeypatch.setattr(drawn_walks, "WALKS_A_POI", 500)
    synthetic.write(tmp_path / "pois.csv", 400)
    row = drawn_walks.measure(str(tmp_path / "pois.csv"))
    assert row["median_error"] < 0.1
    assert row["ratio"] == pytest.approx(row["igraph_cpu_s"] / row["ours_cpu_s"])


def test_a_limit_passed_is_shouted():
    seconds = {"walks": 170.0, "whole process": 200.0}
    told = category_vectors.table(
        dict(
            city="x",
            method="random",
            machine="2 cores",
            pois=10,
            categories=2,
            seconds=seconds,
            peak_mib=100.0,
            limit_s=180.0,
            limit_mib=4096.0,
            synthetic=False,
            walks=None,
        )
    )
    assert "200 s is BEYOND 180 s, 100 MiB is within 4,096 MiB" in told


def test_a_city_that_fails_is_told(tmp_path, capfd):
    config = synthetic.get_config()
    config.pois.path = str(tmp_path / "none.csv")
    with pytest.raises(InputError, match="failed with status 2, see above"):
        category_vectors.bench(config, 10)
    assert "none.csv': no such file" in capfd.readouterr().err


def test_tiles_are_read_by_both_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(tile_worker, "_PART_PX", 576)
    monkeypatch.setattr(tile_worker, "_MOSAIC_PX", 5760)
    tile_worker.make(tmp_path)
    for name in ("generated.tif", "mosaic.vrt"):
        found = tile_worker.read(tmp_path / name, 21)
        assert found["ratio"] == pytest.approx(
            found["ours_per_s"] / found["peer_per_s"], rel=1e-6
        )
        assert 0.2 < found["ratio"] < 5 and found["ours_per_s"] > 1
        assert found["peak_mib"] > 50
    with rasterio.open(tmp_path / "mosaic.vrt") as mosaic:
        assert mosaic.shape == (5760, 5760)
        first, last = (
            mosaic.read(1, window=Window(offset, offset, 64, 64))
            for offset in (0, 576 * 9)
        )
    assert np.ptp(first) > 50 and np.array_equal(first, last)


def test_slow_tiles_are_shouted():
    slow = dict(ours_per_s=5.0, peer_per_s=10.0, ratio=0.5, peak_mib=3000.0)
    told = tiles.table(
        dict(num_tiles=9, images={"x": slow}, aim=0.7, limit_mib=2048.0, machine="m")
    )
    assert "0.50, BELOW 0.7" in told and "3000 MiB, BEYOND 2,048 MiB" in told


@pytest.mark.parametrize("words", [[], ["bild"]])
def test_a_section_must_be_named(words):
    told = forks.run("-m", "benchmarks.data_prep", *words)
    assert told.returncode == 2
    assert (
        "is unknown; allowed: category_vectors, pois, labels, tiles, build, "
        "alignment, as" in told.stderr
    )


def test_a_row_says_whether_it_kept_its_limit():
    row = dict(
        label="share", source="polygons", regions=9604, seconds=2.5, limit_s=20.0
    )
    told = command._line(row)
    assert told == "share polygons               2.50 s, within 20 s (regions 9,604)"
    assert "BEYOND 2 s" in command._line(row | dict(limit_s=2.0))


@pytest.mark.slow
def test_the_tiles_section_keeps_its_limit_of_memory(tmp_path):
    """Its speed is for a quiet machine to tell, not for a test."""
    path = tmp_path / "bench.json"
    words = ["tiles", "--num_tiles=200", f"--json={path}"]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.data_prep", *words], check=True, cwd=ROOT
    )
    (row,) = json.loads(path.read_text("utf-8"))["rows"]
    for found in row["images"].values():
        assert found["peak_mib"] < tiles.LIMIT_MIB
