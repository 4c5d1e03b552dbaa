"""Fine-tuning of a whole encoder on tiles whose colour tells the label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_labels
import small_model

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.heads import finetune
from mmgr_jax.evaluation.settings import FinetuneSettings
from mmgr_jax.models import learning
from mmgr_jax.models.readout import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def encoder():
    """A small random model: `encode` and variables."""
    model = small_model.build()
    views, pois = small_model.batch(32)
    key = jax.random.key(0, impl="rbg")
    variables = jax.jit(lambda: model.init(key, views, pois, train=True))()

    def encode(variables, view, train):
        if not train:
            features = model.apply(variables, view, method="encode_image")
            return features, variables["batch_stats"]
        features, updated = model.apply(
            variables, view, train=True, method="encode_image", mutable=["batch_stats"]
        )
        return features, updated["batch_stats"]

    return encode, variables


def _city(num_regions=48):
    rng = np.random.default_rng(0)
    green = rng.uniform(size=num_regions)
    tiles = rng.integers(0, 60, (num_regions, 32, 32, 3))
    tiles[..., 1] += (180 * green).astype(int)[:, None, None]
    label = Label(kind="scalar", unit="1")
    target = targets.check("green", label, green - 0.5, num_regions)
    split = small_labels.split(num_regions, 3)
    cells = grid.cells(split, target.known, fractions=(1.0,))
    return tiles.astype(np.uint8), target, cells


def test_it_learns_what_the_tiles_show(encoder):
    tiles, target, cells = _city()
    fits = finetune.finetune(
        *encoder,
        tiles,
        target,
        cells,
        FinetuneSettings(learning_rate=1e-2, batch_size=16, max_epochs=12),
        size_px=32,
        seed=0,
    )
    told = fits.out_of_fold(cells)
    assert np.corrcoef(told, target.values)[0, 1] > 0.8
    assert np.mean((told - target.values) ** 2) < 0.5 * np.var(target.values)
    assert all(1 <= epoch <= 12 for epoch in fits.chosen)


def test_pixels_are_normalised_as_the_encoder_wants_them():
    """Mean colours, turned back from what was asked for to ImageNet's or not."""
    tiles, target, cells = _city()
    mean, std = (0.5, 0.3, 0.1), (0.5, 1.0, 2.0)
    kernel = np.ones(3, np.float32)
    variables = {
        "params": {"image_encoder": {"conv1": {"kernel": kernel}}},
        "batch_stats": {},
    }

    def colours(variables, view, train):
        kernel = variables["params"]["image_encoder"]["conv1"]["kernel"]
        return jnp.mean(view, axis=(1, 2)) * kernel, {}

    def turned(variables, view, train):
        pixels = view * jnp.array(std) + jnp.array(mean)
        normal = (pixels - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)
        return colours(variables, normal, train)

    settings = FinetuneSettings(batch_size=8, max_epochs=8, learning_rate=5e-2)
    expected, told, wrong = (
        finetune.finetune(
            encode,
            variables,
            tiles,
            target,
            cells.of([0]),
            settings,
            size_px=32,
            seed=0,
            **pixels,
        ).prediction
        for encode, pixels in (
            (colours, {}),
            (turned, dict(mean=mean, std=std)),
            (turned, {}),
        )
    )
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(told, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(np.subtract(wrong, expected)).max() > 1e-2


def test_lower_layers_learn_more_slowly(encoder):
    _, variables = encoder
    layer = learning.depths(variables["params"]["image_encoder"])
    assert layer == {"conv1": 0, "bn1": 0, "layer1_0": 1, "layer2_0": 2, "layer3_0": 3}
    many = {name: {} for name in ("layer1_10", "layer1_9", "layer2_0", "conv1")}
    assert learning.depths(many) == {
        "conv1": 0,
        "layer1_9": 1,
        "layer1_10": 2,
        "layer2_0": 3,
    }
