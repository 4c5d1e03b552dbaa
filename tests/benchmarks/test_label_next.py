"""The benchmark of "label next": paired by trial, with the page's own modules."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.measured import label_next

RANDOM = {"name": "random", "rule": "random", "draws": 3}
CHOSEN = {"name": "chosen", "rule": "reduction", "draws": 1, "options": {"noise": 0.1}}
BLOCKS = {"name": "blocks", "rule": "one a block", "draws": 1}


@pytest.fixture(scope="module")
def results():
    if label_next.node_program() is None:
        pytest.skip("Node is not installed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 5)).astype(np.float32)
    city = label_next.City(
        x,
        np.ones(5),
        (np.arange(160) // 8).astype(np.int32),
        {
            "linear": np.expm1(3 + 0.5 * x[:, 0].astype(float)),
            "noise": rng.gamma(2, size=160),
        },
    )
    return label_next.trials(city, count=12, number=4, ways=(RANDOM, CHOSEN, BLOCKS))


def test_every_rule_is_tried_as_often_as_it_says(results):
    counts = {
        name: sum(row["way"] == name for row in results)
        for name in ("random", "chosen", "blocks")
    }
    assert counts == {"random": 4 * 3 * 2, "chosen": 4 * 2, "blocks": 4 * 2}


def test_what_follows_from_features_is_predicted_and_noise_is_not(results):
    r2 = {task: [r["r2"] for r in results if r["task"] == task]
          for task in ("linear", "noise")}  # fmt: skip
    assert min(r2["linear"]) > 0.85 and max(r2["noise"]) < 0.2


def test_differences_are_paired_by_trial(results):
    lines = {line[0]: line for line in label_next.summary(results, "linear")}
    by_trial = {
        name: np.array(
            [
                np.mean(
                    [
                        row["r2"]
                        for row in results
                        if (row["way"], row["trial"], row["task"])
                        == (name, trial, "linear")
                    ]
                )
                for trial in range(4)
            ]
        )
        for name in ("random", "chosen")
    }
    gain = by_trial["chosen"] - by_trial["random"]
    _, mean, difference, (low, high), won, _, _ = lines["chosen"]
    assert mean == pytest.approx(by_trial["chosen"].mean())
    assert difference == pytest.approx(gain.mean())
    wanted = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((wanted.low, wanted.high))
    assert won == np.mean(gain > 0)
    assert lines["random"][2] == 0


def test_the_table_has_a_row_a_rule_and_task(results):
    text = label_next.table(results, ["linear", "noise"])
    assert text.count("| chosen |") == 2 and text.count("| random |") == 2
