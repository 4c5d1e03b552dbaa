"""Predictions as GeoTIFF: values at their places, and valid by rio-cogeo."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest
import rasterio
import shapely
from matplotlib.colors import to_hex
from rio_cogeo.cogeo import cog_validate

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.geo import cog, columns, panels
from mmgr_jax.geo.panels import Breaks
from mmgr_jax.legend import colours

CLASSES = ("water", "residential", "green_space")
CRS = "EPSG:32651"
WEST, SOUTH, WIDTH, HEIGHT = 345_000.25, 3_450_000.5, 128.0, 64.0


def cells(rows, columns, keep=0.8, seed=0):
    """Rectangles of a grid in random order, with gaps; their rows from the north."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(rows * columns), columns)
    chosen = rng.permutation(rows * columns)[: int(keep * rows * columns)]
    row, column = row[chosen], column[chosen]
    x, y = WEST + WIDTH * column, SOUTH + HEIGHT * (rows - 1 - row)
    return shapely.box(x, y, x + WIDTH, y + HEIGHT), row, column


def mapped(label, count, task="population", seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, len(label.classes)) if label.classes else (count,)
    truth, value = rng.random((2, *shape))
    truth[2] = np.nan
    low, high = value - 1, value + 1
    low[3], high[3] = -np.inf, np.inf
    return columns.Mapped(task, label, truth, value, low, high, rng.random(count) < 0.5)


def write(folder, label, outlines, **given):
    table = mapped(label, len(outlines), **given)
    grid = cog.grid(folder, list(shapely.to_wkb(outlines)), CRS)
    breaks = None if label.classes else Breaks.of(table.truth)
    return table, cog.write(folder, grid, table, 0.9, breaks)


def test_every_value_lies_where_its_region_does(tmp_path):
    outlines, row, column = cells(9, 13)
    label = Label("count", "persons")
    table, (path, style) = write(tmp_path / "maps", label, outlines)
    assert (path.name, style.name) == ("population.tif", "population.qml")
    assert set(path.parent.iterdir()) == {path, style}
    with rasterio.open(path) as image:
        assert image.crs.to_epsg() == 32651 and np.isnan(image.nodata)
        assert image.shape == (9, 13) and image.res == (WIDTH, HEIGHT)
        assert image.descriptions == (
            "population_known", "population_predicted", "population_low_90",
            "population_high_90", "population_unlike",
        )  # fmt: skip
        assert image.units[:4] == ("persons",) * 4 and not image.units[4]
        assert image.tags(2)["about"] == "Predicted population."
        centre = shapely.get_coordinates(shapely.centroid(outlines))
        bands = np.stack([*image.sample(centre)], axis=1)
        full = image.read()
    expected = [table.truth, table.value, table.low, table.high, table.unlike]
    for band, values in zip(bands, expected, strict=True):
        values = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
        np.testing.assert_array_equal(band, values)
    np.testing.assert_array_equal(full[1][row, column], np.float32(table.value))
    without = np.ones((9, 13), bool)
    without[row, column] = False
    assert without.any() and np.isnan(full[:, without]).all()


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (Label("density", "persons/km2"), ["a_task.tif"]),
        (
            Label("share", "1", classes=CLASSES),
            ["a_task.tif", "a_task_predicted_class.tif"],
        ),
    ],
)
def test_they_are_valid_with_overviews(label, names, tmp_path):
    outlines, _, _ = cells(530, 40, keep=0.5)  # two blocks high
    _, paths = write(tmp_path, label, outlines, task="a_task")
    paths = [path for path in paths if path.suffix == ".tif"]
    assert [path.name for path in paths] == names
    for path in paths:
        assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
        with rasterio.open(path) as image:
            assert image.overviews(1) == [2]
            assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_classes_are_numbers_with_names_and_colours(tmp_path):
    outlines, row, column = cells(9, 13)
    label = Label("share", "1", classes=CLASSES)
    table, (numbers, _, path) = write(tmp_path, label, outlines, task="use")
    with rasterio.open(path) as image:
        assert image.nodata == 255 and image.dtypes == ("uint8",)
        band, shades, tags = image.read(1), image.colormap(1), image.tags(1)
    np.testing.assert_array_equal(band[row, column], table.value.argmax(axis=1))
    assert (band == 255).sum() == 9 * 13 - len(outlines)
    assert [tags[f"class_{number}"] for number in range(3)] == list(CLASSES)
    for number, shade in enumerate(colours.of_classes(CLASSES)):
        assert "#" + "".join(f"{part:02x}" for part in shades[number][:3]) == shade
    with rasterio.open(numbers) as image:
        assert image.count == 4 * len(CLASSES) + 1
        assert image.descriptions[3] == "use_predicted_water"


def test_a_name_stays_in_its_folder(tmp_path):
    outlines, _, _ = cells(3, 3, keep=1)
    label = Label("count", "persons")
    _, paths = write(tmp_path / "maps", label, outlines, task="../../escaped")
    for path in paths:
        assert path.parent == tmp_path / "maps" and path.exists()


def test_one_region_is_a_grid(tmp_path):
    outlines = shapely.box([0.0], 0, 100, 100)
    assert cog.grid(tmp_path, list(shapely.to_wkb(outlines)), CRS).shape == (1, 1)


def changed(index, shape):
    outlines, _, _ = cells(5, 5, keep=1)
    outlines[index] = shape(outlines[index])
    return outlines


def move(x, y):
    return lambda box: shapely.transform(box, lambda points: points + (x, y))


@pytest.mark.parametrize(
    ("outlines", "message"),
    [
        (changed(4, move(1.0, 0)), "regions are not a grid .* in row 4 is not a c"),
        (changed(4, lambda box: box.buffer(1)), "row 4 is not a cell of 128 by 64"),
        (changed(3, lambda box: shapely.Polygon(box.exterior.coords[:3])), "in row 3"),
        (changed(3, lambda _: shapely.Polygon()), "in row 3 is not a cell"),
        (np.array([cells(2, 2)[0][0]] * 2), "two regions lie in one cell"),
        (changed(0, move(WIDTH * 1e6, HEIGHT * 1e6)), "cells, more than 250,000,000"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused(outlines, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        cog.grid(tmp_path / "maps", list(shapely.to_wkb(outlines)), CRS)
    assert "Leave 'cog' out of config.embed.formats" in str(caught.value)


def test_hexagons_are_no_grid(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    hexagons = [shapely.Polygon(ring + (3 * n, 0)) for n in range(4)]
    with pytest.raises(InputError, match="regions are not a grid"):
        cog.grid(tmp_path, [shapely.to_wkb(one) for one in hexagons], CRS)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def break_off(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(cog.rasterio.shutil, "copy", break_off)
    outlines, _, _ = cells(3, 3)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, Label("count", "persons"), outlines)
    assert not list(tmp_path.iterdir())


IN_QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer
app = QgsApplication([], False)
app.initQgis()
layer = QgsRasterLayer(sys.argv[1], "image")
renderer = layer.renderer()
block = renderer.block(1, layer.extent(), layer.width(), layer.height())
rows, columns = range(layer.height()), range(layer.width())
numbers = [[block.color(row, column) & 0xFFFFFF for column in columns] for row in rows]
colours = [["#%06x" % number for number in row] for row in numbers]
print(json.dumps([renderer.type(), renderer.usesBands(), colours]))
"""


def test_qgis_draws_the_prediction_in_the_colours_of_the_printed_map(tmp_path):
    python = "/usr/bin/python3"
    asked = subprocess.run([python, "-c", "import qgis.core"], capture_output=True)
    if asked.returncode:
        pytest.skip("QGIS is not installed (Debian: python3-qgis)")
    outlines, row, column = cells(9, 13)
    label = Label("count", "persons")
    table = mapped(label, len(outlines))
    breaks = Breaks((2.0, 30.0, 100.0), (-1.0, 1.0))
    values = np.resize([0, 2, 1.9999, 30, 99.5, 100, 1e6, -3], len(outlines))
    table = dataclasses.replace(table, value=values)
    grid = cog.grid(tmp_path, list(shapely.to_wkb(outlines)), CRS)
    path, _ = cog.write(tmp_path, grid, table, 0.9, breaks)
    done = subprocess.run(
        [python, "-c", IN_QGIS, str(path)],
        capture_output=True,
        text=True,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
    )
    kind, bands, drawn = json.loads(done.stdout.strip().splitlines()[-1])
    assert (kind, bands) == ("singlebandpseudocolor", [2])
    panel = panels.numbers(table.truth, values, label, breaks)[1]
    expected = [to_hex(panel.cmap(panel.norm(value))) for value in values]
    assert np.asarray(drawn)[row, column].tolist() == expected
