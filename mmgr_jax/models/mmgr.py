"""MMGR: an image encoder and a POI-set encoder with one shared projection space."""

from typing import Any, Literal, overload

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models import dino, norm, poi, resnet, table, vit
from mmgr_jax.models.learning import Learning
from mmgr_jax.models.set2set import uniform_init
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.typing import PoiSets, View, Views

IMAGE_ENCODERS = (
    resnet.FACTORIES | vit.FACTORIES | dino.FACTORIES | {"table": table.build}
)
POI_HIDDEN = 256  # hidden width of the POI projection head, as released
RELEASED_LAST_INIT = nn.initializers.normal(0.01)


class MMGR(nn.Module):
    """Encodes tiles and POI sets and projects both into one space.

    Attributes:
        image_encoder: Module from image [b s s 3] to features [b f].
        poi_encoder: Module from POI sets to pooled vectors [b q].
        projection_dim: Length p of the projections.
        batch_statistics: How BatchNorm treats the two views; see `ModelSettings`.
        learn_temperature: Whether the temperature of the losses is trained. It starts
            at the configured value.
        learning: Which layers of the image encoder are trained. The other layers use
            the running statistics of BatchNorm, also in training, and do not change
            them.
        dtype: Data type of the image side. The POI side computes in float32.

    Reference: Bai et al. (2023), doi 10.1016/j.isprsjprs.2023.05.006.
    """

    image_encoder: nn.Module
    poi_encoder: nn.Module
    projection_dim: int
    batch_statistics: str
    learn_temperature: bool
    learning: Learning
    dtype: DTypeLike

    def setup(self) -> None:
        """Creates the two projection heads and, if learnt, the temperature factor."""
        self.image_head = ProjectionHead(
            hidden=None,
            features=self.projection_dim,
            dtype=self.dtype,
            last_kernel_init=RELEASED_LAST_INIT,
            last_bias_init=nn.initializers.zeros,
        )
        self.poi_head = ProjectionHead(POI_HIDDEN, self.projection_dim)
        if self.learn_temperature:
            self.log_temperature_factor = self.param(
                "log_temperature_factor", nn.initializers.zeros, (), jnp.float32
            )

    @property
    def reads_table(self) -> bool:
        """Whether the model reads rows of a feature table [b f] instead of images."""
        return isinstance(self.image_encoder, table.Table)

    def __call__(
        self, views: Views | Float[Array, "v b f"], pois: PoiSets, train: bool
    ) -> dict[str, Array]:
        """Returns `z_image` [v b p] and `z_poi` [b p], not normalised.

        With `learn_temperature`, it also returns `temperature_factor`. This scalar
        multiplies the configured temperature and starts at 1.

        Args:
            views: Normalised views of the same tiles, or rows of a feature table.
            pois: The POI sets of the same regions.
            train: Whether BatchNorm uses and updates batch statistics.
        """
        if self.batch_statistics == "joint":
            both = views.reshape(-1, *views.shape[2:])
            features = self.encode_image(both, train)
            features = features.reshape(*views.shape[:2], -1)
        else:
            features = jnp.stack([self.encode_image(view, train) for view in views])
        return self.compare(features, pois, train)

    def compare(
        self, features: Float[Array, "v b f"], pois: PoiSets, train: bool
    ) -> dict[str, Array]:
        """Returns the same as a call, from features that are already encoded."""
        outputs = {
            "z_image": self.project_image(features),
            "z_poi": self.project_pois(self.encode_pois(pois, train)),
        }
        if self.learn_temperature:
            outputs["temperature_factor"] = jnp.exp(self.log_temperature_factor)
        return outputs

    @overload
    def encode_image(
        self,
        image: View | Float[Array, "b f"],
        train: bool = ...,
        every_stage: Literal[False] = ...,
    ) -> Float[Array, "b f"]: ...

    @overload
    def encode_image(
        self,
        image: View | Float[Array, "b f"],
        train: bool = ...,
        *,
        every_stage: Literal[True],
    ) -> dict[str, Array]: ...

    def encode_image(
        self,
        image: View | Float[Array, "b f"],
        train: bool = False,
        every_stage: bool = False,
    ) -> Float[Array, "b f"] | dict[str, Array]:
        """Returns the pooled backbone features, which represent the tile.

        With `every_stage`, it returns the features of every stage instead, by name.
        """
        if every_stage:
            return self.image_encoder(image, train, every_stage=True)
        return self.image_encoder(image, train and not self.learning.locked)

    @overload
    def encode_pois(
        self, pois: PoiSets, train: bool = ..., apart: Literal[False] = ...
    ) -> Float[Array, "b q"]: ...

    @overload
    def encode_pois(
        self, pois: PoiSets, train: bool = ..., *, apart: Literal[True]
    ) -> dict[str, Array]: ...

    def encode_pois(
        self, pois: PoiSets, train: bool = False, apart: bool = False
    ) -> Float[Array, "b q"] | dict[str, Array]:
        """Returns the vector of each POI set or, with `apart`, its parts by name."""
        return self.poi_encoder(pois, train, apart)

    def project_image(self, features: Float[Array, "*vb f"]) -> Float[Array, "*vb p"]:
        """Returns the projections of image features with any leading axes."""
        return self.image_head(features)

    def adapt_image(self, features: Float[Array, "*vb f"]) -> Float[Array, "*vb f"]:
        """Returns the input of the last layer of the image head.

        If the image encoder is locked, training changes these features but not those of
        `encode_image`.
        """
        return self.image_head(features, before_last=True)

    def project_pois(self, pooled: Float[Array, "b q"]) -> Float[Array, "b p"]:
        """Returns the projections of POI-set vectors."""
        return self.poi_head(pooled)


class ProjectionHead(nn.Module):
    """A projection head: Linear, ReLU, Linear, initialised as in PyTorch.

    Attributes:
        hidden: Width between the layers; None for the width of the input.
        features: Length of the projection.
        dtype: Data type of the products and of the result.
        last_kernel_init: Initialiser of the last kernel; None for PyTorch's.
        last_bias_init: Initialiser of the last bias; None for PyTorch's.
    """

    hidden: int | None
    features: int
    dtype: DTypeLike = jnp.float32
    last_kernel_init: nn.initializers.Initializer | None = None
    last_bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*vb f"], before_last: bool = False
    ) -> Float[Array, "*vb p"]:
        """Returns the projections, or the input of the last layer, in `dtype`."""
        hidden = self.hidden or x.shape[-1]
        first = uniform_init(x.shape[-1])
        last = uniform_init(hidden)
        x = nn.Dense(
            hidden, dtype=self.dtype, kernel_init=first, bias_init=first, name="linear1"
        )(x)
        if before_last:
            return nn.relu(x)
        return nn.Dense(
            self.features,
            dtype=self.dtype,
            kernel_init=self.last_kernel_init or last,
            bias_init=self.last_bias_init or last,
            name="linear2",
        )(nn.relu(x))


def build(
    settings: ModelSettings,
    *,
    num_categories: int,
    category_dim: int,
    num_devices: int = 1,
    category_vectors: np.ndarray | None = None,
    table_features: np.ndarray | None = None,
) -> MMGR:
    """Builds the model that the settings describe.

    Args:
        settings: The section `model`. Other code reads `path` of a table and
            `kept_views` of the image encoder.
        num_categories: Number k of rows of the category table.
        category_dim: Length d of a category vector.
        num_devices: Number of devices over which batches are split.
        category_vectors: Table [k d] of the records; None draws it from N(0, 1).
        table_features: Features of the regions [r f], only for the encoder `table`.

    Returns:
        The model; its parameters come from `init`.

    Raises:
        InputError: If a name or option is unknown, or if the shape of
            `category_vectors` is not [num_categories, category_dim].
    """
    options = dict(settings.image_encoder)
    name = options.pop("name", None)
    learning = Learning.parse(options.pop("train", "all"))
    options.pop("kept_views", None)
    check_choice("model.image_encoder.name", name, IMAGE_ENCODERS)
    over = norm.devices(settings.batch_norm, num_devices)
    if name in resnet.FACTORIES:
        options |= {"norm_over": over, "last_stages": learning.last or None}
    if name == "table":
        options.pop("path", None)
        options |= {"features": table_features, "locked": learning.locked}
    dtype = jnp.dtype(settings.dtype)
    return MMGR(
        image_encoder=_image_encoder(name, dtype=dtype, **options),
        poi_encoder=poi.build(
            settings.poi_encoder,
            num_categories=num_categories,
            category_dim=category_dim,
            category_vectors=category_vectors,
        ),
        projection_dim=settings.projection_dim,
        batch_statistics=settings.batch_statistics,
        learn_temperature=settings.learn_temperature,
        learning=learning,
        dtype=dtype,
    )


def _image_encoder(name: str, **options: Any) -> nn.Module:
    try:
        return IMAGE_ENCODERS[name](**options)
    except TypeError as error:
        keys = ", ".join(sorted(options.keys() - {"dtype", "norm_over", "last_stages"}))
        raise InputError(
            f"config.model.image_encoder: {name!r} does not take one of the keys "
            f"{keys} ({error}). In the config file, set it anew: "
            f"`c.model.image_encoder = dict(name={name!r})`."
        ) from error
