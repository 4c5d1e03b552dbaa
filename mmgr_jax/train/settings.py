"""The sections `optim` and `train` of a config, and all that a training run reads."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from mmgr_jax.settings import Section

if TYPE_CHECKING:
    import annotated_types as at


@dataclasses.dataclass(frozen=True)
class OptimSettings(Section):
    """The optimiser and its learning rate.

    Durations are strings: "120 epochs", "500 steps", "1e6 examples" or "10 percent".

    Attributes:
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
            biases, scales, the temperature and `optim.NEVER_DECAYED` are left alone;
            LARS does not adapt their rates either.
        batch_scaling: What the batch does to the rate: "none", or `learning_rate` is
            meant for `optim.REFERENCE_BATCH` regions and grows with the square root of
            the batch ("sqrt", usual for Adam) or with the batch ("linear", usual for
            LARS).
    """

    name: Literal["adam", "adamw", "lars", "sgd"] = "adam"
    learning_rate: Annotated[float, at.Ge(0)] = 1e-2
    schedule: Literal["constant", "step", "step_slipping", "cosine"] = "step"
    warmup: str = "0 steps"
    decay_at: tuple[str, ...] = ("90 epochs", "110 epochs")
    decay_factor: Annotated[float, at.Ge(0)] = 0.1
    weight_decay: Annotated[float, at.Ge(0)] = 0.0
    batch_scaling: Literal["none", "sqrt", "linear"] = "none"
