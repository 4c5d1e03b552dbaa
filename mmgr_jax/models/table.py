"""A table of features that replaces an image encoder."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError


class Table(nn.Module):
    """Rows of somebody's table of features, standardised column by column.

    The table itself stays outside: it is read by the names of regions, and its rows
    come in where other encoders get images. Mean and deviation lie among the batch
    statistics, so that a checkpoint says by what it was trained.

    Attributes:
        num_columns: Length f of a row, and of the feature.
        init_mean: Initialiser of the mean of each column.
        init_deviation: Initialiser of the deviation of each column.
        dtype: Type of the result.
    """

    num_columns: int
    init_mean: nn.initializers.Initializer
    init_deviation: nn.initializers.Initializer
    dtype: DTypeLike = jnp.float32

    @property
    def feature_dim(self) -> int:
        """Length of the feature."""
        return self.num_columns

    @nn.compact
    def __call__(
        self, rows: Float[Array, "b f"], train: bool, every_stage: bool = False
    ) -> Array | dict[str, Array]:
        """Returns the standardised rows [b f] in `dtype`.

        Args:
            rows: Of the table.
            train: Part of the signature all image encoders share; nothing learns here.
            every_stage: Return them by name, in float32.
        """
        del train
        shape = (self.num_columns,)
        mean = self.variable("batch_stats", "mean", self.init_mean, None, shape)
        deviation = self.variable(
            "batch_stats", "deviation", self.init_deviation, None, shape
        )
        standard = (rows - mean.value) / deviation.value
        return {"table": standard} if every_stage else standard.astype(self.dtype)


def build(
    *,
    features: Float[np.ndarray, "r f"] | None,
    locked: bool,
    dtype: DTypeLike = jnp.float32,
    **unknown: Any,
) -> Table:
    """The encoder of a table.

    Args:
        features: Rows of the regions that training sees: their mean and deviation are
            what a new model standardises by.
        locked: Whether the config says so.
        dtype: Type of the result.
        **unknown: Options that a table has no use for.

    Raises:
        InputError: If there is no table at hand, it should learn, or an option is
            unknown.
    """
    if unknown:
        raise InputError(
            f"config.model.image_encoder: a table has no {', '.join(sorted(unknown))}; "
            'give `dict(name="table", path="features.npz", train="none")`.'
        )
    if not locked:
        raise InputError(
            "config.model.image_encoder.name='table': numbers in a file are not "
            'trained. Set train to "none": `dict(name="table", path="features.npz", '
            'train="none")`.'
        )
    if features is None:
        raise InputError(
            "config.model.image_encoder.name='table': this command reads no table of "
            "features, and nothing but the table can stand in for it. Train, evaluate "
            "or embed with it, or name another image encoder."
        )
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0  # a column that is the same everywhere says nothing
    return Table(features.shape[1], _given(mean), _given(deviation), dtype)


def _given(values: np.ndarray) -> nn.initializers.Initializer:
    """An initialiser that returns these numbers."""
    return lambda key, shape: jnp.asarray(values, jnp.float32).reshape(shape)
