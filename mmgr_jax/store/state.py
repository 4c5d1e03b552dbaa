"""Defines the state of a training run, which a step replaces and a checkpoint keeps."""

from typing import Any

import flax.struct
import optax

from mmgr_jax.typing import Tree


@flax.struct.dataclass
class TrainState:
    """The state that a training step reads and replaces.

    Attributes:
        step: Number of steps taken, int32 scalar.
        params: Parameters, float32.
        batch_stats: Running statistics of BatchNorm, float32.
        opt_state: State of the optimiser, for the parameters that learn.
    """

    step: Any  # JAX also fills such trees with shapes and layouts
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState
