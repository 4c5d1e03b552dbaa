"""Locked towers: features kept, training on them, tables, and what is refused."""

import json
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmgr_jax import settings
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.augment.views import plain_view, two_views
from mmgr_jax.data import pipeline
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import open_source
from mmgr_jax.devices import sharding
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.planning import program
from mmgr_jax.planning import records as planned_records
from mmgr_jax.store import checkpoint
from mmgr_jax.store.state import TrainState
from mmgr_jax.towers import towers
from mmgr_jax.towers import views as tower_views
from mmgr_jax.train import experiment, loop, metrics, step
from mmgr_jax.typing import PoiSets


@pytest.fixture
def locked(small_config):
    """A config with a locked tower: the toy city's encoder with random weights."""
    c = small_config
    c.model.image_encoder = dict(name="resnet_small", width=4, train="none")
    c.loss.image_weight, c.readout.image = 0.0, "pooled"
    c.optim.name, c.optim.schedule, c.optim.warmup = "sgd", "constant", "0 steps"
    c.optim.learning_rate = 0.01
    return c


def kept_of(config):
    run = experiment.build(config)
    state = run.init()
    run = run.ready(state)
    return run, state


def losses_of(run, state, steps):
    batches, found = run.batches(), []
    for _ in range(steps):
        state, values = run.step(state, run.put(next(batches)))
        found.append(float(values["loss"]))
    return found, state


def test_training_is_as_if_the_tower_were_asked_in_every_step(locked):
    """The oracle: tiles in every batch, the tower run on them without a gradient."""
    run, state = kept_of(locked)
    assert "image" not in next(run.batches())
    model = run.tower.model
    size_px = locked.augment.size_px

    def encode(params, batch_stats, batch, _):
        variables = {"params": params, "batch_stats": batch_stats}
        view = plain_view(batch["image"], size_px=size_px)
        features = model.apply(variables, view, method="encode_image")
        features = jax.lax.stop_gradient(jnp.stack([features, features]))
        pois = PoiSets.of(batch)
        return model.apply(variables, features, pois, True, method="compare"), {}

    tx = optax.sgd(0.01, momentum=0.9)  # as "sgd" of a config
    update = jax.jit(
        step.make_update(
            encode, tx, loss=settings.read(LossSettings, locked.loss, "loss")
        )
    )
    oracle = TrainState(state.step, state.params, {}, tx.init(state.params))
    stats = state.batch_stats
    tiles = pipeline.training_batches(
        run.source, settings.read(DataSettings, locked.data, "data"), seed=locked.seed
    )
    expected = []
    for _ in range(5):
        oracle = oracle.replace(batch_stats=stats)
        oracle, values = update(oracle, sharding.put_batch(next(tiles), run.mesh), None)
        expected.append(float(values["loss"]))
    before = jax.device_get(state.params["image_encoder"])
    found, after = losses_of(run, state, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[-1] != found[0]
    jax.tree.map(np.testing.assert_array_equal, after.params["image_encoder"], before)


def test_two_views_differ_and_all_are_drawn():
    kept = jnp.arange(5.0)[None, :, None] + jnp.zeros((400, 1, 1))
    first, second = tower_views.two_of(kept, jax.random.key(0), jnp.arange(400))[..., 0]
    assert np.all(np.asarray(first) != np.asarray(second))
    pairs = np.bincount((first * 5 + second).astype(int), minlength=25)
    assert np.count_nonzero(pairs) == 20 and pairs.max() < 50  # 20 are expected
    one = tower_views.two_of(kept[:, :1], jax.random.key(0), jnp.arange(400))
    np.testing.assert_array_equal(one, kept[None, :, 0])


def views_kept(config, tmp_path, devices):
    config.model.image_encoder.train, config.mesh.data = "none", devices
    config.workdir = str(tmp_path / f"on_{devices}")
    run, state = kept_of(config)
    losses, _ = losses_of(run, state, 3)
    return np.load(next(Path(config.workdir).glob("tower/*.npy"))), losses


@pytest.mark.slow
def test_kept_views_do_not_depend_on_the_number_of_devices(locked, tmp_path):
    locked.model.image_encoder = dict(name="resnet_small", width=4, train="none",
                                      kept_views=3)  # fmt: skip
    locked.loss.image_weight = 0.5
    one, losses = views_kept(locked, tmp_path, 1)
    eight, losses_8 = views_kept(locked, tmp_path, 8)
    assert one.shape == (40, 3, 16)
    np.testing.assert_allclose(one, eight, rtol=1e-4, atol=1e-5 * np.abs(one).max())
    np.testing.assert_allclose(losses, losses_8, rtol=1e-4)
    assert np.abs(one[:, 0] - one[:, 1]).mean() > 1e-3  # random views differ


@pytest.mark.slow
def test_kept_views_are_those_of_training_s_augmentation(locked):
    """The oracle: two_views of a tile by itself, at the place of its number."""
    locked.model.image_encoder = dict(name="resnet_small", width=4, train="none",
                                      kept_views=2)  # fmt: skip
    run, state = kept_of(locked)
    kept = np.load(next(Path(locked.workdir).glob("tower/*.npy")))
    image = jnp.asarray(run.source[23]["image"])[None]
    key = jax.random.fold_in(run.tower.key, 0)
    drawn = settings.read(AugmentSettings, locked.augment, "augment")
    views = two_views(image, key, drawn, jnp.array([23]))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    for view, found in zip(views, kept[23], strict=True):
        expected = run.tower.model.apply(variables, view, method="encode_image")[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_features_are_made_once_and_anew_for_other_weights(locked, caplog):
    caplog.set_level(logging.INFO)
    kept_of(locked)
    (file,) = Path(locked.workdir).glob("tower/*.npy")
    about = json.loads(file.with_suffix(".json").read_text())
    assert about["size_px"] == 32 and about["encoder"]["width"] == 4
    made = file.stat().st_mtime_ns
    kept_of(locked)
    assert file.stat().st_mtime_ns == made
    assert caplog.text.count("of 40 regions, kept in") == 1
    locked.seed = 1  # random weights: others
    kept_of(locked)
    (theirs,) = set(Path(locked.workdir).glob("tower/*.npy")) - {file}
    for suffix in (".npy", ".json"):  # whole, but of other weights
        content = theirs.with_suffix(suffix).read_bytes()
        file.with_suffix(suffix).write_bytes(content)
    assert towers.load(theirs, 40) is not None and towers.load(file, 40) is None
    assert "features of another tower or other records" in caplog.text


def test_what_cannot_be_read_now_is_not_made_again(locked, monkeypatch):
    kept_of(locked)
    (file,) = Path(locked.workdir).glob("tower/*.npy")
    made = file.stat().st_mtime_ns

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(towers.contents, "of_file", refuse)
    (file.parent / "verified.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"npy: cannot be read .Permission denied"):
        towers.load(file, 40)
    assert file.stat().st_mtime_ns == made


def test_a_torn_file_and_an_unfinished_one_are_made_again(locked, caplog):
    kept_of(locked)
    (file,) = Path(locked.workdir).glob("tower/*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    kept_of(locked)
    assert file.read_bytes() == whole and "damaged" in caplog.text
    file.rename(file.with_suffix(".partial"))
    kept_of(locked)
    assert file.read_bytes() == whole


@pytest.mark.slow
def test_a_restart_goes_on_bit_for_bit_and_needs_no_imported_weights(locked, tmp_path):
    """The tower comes in by a checkpoint that is gone when the run goes on."""
    source = open_source(locked)
    random = inference.random_encoder(locked, source)
    encoder = {
        name: {"image_encoder": tree["image_encoder"]}
        for name, tree in random.variables.items()
    }
    about = checkpoint.Metadata({}, (), 0, parts=("image_encoder",))
    checkpoint.save_model(tmp_path / "weights", encoder, about)
    locked.init.checkpoint, locked.seed = str(tmp_path / "weights"), 3
    locked.train.log_every = "1 steps"

    def trained(name, *totals):
        locked.workdir = str(tmp_path / name)
        for total in totals:
            locked.train.total = f"{total} steps"
            loop.train(locked)
        rows = [
            json.loads(line)["loss"]
            for line in (tmp_path / name / metrics.METRICS_FILE).open()
        ]
        return rows, checkpoint.load_arrays(checkpoint.latest(locked.workdir))

    rows, arrays = trained("straight", 4)
    (tmp_path / "broken").mkdir()
    trained("broken", 2)
    (tmp_path / "weights").rename(tmp_path / "gone")
    rows_2, arrays_2 = trained("broken", 4)
    assert rows == rows_2 and len(rows) == 4
    jax.tree.map(np.testing.assert_array_equal, arrays, arrays_2)
    own = jax.device_get(encoder["params"]["image_encoder"])
    jax.tree.map(np.testing.assert_array_equal, arrays["params"]["image_encoder"], own)


def test_a_random_tower_is_told_loudly(locked, caplog):
    kept_of(locked)
    assert "THE LOCKED TOWER IS RANDOM" in caplog.text


def test_the_adapter_is_the_hidden_layer_of_the_image_head(locked):
    loop.train(locked)
    source = open_source(locked)
    encoder = inference.load_encoder(locked, checkpoint.latest(locked.workdir), source)
    batch = next(pipeline.epoch_batches(source, batch_size=16, num_threads=1))
    found = encoder.encode(batch)["image"]
    assert set(found) == {"pooled", "adapter"}
    head = jax.device_get(encoder.variables["params"]["image_head"]["linear1"])
    expected = np.maximum(found["pooled"] @ head["kernel"] + head["bias"], 0)
    np.testing.assert_allclose(found["adapter"], expected, rtol=1e-4, atol=1e-5)

    locked.model.image_encoder.train = "all"  # the same arrays, otherwise trained
    plain = inference.load_encoder(locked, checkpoint.latest(locked.workdir), source)
    theirs = plain.encode(batch)["image"]
    assert set(theirs) == {"pooled"}
    np.testing.assert_allclose(found["pooled"], theirs["pooled"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "said", ["last:1", pytest.param("decay:0.5", marks=pytest.mark.slow)]
)
def test_partly_tuned_runs_train_and_go_on(said, small_config):
    config = small_config
    config.model.image_encoder = dict(name="resnet_small", width=4, train=said)
    config.optim.schedule = "constant"  # of which no step hangs on the length
    config.train.total = "2 steps"
    loop.train(config)
    config.train.total = "3 steps"
    loop.train(config)
    arrays = checkpoint.load_arrays(checkpoint.latest(config.workdir))["params"]
    first = experiment.build(config).init().params
    moved = {
        name: float(
            np.abs(
                tree["conv1"]["kernel"]
                - arrays["image_encoder"][name]["conv1"]["kernel"]
            ).max()
        )  # fmt: skip
        for name, tree in first["image_encoder"].items()
        if name.startswith("layer")
    }
    assert moved["layer3_0"] > 0
    assert (moved["layer1_0"] > 0) == (said == "decay:0.5")


@pytest.mark.slow
def test_rates_by_layer_reach_the_step_of_a_run(small_config):
    """SGD: an update is the rate times the gradient, so factors show in a step."""
    config = small_config
    config.optim.name, config.optim.schedule = "sgd", "constant"
    config.optim.learning_rate, config.optim.warmup = 0.1, "0 steps"

    def moved(said):
        config.model.image_encoder = dict(name="resnet_small", width=4, train=said)
        run = experiment.build(config)
        state = run.init()
        before = jax.device_get(state.params)
        _, after = losses_of(run, state, 1)
        return jax.tree.map(np.subtract, jax.device_get(after.params), before)

    whole, scaled = moved("all"), moved("decay:0.5")
    factors = {"layer3_0": 0.5, "layer2_0": 0.25, "layer1_0": 0.125, "conv1": 0.0625}
    for name, factor in factors.items():
        for ours, all_of_it in zip(
            jax.tree.leaves(scaled["image_encoder"][name]),
            jax.tree.leaves(whole["image_encoder"][name]),
            strict=True,
        ):
            atol = 1e-6 + 2e-2 * factor * np.abs(all_of_it).max()
            np.testing.assert_allclose(ours, factor * all_of_it, rtol=0, atol=atol)
    jax.tree.map(  # the head has the whole rate
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        scaled["image_head"],
        whole["image_head"],
    )


REFUSED = [
    (dict(train="none"), 0.2, r"image_weight=0.2 with .*train=\"none\".*kept_views=8"),
    (dict(train="none", kept_views=1), 0.0, "kept_views=1; allowed: 0 .*or 2 and more"),
    (dict(train="all", kept_views=2), 0.2, "kept_views=2 has no effect on an encoder"),
    (dict(train="last:9"), 0.2, "train='last:9', but this encoder has 3 stages"),
    (dict(train="some"), 0.2, 'train=\'some\' is unknown; allowed: "all", "none"'),
]


@pytest.mark.parametrize(("said", "image_weight", "message"), REFUSED)
def test_settings_that_contradict_each_other(said, image_weight, message, small_config):
    small_config.model.image_encoder = dict(name="resnet_small", width=4, **said)
    small_config.loss.image_weight = image_weight
    with pytest.raises(InputError, match=message):
        experiment.build(small_config)


def test_features_that_are_not_finite_are_refused(locked):
    run = experiment.build(locked)
    state = run.init()
    broken = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
    with pytest.raises(InputError, match="not finite of 16 regions, such as 'r0000"):
        run.ready(state.replace(params=broken))
    assert not list(Path(locked.workdir).glob("tower/*.npy"))
    assert towers.load(Path(locked.workdir) / "none.npy", 40) is None


def test_the_planned_batch_of_a_locked_tower_is_the_pipelines(locked):
    given = locked.model.image_encoder.to_dict() | {"kept_views": 2}
    locked.model.image_encoder = given
    run, _ = kept_of(locked)
    real = run.put(next(run.batches()))
    records = planned_records.records_of(
        locked, num_regions=1, max_pois=1, num_categories=1
    )
    edges = "poi_edges" in real
    shapes = program.batch_shapes(locked, records, edges=edges, tower_dim=16)
    assert shapes.keys() == real.keys()
    for name, shape in shapes.items():
        assert (shape.shape, shape.dtype) == (real[name].shape, real[name].dtype), name


def test_evaluation_reads_what_training_kept(locked, monkeypatch):
    loop.train(locked)
    source = open_source(locked)
    bundle = checkpoint.latest(locked.workdir)
    batch = next(pipeline.epoch_batches(source, batch_size=8, num_threads=1))
    kept = inference.load_encoder(locked, bundle, source).encode(batch)
    monkeypatch.setattr(towers.Tower, "found", lambda *_: None)
    asked = inference.load_encoder(locked, bundle, source).encode(batch)
    assert kept.keys() == asked.keys()
    for kind, groups in asked.items():
        for name, rows in groups.items():
            np.testing.assert_allclose(kept[kind][name], rows, rtol=1e-4, atol=1e-4)
    (file,) = Path(locked.workdir).glob("tower/*.npy")
    np.testing.assert_array_equal(kept["image"]["pooled"], np.load(file)[:8, 0])
