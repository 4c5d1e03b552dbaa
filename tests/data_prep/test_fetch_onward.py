"""One command from a box to records: files, what is known of them, config, build."""

import re

import http_folder
import numpy as np
import pystac
import pytest
import rasterio
import stac_world
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from data_prep.fetch import command, presets
from data_prep.first_config import command as first_config
from mmgr_jax.data import schema
from mmgr_jax.errors import InputError

GSD_M, SIDE_PX = 4.0, 384
SIDE_M = GSD_M * SIDE_PX
BOX_M = (
    stac_world.WEST, stac_world.NORTH - SIDE_M, stac_world.WEST + SIDE_M,
    stac_world.NORTH,
)  # fmt: skip
BOX_DEG = transform_bounds(stac_world.CRS, "EPSG:4326", *BOX_M, densify_pts=21)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One scene, and people in a raster of degrees, as WorldPop has them."""
    root = tmp_path_factory.mktemp("world")
    (root / "files").mkdir()
    path = root / "files/scene.tif"
    pixels = stac_world.image(1, (SIDE_PX + 40, SIDE_PX + 40))
    west, north = stac_world.WEST - 20 * GSD_M, stac_world.NORTH + 20 * GSD_M
    stac_world.write_cog(path, pixels, stac_world.CRS, west, north, GSD_M)
    item = stac_world.item(path, "2022-06-01", 1.0, "scene.tif", crs=stac_world.CRS)
    item.properties["license"] = "CC-BY-4.0"
    item.common_metadata.providers = [pystac.Provider("City of Nowhere")]
    item.set_self_href(str(root / "files/scene.json"))
    item.save_object(include_self_link=False)
    step = 1 / 1200
    west, south, east, north = BOX_DEG
    shape = int((east - west) / step) + 9, int((north - south) / step) + 9
    people = np.random.default_rng(0).gamma(2, 3, shape[::-1]).astype(np.float32)
    people[:, : shape[0] // 2] = -99999
    with rasterio.open(
        root / "files/nwh_ppp_2020.tif", "w", driver="GTiff", width=shape[0],
        height=shape[1], count=1, dtype="float32", crs="EPSG:4326", nodata=-99999,
        transform=from_origin(west - 4 * step, north + 4 * step, step, step),
    ) as file:  # fmt: skip
        file.write(people, 1)
    return root


@pytest.fixture
def served(world, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_WAITS_S", (0.01, 0.01))
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    with http_folder.serving(world) as server:
        server.etags = True
        source = presets.PRESETS["worldpop"]
        url = f"{server.address}/files/{{place}}_ppp_2020.tif"
        fields = {**vars(source), "url": url}
        monkeypatch.setitem(presets.PRESETS, "worldpop", presets.Preset(**fields))
        yield server


def request(server, **changed):
    fields = dict(
        out="data/nowhere/raw",
        bbox=",".join(f"{side:.7f}" for side in BOX_DEG),
        imagery=f"{server.address}/files/scene.json",
        labels=["population=worldpop:nwh"],
        gsd_m=GSD_M,
        crs=stac_world.CRS,
        cache="cache",
        allow_hosts=[server.address],
        build=True,
    )
    return command.Request(**fields | changed)


def test_one_command_goes_from_a_box_to_records(served, tmp_path, capsys):
    command.fetch_and_go_on(request(served))
    path = tmp_path / "configs/nowhere.py"
    ended = capsys.readouterr().out.splitlines()
    assert any(
        re.fullmatch(r"imagery: 1 file\(s\), \d+\.\d MB", line) for line in ended
    )
    assert ended[-4:] == [
        "files: data/nowhere/raw",
        "sources and licences: data/nowhere/raw/sources.json",
        "written: configs/nowhere.py", "records: data/nowhere/records_laptop",
    ]  # fmt: skip
    text = path.read_text()
    config = first_config.loaded(text, path)
    assert "ASK" not in text and config.city.crs == stac_world.CRS
    assert (config.imagery.licence, config.imagery.year) == ("CC-BY-4.0", 2022)
    assert config.imagery.source == "City of Nowhere"
    people = config.labels.population
    assert (people.kind, people.unit, people.nodata) == ("count", "persons", "zero")
    assert (people.year, people.licence) == (2020, "CC BY 4.0")
    assert people.source.startswith("WorldPop")
    manifest = schema.Manifest.load(config.records.dir)
    assert manifest.num_regions > 20 and not manifest.max_pois
    written = (tmp_path / config.records.dir / schema.MANIFEST_FILE).read_text()
    for known in ("City of Nowhere", "CC-BY-4.0", "WorldPop"):  # into the records
        assert known in written, known

    path.write_text(text + "# mine\n")
    served.gets.clear()
    command.fetch_and_go_on(request(served))
    assert path.read_text().endswith("# mine\n")
    assert "scene.tif" not in served.gets


def test_a_config_that_asks_is_not_built(served, tmp_path, caplog):
    caplog.set_level("INFO")
    served.faults.clear()
    address = f"{served.address}/files/nwh_ppp_2020.tif"
    with pytest.raises(InputError, match="--build: the config has open questions"):
        command.fetch_and_go_on(request(served, labels=[f"people={address}"]))
    assert 'missing. Does missing mean zero there (nodata="zero"' in (
        " ".join(caplog.text.split())
    )
    assert (tmp_path / "data/nowhere/raw/labels/people.tif").is_file()
    assert not (tmp_path / "data/nowhere/records").exists()


def test_a_place_where_no_config_can_be_is_refused_before_anything_comes(served):
    with pytest.raises(
        InputError, match="--write_config=elsewhere/a.py: there is no folder"
    ):
        command.fetch_and_go_on(request(served, write_config="elsewhere/a.py"))
    assert not served.gets


def test_labels_alone_make_no_config(served, tmp_path):
    asked = request(served, imagery=None, build=False)
    command.fetch_and_go_on(asked)
    assert not list((tmp_path / "configs").iterdir())
