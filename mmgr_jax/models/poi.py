"""POI encoders: they turn a POI set into one vector through its categories."""

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
    """A POI set as one vector: look up, look around, pool.

    Attributes:
        table: Gives each POI the vector [d] of its category.
        context: Adds to these vectors [b n d] what else the sets know of their POIs,
            such as neighbours; None adds nothing, as released.
        pool: Turns vectors [b n d] and their mask into one vector a set [b q].
        empty: The vector of a set without POIs. "learnt": a parameter. "constant":
            whatever `pool` makes of nothing, as released.
        counts: Put `log_counts` beside the pooled vector. A pool that weighs its
            members to a sum of one tells which POIs there are, and forgets how many.
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
            train: Part of the signature all encoders share; training and inference are
                the same here.
            apart: Return the pooled vector and the counts by name, not side by side.
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
    """log(1 + number of POIs): of each category, then of all; 0 for none.

    Args:
        pois: The sets.
        num_categories: Number k of categories.
    """

    def of_set(category: Array, mask: Array) -> Array:
        counts = jnp.zeros(num_categories)
        # Ids of padding may be any: out of range they are dropped, within they add 0.
        return counts.at[category].add(mask.astype(counts.dtype))

    # Set by set: with row numbers as indices, devices would gather the whole batch.
    counts = jax.vmap(of_set)(pois.category, pois.mask)
    total = jnp.sum(counts, axis=1, keepdims=True)
    return jnp.log1p(jnp.concatenate([counts, total], axis=1))


class CategoryTable(nn.Module):
    """One vector for each POI category, and their lookup.

    Attributes:
        num_categories: Rows k.
        category_dim: Length d of a vector.
        frozen: Stop the gradient, so that training leaves the table as it is.
        init_vectors: Initialiser of the table [k d].
    """

    num_categories: int
    category_dim: int
    frozen: bool
    init_vectors: nn.initializers.Initializer

    @nn.compact
    def __call__(self, pois: PoiSets) -> Float[Array, "b n d"]:
        """Returns the vector of each POI, anything where masked."""
        shape = (self.num_categories, self.category_dim)
        table = self.param("category_vectors", self.init_vectors, shape, jnp.float32)
        if self.frozen:
            table = jax.lax.stop_gradient(table)
        return table[pois.category]  # JAX clamps what ids padding may hold


Parts = tuple[nn.Module | None, nn.Module]
"""The context and the pool of an encoder."""


def set2set(settings: Set2SetSettings) -> Parts:
    """Set2Set alone."""
    return None, Set2Set(settings.steps)


def gcn_set2set(settings: GcnSet2SetSettings) -> Parts:
    """Convolution over the Delaunay graph, then Set2Set."""
    return GraphContext(settings.layers), Set2Set(settings.steps)


def attention(settings: AttentionSettings) -> Parts:
    """Attention pooling of categories and positions."""
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
    """The POI encoder that settings describe.

    Args:
        settings: The section `model.poi_encoder`.
        num_categories: Rows k of the category table.
        category_dim: Length d of a category vector.
        category_vectors: First values of the table [k d], those of the records; None
            draws them from N(0, 1).

    Raises:
        InputError: For options that contradict each other, or a table of another shape
            than [num_categories, category_dim].
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
