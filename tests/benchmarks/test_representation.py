import dataclasses

import numpy as np
import pytest

from benchmarks import pooled, representation, ways


@pytest.mark.parametrize("way", ways.WAYS)
def test_every_way_is_a_config(way):
    """Changes name keys that exist; a way that shares a training changes none of it."""
    config = ways.city_config(3, way)
    assert config.toy_city.seed == 3
    assert config.records.dir.startswith(ways.FOLDER)
    assert all(ways.FOLDER in label.path for label in config.labels.values())
    of = ways.WAYS[way]
    plain = ways.city_config(3, of.trained) if of.trained else config
    for section in ("augment", "model", "loss", "optim", "train", "data"):
        assert plain[section] == config[section]


@pytest.mark.parametrize("harder", ways.HARDER)
def test_harder_cities_have_places_of_their_own(harder):
    config = ways.city_config(3, harder=harder)
    for key, value in ways.HARDER[harder].items():
        assert config.toy_city[key] == value
    assert config.toy_city.out_dir != ways.city_config(3).toy_city.out_dir


def test_nobody_chooses_on_cities_that_are_held_out():
    assert not set(ways.DEVELOPMENT) & set(ways.HELD_OUT)
    chosen = {job.city for job in representation.jobs("development", tuple(ways.WAYS))}
    assert chosen == set(ways.DEVELOPMENT)
    seen = {job.city for job in representation.jobs("held_out", ways.CHOSEN)}
    assert seen == set(ways.HELD_OUT)


def test_what_others_read_is_trained_first():
    order = representation.jobs("development", tuple(ways.WAYS))
    for seed in ways.TRAINING_SEEDS:
        names = [job.way for job in order if job.seed == seed]
        for way, of in ways.WAYS.items():
            assert not of.trained or names.index(of.trained) < names.index(way)


def test_jobs_travel_by_name():
    job = representation.Job(10, "no counts", 2, "held_out", "haze")
    assert representation._job("10,no counts,2,held_out,haze") == job


@pytest.fixture
def results(tmp_path):
    """Two cities with two seeds each; MMGR both is better by 0.1 in every resample."""
    rng = np.random.default_rng(0)
    by_city = {}
    for city in (0, 1):
        for seed in (0, 1):
            base = rng.normal(0.5, 0.05, 201)
            arrays = {}
            for task in pooled.METRICS:
                sign = -1 if pooled.METRICS[task] == "l1" else 1
                arrays[f"{task}|MMGR both|all"] = base + sign * 0.1
                arrays[f"{task}|counts|all"] = base
                arrays[f"{task}|MMGR both|all|blocks"] = np.array(20)
            path = tmp_path / f"{city}_{seed}.npz"
            np.savez(path, **arrays)
            by_city.setdefault(city, []).append(path)
    return by_city


@pytest.mark.parametrize("task", pooled.METRICS)
def test_means_over_cities_of_means_over_seeds(results, task):
    own = pooled.measured(results, task, "MMGR both")
    stored = [np.load(path) for of in results.values() for path in of]
    values = np.array([of[f"{task}|MMGR both|all"] for of in stored])
    np.testing.assert_allclose(own.estimate, values[:, 0].mean())
    np.testing.assert_allclose(own.samples, values[:, 1:].mean(axis=0))
    assert own.num_blocks == 40


@pytest.mark.parametrize(("task", "metric"), pooled.METRICS.items())
def test_a_paired_difference_is_surer_than_two_intervals(results, task, metric):
    own = pooled.measured(results, task, "MMGR both")
    other = pooled.measured(results, task, "counts")
    found = own.better_than(metric, other)
    np.testing.assert_allclose(found.estimate, 0.1)
    assert found.excludes_zero
    back = other.better_than(metric, own)
    np.testing.assert_allclose(back.estimate, -0.1)


def test_a_method_that_a_city_lacks_has_no_mean(results):
    assert pooled.measured(results, "gdp", "nobody") is None


def test_ways_are_compared_from_the_same_seeds(tmp_path):
    """What only one of two ways has run does not count in their difference."""

    @dataclasses.dataclass(frozen=True)
    class Done:
        way: str
        seed: int
        city: int = 0
        harder: str = ""
        done: bool = True

        @property
        def folder(self):
            return tmp_path / self.way / str(self.seed)

    jobs = [Done("recommended", 0), Done("recommended", 1), Done("noise", 0)]
    noise = np.append(0.0, np.random.default_rng(0).normal(0, 0.01, 100))
    for job, level in zip(jobs, (0.5, 0.9, 0.6), strict=True):
        noise = np.append(0.0, noise[1:] * 1.1)
        arrays = {}
        for task in pooled.METRICS:
            for kind in ("image", "both"):
                arrays[f"{task}|MMGR {kind}|all"] = level + noise
                arrays[f"{task}|MMGR {kind}|all|blocks"] = np.array(20)
        job.folder.mkdir(parents=True)
        np.savez(job.folder / ways.RESULT, **arrays)
    row = next(
        line
        for line in pooled.tables("development", jobs).splitlines()
        if "noise" in line
    )
    assert "| 1 x 1 | 0.600 (-0.100 *) | 0.600 (+0.100 *) |" in row
