import dataclasses
import logging
import re

import numpy as np
import pytest

from data_prep.splits import splits
from data_prep.splits.settings import BlockSettings
from mmgr_jax.data import folds
from mmgr_jax.data.schema import Label, SplitColumn
from mmgr_jax.errors import InputError
from mmgr_jax.settings import read

POPULATION = Label("count", "persons")
SETTINGS = BlockSettings(size_m=500.0, num_folds=4)


@pytest.fixture
def city():
    """Ids, centres and overlap groups of a grid of 20 x 20 regions of 100 m."""
    row, column = np.divmod(np.arange(400), 20)
    return (
        [f"r{r:02d}c{c:02d}" for r, c in zip(row, column, strict=True)],
        np.stack([column * 100.0 + 50, 1950.0 - row * 100], axis=1),
        np.arange(400),
    )


def test_splits_are_those_of_their_names(city):
    ids, centre_m, group = city
    made = splits.assign(*city, {}, dataclasses.replace(SETTINGS, buffer_m=30.0))
    np.testing.assert_array_equal(made.block_id, _block_ids(centre_m, 500.0))
    assert set(made.folds) == {"block", "random"}
    for fold in made.folds.values():
        assert set(fold.tolist()) == {0, 1, 2, 3}
    for block in range(16):
        assert len(set(made.folds["block"][made.block_id == block].tolist())) == 1
    random = folds.by_hash(ids, num_folds=4)
    np.testing.assert_array_equal(made.folds["random"], random)
    assert made.meanings["random"].buffer_m == 0
    block = made.meanings["block"]
    assert (block.num_folds, block.buffer_m) == (4, 30.0)
    assert block.rule.startswith("squares of 500 m")
    counts = made.report["regions in each fold"]["block"]
    assert counts == [100, 100, 100, 100]


def test_the_order_of_the_regions_changes_nothing(city):
    ids, centre_m, group = city
    order = np.random.default_rng(0).permutation(400)
    group = group.copy()
    group[[7, 301]] = 7  # and two overlap
    made = splits.assign(ids, centre_m, group, {}, SETTINGS)
    shuffled = splits.assign(
        [ids[index] for index in order], centre_m[order], group[order], {}, SETTINGS
    )
    for kind, fold in made.folds.items():
        np.testing.assert_array_equal(shuffled.folds[kind], fold[order])


def test_overlapping_regions_never_straddle_a_split(city):
    ids, centre_m, group = city
    rng = np.random.default_rng(1)
    group = rng.permutation(400) // 2  # pairs from anywhere
    made = splits.assign(ids, centre_m, group, {}, SETTINGS)
    for fold in (*made.folds.values(), made.block_id):
        by_pair = fold[np.argsort(group, kind="stable")].reshape(200, 2)
        assert (by_pair[:, 0] == by_pair[:, 1]).all()


def test_too_few_blocks_leave_the_kind_out_and_say_so(city, caplog):
    with caplog.at_level(logging.WARNING):
        made = splits.assign(*city, {}, dataclasses.replace(SETTINGS, size_m=2000.0))
    assert set(made.folds) == set(made.meanings) == {"random"}
    assert "1 spatial blocks cannot fill 4 folds" in caplog.text
    assert "cannot fill" in made.report["no block split"]


def test_a_block_s_size_may_come_from_the_labels(city, caplog):
    # Over all directions, sines of 200 m correlate as the Bessel function J0(d / 200),
    # which falls below 0.2 at 2.02 * 200 m.
    smooth = np.sin(city[1] / 200).sum(axis=1)
    labels = dict(people=(POPULATION, np.exp(smooth).astype(np.float32)))
    with caplog.at_level(logging.INFO):
        made = splits.assign(
            *city, labels, dataclasses.replace(SETTINGS, size_m="auto")
        )
    told = made.report["correlogram"]
    assert made.block_size_m == told["size_m"]
    assert told["range_m"]["people"] == pytest.approx(404, rel=0.15)
    assert len(told["correlation"]["people"]) == len(told["distance_m"])
    assert f"blocks: {made.block_size_m:,.0f} m proposed" in caplog.text
    assert made.meanings["block"] == SplitColumn(4, 0.0, made.meanings["block"].rule)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(size_m="car"), "size_m='car'; allowed: a number or 'auto'."),
        (dict(size_m=0.0), "size_m=0.0; allowed: greater than 0 or 'auto'."),
        (dict(num_folds=2), "num_folds=2; allowed: greater than or equal to 3."),
        (dict(buffer_m=-1.0), "buffer_m=-1.0; allowed: greater than or equal to 0."),
    ],
)
def test_wrong_numbers_are_named(wrong, told):
    assert read(BlockSettings, dict(size_m="auto"), "blocks").size_m == "auto"
    with pytest.raises(InputError, match=re.escape(f"config.blocks.{told}")):
        read(BlockSettings, wrong, "blocks")


def test_the_least_number_of_folds_stands_in_the_settings():
    least = folds.MIN_FOLDS
    assert read(BlockSettings, dict(num_folds=least), "blocks").num_folds == least
    with pytest.raises(InputError):
        read(BlockSettings, dict(num_folds=least - 1), "blocks")


def _block_ids(centre_m, size_m):
    """The blocks of regions that do not overlap."""
    ids = list(map(str, range(len(centre_m))))
    settings = dataclasses.replace(SETTINGS, size_m=size_m)
    return splits.assign(ids, centre_m, np.arange(len(ids)), {}, settings).block_id


def test_centres_in_one_square_share_a_block():
    centre_m = np.array(
        [[100.0, 2900.0], [1900.0, 2100.0], [2100.0, 2900.0], [100.0, 900.0]]
    )
    # Blocks of 1 km: row 2 (north) holds columns 0, 1, 2; row 0 holds column 0.
    assert _block_ids(centre_m, 1000.0).tolist() == [0, 1, 2, 3]
    # Blocks of 2 km: the third centre lies east, the last one south.
    assert _block_ids(centre_m, 2000.0).tolist() == [0, 0, 1, 2]


def test_ids_are_dense_and_do_not_depend_on_order():
    rng = np.random.default_rng(0)
    centre_m = rng.uniform(-50_000, 50_000, (500, 2))
    ids = _block_ids(centre_m, 3000.0)
    assert ids.dtype == np.int32
    assert sorted(set(ids.tolist())) == list(range(ids.max() + 1))
    order = rng.permutation(500)
    np.testing.assert_array_equal(_block_ids(centre_m[order], 3000.0), ids[order])


def test_other_regions_do_not_move_the_block_edges():
    rng = np.random.default_rng(0)
    centre_m = rng.uniform(0, 9000, (100, 2))
    some = _block_ids(centre_m[:40], 2500.0)
    all_ids = _block_ids(centre_m, 2500.0)[:40]
    together = some[:, None] == some[None]
    np.testing.assert_array_equal(together, all_ids[:, None] == all_ids[None])


def test_a_point_on_an_edge_belongs_to_the_north_east():
    edge = np.array([[1000.0, 1000.0], [1001.0, 1001.0], [999.0, 999.0]])
    ids = _block_ids(edge, 1000.0)
    assert ids[0] == ids[1] != ids[2]
