"""Services of tiles, against one reprojection of all their tiles by rasterio."""

import dataclasses
import io
import json
import math

import http_folder
import numpy as np
import pytest
import rasterio
import stac_world
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject, transform_bounds
from test_fetch_imagery import mosaic

from data_prep.fetch import command, grid, presets, tiles
from mmgr_jax.errors import InputError

HALF_M = math.pi * 6378137
ZOOM, SIDE_PX = 16, 256
BOX_M = (
    stac_world.WEST, stac_world.NORTH - 900, stac_world.WEST + 1100, stac_world.NORTH,
)  # fmt: skip


def tile_range(box_m, zoom):
    west, south, east, north = transform_bounds(
        stac_world.CRS, "EPSG:3857", *box_m, densify_pts=21
    )
    side_m = 2 * HALF_M / 2**zoom
    return (
        math.floor((west + HALF_M) / side_m) - 1,
        math.floor((HALF_M - north) / side_m) - 1,
        math.floor((east + HALF_M) / side_m) + 1,
        math.floor((HALF_M - south) / side_m) + 1,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Tiles z/x/y of one level, the picture they were cut from, and one that lacks."""
    root = tmp_path_factory.mktemp("tiles")
    left, top, right, bottom = tile_range(BOX_M, ZOOM)
    size = (right - left + 1) * SIDE_PX, (bottom - top + 1) * SIDE_PX
    picture = np.concatenate(
        [stac_world.image(5, size), np.full((1, *size[::-1]), 255, np.uint8)]
    )
    lacking = (left + 2, top + 2)
    for column in range(left, right + 1):
        for row in range(top, bottom + 1):
            x, y = (column - left) * SIDE_PX, (row - top) * SIDE_PX
            part = picture[:, y : y + SIDE_PX, x : x + SIDE_PX]
            if (column, row) == lacking:
                part[:] = 0
                continue
            path = root / f"{ZOOM}/{column}/{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.moveaxis(part, 0, -1)).save(path)
    pixel_m = 2 * HALF_M / 2**ZOOM / SIDE_PX
    corner = left * SIDE_PX * pixel_m - HALF_M, HALF_M - top * SIDE_PX * pixel_m
    return root, picture, from_origin(*corner, pixel_m, pixel_m)


@pytest.fixture
def served(world, monkeypatch):
    monkeypatch.setattr(grid, "WINDOW_PX", 256)
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    with http_folder.serving(world[0]) as server:
        yield server


def request(served, tmp_path, **changed):
    west, south, east, north = transform_bounds(stac_world.CRS, "EPSG:4326", *BOX_M)
    fields = dict(
        out=str(tmp_path / "raw"),
        bbox=f"{west:.6f},{south:.6f},{east:.6f},{north:.6f}",
        tiles=f"{served.address}/{{z}}/{{x}}/{{y}}.png",
        crs=stac_world.CRS,
        gsd_m=2.0,
        cache=str(tmp_path / "cache"),
        max_zoom=ZOOM,
    )
    return command.Request(**fields | changed)


@pytest.mark.parametrize("gsd_m", [1.0, 2.0])  # coarser tiles, and finer ones
def test_tiles_make_the_mosaic_that_one_reprojection_makes(
    served, world, tmp_path, gsd_m
):
    _, picture, transform = world
    folder = command.fetch(request(served, tmp_path, gsd_m=gsd_m))
    pixels, valid, place = mosaic(folder / "imagery")
    expected = np.zeros((4, *valid.shape), np.uint8)
    reproject(
        picture, expected, src_transform=transform, src_crs="EPSG:3857",
        dst_transform=place, dst_crs=stac_world.CRS, src_alpha=4, dst_alpha=4,
        resampling=Resampling.bilinear if gsd_m == 1 else Resampling.average,
    )  # fmt: skip
    inside = valid[20:-20, 20:-20]
    assert 0.02 < 1 - inside.mean() < 0.3  # the tile that lacks
    both = valid & (expected[3] > 0)
    assert both.sum() > 0.995 * valid.sum()
    difference = np.abs(pixels.astype(int) - expected[:3])[:, both]
    assert np.median(difference) == 0 and (difference > 3).mean() < 0.002


def test_a_repeat_asks_for_nothing_and_a_key_is_not_written(served, tmp_path):
    served.admits = lambda path, query, headers: query == "apikey=geheim"
    address = f"{served.address}/{{z}}/{{x}}/{{y}}.png?apikey=geheim"
    folder = command.fetch(request(served, tmp_path, tiles=address))
    served.gets.clear()
    command.fetch(request(served, tmp_path, tiles=address))
    assert not served.gets
    for path in [*folder.rglob("*.json"), *(tmp_path / "cache").rglob("about.json")]:
        assert "geheim" not in path.read_text(), path
    with pytest.raises(InputError, match="were fetched with another max_zoom"):
        command.fetch(request(served, tmp_path, tiles=address, max_zoom=ZOOM - 1))


def test_rows_may_count_from_the_south_and_names_be_those_of_wmts(
    served, world, tmp_path
):
    _, picture, _ = world
    folder = command.fetch(request(served, tmp_path, gsd_m=3.0))
    other = []
    served.admits = lambda path, query, headers: other.append(path) or True
    wmts = f"{served.address}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"
    again = command.fetch(
        request(served, tmp_path, tiles=wmts, gsd_m=3.0, out=f"{tmp_path}/b")
    )
    for path in (folder / "imagery").glob("*.tif"):
        assert path.read_bytes() == (again / "imagery" / path.name).read_bytes()
    scene = tiles.scene_of("https://example.org/{z}/{x}/{-y}.png", 3)
    assert scene.addresses == ("https://example.org/{z}/{x}/{-y}.png",)


def png(side, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("page", "changed", "message"),
    [
        (None, dict(max_zoom=15), "has no tile of level 15 in the middle of the area"),
        (b"<html>key wanted</html>", {}, "sends something that is not PNG, JPEG, WEBP"),
        (png(300), {}, "its tiles have 300 pixels a side"),
        (png(2048), {}, "which are no tiles"),
        (None, dict(tiles="https://{s}.example.org/{z}/{x}/{y}"), r"has \{s\}; allow"),
        (None, dict(tiles="https://example.org/{z}/{x}.png"), r"with \{z\}, \{x\} and"),
        (None, dict(bands=[4, 1, 2]), "tiles have only red, green and blue"),
        (None, dict(max_zoom=30), "--max_zoom=30: allowed: 0 to 24"),
        (
            None,
            dict(cog=["https://example.org/a.tif"]),
            "--cog and --tiles: name only one",
        ),
    ],
)
def test_what_is_no_service_of_tiles_is_refused(
    served, tmp_path, page, changed, message
):
    if page is not None:
        served.pages = lambda path, query: page
    with pytest.raises(InputError, match=message):
        command.fetch(request(served, tmp_path, **changed))
    assert not list((tmp_path / "raw").rglob("*.tif"))


@pytest.mark.parametrize("faults", [[500, 503], ["cut"], [403]])
def test_a_tile_that_breaks_is_never_taken_for_one_that_lacks(served, tmp_path, faults):
    asked = request(served, tmp_path, gsd_m=3.0, max_zoom=ZOOM)
    whole = command.fetch(request(served, tmp_path, gsd_m=3.0, out=f"{tmp_path}/whole"))
    name = next(iter(served.gets))
    for path in (tmp_path / "cache").iterdir():
        for file in path.iterdir():
            file.unlink()
    served.faults[name] = faults * 4 if faults == [403] else list(faults)
    if faults == [403]:
        with pytest.raises(InputError, match="status 403"):
            command.fetch(asked)
        served.faults.clear()
    folder = command.fetch(asked)
    for path in (whole / "imagery").glob("*.tif"):
        assert path.read_bytes() == (folder / "imagery" / path.name).read_bytes()


def test_tiles_of_512_pixels_are_of_the_level_above(served, tmp_path, world):
    root, picture, _ = world
    left, top, _, _ = tile_range(BOX_M, ZOOM)
    asked = set()

    def page(path, query):
        zoom = int(path.split("/")[1])
        asked.add(zoom)
        return png(512) if path.endswith(".png") else None

    served.pages = page
    command.fetch(request(served, tmp_path, gsd_m=1.6, max_zoom=20))
    assert asked == {16, 15}  # 1.57 m on the ground at level 16 of 256 pixels
    with rasterio.open(next((tmp_path / "raw/imagery").glob("*.tif"))) as file:
        assert file.read().max() == 0 and file.dataset_mask()[100:150, 100:150].all()


def test_a_service_by_name_brings_its_licence_and_ends_at_its_level(
    served, tmp_path, monkeypatch, world
):
    here = dataclasses.replace(
        presets.PRESETS["pdok"],
        url=f"{served.address}/{{z}}/{{x}}/{{y}}.png",
        max_zoom=ZOOM,
    )
    monkeypatch.setitem(presets.PRESETS, "pdok", here)
    asked = dict(imagery="pdok", tiles=None, max_zoom=22, gsd_m=1.0)
    folder = command.fetch(
        request(served, tmp_path, allow_hosts=[served.address], **asked)
    )
    plain = command.fetch(
        request(served, tmp_path, gsd_m=1.0, out=str(tmp_path / "plain"))
    )
    for one, other in zip(mosaic(folder / "imagery"), mosaic(plain / "imagery"),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    part = json.loads((folder / "sources.json").read_text())["parts"]["imagery"]
    assert part["licence"] == "CC BY 4.0" and "PDOK" in part["source"]
    assert part["details"]["preset"] == "pdok" and part["address"] == "pdok"
