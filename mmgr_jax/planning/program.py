"""Compiles the training step of a config from shapes, without data."""

from __future__ import annotations

import dataclasses
import re
import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmgr_jax.data import pipeline
from mmgr_jax.devices import sharding
from mmgr_jax.errors import InputError
from mmgr_jax.models import start
from mmgr_jax.planning import traffic
from mmgr_jax.planning.records import Records
from mmgr_jax.store import checkpoint
from mmgr_jax.train import run_step
from mmgr_jax.train.settings import TrainingSettings

# The first message comes early, if temporaries alone are too large; the second late.
_REFUSED = (
    re.compile(r"temporaries \(([\d.]+)([KMGT]?)\) exceeds .* \(([\d.]+)([KMGT]?)\)"),
    re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"),
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Program:
    """One compiled step; sizes are of one device.

    Attributes:
        compile_s: Seconds of compilation.
        argument_bytes: Bytes of state, batch and key.
        temporary_bytes: Bytes of temporary arrays during a step.
        peak_bytes: Most bytes held at once; a lower bound if `fits` is False.
        limit_bytes: Bytes that the compiler allows; None if it does not say.
        fits: Whether the compiler found enough memory.
        flops: Operations; a loop counts as one round.
        accessed_bytes: Bytes moved to and from any memory, also on-chip; a loop counts
            as one round.
        hbm_bytes: Bytes moved to and from HBM.
        text: HLO after optimisation; "" if `fits` is False.
    """

    compile_s: float
    argument_bytes: int
    temporary_bytes: int
    peak_bytes: int
    limit_bytes: int | None
    fits: bool
    flops: float
    accessed_bytes: float
    hbm_bytes: float
    text: str


def build_step(config: ConfigDict, mesh: Mesh, records: Records) -> run_step.Step:
    """Builds the step that `train` would run on this mesh.

    Raises:
        InputError: If a setting does not fit.
    """
    batch_size = config.data.batch_size
    sharding.check_batch(mesh, batch_size)
    if batch_size > records.num_regions:
        raise InputError(
            f"config.data.batch_size={batch_size} exceeds the {records.num_regions} "
            "regions. Take a smaller batch, or plan for more by --num_regions=..."
        )
    metadata = checkpoint.Metadata(
        config=config.to_dict(),
        categories=tuple(map(str, range(records.num_categories))),
        category_dim=records.category_dim,
    )
    settings = TrainingSettings.of(config)
    return run_step.build(
        settings,
        mesh,
        metadata,
        steps_per_epoch=records.steps_per_epoch(settings.corpus, settings.data),
        num_slots=num_slots(config, records),
    )


def num_slots(config: ConfigDict, records: Records) -> int:
    """Returns the POI slots of each region, rounded as `pipeline.poi_slots` does."""
    return pipeline.rounded_slots(config.data.max_pois or records.max_pois)


def batch_shapes(
    config: ConfigDict,
    records: Records,
    *,
    edges: bool,
    tower_dim: int | None = None,
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of the global batch that a step reads.

    Args:
        config: A config as in configs/.
        records: Description of the records.
        edges: Whether the POI encoder reads the graph of POIs.
        tower_dim: Length of a locked tower's feature; None if images are encoded.
    """
    b, n, s = config.data.batch_size, num_slots(config, records), records.tile_size_px
    e = pipeline.EDGES_PER_SLOT * n
    shapes = {
        "image": ((b, s, s, 3), jnp.uint8),
        "poi_category": ((b, n), jnp.int32),
        "poi_offset_m": ((b, n, 2), jnp.float32),
        "poi_mask": ((b, n), jnp.bool),
        "example_mask": ((b,), jnp.bool),
    }
    if edges:
        shapes["poi_edges"] = ((b, e, 2), jnp.int32)
        shapes["poi_edge_weight"] = ((b, e), jnp.float32)
    if tower_dim is not None:
        del shapes["image"]
        views = max(config.model.image_encoder.get("kept_views", 0), 1)
        shapes["tower"] = ((b, views, tower_dim), jnp.float32)
    return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}


def compile_step(config: ConfigDict, mesh: Mesh, records: Records) -> Program:
    """Compiles the step; it makes no array and uses no device of the mesh.

    Raises:
        InputError: If a setting does not fit.
    """
    step = build_step(config, mesh, records)
    state = step.abstract
    key = jax.eval_shape(lambda: start.keys(config.seed)[1])
    batch = batch_shapes(
        config,
        records,
        edges=step.model.poi_encoder.reads_edges,
        tower_dim=step.model.image_encoder.feature_dim
        if step.model.learning.locked
        else None,
    )
    before = time.perf_counter()
    lowered = step.run.lower(state, batch, key)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return refused(str(error), time.perf_counter() - before)
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    accessed_bytes, text = cost.get("bytes accessed", 0.0), compiled.as_text()
    return Program(
        compile_s=time.perf_counter() - before,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        peak_bytes=memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        limit_bytes=None,
        fits=True,
        flops=cost.get("flops", 0.0),
        accessed_bytes=accessed_bytes,
        hbm_bytes=min(accessed_bytes, float(traffic.hbm_bytes(text))),
        text=text,
    )


def refused(message: str, compile_s: float) -> Program:
    """Reads the sizes from the compiler's message that a step needs too much memory.

    Raises:
        RuntimeError: If the message is about something else.
    """
    matches = [pattern.search(message) for pattern in _REFUSED]
    match = next(filter(None, matches), None)
    if not match:
        raise RuntimeError(message)
    used, used_unit, limit, limit_unit = match.groups()
    return Program(
        compile_s=compile_s,
        argument_bytes=0,
        temporary_bytes=0,
        peak_bytes=round(float(used) * _UNITS[used_unit]),
        limit_bytes=round(float(limit) * _UNITS[limit_unit]),
        fits=False,
        flops=0.0,
        accessed_bytes=0.0,
        hbm_bytes=0.0,
        text="",
    )
