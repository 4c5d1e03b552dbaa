"""The recipes of docs/your_own_features.md, run as they stand on synthetic files."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from small_records import TILE_SIZE_M, write_records

from mmgr_jax.data import feature_tables
from mmgr_jax.data.source import RecordSource

PAGE = Path(__file__).parents[1] / "docs" / "your_own_features.md"
ROWS, COLUMNS, PIXELS = 5, 8, 4  # pixels along a side of a tile


@pytest.fixture
def city(tmp_path, monkeypatch):
    """A folder with records where the recipes look for them."""
    folder = tmp_path / "data" / "my_city"
    (folder / "records").mkdir(parents=True)
    (folder / "raw").mkdir()
    write_records(folder / "records", rows=ROWS, columns=COLUMNS)
    monkeypatch.chdir(tmp_path)
    return folder


def _run(word):
    (recipe,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if word in code
    )
    exec(compile(recipe, str(PAGE), "exec"), {})


def _regions(city):
    source = RecordSource(city / "records")
    return source.read(range(len(source)), image=True)


def test_alphaearth_is_unpacked_before_it_is_averaged(city):
    rng = np.random.default_rng(0)
    shape = (64, ROWS * PIXELS, COLUMNS * PIXELS)
    stored = rng.integers(-127, 128, shape).astype(np.int8)
    stored[:, 0, 0] = stored[:, 7, 9] = -128
    with rasterio.open(
        city / "raw" / "alphaearth.tif", "w", driver="GTiff", dtype="int8", count=64,
        height=shape[1], width=shape[2], crs="EPSG:32651", nodata=-128,
        transform=rasterio.transform.from_origin(
            3e5, 3.4e6, TILE_SIZE_M / PIXELS, TILE_SIZE_M / PIXELS
        ),
    ) as raster:  # fmt: skip
        raster.write(stored)
    _run("alphaearth.tif")

    value = np.where(stored == -128, np.nan, stored.astype(float))
    value = np.where(value < 0, -1, 1) * (value / 127.5) ** 2
    tiles = value.reshape(64, ROWS, PIXELS, COLUMNS, PIXELS)
    expected = np.nanmean(tiles, axis=(2, 4)).reshape(64, -1).T
    ids = [record["region_id"] for record in _regions(city)]
    found = feature_tables.read("aef", str(city / "alphaearth.parquet"), ids)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_any_encoder_writes_a_table(city):
    _run("def encoder")
    records = _regions(city)
    ids = [record["region_id"] for record in records]
    found = feature_tables.read("dino", str(city / "dino.npz"), ids[::-1])
    expected = [record["image"].mean(axis=(0, 1)) for record in records[::-1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
