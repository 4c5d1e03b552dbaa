"""Image operators against torchvision's, on PIL images and on float tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import import_oracle, import_torchvision
from PIL import Image

from mmgr_jax.augment import image_ops

resample_matrix = jax.jit(
    image_ops.resample_matrix, static_argnames=("size_in_px", "size_out_px")
)

EIGHT_BIT = 2 / 255  # PIL rounds to 8 bits after every operator


def tiles(b=3, height=48, width=40):
    """Smooth fields with noise, and one flat and one saturated corner."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    phase = rng.uniform(0, 6, (b, 1, 1, 3))
    wave = np.sin(rows[None, :, :, None] / 7 + phase) + np.cos(
        columns[None, :, :, None] / 5 - phase
    )
    image = 127 + 60 * wave + rng.normal(0, 12, wave.shape)
    image[:, :6, :6] = 90
    image[:, -6:, -6:] = (255, 0, 0)
    return np.clip(image, 0, 255).astype(np.uint8)


def planes_of(image):
    planes = jnp.moveaxis(jnp.array(image, jnp.float32) / 255, -1, 0)
    return tuple(planes)


def stacked(planes):
    return np.stack(planes, axis=-1)


def functional():
    import_torchvision()
    return import_oracle("torchvision.transforms.functional")


def as_tensor(image):
    torch = import_oracle("torch")
    return torch.tensor(image / np.float32(255)).permute(0, 3, 1, 2)


OPERATORS = {
    "adjust_brightness": (0.0, 0.6, 1.0, 1.4),
    "adjust_contrast": (0.0, 0.6, 1.0, 1.4),
    "adjust_saturation": (0.0, 0.6, 1.0, 1.4),
    "adjust_hue": (-0.5, -0.1, 0.0, 0.07, 0.5),
}
OURS = {
    "adjust_brightness": lambda planes, by: image_ops.blend(planes, 0.0, by),
    "adjust_contrast": lambda planes, by: image_ops.blend(
        planes, image_ops.mean_grey(planes), by
    ),
    "adjust_saturation": image_ops.adjust_saturation,
    "adjust_hue": image_ops.adjust_hue,
}
CASES = [(name, value) for name, values in OPERATORS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_colour_operators_equal_torchvision(name, value):
    oracle = getattr(functional(), name)
    image = tiles()
    ours = stacked(jax.jit(OURS[name])(planes_of(image), value))

    exact = oracle(as_tensor(image), value).permute(0, 2, 3, 1)
    # On tensors torchvision rounds the weights of grey to 0.2989, 0.587, 0.114.
    np.testing.assert_allclose(ours, exact, atol=2e-4)
    by_pil = [np.asarray(oracle(Image.fromarray(tile), value)) for tile in image]
    assert np.mean(np.abs(ours - np.stack(by_pil) / 255)) < EIGHT_BIT


def test_factors_may_differ_by_image():
    image = tiles()
    factor = jnp.array([0.5, 1.0, 1.3])[:, None, None]
    for name in ("adjust_contrast", "adjust_saturation", "adjust_brightness"):
        operator = jax.jit(OURS[name])
        together = stacked(operator(planes_of(image), factor))
        for row in range(3):
            alone = stacked(operator(planes_of(image[row]), factor[row]))
            np.testing.assert_allclose(together[row], alone, atol=1e-6)


def test_grey_is_pil_s():
    image = tiles()
    expected = np.stack([np.asarray(Image.fromarray(t).convert("L")) for t in image])
    ours = image_ops.grey(planes_of(image))
    assert np.max(np.abs(ours - expected / 255)) < EIGHT_BIT


def test_hue_leaves_grey_pixels_alone():
    grey = jnp.linspace(0.0, 1.0, 11)
    for plane in jax.jit(image_ops.adjust_hue)((grey, grey, grey), 0.3):
        np.testing.assert_array_equal(plane, grey)


BOXES = [  # top, left, height, width: upscaling, downscaling, both, one pixel
    (0, 0, 48, 40),
    (5, 7, 20, 13),
    (10, 0, 38, 9),
    (47, 39, 1, 1),
]


@pytest.mark.parametrize("size_px", [16, 64])
@pytest.mark.parametrize("box", BOXES)
def test_crop_and_resize_equal_torchvision(box, size_px):
    crop = functional().resized_crop
    image = tiles()
    top, left, height, width = (np.full((3, 1), side, np.float32) for side in box)
    rows = resample_matrix(
        jnp.array(top), jnp.array(height), size_in_px=48, size_out_px=size_px
    )
    columns = resample_matrix(
        jnp.array(left), jnp.array(width), size_in_px=40, size_out_px=size_px
    )
    planes = jax.jit(image_ops.resample)(jnp.array(image), rows, columns)
    ours = stacked(planes)[:, 0]

    exact = crop(as_tensor(image), *box, [size_px, size_px], antialias=True)
    np.testing.assert_allclose(ours, exact.permute(0, 2, 3, 1), atol=1e-5)
    by_pil = [
        np.asarray(crop(Image.fromarray(tile), *box, [size_px, size_px]))
        for tile in image
    ]
    assert np.mean(np.abs(ours - np.stack(by_pil) / 255)) < EIGHT_BIT


def test_resample_weights_sum_to_one_inside_the_crop():
    matrix = resample_matrix(
        jnp.array(3.0), jnp.array(20.0), size_in_px=32, size_out_px=7
    )
    np.testing.assert_allclose(np.sum(matrix, axis=-1), 1.0, rtol=1e-6)
    assert not np.any(matrix[:, :3])
    assert not np.any(matrix[:, 23:])


def test_resampling_at_the_same_size_is_the_identity():
    matrix = resample_matrix(
        jnp.array(0.0), jnp.array(9.0), size_in_px=9, size_out_px=9
    )
    np.testing.assert_array_equal(matrix, np.eye(9))


def test_normalise():
    image = tiles()
    ours = stacked(
        image_ops.normalise(planes_of(image), (0.1, 0.2, 0.3), (2.0, 4.0, 5.0))
    )
    expected = (image / 255 - [0.1, 0.2, 0.3]) / [2, 4, 5]
    np.testing.assert_allclose(ours, expected, atol=1e-6)
