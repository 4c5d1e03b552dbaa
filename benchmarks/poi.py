"""The POI encoders, forward and backward, beside torch_geometric's Set2Set."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks import turns
from benchmarks.table import Row
from mmgr_jax.models.settings import PoiEncoderName, PoiEncoderSettings

if TYPE_CHECKING:  # --help shall not wait for it
    import numpy as np

ABOUT = """The POI encoders: category vectors, pooled; forward and gradient.

Ours take padded sets, torch_geometric's Set2Set the same sets one after another with an
index of the region, as it wants them; on few sets one thread serves it better than
many, so both are measured and the ratio is to the faster. All learn the vectors too.
Set2Set does the same arithmetic in both; the others stand there to compare with.
"""
NUM_CATEGORIES, DIM, STEPS = 100, 64, 5
EDGES_A_POI = 3  # of a Delaunay graph
EXTENT_M = 500.0
PEERS = {
    "set2set, torch_geometric": os.cpu_count() or 1,
    "set2set, torch_geometric, one thread": 1,
}
ENCODERS: tuple[PoiEncoderName, ...] = ("set2set", "gcn_set2set", "attention")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--batch", type=int, default=128, help="regions")
    parser.add_argument("--slots", type=int, default=64, help="POIs of the fullest")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a batch, sets a second, ratio to the peer."""
    batch, slots = options.batch, options.slots
    ways: dict[str, Callable[[], turns.Way]] = {
        name: partial(_torch_geometric, batch, slots, threads)
        for name, threads in PEERS.items()
    }
    for name in ENCODERS:
        ways[f"{name}, ours"] = partial(_ours, name, batch, slots)
    found = turns.measure(ways, rounds=options.rounds, calls=3)
    fastest = min((found[name] for name in PEERS), key=lambda peer: peer.seconds)
    return [
        {
            "way": name,
            "device": found[name].facts["device"],
            "batch": batch,
            "slots": slots,
            "pois": int(counts(batch, slots).sum()),
            **turns.spread("seconds", found[name].rounds),
            "sets_per_s": batch / found[name].seconds,
            **turns.ratios("ratio_to_peer", fastest.rounds, found[name].rounds),
        }
        for name in ways
    ]


def counts(batch: int, slots: int) -> np.ndarray:
    """POIs of each region [b]: most have few, one has all slots, as in cities."""
    import numpy as np

    rng = np.random.default_rng(0)
    found = np.clip(rng.lognormal(np.log(slots / 4), 1.0, batch), 1, slots)
    found[0] = slots
    return found.astype(int)


def categories(batch: int, slots: int) -> np.ndarray:
    """Category ids [b n], any where there is no POI."""
    import numpy as np

    return np.random.default_rng(1).integers(0, NUM_CATEGORIES, (batch, slots))


def _torch_geometric(batch: int, slots: int, threads: int) -> turns.Way:
    import numpy as np
    import torch
    from torch_geometric.nn.aggr import Set2Set

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    real = np.arange(slots) < counts(batch, slots)[:, None]
    index = torch.tensor(np.nonzero(real)[0], device=device)
    category = torch.tensor(categories(batch, slots)[real], device=device)
    table = torch.nn.Embedding(NUM_CATEGORIES, DIM).to(device)
    pool = Set2Set(DIM, processing_steps=STEPS).to(device)
    weight = torch.randn(batch, 2 * DIM, device=device)

    def call() -> None:
        table.zero_grad()
        pool.zero_grad()
        pooled = pool(table(category), index, dim_size=batch)
        (pooled * weight).sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    name = torch.cuda.get_device_name() if device == "cuda" else device
    return turns.Way(call, {"device": name})


def _ours(name: PoiEncoderName, batch: int, slots: int) -> turns.Way:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from mmgr_jax.models import poi
    from mmgr_jax.typing import PoiSets

    rng = np.random.default_rng(2)
    real = np.arange(slots) < counts(batch, slots)[:, None]
    first = np.repeat(np.arange(slots), EDGES_A_POI)
    second = (first + np.tile(np.arange(1, EDGES_A_POI + 1), slots)) % slots
    edges = np.broadcast_to(np.stack([first, second], -1), (batch, len(first), 2))
    inside = real[:, first] & real[:, second]
    sets = PoiSets(
        category=jnp.asarray(categories(batch, slots), jnp.int32),
        offset_m=jnp.asarray(rng.uniform(-EXTENT_M, EXTENT_M, (batch, slots, 2))),
        mask=jnp.asarray(real),
        edges=jnp.asarray(edges, jnp.int32),
        edge_weight=jnp.asarray(inside, jnp.float32),
    )
    settings = PoiEncoderSettings(name=name, vectors="tuned")
    encoder = poi.build(settings, num_categories=NUM_CATEGORIES, category_dim=DIM)
    variables = encoder.init(jax.random.key(0), sets)
    pooled = jax.eval_shape(encoder.apply, variables, sets)
    weight = jnp.asarray(rng.normal(size=pooled.shape), jnp.float32)

    def product(variables: Any) -> jax.Array:
        return jnp.sum(cast(jax.Array, encoder.apply(variables, sets)) * weight)

    gradient = jax.jit(jax.grad(product))
    compiled = gradient.lower(variables).compile()
    device = jax.devices()[0].device_kind
    return turns.Way(
        lambda: jax.block_until_ready(compiled(variables)), {"device": device}
    )
