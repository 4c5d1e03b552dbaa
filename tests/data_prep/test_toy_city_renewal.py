"""The generated city in a later year: only rebuilt blocks differ, and truth says so."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from scipy import ndimage

from configs import toy_city
from data_prep.toy_city import renewal
from data_prep.toy_city.area import make_area
from data_prep.toy_city.city import make_city
from data_prep.toy_city.generator import generate
from data_prep.toy_city.settings import LATER, PoiHabitSettings, ToyCitySettings
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

SEED, REGIONS, SHARE = 5, (6, 8), 0.3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("years")
    options = {
        "first": {},
        "rebuilt": dict(rebuilt_share=SHARE),
        "flight": dict(flight=1),
        "shifted": dict(imagery_shift_m=(2.0, -4.0)),
    }
    for name, own in options.items():
        generate(ToyCitySettings(str(root / name), SEED, REGIONS, **own))
    return {name: root / name for name in options}


def imagery(folder):
    with rasterio.open(folder / "imagery.tif") as file:
        return np.moveaxis(file.read(), 0, -1).astype(float)


def truth(folder):
    return gpd.read_parquet(folder / "truth/truth.parquet")


def as_regions(values):
    """Means of a mosaic over whole regions, row by row."""
    whole = values[: REGIONS[0] * 64, : REGIONS[1] * 64]
    cut = whole.reshape(REGIONS[0], 64, REGIONS[1], 64)
    return cut.mean(axis=(1, 3)).ravel()


def test_only_rebuilt_blocks_look_otherwise(folders):
    apart = np.abs(imagery(folders["first"]) - imagery(folders["rebuilt"])).mean(axis=2)
    share = truth(folders["rebuilt"])[renewal.COLUMN].to_numpy()
    changed = as_regions(apart > 0)
    assert (changed[share == 0] == 0).all() and (share == 0).any()
    assert np.corrcoef(changed, share)[0, 1] > 0.97
    assert 0.15 < share.mean() < 0.3  # the rest are streets, and water, which stays


def test_labels_and_places_follow(folders):
    first, rebuilt = truth(folders["first"]), truth(folders["rebuilt"])
    same = (rebuilt[renewal.COLUMN] == 0).to_numpy()
    for name in ("share_residential", "density", "places"):
        pair = first[name].to_numpy(), rebuilt[name].to_numpy()
        np.testing.assert_array_equal(pair[0][same], pair[1][same], err_msg=name)
        assert (pair[0] != pair[1])[~same].sum() > 3, name
    tables = [gpd.read_parquet(folders[k] / "pois.parquet") for k in folders]
    assert tables[1]["poi_id"].is_unique
    kept = set(tables[1]["poi_id"]) & set(tables[0]["poi_id"])
    assert 0.5 < len(kept) / len(tables[0]) < 1
    facts = json.loads((folders["rebuilt"] / "truth/truth.json").read_text())
    assert facts["rebuilt_share"] == SHARE


def test_another_flight_changes_cars_and_grain_alone(folders):
    first, other = imagery(folders["first"]), imagery(folders["flight"])
    apart = np.abs(first - other).max(axis=2)
    assert 0.002 < (apart > 40).mean() < 0.05  # cars
    assert apart.mean() < 8
    assert truth(folders["first"]).equals(truth(folders["flight"]))


def test_imagery_is_moved_by_metres(folders):
    first, moved = imagery(folders["first"]), imagery(folders["shifted"])
    expected = ndimage.shift(first, (2, 1, 0), order=1, mode="nearest")
    inside = (slice(8, 300), slice(8, 400))
    assert np.abs(expected[inside] - moved[inside]).max() <= 1


def test_a_renewed_city_is_whole():
    city = make_city(make_area(REGIONS, 128.0, 2.0, "EPSG:32651"), SEED)
    later = renewal.renew(city, SHARE, PoiHabitSettings())
    slots, roofs = later.built.slots, later.built.roofs
    assert slots.building.max() < len(roofs.block) and slots.building.min() >= 0
    assert set(np.unique(slots.building)) == set(range(len(roofs.block)))
    assert later.uses.built[roofs.block].all()
    steady = later.layout.blocks.kind != "block"
    assert not later.rebuilt[steady].any()
    again = renewal.renew(city, SHARE, PoiHabitSettings())
    np.testing.assert_array_equal(again.rebuilt, later.rebuilt)


def test_a_plain_city_is_described_as_before_there_were_years():
    plain = ToyCitySettings("city")
    assert not set(LATER) & set(plain.noted())
    later = ToyCitySettings("city", rebuilt_share=0.1, flight=2)
    assert later.noted() == plain.noted() | {"rebuilt_share": 0.1, "flight": 2}
    with pytest.raises(InputError, match="rebuilt_share=1.5"):
        read(ToyCitySettings, dict(out_dir="city", rebuilt_share=1.5), "toy_city")


def test_the_config_of_a_later_year_differs_where_it_should():
    first, later = toy_city.get_config(), toy_city.get_config("later")
    assert later.toy_city.seed == first.toy_city.seed
    assert later.toy_city.rebuilt_share > 0 == first.toy_city.rebuilt_share
    assert later.records.dir != first.records.dir and later.workdir != first.workdir
    assert later.imagery.year > first.imagery.year
    assert later.regions == first.regions and later.readout == first.readout
