"""Pixels by mean and deviation of their city: in training, and wherever one looks."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_records
from test_train_step import assert_close, model_with, stepped

import mmgr_jax
from mmgr_jax import settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import palette_of, plain_view, two_views
from mmgr_jax.data import contents, corpus, opening, pipeline, schema
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.disk import marks
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import (
    feature_sets,
    inference,
    provenance,
    readouts,
    tuning,
)
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.while_training import Evaluator
from mmgr_jax.models import vit
from mmgr_jax.store import checkpoint, exported
from mmgr_jax.towers import locked
from mmgr_jax.train import experiment, loop

GAIN, OFFSET = np.array([2, 1, 3]), np.array([0, 90, 10])
PLAIN = AugmentSettings(
    size_px=32, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), jitter_probability=0.0,
    grey_probability=0.0, horizontal_flip=False,
)  # fmt: skip


def dusk(tile):
    """Values of 60 to 122."""
    return tile // 4 + 60


def noon(tile):
    """The same place in another light, without a value cut off."""
    return (dusk(tile).astype(int) - 60) * GAIN + OFFSET


@pytest.fixture(scope="module")
def cities(tmp_path_factory):
    """Two cities to train on, `alba` at dusk, and `alba` at noon, called `cori`."""
    root = tmp_path_factory.mktemp("cities")
    options = dict(rows=4, columns=6, measured=True)
    for name, light, seed in (("alba", dusk, 0), ("bree", np.array, 1)):
        folder = root / "seen" / name
        folder.mkdir(parents=True)
        small_records.write_records(
            folder, city=name, light=light, seed=seed, **options
        )
    folder = root / "cori"
    folder.mkdir()
    turned = lambda tile: noon(tile).astype(np.uint8)  # noqa: E731
    small_records.write_records(folder, city="cori", light=turned, **options)
    return root


def config_of(cities, folder, records="seen/alba", normalise="city"):
    config = small_records.config_of(cities / records, folder)
    config.corpus.records = (str(cities / "seen/*"),)
    config.augment.normalise, config.data.batch_size = normalise, 8
    config.readout.image = "pooled"
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.train.total, config.train.evaluate_every = "2 steps", "2 steps"
    return config


@pytest.fixture(scope="module")
def trained(cities, tmp_path_factory):
    config = config_of(cities, tmp_path_factory.mktemp("trained"))
    loop.train(config, Evaluator(config))
    return config


def tiles_of(source):
    return np.stack([source[index]["image"] for index in range(len(source))])


def normalised(tiles):
    """The oracle: NumPy over all pixels of a city."""
    values = tiles.astype(np.float64) / 255
    return (values - values.mean(axis=(0, 1, 2))) / values.std(axis=(0, 1, 2))


def test_batches_are_normalised_by_city(cities):
    given = CorpusSettings(records=(str(cities / "seen/*"),))
    source = opening.open_training(given, "", DataSettings())
    wanted = np.concatenate([normalised(tiles_of(city)) for city in source.cities])
    palettes = corpus.palettes(source, "city")
    data = dataclasses.replace(DataSettings(), batch_size=16, num_threads=2)
    batch = next(pipeline.training_batches(source, data, seed=0))
    assert set(batch["city_index"]) == {0, 1}
    palette = palette_of(palettes, batch)
    draw = jax.jit(partial(two_views, settings=PLAIN))
    views = draw(batch["image"], jax.random.key(0), palette=palette)
    for found in (*views, plain_view(batch["image"], size_px=32, palette=palette)):
        np.testing.assert_allclose(found, wanted[batch["region_index"]], atol=2e-5)
    (own,) = corpus.palettes(source.cities[1], "city")
    np.testing.assert_array_equal(own, palettes[1])
    assert corpus.palettes(source, "encoder") is None
    assert source.manifest.pixels is None  # they are of each city


def test_no_draw_lets_a_city_s_light_in(cities):
    """Colours are changed after all cities have one light, in its black and white."""
    some = dict(brightness=0.05, contrast=0.2, grey_probability=0.5)
    some = AugmentSettings(size_px=24, **some)
    draw = jax.jit(partial(two_views, settings=some))
    key, views = jax.random.key(0), []
    for name in ("seen/alba", "cori"):
        source = RecordSource(cities / name)
        palette = jnp.asarray(corpus.palettes(source, "city"))
        views.append(draw(tiles_of(source), key, palette=palette))
    np.testing.assert_allclose(*views, atol=1e-4)
    plain = draw(tiles_of(source), key)
    assert np.abs(plain - views[1]).mean() > 0.1


def test_each_device_knows_the_cities_of_its_rows():
    palettes = np.random.default_rng(0).uniform(0.2, 0.6, (3, 2, 3)).astype(np.float32)
    model = model_with(vit.ViT(width=8, depth=1, num_heads=1))
    one, eight = (stepped(model, devices, palettes=palettes) for devices in (1, 8))
    np.testing.assert_allclose(one[0], eight[0], rtol=1e-5)
    assert_close(eight[1], one[1])
    assert abs(float(stepped(model)[0]) - float(one[0])) > 1e-3


def test_a_checkpoint_says_what_its_cities_were_normalised_by(cities, trained):
    stored = checkpoint.load_metadata(checkpoint.latest(trained.workdir))
    assert stored.normalise == "city"
    for name, pixels in stored.identity["pixels"].items():
        measured = RecordSource(cities / "seen" / name).manifest.pixels
        assert pixels["mean"] == list(measured.mean)
        assert pixels["deviation"] == list(measured.deviation)
    assert list(stored.identity["pixels"]) == ["alba", "bree"]
    rows = (Path(trained.workdir) / "metrics.jsonl").read_text().splitlines()
    assert any("validation" in key for row in rows for key in json.loads(row))


def test_another_normalisation_is_refused_by_key(trained):
    bundle = checkpoint.latest(trained.workdir)
    stored = checkpoint.load_metadata(bundle)
    run = experiment.build(trained)
    run.check(stored, bundle)
    pixels = json.loads(json.dumps(run.metadata.identity["pixels"]))
    pixels["bree"]["mean"][0] += 1e-9
    identity = {**run.metadata.identity, "pixels": pixels}
    other = dataclasses.replace(run.metadata, identity=identity)
    with pytest.raises(InputError, match=r"pixels.bree.mean: \[0") as caught:
        dataclasses.replace(run, metadata=other).check(stored, bundle)
    assert "pixels.alba" not in str(caught.value)
    config = {**stored.config, "augment": {**stored.config["augment"]}}
    del config["augment"]["normalise"]  # of before
    before = dataclasses.replace(stored, config=config)
    key = "augment.normalise: 'encoder' in the checkpoint, 'city' here"
    with pytest.raises(InputError, match=key):
        run.check(before, bundle)


def test_an_unseen_city_is_normalised_by_its_own(cities, trained, tmp_path):
    """Whatever the config at hand says; and so its light changes no feature."""
    bundle, found, about = checkpoint.latest(trained.workdir), {}, []
    for name in ("seen/alba", "cori"):
        config = config_of(cities, tmp_path, name, "encoder")
        source = RecordSource(cities / name)
        encoder = inference.load_encoder(config, bundle, source)
        random = inference.random_encoder(config, source)
        city = readouts.EvaluatedCity.of(source)
        palette = corpus.palettes(source, "city")
        found[name] = [
            readouts.encoded(config, one, source)["image"].values
            for one in (encoder, random)
        ]
        about.append(provenance.features(config, encoder))
        own = encoder.of_city(source).made_by
        assert own["palette"] == palette.tolist()
        assert own["augment.normalise"] == "city"
        assert not {"palette", "augment.normalise"} & {*random.made_by}
        np.testing.assert_array_equal(encoder.palette(source), palette)
        assert random.palette(source) is None
        told = provenance.told_apart(config, city, bundle)
        assert any("augment.normalise='city'" in sentence for sentence in told)
    ours, theirs = found["seen/alba"], found["cori"]
    scale = np.abs(ours[0]).max()
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3 * scale)
    assert np.abs(ours[1] - theirs[1]).max() > 0.05 * np.abs(ours[1]).max()
    assert about[0] == about[1]  # heads of one city may be used on another
    assert about[0]["augment.normalise"] == "city"


def test_a_random_encoder_beside_it_sees_the_same_pixels(cities, tmp_path):
    source = RecordSource(cities / "cori")
    config = config_of(cities, tmp_path, "cori", "encoder")
    encoder = inference.random_encoder(config, source, "city")
    assert encoder.palette(source) is not None
    batch = next(pipeline.epoch_batches(source, batch_size=8, num_threads=1))
    with pytest.raises(AssertionError, match="of_city"):
        encoder.encode(batch)
    config.eval.protocols = ("finetune",)
    given = _eval_settings(config)
    city = readouts.EvaluatedCity.of(source)
    (tuner,) = tuning.tuners(given, {"x": encoder}, city, ("x image",)).values()
    np.testing.assert_array_equal(tuner.args[2], encoder.palette(source))


def test_the_door_is_told_the_city_s_mean(cities, trained, tmp_path):
    encoder = mmgr_jax.load(trained.workdir)
    source = RecordSource(cities / "cori")
    tiles, pixels = tiles_of(source), source.manifest.pixels
    assert mmgr_jax.PixelStatistics.of(tiles) == pixels
    with pytest.raises(InputError, match=r"give pixels=mmgr_jax.PixelStatistics.of"):
        encoder.embed_tiles(tiles)
    found = encoder.embed_tiles(tiles[:5], pixels=pixels, batch_size=4)
    wanted = np.stack(encoder.embed_records(source.records_dir).embedding)
    width = found.shape[1]
    np.testing.assert_allclose(found, wanted[:5, :width], atol=2e-5)
    encoder.project_tiles(tiles[:5], pixels=pixels)
    folder = encoder.save(tmp_path / "saved")
    saved = mmgr_jax.load(folder)
    assert saved.about.normalise == "city"
    # A folder of before does not say it, and means the image encoder's.
    fields = json.loads((folder / exported.ABOUT).read_text())
    del fields["normalise"]
    (folder / exported.ABOUT).write_text(json.dumps(fields | {"format": 1}))
    marks.mark(folder, exported.KIND, sums=True)
    before = mmgr_jax.load(folder)
    assert before.about.normalise == "encoder"
    assert np.abs(before.embed_tiles(tiles[:5]) - found).max() > 1e-2
    with pytest.raises(InputError, match="pixels= has no effect"):
        before.embed_tiles(tiles, pixels=pixels)


def _eval_settings(config):
    return settings.read(EvalSettings, config.eval, "eval")


def as_before(folder):
    """A manifest as it was written before there were `pixels`."""
    path = folder / schema.MANIFEST_FILE
    fields = json.loads(path.read_text())
    del fields["pixels"]
    content = fields["content"]
    del content["fields"]["pixels"], content["sha256"]
    content["sha256"] = contents.of_value(content)
    path.write_text(json.dumps(fields, indent=2) + "\n")


def test_records_of_before_are_refused_where_they_are_asked(cities, trained, tmp_path):
    (tmp_path / "records").mkdir()
    folder = small_records.write_records(tmp_path / "records", rows=4, columns=6)
    measured = RecordSource(cities / "seen/alba").identity
    as_before(folder)
    source = RecordSource(folder)
    assert source.manifest.pixels is None and source.identity.keys() == measured.keys()
    config = config_of(cities, tmp_path)
    config.records.dir, config.corpus.records = str(folder), ()
    match = f"{folder}: these records do not say the mean .*build them again with"
    with pytest.raises(InputError, match=match):
        experiment.build(config)
    encoder = inference.load_encoder(config, checkpoint.latest(trained.workdir), source)
    with pytest.raises(InputError, match=match):
        readouts.encoded(config, encoder, source)
    config.eval.other_records, config.eval.checkpoints = (str(folder),), ()
    seen, given = RecordSource(cities / "seen/alba"), _eval_settings(config)
    with pytest.raises(InputError, match=match):  # before anything is encoded
        bundle = checkpoint.latest(trained.workdir)
        feature_sets.encoders(config, given, seen, bundle)
    config.augment.normalise = "encoder"
    assert "pixels" not in experiment.build(config).metadata.identity
    black = dataclasses.replace(
        source.manifest, pixels=PixelStatistics((0.5, 0.5, 0.0), (0.1, 0.1, 0.0))
    )
    with pytest.raises(InputError, match="a band of colour is the same in every"):
        black.measured_pixels(folder)


def test_a_locked_tower_sees_pixels_as_it_was_trained_to(
    cities, trained, tmp_path, caplog
):
    config = config_of(cities, tmp_path, normalise="encoder")
    config.init.checkpoint, config.init.parts = trained.workdir, ("image_encoder",)
    experiment.build(config).init()
    assert "it has to get used to other pixels" in caplog.text
    locked_encoder = config.model.image_encoder.to_dict() | {"train": "none"}
    config.model.image_encoder, config.loss.image_weight = locked_encoder, 0.0
    with pytest.raises(InputError, match="'encoder', .*trained with 'city': a locked"):
        experiment.build(config).init()
    config.augment.normalise = "city"
    run = experiment.build(config)
    run.ready(run.init())
    kept = np.load(next((tmp_path / "run/tower").glob("*.npy")))[:, 0]
    bundle = checkpoint.latest(trained.workdir)
    for name, rows in (("alba", slice(24)), ("bree", slice(24, 48))):
        source = RecordSource(cities / "seen" / name)
        encoder = inference.load_encoder(trained, bundle, source).of_city(source)
        batch = next(pipeline.epoch_batches(source, batch_size=24, num_threads=1))
        wanted = encoder.encode(batch)["image"]["pooled"]
        np.testing.assert_allclose(kept[rows], wanted, atol=1e-4)
    with pytest.raises(InputError, match="normalise='city', but a table has no pixels"):
        locked.check({"name": "table"}, locked=True, image_weight=0.0, normalise="city")
