"""The whole path as a user runs it, on the smoke variant of the toy city."""

import json
import os
from pathlib import Path

import forks
import processes
import pytest

ROOT = Path(__file__).parents[1]
SMOKE = f"--config={ROOT}/configs/toy_city.py:smoke"


def run(folder, *arguments):
    """Runs a command in `folder`, so that data/ and runs/ appear there."""
    environment = os.environ | {"XLA_FLAGS": processes.QUICK}
    return forks.run("-m", *arguments, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the main command has run from nothing to the maps."""
    folder = tmp_path_factory.mktemp("user")
    # Few heads: tests/test_eval.py has them all.
    result = run(
        folder, "mmgr_jax.main", SMOKE, "--config.eval.curves.methods=()",
        "--config.eval.features=('both',)", "--config.eval.baselines=('mean',)",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder, result


def test_one_command_from_nothing_to_a_table_and_maps(finished):
    folder, result = finished
    workdir = folder / "runs/toy_city_smoke"
    tasks = json.loads((workdir / "eval/report.json").read_text())["tasks"]
    assert set(tasks) == {"function", "gdp", "population"}
    for task in tasks:
        assert (workdir / f"maps/{task}.png").stat().st_size > 20_000
    assert (workdir / "maps/embeddings.parquet").exists()
    words = "regions", "left", "loss", "page to open: ", "as a table: ", "maps"
    for told in words:
        assert told in result.stdout
    assert "Traceback" not in result.stderr


def test_the_records_open_with_tfds_and_without_tensorflow(finished):
    folder, _ = finished
    script = (
        "import sys, tensorflow_datasets as tfds;"
        "b = tfds.builder_from_directory('data/toy_city_smoke/records');"
        "s = b.as_data_source()['regions'];"
        "r = s[0];"
        "print(len(s), r['image'].shape, sorted(r['label']));"
        "assert 'tensorflow' not in sys.modules"
    )
    result = forks.run("-c", script, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "64 (64, 64, 3) ['function', 'gdp', 'population']" in result.stdout


def test_repeating_the_command_neither_builds_nor_trains_again(finished):
    folder, _ = finished
    manifest = folder / "data/toy_city_smoke/records/manifest.json"
    before = manifest.stat().st_mtime_ns
    result = run(folder, "mmgr_jax.main", SMOKE, "--config.after_training=()")
    assert result.returncode == 0, result.stderr
    assert "already trained" in result.stdout
    assert manifest.stat().st_mtime_ns == before


def test_the_last_lines_are_figures_and_paths(finished):
    folder, result = finished
    last = result.stdout.splitlines()[-9:]
    assert [line.partition(":")[0] for line in last] == [
        "function", "gdp", "population", "embeddings and predictions of 64 regions",
        "run", "page to open", "all metrics as a table", "table", "maps",
    ]  # fmt: skip
    for line in last[4:]:
        assert (folder / line.partition(": ")[2]).exists(), line


def test_quiet_prints_paths_only(finished):
    folder, _ = finished
    result = run(
        folder, "mmgr_jax.eval", SMOKE, "--quiet", "--config.eval.features=('image',)",
        "--config.eval.tasks=('gdp',)", "--config.eval.curves.methods=()",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    files = [
        f"runs/toy_city_smoke/eval/{name}" for name in ("report.html", "metrics.txt")
    ]
    assert result.stdout.splitlines() == files


def test_a_city_without_its_sources_says_exactly_what_is_wanted(tmp_path):
    result = run(tmp_path, "mmgr_jax.main", f"--config={ROOT}/configs/shanghai.py")
    assert result.returncode == 2
    for wanted in (
        "data/shanghai/raw/imagery/*.tif",
        "data/shanghai/raw/pois.csv",
        "data/shanghai/raw/functional_zones.gpkg",
        "data/shanghai/raw/population.tif",
        "data/shanghai/raw/gdp.tif",
        "'category'",
        "EPSG:4326",
    ):
        assert wanted in result.stderr, wanted
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_dry_run_writes_nothing(tmp_path):
    result = run(tmp_path, "data_prep.build", SMOKE, "--dry_run")
    assert result.returncode == 0, result.stderr
    assert "dry run: nothing was written" in result.stdout
    assert not list(tmp_path.iterdir())
