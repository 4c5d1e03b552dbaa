"""The door for other programs: what it gives is what evaluation and maps are given."""

import doctest
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import jax
import numpy as np
import pandas as pd
import pytest
import small_records
import stac_schemas

import mmgr_jax
from mmgr_jax.convert import weights
from mmgr_jax.data.source import open_source
from mmgr_jax.disk import marks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import feature_sets, inference, mapping
from mmgr_jax.store import checkpoint, exported
from mmgr_jax.store.checkpoint import latest
from mmgr_jax.train import experiment, loop

ROOT = Path(__file__).parents[1]
BOTH = ["set2set", "attention"]  # names in any order, and places


@pytest.fixture(scope="module", params=["set2set"])
def run(request, tmp_path_factory):
    """A run: its config, and features of all regions as evaluation has them.

    It is trained; that of attention is as at the start, which its tests do not mind.
    """
    folder = tmp_path_factory.mktemp(request.param)
    records = folder / "records"
    records.mkdir()
    small_records.write_records(records)
    config = small_records.config_of(records, folder)
    config.model.poi_encoder.name = request.param
    if request.param == "attention":
        fresh = experiment.build(config)
        state = jax.device_get(fresh.init())
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        checkpoint.save_model(config.workdir, variables, fresh.metadata)
    else:
        loop.train(config)
    source = open_source(config)
    encoder = inference.load_encoder(config, latest(config.workdir), source)
    readout = feature_sets.Readout(config, feature_sets.EvaluatedCity.of(source))
    return config, source, readout.encoded(encoder)


def in_order(folder):
    """The table of embeddings, its rows in the order of the records."""
    table = gpd.read_parquet(folder / "embeddings.parquet")
    return table.sort_values("row", ignore_index=True)


def _tables(source):
    """POI sets as tables, by name and place."""
    names = source.manifest.categories
    sets = []
    for index in range(len(source)):
        record = source[index]
        east, north = record["poi/offset_m"].T
        category = [names[number] for number in record["poi/category"]]
        sets.append(pd.DataFrame(dict(category=category, east_m=east, north_m=north)))
    return sets


@pytest.mark.parametrize("run", BOTH, indirect=True)
def test_tiles_and_poi_sets_are_embedded_as_for_evaluation(run):
    config, source, encoded = run
    encoder = mmgr_jax.load(config.workdir)
    tiles = np.stack([source[index]["image"] for index in range(len(source))])
    for size in (64, 7):
        found = encoder.embed_tiles(tiles, batch_size=size)
        np.testing.assert_allclose(found, encoded["image"].values, atol=2e-5)
        found = encoder.embed_pois(_tables(source), batch_size=size)
        np.testing.assert_allclose(found, encoded["poi"].values, atol=2e-5)
    for kind, found in (
        ("image_projection", encoder.project_tiles(tiles)),
        ("poi_projection", encoder.project_pois(_tables(source))),
    ):
        wanted = encoded[kind].values
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_records_are_embedded_as_for_maps(run, tmp_path):
    config, source, _ = run
    config = config.copy_and_resolve_references()
    config.embed.features = "both"
    config.readout.surroundings_m = (100.0,)
    table = in_order(mapping.embed(config))
    stored = mmgr_jax.load(config.workdir)
    stored.about.readout["surroundings_m"] = (100.0,)
    found = stored.embed_records(source.records_dir, features="both")
    assert list(found.region_id) == list(table.region_id)
    assert found.crs == table.crs and found.geometry.geom_equals(table.geometry).all()
    wanted = np.stack(table.embedding)
    np.testing.assert_allclose(np.stack(found.embedding), wanted, atol=2e-5)


def test_a_saved_encoder_needs_no_run(run, tmp_path):
    config, source, encoded = run
    folder = weights.save(config, str(tmp_path / "saved"), "CC0-1.0")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)
    encoder = mmgr_jax.load(elsewhere)
    found = encoder.embed_pois(_tables(source))
    np.testing.assert_allclose(found, encoded["poi"].values, atol=2e-5)
    about = encoder.about
    assert about.categories == small_records.CATEGORIES and about.licence == "CC0-1.0"
    sizes = (about.tile_size_px, about.tile_size_m, about.size_px)
    assert sizes == (small_records.TILE_SIZE_PX, small_records.TILE_SIZE_M, 32)
    assert about.trained_on["identity"]["records"] == dict(source.identity)
    assert about.weights == mmgr_jax.load(config.workdir).about.weights
    item = stac_schemas.check(elsewhere / "stac_item.json")
    shapes = {
        one["name"]: one["result"]["shape"] for one in item.properties["mlm:output"]
    }
    assert shapes["poi_embedding"] == [-1, found.shape[1]]
    assert shapes["image_embedding"] == [-1, encoded["image"].num_features]
    for asset in item.assets.values():
        assert (elsewhere / asset.href).exists()


def test_a_card_of_one_city_loads_what_it_lies_beside(run, tmp_path, monkeypatch):
    folder = mmgr_jax.load(run[0].workdir).save(tmp_path / "saved")
    text = (folder / "README.md").read_text()
    assert "trained on small:" in text
    assert "| small | 40 | EPSG:32651 | 32 px, 64 m | 2 | 1 |" in text
    assert "licence of the weights: not recorded" in text
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(folder)
    exec(example, names := {})
    assert len(names["of_tiles"]) == 2 and len(names["of_pois"]) >= 1
    (folder / "README.md").write_text("mine")  # which is no damage
    again = mmgr_jax.load(folder).save(tmp_path / "again")
    assert (again / "README.md").read_text() == text


def test_a_card_of_a_checkpoint_of_before_says_what_it_does_not(run, tmp_path):
    bundle = latest(run[0].workdir)
    stored = checkpoint.load_metadata(bundle)
    before = mmgr_jax.encoder.dataclasses.replace(
        stored, cities=(), identity={}, history=()
    )
    old = checkpoint.save_model(
        tmp_path / "old", checkpoint.load_arrays(bundle), before
    )
    text = (mmgr_jax.load(old).save(tmp_path / "saved") / "README.md").read_text()
    assert "Cities, regions and their sources: not recorded." in text
    assert "The sources are not recorded: find out before you publish." in text
    assert "of not recorded, by mmgr-jax not recorded." in text


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other"])
def test_damage_to_a_saved_encoder_is_told(run, tmp_path, name, damage):
    folder = mmgr_jax.load(run[0].workdir).save(tmp_path / "saved")
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "other":
        content = b"[]"
    path.write_bytes(content)
    if damage == "gone":
        path.unlink()
    with pytest.raises(InputError, match="damaged|no checkpoint here"):
        mmgr_jax.load(folder)


def test_another_format_is_told(run, tmp_path):
    folder = mmgr_jax.load(run[0].workdir).save(tmp_path / "saved")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"format": 9}))
    marks.mark(folder, exported.KIND, sums=True)
    with pytest.raises(InputError, match="format 9; this program reads 1 and 2"):
        mmgr_jax.load(folder)


def test_a_folder_of_somebody_else_is_not_replaced(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no encoder of this program"):
        mmgr_jax.load(run[0].workdir).save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("run", BOTH, indirect=True)
def test_points_in_metres_are_read_from_their_centres(run):
    config, source, encoded = run
    encoder = mmgr_jax.load(config.workdir)
    centre_m = np.array([[5e5, 4e6]] * len(source))
    sets = [
        gpd.GeoDataFrame(
            table[["category"]],
            geometry=gpd.points_from_xy(
                5e5 + table.east_m.astype(float), 4e6 + table.north_m.astype(float)
            ),
            crs="EPSG:32633",
        )
        for table in _tables(source)
    ]
    found = encoder.embed_pois(sets, centre_m=centre_m)
    np.testing.assert_allclose(found, encoded["poi"].values, atol=2e-4)
    if config.model.poi_encoder.name == "attention":
        with pytest.raises(InputError, match="reads where POIs lie"):
            encoder.embed_pois([frame.to_crs(4326) for frame in sets])
        with pytest.raises(InputError, match="reads where POIs lie"):
            encoder.embed_pois([["cafe"]])
    else:
        names = [list(table.category) for table in _tables(source)]
        np.testing.assert_allclose(encoder.embed_pois(names), found, atol=1e-6)


def test_what_makes_no_sense_is_told(run):
    encoder = mmgr_jax.load(run[0].workdir)
    with pytest.raises(InputError, match=r"float32 and shape \(2, 8, 8, 3\)"):
        encoder.embed_tiles(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(InputError, match=r"shape \(8, 8, 3\)"):
        encoder.embed_tiles(np.zeros((8, 8, 3), np.uint8))
    table = pd.DataFrame(dict(category=["caffe"], east_m=[0.0], north_m=[0.0]))
    with pytest.raises(InputError, match="region 1.*'caffe'.*mean 'cafe'"):
        encoder.embed_pois([table[:0], table])
    empty = encoder.embed_pois([table[:0]])
    left_out = encoder.embed_pois([table], unknown="leave out")
    np.testing.assert_array_equal(left_out, empty)
    with pytest.raises(InputError, match="allowed: refuse, leave out"):
        encoder.embed_pois([table], unknown="ignore")
    with pytest.raises(InputError, match="no column 'category'"):
        encoder.embed_pois([table[["east_m"]]])
    assert encoder.embed_tiles(np.zeros((0, 8, 8, 3), np.uint8)).shape[0] == 0
    assert encoder.embed_pois([]).shape == (0, empty.shape[1])


def test_other_categories_are_refused(run, tmp_path):
    other = tmp_path / "records"
    shutil.copytree(run[1].records_dir, other)
    encoder = mmgr_jax.load(run[0].workdir)
    other_names = ("pub", *encoder.about.categories[1:])
    about = mmgr_jax.encoder.dataclasses.replace(encoder.about, categories=other_names)
    encoder = mmgr_jax.encoder.dataclasses.replace(encoder, about=about)
    with pytest.raises(InputError, match="has 1 POI categories that are none of the 5"):
        encoder.embed_records(other)
    found = encoder.embed_records(other, features="poi", unknown="leave out")
    wanted = encoder.embed_pois(_tables(run[1]), unknown="leave out")
    np.testing.assert_allclose(np.stack(found.embedding), wanted, atol=2e-5)
    with pytest.raises(InputError, match="allowed: refuse, leave out"):
        encoder.embed_records(other, unknown="ignore")


def test_tiles_are_embedded_without_geodata_libraries(run):
    script = f"""
import sys, numpy as np, mmgr_jax
encoder = mmgr_jax.load({str(run[0].workdir)!r})
print(encoder.embed_tiles(np.zeros((1, 16, 16, 3), np.uint8)).shape)
loaded = {{"rasterio", "geopandas", "pyogrio", "tensorflow_datasets", "matplotlib"}}
print(sorted(loaded & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    """A folder like the repository's, whose toy city is the small one."""
    config, source, _ = run
    (tmp_path / "runs").mkdir()
    (tmp_path / "configs").mkdir()
    shutil.copytree(config.workdir, tmp_path / "runs" / "toy_city")
    shutil.copytree(source.records_dir, tmp_path / "data/toy_city/records")
    (tmp_path / "configs" / "toy_city.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import pathlib, small_records\n"
        "def get_config(variant=None):\n"
        "    place = pathlib.Path('runs')\n"
        "    c = small_records.config_of('data/toy_city/records', place)\n"
        "    c.eval.curves.methods, c.eval.baselines = (), ('mean',)\n"
        "    c.eval.protocols, c.eval.splits = ('linear',), ('block',)\n"
        "    return c\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


class _Checker(doctest.OutputChecker):
    """Where the page shows nothing, a table of results may be printed."""

    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


def test_the_examples_of_the_page_do_what_they_say(run, place):
    page = ROOT / "docs" / "python.md"
    text = re.sub(r"^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = {"tiles": np.stack([run[1][index]["image"] for index in range(3)])}
    examples = doctest.DocTestParser().get_doctest(text, names, page.name, None, 0)
    assert len(examples.examples) > 10
    said = io.StringIO()
    runner = doctest.DocTestRunner(_Checker(), optionflags=doctest.ELLIPSIS)
    runner.run(examples, out=said.write)
    assert not runner.failures, said.getvalue()
    assert (place / "runs/short/maps/population.png").exists()
    encoder = mmgr_jax.load("runs/short")
    text = (encoder.save("short") / "README.md").read_text()
    report = json.loads(Path("runs/short/eval/report.json").read_text())
    for task, content in report["tasks"].items():
        numbers = content["splits"]["block"]["linear"]
        for method in ("MMGR image", "mean"):
            value = numbers[method]["metrics"][metric := content["headline"]]
            row = f"| {task} | {method} | {metric}, block split, linear | {value:.4g}"
            assert row in text
    other = mmgr_jax.encoder.dataclasses.replace(encoder.about, weights="0" * 64)
    encoder = mmgr_jax.encoder.dataclasses.replace(encoder, about=other)
    text = (encoder.save("other") / "README.md").read_text()
    assert "Of these weights: not recorded." in text  # but of others'


def test_what_a_config_cannot_hold_is_told(run, place):
    file = "configs/toy_city.py"
    for changes, sentence in (
        ({"train.totl": "1 steps"}, "config.train.totl is unknown"),
        ({"loss.temperature": "cold"}, "config.loss.temperature='cold'"),
        ({"lss.temperature": 1.0}, "config.lss is unknown"),
    ):
        with pytest.raises(InputError, match=sentence):
            mmgr_jax.read_config(file, changes)
    with pytest.raises(InputError, match="no such file"):
        mmgr_jax.read_config(place / "none.py")


def test_the_door_is_small():
    script = "import mmgr_jax, sys; print(dir(mmgr_jax)); print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "'load'" in done.stdout and done.stdout.splitlines()[-1] == "False"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        mmgr_jax.lod  # noqa: B018
