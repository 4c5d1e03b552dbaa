"""ViT against timm: outputs, gradients, counts, positions; image sizes it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_timm
from small_model import batch, build
from small_vits import randomised

from mmgr_jax.errors import InputError
from mmgr_jax.models import transformer, vit, weights
from mmgr_jax.train.step import init_variables

SMALL = dict(width=48, depth=2, num_heads=3)
KEY = jax.random.key(0, impl="rbg")


def image(b, size_px=32):
    rng = np.random.default_rng(3)
    return jnp.array(rng.normal(size=(b, size_px, size_px, 3)), jnp.float32)


def shapes_of(model, size_px=32):
    return jax.eval_shape(partial(model.init, train=True), KEY, image(1, size_px))


def small_oracle():
    import_timm()
    transformer = import_oracle("timm.models.vision_transformer").VisionTransformer
    oracle = transformer(img_size=32, embed_dim=48, depth=2, num_heads=3, num_classes=0)
    return randomised(oracle)


def state_dict_of(oracle):
    return {name: value.numpy().copy() for name, value in oracle.state_dict().items()}


def to_torch_image(x):
    return import_oracle("torch").tensor(np.array(x).transpose(0, 3, 1, 2))


def assert_close(ours, theirs, close=1e-5):
    """Within `close` of the largest value."""
    theirs = np.asarray(theirs)
    assert np.max(np.abs(np.asarray(ours) - theirs)) <= close * np.max(np.abs(theirs))


def test_output_and_gradients_equal_timm():
    torch = import_oracle("torch")
    oracle, model, x = small_oracle(), vit.ViT(**SMALL), image(3)
    params = weights.from_torch(state_dict_of(oracle), shapes_of(model))["params"]
    weight = np.random.default_rng(4).normal(size=(3, 48)).astype(np.float32)

    def loss(params, x):
        y = model.apply({"params": params}, x, train=True)
        return jnp.sum(y * weight), y

    (_, y), (grads, grad_x) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(params, x)
    t_x = to_torch_image(x).requires_grad_()
    t_y = oracle(t_x)
    (t_y * torch.tensor(weight)).sum().backward()
    assert_close(y, t_y.detach())
    assert_close(np.transpose(grad_x, (0, 3, 1, 2)), t_x.grad)
    ours = weights.to_torch({"params": grads})
    theirs = {name: p.grad.numpy() for name, p in oracle.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        assert_close(ours[name], grad)


def test_vit_small_at_224_px_equals_timm():
    oracle = import_timm().create_model("vit_small_patch16_224", num_classes=0)
    oracle, model, x = randomised(oracle), vit.vit_small16(), image(1, 224)
    variables = weights.from_torch(state_dict_of(oracle), shapes_of(model, 224))
    features = jax.jit(partial(model.apply, train=False))(variables, x)
    assert_close(features, oracle(to_torch_image(x)).detach())


def test_every_stage_equals_timm():
    torch = import_oracle("torch")
    oracle, x = small_oracle(), image(3)
    model = vit.ViT(**SMALL, layers=(1, 2))
    variables = weights.from_torch(state_dict_of(oracle), shapes_of(model))
    apply = partial(model.apply, train=False, every_stage=True)
    ours = jax.jit(apply)(variables, x)
    with torch.no_grad():
        normed, patches = oracle.forward_intermediates(
            to_torch_image(x), output_fmt="NLC"
        )
    for number, tokens in enumerate(patches, start=1):
        expected = torch.cat([tokens.mean(1), tokens.std(1, correction=0)], dim=1)
        assert_close(ours.pop(f"layer {number}"), expected)
    assert_close(
        ours.pop("last"), torch.cat([normed[:, 0], normed[:, 1:].mean(1)], dim=1)
    )
    assert not ours


# timm's counts without a classifier, at 224 px.
@pytest.mark.parametrize(
    ("name", "timm_name", "num_params", "feature_dim"),
    [
        ("vit_small16", "vit_small_patch16_224", 21_665_664, 384),
        ("vit_base16", "vit_base_patch16_224", 85_798_656, 768),
    ],
)
def test_parameter_counts_and_names(name, timm_name, num_params, feature_dim):
    model = vit.FACTORIES[name]()
    like = shapes_of(model, 224)
    assert like.keys() == {"params"}
    leaves = jax.tree.leaves(like)
    assert sum(leaf.size for leaf in leaves) == num_params
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert model.feature_dim == feature_dim
    with import_oracle("torch").device("meta"):
        oracle = import_timm().create_model(timm_name, num_classes=0)
    theirs = {name: tuple(p.shape) for name, p in oracle.state_dict().items()}
    ours = weights.to_torch(jax.tree.map(lambda s: np.broadcast_to(0.0, s.shape), like))
    assert {name: value.shape for name, value in ours.items()} == theirs


@pytest.mark.parametrize(("held", "side"), [(14, 4), (4, 14), (14, 16), (7, 5)])
def test_resampled_positions_equal_timm(held, side):
    import_timm()
    torch = import_oracle("torch")
    oracle = import_oracle("timm.layers").resample_abs_pos_embed
    rng = np.random.default_rng(held)
    pos_embed = rng.normal(size=(1, 1 + held**2, 6)).astype(np.float32)
    expected = oracle(torch.tensor(pos_embed), (side, side))
    result = vit.resample_positions(jnp.array(pos_embed), side)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(result[:, 0], pos_embed[:, 0])


@pytest.mark.parametrize(("size_px", "advice"), [(50, "48 or 64"), (8, "16 or 32")])
def test_sizes_that_are_no_whole_patches_are_refused(size_px, advice):
    with pytest.raises(InputError, match=f"augment.size_px={size_px}.*{advice}"):
        shapes_of(vit.ViT(**SMALL), size_px)


def test_an_image_of_another_size_than_the_positions_is_refused():
    model = vit.ViT(**SMALL)
    variables = shapes_of(model, 64)
    apply = partial(model.apply, train=False)
    with pytest.raises(InputError, match="augment.size_px=32: .* 64 px images"):
        jax.eval_shape(apply, variables, image(1, 32))


def test_bfloat16_follows_float32():
    state_dict = state_dict_of(small_oracle())
    exact, rough = (
        jax.jit(partial(model.apply, train=False))(
            weights.from_torch(state_dict, shapes_of(model)), image(4)
        )
        for model in (vit.ViT(**SMALL), vit.ViT(**SMALL, dtype=jnp.bfloat16))
    )
    assert rough.dtype == jnp.bfloat16
    assert_close(rough.astype(jnp.float32), exact, 0.03)


def test_initial_parameters_are_distributed_as_timm_s():
    """Deviation and mean of each, by name; what is constant is the same constant."""
    import_timm()
    transformer = import_oracle("timm.models.vision_transformer").VisionTransformer
    import_oracle("torch").manual_seed(0)
    oracle = transformer(
        img_size=64, embed_dim=192, depth=1, num_heads=3, num_classes=0
    )
    model = vit.ViT(width=192, depth=1, num_heads=3)
    variables = jax.jit(partial(model.init, train=True))(KEY, image(1, 64))
    ours = weights.to_torch(variables)
    for name, value in state_dict_of(oracle).items():
        spread = np.std(value)
        close = 5 / np.sqrt(value.size)
        np.testing.assert_allclose(np.std(ours[name]), spread, rtol=close, err_msg=name)
        difference = abs(np.mean(ours[name]) - np.mean(value))
        assert difference <= close * spread * np.sqrt(2), name


def test_mmgr_without_batch_statistics():
    model = build().clone(image_encoder=vit.ViT(**SMALL))
    views = batch(32)[0]
    variables = jax.eval_shape(
        lambda key: init_variables(model, key, num_slots=10, size_px=32), KEY
    )
    assert variables["batch_stats"] == {}
    features = jax.eval_shape(
        lambda v: model.apply(v, views[0], method="encode_image"), variables
    )
    assert features.shape == (len(views[0]), 48)


@pytest.mark.parametrize("tokens", [197, 198])
def test_fused_attention_lowers_for_gpus_at_any_number_of_tokens(tokens, monkeypatch):
    """On this CPU: that it is cuDNN's. Its numbers want a GPU: notes/performance.md."""
    private = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(private, "check_cudnn_version", lambda: 91300)
    monkeypatch.setattr(private, "check_compute_capability", lambda least: True)
    monkeypatch.setattr(private, "is_cuda_compute_capability_equal", lambda _: False)
    monkeypatch.setattr(transformer, "_has_fused_attention", lambda: True)
    x = jax.ShapeDtypeStruct((2, tokens, 3, 64), jnp.bfloat16)

    def loss(query, key, value):
        read = transformer.attention(query, key, value)
        assert read.shape == x.shape
        return jnp.sum(read.astype(jnp.float32) ** 2)

    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(x, x, x)
    on_cuda = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "fmhaSoftmaxBackward" in on_cuda
    assert "fmha" not in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_attention_here_is_the_plain_one():
    assert not transformer._has_fused_attention()


def test_gelu_equals_torch_forward_and_gradient_and_keeps_its_input_alone():
    torch = import_oracle("torch")
    x = np.concatenate([np.linspace(-9, 9, 301), [0.0, -40.0, 40.0]]).astype(np.float32)
    weight = np.linspace(-1, 1, len(x)).astype(np.float32)
    theirs = torch.tensor(x, requires_grad=True)
    out = torch.nn.functional.gelu(theirs)
    out.backward(torch.tensor(weight))
    ours, back = jax.vjp(transformer.gelu, jnp.asarray(x))
    np.testing.assert_allclose(ours, out.detach().numpy(), atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(back(weight)[0], theirs.grad.numpy(), atol=1e-6)
    kept = [leaf for leaf in jax.tree.leaves(back) if np.size(leaf) == len(x)]
    assert len(kept) == 1
