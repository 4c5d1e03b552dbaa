"""The ResNet-50 training step on two views, beside PyTorch's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import turns
from benchmarks.table import Row
from mmgr_jax.losses.settings import LossSettings
from mmgr_jax.models.settings import BatchStatistics, ModelSettings
from mmgr_jax.settings import FloatName

ABOUT = """The training step: ResNet-50 on two views, Set2Set, both losses, Adam.

Views are given, normalised, on the device (making them: section augment). Ours beside
two forms in PyTorch, written for this: that of the released code (float32, channels
first, eager, one pass a view) and the best (channels last, both views in one pass; on a
GPU bfloat16, torch.compile and cuDNN's own choice by trial). Each lives in a process of
its own and they step in turns (on a GPU one after the other, since together they would
not fit); a figure is the median of the rounds. The share of the roofline is that of the
compiled step's products or traffic, whichever takes longer at the chip's peak.
"""
SLOTS = 32  # POIs of a region
ENCODERS = ("resnet50", "vit_base16")
GPU: tuple[str, int, int, FloatName] = ("cuda", 256, 224, "bfloat16")
CPU: tuple[str, int, int, FloatName] = ("cpu", 8, 96, "float32")
RELEASED, BEST, COMPILED = "released, PyTorch", "best, PyTorch", "compiled, PyTorch"
OURS: dict[BatchStatistics, str] = {
    "joint": "ours, joint statistics",
    "per_view": "ours, statistics per view",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--batch", type=int, help="regions (default: CPU 8, GPU 256)")
    parser.add_argument("--size", type=int, help="px (default: CPU 96, GPU 224)")
    parser.add_argument("--encoder", choices=ENCODERS, default="resnet50")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the best")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    parser.add_argument("--compile", action="store_true", help="torch.compile on a CPU")
    parser.add_argument("--no-released", action="store_true", help="leave out its form")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a step, views a second, ratio to PyTorch's best."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others live there
    device, batch, size, dtype = defaults()
    batch, size = options.batch or batch, options.size or size
    dtype = options.dtype or dtype
    bfloat16 = dtype == "bfloat16"
    encoder = options.encoder
    theirs = partial(_torch, encoder, batch, size)
    compiled = {"bfloat16": bfloat16, "compiled": device == "cuda"}
    ways: dict[str, Callable[[], turns.Way]] = {BEST: partial(theirs, "best", compiled)}
    if not options.no_released:
        ways = {RELEASED: partial(theirs, "released", {})} | ways
    if options.compile and device == "cpu":
        ways[COMPILED] = partial(theirs, "best", compiled | {"compiled": True})
    for statistics, name in OURS.items():
        if statistics == "per_view" and not encoder.startswith("resnet"):
            continue  # a ViT has no batch statistics
        ways[name] = partial(ours, batch, size, dtype, statistics, encoder)
    found = turns.measure(
        ways, rounds=options.rounds, calls=options.steps, together=device == "cpu"
    )
    peers = (found[name] for name in ways if name not in OURS.values())
    fastest = min(peers, key=lambda peer: peer.seconds)
    return [
        {
            "way": name,
            "encoder": encoder,
            "device": found[name].facts["device"],
            "batch": batch,
            "size_px": size,
            "dtype": "float32" if name == RELEASED else dtype,
            **turns.spread("seconds", found[name].rounds),
            "views_per_s": 2 * batch / found[name].seconds,
            **turns.ratios("ratio_to_best", fastest.rounds, found[name].rounds),
            "ratio_to_released": (
                found[RELEASED].seconds / found[name].seconds
                if RELEASED in found
                else None
            ),
            "roofline_share": _share(found[name]),
        }
        for name in ways
    ]


def defaults() -> tuple[str, int, int, FloatName]:
    """Device, regions, pixels and type to measure with on this machine."""
    import torch

    return GPU if torch.cuda.is_available() else CPU


def _share(found: turns.Found) -> float | None:
    """Seconds of the roofline over those measured; None where no peak is known."""
    ideal = found.facts.get("roofline_s")
    return ideal / found.seconds if ideal else None


def _torch(
    encoder: str, batch: int, size: int, form: str, given: dict[str, Any]
) -> turns.Way:
    import torch

    from benchmarks import torch_step

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    forms = {"released": torch_step.released, "best": torch_step.best}
    on_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    step = forms[form](encoder, batch, size, SLOTS, **given)
    return turns.Way(step, {"device": device})


def ours(
    batch: int,
    size: int,
    dtype: FloatName,
    statistics: BatchStatistics,
    encoder: str = "resnet50",
) -> turns.Way:
    """Our step, compiled, on views that are on the device already.

    Args:
        batch: Regions.
        size: Side of a view in pixels.
        dtype: Of the image side.
        statistics: `batch_statistics` of the model.
        encoder: Name of the image encoder.
    """
    import jax

    step, state, arrays = program(batch, size, dtype, statistics, encoder)
    device = jax.devices()[0]
    state, arrays = state(), arrays()
    compiled = step.lower(state, *arrays).compile()
    facts = {"device": device.device_kind, **roofline(compiled, device.device_kind)}

    def call() -> None:
        nonlocal state
        state, metrics = compiled(state, *arrays)
        jax.block_until_ready(metrics)
        jax.block_until_ready(state)

    return turns.Way(call, facts)


def program(
    batch: int,
    size: int,
    dtype: FloatName,
    statistics: BatchStatistics,
    encoder: str = "resnet50",
) -> tuple[Any, Callable[[], Any], Callable[[], Any]]:
    """The jitted step, and what makes its state and its other arguments.

    Args:
        batch: Regions.
        size: Side of a view in pixels.
        dtype: Of the image side.
        statistics: `batch_statistics` of the model.
        encoder: Name of the image encoder.
    """
    import jax
    import jax.numpy as jnp
    import optax

    from mmgr_jax.models import mmgr
    from mmgr_jax.train import step as train_step

    platform = jax.default_backend()
    settings = ModelSettings(
        batch_statistics=statistics, dtype=dtype, image_encoder={"name": encoder}
    )
    model = mmgr.build(settings, num_categories=100, category_dim=64)
    tx = optax.adam(1e-2)
    update = train_step.make_update(
        partial(train_step.apply, model),
        tx,
        loss=LossSettings(matmul_dtype=dtype),
    )

    def arguments() -> tuple[dict[str, jax.Array], jax.Array]:
        keys = jax.random.split(jax.random.key(0), 2)
        shape = (batch, SLOTS)
        batches = {
            "poi_category": jax.random.randint(keys[0], shape, 0, 100),
            "poi_offset_m": jnp.zeros((*shape, 2)),
            "poi_mask": jnp.ones(shape, bool),
            "example_mask": jnp.ones(batch, bool),
        }
        return batches, jax.random.normal(keys[1], (2, batch, size, size, 3))

    quick = {"xla_backend_optimization_level": 0} if platform == "cpu" else {}
    init = jax.jit(
        lambda: train_step.init_state(model, tx, jax.random.key(0), SLOTS, size),
        compiler_options=quick,
    )
    return jax.jit(update, donate_argnums=0), init, arguments


def roofline(compiled: Any, device_kind: str) -> dict[str, float]:
    """Seconds a step would take at the peak of products or of memory.

    Args:
        compiled: The step.
        device_kind: JAX's name of the device; nothing is known of a CPU.
    """
    from mmgr_jax.planning import chips

    chip, cost = chips.chip_of(device_kind), compiled.cost_analysis()
    if chip is None:
        return {}
    products = cost["flops"] / (chip.tflops * 1e12)
    traffic = cost["bytes accessed"] / (chip.memory_gb_per_s * 1e9)
    return {"roofline_s": max(products, traffic)}
