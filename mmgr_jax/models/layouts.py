"""Converts weights of vision transformers between other programs' names and ours.

timm, transformers and Meta's own files have the same numbers under different names, and
split some of them differently. Our names are those of timm's `VisionTransformer`. If
keys have no bias, the biases of queries and values are as in timm's `Eva`. State dicts
are dicts of NumPy arrays under PyTorch names.
"""

import re

import numpy as np

from mmgr_jax.errors import InputError
from mmgr_jax.models import rotary
from mmgr_jax.models.weights import StateDict
from mmgr_jax.typing import Tree

# Renaming rules, applied in this order.
RENAMES = (
    # transformers
    (r"^(encoder\.|model\.)?layer\.(?=\d)", "blocks."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"\.attention\.(attention\.query|q_proj)\.", ".attn.query."),
    (r"\.attention\.(attention\.key|k_proj)\.", ".attn.key."),
    (r"\.attention\.(attention\.value|v_proj)\.", ".attn.value."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    # transformers and DINOv2, DINOv3, timm's Eva
    (r"^(register_tokens|storage_tokens)$", "reg_token"),
    (r"\.gamma_([12])$", r".ls\1.gamma"),
)
# Used only in training: the token for masked patches, and the norm of small crops.
TRAINING_ONLY = r"mask_token|local_cls_norm\..*"
PERIODS = "rope_embed.periods"
BFLOAT16 = 2.0**-8  # relative precision of the periods in Meta's files


def is_vit(encoder: Tree) -> bool:
    """Returns whether these are the parameters of a `ViT`, or their shapes."""
    return "patch_embed" in encoder


def unified(state_dict: StateDict, encoder: Tree) -> tuple[StateDict, list[str]]:
    """Renames the weights of a vision transformer to our names.

    Unknown weights keep their names, so that loading the weights lists them.

    Args:
        state_dict: Weights from timm, transformers (`Dinov2Model`,
            `Dinov2WithRegistersModel`, `DINOv3ViTModel`), Meta or this program.
        encoder: Parameters of our encoder, or their shapes. If the encoder is not a
            ViT, the weights are returned unchanged.

    Returns:
        The weights, and a sentence about each change other than a new name.

    Raises:
        InputError: If the periods of rotary positions differ from ours.
    """
    if not is_vit(encoder):
        return state_dict, []
    weights, notes = {}, []
    for name, value in state_dict.items():
        new = _renamed(name)
        if not re.fullmatch(TRAINING_ONLY, new):
            weights[name if new in state_dict else new] = value
    _check_periods(weights.pop(PERIODS, None))
    _join_queries_keys_values(weights)
    _split_masked_bias(weights)
    if "q_bias" in encoder["blocks_0"]["attn"]:
        notes += _fill_absent_bias(weights)
    notes += _fill_class_position(weights)
    return weights, notes


def as_timm(state_dict: StateDict) -> StateDict:
    """Renames weights from our names to those of timm.

    If keys have no bias, the model is timm's `Eva` (DINOv3), which has its own name for
    the factors of LayerScale. If there are registers, timm adds the class token's
    position to the class token.
    """
    weights = dict(state_dict)
    if any(name.endswith(".attn.q_bias") for name in weights):
        scale = re.compile(r"\.ls([12])\.gamma$")
        weights = {scale.sub(r".gamma_\1", n): value for n, value in weights.items()}
    if {"reg_token", "pos_embed"} <= weights.keys():
        positions = weights["pos_embed"]
        weights["cls_token"] = weights["cls_token"] + positions[:, :1]
        weights["pos_embed"] = positions[:, 1:]
    return weights


def _renamed(name: str) -> str:
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    return name


def _check_periods(held: np.ndarray | None) -> None:
    if held is None:
        return
    ours = rotary.periods(4 * held.size)
    if not np.allclose(held, ours, rtol=BFLOAT16, atol=0):
        raise InputError(
            f"{PERIODS} of the weights runs from {held.flat[0]:g} to "
            f"{held.flat[-1]:g}, but the rotary positions of model.image_encoder have "
            f"periods from 1 to {ours[-1]:g}. Take the weights of a DINOv3 ViT."
        )


def _join_queries_keys_values(weights: dict[str, np.ndarray]) -> None:
    """Joins queries, keys and values into one product; keys may have no bias."""
    for name in [name for name in weights if name.endswith(".attn.query.weight")]:
        attention = name.removesuffix("query.weight")
        parts = [f"{attention}{part}" for part in ("query", "key", "value")]
        for leaf in ("weight", "bias"):
            held = [f"{part}.{leaf}" in weights for part in parts]
            if all(held):
                arrays = [weights.pop(f"{part}.{leaf}") for part in parts]
                weights[f"{attention}qkv.{leaf}"] = np.concatenate(arrays)
            elif leaf == "bias" and held == [True, False, True]:
                weights[f"{attention}q_bias"] = weights.pop(f"{parts[0]}.bias")
                weights[f"{attention}v_bias"] = weights.pop(f"{parts[2]}.bias")


def _split_masked_bias(weights: dict[str, np.ndarray]) -> None:
    """Splits Meta's joint bias, masked with 0 for the keys, into two biases."""
    for name in [name for name in weights if name.endswith(".qkv.bias_mask")]:
        attention = name.removesuffix("qkv.bias_mask")
        bias = weights.get(f"{attention}qkv.bias")
        if bias is None or bias.shape != weights[name].shape:
            continue
        query, key, value = np.split(bias * weights[name], 3)
        if not np.any(key):
            del weights[name], weights[f"{attention}qkv.bias"]
            weights[f"{attention}q_bias"] = query
            weights[f"{attention}v_bias"] = value


def _fill_absent_bias(weights: dict[str, np.ndarray]) -> list[str]:
    """Adds zeros if a file has no bias of queries, keys and values at all."""
    if any(re.search(r"\.attn\.(q_bias|v_bias|qkv\.bias)$", name) for name in weights):
        return []
    products = [name for name in weights if name.endswith(".attn.qkv.weight")]
    for name in products:
        width = len(weights[name]) // 3
        for part in "qv":
            bias = np.zeros(width, np.float32)
            weights[name.replace("qkv.weight", f"{part}_bias")] = bias
    sentence = (
        "the file has no biases of queries and values: they are 0, which is what timm "
        "means by a DINOv3 without `qkvb` in its name"
    )
    return [sentence] if products else []


def _fill_class_position(weights: dict[str, np.ndarray]) -> list[str]:
    """Adds zeros as the class token's position if timm added it to the token."""
    positions = weights.get("pos_embed")
    if positions is None or positions.ndim != 3 or "reg_token" not in weights:
        return []
    side = round(positions.shape[1] ** 0.5)
    if positions.shape[1] != side**2:
        return []
    zeros = np.zeros_like(positions[:, :1])
    weights["pos_embed"] = np.concatenate([zeros, positions], axis=1)
    return ["pos_embed: the class token holds its own position, as timm writes it"]
