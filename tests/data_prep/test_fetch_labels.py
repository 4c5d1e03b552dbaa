"""Rasters of labels: the part over an area, against rasterio's own windows."""

import dataclasses
import json
import logging

import http_folder
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from data_prep.fetch import command, labels, presets
from data_prep.fetch.request import Request
from mmgr_jax.errors import InputError

STEP_DEG = 1 / 1200


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    root = tmp_path / "files"
    root.mkdir()
    people = np.random.default_rng(0).gamma(2, 3, (1500, 1800)).astype(np.float32)
    people[:300] = -99999
    with rasterio.open(
        root / "people.tif", "w", driver="GTiff", width=1800, height=1500, count=1,
        dtype="float32", crs="EPSG:4326", nodata=-99999, tiled=True,
        transform=from_origin(2.0, 49.0, STEP_DEG, STEP_DEG), compress="deflate",
    ) as file:  # fmt: skip
        file.write(people, 1)
    with http_folder.serving(root) as server:
        server.etags = True
        server.people = people
        yield server


def request(served, tmp_path, **changed):
    fields = dict(
        out=str(tmp_path / "raw"),
        bbox="2.2501,48.6001,2.4601,48.8501",
        cache=str(tmp_path / "cache"),
        labels=[f"population={served.address}/people.tif"],
    )
    return Request(**fields | changed)


@pytest.mark.parametrize("faults", [[], [None, "cut", 500], ["cut", 503]])
def test_the_part_of_a_raster_keeps_its_numbers_and_its_grid(served, tmp_path, faults):
    served.faults["people.tif"] = list(faults)
    folder = command.fetch(request(served, tmp_path))
    with rasterio.open(folder / "labels/population.tif") as part:
        pixels, place = part.read(1), part.transform
        assert part.nodata == -99999 and part.crs.to_epsg() == 4326
    column, row = round((place.c - 2.0) / STEP_DEG), round((49.0 - place.f) / STEP_DEG)
    whole = served.people[row:, column:][: pixels.shape[0], : pixels.shape[1]]
    np.testing.assert_array_equal(pixels, whole)
    assert (pixels == -99999).any()  # nodata stays what it is
    assert place.c <= 2.2501 - STEP_DEG / 2 and place.f >= 48.8501 + STEP_DEG / 2
    assert place.c + pixels.shape[1] * STEP_DEG > 2.4601
    assert place.f - pixels.shape[0] * STEP_DEG < 48.6001
    parts = json.loads((folder / "sources.json").read_text())["parts"]
    assert parts["population"]["crs"] == "EPSG:4326"
    assert list(parts["population"]["files"]) == ["labels/population.tif"]
    assert served.sent["people.tif"] < 0.7 * (served.root / "people.tif").stat().st_size


def test_another_grid_is_kept_as_well(served, tmp_path):
    path = served.root / "mollweide.tif"
    counts = np.arange(400 * 400, dtype=np.int32).reshape(1, 400, 400)
    with rasterio.open(
        path, "w", driver="GTiff", width=400, height=400, count=1, dtype="int32",
        crs="ESRI:54009", transform=from_origin(150_000, 5_760_000, 100, 100),
    ) as file:  # fmt: skip
        file.write(counts)
    labels = [f"people={served.address}/mollweide.tif"]
    folder = command.fetch(request(served, tmp_path, labels=labels))
    with (
        rasterio.open(folder / "labels/people.tif") as part,
        rasterio.open(path) as whole,
    ):
        column, row = ~whole.transform @ (part.transform.c, part.transform.f)
        window = Window(round(column), round(row), part.width, part.height)
        np.testing.assert_array_equal(part.read(), whole.read(window=window))
        assert part.width > 100 and part.res == (100, 100)


def test_a_server_without_parts_gives_the_whole_raster(served, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    served.ranges = False
    command.fetch(request(served, tmp_path, dry_run=True))
    assert "the whole file" in caplog.text and not list(tmp_path.glob("cache/*/body"))
    folder = command.fetch(request(served, tmp_path))
    assert "does not send parts of files, so all" in caplog.text
    parts = served.sent["people.tif"]
    offline = dict(out=str(tmp_path / "again"), offline=True)
    again = command.fetch(request(served, tmp_path, **offline))
    assert served.sent["people.tif"] == parts
    served.ranges = True
    fresh = dict(out=str(tmp_path / "parts"), cache=str(tmp_path / "other"))
    apart = command.fetch(request(served, tmp_path, **fresh))
    pixels = []
    for one in (folder, again, apart):
        with rasterio.open(one / "labels/population.tif") as part:
            pixels.append(part.read())
    np.testing.assert_array_equal(pixels[0], pixels[2])
    np.testing.assert_array_equal(pixels[1], pixels[2])


def test_of_a_preset_with_a_band_a_year_that_band_comes(served, tmp_path, monkeypatch):
    path = served.root / "gdp.tif"
    numbers = np.arange(7 * 900, dtype=np.float64).reshape(7, 30, 30)
    with rasterio.open(
        path, "w", driver="GTiff", width=30, height=30, count=7, dtype="float64",
        crs="EPSG:4326", transform=from_origin(2.2, 48.9, 1 / 120, 1 / 120),
    ) as file:  # fmt: skip
        file.write(numbers)
        file.descriptions = tuple(f"gdp_{year}" for year in range(1990, 2021, 5))
    here = dataclasses.replace(
        presets.PRESETS["kummu"], url=f"{served.address}/gdp.tif"
    )
    monkeypatch.setitem(presets.PRESETS, "kummu", here)
    asked = labels.source("gdp=kummu:2015")
    assert (asked.year, asked.band) == (2015, 6)
    # An address of this machine must stand in the command itself.
    command_labels = [f"gdp={served.address}/gdp.tif"]
    monkeypatch.setattr(
        labels, "source", lambda text: dataclasses.replace(asked, preset=None)
    )
    folder = command.fetch(request(served, tmp_path, labels=command_labels))
    with rasterio.open(folder / "labels/gdp.tif") as part:
        assert part.count == 1 and part.descriptions == ("gdp_2015",)
        row, column = (round(x) for x in (~part.transform @ (2.2, 48.9))[::-1])
        whole = numbers[5, -row:, -column:][: part.height, : part.width]
        np.testing.assert_array_equal(part.read(1), whole)
    beyond = dataclasses.replace(asked, preset=None, band=8)
    monkeypatch.setattr(labels, "source", lambda text: beyond)
    with pytest.raises(InputError, match=r"has 7 band\(s\), but band 8 is needed"):
        command.fetch(request(served, tmp_path, labels=command_labels))


def test_a_dry_run_says_how_much(served, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    command.fetch(request(served, tmp_path, dry_run=True))
    assert "population: 25" in caplog.text and "MB of" in caplog.text
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (dict(bbox="10,50,10.1,50.1"), "people.tif: does not show --bbox=10,50"),
        (dict(labels=["population"]), "wanted: NAME=ADDRESS or NAME=PRESET:PLACE"),
        (dict(labels=["population=wordpop:deu"]), "did you mean 'worldpop'"),
        (dict(labels=["population=worldpop"]), "give the place after a colon"),
        (dict(labels=["gdp=kummu"]), "the year after a colon, such as kummu:2020"),
        (dict(labels=["gdp=kummu:2021"]), "there are 1990, 1995, .*, 2020"),
        (dict(labels=["population=worldpop:../x"]), "give the place after a colon"),
    ],
)
def test_labels_that_cannot_be_fetched(served, tmp_path, changed, sentence):
    with pytest.raises(InputError, match=sentence):
        command.fetch(request(served, tmp_path, **changed))


def test_a_raster_that_stays_cut_is_no_raster(served, tmp_path):
    served.faults["people.tif"] = [None, None, *["cut"] * 9]
    with pytest.raises(InputError, match="the answer was cut short.*it goes on from"):
        command.fetch(request(served, tmp_path))
    assert not list((tmp_path / "raw").glob("labels/*.tif"))
