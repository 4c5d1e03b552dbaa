"""Mean and deviation of a city's pixels: exact, and none of a build's circumstances."""

import json

import numpy as np
import pytest
import small_city

from data_prep import build
from data_prep.records import runners, shards
from mmgr_jax.data import contents, schema
from mmgr_jax.data.pixels import PixelStatistics, PixelSums
from mmgr_jax.data.source import RecordSource


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = small_city.write(tmp_path_factory.mktemp("city"))
    config.regions.min_coverage = 0.5  # pixels without data count, too
    return config


def measured(folder):
    """The oracle: all tiles as they are read, in one array."""
    source = RecordSource(folder)
    values = np.stack([source[index]["image"] for index in range(len(source))]) / 255
    return values.mean(axis=(0, 1, 2)), values.std(axis=(0, 1, 2))


@pytest.mark.parametrize(
    ("image_format", "num_shards"), [("png", 3), ("jpeg", 1), ("webp", 4)]
)
def test_a_build_measures_the_tiles_that_are_read(
    config, image_format, num_shards, tmp_path
):
    config = config.copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    config.records.image_format, config.records.num_shards = image_format, num_shards
    if image_format == "webp":
        config.records.image_quality = 30
    folder = build.build(config, run=runners.local(1))
    pixels = schema.Manifest.load(folder).pixels
    mean, deviation = measured(folder)
    np.testing.assert_allclose(pixels.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(pixels.deviation, deviation, rtol=1e-12)


def test_whoever_measures_which_tiles_the_numbers_are_the_same():
    """To the last bit; two processes of a build: test_runners compares manifests."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (12, 9, 9, 3), np.uint8)
    sums = [PixelSums.of(tile) for tile in tiles]
    for cuts in ((1,), (5, 6), (3, 7, 11)):
        ends = zip((0, *cuts), (*cuts, 12), strict=True)
        parts = [PixelSums.over(sums[first:last]) for first, last in ends]
        found = PixelSums.over(reversed(parts)).statistics()
        assert found == PixelStatistics.of(tiles) == PixelStatistics.of(tiles[::-1])
    white = PixelStatistics.of(np.full((2, 4, 4, 3), 255, np.uint8))
    assert white == PixelStatistics((1.0,) * 3, (0.0,) * 3)


def test_records_of_before_are_not_built_again(config, tmp_path, monkeypatch):
    config = config.copy_and_resolve_references()
    config.records.dir = str(tmp_path / "records")
    path = build.ensure(config) / schema.MANIFEST_FILE
    fields, identity = json.loads(path.read_text()), RecordSource(path.parent).identity
    del fields["pixels"]  # as they were written then
    del fields["content"]["fields"]["pixels"], fields["content"]["sha256"]
    fields["content"]["sha256"] = contents.of_value(fields["content"])
    path.write_text(json.dumps(fields, indent=2) + "\n")
    before = path.read_bytes()

    def write(*_):
        raise AssertionError("a shard is written")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write", write)
        build.ensure(config)
    source = RecordSource(path.parent)
    assert path.read_bytes() == before and source.manifest.pixels is None
    assert source.identity == identity  # so checkpoints of them go on
    # Other vectors write the manifest anew, and leave the tiles alone.
    config.category_vectors.seed = 5
    build.ensure(config)
    assert schema.Manifest.load(path.parent).pixels is None
    build.build(config, run=runners.local(1))
    assert schema.Manifest.load(path.parent).pixels is not None
