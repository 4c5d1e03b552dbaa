"""Views of uint8 tiles on the accelerator: pure functions of (tile, key)."""

from mmgr_jax.augment.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    apply_jitter,
    crop_and_turn,
    plain_view,
    two_views,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "apply_jitter",
    "crop_and_turn",
    "plain_view",
    "two_views",
]
