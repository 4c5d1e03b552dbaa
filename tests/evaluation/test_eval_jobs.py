"""Jobs are fitted in order, here or by processes, with the same results."""

import dataclasses
import re

import numpy as np
import pytest

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation.design import grid, targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.features.groups import Features
from mmgr_jax.evaluation.heads import jobs
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials import trial_plan

NUM_REGIONS = 60


@pytest.fixture(scope="module")
def methods():
    features = np.random.default_rng(0).normal(size=(NUM_REGIONS, 5))
    return dict(mean=None, image=Features.of("image", features.astype(np.float32)))


@pytest.fixture(scope="module")
def labels(methods):
    hidden = methods["image"].values.astype(np.float64)
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
def asked(methods, labels):
    split = Split(np.arange(NUM_REGIONS) % 3, 3)
    cells = grid.cells(split, np.ones(NUM_REGIONS, bool), fractions=(0.5, 1.0))
    settings = EvalSettings(strengths=(0.1, 10.0))
    return [
        jobs.Job(
            protocol, methods[method], target, cells, settings,
            cells.full if method == "image" else (),
        )
        for target in labels.values()
        for protocol, method in trial_plan.pairs(methods, ("linear", "knn"), target)
    ]  # fmt: skip


def test_processes_find_what_is_found_here(asked, monkeypatch):
    here = list(jobs.fit_all(asked))
    monkeypatch.setattr(jobs, "WORTH_S", 0.0)
    monkeypatch.setattr(jobs.by_fold, "fit", None)  # would raise in this process
    there = list(jobs.fit_all(asked))
    assert len(asked) == len(here) == len(there) == 8
    for job, ours, theirs in zip(asked, here, there, strict=True):
        np.testing.assert_allclose(theirs.prediction, ours.prediction, rtol=1e-9)
        assert theirs.chosen == ours.chosen
        assert theirs.heads.keys() == ours.heads.keys() == set(job.keep)
        for index in job.keep:
            for name, leaf in ours.heads[index].weights.items():
                weights = theirs.heads[index].weights[name]
                np.testing.assert_allclose(weights, leaf, rtol=1e-6, atol=1e-9)


def test_heads_are_fitted_here_where_processes_cannot_share(asked, monkeypatch):
    monkeypatch.setattr(jobs, "WORTH_S", 0.0)
    monkeypatch.setattr(jobs.cores, "can_share_work", lambda: False)
    monkeypatch.setattr(jobs.joblib, "Parallel", None)  # would raise
    assert len(list(jobs.fit_all(asked))) == 8


def test_an_error_of_a_process_is_the_error_of_the_caller(asked, monkeypatch):
    none = dataclasses.replace(asked[0].settings, strengths=())
    wrong = [dataclasses.replace(job, settings=none) for job in asked]
    monkeypatch.setattr(jobs, "WORTH_S", np.inf)
    with pytest.raises((ValueError, IndexError)) as here:
        list(jobs.fit_all(wrong))
    monkeypatch.setattr(jobs, "WORTH_S", 0.0)
    with pytest.raises(type(here.value), match=re.escape(str(here.value))):
        list(jobs.fit_all(wrong))


def test_few_heads_stay_here(asked, monkeypatch):
    monkeypatch.setattr(jobs.joblib, "Parallel", None)  # would raise
    assert sum(job.seconds for job in asked) < jobs.WORTH_S
    list(jobs.fit_all(asked))


def test_splits_for_comparison_have_kept_methods_and_rules(methods, labels):
    more = dict(methods, other=methods["image"])
    target = labels["population"]
    first = {method for _, method in trial_plan.pairs(more, ("linear",), target)}
    later = trial_plan.pairs(more, ("linear",), target, only=("image",))
    assert {method for _, method in later} == {"image", "mean"}
    assert first == set(more)


def test_released_heads_are_for_numbers_alone(methods, labels):
    population, function = (
        trial_plan.pairs(methods, ("linear", "released"), labels[name])
        for name in ("population", "function")
    )
    assert ("released", "image") in population
    assert ("released", "image") not in function
