"""The named DINOv2 and DINOv3: counts, names, pixels; what one chooses of a ViT."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_timm, import_torchvision
from small_vits import KEY, image, like_of

from mmgr_jax.errors import InputError
from mmgr_jax.models import dino, mmgr, parts, vit
from mmgr_jax.models.settings import ModelSettings

ARCHITECTURES = [
    ("dinov2_vits14", "vit_small_patch14_dinov2", 518),
    ("dinov2_vits14_reg", "vit_small_patch14_reg4_dinov2", 518),
    ("dinov2_vitb14", "vit_base_patch14_dinov2", 518),
    ("dinov2_vitb14_reg", "vit_base_patch14_reg4_dinov2", 518),
    ("dinov3_vits16", "vit_small_patch16_dinov3_qkvb", 256),
    ("dinov3_vitb16", "vit_base_patch16_dinov3_qkvb", 256),
    ("dinov3_vitl16", "vit_large_patch16_dinov3_qkvb", 256),
]


@pytest.mark.parametrize(("name", "timm_name", "size_px"), ARCHITECTURES)
def test_architectures_have_timm_s_names_and_shapes(name, timm_name, size_px):
    model = dino.FACTORIES[name]()
    shapes = like_of(model, size_px)
    # Not one number of these is held: broadcasting repeats a single zero.
    empty = jax.tree.map(lambda s: np.broadcast_to(np.float32(0), s.shape), shapes)
    with import_oracle("torch").device("meta"):
        oracle = import_timm().create_model(timm_name, num_classes=0)
    theirs = {key: tuple(value.shape) for key, value in oracle.state_dict().items()}
    ours = parts.image_encoder_to_torch(empty)
    assert {key: value.shape for key, value in ours.items()} == theirs
    assert model.feature_dim == shapes["params"]["image_encoder"]["cls_token"].shape[2]


# What transformers' models hold less their mask token, a number a channel.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("dinov2_vits14", 22_056_192),
        ("dinov2_vitb14_reg", 86_582_784),
        ("dinov3_vits16", 21_596_160),
        ("dinov3_vitb16", 85_659_648),
        ("dinov3_vitl16", 303_128_576),
    ],
)
def test_parameter_counts_are_those_of_transformers(name, count):
    import_torchvision()
    library = import_oracle("transformers")
    ours = dino.FACTORIES[name]()
    options = dict(
        hidden_size=ours.width,
        num_hidden_layers=ours.depth,
        num_attention_heads=ours.num_heads,
    )
    if name.startswith("dinov3"):
        options |= dict(num_register_tokens=4, intermediate_size=4 * ours.width)
        make, config = library.DINOv3ViTModel, library.DINOv3ViTConfig(**options)
    else:
        options |= dict(image_size=518, patch_size=14)
        kind = "Dinov2WithRegisters" if name.endswith("_reg") else "Dinov2"
        config = getattr(library, f"{kind}Config")(**options)
        make = getattr(library, f"{kind}Model")
    with import_oracle("torch").device("meta"):
        theirs = sum(p.numel() for p in make(config).parameters()) - ours.width
    shapes = like_of(ours, 518 if "v2" in name else 256)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == theirs == count


@pytest.mark.parametrize(
    ("depth", "layers", "read"),
    [
        (12, (), (4, 8)),
        (24, (), (8, 16)),
        (2, (), (1,)),
        (1, (), ()),
        (12, (12, 3, 3), (3, 12)),
    ],
)
def test_layers_to_read(depth, layers, read):
    model = vit.ViT(width=48, depth=depth, num_heads=3, layers=layers)
    assert model.read_layers == read
    shapes = jax.eval_shape(
        partial(model.init, train=False, every_stage=True), KEY, image(32)
    )
    stages = jax.eval_shape(
        partial(model.apply, train=False, every_stage=True), shapes, image(32)
    )
    names = [*(f"layer {number}" for number in read), "last"]
    assert {name: stage.shape for name, stage in stages.items()} == {
        name: (2, 96) for name in names
    }
    assert {stage.dtype for stage in stages.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (4, 13)}, "layers=.4, 13.: there is no block 13.* from 1 to 12"),
        ({"layers": (0,)}, "there is no block 0"),
        ({"pixels": "caffe"}, "pixels='caffe' is unknown; allowed: imagenet, half, s"),
        ({"width": 8}, "does not take one of the keys width .*set it anew"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        mmgr.build(
            ModelSettings(image_encoder={"name": "dinov3_vits16", **options}),
            num_categories=3,
            category_dim=4,
        )


# timm's default_cfg of the weights.
@pytest.mark.parametrize(
    ("name", "timm_name"),
    [
        ("vit_small16_augreg", "vit_small_patch16_224.augreg_in21k"),
        ("vit_base16_augreg", "vit_base_patch16_224.augreg_in21k"),
        ("dinov2_vits14", "vit_small_patch14_dinov2.lvd142m"),
        ("dinov2_vitb14_reg", "vit_base_patch14_reg4_dinov2.lvd142m"),
        ("dinov3_vitb16", "vit_base_patch16_dinov3.lvd1689m"),
        ("dinov3_vitl16", "vit_large_patch16_dinov3.lvd1689m"),
        ("dinov3_vitl16_sat493m", "vit_large_patch16_dinov3.sat493m"),
    ],
)
def test_pixels_are_normalised_as_the_weights_want(name, timm_name):
    model = mmgr.IMAGE_ENCODERS[name]()
    config = import_timm().models.get_pretrained_cfg(timm_name)
    assert (model.pixel_mean, model.pixel_std) == (config.mean, config.std)
