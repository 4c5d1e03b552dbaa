"""Whose turn it is: shares, exactness and smoothness, by whole numbers alone."""

import dataclasses

import numpy as np
import pytest

from mmgr_jax.data import turns
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.turns import Turns
from mmgr_jax.errors import InputError

NAMES = ("alba", "bree", "cori")
SIZES = (100, 37, 9)
DATA = DataSettings(batch_size=8)


def _turns(sizes=SIZES, weights=None, data=DATA, **settings):
    names = NAMES if len(sizes) == 3 else tuple(f"c{i:03}" for i in range(len(sizes)))
    corpus = CorpusSettings(**settings)
    weights = tuple(map(float, weights or (1,) * len(sizes)))
    return Turns.of(names, sizes, weights, corpus, data)


@pytest.mark.parametrize("counts", [(1,), (5, 5), (100, 37, 9), (1, 900, 1, 4, 70)])
def test_interleaved_gives_each_city_its_turns_in_order_and_evenly(counts):
    counts = np.array(counts)
    total = counts.sum()
    city, before = turns.interleaved(counts, np.arange(total))
    for one, count in enumerate(counts):
        assert before[city == one].tolist() == list(range(count))
        had = np.cumsum(city == one)
        due = np.arange(1, total + 1) * count / total
        assert np.abs(had - due).max() <= np.ceil(np.log2(len(counts))) + 0.5
    places = np.random.default_rng(0).permutation(total)
    again, earlier = turns.interleaved(counts, places)
    np.testing.assert_array_equal(again, city[places])
    np.testing.assert_array_equal(earlier, before[places])


@pytest.mark.parametrize("batches", ["mixed", "city"])
def test_by_size_an_epoch_shows_each_region_once(batches):
    made = _turns(batches=batches)
    for epoch in range(2):
        draws = {name: [] for name in NAMES}
        for step in range(made.steps_per_epoch):
            rows = made.rows(epoch * made.steps_per_epoch + step)
            if batches == "city":
                assert len(set(rows.city.tolist())) == 1
            for city, draw in zip(
                rows.city[rows.counts], rows.draw[rows.counts], strict=True
            ):
                draws[NAMES[city]].append(int(draw))
        for name, size in zip(NAMES, SIZES, strict=True):
            assert sorted(draws[name]) == list(range(epoch * size, (epoch + 1) * size))
            assert draws[name] == sorted(draws[name])
    assert made.regions_per_epoch.tolist() == list(SIZES)


def test_an_epoch_that_is_dropped_short_has_whole_batches_alone():
    drop = dataclasses.replace(DATA, short_batch="drop")
    assert _turns(data=drop).steps_per_epoch == 146 // 8
    by_city = _turns(data=drop, batches="city")
    assert by_city.steps_per_epoch == 12 + 4 + 1
    assert by_city.regions_per_epoch.tolist() == [96, 32, 8]
    assert all(by_city.rows(step).counts.all() for step in range(40))


@pytest.mark.parametrize(
    ("evenness", "weights", "share"),
    [
        (0.0, (1, 1, 1), np.array(SIZES) / 146),
        (0.5, (1, 1, 1), np.sqrt(SIZES) / np.sqrt(SIZES).sum()),
        (0.9, (1, 1, 2), np.array([1, 1, 2]) * np.power(SIZES, 0.1)),
        (0.0, (1, 2, 1), np.array([100, 74, 9]) / 183),
    ],
)
def test_shares_are_exact_over_an_epoch(evenness, weights, share):
    data = dataclasses.replace(DATA, batch_size=4)
    made = _turns(weights=weights, evenness=evenness, data=data)
    wanted = share / share.sum() * 146
    assert made.turns.sum() == 146
    assert np.abs(made.turns - wanted).max() < 1
    shown = np.zeros(3, int)
    for step in range(made.steps_per_epoch):
        rows = made.rows(step)
        np.add.at(shown, rows.city[rows.counts], 1)
    assert shown.tolist() == made.turns.tolist()


def test_even_batches_of_one_city_go_through_its_own_epochs():
    made = _turns(evenness=1.0, batches="city")
    assert made.turns.tolist() == [7, 7, 6] and made.steps_per_epoch == 20
    draws = []
    for step in range(2 * made.steps_per_epoch):
        rows = made.rows(step)
        if rows.city[0] == 2:
            assert len(set(rows.draw[rows.counts])) == rows.counts.sum()
            draws += rows.draw[rows.counts].tolist()
    assert draws == list(range(6 * 9))  # twelve batches of 8 and 1
    assert made.regions_per_epoch.tolist() == [56, 53, 27]


def test_a_tiny_share_is_one_turn_and_the_largest_pays():
    made = _turns(sizes=(1000, 1, 1, 1), weights=(1.0, 1e-9, 1e-9, 1e-9))
    assert made.turns.tolist() == [1000, 1, 1, 1]


def test_what_cannot_fill_a_batch_is_refused():
    with pytest.raises(InputError, match="exceeds the 146 regions of the corpus"):
        _turns(data=DataSettings(batch_size=147))
    with pytest.raises(InputError, match=r"9 regions of cori, so .*batches='city'"):
        _turns(batches="city", data=DataSettings(batch_size=10, short_batch="drop"))
    with pytest.raises(
        InputError, match="cori has 9 regions, but each batch of 32 would"
    ):
        _turns(evenness=1.0, data=DataSettings(batch_size=32))
