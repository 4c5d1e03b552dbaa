"""What of an image encoder learns: which parts, how fast, and what stays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_model

from mmgr_jax.errors import InputError
from mmgr_jax.losses.contrastive import mmgr_loss
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models import learning, vit
from mmgr_jax.models.learning import Learning
from mmgr_jax.train import optim, step

RESNET = ("conv1", "bn1", "layer1_0", "layer1_1", "layer2_0", "layer2_1", "layer3_0")
VIT = (
    "patch_embed",
    "cls_token",
    "pos_embed",
    "blocks_0",
    "blocks_9",
    "blocks_10",
    "norm",
)


def named(names):
    return {name: {"kernel": np.zeros(2)} for name in names}


def learnt(said, names):
    factors = Learning.parse(said).factors(named(names))
    return {name for name, factor in factors.items() if factor}


def test_the_last_stages_of_a_resnet_and_the_last_blocks_of_a_vit_learn():
    assert learnt("none", RESNET) == set()
    assert learnt("last:1", RESNET) == {"layer3_0"}
    assert learnt("last:2", RESNET) == {"layer2_0", "layer2_1", "layer3_0"}
    assert learnt("last:1", VIT) == {"blocks_10", "norm"}
    assert learnt("last:2", VIT) == {"blocks_9", "blocks_10", "norm"}
    assert learnt("all", VIT) == set(VIT)


def test_rates_fall_from_layer_to_layer_below_the_head():
    factors = Learning.parse("decay:0.5").factors(named(VIT))
    assert factors == {
        "norm": 0.5,
        "blocks_10": 0.25,
        "blocks_9": 0.125,
        "blocks_0": 0.0625,
        "patch_embed": 0.03125,
        "cls_token": 0.03125,
        "pos_embed": 0.03125,
    }


@pytest.mark.parametrize("said", ["last:0", "last:", "decay:1.5", "decay:0", None, 3])
def test_what_is_unknown_is_refused_with_what_is_allowed(said):
    with pytest.raises(
        InputError, match=r'train=.* is unknown; allowed: "all", "none"'
    ):
        small_model.build({"name": "resnet_small", "train": said})


def test_more_stages_than_there_are_is_refused():
    model = small_model.build({"name": "resnet_small", "width": 8, "train": "last:4"})
    with pytest.raises(InputError, match="last:4', but .* has 3 stages.* most last:3"):
        model.learning.part(small_model.shapes_of(model)["params"])


def test_parting_and_joining_is_the_identity():
    model = small_model.build({"name": "resnet_small", "width": 8, "train": "last:1"})
    params = small_model.shapes_of(model)["params"]
    learn, stay = model.learning.part(params)
    assert set(learn["image_encoder"]) == {"layer3_0"}
    assert set(stay) == {"image_encoder"}
    assert learning.joined(learn, stay) == params
    locked = Learning.parse("none")
    learn, stay = locked.part(params)
    assert "image_encoder" not in learn and learning.joined(learn, stay) == params


def stepped(model, tx, steps=2):
    """States of a run on random views, the first of them before it."""
    views, pois = small_model.batch(32)
    batch = {
        "poi_category": pois.category,
        "poi_offset_m": pois.offset_m,
        "poi_mask": pois.mask,
        "example_mask": jnp.ones(small_model.B, bool),
    }
    update = step.make_update(
        lambda *given: step.apply(model, *given),
        tx,
        loss=LossSettings(),
        learning=model.learning,
    )
    key = jax.random.key(0, impl="rbg")
    state = jax.jit(lambda: step.init_state(model, tx, key, small_model.SLOTS, 32))()
    states, update = [state], jax.jit(update)
    for _ in range(steps):
        states.append(update(states[-1], batch, views)[0])
    return jax.device_get(states)


def built(train):
    return small_model.build({"name": "resnet_small", "width": 4, "train": train})


@pytest.mark.parametrize("train", ["last:1", "none"])
def test_what_stays_is_the_same_bit_for_bit_and_has_no_optimiser_state(train):
    model = built(train)
    first, _, last = stepped(model, optax.adamw(0.1, weight_decay=0.1))
    _, before = model.learning.part(first.params)
    _, after = model.learning.part(last.params)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert old.tobytes() == new.tobytes()
    still = set(before["image_encoder"])
    moments = last.opt_state[0].mu
    assert not still & set(moments.get("image_encoder", {}))
    assert "image_head" in moments
    for name, stats in last.batch_stats["image_encoder"].items():
        old = first.batch_stats["image_encoder"][name]
        same = all(
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(stats), strict=True)
        )
        assert same == (name in still)
    moved, other = (
        state.params["image_head"]["linear1"]["kernel"] for state in (first, last)
    )
    assert np.abs(moved - other).max() > 0.01


def test_the_gradient_of_what_learns_is_that_of_the_whole():
    """The oracle: the gradient of everything, with the same statistics."""
    model = built("last:1")
    first, second = stepped(model, optax.sgd(1.0), steps=1)
    views, pois = small_model.batch(32)

    def loss(params):
        variables = {"params": params, "batch_stats": first.batch_stats}
        out, _ = model.apply(variables, views, pois, train=True, mutable="batch_stats")
        empty = ~jnp.any(pois.mask, axis=1)
        dense = LossSettings(implementation="dense")
        return mmgr_loss(**out, settings=dense, poi_empty=empty)[0]

    gradient = jax.jit(jax.grad(loss))(first.params)
    learnt_gradient, _ = model.learning.part(gradient)
    before, _ = model.learning.part(first.params)
    after, _ = model.learning.part(second.params)
    expected = optax.apply_updates(before, jax.tree.map(jnp.negative, learnt_gradient))
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(learnt_gradient))
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=2e-5 * scale
        ),
        after,
        expected,
    )


def test_rates_by_layer_scale_adam_s_own_updates():
    """Against optax's Adam on each layer apart, at that layer's rate."""
    names = ("conv1", "layer1_0", "layer2_0")
    rng = np.random.default_rng(0)

    def drawn():
        encoder = {name: {"w": rng.normal(size=3).astype("f4")} for name in names}
        return {"image_encoder": encoder, "poi_head": rng.normal(size=3).astype("f4")}

    params, gradients = drawn(), [drawn() for _ in range(3)]
    chosen = Learning.parse("decay:0.5")
    tx = optim.scaled_by_part(optax.adamw(0.1, weight_decay=0.2), chosen.factors_of_all)
    state, ours = tx.init(params), params
    for gradient in gradients:
        updates, state = tx.update(gradient, state, ours)
        ours = optax.apply_updates(ours, updates)

    rates = {"conv1": 0.0125, "layer1_0": 0.025, "layer2_0": 0.05}
    branches = [(0.1, lambda tree: tree["poi_head"])]
    branches += [
        (rate, lambda tree, name=name: tree["image_encoder"][name]["w"])
        for name, rate in rates.items()
    ]
    for rate, of in branches:
        oracle = optax.adamw(rate, weight_decay=0.2)
        theirs, state = of(params), oracle.init(of(params))
        for gradient in gradients:
            updates, state = oracle.update(of(gradient), state, theirs)
            theirs = optax.apply_updates(theirs, updates)
        np.testing.assert_allclose(of(ours), theirs, rtol=1e-6)


def test_a_vit_has_parts_of_these_names():
    encoder = vit.ViT(width=16, depth=2, num_heads=2)
    model = small_model.build().clone(image_encoder=encoder)
    parts = small_model.shapes_of(model)["params"]["image_encoder"]
    learning_parts = Learning.parse("last:1").factors(parts)
    assert {name for name, f in learning_parts.items() if f} == {"blocks_1", "norm"}
