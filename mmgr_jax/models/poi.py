"""POI encoders: category vectors, what surrounds each POI, and a pooled summary."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models.set2set import Set2Set
from mmgr_jax.typing import PoiSets

NORMAL = nn.initializers.normal(1.0)


class PoiEncoder(nn.Module):
    """A POI set as the summary of its category vectors.

    Attributes:
        table: The vector of each category.
        context: Module from vectors [b n d] and their POIs to vectors that know
            their surroundings; None as released.
        pool: Module from vectors [b n d] and their mask to a summary [b q].
        empty: What a set without POIs answers: "learnt", one vector of its own, or
            "constant", what `pool` reads from nothing, as released.
    """

    table: nn.Module
    pool: nn.Module
    context: nn.Module | None = None
    empty: str = "learnt"

    @property
    def reads_edges(self) -> bool:
        """Whether batches must hold the edges of the POI graph."""
        return getattr(self.context, "reads_edges", False)

    @nn.compact
    def __call__(self, pois: PoiSets, train: bool = False) -> Float[Array, "b q"]:
        """Returns the pooled vector of each set.

        Args:
            pois: The sets.
            train: Part of the signature all encoders share; nothing here needs it.
        """
        del train
        vectors = self.table(pois)
        if self.context is not None:
            vectors = self.context(vectors, pois)
        pooled = self.pool(vectors, pois.mask)
        if self.empty == "constant":
            return pooled
        init = nn.initializers.normal(0.02)
        empty = self.param("empty_set", init, pooled.shape[1:], jnp.float32)
        return jnp.where(jnp.any(pois.mask, axis=1)[:, None], pooled, empty)


class CategoryTable(nn.Module):
    """One vector a POI category, and the lookup.

    Attributes:
        num_categories: Rows k.
        category_dim: Length d of a vector.
        frozen: Let no gradient reach the table, as released.
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
        # Padding may hold ids outside the table: they read row 0 and are masked.
        return table[jnp.where(pois.mask, pois.category, 0)]


def set2set(*, steps: int = 5) -> tuple[nn.Module | None, nn.Module]:
    """The released encoder: order-free reading of the category vectors."""
    return None, Set2Set(steps)


FACTORIES: dict[str, Callable[..., tuple[nn.Module | None, nn.Module]]] = {
    "set2set": set2set,
}
"""Name -> function of the encoder's options that returns its context and its pool."""

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
    **options: int | float,
) -> PoiEncoder:
    """The POI encoder a config describes.

    Args:
        name: A key of `FACTORIES`.
        num_categories: Rows k of the category table.
        category_dim: Length d of a category vector.
        category_vectors: Table [k d] of the records; None draws N(0, 1).
        vectors: A key of `VECTOR_TREATMENTS`.
        empty: One of `EMPTY_SETS`, see `PoiEncoder`.
        **options: Keyword arguments of the factory.

    Raises:
        InputError: For an unknown name or treatment, or a table of another shape than
            [num_categories, category_dim].
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
    return PoiEncoder(table, pool, context, empty)


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
