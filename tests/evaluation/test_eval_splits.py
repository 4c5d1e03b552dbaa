"""Roles of a round: disjoint, nobody near the tested, whole cities left out."""

import logging

import numpy as np
import pytest
import shapely

from mmgr_jax.data import folds
from mmgr_jax.data.schema import SplitColumn as Meaning
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation.design import splits

SIDE = 12


@pytest.fixture
def city():
    """A grid of touching squares of 100 m in blocks of 3 x 3, and stored folds."""
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    outlines = shapely.box(
        column * 100, -row * 100, column * 100 + 100, 100 - row * 100
    )
    block_id = (row // 3 * 4 + column // 3).astype(np.int32)
    return dict(
        region_ids=[f"r{index:03d}" for index in range(SIDE**2)],
        block_id=block_id,
        geometry_wkb=[bytes(wkb) for wkb in shapely.to_wkb(outlines)],
        stored=dict(block=block_id.astype(np.int64) % 4),
        meanings=dict(block=Meaning(num_folds=4, buffer_m=0.0)),
        num_folds=None,
        buffer_m=None,
        seed=0,
    )


def test_every_region_is_tested_and_chooses_once_and_never_in_two_roles(city):
    split = splits.choose(("block",), **city)["block"]
    rounds = [split.parts(test_fold) for test_fold in range(4)]
    for part in rounds:
        assert (part.train.astype(int) + part.validation + part.test == 1).all()
    assert (sum(part.test.astype(int) for part in rounds) == 1).all()
    assert (sum(part.validation.astype(int) for part in rounds) == 1).all()


def test_stored_folds_are_read_and_others_dealt_when_asked(city, caplog):
    with caplog.at_level(logging.INFO):
        chosen = splits.choose(("block", "random"), **city)
    np.testing.assert_array_equal(chosen["block"].fold, city["stored"]["block"])
    expected = folds.by_hash(city["region_ids"], num_folds=5)
    np.testing.assert_array_equal(chosen["random"].fold, expected)
    assert "random split: 5 new folds are made (the records hold none)" in caplog.text
    assert "block split" not in caplog.text
    for asked in (dict(num_folds=3), dict(seed=1)):
        with caplog.at_level(logging.INFO):
            other = splits.choose(("block",), **{**city, **asked})["block"]
        assert other.num_folds == asked.get("num_folds", 4)
        blocks = [str(block) for block in city["block_id"]]
        expected = folds.by_block(
            blocks, num_folds=other.num_folds, seed=asked.get("seed", 0)
        )
        np.testing.assert_array_equal(other.fold, expected)
    assert caplog.text.count("block split") == 2
    same = splits.choose(("block",), **{**city, "num_folds": 4})["block"]
    np.testing.assert_array_equal(same.fold, city["stored"]["block"])


@pytest.mark.parametrize("buffer_m", [0.0, 1.0, 150.0])
def test_regions_in_the_buffer_take_no_part(city, buffer_m):
    city["meanings"] = dict(block=Meaning(num_folds=4, buffer_m=buffer_m))
    chosen = splits.choose(("block", "random"), **city)
    assert chosen["random"].near is None
    outlines = shapely.from_wkb(city["geometry_wkb"])
    apart = shapely.distance(outlines[:, None], outlines[None])
    for test_fold in range(4):
        part = chosen["block"].parts(test_fold)
        close = apart[:, part.test].min(axis=1) <= (buffer_m or -1)
        np.testing.assert_array_equal(part.test, city["stored"]["block"] == test_fold)
        taking_part = part.train | part.validation
        np.testing.assert_array_equal(taking_part, ~part.test & ~close)
    narrower = splits.choose(("block",), **{**city, "buffer_m": 0.0})["block"]
    assert narrower.near is None


def test_each_city_is_tested_by_the_others():
    inner = [np.array([0, 1, 2]), np.array([0, 0, 1, 2]), np.array([2, 1, 0])]
    split = splits.by_city(inner)
    assert split.num_folds == 3
    part = split.parts(1)
    assert part.test.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert np.flatnonzero(part.validation).tolist() == [0, 9]
    assert np.flatnonzero(part.train).tolist() == [1, 2, 7, 8]
    with pytest.raises(
        InputError, match=("needs at least two cities.*config.eval.other_records")
    ):
        splits.by_city(inner[:1])


@pytest.mark.parametrize("buffer_m", [1.0, 100.0, 250.0])
def test_regions_within_the_buffer_take_no_part(city, buffer_m):
    """Pair by pair: outlines within the buffer."""
    city["geometry_wkb"] = city["geometry_wkb"][::-1]  # blocks lie elsewhere
    city["buffer_m"] = buffer_m
    chosen = splits.choose(("block", "random"), **city)
    assert chosen["random"].near is None
    outlines = shapely.from_wkb(city["geometry_wkb"])
    pairs = chosen["block"].near
    assert len(np.unique(pairs, axis=0)) == len(pairs) > 0
    assert (pairs[:, 0] < pairs[:, 1]).all()
    for test_fold in range(4):
        part = chosen["block"].parts(test_fold)
        tested = np.flatnonzero(part.test)
        np.testing.assert_array_equal(part.test, city["stored"]["block"] == test_fold)
        taking_part = part.train | part.validation
        for index in np.flatnonzero(~part.test):
            near = any(
                outlines[index].distance(outlines[other]) <= buffer_m
                for other in tested
            )
            assert taking_part[index] == (not near)
