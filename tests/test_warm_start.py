"""Beginning from other weights: whole checkpoints, parts, and what does not fit."""

import jax
import numpy as np
import pytest

from mmgr_jax.data.source import open_source
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference
from mmgr_jax.store import checkpoint, warm_start
from mmgr_jax.train import experiment, loop


@pytest.fixture(scope="module")
def trained(records_dir, tmp_path_factory):
    """A config whose workdir holds a run of one step."""
    from configs import toy_city

    config = toy_city.get_config("smoke")
    config.workdir = str(tmp_path_factory.mktemp("trained") / "run")
    config.records.dir = str(records_dir)
    config.augment.size_px, config.mesh.data = 32, 1
    config.train.total, config.optim.warmup = "1 steps", "0 steps"
    config.readout.image = "pooled"
    loop.train(config)
    return config


def copied(config, tmp_path, **changes):
    config = config.copy_and_resolve_references()
    config.workdir = str(tmp_path / "run")
    config.update(changes)
    return config


def started(config):
    return experiment.build(config).init()


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def differ(ours, theirs):
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def test_a_run_starts_from_another_s_weights_and_its_own_optimiser(trained, tmp_path):
    config = copied(trained, tmp_path, init={"checkpoint": trained.workdir}, seed=1)
    theirs = checkpoint.load_arrays(checkpoint.latest(trained.workdir))
    state = started(config)
    assert_same(state.params, theirs["params"])
    assert_same(state.batch_stats, theirs["batch_stats"])
    assert state.step == 0
    loop.train(config)
    assert checkpoint.latest(config.workdir).name == "1"


def test_parts_are_taken_and_the_rest_stays_fresh(trained, tmp_path):
    init = {"checkpoint": trained.workdir, "parts": ("image_encoder", "poi_head")}
    theirs = checkpoint.load_arrays(checkpoint.latest(trained.workdir))
    state = started(copied(trained, tmp_path, init=init, seed=1))
    fresh = started(copied(trained, tmp_path, seed=1))
    for part, ours in state.params.items():
        taken = part in init["parts"]
        assert_same(ours, (theirs["params"] if taken else fresh.params)[part])
        assert differ(theirs["params"][part], fresh.params[part])
    assert_same(state.batch_stats, theirs["batch_stats"])


def test_a_bundle_of_parts_encodes_with_the_rest_random(trained, tmp_path):
    theirs = checkpoint.load_arrays(checkpoint.latest(trained.workdir))
    parts = {
        collection: {"image_encoder": tree["image_encoder"]}
        for collection, tree in theirs.items()
    }
    metadata = checkpoint.Metadata({}, (), 0, parts=("image_encoder",))
    bundle = checkpoint.save_model(tmp_path / "imported", parts, metadata)
    assert checkpoint.latest(tmp_path / "imported") == bundle

    source = open_source(trained)
    batch = next(experiment.build(trained).batches())
    whole = checkpoint.latest(trained.workdir)
    encoders = [
        inference.load_encoder(trained, whole, source),
        inference.load_encoder(trained, bundle, source),
        inference.random_encoder(trained, source),
    ]
    learnt, imported, random = (encoder.encode(batch) for encoder in encoders)
    pooled = [of["image"]["pooled"] for of in (imported, learnt)]
    np.testing.assert_allclose(*pooled, rtol=1e-6)
    imported, learnt, random = (
        of["poi"]["POI set"] for of in (imported, learnt, random)
    )
    np.testing.assert_allclose(imported, random, rtol=1e-6)
    assert not np.allclose(imported, learnt)


def test_all_arrays_that_do_not_fit_are_listed(trained, tmp_path):
    config = copied(trained, tmp_path, init={"checkpoint": trained.workdir})
    config.model.image_encoder.width = 12
    with pytest.raises(InputError) as error:
        started(config)
    message = str(error.value)
    assert "do not fit config.model" in message
    assert (
        "shape of image_encoder.conv1.kernel: (7, 7, 3, 8) in the checkpoint, "
        "(7, 7, 3, 12) here" in message
    )
    assert "image_encoder.layer3_0.conv2.kernel" in message


def test_arrays_of_another_architecture_are_listed(trained, tmp_path):
    config = copied(trained, tmp_path, init={"checkpoint": trained.workdir})
    config.model.image_encoder.blocks = 2
    with pytest.raises(InputError, match="missing: image_encoder.layer1_1.conv1.kern"):
        started(config)


def test_a_part_the_bundle_lacks_is_refused(trained, tmp_path):
    init = {"checkpoint": trained.workdir, "parts": ("head",)}
    with pytest.raises(
        InputError, match=r"parts=\('head',\); allowed: 'image_encoder'"
    ):
        started(copied(trained, tmp_path, init=init))
    bundle = checkpoint.latest(trained.workdir)
    with pytest.raises(InputError, match="has no 'head'; it has image_encoder, image_"):
        warm_start.start_from({}, bundle, categories=(), parts=("head",))


def test_other_categories_are_refused_unless_the_pois_stay_out(trained):
    variables = checkpoint.load_arrays(checkpoint.latest(trained.workdir))
    bundle = checkpoint.latest(trained.workdir)
    others = tuple("abcde")
    with pytest.raises(InputError, match="5 POI categories.*config.init.parts="):
        warm_start.start_from(variables, bundle, categories=others, parts=())
    variables = jax.tree.map(jax.numpy.asarray, variables)
    warm_start.start_from(
        variables, bundle, categories=others, parts=("image_encoder",)
    )


def test_a_folder_with_checkpoints_is_not_written_over(trained):
    metadata = checkpoint.Metadata({}, (), 0, parts=("image_encoder",))
    with pytest.raises(InputError, match="holds checkpoints already"):
        checkpoint.save_model(trained.workdir, {"params": {}}, metadata)
