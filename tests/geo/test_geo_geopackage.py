"""GeoPackage and styles: read by GDAL, SQLite and, where it is installed, QGIS."""

import json
import shutil
import sqlite3
import subprocess
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from matplotlib.colors import to_hex

from mmgr_jax.data.schema import Label
from mmgr_jax.errors import InputError
from mmgr_jax.geo import columns, geopackage, panels
from mmgr_jax.geo.panels import Breaks

POPULATION = Label("count", "persons", year=2020, source="census", licence="CC0-1.0")
CLASSES = ("water", "residential", "green_space", "Water", "a \"b\" <c> \x1b & 'd'")
ROWS, COLUMNS = 6, 7


def city(seed=0):
    """Arguments of `geopackage.write`: numbers, shares and classes of a small grid."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    x, y = 345_000 + 100.0 * column, 3_450_000 + 100.0 * row
    outlines = shapely.box(x, y, x + 100, y + 100)
    count, k = ROWS * COLUMNS, len(CLASSES)
    truth = np.round(rng.gamma(0.5, 1000, count))
    value = truth * rng.lognormal(0, 0.5, count)
    truth[3] = np.nan
    shares = rng.dirichlet(np.ones(k), (2, count))
    shares[0, 5] = np.nan
    unlike = rng.random(count) < 0.2
    low, high = value / 2, value * 2
    low[7], high[7] = -np.inf, np.inf
    nothing = np.full((count, k), np.nan)
    mapped = [
        columns.Mapped("population", POPULATION, truth, value, low, high, unlike),
        columns.Mapped("function", Label("share", "1", classes=CLASSES), *shares,
                       shares[1] - 0.1, shares[1] + 0.1, unlike),
        columns.Mapped("kind", Label("class", "1", classes=CLASSES),
                       rng.integers(0, k, count).astype(float), shares[1], nothing,
                       nothing, unlike),
    ]  # fmt: skip
    return dict(
        region_ids=[f"r{index}" for index in range(count)],
        geometry_wkb=list(shapely.to_wkb(outlines)),
        crs="EPSG:32651",
        mapped=mapped,
        breaks={"population": Breaks.of(truth), "function": None, "kind": None},
        level=0.9,
        members={4: np.arange(count, dtype=np.int32) % 4},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The arguments, and the GeoPackage written of them."""
    arguments = city()
    path = tmp_path_factory.mktemp("maps") / "regions.gpkg"
    files = geopackage.write(path, **arguments)
    return arguments, path, files


def test_geopandas_reads_back_every_value(written):
    arguments, path, _ = written
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["regions", "layer_styles"]
    frame = geopandas.read_file(path, layer="regions")
    population, function, kind = arguments["mapped"]
    assert frame.crs == "EPSG:32651"
    assert frame["region_id"].tolist() == arguments["region_ids"]
    assert shapely.equals(
        frame.geometry.to_numpy(), shapely.from_wkb(arguments["geometry_wkb"])
    ).all()
    for name, values in (
        ("known", population.truth),
        ("predicted", population.value),
        ("low_90", np.where(np.isfinite(population.low), population.low, np.nan)),
        ("high_90", np.where(np.isfinite(population.high), population.high, np.nan)),
    ):
        np.testing.assert_array_equal(frame[f"population_{name}"], np.float32(values))
    assert frame["population_unlike"].tolist() == population.unlike.tolist()
    np.testing.assert_array_equal(
        frame["function_predicted_residential"], np.float32(function.value[:, 1])
    )
    names = [column.replace("\x1b", r"\x1b") for column in CLASSES]
    expected = [names[index] for index in function.value.argmax(axis=1)]
    assert frame["function_predicted_class"].tolist() == expected
    assert frame["function_known_class"].isna().sum() == 1
    assert [names[int(index)] for index in kind.truth] == list(
        frame["kind_known_class"]
    )
    assert frame["cluster_of_4"].tolist() == arguments["members"][4].tolist()
    assert not [name for name in frame.columns if "embedding" in name]


def test_names_that_sqlite_takes_for_one_are_told_apart(written):
    arguments, path, _ = written
    frame = geopandas.read_file(path, layer="regions")
    function = arguments["mapped"][1]
    for name, index in (("water", 0), ("Water_2", 3)):
        np.testing.assert_array_equal(
            frame[f"function_predicted_{name}"], np.float32(function.value[:, index])
        )


def test_titles_descriptions_and_styles_stand_in_the_file(written):
    _, path, files = written
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA user_version").fetchone() == (10300,)
        told = dict(
            database.execute("SELECT column_name, title FROM gpkg_data_columns")
        )
        fields = [
            row[1] for row in database.execute("PRAGMA table_info(regions)").fetchall()
        ]
        (about,) = database.execute(
            "SELECT description FROM gpkg_data_columns "
            "WHERE column_name = 'population_low_90'"
        ).fetchone()
        styles = database.execute(
            "SELECT styleName, useAsDefault, styleQML FROM layer_styles ORDER BY id"
        ).fetchall()
    assert list(told) == [name for name in fields if name not in ("fid", "geom")]
    assert told["population_low_90"] == "population low 90 (persons)"
    assert about == (
        "Lower limit of the 90% interval of the predicted population. "
        "Label: census, 2020, CC0-1.0."
    )
    assert styles[0][:2] == ("population_predicted", 1)
    assert sum(default for _, default, _ in styles) == 1
    beside = {file.stem: file.read_text() for file in files[1:]}
    assert beside == {name: qml for name, _, qml in styles}
    assert list(beside) == [
        "population_predicted", "population_known", "population_low_90",
        "population_high_90", "population_error",
        "function_predicted_class", "function_known_class", "function_error",
        "kind_predicted_class", "kind_known_class", "kind_error",
        "cluster_of_4",
    ]  # fmt: skip


def printed_colours(arguments, style):
    """Value -> colour of the printed map of the same thing, at and between breaks."""
    population = arguments["mapped"][0]
    breaks = arguments["breaks"]["population"]
    shown = panels.numbers(population.truth, population.value, POPULATION, breaks)
    panel = shown[2 if style == "population_error" else 1]
    edges = breaks.errors if style == "population_error" else breaks.values
    probes = [-1e30, 1e30, *edges, *np.add(edges, 1e-3), *np.subtract(edges, 1e-3)]
    return {value: to_hex(panel.cmap(panel.norm(value))) for value in probes}


def styled_colour(qml, value):
    """As QGIS chooses: the first class that holds the value, limits included."""
    root = ElementTree.fromstring(qml)
    for one in root.iter("range"):
        if float(one.get("lower")) <= value <= float(one.get("upper")):
            symbol = root.find(f".//symbol[@name='{one.get('symbol')}']")
            return hex_of(symbol.find(".//Option[@name='color']").get("value"))
    return None


def hex_of(colour):
    return "#" + "".join(f"{int(part):02x}" for part in colour.split(",")[:3])


@pytest.mark.parametrize("style", ["population_predicted", "population_error"])
def test_colours_change_where_those_of_the_printed_map_do(written, style):
    arguments, path, _ = written
    qml = (path.parent / "styles" / f"{style}.qml").read_text()
    for value, colour in printed_colours(arguments, style).items():
        assert styled_colour(qml, value) == colour, value


def test_one_break_is_enough(tmp_path):
    arguments = city()
    arguments["breaks"]["population"] = Breaks((0.0,), (-1.0, 1.0))
    geopackage.write(tmp_path / "a.gpkg", **arguments)
    qml = (tmp_path / "styles/population_predicted.qml").read_text()
    assert styled_colour(qml, -1e-9) != styled_colour(qml, 0.0) == styled_colour(qml, 9)


def test_without_labels_there_are_regions_and_clusters(tmp_path):
    arguments = {**city(), "mapped": [], "breaks": {}}
    path = tmp_path / "regions.gpkg"
    style = tmp_path / "styles/cluster_of_4.qml"
    assert geopackage.write(path, **arguments) == [path, style]
    frame = geopandas.read_file(path, layer="regions")
    assert list(frame.columns) == [
        "region_id", "lon_deg", "lat_deg", "cluster_of_4", "geometry",
    ]  # fmt: skip


def test_too_many_columns_are_refused_and_nothing_is_left(tmp_path):
    arguments = city()
    arguments["members"] = {n: np.zeros(ROWS * COLUMNS, int) for n in range(2000)}
    with pytest.raises(InputError, match="a GeoPackage holds 1,990. Leave 'gpkg' out"):
        geopackage.write(tmp_path / "regions.gpkg", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(written, tmp_path, monkeypatch):
    path = tmp_path / "regions.gpkg"
    shutil.copy(written[1], path)
    before = path.read_bytes()

    def break_off(*_):
        raise OSError("disk full")

    monkeypatch.setattr(geopackage, "_describe", break_off)
    with pytest.raises(OSError, match="disk full"):
        geopackage.write(path, **city(1))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


IN_QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsVectorLayer, QgsExpressionContext
from qgis.core import QgsExpressionContextUtils, QgsRenderContext
app = QgsApplication([], False)
app.initQgis()
path, probes = sys.argv[1], json.loads(sys.argv[2])
layer = QgsVectorLayer(path + "|layername=regions", "regions", "ogr")
default = layer.renderer().classAttribute()
answers = {}
for style, values in probes.items():
    folder = path.rpartition("/")[0]
    layer.loadNamedStyle(folder + "/styles/" + style + ".qml", True)
    renderer, context = layer.renderer(), QgsRenderContext()
    context.expressionContext().appendScope(
        QgsExpressionContextUtils.layerScope(layer))
    renderer.startRender(context, layer.fields())
    colours = [renderer.symbolForValue(value).color().name() for value in values]
    drawn = []
    for feature in layer.getFeatures():
        context.expressionContext().setFeature(feature)
        symbol = renderer.symbolForFeature(feature, context)
        drawn.append(symbol.color().name() if symbol else None)
    renderer.stopRender(context)
    answers[style] = [renderer.type(), colours, drawn]
print(json.dumps({"valid": layer.isValid(), "default": default, "styles": answers}))
"""


def test_qgis_opens_it_styled_in_the_colours_of_the_printed_maps(written, tmp_path):
    python = "/usr/bin/python3"
    asked = subprocess.run([python, "-c", "import qgis.core"], capture_output=True)
    if asked.returncode:
        pytest.skip("QGIS is not installed (Debian: python3-qgis)")
    arguments, path, files = written
    numbers = ("population_predicted", "population_error")
    probes = {file.stem: [] for file in files[1:]}
    expected = {style: printed_colours(arguments, style) for style in numbers}
    probes |= {style: list(values) for style, values in expected.items()}
    done = subprocess.run(
        [python, "-c", IN_QGIS, str(path), json.dumps(probes)],
        capture_output=True,
        text=True,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
    )
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert answer["valid"] and answer["default"] == "population_predicted"
    for style in numbers:
        kind, colours, _ = answer["styles"][style]
        assert kind == "graduatedSymbol"
        assert colours == list(expected[style].values())
    panel = panels.clusters(arguments["members"])[0]
    assert answer["styles"]["cluster_of_4"][2] == [
        to_hex(panel.cmap(panel.norm(value))) for value in panel.values
    ]
    population, function, kind = arguments["mapped"]
    drawn = {style: regions for style, (_, _, regions) in answer["styles"].items()}
    assert drawn["population_known"].index(None) == 3  # its only unknown value
    for mapped in (function, kind):
        task = mapped.task
        truth = mapped.truth
        if task == "kind":
            truth = panels.certain(truth, len(CLASSES))
        shown = panels.shares(truth, mapped.value, mapped.label)
        names = (f"{task}_known_class", f"{task}_predicted_class", f"{task}_error")
        for style, panel in zip(names, shown, strict=True):
            known = np.isfinite(panel.values)
            colours = [
                to_hex(panel.cmap(panel.norm(value))) if here else None
                for value, here in zip(panel.values, known, strict=True)
            ]
            assert drawn[style] == colours, style
