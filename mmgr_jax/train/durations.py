"""Converts durations to steps: they are steps, epochs, examples or percentages."""

from __future__ import annotations

import re

from mmgr_jax.errors import InputError

_PATTERN = re.compile(
    r"\s*([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*(step|epoch|example|percent|%)s?\s*",
    re.IGNORECASE,
)


def to_steps(
    duration: str,
    key: str,
    *,
    batch_size: int,
    steps_per_epoch: int,
    total_steps: int | None = None,
) -> int:
    """Converts a duration to a whole number of optimiser steps.

    Args:
        duration: A text such as "120 epochs", "500 steps", "1e6 examples" or "10
            percent".
        key: Config key of the duration, for the error.
        batch_size: Number of regions in a step.
        steps_per_epoch: Number of whole batches in an epoch.
        total_steps: Number of steps that is 100 percent; None forbids percentages.

    Raises:
        InputError: If the text is no duration.
    """
    match = _PATTERN.fullmatch(str(duration))
    if not match or (match[2] in ("percent", "%") and total_steps is None):
        raise InputError(
            f"config.{key}={duration!r} is not a duration. Write a number and a unit: "
            "'120 epochs', '500 steps', '1e6 examples'"
            + (" or '10 percent'." if total_steps is not None else ".")
        )
    scale = {
        "step": 1.0,
        "epoch": steps_per_epoch,
        "example": 1.0 / batch_size,
        "percent": (total_steps or 0) / 100,
        "%": (total_steps or 0) / 100,
    }
    return round(float(match[1]) * scale[match[2].lower()])
