"""Images to features by ResNet-50, beside PyTorch's forms of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import step, turns
from benchmarks.table import Row
from mmgr_jax.settings import FloatName

if TYPE_CHECKING:
    from torch import nn

ABOUT = """Inference: features of ResNet-50 with running statistics.

Images are given, normalised. Ours on one device and, on a CPU, on two, which halve the
batch, beside PyTorch, channels last: eager, with BatchNorm folded into the
convolutions, and by torch.compile (which wants a C++ compiler), as it is and frozen.
Each lives in a process of its own and they run in turns; a figure is the median of the
rounds. In bfloat16 a row also says how far our features are from those in float32: the
length of the difference divided by that of the feature, for the worst image.
"""
COMPILED = ("compiled", "frozen")
FORMS = ("eager", "folded", *COMPILED)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--size", type=int, default=224, help="px")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--calls", type=int, default=1, help="batches of a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch's")
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS, default=FORMS, help="PyTorch's"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a batch, images a second, ratio to PyTorch's best."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others live there
    given = options.batch, options.size, options.dtype
    ways: dict[str, Callable[[], turns.Way]] = {
        f"PyTorch, {form}": partial(_torch, form, *given, options.threads)
        for form in options.forms
    }
    peers = tuple(ways)
    ways["ours"] = partial(_ours, *given, devices=1)
    if step.defaults()[0] == "cpu":
        ways["ours, two CPU devices"] = partial(_ours, *given, devices=2)
    measured = turns.measure(ways, rounds=options.rounds, calls=options.calls)
    fastest = min((measured[name] for name in peers), key=lambda peer: peer.seconds)
    return [
        {
            "way": name,
            "batch": options.batch,
            "size_px": options.size,
            "dtype": options.dtype,
            **turns.spread("seconds", measured[name].rounds),
            "images_per_s": options.batch / measured[name].seconds,
            **turns.ratios("ratio_to_best", fastest.rounds, measured[name].rounds),
            **measured[name].facts,
        }
        for name in ways
    ]


def _ours(batch: int, size: int, dtype: FloatName, *, devices: int) -> turns.Way:
    """Our network, compiled, its images on the devices already.

    Args:
        batch: Images.
        size: Side in pixels.
        dtype: Of the activations.
        devices: CPU devices that share the batch; elsewhere the first device has it.
    """
    import jax
    import jax.numpy as jnp

    from mmgr_jax.models import resnet

    jax.config.update("jax_num_cpu_devices", devices)
    model = resnet.resnet50(dtype=jnp.dtype(dtype))
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), images[:1])
    mesh = jax.make_mesh((len(jax.devices()[:devices]),), ("rows",))
    by_rows = jax.sharding.PartitionSpec("rows")
    images = jax.device_put(images, jax.sharding.NamedSharding(mesh, by_rows))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    variables = jax.device_put(variables, whole)

    def by(model: resnet.ResNet) -> Callable[[Any, jax.Array], jax.Array]:
        def features(variables: Any, images: jax.Array) -> jax.Array:
            return model.apply(variables, images, train=False)  # pyright: ignore

        return jax.jit(
            jax.shard_map(
                features,
                mesh=mesh,
                in_specs=(jax.sharding.PartitionSpec(), by_rows),
                out_specs=by_rows,
                check_vma=False,
            )
        )

    compiled = by(model)
    facts = {"device": jax.devices()[0].device_kind}
    if dtype != "float32":
        exact = by(resnet.resnet50())(variables, images)
        apart = compiled(variables, images).astype(jnp.float32) - exact
        lengths = jnp.linalg.norm(exact, axis=1)
        facts["difference"] = float(jnp.max(jnp.linalg.norm(apart, axis=1) / lengths))
    return turns.Way(lambda: jax.block_until_ready(compiled(variables, images)), facts)


def _torch(
    form: str, batch: int, size: int, dtype: FloatName, threads: int
) -> turns.Way:
    import torch

    from benchmarks import torch_step

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    last = torch.channels_last
    model: Any = torch_step.ResNet50().eval().to(device)
    torch.backends.cudnn.benchmark = True
    precision = getattr(torch, dtype)
    model = model.to(precision, memory_format=last)
    images = torch.randn(batch, 3, size, size, device=device, dtype=precision)
    images = images.contiguous(memory_format=last)
    if form == "folded":
        _fold(model)
    if form == "frozen":
        import torch._inductor.config

        torch._inductor.config.freezing = True
    if form in COMPILED:
        model = torch.compile(model)

    def call() -> None:
        with torch.inference_mode() if form not in COMPILED else torch.no_grad():
            model(images)
        if device == "cuda":
            torch.cuda.synchronize()

    return turns.Way(call, {})


def _fold(model: nn.Module) -> None:
    """Puts each BatchNorm into the convolution before it."""
    from torch import nn
    from torch.nn.utils import fusion

    for part in model.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for index in range(len(part) - 1):
            one, two = part[index], part[index + 1]
            if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d):
                part[index] = fusion.fuse_conv_bn_eval(one, two)
                part[index + 1] = nn.Identity()
