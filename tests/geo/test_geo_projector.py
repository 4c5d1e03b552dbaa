"""The folder for TensorBoard's projector, read as its documentation says."""

import re

import numpy as np
import pytest
from PIL import Image

from mmgr_jax.errors import InputError
from mmgr_jax.geo import projector


def shade(index):
    return np.array([index % 256, index // 256, 77], np.uint8)


def tiles(count, side=100):
    return (np.broadcast_to(shade(index), (side, side, 3)) for index in range(count))


def write(folder, count=7, pictures=True):
    vectors = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    columns = {
        "region_id": [f"r{index}" for index in range(count)],
        "population": [np.nan, *range(1, count)],
        "class\tof use": ["a\tb\nc\u202e", *["d"] * (count - 2), None],
    }
    projector.write(folder, vectors, columns, tiles(count) if pictures else None)
    return vectors


def config(folder):
    """Field -> values of the text of the protocol buffer."""
    text = (folder / "projector_config.pbtxt").read_text()
    fields = {}
    for name, value in re.findall(r'(\w+): ("[^"]*"|\d+)', text):
        fields.setdefault(name, []).append(value.strip('"'))
    return fields


def test_vectors_rows_and_tiles_belong_together(tmp_path):
    vectors = write(tmp_path / "projector")
    folder = tmp_path / "projector"
    fields = config(folder)
    assert fields["tensor_shape"] == ["7", "5"]
    read = np.loadtxt(folder / fields["tensor_path"][0], delimiter="\t")
    np.testing.assert_allclose(read, vectors, rtol=1e-5)
    lines = (folder / fields["metadata_path"][0]).read_text().splitlines()
    assert lines[0] == "region_id\tpopulation\tclass of use"  # a header: two or more
    assert lines[2] == "r1\t1\td" and lines[-1] == "r6\t6\t"
    assert len(lines) == 8 and all(line.count("\t") == 2 for line in lines)
    assert lines[1].startswith("r0\t\ta b c")
    sprite = np.asarray(Image.open(folder / fields["image_path"][0]))
    side = int(fields["single_image_dim"][0])
    assert fields["single_image_dim"] == [str(side)] * 2
    assert sprite.shape == (3 * side, 3 * side, 3)  # rows of three, the last with one
    for index in range(7):
        row, column = divmod(index, 3)
        middle = sprite[side * row + side // 2, side * column + side // 2]
        np.testing.assert_array_equal(middle, shade(index))


def test_a_city_without_tiles_has_no_sprite(tmp_path):
    write(tmp_path / "projector", count=3, pictures=False)
    assert "image_path" not in config(tmp_path / "projector")
    assert not (tmp_path / "projector/sprite.png").exists()


@pytest.mark.parametrize(("count", "side"), [(1, 64), (1600, 64), (10_000, 64)])
def test_the_sprite_is_no_larger_than_tensorboard_takes(count, side):
    assert projector.tile_px(count) == side
    assert np.ceil(np.sqrt(count)) * side <= projector.SPRITE_PX == 8192


def test_of_a_large_city_some_regions_are_shown(monkeypatch):
    assert projector.chosen(40).tolist() == list(range(40))
    monkeypatch.setattr(projector, "MOST_REGIONS", 10)
    drawn = projector.chosen(1000)
    assert len(set(drawn)) == 10 and (np.diff(drawn) > 0).all() and drawn.max() > 500


def test_an_old_folder_is_replaced_whole_and_a_foreign_one_refused(tmp_path):
    write(tmp_path / "projector")
    write(tmp_path / "projector", count=4, pictures=False)
    assert config(tmp_path / "projector")["tensor_shape"] == ["4", "5"]
    assert not (tmp_path / "projector/sprite.png").exists()
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "diary.txt").touch()
    with pytest.raises(InputError):
        write(foreign)
    assert [path.name for path in foreign.iterdir()] == ["diary.txt"]


def test_a_write_that_fails_leaves_the_old_folder(tmp_path):
    vectors = write(tmp_path / "projector")

    def broken():
        yield np.zeros((8, 8, 3), np.uint8)
        raise OSError("disk full")

    with pytest.raises((OSError, InputError), match="disk full"):
        projector.write(tmp_path / "projector", vectors[:2], {"a": "xy", "b": "xy"},
                        broken())  # fmt: skip
    assert config(tmp_path / "projector")["tensor_shape"] == ["7", "5"]
