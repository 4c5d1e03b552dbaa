"""The optimiser and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.typing import Tree

REFERENCE_BATCH = 256
"""The batch, in regions, that a scaled learning rate is given for."""

BATCH_SCALING = {
    "none": lambda ratio: 1.0,
    "sqrt": lambda ratio: ratio**0.5,
    "linear": lambda ratio: ratio,
}

DECAYING = ("adamw", "lars")

NEVER_DECAYED = (
    "category_vectors",
    "cls_token",
    "pos_embed",
    "reg_token",
    "seed_vectors",
)
"""Tables and tokens of two or more dimensions that are no weights of a layer."""


def build(
    *,
    name: str,
    learning_rate: float,
    schedule: str,
    warmup: str,
    decay_at: Sequence[str],
    decay_factor: float,
    weight_decay: float,
    batch_scaling: str,
    batch_size: int,
    total_steps: int,
    to_steps: Callable[[str, str], int],
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The gradient transformation and the schedule behind it.

    Args:
        name: "adam" (the paper), "adamw", "lars" (momentum 0.9, trust coefficient
            0.001, as SimCLR; for batches of thousands) or "sgd" (momentum 0.9).
        learning_rate: Peak rate.
        schedule: "constant"; "step", which multiplies by `decay_factor` at each of
            `decay_at` for good (the paper as meant); "step_slipping", as released:
            the factor holds for the one epoch that begins at each of `decay_at`, and
            then the rate jumps back; or "cosine" down to zero.
        warmup: Linear rise from zero, as a duration.
        decay_at: Durations from the start, for both kinds of steps.
        decay_factor: Factor at each of them.
        weight_decay: For "adamw" and "lars", on weights of two or more dimensions:
            biases, scales, the temperature and `NEVER_DECAYED` are left alone; LARS
            does not adapt their rates either.
        batch_scaling: What the batch does to the rate: "none", or `learning_rate` is
            meant for `REFERENCE_BATCH` regions and grows with the square root of the
            batch ("sqrt", usual for Adam) or with the batch ("linear", usual for LARS).
        batch_size: Regions a step.
        total_steps: Length of the training.
        to_steps: Duration and config key to steps; see `durations.to_steps`.

    Returns:
        Transformation and rate as a function of the step.

    Raises:
        InputError: If a name is unknown, or an option has no effect on this choice.

    Reference: You et al. (2017), LARS (arXiv 1708.03888); Chen et al. (2020), SimCLR,
    appendix B (arXiv 2002.05709).
    """
    check_choice("optim.batch_scaling", batch_scaling, BATCH_SCALING)
    peak = learning_rate * BATCH_SCALING[batch_scaling](batch_size / REFERENCE_BATCH)
    warmup_steps = to_steps(warmup, "optim.warmup")
    starts = [to_steps(at, "optim.decay_at") - warmup_steps for at in decay_at]
    schedules = {
        "constant": lambda: optax.constant_schedule(peak),
        "step": lambda: optax.piecewise_constant_schedule(
            peak, dict.fromkeys(starts, decay_factor)
        ),
        "step_slipping": lambda: _slipping(
            peak, decay_factor, starts, to_steps("1 epoch", "optim.decay_at")
        ),
        "cosine": lambda: optax.cosine_decay_schedule(
            peak, max(total_steps - warmup_steps, 1)
        ),
    }
    check_choice("optim.schedule", schedule, schedules)
    rate = schedules[schedule]()
    if warmup_steps:
        rise = optax.linear_schedule(0.0, peak, warmup_steps)
        rate = optax.join_schedules([rise, rate], [warmup_steps])
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
    check_choice("optim.name", name, optimisers)
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
    """The optimiser with another learning rate for each part of a tree.

    Args:
        tx: The optimiser; its updates are scaled, so its weight decay is, too.
        factors: Parameters, or anything under their names -> factors on the rate, one
            for a whole branch of the tree where a number stands in its place.
    """

    def scale(updates: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(
            lambda factor, part: jax.tree.map(lambda leaf: factor * leaf, part),
            factors(updates),
            updates,
        )

    return optax.chain(tx, optax.stateless(scale))


def _slipping(
    peak: float, factor: float, starts: Sequence[int], epoch_steps: int
) -> optax.Schedule:
    """The peak rate, times `factor` for one epoch from each of `starts`."""

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
        since = jnp.asarray(step) - jnp.asarray(starts)
        lowered = jnp.any((since >= 0) & (since < epoch_steps))
        return jnp.where(lowered, peak * factor, peak)

    return rate


def _weights(params: optax.Params) -> optax.Params:
    """True for the weights of layers, the leaves that decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf.ndim >= 2 and getattr(path[-1], "key", None) not in NEVER_DECAYED
        ),
        params,
    )
