"""Durations and schedules."""

import jax
import numpy as np
import optax
import pytest

from mmgr_jax import settings
from mmgr_jax.errors import InputError
from mmgr_jax.train import durations, optim
from mmgr_jax.train.settings import OptimSettings

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


def _build(*, to_steps=lambda text, key: int(text.split()[0]), **changes):
    options = dict(learning_rate=0.1, schedule="constant", decay_at=()) | changes
    given = settings.read(OptimSettings, options, "optim")
    return optim.build(given, batch_size=1024, total_steps=100, to_steps=to_steps)


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


def test_the_slipping_schedule_is_the_released_program_s():
    """Transcribed: rate = base, times 0.1 if the epoch is in the list; set anew."""
    epoch_steps = 7
    _, rate = _build(
        schedule="step_slipping",
        decay_at=("90 epochs", "110 epochs"),
        to_steps=lambda text, key: int(text.split()[0]) * epoch_steps,
    )
    for step in range(120 * epoch_steps):
        expected = 0.1
        if step // epoch_steps in (90, 110):
            expected *= 0.1
        assert float(rate(step)) == pytest.approx(expected), step
    np.testing.assert_allclose(jax.jit(rate)(90 * epoch_steps), 0.01, rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "factor"), [("none", 1.0), ("sqrt", 2.0), ("linear", 4.0)]
)
def test_the_rate_grows_with_the_batch(scaling, factor):
    _, rate = _build(batch_scaling=scaling)  # 1024 regions are four times 256
    assert float(rate(0)) == pytest.approx(0.1 * factor)


PARAMS = {
    "dense": {
        "kernel": np.full((2, 2), 3.0, np.float32),
        "bias": np.full(2, 3.0, np.float32),
    },
    "image_encoder": {"pos_embed": np.full((1, 4, 2), 3.0, np.float32)},
    "poi_encoder": {"table": {"category_vectors": np.full((3, 2), 3.0, np.float32)}},
    "log_temperature_factor": np.float32(3.0),
}


def _first_update(gradient, **changes):
    tx, _ = _build(**changes)
    return tx.update(gradient, tx.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_weight_decay_spares_all_but_the_weights_of_layers(name):
    zeros = jax.tree.map(np.zeros_like, PARAMS)
    updates = _first_update(zeros, name=name, weight_decay=0.5)
    assert np.all(updates["dense"].pop("kernel") < 0)
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_array_equal(leaf, 0)


def test_lars_adapts_the_rates_of_weights_alone():
    """Weights: rate * 0.001 |w| / |g| * g; the others: rate * g."""
    gradient = jax.tree.map(lambda leaf: np.full_like(leaf, 0.5), PARAMS)
    updates = _first_update(gradient, name="lars")
    kernel = updates["dense"].pop("kernel")
    np.testing.assert_allclose(kernel, -0.1 * 0.001 * (3.0 / 0.5) * 0.5, rtol=1e-6)
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_allclose(leaf, -0.1 * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(name="lamb"), "optim.name='lamb'; allowed: 'adam', 'adamw', 'lars'"),
        (dict(schedule="poly"), "schedule='poly'; allowed: 'constant', 'step'"),
        (dict(batch_scaling="half"), "='half'; allowed: 'none', 'sqrt' or 'linear'"),
        (dict(weight_decay=0.1), "no effect on config.optim.name='adam'. Choose 'ad"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        _build(**changes)
