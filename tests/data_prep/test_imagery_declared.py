"""What files say, what the config says in their place, and which file is shown."""

import logging

import numpy as np
import pyproj
import pytest
import rasterio
import small_city
import small_regions
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from small_imagery import (
    CRS,
    GSD,
    NORTH,
    WEST,
    as_image,
    open_files,
    problems,
    tile_at,
    write_vrt,
)

from data_prep.imagery import paths
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from data_prep.regions import tiles
from data_prep.regions.cutting import cut
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read


def _flat(path, colors, side=32, **profile):
    """One colour a band."""
    pixels = np.repeat(np.uint8(colors), side * side).reshape(len(colors), side, side)
    return small_city.write_raster(path, pixels, **profile)


def _named(path, *, interpretation=None, descriptions=(), count=4):
    plain = dict(photometric="MINISBLACK", alpha="NO")
    _flat(path, (190, 110, 40, 220)[:count], **plain)
    with rasterio.open(path, "r+") as target:
        if interpretation:
            target.colorinterp = [ColorInterp[name] for name in interpretation]
        for band, text in enumerate(descriptions, 1):
            target.set_band_description(band, text)
    return path


BGR = ("blue", "green", "red")


@pytest.mark.parametrize(
    "said",
    [
        dict(interpretation=(*BGR, "undefined")),
        dict(descriptions=(*BGR, "nir")),
        dict(descriptions=("Blue (490 nm)", "sr_green", "B4 RED", "near-infrared")),
        dict(interpretation=("red", "green", "blue", "undefined"), descriptions=BGR),
    ],
    ids=["interpretation", "names", "names among words", "names before interpretation"],
)
def test_colours_in_another_order_are_told(tmp_path, said):
    path = _named(tmp_path / "a.tif", **said)
    (problem,) = problems(path)
    assert (
        "its bands are 1 blue, 2 green, 3 red. Set config.imagery.bands=(3, 2, 1)"
        in (problem)
    )
    assert not problems(path, (3, 2, 1))
    assert not problems(path, ignore=("colors",))
    with open_files(path, bands=(3, 2, 1)) as imagery:
        tile, _ = tile_at(imagery, 0, 0, 16)
    assert tile[0, 0].tolist() == [40, 110, 190]


@pytest.mark.parametrize(
    ("descriptions", "bands", "is_told"),
    [
        (("nir", "red", "green", "blue"), (1, 2, 3), True),  # as nobody chose
        (("blue", "green", "red", "nir"), (4, 3, 2), False),  # false colour, a choice
        (("nir", "red", "green"), (1, 2, 3), False),  # there is no blue to take
        (("red", "green", "blue", "nir"), (1, 2, 3), False),
        (("red", "green", "blue", "nir"), (3, 2, 1), True),
        (("rededge", "green", "blue", "red"), (1, 2, 3), True),
        (("Band 1", "Band 2", "Band 3"), (1, 2, 3), False),
        (("redlining", "greenwich", "blues"), (3, 2, 1), False),
    ],
)
def test_false_colours_are_a_choice(tmp_path, descriptions, bands, is_told):
    path = tmp_path / "a.tif"
    _named(path, descriptions=descriptions, count=len(descriptions))
    found = problems(path, bands)
    assert ["the file says its bands are" in text for text in found] == [True] * is_told


def test_a_file_whose_white_is_zero_is_read_as_a_picture(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (1, 64, 64), np.uint8)
    path = tmp_path / "a.tif"
    small_city.write_raster(path, 255 - grey, photometric="MINISWHITE")
    with open_files(path, bands=(1, 1, 1)) as imagery:
        tile, valid = tile_at(imagery, 8, 8, 32)
    np.testing.assert_array_equal(tile, as_image(np.repeat(grey[:, 8:40, 8:40], 3, 0)))
    assert valid.all()
    with open_files(path, bands=(1, 1, 1), gsd_m=2 * GSD) as imagery:
        tile, _ = tile_at(imagery, 4, 4, 8, 2 * GSD)
    blocks = grey[0, 8:24, 8:24].reshape(8, 2, 8, 2).mean((1, 3))
    assert np.abs(tile[..., 0] - blocks).max() <= 1
    deep = tmp_path / "deep.tif"
    small_city.write_raster(deep, grey.astype(np.uint16), photometric="MINISWHITE")
    assert "white as 0, in numbers of type uint16" in problems(deep)[0]


def test_a_mosaic_of_negatives_is_read_as_a_picture(tmp_path):
    """The text of a mosaic does not tell that its members are negatives."""
    grey = np.full((1, 32, 32), 215, np.uint8)
    small_city.write_raster(tmp_path / "a.tif", grey, photometric="MINISWHITE")
    write_vrt(tmp_path / "a.vrt", (32, 32), GSD, [("a.tif", 0, 0, 32, 32)])
    text = (tmp_path / "a.vrt").read_text().replace("<SourceBand>2", "<SourceBand>1")
    (tmp_path / "a.vrt").write_text(text.replace("<SourceBand>3", "<SourceBand>1"))
    with open_files(tmp_path / "a.vrt") as imagery:
        assert tile_at(imagery, 0, 0, 16)[0][0, 0].tolist() == [40, 40, 40]


def test_a_band_called_alpha_by_mistake_is_ignored_by_a_setting(tmp_path):
    """Near infrared that the file calls alpha: 40 % of it is dark."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(1, 255, (4, 64, 64), np.uint8)
    pixels[3, :, :26] = 0
    path = small_city.write_raster(
        tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES"
    )
    (problem,) = problems(path)
    assert "band 4 is marked as alpha" in problem and "ignore=('alpha',)" in problem
    assert not problems(path, ignore=("alpha",))
    for gsd_m in (GSD, 1.5 * GSD):
        with open_files(path, ignore=("alpha",), gsd_m=gsd_m) as imagery:
            tile, valid = tile_at(imagery, 0, 0, 24, gsd_m)
        assert valid.all()
    with open_files(path, bands=(4, 1, 2), ignore=("alpha",)) as imagery:
        tile, valid = tile_at(imagery, 0, 0, 64)
    np.testing.assert_array_equal(tile, as_image(pixels[[3, 0, 1]]))
    assert valid.all()
    with open_files(path) as imagery:
        assert not tile_at(imagery, 0, 0, 20)[1].any()


def test_files_that_pack_brightness_in_several_ways_are_told(tmp_path):
    pixels = small_city.pixels().astype(np.uint16)
    for name, offset in (("a", 0.0), ("b", -0.1)):
        path = small_city.write_raster(tmp_path / f"{name}.tif", pixels)
        with rasterio.open(path, "r+") as target:
            target.scales, target.offsets = (1e-4,) * 3, (offset,) * 3
    stretch = ("linear", 0, 300)
    (problem,) = problems(tmp_path / "*.tif", stretch=stretch)
    assert "several ways" in problem and "-unscale" in problem
    assert not problems(tmp_path / "a.tif", stretch=stretch)


def test_what_is_wrong_with_many_files_is_said_once(tmp_path):
    for index in range(12):
        _flat(tmp_path / f"{index:02d}.tif", (1, 2, 3), crs=None)
    (problem,) = problems(tmp_path / "*.tif")
    assert problem.startswith(f"{tmp_path / '00.tif'}: has no CRS")
    assert problem.endswith(f"So it is with 11 more, up to {tmp_path / '11.tif'}.")


# ---- tiles z/x/y ----


def _web_tiles(folder, zoom, kind):
    """Tiles of a ramp over Web Mercator that grows eastwards, near 15 E, 2 N."""
    half = 20_037_508.342789244
    side_m = 2 * half / 2**zoom
    to_web = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    x, y = to_web.transform(15.0, 2.0)
    column, row = int((x + half) / side_m), int((half - y) / side_m)
    for right in range(3):
        for down in range(3):
            ramp = np.arange(right * 64, right * 64 + 64, dtype=np.uint8)
            pixels = np.broadcast_to(ramp, (3, 64, 64)).copy()
            pixels[1] = 50 * down
            number = row + down if kind == "xyz" else 2**zoom - 1 - row - down
            path = folder / str(zoom) / str(column + right) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            profile = dict(driver="PNG", width=64, height=64, count=3, dtype="uint8")
            with rasterio.open(path, "w", **profile) as target:
                target.write(pixels)
    west, north = column * side_m - half, half - row * side_m
    return west, north, side_m


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("kind", ["xyz", "tms"])
def test_tiles_of_a_web_map_lie_where_their_path_says(tmp_path, kind):
    zoom = 17
    west, north, side_m = _web_tiles(tmp_path, zoom, kind)
    pattern = str(tmp_path / str(zoom) / "*" / "*.png")
    (problem,) = problems(pattern)
    assert "So it is with 8 more" in problem and "config.imagery.grid='xyz'" in problem
    assert not problems(pattern, grid=kind)
    crs, gsd_m = "EPSG:32633", 4.0
    to_web = pyproj.Transformer.from_crs(crs, "EPSG:3857", always_xy=True)
    files = ImagerySettings((pattern,), grid=kind)
    with Imagery(files, crs=crs, gsd_m=gsd_m) as imagery:
        left, south, right, top = imagery.bounds_m
        tile, valid = tile_at(imagery, 20, 20, 120, gsd_m)
        steps = gsd_m * (20.5 + np.arange(120))
        x, y = to_web.transform(*np.meshgrid(left + steps, top - steps))
    expected = (x - west) / side_m * 64 - 0.5
    assert valid.all()
    inner = np.abs(expected % 64 - 32) < 30  # at a seam neighbours are not mixed
    assert np.abs(tile[..., 0] - expected)[inner].max() < 1.1
    inside = np.abs((north - y) / side_m % 1 - 0.5) < 0.45
    rows = np.floor((north - y) / side_m)
    assert (tile[..., 1] == 50 * rows)[inside].all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiles_of_several_zooms_are_told(tmp_path):
    _web_tiles(tmp_path, 16, "xyz")
    _web_tiles(tmp_path, 17, "xyz")
    (problem,) = problems(tmp_path / "**" / "*.png", grid="xyz")
    assert "zooms 16, 17" in problem


# ---- which file is shown ----


def _two_dates(folder):
    for year, level in ((2018, 50), (2021, 200)):
        (folder / str(year)).mkdir()
        _flat(folder / str(year) / f"chip_{year}.tif", (level, level, level), 16)
    return folder / "*" / "*.tif"


def test_a_chip_shows_its_own_file(tmp_path):
    pattern = _two_dates(tmp_path)
    beside = from_origin(WEST + 16, NORTH, GSD, GSD)  # covers half of both
    _flat(tmp_path / "2018" / "beside.tif", (9, 9, 9), 16, transform=beside)
    section = small_regions.settings(
        kind="chips", tile_size_px=16, gsd_m=GSD, max_blank_share=1.0
    )
    with open_files(pattern) as imagery:
        regions = cut(imagery, CRS, section)
        levels = {
            name: np.unique(tiles.read(imagery, regions, index)).tolist()
            for index, name in enumerate(regions.ids)
        }
    assert levels == {"chip_2018": [50], "chip_2021": [200], "beside": [9]}
    assert regions.overlap_groups().tolist() == [0, 0, 0]


def test_a_chip_with_a_hole_is_not_filled_from_another(tmp_path):
    holed = np.full((3, 16, 16), 70, np.uint8)
    holed[:, :4] = 0
    small_city.write_raster(tmp_path / "a.tif", holed, nodata=0)
    _flat(tmp_path / "b.tif", (200, 200, 200), 16)
    section = small_regions.settings(
        kind="chips", tile_size_px=16, gsd_m=GSD, max_blank_share=1.0, min_coverage=0.5
    )
    with open_files(tmp_path / "?.tif") as imagery:
        regions = cut(imagery, CRS, section)
        assert regions.coverage.tolist() == [0.75, 1.0]
        assert sorted(np.unique(tiles.read(imagery, regions, 0))) == [0, 70]


@pytest.mark.parametrize(("overlap", "level"), [("first", 50), ("last", 200)])
def test_which_of_several_files_shows_is_said_and_counted(tmp_path, overlap, level):
    pattern = _two_dates(tmp_path)
    aside = from_origin(WEST + 32, NORTH, GSD, GSD)
    _flat(tmp_path / "2018" / "aside.tif", (9, 9, 9), 16, transform=aside)
    section = small_regions.settings(
        tile_size_px=8, gsd_m=GSD, max_blank_share=1.0, min_coverage=0.5
    )
    with open_files(pattern, overlap=overlap) as imagery:
        assert imagery.report["overlapping pairs"] == 1  # the edge of two is no ground
        regions = cut(imagery, CRS, section)
        assert tile_at(imagery, 0, 0, 8)[0].max() == level
    rule = f"where files overlap, so that the {overlap} file by path shows"
    assert len(regions) == 8 and regions.noted == {rule: 6}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (dict(overlap="newest"), "overlap='newest'; allowed: 'first' or 'last'."),
        (dict(grid="wmts"), "grid='wmts'; allowed: 'xyz' or 'tms' or None."),
        (dict(ignore=("masks",)), r"ignore=\('masks',\); allowed: 'alpha' or 'colors'"),
        (dict(ignore="alpha"), "ignore='alpha'; allowed: a tuple."),
    ],
)
def test_the_setting_itself_is_checked(setting, told):
    with pytest.raises(InputError, match="config.imagery." + told):
        read(ImagerySettings, setting, "imagery")


# ---- files and folders ----


def test_two_stars_are_any_number_of_folders(tmp_path):
    places = ["a.tif", "2020/b.tif", "2020/flight 1/c.tif", "2021/x/y/d.tif"]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found = paths.expand([f"{tmp_path}/**/*.tif"])
    assert found == sorted(tmp_path / place for place in places)
    (tmp_path / "2021" / "again").symlink_to(tmp_path / "2020")
    (tmp_path / "2021" / "loop").symlink_to(tmp_path)
    assert len(paths.expand([f"{tmp_path}/**/*.tif"])) == 4


def test_signs_in_names_that_exist_stand_for_themselves(tmp_path):
    folder = tmp_path / "ortho [2020] Köln #1 100%?*"
    folder.mkdir()
    (folder / "a[1].tif").touch()
    (folder / "a2.tif").touch()
    assert len(paths.expand([f"{folder}/*.tif"])) == 2
    assert paths.expand([f"{folder}/a[1].tif"]) == [folder / "a[1].tif"]
    assert paths.expand([f"{folder}/a[2].tif"]) == [folder / "a2.tif"]
    assert len(paths.expand([f"{tmp_path}/**/*.tif"])) == 2
    (problem,) = problems(f"{tmp_path}/ortho [2020]/*.tif")
    assert "a bracket that is meant is written [[]" in problem


def test_relative_patterns_and_ways_upwards(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "raw" / "a.tif").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert [str(path) for path in paths.expand(["../raw/*.tif"])] == ["../raw/a.tif"]
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in paths.expand(["raw/*.tif"])] == ["raw/a.tif"]
    assert [str(path) for path in paths.expand(["**/*.tif"])] == ["raw/a.tif"]


def test_an_ending_in_another_case_is_told(tmp_path, caplog):
    for name in ("a.tif", "b.TIF"):
        _flat(tmp_path / name, (1, 2, 3))
    with caplog.at_level(logging.WARNING):
        assert not problems(tmp_path / "*.tif")
    assert (
        "leaves out 1 file(s) whose ending differs in upper and lower case"
        in caplog.text
    )


def test_the_network_is_no_path(tmp_path):
    for path in ("/vsicurl/https://example.org/a.tif", "https://example.org/a.tif"):
        assert "Nothing is read from the network" in problems(path)[0]
        with pytest.raises(InputError, match="no such file"):
            open_files(path)
