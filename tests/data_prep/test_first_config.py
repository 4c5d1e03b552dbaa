"""The first config: what files answer, what is marked, and that the rest builds."""

import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from data_prep import build
from data_prep import settings as settings_lib
from data_prep.first_config import command, imagery, labels, pois, sizes
from data_prep.first_config.answers import named, words, year_in
from data_prep.splits import blocks
from mmgr_jax.errors import InputError

CRS = "EPSG:32633"
WEST_M, NORTH_M, SIDE_PX, GSD_M = 500_000.0, 5_800_000.0, 640, 2.0
SIDE_M = SIDE_PX * GSD_M


def _raster(path, pixels, gsd_m=GSD_M, crs=CRS, **profile):
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        crs=crs,
        transform=from_origin(WEST_M, NORTH_M, gsd_m, gsd_m),
        count=len(pixels),
        height=pixels.shape[1],
        width=pixels.shape[2],
        dtype=pixels.dtype.name,
        **profile,
    ) as target:
        target.write(pixels)
    return str(path)


def _pois(rng, number=300):
    x, y = (
        WEST_M + rng.uniform(0, SIDE_M, number),
        NORTH_M - rng.uniform(0, SIDE_M, number),
    )
    kind = rng.choice(["cafe", "bar", "school", "park"], number)
    group = pd.Series(kind).map(
        {"cafe": "food", "bar": "food", "school": "public", "park": "public"}
    )
    place = gpd.GeoSeries(gpd.points_from_xy(x, y), crs=CRS).to_crs("EPSG:4326")
    return pd.DataFrame(
        dict(
            title=[f"place {index}" for index in range(number)],
            main=group,
            kind=kind,
            lon=place.x,
            lat=place.y,
        )
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Files of a city of a square kilometre and a half."""
    folder = tmp_path_factory.mktemp("oulu") / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (3, SIDE_PX, SIDE_PX), np.uint8)
    _raster(folder / "ortho_2021.tif", pixels, photometric="RGB")
    _pois(rng).to_csv(folder / "pois.csv", index=False)
    people = rng.gamma(2.0, 10.0, (10, 10)).astype(np.float32)
    _raster(folder / "worldpop_2020.tif", people, SIDE_M / 10)
    half = SIDE_M / 2
    squares = [
        shapely.box(
            WEST_M + i * half, NORTH_M - SIDE_M, WEST_M + (i + 1) * half, NORTH_M
        )
        for i in range(2)
    ]
    zones = gpd.GeoDataFrame(
        dict(landuse=["forest", "housing"]), geometry=squares, crs=CRS
    )
    zones = pd.concat([zones, zones.iloc[:1]], ignore_index=True)
    zones.to_file(folder / "zones.gpkg")
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)


def test_files_that_answer_everything_give_a_config_that_builds(raw, capsys):
    made = command.first_config(
        str(raw / "ortho_*.tif"),
        str(raw / "pois.csv"),
        [str(raw / "worldpop_2020.tif"), str(raw / "zones.gpkg")],
        name="oulu",
    )
    assert made.questions == ()
    text = made.path.read_text()
    assert str(made.path) == "configs/oulu.py" and "ASK" not in text
    config = command.loaded(text, made.path)
    assert config.city.crs == CRS and config.imagery.year == 2021
    assert (config.pois.x_column, config.pois.y_column) == ("lon", "lat")
    assert (config.pois.category_column, config.pois.parent_column) == ("kind", "main")
    assert (config.pois.name_column, config.pois.crs) == ("title", "EPSG:4326")
    people = config.labels.worldpop_2020
    assert (people.kind, people.unit, people.year) == ("count", "persons", 2020)
    zones = config.labels.zones
    assert (zones.kind, set(zones.classes)) == ("share", {"forest", "housing"})
    assert (config.regions.tile_size_px, config.regions.gsd_m) == (64, 2.0)
    assert config.data.batch_size == 8 and config.blocks.num_folds == 5
    lines = [line for line in text.splitlines() if str(raw) not in line]
    assert max(map(len, lines)) <= 88
    build.build(config, dry_run=True)
    assert "100 regions of 64 px = 128 m in " in (shown := capsys.readouterr().out)
    count = int(re.search(r"m in (\d+) blocks", shown).group(1))
    assert count >= blocks.BLOCKS_A_FOLD * config.blocks.num_folds


def test_nothing_is_written_over(raw):
    (there := command.Path("configs/oulu.py")).write_text("mine")
    with pytest.raises(InputError, match="configs/oulu.py: exists already, and is no"):
        command.first_config(str(raw / "ortho_2021.tif"), name="oulu")
    assert there.read_text() == "mine"
    with pytest.raises(InputError, match="no folder elsewhere"):
        command.first_config(str(raw / "ortho_2021.tif"), out="elsewhere/oulu.py")


def test_what_files_cannot_say_is_marked_and_listed(raw, tmp_path):
    rng = np.random.default_rng(1)
    deep = rng.integers(200, 3000, (4, SIDE_PX, SIDE_PX)).astype(np.uint16)
    deep[:, :, :100] = 0
    image = _raster(tmp_path / "four.tif", deep, photometric="MINISBLACK")
    table = pd.DataFrame(
        dict(east=[1.0, 2.0] * 4, north=[3.0, 4.0] * 4, colour=["a", "b"] * 4)
    )
    table.to_csv(tmp_path / "odd.csv", index=False)
    unknown = _raster(tmp_path / "thing.tif", rng.random((10, 10)), SIDE_M / 10)
    made = command.first_config(image, str(tmp_path / "odd.csv"), [unknown], name="odd")
    asked = dict(made.questions)
    assert "4 bands without names" in asked["c.imagery.bands"]
    assert "16% of a sample of pixels are 0" in asked["c.imagery.nodata"]
    assert "which column says what a place is" in asked["c.pois.category_column"]
    assert "far from" in asked["c.pois.path"] or "none" in asked["c.pois.path"]
    assert "totals to be summed" in asked["c.labels.thing"]
    text = made.path.read_text()
    assert text.count("# ASK: ") == len(made.questions)
    config = command.loaded(text, made.path)
    assert settings_lib.read(config).imagery.stretch == ("percentile", 2, 98)
    listed = str(made)
    assert f"{len(made.questions)} question(s), marked `# ASK:` there" in listed
    assert all(question in listed for question in asked.values())


def test_imagery_in_degrees_gets_the_utm_zone_of_its_place(tmp_path):
    pixels = np.random.default_rng(2).integers(1, 255, (1, 300, 300), np.uint8)
    path = tmp_path / "grey.tif"
    with rasterio.open(
        path, "w", driver="GTiff", crs="EPSG:4326", count=1, height=300, width=300,
        dtype="uint8", transform=from_origin(-70.7, -33.4, 1e-4, 1e-4),
    ) as target:  # fmt: skip
        target.write(pixels)
    facts = imagery.ask(str(path))
    assert facts.crs == "EPSG:32719"
    assert facts.settings.bands == (1, 1, 1)
    assert 9 < facts.gsd_m < 11.5


def test_imagery_that_is_not_there_or_nowhere_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file. Wanted: GeoTIFF files"):
        imagery.ask(str(tmp_path / "*.tif"))
    pixels = np.ones((3, 64, 64), np.uint8)
    with pytest.raises(InputError, match="has no CRS"):
        imagery.ask(_raster(tmp_path / "nowhere.tif", pixels, crs=None))


EXTENT_DEG = (15.0, 52.33, 15.02, 52.35)


def test_tables_as_people_write_them(tmp_path):
    rng = np.random.default_rng(3)
    plain = _pois(rng)
    plain["lon"] = plain["lon"].map(lambda x: f"{x:.6f}".replace(".", ","))
    plain["lat"] = plain["lat"].map(lambda y: f"{y:.6f}".replace(".", ","))
    plain.to_csv(tmp_path / "semi.csv", index=False, sep=";")
    facts = pois.ask(str(tmp_path / "semi.csv"), CRS, EXTENT_DEG)
    assert facts.answers["c.pois.separator"].value == ";"
    assert facts.answers["c.pois.decimal"].value == ","
    assert not [own.ask for own in facts.answers.values() if own.ask]
    assert facts.summary.startswith("POIs: 300 of 4 kinds, 98%")

    swapped = _pois(rng).rename(columns=dict(lon="lat", lat="lon"))
    swapped.to_csv(tmp_path / "swapped.csv", index=False)
    answers = pois.ask(str(tmp_path / "swapped.csv"), CRS, EXTENT_DEG).answers
    assert answers["c.pois.x_column"].value == "lat"

    chinese = tmp_path / "amap_places.csv"
    named_so = _pois(rng).assign(title="咖啡馆")
    named_so.to_csv(chinese, index=False, encoding="gb18030")
    answers = pois.ask(str(chinese), CRS, EXTENT_DEG).answers
    assert answers["c.pois.encoding"].value == "gb18030"
    assert answers["c.pois.datum"].value == "gcj02"


def test_points_in_china_are_asked_for_their_datum(tmp_path):
    table = _pois(np.random.default_rng(4))
    table["lon"] += 121.47 - 15.01
    table["lat"] += 31.23 - 52.34
    table.to_csv(tmp_path / "places.csv", index=False)
    here = (121.45, 31.21, 121.49, 31.25)
    answers = pois.ask(str(tmp_path / "places.csv"), "EPSG:32651", here).answers
    assert "gcj02" in answers["c.pois.datum"].ask


def test_labels_by_kind(raw, tmp_path):
    classes = np.repeat(np.arange(10, dtype=np.uint8)[None], 60, 0).repeat(6, 1)
    path = _raster(tmp_path / "cover.tif", classes, 20.0)
    facts = labels.ask(path, EXTENT_DEG)
    assert not facts.usable and "gdal_polygonize" in facts.questions[0]

    squares = gpd.read_file(raw / "zones.gpkg")[["geometry"]]
    squares.assign(dens_km2=1.5).to_file(tmp_path / "density.gpkg")
    facts = labels.ask(str(tmp_path / "density.gpkg"), EXTENT_DEG)
    assert facts.factory == "density_label" and len(facts.questions) >= 1
    squares.assign(pop2020=7).to_file(tmp_path / "census.gpkg")
    facts = labels.ask(str(tmp_path / "census.gpkg"), EXTENT_DEG, taken=["census"])
    assert (facts.name, facts.factory) == ("census_2", "count_label")
    assert facts.given["unit"] == "persons" and facts.questions == ()
    facts = labels.ask(str(tmp_path / "none.gpkg"), EXTENT_DEG)
    assert not facts.usable and "no such file" in facts.questions[0]


def test_names_tell_columns_and_years():
    assert words("POI_Type2") == ["poi", "type", "2"]
    assert named(["typecode", "type", "big_type"], ("type",)) == ["type", "big_type"]
    assert year_in(["a/pop_2020_1km.tif"]) == 2020
    assert year_in(["2019_to_2021"]) is None


def test_sizes_follow_the_place():
    assert sizes.region_side_m(0.5, 400 * 224.0**2) == 224.0
    assert sizes.region_side_m(2.0, 1e12) == 256.0
    assert sizes.region_side_m(10.0, 1e12) == 640.0
    assert sizes.region_side_m(0.3, 1e6) == pytest.approx(96.0)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(10)), -1).reshape(-1, 2)
    centre_m = grid * 100.0 + 50
    size_m = blocks.fitting_size_m(centre_m, 100.0, 5)
    assert size_m == 200.0 and blocks.count(centre_m, size_m) == 25
    assert blocks.fitting_size_m(centre_m[:4], 100.0, 5) is None
