"""Folds: whole blocks, balance, the same whatever the order; and their file."""

import dataclasses

import numpy as np
import pytest

from mmgr_jax.data import folds, schema
from mmgr_jax.errors import InputError


@pytest.fixture
def block():
    """A 40 x 40 grid in 49 blocks of at most 6 x 6, those at the edge cut off."""
    row, column = np.divmod(np.arange(1600), 40)
    return [f"{r} {c}" for r, c in zip(row // 6, column // 6, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_stay_whole_and_folds_are_balanced(block, seed):
    fold = folds.by_block(block, num_folds=5, seed=seed)
    names = np.array(block)
    for name in set(block):
        assert len(set(fold[names == name].tolist())) == 1
    sizes = np.bincount(fold, minlength=5)
    assert sizes.sum() == 1600
    assert np.ptp(sizes) <= 36


def test_one_huge_block_does_not_starve_the_other_folds():
    block = ["0"] * 900 + [str(1 + index // 10) for index in range(100)]
    sizes = np.sort(np.bincount(folds.by_block(block, num_folds=3)))
    assert sizes.tolist() == [50, 50, 900]


def test_folds_follow_names_and_seed_alone(block):
    names = [f"r{index:04d}" for index in range(1600)]
    order = np.random.default_rng(0).permutation(1600)
    for deal, of in ((folds.by_block, block), (folds.by_hash, names)):
        fold = deal(of, num_folds=5, seed=3)
        shuffled = deal([of[index] for index in order], num_folds=5, seed=3)
        np.testing.assert_array_equal(shuffled, fold[order])
        assert (deal(of, num_folds=5, seed=4) != fold).any()


def test_hashed_folds_do_not_move_when_regions_are_added():
    names = [f"r{index:04d}" for index in range(3000)]
    some = folds.by_hash(names[:1000], num_folds=5)
    np.testing.assert_array_equal(folds.by_hash(names, num_folds=5)[:1000], some)
    # Five binomial counts of mean 200 and deviation 12.6.
    assert np.abs(np.bincount(some) - 200).max() < 55


def test_hashes_are_the_same_on_every_machine():
    """BLAKE2b of "0 a" and so on in eight bytes, little-endian, modulo 3."""
    assert folds.by_hash(list("abcdefgh"), num_folds=3).tolist() == [
        2,
        0,
        2,
        2,
        1,
        2,
        0,
        2,
    ]


def test_few_regions_fill_every_fold():
    for count in range(5, 12):
        names = [f"r{index}" for index in range(count)]
        assert len(set(folds.by_hash(names, num_folds=5).tolist())) == 5


def test_too_few_for_the_folds_names_the_ways_out():
    with pytest.raises(InputError, match=r"2 spatial blocks .* 5 folds") as caught:
        folds.by_block(["4", "4", "9"], num_folds=5)
    assert "config.blocks.size_m" in str(caught.value)
    assert "config.eval.num_folds" in str(caught.value)
    with pytest.raises(InputError, match="3 regions .* cannot fill 4 folds"):
        folds.by_hash(["a", "b", "c", "c"], num_folds=4)
    for deal in (folds.by_block, folds.by_hash):
        with pytest.raises(InputError, match="num_folds is 2: at least 3"):
            deal([str(index) for index in range(10)], num_folds=2)


@pytest.fixture
def stored(tmp_path, records_dir):
    """A folder with the folds of four regions, and its manifest."""
    dealt = dict(block=np.array([0, 0, 1, 2]), random=np.array([2, 1, 0, 1]))
    folds.write(tmp_path, list("abcd"), dealt)
    meanings = {kind: schema.SplitColumn(num_folds=3, buffer_m=5.0) for kind in dealt}
    manifest = dataclasses.replace(schema.Manifest.load(records_dir), splits=meanings)
    manifest.save(tmp_path)
    return tmp_path, schema.Manifest.load(tmp_path)


def test_folds_come_back_by_region(stored):
    folder, manifest = stored
    assert manifest.splits["block"] == schema.SplitColumn(3, 5.0)
    text = (folder / schema.SPLITS_FILE).read_text()
    assert text.splitlines()[:2] == ["region_id,block,random", "a,0,2"]
    found = folds.read(folder, manifest, list("dcba"))
    assert found["block"].tolist() == [2, 1, 0, 0]
    assert found["random"].tolist() == [1, 0, 1, 2]


def test_records_without_folds_have_none(records_dir):
    manifest = schema.Manifest.load(records_dir)
    assert folds.read(records_dir, manifest, ["r0000c0000"]) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region_id,block\na,0\n", "does not hold the folds of all 2 regions .*KeyErr"),
        ("region_id,block,random\na,0,x\nb,1,1\n", "does not hold .*ValueError"),
        ("region_id,block,random\na,0,1\nb,7,1\n", "'block': folds 0 to 7, .*says 3"),
        (None, "splits.csv.*FileNotFound"),
    ],
)
def test_a_damaged_file_is_refused(stored, text, message):
    folder, manifest = stored
    path = folder / schema.SPLITS_FILE
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=message):
        folds.read(folder, manifest, ["a", "b"])
