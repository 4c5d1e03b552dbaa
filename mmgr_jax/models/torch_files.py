"""Reads and writes files of PyTorch weights, as dicts of NumPy arrays.

`.safetensors` does not need torch. The pickled formats do, and torch is imported only
for them. Only tensors are unpickled, because a pickle may run any code.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import ml_dtypes  # noqa: F401  (teaches NumPy bfloat16, which safetensors asks it for)
import numpy as np
import safetensors.numpy

from mmgr_jax.disk import files, refusals
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install
from mmgr_jax.models.weights import StateDict

SAFETENSORS = ".safetensors"
PICKLED = (".pth", ".pt", ".tar", ".bin")
# Keys for the weights in files where training scripts also store other state.
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
PARALLEL = "module."  # what torch.nn.DataParallel puts before every name


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the weights in a file.

    Weights may be wrapped in a dict under one of `WRAPPERS`, and all names may start
    with `module.`; both are removed. Half-precision floats become float32; other types
    do not change.

    Args:
        path: File with the suffix .safetensors, .pth, .pt, .tar or .bin, which decides
            the format.

    Raises:
        InputError: If the file is missing, damaged, or has another format or layout, or
            if it needs torch and torch is not installed.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path of the weights.")
    if path.suffix.lower() == SAFETENSORS:
        state_dict = _read_safetensors(path)
    else:
        state_dict = _read_pickled(path)
    if all(name.startswith(PARALLEL) for name in state_dict):
        state_dict = {n.removeprefix(PARALLEL): v for n, v in state_dict.items()}
    return {name: _widened(value) for name, value in state_dict.items()}


def write_state_dict(
    path: str | Path, state_dict: StateDict, metadata: Mapping[str, str]
) -> None:
    """Writes weights by one rename, so that a file is never incomplete.

    Args:
        path: File with the suffix .safetensors, .pth, .pt, .tar or .bin, which decides
            the format. A pickled file has the state dict itself, for `load_state_dict`.
        state_dict: The weights; integers stay integers.
        metadata: Texts about the weights. They are written to the header of a
            safetensors file, or to the attribute `metadata` of the pickled dict.

    Raises:
        InputError: If the suffix is not one of these, or if it needs torch and torch is
            not installed.
    """
    path = Path(path)
    _check_suffix(path)
    write = _write_safetensors
    if path.suffix.lower() != SAFETENSORS:
        _import_torch(path)
        write = _write_pickled
    with files.replacing(path) as temporary:
        write(temporary, state_dict, dict(metadata))


def _check_suffix(path: Path) -> None:
    allowed = (SAFETENSORS, *PICKLED)
    if path.suffix.lower() not in allowed:
        raise InputError(
            f"{path}: suffix {path.suffix!r} is no format of PyTorch weights; "
            f"allowed: {', '.join(allowed)}."
        )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, MemoryError) as error:
        refusals.refuse_unreadable(path, error)
        raise InputError(_damaged(path, error)) from error


def _read_pickled(path: Path) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may cause any error
        refusals.refuse_unreadable(path, error)
        refused = "weights_only" in str(error) and "operand" not in str(error)
        raise InputError((_refused if refused else _damaged)(path, error)) from error
    tensors = _unwrapped(torch, path, content)
    return {name: _to_numpy(torch, tensor) for name, tensor in tensors.items()}


def _unwrapped(torch: ModuleType, path: Path, content: Any) -> Mapping[str, Any]:
    """The dict of tensors in the content of a file."""

    def is_state_dict(value: Any) -> bool:
        return bool(
            isinstance(value, Mapping)
            and value
            and all(torch.is_tensor(tensor) for tensor in value.values())
        )

    if is_state_dict(content):
        return content
    keys = list(content) if isinstance(content, Mapping) else []
    wrappers = [key for key in WRAPPERS if key in keys and is_state_dict(content[key])]
    if len(wrappers) == 1:
        return content[wrappers[0]]
    seen = ", ".join(map(repr, keys)) or f"only a {type(content).__name__}"
    raise InputError(
        f"{path}: holds {seen} where a dict of tensors, or one under exactly one of "
        f"{', '.join(WRAPPERS)}, is read. Save that dict alone with "
        "`torch.save(content[KEY], NEW_FILE)` and convert the new file."
    )


def _to_numpy(torch: ModuleType, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # unknown to torch's NumPy bridge
        tensor = tensor.float()
    return tensor.numpy()


def _widened(value: np.ndarray) -> np.ndarray:
    half = value.dtype.name in ("float16", "bfloat16")
    return value.astype(np.float32) if half else value


def _write_safetensors(
    path: Path, state_dict: StateDict, metadata: dict[str, str]
) -> None:
    # In C order: safetensors writes memory as it is, also for transposed views.
    arrays = {name: np.array(value, order="C") for name, value in state_dict.items()}
    safetensors.numpy.save_file(arrays, path, metadata=metadata)


def _write_pickled(path: Path, state_dict: StateDict, metadata: dict[str, str]) -> None:
    import torch

    tensors = OrderedDict(
        (name, torch.tensor(np.asarray(value))) for name, value in state_dict.items()
    )
    cast(Any, tensors).metadata = metadata  # where torch looks for it
    torch.save(tensors, path)


def _import_torch(path: Path) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: {path.suffix} files need torch, which is not installed: "
            f"{install('torch')}. Or use a {SAFETENSORS} file, which needs none."
        ) from error
    return torch


def _refused(path: Path, error: Exception) -> str:
    culprit = re.search(r"GLOBAL (\S+)", str(error))
    objects = culprit[1] if culprit else "TorchScript or other objects"
    return (
        f"{path}: holds {objects} beside tensors, and unpickling objects can run any "
        "code. If you trust its source, save the tensors alone: "
        "`content = torch.load(FILE, weights_only=False)`, then "
        "`torch.save(content['state_dict'], NEW_FILE)`, or `content.state_dict()` of "
        "a whole module, and convert the new file."
    )


def _damaged(path: Path, error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return (
        f"{path}: damaged, or no {path.suffix} file of PyTorch weights ({reason}). "
        "Fetch it again."
    )
