"""Several cities in training: one sequence of regions, its order, who is refused."""

import dataclasses
import itertools
import resource
import time

import numpy as np
import pytest
import small_records

from mmgr_jax.data import opening, order, pipeline, schema
from mmgr_jax.data.corpus import Corpus
from mmgr_jax.data.settings import CorpusSettings, DataSettings
from mmgr_jax.data.source import RecordSource
from mmgr_jax.errors import InputError

DATA = DataSettings(batch_size=8, num_threads=2, max_pois=8)
SEED = 3
OTHER_CATEGORIES = ("bakery", "cafe", "shop", "park", "pier")  # three of them shared
BY_NAME = CorpusSettings(categories="by_name")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Records of three cities: of 12, 40 and 20 regions."""
    root = tmp_path_factory.mktemp("cities")
    made = {}
    for name, rows, columns in (("alba", 3, 4), ("bree", 5, 8), ("cori", 4, 5)):
        folder = root / name / "records"
        folder.mkdir(parents=True)
        options = dict(rows=rows, columns=columns, city=name, seed=len(made))
        made[name] = small_records.write_records(folder, **options)
    return made


def _corpus(folders, names=None, settings=BY_NAME, **options):
    chosen = names or list(folders)
    sources = [RecordSource(folders[name]) for name in chosen]
    return Corpus(sources, settings, **options)


def _take(source, count, data=DATA, seed=SEED, **options):
    batches = pipeline.training_batches(source, data, seed=seed, **options)
    return list(itertools.islice(batches, count))


def _write(tmp_path, name, **options):
    folder = tmp_path / name
    folder.mkdir()
    return small_records.write_records(folder, city=name, **options)


def _shown(source, batches):
    """City -> regions that count, by their own numbers, in order."""
    shown = {name: [] for name in source.names}
    for batch in batches:
        for index in batch["region_index"][batch["example_mask"]]:
            city = int(source.city_index(np.array([index]))[0])
            shown[source.names[city]].append(int(index - source.starts[city]))
    return shown


def test_regions_stand_city_by_city_and_are_what_the_cities_hold(folders):
    source = _corpus(folders, ["cori", "alba", "bree"])
    assert source.names == ("alba", "bree", "cori")
    assert source.starts.tolist() == [0, 12, 52, 72] and len(source) == 72
    indices = [71, 0, 30, 12, 0, 52]
    places = [("cori", 19), ("alba", 0), ("bree", 18), ("bree", 0), ("alba", 0)]
    places.append(("cori", 0))
    tiles = np.zeros((6, 32, 32, 3), np.uint8)
    plain, with_tiles = source.read(indices), source.read(indices, image=True)
    source.read(indices, into=tiles)
    for row, (name, own) in enumerate(places):
        wanted = RecordSource(folders[name])[own]
        np.testing.assert_array_equal(tiles[row], wanted["image"])
        assert "image" not in plain[row]
        for field, value in wanted.items():
            np.testing.assert_array_equal(with_tiles[row][field], value)


def test_batches_say_which_city_and_one_city_says_nothing(folders):
    source = _corpus(folders)
    for batch in _take(source, 9):
        assert batch["city_index"].dtype == np.int32
        np.testing.assert_array_equal(
            batch["city_index"], source.city_index(batch["region_index"])
        )
        for row, index in enumerate(batch["region_index"]):
            record = source[int(index)]
            np.testing.assert_array_equal(batch["image"][row], record["image"])
    (alone,) = _take(_corpus(folders, ["bree"]), 1)
    assert "city_index" not in alone


@pytest.mark.parametrize("batches", ["mixed", "city"])
def test_an_epoch_shows_each_region_once(folders, batches):
    source = _corpus(folders, settings=CorpusSettings(batches=batches))
    steps = pipeline.epoch_steps(source, DATA)
    assert steps == (9 if batches == "mixed" else 2 + 5 + 3)
    taken = _take(source, 2 * steps)
    for epoch in (taken[:steps], taken[steps:]):
        for name, regions in _shown(source, epoch).items():
            assert sorted(regions) == list(range(len(RecordSource(folders[name]))))
    first, second = (_shown(source, part) for part in (taken[:steps], taken[steps:]))
    assert first["bree"] != second["bree"] != sorted(second["bree"])


@pytest.mark.parametrize("batches", ["mixed", "city"])
@pytest.mark.parametrize("evenness", [0.0, 0.7])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_together_read_the_global_batch(
    folders, processes, batches, evenness
):
    settings = CorpusSettings(batches=batches, evenness=evenness)
    source = _corpus(folders, settings=settings)
    whole = _take(source, 14)
    parts = [
        _take(source, 14, process_index=index, process_count=processes)
        for index in range(processes)
    ]
    for step, batch in enumerate(whole):
        for name, rows in batch.items():
            together = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(together, rows)


@pytest.mark.parametrize("batches", ["mixed", "city"])
def test_state_restores_bit_for_bit_in_the_middle_of_an_epoch(folders, batches):
    settings = CorpusSettings(batches=batches, evenness=0.5)
    straight = pipeline.training_batches(
        _corpus(folders, settings=settings), DATA, seed=SEED
    )
    for _ in range(13):
        next(straight)
    state = straight.get_state()
    assert state == {"rows": 13 * 8}
    expected = [next(straight) for _ in range(12)]
    for processes in (1, 2):
        parts = []
        for index in range(processes):
            part = pipeline.training_batches(
                _corpus(folders, settings=settings),
                DATA,
                seed=SEED,
                process_index=index,
                process_count=processes,
            )
            part.set_state(state)
            parts.append([next(part) for _ in range(12)])
        for step, batch in enumerate(expected):
            for name, rows in batch.items():
                together = np.concatenate([part[step][name] for part in parts])
                np.testing.assert_array_equal(together, rows)
    assert any((batch["poi_mask"].sum(axis=1) == 8).any() for batch in expected)


def test_shares_are_those_that_are_stated(folders):
    data = dataclasses.replace(DATA, max_pois=None)
    settings = dataclasses.replace(BY_NAME, evenness=1.0)
    source = _corpus(folders, settings=settings, weights=[2.0, 1.0, 1.0])
    assert source.turns(data).turns.tolist() == [36, 18, 18]
    taken = _take(source, 9 * 4, data)
    drawn = np.concatenate([batch["city_index"] for batch in taken])
    assert np.bincount(drawn).tolist() == [144, 72, 72]
    counted = np.concatenate([batch["example_mask"] for batch in taken])
    shown = _shown(source, taken)
    assert sum(map(len, shown.values())) == counted.sum()
    for batch in taken:  # no region is its own negative
        kept = batch["region_index"][batch["example_mask"]]
        assert len(set(kept.tolist())) == len(kept)
    for name, size in (("alba", 12), ("bree", 40), ("cori", 20)):
        times = np.bincount(shown[name], minlength=size)
        assert np.ptp(times) <= 3, name
    assert (~counted).sum() < 36  # a city's own epoch ended in few batches


@pytest.mark.parametrize("evenness", [0.0, 1.0])
def test_a_city_more_changes_nothing_in_the_order_of_the_others(folders, evenness):
    data = dataclasses.replace(DATA, batch_size=6)
    settings = dataclasses.replace(BY_NAME, evenness=evenness)
    two = _corpus(folders, ["bree", "cori"], settings)
    three = _corpus(folders, settings=settings)
    before, after = _take(two, 30, data), _take(three, 40, data)
    for name in ("bree", "cori"):
        orders = [_all(two, before, name), _all(three, after, name)]
        length = min(map(len, orders))
        assert length >= 60
        assert orders[0][:length] == orders[1][:length]
    pois = [_sets(two, before, "bree"), _sets(three, after, "bree")]
    length = min(map(len, pois))
    assert length > 40 and pois[0][:length] == pois[1][:length]


def _rows_of(source, batches, name):
    """(batch, row, number of the region) of a city, but for rows that fill a batch."""
    city = source.names.index(name)
    epoch = pipeline.epoch_steps(source, dataclasses.replace(DATA, batch_size=6))
    for number, batch in enumerate(batches):
        last = number % epoch == epoch - 1
        for row, index in enumerate(batch["region_index"]):
            counts = batch["example_mask"][row]
            if batch["city_index"][row] == city and (counts or not last):
                yield batch, row, int(index - source.starts[city])


def _all(source, batches, name):
    return [own for *_, own in _rows_of(source, batches, name)]


def _sets(source, batches, name):
    """The POIs that are shown of each region."""
    return [
        batch["poi_offset_m"][row].tolist()
        for batch, row, _ in _rows_of(source, batches, name)
    ]


def test_categories_are_joined_by_their_names(folders, tmp_path):
    other = _write(tmp_path, "dorn", categories=OTHER_CATEGORIES, seed=9)
    source = Corpus([RecordSource(other), RecordSource(folders["alba"])], BY_NAME)
    names = source.manifest.categories
    assert names == (*small_records.CATEGORIES, "bakery", "pier")
    for index, own in ((12 + 5, 5), (12 + 39, 39)):
        theirs = RecordSource(other)[own]["poi/category"]
        wanted = [OTHER_CATEGORIES[number] for number in theirs]
        got = source[index]["poi/category"]
        assert got.dtype == np.int32 and [names[number] for number in got] == wanted
    vectors = source.category_vectors()
    np.testing.assert_array_equal(
        vectors[:5], RecordSource(folders["alba"]).category_vectors()
    )
    np.testing.assert_array_equal(
        vectors[5:], RecordSource(other).category_vectors()[[0, 4]]
    )
    for batch in _take(source, 7):
        for row, index in enumerate(batch["region_index"]):
            shown = batch["poi_category"][row][batch["poi_mask"][row]]
            assert set(shown) <= set(source[int(index)]["poi/category"])


def test_vectors_that_differ_are_told(folders, caplog):
    _corpus(folders).category_vectors()
    assert "corpus: 5 of 5 POI categories have different vectors" in caplog.text


def test_the_identity_hangs_on_every_city(folders, tmp_path):
    whole = _corpus(folders)
    assert dict(whole.identity) == dict(
        _corpus(folders, ["cori", "bree", "alba"]).identity
    )
    assert set(whole.members["cities"]) == set(folders)
    fewer = _corpus(folders, ["alba", "bree"])
    assert fewer.identity["inputs"] != whole.identity["inputs"]
    assert set(whole.identity) == set(RecordSource(folders["alba"]).identity)


def test_folders_are_named_once_by_themselves_or_patterns(folders):
    root = folders["alba"].parents[1]
    pattern = str(root / "*/records")
    named = opening.folders(CorpusSettings(records=(pattern,), weights=(2.0,)))
    assert [one.path for one in named] == list(folders.values())
    assert {one.weight for one in named} == {2.0}
    twice = (pattern, str(folders["bree"]))
    with pytest.raises(InputError, match="bree/records is named twice"):
        opening.folders(CorpusSettings(records=twice))
    with pytest.raises(InputError, match="is named twice"):
        opening.folders(CorpusSettings(records=(str(folders["bree"]),) * 2))
    with pytest.raises(InputError, match="no folder fits"):
        opening.folders(CorpusSettings(records=(str(root / "x*/records"),)))
    with pytest.raises(InputError, match="has 1 numbers for the 2 entries"):
        opening.folders(CorpusSettings(records=twice, weights=(1.0,)))


def test_cities_that_do_not_fit_are_refused_by_name(folders, tmp_path):
    def refused(other, match, settings=BY_NAME):
        with pytest.raises(InputError, match=match):
            Corpus([RecordSource(folders["alba"]), RecordSource(other)], settings)

    coarse = _write(tmp_path, "dorn", tile_size_m=96.0)
    refused(coarse, r"alba/records has tiles of 2 m a pixel and .*dorn of 3 m a pixel")
    (tmp_path / "other").mkdir()
    namesake = small_records.write_records(tmp_path / "other", city="alba")
    refused(namesake, r"alba/records and .*other are both of a city called 'alba'")
    named = _write(tmp_path, "eden", categories=OTHER_CATEGORIES)
    same = CorpusSettings()
    refused(
        named, r"only .*alba/records has bank, school; only .*eden has bakery", same
    )
    turned = _write(tmp_path, "faro", categories=small_records.CATEGORIES[::-1])
    refused(turned, r"the same names in another order.*categories=by_name", same)
    wide = _write(tmp_path, "gent")
    manifest = schema.Manifest.load(wide)
    path = wide / schema.CATEGORY_VECTORS_FILE
    np.save(path, np.zeros((5, 8), np.float32))
    manifest.save(wide, [schema.CATEGORY_VECTORS_FILE])
    both = Corpus([RecordSource(folders["alba"]), RecordSource(wide)], same)
    with pytest.raises(InputError, match=r"vectors of 16 numbers and .*gent of 8"):
        both.category_vectors()


def test_opening_reads_folders_and_keeps_tiles_where_all_fit(folders):
    root = folders["alba"].parents[1]
    settings = CorpusSettings(records=(str(root / "*/records"),))
    source = opening.open_training(settings, "elsewhere", DATA)
    assert isinstance(source, Corpus) and len(source) == 72
    assert source.read([3], image=True)[0] is source.read([3], image=True)[0]
    none = dataclasses.replace(DATA, cache_mib=0)
    source = opening.open_training(settings, "elsewhere", none)
    assert source.read([3], image=True)[0] is not source.read([3], image=True)[0]
    alone = opening.open_training(CorpusSettings(), str(folders["bree"]), DATA)
    assert isinstance(alone, RecordSource)
    assert source.city_in(folders["cori"]) is source.cities[2]
    assert source.city_in(root) is None
    with opening.kept(settings, "elsewhere"):
        pass


class _Far(RecordSource):
    """A city whose records nobody reads."""

    def __init__(self, manifest):
        self.records_dir, self.manifest = None, manifest


def test_a_million_regions_of_a_hundred_cities_are_numbers_alone(folders):
    like = schema.Manifest.load(folders["alba"])
    rng = np.random.default_rng(0)
    sizes = rng.multinomial(1_000_000 - 100 * 500, rng.dirichlet(np.ones(100))) + 500
    cities = [
        _Far(dataclasses.replace(like, city=f"city{number:03}", num_regions=int(size)))
        for number, size in enumerate(sizes)
    ]
    data = DataSettings(batch_size=1024, max_pois=8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    source = Corpus(cities, CorpusSettings(evenness=0.3))
    rows = order.of_corpus(source, data, slice(0, 1024), seed=SEED, draws=True)
    opened = time.process_time() - began
    assert len(source) == 1_000_000
    began = time.process_time()
    for step in (0, 500, 976, 10**6, 5, 77, 10**9, 4):
        own = rows[step]
        assert len({row[0] for row in own if row[1]}) == sum(row[1] for row in own)
    batch_s = (time.process_time() - began) / 8
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert opened < 1 and batch_s < 0.25, (opened, batch_s)
    assert grown < 16 * 1024, grown  # KiB; an object for each region would take 64 MiB
