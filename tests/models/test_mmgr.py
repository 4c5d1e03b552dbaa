"""MMGR as a whole: the released model in PyTorch, counts, empty sets, the factory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_torchvision

from mmgr_jax.errors import InputError
from mmgr_jax.losses import mmgr_loss
from mmgr_jax.models import mmgr, resnet, weights

K, D = 20, 64
LENGTHS = (4, 1, 9, 2, 6)
SLOTS = 10
B = len(LENGTHS)
STAGES = (1, 1)  # two blocks: test_resnet.py has the depth
KEY = jax.random.key(0, impl="rbg")  # compiles in a third of the time


def build(image_encoder=None, poi_encoder=None, **options):
    defaults = dict(projection_dim=128, num_categories=K, category_dim=D)
    return mmgr.build(
        image_encoder=image_encoder or {"name": "resnet_small", "width": 8},
        poi_encoder=poi_encoder or {"name": "set2set"},
        **(defaults | options),
    )


def batch(size_px=64):
    rng = np.random.default_rng(0)
    mask = np.arange(SLOTS) < np.array(LENGTHS)[:, None]
    category = np.where(mask, rng.integers(0, K, (B, SLOTS)), -1)
    return (
        jnp.array(rng.normal(size=(2, B, size_px, size_px, 3)), jnp.float32),
        jnp.array(category, jnp.int32),
        jnp.zeros((B, SLOTS, 2)),
        jnp.array(mask),
    )


def shapes_of(model):
    return jax.eval_shape(
        lambda key: model.init(key, *batch(), train=True), jax.random.key(0)
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def with_one_block(dtype=jnp.float32):
    """The model with an image encoder that compiles fast; 8 features."""
    encoder = resnet.ResNet((1,), width=8, dtype=dtype)
    return build(dtype=dtype).clone(image_encoder=encoder)


@pytest.fixture(scope="module")
def model():
    return with_one_block()


@pytest.fixture(scope="module")
def variables(model):
    return jax.jit(lambda key: model.init(key, *batch(), train=True))(KEY)


def test_parameter_counts_are_those_of_the_released_model():
    params = shapes_of(build({"name": "resnet50"}))["params"]
    image_side = count(params["image_encoder"]) + count(params["image_head"])
    assert image_side == 27_966_656
    # Ours beyond the released 115,584: the table, and one vector for the empty set.
    poi_side = count(params["poi_encoder"]) + count(params["poi_head"])
    assert poi_side == 115_584 + K * D + 2 * D
    assert params["poi_encoder"]["category_vectors"].shape == (K, D)
    assert params["poi_encoder"]["empty"].shape == (2 * D,)


def released_model(table):
    """The released architecture and names, with a ResNet of two stages for speed."""
    torch = import_oracle("torch")
    aggr = import_oracle("torch_geometric.nn.aggr")
    nn = torch.nn
    torch.manual_seed(0)

    image_side = nn.Module()
    tv_resnet = import_torchvision().models.resnet
    image_side.encoder = tv_resnet.ResNet(tv_resnet.BasicBlock, (*STAGES, 1, 1))
    image_side.encoder.layer3 = image_side.encoder.layer4 = nn.Identity()
    image_side.encoder.fc = nn.Sequential(
        nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)
    )
    poi_side = nn.Module()
    poi_side.set2set = aggr.Set2Set(D, processing_steps=5)
    poi_side.linear1 = nn.Linear(2 * D, 256)
    poi_side.projector = nn.Sequential(nn.ReLU(), nn.Linear(256, 128))

    def forward(views, category, mask):
        z_image = [image_side.encoder(view) for view in views]
        x = torch.tensor(table)[category[mask]]
        index = torch.arange(B).repeat_interleave(torch.tensor(LENGTHS))
        z_poi = poi_side.projector(poi_side.linear1(poi_side.set2set(x, index)))
        return z_image, z_poi

    return image_side, poi_side, forward


def torch_nt_xent(z_a, z_b, temperature):
    torch = import_oracle("torch")
    z = torch.nn.functional.normalize(torch.cat([z_a, z_b]))
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * B).bool(), -torch.inf)
    target = torch.arange(2 * B).roll(B)
    return torch.nn.functional.cross_entropy(logits, target)


def released_state(module):
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def test_step_equals_the_released_model():
    """Loss, running statistics of two passes and head gradients, weights by name."""
    torch = import_oracle("torch")
    table = np.random.default_rng(1).normal(size=(K, D)).astype(np.float32)
    image_side, poi_side, forward = released_model(table)
    model = build(category_vectors=table).clone(image_encoder=resnet.ResNet(STAGES))
    like = shapes_of(model)
    image_like = {
        "params": {k: like["params"][k] for k in ("image_encoder", "image_head")},
        "batch_stats": like["batch_stats"],
    }
    poi_like = {"params": {k: like["params"][k] for k in ("poi_encoder", "poi_head")}}
    poi_like["params"]["poi_encoder"] |= {
        "category_vectors": table,
        "empty": np.zeros(2 * D, np.float32),
    }
    image = weights.from_torch(
        released_state(image_side), image_like, rename=weights.RELEASED_IMAGE
    )
    poi = weights.from_torch(
        released_state(poi_side),
        poi_like,
        rename=weights.RELEASED_POI,
        keep=weights.NOT_RELEASED,
    )
    views, category, offset_m, mask = batch()

    def loss(params):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": image["batch_stats"]},
            views,
            category,
            offset_m,
            mask,
            train=True,
            mutable=["batch_stats"],
        )
        total, _ = mmgr_loss(
            outputs["z_image"], outputs["z_poi"], temperature=0.5, image_weight=0.5
        )
        return total, updates

    params = image["params"] | poi["params"]
    (value, updates), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    t_views = torch.tensor(np.array(views).transpose(0, 1, 4, 2, 3))
    z_image, z_poi = forward(
        t_views, torch.tensor(np.array(category)), torch.tensor(np.array(mask))
    )
    t_value = 0.5 * torch_nt_xent(z_image[0], z_poi, 0.5) + 0.5 * torch_nt_xent(
        z_image[0], z_image[1], 0.5
    )
    t_value.backward()
    np.testing.assert_allclose(value, t_value.detach(), rtol=1e-5)

    stats = weights.to_torch(updates, rename=weights.RELEASED_IMAGE)
    for name, buffer in image_side.named_buffers():
        if "num_batches" not in name:
            assert_close(stats[name], buffer, 1e-4)
    ours = weights.to_torch({"params": grads}, rename=weights.RELEASED_POI)
    for name, parameter in poi_side.named_parameters():
        assert_close(ours[name], parameter.grad, 1e-3)
    ours = weights.to_torch({"params": grads}, rename=weights.RELEASED_IMAGE)
    for name, parameter in image_side.encoder.fc.named_parameters():
        assert_close(ours[f"encoder.fc.{name}"], parameter.grad, 1e-3)


def assert_close(ours, theirs, close):
    """Within `close` of the largest value."""
    theirs = theirs.detach().numpy()
    assert np.max(np.abs(ours - theirs)) <= close * np.max(np.abs(theirs)) + 1e-9


def poi_encoder_and_batch(**options):
    model = mmgr.PoiEncoder(K, D, **options)
    _, *pois = batch()
    return model, jax.jit(model.init)(KEY, *pois), pois


@pytest.mark.parametrize(("vectors", "learnt"), [("frozen", False), ("tuned", True)])
def test_frozen_vectors_get_no_gradient_and_tuned_ones_do(vectors, learnt):
    model, variables, pois = poi_encoder_and_batch(vectors=vectors)

    @jax.jit
    @jax.grad
    def grad(variables):
        return jnp.sum(model.apply(variables, *pois) ** 2)

    assert np.any(grad(variables)["params"]["category_vectors"]) == learnt


def test_empty_sets_share_one_learnt_vector():
    model, variables, (category, offset_m, mask) = poi_encoder_and_batch()
    mask = mask.at[1].set(False).at[3].set(False)

    def loss(variables):
        pooled = model.apply(variables, category, offset_m, mask)
        return jnp.sum(jnp.sin(pooled)), pooled

    (_, rows), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    empty = variables["params"]["empty"]
    np.testing.assert_array_equal(rows[1], empty)
    np.testing.assert_array_equal(rows[3], empty)
    assert not np.allclose(rows[0], empty)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    np.testing.assert_allclose(grads["params"]["empty"], 2.0 * np.cos(empty), rtol=1e-5)


def test_ids_of_padding_may_be_anything(model, variables):
    views, category, offset_m, mask = batch()
    encode = jax.jit(lambda *pois: model.apply(variables, *pois, method="encode_pois"))
    expected = encode(category, offset_m, mask)
    result = encode(jnp.where(mask, category, 10**6), offset_m, mask)
    np.testing.assert_array_equal(result, expected)


def test_methods_are_the_parts_of_the_whole(model, variables):
    views, category, offset_m, mask = batch()

    @jax.jit
    def whole(variables):
        return model.apply(variables, views, category, offset_m, mask, train=False)

    @jax.jit
    def parts(variables):
        features = model.apply(variables, views[1], method="encode_image")
        pooled = model.apply(variables, category, offset_m, mask, method="encode_pois")
        z_image = model.apply(variables, features, method="project_image")
        z_poi = model.apply(variables, pooled, method="project_pois")
        return features, pooled, z_image, z_poi

    outputs = whole(variables)
    features, pooled, z_image, z_poi = parts(variables)
    assert features.shape == (B, 8)
    assert pooled.shape == (B, 2 * D)
    assert outputs["z_image"].shape == (2, B, 128)
    np.testing.assert_allclose(outputs["z_image"][1], z_image, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outputs["z_poi"], z_poi, rtol=1e-4, atol=1e-6)


def test_views_have_their_own_statistics_and_move_the_running_ones_in_turn(
    model, variables
):
    views, *pois = batch()
    views = views.at[1].multiply(3.0)

    @jax.jit
    def run(variables, views):
        return model.apply(
            variables, views, *pois, train=True, mutable=["batch_stats"]
        )[1]["batch_stats"]

    both = run(variables, views)
    in_turn = variables
    encode = jax.jit(
        lambda v, x: model.apply(
            v, x, train=True, mutable=["batch_stats"], method="encode_image"
        )[1]
    )
    for view in views:
        in_turn = {**in_turn, **encode(in_turn, view)}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        both,
        in_turn["batch_stats"],
    )


def test_initial_image_projection_is_small_as_released(variables):
    last = variables["params"]["image_head"]["linear2"]
    assert not np.any(last["bias"])
    np.testing.assert_allclose(np.std(last["kernel"]), 0.01, rtol=0.05)
    linear = variables["params"]["poi_head"]["linear1"]
    assert 0.99 < np.max(np.abs(linear["kernel"])) * np.sqrt(2 * D) <= 1.0
    assert np.any(linear["bias"])


def test_given_category_vectors_are_the_initial_table():
    table = np.random.default_rng(2).normal(size=(K, D)).astype(np.float32)
    encoder = build(category_vectors=table).poi_encoder
    _, *pois = batch()
    variables = jax.jit(encoder.init)(KEY, *pois)
    np.testing.assert_array_equal(variables["params"]["category_vectors"], table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_encoder": {"name": "resnet51"}},
            "model.image_encoder.name='resnet51' is unknown: "
            "choose one of resnet18, resnet50, resnet_small",
        ),
        (
            {"poi_encoder": {"name": "gcn"}},
            "model.poi_encoder.name='gcn' is unknown: choose one of set2set",
        ),
        (
            {"poi_encoder": {"name": "set2set", "vectors": "warm"}},
            "model.poi_encoder.vectors='warm' is unknown: choose one of frozen, tuned",
        ),
        (
            {"category_vectors": np.zeros((3, D), np.float32)},
            r"category_vectors has shape (3, 64), but the records have "
            r"(num_categories, category_dim) = (20, 64)",
        ),
    ],
)
def test_factory_names_the_fault(options, message):
    with pytest.raises(InputError) as error:
        build(**options)
    assert message in str(error.value)


def test_an_unread_key_is_a_type_error():
    with pytest.raises(TypeError, match="widht"):
        build({"name": "resnet_small", "widht": 8})


def test_bfloat16_keeps_float32_parameters():
    model = build(dtype=jnp.bfloat16)
    like = shapes_of(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(like)} == {jnp.dtype("float32")}
    outputs = jax.eval_shape(lambda v: model.apply(v, *batch(), train=False), like)
    assert outputs["z_image"].dtype == jnp.bfloat16
    assert outputs["z_poi"].dtype == jnp.float32


def test_bfloat16_loss_and_gradients_are_finite_float32(variables):
    """With half of the sets empty: their one vector learns as well."""
    model = with_one_block(jnp.bfloat16)
    views, category, offset_m, mask = batch()
    mask = mask.at[::2].set(False)

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            views,
            category,
            offset_m,
            mask,
            train=True,
            mutable=["batch_stats"],
        )
        return mmgr_loss(
            outputs["z_image"],
            outputs["z_poi"],
            temperature=0.5,
            image_weight=0.5,
            poi_empty=~jnp.any(mask, axis=1),
        )[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert value.dtype == jnp.float32
    assert 0.0 < value < 2.0 * np.log(2 * B)
    for leaf in jax.tree.leaves(grads):
        assert leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf))
    assert np.any(grads["poi_encoder"]["empty"])
    assert np.any(grads["image_encoder"]["conv1"]["kernel"])
