"""How long saving a checkpoint blocks training, and how long restoring takes."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from benchmarks import turns
from benchmarks.table import Row
from mmgr_jax.data.pipeline import TrainingBatches
from mmgr_jax.store import checkpoint
from mmgr_jax.store.state import TrainState

_LAYERS = 40


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each way: seconds a save blocks, until it is whole, and to restore."""
    state = _state(options.mib)
    ways = {"ours": _ours, "Orbax": _orbax, "numpy.savez": _savez}
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, measure in ways.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                rounds[way].append(measure(state, Path(folder)))
    rows = []
    for way, measured in rounds.items():
        row: Row = {"way": way, "mib": options.mib}
        for key in measured[0]:
            seconds = [one[key] for one in measured]
            ours = [one[key] for one in rounds["ours"]]
            row |= turns.spread(key, seconds)
            row |= turns.ratios(key.replace("_s", "_ratio"), seconds, ours)
        rows.append(row)
    return rows


def _state(mib: int) -> TrainState:
    """Parameters and two moments, of so many MiB together."""
    size = mib * 2**20 // 4 // 3 // _LAYERS
    keys = jax.random.split(jax.random.key(0), 3)

    def tree(key: jax.Array) -> dict[str, jax.Array]:
        parts = jax.random.split(key, _LAYERS)
        return {f"layer_{k}": jax.random.normal(parts[k], (size,)) for k in range(40)}

    params, first, second = (tree(key) for key in keys)
    return TrainState(
        params=params,
        batch_stats={"mean": jnp.zeros(64)},
        opt_state={"first": first, "second": second},
        step=jnp.int32(1),
    )


class _Rows(TrainingBatches):
    """Stands for the iterator of the records."""

    def __init__(self) -> None:
        self.state = {"rows": 64}

    def get_state(self) -> dict[str, int]:
        return self.state

    def set_state(self, state: dict[str, int]) -> None:
        self.state = state


def _ours(state: TrainState, folder: Path) -> dict[str, float]:
    clock = {"seconds": 1.0, "wait_seconds": 0.0}
    metadata = checkpoint.Metadata({"model": {}}, ("shop",), 64)
    with checkpoint.Checkpoints(folder, keep=1) as checkpoints:
        jax.block_until_ready(state)
        start = time.perf_counter()
        checkpoints.save(state, _Rows(), clock, metadata)
        blocks = time.perf_counter() - start
    whole = time.perf_counter() - start
    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    abstract = checkpoint.abstract_like(state, layout)
    start = time.perf_counter()
    with checkpoint.Checkpoints(folder, keep=1) as checkpoints:
        restored, _ = checkpoints.restore(abstract, _Rows(), clock, lambda *_: None)
        jax.block_until_ready(restored)
    seconds = time.perf_counter() - start
    return {"blocks_s": blocks, "save_s": whole, "restore_s": seconds}


def _orbax(state: TrainState, folder: Path) -> dict[str, float]:
    path = folder / "state"
    jax.block_until_ready(state)
    with ocp.StandardCheckpointer() as checkpointer:
        start = time.perf_counter()
        checkpointer.save(path, state)
        blocks = time.perf_counter() - start
        checkpointer.wait_until_finished()
        whole = time.perf_counter() - start
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    start = time.perf_counter()
    with ocp.StandardCheckpointer() as checkpointer:
        jax.block_until_ready(checkpointer.restore(path, abstract))
    seconds = time.perf_counter() - start
    return {"blocks_s": blocks, "save_s": whole, "restore_s": seconds}


def _savez(state: TrainState, folder: Path) -> dict[str, float]:
    path = folder / "state.npz"
    leaves = jax.tree.leaves(state)
    start = time.perf_counter()
    np.savez(path, *[np.asarray(leaf) for leaf in leaves])
    whole = time.perf_counter() - start
    start = time.perf_counter()
    with np.load(path) as stored:
        jax.block_until_ready([jnp.asarray(stored[name]) for name in stored.files])
    seconds = time.perf_counter() - start
    return {"blocks_s": whole, "save_s": whole, "restore_s": seconds}
