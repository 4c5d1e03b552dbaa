"""A table of features as the tower: trained on, evaluated, and what is refused."""

import numpy as np
import pytest

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource, open_source
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference, mapping
from mmgr_jax.evaluation import run as evaluation
from mmgr_jax.store import checkpoint
from mmgr_jax.train import experiment, loop


@pytest.fixture
def table(records_dir, tmp_path):
    """Region ids in another order, with one too many, and their features."""
    source = RecordSource(records_dir)
    ids = [source[i]["region_id"] for i in range(len(source))]
    rng = np.random.default_rng(0)
    features = rng.normal(3.0, [1.0, 5.0, 0.1, 2.0, 0.0], (len(ids), 5)).astype("f4")
    order = rng.permutation(len(ids))
    np.savez(
        tmp_path / "features.npz",
        region_id=np.array([*np.array(ids)[order], "elsewhere"]),
        features=np.concatenate([features[order], np.full((1, 5), 1e9, "f4")]),
    )
    return features


@pytest.fixture
def on_table(small_config, table, tmp_path):
    """A config with the table as its tower."""
    c = small_config
    path = str(tmp_path / "features.npz")
    c.model.image_encoder = dict(name="table", path=path, train="none")
    c.loss.image_weight, c.readout.surroundings_m = 0.0, ()
    return c


def test_a_table_goes_from_training_to_evaluation_and_maps(on_table, table):
    loop.train(on_table)
    bundle = checkpoint.latest(on_table.workdir)
    stats = checkpoint.load_arrays(bundle)["batch_stats"]["image_encoder"]
    np.testing.assert_allclose(stats["mean"], table.mean(axis=0), rtol=1e-5)
    deviation = table.std(axis=0)
    deviation[4] = 1.0  # the column that is the same everywhere
    np.testing.assert_allclose(stats["deviation"], deviation, rtol=1e-4)
    assert not (bundle.parents[1] / "tower").exists()  # reading it is quick enough

    source = open_source(on_table)
    encoder = inference.load_encoder(on_table, bundle, source)
    batches = pipeline.epoch_batches(source, batch_size=16, num_threads=1)
    next(batches)
    found = encoder.encode(next(batches))["image"]
    assert {name: of.shape for name, of in found.items()} == {
        "table": (16, 5),
        "adapter": (16, 5),
    }
    expected = (table - table.mean(axis=0)) / deviation
    np.testing.assert_allclose(found["table"], expected[16:32], rtol=1e-4, atol=1e-5)

    on_table.eval.tasks = ("population",)
    on_table.eval.baselines = ("mean", "random encoder")
    on_table.eval.certainty.num_resamples = 0
    on_table.eval.curves.methods = ()
    report = evaluation.evaluate(on_table)
    assert {"MMGR image", "random image"} <= report.predictions["population"].keys()
    on_table.embed.features = "both"
    mapping.embed(on_table)


@pytest.mark.slow
def test_the_heads_learn_and_the_checkpoint_s_own_scale_counts(on_table, tmp_path):
    """Other rows under the same names are standardised as training's were."""
    loop.train(on_table)
    bundle = checkpoint.latest(on_table.workdir)
    arrays = checkpoint.load_arrays(bundle)
    fresh = experiment.build(on_table).init().params
    for part in ("image_head", "poi_encoder", "poi_head"):
        before, after = (
            np.concatenate([np.ravel(leaf) for leaf in experiment.jax.tree.leaves(of)])
            for of in (fresh[part], arrays["params"][part])
        )
        assert np.abs(before - after).max() > 1e-4, part
    there = dict(np.load(tmp_path / "features.npz"))
    np.savez(tmp_path / "other.npz", **there | {"features": there["features"] + 1.0})
    source = open_source(on_table)
    batch = next(pipeline.epoch_batches(source, batch_size=8, num_threads=1))
    read = inference.load_encoder(on_table, bundle, source).encode(batch)["image"]
    on_table.model.image_encoder.path = str(tmp_path / "other.npz")
    moved = inference.load_encoder(on_table, bundle, source).encode(batch)["image"]
    stats = arrays["batch_stats"]["image_encoder"]
    np.testing.assert_allclose(
        moved["table"] - read["table"],
        np.tile(1 / stats["deviation"], (8, 1)),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (dict(train="all"), 'numbers in a file are not trained.*train="none"'),
        (dict(kept_views=2), "kept_views=2, but a table has one row a region"),
        (dict(width=8), "a table has no width"),
        (dict(path=""), r"image_encoder.path is missing: name the file"),
        (dict(path="none.npz"), r"config.model.image_encoder.path: none.npz: no such"),
    ],
)
def test_what_a_table_cannot_do_is_refused(said, message, on_table):
    given = on_table.model.image_encoder.to_dict() | said
    on_table.model.image_encoder = given
    with pytest.raises(InputError, match=message):
        experiment.build(on_table)


def test_a_table_without_all_regions_is_refused(on_table, tmp_path):
    there = dict(np.load(tmp_path / "features.npz"))
    np.savez(tmp_path / "features.npz", **{k: v[3:] for k, v in there.items()})
    with pytest.raises(InputError, match="path: .* has no row for 3 of 40 regions"):
        experiment.build(on_table)


def test_both_views_the_same_need_no_image_loss(on_table):
    on_table.loss.image_weight = 0.5
    with pytest.raises(InputError, match="Set config.loss.image_weight=0.0.$"):
        experiment.build(on_table)


def test_a_table_has_nothing_to_fine_tune(on_table):
    loop.train(on_table)
    on_table.eval.protocols = ("linear", "finetune")
    with pytest.raises(InputError, match="'finetune' trains image encoders.*MMGR is a"):
        evaluation.evaluate(on_table)
