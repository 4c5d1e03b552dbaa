"""Tiles of GHSL's population in archives, small ones on the grid of the real ones."""

import dataclasses
import io
import json
import logging
import zipfile

import geopandas as gpd
import http_folder
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from data_prep.fetch import area as area_lib
from data_prep.fetch import command, ghsl, presets
from data_prep.fetch.request import Request
from mmgr_jax.errors import InputError

SIDE = 60  # pixels of a tile here: 6 km
WORLD = ghsl.WEST_M, ghsl.NORTH_M
BOX_M = 149_250.0, 5_761_950.0, 155_030.0, 5_768_020.0  # over four tiles


def name_of(column, row):
    return f"R{row + 1}_C{column + 1}"


def tile(column, row, *, shift_m=0.0, crs=ghsl.CRS, nodata=-200.0):
    """A tile as an archive; each number says where it lies in the world."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = (row * SIDE + rows) * 1e6 + column * SIDE + columns
    pixels[:2, :2] = nodata
    west, north = WORLD[0] + column * SIDE * 100 + shift_m, WORLD[1] - row * SIDE * 100
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="float64", crs=crs,
            transform=from_origin(west, north, 100, 100), nodata=nodata,
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        return packed({f"{name_of(column, row)}.tif": memory.read()})


def packed(members):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in {**members, "readme.pdf": b"words"}.items():
            target.writestr(name, data)
    return archive.getvalue()


@pytest.fixture
def area(tmp_path):
    """The area of `BOX_M`, as a file: a box in the projection of the tiles."""
    path = tmp_path / "area.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(*BOX_M)], crs=ghsl.CRS).to_file(path)
    return str(path)


@pytest.fixture
def served(tmp_path, monkeypatch, area):
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    monkeypatch.setattr(ghsl, "TILE_PX", SIDE)
    root = tmp_path / "files/2020"
    root.mkdir(parents=True)
    names = ghsl.tiles_over(area_lib.of_file(area))
    assert len(names) == 4
    for name, place in names.items():
        column, row = place.col_off // SIDE, place.row_off // SIDE
        (root / f"{name}.zip").write_bytes(tile(column, row))
    with http_folder.serving(tmp_path / "files") as server:
        server.etags, server.names, server.places = True, list(names), names
        url = f"{server.address}/{{place}}/{{{{tile}}}}.zip"
        preset = dataclasses.replace(presets.PRESETS["ghsl"], url=url)
        monkeypatch.setitem(presets.PRESETS, "ghsl", preset)
        yield server


def request(served, tmp_path, area, **changed):
    fields = dict(
        out=str(tmp_path / "raw"),
        area=area,
        labels=["population=ghsl:2020"],
        cache=str(tmp_path / "cache"),
        allow_hosts=[served.address],
    )
    return Request(**fields | changed)


@pytest.mark.parametrize(
    ("lon", "lat", "name"),
    [  # as others name the tiles of these towns
        (36.82, -1.29, "R10_C22"),  # Nairobi
        (0.17, 44.50, "R4_C19"),  # Marmande
        (-119.5, 35.5, "R5_C8"),  # California
    ],
)
def test_tiles_have_the_names_of_the_real_ones(lon, lat, name):
    box = f"{lon},{lat},{lon + 0.01},{lat + 0.01}"
    assert list(ghsl.tiles_over(area_lib.of_box(box))) == [name]


def test_pixels_of_four_tiles_lie_where_they_belong(served, tmp_path, area):
    folder = command.fetch(request(served, tmp_path, area))
    with rasterio.open(folder / "labels/population.tif") as part:
        pixels, place, nodata = part.read(1), part.transform, part.nodata
        assert part.crs.to_authority() == ("ESRI", "54009")
    assert nodata == -200 and (place.a, place.e) == (100, -100)
    left = round((place.c - WORLD[0]) / 100)
    top = round((WORLD[1] - place.f) / 100)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    wanted = (top + rows) * 1e6 + left + columns
    there = pixels != -200
    np.testing.assert_array_equal(pixels[there], wanted[there])
    assert 4 <= (~there).sum() <= 16
    west, south, east, north = BOX_M
    assert place.c <= west and place.f >= north
    assert place.c + 100 * pixels.shape[1] >= east
    assert place.f - 100 * pixels.shape[0] <= south
    assert pixels.shape[0] < (north - south) / 100 + 6
    about = json.loads((folder / "sources.json").read_text())["parts"]["population"]
    assert about["year"] == 2020 and about["unit"] == "persons"
    assert about["crs"] == "ESRI:54009" and about["licence"] == "CC BY 4.0"
    assert about["details"]["reading"] == {"kind": "count", "nodata": "zero"}


def test_a_tile_that_is_not_there_is_sea(served, tmp_path, area, caplog):
    caplog.set_level(logging.INFO)
    name = served.names[0]
    (served.root / f"2020/{name}.zip").unlink()
    folder = command.fetch(request(served, tmp_path, area))
    assert f"has no tile {name} (sea)" in caplog.text
    with rasterio.open(folder / "labels/population.tif") as part:
        assert (part.read(1)[:5, :5] == -200).all()
    for other in served.names[1:]:
        (served.root / f"2020/{other}.zip").unlink()
    with pytest.raises(InputError, match="has no tile over --area="):
        out, cache = str(tmp_path / "other"), str(tmp_path / "cache2")
        command.fetch(request(served, tmp_path, area, out=out, cache=cache))


def test_a_repeat_and_another_area_need_no_network(served, tmp_path, area):
    first = command.fetch(request(served, tmp_path, area))
    served.gets.clear()
    out = str(tmp_path / "again")
    again = command.fetch(request(served, tmp_path, area, out=out, offline=True))
    paths = [folder / "labels/population.tif" for folder in (first, again)]
    assert paths[0].read_bytes() == paths[1].read_bytes() and not served.gets


def test_a_dry_run_says_the_tiles(served, tmp_path, area, caplog):
    caplog.set_level(logging.INFO)
    command.fetch(request(served, tmp_path, area, dry_run=True))
    assert f"population: 4 tile(s) ({', '.join(served.names)}), 0 MB" in caplog.text
    assert not (tmp_path / "raw").exists()


def test_what_breaks_on_the_way_is_gone_on_with(served, tmp_path, area):
    for name in served.names:
        served.faults[f"{name}.zip"] = ["cut", 500]
    folder = command.fetch(request(served, tmp_path, area))
    with rasterio.open(folder / "labels/population.tif") as part:
        assert (part.read(1) > 0).mean() > 0.99


def _where(served):
    place = served.places[served.names[0]]
    return place.col_off // SIDE, place.row_off // SIDE


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda at: tile(*at, shift_m=100.0), "does not lie where its name says"),
        (lambda at: tile(*at, crs="EPSG:3857"), "does not lie where its name says"),
        (lambda at: tile(*at)[:-30], "is not a complete archive"),
        (lambda at: b"<html>busy</html>", "is not a complete archive"),
        (lambda at: packed({}), "holds 0 GeoTIFFs"),
        (lambda at: packed({"a.tif": b"1", "b.tif": b"2"}), "holds 2 GeoTIFFs"),
        (lambda at: packed({"a.tif": b"II*\0no"}), "its GeoTIFF cannot be read"),
    ],
)
def test_archives_that_are_no_tile(served, tmp_path, area, make, sentence):
    path = served.root / f"2020/{served.names[0]}.zip"
    whole = path.read_bytes()
    path.write_bytes(make(_where(served)))
    with pytest.raises(InputError, match=sentence) as error:
        command.fetch(request(served, tmp_path, area))
    assert "\n" not in str(error.value) and path.name in str(error.value)
    assert not list((tmp_path / "raw").rglob("*.tif"))
    path.write_bytes(whole)  # the damaged one is not kept
    command.fetch(request(served, tmp_path, area))


def test_an_archive_that_unpacks_without_end(served, tmp_path, area, monkeypatch):
    monkeypatch.setattr(ghsl.table_formats, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to .* bytes"):
        command.fetch(request(served, tmp_path, area))


@pytest.mark.parametrize("label", ["ghsl", "ghsl:", "ghsl:2021", "ghsl:deu"])
def test_a_year_is_named(served, tmp_path, area, label):
    with pytest.raises(InputError, match="give the year after a colon.*2020"):
        asked = request(served, tmp_path, area, labels=[f"population={label}"])
        command.fetch(asked)
