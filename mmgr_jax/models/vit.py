"""ViT image encoders with the same parameters as those of timm."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models import readout, rotary
from mmgr_jax.models.convolution import patches
from mmgr_jax.models.set2set import uniform_init
from mmgr_jax.models.transformer import NORMAL, Block, layer_norm

POSITIONS = ("learnt", "rotary")
PIXELS = {
    "imagenet": (readout.IMAGENET_MEAN, readout.IMAGENET_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
"""Mean and deviation of red, green and blue in [0, 1] that weights were trained with.

Torchvision, DINOv2, DINOv3 (LVD-1689M) and some ViTs of timm use those of ImageNet.
Timm's `augreg` ViTs and others use 0.5. DINOv3 trained on satellite imagery uses those
of SAT-493M (README of github.com/facebookresearch/dinov3).
"""


class ViT(nn.Module):
    """A vision transformer from a normalised image to its class token.

    Module names are timm's with `_` for the dot of a block's number (`blocks_0.attn`),
    so weights can be converted both ways by name; `layouts.py` has the names of other
    programs. Axis t of the annotations stands for tokens: the class token, the
    registers, then the patches row by row. Products are in `dtype`; the statistics of
    LayerNorm, the softmax and rotations are float32.

    Attributes:
        width: Length f of a token and of the feature.
        depth: Number of blocks.
        num_heads: Number of attention heads; each gets f / num_heads numbers of a
            token.
        patch_px: Side of a patch in pixels.
        positions: "learnt": a vector added to the class token and each patch, for
            images of one size. "rotary": see `rotary.rotation`, for images of any size.
        registers: Number of learnt tokens without a position, whose output is not used.
        layer_scale: See `Block`.
        key_bias: See `Block`.
        epsilon: Added to the variance in LayerNorm.
        pixels: Key of `PIXELS`: how images are normalised.
        layers: Blocks that `every_stage` reads, counted from 1; () for those at one
            third and two thirds of the depth.
        dtype: Number type of the activations; parameters are float32.

    Reference: Dosovitskiy et al. (2021), An image is worth 16x16 words (arXiv
    2010.11929); pre-norm blocks, no representation layer, and timm's initialisation.
    Registers: Darcet et al. (2023), arXiv 2309.16588.
    """

    width: int
    depth: int
    num_heads: int
    patch_px: int = 16
    positions: str = "learnt"
    registers: int = 0
    layer_scale: float | None = None
    key_bias: bool = True
    epsilon: float = 1e-6
    pixels: str = "imagenet"
    layers: Sequence[int] = ()
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        """Refuses options with which no image can be encoded."""
        check_choice("model.image_encoder.pixels", self.pixels, PIXELS)
        check_choice("model.image_encoder.positions", self.positions, POSITIONS)
        strange = [n for n in self.layers if n not in range(1, self.depth + 1)]
        if strange:
            raise InputError(
                f"config.model.image_encoder.layers={tuple(self.layers)}: there is no "
                f"block {strange[0]!r}. Give numbers from 1 to {self.depth}."
            )
        super().__post_init__()

    @property
    def feature_dim(self) -> int:
        """Length of the feature vector."""
        return self.width

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """Mean of red, green and blue that normalises images."""
        return PIXELS[self.pixels][0]

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """Deviation of red, green and blue that normalises images."""
        return PIXELS[self.pixels][1]

    @property
    def read_layers(self) -> tuple[int, ...]:
        """Blocks that `every_stage` reads, in order, counted from 1."""
        thirds = {round(self.depth / 3), round(2 * self.depth / 3)} - {0, self.depth}
        return tuple(sorted(set(self.layers) or thirds))

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], train: bool, every_stage: bool = False
    ) -> Array | dict[str, Array]:
        """Returns the normalised class token [b f] in `dtype`.

        Args:
            image: Normalised images; their sides are multiples of the patch size. With
                learnt positions, the size must be that at `init`.
            train: Part of the signature that all image encoders share; it has no
                effect, because there are no batch statistics and no dropout.
            every_stage: Return features by name, in float32, instead: mean and
                deviation of the patches after each of `read_layers` ("layer 4",
                [b 2*f]), and the class token and the mean of the patches after the last
                norm ("last", [b 2*f]).

        Raises:
            InputError: If the image has another size.
        """
        del train
        self._check_whole_patches(*image.shape[1:3])
        x = PatchEmbed(self.width, self.patch_px, self.dtype, name="patch_embed")(image)
        x = self._with_tokens(x, image.shape[1])
        first_patch = 1 + self.registers
        rotation = None
        if self.positions == "rotary":
            grid = (side // self.patch_px for side in image.shape[1:3])
            rotation = rotary.rotation(
                first_patch, *grid, head_dim=self.width // self.num_heads
            )
        stages = {}
        for number in range(1, self.depth + 1):
            x = Block(
                num_heads=self.num_heads,
                epsilon=self.epsilon,
                layer_scale=self.layer_scale,
                key_bias=self.key_bias,
                dtype=self.dtype,
                name=f"blocks_{number - 1}",
            )(x, rotation)
            if every_stage and number in self.read_layers:
                moments = readout.mean_and_deviation(x[:, first_patch:])
                stages[f"layer {number}"] = moments
        norm = layer_norm(epsilon=self.epsilon, dtype=self.dtype, name="norm")
        if not every_stage:
            return norm(x[:, 0])
        x = norm(x).astype(jnp.float32)
        patch_mean = jnp.mean(x[:, first_patch:], axis=1)
        return stages | {"last": jnp.concatenate([x[:, 0], patch_mean], axis=1)}

    def _with_tokens(
        self, x: Float[Array, "b t f"], side_px: int
    ) -> Float[Array, "b u f"]:
        """Adds positions to the patches; puts class token and registers in front."""
        small, shape = nn.initializers.normal(1e-6), (1, 1, self.width)
        x = jnp.concatenate([self._token("cls_token", small, shape, len(x)), x], axis=1)
        if self.positions == "learnt":
            shape = (1, *x.shape[1:])
            self._check_positions(shape, side_px)
            x += self.param("pos_embed", NORMAL, shape).astype(self.dtype)
        if self.registers:
            shape = (1, self.registers, self.width)
            registers = self._token("reg_token", small, shape, len(x))
            x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        return x

    def _token(
        self,
        name: str,
        init: nn.initializers.Initializer,
        shape: tuple[int, ...],
        b: int,
    ) -> Float[Array, "b t f"]:
        token = self.param(name, init, shape).astype(self.dtype)
        return jnp.broadcast_to(token, (b, *shape[1:]))

    def _check_whole_patches(self, *sides_px: int) -> None:
        patch = self.patch_px
        for side in sides_px:
            if side % patch or side == 0:
                below = max(side // patch, 1) * patch
                raise InputError(
                    f"augment.size_px={side}: the ViT of model.image_encoder reads "
                    f"whole patches of {patch} px. Take a multiple of {patch} such as "
                    f"{below} or {below + patch}, or a ResNet."
                )

    def _check_positions(self, shape: tuple[int, ...], side_px: int) -> None:
        if not self.has_variable("params", "pos_embed"):
            return
        held = self.get_variable("params", "pos_embed").shape
        if held != shape:
            held_px = int((held[1] - 1) ** 0.5) * self.patch_px
            raise InputError(
                f"augment.size_px={side_px}: the positions of model.image_encoder are "
                f"those of {held_px} px images ({held[1]} tokens, not {shape[1]}). "
                f"Set augment.size_px={held_px}, or convert the weights and resample "
                "their positions."
            )


class PatchEmbed(nn.Module):
    """Turns patches into tokens by one product with a kernel over all their pixels.

    Attributes:
        width: Length f of a token.
        patch_px: Side of a patch in pixels.
        dtype: Number type of the product and of the result.
    """

    width: int
    patch_px: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b t f"]:
        """Returns the tokens, row by row."""
        x = PatchProjection(self.width, self.patch_px, self.dtype, name="proj")(image)
        return x.reshape(len(x), -1, self.width)


class PatchProjection(nn.Module):
    """A convolution with bias over patches that do not overlap; see `PatchEmbed`."""

    width: int
    patch_px: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b y x f"]:
        """Returns one token for each patch."""
        shape = (self.patch_px, self.patch_px, image.shape[-1], self.width)
        init = uniform_init(self.patch_px**2 * image.shape[-1])
        kernel = self.param("kernel", init, shape, jnp.float32).astype(self.dtype)
        bias = self.param("bias", init, (self.width,), jnp.float32).astype(self.dtype)
        x = patches(image.astype(self.dtype), self.patch_px)
        return x @ kernel.reshape(-1, self.width) + bias


def resample_positions(
    pos_embed: Float[Array, "1 t f"], side: int
) -> Float[Array, "1 u f"]:
    """Resamples the positions of a square image to a grid of side x side patches.

    Resampling is bicubic, with anti-aliasing if the grid gets smaller. The class
    token's position does not change.

    Args:
        pos_embed: Position of the class token, then of a square grid row by row.
        side: Number of patches along a side of the new grid, u = side**2 + 1.
    """
    token, grid = pos_embed[:, :1], pos_embed[:, 1:]
    held, width = round(grid.shape[1] ** 0.5), grid.shape[2]
    grid = jax.image.resize(
        grid.reshape(held, held, width), (side, side, width), "cubic", antialias=True
    )
    return jnp.concatenate([token, grid.reshape(1, side**2, width)], axis=1)


def vit_small16(**options: Any) -> ViT:
    """Makes timm's ViT-S/16, `vit_small_patch16_224`; 384 features."""
    return ViT(width=384, depth=12, num_heads=6, **options)


def vit_base16(**options: Any) -> ViT:
    """Makes timm's ViT-B/16, `vit_base_patch16_224`; 768 features."""
    return ViT(width=768, depth=12, num_heads=12, **options)


FACTORIES = {
    "vit_small16": vit_small16,
    "vit_small16_augreg": partial(vit_small16, pixels="half"),
    "vit_base16": vit_base16,
    "vit_base16_augreg": partial(vit_base16, pixels="half"),
}
