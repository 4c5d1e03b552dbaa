"""POI encoders: a POI set as one vector, by way of its categories."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models.attention_pool import AttentionPool
from mmgr_jax.models.graph_conv import GraphContext
from mmgr_jax.models.positions import PositionContext
from mmgr_jax.models.set2set import Set2Set
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
    context: nn.Module | None = None
    empty: str = "learnt"
    counts: bool = False

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
    frozen: bool = True
    init_vectors: nn.initializers.Initializer = NORMAL

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


def set2set(*, steps: int = 5) -> Parts:
    """The released encoder: Set2Set reads the categories; where they are is not seen.

    Args:
        steps: See `Set2Set`.
    """
    _check_counts(steps=steps)
    return None, Set2Set(steps)


def gcn_set2set(*, layers: int = 1, steps: int = 5) -> Parts:
    """Convolution over the Delaunay graph, then Set2Set: which POIs stand together.

    The released model is named for a graph convolution and loads the edges, but has
    no such layer.

    Args:
        layers: See `GraphContext`.
        steps: See `Set2Set`.
    """
    _check_counts(layers=layers, steps=steps)
    return GraphContext(layers), Set2Set(steps)


def attention(
    *,
    heads: int = 4,
    seeds: int = 2,
    shortest_wavelength_m: float = 64.0,
    longest_wavelength_m: float = 2048.0,
) -> Parts:
    """Attention pooling of categories and positions: which POIs stand where.

    Positions are east and north on the ground. Views that are flipped or turned
    (`config.augment`) no longer show east and north, so only distances from the centre
    can be learnt from those.

    Args:
        heads: See `AttentionPool`.
        seeds: See `AttentionPool`.
        shortest_wavelength_m: See `PositionContext`.
        longest_wavelength_m: See `PositionContext`.
    """
    _check_counts(heads=heads, seeds=seeds)
    if not 0.0 < shortest_wavelength_m <= longest_wavelength_m < float("inf"):
        raise InputError(
            "config.model.poi_encoder.shortest_wavelength_m="
            f"{shortest_wavelength_m} and longest_wavelength_m={longest_wavelength_m} "
            "must be positive, the first no longer than the second; 64.0 and 2048.0 "
            "suit regions of up to 1 km."
        )
    context = PositionContext(shortest_wavelength_m, longest_wavelength_m)
    return context, AttentionPool(heads, seeds)


FACTORIES: dict[str, Callable[..., Parts]] = {
    "set2set": set2set,
    "gcn_set2set": gcn_set2set,
    "attention": attention,
}
"""Name of a POI encoder -> function from its options to its parts."""

VECTOR_TREATMENTS = {
    "frozen": "the table of the records, never changed (as released)",
    "tuned": "the table of the records, trained further",
    "scratch": "drawn from N(0, 1) and trained: the table of the records is not used",
}
EMPTY_SETS = ("learnt", "constant")


def build(
    *,
    name: str,
    num_categories: int,
    category_dim: int,
    category_vectors: np.ndarray | None = None,
    vectors: str = "frozen",
    empty: str = "learnt",
    counts: bool = False,
    **options: int | float,
) -> PoiEncoder:
    """The POI encoder a config describes.

    Args:
        name: A key of `FACTORIES`.
        num_categories: Rows k of the category table.
        category_dim: Length d of a category vector.
        category_vectors: First values of the table [k d], those of the records; None
            draws them from N(0, 1).
        vectors: A key of `VECTOR_TREATMENTS`.
        empty: One of `EMPTY_SETS`, see `PoiEncoder`.
        counts: See `PoiEncoder`.
        **options: Keyword arguments of the function `FACTORIES` has for the name.

    Raises:
        InputError: For an unknown name or treatment, an option outside its range, or a
            table of another shape than [num_categories, category_dim].
        TypeError: For an option the encoder does not have.
    """
    check_choice("model.poi_encoder.name", name, FACTORIES)
    check_choice("model.poi_encoder.vectors", vectors, VECTOR_TREATMENTS)
    check_choice("model.poi_encoder.empty", empty, EMPTY_SETS)
    init_vectors = NORMAL
    if category_vectors is not None:
        shape = (num_categories, category_dim)
        _refuse_other_shape(category_vectors.shape, shape)
        if vectors != "scratch":
            init_vectors = _given(category_vectors)
    context, pool = FACTORIES[name](**options)
    table = CategoryTable(
        num_categories, category_dim, vectors == "frozen", init_vectors
    )
    return PoiEncoder(table, pool, context, empty, counts)


def _check_counts(**counts: int) -> None:
    for option, count in counts.items():
        if count < 1:
            raise InputError(
                f"config.model.poi_encoder.{option}={count} must be at least 1."
            )


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
