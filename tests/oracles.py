"""Reference implementations the tests compare with; optional on a laptop.

Without them a test skips. With the environment variable CI set it fails instead,
so that a broken installation cannot pass for a green run.
"""

import importlib
import os
import sys
from types import ModuleType

import pytest

_KEEP_ALIVE = []  # a torch library dies, and its operators with it, unreferenced


def import_oracle(name: str) -> ModuleType:
    """The module called name; without it the test skips, or fails under CI."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"oracle {name} is not installed: {error}"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message, allow_module_level=True)


def import_torchvision() -> ModuleType:
    """The torchvision module, also beside a torch built for the CPU alone.

    Its compiled operators may be missing there, and importing it then fails at the
    registration of two detection operators nobody calls: they are declared first.
    """
    torch = import_oracle("torch")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _KEEP_ALIVE.append(library)
        _forget("torchvision")
    return import_oracle("torchvision")


def import_timm() -> ModuleType:
    """The timm module, which imports torchvision."""
    import_torchvision()
    return import_oracle("timm")


def _forget(package: str) -> None:
    """Removes a half-imported package, so that the next import starts afresh."""
    for name in [*sys.modules]:
        if name.split(".")[0] == package:
            del sys.modules[name]
