"""Positions: wavelengths, features, and their share beside the vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmgr_jax.models.positions import (
    PositionContext,
    fourier_features,
    wavelengths_m,
)
from mmgr_jax.typing import PoiSets

KEY = jax.random.key(0, impl="rbg")


def sets(b=3, n=5, side_m=500.0):
    rng = np.random.default_rng(0)
    return PoiSets(
        category=jnp.zeros((b, n), jnp.int32),
        offset_m=jnp.array(rng.uniform(-side_m / 2, side_m / 2, (b, n, 2)), "float32"),
        mask=jnp.ones((b, n), bool),
    )


@pytest.mark.parametrize(
    ("shortest_m", "longest_m", "expected_m"),
    [
        (64.0, 2048.0, [64, 128, 256, 512, 1024, 2048]),
        (50.0, 50.0, [50]),
        (10.0, 90.0, [10, 10 * 9 ** (1 / 3), 10 * 9 ** (2 / 3), 90]),
    ],
)
def test_wavelengths_are_a_factor_of_about_two_apart(shortest_m, longest_m, expected_m):
    result = wavelengths_m(shortest_m, longest_m)
    np.testing.assert_allclose(result, expected_m, rtol=1e-6)


def test_features_are_sines_and_cosines_of_both_coordinates():
    offset_m = sets().offset_m
    result = fourier_features(offset_m, np.array([70.0, 300.0], np.float32))
    for b, n in np.ndindex(3, 5):
        angles = [
            2 * np.pi * float(coordinate_m) / wavelength_m
            for coordinate_m in offset_m[b, n]
            for wavelength_m in (70.0, 300.0)
        ]
        expected = [*np.sin(angles), *np.cos(angles)]
        np.testing.assert_allclose(result[b, n], expected, atol=1e-5)


def test_the_longest_wavelength_tells_all_places_of_a_kilometre_apart():
    metres = jnp.linspace(-500.0, 500.0, 101)
    offset_m = jnp.stack([metres, jnp.zeros(101)], axis=1)[None]
    sine = fourier_features(offset_m, wavelengths_m(64.0, 2048.0)[-1:])[0, :, 0]
    assert np.all(np.diff(sine) > 0.0)


@pytest.mark.parametrize("norm", [1.0, 8.0])
def test_vectors_of_any_length_outweigh_positions_at_first(norm):
    """Unit vectors of the records, or 64 numbers of N(0, 1): six to one in variance."""
    model, pois = PositionContext(64.0, 2048.0), sets(b=40, n=50)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, 50, 64))
    vectors *= norm / np.linalg.norm(vectors, axis=2, keepdims=True)
    vectors = jnp.array(vectors, jnp.float32)
    variables = jax.jit(model.init)(KEY, vectors, pois)
    run = jax.jit(model.apply)
    silent = jax.tree.map(lambda leaf: 0.0 * leaf, variables)
    category = run(silent, vectors, pois)
    position = run(variables, vectors, pois) - category
    np.testing.assert_allclose(np.mean(category**2), 1.0, rtol=0.01)
    np.testing.assert_allclose(np.mean(position**2), 1 / 6, rtol=0.25)


def test_positions_of_padding_do_not_matter_nor_reach_the_gradient():
    model, pois = PositionContext(64.0, 2048.0), sets()
    pois = pois._replace(mask=pois.mask.at[0, 2:].set(False).at[1].set(False))
    vectors = jnp.ones((3, 5, 8)) * jnp.arange(8.0)
    variables = jax.jit(model.init)(KEY, vectors, pois)

    @jax.jit
    def run(vectors, offset_m):
        def loss(variables, vectors, offset_m):
            moved = pois._replace(offset_m=offset_m)
            y = model.apply(variables, vectors, moved)
            y = jnp.where(pois.mask[..., None], y, 0.0)
            return jnp.sum(jnp.sin(y)), y

        gradient = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        return gradient(variables, vectors, offset_m)

    hole = jnp.where(pois.mask[..., None], 0.0, jnp.nan)
    clean = run(vectors, pois.offset_m)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(clean))
    jax.tree.map(
        np.testing.assert_array_equal, run(vectors + hole, pois.offset_m + hole), clean
    )
