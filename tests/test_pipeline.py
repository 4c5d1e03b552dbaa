"""The input pipeline: order, padding, epochs, processes, and broken shards."""

import dataclasses
import itertools
import shutil

import grain
import numpy as np
import pytest
import small_records

from mmgr_jax import settings
from mmgr_jax.data import order, pipeline, schema, tiles
from mmgr_jax.data.settings import DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

DATA = DataSettings(batch_size=16, num_threads=2, short_batch="drop")
SEED = 3


@pytest.fixture(scope="module")
def source(records_dir):
    return RecordSource(records_dir)


def _take(source, count, data=DATA, seed=SEED, **options):
    batches = pipeline.training_batches(source, data, seed=seed, **options)
    return list(itertools.islice(batches, count))


def _data(**changes):
    return dataclasses.replace(DATA, **changes)


def test_batches_hold_what_the_records_hold(source):
    for batch in _take(source, 3):
        assert batch["image"].dtype == np.uint8
        for row, index in enumerate(batch["region_index"]):
            record = source[int(index)]
            count = len(record["poi/category"])
            np.testing.assert_array_equal(batch["image"][row], record["image"])
            np.testing.assert_array_equal(
                batch["poi_mask"][row], np.arange(batch["poi_mask"].shape[1]) < count
            )
            np.testing.assert_array_equal(
                batch["poi_category"][row, :count], record["poi/category"]
            )
            np.testing.assert_array_equal(
                batch["poi_offset_m"][row, :count], record["poi/offset_m"]
            )


def test_an_epoch_shows_each_region_at_most_once_and_epochs_differ(source):
    per_epoch = len(source) // 16
    indices = [batch["region_index"] for batch in _take(source, 2 * per_epoch)]
    first = np.concatenate(indices[:per_epoch])
    second = np.concatenate(indices[per_epoch:])
    assert len(set(first)) == len(first) == per_epoch * 16
    assert len(set(second)) == len(second)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("processes", [1, 4])
def test_a_filled_epoch_counts_each_region_once(source, processes):
    options = dict(data=_data(short_batch="fill"), process_count=processes)
    parts = [_take(source, 6, **options, process_index=i) for i in range(processes)]
    batches = [
        {
            name: np.concatenate([part[t][name] for part in parts])
            for name in parts[0][t]
        }
        for t in range(6)
    ]
    for epoch in (batches[:3], batches[3:]):  # 40 regions are 2.5 batches of 16
        shown = np.concatenate([batch["region_index"] for batch in epoch])
        counts = np.concatenate([batch["example_mask"] for batch in epoch])
        assert sorted(shown[counts]) == list(range(len(source)))
        assert shown[~counts].tolist() == shown[:8].tolist()
    assert not np.array_equal(batches[0]["region_index"], batches[3]["region_index"])


def test_steps_per_epoch():
    fill = _data(short_batch="fill")
    assert pipeline.steps_per_epoch(40, DATA) == 2
    assert pipeline.steps_per_epoch(40, fill) == 3
    assert pipeline.steps_per_epoch(48, fill) == 3
    assert pipeline.steps_per_epoch(40, _data(batch_size=40)) == 1
    for short_batch in ("drop", "fill"):
        with pytest.raises(InputError, match="batch_size=41 exceeds the 40 regions"):
            large = _data(batch_size=41, short_batch=short_batch)
            pipeline.steps_per_epoch(40, large)


def test_an_unknown_short_batch_is_refused():
    with pytest.raises(InputError, match="short_batch='skip'; allowed: 'fill' or 'dr"):
        settings.read(DataSettings, {"short_batch": "skip"}, "data")


@pytest.mark.parametrize("max_pois", [None, 8])
def test_edges_join_the_pois_they_join_in_the_records(source, max_pois):
    joined = 0
    for batch in _take(source, 4, _data(max_pois=max_pois), edges=True):
        slots = batch["poi_mask"].shape[1]
        assert batch["poi_edges"].shape == (16, 3 * slots, 2)
        for row, index in enumerate(batch["region_index"]):
            record, offset_m = source[int(index)], batch["poi_offset_m"][row]
            shown = {tuple(o) for o in offset_m[batch["poi_mask"][row]]}
            expected = {
                (tuple(a), tuple(b))
                for a, b in record["poi/offset_m"][record["poi/edges"]]
                if tuple(a) in shown and tuple(b) in shown
            }
            real = batch["poi_edge_weight"][row] > 0
            assert real.sum() == len(expected)
            ends = offset_m[batch["poi_edges"][row][real]]
            assert {(tuple(a), tuple(b)) for a, b in ends} == expected
            joined += len(expected)
    assert joined > 100


def test_more_edges_than_a_delaunay_graph_has_are_refused():
    pairs = np.stack(np.triu_indices(9, 1), axis=1).astype(np.int32)
    record = {
        "region_id": "r7",
        "poi/category": np.zeros(9, np.int32),
        "poi/offset_m": np.zeros((9, 2), np.float32),
        "poi/edges": pairs,
        "poi/edge_weight": np.ones(len(pairs), np.float32),
    }
    with pytest.raises(InputError, match="region 'r7': 36 edges between 9 POIs"):
        pipeline.pad_pois(record, 9, None, edges=True)


@pytest.mark.parametrize(  # the two do not meet: each value of each by default
    ("image_format", "max_pois"),
    [
        ("png", None),
        *((image_format, 8) for image_format in tiles.FORMATS),
        *(
            pytest.param(image_format, None, marks=pytest.mark.slow)
            for image_format in tiles.FORMATS
            if image_format != "png"
        ),
    ],
)
def test_batches_are_those_of_a_plain_chain(tmp_path, max_pois, image_format):
    """As Grain's own operations give them, one region after the other."""
    folder = small_records.write_records(tmp_path, image_format=image_format)
    source = RecordSource(folder)
    slots = pipeline.poi_slots(source, max_pois)

    def example(row, rng):
        index, counts = row
        record = source[index]
        count = len(record["poi/category"])
        chosen = np.arange(count)
        if count > slots:
            chosen = np.sort(rng.choice(count, slots, replace=False))
        offset_m = np.zeros((slots, 2), np.float32)
        offset_m[: len(chosen)] = record["poi/offset_m"][chosen]
        return {
            "region_index": index,
            "example_mask": counts,
            "poi_offset_m": offset_m,
            "image": record["image"],
        }

    for process in range(2):
        plain = grain.MapDataset.range(len(source)).seed(SEED).shuffle()
        own = slice(process * 8, process * 8 + 8)
        plain = order._ProcessRows(plain, 3, 16, own).repeat(None)
        plain = iter(plain.random_map(example).to_iter_dataset().batch(8))
        data = _data(max_pois=max_pois, short_batch="fill")
        options = dict(data=data, process_count=2)
        for batch in _take(source, 8, **options, process_index=process):
            for name, values in next(plain).items():
                np.testing.assert_array_equal(batch[name], values)


def test_a_full_region_makes_no_other_batch_longer(tmp_path):
    source = RecordSource(small_records.write_records(tmp_path))
    batches = list(pipeline.epoch_batches(source, batch_size=3, num_threads=2))
    counts = [len(source[index]["poi/category"]) for index in range(len(source))]
    slots = set()
    for number, batch in enumerate(batches):
        most = max(counts[3 * number : 3 * number + 3])
        wide = batch["poi_mask"].shape[1]
        slots.add(wide)
        assert wide == (8 if most <= 8 else 16)
        present = batch["example_mask"]
        assert (
            batch["poi_mask"].sum(axis=1)[present].tolist()
            == (counts[3 * number : 3 * number + 3])
        )
    assert slots == {8, 16}


def test_without_images_all_else_is_the_same(source):
    for batch, without in zip(
        _take(source, 3), _take(source, 3, images=False), strict=True
    ):
        del batch["image"]
        assert batch.keys() == without.keys()
        for name, values in batch.items():
            np.testing.assert_array_equal(values, without[name])


def test_same_seed_same_order_other_seed_other_order(source):
    shown = [batch["region_index"].tolist() for batch in _take(source, 4)]
    assert shown == [batch["region_index"].tolist() for batch in _take(source, 4)]
    other = [b["region_index"].tolist() for b in _take(source, 4, seed=4)]
    assert shown != other


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_read_the_global_batch_in_order(source, processes):
    whole = _take(source, 5)
    parts = [
        _take(source, 5, process_index=index, process_count=processes)
        for index in range(processes)
    ]
    for step, batch in enumerate(whole):
        for name, rows in batch.items():
            together = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(together, rows)


def test_a_full_region_shows_a_random_choice_of_its_pois(source):
    seen = set()
    for batch in _take(source, 20, _data(max_pois=8)):
        assert batch["poi_mask"].shape[1] == 8
        for row, index in enumerate(batch["region_index"]):
            record = source[int(index)]
            real = batch["poi_mask"][row].sum()
            assert real == min(8, len(record["poi/category"]))
            offsets = {tuple(o) for o in batch["poi_offset_m"][row][:real]}
            assert offsets <= {tuple(o) for o in record["poi/offset_m"]}
            if len(record["poi/category"]) > 8:
                seen.add((int(index), frozenset(offsets)))
    assert len(seen) > len({index for index, _ in seen})  # drawn anew each epoch


def test_epoch_batches_give_every_region_once_in_order(source):
    batches = list(pipeline.epoch_batches(source, batch_size=16, num_threads=2))
    assert [len(batch["example_mask"]) for batch in batches] == [16, 16, 16]
    indices = np.concatenate([b["region_index"][b["example_mask"]] for b in batches])
    assert indices.tolist() == list(range(len(source)))


def test_iterator_state_continues_exactly(source):
    iterator = pipeline.training_batches(source, DATA, seed=SEED)
    for _ in range(3):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator)["region_index"].tolist() for _ in range(4)]
    other = pipeline.training_batches(source, DATA, seed=SEED)
    other.set_state(state)
    assert [next(other)["region_index"].tolist() for _ in range(4)] == expected


def _copy(records_dir, tmp_path):
    return shutil.copytree(records_dir, tmp_path / "records")


def test_a_missing_manifest_says_how_to_build(tmp_path):
    with pytest.raises(InputError, match=r"manifest.json.*python -m data_prep.build"):
        RecordSource(tmp_path)


def test_a_missing_shard_is_named(records_dir, tmp_path):
    folder = _copy(records_dir, tmp_path)
    (folder / schema.shard_name("small", 1, 3)).unlink()
    with pytest.raises(InputError, match=r"00001-of-00003: this shard is missing"):
        RecordSource(folder)


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "empty"])
def test_a_corrupt_shard_is_named(records_dir, tmp_path, damage):
    folder = _copy(records_dir, tmp_path)
    shard = folder / schema.shard_name("small", 2, 3)
    whole = shard.read_bytes()
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "zeroed": whole[:10_000] + bytes(20_000) + whole[30_000:],
        "empty": b"",
    }
    shard.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"00002-of-00003"):
        list(pipeline.epoch_batches(RecordSource(folder), batch_size=8, num_threads=1))


def test_flipped_bytes_inside_a_record_are_found(records_dir, tmp_path):
    folder = _copy(records_dir, tmp_path)
    shard = folder / schema.shard_name("small", 0, 3)
    whole = bytearray(shard.read_bytes())
    for at in range(10_000, 10_400):  # within the records: shards end in padding
        whole[at] ^= 255
    shard.write_bytes(whole)
    with pytest.raises(InputError, match=r"00000-of-00003"):
        source = RecordSource(folder)
        for index in range(len(source)):
            source[index]


def test_a_category_table_of_other_length_is_refused(records_dir, tmp_path):
    folder = _copy(records_dir, tmp_path)
    np.save(folder / schema.CATEGORY_VECTORS_FILE, np.zeros((3, 4), np.float32))
    with pytest.raises(InputError, match="vectors.npy: other bytes than were"):
        RecordSource(folder).category_vectors()


@pytest.mark.parametrize("cache_mib", [0, 1])
def test_a_cache_changes_nothing_but_the_second_reading(records_dir, cache_mib):
    source = RecordSource(records_dir, cache_mib=cache_mib)
    assert (source[3] is source[3]) == bool(cache_mib)
    plain = RecordSource(records_dir)[3]
    for name, value in source[3].items():
        np.testing.assert_array_equal(value, plain[name])
