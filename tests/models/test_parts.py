"""Encoders to and from torchvision and timm, MMGR's parts in the released layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_timm, import_torchvision
from small_model import D, build, shapes_of

from mmgr_jax.errors import InputError
from mmgr_jax.models import parts, resnet, vit

IMAGE_PARTS = ("image_encoder", "image_head")
POI_PARTS = ("poi_encoder", "poi_head")
FACTORIES = {**resnet.FACTORIES, **vit.FACTORIES}


def encoder_like(encoder, size_px=224):
    """Shapes of an image encoder as a part of MMGR."""
    shapes = jax.eval_shape(
        lambda key: encoder.init(key, jnp.zeros((1, size_px, size_px, 3)), train=True),
        jax.random.key(0),
    )
    return {name: {"image_encoder": tree} for name, tree in shapes.items()}


def randomised(oracle):
    """Its state dict, every number different, and the counters at 0."""
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(size=tuple(value.shape)).astype(np.float32)
        if value.is_floating_point()
        else np.zeros(tuple(value.shape), np.int64)
        for name, value in oracle.state_dict().items()
    }


def load_strictly(oracle, state_dict):
    """What the PyTorch module holds after it has loaded our weights."""
    torch = import_oracle("torch")
    state_dict = {k: torch.tensor(np.array(v)) for k, v in state_dict.items()}
    oracle.load_state_dict(state_dict, strict=True)
    return {name: value.numpy() for name, value in oracle.state_dict().items()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def small_vit(size_px, **options):
    """A ViT of ours and timm's of the same sizes."""
    import_timm()
    transformer = import_oracle("timm.models.vision_transformer").VisionTransformer
    oracle = transformer(
        **(dict(num_classes=0) | options),
        img_size=size_px,
        embed_dim=48,
        depth=2,
        num_heads=3,
    )
    return vit.ViT(width=48, depth=2, num_heads=3), oracle


def torchvision_oracle(name):
    oracle = getattr(import_torchvision().models, name)()
    oracle.fc = import_oracle("torch").nn.Identity()
    return oracle


def timm_oracle(name):
    return import_timm().create_model(name, num_classes=0)


@pytest.mark.parametrize(
    ("name", "make_oracle", "oracle_name"),
    [
        ("resnet18", torchvision_oracle, "resnet18"),
        ("resnet18", timm_oracle, "resnet18"),
        ("resnet50", torchvision_oracle, "resnet50"),
        ("resnet50", timm_oracle, "resnet50"),
        ("vit_small16", timm_oracle, "vit_small_patch16_224"),
    ],
)
def test_there_and_back_is_exact_and_loads_strictly(name, make_oracle, oracle_name):
    oracle = make_oracle(oracle_name)
    theirs = randomised(oracle)
    like = encoder_like(FACTORIES[name]())
    variables = parts.image_encoder_from_torch(theirs, like)
    assert jax.tree.structure(variables) == jax.tree.structure(like)
    ours = parts.image_encoder_to_torch(variables)
    assert_same(ours, theirs)
    assert_same(load_strictly(oracle, ours), theirs)


def test_the_classifier_of_a_vit_is_left_out():
    encoder, oracle = small_vit(32, num_classes=10)
    theirs = randomised(oracle)
    like = encoder_like(encoder, 32)
    ours = parts.image_encoder_to_torch(parts.image_encoder_from_torch(theirs, like))
    assert theirs.keys() - ours.keys() == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"pre_norm": True}, ["unexpected: norm_pre.weight", "missing: patch_embed"]),
        ({"global_pool": "avg"}, ["unexpected: fc_norm.bias", "missing: norm.weight"]),
        ({"qkv_bias": False}, ["missing: blocks.1.attn.qkv.bias (144,)"]),
        ({"init_values": 1.0}, ["unexpected: blocks.0.ls1.gamma"]),
        ({"patch_size": 8}, ["shape of patch_embed.proj.weight: (48, 3, 8, 8), exp"]),
    ],
)
def test_a_vit_of_another_make_is_refused(options, faults):
    encoder, oracle = small_vit(32, **options)
    with pytest.raises(InputError) as error:
        parts.image_encoder_from_torch(randomised(oracle), encoder_like(encoder, 32))
    for fault in faults:
        assert fault in str(error.value)


@pytest.mark.parametrize(("held_px", "wanted_px"), [(224, 64), (32, 96)])
def test_positions_are_resampled_on_demand_as_timm_does(held_px, wanted_px):
    encoder, oracle = small_vit(held_px)
    theirs = randomised(oracle)
    like = encoder_like(encoder, wanted_px)
    with pytest.raises(InputError, match=r"shape of pos_embed: .*resample them, or"):
        parts.image_encoder_from_torch(theirs, like)
    fitted, report = parts.with_resampled_positions(theirs, like)
    old, new = held_px // 16, wanted_px // 16
    assert report.startswith(f"pos_embed: {old}x{old} positions resampled to {new}x")
    load_strictly(oracle, theirs)
    oracle.set_input_size(img_size=(wanted_px, wanted_px))
    expected = {name: value.numpy() for name, value in oracle.state_dict().items()}
    ours = parts.image_encoder_to_torch(parts.image_encoder_from_torch(fitted, like))
    np.testing.assert_allclose(
        ours.pop("pos_embed"), expected.pop("pos_embed"), rtol=1e-5, atol=1e-5
    )
    assert_same(ours, expected)


def test_positions_that_fit_or_are_none_stay_as_they_are():
    encoder, oracle = small_vit(32)
    theirs = randomised(oracle)
    like = encoder_like(encoder, 32)
    assert parts.with_resampled_positions(theirs, like) == (theirs, None)
    like = encoder_like(resnet.resnet_small(width=8), 32)
    assert parts.with_resampled_positions(theirs, like) == (theirs, None)


@pytest.mark.parametrize("shape", [(1, 196, 48), (1, 8, 48), (1, 1, 48), (197, 48)])
def test_positions_of_no_square_image_are_refused(shape):
    like = encoder_like(small_vit(32)[0], 32)
    with pytest.raises(InputError, match="a class token and a square image"):
        parts.with_resampled_positions({"pos_embed": np.zeros(shape)}, like)


@pytest.fixture(scope="module")
def variables():
    """Of the released architecture, with the smaller ResNet; every number different."""
    like = shapes_of(build({"name": "resnet18"}))
    rng = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), like
    )


@pytest.fixture(scope="module")
def released():
    """Both sides in PyTorch: the released modules and names."""
    nn = import_oracle("torch").nn
    image_side, poi_side = nn.Module(), nn.Module()
    image_side.encoder = import_torchvision().models.resnet18()
    image_side.encoder.fc = nn.Sequential(
        nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128)
    )
    aggr = import_oracle("torch_geometric.nn.aggr")
    poi_side.set2set = aggr.Set2Set(D, processing_steps=5)
    poi_side.linear1 = nn.Linear(2 * D, 256)
    poi_side.projector = nn.Sequential(nn.ReLU(), nn.Linear(256, 128))
    return image_side, poi_side


def assert_same_variables(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def only(variables, names):
    """Parts of MMGR, less what the released layout lacks."""
    own = {c: {n: t[n] for n in names if n in t} for c, t in variables.items()}
    if "poi_encoder" in names:
        lstm = variables["params"]["poi_encoder"]["pool"]["lstm"]
        own["params"]["poi_encoder"] = {"pool": {"lstm": lstm}}
    return {c: tree for c, tree in own.items() if tree}


def test_both_sides_load_strictly_into_the_released_modules(variables, released):
    for module, names in zip(released, (IMAGE_PARTS, POI_PARTS), strict=True):
        ours = parts.parts_to_released(variables, names)
        theirs = load_strictly(module, ours)
        assert_same(ours, theirs)
        back = parts.parts_from_released(theirs, variables, names)
        assert_same_variables(back, only(variables, names))


@pytest.mark.parametrize("part", [*IMAGE_PARTS, *POI_PARTS])
def test_one_part_comes_alone_from_both_released_files(variables, released, part):
    theirs = randomised(released[0]) | randomised(released[1])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    own = parts.parts_from_released(theirs, like, (part,))
    assert jax.tree.structure(own) == jax.tree.structure(only(variables, (part,)))
    state_dict = parts.parts_to_released(own, (part,))
    assert_same(state_dict, {name: theirs[name] for name in state_dict})


def test_names_of_no_part_are_listed(variables):
    state_dict = parts.parts_to_released(variables, POI_PARTS)
    state_dict["conv.weight"] = np.zeros(2)
    with pytest.raises(InputError, match="unexpected: conv.weight"):
        parts.parts_from_released(state_dict, variables, ("poi_head",))


def test_another_architecture_has_no_released_layout(variables):
    poi_encoder = {"context": {"kernel": np.zeros((2, 2))}, "pool": {"query": 1.0}}
    other = {"params": {**variables["params"], "poi_encoder": poi_encoder}}
    with pytest.raises(InputError) as error:
        parts.parts_to_released(other, POI_PARTS)
    message = str(error.value)
    assert "another poi_encoder or poi_head" in message
    assert "unexpected: poi_encoder.context.kernel" in message
    assert "unexpected: poi_encoder.pool.query" in message
    assert "missing: poi_encoder.pool.lstm.*" in message


def test_unknown_parts_are_refused(variables):
    with pytest.raises(InputError, match="part 'head' .* allowed: image_encoder, im"):
        parts.parts_to_released(variables, ("head",))
