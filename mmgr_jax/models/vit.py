"""ViT image encoders, parameter for parameter those of timm."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmgr_jax.errors import InputError
from mmgr_jax.models.convolution import patches
from mmgr_jax.models.set2set import uniform_init

MLP_RATIO = 4  # hidden width of a block's MLP over its width
EPSILON = 1e-6
# timm truncates at +-2, a hundred deviations away: the same distribution.
NORMAL = nn.initializers.normal(0.02)


class ViT(nn.Module):
    """A vision transformer from normalised image to its class token.

    Module names are timm's with `_` for the dot of a block's number (`blocks_0.attn`),
    so weights travel both ways by name. Axis t of the annotations is tokens: the class
    token, then the patches row by row. Products are in `dtype`; the statistics of
    LayerNorm and the softmax are float32.

    Attributes:
        width: Length f of a token and of the feature.
        depth: Number of blocks.
        num_heads: Attention heads; each gets f / num_heads numbers of a token.
        patch_px: Side of a patch.
        dtype: Type of the activations; parameters are float32.

    Reference: Dosovitskiy et al. (2021), An image is worth 16x16 words (arXiv
    2010.11929); pre-norm blocks, learnt positions, no representation layer, and timm's
    initialisation.
    """

    width: int
    depth: int
    num_heads: int
    patch_px: int = 16
    dtype: DTypeLike = jnp.float32

    @property
    def feature_dim(self) -> int:
        """Length of the feature."""
        return self.width

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], train: bool) -> Array:
        """Returns the normalised class token [b f] in `dtype`.

        Args:
            image: Normalised image of whole patches; its size decides the number of
                learnt positions, so it stays what it was at `init`.
            train: Part of the signature all image encoders share; there are no
                statistics and no dropout.

        Raises:
            InputError: For an image of another size.
        """
        del train
        self._check_whole_patches(*image.shape[1:3])
        x = PatchEmbed(self.width, self.patch_px, self.dtype, name="patch_embed")(image)
        shape = (1, 1, self.width)
        token = self.param("cls_token", nn.initializers.normal(1e-6), shape)
        token = jnp.broadcast_to(token.astype(self.dtype), (len(x), 1, self.width))
        x = jnp.concatenate([token, x], axis=1)
        shape = (1, *x.shape[1:])
        self._check_positions(shape, image.shape[1])
        x += self.param("pos_embed", NORMAL, shape).astype(self.dtype)
        for index in range(self.depth):
            x = Block(self.num_heads, self.dtype, name=f"blocks_{index}")(x)
        return layer_norm(dtype=self.dtype, name="norm")(x[:, 0])

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
    """Patches as tokens: one product with a kernel over all their pixels.

    Attributes:
        width: Length f of a token.
        patch_px: Side of a patch.
        dtype: Type of the product and of the result.
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
        """Returns one token a patch."""
        shape = (self.patch_px, self.patch_px, image.shape[-1], self.width)
        init = uniform_init(self.patch_px**2 * image.shape[-1])
        kernel = self.param("kernel", init, shape, jnp.float32).astype(self.dtype)
        bias = self.param("bias", init, (self.width,), jnp.float32).astype(self.dtype)
        x = patches(image.astype(self.dtype), self.patch_px)
        return x @ kernel.reshape(-1, self.width) + bias


class Block(nn.Module):
    """Attention, then an MLP, each behind a norm and beside a shortcut."""

    num_heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b t f"]:
        """Returns the tokens after the block."""
        y = layer_norm(dtype=self.dtype, name="norm1")(x)
        x += Attention(self.num_heads, self.dtype, name="attn")(y)
        y = layer_norm(dtype=self.dtype, name="norm2")(x)
        return x + Mlp(self.dtype, name="mlp")(y)


class Attention(nn.Module):
    """Every token reads all tokens, in several heads."""

    num_heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b t f"]:
        """Returns what each token has read."""
        b, tokens, width = x.shape
        qkv = linear(3 * width, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(b, tokens, 3, self.num_heads, width // self.num_heads)
        x = jax.nn.dot_product_attention(*jnp.moveaxis(qkv, 2, 0))
        x = x.reshape(b, tokens, width)
        return linear(width, dtype=self.dtype, name="proj")(x)


class Mlp(nn.Module):
    """Linear, exact GELU, linear, on each token by itself."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t f"]) -> Float[Array, "b t f"]:
        """Returns the tokens' updates."""
        width = x.shape[-1]
        x = linear(MLP_RATIO * width, dtype=self.dtype, name="fc1")(x)
        x = nn.gelu(x, approximate=False)
        return linear(width, dtype=self.dtype, name="fc2")(x)


linear = partial(nn.Dense, kernel_init=NORMAL)
layer_norm = partial(nn.LayerNorm, epsilon=EPSILON, use_fast_variance=False)


def resample_positions(
    pos_embed: Float[Array, "1 t f"], side: int
) -> Float[Array, "1 u f"]:
    """The positions of a square image for a grid of side x side patches.

    Bicubic, anti-aliased where the grid shrinks; the class token's position stays.

    Args:
        pos_embed: Position of the class token, then of a square grid row by row.
        side: Patches along a side of the new grid, u = side**2 + 1.
    """
    token, grid = pos_embed[:, :1], pos_embed[:, 1:]
    held, width = round(grid.shape[1] ** 0.5), grid.shape[2]
    grid = jax.image.resize(
        grid.reshape(held, held, width), (side, side, width), "cubic", antialias=True
    )
    return jnp.concatenate([token, grid.reshape(1, side**2, width)], axis=1)


def vit_small16(**options: DTypeLike) -> ViT:
    """Timm's ViT-S/16, `vit_small_patch16_224`; 384 features."""
    return ViT(width=384, depth=12, num_heads=6, **options)


def vit_base16(**options: DTypeLike) -> ViT:
    """Timm's ViT-B/16, `vit_base_patch16_224`; 768 features."""
    return ViT(width=768, depth=12, num_heads=12, **options)


FACTORIES = {"vit_small16": vit_small16, "vit_base16": vit_base16}
