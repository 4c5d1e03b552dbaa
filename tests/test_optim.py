"""Durations and schedules."""

import numpy as np
import optax
import pytest

from mmgr_jax import durations, optim
from mmgr_jax.errors import InputError

COUNTS = dict(batch_size=32, steps_per_epoch=50)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("120 epochs", 6000),
        ("1 epoch", 50),
        ("500 steps", 500),
        ("3.2e3 examples", 100),
        ("0.5 epochs", 25),
        ("10 percent", 80),
        ("10%", 80),
        ("0 steps", 0),
    ],
)
def test_durations_in_steps(text, steps):
    assert durations.to_steps(text, "key", **COUNTS, total_steps=800) == steps


@pytest.mark.parametrize(
    "text", ["", "12", "epochs", "-3 steps", "3 weeks", "1..2 steps"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="config.train.total="):
        durations.to_steps(text, "train.total", **COUNTS)


def test_a_percentage_of_nothing_is_refused():
    with pytest.raises(InputError, match="is not a duration"):
        durations.to_steps("5 %", "train.total", **COUNTS)


def _build(**changes):
    options = dict(
        name="adam", learning_rate=0.1, schedule="constant", warmup="0 steps",
        decay_at=(), decay_factor=0.1, weight_decay=0.0, total_steps=100,
        to_steps=lambda text, key: int(text.split()[0]),
    )  # fmt: skip
    return optim.build(**{**options, **changes})


def test_warmup_then_cosine_is_optax_s():
    _, rate = _build(schedule="cosine", warmup="10 steps")
    oracle = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)
    steps = np.arange(100)
    np.testing.assert_allclose(
        [rate(s) for s in steps], [oracle(s) for s in steps], rtol=1e-5, atol=1e-8
    )


def test_steps_count_from_the_start_even_with_warmup():
    _, rate = _build(schedule="step", warmup="10 steps", decay_at=("30 steps",))
    assert float(rate(29)) == pytest.approx(0.1)
    assert float(rate(30)) == pytest.approx(0.01)


def test_weight_decay_spares_biases_and_category_vectors():
    tx, _ = _build(name="adamw", weight_decay=0.5)
    params = {
        "dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)},
        "poi_encoder": {"category_vectors": np.ones((3, 2))},
    }
    zeros = {
        "dense": {"kernel": np.zeros((2, 2)), "bias": np.zeros(2)},
        "poi_encoder": {"category_vectors": np.zeros((3, 2))},
    }
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.05)
    np.testing.assert_allclose(updates["dense"]["bias"], 0)
    np.testing.assert_allclose(updates["poi_encoder"]["category_vectors"], 0)
