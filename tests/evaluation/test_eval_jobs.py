"""Calls are fitted in order, here or by processes, with the same results."""

import dataclasses
import re

import numpy as np
import pytest

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.heads import jobs

NUM_REGIONS = 60


@pytest.fixture(scope="module")
def job():
    features = np.random.default_rng(0).normal(size=(NUM_REGIONS, 5))
    methods = dict(mean=None, image=features.astype(np.float32))
    return jobs.Job(methods, ("linear", "knn"), (0.1, 10.0), 0, keep=("image",))


@pytest.fixture(scope="module")
def labels(job):
    hidden = job.methods["image"].values.astype(np.float64)
    shares = np.exp(hidden[:, :3])
    shares /= shares.sum(axis=1, keepdims=True)
    label = Label("share", "1", classes=("water", "forest", "residential"))
    return dict(
        population=targets.check(
            "population", Label("count", "persons"), np.exp(hidden[:, 0]), NUM_REGIONS
        ),
        function=targets.check("function", label, shares, NUM_REGIONS),
    )


@pytest.fixture(scope="module")
def calls(job, labels):
    split = Split(np.arange(NUM_REGIONS) % 3, 3)
    cells = grid.cells(split, np.ones(NUM_REGIONS, bool), fractions=(0.5, 1.0))
    return [
        jobs.Call(
            protocol, method, target, cells, cells.full if method in job.keep else ()
        )
        for target in labels.values()
        for protocol, method in job.parts(target)
    ]


def test_processes_find_what_is_found_here(job, calls, monkeypatch):
    here = list(job.fits(calls))
    fitted_here, fit = [], jobs.Job._fit

    def recorded(self, call):
        fitted_here.append(call.method)
        return fit(self, call)

    monkeypatch.setattr(jobs.Job, "_fit", recorded)
    monkeypatch.setattr(jobs, "WORTH_S", 0.0)
    there = list(job.fits(calls))
    assert len(calls) == len(here) == len(there) == 8
    assert set(fitted_here) == {"mean"}
    for call, ours, theirs in zip(calls, here, there, strict=True):
        np.testing.assert_allclose(theirs.prediction, ours.prediction, rtol=1e-9)
        assert theirs.chosen == ours.chosen
        assert theirs.heads.keys() == ours.heads.keys() == set(call.keep)
        for index in call.keep:
            for name, leaf in ours.heads[index].weights.items():
                told = theirs.heads[index].weights[name]
                np.testing.assert_allclose(told, leaf, rtol=1e-6, atol=1e-9)


def test_an_error_of_a_process_is_the_error_of_the_caller(job, calls, monkeypatch):
    wrong = dataclasses.replace(job, strengths=())
    monkeypatch.setattr(jobs, "WORTH_S", np.inf)
    with pytest.raises((ValueError, IndexError)) as here:
        list(wrong.fits(calls))
    monkeypatch.setattr(jobs, "WORTH_S", 0.0)
    with pytest.raises(type(here.value), match=re.escape(str(here.value))):
        list(wrong.fits(calls))


def test_few_heads_stay_here(job, calls, monkeypatch):
    monkeypatch.setattr(jobs.joblib, "Parallel", None)  # would raise
    assert job.seconds(calls) < jobs.WORTH_S
    list(job.fits(calls))


def test_splits_for_comparison_have_kept_methods_and_rules(job, labels):
    kept = dataclasses.replace(job, keep=("image",))
    target = labels["population"]
    first = {method for _, method in kept.parts(target)}
    later = {method for _, method in kept.parts(target, first=False)}
    rules = {name for name, of in kept.methods.items() if not jobs._reads(of)}
    assert later == {"image"} | rules
    assert first == set(kept.methods)
    every = {method for _, method in job.parts(target, first=False)}
    assert every == set(job.methods)


def test_released_heads_are_for_numbers_alone(job, labels):
    released = dataclasses.replace(job, protocols=("linear", "released"))
    assert ("released", "image") in released.parts(labels["population"])
    assert ("released", "image") not in released.parts(labels["function"])
