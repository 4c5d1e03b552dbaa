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

import mmgr_jax
from mmgr_jax import settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import palette_of, plain_view, two_views
from mmgr_jax.data import contents, corpus, opening, pipeline, schema
from mmgr_jax.data.pixels import PixelStatistics
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.devices import sharding
from mmgr_jax.devices.settings import MeshSettings
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
from mmgr_jax.store import checkpoint, exported
from mmgr_jax.store.settings import InitSettings
from mmgr_jax.towers import locked
from mmgr_jax.train import experiment, loop, step

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
    """A config of networks that compile in a second each."""
    config = small_records.config_of(cities / records, folder)
    config.corpus.records = (str(cities / "seen/*"),)
    config.augment.normalise, config.data.batch_size = normalise, 24
    config.model.image_encoder = dict(name="resnet_small", width=4)
    config.model.poi_encoder = dict(name="set2set", steps=1)
    config.readout.image, config.augment.size_px = "pooled", 16
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.train.total, config.train.evaluate_every = "2 steps", "2 steps"
    return config


@pytest.fixture(scope="module")
def begun(cities, tmp_path_factory):
    """The config of a run, and its checkpoint, whose weights are random."""
    config = config_of(cities, tmp_path_factory.mktemp("begun"))
    run = experiment.build(config)
    variables = inference.random_encoder(config, run.source.cities[0]).variables
    bundle = checkpoint.save_model(
        config.workdir, jax.device_get(variables), run.metadata
    )
    return config, run, bundle


@pytest.fixture(scope="module")
def evaluated(cities, begun, tmp_path_factory):
    """Image features of `alba` and `cori` by the checkpoint and by a random encoder.

    The config at hand says "encoder".
    """
    config = config_of(cities, tmp_path_factory.mktemp("eval"), normalise="encoder")
    alba, cori = (RecordSource(cities / name) for name in ("seen/alba", "cori"))
    encoder = inference.load_encoder(config, begun[2], alba)
    random = inference.random_encoder(config, alba)
    features = [
        [readouts.encoded(config, one, city)["image"].values for city in (alba, cori)]
        for one in (encoder, random)
    ]
    return config, (alba, cori), (encoder, random), features


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
    palette = palette_of(palettes, jnp.asarray(batch["city_index"]))
    draw = jax.jit(partial(two_views, settings=PLAIN))
    views = draw(batch["image"], jax.random.key(0), palette=palette)
    plain = jax.jit(partial(plain_view, size_px=32))(batch["image"], palette=palette)
    for found in (*views, plain):
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


@pytest.mark.slow  # compiled for eight devices
def test_each_device_knows_the_cities_of_its_rows():
    """In parts of a batch, too; the encoder is views' mean and deviation."""
    rng = np.random.default_rng(0)
    palettes = rng.uniform(0.2, 0.6, (3, 2, 3)).astype(np.float32)
    batch = {
        "image": rng.integers(0, 256, (32, 16, 16, 3), np.uint8),
        "place": np.arange(32),
        "city_index": rng.integers(0, 3, 32).astype(np.int32),
    }
    augment = AugmentSettings(size_px=8)

    def encode(params, batch_stats, batch, key):
        palette = palette_of(palettes, batch["city_index"])
        views = two_views(batch["image"], key, augment, batch["place"], palette=palette)
        z_image = jnp.concatenate([views.mean((2, 3)), views.std((2, 3))], axis=-1)
        return {"z_image": z_image, "z_poi": z_image[0]}, batch_stats

    mesh = sharding.make_mesh(MeshSettings(data=8))
    shared = step.on_each_device(step.in_microbatches(encode, 2), mesh, jnp.float32)
    given = ({}, {}, batch, jax.random.key(0))
    one, eight = (jax.jit(some)(*given)[0]["z_image"] for some in (encode, shared))
    np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-5)


@pytest.mark.slow  # two steps are compiled, one of them for eight devices
def test_a_run_of_several_cities_is_that_of_eight_devices(cities, tmp_path):
    losses = []
    for devices in (1, 8):
        config = config_of(cities, tmp_path / str(devices))
        config.mesh.data = devices
        loop.train(config, Evaluator(config))
        rows = (Path(config.workdir) / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(row)["loss"] for row in rows])
        assert any("validation" in key for row in rows for key in json.loads(row))
        stored = checkpoint.load_metadata(checkpoint.latest(config.workdir))
        assert stored.normalise == "city" and "pixels" in stored.identity
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_checkpoint_says_what_its_cities_were_normalised_by(cities, begun):
    stored = checkpoint.load_metadata(begun[2])
    assert stored.normalise == "city"
    for name, pixels in stored.identity["pixels"].items():
        measured = RecordSource(cities / "seen" / name).manifest.pixels
        assert pixels["mean"] == list(measured.mean)
        assert pixels["deviation"] == list(measured.deviation)
    assert list(stored.identity["pixels"]) == ["alba", "bree"]


def test_another_normalisation_is_refused_by_key(begun):
    _, run, bundle = begun
    stored = checkpoint.load_metadata(bundle)
    run.check(stored, bundle)
    pixels = json.loads(json.dumps(run.metadata.identity["pixels"]))
    pixels["bree"]["mean"][0] += 1e-9
    identity = {**run.metadata.identity, "pixels": pixels}
    other = dataclasses.replace(run.metadata, identity=identity)
    with pytest.raises(InputError, match=r"pixels.bree.mean: \[0") as caught:
        dataclasses.replace(run, metadata=other).check(stored, bundle)
    assert "pixels.alba" not in str(caught.value)

    def before(metadata):
        """As said by a program that knew no such setting."""
        config = json.loads(json.dumps(metadata.config))
        del config["augment"]["normalise"]
        left = {k: v for k, v in metadata.identity.items() if k != "pixels"}
        return dataclasses.replace(metadata, config=config, identity=left)

    key = "augment.normalise: 'encoder' in the checkpoint, 'city' here"
    with pytest.raises(InputError, match=key):
        run.check(before(stored), bundle)
    dataclasses.replace(run, metadata=before(run.metadata)).check(
        before(stored), bundle
    )


def test_an_unseen_city_is_normalised_by_its_own(evaluated, begun):
    """Whatever the config at hand says; and so its light changes no feature."""
    config, cities, (encoder, random), (ours, others) = evaluated
    scale = np.abs(ours[0]).max()
    np.testing.assert_allclose(ours[0], ours[1], rtol=0, atol=1e-3 * scale)
    assert np.abs(others[0] - others[1]).max() > 0.05 * np.abs(others[0]).max()
    for city in cities:
        palette = corpus.palettes(city, "city")
        own = encoder.of_city(city).made_by
        assert own["palette"] == palette.tolist()
        assert own["augment.normalise"] == "city"
        np.testing.assert_array_equal(encoder.palette(city), palette)
    assert random.palette(cities[1]) is None
    assert not {"palette", "augment.normalise"} & {*random.made_by}
    # Heads of one city may be used on another, and on no other encoder.
    about = provenance.features(config, encoder)
    assert about["augment.normalise"] == "city" and "palette" not in about
    assert "augment.normalise" not in provenance.features(config, random)
    city = readouts.EvaluatedCity.of(cities[1])
    told = provenance.told_apart(config, city, begun[2])
    assert any("augment.normalise='city'" in sentence for sentence in told)


def test_what_looks_at_tiles_sees_them_so(evaluated, monkeypatch):
    config, (_, cori), (encoder, _), _ = evaluated
    batch = next(pipeline.epoch_batches(cori, batch_size=8, num_threads=1))
    with pytest.raises(AssertionError, match="of_city"):
        encoder.encode(batch)
    config = config.copy_and_resolve_references()
    config.eval.protocols = ("finetune",)
    given, city = _eval_settings(config), readouts.EvaluatedCity.of(cori)
    (tuner,) = tuning.tuners(given, {"x": encoder}, city, ("x image",)).values()
    np.testing.assert_array_equal(tuner.args[2], encoder.palette(cori))
    monkeypatch.setattr(inference, "load_encoder", lambda *_: encoder)
    monkeypatch.setattr(
        inference,
        "random_encoder",
        lambda *given: dataclasses.replace(encoder, normalise=given[2]),
    )
    beside = feature_sets.encoders(
        config, dataclasses.replace(given, checkpoints=(), imported=None), cori,
        Path(encoder.name),
    )  # fmt: skip
    assert {one.normalise for one in beside.values()} == {"city"}
    assert feature_sets.RANDOM in beside


def test_the_door_is_told_the_city_s_mean(evaluated, begun, tmp_path):
    encoder = mmgr_jax.load(begun[0].workdir)
    _, (_, cori), _, ((_, wanted), _) = evaluated
    tiles, pixels = tiles_of(cori), cori.manifest.pixels
    assert mmgr_jax.PixelStatistics.of(tiles) == pixels
    with pytest.raises(InputError, match=r"give pixels=mmgr_jax.PixelStatistics.of"):
        encoder.embed_tiles(tiles)
    found = encoder.embed_tiles(tiles[:9], pixels=pixels, batch_size=8)
    np.testing.assert_allclose(found, wanted[:9], atol=2e-5)
    folder = encoder.save(tmp_path / "saved")
    assert mmgr_jax.load(folder).about.normalise == "city"
    # A folder of before does not say it, and means the image encoder's.
    fields = json.loads((folder / exported.ABOUT).read_text())
    del fields["normalise"]
    (folder / exported.ABOUT).write_text(json.dumps(fields | {"format": 1}))
    marks.mark(folder, exported.KIND, sums=True)
    before = mmgr_jax.load(folder)
    assert before.about.normalise == "encoder"
    with pytest.raises(InputError, match="pixels= has no effect"):
        before.embed_tiles(tiles, pixels=pixels)


@pytest.mark.slow  # three programs
def test_records_at_the_door_say_it_themselves(evaluated, begun):
    _, (_, cori), _, ((_, wanted), _) = evaluated
    encoder = mmgr_jax.load(begun[0].workdir)
    embedded = np.stack(encoder.embed_records(cori.records_dir).embedding)
    np.testing.assert_allclose(embedded, wanted, atol=2e-5)


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


def test_records_of_before_are_refused_where_they_are_asked(
    cities, evaluated, tmp_path, monkeypatch
):
    (tmp_path / "records").mkdir()
    folder = small_records.write_records(tmp_path / "records", rows=4, columns=6)
    as_before(folder)
    source = RecordSource(folder)
    assert source.manifest.pixels is None
    config = config_of(cities, tmp_path)
    config.records.dir, config.corpus.records = str(folder), ()
    match = f"{folder}: these records do not say the mean .*build them again with"
    with pytest.raises(InputError, match=match):
        experiment.build(config)
    _, (alba, _), (encoder, _), _ = evaluated
    with pytest.raises(InputError, match=match):
        readouts.encoded(config, encoder, source)
    given = dataclasses.replace(
        _eval_settings(config), other_records=(str(folder),), checkpoints=(),
        imported=None, baselines=(),
    )  # fmt: skip
    monkeypatch.setattr(inference, "load_encoder", lambda *_: encoder)
    with pytest.raises(InputError, match=match):  # before anything is encoded
        feature_sets.encoders(config, given, alba, Path(encoder.name))
    config.augment.normalise = "encoder"
    assert "pixels" not in experiment.build(config).metadata.identity
    black = dataclasses.replace(
        source.manifest, pixels=PixelStatistics((0.5, 0.5, 0.0), (0.1, 0.1, 0.0))
    )
    with pytest.raises(InputError, match="a band of colour is the same in every"):
        black.measured_pixels(folder)


def test_a_locked_tower_sees_pixels_as_it_was_trained_to(begun, caplog):
    config, run, _ = begun
    options = config.model.image_encoder.to_dict()
    init = InitSettings(checkpoint=config.workdir, parts=("image_encoder",))
    locked.check_weights(options, init, "city")
    assert not caplog.text
    locked.check_weights(options, init, "encoder")
    assert "it has to get used to other pixels" in caplog.text
    still = {**options, "train": "none"}
    locked.check_weights(still, init, "city")
    with pytest.raises(InputError, match="'encoder', .*trained with 'city': a locked"):
        locked.check_weights(still, init, "encoder")
    with pytest.raises(InputError, match="normalise='city', but a table has no pixels"):
        locked.check({"name": "table"}, locked=True, image_weight=0.0, normalise="city")


@pytest.mark.slow  # two more programs are compiled
def test_features_of_a_locked_tower_are_those_of_each_city(cities, begun, tmp_path):
    trained, _, bundle = begun
    config = config_of(cities, tmp_path)
    config.init.checkpoint, config.init.parts = trained.workdir, ("image_encoder",)
    config.model.image_encoder = config.model.image_encoder.to_dict() | {
        "train": "none"
    }
    config.loss.image_weight = 0.0
    run = experiment.build(config)
    run.ready(run.init())
    kept = np.load(next((tmp_path / "run/tower").glob("*.npy")))[:, 0]
    for name, rows in (("alba", slice(24)), ("bree", slice(24, 48))):
        source = RecordSource(cities / "seen" / name)
        encoder = inference.load_encoder(trained, bundle, source).of_city(source)
        batch = next(pipeline.epoch_batches(source, batch_size=24, num_threads=1))
        wanted = encoder.encode(batch)["image"]["pooled"]
        np.testing.assert_allclose(kept[rows], wanted, atol=1e-4)
