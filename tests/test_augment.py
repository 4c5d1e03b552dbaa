"""The two views: their draws, their order of operators, and what must not matter."""

import itertools
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from oracles import import_oracle, import_torchvision
from scipy import stats

from mmgr_jax.augment import draws
from mmgr_jax.augment import views as augment
from mmgr_jax.augment.settings import AugmentSettings
from mmgr_jax.models.readout import IMAGENET_MEAN, IMAGENET_STD

OPERATORS = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
PLAIN = dict(
    crop_area=(1.0, 1.0),
    crop_ratio=(1.0, 1.0),
    jitter_probability=0.0,
    grey_probability=0.0,
    horizontal_flip=False,
)


def tiles(b=8, side_px=32, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.array(rng.integers(0, 256, (b, side_px, side_px, 3)), jnp.uint8)


def views_of(image, key, **options):
    return compiled_views(**({"size_px": 24} | options))(image, key)


@cache
def compiled_views(**options):
    pixels = {name: options.pop(name) for name in ("mean", "std") if name in options}
    settings = AugmentSettings(**options)
    return jax.jit(partial(augment.two_views, settings=settings, **pixels))


def plain_view_of(image, size_px):
    return jax.jit(partial(augment.plain_view, size_px=size_px))(image)


def draws_of(draw, numbers, count=4000):
    u = jax.random.uniform(jax.random.key(11), (count, numbers))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(u))


# ---- draws ----


@pytest.mark.parametrize(
    ("height_px", "width_px", "area"),
    [(64, 64, (0.2, 1.0)), (48, 100, (0.2, 1.0)), (20, 90, (0.9, 1.0))],
)
def test_boxes_are_distributed_as_torchvision_s(height_px, width_px, area):
    torch = import_oracle("torch")
    import_torchvision()
    transforms = import_oracle("torchvision.transforms")
    torch.manual_seed(1)
    ratio = (3 / 4, 4 / 3)
    image = torch.empty(3, height_px, width_px)
    count = 4000
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(image, area, ratio)
            for _ in range(count)
        ]
    )
    ours = np.stack(
        draws_of(
            lambda u: draws.draw_box(u, height_px, width_px, area, ratio),
            draws.BOX_NUMBERS,
        ),
        axis=1,
    )
    np.testing.assert_array_equal(ours, np.round(ours))
    assert np.all(ours >= 0)
    assert np.all(ours[:, 0] + ours[:, 2] <= height_px)
    assert np.all(ours[:, 1] + ours[:, 3] <= width_px)
    for side in range(4):
        assert stats.ks_2samp(ours[:, side], theirs[:, side]).pvalue > 1e-3
    areas = [box[:, 2] * box[:, 3] for box in (ours, theirs)]
    assert stats.ks_2samp(*areas).pvalue > 1e-3


def test_a_crop_that_never_fits_is_the_central_one():
    u = jnp.full(draws.BOX_NUMBERS, 0.5)
    box = draws.draw_box(u, 20, 90, (1.0, 1.0), (0.75, 4 / 3))
    assert [float(side) for side in box] == [0.0, 31.0, 20.0, 27.0]


def test_jitter_draws():
    drawn = draws_of(
        lambda u: draws.draw_jitter(u, AugmentSettings(contrast=0.3, saturation=0.2)),
        draws.JITTER_NUMBERS,
    )
    applied = drawn.hue != 0.0
    assert abs(np.mean(applied) - 0.8) < 0.03
    for name, spread in (("brightness", 0.4), ("contrast", 0.3), ("saturation", 0.2)):
        factor = getattr(drawn, name)
        assert np.all(factor[~applied] == 1.0)
        uniform = stats.uniform(1.0 - spread, 2.0 * spread)
        assert stats.kstest(factor[applied], uniform.cdf).pvalue > 1e-3
    assert stats.kstest(drawn.hue[applied], stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
    orders, counts = np.unique(drawn.rank, axis=0, return_counts=True)
    assert {tuple(order) for order in orders} == set(itertools.permutations(range(4)))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_turn_draws():
    def counted(**which):
        settings = AugmentSettings(**which)
        drawn = draws_of(lambda u: draws.draw_turn(u, settings), draws.TURN_NUMBERS)
        return np.unique(np.stack(drawn, axis=1), axis=0, return_counts=True)

    none = dict(horizontal_flip=False, vertical_flip=False, quarter_turns=False)
    kinds, _ = counted(**none)
    assert kinds.tolist() == [[False, False, False]]
    for which, number in (("horizontal_flip", 2), ("vertical_flip", 2)):
        kinds, counts = counted(**(none | {which: True}))
        assert len(kinds) == number and stats.chisquare(counts).pvalue > 1e-3
    kinds, counts = counted(**(none | {"quarter_turns": True}))
    assert len(kinds) == 4 and stats.chisquare(counts).pvalue > 1e-3
    kinds, counts = counted(**dict.fromkeys(none, True))
    assert len(kinds) == 8 and stats.chisquare(counts).pvalue > 1e-3


def test_share_of_grey_views():
    views = views_of(
        tiles(256, 8),
        jax.random.key(2),
        size_px=8,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        jitter_probability=0.0,
    )
    spread = np.max(np.ptp(views, axis=-1), axis=(2, 3))
    assert abs(np.mean(spread < 1e-5) - 0.2) < 0.06


# ---- operators ----


def test_turns_are_the_symmetries_of_the_square():
    """Quarter turns alone are the four rotations, in one of their two senses."""
    image = tiles(1, 16)
    box = draws.Box(*(jnp.full((1, 8), side) for side in (0.0, 0.0, 16.0, 16.0)))
    flags = np.array(list(itertools.product([False, True], repeat=3))).T
    turn = draws.Turn(*(jnp.array(flag)[None] for flag in flags))
    planes = augment.crop_and_turn(image, box, turn, 16, quarter_turns=True)
    views = np.round(255 * np.stack(planes, axis=-1)[0]).astype(np.uint8)
    for view, (flip_rows, flip_columns, transpose) in zip(views, flags.T, strict=True):
        expected = np.asarray(image[0])
        expected = expected[::-1] if flip_rows else expected
        expected = expected[:, ::-1] if flip_columns else expected
        expected = expected.swapaxes(0, 1) if transpose else expected
        np.testing.assert_array_equal(view, expected)


def test_quarter_turns_alone_are_the_four_rotations():
    image = tiles(64, 8)
    views = views_of(
        image, jax.random.key(0), **(PLAIN | {"quarter_turns": True}), size_px=8
    )
    plain = plain_view_of(image, 8)
    seen = set()
    for view, tile in zip(np.asarray(views[0]), np.asarray(plain), strict=True):
        same = [np.allclose(view, np.rot90(tile, k), atol=1e-5) for k in range(4)]
        assert sum(same) == 1
        seen.add(same.index(True))
    assert seen == {0, 1, 2, 3}


def test_jitter_equals_torchvision_in_every_order():
    import_torchvision()
    functional = import_oracle("torchvision.transforms.functional")
    torch = import_oracle("torch")
    orders = np.array(list(itertools.permutations(range(4))))  # operator at each place
    rng = np.random.default_rng(1)
    factors = rng.uniform(0.6, 1.4, (24, 4)).astype(np.float32)
    factors[:, 3] = rng.uniform(-0.1, 0.1, 24)
    image = rng.random((24, 12, 12, 3)).astype(np.float32)

    jitter = draws.Jitter(
        *(jnp.array(factor)[None] for factor in factors.T),
        rank=jnp.array(np.argsort(orders, axis=1))[None],
    )
    planes = tuple(jnp.array(image[None, ..., channel]) for channel in range(3))
    ours = np.stack(jax.jit(augment.apply_jitter)(planes, jitter), axis=-1)[0]
    for view, tile, order, factor in zip(ours, image, orders, factors, strict=True):
        expected = torch.tensor(tile).permute(2, 0, 1)
        for operator in order:
            adjust = getattr(functional, OPERATORS[operator])
            expected = adjust(expected, float(factor[operator]))
        np.testing.assert_allclose(view, expected.permute(1, 2, 0), atol=1e-4)


def test_without_chance_the_views_are_the_plain_view():
    image = tiles()
    views = views_of(image, jax.random.key(0), **PLAIN)
    plain = plain_view_of(image, 24)
    np.testing.assert_allclose(views[0], plain, atol=2e-5)
    np.testing.assert_allclose(views[1], plain, atol=2e-5)


def test_plain_view_at_native_size_is_normalisation_alone():
    image = tiles()
    expected = (np.asarray(image) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(plain_view_of(image, 32), expected, atol=1e-5)


# ---- views ----


def test_views_differ_from_each_other_and_between_keys():
    image = jnp.broadcast_to(tiles(1), (4, 32, 32, 3))
    views = views_of(image, jax.random.key(0))
    assert views.shape == (2, 4, 24, 24, 3) and views.dtype == jnp.float32
    again = views_of(image, jax.random.key(0))
    np.testing.assert_array_equal(views, again)
    others = views_of(image, jax.random.key(1))
    eight = np.concatenate([views[0], views[1], others[0], others[1]])
    for one, other in itertools.combinations(eight, 2):
        assert np.mean(np.abs(one - other)) > 0.05


def test_draws_depend_on_the_place_in_the_batch_alone():
    image, key = tiles(), jax.random.key(5)
    views = views_of(image, key)
    np.testing.assert_allclose(views_of(image[:3], key), views[:, :3], atol=1e-5)
    replaced = image.at[0].set(0)
    np.testing.assert_allclose(views_of(replaced, key)[:, 1:], views[:, 1:], atol=1e-5)


def test_sharding_changes_nothing():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    image, key = tiles(), jax.random.key(5)
    sharded = jax.device_put(image, NamedSharding(mesh, PartitionSpec("data")))
    result = views_of(sharded, key)
    assert len(result.sharding.device_set) == 8
    np.testing.assert_allclose(result, views_of(image, key), atol=1e-5)


def test_no_pixel_is_gathered():
    views = compiled_views(size_px=24, vertical_flip=True, quarter_turns=True)
    hlo = views.lower(tiles(), jax.random.key(0)).compile().as_text()
    assert "dot(" in hlo or "dot_general" in hlo
    assert not re.findall(r"= \S+ (?:gather|scatter)\(", hlo)
