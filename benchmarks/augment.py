"""Two views of every tile: on the device, beside torchvision's transforms."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmarks import step, turns
from benchmarks.table import Row

if TYPE_CHECKING:  # --help shall not wait for it
    import numpy as np

ABOUT = """Two random views of every tile: crop, flip, colours, grey, normalised.

Ours is one program over the batch on the device. Beside it torchvision, tile by tile in
one process as a worker of a loader runs it: on PIL images, as the released code, and on
tensors of bytes (transforms.v2). Tiles are decoded already. The share is ours over ours
and the ResNet-50 step of section `step`, measured in the same turns.
"""
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
JITTER_PROBABILITY, GREY_PROBABILITY = 0.8, 0.2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KEPT: list[Any] = []  # declarations of operators end with their library
PIL, TENSORS = "torchvision, PIL images", "torchvision, tensors"
OURS, STEP = "ours, on the device", "the step, views given"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--batch", type=int, help="regions (default: CPU 8, GPU 256)")
    parser.add_argument("--size", type=int, help="px (default: CPU 96, GPU 224)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--no_step", action="store_true", help="leave out the share")
    parser.add_argument(
        "--no-peer", action="store_true", help="where there is no torchvision"
    )


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a batch, views a second, ratio to PIL, share."""
    _, batch, size, dtype = step.defaults()
    batch, size = options.batch or batch, options.size or size
    ways: dict[str, Callable[[], turns.Way]] = {OURS: partial(_ours, batch, size)}
    if not options.no_peer:
        ways = {
            PIL: partial(_torchvision, batch, size, True),
            TENSORS: partial(_torchvision, batch, size, False),
        } | ways
    if not options.no_step:
        ways[STEP] = partial(step.ours, batch, size, dtype, "joint")
    found = turns.measure(ways, rounds=options.rounds)
    ours = found[OURS].seconds
    share = None if options.no_step else ours / (ours + found[STEP].seconds)
    return [
        {
            "way": name,
            "device": found[name].facts["device"],
            "batch": batch,
            "size_px": size,
            **turns.spread("seconds", found[name].rounds),
            "views_per_s": 2 * batch / found[name].seconds,
            **_to_pil(found, name),
            "share_of_step": share if name == OURS else None,
            "gathers": found[name].facts.get("gathers"),
        }
        for name in ways
        if name != STEP
    ]


def _to_pil(found: Mapping[str, turns.Found], name: str) -> Row:
    if PIL not in found:
        return {}
    return turns.ratios("ratio_to_pil", found[PIL].rounds, found[name].rounds)


def tiles(batch: int, size: int) -> np.ndarray:
    """Tiles [b h w 3] uint8, smooth enough for colours to mean something."""
    import numpy as np

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (batch, size // 8 + 1, size // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)[:, :size, :size].copy()


def _torchvision(batch: int, size: int, pil: bool) -> turns.Way:
    import torch

    v2 = torchvision("torchvision.transforms.v2")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    chain = v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(**JITTER)], JITTER_PROBABILITY),
            v2.RandomGrayscale(GREY_PROBABILITY),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    images: list[Any] = list(torch.from_numpy(tiles(batch, size)).permute(0, 3, 1, 2))
    if pil:
        images = [v2.functional.to_pil_image(image) for image in images]

    def call() -> None:
        torch.stack([chain(image) for image in images for _ in range(2)])

    return turns.Way(call, {"device": "cpu, one thread"})


def torchvision(name: str) -> ModuleType:
    """A module of torchvision, also where its compiled operators do not fit this torch.

    Importing it then fails at two operators of detection, which nobody calls here.
    """
    import torch

    try:
        return importlib.import_module(name)
    except RuntimeError:
        for loaded in [key for key in sys.modules if key.startswith("torchvision")]:
            del sys.modules[loaded]
        library = torch.library.Library("torchvision", "DEF")
        _KEPT.append(library)
        for operator in ("nms", "qnms"):
            library.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        return importlib.import_module(name)


def _ours(batch: int, size: int) -> turns.Way:
    import jax

    from mmgr_jax.augment.settings import AugmentSettings
    from mmgr_jax.augment.views import two_views

    image, key = jax.device_put(tiles(batch, size)), jax.random.key(0)
    views = jax.jit(
        partial(two_views, settings=AugmentSettings(size_px=size), mean=MEAN, std=STD)
    )
    compiled = views.lower(image, key).compile()
    facts = {
        "device": jax.devices()[0].device_kind,
        "gathers": str(compiled.as_text()).count(" gather("),
    }
    return turns.Way(lambda: jax.block_until_ready(compiled(image, key)), facts)
