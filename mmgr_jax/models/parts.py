"""Converts parts of MMGR to and from PyTorch: its image encoder, the released files.

The image encoder has the names of torchvision or timm; all four parts have those of the
released code. `like` and `variables` are the variables of MMGR. Results from PyTorch
have only the requested parts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mmgr_jax.errors import InputError
from mmgr_jax.models import layouts
from mmgr_jax.models.vit import resample_positions
from mmgr_jax.models.weights import (
    CLASSIFIER,
    NOT_RELEASED,
    RELEASED,
    RELEASED_NAMES,
    StateDict,
    dotted,
    from_torch,
    to_torch,
)
from mmgr_jax.typing import Tree


def image_encoder_from_torch(state_dict: StateDict, like: Tree) -> Tree:
    """Reads the image encoder from torchvision's or timm's weights of the same kind.

    Args:
        state_dict: Weights of the PyTorch model; its classifier is left out. Weights of
            a ViT must have our names, see `layouts.unified`.
        like: Variables of MMGR, or their shapes.

    Returns:
        `{"params": {"image_encoder": ...}, "batch_stats": {"image_encoder": ...}}`;
        "batch_stats" only if the encoder has BatchNorm.

    Raises:
        InputError: If any name or shape does not match; the message lists all. The
            number of heads of a ViT is not checked, because no shape depends on it.
    """
    like = _image_encoder(like)
    own = from_torch(state_dict, like, ignore=(CLASSIFIER,))
    return {name: {"image_encoder": tree} for name, tree in own.items()}


def image_encoder_to_torch(variables: Tree) -> StateDict:
    """Returns the state dict of the same encoder in torchvision or timm.

    It has no classifier. It loads with `strict=True` if the PyTorch model has none
    either: `num_classes=0` in timm, `model.fc = torch.nn.Identity()` in torchvision. A
    DINOv3 fits timm's model with `qkvb` in its name, made with `global_pool="token"`.
    """
    own = _image_encoder(variables)
    state_dict = to_torch(own, counters=True)
    vit = layouts.is_vit(own["params"])
    return layouts.as_timm(state_dict) if vit else state_dict


def with_resampled_positions(
    state_dict: StateDict, like: Tree
) -> tuple[StateDict, str | None]:
    """Resamples the positions of a ViT to the image size of `like`.

    Args:
        state_dict: Weights for `image_encoder_from_torch`, under our names.
        like: Variables of MMGR, or their shapes.

    Returns:
        The weights and a sentence about the change; the same weights and None if the
        positions fit or there are none.

    Raises:
        InputError: If the positions are not those of a class token and a square image.
    """
    held = state_dict.get("pos_embed")
    wanted = like["params"]["image_encoder"].get("pos_embed")
    if held is None or wanted is None or held.shape == wanted.shape:
        return state_dict, None
    old, new = _grid_side(held.shape), _grid_side(wanted.shape)
    if not old:
        raise InputError(
            f"pos_embed of the weights has shape {held.shape}, but only the positions "
            "[1, 1 + side * side, width] of a class token and a square image can be "
            "resampled: take the weights of a ViT that has them."
        )
    positions = resample_positions(jnp.asarray(held, jnp.float32), new)
    report = f"pos_embed: {old}x{old} positions resampled to {new}x{new} (bicubic)."
    return {**state_dict, "pos_embed": np.asarray(positions)}, report


def parts_from_released(
    state_dict: StateDict, like: Tree, parts: Sequence[str]
) -> Tree:
    """Reads some parts of MMGR from checkpoints in the released layout.

    Args:
        state_dict: The image file, the POI file, or both in one dict; weights of other
            parts are left out.
        like: Variables of MMGR, or their shapes.
        parts: Keys of `RELEASED`.

    Returns:
        `{"params": {part: ...}, "batch_stats": {part: ...}}`, without the leaves of
        `NOT_RELEASED`: the category table and the vector of an empty set.

    Raises:
        InputError: If any name or shape does not match; the message lists all.
    """
    rename = _released(parts)
    like = traverse_util.unflatten_dict(_released_leaves(like, parts))
    others = [name for part, name in RELEASED_NAMES.items() if part not in parts]
    return from_torch(state_dict, like, rename=rename, ignore=others)


def parts_to_released(variables: Tree, parts: Sequence[str]) -> StateDict:
    """Returns the inverse of `parts_from_released`, for `load_state_dict(strict=True)`.

    Raises:
        InputError: If a parameter of ours is not in the released layout, or if we lack
            a parameter of that layout.
    """
    rename = _released(parts)
    leaves = _released_leaves(variables, parts)
    names = [dotted(path) for path in leaves]
    prefixes = tuple(f"{ours}." for ours in rename)
    faults = [f"unexpected: {name}" for name in names if not name.startswith(prefixes)]
    faults += [
        f"missing: {prefix}*"
        for prefix in prefixes
        if not any(name.startswith(prefix) for name in names)
    ]
    if faults:
        raise InputError(
            "the released layout holds the released architecture alone; this model has "
            f"another {' or '.join(parts)}:\n  " + "\n  ".join(faults)
        )
    return to_torch(traverse_util.unflatten_dict(leaves), rename=rename, counters=True)


def _grid_side(shape: Sequence[int]) -> int:
    """Side of the grid of positions [1, 1 + side * side, f]; 0 if they have no grid."""
    side = math.isqrt(max(shape[1] - 1, 0)) if len(shape) == 3 else 0
    return side if tuple(shape[:2]) == (1, 1 + side * side) else 0


def _image_encoder(variables: Tree) -> Tree:
    """The variables of the image encoder alone."""
    own = _only(variables, ("image_encoder",))
    return {name: tree["image_encoder"] for name, tree in own.items()}


def _only(variables: Tree, parts: Sequence[str]) -> Tree:
    """The given parts of MMGR's variables, without empty collections."""
    own = {
        name: {part: tree[part] for part in parts if part in tree}
        for name, tree in variables.items()
    }
    return {name: tree for name, tree in own.items() if tree}


def _released_leaves(
    variables: Tree, parts: Sequence[str]
) -> dict[tuple[str, ...], Any]:
    """Path and leaf of each variable of the parts that the released code has, too."""
    leaves = traverse_util.flatten_dict(_only(variables, parts))
    return {p: leaf for p, leaf in leaves.items() if dotted(p) not in NOT_RELEASED}


def _released(parts: Sequence[str]) -> Mapping[str, str]:
    """The released names of the given parts."""
    rename = {}
    for part in parts:
        if part not in RELEASED:
            raise InputError(
                f"part {part!r} of MMGR is unknown; allowed: {', '.join(RELEASED)}."
            )
        rename |= RELEASED[part]
    return rename
