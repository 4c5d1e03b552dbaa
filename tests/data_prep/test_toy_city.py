"""The generated city: files, determinism, and that its truth is as declared."""

import itertools
import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from exactextract import exact_extract
from scipy import ndimage
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_prep.toy_city import generate, write
from data_prep.toy_city.categories import CATEGORIES, PLACES_PER_HA, ZONE_OF_LETTER
from data_prep.toy_city.zoning import ZONES
from mmgr_jax.errors import InputError

SIDE = 16
TILE_PX = 64


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """A city of 16 by 16 regions."""
    folder = tmp_path_factory.mktemp("toy") / "city"
    generate(folder, seed=5, size_regions=(SIDE, SIDE))
    return folder


@pytest.fixture(scope="module")
def truth(city):
    return gpd.read_parquet(city / "truth" / "truth.parquet")


@pytest.fixture(scope="module")
def facts(city):
    return json.loads((city / "truth" / "truth.json").read_text())


@pytest.fixture(scope="module")
def grey(city):
    """Mean of the channels over the whole regions [h w]."""
    with rasterio.open(city / "imagery.tif") as file:
        picture = file.read().astype(np.float32).mean(axis=0)
    return picture[: SIDE * TILE_PX, : SIDE * TILE_PX]


@pytest.fixture(scope="module")
def place_counts(city, truth):
    """Places by region and category."""
    pois = gpd.read_parquet(city / "pois.parquet").to_crs(truth.crs)
    joined = gpd.sjoin(pois, truth[["geometry"]], predicate="within")
    counts = pd.crosstab(joined["index_right"], joined["category"])
    return counts.reindex(truth.index, fill_value=0)


def by_region(picture, reduce):
    """A statistic of every tile, in the order of the truth's rows."""
    tiles = picture.reshape(SIDE, TILE_PX, SIDE, TILE_PX).swapaxes(1, 2)
    return reduce(tiles.reshape(SIDE * SIDE, TILE_PX, TILE_PX), axis=(1, 2))


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


def spot_bands(picture):
    """Differences of Gaussians: what is lighter or darker than its surroundings."""
    widths_px = (0.7, 1.0, 1.5, 2.2, 3.2)
    blurred = [picture, *(ndimage.gaussian_filter(picture, w) for w in widths_px)]
    return [fine - coarse for fine, coarse in itertools.pairwise(blurred)]


def lone_spots(picture):
    """How much lighter a place is than the lightest of a whole ring around it."""
    turns = np.arange(12) / 12 * 2 * np.pi
    for width_px in (0.7, 1.0):
        spot = ndimage.gaussian_filter(picture, width_px)
        for radius_px in (2.5, 3.5):
            ring = [
                ndimage.shift(
                    spot,
                    (radius_px * np.sin(turn), radius_px * np.cos(turn)),
                    order=1,
                    mode="nearest",
                )
                for turn in turns
            ]
            yield spot - np.maximum.reduce(ring)


def out_of_fold_r2(x, y):
    folds = KFold(5, shuffle=True, random_state=0)
    guess = cross_val_predict(RidgeCV(np.logspace(-2, 3, 11)), x, y, cv=folds)
    return 1 - np.mean((y - guess) ** 2) / np.var(y)


# Files


def read_all(folder):
    """The arrays of every file, as bytes where that is possible."""
    arrays = {}
    for name in ("imagery", "population", "gdp"):
        with rasterio.open(folder / f"{name}.tif") as file:
            arrays[name] = file.read().tobytes()
    for name in ("pois.parquet", "truth/truth.parquet"):
        table = gpd.read_parquet(folder / name)
        arrays[name] = table.to_wkb().to_csv()
    zones = gpd.read_file(folder / "zones.gpkg")
    arrays["zones"] = zones.to_wkb().to_csv()
    return arrays


def test_same_seed_same_city_other_seed_other_city(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, seed=seed, size_regions=(6, 8))
    first, second, other = (read_all(tmp_path / name) for name in "abc")
    for name, content in first.items():
        assert content == second[name], name
        assert content != other[name], name


def test_imagery_is_a_tiled_mosaic_with_a_wedge_outside_the_regions(city, truth):
    with rasterio.open(city / "imagery.tif") as file:
        assert file.crs == "EPSG:32651" and file.nodata == 0
        assert file.res == (2.0, 2.0) and file.count == 3
        assert file.dtypes == ("uint8",) * 3
        assert file.profile["tiled"] and file.compression.name == "deflate"
        picture, bounds = file.read(), file.bounds
    west, south, east, north = truth.total_bounds
    assert (bounds.left, bounds.top) == (west, north)
    assert east < bounds.right < east + 128 and south - 128 < bounds.bottom < south
    empty = (picture == 0).all(axis=0)
    assert 0 < empty.mean() < 0.02
    assert (picture[:, ~empty] > 0).all()
    assert not empty[:, : SIDE * TILE_PX].any()


def test_regions_tile_the_square_they_are_said_to(truth):
    assert len(truth) == SIDE * SIDE
    assert np.allclose(truth.area, 128.0**2)
    assert np.isclose(truth.union_all().area, SIDE**2 * 128.0**2)
    first, last = truth.geometry.iloc[0].bounds, truth.geometry.iloc[-1].bounds
    assert first[0] < last[0] and first[1] > last[1]


@pytest.mark.parametrize("label", ["population", "gdp"])
def test_label_rasters_keep_totals_and_sum_to_the_regions(city, truth, facts, label):
    with rasterio.open(city / f"{label}.tif") as file:
        assert file.crs == "EPSG:32651" and file.nodata == -9999
        assert file.res == (50.0, 50.0) and file.dtypes == ("float32",)
        values, corner = file.read(1), (file.bounds.left, file.bounds.top)
        assert (np.subtract(corner, truth.total_bounds[[0, 3]]) % 50 != 0).all()
    missing = values == -9999
    assert missing.any() and (values[~missing] >= 0).all()
    assert values[~missing].sum(dtype=float) == pytest.approx(
        facts["totals"][label], rel=1e-5
    )
    sums = exact_extract(city / f"{label}.tif", truth, "sum", output="pandas")["sum"]
    np.testing.assert_allclose(sums, truth[label], rtol=1e-4, atol=1e-4)


def test_zones_fill_the_mosaic_without_overlap(city, truth):
    zones = gpd.read_file(city / "zones.gpkg")
    assert zones.crs == truth.crs and set(zones["zone"]) == set(ZONES)
    assert zones.is_valid.all()
    with rasterio.open(city / "imagery.tif") as file:
        mosaic = shapely.box(*file.bounds)
    assert zones.area.sum() == pytest.approx(mosaic.area, rel=1e-3)
    assert zones.union_all().area == pytest.approx(mosaic.area, rel=1e-3)
    pairs = gpd.overlay(
        truth[["row", "column", "geometry"]], zones, keep_geom_type=True
    )
    pairs["share"] = pairs.area / 128.0**2
    shares = pairs.pivot_table("share", ["row", "column"], "zone", "sum").fillna(0)
    declared = truth.set_index(["row", "column"])
    for zone in ZONES:
        np.testing.assert_allclose(
            shares[zone], declared[f"share_{zone}"], atol=1e-6, err_msg=zone
        )


def test_places_have_two_levels_and_stand_where_they_belong(city, truth):
    pois = gpd.read_parquet(city / "pois.parquet")
    assert pois.crs == "EPSG:4326" and (pois.geom_type == "Point").all()
    assert list(pois.columns[:4]) == ["poi_id", "name", "category", "parent"]
    assert pois["poi_id"].is_unique and (pois["name"].str.len() > 3).all()
    assert pois["parent"].nunique() >= 8 and pois["category"].nunique() >= 40
    assert (pois.groupby("category")["parent"].nunique() == 1).all()
    zones = gpd.read_file(city / "zones.gpkg")
    at = gpd.sjoin(pois.to_crs(truth.crs), zones, predicate="within")
    assert len(at) > 0.999 * len(pois)
    allowed = {c.name: set(c.weight) for c in CATEGORIES}
    fits = [z in allowed[c] for z, c in zip(at["zone"], at["category"], strict=True)]
    assert np.mean(fits) > 0.999


def test_category_table_is_whole():
    assert set(PLACES_PER_HA) == set(ZONE_OF_LETTER.values())
    assert set(ZONE_OF_LETTER.values()) == set(ZONES) - {"transportation"}
    names = [category.name for category in CATEGORIES]
    assert len(set(names)) == len(names)


# What the truth promises


def test_built_regions_have_some_dozen_places_and_some_regions_none(truth):
    built = truth["places"][truth["built"]]
    assert 8 <= built.median() <= 30
    assert 35 <= built.max() <= 70
    assert 0.05 <= (truth["places"] == 0).mean() <= 0.15


def test_counted_places_are_those_of_the_truth(truth, place_counts):
    np.testing.assert_array_equal(place_counts.sum(axis=1), truth["places"])


def test_ceilings_are_what_a_line_attains(truth, facts):
    known = {
        "gdp": {
            "all_latents": "gdp_without_noise",
            "image_visible": "gdp_image_visible",
            "image_plain": "gdp_image_plain",
        },
        "population": {"all_latents": "population_without_noise"},
    }
    for label, columns in known.items():
        for scope, rows in (("all", truth), ("built", truth[truth["built"]])):
            target = np.log1p(rows[label])
            ceiling = facts["ceiling_r2_log1p"][label][scope]
            for name, column in columns.items():
                x = np.log1p(rows[[column]].to_numpy())
                score = LinearRegression().fit(x, target).score(x, target)
                assert ceiling[name] == pytest.approx(score, abs=1e-9)
    ceiling = facts["ceiling_r2_log1p"]["gdp"]["built"]
    assert ceiling["image_plain"] + 0.2 < ceiling["image_visible"]
    assert ceiling["image_visible"] + 0.04 < ceiling["all_latents"] < 0.92
    assert 0.8 < facts["ceiling_r2_log1p"]["population"]["built"]["all_latents"] < 0.95


def test_causes_share_the_variance_of_gdp_as_declared(truth, facts):
    rows = truth[truth["built"]]
    causes = pd.DataFrame(
        {
            "density_and_use": np.log(rows["gdp_image_plain"]),
            **{n: rows[n] for n in ("prosperity", "specialisation", "noise")},
        }
    )
    log_gdp = np.log(rows["gdp"])
    fit = LinearRegression().fit(causes, log_gdp)
    shares = facts["log_gdp_variance_shares_built"]
    assert sum(shares.values()) == pytest.approx(fit.score(causes, log_gdp), abs=1e-9)
    for name, slope in zip(causes, fit.coef_, strict=True):
        explained = slope * np.cov(causes[name], log_gdp)[0, 1] / log_gdp.var()
        assert shares[name] == pytest.approx(explained, rel=1e-6)
    assert max(shares, key=shares.get) == "prosperity"
    assert 0.30 < shares["prosperity"] < 0.60
    assert 0.10 < shares["density_and_use"] < 0.45
    assert 0.05 < shares["specialisation"] < 0.25
    assert 0.08 < shares["noise"] < 0.30


def test_neighbours_have_alike_gdp(truth):
    log_gdp = np.log(truth["gdp"].to_numpy()).reshape(SIDE, SIDE)
    departure = log_gdp - log_gdp.mean()
    products = [
        (departure[1:] * departure[:-1]).ravel(),
        (departure[:, 1:] * departure[:, :-1]).ravel(),
    ]
    assert np.concatenate(products).mean() / departure.var() > 0.5


def test_prosperity_is_on_the_roofs_but_not_in_the_colours(city, truth, grey):
    built = (truth["built"] & truth["plant_share"].notna()).to_numpy()
    prosperity = truth["prosperity"][built]
    assert correlation(truth["plant_share"][built], prosperity) > 0.8
    # Light and dark spots of several sizes: shapes, whatever the colours.
    features = [
        by_region(np.maximum(sign * band - threshold, 0), np.mean)[built]
        for band in spot_bands(grey)
        for sign in (1, -1)
        for threshold in (0, 10, 25)
    ] + [
        by_region(np.maximum(lone - threshold, 0), np.mean)[built]
        for lone in lone_spots(grey)
        for threshold in (8, 16, 24)
    ]
    legible = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    folds = KFold(5, shuffle=True, random_state=0)
    read = cross_val_predict(
        legible, np.log(np.stack(features, axis=1) + 0.05), prosperity, cv=folds
    )
    assert correlation(read, prosperity) > 0.6
    with rasterio.open(city / "imagery.tif") as file:
        channels = file.read()[:, : SIDE * TILE_PX, : SIDE * TILE_PX].astype(np.float32)
    for channel in channels:
        for reduce in (np.mean, np.std):
            statistic = by_region(channel, reduce)[built]
            # 0.31 at most in the default city: a tenth of the variance.
            assert abs(correlation(statistic, prosperity)) < 0.4


def test_places_tell_prosperity_and_specialisation_well_but_not_fully(
    truth, place_counts
):
    built = truth["built"].to_numpy()
    x = np.sqrt(place_counts.to_numpy()[built])
    assert 0.45 < out_of_fold_r2(x, truth["prosperity"][built].to_numpy()) < 0.9
    assert 0.3 < out_of_fold_r2(x, truth["specialisation"][built].to_numpy()) < 0.9
    assert out_of_fold_r2(x, truth["noise"][built].to_numpy()) < 0.15


def test_density_is_plain_in_the_picture(truth, grey):
    built = truth["built"].to_numpy() & (truth["share_industrial"] < 0.1).to_numpy()
    dark = by_region(grey < 75, np.mean)[built]
    assert correlation(dark, truth["density"][built]) > 0.6


# What is refused, and what an interruption leaves


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size_regions": (3, 40)}, "size_regions is .3, 40.*at least 6"),
        ({"region_size_m": 127.0}, "127.0 over toy_city.gsd_m 2.0 gives 63.5 pixels"),
        ({"gsd_m": 0.0}, "gsd_m 0.0 gives 0 pixels"),
        ({"crs": "EPSG:4326"}, "'EPSG:4326' is not a registered projected CRS"),
        ({"crs": "Shanghai"}, "'Shanghai' is unknown"),
    ],
)
def test_arguments_that_do_not_fit_are_named(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        generate(tmp_path / "city", seed=0, **wrong)
    assert not list(tmp_path.iterdir())


def test_an_earlier_city_is_replaced_and_anything_else_refused(tmp_path):
    small = {"size_regions": (6, 6)}
    generate(tmp_path / "city", seed=0, **small)
    first = read_all(tmp_path / "city")
    generate(tmp_path / "city", seed=1, **small)
    assert read_all(tmp_path / "city")["imagery"] != first["imagery"]
    (tmp_path / "city" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds 'thesis.tex'"):
        generate(tmp_path / "city", seed=2, **small)
    assert (tmp_path / "city" / "thesis.tex").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["city"]


def test_an_interruption_leaves_the_earlier_city_and_nothing_half_written(
    tmp_path, monkeypatch
):
    generate(tmp_path / "city", seed=0, size_regions=(6, 6))
    before = read_all(tmp_path / "city")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_truth", stop)
    for name in ("city", "other"):
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / name, seed=1, size_regions=(6, 6))
    assert read_all(tmp_path / "city") == before
    assert [path.name for path in tmp_path.iterdir()] == ["city"]


def test_other_sizes_pixels_and_crs(tmp_path):
    generate(
        tmp_path / "city",
        seed=3,
        size_regions=(6, 9),
        region_size_m=120.0,
        gsd_m=1.5,
        crs="EPSG:32633",
    )
    truth = gpd.read_parquet(tmp_path / "city" / "truth" / "truth.parquet")
    assert len(truth) == 54 and truth.crs == "EPSG:32633"
    with rasterio.open(tmp_path / "city" / "imagery.tif") as file:
        assert file.shape == (6 * 80 + 50, 9 * 80 + 50) and file.res == (1.5, 1.5)
    pois = gpd.read_parquet(tmp_path / "city" / "pois.parquet").to_crs(truth.crs)
    assert truth.union_all().buffer(120).contains(pois.geometry).all()
