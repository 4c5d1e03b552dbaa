"""DINOv2 and DINOv3 against timm and transformers: features, stages, gradients, files.

Each file is written by the library; what we make of it must say the same of images.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_vits
from oracles import import_oracle
from small_vits import assert_close, both, image, like_of, variables_of

from mmgr_jax.errors import InputError
from mmgr_jax.models import layouts, parts, torch_files, weights

SIZE_PX = {"dinov2_vits14": 70, "dinov2_vits14_reg": 70, "dinov3_vits16": 64}
SMALL = tuple(SIZE_PX)


def assert_same_stages(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == jnp.float32
        assert_close(ours[name], value)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dinov2_vits14", [(70, 70)]),
        ("dinov2_vits14_reg", [(70, 70)]),
        ("dinov3_vits16", [(64, 64), (96, 96), (64, 96)]),
    ],
)
def test_a_file_of_transformers_has_its_features(name, sizes, tmp_path):
    torch = import_oracle("torch")
    oracle, model = small_vits.of_transformers(name), small_vits.ours(name)
    oracle.save_pretrained(tmp_path)
    state_dict = torch_files.read_state_dict(tmp_path / "model.safetensors")
    variables = variables_of(model, state_dict, sizes[0][0])
    for size in sizes:
        x = image(*size)
        with torch.no_grad():
            theirs = oracle(small_vits.to_torch_image(x), output_hidden_states=True)
        expected = small_vits.stages_of(
            theirs.hidden_states, theirs.last_hidden_state, 1 + model.registers, (1,)
        )
        features, stages = both(model, variables, x)
        assert_close(features, theirs.pooler_output)
        assert_same_stages(stages, expected)


@pytest.mark.parametrize("name", SMALL)
def test_names_in_memory_are_read_as_those_in_files(name, tmp_path):
    """transformers 5 renames when it saves; torch.save(model.state_dict()) does not."""
    oracle, model = small_vits.of_transformers(name), small_vits.ours(name)
    import_oracle("torch").save(oracle.state_dict(), tmp_path / "w.pth")
    oracle.save_pretrained(tmp_path)
    variables = [
        variables_of(model, torch_files.read_state_dict(tmp_path / file), SIZE_PX[name])
        for file in ("w.pth", "model.safetensors")
    ]
    jax.tree.map(np.testing.assert_array_equal, *variables)


@pytest.mark.parametrize(
    ("name", "size", "suffix"),
    [
        ("dinov2_vits14", (70, 70), ".pth"),
        ("dinov2_vits14_reg", (70, 70), ".safetensors"),
        ("dinov3_vits16", (64, 96), ".safetensors"),
    ],
)
def test_a_file_of_timm_has_its_features_and_goes_back(name, size, suffix, tmp_path):
    torch = import_oracle("torch")
    oracle, model = small_vits.of_timm(name), small_vits.ours(name)
    path, x = tmp_path / f"w{suffix}", image(*size)
    if suffix == ".pth":
        torch.save(oracle.state_dict(), path)
    else:
        import_oracle("safetensors.torch").save_file(oracle.state_dict(), path)
    held = torch_files.read_state_dict(path)
    variables = variables_of(model, held, size[0])
    with torch.no_grad():
        t_x = small_vits.to_torch_image(x)
        expected = oracle(t_x)
        normed, taken = oracle.forward_intermediates(
            t_x, output_fmt="NLC", return_prefix_tokens=True
        )
    hidden = [None, *(torch.cat([prefix, patch], 1) for patch, prefix in taken)]
    features, stages = both(model, variables, x)
    assert_close(features, expected)
    first_patch = 1 + model.registers
    theirs = small_vits.stages_of(hidden, normed, first_patch, (1,))
    assert_same_stages(stages, theirs)

    out = parts.image_encoder_to_torch(
        {"params": {"image_encoder": variables["params"]}}
    )
    assert out.keys() == held.keys()
    for key, value in held.items():
        np.testing.assert_array_equal(out[key], value, err_msg=key)


def test_a_dinov3_of_timm_without_biases_is_one_with_zeros():
    oracle = small_vits.of_timm("dinov3_vits16", qkv_bias=False)
    model, x = small_vits.ours("dinov3_vits16"), image(64)
    state_dict = small_vits.state_dict_of(oracle)
    encoder = like_of(model, 64)["params"]["image_encoder"]
    _, notes = layouts.unified(state_dict, encoder)
    assert len(notes) == 1 and "they are 0" in notes[0]
    features, _ = both(model, variables_of(model, state_dict, 64), x)
    with import_oracle("torch").no_grad():
        assert_close(features, oracle(small_vits.to_torch_image(x)))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_equal_timm_s(name):
    torch = import_oracle("torch")
    oracle, model = small_vits.of_timm(name), small_vits.ours(name)
    x = image(SIZE_PX[name])
    variables = variables_of(model, small_vits.state_dict_of(oracle), x.shape[1])
    weight = np.random.default_rng(4).normal(size=(2, small_vits.WIDTH))
    weight = weight.astype(np.float32)

    def loss(variables):
        return jnp.sum(model.apply(variables, x, train=True) * weight)

    grads = weights.to_torch(jax.jit(jax.grad(loss))(variables))
    (oracle(small_vits.to_torch_image(x)) * torch.tensor(weight)).sum().backward()
    theirs = {key: p.grad.numpy() for key, p in oracle.named_parameters()}
    theirs, _ = layouts.unified(theirs, variables["params"])
    if name.endswith("_reg"):  # the same token and its position have one gradient
        np.testing.assert_array_equal(grads["pos_embed"][:, :1], grads["cls_token"])
        theirs["pos_embed"][:, :1] = theirs["cls_token"]
    assert grads.keys() == theirs.keys()
    for key, grad in theirs.items():
        assert_close(grads[key], grad, 2e-5)


def as_meta(name, state_dict, key_bias=0.0):
    """Weights under our names as Meta's repositories hold them.

    Their facebookresearch/dinov2 and dinov3, models/vision_transformer.py.
    """
    tokens = "storage_tokens" if name.startswith("dinov3") else "register_tokens"
    meta = {key.replace("reg_token", tokens): v for key, v in state_dict.items()}
    meta["mask_token"] = np.ones((1, small_vits.WIDTH), np.float32)
    if name.startswith("dinov3"):
        width, head_dim = small_vits.WIDTH, small_vits.WIDTH // small_vits.HEADS
        quarter = np.arange(head_dim // 4, dtype=np.float32) / (head_dim // 4)
        torch = import_oracle("torch")
        periods = torch.tensor(100.0**quarter).bfloat16().float().numpy()
        meta["rope_embed.periods"] = periods
        meta["local_cls_norm.weight"] = np.ones(width, np.float32)
        for block in range(small_vits.DEPTH):
            attention = f"blocks.{block}.attn"
            query, value = (meta.pop(f"{attention}.{of}_bias") for of in "qv")
            key = np.full(width, 7.0, np.float32)  # whatever: it is masked
            meta[f"{attention}.qkv.bias"] = np.concatenate([query, key, value])
            mask = np.repeat(np.float32([1, key_bias, 1]), width)
            meta[f"{attention}.qkv.bias_mask"] = mask
    return meta


@pytest.mark.parametrize("name", SMALL)
def test_meta_s_layout_is_read_as_timm_reads_it(name):
    torch = import_oracle("torch")
    model, oracle = small_vits.ours(name), small_vits.of_timm(name)
    size_px = SIZE_PX[name]
    like = like_of(model, size_px)
    rng = np.random.default_rng(5)
    random = jax.tree.map(
        lambda s: rng.normal(0, 0.1, s.shape).astype(np.float32), like
    )
    ours = {"params": random["params"]["image_encoder"]}
    meta = as_meta(name, weights.to_torch(ours))
    jax.tree.map(
        np.testing.assert_array_equal, variables_of(model, meta, size_px), ours
    )
    module = "eva" if name.startswith("dinov3") else "vision_transformer"
    convert = import_oracle(f"timm.models.{module}").checkpoint_filter_fn
    converted = convert({k: torch.tensor(v) for k, v in meta.items()}, oracle)
    oracle.load_state_dict(converted, strict=True)
    x = image(size_px)
    with torch.no_grad():
        expected = oracle(small_vits.to_torch_image(x))
    assert_close(both(model, ours, x)[0], expected)


def test_weights_of_another_make_are_refused_with_names():
    name = "dinov3_vits16"
    model = small_vits.ours(name)
    encoder = like_of(model, 64)["params"]["image_encoder"]
    ours = weights.to_torch(
        {"params": jax.tree.map(lambda s: np.ones(s.shape, np.float32), encoder)}
    )
    with pytest.raises(InputError, match=r"unexpected: blocks\.1\.attn\.qkv\.bias\n"):
        variables_of(model, as_meta(name, ours, key_bias=1.0), 64)
    meta = as_meta(name, ours)
    meta["rope_embed.periods"] = meta["rope_embed.periods"] * 2
    with pytest.raises(InputError, match="runs from 2 to .* periods from 1 to 31.6"):
        variables_of(model, meta, 64)
    gated = ours | {"layer.0.mlp.gate_proj.weight": np.ones((4, 4))}
    with pytest.raises(InputError, match=r"unexpected: blocks\.0\.mlp\.gate_proj"):
        variables_of(model, gated, 64)
    twice = ours | {"storage_tokens": ours["reg_token"]}
    with pytest.raises(InputError, match="unexpected: storage_tokens"):
        variables_of(model, twice, 64)
    with pytest.raises(InputError, match="missing: pos_embed .1, 26, 48."):
        variables_of(small_vits.ours("dinov2_vits14_reg"), ours, 70)


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov2_vits14_reg"])
def test_positions_are_resampled_as_timm_does(name):
    oracle, model = small_vits.of_timm(name), small_vits.ours(name)
    like = like_of(model, 98)
    encoder = like["params"]["image_encoder"]
    own, _ = layouts.unified(small_vits.state_dict_of(oracle), encoder)
    fitted, report = parts.with_resampled_positions(own, like)
    assert "5x5 positions resampled to 7x7" in report
    given = parts.image_encoder_from_torch(fitted, like)["params"]["image_encoder"]
    oracle.set_input_size(img_size=(98, 98))
    x = image(98)
    with import_oracle("torch").no_grad():
        expected = oracle(small_vits.to_torch_image(x))
    assert_close(both(model, {"params": given}, x)[0], expected)


def test_bfloat16_follows_float32():
    name = "dinov3_vits16"
    state_dict = small_vits.state_dict_of(small_vits.of_timm(name))
    exact = small_vits.ours(name)
    rough = exact.clone(dtype=jnp.bfloat16)
    variables = variables_of(exact, state_dict, 64)
    features, stages = both(exact, variables, image(64))
    rough_features, rough_stages = both(rough, variables, image(64))
    assert rough_features.dtype == jnp.bfloat16
    assert_close(rough_features.astype(jnp.float32), features, 0.03)
    for stage, value in stages.items():
        assert rough_stages[stage].dtype == jnp.float32
        assert_close(rough_stages[stage], value, 0.03)


def test_one_dinov3_reads_images_of_any_whole_patches():
    model = small_vits.ours("dinov3_vits16")
    assert like_of(model, 64) == like_of(model, 96)
    with pytest.raises(InputError, match="size_px=70: .* multiple of 16 such as 64"):
        like_of(model, 70)
    with pytest.raises(InputError, match="size_px=64: .* multiple of 14 such as 56"):
        like_of(small_vits.ours("dinov2_vits14"), 64)
