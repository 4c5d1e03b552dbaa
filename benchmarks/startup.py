"""From the command to the first step: imports, compilation, and a second start."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import Row

ABOUT = """From starting a process to the end of its first training step.

Each start is a process of its own, as a user starts it. The first finds no compiled
program on disk and compiles all. The second continues from the checkpoint of the first
and reads the programs that the first one compiled. The last continues, too, but without
compiled programs. compile_s is the time for compiling or reading them. cold_share is
the time from the end of the imports to the first step, divided by the time that
compiling takes in the first start. processor_s is the same time summed over all cores;
on a busy machine it is the better measure. The other rows are the imports of each
command, with the number of modules.
"""
COMMANDS = (
    "mmgr_jax.main",
    "mmgr_jax.train.loop",
    "mmgr_jax.eval",
    "mmgr_jax.embed",
    "data_prep.build",
)
_IMPORT = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, len(sys.modules))
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this section."""
    parser.add_argument("--encoder", default="resnet50", help="of model.image_encoder")
    parser.add_argument("--size", type=int, default=64, help="px of a tile")
    parser.add_argument("--batch", type=int, default=16, help="regions")


def rows(options: argparse.Namespace) -> list[Row]:
    """A row each start and each command's imports."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        _prepare(where, options)
        for name, cache in (("cold", "xla"), ("warm", "xla"), ("no cache", "off")):
            cache = cache if cache == "off" else str(where / cache)
            told = _start(where, options, cache)
            found.append({"start": name, **told})
    cold = found[0]["compile_s"]
    for row in found:
        row["cold_share"] = (row["first_step_s"] - row["imports_s"]) / cold
    return found + [_imports(module) for module in COMMANDS]


def _imports(module: str) -> Row:
    """The median of three."""
    told = sorted(
        tuple(map(float, _run([sys.executable, "-c", _IMPORT.format(module=module)])))
        for _ in range(3)
    )[1]
    return {"start": module, "imports_s": told[0], "modules": int(told[1])}


def _prepare(folder: Path, options: argparse.Namespace) -> None:
    from benchmarks import records

    images = records.photographs(4 * options.batch, options.size)
    records.write(folder / "records", images, "png", None)


def _start(folder: Path, options: argparse.Namespace, cache: str) -> dict[str, Any]:
    given = [str(folder), cache, options.encoder, str(options.size), str(options.batch)]
    code = "from benchmarks import startup; startup.first_step()"
    start = time.time()
    told = json.loads(" ".join(_run([sys.executable, "-c", code, str(start), *given])))
    return told


def _run(command: list[str]) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != _CACHE}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout.strip().splitlines()[-1].split()


_CACHE = "JAX_COMPILATION_CACHE_DIR"


def first_step() -> None:
    """What a started process does: prints when it got how far."""
    start, (folder, cache, encoder, size, batch) = float(sys.argv[1]), sys.argv[2:]
    import jax

    from configs import toy_city
    from mmgr_jax.devices import compilation
    from mmgr_jax.store import checkpoint
    from mmgr_jax.train import experiment, loop

    told = {"imports_s": time.time() - start, "modules": len(sys.modules)}
    cpu = time.process_time()
    count = compilation.count()
    compilation.use_cache(cache)
    config = toy_city.get_config()
    config.records.dir, config.workdir = f"{folder}/records", f"{folder}/run"
    config.model.image_encoder = {"name": encoder}
    config.augment.size_px, config.data.batch_size = int(size), int(batch)
    run = experiment.build(config)
    with checkpoint.Checkpoints(run.workdir, keep=1) as checkpoints:
        state, batches, clock = loop.begin(run, checkpoints)
        assert run.put is not None  # no tower is locked here
        state, values = run.step(state, run.put(next(batches)))
        jax.block_until_ready(values)
        told |= {
            "first_step_s": time.time() - start,
            "processor_s": time.process_time() - cpu,
            "compile_s": count.seconds,
            "programs": count.programs,
        }
        checkpoints.save(state, batches, clock.state(), run.metadata)
    print(json.dumps(told))
