"""Parts of predictions: with those of the heads that show them they add up."""

import dataclasses

import numpy as np
import pytest

from mmgr_jax.data.schema import Label
from mmgr_jax.evaluation import predictors
from mmgr_jax.evaluation.design import targets
from mmgr_jax.evaluation.design.splits import Split
from mmgr_jax.evaluation.features.groups import Features, beside
from mmgr_jax.evaluation.settings import EvalSettings
from mmgr_jax.evaluation.trials import tasks
from mmgr_jax.explore import parts

COUNT, CATEGORIES = 200, 4
LABELS = {
    "people": Label("count", "persons"),
    "height": Label("scalar", "m"),
    "use": Label("share", "1", classes=("a", "b", "c")),
    "zone": Label("class", "1", classes=("a", "b", "c")),
}


@pytest.fixture(scope="module")
def heads():
    """Features, folds, and predictors of all labels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(COUNT, 6)).astype(np.float32)
    counts = np.log1p(rng.poisson(1.0, (COUNT, CATEGORIES + 1))).astype(np.float32)
    features = beside([Features.of("image", x), Features.of("POI counts", counts)])
    signal = x[:, 0] + counts[:, 1] + 0.3 * rng.normal(size=COUNT)
    logits = np.stack([signal, -signal, 0 * signal], axis=1)
    values = {
        "people": np.exp(3 + signal),
        "height": 5 * signal,
        "use": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "zone": np.digitize(signal, [0, 1]).astype(float),
    }
    block = np.arange(COUNT) % 20
    split = Split(block % 4, 4)
    report = tasks.evaluate(
        {"both": features},
        {name: (label, values[name]) for name, label in LABELS.items()},
        {"block": split},
        EvalSettings(protocols=("linear",), strengths=(1.0, 10.0)),
        keep=("both",),
    )
    made = {
        name: predictors.of_task(
            report.tasks[name],
            targets.check(name, label, values[name], COUNT),
            "both",
            features,
            block,
            split.fold,
        )
        for name, label in LABELS.items()
    }
    return features, split.fold, made


@pytest.mark.parametrize("name", list(LABELS))
@pytest.mark.parametrize("seen", [True, False])
def test_parts_add_up_to_the_prediction(heads, name, seen):
    features, fold, made = heads
    fold = fold if seen else None
    own = parts.of_task(made[name], features, fold, CATEGORIES)
    total = own.baseline + own.by_group.sum(axis=1)
    value = made[name].predict(features.values, fold).value
    if LABELS[name].classes:
        logs = np.log(value)
        wanted = logs.max(axis=1) - logs.mean(axis=1)
        np.testing.assert_allclose(total, wanted, atol=1e-6)
    elif name == "people":
        restored = own.units * np.expm1(np.maximum(total, 0))
        inside = restored < 0.99 * value.max()  # not at the ceiling
        np.testing.assert_allclose(restored[inside], value[inside], rtol=1e-6)
        assert inside.mean() > 0.9
    else:
        assert own.units is None
        np.testing.assert_allclose(total, value, rtol=1e-6)


def test_parts_of_categories_are_those_of_their_columns(heads):
    features, fold, made = heads
    own = parts.of_task(made["height"], features, fold, CATEGORIES)
    assert own.groups == ("image", "POI counts")
    assert own.category.shape == (COUNT, CATEGORIES + 1)  # all there are
    np.testing.assert_allclose(own.by_category.sum(axis=1), own.by_group[:, 1])
    changed = features.values.copy()
    changed[0, 6 + 1] += 1
    other = parts.of_task(
        made["height"], Features((changed,), features.groups), fold, CATEGORIES
    )
    moved = made["height"].values(changed, fold)[0]
    before = made["height"].values(features.values, fold)[0]
    index = [np.flatnonzero(part.category[0] == 1)[0] for part in (own, other)]
    difference = other.by_category[0, index[1]] - own.by_category[0, index[0]]
    # The city's mean moved, too, by one part in COUNT.
    assert difference == pytest.approx((moved - before) * (1 - 1 / COUNT))


def test_heads_that_are_not_linear_have_none(heads):
    features, fold, made = heads
    other = {
        number: dataclasses.replace(head, protocol="knn")
        for number, head in made["height"].heads.items()
    }
    predictor = dataclasses.replace(made["height"], heads=other)
    assert parts.of_task(predictor, features, fold, CATEGORIES) is None
