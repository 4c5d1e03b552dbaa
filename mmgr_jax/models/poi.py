"""POI encoders: turn a POI set into one vector, from the vectors of its categories."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models.attention_pool import AttentionPool
from mmgr_jax.models.graph_conv import GraphContext
from mmgr_jax.models.positions import PositionContext
from mmgr_jax.models.set2set import Set2Set
from mmgr_jax.models.settings import (
    AttentionSettings,
    GcnSet2SetSettings,
    PoiEncoderSettings,
    Set2SetSettings,
)
from mmgr_jax.typing import PoiSets

NORMAL = nn.initializers.normal(1.0)


class PoiEncoder(nn.Module):
    """Encodes a POI set as one vector: category vectors, context, pooling.

    Attributes:
        table: Gives each POI the vector [d] of its category.
        context: Adds other knowledge about the POIs, such as their neighbours, to these
            vectors [b n d]. None adds nothing, as in the released code.
        pool: Turns vectors [b n d] and their mask into one vector for each set [b q].
        empty: The vector of a set without POIs. "learnt": a parameter. "constant": the
            result of `pool` for an empty set, as in the released code.
        counts: Whether to append `log_counts` to the pooled vector. A pool whose
            weights sum to one shows which POIs there are, but not how many.
    """

    table: nn.Module
    pool: nn.Module
    context: nn.Module | None
    empty: str
    counts: bool

    @property
    def reads_edges(self) -> bool:
        """Whether batches must hold the edges of the POI graph."""
        return self.context is not None and self.context.reads_edges

    @nn.compact
    def __call__(
        self, pois: PoiSets, train: bool = False, apart: bool = False
    ) -> Float[Array, "b q"] | dict[str, Array]:
        """Returns the vector of each set.

        Args:
            pois: The sets.
            train: Part of the signature that all encoders share; it has no effect here.
            apart: Return the pooled vector and the counts by name, not concatenated.
        """
        del train
        parts = {"POI set": self._pooled(pois)}
        if self.counts:
            parts["POI counts"] = log_counts(pois, self.table.num_categories)
        return parts if apart else jnp.concatenate([*parts.values()], axis=1)

    def _pooled(self, pois: PoiSets) -> Float[Array, "b q"]:
        vectors = self.table(pois)
        if self.context is not None:
            vectors = self.context(vectors, pois)
        pooled = self.pool(vectors, pois.mask)
        if self.empty == "constant":
            return pooled
        init = nn.initializers.normal(0.02)
        empty = self.param("empty_set", init, pooled.shape[1:], jnp.float32)
        return jnp.where(jnp.any(pois.mask, axis=1)[:, None], pooled, empty)


def log_counts(pois: PoiSets, num_categories: int) -> Float[Array, "b c"]:
    """Computes log(1 + number of POIs): of each category, then of all categories.

    Args:
        pois: The sets.
        num_categories: Number k of categories.
    """

    def of_set(category: Array, mask: Array) -> Array:
        counts = jnp.zeros(num_categories)
        # Padding may have any id: one out of range is dropped, any other adds 0.
        return counts.at[category].add(mask.astype(counts.dtype))

    # By `vmap`: with row numbers as indices, each device would gather the whole batch.
    counts = jax.vmap(of_set)(pois.category, pois.mask)
    total = jnp.sum(counts, axis=1, keepdims=True)
    return jnp.log1p(jnp.concatenate([counts, total], axis=1))


class CategoryTable(nn.Module):
    """Table with one vector for each POI category.

    Attributes:
        num_categories: Number k of rows.
        category_dim: Length d of a vector.
        frozen: Stop the gradient, so that training does not change the table.
        init_vectors: Initialiser of the table [k d].
    """

    num_categories: int
    category_dim: int
    frozen: bool
    init_vectors: nn.initializers.Initializer

    @nn.compact
    def __call__(self, pois: PoiSets) -> Float[Array, "b n d"]:
        """Returns the vector of each POI; masked slots hold any value."""
        shape = (self.num_categories, self.category_dim)
        table = self.param("category_vectors", self.init_vectors, shape, jnp.float32)
        if self.frozen:
            table = jax.lax.stop_gradient(table)
        return table[pois.category]  # JAX clamps the ids that padding may hold


Parts = tuple[nn.Module | None, nn.Module]
"""The context and the pool of an encoder."""


def set2set(settings: Set2SetSettings) -> Parts:
    """Makes the parts for Set2Set without context."""
    return None, Set2Set(settings.steps)


def gcn_set2set(settings: GcnSet2SetSettings) -> Parts:
    """Makes the parts for convolution over the Delaunay graph, then Set2Set."""
    return GraphContext(settings.layers), Set2Set(settings.steps)


def attention(settings: AttentionSettings) -> Parts:
    """Makes the parts for attention pooling of categories and positions."""
    shortest_m = settings.shortest_wavelength_m
    longest_m = settings.longest_wavelength_m
    if shortest_m > longest_m:
        raise InputError(
            f"config.model.poi_encoder.shortest_wavelength_m={shortest_m} is longer "
            f"than longest_wavelength_m={longest_m}; 64.0 and 2048.0 suit regions of "
            "up to 1 km."
        )
    context = PositionContext(shortest_m, longest_m)
    return context, AttentionPool(settings.heads, settings.seeds)


FACTORIES: dict[str, Callable[..., Parts]] = {
    "set2set": set2set,
    "gcn_set2set": gcn_set2set,
    "attention": attention,
}
"""Name of a POI encoder -> function from its settings to its parts."""


def build(
    settings: PoiEncoderSettings,
    *,
    num_categories: int,
    category_dim: int,
    category_vectors: np.ndarray | None = None,
) -> PoiEncoder:
    """Builds the POI encoder that settings describe.

    Args:
        settings: The section `model.poi_encoder`.
        num_categories: Number k of rows of the category table.
        category_dim: Length d of a category vector.
        category_vectors: Initial values of the table [k d], from the records. None:
            they are drawn from N(0, 1).

    Raises:
        InputError: If options contradict each other, or if the shape of
            `category_vectors` is not [num_categories, category_dim].
    """
    settings = settings.with_options()
    init_vectors = NORMAL
    if category_vectors is not None:
        shape = (num_categories, category_dim)
        _refuse_other_shape(category_vectors.shape, shape)
        if settings.vectors != "scratch":
            init_vectors = _given(category_vectors)
    context, pool = FACTORIES[settings.name](settings)
    table = CategoryTable(
        num_categories, category_dim, settings.vectors == "frozen", init_vectors
    )
    return PoiEncoder(table, pool, context, settings.empty, settings.counts)


def _refuse_other_shape(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if shape != wanted:
        raise InputError(
            f"category_vectors has shape {shape}, but the records have "
            f"(num_categories, category_dim) = {wanted}: rebuild the table for these "
            "records with `python -m data_prep.build`."
        )


def _given(table: np.ndarray) -> nn.initializers.Initializer:
    """An initialiser that returns a table."""
    return lambda key, shape, dtype: jnp.asarray(table, dtype)
