"""The contrastive losses: seconds and memory beside others, and compiled for TPUs."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import turns
from benchmarks.table import Row
from mmgr_jax.losses.settings import Implementation, LossSettings
from mmgr_jax.settings import FloatName

ABOUT = """Both contrastive losses, forward and backward.

Compares seconds and peak memory of five ways: the released formula in PyTorch
(similarities by broadcasting), the same formula in PyTorch by one matrix product,
optax's ntxent, the dense formula under jit, and ours in tiles. They run in turns, each
time in a process of its own. The released formula shows what its users gain; the
matrix product and jit show what is gained over code that is written well. If there is
a GPU, PyTorch uses it, too. Memory is then PyTorch's peak on the device, and for a
compiled program what it sets aside. A way that fails, for example because memory is
short, has a row that says so.
With --devices: ours over this many devices made of this machine's cores. The same work,
divided, should take no more time and less memory on each.
With --topology: what the compiler plans for TPUs that you do not have
(pip install -r requirements-plan.txt).
"""

LENGTH = 128  # of a projection
TEMPERATURE, IMAGE_WEIGHT = 0.5, 0.5
MOST_REPEATS = 20
SECONDS = 2.0  # spent on repeats of one measurement


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        help="regions of the global batch (default: 128 384 768; with --devices 2048; "
        "with --topology 32768 262144)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="those compared"
    )
    parser.add_argument(
        "--devices", type=int, nargs="+", help="numbers of devices, such as 1 2 4 8"
    )
    parser.add_argument("--topology", help="TPUs to compile for, such as v5e:16x16")


def rows(options: argparse.Namespace) -> list[Row]:
    """The table of this section."""
    if options.topology:
        return compiled(options.topology, options.batch or (32768, 262144))
    if options.devices:
        return divided(options.devices, options.batch or (2048,))
    ways = [way for way in WAYS if way in (*options.ways, OURS)]
    return measured(options.batch or (128, 384, 768), ways, options.rounds)


def measured(batches: Sequence[int], ways: Sequence[str], rounds: int) -> list[Row]:
    """Seconds and peak memory of each way, a fresh process each.

    Args:
        batches: Regions of the batch.
        ways: Keys of `WAYS`, `OURS` among them.
        rounds: Turns of each.

    Returns:
        A row each batch and way: `seconds` (the median of the rounds' medians),
        `peak_mib` (see `_measure`), and their ratios to ours; or what it failed of.
    """
    rows = []
    for batch in batches:
        taken, failed = _in_turns(ways, batch, rounds)
        our_seconds, our_mib = zip(*taken[OURS], strict=True)
        for way in ways:
            row = {"way": way, "batch": batch}
            if way in failed:
                rows.append(row | {"failed": failed[way]})
                continue
            seconds, peak_mib = zip(*taken[way], strict=True)
            row |= turns.spread("seconds", seconds)
            row["peak_mib"] = statistics.median(peak_mib)
            row |= turns.ratios("time_ratio", seconds, our_seconds)
            row["memory_ratio"] = row["peak_mib"] / statistics.median(our_mib)
            rows.append(row)
    return rows


def _in_turns(
    ways: Sequence[str], batch: int, rounds: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, str]]:
    """Seconds and MiB of each way and round, and what ways failed of."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for way in ways:
            if way in failed:
                continue
            try:
                taken[way].append(turns.alone(_measure, way, batch))
                turns.say(f"{way}, {batch} regions", taken[way][-1][0])
            except Exception as error:
                if way == OURS:
                    raise
                failed[way] = turns.first_line(error)
    return taken, failed


def divided(devices: Sequence[int], batches: Sequence[int]) -> list[Row]:
    """Seconds and planned memory where one machine's cores act as several devices.

    Args:
        devices: Numbers of devices, each tried in a process of its own.
        batches: Regions of the global batch.

    Returns:
        A row each batch, implementation and number: `seconds` for all devices
        together, `time_ratio` to the first number, `temporary_mib` a device, and
        `collectives` by kind.
    """
    rows = []
    for batch in batches:
        for way in ("gathered", "ring"):
            found = []
            for count in devices:
                found.append(turns.alone(_measure_divided, way, batch, count))
                found[-1]["time_ratio"] = found[-1]["seconds"] / found[0]["seconds"]
            rows += found
    return rows


def compiled(topology: str, batches: Sequence[int]) -> list[Row]:
    """What the TPU compiler plans for the losses alone, forward and backward.

    Args:
        topology: Name of TPUs, such as "v5e:16x16".
        batches: Regions of the global batch.

    Returns:
        A row each batch and implementation: `batch`, `way`, `temporary_mib` a chip,
        `collectives` by kind, `sent_mb` that arrive at a chip, and `compile_s`.
    """
    from mmgr_jax.devices.settings import MeshSettings
    from mmgr_jax.planning import hlo
    from mmgr_jax.planning.topology import mesh_of

    mesh = mesh_of(topology, MeshSettings())
    rows = []
    for batch in batches:
        for way in ("dense", "gathered", "ring"):
            if way == "dense" and batch > 300_000:
                continue  # terabytes of similarities
            start = time.perf_counter()
            program = _lowered(way, batch, mesh).compile()
            memory = program.memory_analysis()
            exchanges = hlo.collectives(program.as_text())
            rows.append(
                {
                    "batch": batch,
                    "way": way,
                    "devices": mesh.size,
                    "temporary_mib": memory.temp_size_in_bytes / 2**20,
                    "collectives": {found.kind: found.count for found in exchanges},
                    "sent_mb": sum(found.total_bytes for found in exchanges) / 1e6,
                    "compile_s": time.perf_counter() - start,
                }
            )
    return rows


def _measure(way: str, batch: int) -> tuple[float, float]:
    """Median of some calls in seconds, and their memory in MiB.

    On a CPU by how much the peak of the process grew; on a GPU what the compiled
    program sets aside (trying kernels while compiling took more), or PyTorch's growth.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    made = WAYS[way](batch)
    before = _peak_mib(way)
    seconds = _median(made.call)
    grew_mib = max(_peak_mib(way) - before, 0.1)
    return seconds, made.facts.get("planned_mib", grew_mib)


def _measure_divided(way: Implementation, batch: int, count: int) -> Row:
    """A row of `divided`."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    from mmgr_jax.devices import sharding
    from mmgr_jax.devices.settings import MeshSettings
    from mmgr_jax.planning import hlo

    mesh = sharding.make_mesh(MeshSettings(data=count))
    lowered = _lowered(way, batch, mesh, "float32")
    program = lowered.compile()
    shapes = jax.tree.leaves(lowered.in_avals)
    key = jax.random.key(0)
    inputs = [
        jax.device_put(jax.random.normal(key, shape.shape, jnp.float32), layout)
        for shape, layout in zip(shapes, program.input_shardings[0], strict=True)
    ]
    exchanges = hlo.collectives(program.as_text())
    return {
        "batch": batch,
        "way": way,
        "devices": count,
        "seconds": _median(lambda: jax.block_until_ready(program(*inputs))),
        "temporary_mib": program.memory_analysis().temp_size_in_bytes / 2**20,
        "collectives": {found.kind: found.count for found in exchanges},
    }


def _median(call: Callable[[], None]) -> float:
    """Seconds of some calls, the median, after one to warm up."""
    call()
    seconds: list[float] = []
    while len(seconds) < MOST_REPEATS and sum(seconds) < SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _peak_mib(way: str) -> float:
    """Of the GPU where PyTorch computes on one, else of this process."""
    if "PyTorch" in way:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pytorch(
    by_product: bool, threads: int | None = None
) -> Callable[[int], turns.Way]:
    """Similarities by one product; else as released, every row against every other.

    The latter broadcasts, [2b 2b p]. Without a number of threads it has all cores.
    """

    def make(batch: int) -> turns.Way:
        import torch
        from torch.nn import functional

        torch.set_num_threads(threads or os.cpu_count() or 1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        z = [
            torch.randn(batch, LENGTH, device=device, requires_grad=True)
            for _ in range(3)
        ]
        cosine = torch.nn.CosineSimilarity(dim=-1)
        itself = torch.eye(2 * batch, dtype=torch.bool, device=device)
        partner = torch.arange(2 * batch, device=device).roll(batch)

        def nt_xent(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            rows = torch.cat([a, b])
            if by_product:
                unit = functional.normalize(rows)
                logits = unit @ unit.T / TEMPERATURE
            else:
                logits = cosine(rows[:, None], rows[None]) / TEMPERATURE
            logits = logits.masked_fill(itself, -torch.inf)
            return functional.cross_entropy(logits, partner)

        def call() -> None:
            loss = (1 - IMAGE_WEIGHT) * nt_xent(z[0], z[2])
            loss = loss + IMAGE_WEIGHT * nt_xent(z[0], z[1])
            loss.backward()
            if device == "cuda":
                torch.cuda.synchronize()

        return turns.Way(call, {})

    return make


def _optax(batch: int) -> turns.Way:
    import jax
    import jax.numpy as jnp
    import optax

    labels = jnp.tile(jnp.arange(batch), 2)

    def loss(z_image: jax.Array, z_poi: jax.Array) -> jax.Array:
        def nt_xent(a: jax.Array, b: jax.Array) -> jax.Array:
            return optax.losses.ntxent(jnp.concatenate([a, b]), labels, TEMPERATURE)

        inter, intra = nt_xent(z_image[0], z_poi), nt_xent(z_image[0], z_image[1])
        return (1 - IMAGE_WEIGHT) * inter + IMAGE_WEIGHT * intra

    return _jitted(loss, batch)


def _ours(implementation: Implementation) -> Callable[[int], turns.Way]:
    def make(batch: int) -> turns.Way:
        return _jitted(_loss(implementation, None), batch)

    return make


def _loss(
    implementation: Implementation, mesh: Any, matmul_dtype: FloatName = "float32"
) -> Callable:
    from mmgr_jax.losses.contrastive import mmgr_loss

    settings = LossSettings(
        temperature=TEMPERATURE,
        image_weight=IMAGE_WEIGHT,
        implementation=implementation,
        matmul_dtype=matmul_dtype,
    )

    return lambda z_image, z_poi: mmgr_loss(z_image, z_poi, settings, mesh=mesh)[0]


def _jitted(loss: Callable, batch: int) -> turns.Way:
    """Calls the compiled loss and gradient; what compiling took is over."""
    import jax

    key = jax.random.key(0)
    z_image = jax.random.normal(key, (2, batch, LENGTH))
    z_poi = jax.random.normal(jax.random.fold_in(key, 1), (batch, LENGTH))
    jitted = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    program = jitted.lower(z_image, z_poi).compile()
    facts, plan = {}, program.memory_analysis()
    if jax.default_backend() != "cpu" and plan is not None:
        facts["planned_mib"] = plan.temp_size_in_bytes / 2**20
    return turns.Way(lambda: jax.block_until_ready(program(z_image, z_poi)), facts)


def _lowered(
    way: Implementation, batch: int, mesh: Any, matmul_dtype: FloatName = "bfloat16"
) -> Any:
    """The loss and its gradient over a mesh, from shapes alone."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from mmgr_jax.typing import MESH_AXES

    def shape(*sizes: int, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(sizes, jnp.float32, sharding=sharding)

    z_image = shape(2, batch, LENGTH, spec=PartitionSpec(None, MESH_AXES))
    z_poi = shape(batch, LENGTH, spec=PartitionSpec(MESH_AXES))
    gradient = jax.value_and_grad(_loss(way, mesh, matmul_dtype), argnums=(0, 1))
    layouts = (z_image.sharding, z_poi.sharding)
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.jit(gradient, out_shardings=(whole, layouts)).lower(z_image, z_poi)


OURS = "ours, in tiles"
WAYS = {
    "released, PyTorch": _pytorch(by_product=False),
    "product, PyTorch": _pytorch(by_product=True),
    "product, PyTorch, one thread": _pytorch(by_product=True, threads=1),
    "optax": _optax,
    "dense under jit": _ours("dense"),
    OURS: _ours("gathered"),
}
