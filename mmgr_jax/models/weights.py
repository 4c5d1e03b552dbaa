"""Converts weights to and from PyTorch state dicts, by name.

Rules turn a Linen path into the PyTorch name: `layer1_0.conv1.kernel` becomes
`layer1.0.conv1.weight`, `blocks_0.norm1.scale` becomes `blocks.0.norm1.weight`, and
`bn1.mean` of `batch_stats` becomes `bn1.running_mean`. State dicts are dicts of NumPy
arrays, so this file does not need torch; `torch_files.py` reads and writes them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from flax import traverse_util

from mmgr_jax.errors import InputError
from mmgr_jax.typing import Tree

StateDict = Mapping[str, np.ndarray]

TORCH_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
    "kernel_ih": "weight_ih_l0",
    "kernel_hh": "weight_hh_l0",
    "bias_ih": "bias_ih_l0",
    "bias_hh": "bias_hh_l0",
}
# A counter of PyTorch that we do not need.
COUNTER = "num_batches_tracked"
COUNTERS = rf"(.*\.)?{COUNTER}"
CLASSIFIER = r"(fc|head)\..*"  # of torchvision and timm's ResNets, and of timm's ViTs

# Parts of MMGR in the released code: its names for ours, then patterns of its names.
RELEASED = {
    "image_encoder": {"image_encoder": "encoder"},
    "image_head": {
        "image_head.linear1": "encoder.fc.0",
        "image_head.linear2": "encoder.fc.2",
    },
    "poi_encoder": {"poi_encoder.pool.lstm": "set2set.lstm"},
    "poi_head": {"poi_head.linear1": "linear1", "poi_head.linear2": "projector.1"},
}
RELEASED_NAMES = {
    "image_encoder": r"encoder\.(?!fc\.).*",
    "image_head": r"encoder\.fc\..*",
    "poi_encoder": r"set2set\..*",
    "poi_head": r"(linear1|projector)\..*",
}
# The two checkpoint files of the released code.
RELEASED_IMAGE = RELEASED["image_encoder"] | RELEASED["image_head"]
RELEASED_POI = RELEASED["poi_encoder"] | RELEASED["poi_head"]
# Parameters of the POI encoder without a counterpart in the released code.
NOT_RELEASED = ("poi_encoder.table.category_vectors", "poi_encoder.empty_set")


def from_torch(
    state_dict: StateDict,
    like: Tree,
    *,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Tree:
    """Makes variables with the structure of `like` and the values of a state dict.

    Args:
        state_dict: PyTorch names and arrays.
        like: Linen variables, `{"params": ..., "batch_stats": ...}`; arrays, or
            shapes from `jax.eval_shape`.
        rename: Prefixes of our dotted paths and the PyTorch names they have instead;
            `RELEASED_IMAGE` and `RELEASED_POI` are two.
        ignore: Regular expressions of PyTorch names to leave out.
        keep: Our dotted paths without a PyTorch counterpart; their values come from
            `like`, which must have arrays there.

    Returns:
        The variables, as float32 NumPy arrays.

    Raises:
        InputError: If any name or shape does not match, or any number is not finite;
            the message lists all of them.
    """
    ignored = re.compile("|".join((COUNTERS, *ignore)))
    left = {name for name in state_dict if not ignored.fullmatch(name)}
    leaves, faults = {}, []
    flat = cast(dict[tuple[str, ...], Any], traverse_util.flatten_dict(dict(like)))
    for path, template in flat.items():
        if dotted(path) in keep:
            leaves[path] = np.asarray(template)
            continue
        name = torch_name(path[1:], rename or {})
        expected = tuple(
            template.shape[axis] for axis in torch_axes(path[-1], len(template.shape))
        )
        if name not in left:
            faults.append(f"missing: {name} {expected}")
            continue
        left.remove(name)
        value = np.asarray(state_dict[name], np.float32)
        if value.shape != expected:
            faults.append(_shape_fault(name, value.shape, expected))
            continue
        if not np.isfinite(value).all():
            faults.append(f"not finite: {name}")
            continue
        leaves[path] = value.transpose(np.argsort(torch_axes(path[-1], value.ndim)))
    faults += [f"unexpected: {name}" for name in sorted(left)]
    if faults:
        raise InputError(
            "the weights do not fit the model; check that model.image_encoder and "
            "model.poi_encoder name the same architecture:\n  " + "\n  ".join(faults)
        )
    return traverse_util.unflatten_dict(leaves)


def to_torch(
    variables: Tree,
    *,
    rename: Mapping[str, str] | None = None,
    counters: bool = False,
) -> StateDict:
    """Makes the PyTorch state dict of Linen variables: the inverse of `from_torch`.

    Args:
        variables: `{"params": ..., "batch_stats": ...}`, or parts of them.
        rename: As for `from_torch`.
        counters: Add each BatchNorm's counter of batches, as 0. PyTorch does not use it
            (its momentum is fixed), but a strict load needs it.
    """
    state_dict = {}
    for path, leaf in traverse_util.flatten_dict(dict(variables)).items():
        value = np.asarray(leaf, np.float32)
        name = torch_name(path[1:], rename or {})
        state_dict[name] = value.transpose(torch_axes(path[-1], value.ndim))
        if counters and path[0] == "batch_stats" and path[-1] == "mean":
            state_dict[name.replace("running_mean", COUNTER)] = np.array(0, np.int64)
    return state_dict


def dotted(path: Sequence[str]) -> str:
    """Joins a Linen path (without its collection) into one name."""
    return ".".join(path[1:])


def torch_name(path: Sequence[str], rename: Mapping[str, str]) -> str:
    """Returns the PyTorch name of a Linen path (without its collection)."""
    *modules, leaf = path
    name = ".".join([*modules, TORCH_LEAF.get(leaf, leaf)])
    for ours, theirs in rename.items():
        if name.startswith(f"{ours}."):
            name = theirs + name[len(ours) :]
            break
    return re.sub(r"_(\d+)(?=\.)", r".\1", name)


def torch_axes(leaf: str, rank: int) -> tuple[int, ...]:
    """Returns our axes in PyTorch's order: HWIO becomes OIHW, [in out] [out in]."""
    axes = tuple(range(rank))
    if not leaf.startswith("kernel"):
        return axes
    return (*reversed(axes[-2:]), *axes[:-2])


def _shape_fault(name: str, shape: Sequence[int], expected: Sequence[int]) -> str:
    fault = f"shape of {name}: {shape}, expected {expected}"
    if name == "pos_embed" and shape[-1:] == expected[-1:]:
        fault += " (those of another image size: resample them, or set augment.size_px)"
    return fault
