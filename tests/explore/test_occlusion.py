"""Regions read in several ways: tiles painted over, categories left out."""

import numpy as np
import pytest
from small_records import CATEGORIES, write_records

from mmgr_jax.data import pipeline
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError
from mmgr_jax.explore import readings
from mmgr_jax.explore.readings import Reading, Readings


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return RecordSource(write_records(tmp_path_factory.mktemp("records")))


@pytest.mark.parametrize(("side", "cells"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_each_pixel_is_painted_over_once(side, cells):
    tile = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    colour = np.round(tile.mean(axis=(0, 1))).astype(np.uint8)
    tile[(tile == colour).all(axis=2)] += 1
    parts = [readings.without_cell(tile, cell, cells) for cell in range(cells**2)]
    changed = np.array([(part != tile).any(axis=2) for part in parts])
    np.testing.assert_array_equal(changed.sum(axis=0), 1)
    for part, painted in zip(parts, changed, strict=True):
        now = np.round(tile.mean(axis=(0, 1)))
        assert (np.abs(part[painted] - now) <= 1).all()
    if cells > 1:
        rows, columns = np.nonzero(changed[1])  # row by row: the second in the first
        assert rows.max() < -(-side // cells) and columns.min() >= side // cells


def edges(record, inside):
    """Edges by where their ends lie, not by their numbers."""
    ends = record["poi/offset_m"][record["poi/edges"]].tolist()
    named = zip(ends, record["poi/edge_weight"].tolist(), strict=True)
    made = {(tuple(a), tuple(b), weight) for (a, b), weight in named}
    return {edge for edge in made if edge[0] in inside and edge[1] in inside}


def test_a_category_goes_with_its_edges_and_the_others_stay(source):
    for index in range(len(source)):
        record = source[index]
        for category in np.unique(record["poi/category"]).tolist():
            left = readings.without_category(record, category)
            kept = record["poi/category"] != category
            for name in ("poi/category", "poi/offset_m"):
                np.testing.assert_array_equal(left[name], record[name][kept])
            inside = {tuple(place) for place in record["poi/offset_m"][kept].tolist()}
            assert edges(left, inside) == edges(record, inside)
            assert len(left["poi/edges"]) == len(edges(left, inside))


def test_readings_are_batches_like_any_records(source):
    whole = source[7]
    first = int(whole["poi/category"][0])
    asked = [Reading(7), Reading(7, cell=3), Reading(7, category=first), Reading(2)]
    (batch,) = pipeline.epoch_batches(
        Readings(source, asked), batch_size=4, num_threads=2, edges=True
    )
    np.testing.assert_array_equal(batch["image"][0], whole["image"])
    np.testing.assert_array_equal(
        batch["image"][1], readings.without_cell(whole["image"], 3)
    )
    np.testing.assert_array_equal(batch["image"][2], whole["image"])
    np.testing.assert_array_equal(batch["image"][3], source[2]["image"])
    sizes = batch["poi_mask"].sum(axis=1)
    count = np.sum(whole["poi/category"] == first)
    assert sizes[0] == sizes[1] == sizes[2] + count == len(whole["poi/category"])
    assert first not in batch["poi_category"][2][batch["poi_mask"][2]]


def test_a_region_is_read_whole_then_by_cells_then_by_its_commonest_categories(source):
    own = readings.of_regions(source, np.array([0, 7, 39]), 2)
    for region, part in zip((0, 7, 39), own, strict=True):
        counts = np.bincount(source[region]["poi/category"], minlength=len(CATEGORIES))
        assert part[0] == Reading(region)
        assert part[1:5] == [Reading(region, cell=cell) for cell in range(4)]
        order = [reading.category for reading in part[5:]]
        assert sorted(order) == np.flatnonzero(counts).tolist()
        assert (np.diff(counts[order]) <= 0).all()


IDS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("3", [0, 2, 4]),
        ("900", [0, 1, 2, 3, 4]),
        ("ids:d,b,d", [1, 3]),
    ],
)
def test_regions_are_chosen(asked, wanted):
    assert readings.chosen(asked, IDS).tolist() == wanted


@pytest.mark.parametrize("asked", ["", "0", "-3", "some", "ids:", "ids:z", "1.5"])
def test_what_names_no_region_is_refused(asked):
    with pytest.raises(InputError, match="--occlusion="):
        readings.chosen(asked, IDS)
