"""DINOv2 and DINOv3: vision transformers trained without labels on 10^8 images.

This file has only the architectures. `python -m mmgr_jax.convert` reads weights from
files; docs/towers.md says where to get them and under which licence.
"""

from functools import partial
from typing import Any

from mmgr_jax.models.vit import ViT

LAYER_SCALE = 1e-5  # initial value, which loaded weights replace
SIZES = {
    "vits": dict(width=384, depth=12, num_heads=6),
    "vitb": dict(width=768, depth=12, num_heads=12),
    "vitl": dict(width=1024, depth=24, num_heads=16),
}


def dinov2(size: str, registers: int = 0, **options: Any) -> ViT:
    """Makes a DINOv2 encoder with patches of 14 px and learnt positions.

    Args:
        size: Key of `SIZES`.
        registers: Number of register tokens; 4 for the variants called `_reg`.
        options: Other attributes of `ViT`.

    Reference: Oquab et al. (2023), DINOv2 (arXiv 2304.07193).
    """
    return ViT(
        **SIZES[size],
        patch_px=14,
        registers=registers,
        layer_scale=LAYER_SCALE,
        **options,
    )


def dinov3(size: str, **options: Any) -> ViT:
    """Makes a DINOv3 encoder with patches of 16 px, rotary positions and 4 registers.

    Args:
        size: Key of `SIZES`.
        options: Other attributes of `ViT`. The weights trained on satellite imagery
            (SAT-493M) are of size "vitl" and need `pixels="sat493m"`.

    Reference: Simeoni et al. (2025), DINOv3 (arXiv 2508.10104). Its own training shifts
    and stretches positions at random; here they never change.
    """
    return ViT(
        **SIZES[size],
        positions="rotary",
        registers=4,
        layer_scale=LAYER_SCALE,
        key_bias=False,
        epsilon=1e-5,
        **options,
    )


FACTORIES = {
    "dinov2_vits14": partial(dinov2, "vits"),
    "dinov2_vits14_reg": partial(dinov2, "vits", registers=4),
    "dinov2_vitb14": partial(dinov2, "vitb"),
    "dinov2_vitb14_reg": partial(dinov2, "vitb", registers=4),
    "dinov3_vits16": partial(dinov3, "vits"),
    "dinov3_vitb16": partial(dinov3, "vitb"),
    "dinov3_vitl16": partial(dinov3, "vitl"),
    "dinov3_vitl16_sat493m": partial(dinov3, "vitl", pixels="sat493m"),
}
