"""MMGR: an image encoder and a POI-set encoder that meet in one projection space."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models import resnet
from mmgr_jax.models.set2set import Set2Set, uniform_init
from mmgr_jax.typing import PoiCategory, PoiMask, PoiOffset, View, Views

IMAGE_ENCODERS = resnet.FACTORIES
VECTOR_TREATMENTS = ("frozen", "tuned")
POI_HIDDEN = 256  # hidden width of the POI projection head, as released
RELEASED_LAST_INIT = nn.initializers.normal(0.01)


class MMGR(nn.Module):
    """Tiles and POI sets in, their projections out; features on the way.

    Attributes:
        image_encoder: Module from image [b s s 3] to features [b f].
        poi_encoder: Module from padded POIs to pooled vectors [b q].
        projection_dim: Length p of the projections.
        dtype: Type of the image side; the POI side computes in float32.

    Reference: Bai et al. (2023), doi 10.1016/j.isprsjprs.2023.05.006. As released,
    the two views are two passes: BatchNorm statistics are per view and the running
    statistics move twice a step.
    """

    image_encoder: nn.Module
    poi_encoder: nn.Module
    projection_dim: int = 128
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the two projection heads."""
        self.image_head = ProjectionHead(
            hidden=None,
            features=self.projection_dim,
            dtype=self.dtype,
            last_kernel_init=RELEASED_LAST_INIT,
            last_bias_init=nn.initializers.zeros,
        )
        self.poi_head = ProjectionHead(POI_HIDDEN, self.projection_dim)

    def __call__(
        self,
        views: Views,
        poi_category: PoiCategory,
        poi_offset_m: PoiOffset,
        poi_mask: PoiMask,
        train: bool,
    ) -> dict[str, Array]:
        """Returns `z_image` [v b p] and `z_poi` [b p], not normalised.

        Args:
            views: Normalised views of the same tiles.
            poi_category: Category ids in [0, k), any value where masked.
            poi_offset_m: POI positions east and north of the region's centre.
            poi_mask: True for real POIs.
            train: Use and update the batch statistics of BatchNorm.
        """
        features = jnp.stack([self.encode_image(view, train) for view in views])
        pooled = self.encode_pois(poi_category, poi_offset_m, poi_mask, train)
        return {
            "z_image": self.project_image(features),
            "z_poi": self.project_pois(pooled),
        }

    def encode_image(self, image: View, train: bool = False) -> Float[Array, "b f"]:
        """Returns the pooled backbone features, the representation to keep."""
        return self.image_encoder(image, train)

    def encode_pois(
        self,
        poi_category: PoiCategory,
        poi_offset_m: PoiOffset,
        poi_mask: PoiMask,
        train: bool = False,
    ) -> Float[Array, "b q"]:
        """Returns the pooled vector of each region's POI set."""
        return self.poi_encoder(poi_category, poi_offset_m, poi_mask, train)

    def project_image(self, features: Float[Array, "*vb f"]) -> Float[Array, "*vb p"]:
        """Returns image projections, of any leading axes."""
        return self.image_head(features)

    def project_pois(self, pooled: Float[Array, "b q"]) -> Float[Array, "b p"]:
        """Returns POI projections."""
        return self.poi_head(pooled)


class PoiEncoder(nn.Module):
    """A POI set as the Set2Set summary of its category vectors.

    Attributes:
        num_categories: Rows k of the category table.
        category_dim: Length d of a category vector.
        vectors_init: Initialiser of the table [k d].
        vectors: "frozen" (as released: no gradient reaches the table) or "tuned".
        steps: Readings of Set2Set.
    """

    num_categories: int
    category_dim: int = 64
    vectors_init: nn.initializers.Initializer = nn.initializers.normal(1.0)
    vectors: str = "frozen"
    steps: int = 5

    @nn.compact
    def __call__(
        self,
        poi_category: PoiCategory,
        poi_offset_m: PoiOffset,
        poi_mask: PoiMask,
        train: bool = False,
    ) -> Float[Array, "b q"]:
        """Returns [b 2d]: Set2Set's q*, or one learnt vector where there is no POI.

        Positions do not matter to this encoder, as released, nor does `train`; they
        are the signature all POI encoders share.
        """
        del poi_offset_m, train
        shape = (self.num_categories, self.category_dim)
        table = self.param("category_vectors", self.vectors_init, shape, jnp.float32)
        if self.vectors == "frozen":
            table = jax.lax.stop_gradient(table)
        # Padding may hold ids outside the table: they read row 0 and are masked.
        vectors = table[jnp.where(poi_mask, poi_category, 0)]
        pooled = Set2Set(self.steps, name="set2set")(vectors, poi_mask)
        empty = self.param(
            "empty", nn.initializers.normal(0.02), pooled.shape[1:], jnp.float32
        )
        return jnp.where(jnp.any(poi_mask, axis=1)[:, None], pooled, empty)


class ProjectionHead(nn.Module):
    """Linear, ReLU, Linear, with PyTorch's initialisation.

    Attributes:
        hidden: Width between the layers; None for the input's width.
        features: Length of the projection.
        dtype: Type of the products and of the result.
        last_kernel_init: Initialiser of the last kernel; None for PyTorch's.
        last_bias_init: Initialiser of the last bias; None for PyTorch's.
    """

    hidden: int | None
    features: int
    dtype: DTypeLike = jnp.float32
    last_kernel_init: nn.initializers.Initializer | None = None
    last_bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*vb f"]) -> Float[Array, "*vb p"]:
        """Returns the projections in `dtype`."""
        hidden = self.hidden or x.shape[-1]
        first = uniform_init(x.shape[-1])
        last = uniform_init(hidden)
        x = nn.Dense(
            hidden, dtype=self.dtype, kernel_init=first, bias_init=first, name="linear1"
        )(x)
        return nn.Dense(
            self.features,
            dtype=self.dtype,
            kernel_init=self.last_kernel_init or last,
            bias_init=self.last_bias_init or last,
            name="linear2",
        )(nn.relu(x))


def build(
    *,
    image_encoder: Mapping[str, Any],
    poi_encoder: Mapping[str, Any],
    projection_dim: int,
    num_categories: int,
    category_dim: int,
    dtype: DTypeLike = jnp.float32,
    category_vectors: np.ndarray | None = None,
) -> MMGR:
    """The model a config describes.

    Args:
        image_encoder: `name` of an image encoder and its keyword arguments.
        poi_encoder: `name` of a POI encoder and its keyword arguments.
        projection_dim: Length p of both projections.
        num_categories: Rows k of the category table.
        category_dim: Length d of a category vector.
        dtype: Type of the image side's activations.
        category_vectors: Initial table [k d]; None draws N(0, 1).

    Returns:
        The model; its parameters come from `init`.

    Raises:
        InputError: For an unknown encoder or vector treatment, or a table of another
            shape than [num_categories, category_dim].
    """
    image_options, poi_options = dict(image_encoder), dict(poi_encoder)
    make_image = _factory("image_encoder", image_options, IMAGE_ENCODERS)
    make_poi = _factory("poi_encoder", poi_options, POI_ENCODERS)
    vectors = poi_options.get("vectors", "frozen")
    if vectors not in VECTOR_TREATMENTS:
        raise InputError(
            f"model.poi_encoder.vectors={vectors!r} is unknown: "
            f"choose one of {', '.join(VECTOR_TREATMENTS)}."
        )
    if category_vectors is not None:
        poi_options["vectors_init"] = _table_init(
            category_vectors, (num_categories, category_dim)
        )
    return MMGR(
        image_encoder=make_image(dtype=dtype, **image_options),
        poi_encoder=make_poi(
            num_categories=num_categories, category_dim=category_dim, **poi_options
        ),
        projection_dim=projection_dim,
        dtype=dtype,
    )


POI_ENCODERS = {"set2set": PoiEncoder}


def _factory(
    section: str, options: dict[str, Any], factories: Mapping[str, Callable]
) -> Callable[..., nn.Module]:
    """Takes `name` out of options and returns the factory it stands for."""
    name = options.pop("name", None)
    if name not in factories:
        raise InputError(
            f"model.{section}.name={name!r} is unknown: "
            f"choose one of {', '.join(sorted(factories))}."
        )
    return factories[name]


def _table_init(
    table: np.ndarray, shape: tuple[int, int]
) -> nn.initializers.Initializer:
    """An initialiser that returns the given category table."""
    if table.shape != shape:
        raise InputError(
            f"category_vectors has shape {table.shape}, but the records have "
            f"(num_categories, category_dim) = {shape}: rebuild the table for these "
            "records with `python -m data_prep.build`."
        )
    return lambda key, shape, dtype: jnp.asarray(table, dtype)
