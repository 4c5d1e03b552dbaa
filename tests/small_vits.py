"""Small transformers of ours, timm and transformers, and what they say of images."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from oracles import import_oracle, import_timm, import_torchvision

from mmgr_jax.models import dino, layouts, parts, vit

WIDTH, DEPTH, HEADS = 48, 2, 3
DINOV2_PX = 70  # five patches of 14
KEY = jax.random.key(0, impl="rbg")


def ours(name):
    """A small encoder that is otherwise the named one."""
    named = (vit.FACTORIES | dino.FACTORIES)[name]()
    return named.clone(width=WIDTH, depth=DEPTH, num_heads=HEADS, parent=None)


def randomised(oracle):
    """Every parameter off its start, so that no term hides behind a 0 or 1."""
    torch = import_oracle("torch")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return oracle.eval()


def of_transformers(name):
    """The small encoder of the same architecture in transformers."""
    import_torchvision()  # which it imports, see there
    library = import_oracle("transformers")
    options = dict(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS
    )
    if name.startswith("dinov3"):
        config = library.DINOv3ViTConfig(
            **options, intermediate_size=4 * WIDTH, num_register_tokens=4
        )
        return randomised(library.DINOv3ViTModel(config))
    options |= dict(image_size=DINOV2_PX, patch_size=14)
    if name.endswith("_reg"):
        config = library.Dinov2WithRegistersConfig(**options)
        return randomised(library.Dinov2WithRegistersModel(config))
    return randomised(library.Dinov2Model(library.Dinov2Config(**options)))


def of_timm(name, **options):
    """The small encoder of the same architecture in timm, without classifier."""
    import_timm()
    options = dict(embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=0) | (
        options
    )
    if name.startswith("dinov3"):
        norm = import_oracle("torch").nn.LayerNorm
        return randomised(
            import_oracle("timm.models.eva").Eva(
                **dict(qkv_bias=True) | options,
                img_size=64,
                dynamic_img_size=True,
                init_values=1e-5,
                rope_type="dinov3",
                rope_temperature=100,
                rope_rotate_half=True,
                use_rot_pos_emb=True,
                use_abs_pos_emb=False,
                num_reg_tokens=4,
                use_fc_norm=False,
                global_pool="token",
                norm_layer=lambda *args, **kwargs: norm(*args, eps=1e-5, **kwargs),
            )
        )
    if name.endswith("_reg"):
        options |= dict(reg_tokens=4, no_embed_class=True)
    transformer = import_oracle("timm.models.vision_transformer").VisionTransformer
    return randomised(
        transformer(**options, img_size=DINOV2_PX, patch_size=14, init_values=1e-5)
    )


def state_dict_of(oracle):
    return {name: value.numpy().copy() for name, value in oracle.state_dict().items()}


def to_torch_image(image):
    return import_oracle("torch").tensor(np.array(image).transpose(0, 3, 1, 2))


def stages_of(hidden_states, normed, first_patch, layers):
    """What `every_stage` is to be, of tokens after each block and after the norm."""
    stages = {}
    for number in layers:
        patches = np.asarray(hidden_states[number])[:, first_patch:]
        found = np.concatenate([patches.mean(1), patches.std(1)], axis=1)
        stages[f"layer {number}"] = found
    normed = np.asarray(normed)
    last = np.concatenate([normed[:, 0], normed[:, first_patch:].mean(1)], axis=1)
    return stages | {"last": last}


def image(height, width=None, b=2):
    rng = np.random.default_rng(3)
    shape = (b, height, width or height, 3)
    return jnp.array(rng.normal(size=shape), jnp.float32)


def like_of(model, size_px):
    """Shapes of an encoder as the one part of MMGR."""
    shapes = jax.eval_shape(partial(model.init, train=True), KEY, image(size_px, b=1))
    return {"params": {"image_encoder": shapes["params"]}}


def variables_of(model, state_dict, size_px):
    """Our variables of a state dict in any layout."""
    like = like_of(model, size_px)
    own, _ = layouts.unified(state_dict, like["params"]["image_encoder"])
    given = parts.image_encoder_from_torch(own, like)
    return {"params": given["params"]["image_encoder"]}


def both(model, variables, x):
    """Features, and those of every stage."""

    @jax.jit
    def apply(variables, x):
        return [
            model.apply(variables, x, train=False, every_stage=every_stage)
            for every_stage in (False, True)
        ]

    return apply(variables, x)


def assert_close(ours, theirs, close=1e-5):
    """Within `close` of the largest value."""
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.max(np.abs(np.asarray(ours) - theirs)) <= close * np.max(np.abs(theirs))
