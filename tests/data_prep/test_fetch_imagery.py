"""Mosaics of a STAC catalogue on this machine, against rasterio's own reprojection."""

import json
import logging
import shutil

import http_folder
import numpy as np
import pytest
import rasterio
import shapely
import stac_world
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from rasterio.warp import reproject, transform_bounds

from data_prep.fetch import command, grid
from data_prep.imagery.mosaic import Imagery
from data_prep.imagery.settings import ImagerySettings
from mmgr_jax.data import server as server_lib
from mmgr_jax.errors import InputError

BOX_M = (
    stac_world.WEST + 250, stac_world.NORTH - 700, stac_world.WEST + 850,
    stac_world.NORTH - 60,
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    stac_world.write(root)
    return root


@pytest.fixture
def served(world, monkeypatch):
    monkeypatch.setattr(grid, "WINDOW_PX", 256)
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    with http_folder.serving(world) as server:
        server.etags = True
        yield server


def request(served, tmp_path, **changed):
    west, south, east, north = transform_bounds(stac_world.CRS, "EPSG:4326", *BOX_M)
    fields = dict(
        out=str(tmp_path / "raw"),
        bbox=f"{west:.6f},{south:.6f},{east:.6f},{north:.6f}",
        imagery=f"{served.address}/catalog.json",
        crs=stac_world.CRS,
        cache=str(tmp_path / "cache"),
    )
    return command.Request(**fields | changed)


def mosaic(folder, bands=3):
    """The windows side by side: pixels [3 h w], which are there, and the transform."""
    sources = [rasterio.open(path) for path in sorted(folder.glob("*.tif"))]
    west = min(source.bounds.left for source in sources)
    north = max(source.bounds.top for source in sources)
    east = max(source.bounds.right for source in sources)
    south = min(source.bounds.bottom for source in sources)
    gsd_m = sources[0].res[0]
    shape = round((north - south) / gsd_m), round((east - west) / gsd_m)
    pixels, valid = (
        np.zeros((bands, *shape), sources[0].dtypes[0]),
        np.zeros(shape, bool),
    )
    for source in sources:
        row = round((north - source.bounds.top) / gsd_m)
        column = round((source.bounds.left - west) / gsd_m)
        into = slice(row, row + source.height), slice(column, column + source.width)
        pixels[:, *into], valid[into] = source.read(), source.dataset_mask() > 0
        source.close()
    return pixels, valid, rasterio.transform.from_origin(west, north, gsd_m, gsd_m)


def oracle(world, names, shape, transform, resampling):
    """rasterio.warp.reproject of the files by themselves, the first on top."""
    pixels, filled = np.zeros((3, *shape), np.uint8), np.zeros(shape, bool)
    for name in names:
        with rasterio.open(world / f"files/{name}.tif", OVERVIEW_LEVEL="NONE") as file:
            alpha = file.dataset_mask()
            part = np.zeros((4, *shape), np.uint8)
            reproject(
                np.concatenate([file.read(), alpha[None]]),
                part,
                src_transform=file.transform,
                src_crs=file.crs,
                dst_transform=transform,
                dst_crs=stac_world.CRS,
                src_alpha=4,
                dst_alpha=4,
                resampling=resampling[name],
            )
        new = (part[3] > 0) & ~filled
        pixels[:, new] = part[:3, new]
        filled |= new
    return pixels, filled


HOW = {"old": Resampling.nearest, "new": Resampling.nearest}
HOW["other"] = Resampling.average


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("newest", ("new", "old", "other")),
        pytest.param(  # the same work in another order, 3 s
            "clearest", ("old", "other", "new"), marks=pytest.mark.slow
        ),
    ],
)
def test_the_mosaic_is_what_rasterio_makes_of_the_files(
    served, world, tmp_path, order, names
):
    folder = command.fetch(request(served, tmp_path, order=order))
    pixels, valid, transform = mosaic(folder / "imagery")
    wanted, there = oracle(world, names, valid.shape, transform, HOW)
    area = shapely.box(*map(float, request(served, tmp_path).bbox.split(",")))
    outline = command.area_lib.FetchArea(area, "").in_crs(stac_world.CRS)
    there &= geometry_mask([outline], valid.shape, transform, invert=True)
    assert (valid == there).mean() > 0.9999  # pixels cut by the edge of another zone
    both = valid & there
    off = np.abs(pixels.astype(int) - wanted)[:, both]
    assert (off > 1).mean() < 1e-3 and both.mean() > 0.7
    parts = json.loads((folder / "sources.json").read_text())["parts"]["imagery"]
    assert parts["licence"] == "CC-BY-4.0" and parts["source"] == "City of Nowhere"
    assert parts["year"] == 2022 and parts["crs"] == stac_world.CRS
    assert {scene["name"] for scene in parts["details"]["scenes"]} == set(names)
    assert len(parts["files"]) == len(list((folder / "imagery").glob("*.tif")))
    paths = (f"{folder}/imagery/*.tif",)  # the build takes them, pixel by pixel
    with Imagery(ImagerySettings(paths), crs=stac_world.CRS, gsd_m=1.0) as images:
        assert images.report["resampling"] == {"copied": len(parts["files"])}


@pytest.mark.slow  # three mosaics of nine windows, some 4 s of processor time
def test_a_stopped_mosaic_goes_on_and_takes_nothing_half(
    served, world, tmp_path, monkeypatch
):
    asked = request(served, tmp_path)
    write = command.imagery.Mosaic._write
    written = []

    def stops(self, path, window):
        if len(written) == 3:
            path.write_bytes(b"half a window")
            raise KeyboardInterrupt
        written.append(path.name)
        return write(self, path, window)

    monkeypatch.setattr(command.imagery.Mosaic, "_write", stops)
    with pytest.raises(KeyboardInterrupt):
        command.fetch(asked)
    kept = (tmp_path / "raw/imagery" / written[0]).stat().st_mtime_ns
    (tmp_path / "raw/imagery" / written[1]).write_bytes(b"cut by somebody")
    again = []
    monkeypatch.setattr(
        command.imagery.Mosaic,
        "_write",
        lambda self, path, window: again.append(path.name) or write(self, path, window),
    )
    folder = command.fetch(asked)
    assert (folder / "imagery" / written[0]).stat().st_mtime_ns == kept
    assert written[1] in again and written[0] not in again and len(again) > 4
    whole = command.fetch(request(served, tmp_path, out=str(tmp_path / "other")))
    for path in sorted((folder / "imagery").glob("*.tif")):
        assert path.read_bytes() == (whole / "imagery" / path.name).read_bytes()
    with pytest.raises(InputError, match="were fetched with another gsd_m"):
        command.fetch(request(served, tmp_path, gsd_m=2.0))


def test_a_catalogue_that_signs_its_addresses_is_asked_anew(
    world, tmp_path, monkeypatch
):
    monkeypatch.setattr(command, "_WAITS_S", (0.01,))
    root = tmp_path / "signing"
    shutil.copytree(world, root)
    signature = {}

    def sign(server, number):
        signature["now"] = f"sig=secret{number}"
        for name in stac_world.SCENES:
            href = f"{server.address}/files/{name}.tif?{signature['now']}"
            stac_world.change_item(
                root,
                name,
                lambda item, href=href: item["assets"]["visual"].update(href=href),
            )

    with http_folder.serving(root) as server:
        server.etags = True
        server.admits = lambda path, query, headers: (
            not path.endswith(".tif") or query == signature["now"]
        )
        sign(server, 1)
        asked = request(server, tmp_path, skip=["other"], gsd_m=2.0)
        folder = command.fetch(asked)
        (window,) = (folder / "imagery").glob("*.tif")
        first = window.read_bytes()
        window.unlink()
        shutil.rmtree(tmp_path / "cache")
        sign(server, 2)
        command.fetch(asked)
    assert window.read_bytes() == first
    for path in [*folder.rglob("*.json"), *(tmp_path / "cache").rglob("about.json")]:
        assert "secret" not in path.read_text(), path


def test_the_cache_serves_without_a_server(served, tmp_path):
    command.fetch(request(served, tmp_path, gsd_m=4.0))
    served.gets.clear()
    again = request(served, tmp_path, gsd_m=4.0, out=f"{tmp_path}/b", offline=True)
    command.fetch(again)
    assert not served.gets
    with pytest.raises(
        InputError, match=("--offline is set, and it is not in the cache")
    ):
        command.fetch(
            request(served, tmp_path, cache=str(tmp_path / "empty"), offline=True,
                    out=str(tmp_path / "c"))
        )  # fmt: skip


def test_a_dry_run_says_sizes_and_brings_nothing_large(served, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert command.fetch(request(served, tmp_path, dry_run=True)) is None
    assert not (tmp_path / "raw").exists()
    assert "3 scene(s), of which" in caplog.text and "window(s)" in caplog.text
    assert "MB to read" in caplog.text and "MB to write" in caplog.text


def test_coarser_pixels_come_from_overviews(served, world, tmp_path):
    asked = request(served, tmp_path, gsd_m=4.0, dates="2021")
    pixels, valid, transform = mosaic(command.fetch(asked) / "imagery")
    how = {"old": Resampling.average}
    wanted, there = oracle(world, ["old"], valid.shape, transform, how)
    inside = valid & there
    off = np.abs(pixels.astype(int) - wanted)[:, inside]
    assert inside.sum() > 5000 and np.quantile(off, 0.99) <= 2


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (dict(dates="2021"), {"old"}),
        (dict(dates="2021-01/2022-12"), {"old", "new"}),
        (dict(max_cloud=10.0), {"old", "other"}),
        (dict(skip=["old"]), {"new", "other"}),
        (dict(collections=["ortho"], dates="2022/.."), {"new"}),
    ],
)
def test_scenes_by_day_cloud_and_name(served, tmp_path, changed, names):
    folder = command.fetch(request(served, tmp_path, gsd_m=4.0, **changed))
    state = json.loads((folder / "imagery/windows.json").read_text())
    assert {scene["name"] for scene in state["scenes"]} == names


def test_plain_addresses_make_a_mosaic_too(served, world, tmp_path):
    cog = [f"{served.address}/files/{name}.tif?sig=geheim" for name in ("new", "old")]
    folder = command.fetch(request(served, tmp_path, imagery=None, cog=cog))
    pixels, valid, transform = mosaic(folder / "imagery")
    wanted, there = oracle(world, ["new", "old"], valid.shape, transform, HOW)
    assert (pixels == wanted)[:, valid].all() and valid.sum() > 0.9 * there.sum()
    assert "geheim" not in (folder / "sources.json").read_text()
    assert "sig=geheim" in served.queries


# -- a server that breaks; each fetch goes on, or stops with one sentence

KEPT_ON = [
    {"catalog.json": [500]},
    {"new.tif": [None, 500, "cut"], "old.tif": ["cut", None, "cut"]},
    {"new.tif": [None, "other range"], "new.json": [429]},
]


@pytest.mark.parametrize("faults", KEPT_ON)
def test_what_passes_is_waited_for(served, tmp_path, faults):
    served.faults.update({name: list(parts) for name, parts in faults.items()})
    folder = command.fetch(request(served, tmp_path, gsd_m=4.0))
    whole = command.fetch(request(served, tmp_path, gsd_m=4.0, out=f"{tmp_path}/b"))
    for path in (folder / "imagery").glob("*.tif"):
        assert path.read_bytes() == (whole / "imagery" / path.name).read_bytes()


STOPPED = [
    ({"catalog.json": [500] * 9}, "catalog.json: cannot be fetched.*HTTP status 500"),
    ({"new.json": [404]}, "new.json: cannot be fetched .HTTP status 404"),
    ({"old.tif": [404]}, "old.tif: cannot be fetched .HTTP status 404"),
    ({"new.tif": [None] + [500] * 9}, "new.tif: cannot be fetched.*goes on from here"),
    ({"new.tif": [403] * 2}, "signature or token has expired"),
    ({"new.tif": [(302, {"Location": "https://10.1.2.3/a.tif"})]}, "local network"),
    ({"new.tif": [(302, {"Location": "https://ex.org/a"})]}, "--allow_hosts=ex.org"),
]


@pytest.mark.parametrize(("faults", "sentence"), STOPPED)
def test_what_does_not_pass_stops_the_fetch_and_a_repeat_goes_on(
    served, tmp_path, faults, sentence
):
    served.faults.update({name: list(parts) for name, parts in faults.items()})
    asked = request(served, tmp_path, gsd_m=4.0)
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(asked)
    assert "\n" not in str(error.value)
    served.faults.clear()
    assert len(list((command.fetch(asked) / "imagery").glob("*.tif"))) > 0


def test_an_address_on_another_host_is_not_asked(served, world, tmp_path):

    def lies_at(href):
        def change(told):
            told["assets"]["visual"]["href"] = href

        stac_world.change_item(world, "old", change)

    lies_at("https://ex.org/a")
    try:
        with pytest.raises(InputError, match="add --allow_hosts=ex.org"):
            command.fetch(request(served, tmp_path, dates="2021"))
        lies_at("/etc/x.tif")
        with pytest.raises(
            InputError, match=("cannot be fetched|only https:// is allowed")
        ):
            command.fetch(request(served, tmp_path, dates="2021"))
    finally:
        lies_at("../../files/old.tif")


@pytest.mark.parametrize("wrong", ["truncated", "no image", "other place", "other CRS"])
def test_files_that_are_not_what_the_catalogue_says(
    served, world, tmp_path, wrong, caplog
):
    root = tmp_path / "own"
    shutil.copytree(world, root)
    served.root = root
    path, pixels = root / "files/new.tif", stac_world.image(2)
    asked = request(served, tmp_path, dates="2022")
    if wrong == "truncated":
        path.write_bytes(path.read_bytes()[:90_000])
    elif wrong == "no image":
        path.write_bytes(b"<html>busy</html>" * 9)
    elif wrong == "other place":  # the CRS of the neighbouring zone, by mistake
        west, north = stac_world.WEST + 320, stac_world.NORTH - 100
        stac_world.write_cog(path, pixels, stac_world.OTHER_CRS, west, north, 1.0)
    else:
        other = stac_world.OTHER_CRS
        stac_world.change_item(
            root, "new", lambda it: it["properties"].update({"proj:code": other})
        )
        command.fetch(asked)
        assert "its catalogue says EPSG:32632, the file itself" in caplog.text
        return
    sentence = (
        "one of the two is wrong" if "place" in wrong else "cannot be read as a Geo"
    )
    with pytest.raises(InputError, match=sentence):
        command.fetch(asked)
    others = request(served, tmp_path, skip=["new"], gsd_m=4.0, out=f"{tmp_path}/b")
    folder = command.fetch(others)
    assert list((folder / "imagery").glob("*.tif"))


def test_waits_are_those_of_records():
    assert command._WAITS_S == server_lib.WAITS_S
