"""What version 0.1.0 wrote is read as it was, or refused by name.

tests/kept/README.md says how its records, checkpoint, config and expected values were
made: by the program as it was then.
"""

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mmgr_jax
from mmgr_jax import settings
from mmgr_jax.data.settings import CorpusSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.store import checkpoint, identity
from mmgr_jax.train import loop

KEPT = Path(__file__).parent / "kept"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Folder with `records`, `run` and `expected.npz` of version 0.1.0."""
    folder = tmp_path_factory.mktemp("kept")
    zipfile.ZipFile(KEPT / "version_0_1.zip").extractall(folder)
    return folder


@pytest.fixture(scope="module")
def source(kept):
    return RecordSource(kept / "records")


@pytest.fixture(scope="module")
def expected(kept):
    with np.load(kept / "expected.npz") as arrays:
        return dict(arrays)


def config_of(folder, variant="smoke"):
    """The config as it was given then, of the file as it was then."""
    spec = importlib.util.spec_from_file_location("kept", KEPT / "config_0_1.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    c = module.get_config(variant)
    c.city.name = "kept"
    c.toy_city.update(size_regions=(6, 6), region_size_m=64.0)
    c.regions.tile_size_px = c.augment.size_px = 32
    c.blocks.size_m = 128.0
    c.records.num_shards = 1
    c.records.dir = str(folder / "records")
    c.data.batch_size = 12
    c.model.image_encoder.width = 2
    c.model.projection_dim = 8
    c.category_vectors.dim = 8
    c.optim.schedule, c.optim.warmup = "constant", "0 steps"
    c.train.total = "2 epochs"
    c.train.keep = 1
    c.workdir = str(folder / "run")
    c.after_training = ()
    return c


def test_records_have_the_values_they_had(source, expected):
    records = [source[index] for index in range(len(source))]
    assert [record["region_id"] for record in records] == expected["region_id"].tolist()
    assert list(source.manifest.categories) == expected["categories"].tolist()
    hashes = [hashlib.sha256(record["image"]).hexdigest() for record in records]
    assert hashes == expected["image_sha256"].tolist()
    outlines = [bytes(record["geometry"]).hex() for record in records]
    assert outlines == expected["geometry"].tolist()
    for name in ("block_id", "label/function", "label/gdp", "label/population"):
        ours = np.array([record[name] for record in records])
        np.testing.assert_array_equal(ours, expected[name], name)
    counts = [len(record["poi/category"]) for record in records]
    assert counts == expected["num_pois"].tolist() and sum(counts) > 0
    for name in ("category", "offset_m", "edges", "edge_weight"):
        ours = np.concatenate([record[f"poi/{name}"] for record in records])
        np.testing.assert_array_equal(ours, expected[f"poi/{name}"], name)


def test_an_encoder_gives_the_features_it_gave(kept, source, expected):
    encoder = mmgr_jax.load(kept / "run")
    records = [source[index] for index in range(len(source))]
    image = encoder.embed_tiles(np.stack([record["image"] for record in records]))
    np.testing.assert_allclose(image, expected["features/image"], rtol=0, atol=1e-5)
    names = source.manifest.categories
    sets = [[names[number] for number in record["poi/category"]] for record in records]
    pois = encoder.embed_pois(sets)
    np.testing.assert_allclose(pois, expected["features/poi"], rtol=0, atol=1e-5)
    assert np.ptp(expected["features/image"], axis=0).min() > 1e-3  # not one constant


def test_another_model_is_refused_by_its_settings(kept):
    c = config_of(kept)
    c.model.image_encoder.width = 4
    bundle = checkpoint.latest(kept / "run")
    with pytest.raises(InputError, match=r"width: 2 .*, 4 "):
        identity.check_model(
            c.model.to_dict(), checkpoint.load_metadata(bundle), bundle
        )


@pytest.mark.parametrize("variant", [None, "image_only", "smoke"])
def test_a_config_file_is_still_one(kept, variant):
    """Settings that came later have their defaults; those given are as they were."""
    c = config_of(kept, variant)
    assert c.optim.learning_rate == 2e-3 and c.loss.temperature == 0.2
    assert c.loss.image_weight == (1.0 if variant == "image_only" else 0.2)
    assert settings.read(CorpusSettings, c.corpus, "corpus").records == ()


@pytest.mark.slow
def test_a_run_goes_on(kept, tmp_path):
    """From the step at which version 0.1.0 ended, with its optimiser's state."""
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    c = config_of(folder)
    c.mesh.data = 1  # 12 regions a batch; a test has eight devices
    c.train.total = "3 epochs"
    loop.train(c)
    bundle = checkpoint.latest(folder / "run")
    assert bundle.name == "9"
    history = checkpoint.load_metadata(bundle).history
    assert history[-1]["step"] == 6, history
