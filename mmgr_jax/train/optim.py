"""Builds the optimiser and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmgr_jax.errors import InputError
from mmgr_jax.train.settings import OptimSettings
from mmgr_jax.typing import Tree

REFERENCE_BATCH = 256
"""Batch size, in regions, for which a scaled learning rate is given."""

BATCH_SCALING = {
    "none": lambda ratio: 1.0,
    "sqrt": lambda ratio: ratio**0.5,
    "linear": lambda ratio: ratio,
}

DECAY_FACTOR = 0.1
"""Factor on the rate each time it falls."""

DECAYING = ("adamw", "lars")

NEVER_DECAYED = (
    "category_vectors",
    "cls_token",
    "pos_embed",
    "reg_token",
    "seed_vectors",
)
"""Tables and tokens of two or more dimensions that are not weights of a layer."""


def build(
    settings: OptimSettings,
    *,
    batch_size: int,
    total_steps: int,
    to_steps: Callable[[str, str], int],
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Builds the optimiser and its learning-rate schedule.

    Args:
        settings: The section `optim`.
        batch_size: Number of regions in a step.
        total_steps: Number of steps of the run.
        to_steps: (duration, config key) -> steps; see `durations.to_steps`.

    Returns:
        The gradient transformation, and the rate as a function of the step.

    Raises:
        InputError: If a duration cannot be read, or a setting has no effect with the
            chosen optimiser.

    Reference: You et al. (2017), LARS (arXiv 1708.03888); Chen et al. (2020), SimCLR,
    appendix B (arXiv 2002.05709).
    """
    scale = BATCH_SCALING[settings.batch_scaling](batch_size / REFERENCE_BATCH)
    peak = settings.learning_rate * scale
    warmup_steps = to_steps(settings.warmup, "optim.warmup")
    starts = [to_steps(at, "optim.decay_at") - warmup_steps for at in settings.decay_at]
    schedules = {
        "constant": lambda: optax.constant_schedule(peak),
        "step": lambda: optax.piecewise_constant_schedule(
            peak, dict.fromkeys(starts, DECAY_FACTOR)
        ),
        "step_slipping": lambda: _slipping(
            peak, starts, to_steps("1 epoch", "optim.decay_at")
        ),
        "cosine": lambda: optax.cosine_decay_schedule(
            peak, max(total_steps - warmup_steps, 1)
        ),
    }
    rate = schedules[settings.schedule]()
    if warmup_steps:
        rise = optax.linear_schedule(0.0, peak, warmup_steps)
        rate = optax.join_schedules([rise, rate], [warmup_steps])
    name, weight_decay = settings.name, settings.weight_decay
    optimisers = {
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=weight_decay, mask=_weights),
        "lars": lambda: optax.lars(
            rate,
            weight_decay=weight_decay,
            weight_decay_mask=_weights,
            trust_ratio_mask=_weights,
        ),
        "sgd": lambda: optax.sgd(rate, momentum=0.9),
    }
    if weight_decay and name not in DECAYING:
        raise InputError(
            f"config.optim.weight_decay={weight_decay} has no effect on "
            f"config.optim.name={name!r}. Choose {' or '.join(map(repr, DECAYING))}, "
            "or set it to 0."
        )
    return optimisers[name](), rate


def scaled_by_part(
    tx: optax.GradientTransformation, factors: Callable[[Tree], Tree]
) -> optax.GradientTransformation:
    """Gives an optimiser a different learning rate for each part of a tree.

    Args:
        tx: The optimiser. Its updates are scaled, so its weight decay is scaled, too.
        factors: Function from parameters, or a tree with their names, to factors on the
            rate. A number in place of a branch holds for the whole branch.
    """

    def scale(updates: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(
            lambda factor, part: jax.tree.map(lambda leaf: factor * leaf, part),
            factors(updates),
            updates,
        )

    return optax.chain(tx, optax.stateless(scale))


def _slipping(peak: float, starts: Sequence[int], epoch_steps: int) -> optax.Schedule:
    """Returns the peak rate, times `DECAY_FACTOR` for one epoch from each start."""

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
        since = jnp.asarray(step) - jnp.asarray(starts)
        lowered = jnp.any((since >= 0) & (since < epoch_steps))
        return jnp.where(lowered, peak * DECAY_FACTOR, peak)

    return rate


def _weights(params: optax.Params) -> optax.Params:
    """Returns True for the weights of layers, to which weight decay applies."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and getattr(path[-1], "key", None) not in NEVER_DECAYED
        ),
        params,
    )
