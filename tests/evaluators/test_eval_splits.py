"""Folds: whole blocks, balance, determinism, disjoint roles."""

import numpy as np
import pytest

from mmgr_jax.errors import InputError
from mmgr_jax.evaluators import splits


@pytest.fixture
def block_id():
    """A 40 x 40 grid in 49 blocks of at most 6 x 6, those at the edge cut off."""
    row, column = np.divmod(np.arange(1600), 40)
    return (row // 6 * 7 + column // 6).astype(np.int32)


@pytest.mark.parametrize("seed", range(5))
def test_blocks_stay_whole_and_folds_are_balanced(block_id, seed):
    fold = splits.folds(block_id, num_folds=5, seed=seed)
    for block in np.unique(block_id):
        assert len(np.unique(fold[block_id == block])) == 1
    sizes = np.bincount(fold, minlength=5)
    assert sizes.sum() == 1600
    assert np.ptp(sizes) <= np.bincount(block_id).max()


def test_one_huge_block_does_not_starve_the_other_folds():
    block_id = np.concatenate([np.zeros(900, int), 1 + np.arange(100) // 10])
    sizes = np.sort(np.bincount(splits.folds(block_id, num_folds=3, seed=0)))
    assert sizes.tolist() == [50, 50, 900]


def test_block_folds_follow_the_block_and_the_seed_alone(block_id):
    fold = splits.folds(block_id, num_folds=5, seed=3)
    order = np.random.default_rng(0).permutation(1600)
    shuffled = splits.folds(block_id[order], num_folds=5, seed=3)
    np.testing.assert_array_equal(shuffled, fold[order])
    assert (splits.folds(block_id, num_folds=5, seed=4) != fold).any()


def test_random_folds_cut_through_blocks(block_id):
    fold = splits.folds(block_id, num_folds=5, seed=0, kind="random")
    assert np.ptp(np.bincount(fold)) == 0
    assert len(np.unique(fold[block_id == 0])) > 1
    again = splits.folds(block_id, num_folds=5, seed=0, kind="random")
    np.testing.assert_array_equal(fold, again)


def test_every_region_is_tested_and_validated_once_and_never_in_two_roles(block_id):
    fold = splits.folds(block_id, num_folds=4, seed=0)
    rounds = [splits.parts(fold, test_fold, 4) for test_fold in range(4)]
    for part in rounds:
        assert (part.train.astype(int) + part.validation + part.test == 1).all()
    assert (sum(part.test.astype(int) for part in rounds) == 1).all()
    assert (sum(part.validation.astype(int) for part in rounds) == 1).all()


def test_fewer_blocks_than_folds_names_the_ways_out():
    with pytest.raises(InputError, match=r"2 spatial blocks .* 5 folds") as caught:
        splits.folds(np.array([4, 4, 9]), num_folds=5, seed=0)
    assert "config.blocks.size_m" in str(caught.value)
    assert "config.eval.num_folds" in str(caught.value)


def test_wrong_settings_are_named():
    block_id = np.arange(10)
    with pytest.raises(InputError, match="num_folds is 2: at least 3"):
        splits.folds(block_id, num_folds=2, seed=0)
    with pytest.raises(InputError, match="'chequered' is unknown; allowed: block, ra"):
        splits.folds(block_id, num_folds=3, seed=0, kind="chequered")
    with pytest.raises(InputError, match="10 regions cannot fill 11 folds"):
        splits.folds(block_id, num_folds=11, seed=0, kind="random")
