"""Starts several processes of this machine that are one program, on loopback.

Beside the helpers this file is what each process of a training run runs.
"""

import json
import os
import socket
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOTAL, SAVE_EVERY = 12, 4

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if version("jaxlib").startswith("0.10."):  # a flag that is unknown ends the process
    QUICK += " --xla_cpu_use_fusion_emitters=false"
"""XLA flags: small programs compile a third sooner, and run hardly slower; by the older
emitters of fusions in half of that (a step of the toy city: 5.4 for 10.9 processor s).
"""


def devices_flag(count):
    """The XLA flag for so many CPU devices."""
    return f"--xla_force_host_platform_device_count={count}"


def configure(config, workdir, records_dir, total=TOTAL, fsdp=1, locked=False):
    """The smoke city with a short run, the same for one process and for several.

    `locked`: its image encoder stays as it is, and two random views are kept.
    """
    config.workdir, config.records.dir = str(workdir), str(records_dir)
    config.augment.size_px = 32
    config.data.num_threads = 2
    config.model.poi_encoder.steps = 1
    config.optim.schedule, config.optim.warmup = "constant", "0 steps"
    config.optim.name, config.optim.learning_rate = "sgd", 0.1
    config.train.total = f"{total} steps"
    config.train.save_every = f"{SAVE_EVERY} steps"
    config.train.log_every = "1 steps"
    config.train.evaluate_every = f"{SAVE_EVERY} steps"
    config.train.keep = 9
    config.mesh.fsdp, config.sharding.min_size = fsdp, 256
    if locked:
        own = dict(config.model.image_encoder, train="none", kept_views=2)
        config.model.image_encoder = own
    return config


def start(
    workdir, records_dir, *, count=2, devices=2, total=TOTAL, fsdp=1, locked=False
):
    """The processes of a training run."""
    given = [str(workdir), str(records_dir), total, fsdp, locked]
    return launch(__file__, workdir, given, count=count, devices=devices)


def launch(script, workdir, given, *, count=2, devices=2):
    """Processes with `devices` CPU devices each; their output is in files.

    `script` gets `given`, a free port, how many they are and which one it is.
    """
    import forks

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = f"{QUICK} {devices_flag(devices)}"
    environment = os.environ | {"XLA_FLAGS": flags}
    started = []
    for index in range(count):
        arguments = script, json.dumps([*given, port, count, index])
        with output(workdir, index).open("w") as file:
            started.append(forks.Process(arguments, file, env=environment))
    return started


def output(workdir, index):
    """What a process of the last start says."""
    return workdir.with_name(f"{workdir.name}_{index}.txt")


def _write_cache_too():
    """JAX lets process 0 alone write its cache; but each has programs of its own."""
    from jax._src import compiler

    write, state = compiler._cache_write, compiler.distributed.global_state

    def as_first(*arguments):
        index, state.process_id = state.process_id, 0
        try:
            write(*arguments)
        finally:
            state.process_id = index

    compiler._cache_write = as_first


def main(workdir, records_dir, total, fsdp, locked, port, count, index):
    """What one process runs: as the command does it, with another config."""
    from absl import flags

    from configs import toy_city
    from mmgr_jax import cli
    from mmgr_jax.devices import distributed
    from mmgr_jax.evaluation.while_training import Evaluator
    from mmgr_jax.train import loop

    config = toy_city.get_config("smoke")
    configure(config, workdir, records_dir, total, fsdp, locked)
    config.distributed.update(
        coordinator=f"127.0.0.1:{port}",
        num_processes=count,
        process_id=index,
        heartbeat_timeout_s=10,
    )
    _write_cache_too()
    flags.FLAGS([sys.argv[0]])
    cli._config = lambda: config
    cli._call(lambda config: loop.train(config, Evaluator(config)), distributed.session)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
