"""The optimiser and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import optax

from mmgr_jax.errors import InputError


def build(
    *,
    name: str,
    learning_rate: float,
    schedule: str,
    warmup: str,
    decay_at: Sequence[str],
    decay_factor: float,
    weight_decay: float,
    total_steps: int,
    to_steps: Callable[[str, str], int],
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The gradient transformation and the schedule behind it.

    Args:
        name: "adam" (the paper), "adamw" or "sgd" (momentum 0.9).
        learning_rate: Peak rate.
        schedule: "constant"; "step", which multiplies by `decay_factor` at each of
            `decay_at` for good (the paper as meant: the released code falls back to
            the full rate after one epoch); or "cosine" down to zero.
        warmup: Linear rise from zero, as a duration.
        decay_at: Durations from the start, for `schedule="step"`.
        decay_factor: Factor at each of them.
        weight_decay: Decoupled decay for "adamw", on arrays of two or more dimensions.
        total_steps: Length of the training.
        to_steps: Duration and config key to steps; see `durations.to_steps`.

    Returns:
        Transformation and rate as a function of the step.

    Raises:
        InputError: If a name is unknown, or an option has no effect on this choice.
    """
    warmup_steps = to_steps(warmup, "optim.warmup")
    schedules = {
        "constant": lambda: optax.constant_schedule(learning_rate),
        "step": lambda: optax.piecewise_constant_schedule(
            learning_rate,
            {
                to_steps(at, "optim.decay_at") - warmup_steps: decay_factor
                for at in decay_at
            },
        ),
        "cosine": lambda: optax.cosine_decay_schedule(
            learning_rate, max(total_steps - warmup_steps, 1)
        ),
    }
    if weight_decay and name != "adamw":
        raise InputError(
            f"config.optim.weight_decay={weight_decay} has no effect on "
            f"config.optim.name={name!r}. Choose 'adamw', or set it to 0."
        )
    rate = _choose(schedules, schedule, "optim.schedule")()
    if warmup_steps:
        rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
        rate = optax.join_schedules([rise, rate], [warmup_steps])
    optimisers = {
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=weight_decay, mask=_decayed),
        "sgd": lambda: optax.sgd(rate, momentum=0.9),
    }
    return _choose(optimisers, name, "optim.name")(), rate


def _decayed(params: optax.Params) -> optax.Params:
    """Weights decay; biases, scales and category vectors do not."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and "category_vectors" not in jax.tree_util.keystr(path)
        ),
        params,
    )


def _choose(options: dict, name: str, key: str) -> Callable:
    if name not in options:
        raise InputError(
            f"config.{key}={name!r} is unknown; allowed: {', '.join(options)}."
        )
    return options[name]
