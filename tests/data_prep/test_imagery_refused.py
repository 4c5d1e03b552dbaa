"""Files that cannot serve, and remedies that work."""

import numpy as np
import pytest
import rasterio
import small_city
from affine import Affine
from click.testing import CliRunner
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.rio.main import main_group
from small_imagery import (
    CRS,
    NORTH,
    WEST,
    as_image,
    open_files,
    problems,
    tile_at,
)

from mmgr_jax.errors import InputError


def _run_rio(command):
    """Runs what a message proposes."""
    rio, *words = command.split()
    assert rio == "rio"
    result = CliRunner().invoke(main_group, words)
    assert result.exit_code == 0, result.output


def test_a_palette_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    small_city.write_raster(path, small_city.pixels()[:1], photometric="palette")
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {1: (9, 8, 7, 255)})
    with pytest.raises(
        InputError, match="a.tif: band 1 holds numbers of a palette.*-exp"
    ):
        open_files(path, bands=(1, 1, 1))


def test_near_infrared_is_not_taken_for_alpha(tmp_path):
    rgbn = np.random.default_rng(0).integers(1, 256, (4, 32, 32), np.uint8)
    rgbn[3, :, :16] = 0  # water is black in near infrared
    path = small_city.write_raster(tmp_path / "a.tif", rgbn)  # GDAL marks it as alpha
    with rasterio.open(path) as written:
        assert written.colorinterp[3] == ColorInterp.alpha
    (told,) = problems(path)
    assert "band 4 is marked as alpha, but 50%" in told
    with pytest.raises(InputError, match="band 4, which .* is marked as alpha"):
        open_files(path, bands=(4, 1, 2))
    _run_rio(told.split("`")[1])
    assert problems(path) == []
    with open_files(path) as imagery:
        assert tile_at(imagery, 0, 0, 32)[1].all()


def test_true_alpha_passes_the_check(tmp_path):
    rgba = np.full((4, 32, 32), 255, np.uint8)
    rgba[3, :, :16], rgba[3, :, 16] = 0, 128  # with a soft edge
    path = small_city.write_raster(tmp_path / "a.tif", rgba)
    assert problems(path) == []


def test_a_picture_without_crs_is_refused_with_a_remedy_that_works(tmp_path):
    path = tmp_path / "chip.png"
    Image.fromarray(as_image(small_city.pixels())).save(path)
    path.with_suffix(".pgw").write_text(
        "\n".join(map(str, (2, 0, 0, -2, 500001, 3449999)))
    )
    with pytest.raises(
        InputError, match="chip.png: has no CRS.*PNG keeps none"
    ) as told:
        open_files(path)
    for command in str(told.value).split("`")[1].split(" && "):
        _run_rio(command.replace("EPSG:...", CRS))
    with open_files(tmp_path / "chip.tif") as imagery:
        assert imagery.bounds_m[0] == WEST and imagery.bounds_m[3] == NORTH


def test_a_crs_without_a_place_is_refused(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = small_city.write_raster(
            tmp_path / "a.tif", small_city.pixels(), transform=Affine.identity()
        )
    with pytest.raises(InputError, match="a.tif: has a CRS but no position.*gdalwarp"):
        open_files(path)


def test_a_corrupt_block_in_the_middle_is_named(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 256, 256), np.uint8)
    path = small_city.write_raster(
        tmp_path / "a.tif", pixels, compress="deflate", tiled=True, blockxsize=64,
        blockysize=64, interleave="pixel",
    )  # fmt: skip
    with rasterio.open(path) as source:
        offset = int(source.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 400] = bytes(400)
    path.write_bytes(damaged)
    with open_files(path) as imagery:
        assert tile_at(imagery, 0, 0, 64)[1].all()  # another block is sound
        with pytest.raises(
            InputError, match="a.tif: cannot be read at columns 64 to 128"
        ):
            tile_at(imagery, 64, 128, 64)
    with (
        open_files(path, gsd_m=4.0) as imagery,
        pytest.raises(InputError, match="a.tif: cannot be read at columns 0 to 128"),
    ):
        tile_at(imagery, 0, 0, 128, 4.0)
