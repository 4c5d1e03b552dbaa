"""Maps: colours where they belong, nothing overlaps, errors are named."""

import itertools
import time

import numpy as np
import pyproj
import pytest
import shapely
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from configs.common import FUNCTION_CLASSES
from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.geo import maps, marginalia, sheet
from mmgr_jax.legend import colours

DPI = maps.DPI
STEP_M = 200.0
POPULATION = Label("count", "persons", year=2020, source="census " * 40)
FUNCTION = Label("share", "1", classes=FUNCTION_CLASSES, year=2021, source="survey")


def _grid(rows, columns):
    row, column = np.divmod(np.arange(rows * columns), columns)
    x, y = 345_000 + STEP_M * column, 3_450_000 + STEP_M * row
    return shapely.box(x, y, x + STEP_M, y + STEP_M)


def _arguments(geometry, label, seed=0, **changed):
    """Random truth with gaps in the first rows, and a prediction of it."""
    rng = np.random.default_rng(seed)
    shape = (len(geometry), *label.shape)
    truth = rng.gamma(0.5, 1000, shape)
    prediction = truth * rng.lognormal(0, 0.5, shape)
    if label.kind == "share":
        truth /= truth.sum(axis=1, keepdims=True)
        prediction /= prediction.sum(axis=1, keepdims=True)
    truth[: len(geometry) // 10] = np.nan
    return {
        "geometry_wkb": list(shapely.to_wkb(geometry)),
        "crs": "EPSG:32651",
        "truth": truth.astype(np.float32),
        "prediction": prediction.astype(np.float32),
        "label": label,
        "task": "a_task",
        **changed,
    }


def _pixel(path, layout, panel, point):
    """Colour in 0 .. 1 of a place of a panel, averaged over 3 x 3 pixels."""
    west_east, south_north = layout.limits()
    per_unit = layout.inches_per_m * layout.metre
    inches_x = layout.left(panel) + (point.x - west_east[0]) * per_unit
    inches_y = sheet.FOOTER + layout.key_height + (point.y - south_north[0]) * per_unit
    image = np.asarray(Image.open(path).convert("RGB")) / 255
    row, column = round(image.shape[0] - inches_y * DPI), round(inches_x * DPI)
    return image[row - 1 : row + 2, column - 1 : column + 2].mean(axis=(0, 1))


def _layout(geometry, key_height):
    return sheet.lay_out(geometry, pyproj.CRS("EPSG:32651"), key_height)


def test_every_region_of_a_share_map_has_the_colour_of_its_class(tmp_path):
    geometry = _grid(5, 6)
    arguments = _arguments(geometry, FUNCTION)
    path = tmp_path / "maps" / "function.png"
    maps.task_map(path, **arguments)
    seen = {
        index
        for values in (arguments["truth"][3:], arguments["prediction"])
        for index in values.argmax(axis=1).tolist()
    }
    shown = {FUNCTION_CLASSES[index].replace("_", " "): "" for index in seen}
    key_height = max(marginalia.legend_height(shown), marginalia.BAR_HEIGHT)
    layout = _layout(geometry, key_height)
    for region in range(3, 30):  # the first three have no label
        centre = geometry[region].centroid
        for panel, values in enumerate((arguments["truth"], arguments["prediction"])):
            name = FUNCTION_CLASSES[values[region].argmax()]
            expected = to_rgb(colours.LAND_USE[name])
            found = _pixel(path, layout, panel, centre)
            np.testing.assert_allclose(found, expected, atol=0.01)


def test_truth_and_prediction_share_colours_and_errors_are_signed(tmp_path):
    """One region of each kind: equal, too high, too low, without label."""
    geometry = _grid(1, 4)
    truth = np.array([5.0, 1.0, 9.0, np.nan])
    prediction = np.array([5.0, 9.0, 1.0, 5.0])
    path = tmp_path / "population.png"
    arguments = _arguments(geometry, POPULATION, truth=truth, prediction=prediction)
    maps.task_map(path, **arguments)
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    color = {
        (panel, region): _pixel(path, layout, panel, geometry[region].centroid)
        for panel in range(3)
        for region in range(4)
    }
    np.testing.assert_allclose(color[0, 0], color[1, 0], atol=0.01)
    np.testing.assert_allclose(color[0, 1], color[1, 2], atol=0.01)
    np.testing.assert_allclose(color[0, 2], color[1, 1], atol=0.01)
    assert np.abs(color[0, 1] - color[0, 2]).max() > 0.3
    assert np.ptp(color[2, 0]) < 0.02 and color[2, 0].min() > 0.9  # equal: white
    assert color[2, 1][0] > color[2, 1][2] + 0.2  # too high: red
    assert color[2, 2][2] > color[2, 2][0] + 0.2  # too low: blue
    assert np.ptp(color[0, 3]) < 0.02 and color[0, 3].max() < 0.95  # grey hatch
    np.testing.assert_allclose(color[1, 3], color[1, 0], atol=0.01)  # yet predicted


def test_holes_stay_open(tmp_path):
    outer = shapely.box(345_000, 3_450_000, 346_000, 3_451_000)
    hole = shapely.box(345_300, 3_450_300, 345_700, 3_450_700)
    beside = shapely.box(346_000, 3_450_000, 347_000, 3_451_000)
    geometry = np.array([outer.difference(hole), beside])
    geometry[0] = shapely.MultiPolygon([geometry[0]])
    values = np.array([1.0, 2.0])
    path = tmp_path / "holes.png"
    arguments = _arguments(geometry, POPULATION, truth=values, prediction=values)
    maps.task_map(path, **arguments)
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    white = _pixel(path, layout, 0, hole.centroid)
    np.testing.assert_allclose(white, 1.0)
    assert _pixel(path, layout, 0, shapely.Point(345_100, 3_450_500)).min() < 0.8


def test_triangles_with_classes_of_any_name(tmp_path):
    x, y = 345_000 + 400 * np.arange(4), 3_450_000
    geometry = np.array(
        [shapely.Polygon([(a, y), (a + 400, y), (a, 400 + y)]) for a in x]
    )
    names = ("port", "water", "retail & trade")
    truth = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [np.nan] * 3])
    prediction = truth[[1, 1, 2, 0]]
    path = tmp_path / "use.png"
    arguments = _arguments(
        geometry, Label("share", "1", classes=names), truth=truth, prediction=prediction
    )
    maps.task_map(path, **arguments)
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    colors = dict(zip(names, colours.of_classes(names), strict=True))
    # The far half of each square lies outside its triangle: paper.
    beside = shapely.Point(345_300, 3_450_300)
    np.testing.assert_allclose(_pixel(path, layout, 0, beside), 1.0)
    largest = {
        0: ("port", "retail & trade", "water"),
        1: ("retail & trade", "retail & trade", "water", "port"),
    }
    for panel, expected in largest.items():
        for region, name in enumerate(expected):
            found = _pixel(path, layout, panel, geometry[region].centroid)
            np.testing.assert_allclose(found, to_rgb(colors[name]), atol=0.01)
    hatched = _pixel(path, layout, 0, geometry[3].centroid)
    assert np.ptp(hatched) < 0.02 and 0.4 < hatched.min() < 0.95


def test_a_pale_region_is_told_from_the_paper(tmp_path):
    """No error anywhere: the map of errors still shows where the city is."""
    geometry = _grid(4, 4)
    values = np.arange(16.0)
    path = tmp_path / "map.png"
    maps.task_map(
        path, **_arguments(geometry, POPULATION, truth=values, prediction=values)
    )
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    west, south, east, _ = shapely.total_bounds(geometry)
    inside = shapely.Point(west + 300, south + 300)  # in the middle of a region
    border = shapely.Point((west + east) / 2 + 100, south)
    pale = _pixel(path, layout, 2, inside).min()
    assert pale > 0.95
    # A line of 0.75 pt, averaged over 3 pixels of 0.72 pt:
    assert _pixel(path, layout, 2, border).max() < pale - 0.03


def test_a_failed_write_leaves_the_old_map(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    arguments = _arguments(_grid(3, 3), POPULATION)
    maps.task_map(path, **arguments)
    before = path.read_bytes()

    def break_off(figure, where, **_):
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(maps.Figure, "savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        maps.task_map(path, **arguments)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _ink(text):
    """What a text covers: the lower half of a break in the second row."""
    box = text.get_window_extent()
    if text.get_text().startswith("\n"):
        return Bbox.from_extents(box.x0, box.y0, box.x1, (box.y0 + box.y1) / 2)
    return box


@pytest.mark.parametrize("shape", [(12, 12), (4, 30), (30, 4)])
@pytest.mark.parametrize("kind", ["small", "huge", "share"])
def test_no_text_overlaps_or_leaves_the_paper(shape, kind, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(maps, "_save", lambda figure, *_: figures.append(figure))
    geometry = _grid(*shape)
    arguments = _arguments(geometry, FUNCTION if kind == "share" else POPULATION)
    if kind != "share":
        factor = -2e-7 if kind == "small" else 12345.0
        arguments["truth"] = arguments["truth"] * np.float32(factor)
        arguments["prediction"] = arguments["prediction"] * np.float32(factor)
    maps.task_map(tmp_path / "map.png", **arguments)
    (figure,) = figures
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_text().strip()]
    boxes = {text: _ink(text) for text in texts if text.get_visible()}
    assert len(boxes) > 15
    for first, second in itertools.combinations(boxes, 2):
        overlap = boxes[first].overlaps(boxes[second])
        assert not overlap, (first.get_text(), second.get_text())
    for text, box in boxes.items():
        inside = figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert inside and figure.bbox.y0 <= box.y0, text.get_text()


def test_the_map_says_task_unit_year_crs_counts_and_source(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(maps, "_save", lambda figure, *_: figures.append(figure))
    label = Label("density", "US$ per km2", year=2019, source="a census, 1 $ = 1 $")
    maps.task_map(tmp_path / "map.png", **_arguments(_grid(10, 10), label))
    said = "\n".join(t.get_text() for t in figures[0].findobj(Text))
    for expected in (
        "a task: US$ per km2, 2019",
        "Truth",
        "Prediction",
        "Error (prediction \N{MINUS SIGN} truth)",
        "EPSG:32651 (WGS 84 / UTM zone 51N), 100 regions, 10 without label",
        "Source of the truth: a census, 1 $ = 1 $",
        "no label",
        "500 m",
        "N",
    ):
        assert expected in said


def test_the_scale_bar_is_as_long_as_it_says(tmp_path, monkeypatch):
    lengths = []
    draw = marginalia._draw_scale_bar

    def measure(paper, layout, left, bottom):
        right = draw(paper, layout, left, bottom)
        lengths.append((right - left) / layout.inches_per_m)
        return right

    monkeypatch.setattr(marginalia, "_draw_scale_bar", measure)
    maps.task_map(tmp_path / "map.png", **_arguments(_grid(10, 10), POPULATION))
    feet = dict(crs="EPSG:2263")  # New York, US survey feet: 0.3048006 m
    maps.task_map(tmp_path / "map.png", **_arguments(_grid(10, 10), POPULATION, **feet))
    assert lengths == pytest.approx([500, 200])
    layout = sheet.lay_out(_grid(10, 10), pyproj.CRS("EPSG:2263"), 1.0)
    width_m = 2000 * 1200 / 3937
    assert layout.inches_per_m * width_m == pytest.approx(
        sheet.PANEL_WIDTH * sheet.BLEED
    )


def test_a_big_city_is_drawn_quickly(tmp_path):
    """1,600 regions take 0.6 s of one core; 3 s would be a slow path."""
    path = tmp_path / "map.png"
    arguments = _arguments(_grid(40, 40), POPULATION)
    maps.task_map(path, **arguments)
    started = time.process_time()
    maps.task_map(path, **arguments)
    assert time.process_time() - started < 3
    assert Image.open(path).width >= 1600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_drawn_is_named(tmp_path):
    geometry = _grid(5, 4)
    arguments = _arguments(geometry, POPULATION)
    path = tmp_path / "map.png"

    def refused(message, **changed):
        with pytest.raises(InputError, match=message) as caught:
            maps.task_map(path, **{**arguments, **changed})
        assert str(path) in str(caught.value)
        assert not path.exists()

    gap = arguments["prediction"].copy()
    gap[[7, 9]] = np.nan
    refused("missing for 2 of 20 regions, the first in row 7", prediction=gap)
    refused("no region has a known label", truth=np.full(20, np.nan))
    refused(r"truth has shape \(20,\), expected \(20, 10\)", label=FUNCTION)
    refused("CRS 'EPSG:4326' counts in degrees", crs="EPSG:4326")
    refused("CRS 'EPSG:0' is unknown", crs="EPSG:0")
    points = list(shapely.to_wkb(shapely.centroid(geometry)))
    refused("must be polygons, found Point", geometry_wkb=points)


def test_certainty_stands_between_the_ends_of_its_intervals(tmp_path):
    """Colours of one scale in all panels; hatched where unlike, ends may be open."""
    geometry = _grid(1, 4)
    path = tmp_path / "certainty.png"
    arguments = _arguments(geometry, POPULATION)
    del arguments["truth"]
    arguments["prediction"] = np.array([2.0, 4.0, 6.0, 4.0])
    arguments |= dict(
        low=np.array([1.0, 2.0, 4.0, -np.inf]),
        high=np.array([4.0, 6.0, 8.0, np.inf]),
        unlike=np.array([False, False, True, False]),
        level=0.9,
    )
    maps.certainty_map(path, **arguments)
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    point = geometry[1].centroid
    four = [
        _pixel(path, layout, panel, geometry[region].centroid)
        for panel, region in ((1, 1), (2, 0), (1, 3))
    ]
    np.testing.assert_allclose(four, four[:1] * 3, atol=0.01)
    two = _pixel(path, layout, 0, point)
    np.testing.assert_allclose(two, _pixel(path, layout, 1, geometry[0].centroid))
    assert np.abs(two - four[0]).max() > 0.1
    box = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = (box[..., 0] > 180) & (box[..., 1:].max(axis=-1) < 60)
    assert red.any()
    arguments["prediction"][2] = np.nan
    with pytest.raises(InputError, match="missing for 1 of 4 regions, the first in"):
        maps.certainty_map(path, **arguments)


def test_a_map_of_classes_shows_the_most_probable(tmp_path):
    geometry = _grid(1, 4)
    label = Label("class", "1", classes=("park", "town"))
    path = tmp_path / "use.png"
    maps.task_map(
        path,
        **_arguments(
            geometry,
            label,
            truth=np.array([0.0, 1.0, 0.0, np.nan]),
            prediction=np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [1.0, 0.0]]),
        ),
    )
    layout = _layout(geometry, marginalia.BAR_HEIGHT)
    colors = [to_rgb(color) for color in colours.of_classes(label.classes)]
    for panel, classes in ((0, (0, 1, 0)), (1, (0, 1, 1, 0))):
        for region, index in enumerate(classes):
            found = _pixel(path, layout, panel, geometry[region].centroid)
            np.testing.assert_allclose(found, colors[index], atol=0.01)
